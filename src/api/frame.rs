//! Where in a run a piece of script stands: its phases, its step, its deadlines. Travels as the tag of Rhai's context,
//! so functions, closures and modules all see the frame of whoever called them.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rhai::Dynamic;

use crate::{
    base::{Result, clock},
    journal::{Event, Key, Run, branch},
};

/// The place of a piece of script in its run. Clones are cheap.
#[derive(Clone, Default)]
pub struct Frame {
    path: Arc<Key>,
    place: Place,
    limits: Arc<Vec<Limit>>,
    never_ask: bool,
    step: Option<Arc<Key>>,
    rewinding: bool,
    failures: Arc<Mutex<Vec<Key>>>,
}

/// What the script may do at a place.
#[derive(Clone, Default)]
enum Place {
    /// Outside any step: compute only.
    #[default]
    Open,
    /// In a step's body or undo clause: read and write.
    Work(Arc<Work>),
    /// In a `check`, `verify` or `poll` clause: read only.
    Look,
}

/// A deadline and whose it is.
#[derive(Clone, Debug)]
pub struct Limit {
    /// When it passes.
    pub at: Instant,
    /// What it was given as.
    pub given: Duration,
    /// `step "name"` or `phase "name"`.
    pub of: String,
    /// A phase's deadline cannot be caught by the script.
    pub is_phase: bool,
}

/// A step's body at work. The first write writes the intent, so a body that only reads may simply run again.
pub struct Work {
    run: Run,
    key: Key,
    attempt: u32,
    progress: Mutex<Progress>,
    is_undo: bool,
}

/// How far a body is.
#[derive(Clone, Copy, Default)]
struct Progress {
    begun: Begun,
    /// True once the body has seen something of the world that may be otherwise the next time.
    looked: bool,
    /// Transactions that were to leave a row about themselves.
    transactions: u32,
}

/// What the journal says about a body that is at work.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Begun {
    #[default]
    Nothing,
    /// It changes something by marked transactions only.
    Marked,
    Anything,
}

impl Work {
    /// Work on a step whose intent is not written yet.
    #[must_use]
    pub fn new(run: Run, key: Key, attempt: u32) -> Arc<Self> {
        Arc::new(Self { run, key, attempt, progress: Mutex::default(), is_undo: false })
    }

    /// Work on an undo clause, whose intent stands in the journal already.
    #[must_use]
    pub fn undoing(run: Run, key: Key) -> Arc<Self> {
        let progress = Progress { begun: Begun::Anything, looked: true, transactions: 0 };
        Arc::new(Self { run, key, attempt: 0, progress: Mutex::new(progress), is_undo: true })
    }

    /// Makes the intent durable before the first write. Later calls only make sure that the result will be, too: when
    /// another branch could not write the journal, nothing more may be done here.
    pub fn begin(&self) -> Result<()> {
        let mut progress = self.progress();
        progress.looked = true;
        if progress.begun == Begun::Anything {
            return self.run.writable();
        }
        self.run.write(&self.key, self.attempt, Event::Intent)?;
        progress.begun = Begun::Anything;
        Ok(())
    }

    /// Makes durable that a transaction begins which leaves a row about itself.
    pub fn begin_marked(&self) -> Result<()> {
        let mut progress = self.progress();
        if progress.begun != Begun::Nothing {
            return self.run.writable();
        }
        self.run.write(&self.key, self.attempt, Event::Marked)?;
        progress.begun = Begun::Marked;
        Ok(())
    }

    /// The body has seen something of the world: another attempt may see something else and take another way.
    pub fn looked(&self) {
        self.progress().looked = true;
    }

    /// The number of the next transaction that may leave a row about itself; none once the body has looked at the world,
    /// since another attempt's transaction of the same number may be another one then.
    pub fn next_transaction(&self) -> Option<u32> {
        let mut progress = self.progress();
        if progress.looked {
            return None;
        }
        progress.transactions += 1;
        Some(progress.transactions)
    }

    /// Whether more may be done by a transaction whose begin is durable.
    pub fn writable(&self) -> Result<()> {
        self.run.writable()
    }

    /// The step's identity.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the attempt.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// True once something may have been changed.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.progress().begun != Begun::Nothing
    }
}

impl Frame {
    /// The frame that a context carries; outside any phase the outermost one.
    #[must_use]
    pub fn of(tag: Option<&Dynamic>) -> Self {
        tag.and_then(|tag| tag.clone().try_cast::<Self>()).unwrap_or_default()
    }

