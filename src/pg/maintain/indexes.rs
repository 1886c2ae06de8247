//! Indexes whose order has moved: a copy of a disk keeps the order that the library of then knew.

use std::collections::BTreeMap;

use super::crew::{self, Effort, Job, Outcome};
use crate::{
    base::{Result, Value},
    pg::{
        Session,
        record::{field, record},
    },
};

record! {
    /// An index over a collation whose version is another one than when it was made.
    pub struct Moved {
        /// Its name with its schema, quoted where SQL needs it.
        pub name: String,
        /// Its table.
        pub table: String,
        /// Bytes on disk.
        pub bytes: i64,
        /// An apply worker finds rows by it: it must be right before a subscription is enabled, or rows are missed
        /// in silence.
        pub identity: bool,
    }

    /// What became of recorded versions.
    pub struct Refreshed {
        /// The collations, and the database, that bear the library's version now.
        pub refreshed: Vec<String>,
        /// Those whose owner this role is not.
        pub refused: Vec<String>,
    }
}

/// Collations by oid and name; 100 is the database's own (`pg_collation.dat`), which has a version since 15.
const COLLATIONS: &str = "SELECT o.oid, 'COLLATION ' || quote_ident(n.nspname) || '.' || quote_ident(o.collname) AS name \
       FROM pg_collation o JOIN pg_namespace n ON n.oid = o.collnamespace \
      WHERE o.collprovider <> 'd' AND o.collversion <> pg_collation_actual_version(o.oid)";
const DATABASE: &str = " UNION ALL SELECT 100::oid, 'DATABASE ' || quote_ident(d.datname) FROM pg_database d \
      WHERE d.datname = current_database() AND d.datcollversion <> pg_database_collation_actual_version(d.oid)";

/// A table with REPLICA IDENTITY FULL is looked up by any index that fits, since 16 (`execReplication.c`).
const MOVED: &str = "WITH moved AS MATERIALIZED (:collations) \
     SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name, \
            quote_ident(tn.nspname) || '.' || quote_ident(t.relname) AS \"table\", \
            coalesce(pg_relation_size(c.oid), 0) AS bytes, \
            (i.indisreplident OR i.indisprimary AND t.relreplident = 'd' OR t.relreplident = 'f') AS identity \
       FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
       JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace tn ON tn.oid = t.relnamespace \
      WHERE c.relkind = 'i' AND c.relpersistence <> 't' \
        AND EXISTS (SELECT FROM moved m WHERE m.oid = ANY (i.indcollation::oid[]) \
                       OR EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid \
                                     AND d.refclassid = 'pg_collation'::regclass AND d.refobjid = m.oid)) \
      ORDER BY identity DESC, bytes DESC, name";

/// Indexes whose collation has moved since they were built, those of replica identities first. Needs no privilege.
///
/// The recorded version says so: that of a collation, and since 15 that of the database. Before 15 nothing is known of
/// indexes in the database's own collation.
pub async fn moved(session: &Session) -> Result<Vec<Moved>> {
    let collations = collations(session).await?;
    session.records(&MOVED.replace(":collations", &collations), &[]).await
}

async fn collations(session: &Session) -> Result<String> {
    let database = if session.major().await? >= 15 { DATABASE } else { "" };
    Ok(format!("{COLLATIONS}{database}"))
}

/// Builds indexes anew; `concurrently` beside readers and writers, where the index allows it (one of an exclusion
/// constraint does not). Needs ownership or, since 17, MAINTAIN.
///
/// A REINDEX CONCURRENTLY that was cut off leaves an invalid index beside the old one: such remains are dropped first.
///
/// # Errors
/// `timeout` or `pg_sql`, naming the tables whose indexes failed.
pub async fn reindex(
    session: &Session,
    names: &[String],
    concurrently: bool,
    effort: &Effort,
    tell: &(dyn Fn(&str) + Sync),
) -> Result<Outcome> {
    const TABLES: &str = "SELECT i.indexrelid::int8 AS oid, i.indisexclusion AS excludes, \
             quote_ident(n.nspname) || '.' || quote_ident(t.relname) AS \"table\" \
        FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace n ON n.oid = t.relnamespace \
       WHERE i.indexrelid = ANY ($1::oid[])";
    const REMAINS: &str = "SELECT quote_ident(n.nspname) || '.' || quote_ident(t.relname) AS \"table\", \
             quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name \
        FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
        JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace n ON n.oid = t.relnamespace \
       WHERE NOT i.indisvalid AND c.relname ~ '_cc(new|old)[0-9]*$' \
         AND i.indrelid IN (SELECT w.indrelid FROM pg_index w WHERE w.indexrelid = ANY ($1::oid[])) ORDER BY name";
    let (found, gone) = crew::find(session, names).await?;
    let oids: Value = found.iter().map(|found| found.oid).collect::<Vec<_>>().into();
    // Two on one table would wait for each other.
    let mut by_table: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in session.query(REMAINS, std::slice::from_ref(&oids)).await? {
        let drop = format!("DROP INDEX CONCURRENTLY {}", field::<String>(&row, "name")?);
        by_table.entry(field(&row, "table")?).or_default().push(drop);
    }
    let number = found.len();
    for row in session.query(TABLES, &[oids]).await? {
        let (oid, excludes): (i64, bool) = (field(&row, "oid")?, field(&row, "excludes")?);
        let Some(index) = found.iter().find(|found| found.oid == oid) else { continue };
        let how = if concurrently && !excludes { "CONCURRENTLY " } else { "" };
        by_table.entry(field(&row, "table")?).or_default().push(format!("REINDEX INDEX {how}{}", index.name));
    }
    let jobs = by_table.into_iter().map(|(name, statements)| Job { name, statements }).collect();
    let outcome = crew::run(session, jobs, "", "reindexed", effort, tell).await?;
    // All that the server warns of here is that a collation has moved, which is why it is done.
    Ok(Outcome { done: i64::try_from(number).unwrap_or(i64::MAX), gone, warnings: vec![], ..outcome })
}

/// Records the library's versions, once every index of [`moved`] was built anew. Needs ownership of each.
pub async fn refresh_versions(session: &Session) -> Result<Refreshed> {
    let names =
        session.texts(&format!("SELECT name FROM ({}) m ORDER BY name", collations(session).await?), &[]).await?;
    let mut all = Refreshed { refreshed: vec![], refused: vec![] };
    for name in names {
        let what = if name.starts_with("DATABASE ") { "REFRESH COLLATION VERSION" } else { "REFRESH VERSION" };
        match session.batch(&format!("ALTER {name} {what}")).await {
            Ok(()) => all.refreshed.push(name),
            // RDS's master does not own what came with the server.
            Err(error) if error.fact("sqlstate") == Some("42501") => all.refused.push(name),
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}
