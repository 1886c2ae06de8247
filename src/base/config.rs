//! Where pgrun keeps its things, read from the environment once and passed down as plain data.

use std::path::PathBuf;

use super::{Code, Result};
use crate::fail;

/// Folders and switches that hold for the whole process.
#[derive(Clone, Debug)]
pub struct Config {
    /// Runs, claims and the history live here: `$PGRUN_HOME`, else the XDG state folder.
    pub home: PathBuf,
    /// Fetched PostgreSQL builds live here: `$PGRUN_CACHE`, else the XDG cache folder.
    pub cache: PathBuf,
    /// A folder of PostgreSQL installations (`$PGRUN_POSTGRES`), looked at before all others.
    pub postgres: Option<PathBuf>,
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// `config` when neither `PGRUN_HOME`, `XDG_STATE_HOME` nor `HOME` tells where to keep runs.
    pub fn from_env() -> Result<Self> {
        let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let under = |xdg: &str, fallback: &str| {
            var(xdg).or_else(|| var("HOME").map(|home| home.join(fallback))).map(|base| base.join("pgrun"))
        };
        let nowhere = |name: &str| {
            fail!(Code::Config, "neither `{name}` nor `HOME` is set, so there is no place to keep files")
                .hint(format!("export {name}=/some/folder"))
        };
        let home = var("PGRUN_HOME").or_else(|| under("XDG_STATE_HOME", ".local/state"));
        let cache = var("PGRUN_CACHE").or_else(|| under("XDG_CACHE_HOME", ".cache"));
        Ok(Self {
            home: home.ok_or_else(|| nowhere("PGRUN_HOME"))?,
            cache: cache.ok_or_else(|| nowhere("PGRUN_CACHE"))?,
            postgres: var("PGRUN_POSTGRES"),
        })
    }
}
