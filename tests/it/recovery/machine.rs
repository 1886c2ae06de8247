//! The journal's state machine, played through: whatever a live run may write a recovery can read, and nothing else.

use std::collections::BTreeMap;

use pgrun::journal::{
    Decision, Event, Fault, How, Key, Means, PhaseState, Record, RunState, StepState,
    event::{Person, RunStarted},
    record::FIRST_PREV,
};

fn started() -> Event {
    Event::RunStarted(RunStarted {
        run: "r".into(),
        runbook: "r.rhai".into(),
        path: None,
        main: "r.rhai".into(),
        sources: BTreeMap::new(),
        params: serde_json::Value::Null,
        secret_params: vec![],
        continues: None,
        pgrun: "0".into(),
        person: Person::here(),
    })
}

fn fault(unknown: bool) -> Fault {
    Fault {
        code: "pg_sql".into(),
        message: "no".into(),
        hint: None,
        details: BTreeMap::new(),
        unknown,
        place: None,
        thrown: None,
    }
}

fn failed(unknown: bool) -> Event {
    Event::Failed { error: fault(unknown), ms: 1 }
}

fn done(how: How) -> Event {
    Event::Done { value: serde_json::json!(1), how, ms: 1 }
}

fn decided(decision: Decision) -> Event {
    Event::Decided { decision, why: "because".into(), person: Person::here() }
}

fn stopped() -> Event {
    Event::Stopped { state: "failed".into(), error: fault(false) }
}

fn resumed() -> Event {
    Event::Resumed(Person::here())
}

fn record(seq: u64, epoch: u32, key: &str, attempt: u32, event: &Event) -> Record {
    Record {
        seq,
        epoch,
        at: String::new(),
        key: key.split('/').filter(|part| !part.is_empty()).map(Into::into).collect(),
        attempt,
        event: event.clone(),
        prev: FIRST_PREV.into(),
        hash: String::new(),
    }
}

/// Plays events `(epoch, key, attempt, event)` after `run_started` and gives the first refusal.
fn play(events: &[(u32, &str, u32, Event)]) -> Result<RunState, String> {
    let mut state = RunState::default();
    let begin = [(1, "", 0, started())];
    for (seq, (epoch, key, attempt, event)) in (1..).zip(begin.iter().chain(events)) {
        state.next(&record(seq, *epoch, key, *attempt, event)).map_err(|error| error.message().to_owned())?;
    }
    Ok(state)
}

#[track_caller]
fn legal(events: &[(u32, &str, u32, Event)]) {
    assert!(play(events).is_ok(), "{:?}", play(events).err());
}

#[track_caller]
fn illegal(events: &[(u32, &str, u32, Event)], why: &str) {
    assert!(
        play(&events[..events.len() - 1]).is_ok(),
        "only the last event is to be refused: {:?}",
        play(events).err()
    );
    let refusal = play(events).err().unwrap_or_default();
    assert!(refusal.contains(why), "wanted `{why}`, got `{refusal}`");
}

#[test]
fn a_step_is_done_once_and_never_without_an_intent() {
    let intent = (1, "a", 1, Event::Intent);
    legal(&[intent.clone(), (1, "a", 1, done(How::Ran))]);
    illegal(&[(1, "a", 1, done(How::Ran))], "not begun");
    illegal(&[intent.clone(), intent.clone()], "running already");
    illegal(&[intent.clone(), (1, "a", 1, done(How::Looked))], "is unknown");
    illegal(&[intent.clone(), (1, "a", 1, done(How::Ran)), (1, "a", 2, Event::Intent)], "is done");
    illegal(&[(1, "a", 2, Event::Intent)], "attempt 2 of `a` follows attempt 0");
    illegal(&[(1, "", 1, Event::Intent)], "needs a key");
    // What an earlier process began, a later one cannot end without beginning it anew, or looking.
    let cut = [intent, (2, "", 0, resumed())];
    illegal(&[cut[0].clone(), cut[1].clone(), (2, "a", 1, done(How::Ran))], "is unknown");
    illegal(&[cut[0].clone(), cut[1].clone(), (2, "a", 1, failed(false))], "is unknown");
    legal(&[cut[0].clone(), cut[1].clone(), (2, "a", 1, done(How::Verified))]);
    legal(&[cut[0].clone(), cut[1].clone(), (2, "a", 2, Event::Intent), (2, "a", 2, done(How::Ran))]);
}

