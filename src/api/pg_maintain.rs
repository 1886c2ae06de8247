//! `pg::`: maintenance of a database: statistics, dead rows, indexes, extensions, materialized views, a warm disk.

use std::time::Duration;

use rhai::Dynamic;

use super::{
    convert,
    function::{Call, Effect, Function, Module},
    operator::Notice,
    options::Options,
    pg::{look, write},
    pg_cutover::record,
};
use crate::{
    base::{Code, Map, Result, Value, span},
    fail,
    pg::{
        Record, Session,
        maintain::{Effort, extensions, indexes, relations, views, warm},
    },
};

/// A small instance has two cores, and GREEN applies changes meanwhile.
const CONNECTIONS: usize = 2;
/// For each object. A large index takes hours.
const A_DAY: Duration = Duration::from_secs(86_400);
/// More relations than fit into a server's memory are seldom hot.
const HOTTEST: i64 = 1000;

/// The functions.
pub(super) const MODULE: Module = Module {
    name: "pg",
    doc: "Maintenance. What works on objects takes their names, the options `connections` (2) and `deadline` (1d, for \
          each object), does all it can, and fails at the end with the names of those that failed.",
    functions: &[
        Function {
            name: "tables_to_analyze",
            parameters: "db, [only_missing]",
            gives: "a list of #{ name, bytes }",
            effect: Effect::Reads,
            doc: "Tables, partitioned tables and materialized views for `analyze`, the largest first; with `true` only \
                  those that lack statistics, as `vacuumdb --missing-stats-only` sees it.",
            example: "pg::tables_to_analyze(db, true).filter(|t| t.bytes < 0) // => []",
            run: |call| {
                let only_missing = call.has(1) && call.handle::<bool>(1, "true or false")?;
                list(call, "looking for statistics", async |session| relations::to_analyze(session, only_missing).await)
            },
        },
        Function {
            name: "analyze",
            parameters: "db, [names], [options]",
            gives: "#{ done, gone, warnings, ms }",
            effect: Effect::Writes,
            doc: "Gathers the planner's statistics; without names of all tables. Option `target`: entries of a histogram, \
                  1 for statistics at once, 10 for rough ones; the server's own where it is left out.",
            example: "pg::analyze(db, (), #{ target: 10 }).warnings // => []",
            run: analyze,
        },
        Function {
            name: "tables_to_vacuum",
            parameters: "db",
            gives: "a list of #{ name, bytes }",
            effect: Effect::Reads,
            doc: "Tables and materialized views for `vacuum`, the largest first.",
            example: "pg::tables_to_vacuum(db).filter(|t| t.bytes < 0) // => []",
            run: |call| list(call, "looking for tables", async |session| relations::to_vacuum(session).await),
        },
        Function {
            name: "vacuum",
            parameters: "db, names, [options]",
            gives: "#{ done, gone, warnings, ms }",
            effect: Effect::Writes,
            doc: "Removes dead rows by plain VACUUM, beside which everybody reads and writes; never VACUUM FULL.",
            example: "pg::vacuum(db, [\"pg_catalog.pg_enum\"]).done // => 1",
            run: |call| {
                act(call, "vacuuming", &[], async |session, names, _, effort, tell| {
                    relations::vacuum(session, names, effort, tell).await
                })
            },
        },
        Function {
            name: "moved_indexes",
            parameters: "db",
            gives: "a list of #{ name, table, bytes, identity }",
            effect: Effect::Reads,
            doc: "Indexes whose collation has another version than when they were built. Those with `identity` must be \
                  built anew before a subscription is enabled: an apply worker finds rows by them.",
            example: "pg::moved_indexes(db) // => []",
            run: |call| list(call, "looking for moved collations", async |session| indexes::moved(session).await),
        },
        Function {
            name: "reindex",
            parameters: "db, names, [options]",
            gives: "#{ done, gone, warnings, ms }",
            effect: Effect::Writes,
            doc: "Builds indexes anew, beside readers and writers where an index allows it (option `concurrently`, true). \
                  Drops the invalid remains of a REINDEX CONCURRENTLY that was cut off.",
            example: "pg::reindex(db, [\"pg_catalog.pg_enum_oid_index\"], #{ concurrently: false }).done // => 1",
            run: |call| {
                act(call, "building indexes anew", &["concurrently"], async |session, names, options, effort, tell| {
                    let concurrently = options.flag("concurrently")?.unwrap_or(true);
                    indexes::reindex(session, names, concurrently, effort, tell).await
                })
            },
        },
        Function {
            name: "refresh_collations",
            parameters: "db",
            gives: "#{ refreshed, refused }",
            effect: Effect::Writes,
            doc: "Records the versions that collations have now, once every index of `moved_indexes` was built anew. \
                  Those of another owner are refused and stay.",
            example: "pg::refresh_collations(db).refused // => []",
            run: |call| {
                record(&write(call, "recording versions of collations", async |session| {
                    indexes::refresh_versions(session).await
                })?)
            },
        },
        Function {
            name: "outdated_extensions",
            parameters: "db",
            gives: "a list of #{ name, installed, wanted, reachable }",
            effect: Effect::Reads,
            doc: "Extensions that are not at the version that the server brings, those that others require first.",
            example: "pg::outdated_extensions(db) // => []",
            run: |call| list(call, "looking for extensions", async |session| extensions::outdated(session).await),
        },
        Function {
            name: "update_extensions",
            parameters: "db, [options]",
            gives: "a list of #{ name, installed, wanted, reachable }",
            effect: Effect::Writes,
            doc: "Brings every extension to the version that the server brings, where its scripts lead there. Safe to \
                  repeat. Option `deadline` (1d), for each.",
            example: "pg::update_extensions(db) // => []",
            run: |call| {
                let options = Options::read(call, 1, &["deadline"])?;
                let effort = Effort { connections: 1, deadline: options.duration("deadline")?.unwrap_or(A_DAY) };
                let tell = progress(call);
                let done = write(call, "updating extensions", async |session| {
                    extensions::update(session, &effort, &tell).await
                })?;
                Ok(records(&done))
            },
        },
        Function {
            name: "materialized_views",
            parameters: "db",
            gives: "a list of #{ name, bytes, level }",
            effect: Effect::Reads,
            doc: "Materialized views that have rows, those below others first; views of one `level` do not read each \
                  other.",
            example: "pg::materialized_views(db) // => []",
            run: |call| list(call, "looking for views", async |session| views::list(session).await),
        },
        Function {
            name: "refresh_views",
            parameters: "db, names, [options]",
            gives: "#{ done, gone, warnings, ms }",
            effect: Effect::Writes,
            doc: "Refreshes materialized views of one level. Nobody reads them meanwhile.",
            example: "pg::refresh_views(db, []).done // => 0",
            run: |call| {
                act(call, "refreshing views", &[], async |session, names, _, effort, tell| {
                    views::refresh(session, names, effort, tell).await
                })
            },
        },
        Function {
            name: "hottest",
            parameters: "db, [limit]",
            gives: "a list of #{ name, kind, reads, bytes }",
            effect: Effect::Reads,
            doc: "Tables and indexes by the blocks that were asked for in them, most first, at most 1000. Ask the server \
                  that serves.",
            example: "pg::hottest(db, 3).len() <= 3 // => true",
            run: |call| {
                let limit = if call.has(1) { call.int(1)? } else { HOTTEST };
                list(call, "reading counters", async |session| warm::hottest(session, limit).await)
            },
        },
        Function {
            name: "warm_up",
            parameters: "db, names, [options]",
            gives: "#{ bytes, relations, left, prewarm }",
            effect: Effect::Writes,
            doc: "Reads relations in this order, by pg_prewarm where the database has it, else tables from front to end. \
                  Options besides the usual: `bytes_per_second` and `most`, sizes such as 50 MB.",
            example: "pg::warm_up(db, [\"pg_catalog.pg_class\"], #{ most: \"1 GB\" }).relations // => 1",
            run: |call| {
                let size = |options: &Options, key: &str| -> Result<Option<u64>> {
                    options.text(key)?.map(|text| span::parse_size(&text)).transpose()
                };
                let known = ["bytes_per_second", "most"];
                act(call, "reading relations", &known, async |session, names, options, effort, tell| {
                    let limits = warm::Limits {
                        bytes_per_second: size(options, "bytes_per_second")?,
                        most: size(options, "most")?,
                    };
                    warm::up(session, names, &limits, effort, tell).await
                })
            },
        },
    ],
    methods: &[],
};

