//! Starting and resuming a run: one path from texts and parameters to an outcome.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use rhai::{Engine, Scope};

use super::{
    build, changes,
    check::{self, Finding, Loaded},
    diagnostic::Diagnosis,
    params::{Given, Values},
};
use crate::{
    api::{Host, Notice, Operator, Parts, Purpose, Stop, Waive, back, bridge, stage::Stage, waivers},
    base::{Code, Config, Error, Kind, Redactor, Result, prose},
    fail,
    journal::{
        Decision, Key, Run, RunFolder, RunState, Status, StepRecord, StepState, Wish, event::RunStarted, key_text,
        run::NewRun, sources::Sources,
    },
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
    /// Waivers of findings, given beforehand.
    pub waivers: Vec<Waive>,
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

/// What a new run is given besides its runbook.
#[derive(Default)]
pub struct Begin {
    /// Parameters.
    pub values: Values,
    /// The wanted id, or none for one of pgrun's own.
    pub id: Option<String>,
    /// The run that this one goes on from: its claims pass over.
    pub continues: Option<String>,
}

/// Begins a new run.
///
/// # Errors
/// Everything that is found before the run exists: nothing was done.
pub fn start(settings: &Settings, path: &Path, begin: Begin) -> Result<Outcome, Refusal> {
    let loaded = check::load(path, &settings.checking_host())?;
    refuse_findings(&loaded)?;
    waivers::require_known(&settings.waivers, &loaded.finding_ids)?;
    let given = begin.values.check(&loaded.declaration, &settings.redactor)?;
    let new = NewRun {
        id: begin.id,
        runbook: path.to_string_lossy().into_owned(),
        main: loaded.main.clone(),
        sources: loaded.sources.clone(),
        params: given.journal,
        secret_params: given.secret,
        continues: begin.continues,
    };
    let run = RunFolder::new(&settings.config.home).create(new, settings.redactor.clone())?;
    settings.tell(format!("run {}", run.id()));
    Ok(execute(settings, &run, &loaded.main, &loaded.sources, given.script))
}

/// What a person decided about steps.
#[derive(Default)]
pub struct Decisions {
    /// What steps count as, by name.
    pub about: Vec<(String, Decision)>,
    /// Why.
    pub why: Option<String>,
}

/// How a run is taken up again.
#[derive(Default)]
pub struct Resume {
    /// Parameters that held a password, given again.
    pub values: Values,
    /// What steps count as.
    pub decisions: Decisions,
    /// The run goes on with the texts as the files are now.
    pub adopt: bool,
}

/// Takes a run up again, with the texts and parameters it began with, or with changed texts that replay over its
/// journal.
///
/// # Errors
/// Everything that is found before the run goes on: the journal is as it was.
pub fn resume(settings: &Settings, name: &str, resume: &Resume) -> Result<Outcome, Refusal> {
    let run = RunFolder::new(&settings.config.home).open(name, Wish::Resume, settings.redactor.clone())?;
    let decided = decided(&run, &resume.decisions)?;
    let taken = Taken::of(settings, &run, &resume.values)?;
    let now = changes::look(settings, &run);
    let (loaded, given) = if resume.adopt {
        let now = now?;
        refuse_findings(&now.loaded)?;
        let given = taken.values.check(&now.loaded.declaration, &settings.redactor)?;
        changes::prove(settings, &run, &now.loaded, &given)?;
        settings.tell(format!("the changed runbook replays over the journal:\n{}", now.diff.trim_end()));
        (now.loaded, given)
    } else {
        if let Ok(now) = now
            && !now.diff.is_empty()
        {
            settings.tell(format!(
                "the runbook was changed since; the run goes on with the text it began with (`--adopt` takes the new \
                 one):\n{}",
                now.diff.trim_end()
            ));
        }
        (taken.loaded, taken.given)
    };
    waivers::require_known(&settings.waivers, &loaded.finding_ids)?;
    run.resume()?;
    if resume.adopt {
        run.adopt(&loaded.sources)?;
    }
    for (key, decision, why) in decided {
        run.decide(&key, decision, &why)?;
    }
    settings.tell(format!("run {} (resumed)", run.id()));
    Ok(execute(settings, &run, &loaded.main, &loaded.sources, given.script))
}

/// The decisions with their steps; each must be about a step that waits for one.
pub(super) fn decided(run: &Run, decisions: &Decisions) -> Result<Vec<(Key, Decision, String)>> {
    if decisions.about.is_empty() {
        return Ok(vec![]);
    }
    let Some(why) = decisions.why.clone().filter(|why| !why.trim().is_empty()) else {
        return Err(fail!(Code::Usage, "a decision needs its reason: --why \"..\""));
    };
    let find = |state: &RunState, (name, decision): &(String, Decision)| {
        let key = state.find_step(name)?;
        let word = match state.step(&key) {
            Some(step) if step.caught => "failed, and the run went on",
            Some(step) => match step.state {
                StepState::Begun | StepState::Failed(_) | StepState::Undoing(_) | StepState::UndoFailed(..) => {
                    return Ok((key, decision.clone(), why.clone()));
                }
                _ => step.state.name(),
            },
            None => "not begun",
        };
        Err(fail!(Code::Usage, "the step `{}` is {word}: there is nothing to decide", key_text(&key))
            .hint(format!("`pgrun show {}` lists the steps", run.id())))
    };
    let found: Vec<(Key, Decision, String)> =
        run.look(|state| decisions.about.iter().map(|given| find(state, given)).collect::<Result<_>>())?;
    let mut decided = BTreeSet::new();
    match found.iter().find(|(key, ..)| !decided.insert(key)) {
        Some((key, ..)) => Err(fail!(Code::Usage, "got two decisions about the step `{}`", key_text(key))),
        None => Ok(found),
    }
}

/// Ends a run for good. What it made stays, and its targets are free for other runs.
///
/// # Errors
/// `refused` when the run is over already.
pub fn abandon(settings: &Settings, name: &str, why: &str) -> Result<Outcome> {
    let run = RunFolder::new(&settings.config.home).open(name, Wish::Abandon, settings.redactor.clone())?;
    run.abandon(why)?;
    let staying = run.look(|state| {
        let changed = |key: &&Key| state.steps.get(*key).is_some_and(StepRecord::may_have_changed);
        state.order.iter().filter(changed).map(|key| key_text(key)).collect::<Vec<_>>()
    });
    if !staying.is_empty() {
        settings.tell(format!("what these steps did stays:\n  {}", staying.join("\n  ")));
    }
    Ok(outcome(&run, None))
}

/// A run that was opened, with its own texts and parameters.
pub(super) struct Taken {
    pub(super) loaded: Loaded,
    values: Values,
    pub(super) given: Given,
}

impl Taken {
    pub(super) fn of(settings: &Settings, run: &Run, values: &Values) -> Result<Self, Refusal> {
        let started = started(run)?;
        let loaded = check::check_sources(&started.main, run.sources(), &settings.checking_host());
        refuse_findings(&loaded)?;
        let values = values.of_run(run.id(), &started.params, &started.secret_params)?;
        let given = values.check(&loaded.declaration, &settings.redactor)?;
        Ok(Self { loaded, values, given })
    }
}

fn started(run: &Run) -> Result<RunStarted> {
    let started = run.look(|state| state.started.clone());
    started.ok_or_else(|| fail!(Code::Internal, "an opened run without a first record"))
}

/// Why a run did not begin.
pub enum Refusal {
    /// One error.
    Error(Error),
    /// One error with its place in the script.
    Diagnosis(Diagnosis),
    /// What the check found, with the texts it was found in.
    Findings(Vec<Finding>, Sources),
}

impl From<Diagnosis> for Refusal {
    fn from(diagnosis: Diagnosis) -> Self {
        Self::Diagnosis(diagnosis)
    }
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
        self.host(None, rhai::Map::new(), Purpose::Work)
    }

    fn tell(&self, text: String) {
        self.operator.tell(Notice::Warned(text));
    }

    /// A host with or without a run.
    #[must_use]
    pub fn host(&self, run: Option<Run>, params: rhai::Map, purpose: Purpose) -> Host {
        Host::new(Parts {
            runtime: self.runtime.clone(),
            run,
            redactor: self.redactor.clone(),
            operator: self.operator.clone(),
            stop: self.stop.clone(),
            answers: self.answers.clone(),
            waivers: self.waivers.clone(),
            yes: self.yes,
            params,
            config: self.config.clone(),
            aws: self.aws.clone(),
            stage: self.stage.clone(),
            purpose,
        })
    }
}

