//! The state of all sequences of a database, read from one server and set on another.
//!
//! `pg_sequences.last_value` cannot be used: it is NULL for a sequence whose value was set but not yet handed out
//! (`is_called = false`), and NULL where the reader lacks a privilege. Here nothing is skipped: what cannot be read is
//! an error that names it.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    record::{field, record},
    session::Session,
};
use crate::{
    base::{
        Code, Result, Value,
        prose::{count, ticked_list},
    },
    fail, map,
};

record! {
    /// A sequence, its definition and its state.
    pub struct Sequence {
        /// Its oid on the server it was read from; no part of a comparison.
        pub oid: i64,
        /// Schema.
        pub schema: String,
        /// Name, unquoted.
        pub name: String,
        /// `smallint`, `integer` or `bigint`.
        pub data_type: String,
        /// `START WITH`.
        pub start: i64,
        /// `INCREMENT BY`; negative for a descending sequence.
        pub increment: i64,
        /// `MINVALUE`.
        pub minimum: i64,
        /// `MAXVALUE`.
        pub maximum: i64,
        /// `CACHE`.
        pub cache: i64,
        /// `CYCLE`.
        pub cycle: bool,
        /// The value handed out last, or the next one if `is_called` is false.
        pub last_value: i64,
        /// Whether `last_value` has been handed out.
        pub is_called: bool,
    }

    /// One way in which a sequence differs between two servers.
    pub struct Difference {
        /// `schema.name`.
        pub sequence: String,
        /// The field, or `existence`.
        pub field: String,
        /// Its value on the first server.
        pub first: Option<String>,
        /// Its value on the second server.
        pub second: Option<String>,
    }
}

/// What is copied of a sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Schema.
    pub schema: String,
    /// Name, unquoted.
    pub name: String,
    /// The value handed out last, or the next one if `is_called` is false.
    pub last_value: i64,
    /// Whether `last_value` has been handed out.
    pub is_called: bool,
}

impl State {
    fn key(&self) -> (&str, &str) {
        (&self.schema, &self.name)
    }

