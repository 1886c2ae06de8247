//! `pgrun FILE`, `resume`, `check`, and a runbook's `--help`.

use std::{collections::BTreeMap, fmt::Write, path::Path, sync::Arc};

use serde_json::json;

use super::{args, command_in, exit, has_terminal, signal, ui::Ui};
use crate::{
    api::{self, Stop, Waive},
    base::{Code, Config, Error, Result, prose},
    engine::{
        self, Begin, Decisions, Diagnosis, Outcome, Resume, Settings, Undo, check as checking,
        params::Values,
        run::{self, Refusal},
    },
    fail,
    journal::{Decision, RunFolder, Status, sources::Sources},
};

/// `pgrun FILE.rhai`
pub(super) fn run(ui: &Ui, config: &Config, file: &Path, args: &args::RunArgs) -> u8 {
    let mut values = Values::default();
    let read = || -> Result<()> {
        for set in &args.set {
            values.set(set)?;
        }
        args.params.as_deref().map_or(Ok(()), |params| values.read_file(params))
    };
    if let Err(error) = { read }() {
        return exit::of(ui, Err(error));
    }
    let begin = Begin { values, id: args.run_id.clone(), continues: args.continues.clone() };
    with_settings(ui, config, &args.gates, &args.waive, |settings| run::start(settings, file, begin))
}

/// `pgrun resume RUN`
pub(super) fn resume(ui: &Ui, config: &Config, args: &args::ResumeArgs) -> u8 {
    let read = || Ok(Resume { values: values(&args.set)?, decisions: decisions(&args.decide)?, adopt: args.adopt });
    match { read }() {
        Ok(resume) => {
            with_settings(ui, config, &args.gates, &args.waive, |settings| run::resume(settings, &args.run, &resume))
        }
        Err(error) => exit::of(ui, Err(error)),
    }
}

/// `pgrun undo RUN`
pub(super) fn undo(ui: &Ui, config: &Config, args: &args::UndoArgs) -> u8 {
    let read = || {
        let is_undone = RunFolder::new(&config.home).is_undone(&args.run)?;
        let undo = Undo { values: values(&args.set)?, decisions: decisions(&args.decide)?, to: args.to.clone() };
        Ok((is_undone, undo))
    };
    match { read }() {
        Ok((true, _)) => {
            ui.remark(&format!("the run {} is undone already", args.run));
            exit::DONE
        }
        Ok((false, undo)) => {
            let none = args::WaiveArgs::default();
            with_settings(ui, config, &args.gates, &none, |settings| engine::undo(settings, &args.run, &undo))
        }
        Err(error) => exit::of(ui, Err(error)),
    }
}

/// `pgrun abandon RUN --why ..`
pub(super) fn abandon(ui: &Ui, config: &Config, args: &args::AbandonArgs) -> u8 {
    if args.why.trim().is_empty() {
        return exit::of(ui, Err(fail!(Code::Usage, "giving a run up needs its reason: --why \"..\"")));
    }
    let gates = args::GateArgs { answer: vec![], yes: false, non_interactive: true };
    let none = args::WaiveArgs::default();
    with_settings(ui, config, &gates, &none, |settings| Ok(run::abandon(settings, &args.run, &args.why)?))
}

fn values(sets: &[String]) -> Result<Values> {
    let mut values = Values::default();
    sets.iter().try_for_each(|set| values.set(set))?;
    Ok(values)
}

fn decisions(given: &args::DecideArgs) -> Result<Decisions> {
    let about = given.decide.iter().map(|given| decision(given)).collect::<Result<_>>()?;
    Ok(Decisions { about, why: given.why.clone() })
}

/// `STEP=retry|done|done:JSON|skip|undo`; a step's name may hold `=` itself.
fn decision(given: &str) -> Result<(String, Decision)> {
    let wanted =
        || fail!(Code::Usage, "got `--decide {given}`, wanted `--decide 'STEP=retry|done|done:JSON|skip|undo'`");
    let word = |text: &str| match text.split_once(':') {
        None => match text {
            "retry" => Some(Ok(Decision::Retry)),
            "done" => Some(Ok(Decision::Done(serde_json::Value::Null))),
            "skip" => Some(Ok(Decision::Skip)),
            "undo" => Some(Ok(Decision::Undo)),
            _ => None,
        },
        Some(("done", json)) => Some(
            serde_json::from_str(json)
                .map(Decision::Done)
                .map_err(|error| fail!(Code::Usage, "got `done:{json}`, wanted a step's value as JSON: {error}")),
        ),
        Some(_) => None,
    };
    // From the right: a step's name may look like a decision itself.
    let splits = given.rmatch_indices('=').map(|(at, _)| (&given[..at], &given[at + 1..]));
    let read: Vec<_> = splits.filter_map(|(step, rest)| word(rest).map(|decision| (step, decision))).collect();
    let best = read.iter().find(|(_, decision)| decision.is_ok()).or(read.first());
    let (step, decision) = best.ok_or_else(wanted)?;
    Ok(((*step).to_owned(), decision.clone()?))
}

