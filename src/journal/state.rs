//! What a run's history means: its types, and the questions that a run asks of them. Which event may follow which, and
//! what it changes, is in `moves.rs`.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::event::{Fault, Found, How, Key, Person, RunStarted, Waiver, key_text};
use crate::{
    base::{Code, Finding, Map, Result, prose},
    fail, map,
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
    /// Findings that were waived.
    pub waivers: Vec<WaiverRecord>,
    /// Findings that warn, as they were shown.
    pub shown: Vec<Found>,
    /// Targets that the run has claimed.
    pub claims: Vec<String>,
    /// The hash of the last line.
    pub head: String,
    /// The hash of the first line: no two runs share it, whatever their ids.
    pub birth: String,
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
    /// True when an undo of the step makes sense: it may have changed something, or was written to be undone although
    /// it only looked.
    #[must_use]
    pub fn has_way_back(&self) -> bool {
        matches!(self.state, StepState::Done { how: How::Looked, .. }) || self.may_have_changed()
    }

    /// True when the step may have changed something that is not undone.
    #[must_use]
    pub fn may_have_changed(&self) -> bool {
        match self.state {
            StepState::Done { how: How::Ran | How::Decided, .. }
            | StepState::Undoing(_)
            | StepState::UndoFailed(..) => true,
            // What was done at the first look was not done by this run.
            StepState::Done { how: How::Checked | How::Verified, .. } | StepState::Begun => self.begun,
            // What somebody else made is nothing that this run could take back.
            StepState::Failed(ref fault) => self.begun && fault.code != "foreign",
            StepState::Done { how: How::Looked | How::Skipped, .. } | StepState::Undone | StepState::Void => false,
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

/// A waiver, with who gave it and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaiverRecord {
    /// What is waived, and why.
    pub waiver: Waiver,
    /// `terminal` or `--waive`.
    pub through: String,
    /// Who gave it.
    pub person: Person,
    /// Wall clock, RFC 3339 in UTC.
    pub at: String,
    /// The record of it.
    pub seq: u64,
}

impl WaiverRecord {
    /// The waiver for scripts, reports and programs.
    #[must_use]
    pub fn to_map(&self) -> Map {
        let Found { id, database, object, text } = &self.waiver.found;
        map! {
            "id" => id.as_str(), "database" => database.as_str(), "object" => object.as_str(), "text" => text.as_str(),
            "reason" => self.waiver.reason.as_str(), "who" => format!("{}@{}", self.person.user, self.person.host),
            "through" => self.through.as_str(), "at" => self.at.as_str(),
        }
    }
}

/// The part of a key that a branch of `parallel` adds.
#[must_use]
pub fn branch(number: usize) -> String {
    format!("{BRANCH}{number}")
}

const BRANCH: &str = "branch ";

/// True for the part around the steps of a branch: it is no phase.
/// True when the key ends in such a part.
#[must_use]
pub fn is_branch(key: &[String]) -> bool {
    let number = key.last().and_then(|part| part.strip_prefix(BRANCH));
    number.is_some_and(|number| number.parse::<usize>().is_ok())
}

impl RunState {
    /// The waiver of a finding, if there is one.
    #[must_use]
    pub fn waiver(&self, finding: &Finding) -> Option<&WaiverRecord> {
        let is_it = |found: &Found| finding.is_same(&found.id, &found.database, &found.object);
        self.waivers.iter().find(|record| is_it(&record.waiver.found))
    }

    /// A step's record, if it counts.
    #[must_use]
    pub fn step(&self, key: &[String]) -> Option<&StepRecord> {
        self.steps.get(key).filter(|step| step.state != StepState::Void)
    }

    /// The command that takes a run up again: an answer to a gate if one is waited for, and a place for every
    /// parameter that held a password.
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
        let mut meant: Vec<&Key> = known().filter(|key| key_text(key) == text).collect();
        if meant.is_empty() {
            meant = known().filter(is_meant).collect();
        }
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

    /// As [`RunState::resume_command`], for this run; of a run that is being undone, the command that goes on with
    /// that.
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
}
