//! pgrun's own schema `pgrun` in a database: what it writes down on a server, and the rows by which it proves that
//! what was written on one server has arrived on the other.
//!
//! It is made on BLUE before the snapshot is taken: a published table that comes later is missing on GREEN and stops
//! the apply worker. Its SQL: own.sql, watch.sql, fence.sql, stream.sql.

use super::{
    record::{Record as _, record},
    session::Session,
};
use crate::{
    base::{Code, Error, Lsn, Result, Value, ident},
    fail,
};

const TABLES_SQL: &str = include_str!("own.sql");
const WATCH_SQL: &str = include_str!("watch.sql");
const FENCE_SQL: &str = include_str!("fence.sql");
const STREAM_SQL: &str = include_str!("stream.sql");

/// The comment of the schema begins with this; the number that follows is raised when tables change their shape.
const SEAL: &str = "pgrun, format ";

/// The format that this program reads and writes.
const FORMAT: u32 = 1;

record! {
    /// A row that says how far a server was: whether it is on a copy tells whether the copy is younger.
    pub struct Mark {
        /// A UUID.
        pub id: String,
        /// `heartbeat`, or what the caller calls it: `M1` before the snapshot, `M2` after it.
        pub kind: String,
        /// The insert position before the row was written: everything of its transaction lies behind it.
        pub lsn: Lsn,
        /// Where recovery would have begun at that moment: the last checkpoint's redo position. Absent where
        /// `pg_control_checkpoint()` is not allowed.
        pub redo: Option<Lsn>,
    }
    /// A row that is written on one side to be seen on the other.
    pub struct Sentinel {
        /// A UUID.
        pub id: String,
        /// The insert position before the row was written.
        pub lsn: Lsn,
        /// The transaction that wrote it, as `pg_current_xact_id()` counts.
        pub xid: i64,
    }
}

/// The kind of the markers in between.
pub const HEARTBEAT: &str = "heartbeat";

/// The comment of a schema in the shape that this program knows.
pub(super) fn seal() -> String {
    format!("{SEAL}{FORMAT}")
}

/// Makes the schema with all that belongs to it, or brings it up to date. To be called in every database of BLUE
/// before publication and snapshot. It needs `CREATE` on the database, once it exists its ownership.
///
/// # Errors
/// `foreign` when a schema `pgrun` exists that pgrun did not make; `refused` when a newer pgrun made it.
pub async fn install(session: &Session) -> Result<()> {
    match format(session).await? {
        Some(format) if format > FORMAT => Err(fail!(
            Code::Refused,
            "the schema `pgrun` in {} has format {format}, this program knows {FORMAT}",
            session.target().label()
        )
        .hint("use the newer pgrun that made it")),
        _ => session.batch(&format!("{TABLES_SQL}\n{WATCH_SQL}\n{FENCE_SQL}\n{STREAM_SQL}")).await,
    }
}

/// Whether the schema is there.
///
/// # Errors
/// `foreign` as [`install`].
pub async fn is_installed(session: &Session) -> Result<bool> {
    Ok(format(session).await?.is_some())
}

/// Removes the schema, and the event triggers that call it. What else depends on it stops the removal and is named.
///
/// # Errors
/// `refused` while a fence stands on this server: its record is the only way back.
pub async fn remove(session: &Session) -> Result<()> {
    // By name and without CASCADE: a view that somebody made over these tables is somebody's.
    const THINGS: &str = "SELECT format('DROP TABLE pgrun.%I', relname) AS drop, 2 AS turn FROM pg_class \
         WHERE relnamespace = 'pgrun'::regnamespace AND relkind = 'r' \
         UNION ALL SELECT format('DROP ROUTINE pgrun.%I(%s)', proname, pg_get_function_identity_arguments(oid)), 1 \
         FROM pg_proc WHERE pronamespace = 'pgrun'::regnamespace AND prorettype IS DISTINCT FROM 'trigger'::regtype \
         UNION ALL SELECT format('DROP EVENT TRIGGER %I', evtname), 0 FROM pg_event_trigger e \
         JOIN pg_proc p ON p.oid = e.evtfoid WHERE p.pronamespace = 'pgrun'::regnamespace \
         UNION ALL SELECT 'DROP FUNCTION pgrun.stays_here()', 3 ORDER BY turn";
    if format(session).await?.is_none() {
        return Ok(());
    }
    session
        .transaction(async |session| {
            session.batch("LOCK TABLE pgrun.decision IN ACCESS EXCLUSIVE MODE").await?;
            if session.exists("SELECT FROM pgrun.standing()", &[]).await? {
                return Err(fail!(Code::Refused, "a fence stands on {}", session.target().label())
                    .hint("open the server again first: SELECT pgrun.reopen()"));
            }
            for row in session.query(THINGS, &[]).await? {
                session.batch(row.get("drop").and_then(Value::as_text).unwrap_or_default()).await?;
            }
            session.batch("DROP SCHEMA pgrun").await
        })
        .await
}

