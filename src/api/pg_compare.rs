//! `pg::`: what two databases do not have in common.

use rhai::Dynamic;

use super::{
    convert,
    function::{Call, Effect, Function, Module},
    pg::look_all,
};
use crate::{
    base::{Map, Result},
    map,
    pg::{Record, Session, schema, sequences, verify},
};

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
            name: "compare_tables",
            parameters: "there, here",
            gives: "#{ tables, rows, different }",
            effect: Effect::Reads,
            doc: "Compares the rows of every table by number and check sum.",
            example: "pg::compare_tables(db, db).different // => []",
            run: compare_tables,
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

fn compare_tables(call: &Call) -> Result<Dynamic> {
    let (there, here) = look_all(call, "comparing tables", async |there, here| {
        Ok((verify::tables(there).await?, verify::tables(here).await?))
    })?;
    let different: Vec<Map> = verify::compare(&there, &here).iter().map(Record::to_map).collect();
    let tables = i64::try_from(there.len()).unwrap_or(i64::MAX);
    let rows: i64 = there.iter().map(|table| table.rows).sum();
    Ok(convert::map_to_dynamic(&map! { "tables" => tables, "rows" => rows, "different" => different }))
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
