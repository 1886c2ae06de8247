//! What an installation can be asked for besides running: TLS, and a library of ours in its servers. The library's
//! source is part of pgrun; it is compiled once per version, where there are a C compiler and the server's headers.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Installation, compile::Library, program};
use crate::{base::Result, lab::disk};

/// What one installation can do for a server of the lab.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facilities {
    /// The compiled library; none where it cannot be compiled.
    pub library: Option<PathBuf>,
    /// True when its servers can speak TLS: not every build can.
    pub tls: bool,
}

/// The library's files; the first one includes the others.
const SOURCES: [(&str, &str); 3] = [
    ("rdslab.c", include_str!("hooks/rdslab.c")),
    ("rdslab_roles.c", include_str!("hooks/rdslab_roles.c")),
    ("rdslab_iam.c", include_str!("hooks/rdslab_iam.c")),
];

/// The name that servers load the library by. RDS has a library of its own under this name in
/// `shared_preload_libraries` as well.
pub(super) const LIBRARY_NAME: &str = "rdsutils";

impl Facilities {
    /// Asks the installation, and compiles the library into the cache folder unless it is there.
    pub async fn of(installation: &Installation, cache: &Path) -> Self {
        let library = match library(installation, cache).await {
            Ok(found) => found,
            Err(error) => {
                tracing::info!(version = %installation.version, %error, "no hook library");
                None
            }
        };
        Self { library, tls: speaks_tls(installation).await }
    }
}

/// A build without TLS refuses the setting (`src/backend/utils/misc/guc_tables.c`, `check_ssl`). `-C` starts nothing
/// and needs no data folder.
async fn speaks_tls(installation: &Installation) -> bool {
    let mut command = program::command(&installation.program("postgres"), None);
    command.args(["-C", "ssl", "-D", "/", "-c", "config_file=/dev/null", "-c", "ssl=on"]);
    program::run(command, Duration::from_secs(20)).await.is_ok()
}

/// `None` without headers; an error when the compiler is missing or fails.
async fn library(installation: &Installation, cache: &Path) -> Result<Option<PathBuf>> {
    let Some(headers) = headers(installation).await else { return Ok(None) };
    // It separates the folders that a server looks for libraries in.
    if cache.as_os_str().as_encoded_bytes().contains(&b':') {
        return Ok(None);
    }
    // PostgreSQL looks for this ending (DLSUFFIX); on a Mac it was `.so` too before 16.
    let is_mac = cfg!(target_os = "macos");
    let end = if is_mac && installation.version.major >= 16 { "dylib" } else { "so" };
    let kind = if is_mac { ["-bundle", "-undefined", "dynamic_lookup"] } else { ["-shared", "-fPIC", "-O1"] };
    let arguments: Vec<&OsStr> =
        kind.into_iter().chain(["-w", "-I"]).map(OsStr::new).chain([headers.as_os_str()]).collect();
    let library = Library {
        name: installation.version.to_string(),
        file: format!("{LIBRARY_NAME}.{end}"),
        sources: &SOURCES,
        // Another build of the same version may have other headers.
        arguments: &arguments,
    };
    library.compiled(cache).await.map(Some)
}

/// The folder of the server's headers, if they are there and of this major version: an operating system's `pg_config`
/// may belong to another one, and a server refuses a library of another one.
async fn headers(installation: &Installation) -> Option<PathBuf> {
    let mut command = program::command(&installation.program("pg_config"), None);
    command.arg("--includedir-server");
    let told = program::run(command, Duration::from_secs(20)).await.ok()?;
    let folder = PathBuf::from(told.trim());
    let config = fs::read_to_string(folder.join("pg_config.h")).ok()?;
    let major = format!("#define PG_MAJORVERSION \"{}\"", installation.version.major);
    let right = config.contains(&major) || second_config(&folder).is_some_and(|text| text.contains(&major));
    (right && folder.join("postgres.h").is_file()).then_some(folder)
}

/// Packages for several kinds of processors keep the definitions in a second file.
fn second_config(folder: &Path) -> Option<String> {
    let second = disk::entries(folder).into_iter().find(|path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("pg_config_") && !name.eq("pg_config_ext.h"))
    })?;
    fs::read_to_string(second).ok()
}
