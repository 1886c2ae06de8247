//! Crash points: an environment variable ends the process, without any clean-up, right before or after a record. With
//! them a rehearsal proves that a run survives its own death at any place.

use std::{
    collections::HashSet,
    fs::OpenOptions,
    io::Write,
    path::{Path, PathBuf},
};

use super::event::{Event, key_text};

/// The variable. Its value is one of
///
/// - `before:KIND:TEXT` or `after:KIND:TEXT`: right before or after the first record of that kind (`intent`, `done`,
///   `failed`, ..) whose key contains the text is written. `before:done` means after the step's effect.
/// - `each:FILE`: at the first boundary (a side of a record) that the file does not name yet; it is added there first.
///   Resumed again and again, a run dies at every boundary once.
pub const VARIABLE: &str = "PGRUN_CRASH";

/// A crash point, or none.
#[derive(Clone, Debug, Default)]
pub(super) enum CrashPoint {
    #[default]
    Nowhere,
    Once {
        is_before: bool,
        kind: String,
        text: String,
    },
    Each {
        file: PathBuf,
        seen: HashSet<String>,
    },
}

impl CrashPoint {
    /// Reads the variable. A value that cannot be read is none: this is no interface for users.
    pub(super) fn from_env() -> Self {
        std::env::var(VARIABLE).ok().as_deref().and_then(Self::parse).unwrap_or_default()
    }

    fn parse(text: &str) -> Option<Self> {
        if let Some(file) = text.strip_prefix("each:") {
            return Some(Self::Each { file: file.into(), seen: boundaries(Path::new(file)).into_iter().collect() });
        }
        let mut parts = text.splitn(3, ':');
        let is_before = match parts.next()? {
            "before" => true,
            "after" => false,
            _ => return None,
        };
        Some(Self::Once { is_before, kind: parts.next()?.to_owned(), text: parts.next()?.to_owned() })
    }

    /// Ends the process if this is the place.
    pub(super) fn pass(&self, before: bool, event: &Event, key: &[String]) {
        let is_here = match self {
            Self::Nowhere => false,
            Self::Once { is_before, kind, text } => {
                *is_before == before && event.kind() == kind && key_text(key).contains(text)
            }
            // Before its first record a run does not exist.
            Self::Each { .. } if matches!(event, Event::RunStarted(_)) && before => false,
            Self::Each { file, seen } => {
                let side = if before { "before" } else { "after" };
                let boundary = format!("{side} {} {}", event.kind(), key_text(key)).trim_end().to_owned();
                !seen.contains(&boundary) && add(file, &boundary)
            }
        };
        if is_here {
            std::process::abort();
        }
    }
}

/// The boundaries at which a run has died already.
#[must_use]
pub fn boundaries(file: &Path) -> Vec<String> {
    std::fs::read_to_string(file).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// True when the boundary is written down, so that the next process goes past it.
fn add(file: &Path, boundary: &str) -> bool {
    let open = OpenOptions::new().create(true).append(true).open(file);
    open.and_then(|mut file| writeln!(file, "{boundary}")).is_ok()
}
