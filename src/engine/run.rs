//! Starting and resuming a run: one path from texts and parameters to an outcome.

use std::{collections::BTreeMap, sync::Arc};

use rhai::Scope;

use super::{
    build,
    check::{self, Finding, Loaded},
    diagnostic::Diagnosis,
    params::Values,
};
use crate::{
    api::{Host, Notice, Operator, Parts, Stop, stage::Stage},
    base::{Code, Config, Error, Kind, Redactor, Result, prose},
    fail,
    journal::{Run, RunFolder, Status, run::NewRun, sources::Sources},
};

/// Stack of the script's thread: 512 nested calls in a release build, 64 in a debug build with room to spare.
const SCRIPT_STACK_BYTES: usize = 64 << 20;

/// What holds for every run of this process.
#[derive(Clone)]
pub struct Settings {
    /// Folders.
    pub config: Config,
    /// The runtime on which futures run.
    pub runtime: tokio::runtime::Handle,
    /// Masks secrets.
    pub redactor: Redactor,
    /// Who is told and asked.
    pub operator: Arc<dyn Operator>,
    /// The signals.
    pub stop: Stop,
    /// Answers given beforehand, by gate.
    pub answers: BTreeMap<String, String>,
    /// `--yes`.
    pub yes: bool,
    /// Where AWS is; by the SDK's own rules where nothing is said.
    pub aws: crate::aws::Settings,
    /// The stage, in a rehearsal.
    pub stage: Option<Arc<Stage>>,
}

/// How a run of the process ended.
pub struct Outcome {
    /// The run's id; empty when none was begun.
    pub run: String,
    /// Where the run stands now.
    pub status: Status,
    /// The journal's last hash.
    pub head: String,
    /// What takes the run up again.
    pub command: String,
    /// Why it stopped before its end.
    pub failure: Option<Diagnosis>,
}

/// Begins a new run.
///
/// # Errors
/// Everything that is found before the run exists: nothing was done.
pub fn start(
    settings: &Settings,
    path: &std::path::Path,
    values: &Values,
    id: Option<String>,
) -> Result<Outcome, Refusal> {
    let loaded = check::load(path, &settings.checking_host())?;
    refuse_findings(&loaded)?;
    let given = values.check(&loaded.declaration, &settings.redactor)?;
    let new = NewRun {
        id,
        runbook: path.to_string_lossy().into_owned(),
        main: loaded.main.clone(),
        sources: loaded.sources.clone(),
        params: given.journal,
        secret_params: given.secret,
    };
    let run = RunFolder::new(&settings.config.home).create(new, settings.redactor.clone())?;
    settings.operator.tell(Notice::Warned(format!("run {}", run.id())));
    Ok(execute(settings, &run, &loaded.main, &loaded.sources, given.script))
}

/// Takes a run up again, with the texts and parameters it began with.
///
/// # Errors
/// Everything that is found before the run goes on: the journal is as it was.
pub fn resume(settings: &Settings, name: &str, values: &Values) -> Result<Outcome, Refusal> {
    let folder = RunFolder::new(&settings.config.home);
    let run = folder.open(name, settings.redactor.clone())?;
    let started = run.look(|state| state.started.clone());
    let started = started.ok_or_else(|| fail!(Code::Internal, "an opened run without a first record"))?;
    let main = &started.main;
    let loaded = check::check_sources(main, run.sources(), &settings.checking_host());
    refuse_findings(&loaded)?;
    let values = values.of_run(run.id(), &started.params, &started.secret_params)?;
    let given = values.check(&loaded.declaration, &settings.redactor)?;
    run.resume()?;
    settings.operator.tell(Notice::Warned(format!("run {} (resumed)", run.id())));
    let sources = run.sources().clone();
    Ok(execute(settings, &run, main, &sources, given.script))
}

/// Why a run did not begin.
pub enum Refusal {
    /// One error.
    Error(Error),
    /// What the check found, with the texts it was found in.
    Findings(Vec<Finding>, Sources),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Settings {
    /// A host that has no run: for reading runbooks, not for running them.
    #[must_use]
    pub fn checking_host(&self) -> Host {
        self.host(None, rhai::Map::new())
    }

    /// A host with or without a run.
    #[must_use]
    pub fn host(&self, run: Option<Run>, params: rhai::Map) -> Host {
        Host::new(Parts {
            runtime: self.runtime.clone(),
            run,
            redactor: self.redactor.clone(),
            operator: self.operator.clone(),
            stop: self.stop.clone(),
            answers: self.answers.clone(),
            yes: self.yes,
            params,
            config: self.config.clone(),
            aws: self.aws.clone(),
            stage: self.stage.clone(),
        })
    }
}

fn refuse_findings(loaded: &Loaded) -> Result<(), Refusal> {
    if loaded.findings.is_empty() {
        return Ok(());
    }
    Err(Refusal::Findings(loaded.findings.clone(), loaded.sources.clone()))
}

/// Runs the script on a thread with a big stack, and writes how it ended.
fn execute(settings: &Settings, run: &Run, main: &str, sources: &Sources, params: rhai::Map) -> Outcome {
    let host = settings.host(Some(run.clone()), params);
    let ended = std::thread::scope(|threads| {
        let script = std::thread::Builder::new().name("script".into()).stack_size(SCRIPT_STACK_BYTES);
        let spawned = script.spawn_scoped(threads, || interpret(&host, main, sources));
        match spawned.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(ended)) => ended,
            Ok(Err(_)) => Err(fail!(Code::Internal, "the script's thread panicked").into()),
            Err(error) => Err(fail!(Code::Internal, "the script's thread could not be started: {error}").into()),
        }
    });
    let concluded = match &ended {
        Ok(()) => run.finish(),
        Err(diagnosis) => conclude(run, &diagnosis.error),
    };
    let failure = match (ended, concluded) {
        (Ok(()), Ok(())) => None,
        (Ok(()), Err(error)) => Some(error.into()),
        (Err(diagnosis), _) => Some(diagnosis),
    };
    let (status, head, command) = run.look(|state| (state.status, state.head.clone(), state.command(None)));
    Outcome { run: run.id().to_owned(), status, head, command, failure }
}

fn conclude(run: &Run, error: &Error) -> Result<()> {
    let status = match error.code() {
        Code::JournalWrite => return Ok(()),
        Code::StepUnknown => Status::Unknown,
        _ if error.code().kind() == Kind::Paused => Status::Paused,
        _ => Status::Failed,
    };
    run.stop(status, error)
}

fn interpret(host: &Host, main: &str, sources: &Sources) -> Result<(), Diagnosis> {
    let engine = build::engine(host, Arc::new(sources.clone()));
    let text = sources.get(main).ok_or_else(|| {
        let names: Vec<&str> = sources.keys().map(String::as_str).collect();
        fail!(Code::Internal, "the runbook `{main}` is not among {}", prose::ticked_list(&names, 5))
    })?;
    let mut ast = engine.compile(text).map_err(|error| Diagnosis::of(&error.into(), main, sources))?;
    ast.set_source(main);
    engine.run_ast_with_scope(&mut Scope::new(), &ast).map_err(|raised| Diagnosis::of(&raised, main, sources))
}
