//! What a run tells people and asks them. The command line implements it; tests answer through it.

use std::time::Duration;

use crate::{
    base::{Error, Value},
    journal::How,
};

/// Something worth telling while a run goes on. `depth` counts the enclosing phases.
#[derive(Clone, Debug)]
pub enum Notice {
    /// A phase begins.
    Phase {
        /// Enclosing phases.
        depth: usize,
        /// Its name.
        name: String,
    },
    /// A phase ends.
    PhaseLeft {
        /// Enclosing phases.
        depth: usize,
    },
    /// A step's body begins.
    Begun {
        /// Enclosing phases.
        depth: usize,
        /// The step's name, with its key in a loop.
        name: String,
    },
    /// A step has its value.
    Done {
        /// Enclosing phases.
        depth: usize,
        /// The step's name.
        name: String,
        /// How pgrun came to know; none when an earlier process had done it.
        how: Option<How>,
        /// How long it took.
        took: Duration,
    },
    /// A step failed.
    Failed {
        /// Enclosing phases.
        depth: usize,
        /// The step's name.
        name: String,
        /// Why.
        error: Error,
    },
    /// An undo clause begins.
    Undoing {
        /// Enclosing phases.
        depth: usize,
        /// The step's name.
        name: String,
    },
    /// A wait goes on: what for, and what was seen last.
    Waiting {
        /// What is waited for.
        what: String,
        /// What was seen last.
        seen: String,
    },
    /// `say` and `table`: data for people, written to stdout.
    Said(String),
    /// A table for people.
    Table(Vec<Vec<String>>),
    /// A warning: NOTICE and WARNING of a server, a resumed run's remarks.
    Warned(String),
}

/// A gate that a person has to open.
#[derive(Clone, Debug)]
pub struct Question {
    /// The gate's name, for `--answer GATE=VALUE`.
    pub gate: String,
    /// The question.
    pub text: String,
    /// What is shown with it.
    pub shows: Option<Value>,
    /// What opens it.
    pub wanted: Wanted,
}

/// What opens a gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A plain yes.
    Yes,
    /// This very text.
    Word(String),
    /// A pause: anything but no goes on.
    Go,
    /// A yes, then the reason for it.
    Reason,
}

impl Wanted {
    /// What can be given beforehand by `--answer GATE=..`.
    #[must_use]
    pub fn answer(&self) -> &str {
        if let Self::Word(word) = self { word } else { "yes" }
    }
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Go on; the text is what was typed.
    Yes(String),
    /// Do not go on.
    No,
    /// An answer given beforehand that fits the gate in no way.
    Unfit(String),
    /// Nobody is there to answer.
    Nobody,
}

/// The person in charge, or what stands for one.
pub trait Operator: Send + Sync {
    /// Tells; never blocks for long.
    fn tell(&self, notice: Notice);

    /// Asks and waits for the answer.
    fn ask(&self, question: &Question) -> Answer;
}
