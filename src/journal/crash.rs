//! Crash points: an environment variable ends the process, without any clean-up, right before or after a record. With
//! them a rehearsal proves that a run survives its own death at a place of its choice.

use super::event::{Event, key_text};

/// The variable. Its value is `before:KIND:TEXT` or `after:KIND:TEXT`: right before or after the first record of that
/// kind (`intent`, `done`, `failed`, ..) whose key contains the text is written. `before:done` means after the step's
/// effect.
pub const VARIABLE: &str = "PGRUN_CRASH";

/// A crash point, or none.
#[derive(Clone, Debug, Default)]
pub(super) struct CrashPoint(Option<(bool, String, String)>);

impl CrashPoint {
    /// Reads the variable. A value that cannot be read is none: this is no interface for users.
    pub(super) fn from_env() -> Self {
        Self(std::env::var(VARIABLE).ok().as_deref().and_then(Self::parse))
    }

    fn parse(text: &str) -> Option<(bool, String, String)> {
        let mut parts = text.splitn(3, ':');
        let is_before = match parts.next()? {
            "before" => true,
            "after" => false,
            _ => return None,
        };
        Some((is_before, parts.next()?.to_owned(), parts.next()?.to_owned()))
    }

    /// Ends the process if this is the place.
    pub(super) fn pass(&self, is_before: bool, event: &Event, key: &[String]) {
        let Some((before, kind, text)) = &self.0 else { return };
        if *before == is_before && event.kind() == *kind && key_text(key).contains(text) {
            std::process::abort();
        }
    }
}
