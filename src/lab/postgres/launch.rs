//! Brings a postmaster up on a port that it really has. What a server is afterwards stands in `server`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use nix::sys::signal::Signal;
use rand::Rng as _;
use tokio::process::Child;

use super::{
    Installation, Process, ServerOptions, ServerUser, Shutdown, conf_text, disk_fault, hba_text, program, session,
};
use crate::{
    base::{Code, Error, Result, clock, poll},
    fail,
    lab::disk,
};

/// Ports of servers. They end below the kernel's range for outgoing connections (32768 on Linux, 49152 elsewhere), so
/// that a client's own port cannot take one while its server restarts.
const PORTS: std::ops::RangeInclusive<u16> = 22_000..=32_700;

/// How many ports are tried before giving up; each failure means that somebody else listens there.
const PORT_TRIES: usize = 40;

/// Starts the postmaster on the first port that it can have, and gives the port and the proved process.
///
/// A port is never reserved by binding and letting go: the server's own bind decides, and a server that lost it to
/// somebody else is started again on the next one.
pub(super) async fn launch(
    installation: &Installation,
    folder: &Path,
    options: &ServerOptions,
    user: Option<&ServerUser>,
) -> Result<(u16, Process)> {
    write_hba(folder, options, user)?;
    let begun = clock::instant();
    if let Some(port) = options.port {
        await_free(port).await;
    }
    let random = (0..PORT_TRIES).map(|_| rand::rng().random_range(PORTS));
    for port in options.port.into_iter().chain(random).filter(|port| !taken(*port)) {
        loop {
            write_conf(folder, options, port, user)?;
            match attempt(installation, folder, options, port, user).await? {
                Attempt::Up(process) => return Ok((port, process)),
                Attempt::PortLost => break,
                Attempt::StillHeld if begun.elapsed() < HELD_FOR => {
                    // Whoever was killed while it copied left them frozen: frozen ones never notice.
                    let is_late = begun.elapsed() > NOTICES_WITHIN;
                    tell_orphans(&folder.join("data"), if is_late { Signal::SIGKILL } else { Signal::SIGCONT });
                    clock::sleep(Duration::from_millis(200)).await;
                }
                Attempt::StillHeld => return Err(did_not_start(folder, STILL_HELD[0])),
                Attempt::Failed(log) => return Err(did_not_start(folder, &log)),
            }
        }
    }
    Err(fail!(Code::LabFailed, "no free port was found between {} and {}", PORTS.start(), PORTS.end()))
}

/// Writes `pg_hba.conf` anew.
pub(super) fn write_hba(folder: &Path, options: &ServerOptions, user: Option<&ServerUser>) -> Result<()> {
    let text = hba_text(&options.superuser, &options.hba, options.tls_only);
    disk::write_file(&folder.join("data/pg_hba.conf"), text.as_bytes(), 0o600, user)
}

/// Writes `postgresql.conf` anew.
pub(super) fn write_conf(folder: &Path, options: &ServerOptions, port: u16, user: Option<&ServerUser>) -> Result<()> {
    let text = conf_text(&options.all_settings(), port, &folder.join("log/error"));
    disk::write_file(&folder.join("data/postgresql.conf"), text.as_bytes(), 0o600, user)
}

/// Backends that wait for anything notice the death of their postmaster at once.
const NOTICES_WITHIN: Duration = Duration::from_secs(3);

/// Whoever holds the shared memory of a killed postmaster for longer cannot be ended.
const HELD_FOR: Duration = Duration::from_secs(60);

/// Signals what a killed postmaster left in its data folder. A backend that computes never notices, nor does one that
/// waits for WAL which nobody writes any more, as `pg_create_logical_replication_slot` does (`read_local_xlog_page`,
/// xlogutils.c).
pub(super) fn tell_orphans(data: &Path, signal: Signal) {
    if Process::serving(data).is_some() {
        return;
    }
    for backend in Process::all_in(data).unwrap_or_default() {
        backend.signal(signal);
    }
}

enum Attempt {
    Up(Process),
    PortLost,
    StillHeld,
    Failed(String),
}

/// What a postmaster says that comes too soon after a killed one: its backends hold the shared memory until they have
/// noticed, and its pid exists until its parent has asked for it (`src/backend/utils/init/miscinit.c`).
const STILL_HELD: [&str; 2] = ["pre-existing shared memory block", "lock file \"postmaster.pid\" already exists"];

