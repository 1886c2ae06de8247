//! A lab in a process of its own: brought up, found, asked, brought down. `lab.json` in its folder says where it is.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

use super::{Lab, LabOptions, disk, life::take_lock, postgres::Process, work::end_everything};
use crate::{
    base::{Code, Result, clock, config::Config, poll},
    fail,
};

/// A lab may have to fetch nothing at its start, but to recover servers that were killed.
const UP_DEADLINE_MS: u64 = 900_000;

/// A stop of every server, checkpoints included.
const DOWN_DEADLINE_MS: u64 = 180_000;

/// Where a running lab is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Running {
    schema: u32,
    /// The endpoint.
    pub url: String,
    /// The region in its ARNs.
    pub region: String,
    /// Its folder.
    pub dir: PathBuf,
    /// Its process.
    pub process: Process,
    /// When it was started, RFC 3339.
    pub started: String,
}

fn beacon(dir: &Path) -> PathBuf {
    dir.join("lab.json")
}

/// The lab that runs in this folder, if one does. A file left by a killed one does not count.
#[must_use]
pub fn running(dir: &Path) -> Option<Running> {
    let text = fs::read(beacon(dir)).ok()?;
    let found: Running = serde_json::from_slice(&text).ok()?;
    found.process.is_alive().then_some(found)
}

/// Runs a lab in this process until it is told to end by SIGINT, SIGTERM or SIGHUP. `ready` is called once it answers.
///
/// # Errors
/// Those of [`Lab::start`] and [`Lab::shutdown`].
pub async fn foreground(
    config: &Config,
    options: LabOptions,
    ready: impl FnOnce(&Running) -> Result<()>,
) -> Result<()> {
    let handler = |kind| signal(kind).map_err(|error| fail!(Code::Internal, "signals cannot be heard: {error}"));
    // Before the start: a signal that comes meanwhile must not leave servers behind.
    let mut hangup = handler(SignalKind::hangup())?;
    let (mut terminate, mut interrupt) = (handler(SignalKind::terminate())?, handler(SignalKind::interrupt())?);
    let told = async {
        tokio::select! {
            _ = hangup.recv() => "SIGHUP",
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    };
    tokio::pin!(told);
    let lab = tokio::select! {
        started = Lab::start(config, options) => started?,
        by = &mut told => return Err(fail!(Code::Cancelled, "the lab was stopped by {by} before it was up")),
    };
    let process = Process::own().ok_or_else(|| fail!(Code::Internal, "this process cannot be found"))?;
    let here = Running {
        schema: 1,
        url: lab.url().to_owned(),
        region: lab.region().to_owned(),
        dir: lab.dir().to_owned(),
        process,
        started: clock::now_text(),
    };
    let text = serde_json::to_vec_pretty(&here).map_err(|error| fail!(Code::Internal, "`lab.json`: {error}"))?;
    disk::write_file(&beacon(lab.dir()), &text, 0o600, None)?;
    let done = ready(&here);
    if done.is_ok() {
        let by = told.await;
        tracing::info!(by, "the lab ends");
    }
    let dir = lab.dir().to_owned();
    let ended = lab.shutdown().await;
    disk::remove_file(&beacon(&dir))?;
    done.and(ended)
}

/// Brings up a lab by running `command`, which has to call [`foreground`] for the same folder. Returns when it answers;
/// a lab that runs already is as good.
///
/// # Errors
/// `lab_failed` with the end of `lab.log` when it does not come up.
pub async fn up(dir: &Path, mut command: Command) -> Result<Running> {
    if let Some(found) = running(dir) {
        return Ok(found);
    }
    disk::make_folder(dir, 0o755)?;
    let log = dir.join("lab.log");
    let file = fs::OpenOptions::new().create(true).append(true).open(&log).map_err(disk::failed("open", &log))?;
    disk::set_mode(&log, 0o600)?;
    let second = file.try_clone().map_err(disk::failed("open", &log))?;
    command.stdin(Stdio::null()).stdout(Stdio::from(file)).stderr(Stdio::from(second));
    // A group of its own: a Ctrl-C that is meant for the next command in this terminal does not reach it.
    command.process_group(0);
    let mut child =
        command.spawn().map_err(|error| fail!(Code::LabFailed, "the lab's process cannot be started: {error}"))?;
    let pid = i32::try_from(child.id()).unwrap_or_default();
    let dir = dir.to_owned();
    poll::until("the lab to be up", poll::Patience::ms(30, UP_DEADLINE_MS), async move || {
        if let Some(found) = running(&dir).filter(|found| found.process.pid == pid) {
            return Ok(poll::Seen::Ready(found));
        }
        match child.try_wait() {
            Ok(None) => Ok(poll::Seen::NotYet("starting".into())),
            _ => Err(fail!(Code::LabFailed, "the lab ended while it was starting")
                .detail("log", last_lines(&log))
                .hint(format!("read {}", log.display()))),
        }
    })
    .await
}

fn last_lines(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}

/// Ends the servers of labs below this folder whose process was killed, as a rehearsal may be. Their files stay, for
/// whoever wants to look at them.
pub fn end_left_over(labs: &Path) {
    for dir in disk::entries(labs).iter().filter(|dir| dir.join("lab.lock").is_file()) {
        // A lab that lives holds its lock.
        let Ok(_lock) = take_lock(dir) else { continue };
        let ended = end_everything(dir);
        if ended > 0 {
            tracing::warn!(dir = %dir.display(), ended, "servers of a killed lab were ended");
        }
    }
}

/// Brings down the lab of this folder and leaves no process of it, also when it had been killed. Its state stays.
/// False when nothing ran.
///
/// # Errors
/// `lab_failed` when the folder belongs to a lab inside another program, such as a rehearsal.
pub async fn down(dir: &Path) -> Result<bool> {
    let found = running(dir);
    if let Some(lab) = &found {
        lab.process.signal(Signal::SIGTERM);
        let process = lab.process.clone();
        let gone = poll::until("the lab to end", poll::Patience::ms(30, DOWN_DEADLINE_MS), async move || {
            let alive = process.is_alive();
            Ok(if alive { poll::Seen::NotYet("running".into()) } else { poll::Seen::Ready(()) })
        });
        if gone.await.is_err() {
            lab.process.signal(Signal::SIGKILL);
        }
    }
    if !dir.is_dir() {
        return Ok(false);
    }
    // From here on nobody else may start what is being ended.
    let _lock = take_lock(dir)?;
    let left = end_everything(dir);
    disk::remove_file(&beacon(dir))?;
    Ok(found.is_some() || left > 0)
}
