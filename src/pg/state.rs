//! What a session knows of its connection and its transaction, and what each failure makes of them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::Mutex as AsyncMutex, task::JoinHandle};

use super::{
    failure,
    link::{Failure, Link, Notices, Reply, Request},
    settings::Settings,
    sql::{self, Shape},
    target::Target,
};
use crate::{
    base::{Code, Error, Result, clock, span},
    fail,
};

/// Beyond `statement_timeout` the server gets this long to say so; then the connection counts as lost.
const ANSWER_GRACE: Duration = Duration::from_secs(15);

/// A restart takes seconds, a failover of a Multi-AZ instance one to two minutes (RDS user guide, "Multi-AZ DB
/// instance deployments").
const BACK_WITHIN: Duration = Duration::from_secs(120);

/// Between two tries to reach a server that is away.
const BACK_EVERY: Duration = Duration::from_millis(250);

/// What the clones of a session share.
pub(super) struct Inner {
    pub(super) target: Target,
    pub(super) label: String,
    pub(super) notices: Notices,
    pub(super) shapes: Mutex<HashMap<String, Shape>>,
    pub(super) state: AsyncMutex<State>,
}

/// One connection at most, and what is known of it.
pub(super) struct State {
    pub(super) settings: Settings,
    pub(super) link: Option<Link>,
    /// A connection was there once: that the server is not there now will pass.
    pub(super) was_open: bool,
    pub(super) transaction: Transaction,
    /// The cancelled statement of an earlier connection, still ending.
    pub(super) parting: Option<JoinHandle<()>>,
}

/// What the session knows of its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transaction {
    None,
    Open,
    /// A statement failed; the server takes none but ROLLBACK.
    Failed,
    /// The connection is gone and the transaction with it.
    Gone,
}

/// What to do about a failed statement.
enum Verdict {
    /// It had no effect; once, it is sent again.
    Again,
    Final(Error),
}

/// A statement that may write, and cannot be put into another one.
pub(super) const WRITES: Shape = Shape { reads: false, wraps: false };

pub(super) fn gone() -> Error {
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
    pub(super) async fn live(&mut self, inner: &Inner) -> Result<&mut Link> {
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
            let mut link = self.open(inner).await?;
            let setup = self.settings.sql(link.major)?;
            link.simple(&setup).await.map_err(|error| match error.as_db_error() {
                Some(db) => failure::refused(db, &inner.label).during("while setting the session up"),
                None => failure::connecting(&inner.target, &error),
            })?;
            self.link = Some(link);
            self.was_open = true;
        }
        self.link.as_mut().ok_or_else(|| fail!(Code::Internal, "a session without a connection"))
    }

    /// Opens a connection. A server that is about to start, or that was there a moment ago, is waited for: a failover
    /// or a restart must not end a run of hours.
    async fn open(&self, inner: &Inner) -> Result<Link> {
        let begun = clock::instant();
        loop {
            let opened = Link::open(&inner.target, &self.settings.application_name(), Arc::clone(&inner.notices)).await;
            let Err(error) = opened else { return opened };
            if !failure::passes(&error, self.was_open) {
                return Err(error);
            }
            let waited = begun.elapsed();
            if waited >= BACK_WITHIN {
                let waited = span::duration_text(waited);
                return Err(error.detail("waited", waited));
            }
            tracing::debug!(server = inner.label, %error, "the server is waited for");
            clock::sleep(BACK_EVERY).await;
        }
    }

    pub(super) async fn roll_back(&mut self) {
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
    pub(super) fn abandon(&mut self) {
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

/// Texts whose shape is remembered.
const SHAPES_KEPT: usize = 200;

impl Inner {
    /// What a statement may do, as far as its words tell. Reading a long one takes a millisecond, which a window would
    /// pay for each time.
    ///
    /// # Errors
    /// As [`sql::single`].
    pub(super) fn shape(&self, sql: &str) -> Result<Shape> {
        let mut shapes = self.shapes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shape) = shapes.get(sql) {
            return Ok(*shape);
        }
        let shape = sql::single(sql)?;
        if shapes.len() >= SHAPES_KEPT {
            shapes.clear();
        }
        shapes.insert(sql.to_owned(), shape);
        Ok(shape)
    }

    /// Sends one statement and sorts out what its failure means.
    pub(super) async fn send(&self, state: &mut State, sql: &str, shape: Shape, request: Request<'_>) -> Result<Reply> {
        let mut repeated = false;
        loop {
            state.admit()?;
            state.live(self).await?;
            let limit = state.settings.statement_timeout;
            let begun = clock::instant();
            let mut running = Running(Some(&mut *state));
            let outcome = match running.link() {
                Some(link) if limit.is_zero() => Some(Box::pin(link.perform(sql, request)).await),
                Some(link) => clock::within(limit + ANSWER_GRACE, Box::pin(link.perform(sql, request))).await,
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
        let refused = failure::refused(db, &self.label);
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
        let label = &self.label;
        fail!(Code::PgLost, "the connection to {label} broke while a statement ran, so its outcome is not known")
            .detail("cause", why)
            .hint("look at the server before the step is repeated")
    }

    /// The connection broke, and nothing was changed by that statement.
    fn cut(&self, why: &str) -> Error {
        fail!(Code::PgConnect, "the connection to {} broke; the statement changed nothing", self.label)
            .detail("cause", why)
    }
}