/// A body that began with marked transactions may go on with other writes: the same attempt, another kind of outcome.
#[test]
fn a_marked_begin_grows_into_an_intent() {
    let marked = (1, "a", 1, Event::Marked);
    let intent = (1, "a", 1, Event::Intent);
    legal(&[marked.clone(), (1, "a", 1, done(How::Ran))]);
    legal(&[marked.clone(), intent.clone(), (1, "a", 1, done(How::Ran))]);
    illegal(&[marked.clone(), marked.clone()], "running already");
    illegal(&[marked.clone(), (1, "a", 2, Event::Intent)], "running already");
    illegal(&[intent.clone(), marked.clone()], "running already");
    illegal(&[marked.clone(), intent.clone(), intent.clone()], "running already");
    illegal(&[marked.clone(), (2, "", 0, resumed()), (2, "a", 1, Event::Intent)], "attempt 1 of `a` follows attempt 1");
    let means = |events: &[(u32, &str, u32, Event)]| {
        let state = play(events).unwrap();
        state.steps[&vec!["a".to_owned()]].means
    };
    assert_eq!(means(std::slice::from_ref(&marked)), Means::Marked);
    assert_eq!(means(&[marked.clone(), intent.clone()]), Means::Any);
    assert_eq!(means(&[marked.clone(), (1, "a", 1, failed(true))]), Means::Marked);
    assert_eq!(means(&[intent, (2, "", 0, resumed()), (2, "a", 2, Event::Marked)]), Means::Marked);
}

#[test]
fn a_caught_failure_is_final() {
    let caught = [(1, "a", 1, failed(false)), (1, "a", 0, Event::Caught)];
    legal(&caught);
    for event in [(1, "a", 2, Event::Intent), (1, "a", 1, done(How::Looked)), (1, "a", 2, failed(false))] {
        illegal(&[caught[0].clone(), caught[1].clone(), event], "the run went on after `a` failed");
    }
    illegal(&[caught[0].clone(), caught[1].clone(), (1, "a", 0, Event::Caught)], "is failed");
    illegal(&[(1, "a", 0, Event::Caught)], "not begun");
    // Uncaught, it is tried again.
    legal(&[caught[0].clone(), (2, "", 0, resumed()), (2, "a", 2, Event::Intent)]);
}

