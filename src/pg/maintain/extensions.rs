//! Extensions that are older than what the server brings.

use super::crew::Effort;
use crate::{
    base::{
        Result,
        ident::{ident, literal},
    },
    pg::{Session, record::record},
};

record! {
    /// An extension that is not at its default version.
    pub struct Outdated {
        /// Its name.
        pub name: String,
        /// The version it has.
        pub installed: String,
        /// The version that the server brings.
        pub wanted: String,
        /// Whether the server has scripts that lead there.
        pub reachable: bool,
    }
}

/// Those that others require come first.
const OUTDATED: &str = "WITH RECURSIVE chain(oid, level) AS ( \
        SELECT e.oid, 0 FROM pg_extension e \
        UNION SELECT d.objid, chain.level + 1 FROM chain JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass \
               AND d.refobjid = chain.oid AND d.classid = 'pg_extension'::regclass), \
     deepest AS (SELECT chain.oid, max(chain.level) AS level FROM chain GROUP BY chain.oid) \
     SELECT e.extname::text AS name, e.extversion AS installed, a.default_version AS wanted, \
            EXISTS (SELECT FROM pg_extension_update_paths(e.extname) u WHERE u.source = e.extversion \
                       AND u.target = a.default_version AND u.path IS NOT NULL) AS reachable \
       FROM pg_extension e JOIN deepest USING (oid) JOIN pg_available_extensions a ON a.name = e.extname \
      WHERE a.default_version <> e.extversion ORDER BY deepest.level, e.extname";

/// Extensions of this database that are not at the server's default version, in the order in which they can be
/// updated. Needs no privilege.
pub async fn outdated(session: &Session) -> Result<Vec<Outdated>> {
    session.records(OUTDATED, &[]).await
}

/// Brings every extension of [`outdated`] to its default version, where a way leads there, and gives those. Each is a
/// transaction of its own. Needs ownership of them.
///
/// # Errors
/// `pg_sql` with the extension's name; those before it are done.
pub async fn update(session: &Session, effort: &Effort, tell: &(dyn Fn(&str) + Sync)) -> Result<Vec<Outdated>> {
    let worker = session.sibling().await;
    worker.set_statement_timeout(effort.deadline).await?;
    let mut done = vec![];
    for extension in outdated(session).await?.into_iter().filter(|extension| extension.reachable) {
        let (name, wanted) = (&extension.name, &extension.wanted);
        tell(&format!("{} done; {name}", done.len()));
        let sql = format!("ALTER EXTENSION {} UPDATE TO {}", ident(name)?, literal(wanted)?);
        worker.batch(&sql).await.map_err(|error| error.during(format!("updating `{name}` to {wanted}")))?;
        done.push(extension);
    }
    worker.close().await;
    Ok(done)
}
