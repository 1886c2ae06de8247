//! `pg::`: what two databases do not have in common.

use std::time::Duration;

use rhai::Dynamic;

use super::{
    convert,
    function::{Call, Effect, Function, Module},
    operator::Notice,
    options::Options,
    pg::look_all,
};
use crate::{
    base::{Code, Map, Result},
    fail, map,
    pg::{Record, Session, schema, sequences, verify::pair},
};

/// Two cores of a small instance; each connection keeps one busy.
const CONNECTIONS: usize = 2;
/// More rows than a person looks at before the cause is clear.
const KEYS: usize = 20;
/// Longer than any comparison that somebody waits for.
const A_DAY: Duration = Duration::from_secs(86_400);

/// The functions.
pub(super) const MODULE: Module = Module {
    name: "pg",
    doc: "Comparisons of two sides.",
    functions: &[
        Function {
            name: "compare_sequences",
            parameters: "there, here, ignored",
            gives: "#{ sequences, different }",
            effect: Effect::Reads,
            doc: "Compares all sequences but those of the ignored schemas.",
            example: "pg::compare_sequences(db, db, []).different // => []",
            run: compare_sequences,
        },
        Function {
            name: "compare_data",
            parameters: "there, here, [options]",
            gives: "#{ tables, rows, different, unsettled, next }",
            effect: Effect::Reads,
            doc: "Compares the rows of every table by number and check sum, and names the first rows that differ, by \
                  their keys. Exact where nothing changes; while changes flow, give `slot`, the one on the first side: \
                  what differs is looked at again when the other side has everything. Options: `tables` (names such \
                  as shop.orders), `sample` (one row in so many), `rows_per_second`, `connections` (2), `keys` (20 \
                  rows named for a table), `deadline` (24h), and for a comparison in parts `slice`, a duration, and \
                  `after`, the `next` of the part before; `next` is () at the end.",
            example: "pg::compare_data(db, db, #{ sample: 10, connections: 1 }).different // => []",
            run: compare_data,
        },
        Function {
            name: "compare_catalogs",
            parameters: "there, here",
            gives: "#{ objects, different }",
            effect: Effect::Reads,
            doc: "Compares every definition in the two databases, with owners and privileges, and the roles of their \
                  servers; equal definitions are equal from PostgreSQL 13 to 18. `different` holds `kind`, `name`, \
                  `what` (missing, extra or changed) and both definitions.",
            example: "pg::compare_catalogs(db, db).different // => []",
            run: compare_catalogs,
        },
    ],
    methods: &[],
};

fn compare_sequences(call: &Call) -> Result<Dynamic> {
    let ignored = call.texts(2)?;
    let (there, here) = look_all(call, "comparing sequences", async |there, here| {
        Ok((sequences::read(there).await?, sequences::read(here).await?))
    })?;
    let counts = |all: Vec<sequences::Sequence>| -> Vec<sequences::Sequence> {
        all.into_iter().filter(|sequence| !ignored.contains(&sequence.schema)).collect()
    };
    let (there, here) = (counts(there), counts(here));
    let different: Vec<Map> = sequences::differences(&there, &here).iter().map(Record::to_map).collect();
    let number = i64::try_from(there.len()).unwrap_or(i64::MAX);
    Ok(convert::map_to_dynamic(&map! { "sequences" => number, "different" => different }))
}

fn compare_data(call: &Call) -> Result<Dynamic> {
    let options = data_options(call)?;
    let host = call.host.clone();
    let what = "the comparison".to_owned();
    let tell = |seen: &str| host.tell(Notice::Waiting { what: what.clone(), seen: seen.to_owned() });
    let report = look_all(call, "comparing rows", async |there, here| pair::pair(there, here, &options, &tell).await)?;
    Ok(convert::map_to_dynamic(&report.to_map()))
}

fn data_options(call: &Call) -> Result<pair::Options> {
    let known = ["tables", "sample", "rows_per_second", "connections", "keys", "deadline", "slice", "slot", "after"];
    let given = Options::read(call, 2, &known)?;
    let positive = |key: &str| -> Result<Option<i64>> {
        match given.int(key)? {
            Some(number) if number < 1 => {
                Err(fail!(Code::ScriptError, "`compare_data`: got {key} {number}, wanted at least 1"))
            }
            number => Ok(number),
        }
    };
    let small = |key: &str, otherwise: usize| -> Result<usize> {
        Ok(positive(key)?.map_or(otherwise, |number| usize::try_from(number).unwrap_or(usize::MAX)))
    };
    let after = given.map("after")?;
    Ok(pair::Options {
        tables: given.texts("tables")?,
        one_in: positive("sample")?.unwrap_or(1),
        rows_per_second: positive("rows_per_second")?,
        connections: small("connections", CONNECTIONS)?,
        keys: small("keys", KEYS)?,
        deadline: given.duration("deadline")?.unwrap_or(A_DAY),
        slice: given.duration("slice")?,
        slot: given.text("slot")?,
        from: if after.is_empty() { None } else { Some(pair::Cursor::read(&after)?) },
    })
}

fn compare_catalogs(call: &Call) -> Result<Dynamic> {
    let (there, here) = look_all(call, "comparing definitions", async |there, here| {
        Ok((definitions(there).await?, definitions(here).await?))
    })?;
    let different: Vec<Map> = schema::diff(&there, &here).iter().map(Record::to_map).collect();
    let objects = i64::try_from(there.len()).unwrap_or(i64::MAX);
    Ok(convert::map_to_dynamic(&map! { "objects" => objects, "different" => different }))
}

/// Of the database and of its server; no kind is in both.
async fn definitions(session: &Session) -> Result<Vec<schema::Object>> {
    let mut all = schema::fingerprint(session).await?;
    all.extend(schema::server_fingerprint(session).await?);
    Ok(all)
}
