//! A lab from its start to its shutdown, inside this process. The command line's process of its own is in `daemon`.

use std::{fs, path::Path, sync::Arc, time::Duration};

use futures_util::future::join_all;
use nix::sys::signal::Signal;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

use super::{
    disk, endpoint,
    fault::{Fault, Struck},
    ledger::Calls,
    options::LabOptions,
    postgres::{Catalogue, Process, ServerUser, Shutdown, require_reachable},
    site::Site,
    work,
    world::World,
};
use crate::{
    base::{Code, Result, clock, config::Config},
    fail,
};

/// Open connections get this long to take their answers before the endpoint is closed under them.
const LAST_ANSWERS: Duration = Duration::from_secs(3);

/// A running lab. Its servers end with it.
pub struct Lab {
    site: Arc<Site>,
    url: String,
    closing: Option<oneshot::Sender<()>>,
    endpoint: JoinHandle<()>,
    watch: JoinHandle<()>,
    /// Locked for as long as the lab lives: two labs in one folder would fight over its servers.
    _lock: fs::File,
}

/// The faults of a running lab.
#[derive(Clone)]
pub struct FaultDesk(Arc<Site>);

impl FaultDesk {
    /// Adds a fault; it strikes from the next call on.
    ///
    /// # Errors
    /// `usage` for a fault that there is not.
    pub fn add(&self, fault: Fault) -> Result<()> {
        self.0.faults.add(fault)
    }

    /// All faults, those that are over included.
    #[must_use]
    pub fn list(&self) -> Vec<Struck> {
        self.0.faults.list()
    }

    /// Lets the lab count its calls from here on.
    pub fn count_calls(&self) {
        self.0.ledger.forget();
    }

    /// Whether there is no fault and nothing of one lasts: every server that should run does.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.0.faults.is_empty() && !self.0.is_disturbed()
    }

    /// Ends all faults, and tells how often each has struck.
    #[expect(clippy::must_use_candidate, reason = "whoever only wants them to end does not ask")]
    pub fn clear(&self) -> Vec<Struck> {
        self.0.faults.clear()
    }
}

impl Lab {
    /// Starts the endpoint on loopback, takes up what an earlier lab in the same folder left, and is ready when this
    /// returns.
    ///
    /// # Errors
    /// `lab_failed` when another lab has the folder, the folder cannot be used, or its state cannot be read.
    pub async fn start(config: &Config, options: LabOptions) -> Result<Self> {
        let user = ServerUser::choose()?;
        require_reachable(&options.dir, user.as_ref())?;
        disk::make_folder(&options.dir, 0o755)?;
        let mut options = options;
        options.dir = options.dir.canonicalize().map_err(disk::failed("open", &options.dir))?;
        let lock = take_lock(&options.dir)?;
        for folder in ["instances", "snapshots"] {
            disk::make_folder(&options.dir.join(folder), 0o755)?;
        }
        let catalogue = Catalogue::look(config).await?;
        let mut world = World::load(&options.world_file())?.unwrap_or_else(|| World::new(&options.region));
        world.region.clone_from(&options.region);
        world.wind(options.speed);
        let listener = bind(&options, world.endpoint_port).await?;
        let address = listener.local_addr().map_err(disk::failed("bind in", &options.dir))?;
        world.endpoint_port = Some(address.port());
        world.save(&options.world_file())?;
        let site = Arc::new(Site::new(options, catalogue, user, world)?);
        for version in site.catalogue.installed() {
            site.obtain(version).await?;
        }
        work::take_up(&site).await?;
        let (closing, closed) = oneshot::channel();
        let router = endpoint::router(site.clone());
        let endpoint = tokio::spawn(async move {
            let until = async { drop(closed.await) };
            if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(until).await {
                tracing::error!(%error, "the endpoint ended");
            }
        });
        let watch = tokio::spawn(work::watch(site.clone()));
        Ok(Self { site, url: format!("http://{address}"), closing: Some(closing), endpoint, watch, _lock: lock })
    }

