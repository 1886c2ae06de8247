//! `pgrun rehearse`: a lab, its rehearsal's script, and a report.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::Value as Json;

use super::{
    args::RehearseArgs,
    exit,
    rehearsal::{Rehearsal, all_json},
    runbook, signal,
    trace::LabLog,
    ui::Ui,
};
use crate::{
    api::{
        Stop,
        stage::{Stage, Trial, Weather},
    },
    aws,
    base::{Code, Config, Error, Map, Result, Secret, Value, clock, prose},
    engine::{
        Begin, Settings,
        run::{self, Refusal},
    },
    fail,
    lab::{
        self, Fault, FaultDesk, Lab, SAMPLE, Struck,
        postgres::{Catalogue, ServerUser, lab_folder},
    },
};

/// `pgrun rehearse FILE`
pub(super) fn run(ui: &Ui, config: &Config, args: &RehearseArgs) -> u8 {
    let rehearsed = rehearse(ui, config, args);
    let (runs, exit) = match rehearsed {
        Ok(rehearsed) => rehearsed,
        Err(error) => return exit::of(ui, Err(error)).max(exit::FAILED),
    };
    let all = all_json(&runs, &args.file);
    if let Some(path) = &args.json {
        let text = format!("{all:#}\n");
        let written = std::fs::write(path, ui.redactor().clean(&text).as_bytes());
        if let Err(error) = written {
            return exit::of(ui, Err(fail!(Code::Usage, "`{}` cannot be written: {error}", path.display())));
        }
    }
    if runs.len() > 1 {
        let good = runs.iter().filter(|run| run["result"] == "ok").count();
        ui.print(&format!("{good} of {} rehearsals proved it\n", runs.len()));
    }
    exit
}

/// Rehearses as often as it was asked for. A run that is tried is compared with one that nothing happens to.
fn rehearse(ui: &Ui, config: &Config, args: &RehearseArgs) -> Result<(Vec<Json>, u8)> {
    let log = LabLog::begin(ui.redactor());
    let (crashes, phase) = (args.crash.clone(), args.phase.clone());
    let scale = args.scale.as_deref().map(str::parse).transpose()?.unwrap_or_default();
    let mut trial = Trial { crashes, phase, scale, rollback: args.rollback, ..Trial::default() };
    let mut unharmed = None;
    if args.chaos.is_some() || args.twice {
        ui.remark("first a rehearsal without harm, to compare with");
        let first = once(ui, config, args, &trial, 0, &log)?;
        if first.exit != exit::DONE {
            ui.print(&first.report());
            return Ok((vec![first.json()], first.exit));
        }
        unharmed = Some(first.end_state());
    }
    trial.twice = args.twice;
    let (mut runs, mut exit) = (vec![], exit::DONE);
    for number in 0..args.repeat.max(1) {
        trial.chaos = args.chaos.map(|seed| seed.wrapping_add(u64::from(number)));
        if args.repeat > 1 {
            ui.remark(&format!("rehearsal {} of {}", number + 1, args.repeat));
        }
        if let Some(seed) = trial.chaos {
            ui.remark(&format!("the run is killed again and again; `--chaos={seed}` does the same"));
        }
        let mut rehearsal = once(ui, config, args, &trial, number, &log)?;
        if let Some(unharmed) = &unharmed {
            rehearsal.compare(unharmed);
        }
        ui.print(&rehearsal.report());
        exit = exit.max(rehearsal.exit);
        runs.push(rehearsal.json());
        if exit > exit::SIGNAL {
            break;
        }
    }
    Ok((runs, exit))
}