fn with_settings(
    ui: &Ui,
    config: &Config,
    gates: &args::GateArgs,
    waive: &args::WaiveArgs,
    work: impl FnOnce(&Settings) -> Result<Outcome, Refusal> + Send,
) -> u8 {
    let read = || Ok((answers(&gates.answer)?, waivers(waive)?));
    let (answers, waivers) = match { read }() {
        Ok(read) => read,
        Err(error) => return exit::of(ui, Err(error)),
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return exit::of(ui, Err(error)),
    };
    let stop = Stop::default();
    signal::listen(runtime.handle(), &stop, ui);
    let ui = ui.for_run(!gates.non_interactive && has_terminal(), &stop);
    let settings = Settings {
        config: config.clone(),
        runtime: runtime.handle().clone(),
        redactor: ui.redactor().clone(),
        operator: Arc::new(ui.clone()),
        stop: stop.clone(),
        answers,
        waivers,
        yes: gates.yes,
        aws: crate::aws::Settings::default(),
        stage: None,
    };
    let code = match work(&settings) {
        Ok(outcome) => conclude(&ui, &stop, &outcome),
        Err(Refusal::Error(error)) => exit::of(&ui, Err(error)),
        Err(Refusal::Diagnosis(diagnosis)) => {
            ui.error(&diagnosis);
            let hint = diagnosis.error.hint_text().filter(|_| diagnosis.error.code() == Code::NeedsAnswer);
            if let Some(command) = hint.and_then(command_in) {
                ui.remark(&command);
            }
            exit::code(&diagnosis.error, stop.signal())
        }
        Err(Refusal::Findings(findings, sources)) => {
            show_findings(&ui, &findings, &sources);
            exit::USAGE
        }
    };
    // Connections that are still closing must not keep a finished run.
    runtime.shutdown_background();
    code
}

/// A runtime for one command.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| fail!(Code::Internal, "the runtime cannot be started: {error}"))
}

fn conclude(ui: &Ui, stop: &Stop, outcome: &Outcome) -> u8 {
    let Some(failure) = &outcome.failure else {
        return match outcome.status {
            Status::Paused => {
                ui.stopped(outcome.status, &outcome.head, &outcome.command);
                exit::PAUSED
            }
            status => {
                ui.finished(status, &outcome.run, &outcome.head);
                exit::DONE
            }
        };
    };
    let exit = exit::code(&failure.error, stop.signal());
    ui.error(failure);
    if outcome.status == Status::Done {
        return exit;
    }
    let command = match failure.error.code() {
        Code::NeedsAnswer => failure.error.hint_text().map(str::to_owned),
        Code::NeedsWaiver | Code::StepUnknown | Code::UndoFailed if outcome.status != Status::Undoing => {
            failure.error.hint_text().and_then(command_in)
        }
        _ => None,
    };
    ui.stopped(outcome.status, &outcome.head, command.as_deref().unwrap_or(&outcome.command));
    exit
}

fn answers(given: &[String]) -> Result<BTreeMap<String, String>> {
    let pair = |text: &String| {
        // Names of gates are sentences; values are short words.
        text.rsplit_once('=')
            .map(|(gate, value)| (gate.to_owned(), value.to_owned()))
            .ok_or_else(|| fail!(Code::Usage, "got `--answer {text}`, wanted `--answer GATE=VALUE`"))
    };
    given.iter().map(pair).collect()
}

