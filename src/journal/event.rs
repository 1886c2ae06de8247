//! The events of a run: the only types that pgrun writes to disk for recovery. Their lines are in `record.rs`.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value as Json;

use crate::base::{Code, Error, Finding, Verdict};

/// The identity of a step or phase: the enclosing phases, then its name; a step in a loop ends in `name [key]`.
pub type Key = Vec<String>;

/// A key as people read it: `cutover / window / close BLUE`.
#[must_use]
pub fn key_text(key: &[String]) -> String {
    key.join(" / ")
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "body", rename_all = "snake_case")]
pub enum Event {
    /// The first line: what runs, with which texts and parameters.
    RunStarted(RunStarted),
    /// Another process took the run up again; the epoch grows by one.
    Resumed(Person),
    /// The run may write to this target; no other run may.
    Claimed {
        /// An ARN, or address and database.
        target: String,
    },
    /// A phase was entered.
    Entered,
    /// A phase ended well.
    Left,
    /// A phase that failed was undone: none of its records counts any more.
    Voided {
        /// Why it was undone.
        cause: Fault,
    },
    /// The step's body is about to change something. A body that only reads has no intent: it may simply run again.
    Intent,
    /// The step's body is about to change something by a transaction that leaves a row about itself: a resumed run asks
    /// the target whether it took effect. An `intent` of the same attempt says that more than that is to be changed.
    Marked,
    /// The step has its value.
    Done {
        /// What the step gave.
        value: Json,
        /// How pgrun came to know.
        how: How,
        /// How long the body took.
        ms: u64,
    },
    /// The step's body failed.
    Failed {
        /// The error as facts.
        error: Fault,
        /// How long the body took.
        ms: u64,
    },
    /// The script caught the step's failure and went on: from now on a replay fails here again without running the
    /// body.
    Caught,
    /// The step's undo clause is about to run.
    UndoIntent,
    /// The step is undone.
    UndoDone,
    /// The undo clause failed; a person has to look.
    UndoFailed {
        /// The error as facts.
        error: Fault,
    },
    /// A gate was shown.
    Asked {
        /// The gate's name.
        gate: String,
        /// The question.
        text: String,
        /// SHA-256 of everything that was shown.
        shown: String,
    },
    /// A gate was answered.
    Answered {
        /// The gate's name.
        gate: String,
        /// `yes`, `no` or the text that was typed.
        value: String,
        /// How the answer came: `terminal`, `--answer` or `--yes`.
        through: String,
        /// Who answered, and from where.
        person: Person,
    },
    /// Findings that would stop the run were waived.
    Waived {
        /// Each with its reason.
        waivers: Vec<Waiver>,
        /// How the reason came: `terminal` or `--waive`.
        through: String,
        /// Who gave it, and from where.
        person: Person,
    },
    /// Findings that warn were shown.
    Shown {
        /// All of them.
        findings: Vec<Found>,
    },
    /// A fact worth keeping, for example that a torn line was cut off.
    Noted {
        /// The fact.
        text: String,
    },
    /// The process stopped before the runbook's end.
    Stopped {
        /// `paused`, `unknown` or `failed`.
        state: String,
        /// Why.
        error: Fault,
    },
    /// The runbook reached its end.
    Finished,
    /// A person decided what an unknown or failed step, or a failed undo, counts as.
    Decided {
        /// What it counts as.
        decision: Decision,
        /// Why, in the person's words.
        why: String,
        /// Who decided, and from where.
        person: Person,
    },
    /// A person ended the run for good. What it made stays.
    Abandoned {
        /// Why, in the person's words.
        why: String,
        /// Who, and from where.
        person: Person,
    },
    /// A process began to undo the run, newest step first; the epoch grows by one.
    UndoStarted {
        /// The last step to be undone; none for all of them.
        to: Option<Key>,
        /// Who, and from where.
        person: Person,
    },
    /// Everything that was to be undone is.
    UndoFinished,
    /// The run goes on with other texts, which replay over its journal.
    Adopted {
        /// SHA-256 of the text of every source, by its canonical name.
        sources: BTreeMap<String, String>,
        /// Who, and from where.
        person: Person,
    },
}

/// What a step counts as from now on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "as", content = "value", rename_all = "snake_case")]
pub enum Decision {
    /// It did not take effect: its body runs again. A failed undo is tried again.
    Retry,
    /// It is done, with this value. A failed undo is done, by hand.
    Done(Json),
    /// It is not needed: the script goes on with `()`.
    Skip,
    /// Its undo clause runs first, then it begins anew.
    Undo,
}

impl Decision {
    /// The word on the command line.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Done(_) => "done",
            Self::Skip => "skip",
            Self::Undo => "undo",
        }
    }
}

impl Event {
    /// True where a process takes the run up: the epoch grows by one.
    #[must_use]
    pub fn begins_epoch(&self) -> bool {
        matches!(self, Self::RunStarted(_) | Self::Resumed(_) | Self::UndoStarted { .. })
    }

