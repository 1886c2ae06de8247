//! `pgrun.applied`: the row that a transaction writes about itself. Whoever lost the answer to its COMMIT, or died
//! before it could note it, learns from the row whether the transaction took effect.

use super::{own, session::Session};
use crate::base::{Result, Value};

/// What a row says.
pub struct Applied {
    /// Which transaction it was, as its caller names it.
    pub what: String,
    /// What it gave, as its caller wrote it.
    pub value: String,
}

/// Whether this session's role may keep such rows here: the schema is pgrun's own, in the shape that this program
/// knows, and the role may read and write the table.
pub async fn is_kept(session: &Session) -> Result<bool> {
    const IS_KEPT: &str = "SELECT FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid \
         WHERE n.nspname = 'pgrun' AND c.relname = 'applied' AND c.relkind = 'r' \
         AND obj_description(n.oid, 'pg_namespace') = $1 AND has_schema_privilege(n.oid, 'USAGE') \
         AND has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')";
    session.exists(IS_KEPT, &[own::seal().into()]).await
}

/// Writes the row inside the transaction that it is about; false when something swallows rows of this table, as
/// `session_replication_role` does. A failure leaves the transaction as it was.
pub async fn mark(session: &Session, run: &str, step: &str, applied: &Applied) -> Result<bool> {
    const MARK: &str = "INSERT INTO pgrun.applied (target, run, step, value) VALUES (pgrun.target(), $1::text, \
         $2::text, jsonb_build_object('what', $3::text, 'value', $4::text))";
    const BEFORE: &str = "pgrun_applied";
    session.savepoint(BEFORE).await?;
    let values: [Value; 4] = [run, step, &applied.what, &applied.value].map(Into::into);
    let marked = session.execute(MARK, &values).await;
    if marked.is_err() {
        session.rollback_to(BEFORE).await?;
    }
    marked.map(|rows| rows == 1)
}

/// Looks for the row of a transaction that may still be at work: its COMMIT may hang, and its server process may have
/// outlived the one who sent it. So the same key is inserted, which waits for whoever has inserted it before (manual,
/// "Index Uniqueness Checks"), and taken back.
///
/// # Errors
/// Those of the session; then nothing is known.
pub async fn find(session: &Session, run: &str, step: &str) -> Result<Option<Applied>> {
    const PROBE: &str = "INSERT INTO pgrun.applied (target, run, step) VALUES (pgrun.target(), $1::text, $2::text) \
         ON CONFLICT DO NOTHING";
    const FOUND: &str = "SELECT value->>'what' AS what, value->>'value' AS value FROM pgrun.applied \
         WHERE target = pgrun.target() AND run = $1::text AND step = $2::text";
    let key: [Value; 2] = [run.into(), step.into()];
    session.begin().await?;
    let found = async {
        if session.execute(PROBE, &key).await? == 1 {
            return Ok(None);
        }
        let row = session.one(FOUND, &key).await?;
        let text = |name: &str| row.get(name).and_then(Value::as_text).unwrap_or_default().to_owned();
        Ok(Some(Applied { what: text("what"), value: text("value") }))
    };
    let found = found.await;
    session.rollback().await?;
    found
}
