//! A full or slow disk for one server, by a small library that stands between it and the C library. It is compiled
//! where it is needed first, so it needs Linux and a C compiler; elsewhere there are no such faults.

use std::{
    ffi::OsStr,
    io::Write as _,
    path::{Path, PathBuf},
};

use super::compile::Library;
use crate::{base::Result, lab::disk};

const SOURCE: &str = include_str!("disk_fault.c");

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
    let path = std::env::var_os("PATH").unwrap_or_default();
    cfg!(target_os = "linux") && std::env::split_paths(&path).any(|folder| folder.join("cc").is_file())
}

/// The library, compiled below the cache folder if it is not there yet; `None` where there is no compiler.
pub(in crate::lab) async fn disk_fault_library(cache: &Path) -> Result<Option<PathBuf>> {
    if !has_disk_faults() {
        return Ok(None);
    }
    let library = Library {
        name: "disk-fault".into(),
        file: "disk-fault.so".into(),
        sources: &[("disk_fault.c", SOURCE)],
        arguments: &["-shared", "-fPIC", "-O2", "-Wl,--no-as-needed", "-ldl"].map(OsStr::new),
    };
    library.compiled(cache).await.map(Some)
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
