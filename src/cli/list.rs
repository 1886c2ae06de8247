//! `pgrun runs`, `show` and `verify`: looking at runs without touching them.

use std::fmt::Write;

use serde_json::{Value as Json, json};

use super::{args, command_in, ui::Ui};
use crate::{
    base::{Config, Result, Value, prose, span},
    journal::{Fault, RunFolder, RunState, Status, StepRecord, StepState, key_text},
};

/// `pgrun runs`
pub(super) fn runs(ui: &Ui, config: &Config, args: &args::RunsArgs) -> Result<()> {
    let folder = RunFolder::new(&config.home);
    let mut rows = vec![];
    for id in folder.ids()? {
        let row = match folder.history(&id) {
            Ok(history) => {
                let started = history.state.started.as_ref();
                let runbook = started.map_or_else(String::new, |started| started.runbook.clone());
                (id.clone(), word(&folder, &id, &history.state), history.state.started_at.clone(), runbook)
            }
            Err(_) => (id, "damaged", String::new(), String::new()),
        };
        rows.push(row);
    }
    if args.json {
        let rows: Vec<Json> = rows
            .iter()
            .map(|(run, state, since, book)| json!({ "run": run, "state": state, "since": since, "runbook": book }))
            .collect();
        ui.print_json(&json!({ "schema": 1, "runs": rows }));
    } else if rows.is_empty() {
        ui.remark("there are no runs yet");
    } else {
        let mut lines = vec![vec!["run".into(), "state".into(), "since".into(), "runbook".into()]];
        lines.extend(rows.into_iter().map(|(run, state, since, runbook)| vec![run, state.to_owned(), since, runbook]));
        ui.print(&Ui::table(&lines));
    }
    Ok(())
}

/// `pgrun show RUN`
pub(super) fn show(ui: &Ui, config: &Config, args: &args::ShowArgs) -> Result<()> {
    let folder = RunFolder::new(&config.home);
    let id = folder.find(&args.run)?;
    let history = folder.history(&id)?;
    let state = &history.state;
    let runbook = state.started.as_ref().map_or_else(String::new, |started| started.runbook.clone());
    let state_word = word(&folder, &id, state);
    let waiting = waiting(state);
    if args.json {
        let steps: Vec<Json> = steps(state)
            .map(|(key, step)| {
                json!({
                    "key": key, "state": step.state.name(), "attempt": step.attempt, "ms": step.ms,
                    "report": report(step),
                })
            })
            .collect();
        let waivers: Vec<Json> = state.waivers.iter().map(|waiver| Value::Map(waiver.to_map()).to_json()).collect();
        ui.print_json(&json!({
            "schema": 1, "run": id, "runbook": runbook, "state": state_word, "waiting": waiting, "steps": steps,
            "waivers": waivers, "head": state.head,
        }));
        return Ok(());
    }
    let mut out = format!("{id}  {runbook}  {state_word}\n\n");
    for (key, step) in steps(state) {
        let took = step.ms.map_or_else(String::new, |ms| span::duration_text(std::time::Duration::from_millis(ms)));
        let _ = writeln!(out, "  {:11} {}  {took}", step.state.name(), key_text(key));
        if let StepState::Failed(fault) | StepState::UndoFailed(_, fault) = &step.state {
            let _ = writeln!(out, "              {}", fault.message);
        }
        if let Some(report) = report(step) {
            let _ = writeln!(out, "              {report}");
        }
    }
    if !state.waivers.is_empty() {
        out.push_str("\nwaived:\n");
    }
    for record in &state.waivers {
        let waiver = &record.waiver;
        let (found, person) = (&waiver.found, &record.person);
        let place = if found.database.is_empty() { String::new() } else { format!(" in {}", found.database) };
        let _ = writeln!(out, "  {}  {}{place}: {}", found.id, found.object, found.text);
        let _ = writeln!(
            out,
            "      {} ({}@{}, {}, {})",
            waiver.reason, person.user, person.host, record.at, record.through
        );
    }
    let _ = writeln!(out, "\nhead {}", state.head);
    if let Some(text) = waiting.get("command").and_then(Json::as_str) {
        let _ = writeln!(out, "continue: {text}");
    }
    ui.print(&out);
    Ok(())
}

/// `pgrun verify RUN`
pub(super) fn verify(ui: &Ui, config: &Config, args: &args::VerifyArgs) -> Result<()> {
    let folder = RunFolder::new(&config.home);
    let id = folder.find(&args.run)?;
    let history = folder.history(&id)?;
    let records = prose::count(history.records.len(), "record");
    let torn = if history.torn_bytes > 0 { ", and a torn last line that `pgrun resume` cuts off" } else { "" };
    ui.print(&format!("{id}: {records}, the chain is whole{torn}; head {}\n", history.state.head));
    Ok(())
}

fn steps(state: &RunState) -> impl Iterator<Item = (&Vec<String>, &StepRecord)> {
    state.order.iter().filter_map(|key| state.steps.get_key_value(key))
}

/// What a step has to report: the text `report` in its value, such as an outage that it measured.
fn report(step: &StepRecord) -> Option<&str> {
    let StepState::Done { value, .. } = &step.state else { return None };
    value.get("report")?.as_str()
}

/// A run that says `running` and that no process holds has died: it can be resumed.
fn word(folder: &RunFolder, id: &str, state: &RunState) -> &'static str {
    match state.status {
        Status::Running if !folder.is_locked(id) => "failed",
        status => status.name(),
    }
}

/// What a stopped run waits for.
fn waiting(state: &RunState) -> Json {
    if state.status.is_over() {
        return Json::Null;
    }
    let open = state.gates.iter().find(|(_, gate)| gate.answer.is_none());
    let stopped = state.stopped.as_ref();
    let waits = |fault: &&Fault| ["needs_answer", "needs_waiver", "step_unknown"].contains(&fault.code.as_str());
    let hinted = stopped.filter(waits).and_then(|fault| command_in(fault.hint.as_deref()?));
    let text = open.map(|(_, gate)| gate.text.clone()).or_else(|| stopped.map(|fault| fault.message.clone()));
    let command = hinted.unwrap_or_else(|| state.command(None));
    json!({ "gate": open.map(|(name, _)| name), "text": text, "command": command })
}
