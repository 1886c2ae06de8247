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

use tokio::{sync::Mutex as AsyncMutex, task::JoinHandle};

use super::{
    failure,
    link::{Failure, Link, Notice, Notices},
    settings::Settings,
    sql::{self, Shape},
    target::Target,
};
use crate::{
    base::{Code, Error, Map, Result, Value, clock, span},
    fail,
};

/// Beyond `statement_timeout` the server gets this long to say so; then the connection counts as lost.
const ANSWER_GRACE: Duration = Duration::from_secs(15);

/// A session. Clones share the connection; statements of clones run one after the other.
#[derive(Clone)]
pub struct Session(Arc<Inner>);

struct Inner {
    target: Target,
    label: String,
    notices: Notices,
    state: AsyncMutex<State>,
}

struct State {
    settings: Settings,
    link: Option<Link>,
    transaction: Transaction,
    /// The cancelled statement of an earlier connection, still ending.
    parting: Option<JoinHandle<()>>,
}

/// What the session knows of its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transaction {
    None,
    Open,
    /// A statement failed; the server takes none but ROLLBACK.
    Failed,
    /// The connection is gone and the transaction with it.
    Gone,
}

impl Session {
    /// A session that opens nothing yet.
    #[must_use]
    pub fn new(target: Target, settings: Settings) -> Self {
        let state = State { settings, link: None, transaction: Transaction::None, parting: None };
        let label = target.label();
        Self(Arc::new(Inner { target, label, notices: Notices::default(), state: AsyncMutex::new(state) }))
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

    /// Runs one statement and gives the number of rows it touched.
    pub async fn execute(&self, sql: &str, values: &[Value]) -> Result<u64> {
        let shape = sql::single(sql)?;
        self.run(sql, shape, async |link| link.count(sql, values).await).await
    }

    /// Runs several statements without values; outside a transaction they are one.
    pub async fn batch(&self, sql: &str) -> Result<()> {
        sql::batch(sql)?;
        self.run(sql, WRITES, async |link| link.simple(sql).await.map_err(Failure::Amid)).await
    }

    /// Sends lines in COPY's text format to `COPY .. FROM STDIN`, and gives their number.
    pub async fn copy_in(&self, sql: &str, lines: &str) -> Result<u64> {
        self.run(sql, WRITES, async |link| link.copy_in(sql, lines.to_owned()).await.map_err(Failure::Amid)).await
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
        self.send(&mut state, begin, begins, async |link| link.simple(begin).await.map_err(Failure::Amid)).await?;
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
            Transaction::Open => {
                self.send(&mut state, COMMIT, WRITES, async |link| link.simple(COMMIT).await.map_err(Failure::Amid))
                    .await
            }
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
        self.send(state, &sql, WRITES, async |link| link.simple(&sql).await.map_err(Failure::Amid)).await
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
        let shape = sql::single(sql)?;
        self.run(sql, shape, async |link| link.rows(sql, shape.wraps, values, limit).await).await
    }

    async fn run<T>(
        &self,
        sql: &str,
        shape: Shape,
        call: impl AsyncFnMut(&mut Link) -> Result<T, Failure>,
    ) -> Result<T> {
        self.send(&mut *self.0.state.lock().await, sql, shape, call).await
    }

    /// Sends one statement and sorts out what its failure means.
    async fn send<T>(
        &self,
        state: &mut State,
        sql: &str,
        shape: Shape,
        mut call: impl AsyncFnMut(&mut Link) -> Result<T, Failure>,
    ) -> Result<T> {
        let mut repeated = false;
        loop {
            state.admit()?;
            state.live(&self.0).await?;
            let limit = state.settings.statement_timeout;
            let begun = clock::instant();
            let mut running = Running(Some(&mut *state));
            let outcome = match running.link() {
                Some(link) if limit.is_zero() => Some(call(link).await),
                Some(link) => clock::within(limit + ANSWER_GRACE, call(link)).await,
                None => return Err(fail!(Code::Internal, "a session without a connection")),
            };
            let Some(outcome) = outcome else {
                drop(running);
                return Err(self.lost(shape, "no answer came"));
            };
            running.done();
            let took = begun.elapsed();
            match outcome {
                Ok(value) => return Ok(value),
                Err(failure) => match self.judge(state, sql, shape, failure, took, repeated) {
                    Verdict::Again => repeated = true,
                    Verdict::Final(error) => return Err(error),
                },
            }
        }
    }

    /// What a failure means: for the session's state, and for the statement.
    fn judge(
        &self,
        state: &mut State,
        sql: &str,
        shape: Shape,
        failure: Failure,
        took: Duration,
        repeated: bool,
    ) -> Verdict {
        let again = !repeated && state.transaction == Transaction::None;
        match failure {
            Failure::Here(error) => Verdict::Final(error),
            Failure::Before(error) | Failure::Amid(error) if !failure::is_loss(&error) => {
                // PostgreSQL: "cached plan must not change result type", after DDL on another connection.
                let outdated = error.code().is_some_and(|state| state.code() == "0A000");
                if outdated && again && state.link.as_mut().is_some_and(|link| link.forget(sql)) {
                    return Verdict::Again;
                }
                state.fail();
                Verdict::Final(self.refused(&error, state.settings.statement_timeout, took))
            }
            Failure::Amid(error) if !shape.reads => {
                state.lose();
                Verdict::Final(self.lost(shape, &failure::chain(&error)))
            }
            Failure::Before(error) | Failure::Amid(error) => {
                state.lose();
                if again { Verdict::Again } else { Verdict::Final(self.cut(&failure::chain(&error))) }
            }
        }
    }

    fn refused(&self, error: &tokio_postgres::Error, limit: Duration, took: Duration) -> Error {
        let Some(db) = error.as_db_error() else { return self.cut(&failure::chain(error)) };
        let refused = failure::refused(db, &self.0.label);
        // 57014 is any cancel; only one at the limit is the limit's.
        if db.code().code() == "57014" && !limit.is_zero() && took >= limit {
            return refused
                .with_code(Code::Timeout)
                .during(format!("`statement_timeout` of {}", span::duration_text(limit)));
        }
        refused
    }

    fn lost(&self, shape: Shape, why: &str) -> Error {
        if shape.reads {
            return self.cut(why);
        }
        let label = &self.0.label;
        fail!(Code::PgLost, "the connection to {label} broke while a statement ran, so its outcome is not known")
            .detail("cause", why)
            .hint("look at the server before the step is repeated")
    }

    /// The connection broke, and nothing was changed by that statement.
    fn cut(&self, why: &str) -> Error {
        fail!(Code::PgConnect, "the connection to {} broke; the statement changed nothing", self.0.label)
            .detail("cause", why)
    }
}

/// What to do about a failed statement.
enum Verdict {
    /// It had no effect; once, it is sent again.
    Again,
    Final(Error),
}

/// A statement that may write, and cannot be put into another one.
const WRITES: Shape = Shape { reads: false, wraps: false };

fn gone() -> Error {
    fail!(Code::PgConnect, "the connection broke inside the transaction: nothing of it is kept")
}

impl State {
    /// Refuses statements of a transaction that cannot take them.
    fn admit(&self) -> Result<()> {
        match self.transaction {
            Transaction::None | Transaction::Open => Ok(()),
            Transaction::Failed => {
                Err(fail!(Code::PgSql, "a statement of the transaction failed, so it takes no further ones")
                    .detail("sqlstate", "25P02")
                    .hint("roll back, to a savepoint if there is one"))
            }
            Transaction::Gone => Err(gone()),
        }
    }

