//! The host behind a script: runtime, run, operator, deadlines. `wait` is the one place where script waits for the
//! world.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::ThreadId,
};

use super::{
    bridge::PHASE_LIMIT,
    frame::{Frame, Limit},
    guardian::Guardian,
    operator::{Answer, Notice, Operator, Question, Wanted},
    pg_probe::Probing,
    pg_watch::Watched,
    stage::Stage,
    stop::Stop,
    trial::Conditions,
    undo::UndoStack,
    waivers::Waive,
};
use crate::{
    aws::{self, Aws},
    base::{Code, Config, Error, Redactor, Result, clock, poll::Sight, span},
    fail,
    journal::{Key, Run},
};

/// Everything a script's words and functions need. Clones share it.
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

/// What a host is made of.
pub struct Parts {
    /// The runtime on which futures run; never a thread of its own.
    pub runtime: tokio::runtime::Handle,
    /// The run, or none where only pure functions are called.
    pub run: Option<Run>,
    /// Masks secrets in everything that leaves the process.
    pub redactor: Redactor,
    /// Who is told and asked.
    pub operator: Arc<dyn Operator>,
    /// The signals.
    pub stop: Stop,
    /// Answers given beforehand, by gate.
    pub answers: BTreeMap<String, String>,
    /// Waivers given beforehand.
    pub waivers: Vec<Waive>,
    /// `--yes`: plain yes-or-no gates are open.
    pub yes: bool,
    /// Parameters by name, as scripts see them.
    pub params: rhai::Map,
    /// Folders.
    pub config: Config,
    /// Where AWS is; by the SDK's own rules where nothing is said.
    pub aws: aws::Settings,
    /// The stage, in a rehearsal.
    pub stage: Option<Arc<Stage>>,
    /// What the script is run for.
    pub purpose: Purpose,
}

/// What a script is run for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To do what it says.
    Work,
    /// To follow its journal as far as that leads, and do nothing.
    Replay,
    /// The same with changed texts: what people answered must have been asked in these words.
    Adoption,
}

struct Inner {
    parts: Parts,
    conditions: Conditions,
    asked: Mutex<Option<Key>>,
    undo: UndoStack,
    seen: Mutex<BTreeSet<Key>>,
    met: Mutex<Vec<Key>>,
    limits: Mutex<HashMap<ThreadId, Vec<Option<Limit>>>>,
    aws: Aws,
    guardian: Mutex<Option<Guardian>>,
    watched: Watched,
    probing: Mutex<Option<Probing>>,
}

impl Host {
    /// A host for one run.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let aws = Aws::connect(parts.aws.clone(), parts.redactor.clone());
        let inner = Inner {
            aws,
            parts,
            conditions: Conditions::from_env(),
            asked: Mutex::default(),
            undo: UndoStack::default(),
            seen: Mutex::new(BTreeSet::new()),
            met: Mutex::default(),
            limits: Mutex::default(),
            guardian: Mutex::default(),
            watched: Watched::default(),
            probing: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The run; an error where there is none.
    pub fn run(&self) -> Result<&Run> {
        let missing = || fail!(Code::StepRule, "steps, phases and gates need a run");
        self.inner.parts.run.as_ref().ok_or_else(missing)
    }

    /// Masks secrets.
    #[must_use]
    pub fn redactor(&self) -> &Redactor {
        &self.inner.parts.redactor
    }

    /// The signals.
    #[must_use]
    pub fn stop(&self) -> &Stop {
        &self.inner.parts.stop
    }

    /// Folders.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.inner.parts.config
    }

    /// The parameters as scripts see them.
    #[must_use]
    pub fn params(&self) -> &rhai::Map {
        &self.inner.parts.params
    }

    /// AWS: region and credentials are looked for at the first call.
    #[must_use]
    pub fn aws(&self) -> &Aws {
        &self.inner.aws
    }

    /// The stage, in a rehearsal.
    #[must_use]
    pub fn stage(&self) -> Option<&Stage> {
        self.inner.parts.stage.as_deref()
    }

