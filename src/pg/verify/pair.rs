//! The rows of two servers compared: in parallel, at a rate, in parts, down to the rows that differ.
//!
//! # What it says
//!
//! On a quiet pair (after a drain, or both fenced) the answer is exact. While changes flow, give the slot: then what
//! differs is looked at again after the stream has passed the moment of the first look, and counts only if it stood
//! still on the first side meanwhile. A row that changes at every look for half a minute is counted as unsettled.
//!
//! # How it reads
//!
//! Small tables are summed up in groups, large ones by ranges of their key (the primary one, or the replica
//! identity's), each range a short statement. Two servers order texts alike only where locale and version of their
//! collations are the same; elsewhere, and without a key, a table is one statement. Where a sum differs, rows are
//! looked at one by one. A sample takes the rows whose key's hash says so, the same on both sides; all are counted.

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use tokio::sync::Mutex as AsyncMutex;

use super::{
    Count, Table, count_group, full_name, list,
    look::{self, Range},
    pace::Pace,
    settle::{Grain, Part, Unequal},
    shape::{Shape, Shapes, shapes},
    walk::{Walk, Work, both, range_rows},
};
use crate::{
    base::{Code, Result, clock, prose, span},
    fail,
    pg::{
        Session,
        difference::Change,
        record::{Record as _, record},
    },
};

record! {
    /// A place between two parts of a comparison.
    pub struct Cursor {
        /// The table that comes next, as `schema.name`.
        pub table: String,
        /// It was compared up to and with this key, given as texts; absent at its beginning.
        pub key: Option<Vec<String>>,
    }

    /// A row that is not the same.
    pub struct Row {
        /// Its key as a row's text: `(5,abc)`.
        pub key: String,
        /// In which way it differs.
        pub what: Change,
    }

    /// A table that is not the same on both sides.
    pub struct Unlike {
        /// `schema.name`.
        pub name: String,
        /// In which way: `missing` and `extra` mean the whole table.
        pub what: Change,
        /// What the first side holds, in its first unequal part.
        pub there: Option<String>,
        /// What the second side holds there.
        pub here: Option<String>,
        /// The first unequal part in words: `all rows`, or a range of keys.
        pub range: String,
        /// How many parts are unequal.
        pub ranges: i64,
        /// The columns of the key.
        pub key: Vec<String>,
        /// The first of the unequal rows.
        pub rows: Vec<Row>,
        /// Whether these are all: there are no more in this part of the comparison.
        pub all_rows: bool,
    }

    /// What a comparison found.
    pub struct Report {
        /// Tables that were finished or begun.
        pub tables: i64,
        /// Rows that were counted on the first side.
        pub rows: i64,
        /// The tables that are not the same.
        pub different: Vec<Unlike>,
        /// Rows that changed whenever they were looked at.
        pub unsettled: i64,
        /// Where a later call goes on; absent at the end.
        pub next: Option<Cursor>,
    }
}

/// What to compare, and how gently.
pub struct Options {
    /// Only these tables, as `schema.name`; empty for all.
    pub tables: Vec<String>,
    /// Sum up one row in so many; 1 for every row.
    pub one_in: i64,
    /// Rows read a second on either side.
    pub rows_per_second: Option<i64>,
    /// Connections to either side, besides one that finds where ranges end.
    pub connections: usize,
    /// The whole call.
    pub deadline: Duration,
    /// After this long the call begins nothing more and says where to go on.
    pub slice: Option<Duration>,
    /// Unequal rows that are named for each table.
    pub keys: usize,
    /// The slot on the first side from which the second gets its changes; none where nothing changes.
    pub slot: Option<String>,
    /// Where an earlier call ended.
    pub from: Option<Cursor>,
}

/// A table without an agreed order whose rows are still looked at one by one: two texts each of a few dozen bytes.
const ROWS_IN_MEMORY: i64 = 200_000;

/// Compares the rows of `here` with those of `there`, which is the side that is right: in an upgrade BLUE. Tells now
/// and then how far it is.
///
/// Needs SELECT on the tables of both sides. Keys of unequal rows are part of the result.
///
/// # Errors
/// `pg_sql` 42501 where a table may not be read, or row security would hide rows of it. `pg_value` for a table that
/// neither side has. `require_failed` for databases in different encodings. `timeout` after the deadline.
pub async fn pair(there: &Session, here: &Session, options: &Options, tell: &(dyn Fn(&str) + Sync)) -> Result<Report> {
    let deadline = span::duration_text(options.deadline);
    let compared = clock::within(options.deadline, compare(there, here, options, tell)).await;
    compared.unwrap_or_else(|| {
        Err(fail!(Code::Timeout, "the comparison took longer than {deadline}")
            .hint("give a longer `deadline`, more `connections`, or a `sample`"))
    })
}