    /// The endpoint, for `AWS_ENDPOINT_URL`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The folder it keeps everything in.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.site.options.dir
    }

    /// Where faults of its endpoint are added and ended.
    #[must_use]
    pub fn fault_desk(&self) -> FaultDesk {
        FaultDesk(self.site.clone())
    }

    /// What its clients asked so far.
    #[must_use]
    pub fn calls(&self) -> Calls {
        self.site.ledger.calls()
    }

    /// The region in its ARNs.
    #[must_use]
    pub fn region(&self) -> &str {
        self.site.region()
    }

    /// Ends the endpoint, the work under way and every server, in this order. The folder stays: the next lab in it
    /// goes on from there.
    ///
    /// # Errors
    /// `timeout` when a server cannot be stopped.
    pub async fn shutdown(mut self) -> Result<()> {
        drop(self.closing.take());
        if clock::within(LAST_ANSWERS, &mut self.endpoint).await.is_none() {
            self.endpoint.abort();
        }
        self.watch.abort();
        self.site.end_jobs().await;
        let servers = self.site.fleet.take_all();
        let stopped = join_all(servers.iter().map(|server| server.stop(Shutdown::Fast))).await;
        stopped.into_iter().collect()
    }
}

impl Drop for Lab {
    /// What [`Lab::shutdown`] does in order, done at once: for tests that fail and programs that panic.
    fn drop(&mut self) {
        self.endpoint.abort();
        self.watch.abort();
        self.site.abort_jobs();
        drop(self.site.fleet.take_all());
    }
}

/// The lock of a lab's folder.
///
/// # Errors
/// `lab_failed` when another process holds it.
pub(super) fn take_lock(dir: &Path) -> Result<fs::File> {
    let path = dir.join("lab.lock");
    let file = fs::OpenOptions::new().create(true).append(true).open(&path).map_err(disk::failed("open", &path))?;
    match file.try_lock() {
        Ok(()) => {
            take_over(&path)?;
            Ok(file)
        }
        Err(fs::TryLockError::WouldBlock) => Err(fail!(Code::LabFailed, "another lab runs in `{}`", dir.display())
            .hint(format!("pgrun lab down --dir {}", dir.display()))),
        Err(fs::TryLockError::Error(error)) => Err(disk::failed("lock", &path)(error)),
    }
}

/// Ends the programs of the lab that held the lock before, if it was killed, and writes down who holds it now. Its
/// servers go on: they are adopted.
fn take_over(lock: &Path) -> Result<()> {
    let before = fs::read(lock).ok().and_then(|text| serde_json::from_slice::<Process>(&text).ok());
    let own = Process::own();
    for orphan in before.filter(|before| !before.is_alive()).map(|before| before.orphans()).unwrap_or_default() {
        // A server and what it started carry the mark too: they belong to a folder, and are found there.
        if !orphan.is_postgres() {
            tracing::warn!(pid = orphan.pid, "a program of a killed lab is ended");
            orphan.signal(Signal::SIGKILL);
        }
    }
    let text = serde_json::to_vec(&own).map_err(|error| fail!(Code::Internal, "`lab.lock`: {error}"))?;
    fs::write(lock, text).map_err(disk::failed("write", lock))?;
    disk::set_mode(lock, 0o600)
}

/// The port that was asked for, or the one of last time if it is free, or any. Loopback only: whoever can reach the
/// endpoint can read every secret of the lab.
async fn bind(options: &LabOptions, last: Option<u16>) -> Result<TcpListener> {
    if options.port == 0
        && let Some(last) = last
        && let Ok(listener) = TcpListener::bind(("127.0.0.1", last)).await
    {
        return Ok(listener);
    }
    TcpListener::bind(("127.0.0.1", options.port))
        .await
        .map_err(|error| fail!(Code::LabFailed, "the lab cannot listen on port {}: {error}", options.port))
}
