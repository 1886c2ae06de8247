//! The databases of a server that a whole-server procedure has to cover.

use super::{record::record, session::Session};
use crate::base::Result;

record! {
    /// A database that takes connections.
    pub struct Database {
        /// The name.
        pub name: String,
        /// The oid: a name for what may contain letters, digits and underscores only, such as a slot.
        pub oid: i64,
    }
}

/// Every database that may hold somebody's data: all but templates, those that take no connections, and `rdsadmin`,
/// which belongs to RDS. The session's own comes first, the others follow by name.
pub async fn all(session: &Session) -> Result<Vec<Database>> {
    const ALL: &str = "SELECT datname::text AS name, oid::int8 AS oid FROM pg_database \
         WHERE datallowconn AND NOT datistemplate AND datname <> 'rdsadmin' \
         ORDER BY datname <> current_database(), datname";
    session.records(ALL, &[]).await
}
