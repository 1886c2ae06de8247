//! Materialized views: replication does not carry their rows.

use super::crew::{self, Effort, Job, Outcome};
use crate::{
    base::Result,
    pg::{Session, record::record},
};

record! {
    /// A materialized view that has rows.
    pub struct View {
        /// Its name with its schema, quoted where SQL needs it.
        pub name: String,
        /// Bytes on disk.
        pub bytes: i64,
        /// How many others lie below it, one on top of the other: 0 for one over tables.
        pub level: i64,
    }
}

/// Views between two materialized ones are passed through.
const VIEWS: &str = "WITH RECURSIVE edge AS MATERIALIZED ( \
        SELECT DISTINCT r.ev_class AS view, d.refobjid AS below, (c.relkind = 'm')::int AS step \
          FROM pg_rewrite r JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid \
           AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> r.ev_class \
          JOIN pg_class c ON c.oid = d.refobjid AND c.relkind IN ('v', 'm')), \
     walk(view, at, level) AS ( \
        SELECT c.oid, c.oid, 0 FROM pg_class c WHERE c.relkind = 'm' \
        UNION SELECT w.view, e.below, w.level + e.step FROM walk w JOIN edge e ON e.view = w.at) \
     SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name, pg_table_size(c.oid) AS bytes, \
            max(w.level)::int8 AS level \
       FROM walk w JOIN pg_class c ON c.oid = w.view JOIN pg_namespace n ON n.oid = c.relnamespace \
      WHERE c.relispopulated GROUP BY c.oid, n.nspname, c.relname ORDER BY level, bytes DESC, name";

/// The materialized views that have rows, those below others first. What a view reads inside a function is not seen.
/// Needs no privilege.
pub async fn list(session: &Session) -> Result<Vec<View>> {
    session.records(VIEWS, &[]).await
}

/// Refreshes materialized views of one level. Nobody reads them meanwhile. Needs ownership or, since 17, MAINTAIN.
///
/// # Errors
/// `timeout` or `pg_sql`, naming the views that failed.
pub async fn refresh(
    session: &Session,
    names: &[String],
    effort: &Effort,
    tell: &(dyn Fn(&str) + Sync),
) -> Result<Outcome> {
    let (found, gone) = crew::find(session, names).await?;
    let job = |found: crew::Found| {
        let sql = format!("REFRESH MATERIALIZED VIEW {}", found.name);
        Job { name: found.name, statements: vec![sql] }
    };
    let outcome = crew::run(session, found.into_iter().map(job).collect(), "", "refreshed", effort, tell).await?;
    Ok(Outcome { gone, ..outcome })
}