/// `pgrun check FILE..`
pub(super) fn check(ui: &Ui, config: &Config, args: &args::CheckArgs) -> u8 {
    let result = load_all(ui, config, &args.files);
    let loaded = match result {
        Ok(loaded) => loaded,
        Err(error) => return exit::of(ui, Err(error)),
    };
    let count: usize = loaded.iter().map(|loaded| loaded.findings.len()).sum();
    if args.json {
        let findings: Vec<_> = loaded.iter().flat_map(|loaded| &loaded.findings).map(finding_json).collect();
        ui.print_json(&json!({ "schema": 1, "findings": findings }));
    } else {
        for loaded in &loaded {
            show_findings(ui, &loaded.findings, &loaded.sources);
        }
        let files = prose::count(args.files.len(), "runbook");
        match count {
            0 => ui.print(&format!("{files}: no mistakes found\n")),
            _ => ui.remark(&format!("{files}: {} found", prose::count(count, "mistake"))),
        }
    }
    if count == 0 { exit::DONE } else { exit::USAGE }
}

/// The waivers that were given.
pub(super) fn waivers(given: &args::WaiveArgs) -> Result<Vec<Waive>> {
    given.waive.iter().map(|text| Waive::parse(text)).collect()
}

/// A waiver that can fit nothing is a mistake, found before anything is begun.
pub(super) fn require_waivers(ui: &Ui, config: &Config, file: &Path, given: &args::WaiveArgs) -> Result<()> {
    let given = waivers(given)?;
    if given.is_empty() {
        return Ok(());
    }
    let loaded = load_all(ui, config, &[file.to_owned()])?;
    let ids = loaded.into_iter().flat_map(|loaded| loaded.finding_ids).collect();
    api::waivers::require_known(&given, &ids)
}

fn load_all(ui: &Ui, config: &Config, files: &[std::path::PathBuf]) -> Result<Vec<checking::Loaded>> {
    let runtime = runtime()?;
    let settings = Settings {
        config: config.clone(),
        runtime: runtime.handle().clone(),
        redactor: ui.redactor().clone(),
        operator: Arc::new(ui.clone()),
        stop: Stop::default(),
        answers: BTreeMap::new(),
        waivers: vec![],
        yes: false,
        aws: crate::aws::Settings::default(),
        stage: None,
    };
    files.iter().map(|file| checking::load(file, &settings.checking_host())).collect()
}

/// `pgrun FILE.rhai --help`
pub(super) fn help(ui: &Ui, file: &Path) -> Result<()> {
    let config = Config::from_env()?;
    let loaded = load_all(ui, &config, &[file.to_owned()])?;
    let Some(loaded) = loaded.first() else { return Ok(()) };
    if let Some(finding) = loaded.findings.first() {
        show_findings(ui, std::slice::from_ref(finding), &loaded.sources);
        return Err(Error::new(Code::CheckFailed, "the runbook has mistakes"));
    }
    let mut out = format!("{}\n\n", loaded.summary);
    if loaded.declaration.is_empty() {
        out.push_str("It has no parameters.\n");
    } else {
        out.push_str("Parameters (--set NAME=VALUE):\n");
    }
    let width = loaded.declaration.keys().map(String::len).max().unwrap_or(0);
    for (name, parameter) in &loaded.declaration {
        let otherwise = match &parameter.otherwise {
            Some(value) if value.as_str() == Some("") => "otherwise empty".to_owned(),
            Some(value) => format!("otherwise {}", value.to_string().trim_matches('"')),
            None => format!("required, for example {}", parameter.kind.example),
        };
        let _ = writeln!(out, "  {name:width$}  {} ({}; {otherwise})", parameter.help, parameter.kind.name);
    }
    ui.print(&out);
    Ok(())
}

pub(super) fn show_findings(ui: &Ui, findings: &[checking::Finding], sources: &Sources) {
    for finding in findings {
        ui.error(&diagnosis(finding, sources));
    }
}

fn diagnosis(finding: &checking::Finding, sources: &Sources) -> Diagnosis {
    let text = sources.get(&finding.source).and_then(|text| text.lines().nth(finding.line.wrapping_sub(1)));
    let place = crate::engine::diagnostic::Place {
        source: finding.source.clone(),
        line: finding.line,
        column: finding.column.max(1),
        text: text.unwrap_or_default().to_owned(),
        inside: String::new(),
    };
    Diagnosis { error: finding.error.clone(), places: vec![place] }
}

fn finding_json(finding: &checking::Finding) -> serde_json::Value {
    json!({
        "source": finding.source, "line": finding.line, "column": finding.column,
        "code": finding.error.code().name(), "message": finding.error.message(), "hint": finding.error.hint_text(),
    })
}