    fn label(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

impl Sequence {
    /// What is copied of it.
    #[must_use]
    pub fn state(&self) -> State {
        let Self { schema, name, last_value, is_called, .. } = self;
        State { schema: schema.clone(), name: name.clone(), last_value: *last_value, is_called: *is_called }
    }
}

/// What [`copy`] found and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Sequences there are.
    pub sequences: usize,
    /// Those that were not equal, and are now.
    pub set: usize,
}

/// Sequences per statement. Each is locked until its statement ends, and a server's lock table holds about
/// `max_locks_per_transaction * max_connections` entries: 6,400 as servers come (manual, "Lock Management").
const CHUNK: usize = 4000;

/// Reads every sequence of the database, temporary ones excepted. Needs SELECT on each: `pg_read_all_data` (14+) gives
/// it.
///
/// # Errors
/// `pg_sql` with SQLSTATE 42501 naming the sequences that may not be read.
pub async fn read(session: &Session) -> Result<Vec<Sequence>> {
    const LIST: &str = "SELECT c.oid, n.nspname::text AS schema, c.relname::text AS name, \
         format_type(s.seqtypid, NULL) AS data_type, s.seqstart AS start, s.seqincrement AS increment, \
         s.seqmin AS minimum, s.seqmax AS maximum, s.seqcache AS cache, s.seqcycle AS cycle, \
         has_sequence_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE') AS readable \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_sequence s ON s.seqrelid = c.oid \
         WHERE c.relkind = 'S' AND c.relpersistence <> 't' ORDER BY n.nspname COLLATE \"C\", c.relname COLLATE \"C\"";
    let mut rows = session.query(LIST, &[]).await?;
    let closed = rows.iter().filter(|row| row.get("readable") != Some(&Value::Bool(true)));
    let closed =
        closed.filter_map(|row| Some(format!("{}.{}", row.get("schema")?.as_text()?, row.get("name")?.as_text()?)));
    require_sight(&closed.collect::<Vec<String>>())?;
    let oids: Vec<i64> = rows.iter().filter_map(|row| row.get("oid").and_then(Value::as_int)).collect();
    let states = states(session, &oids).await?;
    for (row, (last_value, is_called)) in rows.iter_mut().zip(states) {
        row.extend(map! { "last_value" => last_value, "is_called" => is_called });
    }
    rows.iter().map(super::Record::from_map).collect()
}

fn require_sight(closed: &[String]) -> Result<()> {
    if closed.is_empty() {
        return Ok(());
    }
    let (number, names) = (count(closed.len(), "sequence"), ticked_list(closed, 5));
    Err(fail!(Code::PgSql, "{number} may not be read: {names}")
        .detail("sqlstate", "42501")
        .hint("grant pg_read_all_data to pgrun's role, or SELECT on the sequences and USAGE on their schemas"))
}

/// One page of sequences with their states: up to [`CHUNK`] of them behind an oid. From 18 on there is a function that
/// gives both parts of a state.
macro_rules! page {
    ($last:literal, $called:literal, $data:literal) => {
        concat!(
            "SELECT coalesce(array_agg(s.oid), '{}') AS oids, coalesce(array_agg(s.schema), '{}') AS schemas, \
             coalesce(array_agg(s.name), '{}') AS names, coalesce(array_agg(",
            $last,
            "), '{}') AS last, coalesce(array_agg(",
            $called,
            "), '{}') AS called, \
             coalesce(array_agg(s.schema || '.' || s.name) FILTER (WHERE NOT s.readable), '{}') AS closed \
             FROM (SELECT c.oid, n.nspname::text AS schema, c.relname::text AS name, \
                     has_sequence_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE') AS readable \
                   FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                   WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND c.oid > $1::oid \
                   ORDER BY c.oid LIMIT $2::int8) s",
            $data
        )
    };
}
const PAGE_18: &str = page!("d.last_value", "d.is_called", " LEFT JOIN LATERAL pg_get_sequence_data(s.oid) d ON true");
const PAGE: &str = page!("pg_sequence_last_value(s.oid)", "true", "");

/// Before 18 the function that gives a value gives none for a sequence that has not handed one out.
const VALUES: &str = "SELECT array_agg(pg_sequence_last_value(u.o) ORDER BY u.i) \
     FROM unnest($1::oid[]) WITH ORDINALITY u(o, i)";
const DATA: &str = "SELECT array_agg(d.last_value ORDER BY u.i) AS last, array_agg(d.is_called ORDER BY u.i) AS called \
     FROM unnest($1::oid[]) WITH ORDINALITY u(o, i), pg_get_sequence_data(u.o) d";

/// The statement that reads a page on a server of this version.
fn page(major: i64) -> &'static str {
    if major >= 18 { PAGE_18 } else { PAGE }
}

/// The state of every sequence, each with its oid, in the order of the oids. The definitions stay on the server, and
/// names come as arrays: of ten thousand sequences this takes a part of what [`read`] takes.
pub(super) async fn look(session: &Session) -> Result<Vec<(i64, State)>> {
    let sql = page(session.major().await?);
    let mut found: Vec<(i64, State)> = vec![];
    loop {
        let behind = found.last().map_or(0, |(oid, _)| *oid);
        let row = session.one(sql, &[behind.into(), i64::try_from(CHUNK).unwrap_or(i64::MAX).into()]).await?;
        require_sight(&field::<Vec<String>>(&row, "closed")?)?;
        let (oids, schemas, names): (Vec<i64>, Vec<String>, Vec<String>) =
            (field(&row, "oids")?, field(&row, "schemas")?, field(&row, "names")?);
        let is_last = oids.len() < CHUNK;
        let (last, called): (Vec<Option<i64>>, Vec<Option<bool>>) = (field(&row, "last")?, field(&row, "called")?);
        let states =
            complete(session, &oids, last.into_iter().zip(called).map(|(last, called)| last.zip(called))).await?;
        let names = schemas.into_iter().zip(names).zip(states);
        let state = |((schema, name), (last_value, is_called))| State { schema, name, last_value, is_called };
        found.extend(oids.into_iter().zip(names.map(state)));
        if is_last {
            return Ok(found);
        }
    }
}

