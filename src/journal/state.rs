//! What a run's history means: a pure state machine, the table of legal moves. Reads no clock and no file.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::{
    event::{Decision, Event, Fault, How, Key, RunStarted, key_text},
    record::Record,
};
use crate::{
    base::{Code, Result, prose},
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
    /// How far the run is being undone, if it is.
    pub undoing: Option<UndoTo>,
}

/// The last step to be undone; none for all of them.
pub type UndoTo = Option<Key>;

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
    /// Is being undone, newest step first.
    Undoing,
    /// Undone as a whole.
    Undone,
    /// Ended for good by a person.
    Abandoned,
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
            Self::Undoing => "undoing",
            Self::Undone => "undone",
            Self::Abandoned => "abandoned",
        }
    }

    /// True when the run holds nothing any more: its claims do not count.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Undone | Self::Abandoned)
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
    /// By what the last attempt may have changed something.
    pub means: Means,
    /// The epoch of its last event.
    pub epoch: u32,
    /// How long the body took, when it ended.
    pub ms: Option<u64>,
    /// True when the script caught this failure and went on: a replay fails here again without running the body.
    pub caught: bool,
    /// The record that began what counts now.
    pub since: u64,
    /// True when a person decided that it is undone and then begins anew.
    pub anew: bool,
}

/// By what a body changes the world.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Means {
    /// Anything.
    #[default]
    Any,
    /// Only transactions that leave a row about themselves: whether they took effect can be asked.
    Marked,
}

