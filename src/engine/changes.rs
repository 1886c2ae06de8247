//! A runbook that was changed after its run began: what changed, and whether the changed text replays over the journal.

use std::{fmt::Write, path::Path, sync::Arc};

use similar::TextDiff;

use super::{
    build,
    check::{self, Loaded},
    diagnostic::Diagnosis,
    params::Given,
    run::{self, Settings},
};
use crate::{
    api::{Purpose, back},
    base::{Code, Result},
    fail,
    journal::{Run, sources::Sources},
};

/// Lines around a change.
const AROUND: usize = 2;
/// Lines shown of all changes; more do not help at three in the morning.
const MOST_LINES: usize = 60;

/// The runbook as its files are now.
pub(super) struct Now {
    pub(super) loaded: Loaded,
    /// What differs from the texts of the run, as `diff -u` shows it; empty for nothing.
    pub(super) diff: String,
}

/// Reads the runbook's files anew.
pub(super) fn look(settings: &Settings, run: &Run) -> Result<Now> {
    let started = run.look(|state| state.started.clone());
    let path = started.map(|started| started.path.unwrap_or(started.runbook)).unwrap_or_default();
    let loaded = check::load(Path::new(&path), &settings.checking_host())?;
    let diff = diff(run.sources(), &loaded.sources);
    Ok(Now { loaded, diff })
}

fn diff(before: &Sources, now: &Sources) -> String {
    let names: std::collections::BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let mut all = String::new();
    for name in names {
        let text = |sources: &Sources| sources.get(name).cloned().unwrap_or_default();
        let (old, new) = (text(before), text(now));
        if old != new {
            let (old_name, new_name) = (format!("{name} (the run's)"), format!("{name} (now)"));
            let diff = TextDiff::from_lines(&old, &new);
            let _ = write!(all, "{}", diff.unified_diff().context_radius(AROUND).header(&old_name, &new_name));
        }
    }
    let lines: Vec<&str> = all.lines().collect();
    if lines.len() <= MOST_LINES {
        return all;
    }
    format!("{}\n.. {} more lines", lines[..MOST_LINES].join("\n"), lines.len() - MOST_LINES)
}

/// Follows the changed text over the run's journal: every step that counts must be met again.
///
/// # Errors
/// `journal_mismatch` naming what the journal has and what the script asks for instead.
pub(super) fn prove(settings: &Settings, run: &Run, now: &Loaded, given: &Given) -> Result<(), Diagnosis> {
    let started = run.look(|state| state.started.as_ref().map(|started| started.main.clone()));
    if started.as_ref() != Some(&now.main) {
        let was = started.unwrap_or_default();
        return Err(fail!(Code::JournalMismatch, "the run's runbook is `{was}`, this one is `{}`", now.main).into());
    }
    let host = settings.host(Some(run.clone()), given.script.clone(), Purpose::Adoption);
    run::on_script_thread(|| {
        let engine = build::engine(&host, Arc::new(now.sources.clone()));
        run::follow(&engine, &now.main, &now.sources)?;
        Ok(back::require_same_order(&host)?)
    })
}

#[cfg(test)]
mod tests {
    use super::{Sources, diff};

    #[test]
    fn a_change_is_shown_with_its_file() {
        let sources = |text: &str| Sources::from([("book.rhai".to_owned(), text.to_owned())]);
        assert_eq!(diff(&sources("a\n"), &sources("a\n")), "");
        let shown = diff(&sources("a\nb\n"), &sources("a\nc\n"));
        assert_eq!(shown, "--- book.rhai (the run's)\n+++ book.rhai (now)\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n");
        let many: String = "line\n".repeat(200);
        assert!(diff(&sources(""), &sources(&many)).ends_with("more lines"));
    }
}
