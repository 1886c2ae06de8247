//! `pg::`: the window of a cutover: meeting, readiness, drain, turn, flow.

use std::time::Duration;

use rhai::Dynamic;

use super::{
    convert,
    function::{Call, Effect, Function, Module},
    pg::{db, look_all, write, write_all},
    pg_cutover::{record, run_id},
};
use crate::{
    base::{
        Code, Map, Result, Value,
        poll::{self, Patience, Seen},
        span,
    },
    fail,
    pg::{
        Record, Session,
        drain::{self, Baseline, Drained, Ready, Stream},
        meeting::{self, Evidence},
        turn::{self, Turned},
    },
};

/// A row that takes longer to arrive does not flow.
const FLOW: Duration = Duration::from_secs(60);
/// A transaction that is open longer when the cutover begins would hold the fence up, or be lost.
const LONGEST_TRANSACTION: Duration = Duration::from_secs(5);
/// How long a worker may take to attach.
const ATTACHING: Patience = Patience { every: Duration::from_millis(100), deadline: Duration::from_secs(3) };
/// How long a slot may still be read after its subscription was dropped.
const LEAVING: Patience = Patience { every: Duration::from_millis(50), deadline: Duration::from_secs(30) };

/// The functions.
pub(super) const MODULE: Module = Module {
    name: "pg",
    doc: "The window of a cutover.",
    functions: &[
        Function {
            name: "meeting",
            parameters: "blue, green, evidence",
            gives: "#{ position, confirmed_flush, .. }",
            effect: Effect::Reads,
            doc: "Proves that GREEN's snapshot and BLUE's slot meet, from #{ slot, before, after, redo_start, redo_done }; \
                  gives the position at which the subscription begins.",
            example: "try { pg::meeting(db, db, #{}) } catch (e) { e.code } // => \"pg_value\"",
            run: prove_meeting,
        },
        Function {
            name: "require_ready",
            parameters: "blue, green, names, max_lag",
            gives: "#{ ready, baseline }",
            effect: Effect::Writes,
            doc: "Fails unless a cutover may begin: worker alive, tables equal and ready, lag small, no long transaction, \
                  nothing prepared; looks for up to 3 s, since a worker that was just let go has to attach first. Notes \
                  what must still be so at the end of the window.",
            example: "try { pg::require_ready(db, db, #{}, \"1 MB\") } catch (e) { e.code } // => \"pg_value\"",
            run: |call| {
                let (names, limit) = (Names::read(call, 2)?, span::parse_size(&call.text(3)?)?);
                let (blue, green) = (db(call, 0)?, db(call, 1)?);
                let map = write_all(call, "looking at the replication", &[&blue, &green], async |s| {
                    let stream = names.stream(s);
                    let ready = ready_soon(stream, limit).await?;
                    let baseline = drain::baseline(stream).await?;
                    Ok(crate::map! { "ready" => ready.to_map(), "baseline" => baseline.to_map() })
                })?;
                Ok(convert::map_to_dynamic(&map))
            },
        },
        Function {
            name: "drain",
            parameters: "blue, green, names, before, deadline",
            gives: "#{ target, confirmed, .. }",
            effect: Effect::Writes,
            doc: "After the fence: waits until GREEN has everything that BLUE has, and proves it. `before` is what \
                  `require_ready` gave.",
            example: "try { pg::drain(db, db, #{}, #{}, \"1s\") } catch (e) { e.code } // => \"pg_value\"",
            run: |call| {
                let (names, baseline, deadline) = (Names::read(call, 2)?, baseline(call, 3)?, call.duration(4)?);
                let (blue, green) = (db(call, 0)?, db(call, 1)?);
                record(&write_all(call, "draining", &[&blue, &green], async |s| {
                    drain::drain(names.stream(s), &baseline, deadline).await
                })?)
            },
        },
        Function {
            name: "turn",
            parameters: "blue, green, names, before, drained, deadline",
            gives: "#{ position, .. }",
            effect: Effect::Writes,
            doc: "Ends the replication to GREEN and sets where BLUE will begin to follow it.",
            example: "try { pg::turn(db, db, #{}, #{}, #{}, \"1s\") } catch (e) { e.code } // => \"pg_value\"",
            run: |call| {
                let (names, baseline, deadline) = (Names::read(call, 2)?, baseline(call, 3)?, call.duration(5)?);
                let drained = [Drained::from_map(&call.map(4)?)?];
                let (blue, green) = (db(call, 0)?, db(call, 1)?);
                record(&write_all(call, "turning the replication round", &[&blue, &green], async |s| {
                    turn::turn(names.stream(s), &names.reverse, &baseline, &drained, deadline).await
                })?)
            },
        },
        Function {
            name: "turn_back",
            parameters: "blue, green, names",
            gives: "()",
            effect: Effect::Writes,
            doc: "Undoes `turn`: lets the replication to GREEN run again. Refused after the decision. Safe to repeat.",
            example: "try { pg::turn_back(db, db, #{}) } catch (e) { e.code } // => \"pg_value\"",
            run: |call| {
                let names = Names::read(call, 2)?;
                let (blue, green) = (db(call, 0)?, db(call, 1)?);
                write_all(call, "letting the replication run again", &[&blue, &green], async |s| {
                    turn::back(names.stream(s)).await
                })?;
                Ok(Dynamic::UNIT)
            },
        },
        Function {
            name: "open_way_back",
            parameters: "blue, subscription, turned",
            gives: "()",
            effect: Effect::Writes,
            doc: "Enables BLUE's subscription to GREEN, whose origin must stand where `turn` has set it. Safe to repeat.",
            example: "try { pg::open_way_back(db, \"none\", #{}) } catch (e) { e.code } // => \"pg_value\"",
            run: |call| {
                let (name, turned) = (call.text(1)?, Turned::from_map(&call.map(2)?)?);
                write(call, "opening the way back", async |session| turn::enable(session, &name, &turned).await)?;
                Ok(Dynamic::UNIT)
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
                let names = Names::read(call, 2)?;
                let (blue, green) = (db(call, 0)?, db(call, 1)?);
                write_all(call, "ending the replication", &[&blue, &green], async |s| {
                    turn::drop_forward(names.stream(s), LEAVING).await
                })?;
                Ok(Dynamic::UNIT)
            },
        },
        Function {
            name: "flows",
            parameters: "from, to",
            gives: "#{ sentinel, ms }",
            effect: Effect::Writes,
            doc: "Writes a row on one side and waits until the other has it.",
            example: "pg::install_own(db); pg::flows(db, db).ms >= 0 // => true",
            run: |call| {
                let run = run_id(call)?;
                let (from, to) = (db(call, 0)?, db(call, 1)?);
                record(&write_all(call, "following a row", &[&from, &to], async |s| {
                    turn::flows(s[0], s[1], &run, FLOW).await
                })?)
            },
        },
    ],
    methods: &[],
};

