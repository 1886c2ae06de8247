//! Proof that two databases hold the same rows: a count and a checksum per table. Definitions are compared in
//! `schema`, sequences in `sequences`.
//!
//! # What the checksum says
//!
//! It is the sum of a 64-bit hash of each row's text, so the order of the rows does not matter and a row that is there
//! twice counts twice. Columns are taken in the order of their names, generated ones included. `hashtextextended` and
//! the text forms used here give the same on PostgreSQL 13 to 18 and on every processor with the same byte order (hash
//! partitions that `pg_upgrade` carries over rely on the former). Databases in different encodings cannot be compared.
//!
//! # Two ways to use it
//!
//! [`count`] sums up tables of one server, each group as it is at one moment. [`pair`] compares two servers by ranges
//! of keys, in parallel, at a rate, in parts, down to the rows that differ.

mod look;
mod pace;
pub mod pair;
mod settle;
mod shape;
mod walk;

use shape::Shapes;

use super::{
    Session,
    difference::{Comparable, Difference, differences, spelled},
    record::{field, record},
};
use crate::{
    base::{Code, Map, Result, ident},
    fail,
};

record! {
    /// A table whose rows count.
    pub struct Table {
        /// Its schema.
        pub schema: String,
        /// Its name.
        pub name: String,
        /// Bytes on disk, TOAST included and indexes not.
        pub bytes: i64,
    }

    /// What a table holds.
    pub struct Count {
        /// The table's schema.
        pub schema: String,
        /// The table's name.
        pub name: String,
        /// Its number of rows.
        pub rows: i64,
        /// 16 hexadecimal digits that are equal if the rows are.
        pub checksum: String,
    }
}

/// Tables that share a statement: few round trips for many small tables, and few locks at a time (the lock table of a
/// server holds 6,400 at its default settings).
const TABLES_AT_ONCE: usize = 64;

/// A statement reads no further table beyond this, so that `statement_timeout` means about a table.
const BYTES_AT_ONCE: i64 = 64 << 20;

/// No sample.
const EVERY_ROW: i64 = 1;

/// `row_security` turns a filtered reading into an error; `money` prints as the locale says.
const AS_TEXT: &str = "SET LOCAL search_path = pg_catalog; SET LOCAL row_security = off; SET LOCAL lc_monetary = 'C'";

/// Tables that logical replication can carry: ordinary ones and partitions that hold rows. Not unlogged ones, which a
/// crash empties, nor foreign tables and materialized views, whose rows come from elsewhere.
const TABLES: &str = "SELECT n.nspname::text AS schema, c.relname::text AS name, \
            coalesce(pg_table_size(c.oid), 0) AS bytes \
       FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
      WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname !~ '^pg_' \
        AND n.nspname NOT IN ('information_schema', 'pgrun') \
      ORDER BY n.nspname COLLATE \"C\", c.relname COLLATE \"C\"";

/// The tables whose rows can be compared, by schema and name; pgrun's own schema is left out. Needs no privilege.
///
/// Reads the catalogs only, so that a runbook can take a sample of them to [`count`].
pub async fn list(session: &Session) -> Result<Vec<Table>> {
    session.records(TABLES, &[]).await
}

/// Counts every table of [`list`]. See [`count`].
pub async fn tables(session: &Session) -> Result<Vec<Count>> {
    let all = list(session).await?;
    count(session, &all).await
}

/// Counts and sums up the rows of these tables, in the given order.
///
/// Works on a connection of its own with the session's target and limits: what the session has set or begun does not
/// matter. `statement_timeout` limits each group of tables; a core reads some 100 MB a second. Needs SELECT on the
/// tables.
///
/// # Errors
/// `pg_sql` 42501 where a table may not be read, or row security would hide rows of it; no table is ever passed over.
/// `pg_value` naming tables that are not there.
pub async fn count(session: &Session, tables: &[Table]) -> Result<Vec<Count>> {
    let reader = session.sibling().await;
    let shapes = shape::shapes(&reader, tables).await?;
    let mut counts = Vec::with_capacity(tables.len());
    for group in groups(tables) {
        counts.extend(count_group(&reader, group, &shapes, EVERY_ROW).await?);
    }
    reader.close().await;
    Ok(counts)
}

/// The tables that do not hold the same rows. `there` is the side that is right: in an upgrade BLUE.
#[must_use]
pub fn compare(there: &[Count], here: &[Count]) -> Vec<Difference> {
    differences(there, here)
}

impl Comparable for Count {
    fn key(&self) -> (String, String) {
        ("rows".into(), full_name(&self.schema, &self.name))
    }

    fn equals(&self, other: &Self) -> bool {
        self == other
    }

