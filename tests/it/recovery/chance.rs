//! Random histories of a run: events are proposed at random, and those that are legal are taken.

use std::collections::{BTreeMap, BTreeSet};

use pgrun::journal::{
    Decision, Event, Fault, How, Key, PhaseState, Record, RunState, StepState,
    event::{Person, RunStarted},
    record::FIRST_PREV,
};
use proptest::{
    collection::vec,
    prelude::{Just, Strategy, any, prop_oneof},
    sample::Index,
};
use serde_json::{Value as Json, json};

use super::forger;

const PHASES: [&[&str]; 5] = [&["p"], &["p", "q"], &["p", "q", "r"], &["w"], &["w", "branch 1", "i"]];

const STEPS: [&[&str]; 10] = [
    &["a"],
    &["a [1]"],
    &["branch 1", "l"],
    &["p", "b"],
    &["p", "branch 2", "c [ü \"x\" 🐘]"],
    &["p", "q", "d"],
    &["p", "q", "r", "e"],
    &["w", "f"],
    &["w", "branch 1", "g"],
    &["w", "branch 1", "i", "h [,\"hash\":\"]"],
];

/// What an event could be, before it is known which step or phase it is about.
#[derive(Clone, Debug)]
enum Word {
    Started,
    Resumed,
    Claimed,
    Entered,
    Left,
    Voided,
    Intent,
    Done(How, Json),
    Failed(Fault),
    Caught,
    UndoIntent,
    UndoDone,
    UndoFailed(Fault),
    Asked,
    Answered(&'static str),
    Noted,
    Stopped(&'static str),
    Finished,
    Decided(Decision),
    Abandoned,
    UndoStarted(bool),
    UndoFinished,
    Adopted,
}

/// An event that may or may not follow.
#[derive(Clone, Debug)]
pub(super) struct Proposal {
    word: Word,
    place: Index,
    /// True to take a place where such an event usually stands, if there is one.
    aims: bool,
    /// What is wrong with it: its epoch, its attempt, its number; mostly nothing.
    skew: u8,
}

fn values() -> impl Strategy<Value = Json> {
    prop_oneof![
        Just(Json::Null),
        Just(json!({ "id": "s,\"hash\":\"x\"}", "": [[], {}], "n\n\u{0}\u{7f}": "\\u0000 é🐘" })),
        any::<i64>().prop_map(Json::from),
        any::<u64>().prop_map(Json::from),
        any::<f64>().prop_map(|number| json!(number)),
        vec(any::<char>(), 0..20).prop_map(|text| Json::from(String::from_iter(text))),
    ]
}

fn faults() -> impl Strategy<Value = Fault> {
    let thrown = prop_oneof![3 => Just(None), 1 => values().prop_map(Some)];
    (any::<bool>(), any::<bool>(), thrown).prop_map(|(unknown, full, thrown)| Fault {
        code: "pg_sql".into(),
        message: "no \"x\"".into(),
        hint: full.then(|| "again".into()),
        details: if full { [("sqlstate".into(), "42601".into())].into() } else { BTreeMap::new() },
        unknown,
        place: full.then(|| ("main.rhai".into(), 7)),
        thrown,
    })
}

fn hows() -> impl Strategy<Value = How> {
    prop_oneof![8 => Just(How::Ran), 3 => Just(How::Looked), 1 => Just(How::Checked), 1 => Just(How::Verified)]
}

fn decisions() -> impl Strategy<Value = Decision> {
    let done = values().prop_map(Decision::Done);
    prop_oneof![Just(Decision::Retry), done, Just(Decision::Skip), Just(Decision::Undo)]
}

pub(super) fn proposals() -> impl Strategy<Value = Vec<Proposal>> {
    let word = prop_oneof![
        1 => Just(Word::Started),
        14 => Just(Word::Resumed),
        1 => Just(Word::Claimed),
        16 => Just(Word::Entered),
        5 => Just(Word::Left),
        3 => Just(Word::Voided),
        24 => Just(Word::Intent),
        20 => (hows(), values()).prop_map(|(how, value)| Word::Done(how, value)),
        10 => faults().prop_map(Word::Failed),
        4 => Just(Word::Caught),
        8 => Just(Word::UndoIntent),
        7 => Just(Word::UndoDone),
        3 => faults().prop_map(Word::UndoFailed),
        5 => Just(Word::Asked),
        5 => prop_oneof![Just("yes"), Just("no"), Just("BLUE")].prop_map(Word::Answered),
        1 => Just(Word::Noted),
        2 => prop_oneof![Just("paused"), Just("unknown"), Just("failed"), Just("done")].prop_map(Word::Stopped),
        9 => decisions().prop_map(Word::Decided),
        1 => prop_oneof![Just(Word::Finished), Just(Word::Abandoned)],
        1 => any::<bool>().prop_map(Word::UndoStarted),
        3 => Just(Word::UndoFinished),
        1 => Just(Word::Adopted),
    ];
    let skew = prop_oneof![30 => Just(0_u8), 1 => 1..4_u8];
    let proposal = (word, any::<Index>(), prop_oneof![1 => Just(false), 5 => Just(true)], skew);
    vec(proposal.prop_map(|(word, place, aims, skew)| Proposal { word, place, aims, skew }), 1..200)
}

fn person() -> Person {
    Person { user: "dba".into(), host: "h".into(), pid: 7 }
}

pub(super) fn started() -> Event {
    Event::RunStarted(RunStarted {
        run: "r".into(),
        runbook: "r.rhai".into(),
        path: None,
        main: "r.rhai".into(),
        sources: [("r.rhai".into(), "00".into())].into(),
        params: json!({ "n": 1.5 }),
        secret_params: vec!["db".into()],
        continues: None,
        pgrun: "0".into(),
        person: person(),
    })
}

impl Proposal {
    /// The event, told which step or phase or gate it is about.
    fn event(&self) -> Event {
        let gate = if self.place.index(2) == 0 { "go" } else { "sure" }.to_owned();
        match self.word.clone() {
            Word::Started => started(),
            Word::Resumed => Event::Resumed(person()),
            Word::Claimed => Event::Claimed { target: gate },
            Word::Entered => Event::Entered,
            Word::Left => Event::Left,
            Word::Voided => Event::Voided { cause: Fault::decided() },
            Word::Intent => Event::Intent,
            Word::Done(how, value) => Event::Done { value, how, ms: 5 },
            Word::Failed(error) => Event::Failed { error, ms: 6 },
            Word::Caught => Event::Caught,
            Word::UndoIntent => Event::UndoIntent,
            Word::UndoDone => Event::UndoDone,
            Word::UndoFailed(error) => Event::UndoFailed { error },
            Word::Asked => Event::Asked { gate, text: "go on?".into(), shown: "ab".into() },
            Word::Answered(value) => {
                Event::Answered { gate, value: value.into(), through: "--answer".into(), person: person() }
            }
            Word::Noted => Event::Noted { text: "a torn last line".into() },
            Word::Stopped(state) => Event::Stopped { state: state.into(), error: Fault::decided() },
            Word::Finished => Event::Finished,
            Word::Decided(decision) => Event::Decided { decision, why: "seen".into(), person: person() },
            Word::Abandoned => Event::Abandoned { why: "no".into(), person: person() },
            Word::UndoStarted(whole) => {
                let to = (!whole).then(|| key(STEPS[self.place.index(STEPS.len())]));
                Event::UndoStarted { to, person: person() }
            }
            Word::UndoFinished => Event::UndoFinished,
            Word::Adopted => Event::Adopted { sources: [("r.rhai".into(), "11".into())].into(), person: person() },
        }
    }

    /// The record after a history.
    fn record(&self, state: &RunState) -> Record {
        let event = self.event();
        let all: &[&[&str]] = match event {
            Event::Entered | Event::Left | Event::Voided { .. } => &PHASES,
            _ if is_of_step(&event) => &STEPS,
            _ => &[&[]],
        };
        let likely: Vec<&[&str]> =
            all.iter().copied().filter(|place| self.aims && fits(state, place, &event)).collect();
        let places = if likely.is_empty() { all } else { &likely };
        let key = key(places[self.place.index(places.len())]);
        let now = state.steps.get(&key).map_or(0, |step| step.attempt);
        let attempt = match event {
            Event::Intent => state.next_attempt(&key),
            Event::Done { .. } | Event::Failed { .. } | Event::Decided { .. } => now,
            _ => 0,
        };
        let epoch = state.epoch + u32::from(event.begins_epoch());
        Record {
            seq: state.seq + 1 + u64::from(self.skew == 1),
            epoch: epoch + u32::from(self.skew == 2),
            at: "2026-11-20T15:12:07.000Z".into(),
            key,
            attempt: attempt + u32::from(self.skew == 3),
            event,
            prev: state.head.clone(),
            hash: String::new(),
        }
    }
}

pub(super) fn key(parts: &[&str]) -> Key {
    parts.iter().map(|part| (*part).to_owned()).collect()
}

fn is_of_step(event: &Event) -> bool {
    let kinds = ["intent", "done", "failed", "caught", "undo_intent", "undo_done", "undo_failed", "decided"];
    kinds.contains(&event.kind())
}

/// Where such an event may well stand: no more than a way to reach deep histories often.
fn fits(state: &RunState, place: &[&str], event: &Event) -> bool {
    let place = key(place);
    let is_open = |end: usize| {
        let outer = &place[..end];
        outer.last().is_some_and(|part| part.starts_with("branch ")) || state.phase(outer).is_some_and(is_entered)
    };
    let stands = (1..place.len()).all(is_open);
    let step = state.steps.get(&place).map_or(&StepState::Void, |step| &step.state);
    match event {
        Event::Entered => stands && !state.phase(&place).is_some_and(is_entered),
        Event::Left | Event::Voided { .. } => stands && state.phase(&place).is_some_and(is_entered),
        Event::Intent => stands && matches!(step, StepState::Void | StepState::Failed(_)),
        Event::Done { how: How::Ran, .. } | Event::Failed { .. } => matches!(step, StepState::Begun),
        Event::Done { .. } => stands && matches!(step, StepState::Void),
        Event::Caught => matches!(step, StepState::Failed(_)),
        Event::UndoIntent => matches!(step, StepState::Done { .. } | StepState::Failed(_)),
        Event::UndoDone | Event::UndoFailed { .. } => matches!(step, StepState::Undoing(_)),
        _ => matches!(step, StepState::Begun | StepState::Failed(_) | StepState::UndoFailed(..)),
    }
}

fn is_entered(phase: PhaseState) -> bool {
    phase == PhaseState::Entered
}

/// A legal history, with what was tried in it and refused.
pub(super) struct History {
    pub(super) records: Vec<Record>,
    pub(super) lines: Vec<String>,
    /// What the state said after each record; the first one is from before them all.
    pub(super) states: Vec<String>,
    /// Records that were refused after so many others.
    pub(super) refused: Vec<(usize, Record)>,
    /// Where the run stood on its way.
    pub(super) stood: BTreeSet<&'static str>,
    pub(super) state: RunState,
}

impl History {
    /// Takes the proposals that are legal. Those that are not change nothing.
    pub(super) fn of(proposals: &[Proposal]) -> Self {
        let state = RunState::default();
        let states = vec![format!("{state:?}")];
        let mut history =
            Self { records: vec![], lines: vec![], states, refused: vec![], stood: BTreeSet::new(), state };
        history.propose(Record {
            seq: 1,
            epoch: 1,
            at: "2026-11-20T15:12:06.000Z".into(),
            key: vec![],
            attempt: 0,
            event: started(),
            prev: FIRST_PREV.into(),
            hash: String::new(),
        });
        for proposal in proposals {
            history.propose(proposal.record(&history.state));
        }
        history
    }

    fn propose(&mut self, mut record: Record) {
        let (line, hash) = record.encode(&forger::PLAIN).unwrap();
        record.hash = hash;
        if self.state.next(&record).is_ok() {
            assert_eq!(Record::decode(&line).unwrap(), record, "a line comes back as it was written");
            self.records.push(record);
            self.lines.push(line);
            self.states.push(format!("{:?}", self.state));
            self.stood.insert(self.state.status.name());
        } else {
            let before = self.states.last().unwrap();
            assert_eq!(format!("{:?}", self.state), *before, "a refused event changed the state: {record:?}");
            self.refused.push((self.records.len(), record));
        }
    }

    /// The file up to the end of a line.
    pub(super) fn text(&self, lines: usize) -> String {
        forger::file(&self.lines[..lines])
    }
}
