//! pgrun's own schema in a database: markers, sentinels, probes, applied steps, and the cutover's decision.
//!
//! It is made before the snapshot, so that GREEN has it too: a published table that GREEN lacks stalls the apply. Rows
//! travel with snapshot and replication in both directions, so they are only ever inserted, under keys that two servers
//! cannot both choose, and say whose they are. The functions of the decision stand in `own.sql`.

use super::{record::record, session::Session};
use crate::{
    base::{Code, Lsn, Result, Value},
    fail,
    pg::publication::Table,
};

/// The schema's name.
pub const SCHEMA: &str = "pgrun";

/// Its tables that are published, all of them insert-only.
pub const TABLES: &[&str] = &["marker", "sentinel", "probe", "applied", "decision"];

/// The comment by which the schema is known as ours, with the number of its layout.
const SIGN: &str = "pgrun: layout 1";

/// Makes everything; may be run again.
const LAYOUT: &str = include_str!("own.sql");

/// What a marker stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// M1, written before the snapshot begins.
    Before,
    /// Written while the snapshot is taken.
    Heartbeat,
    /// M2, written after the snapshot is complete.
    After,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::Heartbeat => "heartbeat",
            Self::After => "after",
        }
    }
}

record! {
    /// A marker: what it says about the log of the server that wrote it.
    pub struct Marker {
        /// Its identity.
        pub id: String,
        /// The run.
        pub run: String,
        /// `before`, `heartbeat` or `after`.
        pub kind: String,
        /// Which server it was written on, in the caller's words (an ARN).
        pub target: String,
        /// The insert position, read in the marker's transaction and before its row: the row's commit lies beyond.
        pub lsn: Lsn,
        /// The redo position of the server's newest checkpoint at that moment; absent where it may not be read.
        pub redo: Option<Lsn>,
    }
}

impl Marker {
    /// It stands for that.
    #[must_use]
    pub fn is(&self, kind: Kind) -> bool {
        self.kind == kind.word()
    }
}

/// Makes the schema, or brings it up to date. Needs CREATE on the database, and for the first time ownership of nothing.
///
/// # Errors
/// `foreign` if there is a schema of that name that pgrun did not make.
pub async fn ensure(session: &Session) -> Result<()> {
    const FOUND: &str =
        "SELECT coalesce(obj_description(oid, 'pg_namespace'), '') FROM pg_namespace WHERE nspname = $1";
    let found = session.texts(FOUND, &[SCHEMA.into()]).await?;
    match found.first().map(String::as_str) {
        Some(SIGN) => return Ok(()),
        Some(other) => {
            let place = session.target().label();
            return Err(fail!(
                Code::Foreign,
                "the schema `{SCHEMA}` on {place} is not pgrun's: its comment is {other:?}"
            ));
        }
        None => {}
    }
    let made = session
        .transaction(async |tx| {
            // Two runs may come here at once; the second finds everything made.
            tx.execute("SELECT pg_advisory_xact_lock(hashtextextended('pgrun.own', 0))", &[]).await?;
            tx.batch(LAYOUT).await
        })
        .await;
    made.map_err(|error| error.during("the schema `pgrun` cannot be made"))
}

/// True if the schema is there and pgrun's.
pub async fn exists(session: &Session) -> Result<bool> {
    const EXISTS: &str = "SELECT 1 FROM pg_namespace WHERE nspname = $1 AND obj_description(oid, 'pg_namespace') = $2";
    session.exists(EXISTS, &[SCHEMA.into(), SIGN.into()]).await
}

/// Drops the schema and everything in it; false if there was none.
///
/// # Errors
/// `refused` while a fence is closed: its way back would be gone.
pub async fn drop(session: &Session) -> Result<bool> {
    if !exists(session).await? {
        return Ok(false);
    }
    if super::fence::state(session).await?.is_closed() {
        return Err(fail!(
            Code::Refused,
            "{} is fenced; the schema `{SCHEMA}` holds its way back",
            session.target().label()
        )
        .hint("reopen it first: select pgrun.reopen()"));
    }
    session.batch("DROP SCHEMA pgrun CASCADE").await?;
    Ok(true)
}

/// The tables, for a publication of named tables.
#[must_use]
pub fn tables() -> Vec<Table> {
    TABLES.iter().map(|name| Table { schema: SCHEMA.into(), name: (*name).into() }).collect()
}

/// Writes a marker. One statement: the position is evaluated before the row is inserted.
///
/// The markers of a run are written one after the other: each takes its position after the one before was committed.
pub async fn mark(session: &Session, run: &str, kind: Kind, target: &str) -> Result<Marker> {
    const MARK: &str = "INSERT INTO pgrun.marker (run, kind, target, lsn, redo) \
         SELECT $1, $2, $3, pg_current_wal_insert_lsn(), pgrun.redo() \
         RETURNING id::text AS id, run, kind, target, lsn, redo";
    let values = [Value::from(run), kind.word().into(), target.into()];
    super::Record::from_map(&session.one(MARK, &values).await?)
}

/// The markers of a run as this server has them, in the order in which they were written.
pub async fn markers(session: &Session, run: &str) -> Result<Vec<Marker>> {
    const MARKERS: &str =
        "SELECT id::text AS id, run, kind, target, lsn, redo FROM pgrun.marker WHERE run = $1 ORDER BY lsn";
    session.records(MARKERS, &[run.into()]).await
}

/// Writes a row whose arrival on the other side is to be seen, and gives its identity.
pub async fn sentinel(session: &Session, run: &str, purpose: &str) -> Result<String> {
    const SENTINEL: &str = "INSERT INTO pgrun.sentinel (run, purpose) VALUES ($1, $2) RETURNING id::text";
    session.scalar(SENTINEL, &[run.into(), purpose.into()]).await
}

/// True once a sentinel has arrived here.
pub async fn has_sentinel(session: &Session, id: &str) -> Result<bool> {
    session.exists("SELECT 1 FROM pgrun.sentinel WHERE id = $1::uuid", &[id.into()]).await
}

/// Notes, inside the caller's transaction, that a step of a run took effect on this target. False if it was noted
/// before: then the caller rolls back, because the step is done.
///
/// The key has the target in it: the row travels to GREEN, where the same step has not been done.
pub async fn note_applied(tx: &Session, run: &str, step: &str, target: &str) -> Result<bool> {
    const NOTE: &str = "INSERT INTO pgrun.applied (run, step, target) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    Ok(tx.execute(NOTE, &[run.into(), step.into(), target.into()]).await? == 1)
}

/// True if that was noted.
pub async fn is_applied(session: &Session, run: &str, step: &str, target: &str) -> Result<bool> {
    const APPLIED: &str = "SELECT 1 FROM pgrun.applied WHERE run = $1 AND step = $2 AND target = $3";
    session.exists(APPLIED, &[run.into(), step.into(), target.into()]).await
}