impl StepRecord {
    /// True when the step may have changed something that is not undone.
    #[must_use]
    pub fn may_have_changed(&self) -> bool {
        match self.state {
            StepState::Done { how, .. } => how != How::Looked,
            StepState::Undoing(_) | StepState::UndoFailed(..) => true,
            StepState::Begun | StepState::Failed(_) => self.begun,
            StepState::Undone | StepState::Void => false,
        }
    }
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
    /// The record of the answer.
    pub answered: u64,
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
        if record.epoch != self.epoch + u32::from(record.event.begins_epoch()) {
            return Err(illegal(format!("the journal is in epoch {}, the record in {}", self.epoch, record.epoch)));
        }
        self.allows(&record.event).map_err(illegal)?;
        let undoes = matches!(record.event, Event::UndoIntent | Event::UndoDone | Event::UndoFailed { .. });
        let is_free = self.undoing.is_some() || matches!(record.event, Event::Decided { .. });
        if !is_free && let Some(phase) = self.phase_not_entered(&record.key, undoes) {
            return Err(illegal(format!("the phase `{}` is not entered", key_text(phase))));
        }
        self.apply(record).map_err(illegal)?;
        self.seq = record.seq;
        self.epoch = record.epoch;
        self.head.clone_from(&record.hash);
        Ok(())
    }

    /// Whether where the run stands allows an event at all.
    fn allows(&self, event: &Event) -> Result<(), String> {
        let name = self.status.name();
        match (self.status, event) {
            (Status::Undone | Status::Abandoned, _) => Err(format!("the run is {name}")),
            (_, Event::UndoStarted { .. }) => Ok(()),
            (Status::Done, _) => Err("the run is done".into()),
            (Status::Undoing, Event::Resumed(_)) => Err("the run is being undone".into()),
            (_, Event::Resumed(_) | Event::Abandoned { .. }) => Ok(()),
            (status, _) if self.stopped.is_some() || !matches!(status, Status::Running | Status::Undoing) => {
                Err(format!("the run is {name} and was not resumed"))
            }
            (
                Status::Undoing,
                Event::UndoIntent
                | Event::UndoDone
                | Event::UndoFailed { .. }
                | Event::UndoFinished
                | Event::Decided { .. }
                | Event::Claimed { .. }
                | Event::Noted { .. }
                | Event::Stopped { .. },
            ) => Ok(()),
            (Status::Undoing, _) => Err("the run is being undone".into()),
            (_, Event::UndoFinished) => Err("the run is not being undone".into()),
            _ => Ok(()),
        }
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

    /// The step that a text means: its whole identity, or as much of its end as no other step has.
    pub fn find_step(&self, text: &str) -> Result<Key> {
        let known = || self.order.iter().filter(|key| self.step(key).is_some());
        let is_meant = |key: &&Key| {
            let whole = key_text(key);
            whole == text || whole.ends_with(&format!(" / {text}"))
        };
        if let Some(key) = known().find(|key| key_text(key) == text) {
            return Ok(key.clone());
        }
        let meant: Vec<&Key> = known().filter(is_meant).collect();
        let names: Vec<String> = meant.iter().map(|key| key_text(key)).collect();
        match meant.as_slice() {
            [only] => Ok((*only).clone()),
            [] => {
                let all: Vec<String> = known().map(|key| key_text(key)).collect();
                let error = fail!(Code::Usage, "the run has no step `{text}`");
                Err(match prose::nearest(text, all.iter().map(String::as_str)) {
                    Some(near) => error.hint(format!("meant `{near}`?")),
                    None => error.hint("`pgrun show RUN` lists its steps"),
                })
            }
            _ => Err(fail!(Code::Usage, "`{text}` could be {}", prose::ticked_list(&names, 5))),
        }
    }

    /// As [`RunState::resume_command`], for this run; of a run that is being undone, the command that goes on with that.
    #[must_use]
    pub fn command(&self, answer: Option<&str>) -> String {
        let none = (String::new(), vec![]);
        let (run, secret) = self.started.as_ref().map_or(none, |it| (it.run.clone(), it.secret_params.clone()));
        if let Some(to) = &self.undoing {
            let to = to.as_ref().map_or_else(String::new, |to| format!(" --to {}", prose::shell_word(&key_text(to))));
            let sets: Vec<String> = secret.iter().map(|name| format!(" --set {name}=..")).collect();
            return format!("pgrun undo {run}{to}{}", sets.concat());
        }
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
                Some(entry) if entry.answer.is_none() => {
                    entry.answer = (value != "no").then(|| value.clone());
                    entry.answered = record.seq;
                }
                Some(_) => return Err(format!("the gate `{gate}` is answered already")),
                None => return Err(format!("the gate `{gate}` was never shown")),
            },
            Event::Stopped { state, error } => {
                self.status = match state.as_str() {
                    _ if self.undoing.is_some() => Status::Undoing,
                    "paused" => Status::Paused,
                    "unknown" => Status::Unknown,
                    "failed" => Status::Failed,
                    other => return Err(format!("a run cannot stop as `{other}`")),
                };
                self.stopped = Some(error.clone());
            }
            // A phase that failed and was caught stays entered: that is no hindrance.
            Event::Finished => self.status = Status::Done,
            Event::Abandoned { .. } => self.status = Status::Abandoned,
            Event::UndoStarted { to, .. } => {
                self.undoing = Some(to.clone());
                self.status = Status::Undoing;
                self.stopped = None;
            }
            Event::UndoFinished => self.end_undo()?,
            Event::Adopted { sources, .. } => {
                if let Some(started) = &mut self.started {
                    started.sources.clone_from(sources);
                }
            }
            Event::Decided { decision, .. } => self.decide(record, decision)?,
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

    /// Ends an undo. After a partial one the undone steps, and the answers given since, are to come anew.
    fn end_undo(&mut self) -> Result<(), String> {
        let is_half_undone =
            |step: &StepRecord| matches!(step.state, StepState::Undoing(_) | StepState::UndoFailed(..));
        if let Some((key, _)) = self.steps.iter().find(|(_, step)| is_half_undone(step)) {
            return Err(format!("the step `{}` is not undone yet", key_text(key)));
        }
        if self.undoing.take().flatten().is_none() {
            self.status = Status::Undone;
            return Ok(());
        }
        self.status = Status::Running;
        let mut since = u64::MAX;
        for (key, step) in self.steps.iter_mut().filter(|(_, step)| step.state == StepState::Undone) {
            since = since.min(step.since);
            step.state = StepState::Void;
            for end in 1..key.len() {
                if let Some(phase) = self.phases.get_mut(&key[..end]) {
                    phase.state = PhaseState::Void;
                }
            }
        }
        for gate in self.gates.values_mut().filter(|gate| gate.answered > since) {
            gate.answer = None;
        }
        Ok(())
    }

    fn decide(&mut self, record: &Record, decision: &Decision) -> Result<(), String> {
        let name = key_text(&record.key);
        let Some(step) = self.steps.get_mut(&record.key) else {
            return Err(format!("the step `{name}` is not begun"));
        };
        let state = match (&step.state, decision) {
            (StepState::Failed(_), _) if step.caught => return Err(format!("the run went on after `{name}` failed")),
            (StepState::Begun, _) if step.epoch == record.epoch => {
                return Err(format!("the step `{name}` is running"));
            }
            (StepState::Begun | StepState::Failed(_), Decision::Retry) => StepState::Failed(Fault::decided()),
            (StepState::Begun | StepState::Failed(_), Decision::Done(value)) => {
                StepState::Done { value: value.clone(), how: How::Decided }
            }
            (StepState::Begun | StepState::Failed(_), Decision::Skip) => {
                StepState::Done { value: Json::Null, how: How::Skipped }
            }
            (StepState::Begun | StepState::Failed(_), Decision::Undo) => StepState::Undoing(None),
            (StepState::Undoing(value) | StepState::UndoFailed(value, _), Decision::Retry | Decision::Undo) => {
                StepState::Undoing(value.clone())
            }
            (StepState::Undoing(_) | StepState::UndoFailed(..), Decision::Done(_) | Decision::Skip) => {
                match step.anew {
                    true => StepState::Void,
                    false => StepState::Undone,
                }
            }
            (state, _) => return Err(format!("the step `{name}` is {}", state.name())),
        };
        step.anew |= matches!((&state, &step.state), (StepState::Undoing(_), StepState::Begun | StepState::Failed(_)));
        step.state = state;
        Ok(())
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
        let is_fresh = before.is_none_or(|step| step.state == StepState::Void);
        let anew = before.is_some_and(|step| step.anew) && !is_fresh;
        let was_begun = before.is_some_and(|step| step.begun) && !is_fresh;
        let begun = was_begun || matches!(record.event, Event::Intent | Event::Marked);
        let was = before.filter(|_| !is_fresh).map_or(Means::Any, |step| step.means);
        let means = match record.event {
            Event::Intent => Means::Any,
            Event::Marked => Means::Marked,
            _ => was,
        };
        let attempt = before.map_or(0, |step| step.attempt);
        let old = before.map(|step| &step.state);
        let is_running = before.is_some_and(|step| step.epoch == record.epoch) && record.attempt == attempt;
        let was_caught = before.is_some_and(|step| step.caught);
        let (state, ms) = match (&record.event, old) {
            (_, Some(StepState::Failed(_))) if was_caught && !matches!(record.event, Event::UndoIntent) => {
                return Err(format!("the run went on after `{name}` failed"));
            }
            // The rest of a body that had begun with marked transactions.
            (Event::Intent, Some(StepState::Begun)) if is_running && was == Means::Marked => (StepState::Begun, None),
            (Event::Intent | Event::Marked, Some(StepState::Begun))
                if before.is_some_and(|step| step.epoch == record.epoch) =>
            {
                return Err(format!("the step `{name}` is running already"));
            }
            (Event::Intent | Event::Marked, None | Some(StepState::Begun | StepState::Failed(_) | StepState::Void)) => {
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
            (Event::UndoDone, Some(StepState::Undoing(_))) if anew => (StepState::Void, None),
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
        let since = before.filter(|_| !is_fresh).map_or(record.seq, |step| step.since);
        let step = StepRecord { state, attempt, begun, means, epoch: record.epoch, ms, caught: false, since, anew };
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
