//! Finds the PostgreSQL installations of this machine. What is not installed may be fetched: see `fetch`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Installation, Version, place, program};
use crate::{
    base::{Code, Result, config::Config},
    fail,
    lab::disk,
};

/// Folders that hold one folder per installed major version, and where its programs are below that: Debian and
/// Ubuntu, the PostgreSQL project's RPMs, Homebrew on both kinds of Mac, Postgres.app.
const PLACES: [(&str, &str); 5] = [
    ("/usr/lib/postgresql", ""),
    ("/usr", "pgsql-"),
    ("/opt/homebrew/opt", "postgresql@"),
    ("/usr/local/opt", "postgresql@"),
    ("/Applications/Postgres.app/Contents/Versions", ""),
];

/// Every complete installation, lowest version first, one per version. `$PGRUN_POSTGRES` is looked at before all
/// others, `pg_config --bindir` after them. Incomplete ones, and those whose `postgres` does not run, are left out.
///
/// # Errors
/// `config` when `$PGRUN_POSTGRES` is set and nothing complete is in it.
pub async fn installations(config: &Config) -> Result<Vec<Installation>> {
    let mut found = BTreeMap::new();
    if let Some(folder) = &config.postgres {
        collect(&mut found, below(folder)).await;
        if found.is_empty() {
            return Err(fail!(
                Code::Config,
                "`PGRUN_POSTGRES` is `{}`, where no complete PostgreSQL installation is",
                folder.display()
            )
            .hint("set it to a folder such as /usr/lib/postgresql, or unset it"));
        }
    }
    let known = PLACES.iter().flat_map(|(folder, prefix)| {
        let named = move |path: &PathBuf| {
            path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(prefix))
        };
        disk::entries(Path::new(folder)).into_iter().filter(named).map(|path| path.join("bin"))
    });
    collect(&mut found, known.collect()).await;
    collect(&mut found, by_pg_config().await).await;
    Ok(found.into_values().collect())
}

/// Where programs may be below a folder that somebody named: it may be an installation, its `bin`, or a folder of
/// installations.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut bins = vec![folder.join("bin"), folder.to_owned()];
    for entry in disk::entries(folder) {
        bins.extend([entry.join("bin"), entry]);
    }
    bins
}

async fn collect(found: &mut BTreeMap<Version, Installation>, bins: Vec<PathBuf>) {
    let Ok(user) = place::ServerUser::choose() else { return };
    for bin in bins.into_iter().filter(|bin| bin.join("postgres").is_file()) {
        if let Some(closed) = place::obstacle(&bin, user.as_ref()) {
            tracing::debug!(bin = %bin.display(), closed = %closed.display(), "the server's user cannot reach it");
            continue;
        }
        match Installation::at(&bin).await {
            Ok(installation) => {
                found.entry(installation.version).or_insert(installation);
            }
            Err(error) => tracing::debug!(bin = %bin.display(), %error, "not an installation"),
        }
    }
}

async fn by_pg_config() -> Vec<PathBuf> {
    let mut command = program::command(Path::new("pg_config"), None);
    command.arg("--bindir");
    let told = program::run(command, Duration::from_secs(20)).await;
    told.map(|text| vec![PathBuf::from(text.trim())]).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt, path::Path};

    use super::installations;
    use crate::base::config::Config;

    fn fake(bin: &Path, version: &str, programs: &[&str]) {
        std::fs::create_dir_all(bin).unwrap();
        for name in programs {
            let path = bin.join(name);
            std::fs::write(&path, format!("#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    fn config(postgres: &Path) -> Config {
        Config { home: "/nowhere".into(), cache: "/nowhere".into(), postgres: Some(postgres.to_owned()) }
    }

    /// `$PGRUN_POSTGRES` may be an installation or hold several; what lacks a program is not taken.
    #[tokio::test]
    async fn the_named_folder_is_searched_and_incomplete_ones_are_left_out() {
        let top = tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o755)).tempdir().unwrap();
        let all = ["postgres", "initdb", "pg_ctl", "pg_dump"];
        fake(&top.path().join("three/bin"), "3.1", &all);
        fake(&top.path().join("four"), "4.2", &all);
        fake(&top.path().join("five/bin"), "5.0", &all[..3]);
        let versions = |found: Vec<super::Installation>| -> Vec<String> {
            found.iter().filter(|i| i.version.major < 6).map(|i| i.version.to_string()).collect()
        };
        assert_eq!(versions(installations(&config(top.path())).await.unwrap()), ["3.1", "4.2"]);
        assert_eq!(versions(installations(&config(&top.path().join("three"))).await.unwrap()), ["3.1"]);
        let error = installations(&config(&top.path().join("five"))).await.unwrap_err();
        assert_eq!(error.code().name(), "config");
    }
}
