//! The synthetic application: probes and clients that write, keep a ledger, and tell what was lost, doubled and how
//! long.
//!
//! It lives in the process of the rehearsal, so it outlives every kill of the run that it watches, and it knows nothing
//! of runbooks, RDS or replication: it writes, and remembers what the server acknowledged.
//!
//! - *Probes* know both endpoints and alternate between them on any error. They measure the outage itself.
//! - *Applications* know where to go only by asking, as an application asks its secret. They measure what users see.
//!   Their pools may hold sessions that nobody uses: a fence has more to end then, and a server more to let in again.
//!
//! Every write carries a tag of its own. A write is *acknowledged* when the server said that it is committed, *failed*
//! when it said that it is not, and *in doubt* when it said neither; a retry is a new write with a new tag. Afterwards
//! [`Outcome::verify`] looks for the tags at one endpoint.

mod application;
mod connection;
mod ledger;
mod outage;
mod plan;
mod pool;
mod prepare;
mod probe;
mod proof;
mod series;
mod tables;
mod verify;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{sync::watch, task::JoinSet};

pub use ledger::{Fate, Ledger, Operation, Record};
pub use outage::{Lap, Spread};
pub use plan::{Applications, Endpoint, Plan, Probes, Source};
pub use prepare::prepare;
pub use proof::Proof;
pub use series::{Beats, Tick};

use crate::{
    base::{
        Code, Map, Result, clock,
        poll::{self, Patience, Seen},
    },
    fail, map,
};
use application::Application;
use connection::Opening;
use ledger::Book;
use pool::Held;
use probe::{Places, Probe};
use tables::Tables;

/// A load that runs. Dropping it ends it at once.
pub struct Load {
    book: Arc<Book>,
    places: Places,
    tables: Arc<Tables>,
    running: Arc<AtomicUsize>,
    held: Arc<Held>,
    stop: watch::Sender<bool>,
    clients: JoinSet<()>,
    patience: Duration,
}

/// Tells the probes of a load a second endpoint, when it becomes known.
#[derive(Clone)]
pub struct SecondEndpoint {
    book: Arc<Book>,
    places: Places,
}

impl SecondEndpoint {
    /// From now on a probe that meets an error tries this endpoint too.
    pub fn set(&self, endpoint: Endpoint) {
        self.places.add(self.book.place(&endpoint.address()), endpoint);
    }
}

/// How a load is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Clients that run: all of them until the load ends.
    pub running: usize,
    /// Milliseconds since the start.
    pub elapsed_ms: u64,
    /// Writes acknowledged.
    pub acknowledged: u64,
    /// Writes that the server refused.
    pub failed: u64,
    /// Writes whose outcome is not known.
    pub in_doubt: u64,
    /// Milliseconds since the last acknowledgement; `None` before the first.
    pub silent_ms: Option<u64>,
    /// Where the last acknowledgement came from, as `host:port`.
    pub endpoint: Option<String>,
    /// Sessions that pools hold now.
    pub idle: usize,
    /// How often one of those was ended by the server.
    pub idle_ended: usize,
}

impl Status {
    /// The status for scripts.
    #[must_use]
    pub fn to_map(&self) -> Map {
        let int = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        map! {
            "running" => i64::try_from(self.running).unwrap_or(i64::MAX),
            "elapsed_ms" => int(self.elapsed_ms),
            "acknowledged" => int(self.acknowledged),
            "failed" => int(self.failed),
            "in_doubt" => int(self.in_doubt),
            "silent_ms" => self.silent_ms.map(int),
            "endpoint" => self.endpoint.as_deref(),
            "idle" => i64::try_from(self.idle).unwrap_or(i64::MAX),
            "idle_ended" => i64::try_from(self.idle_ended).unwrap_or(i64::MAX),
        }
    }
}

/// What a load has done. [`Outcome::verify`] compares it with a server.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Everything that was sent, and what became of it.
    pub ledger: Ledger,
    tables: Arc<Tables>,
}

/// What every client of a load shares.
#[derive(Clone)]
struct Shared {
    book: Arc<Book>,
    tables: Arc<Tables>,
    stop: watch::Receiver<bool>,
    begun: Instant,
    max_duration: Duration,
    attempt_limit: Duration,
}

impl Shared {
    /// Whether the client has to end: it was told so, the time is up, or the ledger is full.
    fn is_over(&self) -> bool {
        *self.stop.borrow() || self.begun.elapsed() >= self.max_duration || self.book.is_full()
    }
}