/// The state of each sequence, in the order of `oids`.
async fn states(session: &Session, oids: &[i64]) -> Result<Vec<(i64, bool)>> {
    let by_data = session.major().await? >= 18;
    let mut states = Vec::with_capacity(oids.len());
    for chunk in oids.chunks(CHUNK) {
        let values = [chunk.to_vec().into()];
        if by_data {
            let row = session.one(DATA, &values).await?;
            let (last, called): (Vec<i64>, Vec<bool>) = (field(&row, "last")?, field(&row, "called")?);
            states.extend(last.into_iter().zip(called));
        } else {
            let last: Vec<Option<i64>> = session.scalar(VALUES, &values).await?;
            states.extend(complete(session, chunk, last.into_iter().map(|last| Some((last?, true)))).await?);
        }
    }
    Ok(states)
}

/// The states with those that are missing. Before 18 `pg_sequence_last_value` is NULL exactly for what has not been
/// handed out. Those are looked at one by one, by the server: as texts sent from here they would cost a round trip or,
/// in a `UNION ALL`, planning time that grows with the square (measured on 15: 1,000 take 290 ms).
async fn complete(
    session: &Session,
    oids: &[i64],
    known: impl Iterator<Item = Option<(i64, bool)>>,
) -> Result<Vec<(i64, bool)>> {
    const ANSWER: &str = "SELECT current_setting('pgrun.values')::int8[] AS values, \
         current_setting('pgrun.called')::bool[] AS called";
    let known: Vec<Option<(i64, bool)>> = known.collect();
    let unused: Vec<String> =
        oids.iter().zip(&known).filter(|(_, known)| known.is_none()).map(|(oid, _)| oid.to_string()).collect();
    let mut looked = Vec::new();
    if !unused.is_empty() {
        // A DO block gives no rows; settings of this session carry its answer.
        let look = format!(
            "DO $pgrun$ DECLARE o oid; v int8; c bool; values int8[] := '{{}}'; called bool[] := '{{}}'; BEGIN \
             FOREACH o IN ARRAY '{{{}}}'::oid[] LOOP \
             EXECUTE format('SELECT last_value, is_called FROM %s', o::regclass) INTO v, c; \
             values := values || v; called := called || c; END LOOP; \
             PERFORM set_config('pgrun.values', values::text, false), set_config('pgrun.called', called::text, false); \
             END $pgrun$",
            unused.join(",")
        );
        session.batch(&look).await?;
        let answer = session.one(ANSWER, &[]).await?;
        let (values, called): (Vec<i64>, Vec<bool>) = (field(&answer, "values")?, field(&answer, "called")?);
        looked.extend(values.into_iter().zip(called));
    }
    let mut looked = looked.into_iter();
    known.into_iter().map(|known| known.or_else(|| looked.next()).ok_or_else(vanished)).collect()
}

fn vanished() -> crate::base::Error {
    fail!(Code::PgSql, "a sequence vanished while it was read").hint("read them again")
}

/// Sets the state of the given sequences, found by name. Needs UPDATE on each: `pg_write_all_data` (14+) gives it.
///
/// If one of them does not exist, none is set. `setval` is not undone by a rollback; setting twice is the same as once.
///
/// # Errors
/// `pg_sql` naming sequences that do not exist there, or with 22003 when a value lies outside a sequence's bounds.
pub async fn apply(session: &Session, sequences: &[State]) -> Result<()> {
    let names = |of: &[State]| {
        let list = |field: fn(&State) -> &String| Value::List(of.iter().map(|s| field(s).as_str().into()).collect());
        [list(|s| &s.schema), list(|s| &s.name)]
    };
    // One statement looks before it sets. More than one must not set before all have looked.
    if sequences.len() > CHUNK {
        require_there(session, &session.texts(MISSING, &names(sequences)).await?)?;
    }
    for chunk in sequences.chunks(CHUNK) {
        let [schemas, names] = names(chunk);
        let last = Value::List(chunk.iter().map(|s| Value::Int(s.last_value)).collect());
        let called = Value::List(chunk.iter().map(|s| Value::Bool(s.is_called)).collect());
        let row = session.one(SET, &[schemas, names, last, called]).await?;
        require_there(session, &field::<Vec<String>>(&row, "missing")?)?;
        let set: i64 = field(&row, "set")?;
        if usize::try_from(set) != Ok(chunk.len()) {
            return Err(fail!(Code::PgSql, "{set} of {} were set", count(chunk.len(), "sequence")));
        }
    }
    Ok(())
}