/// Writes a marker of this kind and gives it back once it is durable.
pub async fn mark(session: &Session, run: &str, kind: &str) -> Result<Mark> {
    const MARK: &str = "SELECT mark_id::text AS id, $2::text AS kind, mark_lsn AS lsn, mark_redo AS redo \
         FROM pgrun.mark($1::text, $2::text)";
    Mark::from_map(&session.one(MARK, &[run.into(), kind.into()]).await?)
}

/// Writes a marker that only says that BLUE was alive. Written every second while the snapshot is taken, they tell its
/// position to within a second, and give the copy something to replay.
pub async fn heartbeat(session: &Session, run: &str) -> Result<Mark> {
    mark(session, run, HEARTBEAT).await
}

/// Whether this marker is here.
pub async fn has_mark(session: &Session, id: &str) -> Result<bool> {
    session.exists("SELECT FROM pgrun.marker WHERE id = $1::uuid", &[id.into()]).await
}

/// All markers of a run that are here, in the order in which they were written.
pub async fn marks(session: &Session, run: &str) -> Result<Vec<Mark>> {
    const MARKS: &str = "SELECT id::text AS id, kind, lsn, redo FROM pgrun.marker WHERE run = $1 ORDER BY lsn";
    session.records(MARKS, &[run.into()]).await
}

/// All markers that are here of the run that wrote this one, in the order in which they were written.
pub(super) async fn marks_beside(session: &Session, id: &str) -> Result<Vec<Mark>> {
    const MARKS: &str = "SELECT m.id::text AS id, m.kind, m.lsn, m.redo FROM pgrun.marker m \
         WHERE m.run = (SELECT n.run FROM pgrun.marker n WHERE n.id = $1::uuid) ORDER BY m.lsn";
    session.records(MARKS, &[id.into()]).await
}

/// Writes the row of a [`Sentinel`].
const SENTINEL: &str = "INSERT INTO pgrun.sentinel (id, run, kind, target, lsn, xid, at) \
     VALUES (gen_random_uuid(), $1::text, 'sentinel', pgrun.target(), pg_current_wal_insert_lsn(), \
             pg_current_xact_id()::text::bigint, clock_timestamp()) RETURNING id::text AS id, lsn, xid";

/// Writes a row that the other side is to see, and gives it back once it is durable.
pub async fn sentinel(session: &Session, run: &str) -> Result<Sentinel> {
    Sentinel::from_map(&session.one(SENTINEL, &[run.into()]).await?)
}

/// Whether this sentinel is here.
pub async fn sees_sentinel(session: &Session, id: &str) -> Result<bool> {
    session.exists("SELECT FROM pgrun.sentinel WHERE id = $1::uuid", &[id.into()]).await
}

/// The schema's format; `None` without the schema.
async fn format(session: &Session) -> Result<Option<u32>> {
    const COMMENT: &str =
        "SELECT coalesce(obj_description(oid, 'pg_namespace'), '') AS c FROM pg_namespace WHERE nspname = 'pgrun'";
    let comments = session.texts(COMMENT, &[]).await?;
    let Some(comment) = comments.first() else { return Ok(None) };
    let format = comment.strip_prefix(SEAL).and_then(|number| number.parse().ok());
    format.map(Some).ok_or_else(|| foreign(session))
}

fn foreign(session: &Session) -> Error {
    fail!(Code::Foreign, "{} has a schema `pgrun` that pgrun did not make", session.target().label())
        .hint(format!("rename it: ALTER SCHEMA {} RENAME TO ..", ident::ident("pgrun").unwrap_or_default()))
}
