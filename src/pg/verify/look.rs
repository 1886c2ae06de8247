//! Looking at the rows of a range of keys: as a sum, one by one, or only for where the range ends.

use std::collections::BTreeMap;

use super::{AS_TEXT, EVERY_ROW, checksum, shape::Shape};
use crate::{
    base::{Map, Result, Value, ident},
    pg::{Session, record::field},
};

/// Statistics are missing or old on a fresh GREEN; a range of keys must never become a reading of the whole table.
const BY_KEY: &str = "SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off";

/// A part of a table: the rows with keys above `after`, up to and with `until`; without them it has no such end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) after: Option<Vec<String>>,
    pub(super) until: Option<Vec<String>>,
}

/// What a part of a table holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sum {
    /// All rows.
    pub(super) rows: i64,
    /// 16 hexadecimal digits over the rows of the sample.
    pub(super) checksum: String,
}

impl Sum {
    pub(super) fn words(&self) -> String {
        format!("{} rows, checksum {}", self.rows, self.checksum)
    }
}

/// The expressions that sum rows up.
pub(super) fn sums(shape: &Shape, one_in: i64) -> Result<String> {
    let pick = pick(shape, one_in)?.map_or_else(String::new, |pick| format!(" FILTER (WHERE {pick})"));
    Ok(format!("count(*) AS rows, coalesce(sum({}){pick}, 0)::text AS sum", shape.row_hash()))
}

/// The rows of a sample: the same ones on every server, since their keys say so.
fn pick(shape: &Shape, one_in: i64) -> Result<Option<String>> {
    if one_in == EVERY_ROW || shape.key.is_empty() {
        return Ok(None);
    }
    Ok(Some(format!("{} % {one_in} = 0", shape.key_hash()?)))
}

/// The part's rows, counted and summed up.
pub(super) async fn sum(reader: &Session, shape: &Shape, range: &Range, one_in: i64) -> Result<Sum> {
    let (filter, values) = range.filter(shape, &[])?;
    let sql = format!("SELECT {} FROM ONLY {} t{filter}", sums(shape, one_in)?, table(shape)?);
    let rows = alone(reader, &range.settings(), &sql, &values).await?;
    let row = rows.first().cloned().unwrap_or_default();
    Ok(Sum { rows: field(&row, "rows")?, checksum: checksum(&field::<String>(&row, "sum")?)? })
}

/// The part's rows: a hash for each key.
pub(super) async fn rows(
    reader: &Session,
    shape: &Shape,
    range: &Range,
    one_in: i64,
) -> Result<BTreeMap<String, String>> {
    let pick: Vec<String> = pick(shape, one_in)?.into_iter().collect();
    let (filter, values) = range.filter(shape, &pick)?;
    let (key, hash) = (shape.key_columns()?.join(", "), shape.row_hash());
    let sql = format!("SELECT ROW({key})::text AS key, ({hash})::text AS hash FROM ONLY {} t{filter}", table(shape)?);
    let rows = alone(reader, &range.settings(), &sql, &values).await?;
    rows.iter().map(|row| Ok((field(row, "key")?, field(row, "hash")?))).collect()
}

/// The key of the row that stands `rows` behind `after`; none where the table ends before.
pub(super) async fn end(
    reader: &Session,
    shape: &Shape,
    after: Option<&Vec<String>>,
    rows: i64,
) -> Result<Option<Vec<String>>> {
    let range = Range { after: after.cloned(), until: None };
    let (filter, mut values) = range.filter(shape, &[])?;
    let key = shape.key_columns()?;
    let texts: Vec<String> = key.iter().map(|column| format!("{column}::text")).collect();
    values.push(Value::Int(rows - 1));
    let sql = format!(
        "SELECT ARRAY[{}] AS key FROM ONLY {} t{filter} ORDER BY {} OFFSET ${}::int8 LIMIT 1",
        texts.join(", "),
        table(shape)?,
        key.join(", "),
        values.len()
    );
    let settings = format!("{AS_TEXT}; {BY_KEY}");
    alone(reader, &settings, &sql, &values).await?.first().map(|row| field(row, "key")).transpose()
}

/// Reads in a transaction of its own: there a lost connection is an error. Outside, a new one would read on without
/// these settings.
pub(super) async fn alone(reader: &Session, settings: &str, sql: &str, values: &[Value]) -> Result<Vec<Map>> {
    reader.begin_read_only().await?;
    let rows = match reader.batch(settings).await {
        Ok(()) => reader.query(sql, values).await,
        Err(error) => Err(error),
    };
    reader.rollback().await?;
    rows
}

/// ONLY goes before it: a table that others inherit from holds rows of its own, and they hold theirs.
fn table(shape: &Shape) -> Result<String> {
    ident::qualified(&shape.schema, &shape.name)
}

impl Range {
    fn settings(&self) -> String {
        let is_whole = self.after.is_none() && self.until.is_none();
        if is_whole { AS_TEXT.to_owned() } else { format!("{AS_TEXT}; {BY_KEY}") }
    }

    /// The `WHERE` of this range and of further conditions, with its values.
    fn filter(&self, shape: &Shape, further: &[String]) -> Result<(String, Vec<Value>)> {
        let mut conditions = further.to_vec();
        let mut values = vec![];
        let columns = shape.key_columns()?.join(", ");
        for (end, operator) in [(&self.after, ">"), (&self.until, "<=")] {
            let Some(end) = end else { continue };
            values.push(Value::from(end.clone()));
            let parameter = values.len();
            let typed = |(place, of): (usize, &String)| format!("(${parameter}::text[])[{}]::{of}", place + 1);
            let typed: Vec<String> = shape.types.iter().enumerate().map(typed).collect();
            conditions.push(format!("({columns}) {operator} ({})", typed.join(", ")));
        }
        let filter = if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
        Ok((filter, values))
    }

    /// The range in words: `(id) > (5) and (id) <= (9)`.
    pub(super) fn words(&self, shape: &Shape) -> String {
        let key = shape.key.join(", ");
        let part = |end: &Option<Vec<String>>, operator: &str| {
            end.as_ref().map(|end| format!("({key}) {operator} ({})", end.join(", ")))
        };
        let parts: Vec<String> = [part(&self.after, ">"), part(&self.until, "<=")].into_iter().flatten().collect();
        if parts.is_empty() { "all rows".into() } else { parts.join(" and ") }
    }
}

#[cfg(test)]
mod tests {
    use super::{Range, Shape, sums};
    use crate::pg::sql;

    /// A connection that is lost while one of them runs must leave nothing in doubt; nor may a name be taken for SQL.
    #[test]
    fn the_statements_provably_only_read() {
        let shape = Shape {
            schema: "s".into(),
            name: "t".into(),
            estimate: 0,
            columns: vec!["delete (".into()],
            expressions: "t.\"delete (\"::int4".into(),
            key: vec!["a \"(b".into(), "c".into()],
            types: vec!["shop.\"Größe\"".into(), "bpchar".into()],
            order: vec![],
        };
        let key = |n: i64| Some(vec![n.to_string(), "x".into()]);
        let range = Range { after: key(1), until: key(2) };
        let (filter, values) = range.filter(&shape, &["true".into()]).unwrap();
        assert_eq!(values.len(), 2);
        assert!(sql::single(&format!("SELECT {} FROM ONLY t{filter}", sums(&shape, 7).unwrap())).unwrap().reads);
        assert_eq!(range.words(&shape), "(a \"(b, c) > (1, x) and (a \"(b, c) <= (2, x)");
        assert_eq!(Range::default().words(&shape), "all rows");
    }
}