async fn compare(there: &Session, here: &Session, options: &Options, tell: &(dyn Fn(&str) + Sync)) -> Result<Report> {
    same_encoding(there, here).await?;
    let mut found = BTreeMap::new();
    let tables = common(&list(there).await?, &list(here).await?, options, &mut found)?;
    let shapes = (shapes(there, &tables).await?, shapes(here, &tables).await?);
    let walker = there.sibling().await;
    let most = options.rows_per_second.map_or(i64::MAX, |rows| rows.max(100));
    let walk = Walk::new(&tables, (&shapes.0, &shapes.1), &walker, most, options.slice, options.from.as_ref())?;
    let comparison = Comparison {
        tables: &tables,
        shapes: (&shapes.0, &shapes.1),
        options,
        tell,
        pace: Pace::new(options.rows_per_second),
        walk: AsyncMutex::new(walk),
        state: Mutex::new(State { found, ..State::default() }),
    };
    let workers = (0..options.connections.max(1)).map(|_| comparison.work(there, here));
    futures_util::future::try_join_all(workers).await?;
    walker.close().await;
    let Comparison { walk, state, .. } = comparison;
    let state = state.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    Ok(Report {
        tables: number(state.tables.len()),
        rows: state.rows,
        different: state.found.into_values().collect(),
        unsettled: state.unsettled,
        next: walk.into_inner().cursor(),
    })
}

async fn same_encoding(there: &Session, here: &Session) -> Result<()> {
    const ENCODING: &str = "SELECT current_setting('server_encoding')";
    let (a, b): (String, String) = (there.scalar(ENCODING, &[]).await?, here.scalar(ENCODING, &[]).await?);
    if a == b {
        return Ok(());
    }
    let (one, other) = (there.target().label(), here.target().label());
    Err(fail!(Code::RequireFailed, "{one} is in {a} and {other} in {b}: their texts cannot be compared"))
}

/// The tables of both sides that are asked for; the others of them are found unlike, once in a comparison of several
/// calls.
fn common(
    there: &[Table],
    here: &[Table],
    options: &Options,
    found: &mut BTreeMap<String, Unlike>,
) -> Result<Vec<Table>> {
    let by_name = |tables: &[Table]| -> BTreeMap<String, Table> {
        tables.iter().map(|table| (full_name(&table.schema, &table.name), table.clone())).collect()
    };
    let (a, b) = (by_name(there), by_name(here));
    let is_nowhere = |name: &&String| !a.contains_key(*name) && !b.contains_key(*name);
    let nowhere: Vec<&String> = options.tables.iter().filter(is_nowhere).collect();
    if !nowhere.is_empty() {
        return Err(fail!(Code::PgValue, "{} is on neither side", prose::ticked_list(&nowhere, 5)).hint(
            "give the names with their schemas, quoted only where SQL needs it: shop.orders, shop.\"Order lines\"",
        ));
    }
    let is_asked = |name: &String| options.tables.is_empty() || options.tables.contains(name);
    let lone = |name: &String, what| Unlike {
        name: name.clone(),
        what,
        there: (what == Change::Missing).then(|| "a table".to_owned()),
        here: (what == Change::Extra).then(|| "a table".to_owned()),
        range: "all rows".into(),
        ranges: 1,
        key: vec![],
        rows: vec![],
        all_rows: false,
    };
    if options.from.is_none() {
        let missing = a.keys().filter(|name| !b.contains_key(*name)).map(|name| lone(name, Change::Missing));
        let extra = b.keys().filter(|name| !a.contains_key(*name)).map(|name| lone(name, Change::Extra));
        let asked = missing.chain(extra).filter(|unlike| is_asked(&unlike.name));
        found.extend(asked.map(|unlike| (unlike.name.clone(), unlike)));
    }
    Ok(a.into_iter().filter(|(name, _)| b.contains_key(name) && is_asked(name)).map(|(_, table)| table).collect())
}

/// What all workers share.
struct Comparison<'a> {
    tables: &'a [Table],
    shapes: (&'a Shapes, &'a Shapes),
    options: &'a Options,
    tell: &'a (dyn Fn(&str) + Sync),
    pace: Pace,
    walk: AsyncMutex<Walk<'a>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tables: std::collections::BTreeSet<usize>,
    rows: i64,
    unsettled: i64,
    found: BTreeMap<String, Unlike>,
}