    /// True when the script is only followed, as far as its journal leads.
    #[must_use]
    pub fn is_replay(&self) -> bool {
        self.inner.parts.purpose != Purpose::Work
    }

    /// True when changed texts are followed.
    #[must_use]
    pub fn is_adoption(&self) -> bool {
        self.inner.parts.purpose == Purpose::Adoption
    }

    /// True when every body and every undo clause is to run twice.
    #[must_use]
    pub fn is_twice(&self) -> bool {
        self.inner.conditions.twice
    }

    /// True when phases have no deadlines.
    #[must_use]
    pub fn ignores_deadlines(&self) -> bool {
        self.inner.conditions.no_deadlines
    }

    /// The frame in which scripts begin.
    #[must_use]
    pub fn root(&self) -> Frame {
        let root = Frame::default();
        if self.is_replay() { root.rewinding() } else { root }
    }

    /// The script asked for something that the journal does not hold: there a replay ends.
    pub fn asks(&self, key: &Key) {
        lock(&self.inner.asked).get_or_insert_with(|| key.clone());
    }

    /// Where a replay ended.
    #[must_use]
    pub fn asked(&self) -> Option<Key> {
        lock(&self.inner.asked).clone()
    }

    /// Keeps the guardian of a fence as long as this run goes on, and gives the one before.
    pub(super) fn keep_guardian(&self, guardian: Guardian) -> Option<Guardian> {
        lock(&self.inner.guardian).replace(guardian)
    }

    /// Keeps what measures an outage in this process, or takes it away, and gives what was kept before.
    pub(super) fn keep_probing(&self, probing: Option<Probing>) -> Option<Probing> {
        std::mem::replace(&mut *lock(&self.inner.probing), probing)
    }

    /// What this process knows of two sides' definitions.
    pub(super) fn watched(&self) -> &Watched {
        &self.inner.watched
    }

    /// The undo clauses of finished steps.
    #[must_use]
    pub fn undo(&self) -> &UndoStack {
        &self.inner.undo
    }

    /// Tells the person in charge.
    pub fn tell(&self, notice: Notice) {
        self.inner.parts.operator.tell(notice);
    }

    /// Waivers given beforehand.
    #[must_use]
    pub fn waivers(&self) -> &[Waive] {
        &self.inner.parts.waivers
    }

    /// Asks the person in charge; an answer given beforehand counts first.
    #[must_use]
    pub fn ask(&self, question: &Question) -> (Answer, &'static str) {
        let given = self.inner.parts.answers.get(&question.gate);
        match (given, &question.wanted) {
            // A yes without a reason is none.
            (_, Wanted::Reason) => (self.inner.parts.operator.ask(question), "terminal"),
            (Some(given), Wanted::Word(name)) if given == name => (Answer::Yes(given.clone()), "--answer"),
            (Some(given), Wanted::Yes | Wanted::Go) if is_yes(given) => (Answer::Yes(given.clone()), "--answer"),
            (Some(given), _) if is_no(given) => (Answer::No, "--answer"),
            (Some(given), _) => (Answer::Unfit(given.clone()), "--answer"),
            (None, Wanted::Yes | Wanted::Go) if self.inner.parts.yes => (Answer::Yes("yes".into()), "--yes"),
            (None, _) => (self.inner.parts.operator.ask(question), "terminal"),
        }
    }

    /// Notes that a step or phase of this identity was met; a second one in the same pass is an error.
    pub fn meet(&self, key: &Key) -> Result<()> {
        if key.iter().any(|part| self.redactor().finds(part)) {
            return Err(fail!(Code::SecretGuard, "the name of a step, phase or gate contains a secret")
                .hint("names stand in the journal: use what identifies the secret instead"));
        }
        if lock(&self.inner.seen).insert(key.clone()) {
            lock(&self.inner.met).push(key.clone());
            return Ok(());
        }
        let name = crate::journal::key_text(key);
        Err(fail!(Code::StepRule, "the identity `{name}` was used before in this run")
            .hint("give the step another name, or in a loop a key: step \"..\" with #{ key: item }"))
    }

