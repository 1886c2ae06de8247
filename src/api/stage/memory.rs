//! How much memory a process takes at most.

use std::{process::ExitStatus, time::Duration};

use tokio::process::Child;

use crate::base::clock;

/// Between two looks. The kernel keeps the highest mark itself; only the one of the last moment is not seen.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Waits until the process ends, or kills it after a while. Gives its end, and the most memory that it had resident,
/// in kilobytes.
pub(super) async fn watch(child: &mut Child, after: Option<Duration>) -> std::io::Result<(ExitStatus, Option<u64>)> {
    let begun = clock::instant();
    let (mut peak, mut kill) = (None, after);
    loop {
        peak = peak.max(child.id().and_then(peak_kb));
        let left = kill.map_or(LOOK_EVERY, |after| after.saturating_sub(begun.elapsed()));
        if let Some(status) = clock::within(left.min(LOOK_EVERY), child.wait()).await {
            return Ok((status?, peak));
        }
        if kill.is_some_and(|after| begun.elapsed() >= after) {
            child.start_kill()?;
            kill = None;
        }
    }
}

/// `VmHWM` of proc(5): the peak resident set. Where there is no `/proc`, nobody tells.
fn peak_kb(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}
