//! Makes an empty database cluster.

use std::{path::Path, time::Duration};

use super::{Installation, ServerOptions, ServerUser, place::require_reachable, program};
use crate::{base::Result, lab::disk};

/// What two clusters must have in common to be upgraded into one another (manual, "pg_upgrade": compatible `initdb`
/// flags). Data checksums belong here too and are always on: RDS has them, and 18 makes them by default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The encoding of `template0`.
    pub encoding: String,
    /// Locales of `template0`, in the order in which they are tried: collation and character classes.
    pub locales: Vec<(String, String)>,
}

impl Shape {
    /// For a new cluster: UTF-8, and the first locale that exists. `C.UTF-8` is not on every system; `C` is.
    #[must_use]
    pub fn any() -> Self {
        let both = |locale: &str| (locale.to_owned(), locale.to_owned());
        Self { encoding: "UTF8".into(), locales: vec![both("C.UTF-8"), both("C")] }
    }
}

/// Makes `folder/data`. The folder becomes the server user's own.
pub(super) async fn initdb(
    installation: &Installation,
    folder: &Path,
    options: &ServerOptions,
    shape: &Shape,
) -> Result<()> {
    let user = ServerUser::choose()?;
    require_reachable(folder, user.as_ref())?;
    disk::make_folder(folder, 0o700)?;
    disk::give_to(folder, user.as_ref())?;
    let password_file = folder.join("initdb.password");
    disk::write_file(&password_file, options.password.expose().as_bytes(), 0o600, user.as_ref())?;
    let mut made = Ok(String::new());
    for (collate, ctype) in &shape.locales {
        let mut command = program::command(&installation.program("initdb"), user.as_ref());
        command.arg("-D").arg(folder.join("data")).args(["-U", &options.superuser, "-E", &shape.encoding]);
        command.args(["--data-checksums", "--no-sync", "--auth=scram-sha-256", "--locale=C"]);
        command.arg(format!("--lc-collate={collate}")).arg(format!("--lc-ctype={ctype}"));
        command.arg(format!("--pwfile={}", password_file.display()));
        made = program::run(command, Duration::from_secs(120)).await;
        let unknown = |text: &str| text.contains("invalid locale");
        if !made.as_ref().is_err_and(|error| error.fact("output").is_some_and(unknown)) {
            break;
        }
    }
    disk::remove_file(&password_file)?;
    made.map(drop)
}