impl Load {
    /// Starts the clients of a plan, and returns when each has had its first acknowledgement and the pools are full.
    ///
    /// # Errors
    /// `value_guard` for a plan without clients or with a schema that is no identifier; `timeout` when a client cannot
    /// write, or a pool is not full, within the plan's `start_limit`, with the last reason.
    pub async fn start(plan: Plan) -> Result<Self> {
        let writers = plan.probes.as_ref().map_or(0, |probes| probes.writers);
        let idle = plan.applications.as_ref().map_or(0, |applications| applications.idle);
        let others = plan.applications.as_ref().map_or(0, |applications| applications.clients);
        let Some(all @ 1..) = writers.checked_add(others) else {
            return Err(fail!(
                Code::ValueGuard,
                "got {writers} probes and {others} clients, wanted 1 to 65535 together"
            ));
        };
        let tables = Arc::new(Tables::new(&plan.schema)?);
        let book = Arc::new(Book::open(plan.ledger_file, writers)?);
        let (stop, stopped) = watch::channel(false);
        let shared = Shared {
            book: Arc::clone(&book),
            tables: Arc::clone(&tables),
            stop: stopped,
            begun: book.begun(),
            max_duration: plan.max_duration,
            attempt_limit: plan.attempt_limit,
        };
        let places = Places::new(vec![]);
        let running = Arc::new(AtomicUsize::new(0));
        let held = Arc::new(Held::default());
        let mut clients = JoinSet::new();
        if let Some(probes) = plan.probes {
            for endpoint in [Some(probes.a), probes.b].into_iter().flatten() {
                places.add(book.place(&endpoint.address()), endpoint);
            }
            for client in 0..writers {
                let probe = Probe::new(shared.clone(), client, places.clone(), probes.think);
                clients.spawn(counted(&running, probe.run()));
            }
        }
        if let Some(applications) = plan.applications {
            let directory = Arc::new(application::Directory::new(applications.source, applications.refetch_every));
            let opening = Arc::new(Opening::waiting_up_to(application::LONGEST_PAUSE));
            for client in writers..all {
                let (directory, opening) = (Arc::clone(&directory), Arc::clone(&opening));
                let application = Application::new(shared.clone(), client, directory, opening, applications.think);
                clients.spawn(counted(&running, application.run()));
            }
            pool::hold(&mut clients, applications.idle, &shared, &directory, &held);
        }
        let patience = plan.attempt_limit.saturating_mul(3);
        let load = Self { book, places, tables, running, held, stop, clients, patience };
        load.all_write(all, plan.start_limit).await?;
        load.all_held(idle, plan.start_limit).await?;
        Ok(load)
    }

    async fn all_write(&self, count: u16, limit: Duration) -> Result<()> {
        let what = format!("all {count} clients of the load to write");
        poll::until(&what, Patience { every: Duration::from_millis(5), deadline: limit }, async || {
            let writing = self.book.clients_heard();
            if writing >= usize::from(count) {
                return Ok(Seen::Ready(()));
            }
            let reason = self.book.last_failure().unwrap_or_else(|| "none has failed".to_owned());
            Ok(Seen::NotYet(format!("{writing} write; {reason}")))
        })
        .await
    }

    async fn all_held(&self, count: u16, limit: Duration) -> Result<()> {
        let what = format!("the pools to hold {count} sessions");
        poll::until(&what, Patience { every: Duration::from_millis(5), deadline: limit }, async || {
            let (open, _) = self.held.counts();
            let reason = self.held.last_failure().unwrap_or_else(|| "none has failed".to_owned());
            let is_full = open >= usize::from(count);
            Ok(if is_full { Seen::Ready(()) } else { Seen::NotYet(format!("{open} are open; {reason}")) })
        })
        .await
    }

    /// For an endpoint that is not known yet, such as an instance that the procedure will make.
    #[must_use]
    pub fn second_endpoint(&self) -> SecondEndpoint {
        SecondEndpoint { book: Arc::clone(&self.book), places: self.places.clone() }
    }

    /// How it is doing now.
    #[must_use]
    pub fn status(&self) -> Status {
        let (idle, idle_ended) = self.held.counts();
        Status { idle, idle_ended, ..self.book.status(self.running.load(Ordering::Relaxed)) }
    }

    /// A copy of the ledger as it is now.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.book.ledger()
    }

    /// Begins a lap. Outages and split brain are looked for within a lap, which has one switch of endpoints at most:
    /// say it between a cutover and its rollback. The first lap begins with the load.
    pub fn lap(&self, name: &str) {
        self.book.lap(name);
    }

    /// Ends the load: no client begins another write, and those on their way are waited for.
    pub async fn stop(mut self) -> Outcome {
        // Nobody listens when all clients have ended by themselves.
        let _ = self.stop.send(true);
        let ended = clock::within(self.patience, async { while self.clients.join_next().await.is_some() {} }).await;
        if ended.is_none() {
            tracing::debug!("clients of the load did not end in time and are dropped");
            self.clients.shutdown().await;
        }
        Outcome { ledger: self.book.close(), tables: self.tables }
    }
}

/// Runs a client and counts it as running meanwhile, also when it is aborted.
fn counted<F: Future<Output = ()>>(running: &Arc<AtomicUsize>, client: F) -> impl Future<Output = ()> + use<F> {
    struct Count(Arc<AtomicUsize>);
    impl Drop for Count {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
    running.fetch_add(1, Ordering::Relaxed);
    let count = Count(Arc::clone(running));
    async move {
        let _count = count;
        client.await;
    }
}
