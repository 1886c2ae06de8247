//! A session with one database: opened when first needed, opened again when lost, one statement at a time.
//!
//! # What is certain when something breaks
//!
//! - The server's ERROR is an answer: the statement had no effect.
//! - A connection that breaks while a statement runs leaves its outcome open: `pg_lost`. Not so for a statement that
//!   provably only reads (it is run again once), and not for one that had not been sent yet.
//! - A COMMIT without an answer is open in the same way. A transaction whose connection broke before COMMIT is rolled
//!   back by the server; every further statement of it is refused here, so that none of them runs on its own.
//! - A future that is dropped while its statement runs cancels the statement on the server. The session then uses a
//!   new connection, since a late cancel could hit the next statement; it waits until the old one has ended.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::Mutex as AsyncMutex;

use super::{
    link::{Notice, Notices, Reply, Request},
    settings::Settings,
    sql::{self, Shape},
    state::{Inner, State, Transaction, WRITES, gone},
    target::Target,
};
use crate::{
    base::{Code, Map, Result, Value},
    fail,
};

/// A session. Clones share the connection; statements of clones run one after the other.
#[derive(Clone)]
pub struct Session(Arc<Inner>);

impl Session {
    /// A session that opens nothing yet.
    #[must_use]
    pub fn new(target: Target, settings: Settings) -> Self {
        let state = State { settings, link: None, was_open: false, transaction: Transaction::None, parting: None };
        let label = target.label();
        let (notices, shapes) = (Notices::default(), Mutex::default());
        Self(Arc::new(Inner { target, label, notices, shapes, state: AsyncMutex::new(state) }))
    }

