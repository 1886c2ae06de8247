//! What a run's history means: a pure state machine, the table of legal moves. Reads no clock and no file.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::{
    event::{Event, Fault, How, Key, RunStarted, key_text},
    record::Record,
};
use crate::{
    base::{Code, Result},
    fail,
};

/// Everything a history says, after any number of events.
#[derive(Clone, Debug, Default)]
pub struct RunState {
    /// The first event; absent before it.
    pub started: Option<RunStarted>,
    /// Wall clock of the first event.
    pub started_at: String,
    /// Lines read.
    pub seq: u64,
    /// Processes that worked on the run.
    pub epoch: u32,
    /// Where the run stands.
    pub status: Status,
    /// Steps by identity.
    pub steps: BTreeMap<Key, StepRecord>,
    /// Identities of steps in the order of their first event.
    pub order: Vec<Key>,
    /// Phases by identity.
    pub phases: BTreeMap<Key, PhaseRecord>,
    /// Gates by name.
    pub gates: BTreeMap<String, Gate>,
    /// Targets that the run has claimed.
    pub claims: Vec<String>,
    /// The hash of the last line.
    pub head: String,
    /// Why the run stopped, if it did.
    pub stopped: Option<Fault>,
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// No event yet, or a process works on it, or one died.
    #[default]
    Running,
    /// Waits for a person.
    Paused,
    /// A step's outcome is not known.
    Unknown,
    /// Failed; can be resumed.
    Failed,
    /// Reached its end.
    Done,
}

impl Status {
    /// The word in JSON and on the terminal.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Unknown => "unknown",
            Self::Failed => "failed",
            Self::Done => "done",
        }
    }
}

/// One step's history, as far as it counts.
#[derive(Clone, Debug)]
pub struct StepRecord {
    /// What came of it.
    pub state: StepState,
    /// How often its body was begun.
    pub attempt: u32,
    /// True when the last attempt wrote its intent: it may have changed something.
    pub begun: bool,
    /// The epoch of its last event.
    pub epoch: u32,
    /// How long the body took, when it ended.
    pub ms: Option<u64>,
    /// True when the script caught this failure and went on: a replay fails here again without running the body.
    pub caught: bool,
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum StepState {
    /// An intent without a result: the outcome is unknown.
    Begun,
    /// It has its value.
    Done {
        /// What the step gave.
        value: Json,
        /// How pgrun came to know.
        how: How,
    },
    /// Its body failed.
    Failed(Fault),
    /// Its undo clause was begun; the flag says whether the step had been done, and its value.
    Undoing(Option<Json>),
    /// Its undo clause failed.
    UndoFailed(Option<Json>, Fault),
    /// It is undone.
    Undone,
    /// Its phase was undone: the record does not count.
    Void,
}

impl StepState {
    /// The word in JSON and on the terminal.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Begun => "unknown",
            Self::Done { .. } => "done",
            Self::Failed(fault) if fault.unknown => "unknown",
            Self::Failed(_) => "failed",
            Self::Undoing(_) => "undoing",
            Self::UndoFailed(..) => "undo_failed",
            Self::Undone => "undone",
            Self::Void => "void",
        }
    }
}

/// One phase's history.
#[derive(Clone, Copy, Debug)]
pub struct PhaseRecord {
    /// Where it stands.
    pub state: PhaseState,
    /// The epoch of its last event.
    pub epoch: u32,
}

/// Where a phase stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PhaseState {
    /// Entered and not left.
    Entered,
    /// Ended well.
    Left,
    /// Undone; its records do not count.
    Void,
}

/// One gate's history.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    /// The question as it was shown last.
    pub text: String,
    /// SHA-256 of what was shown last.
    pub shown: String,
    /// The answer, if there is one.
    pub answer: Option<String>,
}

/// The part of a key that a branch of `parallel` adds.
#[must_use]
pub fn branch(number: usize) -> String {
    format!("{BRANCH}{number}")
}

const BRANCH: &str = "branch ";

fn is_branch(key: &[String]) -> bool {
    let number = key.last().and_then(|part| part.strip_prefix(BRANCH));
    number.is_some_and(|number| number.parse::<usize>().is_ok())
}

impl RunState {
    /// Takes the next event in, or says why it cannot follow this history. Nothing is changed on an error.
    pub fn next(&mut self, record: &Record) -> Result<()> {
        let illegal = |why: String| {
            fail!(Code::JournalMismatch, "record {} (`{}`) cannot follow: {why}", record.seq, key_text(&record.key))
        };
        if record.seq != self.seq + 1 {
            return Err(illegal(format!("the journal has {} records, this one says {}", self.seq, record.seq)));
        }
        let starts = matches!(record.event, Event::RunStarted(_));
        if starts != self.started.is_none() {
            return Err(illegal("`run_started` is the first event and only the first".into()));
        }
        let resumes = matches!(record.event, Event::Resumed(_));
        if record.epoch != self.epoch + u32::from(resumes || starts) {
            return Err(illegal(format!("the journal is in epoch {}, the record in {}", self.epoch, record.epoch)));
        }
        match self.status {
            Status::Running => {}
            Status::Done => return Err(illegal("the run is done".into())),
            stopped if !resumes => return Err(illegal(format!("the run is {} and was not resumed", stopped.name()))),
            _ => {}
        }
        let undoes = matches!(record.event, Event::UndoIntent | Event::UndoDone | Event::UndoFailed { .. });
        if let Some(phase) = self.phase_not_entered(&record.key, undoes) {
            return Err(illegal(format!("the phase `{}` is not entered", key_text(phase))));
        }
        self.apply(record).map_err(illegal)?;
        self.seq = record.seq;
        self.epoch = record.epoch;
        self.head.clone_from(&record.hash);
        Ok(())
    }

