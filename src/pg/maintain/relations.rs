//! Statistics for the planner, and dead rows.

use super::crew::{self, Effort, Job, Outcome};
use crate::{
    base::{Result, Value},
    pg::{Session, record::record},
};

record! {
    /// Something to work on.
    pub struct Item {
        /// Its name with its schema, quoted where SQL needs it.
        pub name: String,
        /// Bytes on disk.
        pub bytes: i64,
    }
}

/// Tables, partitioned tables and materialized views, the largest first. Before 18 a partitioned table's ANALYZE takes
/// its partitions along, so they are not listed; since 18 it is told not to.
const TABLES: &str = "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name, \
            coalesce(pg_table_size(c.oid), 0) AS bytes \
       FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
      WHERE c.relkind IN ('r', 'm', 'p') AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' \
        AND n.nspname <> 'information_schema' AND ($1::int8 >= 18 OR NOT c.relispartition) AND (:missing) \
      ORDER BY 2 DESC, 1";

/// What `vacuumdb --missing-stats-only` asks (18, `vacuumdb.c`): a table with rows lacks statistics of a column, of an
/// indexed expression, of an extended statistics object, or those over its children. Read through the views that
/// everybody may read: what they hide from this role counts as missing, and is gathered once more.
const MISSING: &str = "c.reltuples <> 0 AND ( \
    EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
               AND coalesce(a.attstattarget, -1) <> 0 AND a.attgenerated <> 'v' \
               AND NOT EXISTS (SELECT FROM pg_stats s WHERE s.schemaname = n.nspname AND s.tablename = c.relname \
                                  AND s.attname = a.attname AND s.inherited = (c.relkind = 'p'))) \
    OR EXISTS (SELECT FROM pg_attribute a JOIN pg_index i ON i.indexrelid = a.attrelid \
                 JOIN pg_class x ON x.oid = i.indexrelid \
                WHERE i.indrelid = c.oid AND c.relkind <> 'p' AND i.indexprs IS NOT NULL \
                  AND i.indkey[a.attnum - 1] = 0 AND coalesce(a.attstattarget, -1) <> 0 \
                  AND NOT EXISTS (SELECT FROM pg_stats s WHERE s.schemaname = n.nspname AND s.tablename = x.relname \
                                     AND s.attname = a.attname)) \
    OR EXISTS (SELECT FROM pg_statistic_ext e WHERE e.stxrelid = c.oid AND coalesce(e.stxstattarget, -1) <> 0 \
                  AND NOT EXISTS (SELECT FROM pg_stats_ext s JOIN pg_namespace en ON en.nspname = s.statistics_schemaname \
                                   WHERE en.oid = e.stxnamespace AND s.statistics_name = e.stxname)) \
    OR c.relkind <> 'p' AND EXISTS (SELECT FROM pg_inherits h WHERE h.inhparent = c.oid) \
       AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
                      AND coalesce(a.attstattarget, -1) <> 0 AND a.attgenerated <> 'v' \
                      AND NOT EXISTS (SELECT FROM pg_stats s WHERE s.schemaname = n.nspname \
                                         AND s.tablename = c.relname AND s.attname = a.attname AND s.inherited)))";

/// Tables and materialized views that hold rows.
const HEAPS: &str = "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name, \
            coalesce(pg_table_size(c.oid), 0) AS bytes \
       FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
      WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' \
        AND n.nspname <> 'information_schema' \
      ORDER BY 2 DESC, 1";

/// What ANALYZE is to look at: all, or only what lacks statistics. Needs no privilege.
pub async fn to_analyze(session: &Session, only_missing: bool) -> Result<Vec<Item>> {
    let major = session.major().await?;
    let missing = if only_missing { MISSING } else { "true" };
    session.records(&TABLES.replace(":missing", missing), &[Value::Int(major)]).await
}

/// What VACUUM is to look at. Needs no privilege.
pub async fn to_vacuum(session: &Session) -> Result<Vec<Item>> {
    session.records(HEAPS, &[]).await
}

/// Gathers statistics. `target` is the number of histogram entries for columns without one of their own; none is the
/// server's. Needs ownership or, since 17, MAINTAIN; what is passed over for lack of it stands in the warnings.
///
/// # Errors
/// As `crew`: `timeout` or `pg_sql`, naming the tables that failed.
pub async fn analyze(
    session: &Session,
    names: &[String],
    target: Option<i64>,
    effort: &Effort,
    tell: &(dyn Fn(&str) + Sync),
) -> Result<Outcome> {
    let settings = match target {
        Some(target) => format!("SET default_statistics_target = {target}"),
        None => "RESET default_statistics_target".into(),
    };
    let alone = session.major().await? >= 18;
    let statement = |kind: &str| if alone && kind == "p" { "ANALYZE ONLY" } else { "ANALYZE" };
    act(session, names, &settings, "analyzed", effort, tell, statement).await
}

/// Removes dead rows and renews the visibility map: plain VACUUM, beside which everybody reads and writes. Never FULL,
/// which locks everybody out, an apply worker too.
///
/// # Errors
/// As [`analyze`].
pub async fn vacuum(
    session: &Session,
    names: &[String],
    effort: &Effort,
    tell: &(dyn Fn(&str) + Sync),
) -> Result<Outcome> {
    act(session, names, "", "vacuumed", effort, tell, |_| "VACUUM").await
}

async fn act(
    session: &Session,
    names: &[String],
    settings: &str,
    verb: &str,
    effort: &Effort,
    tell: &(dyn Fn(&str) + Sync),
    statement: impl Fn(&str) -> &'static str,
) -> Result<Outcome> {
    let (found, gone) = crew::find(session, names).await?;
    let job = |found: crew::Found| {
        let sql = format!("{} {}", statement(&found.kind), found.name);
        Job { name: found.name, statements: vec![sql] }
    };
    let jobs = found.into_iter().map(job).collect();
    let outcome = crew::run(session, jobs, settings, verb, effort, tell).await?;
    Ok(Outcome { gone, ..outcome })
}
