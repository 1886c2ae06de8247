//! Replication origins of subscriptions: how far a subscriber believes to have come.
//!
//! Needs EXECUTE on the `pg_replication_origin_*` functions: superusers and `rds_superuser` have it; since 14 it can be
//! granted.

use super::session::Session;
use crate::{
    base::{Code, Lsn, Result, Value},
    fail,
};

/// How far the subscription's apply worker has come, from the shared state that a start reads; absent if it never ran.
///
/// # Errors
/// `pg_sql` 42704 if there is no such subscription in this database.
pub async fn position(session: &Session, subscription: &str) -> Result<Option<Lsn>> {
    const POSITION: &str = "SELECT pg_replication_origin_progress($1, false)";
    let name = name(session, subscription).await?;
    session.scalar(POSITION, &[Value::Text(name)]).await
}

/// Sets the position from which a *disabled* subscription goes on, durably, and reads it back.
///
/// PostgreSQL lets it go backward too, and writes the advance to the log without flushing it; the transaction id that
/// is taken here makes the commit flush it (`synchronous_commit = on` in every session of pgrun).
///
/// # Errors
/// `pg_sql` 55006 while an apply worker holds the origin; `require_failed` if another position is read back.
pub async fn advance(session: &Session, subscription: &str, to: Lsn) -> Result<()> {
    const ADVANCE: &str = "SELECT pg_replication_origin_advance($1, $2), pg_current_xact_id()::text";
    let name = name(session, subscription).await?;
    session.execute(ADVANCE, &[Value::Text(name), Value::Lsn(to)]).await?;
    require_at(session, subscription, to).await
}

/// Proves the position immediately before a subscription is enabled.
///
/// # Errors
/// `require_failed` with both positions.
pub async fn require_at(session: &Session, subscription: &str, wanted: Lsn) -> Result<()> {
    match position(session, subscription).await? {
        Some(at) if at == wanted => Ok(()),
        at => {
            let at = at.map_or_else(|| "nowhere".to_owned(), |at| at.to_string());
            Err(fail!(Code::RequireFailed, "the origin of `{subscription}` is at {at}, wanted {wanted}"))
        }
    }
}

/// `pg_<oid>` (`ReplicationOriginNameForLogicalRep`).
async fn name(session: &Session, subscription: &str) -> Result<String> {
    const NAME: &str = "SELECT 'pg_' || s.oid FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid \
         WHERE d.datname = current_database() AND s.subname = $1";
    let names = session.texts(NAME, &[Value::from(subscription)]).await?;
    names.into_iter().next().ok_or_else(|| {
        fail!(Code::PgSql, "there is no subscription `{subscription}` on {}", session.target().label())
            .detail("sqlstate", "42704")
    })
}
