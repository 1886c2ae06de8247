//! Replication origins of subscriptions: how far a subscriber believes to have come.
//!
//! Needs EXECUTE on the `pg_replication_origin_*` functions: superusers and `rds_superuser` have it; since 14 it can be
//! granted.

use super::{record::field, session::Session};
use crate::{
    base::{Code, Error, Lsn, Result, Value},
    fail,
};

/// The origin's name, `pg_<oid>` (`ReplicationOriginNameForLogicalRep`), of the subscription `$1`.
macro_rules! of_subscription {
    () => {
        " FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid \
         WHERE d.datname = current_database() AND s.subname = $1"
    };
}

/// How far the subscription's apply worker has come, from the shared state that a start reads; absent if it never ran.
///
/// # Errors
/// `pg_sql` 42704 if there is no such subscription in this database.
pub async fn position(session: &Session, subscription: &str) -> Result<Option<Lsn>> {
    const POSITION: &str =
        concat!("SELECT pg_replication_origin_progress('pg_' || s.oid, false) AS at", of_subscription!());
    let rows = session.query(POSITION, &[subscription.into()]).await?;
    let row = rows.first().ok_or_else(|| missing(session, subscription))?;
    field(row, "at")
}

/// Sets the position from which a *disabled* subscription goes on, durably, and reads it back.
///
/// PostgreSQL lets it go backward too, and writes the advance to the log without flushing it; the transaction id that is
/// taken here makes the commit flush it (`synchronous_commit = on` in every session of pgrun).
///
/// # Errors
/// `pg_sql` 55006 while an apply worker holds the origin; `require_failed` if another position is read back.
pub async fn advance(session: &Session, subscription: &str, to: Lsn) -> Result<()> {
    const ADVANCE: &str = concat!(
        "SELECT pg_replication_origin_advance('pg_' || s.oid, $2), pg_current_xact_id()::text",
        of_subscription!()
    );
    let rows = session.query(ADVANCE, &[subscription.into(), Value::Lsn(to)]).await?;
    if rows.is_empty() {
        return Err(missing(session, subscription));
    }
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

fn missing(session: &Session, subscription: &str) -> Error {
    fail!(Code::PgSql, "there is no subscription `{subscription}` on {}", session.target().label())
        .detail("sqlstate", "42704")
}