fn refuse_findings(loaded: &Loaded) -> Result<(), Refusal> {
    if loaded.findings.is_empty() {
        return Ok(());
    }
    Err(Refusal::Findings(loaded.findings.clone(), loaded.sources.clone()))
}

/// Runs the script and writes how it ended.
fn execute(settings: &Settings, run: &Run, main: &str, sources: &Sources, params: rhai::Map) -> Outcome {
    let host = settings.host(Some(run.clone()), params, Purpose::Work);
    let ended = on_script_thread(|| interpret(&host, main, sources));
    let concluded = match &ended {
        Ok(()) => run.finish(),
        Err(diagnosis) => conclude(run, &diagnosis.error),
    };
    outcome(run, ended.err().or_else(|| concluded.err().map(Into::into)))
}

pub(super) fn outcome(run: &Run, failure: Option<Diagnosis>) -> Outcome {
    let (mut status, head, command) = run.look(|state| (state.status, state.head.clone(), state.command(None)));
    if failure.is_some() && status == Status::Running {
        // Its end could not be written.
        status = Status::Failed;
    }
    Outcome { run: run.id().to_owned(), status, head, command, failure }
}

/// Scripts run on a thread with a big stack.
pub(super) fn on_script_thread<T: Send>(work: impl FnOnce() -> Result<T, Diagnosis> + Send) -> Result<T, Diagnosis> {
    std::thread::scope(|threads| {
        let script = std::thread::Builder::new().name("script".into()).stack_size(SCRIPT_STACK_BYTES);
        match script.spawn_scoped(threads, work).map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(ended)) => ended,
            Ok(Err(_)) => Err(fail!(Code::Internal, "the script's thread panicked").into()),
            Err(error) => Err(fail!(Code::Internal, "the script's thread could not be started: {error}").into()),
        }
    })
}

