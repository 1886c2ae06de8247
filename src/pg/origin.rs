//! The replication origin of a subscription: from where its worker asks for changes.

use super::{session::Session, subscription};
use crate::{
    base::{Code, Lsn, Result},
    fail,
};

/// Sets the origin of a disabled subscription and reads it back. The worker then skips every transaction whose commit
/// record begins before this position (`snapbuild.c`, `SnapBuildXactNeedsSkip`). May go backwards. Needs EXECUTE on
/// `pg_replication_origin_advance`: a superuser, or on RDS a member of `rds_superuser`.
///
/// # Errors
/// `require_failed` when the subscription is missing, enabled, or the position reads back differently.
pub async fn set(session: &Session, name: &str, position: Lsn) -> Result<Lsn> {
    const SET: &str = "SELECT pg_replication_origin_advance($1, $2)";
    const READ: &str = "SELECT pg_replication_origin_progress($1, true)";
    let missing = || fail!(Code::RequireFailed, "there is no subscription `{name}`");
    let found = subscription::find(session, name).await?.ok_or_else(missing)?;
    if found.enabled {
        return Err(fail!(Code::RequireFailed, "the subscription `{name}` is enabled: its origin is not moved")
            .hint("disable it first"));
    }
    session.query(SET, &[found.origin.as_str().into(), position.into()]).await?;
    let read: Option<Lsn> = session.scalar(READ, &[found.origin.as_str().into()]).await?;
    if read == Some(position) {
        return Ok(position);
    }
    let read = read.map_or_else(|| "nothing".to_owned(), |lsn| lsn.to_string());
    Err(fail!(Code::RequireFailed, "the origin of `{name}` reads back as {read}, wanted {position}"))
}
