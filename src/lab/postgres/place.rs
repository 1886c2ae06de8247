//! Where servers may live and who they run as. PostgreSQL refuses to run as root, so root's servers run as another
//! user, and that user has to be able to reach their folders.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nix::unistd::{User, geteuid};

use crate::{
    base::{Code, Result, config::Config},
    fail,
    lab::disk,
};

/// The operating system's user that servers of root run as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUser {
    /// Its name, for messages.
    pub name: String,
    /// Its user id.
    pub uid: u32,
    /// Its primary group; servers have no other.
    pub gid: u32,
}

impl ServerUser {
    /// The user for servers started by this process: `None` means "the one we are", which is right for everybody but
    /// root. For root it is `postgres`, which packages of PostgreSQL make, or else `nobody`.
    ///
    /// # Errors
    /// `lab_missing` when root finds neither.
    pub fn choose() -> Result<Option<Self>> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        let named = ["postgres", "nobody"].into_iter().find_map(|name| User::from_name(name).ok().flatten());
        let user = named.ok_or_else(|| {
            fail!(Code::LabMissing, "PostgreSQL refuses to run as root, and there is no user `postgres` or `nobody`")
                .hint("run pgrun as an ordinary user, or `useradd --system postgres`")
        })?;
        Ok(Some(Self { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw() }))
    }
}

/// The first folder on the way to `path` that the user may not pass, judged by the permission bits; `None` when the
/// way is free. Parts that do not exist yet are not in the way: whoever makes them makes them passable.
#[must_use]
pub fn obstacle(path: &Path, user: Option<&ServerUser>) -> Option<PathBuf> {
    let user = user?;
    let existing = path.ancestors().find_map(|part| part.canonicalize().ok())?;
    let passable = |folder: &Path| {
        fs::metadata(folder).is_ok_and(|meta| {
            let search = match (meta.uid() == user.uid, meta.gid() == user.gid) {
                (true, _) => 0o100,
                (false, true) => 0o010,
                (false, false) => 0o001,
            };
            meta.mode() & search != 0
        })
    };
    let mut way: Vec<&Path> = existing.ancestors().filter(|part| part.is_dir()).collect();
    way.reverse();
    way.into_iter().find(|folder| !passable(folder)).map(Path::to_owned)
}

/// Refuses a folder that the server's user cannot reach.
///
/// # Errors
/// `lab_failed` with the folder that is closed to it.
pub fn require_reachable(path: &Path, user: Option<&ServerUser>) -> Result<()> {
    match (obstacle(path, user), user) {
        (Some(closed), Some(user)) => Err(fail!(
            Code::LabFailed,
            "servers of root run as `{}`, which cannot pass `{}` on the way to `{}`",
            user.name,
            closed.display(),
            path.display()
        )
        .hint(format!("choose another folder, or `chmod a+x {}`", closed.display()))),
        _ => Ok(()),
    }
}

/// The folder for fetched builds: the configured cache, unless the server's user cannot reach it (root's home is 0700
/// on most systems); then the system's cache folder, then one below the system's folder for temporary files.
///
/// # Errors
/// `lab_failed` when none of them can be used.
pub fn cache_folder(config: &Config, user: Option<&ServerUser>) -> Result<PathBuf> {
    let temporary = std::env::temp_dir().join("pgrun-cache");
    first_reachable(&[config.cache.clone(), PathBuf::from("/var/cache/pgrun"), temporary], user)
}

/// The folder of the lab where the command line names none: below pgrun's own folder, unless the server's user cannot
/// reach that; see [`cache_folder`].
///
/// # Errors
/// `lab_failed` when none can be used.
pub fn lab_folder(config: &Config, user: Option<&ServerUser>) -> Result<PathBuf> {
    let temporary = std::env::temp_dir().join("pgrun-state");
    Ok(first_reachable(&[config.home.clone(), PathBuf::from("/var/lib/pgrun"), temporary], user)?.join("lab"))
}

fn first_reachable(candidates: &[PathBuf], user: Option<&ServerUser>) -> Result<PathBuf> {
    let usable = |path: &&PathBuf| {
        obstacle(path, user).is_none() && is_ours(path) && fs::create_dir_all(path).is_ok() && writable(path)
    };
    candidates.iter().find(usable).cloned().ok_or_else(|| {
        let first = candidates.first().map(|path| path.display().to_string()).unwrap_or_default();
        fail!(Code::LabFailed, "no folder can be used by both this process and its servers; `{first}` was tried first")
            .hint("set PGRUN_HOME and PGRUN_CACHE to folders that every user can pass")
    })
}

/// A folder with a well-known name below a shared one could have been laid out by somebody else, with programs that
/// would then run as us. An existing one is taken only when it is ours and nobody else may write to it.
fn is_ours(path: &Path) -> bool {
    fs::metadata(path).map_or(true, |meta| meta.uid() == geteuid().as_raw() && meta.mode() & 0o022 == 0)
}

fn writable(path: &Path) -> bool {
    nix::unistd::access(path, nix::unistd::AccessFlags::W_OK).is_ok()
}

/// How the names of scratch folders begin.
const SCRATCH: &str = "pgrun-";

/// A folder for a server that lives no longer than this value; removed when dropped.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes a folder of its own below the system's folder for temporary files, owned by the server's user.
    ///
    /// # Errors
    /// `lab_failed` when it cannot be made, or the server's user cannot reach it.
    pub fn new(user: Option<&ServerUser>) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("{SCRATCH}{}", uuid::Uuid::new_v4().simple()));
        require_reachable(&path, user)?;
        disk::make_folder(&path, 0o700)?;
        let scratch = Self(path);
        disk::give_to(&scratch.0, user)?;
        Ok(scratch)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Leaves a link to it, for [`Scratch::sweep`] of a process that comes after this one was killed.
    pub(in crate::lab) fn remember(&self, link: &Path) -> Result<()> {
        disk::remove_file(link)?;
        std::os::unix::fs::symlink(&self.0, link).map_err(disk::failed("write", link))
    }

    /// Removes the folder that a link leads to, if it is one of these, and the link.
    pub(in crate::lab) fn sweep(link: &Path) {
        let Ok(path) = fs::read_link(link) else { return };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.parent() == Some(&std::env::temp_dir()) && name.starts_with(SCRATCH) {
            drop(Self(path));
        }
        if let Err(error) = disk::remove_file(link) {
            tracing::warn!(%error, "a link to a scratch folder stays");
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = disk::remove_folder(&self.0) {
            tracing::warn!(folder = %self.0.display(), %error, "a scratch folder stays");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::{ServerUser, obstacle};

    /// The reason for this file: root's home is closed to `postgres`, and the error must name the closed folder.
    #[test]
    fn a_closed_parent_is_found() {
        let top = tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o755)).tempdir().unwrap();
        let closed = top.path().join("closed");
        std::fs::create_dir_all(closed.join("inner")).unwrap();
        let stranger = ServerUser { name: "stranger".into(), uid: 4_000_000, gid: 4_000_000 };
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(obstacle(&closed.join("inner/not/yet"), Some(&stranger)), None);
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).unwrap();
        let real = closed.canonicalize().unwrap();
        assert_eq!(obstacle(&closed.join("inner/not/yet"), Some(&stranger)), Some(real));
        assert_eq!(obstacle(&closed, None), None);
    }
}
