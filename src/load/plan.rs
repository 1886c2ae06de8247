//! What a load consists of.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;

use crate::base::{Result, Secret};

/// A server as a client of the load sees it.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The host's name or address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The database.
    pub database: String,
    /// The login role.
    pub user: String,
    /// Its password.
    pub password: Secret,
    /// TLS as it is to be spoken; `None` speaks plainly. Which certificates are trusted is the caller's decision.
    pub tls: Option<Arc<rustls::ClientConfig>>,
}

impl Endpoint {
    /// `host:port`, by which endpoints are told apart.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// Tells an application where its database is, each time it asks: the current value of its secret.
#[derive(Clone)]
pub struct Source(Arc<dyn Fn() -> BoxFuture<'static, Result<Endpoint>> + Send + Sync>);

impl Source {
    /// A source that calls `ask`.
    pub fn new<F, A>(ask: F) -> Self
    where
        F: Fn() -> A + Send + Sync + 'static,
        A: Future<Output = Result<Endpoint>> + Send + 'static,
    {
        Self(Arc::new(move || Box::pin(ask())))
    }

    pub(super) async fn ask(&self) -> Result<Endpoint> {
        (self.0)().await
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source")
    }
}

/// Writers that know both endpoints.
#[derive(Clone, Debug)]
pub struct Probes {
    /// How many.
    pub writers: u16,
    /// Where they begin.
    pub a: Endpoint,
    /// Where they go when that fails, and back.
    pub b: Option<Endpoint>,
    /// The pause after a write, and before the other endpoint is tried.
    pub think: Duration,
}

impl Probes {
    /// Four writers with 2 ms of think time: the same measure for every system compared.
    #[must_use]
    pub fn new(a: Endpoint, b: Option<Endpoint>) -> Self {
        Self { writers: 4, a, b, think: Duration::from_millis(2) }
    }
}

/// Clients that ask where to go.
#[derive(Clone, Debug)]
pub struct Applications {
    /// How many.
    pub clients: u16,
    /// Sessions that their pools hold besides, without using them. A fence has to end them, and they come back.
    pub idle: u16,
    /// Whom they ask.
    pub source: Source,
    /// The pause after an operation.
    pub think: Duration,
    /// The least time between two questions, of all clients together. Applications throttle this, because Secrets
    /// Manager throttles them; half of it is part of the outage they see.
    pub refetch_every: Duration,
}

impl Applications {
    /// Clients with 5 ms of think time that ask at most every 250 ms.
    #[must_use]
    pub fn new(clients: u16, source: Source) -> Self {
        Self { clients, idle: 0, source, think: Duration::from_millis(5), refetch_every: Duration::from_millis(250) }
    }
}

/// A load.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The schema that [`super::prepare`] made.
    pub schema: String,
    /// Writers that know both endpoints.
    pub probes: Option<Probes>,
    /// Clients that ask where to go.
    pub applications: Option<Applications>,
    /// When the load ends by itself.
    pub max_duration: Duration,
    /// The longest time for one connect and for one statement. A server that is frozen for a snapshot answers within
    /// half a second; what takes longer is given up, and the write is in doubt.
    pub attempt_limit: Duration,
    /// How long the clients may take until each has written once; after it the load does not start.
    pub start_limit: Duration,
    /// A file that gets the ledger too, a line per write, as evidence.
    pub ledger_file: Option<PathBuf>,
}

impl Plan {
    /// A plan without clients, in the schema `load`, for an hour at most.
    #[must_use]
    pub fn new() -> Self {
        Self {
            schema: "load".to_owned(),
            probes: None,
            applications: None,
            max_duration: Duration::from_secs(3600),
            attempt_limit: Duration::from_secs(3),
            start_limit: Duration::from_secs(30),
            ledger_file: None,
        }
    }

    /// The same plan with these probes.
    #[must_use]
    pub fn probes(mut self, probes: Probes) -> Self {
        self.probes = Some(probes);
        self
    }

    /// The same plan with these applications.
    #[must_use]
    pub fn applications(mut self, applications: Applications) -> Self {
        self.applications = Some(applications);
        self
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self::new()
    }
}
