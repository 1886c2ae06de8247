//! From a file to a finished run: Rhai configured, runbooks found, checked, run, resumed, and their errors explained.

pub mod build;
mod calls;
mod changes;
pub mod check;
pub mod diagnostic;
pub mod library;
pub mod params;
mod passwords;
mod rules;
pub mod run;
mod scan;
pub mod undo;

pub use diagnostic::Diagnosis;
pub use run::{Begin, Decisions, Outcome, Resume, Settings, abandon, resume, start};
pub use undo::{Undo, undo};
