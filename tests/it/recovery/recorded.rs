//! Journals that the real binary wrote (`recorded/*.jsonl`), and what they mean (`recorded/*.json`). They are on
//! the disks of users: they must load for ever, and mean the same for ever. A change that breaks one of them needs a
//! new format beside the old one, never a new recording. `recorded/record.sh` says how they came to be.

use std::path::{Path, PathBuf};

use pgrun::journal::{PhaseState, RunState, StepState, file, key_text};
use serde_json::{Map, Value as Json, json};

use super::forger;
use crate::pgrun::Pgrun;

/// The recorded journals by name.
fn all() -> Vec<(String, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/recovery/recorded");
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let journals = paths.filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    let mut all: Vec<_> = journals.map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), path)).collect();
    all.sort();
    all
}

/// Everything that a history says.
fn meaning(history: &file::History) -> Json {
    let state = &history.state;
    let step = |key: &Vec<String>| {
        let step = &state.steps[key];
        let mut facts = json!({
            "step": key_text(key), "state": step.state.name(), "attempt": step.attempt, "epoch": step.epoch,
            "since": step.since,
        });
        match &step.state {
            StepState::Done { value, how } => {
                facts["value"] = value.clone();
                facts["how"] = serde_json::to_value(how).unwrap();
            }
            StepState::Failed(fault) | StepState::UndoFailed(_, fault) => {
                facts["code"] = fault.code.clone().into();
                if let Some(thrown) = &fault.thrown {
                    facts["thrown"] = thrown.clone();
                }
            }
            _ => {}
        }
        for (name, holds) in [("begun", step.begun), ("caught", step.caught), ("anew", step.anew)] {
            if holds {
                facts[name] = true.into();
            }
        }
        facts
    };
    let phase = |state| match state {
        PhaseState::Entered => "entered",
        PhaseState::Left => "left",
        PhaseState::Void => "void",
    };
    let phases: Map<String, Json> =
        state.phases.iter().map(|(key, it)| (key_text(key), phase(it.state).into())).collect();
    let gates: Map<String, Json> =
        state.gates.iter().map(|(name, gate)| (name.clone(), json!([gate.text, gate.answer]))).collect();
    json!({
        "status": state.status.name(), "epoch": state.epoch, "records": history.records.len(),
        "torn_bytes": history.torn_bytes, "stopped": state.stopped.as_ref().map(|fault| &fault.code),
        "undoing": state.undoing, "claims": state.claims, "phases": phases, "gates": gates,
        "steps": state.order.iter().map(step).collect::<Vec<_>>(), "head": state.head,
    })
}

/// What stands beside each journal is what it means, to the last step.
#[test]
fn every_recorded_journal_means_what_it_meant() {
    let all = all();
    assert!(all.len() >= 13, "the recorded journals were not found");
    for (name, path) in all {
        let found = meaning(&file::read(&path).unwrap());
        let wanted = std::fs::read_to_string(path.with_extension("json")).unwrap_or_default();
        let wanted: Json = serde_json::from_str(&wanted).unwrap_or_default();
        assert_eq!(found, wanted, "{name} now means\n{}", serde_json::to_string_pretty(&found).unwrap());
    }
}

/// Between them they hold every kind of event, and every place where a run can stand, be it on its way.
#[test]
fn the_recorded_journals_hold_everything_there_is() {
    let mut kinds = std::collections::BTreeSet::new();
    let mut statuses = std::collections::BTreeSet::new();
    for (_, path) in all() {
        let mut state = RunState::default();
        for record in file::read(&path).unwrap().records {
            state.next(&record).unwrap();
            kinds.insert(record.event.kind());
            statuses.insert(state.status.name());
        }
    }
    assert_eq!((kinds.len(), statuses.len()), (23, 8), "{kinds:?} {statuses:?}");
}

/// A line is written today as it was then, byte for byte: a resumed run continues the chain of the old lines.
#[test]
fn every_recorded_line_is_written_as_it_was() {
    for (name, path) in all() {
        let text = std::fs::read_to_string(&path).unwrap();
        let records = file::read(&path).unwrap().records;
        let lines: Vec<String> = records.iter().map(|record| record.encode(&forger::PLAIN).unwrap().0).collect();
        assert!(text.starts_with(&forger::file(&lines)), "{name}");
    }
}

/// The commands that look at a run take each of them, and agree.
#[test]
fn verify_and_show_accept_every_recorded_journal() {
    let pgrun = Pgrun::new();
    for (name, path) in all() {
        let folder = pgrun.home().join("runs").join(&name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::copy(&path, folder.join("journal.jsonl")).unwrap();
        let history = file::read(&path).unwrap();
        let verified = pgrun.pgrun(&["verify", &name]).exit(0).stdout_has("the chain is whole");
        let verified = verified.stdout_has(&format!("; head {}", history.state.head));
        assert_eq!(verified.stdout.contains("torn last line"), history.torn_bytes > 0);
        let shown = pgrun.pgrun(&["show", &name, "--json"]).exit(0).json();
        // No process works on it, so it has died.
        let state = if history.state.status.name() == "running" { "failed" } else { history.state.status.name() };
        assert_eq!((&shown["state"], &shown["head"]), (&state.into(), &history.state.head.clone().into()));
        let of_step = |step: &Json| json!([step["key"], step["state"], step["attempt"]]);
        let steps: Vec<Json> = shown["steps"].as_array().unwrap().iter().map(of_step).collect();
        let step =
            |key: &Vec<String>| json!([key, history.state.steps[key].state.name(), history.state.steps[key].attempt]);
        assert_eq!(steps, history.state.order.iter().map(step).collect::<Vec<_>>());
        pgrun.pgrun(&["show", &name]).exit(0);
    }
    assert_eq!(pgrun.pgrun(&["runs", "--json"]).exit(0).json()["runs"].as_array().unwrap().len(), all().len());
}

/// They stand in a public place: no password, no path and no name of the machine that recorded them.
#[test]
fn the_recorded_journals_tell_nothing_about_their_place() {
    for (name, path) in all() {
        let text = std::fs::read_to_string(path).unwrap();
        for word in ["of-nobody", "://", "/tmp", "/home", "/root", "/var", "/usr"] {
            assert!(!text.contains(word), "{name} contains {word}");
        }
        assert!(text.lines().next().unwrap().contains(r#""host":"dba""#), "{name}");
    }
}
