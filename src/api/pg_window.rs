//! `pg::`: the window of a cutover: meeting, readiness, drain, turn, flow.

use std::time::Duration;

use rhai::Dynamic;

use super::{
    function::{Effect, Function, Module},
    pg::{db, look_all, write_all},
    pg_cutover::{record, run_id},
};
use crate::{
    base::{Map, Result, span},
    pg::{
        Record,
        drain::{self, Route},
        meeting::{self, Evidence},
        turn,
    },
};

/// The phase's own deadline is shorter; this bounds a call that stands outside a phase.
const WINDOW: Duration = Duration::from_secs(60);

/// The functions.
pub(super) const MODULE: Module = Module {
    name: "pg",
    doc: "The window of a cutover.",
    functions: &[
        Function {
            name: "meeting",
            parameters: "blue, green, evidence",
            gives: "#{ position, confirmed_flush }",
            effect: Effect::Reads,
            doc: "Proves that GREEN's snapshot and BLUE's slot meet, from #{ slot, before, after, redo_start, redo_done }; \
                  gives the position at which the subscription begins.",
            example: "try { pg::meeting(db, db, #{}) } catch (e) { e.code } // => \"pg_value\"",
            run: |call| {
                let evidence = Evidence::from_map(&call.map(2)?)?;
                record(&look_all(call, "proving the meeting", async |blue, green| {
                    meeting::prove(blue, green, &evidence).await
                })?)
            },
        },
        Function {
            name: "require_ready",
            parameters: "blue, green, names, max_lag",
            gives: "#{ lag_bytes, tables }",
            effect: Effect::Reads,
            doc: "Fails unless a cutover may begin: worker alive, tables equal and ready, lag small, nothing prepared.",
            example: "try { pg::require_ready(db, db, #{}, \"1 MB\") } catch (e) { e.code } // => \"pg_value\"",
            run: |call| {
                let (route, limit) = (Route::from_map(&call.map(2)?)?, span::parse_size(&call.text(3)?)?);
                record(&look_all(call, "looking at the replication", async |blue, green| {
                    drain::require_ready(blue, green, &route, limit).await
                })?)
            },
        },
        Function {
            name: "drain",
            parameters: "blue, green, names",
            gives: "#{ target, confirmed, tables }",
            effect: Effect::Writes,
            doc: "After the fence: waits until GREEN has everything that BLUE has, and proves it.",
            example: "try { pg::drain(db, db, #{}) } catch (e) { e.code } // => \"pg_value\"",
            run: |call| {
                let (route, run) = (Route::from_map(&call.map(2)?)?, run_id(call)?);
                let (blue, green) = (db(call, 0)?, db(call, 1)?);
                record(&write_all(call, "draining", &[&blue, &green], async |s| {
                    drain::drain(s[0], s[1], &route, &run, WINDOW).await
                })?)
            },
        },
        Function {
            name: "turn",
            parameters: "blue, green, names",
            gives: "#{ position }",
            effect: Effect::Writes,
            doc: "Ends the replication to GREEN and sets where BLUE will begin to follow it.",
            example: "try { pg::turn(db, db, #{}) } catch (e) { e.code } // => \"pg_value\"",
            run: |call| {
                let names = call.map(2)?;
                let (route, run) = (Route::from_map(&names)?, run_id(call)?);
                let reverse = reverse_subscription(&names)?;
                let (blue, green) = (db(call, 0)?, db(call, 1)?);
                record(&write_all(call, "turning the replication round", &[&blue, &green], async |s| {
                    turn::turn(s[0], s[1], &route, &reverse, &run, WINDOW).await
                })?)
            },
        },
        Function {
            name: "drop_forward",
            parameters: "blue, green, names",
            gives: "()",
            effect: Effect::Writes,
            doc: "Drops GREEN's subscription to BLUE, then its slot. Safe to repeat.",
            example: "try { pg::drop_forward(db, db, #{}) } catch (e) { e.code } // => \"pg_value\"",
            run: |call| {
                let route = Route::from_map(&call.map(2)?)?;
                let (blue, green) = (db(call, 0)?, db(call, 1)?);
                write_all(call, "ending the replication", &[&blue, &green], async |s| {
                    turn::drop_forward(s[0], s[1], &route).await
                })?;
                Ok(Dynamic::UNIT)
            },
        },
        Function {
            name: "flows",
            parameters: "from, to",
            gives: "#{ arrived, ms }",
            effect: Effect::Writes,
            doc: "Writes a row on one side and waits until the other has it.",
            example: "pg::install_own(db); pg::flows(db, db).arrived // => true",
            run: |call| {
                let run = run_id(call)?;
                let (from, to) = (db(call, 0)?, db(call, 1)?);
                record(&write_all(call, "following a row", &[&from, &to], async |s| {
                    turn::flow(s[0], s[1], &run, WINDOW).await
                })?)
            },
        },
    ],
    methods: &[],
};

fn reverse_subscription(names: &Map) -> Result<String> {
    let missing = || crate::fail!(crate::base::Code::PgValue, "the entry `reverse_subscription` is missing");
    names.get("reverse_subscription").and_then(crate::base::Value::as_text).map(str::to_owned).ok_or_else(missing)
}