const MISSING: &str = "SELECT w.schema || '.' || w.name AS missing \
     FROM unnest($1::text[], $2::text[]) AS w(schema, name) \
     LEFT JOIN (pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND c.relkind = 'S') \
       ON n.nspname = w.schema AND c.relname = w.name WHERE c.oid IS NULL";
const SET: &str = "WITH w AS MATERIALIZED (SELECT w.*, c.oid \
       FROM unnest($1::text[], $2::text[], $3::int8[], $4::bool[]) AS w(schema, name, last_value, is_called) \
       LEFT JOIN (pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND c.relkind = 'S') \
         ON n.nspname = w.schema AND c.relname = w.name), \
     m AS MATERIALIZED (SELECT coalesce(array_agg(w.schema || '.' || w.name) FILTER (WHERE w.oid IS NULL), '{}') \
       AS missing FROM w) \
     SELECT m.missing, (SELECT count(setval(w.oid::regclass, w.last_value, w.is_called)) FROM w \
       WHERE m.missing = '{}') AS set FROM m";

fn require_there(session: &Session, missing: &[String]) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let (number, place) = (count(missing.len(), "sequence"), session.target().label());
    Err(fail!(Code::PgSql, "{number} do not exist on {place}: {}", ticked_list(missing, 5)).detail("sqlstate", "42P01"))
}

/// Lets both servers read the statements of [`copy`] ahead.
pub(super) async fn prepare(from: &Session, to: &Session) -> Result<()> {
    for side in [from, to] {
        side.prepare(&[page(side.major().await?)]).await?;
    }
    to.prepare(&[SET, if to.major().await? >= 18 { DATA } else { VALUES }]).await
}

/// Lets every sequence of `to` stand where that of `from` stands. Both sides are looked at, at the same time, and what
/// differs is set and looked at again. So a copy ahead of a window, in which nobody can write, leaves it little to do.
///
/// # Errors
/// As [`read`] and [`apply`]; `require_failed` when a sequence is on one side only, or differs after it was set.
pub async fn copy(from: &Session, to: &Session) -> Result<Copied> {
    let (there, here) = tokio::try_join!(look(from), look(to))?;
    set_differing(to, &there, &here).await
}

/// The second half of [`copy`], when the other side was read before.
pub(super) async fn follow(to: &Session, there: &[(i64, State)]) -> Result<Copied> {
    set_differing(to, there, &look(to).await?).await
}

async fn set_differing(to: &Session, there: &[(i64, State)], here: &[(i64, State)]) -> Result<Copied> {
    let known: BTreeMap<(&str, &str), (i64, &State)> =
        here.iter().map(|(oid, state)| (state.key(), (*oid, state))).collect();
    let names: BTreeSet<(&str, &str)> = there.iter().map(|(_, state)| state.key()).collect();
    let missing = there.iter().filter(|(_, state)| !known.contains_key(&state.key()));
    let extra = here.iter().filter(|(_, state)| !names.contains(&state.key()));
    let odd: BTreeSet<String> = missing.chain(extra).map(|(_, state)| state.label()).collect();
    let odd: Vec<String> = odd.into_iter().collect();
    if !odd.is_empty() {
        let (number, odd) = (count(odd.len(), "sequence"), ticked_list(&odd, 5));
        return Err(fail!(Code::RequireFailed, "{number} on one side only: {odd}").hint("compare the schemas"));
    }
    let moved = there.iter().filter_map(|(_, state)| {
        let (oid, known) = known.get(&state.key())?;
        (*known != state).then(|| (*oid, state.clone()))
    });
    let (oids, moved): (Vec<i64>, Vec<State>) = moved.unzip();
    apply(to, &moved).await?;
    for (wanted, got) in moved.iter().zip(states(to, &oids).await?) {
        if got != (wanted.last_value, wanted.is_called) {
            let wanted = (wanted.label(), wanted.last_value, wanted.is_called);
            return Err(fail!(
                Code::RequireFailed,
                "a sequence differs after it was set: got {got:?}, wanted {wanted:?}"
            ));
        }
    }
    Ok(Copied { sequences: there.len(), set: moved.len() })
}

