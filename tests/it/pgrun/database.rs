//! A PostgreSQL database of a test's own, on a server that the tests running at the same time share.

use std::sync::{Arc, Mutex, Weak};

use pgrun::{
    base::config::Config,
    lab::postgres::{Server, ServerOptions, installations},
};
use tokio::runtime::Runtime;
use tokio_postgres::NoTls;

/// Stopped when the last test that uses it is over; a static that held it would never be dropped.
static SHARED: Mutex<Weak<Shared>> = Mutex::new(Weak::new());

struct Shared {
    server: Option<Server>,
    runtime: Runtime,
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _inside = self.runtime.enter();
        self.server.take();
    }
}

/// A fresh, empty database.
pub(crate) struct Database {
    shared: Arc<Shared>,
    name: String,
}

impl Database {
    pub(crate) fn new() -> Self {
        let shared = {
            let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            shared.upgrade().unwrap_or_else(|| {
                let started = Shared::start();
                *shared = Arc::downgrade(&started);
                started
            })
        };
        Self::on_server(shared)
    }

    /// The same, on a server of its own: for what closes logins or changes settings.
    pub(crate) fn alone() -> Self {
        Self::on_server(Shared::start())
    }

    fn on_server(shared: Arc<Shared>) -> Self {
        let name = format!("t{}", uuid::Uuid::new_v4().simple());
        let database = Self { shared, name };
        database.on("postgres", &format!("CREATE DATABASE {}", database.name));
        database
    }

    /// Its URL, password included.
    pub(crate) fn url(&self) -> String {
        self.shared.server.as_ref().unwrap().url(&self.name)
    }

    /// The server's password.
    pub(crate) fn password(&self) -> String {
        self.shared.server.as_ref().unwrap().superuser().1.expose().to_owned()
    }

    /// Runs statements and gives the first column of the last rows, one line each.
    pub(crate) fn sql(&self, sql: &str) -> String {
        self.on(&self.name, sql)
    }

    fn on(&self, database: &str, sql: &str) -> String {
        let url = self.shared.server.as_ref().unwrap().url(database);
        self.shared.runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
            let connection = tokio::spawn(connection);
            let messages = client.simple_query(sql).await.unwrap();
            drop(client);
            connection.await.unwrap().unwrap();
            let values = messages.into_iter().filter_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
                _ => None,
            });
            values.collect::<Vec<_>>().join("\n")
        })
    }
}

impl Shared {
    fn start() -> Arc<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let server = runtime.block_on(async {
            let found = installations(&Config::from_env().unwrap()).await.unwrap();
            let installation = found.last().expect("no PostgreSQL is installed");
            // Logins are tested elsewhere; SCRAM costs an unoptimised build 100 ms each.
            let hba = vec!["host all all 127.0.0.1/32 trust".to_owned()];
            Server::scratch(installation, ServerOptions { hba, ..ServerOptions::default() }).await.unwrap()
        });
        Arc::new(Self { server: Some(server), runtime })
    }
}
