//! Proof that two databases hold the same rows: a count and a checksum per table that does not depend on their order.
//!
//! Partitioned tables are looked at leaf by leaf. Text forms are those of the session (`settings.rs`), the same on every
//! version. Nothing is locked: on databases that are written to, differences mean nothing.

use std::collections::BTreeMap;

use super::{publication::Table, record::record, session::Session};
use crate::{
    base::{
        Code, Result, Value,
        ident::{ident, qualified},
        prose::{count, ticked_list},
    },
    fail,
};

record! {
    /// What a table holds.
    pub struct Content {
        /// Schema.
        pub schema: String,
        /// Name, unquoted.
        pub name: String,
        /// Rows.
        pub rows: i64,
        /// The sum of the rows' hashes, in decimal: a row that is there twice counts twice.
        pub checksum: String,
    }

    /// A table that does not hold the same on both sides.
    pub struct Unequal {
        /// `schema.name`.
        pub table: String,
        /// What the first side has; absent if it lacks the table.
        pub first: Option<Content>,
        /// What the second side has.
        pub second: Option<Content>,
    }

    /// The outcome of [`compare`].
    pub struct Verified {
        /// Tables that were compared.
        pub tables: i64,
        /// Rows on the first side.
        pub rows: i64,
        /// Tables that differ.
        pub unequal: Vec<Unequal>,
    }
}

impl Verified {
    /// Every table holds the same on both sides.
    #[must_use]
    pub fn rows_equal(&self) -> bool {
        self.unequal.is_empty()
    }

    /// Refuses a difference.
    ///
    /// # Errors
    /// `require_failed` naming the tables.
    pub fn require(&self) -> Result<()> {
        if self.rows_equal() {
            return Ok(());
        }
        let named = |unequal: &Unequal| {
            let rows =
                |side: &Option<Content>| side.as_ref().map_or("no".to_owned(), |content| content.rows.to_string());
            format!("{} ({} and {} rows)", unequal.table, rows(&unequal.first), rows(&unequal.second))
        };
        let tables: Vec<String> = self.unequal.iter().map(named).collect();
        let number = count(tables.len(), "table");
        Err(fail!(Code::RequireFailed, "{number} do not hold the same rows: {}", ticked_list(&tables, 5)))
    }
}

/// The tables of people that hold rows of their own and survive a crash: no parents of partitions, foreign or unlogged
/// tables, none of pgrun's and none of an extension's.
pub async fn tables(session: &Session) -> Result<Vec<Table>> {
    const TABLES: &str = "SELECT n.nspname::text AS schema, c.relname::text AS name FROM pg_class c \
         JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND c.relpersistence = 'p' \
           AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgrun') \
           AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e') \
         ORDER BY n.nspname COLLATE \"C\", c.relname COLLATE \"C\"";
    session.records(TABLES, &[]).await
}

/// Counts and sums up one table. Needs SELECT on it. Columns are taken by name, so their order does not matter.
///
/// # Errors
/// `pg_sql` 42501 if row security would hide rows from this role: then nothing could be said.
pub async fn content(session: &Session, table: &Table) -> Result<Content> {
    const COLUMNS: &str = "SELECT a.attname::text FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
         JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2 AND a.attnum > 0 \
           AND NOT a.attisdropped ORDER BY a.attname COLLATE \"C\"";
    let values = [Value::from(table.schema.as_str()), table.name.as_str().into()];
    let columns = session.texts(COLUMNS, &values).await?;
    // `md5` and not a hash function of indexes: those may change between versions. Sixty bits of it are summed up.
    let sql = format!(
        "SELECT count(*) AS rows, coalesce(sum(('x' || left(md5(ROW({})::text), 15))::bit(60)::int8), 0)::text AS checksum \
         FROM {} t",
        columns.iter().map(|column| Ok(format!("t.{}", ident(column)?))).collect::<Result<Vec<_>>>()?.join(", "),
        qualified(&table.schema, &table.name)?
    );
    let mut row = session
        .transaction(async |tx| {
            // Rows that row security hides must be an error.
            tx.batch("SET LOCAL row_security = off").await?;
            tx.one(&sql, &[]).await
        })
        .await?;
    row.extend(crate::map! { "schema" => table.schema.as_str(), "name" => table.name.as_str() });
    super::Record::from_map(&row)
}

/// Compares every table of two databases, both sides at the same time. A table that only one side has is a difference.
/// For tables that take longer than `statement_timeout`, set that first.
pub async fn compare(first: &Session, second: &Session) -> Result<Verified> {
    let (here, there) = tokio::join!(tables(first), tables(second));
    let mut sides: BTreeMap<String, (Option<Table>, Option<Table>)> = BTreeMap::new();
    for table in here? {
        let label = table.label();
        sides.entry(label).or_default().0 = Some(table);
    }
    for table in there? {
        let label = table.label();
        sides.entry(label).or_default().1 = Some(table);
    }
    let mut verified = Verified { tables: 0, rows: 0, unequal: Vec::new() };
    for (table, (here, there)) in sides {
        let (here, there) = tokio::join!(content_of(first, here), content_of(second, there));
        let (here, there) = (here?, there?);
        verified.tables += 1;
        verified.rows += here.as_ref().map_or(0, |content| content.rows);
        if here != there {
            verified.unequal.push(Unequal { table, first: here, second: there });
        }
    }
    Ok(verified)
}

async fn content_of(session: &Session, table: Option<Table>) -> Result<Option<Content>> {
    match table {
        Some(table) => content(session, &table).await.map(Some),
        None => Ok(None),
    }
}