    /// The word in the journal's `kind`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::RunStarted(_) => "run_started",
            Self::Resumed(_) => "resumed",
            Self::Claimed { .. } => "claimed",
            Self::Entered => "entered",
            Self::Left => "left",
            Self::Voided { .. } => "voided",
            Self::Intent => "intent",
            Self::Marked => "marked",
            Self::Done { .. } => "done",
            Self::Failed { .. } => "failed",
            Self::Caught => "caught",
            Self::UndoIntent => "undo_intent",
            Self::UndoDone => "undo_done",
            Self::UndoFailed { .. } => "undo_failed",
            Self::Asked { .. } => "asked",
            Self::Answered { .. } => "answered",
            Self::Waived { .. } => "waived",
            Self::Shown { .. } => "shown",
            Self::Noted { .. } => "noted",
            Self::Stopped { .. } => "stopped",
            Self::Finished => "finished",
            Self::Decided { .. } => "decided",
            Self::Abandoned { .. } => "abandoned",
            Self::UndoStarted { .. } => "undo_started",
            Self::UndoFinished => "undo_finished",
            Self::Adopted { .. } => "adopted",
        }
    }
}

/// A finding of an inventory, as far as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The check.
    pub id: String,
    /// The database; empty for what is about the whole server or account.
    pub database: String,
    /// What it is about.
    pub object: String,
    /// What it means.
    pub text: String,
}

/// A finding that may stay, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiver {
    /// The finding.
    #[serde(flatten)]
    pub found: Found,
    /// Why, in the person's words.
    pub reason: String,
}

impl From<&Finding> for Found {
    fn from(finding: &Finding) -> Self {
        let (id, database) = (finding.id.clone(), finding.database.clone());
        Self { id, database, object: finding.object.clone(), text: finding.text.clone() }
    }
}

impl Found {
    /// The finding that was waived: one that stops.
    #[must_use]
    pub fn to_finding(&self) -> Finding {
        let Self { id, database, object, text } = self.clone();
        Finding { id, verdict: Verdict::Stop, database, object, text, hint: String::new() }
    }
}

/// How pgrun knows that a step is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Its body ran to the end.
    Ran,
    /// Its body ran to the end and changed nothing, so it needed no intent.
    Looked,
    /// Its `check` clause found the goal reached before the body ran.
    Checked,
    /// Its `verify` clause found the goal reached after an unknown outcome.
    Verified,
    /// A person said so.
    Decided,
    /// A person said that it is not needed.
    Skipped,
}

/// The first event's body.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunStarted {
    /// The run's id.
    pub run: String,
    /// The runbook's path as it was given.
    pub runbook: String,
    /// The same, from the root: `--adopt` is given in other folders too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The runbook's name among the sources.
    pub main: String,
    /// SHA-256 of the text of every source, by its canonical name.
    pub sources: BTreeMap<String, String>,
    /// Parameters as given and defaulted; secrets are references or absent.
    pub params: Json,
    /// Parameters that hold a secret; they are asked for again on resume.
    pub secret_params: Vec<String>,
    /// The run that this one goes on from: its claims pass over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continues: Option<String>,
    /// pgrun's version.
    pub pgrun: String,
    /// Who started it.
    pub person: Person,
}

/// A person at a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// The operating system's user.
    pub user: String,
    /// The machine's name.
    pub host: String,
    /// The process.
    pub pid: u32,
}

impl Person {
    /// Whoever runs this process.
    #[must_use]
    pub fn here() -> Self {
        let uid = nix::unistd::Uid::current();
        let user = nix::unistd::User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name);
        let host = nix::unistd::gethostname().map_or_else(|_| "?".into(), |name| name.to_string_lossy().into_owned());
        Self { user, host, pid: std::process::id() }
    }
}

/// An error as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// The code's name.
    pub code: String,
    /// The sentence.
    pub message: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Further facts such as `sqlstate`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
    /// True when the action may have taken effect.
    #[serde(default)]
    pub unknown: bool,
    /// Where in the step's body it was raised: source and line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<(String, i64)>,
    /// What the script's `catch` got, where it was not pgrun's own error: a replay raises the same value.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub thrown: Option<Json>,
}

/// What stands there counts, also `null`: a script may throw `()`.
fn present<'de, D: Deserializer<'de>>(json: D) -> Result<Option<Json>, D::Error> {
    Json::deserialize(json).map(Some)
}

impl From<&Error> for Fault {
    fn from(error: &Error) -> Self {
        Self {
            code: error.code().name().into(),
            message: error.message().into(),
            hint: error.hint_text().map(Into::into),
            details: error.details().iter().map(|(name, value)| (name.clone().into_owned(), value.clone())).collect(),
            unknown: error.is_unknown(),
            place: None,
            thrown: None,
        }
    }
}

impl Fault {
    /// What stands in the place of an unknown outcome once a person has said that the step is to run again.
    #[must_use]
    pub fn decided() -> Self {
        Self::from(&Error::new(Code::Cancelled, "a person decided that it is to run again"))
    }

    /// The error again, for a replay.
    #[must_use]
    pub fn to_error(&self) -> Error {
        let code = Code::named(&self.code).unwrap_or(Code::ScriptError);
        let mut error = Error::new(code, self.message.clone());
        if let Some(hint) = &self.hint {
            error = error.hint(hint.clone());
        }
        for (name, value) in &self.details {
            error = error.detail(name.clone(), value.clone());
        }
        if self.unknown { error.unknown() } else { error }
    }
}