/// A list of what is to be done.
fn list<T: Record>(call: &Call, doing: &str, work: impl AsyncFnOnce(&Session) -> Result<Vec<T>>) -> Result<Dynamic> {
    Ok(records(&look(call, doing, work)?))
}

fn records<T: Record>(all: &[T]) -> Dynamic {
    convert::to_dynamic(&Value::from(all.iter().map(Record::to_map).collect::<Vec<Map>>()))
}

/// Works on the objects that the second argument names; the third is options.
fn act<T: Record>(
    call: &Call,
    doing: &str,
    further: &[&str],
    work: impl AsyncFnOnce(&Session, &[String], &Options, &Effort, &(dyn Fn(&str) + Sync)) -> Result<T>,
) -> Result<Dynamic> {
    let names = call.texts(1)?;
    let (options, effort) = effort(call, further)?;
    let tell = progress(call);
    record(&write(call, doing, async |session| work(session, &names, &options, &effort, &tell).await)?)
}

fn effort(call: &Call, further: &[&str]) -> Result<(Options, Effort)> {
    let known = [&["connections", "deadline"], further].concat();
    let options = Options::read(call, 2, &known)?;
    let connections = match options.int("connections")? {
        None => CONNECTIONS,
        Some(number) => usize::try_from(number).ok().filter(|number| *number > 0).ok_or_else(|| {
            let name = call.function.name;
            fail!(Code::ScriptError, "`{name}`: got {number} connections, wanted at least 1")
        })?,
    };
    let deadline = options.duration("deadline")?.unwrap_or(A_DAY);
    Ok((options, Effort { connections, deadline }))
}

/// Says how far the work is, on the line of its step.
fn progress(call: &Call) -> impl Fn(&str) + Sync + use<> {
    let host = call.host.clone();
    let what = call.function.name.to_owned();
    move |seen: &str| host.tell(Notice::Waiting { what: what.clone(), seen: seen.to_owned() })
}

fn analyze(call: &Call) -> Result<Dynamic> {
    let is_all = !call.has(1);
    act(call, "analyzing", &["target"], async |session, names, options, effort, tell| {
        let target = options.int("target")?;
        if let Some(target) = target.filter(|target| !(1..=10_000).contains(target)) {
            return Err(fail!(Code::ScriptError, "`analyze`: got the target {target}, wanted 1 to 10000"));
        }
        let mut names = names.to_vec();
        if is_all {
            names = relations::to_analyze(session, false).await?.into_iter().map(|item| item.name).collect();
        }
        relations::analyze(session, &names, target, effort, tell).await
    })
}