impl Comparison<'_> {
    /// One worker, with a connection to either side.
    async fn work(&self, there: &Session, here: &Session) -> Result<()> {
        let (there, here) = (there.sibling().await, here.sibling().await);
        for side in [&there, &here] {
            side.set_statement_timeout(self.options.deadline).await?;
        }
        loop {
            self.pace.keep().await;
            let Some(work) = self.walk.lock().await.next().await? else { break };
            match work {
                Work::Group(places) => self.group(&there, &here, places).await?,
                Work::Range(at, range) => {
                    let rows = self.range(&there, &here, at, &range).await?;
                    self.done(&[at], rows);
                }
            }
        }
        there.close().await;
        here.close().await;
        Ok(())
    }

    async fn group(&self, there: &Session, here: &Session, places: std::ops::Range<usize>) -> Result<()> {
        let (tables, one_in) = (&self.tables[places.clone()], self.options.one_in);
        // A table without key is summed up whole: nothing says which of its rows a sample has.
        let counts = futures_util::future::try_join(
            count_group(there, tables, self.shapes.0, one_in),
            count_group(here, tables, self.shapes.1, one_in),
        );
        let (a, b): (Vec<Count>, Vec<Count>) = counts.await?;
        for (at, (a, b)) in places.clone().zip(a.iter().zip(&b)) {
            if a != b {
                self.look_closer(there, here, at).await?;
            }
        }
        let rows = a.iter().map(|count| count.rows).sum();
        self.done(&places.collect::<Vec<_>>(), rows);
        Ok(())
    }

    /// A table that was summed up whole and is unequal.
    async fn look_closer(&self, there: &Session, here: &Session, at: usize) -> Result<()> {
        let (left, right) = both(self.shapes, &self.tables[at])?;
        if !left.is_ordered_as(right) {
            self.range(there, here, at, &Range::default()).await?;
            return Ok(());
        }
        let mut after = None;
        loop {
            let until = look::end(there, left, after.as_ref(), range_rows(left, &self.tables[at])).await?;
            let range = Range { after, until: until.clone() };
            self.range(there, here, at, &range).await?;
            if until.is_none() {
                return Ok(());
            }
            after = until;
        }
    }

    /// A part of a table; gives the first side's rows.
    async fn range(&self, there: &Session, here: &Session, at: usize, range: &Range) -> Result<i64> {
        let shapes = both(self.shapes, &self.tables[at])?;
        if shapes.0.columns != shapes.1.columns {
            if range.after.is_none() {
                let words = |shape: &Shape| format!("columns {}", shape.columns.join(", "));
                self.note(at, shapes.0, "all rows", (words(shapes.0), words(shapes.1)), None);
            }
            return Ok(0);
        }
        let one_in = self.options.one_in;
        let sums = futures_util::future::try_join(
            look::sum(there, shapes.0, range, one_in),
            look::sum(here, shapes.1, range, one_in),
        );
        let (a, b) = sums.await?;
        if a == b {
            return Ok(a.rows);
        }
        let slot = self.options.slot.as_deref();
        let part = Part { there, here, shapes, range, one_in, slot };
        let is_small = range.until.is_some() || range.after.is_some() || a.rows.max(b.rows) <= ROWS_IN_MEMORY;
        let is_named = shapes.0.has_key_of(shapes.1) && is_small && self.wants_names(at);
        let grain = if is_named { Grain::Rows } else { Grain::Sum };
        let mut verdict = part.judge(grain).await?;
        let is_of_others = verdict.unequal.is_empty() && verdict.unsettled == 0 && a.rows != b.rows;
        if is_of_others && grain == Grain::Rows && one_in > 1 {
            // Rows outside the sample are only counted.
            verdict = part.judge(Grain::Sum).await?;
        }
        self.state().unsettled += verdict.unsettled;
        if !verdict.unequal.is_empty() {
            let words = (a.words(), b.words());
            let named = is_named && !verdict.unequal.contains_key("");
            self.note(at, shapes.0, &range.words(shapes.0), words, named.then_some(verdict.unequal));
        }
        Ok(a.rows)
    }

    /// Whether rows of this table are still to be named.
    fn wants_names(&self, at: usize) -> bool {
        let table = &self.tables[at];
        let state = self.state();
        let found = state.found.get(&full_name(&table.schema, &table.name));
        found.is_none_or(|found| found.rows.len() < self.options.keys)
    }

    /// Notes an unequal part, with the rows in it if they were looked at.
    fn note(&self, at: usize, shape: &Shape, range: &str, sides: (String, String), unequal: Option<Unequal>) {
        let table = &self.tables[at];
        let name = full_name(&table.schema, &table.name);
        let mut state = self.state();
        let unlike = state.found.entry(name.clone()).or_insert_with(|| Unlike {
            name,
            what: Change::Changed,
            there: Some(sides.0),
            here: Some(sides.1),
            range: range.to_owned(),
            ranges: 0,
            key: shape.key.clone(),
            rows: vec![],
            all_rows: true,
        });
        unlike.ranges += 1;
        unlike.all_rows &= unequal.is_some();
        for (key, sides) in unequal.unwrap_or_default() {
            if unlike.rows.len() >= self.options.keys {
                unlike.all_rows = false;
                break;
            }
            let what = match sides {
                (Some(_), Some(_)) => Change::Changed,
                (Some(_), None) => Change::Missing,
                (None, _) => Change::Extra,
            };
            unlike.rows.push(Row { key, what });
        }
    }

    fn done(&self, places: &[usize], rows: i64) {
        let read = self.pace.add(rows);
        let words = {
            let mut state = self.state();
            state.tables.extend(places);
            state.rows += rows;
            let (done, all) = (state.tables.len(), self.tables.len());
            let unlike = if state.found.is_empty() { String::new() } else { format!(", {} differ", state.found.len()) };
            format!("{read} rows, {done} of {}{unlike}", prose::count(all, "table"))
        };
        (self.tell)(&words);
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Cursor {
    /// Reads what an earlier call gave as `next`.
    ///
    /// # Errors
    /// `pg_value` naming what is missing.
    pub fn read(map: &crate::base::Map) -> Result<Self> {
        Self::from_map(map)
    }
}
