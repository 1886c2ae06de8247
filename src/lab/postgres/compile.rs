//! Compiles the C that is part of pgrun, once for each text of it: the result stays in the cache folder.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use sha2::{Digest as _, Sha256};

use super::program;
use crate::{base::Result, lab::disk};

/// Some 800 lines of C on a busy machine.
const DEADLINE: Duration = Duration::from_secs(120);

/// A library to be.
pub(super) struct Library<'a> {
    /// What it is for: the begin of its folder's name.
    pub(super) name: String,
    /// Its file's name, by which it is loaded.
    pub(super) file: String,
    /// Names and texts of its sources; the first one includes the others.
    pub(super) sources: &'a [(&'a str, &'a str)],
    /// What the compiler is told besides sources and output.
    pub(super) arguments: &'a [&'a OsStr],
}

impl Library<'_> {
    /// Its file below `cache/hooks`, compiled unless it is there.
    ///
    /// # Errors
    /// `lab_failed` where there is no compiler, or it fails.
    pub(super) async fn compiled(&self, cache: &Path) -> Result<PathBuf> {
        let folder = cache.join("hooks").join(format!("{}-{:.16}", self.name, self.sum()));
        let file = folder.join(&self.file);
        if file.is_file() {
            return Ok(file);
        }
        disk::make_folder(&cache.join("hooks"), 0o755)?;
        disk::make_folder(&folder, 0o755)?;
        let work = Work(folder.join(format!(".{}", uuid::Uuid::new_v4().simple())));
        disk::make_folder(&work.0, 0o755)?;
        for (name, text) in self.sources {
            disk::write_file(&work.0.join(name), text.as_bytes(), 0o644, None)?;
        }
        let made = work.0.join("library");
        let first = self.sources.first().map_or("", |(name, _)| name);
        let mut compiler = program::command(Path::new("cc"), None);
        compiler.args(self.arguments).arg("-o").arg(&made).arg(work.0.join(first));
        program::run(compiler, DEADLINE).await?;
        disk::set_mode(&made, 0o755)?;
        // Whoever comes second replaces it with the same.
        fs::rename(&made, &file).map_err(disk::failed("move", &made))?;
        Ok(file)
    }

    /// Other texts, or other headers among the arguments, make another library.
    fn sum(&self) -> String {
        let mut sum = Sha256::new();
        for (name, text) in self.sources {
            sum.update(format!("{name}\n{text}"));
        }
        for argument in self.arguments {
            sum.update(argument.as_encoded_bytes());
        }
        format!("{:x}", sum.finalize())
    }
}

/// A folder in the cache while the compiler works; removed when dropped.
struct Work(PathBuf);

impl Drop for Work {
    fn drop(&mut self) {
        if let Err(error) = disk::remove_folder(&self.0) {
            tracing::warn!(%error, "a folder stays in the cache");
        }
    }
}
