//! Going back: the undo clauses of a part of a run, newest first. A phase that failed and `pgrun undo` share it.

use std::{collections::BTreeSet, time::Duration};

use rhai::Engine;

use super::Trouble;
use crate::{
    api::{
        bridge,
        frame::{Frame, Limit, Work},
        host::Host,
        operator::Notice,
        undo::Undo,
    },
    base::{Code, Error, Result, prose::shell_word},
    fail,
    journal::{Event, Fault, Key, Run, StepRecord, StepState, is_branch, key_text},
};

/// How long the undo of a whole run may take. Deleting instances and snapshots takes minutes each.
const DEADLINE: Duration = Duration::from_hours(4);

/// Every step below a phase that counts was met by the replay; else its undo clause would be missing without a word.
/// Where the undo had begun, the replay ends at the oldest step that it has come to: everything newer was undone before
/// it, or has no undo clause.
pub(super) fn require_all_met(host: &Host, run: &Run, below: &[String]) -> Result<()> {
    let counts = |key: &Key, step: &StepRecord| {
        let holds = matches!(step.state, StepState::Done { .. }) || step.may_have_changed();
        holds && key.starts_with(below)
    };
    let missed = run.look(|state| {
        let undo_came_to = |(key, step): (&Key, &StepRecord)| {
            let came = matches!(step.state, StepState::Undoing(_) | StepState::UndoFailed(..) | StepState::Undone);
            came && key.starts_with(below)
        };
        if state.steps.iter().any(undo_came_to) {
            return None;
        }
        let mut steps = state.order.iter().filter_map(|key| state.steps.get_key_value(key));
        steps.find(|(key, step)| counts(key, step) && !host.has_met(key)).map(|(key, _)| key_text(key))
    });
    match missed {
        None => Ok(()),
        Some(name) => Err(mismatch(host, &name)),
    }
}

/// Both sides of a replay that does not fit, and what usually causes it.
fn mismatch(host: &Host, journal: &str) -> Error {
    let script = match host.asked() {
        Some(key) => format!("the script now asks for `{}`", key_text(&key)),
        None => "the script ends without it".to_owned(),
    };
    fail!(Code::JournalMismatch, "the journal has the step `{journal}`, {script}").hint(
        "the script takes another way than before: a step was renamed, moved or put in before finished ones, a loop has \
         other items, or a condition reads something that changed",
    )
}

/// Runs the undo clauses of all steps below a phase, newest first. What has none is said: it stays, and runs again.
pub(super) fn undo_below(host: &Host, engine: &Engine, frame: &Frame, below: &[String]) -> Result<(), Trouble> {
    let ways = host.undo().keys();
    let staying = host.run()?.look(|state| {
        let stays = |key: &&Key| {
            let changed = state.step(key).is_some_and(StepRecord::may_have_changed);
            changed && key.starts_with(below) && !ways.contains(key)
        };
        state.order.iter().filter(stays).map(|key| key_text(key)).collect::<Vec<_>>()
    });
    for name in staying {
        host.tell(Notice::Warned(format!("`{name}` has no undo clause: what it did stays, and it will run again")));
    }
    while let Some(undo) = host.undo().pop_below(below) {
        undo_one(host, engine, frame, &undo)?;
    }
    Ok(())
}

/// Runs one undo clause between its intent and its result.
pub(super) fn undo_one(host: &Host, engine: &Engine, frame: &Frame, undo: &Undo) -> Result<(), Trouble> {
    let run = host.run()?;
    let counts = run.look(|state| state.step(&undo.key).is_some_and(|step| step.state != StepState::Undone));
    if !counts {
        return Ok(());
    }
    host.tell(Notice::Undoing { depth: undo.key.len().saturating_sub(1), name: undo.name.clone() });
    run.write(&undo.key, 0, Event::UndoIntent)?;
    let times = if host.is_twice() { 2 } else { 1 };
    for _ in 0..times {
        if let Err(error) = call(host, engine, frame, undo) {
            run.write(&undo.key, 0, Event::UndoFailed { error: Fault::from(&error) })?;
            return Err(Trouble::Final(error));
        }
    }
    run.write(&undo.key, 0, Event::UndoDone)?;
    Ok(())
}

fn call(host: &Host, engine: &Engine, frame: &Frame, undo: &Undo) -> Result<()> {
    let run = host.run()?;
    let inner = frame.at_step(&undo.key).in_work(Work::undoing(run.clone(), undo.key.clone()), None);
    let ended = {
        let _time = host.keep_time(&inner);
        bridge::settle(undo.clause.call(engine, &inner, undo.value.clone()))
    };
    match ended {
        bridge::Ended::Value(_) => Ok(()),
        bridge::Ended::Broke(_) => Err(fail!(Code::StepRule, "`break` may not leave an undo clause")),
        bridge::Ended::Raised(raised) => Err(failed(run, undo, &bridge::facts(&raised))),
    }
}

