//! What a rehearsal asks of the run that it starts, by the environment. No interface for users.

/// Every body and every undo clause runs twice in a row.
pub const TWICE: &str = "PGRUN_TWICE";

/// Phases have no deadlines: the run is being killed again and again.
pub const NO_DEADLINES: &str = "PGRUN_NO_DEADLINES";

/// Under which conditions a run is tried.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Conditions {
    pub(super) twice: bool,
    pub(super) no_deadlines: bool,
}

impl Conditions {
    pub(super) fn from_env() -> Self {
        let is_set = |name| std::env::var_os(name).is_some();
        Self { twice: is_set(TWICE), no_deadlines: is_set(NO_DEADLINES) }
    }
}