    /// Where it connects to.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.0.target
    }

    /// A session of its own with the same server and settings.
    pub async fn sibling(&self) -> Self {
        Self::new(self.0.target.clone(), self.0.state.lock().await.settings.clone())
    }

    /// Opens the connection now. In a window nothing should have to be opened.
    pub async fn open(&self) -> Result<()> {
        self.0.state.lock().await.live(&self.0).await.map(|_| ())
    }

    /// The server's major version, known from the connection's start.
    pub async fn major(&self) -> Result<i64> {
        self.0.state.lock().await.live(&self.0).await.map(|link| i64::from(link.major))
    }

    /// Closes the connection; the next statement opens a new one. An open transaction is rolled back by the server.
    pub async fn close(&self) {
        let mut state = self.0.state.lock().await;
        state.link = None;
        state.transaction = Transaction::None;
    }

    /// The rows of one statement. Values bind to `$1`, `$2`, ..; see [`crate::pg`] for the types.
    pub async fn query(&self, sql: &str, values: &[Value]) -> Result<Vec<Map>> {
        self.rows(sql, values, usize::MAX).await
    }

    /// The only row of a statement.
    ///
    /// # Errors
    /// `pg_value` for none or several rows.
    pub async fn one(&self, sql: &str, values: &[Value]) -> Result<Map> {
        let mut rows = self.rows(sql, values, 2).await?;
        match (rows.pop(), rows.pop()) {
            (Some(row), None) => Ok(row),
            (None, _) => Err(fail!(Code::PgValue, "got no row, wanted one")),
            (Some(_), Some(_)) => Err(fail!(Code::PgValue, "got several rows, wanted one")),
        }
    }

    /// The only value of a statement that gives one row of one column.
    ///
    /// # Errors
    /// `pg_value` for any other shape.
    pub async fn value(&self, sql: &str, values: &[Value]) -> Result<Value> {
        let row = self.one(sql, values).await?;
        let columns = row.len();
        let mut values = row.into_values();
        match (values.next(), values.next()) {
            (Some(value), None) => Ok(value),
            _ => Err(fail!(Code::PgValue, "got {columns} columns, wanted one")),
        }
    }

    /// True if the statement gives at least one row.
    pub async fn exists(&self, sql: &str, values: &[Value]) -> Result<bool> {
        Ok(!self.rows(sql, values, 1).await?.is_empty())
    }

    /// Lets the server read these statements now. The first time that [`Session::query`] and its kin run one of them,
    /// they take one round trip instead of two.
    pub(super) async fn prepare(&self, statements: &[&str]) -> Result<()> {
        for sql in statements {
            let wraps = self.0.shape(sql)?.wraps;
            // Reading a statement changes nothing, whatever the statement does.
            self.run(sql, Shape { reads: true, wraps: false }, Request::Prepare { wraps }).await?;
        }
        Ok(())
    }

    /// Runs one statement and gives the number of rows it touched.
    pub async fn execute(&self, sql: &str, values: &[Value]) -> Result<u64> {
        let shape = self.0.shape(sql)?;
        Ok(self.run(sql, shape, Request::Count { values }).await?.number())
    }

    /// Runs several statements without values; outside a transaction they are one.
    pub async fn batch(&self, sql: &str) -> Result<()> {
        sql::batch(sql)?;
        self.run(sql, WRITES, Request::Simple).await.map(|_| ())
    }

    /// Sends lines in COPY's text format to `COPY .. FROM STDIN`, and gives their number.
    pub async fn copy_in(&self, sql: &str, lines: &str) -> Result<u64> {
        Ok(self.run(sql, WRITES, Request::CopyIn { lines }).await?.number())
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// `usage` if one is open already.
    pub async fn begin(&self) -> Result<()> {
        self.open_transaction("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE").await
    }

    /// Begins a transaction that sees one snapshot and in which the server refuses to change tables and catalogs.
    pub async fn begin_read_only(&self) -> Result<()> {
        self.open_transaction("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await
    }

    async fn open_transaction(&self, begin: &str) -> Result<()> {
        let mut state = self.0.state.lock().await;
        if state.transaction != Transaction::None {
            return Err(fail!(Code::Usage, "a transaction is open already").hint("use savepoint inside a transaction"));
        }
        // BEGIN changes nothing, so it may be repeated like a read.
        let begins = Shape { reads: true, wraps: false };
        self.0.send(&mut state, begin, begins, Request::Simple).await?;
        state.transaction = Transaction::Open;
        Ok(())
    }

    /// Commits the transaction.
    ///
    /// # Errors
    /// `pg_sql` if a statement of it had failed or the server refuses: then nothing of it is kept. `pg_lost` if no
    /// answer came.
    pub async fn commit(&self) -> Result<()> {
        const COMMIT: &str = "COMMIT";
        let mut state = self.0.state.lock().await;
        let outcome = match state.transaction {
            Transaction::None => Err(fail!(Code::Usage, "there is no transaction to commit")),
            Transaction::Open => self.0.send(&mut state, COMMIT, WRITES, Request::Simple).await.map(|_| ()),
            // COMMIT of a failed transaction is answered with ROLLBACK and no error: it must not look like success.
            Transaction::Failed => {
                state.roll_back().await;
                Err(fail!(Code::PgSql, "a statement of the transaction had failed: nothing of it is kept")
                    .detail("sqlstate", "25P02"))
            }
            Transaction::Gone => Err(gone()),
        };
        state.transaction = Transaction::None;
        outcome
    }

    /// Rolls the transaction back; without one it does nothing.
    pub async fn rollback(&self) -> Result<()> {
        self.0.state.lock().await.roll_back().await;
        Ok(())
    }

    /// Marks a point in the transaction to which [`Session::rollback_to`] returns.
    pub async fn savepoint(&self, name: &str) -> Result<()> {
        self.inside(&mut *self.0.state.lock().await, "SAVEPOINT", name).await
    }

    /// Undoes what the transaction did since the savepoint, a failed statement included.
    pub async fn rollback_to(&self, name: &str) -> Result<()> {
        let mut state = self.0.state.lock().await;
        if state.transaction == Transaction::Failed {
            state.transaction = Transaction::Open;
        }
        self.inside(&mut state, "ROLLBACK TO SAVEPOINT", name).await
    }

    /// Forgets a savepoint and keeps what was done since.
    pub async fn release(&self, name: &str) -> Result<()> {
        self.inside(&mut *self.0.state.lock().await, "RELEASE SAVEPOINT", name).await
    }

    async fn inside(&self, state: &mut State, word: &str, name: &str) -> Result<()> {
        if state.transaction == Transaction::None {
            return Err(fail!(Code::Usage, "a savepoint needs a transaction").hint("begin one first"));
        }
        let sql = format!("{word} {}", crate::base::ident::ident(name)?);
        self.0.send(state, &sql, WRITES, Request::Simple).await.map(|_| ())
    }

    /// Runs `body` in a transaction: committed when it succeeds, rolled back when it fails or is dropped.
    pub async fn transaction<T>(&self, body: impl AsyncFnOnce(&Session) -> Result<T>) -> Result<T> {
        self.begin().await?;
        let unfinished = Unfinished(Some(self));
        let outcome = body(self).await;
        unfinished.done();
        match outcome {
            Ok(value) => self.commit().await.map(|()| value),
            Err(error) => {
                self.rollback().await?;
                Err(error)
            }
        }
    }

    /// Limits every later statement of this session; zero means no limit.
    pub async fn set_statement_timeout(&self, limit: Duration) -> Result<()> {
        let sql = {
            let mut state = self.0.state.lock().await;
            state.settings.statement_timeout = limit;
            if state.link.is_none() {
                return Ok(());
            }
            format!("SET statement_timeout = {}", limit.as_millis())
        };
        self.batch(&sql).await
    }

    /// Takes the notices that came since the last call, oldest first. The oldest are dropped beyond 200.
    #[must_use]
    pub fn drain_notices(&self) -> Vec<Notice> {
        let mut notices: std::sync::MutexGuard<'_, VecDeque<Notice>> =
            Mutex::lock(&self.0.notices).unwrap_or_else(PoisonError::into_inner);
        notices.drain(..).collect()
    }

    async fn rows(&self, sql: &str, values: &[Value], limit: usize) -> Result<Vec<Map>> {
        let shape = self.0.shape(sql)?;
        match self.run(sql, shape, Request::Rows { wraps: shape.wraps, values, limit }).await? {
            Reply::Rows(rows) => Ok(rows),
            Reply::Count(_) => Err(fail!(Code::Internal, "a statement was counted instead of read")),
        }
    }

    async fn run(&self, sql: &str, shape: Shape, request: Request<'_>) -> Result<Reply> {
        self.0.send(&mut *self.0.state.lock().await, sql, shape, request).await
    }
}

/// A transaction whose body has not ended. Dropped, the connection is given up, and the server rolls back.
struct Unfinished<'a>(Option<&'a Session>);

impl Unfinished<'_> {
    fn done(mut self) {
        self.0 = None;
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        let Some(session) = self.0.take() else { return };
        if let Ok(mut state) = session.0.state.try_lock() {
            state.abandon();
            state.transaction = Transaction::None;
        }
    }
}