pub(super) fn conclude(run: &Run, error: &Error) -> Result<()> {
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
    evaluate(&engine, main, sources)?.map_err(|raised| Diagnosis::of(&raised, main, sources))?;
    // A script that took another way than before has left steps behind that nobody would hear of any more.
    Ok(back::require_replay(host)?)
}

/// Follows the script over its journal, as far as that leads.
pub(super) fn follow(engine: &Engine, main: &str, sources: &Sources) -> Result<(), Diagnosis> {
    match evaluate(engine, main, sources)? {
        // Nothing runs in a replay, so another error is what ended the run before.
        Err(raised) if !bridge::is_rewound(&raised) && bridge::is_halt(&raised) => {
            Err(Diagnosis::of(&raised, main, sources))
        }
        _ => Ok(()),
    }
}

fn evaluate(engine: &Engine, main: &str, sources: &Sources) -> Result<bridge::Script<()>, Diagnosis> {
    let text = sources.get(main).ok_or_else(|| {
        let names: Vec<&str> = sources.keys().map(String::as_str).collect();
        fail!(Code::Internal, "the runbook `{main}` is not among {}", prose::ticked_list(&names, 5))
    })?;
    let mut ast = engine.compile(text).map_err(|error| Diagnosis::of(&error.into(), main, sources))?;
    ast.set_source(main);
    Ok(engine.run_ast_with_scope(&mut Scope::new(), &ast))
}