    /// A step's record, if it counts.
    #[must_use]
    pub fn step(&self, key: &[String]) -> Option<&StepRecord> {
        self.steps.get(key).filter(|step| step.state != StepState::Void)
    }

    /// The command that takes a run up again: an answer to a gate if one is waited for, and a place for every parameter
    /// that held a password.
    #[must_use]
    pub fn resume_command(run: &str, answer: Option<&str>, secret_params: &[String]) -> String {
        let answer = answer.map_or_else(String::new, |answer| format!(" --answer {answer}"));
        let sets: Vec<String> = secret_params.iter().map(|name| format!(" --set {name}=..")).collect();
        let sets = sets.concat();
        format!("pgrun resume {run}{answer}{sets}")
    }

    /// As [`RunState::resume_command`], for this run.
    #[must_use]
    pub fn command(&self, answer: Option<&str>) -> String {
        let none = (String::new(), vec![]);
        let (run, secret) = self.started.as_ref().map_or(none, |it| (it.run.clone(), it.secret_params.clone()));
        Self::resume_command(&run, answer, &secret)
    }

    /// The attempt that the next intent of this step will be.
    #[must_use]
    pub fn next_attempt(&self, key: &[String]) -> u32 {
        self.steps.get(key).map_or(1, |step| step.attempt + 1)
    }

    /// A phase's state, if it was ever entered.
    #[must_use]
    pub fn phase(&self, key: &[String]) -> Option<PhaseState> {
        self.phases.get(key).map(|phase| phase.state)
    }

    fn apply(&mut self, record: &Record) -> Result<(), String> {
        match &record.event {
            Event::RunStarted(started) => {
                self.started = Some(started.clone());
                self.started_at.clone_from(&record.at);
            }
            Event::Resumed(_) => {
                self.status = Status::Running;
                self.stopped = None;
            }
            Event::Claimed { target } => self.claims.push(target.clone()),
            Event::Noted { .. } => {}
            Event::Asked { gate, text, shown } => {
                if self.gates.get(gate).is_some_and(|entry| entry.answer.is_some()) {
                    return Err(format!("the gate `{gate}` is answered already"));
                }
                let entry = self.gates.entry(gate.clone()).or_default();
                entry.text.clone_from(text);
                entry.shown.clone_from(shown);
            }
            Event::Answered { gate, value, .. } => match self.gates.get_mut(gate) {
                // A "no" may be asked again and answered anew; a "yes" counts for good.
                Some(entry) if entry.answer.is_none() => entry.answer = (value != "no").then(|| value.clone()),
                Some(_) => return Err(format!("the gate `{gate}` is answered already")),
                None => return Err(format!("the gate `{gate}` was never shown")),
            },
            Event::Stopped { state, error } => {
                self.status = match state.as_str() {
                    "paused" => Status::Paused,
                    "unknown" => Status::Unknown,
                    "failed" => Status::Failed,
                    other => return Err(format!("a run cannot stop as `{other}`")),
                };
                self.stopped = Some(error.clone());
            }
            // A phase that failed and was caught stays entered: that is no hindrance.
            Event::Finished => self.status = Status::Done,
            Event::Entered | Event::Left | Event::Voided { .. } => self.move_phase(record)?,
            Event::Caught => self.catch(&record.key)?,
            _ => self.move_step(record)?,
        }
        Ok(())
    }