    /// The tag for a context.
    pub fn tag(&self) -> Dynamic {
        Dynamic::from(self.clone())
    }

    /// The identity of a step or phase of this name at this place.
    #[must_use]
    pub fn key(&self, name: &str) -> Key {
        let mut key = Key::clone(&self.path);
        key.push(name.to_owned());
        key
    }

    /// Nested phases so far.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.path.len()
    }

    /// The frame inside a phase.
    #[must_use]
    pub fn in_phase(&self, key: Key, limit: Option<Limit>, never_ask: bool) -> Self {
        let inner = self.limited(limit);
        Self { path: Arc::new(key), never_ask: self.never_ask || never_ask, ..inner }
    }

    /// The frame of a branch of `parallel`.
    #[must_use]
    pub fn in_branch(&self, number: usize) -> Self {
        Self { path: Arc::new(self.key(&branch(number))), failures: Arc::default(), ..self.clone() }
    }

    /// A branch has ended: what failed in it is now up to whoever catches the failure of `parallel`.
    pub fn join(&self, branch: &Self) {
        let failures = std::mem::take(&mut *branch.failures());
        self.failures().extend(failures);
    }

    /// The frame inside a phase that is replayed only to rebuild the undo clauses of what a dead process had done.
    #[must_use]
    pub fn rewinding(&self) -> Self {
        Self { rewinding: true, ..self.clone() }
    }

    /// True in such a frame.
    #[must_use]
    pub fn is_rewinding(&self) -> bool {
        self.rewinding
    }

    /// A step failed here. The run ends with it, unless the script catches the failure.
    pub fn failed(&self, key: &Key) {
        self.failures().push(key.clone());
    }

    /// Something new is about to happen here, so the script has caught whatever failed before: that is made durable
    /// first, or a resumed run would try the failed step again and take the other way.
    pub fn go_on(&self, run: &Run) -> Result<()> {
        let caught = std::mem::take(&mut *self.failures());
        caught.iter().try_for_each(|key| run.write(key, 0, Event::Caught))
    }

    fn failures(&self) -> MutexGuard<'_, Vec<Key>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same place, inside a step: what it creates bears the step's name.
    #[must_use]
    pub fn at_step(&self, key: &Key) -> Self {
        Self { step: Some(Arc::new(key.clone())), ..self.clone() }
    }

    /// The identity of the step that the place is in.
    #[must_use]
    pub fn step(&self) -> Option<&Key> {
        self.step.as_deref()
    }

    /// The frame of a step's body or undo clause.
    #[must_use]
    pub fn in_work(&self, work: Arc<Work>, limit: Option<Limit>) -> Self {
        Self { place: Place::Work(work), ..self.limited(limit) }
    }

    /// The frame of a `check`, `verify` or `poll` clause.
    #[must_use]
    pub fn in_look(&self, limit: Option<Limit>) -> Self {
        Self { place: Place::Look, ..self.limited(limit) }
    }

    /// The same place under other deadlines: an undo has its own, the phase's has passed already.
    #[must_use]
    pub fn with_only_limit(&self, limit: Limit) -> Self {
        Self { limits: Arc::new(vec![limit]), ..self.clone() }
    }

    /// True inside a step, its clauses, or an undo.
    #[must_use]
    pub fn in_step(&self) -> bool {
        !matches!(self.place, Place::Open)
    }

    /// The work of a step's body, where writing is allowed.
    #[must_use]
    pub fn work(&self) -> Option<&Arc<Work>> {
        if let Place::Work(work) = &self.place { Some(work) } else { None }
    }

    /// True in an undo clause.
    #[must_use]
    pub fn is_undo(&self) -> bool {
        self.work().is_some_and(|work| work.is_undo)
    }

    /// True in a phase that must not wait for a person.
    #[must_use]
    pub fn never_asks(&self) -> bool {
        self.never_ask
    }

    /// The deadline that passes first.
    #[must_use]
    pub fn nearest_limit(&self) -> Option<&Limit> {
        self.limits.iter().min_by_key(|limit| limit.at)
    }

    fn limited(&self, limit: Option<Limit>) -> Self {
        let mut limits = Vec::clone(&self.limits);
        limits.extend(limit);
        Self { limits: Arc::new(limits), ..self.clone() }
    }
}

impl Limit {
    /// A deadline that begins to run now.
    #[must_use]
    pub fn starting(given: Duration, of: String, is_phase: bool) -> Self {
        Self { at: clock::instant() + given, given, of, is_phase }
    }
}