    /// Sees to it that there is a living connection.
    async fn live(&mut self, inner: &Inner) -> Result<&mut Link> {
        if let Some(parting) = self.parting.take() {
            // Bounded by the parting's own limits. What its statement did is then done, and its locks are free.
            drop(parting.await);
        }
        if let Some(link) = &self.link
            && !link.is_alive().await
        {
            self.lose();
            self.admit()?;
        }
        if self.link.is_none() {
            let mut link =
                Link::open(&inner.target, &self.settings.application_name(), Arc::clone(&inner.notices)).await?;
            let setup = self.settings.sql(link.major)?;
            link.simple(&setup).await.map_err(|error| match error.as_db_error() {
                Some(db) => failure::refused(db, &inner.label).during("while setting the session up"),
                None => failure::connecting(&inner.target, &error),
            })?;
            self.link = Some(link);
        }
        self.link.as_mut().ok_or_else(|| fail!(Code::Internal, "a session without a connection"))
    }

    async fn roll_back(&mut self) {
        if matches!(self.transaction, Transaction::Open | Transaction::Failed) {
            let mut running = Running(Some(&mut *self));
            let outcome = match running.link() {
                Some(link) => clock::within(ANSWER_GRACE, link.simple("ROLLBACK")).await,
                None => Some(Ok(())),
            };
            running.done();
            // A connection that is gone, or given up, rolls back by itself.
            match outcome {
                Some(Ok(())) => {}
                Some(Err(_)) => self.link = None,
                None => self.abandon(),
            }
        }
        self.transaction = Transaction::None;
    }

    /// A statement failed: inside a transaction that is the end of it.
    fn fail(&mut self) {
        if self.transaction == Transaction::Open {
            self.transaction = Transaction::Failed;
        }
    }

    /// The connection is gone, and an open transaction with it.
    fn lose(&mut self) {
        self.link = None;
        if self.transaction != Transaction::None {
            self.transaction = Transaction::Gone;
        }
    }

    /// Leaves the connection to a task that cancels its statement and closes it.
    fn abandon(&mut self) {
        if let Some(link) = self.link.take() {
            self.parting = link.part();
        }
        self.lose();
    }
}

/// A statement on its way. Dropped before its end, it is cancelled on the server.
struct Running<'a>(Option<&'a mut State>);

impl Running<'_> {
    fn link(&mut self) -> Option<&mut Link> {
        self.0.as_mut()?.link.as_mut()
    }

    fn done(mut self) {
        self.0 = None;
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(state) = self.0.take() {
            state.abandon();
        }
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