    /// A phase around a key in which nothing can happen, because it is not entered. To undo what is in phases that were
    /// left, one phase around them has to be entered.
    fn phase_not_entered<'a>(&self, key: &'a [String], undoes: bool) -> Option<&'a [String]> {
        let is_phase = |outer: &&[String]| self.phase(outer).is_some() || !is_branch(outer);
        let mut around = (1..key.len()).map(|end| &key[..end]).filter(is_phase);
        let is_entered = |outer: &[String]| self.phase(outer) == Some(PhaseState::Entered);
        if undoes && around.clone().any(is_entered) {
            return None;
        }
        around.find(|outer| !is_entered(outer))
    }

    fn move_phase(&mut self, record: &Record) -> Result<(), String> {
        let name = key_text(&record.key);
        let state = match (&record.event, self.phases.get(&record.key)) {
            (Event::Entered, None | Some(PhaseRecord { state: PhaseState::Void, .. })) => PhaseState::Entered,
            (Event::Entered, Some(PhaseRecord { state: PhaseState::Entered, epoch })) if *epoch < record.epoch => {
                PhaseState::Entered
            }
            (Event::Entered, Some(_)) => return Err(format!("the phase `{name}` was entered already")),
            (Event::Left, Some(PhaseRecord { state: PhaseState::Entered, .. })) => PhaseState::Left,
            (Event::Voided { .. }, Some(PhaseRecord { state: PhaseState::Entered, .. })) => PhaseState::Void,
            (_, _) => return Err(format!("the phase `{name}` is not entered")),
        };
        if state == PhaseState::Void {
            self.void_below(&record.key);
        }
        self.phases.insert(record.key.clone(), PhaseRecord { state, epoch: record.epoch });
        Ok(())
    }

    fn void_below(&mut self, phase: &[String]) {
        for (_, step) in self.steps.iter_mut().filter(|(key, _)| key.starts_with(phase)) {
            step.state = StepState::Void;
            step.caught = false;
        }
        for (_, inner) in self.phases.iter_mut().filter(|(key, _)| key.starts_with(phase)) {
            inner.state = PhaseState::Void;
        }
    }

    fn move_step(&mut self, record: &Record) -> Result<(), String> {
        let name = key_text(&record.key);
        if record.key.is_empty() {
            return Err("a step needs a key".into());
        }
        let before = self.steps.get(&record.key);
        let is_new = before.is_none();
        let was_begun = before.is_some_and(|step| step.begun && !matches!(step.state, StepState::Void));
        let begun = was_begun || matches!(record.event, Event::Intent);
        let attempt = before.map_or(0, |step| step.attempt);
        let old = before.map(|step| &step.state);
        let is_running = before.is_some_and(|step| step.epoch == record.epoch) && record.attempt == attempt;
        let was_caught = before.is_some_and(|step| step.caught);
        let (state, ms) = match (&record.event, old) {
            (_, Some(StepState::Failed(_))) if was_caught && !matches!(record.event, Event::UndoIntent) => {
                return Err(format!("the run went on after `{name}` failed"));
            }
            (Event::Intent, Some(StepState::Begun)) if before.is_some_and(|step| step.epoch == record.epoch) => {
                return Err(format!("the step `{name}` is running already"));
            }
            (Event::Intent, None | Some(StepState::Begun | StepState::Failed(_) | StepState::Void)) => {
                if record.attempt != attempt + 1 {
                    return Err(format!("attempt {} of `{name}` follows attempt {attempt}", record.attempt));
                }
                (StepState::Begun, None)
            }
            (Event::Done { value, how: How::Ran, ms }, Some(StepState::Begun)) if is_running => {
                (StepState::Done { value: value.clone(), how: How::Ran }, Some(*ms))
            }
            (Event::Done { value, how: How::Looked, ms }, None | Some(StepState::Failed(_) | StepState::Void)) => {
                (StepState::Done { value: value.clone(), how: How::Looked }, Some(*ms))
            }
            (
                Event::Done { value, how: how @ (How::Checked | How::Verified), ms },
                None | Some(StepState::Begun | StepState::Failed(_) | StepState::Void),
            ) => (StepState::Done { value: value.clone(), how: *how }, Some(*ms)),
            (Event::Failed { error, ms }, Some(StepState::Begun)) if is_running => {
                (StepState::Failed(error.clone()), Some(*ms))
            }
            // A body that only read has no intent; its failure is definite, and is kept for the replay of a `try`.
            (Event::Failed { error, ms }, None | Some(StepState::Failed(_) | StepState::Void)) if !error.unknown => {
                (StepState::Failed(error.clone()), Some(*ms))
            }
            (Event::UndoIntent, Some(StepState::Begun | StepState::Failed(_))) => (StepState::Undoing(None), None),
            (Event::UndoIntent, Some(StepState::Done { value, .. })) => (StepState::Undoing(Some(value.clone())), None),
            (Event::UndoIntent, Some(StepState::Undoing(value) | StepState::UndoFailed(value, _))) => {
                (StepState::Undoing(value.clone()), None)
            }
            (Event::UndoDone, Some(StepState::Undoing(_))) => (StepState::Undone, None),
            (Event::UndoFailed { error }, Some(StepState::Undoing(value))) => {
                (StepState::UndoFailed(value.clone(), error.clone()), None)
            }
            (_, old) => {
                let was = old.map_or("not begun", StepState::name);
                return Err(format!("the step `{name}` is {was} (attempt {attempt})"));
            }
        };
        if is_new {
            self.order.push(record.key.clone());
        }
        let attempt = record.attempt.max(attempt);
        let step = StepRecord { state, attempt, begun, epoch: record.epoch, ms, caught: false };
        self.steps.insert(record.key.clone(), step);
        Ok(())
    }

    fn catch(&mut self, key: &[String]) -> Result<(), String> {
        let name = key_text(key);
        match self.steps.get_mut(key) {
            Some(step) if matches!(step.state, StepState::Failed(_)) && !step.caught => {
                step.caught = true;
                Ok(())
            }
            step => Err(format!("the step `{name}` is {}", step.map_or("not begun", |step| step.state.name()))),
        }
    }
}
