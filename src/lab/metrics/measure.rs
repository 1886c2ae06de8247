//! Measures what a server uses, by its folder and by `proc(5)`. Where there is no `/proc` there is no value.

use std::{fs, path::Path};

use nix::sys::statvfs::statvfs;

use crate::lab::{
    instance::Instance,
    postgres::{Process, tree_bytes},
    site::Site,
};

const GIB: u64 = 1 << 30;

/// `USER_HZ`: 100 wherever PostgreSQL is run on Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// The value of a metric now.
pub(super) fn measure(site: &Site, instance: &Instance, metric: &str) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "bytes of a disk, and connections, as CloudWatch gives them")]
    let whole = |number: u64| number as f64;
    let processes = || -> Option<Vec<Process>> {
        let (postmaster, _) = site.fleet.view(&instance.resource)?;
        Some([vec![postmaster.clone()], postmaster.descendants()].concat())
    };
    match metric {
        "FreeStorageSpace" => free_storage(&site.instance_folder(instance), instance.storage_gb).map(whole),
        "FreeableMemory" => memory_available().map(whole),
        "DatabaseConnections" => {
            Some(whole(processes()?.iter().filter(|process| serves_client(process)).count() as u64))
        }
        "CPUUtilization" => cpu(&processes()?),
        _ => None,
    }
}

/// What is left of the storage that was asked for, or of the disk below it if that is less.
fn free_storage(folder: &Path, allocated_gib: i64) -> Option<u64> {
    let disk = statvfs(folder).ok()?;
    // The sizes have another type on each system.
    let on_disk = u128::from(disk.blocks_available()) * u128::from(disk.fragment_size());
    let allocated = u64::try_from(allocated_gib).ok()? * GIB;
    let left = u128::from(allocated.saturating_sub(tree_bytes(folder))).min(on_disk);
    u64::try_from(left).ok()
}

/// `MemAvailable`: the machine's, because servers of the lab share it.
fn memory_available() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib * 1024)
}

/// A backend's title is `postgres: USER DATABASE HOST(PORT) STATE` (`ps_status.c`); no other process has a port in it.
fn serves_client(process: &Process) -> bool {
    let title = fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
    String::from_utf8_lossy(&title).contains(" 127.0.0.1(")
}

/// The share of all processors that the living processes used since the postmaster began.
fn cpu(processes: &[Process]) -> Option<f64> {
    let up: f64 = fs::read_to_string("/proc/uptime").ok()?.split(' ').next()?.parse().ok()?;
    let stats: Vec<(f64, f64)> = processes.iter().filter_map(|process| ticks(process.pid)).collect();
    let (_, begun) = stats.first()?;
    let used: f64 = stats.iter().map(|(used, _)| used).sum();
    #[expect(clippy::cast_precision_loss, reason = "a number of processors")]
    let processors = std::thread::available_parallelism().ok()?.get() as f64;
    let seconds = (up - begun / TICKS_PER_SECOND).max(0.1);
    Some((used / TICKS_PER_SECOND / seconds / processors * 100.0).clamp(0.0, 100.0))
}

/// Ticks that a process has used, and when it began: fields 14, 15 and 22 of `/proc/PID/stat`, counted behind its name.
fn ticks(pid: i32) -> Option<(f64, f64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    Some((field(14)? + field(15)?, field(22)?))
}
