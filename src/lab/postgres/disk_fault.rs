//! A full or slow disk for one server, by a small library that stands between it and the C library. It is compiled
//! where it is needed first, so it needs Linux and a C compiler; elsewhere there are no such faults.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use sha2::{Digest as _, Sha256};

use super::program;
use crate::{base::Result, lab::disk};

const SOURCE: &str = include_str!("disk_fault.c");

/// A file of a hundred lines.
const COMPILE_DEADLINE: Duration = Duration::from_secs(60);

/// The variable that names the page the library looks at.
pub(super) const VARIABLE: &str = "PGRUN_LAB_DISK";

/// What is wrong with a server's disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::lab) struct DiskFault {
    /// Files cannot grow.
    pub(in crate::lab) is_full: bool,
    /// Each fsync takes so many milliseconds longer.
    pub(in crate::lab) sync_ms: u32,
}

impl DiskFault {
    fn bytes(self) -> Vec<u8> {
        [u32::from(self.is_full).to_ne_bytes(), self.sync_ms.to_ne_bytes()].concat()
    }
}

/// Whether a server's disk can be made to fail here.
pub(in crate::lab) fn has_disk_faults() -> bool {
    cfg!(target_os = "linux") && compiler().is_some()
}

fn compiler() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("cc")).find(|program| program.is_file())
}

/// The library in this folder, compiled if it is not there yet; `None` where there is no compiler.
pub(in crate::lab) async fn disk_fault_library(cache: &Path) -> Result<Option<PathBuf>> {
    let Some(compiler) = compiler().filter(|_| cfg!(target_os = "linux")) else { return Ok(None) };
    let path = cache.join(format!("disk-fault-{:.16}.so", format!("{:x}", Sha256::digest(SOURCE))));
    if path.is_file() {
        return Ok(Some(path));
    }
    // Names of their own: another lab may be at the same thing.
    let made = tempdir(cache)?;
    let source = made.join("disk_fault.c");
    disk::write_file(&source, SOURCE.as_bytes(), 0o644, None)?;
    let mut command = program::command(&compiler, None);
    command.args(["-shared", "-fPIC", "-O2", "-o"]).arg(made.join("it.so")).arg(&source).arg("-ldl");
    let done = program::run(command, COMPILE_DEADLINE).await;
    let kept = done.and_then(|_| {
        disk::set_mode(&made.join("it.so"), 0o755)?;
        std::fs::rename(made.join("it.so"), &path).map_err(disk::failed("keep", &path))
    });
    disk::remove_folder(&made)?;
    kept.map(|()| Some(path))
}

fn tempdir(parent: &Path) -> Result<PathBuf> {
    let path = parent.join(format!("compile-{}", uuid::Uuid::new_v4().simple()));
    disk::make_folder(&path, 0o700)?;
    Ok(path)
}

/// The page of a server below its folder. It is written in place: the library has it mapped.
pub(super) fn page(folder: &Path) -> PathBuf {
    folder.join("disk-fault")
}

/// Lets the server in this folder have this disk from now on.
pub(super) fn set(folder: &Path, fault: DiskFault) -> Result<()> {
    let path = page(folder);
    let mut options = std::fs::OpenOptions::new();
    // Never cut short: a process that reads a page behind the end of its file is killed.
    let opened = options.write(true).create(true).truncate(false).open(&path);
    opened.and_then(|mut file| file.write_all(&fault.bytes())).map_err(disk::failed("write", &path))?;
    disk::set_mode(&path, 0o644)
}