    fn show(&self, _: Option<&Self>) -> String {
        format!("{} rows, checksum {}", self.rows, self.checksum)
    }
}

fn full_name(schema: &str, name: &str) -> String {
    format!("{}.{}", spelled(schema), spelled(name))
}

/// Splits the tables, in their order, into what one statement reads.
fn groups(tables: &[Table]) -> Vec<&[Table]> {
    let mut groups = Vec::new();
    let (mut from, mut bytes) = (0, 0_i64);
    for (at, table) in tables.iter().enumerate() {
        if at > from && (at - from == TABLES_AT_ONCE || bytes.saturating_add(table.bytes) > BYTES_AT_ONCE) {
            groups.push(&tables[from..at]);
            (from, bytes) = (at, 0);
        }
        bytes = bytes.saturating_add(table.bytes);
    }
    groups.extend((from < tables.len()).then(|| &tables[from..]));
    groups
}

/// Counts some tables in one statement; sums up one row in `one_in`, where there is a key to choose by.
async fn count_group(reader: &Session, group: &[Table], shapes: &Shapes, one_in: i64) -> Result<Vec<Count>> {
    let one = |(place, table): (usize, &Table)| {
        let shape = shapes.get(&(table.schema.clone(), table.name.clone()));
        let missing = || fail!(Code::Internal, "the columns of `{}` were not read", table.name);
        let sums = look::sums(shape.ok_or_else(missing)?, one_in)?;
        Ok(format!("SELECT {place} AS place, {sums} FROM ONLY {} t", ident::qualified(&table.schema, &table.name)?))
    };
    let selects: Vec<String> = group.iter().enumerate().map(one).collect::<Result<_>>()?;
    let sql = format!("{} ORDER BY place", selects.join(" UNION ALL "));
    let rows = look::alone(reader, AS_TEXT, &sql, &[]).await?;
    group.iter().zip(&rows).map(|(table, row)| counted(table, row)).collect()
}

fn counted(table: &Table, row: &Map) -> Result<Count> {
    let (schema, name) = (table.schema.clone(), table.name.clone());
    Ok(Count { schema, name, rows: field(row, "rows")?, checksum: checksum(&field::<String>(row, "sum")?)? })
}

/// The sum modulo 2^64.
fn checksum(sum: &str) -> Result<String> {
    let total: i128 = sum.parse().map_err(|_| fail!(Code::PgValue, "got {sum:?}, wanted a sum of hashes"))?;
    Ok(format!("{:016x}", total.rem_euclid(1 << 64)))
}

#[cfg(test)]
mod tests {
    use super::{TABLES, TABLES_AT_ONCE, Table, compare, counted, groups};
    use crate::{map, pg::sql};

    fn table(name: &str, bytes: i64) -> Table {
        Table { schema: "Öl".into(), name: name.into(), bytes }
    }

    /// No table may fall between two groups; a large one stands alone.
    #[test]
    fn groups_hold_every_table_once() {
        let sizes = [0, 1 << 30, 1 << 30, 5, 6, i64::MAX, 7, 1 << 25, 1 << 25, 1];
        let mut tables: Vec<Table> = sizes.into_iter().map(|bytes| table("t", bytes)).collect();
        tables.extend((0..200).map(|_| table("small", 8192)));
        let groups = groups(&tables);
        assert_eq!(groups.concat(), tables);
        let lens: Vec<usize> = groups.iter().map(|group| group.len()).collect();
        assert_eq!(lens, [1, 1, 1, 2, 1, 2, 1 + 1 + 62, TABLES_AT_ONCE, TABLES_AT_ONCE, 10]);
        assert!(super::groups(&[]).is_empty());
    }

    #[test]
    fn a_checksum_is_never_negative_and_tells_sides_apart() {
        let sum = |sum: &str| map! { "rows" => 2_i64, "sum" => sum };
        let there = counted(&table("t", 0), &sum("-1")).unwrap();
        assert_eq!(there.checksum, "ffffffffffffffff");
        assert_eq!(counted(&table("t", 0), &sum("18446744073709551617")).unwrap().checksum, "0000000000000001");
        let here = counted(&table("t", 0), &sum("1")).unwrap();
        let found = compare(std::slice::from_ref(&there), &[here]);
        assert_eq!(found[0].name, "\"Öl\".t");
        assert_eq!(found[0].there.as_deref(), Some("2 rows, checksum ffffffffffffffff"));
        let same = std::slice::from_ref(&there);
        assert!(compare(same, same).is_empty());
    }

    /// A connection that is lost while it runs must leave nothing in doubt.
    #[test]
    fn the_statement_provably_only_reads() {
        assert!(sql::single(TABLES).unwrap().reads);
    }
}
