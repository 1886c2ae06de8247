//! Publications of all tables.

use super::session::Session;
use crate::base::{Code, Result, ident::ident};
use crate::fail;

/// Publishes every present and future table of the database, all four kinds of change. A publication of that name that
/// already does so is left as it is.
///
/// From this moment UPDATE and DELETE fail on a table without a usable replica identity (manual, "Publication"), so take
/// stock first. Needs a superuser, or on RDS a member of `rds_superuser`.
///
/// # Errors
/// `foreign` when a publication of that name publishes something else.
pub async fn create(session: &Session, name: &str) -> Result<()> {
    const FOUND: &str = "SELECT puballtables AND pubinsert AND pubupdate AND pubdelete AND pubtruncate \
                         FROM pg_publication WHERE pubname = $1";
    let rows = session.query(FOUND, &[name.into()]).await?;
    match rows.first().and_then(|row| row.values().next()).and_then(crate::base::Value::as_bool) {
        Some(true) => Ok(()),
        Some(false) => Err(fail!(Code::Foreign, "the publication `{name}` exists and publishes something else")
            .hint("drop it if nobody needs it, or choose another name")),
        None => session.batch(&format!("CREATE PUBLICATION {} FOR ALL TABLES", ident(name)?)).await,
    }
}

/// Drops a publication; one that is not there is no error.
pub async fn drop(session: &Session, name: &str) -> Result<()> {
    session.batch(&format!("DROP PUBLICATION IF EXISTS {}", ident(name)?)).await
}