/// Looks for a while: after a way back the worker is let go, and attaches a moment later.
async fn ready_soon(stream: Stream<'_>, max_lag_bytes: u64) -> Result<Ready> {
    let mut missing = None;
    let ready = poll::until("the stream to be ready", ATTACHING, async || {
        match drain::ready(stream, max_lag_bytes, LONGEST_TRANSACTION).await {
            Err(error) if error.code() == Code::RequireFailed => {
                let text = error.message().to_owned();
                missing = Some(error);
                Ok(Seen::NotYet(text))
            }
            ready => ready.map(Seen::Ready),
        }
    });
    match ready.await {
        Err(error) if error.code() == Code::Timeout => Err(missing.unwrap_or(error)),
        ready => ready,
    }
}

fn prove_meeting(call: &Call) -> Result<Dynamic> {
    let evidence = Evidence::from_map(&call.map(2)?)?;
    record(&look_all(call, "proving the meeting", async |blue, green| meeting::prove(blue, green, &evidence).await)?)
}

/// The names of a replication, as `std/replication` gives them.
struct Names {
    run: String,
    slot: String,
    subscription: String,
    reverse: String,
}

impl Names {
    fn read(call: &Call, at: usize) -> Result<Self> {
        let map = call.map(at)?;
        let text = |key: &str| {
            let missing = || fail!(Code::PgValue, "the entry `{key}` is missing");
            map.get(key).and_then(Value::as_text).map(str::to_owned).ok_or_else(missing)
        };
        Ok(Self {
            run: run_id(call)?,
            slot: text("slot")?,
            subscription: text("subscription")?,
            reverse: text("reverse_subscription")?,
        })
    }

    fn stream<'a>(&'a self, sessions: &[&'a Session]) -> Stream<'a> {
        Stream {
            from: sessions[0],
            to: sessions[1],
            run: &self.run,
            slot: &self.slot,
            subscription: &self.subscription,
        }
    }
}

fn baseline(call: &Call, at: usize) -> Result<Baseline> {
    let map: Map = call.map(at)?;
    let missing = || fail!(Code::PgValue, "the entry `baseline` is missing");
    Baseline::from_map(map.get("baseline").and_then(Value::as_map).ok_or_else(missing)?)
}
