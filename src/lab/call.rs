//! What is special about the call that is being answered: a fault lets it see an old state, or cuts a log short. The
//! actions are plain functions that run on one task; they find it here instead of handing it through every one of them.

use std::sync::Arc;

use super::world::World;

tokio::task_local! {
    static FATE: Fate;
}

/// What a fault does to a call while it is answered.
#[derive(Clone, Default)]
pub(crate) struct Fate {
    /// The state that it sees; it leaves the present one as it is.
    pub(crate) past: Option<Arc<World>>,
    /// The block of a log that it asks for ends in the middle.
    pub(crate) cuts_log: bool,
}

/// Answers a call with this fate.
pub(crate) fn with<T>(fate: Fate, act: impl FnOnce() -> T) -> T {
    FATE.sync_scope(fate, act)
}

/// The state that the present call sees instead of the true one.
pub(crate) fn past() -> Option<Arc<World>> {
    FATE.try_with(|fate| fate.past.clone()).ok().flatten()
}

/// Whether the present call gets a log that is cut.
pub(crate) fn cuts_log() -> bool {
    FATE.try_with(|fate| fate.cuts_log).unwrap_or(false)
}