/// A failing undo waits for a person, unless a signal stopped it.
fn failed(run: &Run, undo: &Undo, error: &Error) -> Error {
    let name = key_text(&undo.key);
    if matches!(error.code(), Code::Cancelled | Code::JournalWrite) {
        return error.clone().during(format!("undoing step `{name}`"));
    }
    let decide = shell_word(&format!("{name}=done"));
    let by_hand = run.look(|state| format!("{} --decide {decide} --why ..", state.command(None)));
    let mut told = fail!(Code::UndoFailed, "undoing step `{name}` failed: {}", error.message())
        .hint(format!("mend it and try again, or undo it by hand and say so: {by_hand}"))
        .detail("cause", error.code().name());
    for (name, value) in error.details() {
        told = told.detail(name.clone().into_owned(), value.clone());
    }
    told
}

/// What `pgrun undo` is about to do.
pub struct Plan {
    /// The steps whose undo clauses will run, newest first.
    pub undone: Vec<String>,
    /// The steps that changed something and have no undo clause, newest first: what they did stays.
    pub staying: Vec<String>,
    last: Option<Key>,
}

/// Says what an undo of the whole run, or down to the step `to`, will do. The script has been replayed.
///
/// # Errors
/// `journal_mismatch` when the replay did not come to every finished step; `refused` past a decision.
pub fn plan(host: &Host, to: Option<&Key>) -> Result<Plan> {
    let run = host.run()?;
    require_all_met(host, run, &[])?;
    let since_of = |key: &Key| run.look(|state| state.step(key).map_or(0, |step| step.since));
    host.undo().order_by(since_of);
    let stack = host.undo().keys();
    let since = match to {
        None => 0,
        Some(to) if !stack.contains(to) => {
            let name = key_text(to);
            return Err(fail!(Code::Refused, "the step `{name}` has nothing that could be undone")
                .hint("`pgrun undo RUN` without `--to` shows what can be"));
        }
        Some(to) => since_of(to),
    };
    let range: Vec<&Key> = stack.iter().filter(|key| since_of(key) >= since).collect();
    if let Some(phase) =
        host.undo().decisions().iter().find(|phase| range.iter().any(|key| since_of(key) <= end(run, phase)))
    {
        let phase = key_text(phase);
        return Err(fail!(
            Code::Refused,
            "phase `{phase}` has made its decision: what lies before it cannot be undone"
        )
        .hint("the way back is a runbook of its own, for example a rollback"));
    }
    let ways: BTreeSet<&Key> = stack.iter().collect();
    run.look(|state| {
        let counts = |key: &&&Key| state.step(key).is_some_and(|step| step.state != StepState::Undone);
        let stays = |key: &&Key| {
            let changed = |step: &StepRecord| step.may_have_changed() && step.since >= since;
            state.steps.get(*key).is_some_and(changed) && !ways.contains(key)
        };
        Ok(Plan {
            undone: range.iter().rev().filter(counts).map(|key| key_text(key)).collect(),
            staying: state.order.iter().rev().filter(stays).map(|key| key_text(key)).collect(),
            last: range.first().map(|key| (*key).clone()),
        })
    })
}

/// The record that began the last step of a phase: what began later lies behind it.
fn end(run: &Run, phase: &[String]) -> u64 {
    let below = |(key, step): (&Key, &StepRecord)| key.starts_with(phase).then_some(step.since);
    run.look(|state| state.steps.iter().filter_map(below).max()).unwrap_or(0)
}

/// Runs the undo clauses of a plan. A signal ends it after the clause that runs.
pub fn carry_out(host: &Host, engine: &Engine, plan: &Plan) -> Result<()> {
    let Some(last) = &plan.last else { return Ok(()) };
    let frame = Frame::default().with_only_limit(Limit::starting(DEADLINE, "undo of the run".into(), false));
    while let Some(undo) = host.undo().pop_below(&[]) {
        if host.stop().is_asked() {
            return Err(host.stop().error());
        }
        undo_one(host, engine, &frame, &undo).map_err(|trouble| trouble.facts())?;
        if undo.key == *last {
            break;
        }
    }
    Ok(())
}

/// The replay of changed texts came to every step that counts, in the order in which the journal has them; branches of
/// `parallel` have none among each other.
///
/// # Errors
/// `journal_mismatch` naming the first step that comes at another place.
pub fn require_same_order(host: &Host) -> Result<()> {
    let run = host.run()?;
    require_all_met(host, run, &[])?;
    let is_alone = |key: &Key| (1..=key.len()).all(|end| !is_branch(&key[..end]));
    let journal: Vec<Key> = run.look(|state| {
        let counts = |key: &&Key| state.step(key).is_some() && is_alone(key);
        state.order.iter().filter(counts).cloned().collect()
    });
    let known: BTreeSet<&Key> = journal.iter().collect();
    let script: Vec<Key> = host.met().into_iter().filter(|key| known.contains(key)).collect();
    let met: BTreeSet<&Key> = script.iter().collect();
    match journal.iter().filter(|key| met.contains(key)).zip(&script).find(|(was, is)| was != is) {
        None => Ok(()),
        Some((was, is)) => {
            let (was, is) = (key_text(was), key_text(is));
            Err(fail!(Code::JournalMismatch, "the journal has the step `{was}` where the script now has `{is}`")
                .hint("finished steps keep their order; what is still to come may change"))
        }
    }
}

/// The replay came to every step that counts.
pub fn require_replay(host: &Host) -> Result<()> {
    require_all_met(host, host.run()?, &[])
}
