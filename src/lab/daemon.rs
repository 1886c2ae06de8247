//! A lab in a process of its own: brought up, found, asked, brought down. `lab.json` in its folder says where it is.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use super::{
    Lab, LabOptions,
    authority::{ca_file, instance_host},
    disk,
    life::take_lock,
    postgres::{Process, Version},
    proxy::proxy_host,
    work::end_servers,
    world::World,
};
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
    disk::write_file(&beacon(lab.dir()), &text, 0o644, None)?;
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
    let mut left = 0;
    for parent in ["instances", "snapshots"] {
        for folder in disk::entries(&dir.join(parent)) {
            left += end_servers(&folder);
        }
    }
    disk::remove_file(&beacon(dir))?;
    Ok(found.is_some() || left > 0)
}

/// What `pgrun lab status` shows.
#[derive(Clone, Debug)]
pub struct Status {
    /// The lab that runs, if one does.
    pub running: Option<Running>,
    /// Its folder.
    pub dir: PathBuf,
    /// Instances: identifier, status, version, address.
    pub instances: Vec<(String, &'static str, Version, Option<String>)>,
    /// Of each instance, in the same order: the name in its certificate, and whether its master user is a superuser.
    pub servers: Vec<(String, bool)>,
    /// Proxies: name, status, the name in its certificate, port on 127.0.0.1.
    pub proxies: Vec<(String, &'static str, String, Option<u16>)>,
    /// Snapshots: identifier, status, version, instance.
    pub snapshots: Vec<(String, &'static str, Version, String)>,
    /// Names of secrets.
    pub secrets: Vec<String>,
}

/// Reads the state of the lab in this folder, running or not.
///
/// # Errors
/// `lab_failed` when the state cannot be read.
pub fn status(dir: &Path) -> Result<Status> {
    let world = World::load(&dir.join("world.json"))?.unwrap_or_else(|| World::new(""));
    let address = |port: Option<u16>| port.map(|port| format!("127.0.0.1:{port}"));
    let instances = world.instances.values().map(|i| (i.id.clone(), i.status.text(), i.version, address(i.port)));
    let snapshots = world.snapshots.values().map(|s| (s.id.clone(), s.status.text(), s.version, s.instance.clone()));
    Ok(Status {
        running: running(dir),
        dir: dir.to_owned(),
        instances: instances.collect(),
        servers: world.instances.values().map(|i| (instance_host(&i.id, &world.region), i.superuser_master)).collect(),
        proxies: world
            .proxies
            .values()
            .map(|p| (p.name.clone(), p.status(), proxy_host(&p.name, &world.region), p.port))
            .collect(),
        snapshots: snapshots.collect(),
        secrets: world.secrets.keys().cloned().collect(),
    })
}

impl Status {
    /// The lab's authority, for `sslrootcert`.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        ca_file(&self.dir)
    }

    /// Where an instance or a proxy listens on 127.0.0.1, and the name in its certificate.
    #[must_use]
    pub fn place(&self, name: &str) -> Option<(u16, &str)> {
        let mut instances = self.instances.iter().zip(&self.servers).filter(|((id, ..), _)| id == name);
        let instance = instances.find_map(|((_, _, _, address), (host, _))| {
            Some((address.as_ref()?.rsplit_once(':')?.1.parse().ok()?, host.as_str()))
        });
        let mut proxies = self.proxies.iter().filter(|(known, ..)| known == name);
        instance.or_else(|| proxies.find_map(|(_, _, host, port)| Some(((*port)?, host.as_str()))))
    }

    /// What kind of role the master users are: `rds_superuser`, `superuser`, or `mixed`; none without instances.
    #[must_use]
    pub fn master_user(&self) -> Option<&'static str> {
        let all = |kind: bool| self.servers.iter().all(|(_, superuser)| *superuser == kind);
        (!self.servers.is_empty()).then(|| {
            if all(true) {
                "superuser"
            } else if all(false) {
                "rds_superuser"
            } else {
                "mixed"
            }
        })
    }

    /// [`Status::master_user`] as a sentence, with the versions it is true for.
    #[must_use]
    pub fn masters(&self) -> String {
        let of = |kind: bool| -> Vec<String> {
            let both = self.instances.iter().zip(&self.servers);
            let mut found: Vec<Version> =
                both.filter(|(_, (_, superuser))| *superuser == kind).map(|((_, _, version, _), _)| *version).collect();
            found.sort();
            found.dedup();
            found.iter().map(ToString::to_string).collect()
        };
        let (like_rds, superusers) = (of(false), of(true));
        let why = "what RDS refuses them is not refused here (no C compiler, or no server headers of that version)";
        match (like_rds.is_empty(), superusers.is_empty()) {
            (true, true) => "no master user yet".to_owned(),
            (false, true) => "master users are members of rds_superuser, as on RDS".to_owned(),
            (true, false) => format!("master users are superusers: {why}"),
            (false, false) => format!(
                "master users are as on RDS in {}, and superusers in {}: there {why}",
                like_rds.join(", "),
                superusers.join(", ")
            ),
        }
    }

    /// The documented JSON: no field of it is ever removed.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let instances: Vec<Value> = self
            .instances
            .iter()
            .zip(&self.servers)
            .map(|((id, status, version, address), (host, superuser))| {
                let master = if *superuser { "superuser" } else { "rds_superuser" };
                let version = version.to_string();
                json!({ "id": id, "status": status, "engine_version": version, "endpoint": address, "host": host,
                    "master_user": master })
            })
            .collect();
        let snapshots: Vec<Value> = self
            .snapshots
            .iter()
            .map(|(id, status, version, instance)| {
                let version = version.to_string();
                json!({ "id": id, "status": status, "engine_version": version, "instance": instance })
            })
            .collect();
        let proxies: Vec<Value> = self
            .proxies
            .iter()
            .map(|(name, status, host, port)| json!({ "name": name, "status": status, "host": host, "port": port }))
            .collect();
        let running = self.running.as_ref();
        json!({
            "schema": 1,
            "running": running.is_some(),
            "url": running.map(|lab| &lab.url),
            "region": running.map(|lab| &lab.region),
            "pid": running.map(|lab| lab.process.pid),
            "started": running.map(|lab| &lab.started),
            "dir": self.dir,
            "master_user": self.master_user(),
            "ca": self.ca(),
            "instances": instances,
            "proxies": proxies,
            "snapshots": snapshots,
            "secrets": self.secrets,
        })
    }
}
