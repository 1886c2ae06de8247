//! An installed PostgreSQL: its version and its programs. How one is found is in `find`, how one is fetched in `fetch`.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::program;
use crate::{
    base::{Code, Error, Result},
    fail,
};

/// A released version: since 10 the first number is the major one (manual, "Upgrading a PostgreSQL Cluster").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version {
    /// `15` of `15.18`.
    pub major: u32,
    /// `18` of `15.18`; 0 for betas and development builds.
    pub minor: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for Version {
    type Err = Error;

    /// Reads `15.18`, `15`, and the tails of `19beta1` and `15.18 (Debian 15.18-0+deb12u1)`.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = || fail!(Code::ValueGuard, "got {text:?}, wanted a PostgreSQL version such as 15.18");
        let digits = |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let major = &text[..digits(text)];
        let rest = &text[major.len()..];
        let minor = rest.strip_prefix('.').map_or("0", |rest| &rest[..digits(rest)]);
        Ok(Self { major: major.parse().map_err(|_| wrong())?, minor: minor.parse().map_err(|_| wrong())? })
    }
}

impl TryFrom<String> for Version {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

/// What a server, its upgrade and its dump need. `pg_upgrade` is not among them: only a target has to have it.
const PROGRAMS: [&str; 4] = ["postgres", "initdb", "pg_ctl", "pg_dump"];

/// A folder of PostgreSQL programs that answered `postgres --version`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// The version its `postgres` reports.
    pub version: Version,
    /// The folder with the programs.
    pub bin: PathBuf,
}

impl Installation {
    /// Looks whether `bin` holds a complete installation, and asks its version.
    ///
    /// # Errors
    /// `lab_missing` when a program is not there or `postgres` does not run, for example for another C library.
    pub async fn at(bin: &Path) -> Result<Self> {
        let missing: Vec<&str> = PROGRAMS.into_iter().filter(|name| !bin.join(name).is_file()).collect();
        if !missing.is_empty() {
            let names = crate::base::prose::ticked_list(&missing, PROGRAMS.len());
            return Err(fail!(Code::LabMissing, "the installation in `{}` lacks {names}", bin.display()));
        }
        let mut command = program::command(&bin.join("postgres"), None);
        command.arg("--version");
        let told = program::run(command, Duration::from_secs(20)).await.map_err(|e| e.with_code(Code::LabMissing))?;
        let version = told
            .split_once("(PostgreSQL) ")
            .and_then(|(_, version)| version.parse().ok())
            .ok_or_else(|| fail!(Code::LabMissing, "`{}/postgres` says {:?} for its version", bin.display(), told))?;
        Ok(Self { version, bin: bin.to_owned() })
    }

    /// The path of one of its programs.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// True when it can be the target of a major upgrade.
    #[must_use]
    pub fn can_upgrade(&self) -> bool {
        self.program("pg_upgrade").is_file()
    }

    /// The folder of its loadable modules, asked of its `pg_config`; `None` where a package leaves that program out.
    pub async fn library_folder(&self) -> Option<PathBuf> {
        let mut command = program::command(&self.program("pg_config"), None);
        command.arg("--pkglibdir");
        let told = program::run(command, Duration::from_secs(20)).await.ok()?;
        Some(PathBuf::from(told.trim()))
    }
}

/// What `postgres --describe-config` says: a line for each parameter.
///
/// # Errors
/// `lab_failed` when the program fails.
pub async fn parameters_of(installation: &Installation) -> Result<String> {
    let mut command = program::command(&installation.program("postgres"), None);
    command.arg("--describe-config");
    program::run(command, Duration::from_secs(20)).await
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn versions_are_read_as_postgres_prints_them() {
        let read = |text: &str| text.parse::<Version>().unwrap().to_string();
        assert_eq!(read("15.18 (Debian 15.18-0+deb12u1)"), "15.18");
        assert_eq!(read("17"), "17.0");
        assert_eq!(read("19beta1"), "19.0");
        assert!("".parse::<Version>().is_err() && "x".parse::<Version>().is_err() && "1.".parse::<Version>().is_err());
    }
}
