//! `pgrun rehearse`: a lab, its rehearsal's script, and a report.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::{Value as Json, json};

use super::{args::RehearseArgs, exit, picture, runbook, signal, ui::Ui};
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
        self, Calls, Fault, FaultDesk, Lab, SAMPLE, Struck,
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
    let (crashes, phase) = (args.crash.clone(), args.phase.clone());
    let mut trial = Trial { crashes, phase, rollback: args.rollback, ..Trial::default() };
    let mut unharmed = None;
    if args.chaos.is_some() || args.twice {
        ui.remark("first a rehearsal without harm, to compare with");
        let first = once(ui, config, args, &trial, 0)?;
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
        let mut rehearsal = once(ui, config, args, &trial, number)?;
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

/// One rehearsal and what it found.
struct Rehearsal {
    runbook: String,
    from: String,
    to: String,
    facts: Map,
    calls: Calls,
    failure: Option<Error>,
    kept: Option<PathBuf>,
    exit: u8,
}

fn once(ui: &Ui, config: &Config, args: &RehearseArgs, trial: &Trial, number: u32) -> Result<Rehearsal> {
    let script = rehearsal_of(&args.file)?;
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

impl Rehearsal {
    fn result(&self) -> &'static str {
        match &self.failure {
            None => "ok",
            Some(error) if error.code() == Code::Refused => "refused",
            Some(_) => "failed",
        }
    }

    /// What the rehearsal left behind.
    fn end_state(&self) -> Map {
        self.facts.get("end_state").and_then(Value::as_map).cloned().unwrap_or_default()
    }

    /// Nothing may be left behind that a rehearsal without harm does not leave behind too, and nothing be missing.
    fn compare(&mut self, unharmed: &Map) {
        let here = self.end_state();
        let names: BTreeSet<&String> = unharmed.keys().chain(here.keys()).collect();
        let shown = |state: &Map, name: &String| match state.get(name) {
            Some(value) => value.as_text().unwrap_or("there").to_owned(),
            None => "missing".to_owned(),
        };
        let differs = |name: &&&String| unharmed.get(**name) != here.get(**name);
        let different: Vec<String> = names
            .iter()
            .filter(differs)
            .map(|name| format!("{name}: without harm {}, here {}", shown(unharmed, name), shown(&here, name)))
            .collect();
        let are_equal = different.is_empty() && !here.is_empty();
        let mut chaos = self.facts.get("chaos").and_then(Value::as_map).cloned().unwrap_or_default();
        chaos.insert("states_equal".into(), are_equal.into());
        chaos.insert("compared".into(), Value::Int(i64::try_from(names.len()).unwrap_or(i64::MAX)));
        self.facts.insert("chaos".into(), Value::Map(chaos));
        if !are_equal && self.failure.is_none() {
            let what = prose::ticked_list(&different, 10);
            self.failure = Some(fail!(Code::RehearsalFailed, "the end state is another one: {what}"));
            self.exit = exit::FAILED;
        }
    }

    /// The shape that `product` promises; a key is there also where nothing was found out.
    fn json(&self) -> Json {
        let fact = |name: &str| self.facts.get(name).map_or(Json::Null, plain_json);
        let steps = self.facts.get("steps").map_or_else(|| json!([]), plain_json);
        json!({
            "schema": 1, "runbook": self.runbook, "result": self.result(), "from": self.from, "to": self.to,
            "writes": fact("writes"), "outage_ms": fact("outage_ms"),
            "application_outage_ms": fact("application_outage_ms"), "laps": fact("laps"), "cutover_ms": fact("cutover_ms"), "steps": steps,
            "verified": fact("verified"), "chaos": fact("chaos"), "calls": self.calls,
            "faults": self.facts.get("faults").map_or_else(|| json!([]), plain_json),
            "failure": self.failure.as_ref().map(ToString::to_string),
        })
    }

    /// What a person reads.
    fn report(&self) -> String {
        let map = |name: &str| self.facts.get(name).and_then(Value::as_map).cloned().unwrap_or_default();
        let (writes, outage, application) = (map("writes"), map("outage_ms"), map("application_outage_ms"));
        let mut out = String::from("\n");
        let _ = writeln!(out, "{}  PostgreSQL {} -> {}  {}", self.runbook, self.from, self.to, self.result());
        if let Some(picture) = self.facts.get("series").and_then(Value::as_list).and_then(|s| picture::of_series(s, 76))
        {
            let _ = writeln!(out, "\nwrites over time, b on BLUE, g on GREEN:\n{picture}\n");
        }
        if !writes.is_empty() {
            let number = |name: &str| writes.get(name).and_then(Value::as_int).unwrap_or(-1);
            let (all, lost, doubled) = (number("acknowledged"), number("lost"), number("doubled"));
            let _ = writeln!(out, "  writes acknowledged  {all}, of them lost {lost}, doubled {doubled}");
            if outage.get("median").is_some_and(|median| *median != Value::Null) {
                let _ = writeln!(out, "  outage of a writer   {}", spread(&outage));
                let _ = writeln!(out, "  of an application    {}", spread(&application));
            }
        }
        let laps = self.facts.get("laps").and_then(Value::as_list).unwrap_or_default();
        for lap in laps.iter().filter(|_| laps.len() > 1).filter_map(Value::as_map) {
            let name = lap.get("name").and_then(Value::as_text).unwrap_or_default();
            if let Some(outage) = lap.get("outage_ms").and_then(Value::as_map) {
                let _ = writeln!(out, "    {name:<18} {}", spread(outage));
            }
        }
        if let Some(ms) = self.facts.get("cutover_ms").and_then(Value::as_int) {
            let _ = writeln!(out, "  cutover window       {ms} ms");
        }
        for (name, value) in map("verified") {
            let shown = match &value {
                Value::Bool(true) => "yes".to_owned(),
                Value::Bool(false) => "NO".to_owned(),
                other => plain_json(other).to_string(),
            };
            let _ = writeln!(out, "  {:<20} {shown}", name.replace('_', " "));
        }
        if let Some(kills) = map("chaos").get("kills").and_then(Value::as_int).filter(|kills| *kills > 0) {
            let times = prose::count(usize::try_from(kills).unwrap_or(0), "time");
            let random = map("chaos").get("random").and_then(Value::as_int).unwrap_or(0);
            let _ = writeln!(out, "  killed and resumed   {times}, {random} of them at a random instant");
        }
        for struck in self.facts.get("faults").and_then(Value::as_list).unwrap_or_default() {
            let json = plain_json(struck);
            let (kind, action) =
                (json["kind"].as_str().unwrap_or_default(), json["action"].as_str().unwrap_or_default());
            let _ = writeln!(out, "  fault                {kind} of {action}, struck {} calls", json["hits"]);
        }
        if self.facts.get("stopped_by_faults").and_then(Value::as_bool) == Some(true) {
            let _ = writeln!(out, "  the run              stopped, and was taken up when the faults were over");
        }
        if let Some(are_equal) = map("chaos").get("states_equal").and_then(Value::as_bool) {
            let compared = map("chaos").get("compared").and_then(Value::as_int).unwrap_or(0);
            let word = if are_equal { "equal" } else { "NOT EQUAL" };
            let _ = writeln!(out, "  end state            {word} to an unharmed run's, {compared} things compared");
        }
        if let Some(failure) = &self.failure {
            let _ = writeln!(out, "\n{failure}");
        }
        if let Some(folder) = &self.kept {
            let _ = writeln!(out, "\nkept in {}", folder.display());
        }
        out
    }
}

fn spread(spread: &Map) -> String {
    let ms = |name: &str| match spread.get(name) {
        Some(Value::Float(ms)) => format!("{ms:.0} ms"),
        _ => "?".to_owned(),
    };
    format!("median {}, p95 {}, worst {}", ms("median"), ms("p95"), ms("max"))
}

/// JSON for other programs: numbers as numbers, without the journal's tags.
fn plain_json(value: &Value) -> Json {
    match value {
        Value::Float(number) => json!(number),
        Value::Map(map) => Json::Object(map.iter().map(|(key, value)| (key.clone(), plain_json(value))).collect()),
        Value::List(items) => Json::Array(items.iter().map(plain_json).collect()),
        Value::Lsn(lsn) => json!(lsn.to_string()),
        Value::Decimal(number) => json!(number.to_string()),
        other => other.to_json(),
    }
}

/// One rehearsal stands for itself; several are summed up over `runs`.
fn all_json(runs: &[Json], file: &Path) -> Json {
    let Some(first) = runs.first() else {
        return json!({ "schema": 1, "runbook": file.to_string_lossy(), "result": "failed", "runs": [] });
    };
    let mut all = first.clone();
    if runs.len() > 1 {
        let sum = |name: &str| runs.iter().filter_map(|run| run["writes"][name].as_i64()).sum::<i64>();
        let is_ok = runs.iter().all(|run| run["result"] == "ok");
        all["result"] = json!(if is_ok { "ok" } else { "failed" });
        all["writes"] = json!({ "acknowledged": sum("acknowledged"), "lost": sum("lost"), "doubled": sum("doubled") });
        for name in ["outage_ms", "application_outage_ms"] {
            all[name] = pooled(runs, name);
        }
        let windows: Vec<f64> = runs.iter().filter_map(|run| run["cutover_ms"].as_f64()).collect();
        all["cutover_ms"] = json!(crate::load::Spread::of(windows.into_iter().map(Some).collect()).median);
        all["verified"] = worst(runs);
    }
    all["runs"] = json!(runs);
    all
}

/// The spread over the writers of all runs.
fn pooled(runs: &[Json], name: &str) -> Json {
    let writers = runs.iter().filter_map(|run| run[name]["writers"].as_array()).flatten();
    let spread = crate::load::Spread::of(writers.map(Json::as_f64).collect());
    plain_json(&Value::Map(spread.to_map()))
}

/// What holds in every run; of a number, the smallest.
fn worst(runs: &[Json]) -> Json {
    let mut worst = runs[0]["verified"].clone();
    for run in &runs[1..] {
        for (name, value) in run["verified"].as_object().into_iter().flatten() {
            let slot = &mut worst[name];
            match (slot.as_bool(), value.as_bool(), slot.as_i64(), value.as_i64()) {
                (Some(a), Some(b), ..) => *slot = json!(a && b),
                (.., Some(a), Some(b)) => *slot = json!(a.min(b)),
                _ => {}
            }
        }
    }
    worst
}
