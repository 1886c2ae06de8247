//! `pg::`: the window of a cutover: meeting, readiness, drain, turn, flow.

use std::time::Duration;

use rhai::Dynamic;

use super::{
    convert,
    function::{Call, Effect, Function, Module},
    pg::{db, look_all, write_all},
    pg_cutover::{record, run_id},
    streams::{Streams, records},
};
use crate::{
    base::{
        Code, Result, Value,
        poll::{self, Patience, Seen},
        span,
    },
    pg::{
        Record,
        drain::{self, Baseline, Drained, Ready, Stream},
        meeting::{self, Evidence},
        sequences, sets,
        turn::{self, Turned},
        watch,
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
            parameters: "streams, max_lag",
            gives: "a list of #{ database, ready, baseline }",
            effect: Effect::Writes,
            doc: "Fails unless a cutover may begin, in every database: worker alive, tables equal and ready both ways, lag \
                  small, no long transaction, nothing prepared; looks for up to 3 s, since a worker that was just let go has to \
                  attach first. Notes what must still be so at the end of the window.",
            example: "try { pg::require_ready([], \"1 MB\") } catch (e) { e.code } // => \"pg_value\"",
            run: |call| {
                let (streams, limit) = (Streams::read(call, 0)?, span::parse_size(&call.text(1)?)?);
                let found =
                    streams.each(call, "looking at the replication", &async |stream: Stream<'_>, at: usize| {
                        let ready = ready_soon(stream, limit).await?;
                        sets::way_back(stream, streams.reverse(at)).await?;
                        let baseline = drain::baseline(stream).await?;
                        let database = stream.from.target().database();
                        Ok(crate::map! {
                            "database" => database, "ready" => ready.to_map(), "baseline" => baseline.to_map(),
                        })
                    })?;
                Ok(convert::to_dynamic(&Value::from(found)))
            },
        },
        Function {
            name: "drain",
            parameters: "streams, before, deadline",
            gives: "a list of #{ database, target, confirmed, .. }",
            effect: Effect::Writes,
            doc: "After the fence: waits until GREEN has everything that BLUE has, in every database, and proves it. \
                  `before` is what `require_ready` gave.",
            example: "try { pg::drain([], [], \"1s\") } catch (e) { e.code } // => \"pg_value\"",
            run: |call| {
                let (streams, deadline) = (Streams::read(call, 0)?, call.duration(2)?);
                let before: Vec<Baseline> = streams.told(call, 1, Some("baseline"))?;
                let work = async |stream: Stream<'_>, at: usize| {
                    naming_who(stream, drain::drain(stream, &before[at], deadline).await).await
                };
                Ok(records(&streams.each(call, "draining", &work)?))
            },
        },
        Function {
            name: "turn",
            parameters: "streams, before, drained, deadline",
            gives: "a list of #{ database, position, .. }",
            effect: Effect::Writes,
            doc: "Ends the replication to GREEN in every database, proves that no definition has changed meanwhile, copies \
                  the sequences, and sets where BLUE will begin to follow GREEN.",
            example: "try { pg::turn([], [], [], \"1s\") } catch (e) { e.code } // => \"pg_value\"",
            run: |call| {
                let (streams, deadline) = (Streams::read(call, 0)?, call.duration(3)?);
                let before: Vec<Baseline> = streams.told(call, 1, Some("baseline"))?;
                let drained: Vec<Drained> = streams.told(call, 2, None)?;
                let work = async |stream: Stream<'_>, at: usize| {
                    let turned = turn::turn(stream, streams.reverse(at), &before[at], &drained, deadline).await;
                    naming_who(stream, turned).await
                };
                Ok(records(&streams.each(call, "turning the replication round", &work)?))
            },
        },
        Function {
            name: "turn_back",
            parameters: "streams",
            gives: "()",
            effect: Effect::Writes,
            doc: "Undoes `turn`: lets the replication to GREEN run again. Refused after the decision. Safe to repeat.",
            example: "try { pg::turn_back([]) } catch (e) { e.code } // => \"pg_value\"",
            run: |call| {
                let work = async |stream: Stream<'_>, _| turn::back(stream).await;
                Streams::read(call, 0)?.each(call, "letting the replication run again", &work)?;
                Ok(Dynamic::UNIT)
            },
        },
        Function {
            name: "open_way_back",
            parameters: "streams, turned",
            gives: "()",
            effect: Effect::Writes,
            doc: "Enables BLUE's subscriptions to GREEN, whose origins must stand where `turn` has set them. Safe to \
                  repeat.",
            example: "try { pg::open_way_back([], []) } catch (e) { e.code } // => \"pg_value\"",
            run: |call| {
                let streams = Streams::read(call, 0)?;
                let turned: Vec<Turned> = streams.told(call, 1, None)?;
                let work = async |stream: Stream<'_>, at: usize| {
                    turn::enable(stream.from, streams.reverse(at), &turned[at]).await
                };
                streams.each(call, "opening the way back", &work)?;
                Ok(Dynamic::UNIT)
            },
        },
        Function {
            name: "drop_forward",
            parameters: "streams",
            gives: "()",
            effect: Effect::Writes,
            doc: "Drops GREEN's subscriptions to BLUE, then their slots. Safe to repeat.",
            example: "try { pg::drop_forward([]) } catch (e) { e.code } // => \"pg_value\"",
            run: |call| {
                let work = async |stream: Stream<'_>, _| turn::drop_forward(stream, LEAVING).await;
                Streams::read(call, 0)?.each(call, "ending the replication", &work)?;
                Ok(Dynamic::UNIT)
            },
        },
        Function {
            name: "copy_sequences",
            parameters: "streams",
            gives: "#{ sequences, set }",
            effect: Effect::Writes,
            doc: "Reads all sequences of each database on both sides and sets those that differ in one statement, value \
                  and is_called alike; looks at these again.",
            example: "try { pg::copy_sequences([]) } catch (e) { e.code } // => \"pg_value\"",
            run: copy_sequences,
        },
        Function {
            name: "sequences_behind",
            parameters: "from, to",
            gives: "a list of names",
            effect: Effect::Reads,
            doc: "The sequences of `to`, the server in use, that would hand out again what `from` had handed out.",
            example: "pg::sequences_behind(db, db) // => []",
            run: |call| {
                let behind = look_all(call, "comparing sequences", async |from, to| sequences::behind(from, to).await)?;
                Ok(convert::to_dynamic(&Value::from(behind)))
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

/// Where a definition has changed since the window began: the last command that did so, if a watch has seen it.
async fn naming_who<T>(stream: Stream<'_>, outcome: Result<T>) -> Result<T> {
    match outcome {
        Err(error) if error.fact("catalog").is_some() => Err(match watch::last(stream.from).await {
            Ok(Some(last)) => error.detail("ddl", last),
            Ok(None) | Err(_) => error,
        }),
        outcome => outcome,
    }
}

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

fn copy_sequences(call: &Call) -> Result<Dynamic> {
    let copied = Streams::read(call, 0)?.each(call, "copying sequences", &async |stream: Stream<'_>, _| {
        sequences::copy(stream.from, stream.to).await
    })?;
    let sum =
        |of: fn(&sequences::Copied) -> usize| i64::try_from(copied.iter().map(of).sum::<usize>()).unwrap_or(i64::MAX);
    let (all, set) = (sum(|copied| copied.sequences), sum(|copied| copied.set));
    Ok(convert::map_to_dynamic(&crate::map! { "sequences" => all, "set" => set }))
}
