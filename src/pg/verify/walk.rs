//! The way through all tables: small ones in groups, large ones by ranges of keys, in an order that a later call can
//! take up again.

use std::time::{Duration, Instant};

use super::{
    BYTES_AT_ONCE, TABLES_AT_ONCE, Table, full_name,
    look::{self, Range},
    pair::Cursor,
    shape::{Shape, Shapes},
};
use crate::{
    base::{Code, Result, clock},
    fail,
    pg::Session,
};

/// From here on a table is read by ranges: what a core reads in a fraction of a second needs none.
const LARGE_BYTES: i64 = 16 << 20;

/// What a range should hold at most.
const RANGE_BYTES: i64 = 16 << 20;

/// Rows of a range. On a fresh volume each of them may be a random read of a millisecond: 20 s at most.
const RANGE_ROWS: i64 = 20_000;

/// The next thing to compare.
pub(super) enum Work {
    /// These tables, by their places, each of them whole.
    Group(std::ops::Range<usize>),
    /// A part of one table.
    Range(usize, Range),
}

/// Where the comparison stands.
pub(super) struct Walk<'a> {
    pub(super) tables: &'a [Table],
    pub(super) shapes: (&'a Shapes, &'a Shapes),
    /// Reads where ranges end.
    pub(super) reader: &'a Session,
    pub(super) most_rows: i64,
    begun: Instant,
    slice: Option<Duration>,
    at: usize,
    key: Option<Vec<String>>,
    handed_out: u64,
}

impl<'a> Walk<'a> {
    /// From the cursor on.
    ///
    /// # Errors
    /// `pg_value` when the cursor's table is not among the tables.
    pub(super) fn new(
        tables: &'a [Table],
        shapes: (&'a Shapes, &'a Shapes),
        reader: &'a Session,
        most_rows: i64,
        slice: Option<Duration>,
        from: Option<&Cursor>,
    ) -> Result<Self> {
        let mut walk =
            Self { tables, shapes, reader, most_rows, begun: clock::instant(), slice, at: 0, key: None, handed_out: 0 };
        if let Some(cursor) = from {
            let is_it = |table: &Table| full_name(&table.schema, &table.name) == cursor.table;
            let missing = || fail!(Code::PgValue, "`{}` is not among the tables to compare any more", cursor.table);
            walk.at = tables.iter().position(is_it).ok_or_else(missing)?;
            walk.key.clone_from(&cursor.key);
        }
        Ok(walk)
    }

    /// The next thing to compare; none at the end, or when the time of this call is over. Once at least there is one,
    /// so that calls with little time come to an end together.
    pub(super) async fn next(&mut self) -> Result<Option<Work>> {
        let is_over = self.slice.is_some_and(|slice| self.begun.elapsed() >= slice);
        if self.at == self.tables.len() || is_over && self.handed_out > 0 {
            return Ok(None);
        }
        self.handed_out += 1;
        if let Some(shape) = self.large(self.at)? {
            let (at, table) = (self.at, &self.tables[self.at]);
            let rows = self.most_rows.min(range_rows(shape, table));
            let until = look::end(self.reader, shape, self.key.as_ref(), rows).await?;
            let range = Range { after: self.key.take(), until: until.clone() };
            match until {
                Some(_) => self.key = until,
                None => self.at += 1,
            }
            return Ok(Some(Work::Range(at, range)));
        }
        let from = self.at;
        let mut bytes = self.tables[from].bytes;
        self.at += 1;
        while self.at < self.tables.len() && self.at - from < TABLES_AT_ONCE {
            bytes = bytes.saturating_add(self.tables[self.at].bytes);
            if bytes > BYTES_AT_ONCE || self.large(self.at)?.is_some() {
                break;
            }
            self.at += 1;
        }
        Ok(Some(Work::Group(from..self.at)))
    }

    /// Where a later call goes on; none at the end.
    pub(super) fn cursor(&self) -> Option<Cursor> {
        let table = self.tables.get(self.at)?;
        Some(Cursor { table: full_name(&table.schema, &table.name), key: self.key.clone() })
    }

    /// The table's shape, if it is read by ranges.
    fn large(&self, at: usize) -> Result<Option<&'a Shape>> {
        let table = &self.tables[at];
        let (there, here) = both(self.shapes, table)?;
        Ok((table.bytes > LARGE_BYTES && there.is_ordered_as(here)).then_some(there))
    }
}

/// How a table is read on either side.
pub(super) fn both<'a>(shapes: (&'a Shapes, &'a Shapes), table: &Table) -> Result<(&'a Shape, &'a Shape)> {
    let name = (table.schema.clone(), table.name.clone());
    let missing = || fail!(Code::Internal, "the columns of `{}` were not read", table.name);
    Ok((shapes.0.get(&name).ok_or_else(missing)?, shapes.1.get(&name).ok_or_else(missing)?))
}

/// How many rows a range of this table has.
pub(super) fn range_rows(shape: &Shape, table: &Table) -> i64 {
    // Where nobody has counted the rows, they are taken for large ones.
    let width = if shape.estimate > 0 { table.bytes / shape.estimate } else { 8192 };
    (RANGE_BYTES / width.max(1)).clamp(500, RANGE_ROWS)
}