/// The sequences of the server in use, `to`, that would hand out what `from` had handed out before. Empty after a
/// cutover.
pub async fn behind(from: &Session, to: &Session) -> Result<Vec<String>> {
    let (there, here) = tokio::try_join!(read(from), read(to))?;
    let here: BTreeMap<_, _> = here.iter().map(|s| ((s.schema.as_str(), s.name.as_str()), s)).collect();
    let is_behind = |old: &&Sequence| {
        here.get(&(old.schema.as_str(), old.name.as_str())).is_none_or(|new| {
            let is_lower = match new.increment > 0 {
                true => new.last_value < old.last_value,
                false => new.last_value > old.last_value,
            };
            let hands_out_again = new.last_value == old.last_value && old.is_called && !new.is_called;
            // One that has come round again may be anywhere.
            !new.cycle && (is_lower || hands_out_again)
        })
    };
    Ok(there.iter().filter(is_behind).map(|s| format!("{}.{}", s.schema, s.name)).collect())
}

/// Every difference in existence, definition and state, by name. Empty means equal.
#[must_use]
pub fn differences(first: &[Sequence], second: &[Sequence]) -> Vec<Difference> {
    let by_name = |sequences: &[Sequence]| -> BTreeMap<String, crate::base::Map> {
        let named = sequences.iter().map(|s| (format!("{}.{}", s.schema, s.name), super::Record::to_map(s)));
        named.collect()
    };
    let (first, second) = (by_name(first), by_name(second));
    let names: BTreeSet<&String> = first.keys().chain(second.keys()).collect();
    let mut found = Vec::new();
    for name in names {
        let mut differ = |field: &str, first: Option<String>, second: Option<String>| {
            found.push(Difference { sequence: name.clone(), field: field.to_owned(), first, second });
        };
        match (first.get(name), second.get(name)) {
            (Some(a), Some(b)) => {
                for (field, value) in a.iter().filter(|(field, value)| *field != "oid" && b.get(*field) != Some(value))
                {
                    differ(field, Some(shown(value)), b.get(field).map(shown));
                }
            }
            (a, b) => differ("existence", a.map(|_| "present".into()), b.map(|_| "present".into())),
        }
    }
    found
}

fn shown(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        other => other.to_json().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Sequence, differences};

    #[test]
    fn differences_name_the_field() {
        let one = Sequence {
            oid: 1,
            schema: "s".into(),
            name: "q".into(),
            data_type: "bigint".into(),
            start: 1,
            increment: 1,
            minimum: 1,
            maximum: 9,
            cache: 1,
            cycle: false,
            last_value: 5,
            is_called: true,
        };
        let other = Sequence { oid: 2, is_called: false, ..one.clone() };
        let third = Sequence { name: "r".into(), ..one.clone() };
        assert!(differences(std::slice::from_ref(&one), std::slice::from_ref(&one)).is_empty());
        let said: Vec<String> = differences(&[one], &[other, third])
            .iter()
            .map(|d| format!("{} {} {:?} {:?}", d.sequence, d.field, d.first, d.second))
            .collect();
        assert_eq!(said, ["s.q is_called Some(\"true\") Some(\"false\")", "s.r existence None Some(\"present\")"]);
    }
}