    /// Forgets what was met below a phase that starts afresh.
    pub fn forget_below(&self, phase: &[String]) {
        lock(&self.inner.seen).retain(|key| key == phase || !key.starts_with(phase));
    }

    /// Everything that was met, in its order.
    #[must_use]
    pub fn met(&self) -> Vec<Key> {
        lock(&self.inner.met).clone()
    }

    /// True when a step or phase of this identity was met.
    #[must_use]
    pub fn has_met(&self, key: &Key) -> bool {
        lock(&self.inner.seen).contains(key)
    }

    /// Keeps the nearest deadline of a frame before this thread's eyes until the guard is dropped: calls hear it in
    /// [`Host::wait`], loops that only compute hear it by [`Host::time_is_up`].
    #[must_use]
    pub fn keep_time(&self, frame: &Frame) -> TimeKeeper {
        let limit = frame.nearest_limit().cloned();
        lock(&self.inner.limits).entry(std::thread::current().id()).or_default().push(limit);
        TimeKeeper(self.clone())
    }

    /// The error of this thread's deadline, if it has passed.
    #[must_use]
    pub fn time_is_up(&self) -> Option<Error> {
        let limits = lock(&self.inner.limits);
        let limit = limits.get(&std::thread::current().id())?.last()?.as_ref()?;
        (limit.at <= clock::instant()).then(|| out_of_time(Some(limit), "the script was computing"))
    }

    /// Runs a future to its end on behalf of the script: the only place where script code waits for the world, so here
    /// a second Ctrl-C and the deadlines of step and phase are heard.
    ///
    /// # Errors
    /// The future's own; `cancelled`; `timeout` naming the deadline's owner, `doing` and what was waited for. After the
    /// last two it is not known whether a write took effect: the caller marks them so.
    pub fn wait<T>(&self, frame: &Frame, doing: &str, future: impl Future<Output = Result<T>>) -> Result<T> {
        let limit = frame.nearest_limit().cloned();
        let deadline = async {
            match &limit {
                Some(limit) => clock::sleep(limit.at.saturating_duration_since(clock::instant())).await,
                None => std::future::pending().await,
            }
        };
        let sight = Sight::default();
        self.inner.parts.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.stop().urgent() => Err(self.stop().error().during(doing)),
                done = sight.over(future) => done,
                () = deadline => Err(match sight.last() {
                    Some(seen) => out_of_time(limit.as_ref(), &format!("{doing}, waiting for {seen}")),
                    None => out_of_time(limit.as_ref(), doing),
                }),
            }
        })
    }

    /// The error of a deadline that has passed, if one has.
    #[must_use]
    pub fn overdue(&self, frame: &Frame, doing: &str) -> Option<Error> {
        let limit = frame.nearest_limit()?;
        (limit.at <= clock::instant()).then(|| out_of_time(Some(limit), doing))
    }
}

/// Takes a frame's deadline from before the thread's eyes when it goes.
pub struct TimeKeeper(Host);

impl Drop for TimeKeeper {
    fn drop(&mut self) {
        let thread = std::thread::current().id();
        let mut limits = lock(&self.0.inner.limits);
        if let Some(stack) = limits.get_mut(&thread) {
            stack.pop();
            if stack.is_empty() {
                limits.remove(&thread);
            }
        }
    }
}

fn out_of_time(limit: Option<&Limit>, doing: &str) -> Error {
    let Some(limit) = limit else { return fail!(Code::Timeout, "{doing} took too long") };
    let given = span::duration_text(limit.given);
    let error = fail!(Code::Timeout, "the {given} of {} passed while {doing}", limit.of);
    if limit.is_phase { error.detail(PHASE_LIMIT.0, PHASE_LIMIT.1) } else { error }
}

fn is_no(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "n" | "no")
}

fn is_yes(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "y" | "yes" | "go")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
