//! A copy of a running cluster as a crash would leave it: the server's processes are stopped, the files copied, the
//! processes go on. The copy keeps its slots and has no `backup_label`, as a volume snapshot of RDS.

use std::{fs, path::Path, time::Duration};

use nix::sys::signal::Signal;

use super::{Process, program};
use crate::{
    base::{Code, Result, clock, poll},
    fail,
    lab::disk,
};

/// A process that waits for the disk stops when the disk has answered.
const STOPS_WITHIN_MS: u64 = 20_000;

/// Larger clusters do not belong into a lab: their sessions would hang all the time.
const COPY_DEADLINE: Duration = Duration::from_secs(900);

/// Copies the data folder `from` of a running server to `to`, which must not exist, and gives the time for which its
/// sessions stood still.
///
/// # Errors
/// `lab_failed` when the cluster has tablespaces (they lie outside and would be shared by both), when a process does
/// not stop, or when the copy fails. The server goes on in every case.
pub async fn copy_frozen(server: &Process, from: &Path, to: &Path) -> Result<Duration> {
    if let Some(link) = disk::entries(&from.join("pg_tblspc")).first() {
        return Err(fail!(
            Code::LabFailed,
            "the cluster has a tablespace (`{}`), which the lab cannot copy",
            link.display()
        ));
    }
    let begun = clock::instant();
    let frozen = Frozen::hold(server).await?;
    copy_tree(from, to).await?;
    drop(frozen);
    let stood = begun.elapsed();
    disk::remove_file(&to.join("postmaster.pid"))?;
    Ok(stood)
}

/// Copies a data folder that no server uses. Owners and times are kept; where the file system can, blocks are shared.
///
/// # Errors
/// `lab_failed` when `cp` fails, for example on a full disk.
pub async fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        return Err(fail!(Code::LabFailed, "`{}` exists already", to.display()));
    }
    let mut command = program::command(Path::new("cp"), None);
    // `--reflink` is GNU's; on a Mac `-c` does the same where it can.
    command.args(if cfg!(target_os = "linux") { ["-a", "--reflink=auto"] } else { ["-Rp", "-c"] });
    command.arg(from).arg(to);
    program::run(command, COPY_DEADLINE).await.map(drop)
}

/// The size of a folder's files in bytes, for the sizes that RDS reports.
#[must_use]
pub fn tree_bytes(folder: &Path) -> u64 {
    let size = |path: &std::path::PathBuf| match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => tree_bytes(path),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    };
    disk::entries(folder).iter().map(size).sum()
}

/// Stops every process of a server until the value is dropped.
///
/// # Errors
/// `lab_failed` or `timeout` when one of them does not stop.
pub(in crate::lab) async fn hold(server: &Process) -> Result<Frozen> {
    Frozen::hold(server).await
}

/// Stopped processes. Dropping it lets every one of them go on, whatever happened meanwhile.
#[must_use]
pub(in crate::lab) struct Frozen(Vec<Process>);

impl Frozen {
    /// The postmaster first: while it stands still no new child appears, and no ended child's pid is given away,
    /// because nobody reaps it.
    async fn hold(postmaster: &Process) -> Result<Self> {
        let mut frozen = Self(Vec::new());
        frozen.stop(postmaster)?;
        frozen.settle().await?;
        loop {
            let fresh: Vec<Process> =
                postmaster.descendants().into_iter().filter(|child| !frozen.0.contains(child)).collect();
            if fresh.is_empty() {
                return Ok(frozen);
            }
            for child in fresh {
                // One that ends just now is none that writes.
                if child.is_alive() {
                    frozen.stop(&child)?;
                }
            }
            frozen.settle().await?;
        }
    }

    fn stop(&mut self, process: &Process) -> Result<()> {
        self.0.push(process.clone());
        if !process.signal(Signal::SIGSTOP) && process.is_alive() {
            return Err(fail!(Code::LabFailed, "process {} cannot be stopped", process.pid));
        }
        Ok(())
    }

    async fn settle(&self) -> Result<()> {
        let all = self.0.clone();
        poll::until(
            "every process of the server to stand still",
            poll::Patience::ms(1, STOPS_WITHIN_MS),
            async move || {
                let moving = all.iter().find(|process| !process.is_stopped() && process.is_alive());
                Ok(moving.map_or(poll::Seen::Ready(()), |process| poll::Seen::NotYet(format!("{} moves", process.pid))))
            },
        )
        .await
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        for process in &self.0 {
            process.signal(Signal::SIGCONT);
        }
    }
}

/// Lets a server go on that a killed process left frozen.
pub fn thaw(postmaster: &Process) {
    for process in [vec![postmaster.clone()], postmaster.descendants()].concat() {
        process.signal(Signal::SIGCONT);
    }
}
