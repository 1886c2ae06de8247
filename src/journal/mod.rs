//! The journal of a run: what was begun, what came of it, and what a resumed run may believe.
//!
//! ```text
//! runs/ID/journal.jsonl   one line per event, hash-chained, synced          file.rs, record.rs
//! runs/ID/sources/SHA     the runbook and every module, as the run began    sources.rs
//! runs/ID/lock            held while a process works on the run             lock.rs
//! claims/SHA.json         the run that may write to a target                lock.rs
//! runs/.removed-..        a run that is being removed                       prune.rs
//! ```
//!
//! `moves.rs` is a pure state machine over the types of `state.rs`: a live run and a recovery call the same
//! [`RunState::next`], so whatever a live run may write a recovery can read, and nothing else.

pub mod crash;
pub mod event;
pub mod file;
pub mod lock;
mod moves;
pub mod prune;
pub mod record;
pub mod run;
pub mod sources;
pub mod state;

pub use event::{Decision, Event, Fault, Found, How, Key, Waiver, key_text};
pub use file::{Journal, JournalFile};
pub use prune::{OldRun, Removal, Survey};
pub use record::Record;
pub use run::{Run, RunFolder, Wish};
pub use state::{Gate, Means, PhaseState, RunState, Status, StepRecord, StepState, WaiverRecord, branch, is_branch};