fn once(ui: &Ui, config: &Config, args: &RehearseArgs, trial: &Trial, number: u32, log: &LabLog) -> Result<Rehearsal> {
    let script = rehearsal_of(&args.file)?;
    runbook::require_waivers(ui, config, &args.file, &args.waive)?;
    let day = args.faults.as_deref().map(|given| bad_day(given, number)).transpose()?;
    if let Some(day) = &day {
        ui.remark(&format!("{} of the lab while the run works", prose::count(day.len(), "fault")));
    }
    let schema = match &args.schema {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|error| fail!(Code::NoSuchFile, "the schema `{}` cannot be read: {error}", path.display()))?,
        None => SAMPLE.to_owned(),
    };
    let runtime = runbook::runtime()?;
    let stop = Stop::default();
    signal::listen(runtime.handle(), &stop, ui);
    let rehearsals = lab_folder(config, ServerUser::choose()?.as_ref())?.with_file_name("rehearsals");
    let folder = rehearsals.join(format!("{}-{:04x}", clock::now_compact(), rand::random::<u16>()));
    lab::end_left_over(&rehearsals);
    let (lab, from, to) = runtime.block_on(async {
        let catalogue = Catalogue::look(config).await?;
        let (from, to) = catalogue.pair(args.from, args.to)?;
        ui.remark(&format!("PostgreSQL {from} to {to}, in {}", folder.display()));
        let mut options = args.lab.options(&folder);
        for version in [from, to] {
            let installation = catalogue.obtain(version).await?;
            // On both sides or on none: a master that becomes a superuser by the upgrade would be a difference.
            if catalogue.facilities(&installation).await.library.is_none() {
                options.hook_library = false;
                ui.remark(&format!("master users are superusers: no C compiler, or no server headers of {version}"));
            }
        }
        Ok((Lab::start(config, options).await?, from.to_string(), to.to_string()))
    })?;
    log.write_into(&folder);
    let mut stage = stage(&lab, &folder, args, schema, (from.clone(), to.clone()))?;
    stage.trial = trial.clone();
    if let Some(day) = day {
        stage.trial.weather = Some(Arc::new(BadDay { desk: lab.fault_desk(), faults: day }));
    }
    let stage = Arc::new(stage);
    let operator = ui.for_run(false, &stop);
    let settings = Settings {
        config: Config { home: folder.join("stage"), ..config.clone() },
        runtime: runtime.handle().clone(),
        redactor: ui.redactor().clone(),
        operator: Arc::new(operator),
        stop: stop.clone(),
        answers: BTreeMap::new(),
        waivers: vec![],
        yes: false,
        aws: aws::Settings {
            region: Some(lab.region().to_owned()),
            endpoint: Some(lab.url().to_owned()),
            keys: Some(aws::Keys { id: "lab".into(), secret: Secret::new("lab"), token: None }),
            ..aws::Settings::default()
        },
        stage: Some(stage.clone()),
    };
    let ended = run::start(&settings, &script, Begin { id: Some("stage".into()), ..Begin::default() });
    let calls = lab.calls();
    let closed = runtime.block_on(lab.shutdown());
    runtime.shutdown_background();
    let (failure, exit) = match ended {
        Ok(outcome) => match outcome.failure {
            Some(failure) => {
                ui.error(&failure);
                let code = exit::code(&failure.error, stop.signal());
                (Some(failure.error), code)
            }
            None => (None, exit::DONE),
        },
        // Nothing was begun: there is nothing worth keeping.
        Err(refusal) => {
            remove(&folder)?;
            return Err(match refusal {
                Refusal::Error(error) => error,
                Refusal::Diagnosis(diagnosis) => diagnosis.error,
                Refusal::Findings(findings, sources) => {
                    runbook::show_findings(ui, &findings, &sources);
                    Error::new(Code::CheckFailed, "the rehearsal's script has mistakes")
                }
            });
        }
    };
    closed?;
    let keep = args.keep || failure.is_some();
    if !keep {
        remove(&folder)?;
    }
    let runbook = args.file.to_string_lossy().into_owned();
    Ok(Rehearsal { runbook, from, to, facts: stage.facts(), calls, failure, kept: keep.then_some(folder), exit })
}

/// The faults of a rehearsal: those of a file, or drawn from a seed, another one for each repetition.
fn bad_day(given: &str, number: u32) -> Result<Vec<Fault>> {
    if let Ok(seed) = given.parse::<u64>() {
        return Ok(Fault::schedule(seed.wrapping_add(u64::from(number))));
    }
    let text = std::fs::read_to_string(given).map_err(|error| {
        fail!(Code::NoSuchFile, "the faults `{given}` cannot be read: {error}").hint("a file or a seed")
    })?;
    serde_json::from_str(&text).map_err(|error| {
        fail!(Code::Usage, "`{given}` is no list of faults: {error}").hint("[{ \"kind\": \"throttle\" }]")
    })
}

/// A lab whose endpoint fails while the run works.
struct BadDay {
    desk: FaultDesk,
    faults: Vec<Fault>,
}

impl Weather for BadDay {
    fn begin(&self) -> Result<()> {
        self.desk.count_calls();
        self.faults.iter().try_for_each(|fault| self.desk.add(fault.clone()))
    }

    fn end(&self) -> Vec<Map> {
        let told = |struck: &Struck| Value::from_json(&serde_json::to_value(struck).unwrap_or_default());
        self.desk.clear().iter().filter_map(|struck| told(struck).ok()?.as_map().cloned()).collect()
    }

    fn is_over(&self) -> bool {
        self.desk.is_quiet()
    }
}

fn remove(folder: &Path) -> Result<()> {
    std::fs::remove_dir_all(folder)
        .map_err(|error| fail!(Code::LabFailed, "`{}` cannot be removed: {error}", folder.display()))
}

/// `rehearsals/NAME.rhai` beside `NAME.rhai`.
fn rehearsal_of(runbook: &Path) -> Result<PathBuf> {
    if !runbook.is_file() {
        return Err(fail!(Code::NoSuchFile, "there is no runbook `{}`", runbook.display()));
    }
    let name = runbook.file_name().unwrap_or_default();
    let script = runbook.with_file_name("rehearsals").join(name);
    if script.is_file() {
        return Ok(script);
    }
    Err(fail!(Code::NoSuchFile, "`{}` has no rehearsal: there is no `{}`", runbook.display(), script.display())
        .hint("write one that makes an instance, starts a load, calls run(..) and says what it expects"))
}

fn stage(lab: &Lab, folder: &Path, args: &RehearseArgs, schema: String, versions: (String, String)) -> Result<Stage> {
    let program = std::env::current_exe().map_err(|error| fail!(Code::Internal, "where pgrun is: {error}"))?;
    let runbook = std::path::absolute(&args.file).unwrap_or_else(|_| args.file.clone());
    let mut stage = Stage::new(program, runbook, schema, versions);
    stage.waivers.clone_from(&args.waive.waive);
    let home = folder.join("home").to_string_lossy().into_owned();
    let pairs = [
        ("PGRUN_HOME", home.as_str()),
        ("AWS_ENDPOINT_URL", lab.url()),
        ("AWS_REGION", lab.region()),
        ("AWS_DEFAULT_REGION", lab.region()),
        ("AWS_ACCESS_KEY_ID", "lab"),
        ("AWS_SECRET_ACCESS_KEY", "lab"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("NO_PROXY", "127.0.0.1"),
    ];
    stage.environment = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    Ok(stage)
}
