//! The admin console of pgbouncer: holding applications back while their database moves.
//!
//! The console speaks the simple protocol only and knows none of PostgreSQL's settings, so this is no [`Session`]. Each
//! call opens a connection of its own. A paused database lets clients wait instead of failing: `PAUSE` lets running
//! transactions end first (or in session pooling whole sessions), and until `RESUME` no query goes through (pgbouncer,
//! "Admin console"). What a database leads to stands in pgbouncer's configuration, which only `RELOAD` reads again: no
//! command changes it.
//!
//! [`Session`]: super::Session

use std::time::Duration;

use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};

use super::{failure, link, record::record, target::Target, tls};
use crate::{
    base::{Code, Error, Result, clock, ident::ident, prose, span},
    fail,
};

record! {
    /// A database as its clients see it.
    pub struct Pool {
        /// What clients call it.
        pub name: String,
        /// Where it leads; empty for a socket.
        pub host: String,
        /// The port there.
        pub port: i64,
        /// What it is called there.
        pub database: String,
        /// Clients wait.
        pub paused: bool,
        /// Connections to the server.
        pub connections: i64,
    }
}

/// The console answers from memory.
const ANSWER: Duration = Duration::from_secs(10);

/// The name of the console among pgbouncer's databases.
const CONSOLE: &str = "pgbouncer";

/// A pgbouncer, by its admin console.
pub struct Pooler {
    target: Target,
}

impl Pooler {
    /// The pgbouncer at this address; nothing is opened. The user has to be one of its `admin_users`, and for
    /// [`Pooler::databases`] alone one of its `stats_users`.
    #[must_use]
    pub fn new(target: Target) -> Self {
        Self { target: target.with_database(CONSOLE) }
    }

    /// `host:port`.
    #[must_use]
    pub fn label(&self) -> String {
        format!("pgbouncer at {}:{}", self.target.host(), self.target.port())
    }

    /// Its databases, but for the console.
    ///
    /// # Errors
    /// Those of connecting; `pg_sql` in the console's words.
    pub async fn databases(&self) -> Result<Vec<Pool>> {
        let rows = self.ask("SHOW DATABASES", ANSWER).await?;
        let pools = rows.iter().map(|row| {
            let text = |name: &str| row.try_get(name).ok().flatten().unwrap_or_default().to_owned();
            let number = |name: &str| text(name).parse().unwrap_or(0);
            Pool {
                name: text("name"),
                host: text("host"),
                port: number("port"),
                database: text("database"),
                paused: number("paused") != 0,
                connections: number("current_connections"),
            }
        });
        Ok(pools.filter(|pool| pool.name != CONSOLE).collect())
    }

    /// One of its databases.
    ///
    /// # Errors
    /// `require_failed` when there is none of that name.
    pub async fn database(&self, name: &str) -> Result<Pool> {
        let all = self.databases().await?;
        let names: Vec<String> = all.iter().map(|pool| pool.name.clone()).collect();
        all.into_iter().find(|pool| pool.name == name).ok_or_else(|| {
            fail!(Code::RequireFailed, "{} has no database `{name}`", self.label())
                .hint(format!("it has {}", prose::ticked_list(&names, 10)))
        })
    }

    /// Pauses a database: returns when no transaction of it runs on the server any more. Clients wait from now on, at
    /// most for pgbouncer's `query_wait_timeout`. Paused already, it is paused.
    ///
    /// Whatever goes wrong, the database is resumed before this returns: applications that wait for nothing are worse
    /// than a switch that failed.
    ///
    /// # Errors
    /// `timeout` when transactions still run after `deadline`; then it is not paused any more.
    pub async fn pause(&self, name: &str, deadline: Duration) -> Result<()> {
        self.database(name).await?;
        let sql = format!("PAUSE {}", ident(name)?);
        let Err(error) = self.ask(&sql, deadline).await else { return Ok(()) };
        let error = match error.code() {
            Code::Timeout => {
                let after = span::duration_text(deadline);
                fail!(Code::Timeout, "transactions of `{name}` at {} still ran after {after}", self.label())
                    .hint("see who runs them: SHOW SERVERS; session pooling lets whole sessions end first")
            }
            _ => error,
        };
        match self.resume(name).await {
            Ok(()) => Err(error),
            Err(stays) => Err(fail!(
                Code::UndoFailed,
                "`{name}` at {} could not be paused ({error}), and may be half paused: {}",
                self.label(),
                stays.message()
            )
            .hint(format!("let its clients go on: RESUME {}", ident(name)?))
            .unknown()),
        }
    }

    /// Lets clients of a database go on. One that is not paused is left alone.
    ///
    /// # Errors
    /// As [`Pooler::databases`].
    pub async fn resume(&self, name: &str) -> Result<()> {
        if !self.database(name).await?.paused {
            return Ok(());
        }
        match self.ask(&format!("RESUME {}", ident(name)?), ANSWER).await {
            // Somebody else was quicker.
            Err(_) if self.database(name).await.is_ok_and(|pool| !pool.paused) => Ok(()),
            done => done.map(|_| ()),
        }
    }

    /// Lets it read its configuration again. Connections to where a database led before are closed as soon as their
    /// transaction ends.
    ///
    /// # Errors
    /// As [`Pooler::databases`]; a mistake in the configuration stands in pgbouncer's own log only.
    pub async fn reload(&self) -> Result<()> {
        self.ask("RELOAD", ANSWER).await.map(|_| ())
    }

    async fn ask(&self, sql: &str, deadline: Duration) -> Result<Vec<SimpleQueryRow>> {
        let client = self.open().await?;
        let answer = clock::within(deadline, client.simple_query(sql)).await;
        let slow = || fail!(Code::Timeout, "{} did not answer `{sql}` in time", self.label());
        let messages = answer.ok_or_else(slow)?.map_err(|error| self.refused(&error))?;
        let rows = messages.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        Ok(rows.collect())
    }

    async fn open(&self) -> Result<Client> {
        let tls = tls::connector(&self.target)?;
        let config = link::config(&self.target, "pgrun");
        let opening = clock::within(self.target.connect_timeout, Box::pin(config.connect(tls))).await;
        let (client, connection) = opening
            .ok_or_else(|| failure::too_slow(&self.target))?
            .map_err(|error| failure::connecting(&self.target, &error))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = failure::chain(&error), "the console's connection ended");
            }
        });
        Ok(client)
    }

    fn refused(&self, error: &tokio_postgres::Error) -> Error {
        match error.as_db_error() {
            Some(db) => failure::refused(db, &self.label()),
            None => fail!(Code::PgLost, "{} broke the connection: {}", self.label(), failure::chain(error)),
        }
    }
}