/// A killed postmaster stays a zombie for ever where the parent of all processes does not reap, as in some containers;
/// PostgreSQL takes it for alive. When nobody works in the data folder its lock file means nothing.
fn forget_zombie(data: &Path) -> Result<()> {
    let Some(lock) = LockFile::read(data) else { return Ok(()) };
    if Process::is_zombie(lock.pid) && Process::all_in(data).is_some_and(|all| all.is_empty()) {
        disk::remove_file(&data.join("postmaster.pid"))?;
    }
    Ok(())
}

async fn attempt(
    installation: &Installation,
    folder: &Path,
    options: &ServerOptions,
    port: u16,
    user: Option<&ServerUser>,
) -> Result<Attempt> {
    forget_zombie(&folder.join("data"))?;
    let said_before = fs::metadata(first_log(folder)).map_or(0, |meta| meta.len());
    let mut child = Starting(Some(spawn(installation, folder, options, user)?));
    let ready = child.ready(folder, options, port).await;
    if let Ok(Some(process)) = ready {
        child.0 = None;
        return Ok(Attempt::Up(process));
    }
    let log = said_since(folder, said_before);
    match ready {
        Ok(_) if taken(port) => Ok(Attempt::PortLost),
        Ok(_) if STILL_HELD.iter().any(|words| log.contains(words)) => Ok(Attempt::StillHeld),
        Ok(_) => Ok(Attempt::Failed(log)),
        Err(error) => Err(error.detail("log", log)),
    }
}

/// True when somebody listens on the port. Only a look.
fn taken(port: u16) -> bool {
    std::net::TcpListener::bind(("127.0.0.1", port)).is_err()
}

/// The port of a server that was killed is free when its last backend has noticed; a client's pooled address is worth
/// waiting for. Who else holds it keeps it: then another port is taken.
async fn await_free(port: u16) {
    let freed = poll::until("the port to be free", poll::Patience::ms(20, 2_000), async move || {
        Ok(if taken(port) { poll::Seen::NotYet("taken".into()) } else { poll::Seen::Ready(()) })
    });
    if let Err(error) = freed.await {
        tracing::info!(port, %error, "another port is taken");
    }
}

fn did_not_start(folder: &Path, log: &str) -> Error {
    let reason = log.lines().rev().find_map(|line| line.split_once("FATAL:")).map_or("", |(_, reason)| reason.trim());
    fail!(Code::LabFailed, "the server in `{}` did not start: {reason}", folder.display())
        .detail("log", log)
        .hint(format!("read the files in {}/log/error", folder.display()))
}

fn spawn(
    installation: &Installation,
    folder: &Path,
    options: &ServerOptions,
    user: Option<&ServerUser>,
) -> Result<Child> {
    let log = first_log(folder);
    let file = disk::append_to(&log, user)?;
    let second = file.try_clone().map_err(disk::failed("open", &log))?;
    let mut command = program::command(&installation.program("postgres"), user);
    command.arg("-D").arg(folder.join("data")).stdout(Stdio::from(file)).stderr(Stdio::from(second));
    if let Some(library) = &options.disk_fault_library {
        // A page that is there keeps what it says: the disk is as full for a server that starts again.
        if !disk_fault::page(folder).is_file() {
            disk_fault::set(folder, disk_fault::DiskFault::default())?;
        }
        command.env("LD_PRELOAD", library).env(disk_fault::VARIABLE, disk_fault::page(folder));
    }
    // A group of its own: a Ctrl-C at the terminal is meant for pgrun, which then stops its servers in order.
    command.process_group(0).kill_on_drop(false);
    command.spawn().map_err(|error| fail!(Code::LabFailed, "cannot run `postgres`: {error}"))
}

/// A postmaster that has not answered yet. Dropped before it did, also by cancellation, it is ended.
struct Starting(Option<Child>);

impl Starting {
    /// Waits until it answers and is proved to be ours; `None` when it ended instead.
    async fn ready(&self, folder: &Path, options: &ServerOptions, port: u16) -> Result<Option<Process>> {
        let Some(process) = self.process() else { return Ok(None) };
        let patience = poll::Patience { every: Duration::from_millis(20), deadline: options.deadline };
        let (folder, options) = (folder.to_owned(), options.clone());
        poll::until("the server to accept connections", patience, async move || {
            if !process.is_alive() {
                return Ok(poll::Seen::Ready(None));
            }
            let lock = LockFile::read(&folder.join("data"));
            if lock.is_none_or(|lock| lock.pid != process.pid || !lock.ready) {
                return Ok(poll::Seen::NotYet("starting".into()));
            }
            Ok(match session::prove(&options, port, &folder).await {
                Ok(()) => poll::Seen::Ready(Some(process.clone())),
                Err(error) => poll::Seen::NotYet(error.message().to_owned()),
            })
        })
        .await
    }

