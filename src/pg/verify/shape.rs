//! How a table is read so that two servers say the same: its columns as expressions, and the key that names its rows.

use std::collections::BTreeMap;

use super::{Table, full_name};
use crate::{
    base::{Code, Result, Value, ident::ident, prose},
    fail,
    pg::{
        Session,
        record::{field, record},
    },
};

/// A table's schema and name.
pub(super) type Name = (String, String);

record! {
    /// How one table is read.
    pub(super) struct Shape {
        /// Its schema.
        pub schema: String,
        /// Its name.
        pub name: String,
        /// Rows as the statistics estimate them; -1 where nobody has looked.
        pub estimate: i64,
        /// The columns' names in the order of their bytes.
        pub columns: Vec<String>,
        /// The columns as a list of expressions.
        pub expressions: String,
        /// The columns of the primary key, else of the replica identity's index; empty without either.
        pub key: Vec<String>,
        /// The key's types, without their lengths.
        pub types: Vec<String>,
        /// What the order of the key hangs on besides the types: collations with their versions.
        pub order: Vec<String>,
    }
}

/// The text forms that no version changed. (`"char"` beyond ASCII: since 16 in octal, `charout` in `char.c`. 18 is that
/// type's OID.) An order by a collation is known by the locale and the version of its provider: where these are equal
/// on two servers, so is the order (`pg_collation.c`; before 15 a database has no version, so that of its library is
/// taken).
const SHAPES: &str = "SELECT n.nspname::text AS schema, c.relname::text AS name, c.reltuples::int8 AS estimate, \
            coalesce(own.columns, '{}') AS columns, coalesce(own.expressions, '') AS expressions, \
            coalesce(key.names, '{}') AS key, coalesce(key.types, '{}') AS types, coalesce(key.orders, '{}') AS order \
       FROM (SELECT unnest($1::text[]) AS schema, unnest($2::text[]) AS name) wanted \
       JOIN pg_namespace n ON n.nspname = wanted.schema \
       JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.name \
       LEFT JOIN LATERAL (SELECT array_agg(a.attname::text ORDER BY a.attname COLLATE \"C\") AS columns, \
                            string_agg('t.' || quote_ident(a.attname) || \
                                CASE a.atttypid WHEN 18 THEN '::int4' ELSE '' END, ', ' \
                                ORDER BY a.attname COLLATE \"C\") AS expressions \
                       FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) own ON true \
       LEFT JOIN LATERAL (SELECT i.indexrelid FROM pg_index i \
                      WHERE i.indrelid = c.oid AND i.indisvalid AND (i.indisprimary OR i.indisreplident) \
                      ORDER BY i.indisprimary DESC LIMIT 1) best ON true \
       LEFT JOIN LATERAL (SELECT array_agg(a.attname::text ORDER BY place.ordinality) AS names, \
                           array_agg(format_type(a.atttypid, -1) ORDER BY place.ordinality) AS types, \
                           array_agg(CASE a.attcollation WHEN 0 THEN '' WHEN 100 THEN :default \
                                     ELSE concat_ws(' ', l.collprovider, l.collcollate, to_jsonb(l) ->> 'colllocale', \
                                        to_jsonb(l) ->> 'colliculocale', pg_collation_actual_version(l.oid)) END \
                                     ORDER BY place.ordinality) AS orders \
                      FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS place \
                      JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = place.place \
                      LEFT JOIN pg_collation l ON l.oid = a.attcollation \
                     WHERE i.indexrelid = best.indexrelid AND place.ordinality <= i.indnkeyatts) key ON true";

/// The order of the database's own collation, since 15 and before.
const DEFAULT_ORDER: [&str; 2] = [
    "(SELECT concat_ws(' ', d.datlocprovider, d.datcollate, to_jsonb(d) ->> 'datlocale', \
             to_jsonb(d) ->> 'daticulocale', pg_database_collation_actual_version(d.oid)) \
        FROM pg_database d WHERE d.datname = current_database())",
    "(SELECT concat_ws(' ', 'c', d.datcollate, CASE WHEN d.datcollate !~* '^(C|POSIX)($|[.])' THEN \
             (SELECT max(pg_collation_actual_version(v.oid)) FROM (SELECT o.oid FROM pg_collation o \
                WHERE o.collprovider = 'c' AND o.collcollate !~* '^(C|POSIX)($|[.])' LIMIT 1) v) END) \
        FROM pg_database d WHERE d.datname = current_database())",
];

/// Shapes by schema and name.
pub(super) type Shapes = BTreeMap<Name, Shape>;

/// The shapes of these tables.
///
/// # Errors
/// `pg_value` naming tables that are not there.
pub(super) async fn shapes(reader: &Session, tables: &[Table]) -> Result<Shapes> {
    let texts = |part: fn(&Table) -> &String| Value::from(tables.iter().map(part).cloned().collect::<Vec<_>>());
    let sql = statement(reader.major().await?);
    let rows = reader.query(&sql, &[texts(|table| &table.schema), texts(|table| &table.name)]).await?;
    let shape = |row| -> Result<(Name, Shape)> {
        let shape = <Shape as crate::pg::Record>::from_map(row)?;
        Ok(((field(row, "schema")?, field(row, "name")?), shape))
    };
    let found: Shapes = rows.iter().map(shape).collect::<Result<_>>()?;
    let is_missing = |table: &&Table| !found.contains_key(&(table.schema.clone(), table.name.clone()));
    let missing: Vec<String> =
        tables.iter().filter(is_missing).map(|table| full_name(&table.schema, &table.name)).collect();
    if !missing.is_empty() {
        let (names, place) = (prose::ticked_list(&missing, 5), reader.target().label());
        return Err(fail!(Code::PgValue, "{names} cannot be counted: there is no such table in {place}"));
    }
    Ok(found)
}

/// The statement as a server of this major version understands it.
pub(super) fn statement(major: i64) -> String {
    SHAPES.replace(":default", DEFAULT_ORDER[usize::from(major < 15)])
}

impl Shape {
    /// A row's key as columns, each quoted and of the table `t`.
    pub(super) fn key_columns(&self) -> Result<Vec<String>> {
        self.key.iter().map(|name| Ok(format!("t.{}", ident(name)?))).collect()
    }

    /// The hash of a row's key.
    pub(super) fn key_hash(&self) -> Result<String> {
        Ok(format!("hashtextextended(ROW({})::text COLLATE \"C\", 0)", self.key_columns()?.join(", ")))
    }

    /// The hash of a row.
    pub(super) fn row_hash(&self) -> String {
        format!("hashtextextended(ROW({})::text COLLATE \"C\", 0)", self.expressions)
    }

    /// Whether the rows of two tables can be told by their keys: both have the same ones.
    pub(super) fn has_key_of(&self, other: &Self) -> bool {
        !self.key.is_empty() && self.key == other.key && self.types == other.types
    }

    /// Whether a range of keys holds the same rows in both tables.
    pub(super) fn is_ordered_as(&self, other: &Self) -> bool {
        self.has_key_of(other) && self.order == other.order
    }
}

#[cfg(test)]
mod tests {
    use super::statement;
    use crate::pg::sql;

    /// A connection that is lost while it runs must leave nothing in doubt.
    #[test]
    fn the_statement_provably_only_reads() {
        for major in [13, 18] {
            assert!(sql::single(&statement(major)).unwrap().reads, "{major}");
        }
    }
}