#[test]
fn an_undone_phase_forgets_its_steps_and_a_left_one_takes_no_more() {
    let window = [
        (1, "w", 0, Event::Entered),
        (1, "w/a", 1, Event::Intent),
        (1, "w/a", 1, done(How::Ran)),
        (1, "w/a", 0, Event::UndoIntent),
        (1, "w/a", 0, Event::UndoDone),
        (1, "w", 0, Event::Voided { cause: fault(false) }),
    ];
    let state = play(&window).unwrap();
    assert!(state.step(&["w".into(), "a".into()]).is_none());
    let with = |more: &[(u32, &'static str, u32, Event)]| [window.to_vec(), more.to_vec()].concat();
    legal(&with(&[(1, "w", 0, Event::Entered), (1, "w/a", 2, Event::Intent)]));
    illegal(&with(&[(1, "w/a", 2, Event::Intent)]), "the phase `w` is not entered");
    illegal(&[window[0].clone(), (1, "w", 0, Event::Left), (1, "w/b", 1, Event::Intent)], "`w` is not entered");
    illegal(&[window[..5].to_vec(), vec![(1, "w/a", 2, Event::Intent)]].concat(), "is undone");
    illegal(&[window[0].clone(), window[0].clone()], "entered already");
    illegal(&[(1, "w", 0, Event::Left)], "is not entered");
    // A phase that failed and was caught stays entered, and the run may end.
    legal(&[window[0].clone(), (1, "", 0, Event::Finished)]);
}

#[test]
fn epochs_order_and_ends_are_kept() {
    illegal(&[(1, "", 0, resumed())], "the journal is in epoch 1");
    illegal(&[(2, "a", 1, Event::Intent)], "the journal is in epoch 1");
    illegal(&[(1, "", 0, started())], "the first event and only the first");
    illegal(&[(1, "", 0, Event::Finished), (2, "", 0, resumed())], "the run is done");
    illegal(&[(1, "", 0, stopped()), (1, "a", 1, Event::Intent)], "was not resumed");
    legal(&[(1, "", 0, stopped()), (2, "", 0, resumed()), (2, "a", 1, Event::Intent)]);
    let mut state = RunState::default();
    assert!(state.next(&record(1, 1, "a", 1, &Event::Intent)).is_err(), "the first event is run_started");
    let asked = Event::Asked { gate: "g".into(), text: "?".into(), shown: String::new() };
    let answered = |value: &str| Event::Answered {
        gate: "g".into(),
        value: value.into(),
        through: "terminal".into(),
        person: Person::here(),
    };
    illegal(&[(1, "", 0, answered("yes"))], "was never shown");
    legal(&[
        (1, "", 0, asked.clone()),
        (1, "", 0, answered("no")),
        (1, "", 0, asked.clone()),
        (1, "", 0, answered("yes")),
    ]);
    illegal(&[(1, "", 0, asked.clone()), (1, "", 0, answered("yes")), (1, "", 0, asked)], "is answered already");
}

/// What happened to the world, counted beside the state machine, from the events alone.
#[derive(Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each watched on its own")]
struct World {
    entered: bool,
    step: Seen,
    /// The run as a whole is being undone.
    undoing: bool,
    /// Nothing may happen any more.
    over: bool,
    /// Once its undo is done it begins anew.
    anew: bool,
    /// Some undo was begun and is not done.
    half_undone: bool,
}

/// The step as the world sees it.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
enum Seen {
    /// Nothing runs; it may be begun.
    #[default]
    Idle,
    /// Its body was begun in this epoch and has not ended.
    AtWork,
    Done,
    Caught,
    Undoing,
}

/// Findings stopped the run: what was looked at since the last change is looked at again, and nothing else. A phase in
/// which something was changed stays as it was left.
#[test]
fn a_run_that_findings_stopped_looks_again() {
    let error = Fault { code: "needs_waiver".into(), ..fault(false) };
    let stops = Event::Stopped { state: "paused".into(), error };
    let looked = |key| [(1, key, 0, done(How::Looked))];
    let changed = |key| [(1, key, 1, Event::Intent), (1, key, 1, done(How::Ran))];
    let phase = |name, steps: &[_]| [&[(1, name, 0, Event::Entered)], steps, &[(1, name, 0, Event::Left)]].concat();
    let history = [
        looked("old").to_vec(),
        phase("mixed", &[&changed("mixed/a")[..], &looked("mixed/b")].concat()),
        phase("pure", &looked("pure/c")),
        vec![(1, "open", 0, Event::Entered)],
        looked("open/d").to_vec(),
    ]
    .concat();
    let resumed_from =
        |stop: Event| play(&[history.clone(), vec![(1, "", 0, stop), (2, "", 0, resumed())]].concat()).unwrap();
    let kept = |state: &RunState| -> Vec<String> {
        let counts = state.order.iter().filter(|key| state.step(key).is_some());
        counts.map(|key| key.last().unwrap().clone()).collect()
    };
    let state = resumed_from(stops.clone());
    assert_eq!(kept(&state), ["old", "a", "b"]);
    let at = |state: &RunState, phase: &str| state.phase(&[phase.to_owned()]).unwrap();
    assert_eq!(at(&state, "mixed"), PhaseState::Left);
    assert_eq!((at(&state, "pure"), at(&state, "open")), (PhaseState::Void, PhaseState::Entered));
    legal(
        &[
            history.clone(),
            vec![(1, "", 0, stops), (2, "", 0, resumed()), (2, "pure", 0, Event::Entered)],
            vec![(2, "pure/c", 0, done(How::Looked)), (2, "open", 0, Event::Entered)],
            vec![(2, "open/d", 0, done(How::Looked))],
        ]
        .concat(),
    );
    assert_eq!(kept(&resumed_from(stopped())), ["old", "a", "b", "c", "d"], "any other stop forgets nothing");
}

/// Every history of one phase with one step, up to six events deep: the rules that protect the world hold in each of
/// them, and a refused event changes nothing.
#[test]
fn every_short_history_keeps_the_rules() {
    let alphabet: Vec<(&str, Event)> = vec![
        ("w", Event::Entered),
        ("w", Event::Left),
        ("w", Event::Voided { cause: fault(false) }),
        ("w/a", Event::Intent),
        ("w/a", Event::Marked),
        ("w/a", done(How::Ran)),
        ("w/a", done(How::Looked)),
        ("w/a", done(How::Checked)),
        ("w/a", failed(false)),
        ("w/a", failed(true)),
        ("w/a", Event::Caught),
        ("w/a", Event::UndoIntent),
        ("w/a", Event::UndoDone),
        ("w/a", Event::UndoFailed { error: fault(false) }),
        ("", resumed()),
        ("", stopped()),
        ("", Event::Finished),
        ("w/a", decided(Decision::Retry)),
        ("w/a", decided(Decision::Done(serde_json::Value::Null))),
        ("w/a", decided(Decision::Undo)),
        ("", Event::UndoStarted { to: None, person: Person::here() }),
        ("", Event::UndoStarted { to: Some(vec!["w".into(), "a".into()]), person: Person::here() }),
        ("", Event::UndoFinished),
        ("", Event::Abandoned { why: "x".into(), person: Person::here() }),
    ];
    let mut state = RunState::default();
    state.next(&record(1, 1, "", 0, &started())).unwrap();
    let mut histories = 0;
    explore(&state, &World::default(), &alphabet, 6, &mut histories);
    assert!(histories > 10_000, "{histories} histories");
}

fn explore(state: &RunState, world: &World, alphabet: &[(&str, Event)], depth: u32, histories: &mut u64) {
    if depth == 0 {
        return;
    }
    let key: Key = vec!["w".into(), "a".into()];
    for (place, event) in alphabet {
        let epoch = state.epoch + u32::from(event.begins_epoch());
        let attempt = match event {
            Event::Intent | Event::Marked => state.next_attempt(&key),
            Event::Done { .. } | Event::Failed { .. } => state.steps.get(&key).map_or(1, |step| step.attempt.max(1)),
            _ => 0,
        };
        let record = record(state.seq + 1, epoch, place, attempt, event);
        let mut next = state.clone();
        if next.next(&record).is_err() {
            assert_eq!(format!("{next:?}"), format!("{state:?}"), "a refused event changed the state");
            continue;
        }
        *histories += 1;
        let mut then = world.clone();
        follow(&mut then, event);
        let step = next.step(&key);
        let is_done = step.is_some_and(|step| matches!(step.state, StepState::Done { .. }));
        assert_eq!(is_done, then.step == Seen::Done, "what the journal believes is what happened: {record:?}");
        explore(&next, &then, alphabet, depth - 1, histories);
    }
}

fn end_undo_of_step(world: &mut World) {
    assert!(world.half_undone);
    world.half_undone = false;
    if world.anew {
        (world.anew, world.step) = (false, Seen::Idle);
    }
}

/// Follows one event, and fails where it would harm.
fn follow(world: &mut World, event: &Event) {
    assert!(!world.over || matches!(event, Event::UndoStarted { .. }), "{event:?} after the end");
    if world.undoing {
        let is_way_back = matches!(
            event,
            Event::UndoIntent
                | Event::UndoDone
                | Event::UndoFailed { .. }
                | Event::UndoStarted { .. }
                | Event::UndoFinished
                | Event::Decided { .. }
                | Event::Stopped { .. }
                | Event::Abandoned { .. }
        );
        assert!(is_way_back, "{event:?} while the run is undone");
    }
    match event {
        Event::Intent | Event::Marked => {
            assert_eq!(world.step, Seen::Idle, "a body begins that may not");
            assert!(world.entered, "a body begins outside its phase");
            world.step = Seen::AtWork;
        }
        Event::Done { how, .. } => {
            let may = match how {
                How::Ran => world.step == Seen::AtWork,
                How::Looked => world.step == Seen::Idle,
                How::Checked | How::Verified => matches!(world.step, Seen::Idle | Seen::AtWork),
                How::Decided | How::Skipped => false,
            };
            assert!(may && world.entered, "{how:?} from {:?}", world.step);
            world.step = Seen::Done;
        }
        Event::Failed { .. } => {
            assert!(matches!(world.step, Seen::Idle | Seen::AtWork) && world.entered, "{:?}", world.step);
            world.step = Seen::Idle;
        }
        Event::Caught => world.step = Seen::Caught,
        Event::UndoIntent => {
            assert!(world.entered || world.undoing, "an undo outside its phase");
            world.step = Seen::Undoing;
            world.half_undone = true;
        }
        Event::UndoFailed { .. } => assert!(world.half_undone),
        Event::UndoDone => end_undo_of_step(world),
        Event::Entered => world.entered = true,
        Event::Left => world.entered = false,
        Event::Voided { .. } => *world = World::default(),
        Event::Resumed(_) if world.step == Seen::AtWork => world.step = Seen::Idle,
        Event::Decided { decision: Decision::Done(_), .. } if world.step != Seen::Undoing && !world.half_undone => {
            assert_eq!(world.step, Seen::Idle, "decided about a step that runs, is done or was caught");
            world.step = Seen::Done;
        }
        Event::Decided { decision, .. } => {
            assert!(matches!(world.step, Seen::Idle | Seen::Undoing), "{:?}", world.step);
            world.anew |= *decision == Decision::Undo && world.step == Seen::Idle;
            world.half_undone |= *decision == Decision::Undo;
            if matches!(decision, Decision::Done(_)) {
                end_undo_of_step(world);
            }
        }
        Event::UndoStarted { .. } => {
            world.undoing = true;
            world.over = false;
            if world.step == Seen::AtWork {
                world.step = Seen::Idle;
            }
        }
        Event::UndoFinished => {
            assert!(!world.half_undone, "an undo ends while a step is not undone");
            world.undoing = false;
            if world.step == Seen::Undoing {
                world.step = Seen::Idle;
                world.entered = false;
            }
        }
        Event::Finished | Event::Abandoned { .. } => world.over = true,
        _ => {}
    }
}