    fn process(&self) -> Option<Process> {
        self.0.as_ref().and_then(Child::id).and_then(|pid| i32::try_from(pid).ok()).and_then(Process::of)
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(process) = self.process() {
            end_blocking(&process);
        }
    }
}

/// Ends a postmaster and whatever it started, without a checkpoint. For `Drop`: there is no runtime to wait in.
pub(super) fn end_blocking(process: &Process) {
    let mut all = process.descendants();
    // A frozen process does not take the next signal.
    for frozen in &all {
        frozen.signal(Signal::SIGCONT);
    }
    process.signal(Signal::SIGCONT);
    process.signal(Signal::SIGQUIT);
    // A postmaster answers SIGQUIT within 5 s: then it kills what is left of its children by itself.
    if !process.wait_gone_blocking(Duration::from_secs(6)) {
        all.push(process.clone());
        for left in &all {
            left.signal(Signal::SIGKILL);
        }
    }
    if !all.iter().all(|left| left.wait_gone_blocking(Duration::from_secs(2))) {
        tracing::warn!(pid = process.pid, "a process of this server is left");
    }
}

/// Stops a postmaster and waits until none of its processes is left; forces what takes longer than 30 s.
pub(super) async fn stop(postmaster: &Process, how: Shutdown) -> Result<()> {
    let mut all = postmaster.descendants();
    all.push(postmaster.clone());
    let gentle = if how == Shutdown::Fast { Signal::SIGINT } else { Signal::SIGQUIT };
    for (signal, deadline_ms) in [(gentle, 30_000), (Signal::SIGQUIT, 6_000), (Signal::SIGKILL, 10_000)] {
        // Backends of a postmaster that is killed would live on for a while.
        let told = if signal == Signal::SIGKILL { all.as_slice() } else { std::slice::from_ref(postmaster) };
        for process in told {
            process.signal(signal);
        }
        let all = all.clone();
        let ended = poll::until("the server to end", poll::Patience::ms(10, deadline_ms), async move || {
            let left = all.iter().filter(|process| process.is_alive()).count();
            Ok(if left == 0 { poll::Seen::Ready(()) } else { poll::Seen::NotYet(format!("{left} processes")) })
        });
        if ended.await.is_ok() {
            return Ok(());
        }
    }
    Err(fail!(Code::Timeout, "the server with process {} cannot be stopped", postmaster.pid))
}

/// The port in a data folder's lock file.
pub(super) fn lock_port(data: &Path) -> Option<u16> {
    LockFile::read(data).map(|lock| lock.port)
}

/// `postmaster.pid`: its lines are listed in `src/include/utils/pidfile.h`.
struct LockFile {
    pid: i32,
    port: u16,
    ready: bool,
}

impl LockFile {
    fn read(data: &Path) -> Option<Self> {
        let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let ready = lines.get(7).is_some_and(|status| *status == "ready");
        Some(Self { pid: lines.first()?.parse().ok()?, port: lines.get(3)?.parse().ok()?, ready })
    }
}

/// Where a postmaster writes before its log collector runs.
fn first_log(folder: &Path) -> PathBuf {
    folder.join("log/error/postgres.log")
}

/// What the server said before its log collector ran, from an offset on, and the end of the newest hourly file.
fn said_since(folder: &Path, offset: u64) -> String {
    let first = fs::read(first_log(folder)).unwrap_or_default();
    let begin = usize::try_from(offset).unwrap_or(usize::MAX).min(first.len());
    let written = |path: &PathBuf| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    let hourly = disk::entries(&folder.join("log/error")).into_iter().filter(|path| *path != first_log(folder));
    let newest = hourly.max_by_key(written).and_then(|path| fs::read(path).ok()).unwrap_or_default();
    let text = String::from_utf8_lossy(&newest).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines[lines.len().saturating_sub(15)..].join("\n");
    format!("{tail}\n{}", String::from_utf8_lossy(&first[begin..]))
}
