//! One run: its folder, its lock, its journal. The engine asks here what a step's history is, and writes what it does.

use std::{
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::Value as Json;

use super::{
    event::{Decision, Event, Key, Person, RunStarted},
    file::{self, History, Journal, JournalFile},
    lock::{Claims, RunLock},
    sources::{self, Sources},
    state::{RunState, Status},
};
use crate::{
    base::{Code, Error, Redactor, Result, clock, prose},
    fail,
};

/// How the folders of runs begin that are being removed. No id begins with a dot.
pub(super) const ASIDE: &str = ".removed-";

/// Where runs live.
#[derive(Clone, Debug)]
pub struct RunFolder {
    home: PathBuf,
}

/// What a new run is made of.
pub struct NewRun {
    /// The wanted id, or none for `<utc>-<runbook>-<random>`.
    pub id: Option<String>,
    /// The runbook's path as it was given.
    pub runbook: String,
    /// The runbook's name among the texts.
    pub main: String,
    /// All texts, the runbook's own included.
    pub sources: Sources,
    /// Parameters without secrets.
    pub params: Json,
    /// Names of parameters that hold a secret.
    pub secret_params: Vec<String>,
    /// The run that this one goes on from, as its user calls it.
    pub continues: Option<String>,
}

impl RunFolder {
    /// The runs under a home folder.
    #[must_use]
    pub fn new(home: &Path) -> Self {
        Self { home: home.to_owned() }
    }

    /// Begins a run: folder `0700`, sources kept, first record synced.
    pub fn create(&self, new: NewRun, redactor: Redactor) -> Result<Run> {
        let stem =
            Path::new(&new.runbook).file_stem().map_or_else(|| "run".into(), |s| s.to_string_lossy().into_owned());
        let random = format!("{:04x}", rand::random::<u16>());
        let id = new.id.clone().unwrap_or_else(|| format!("{}-{stem}-{random}", clock::now_compact()));
        let fits = !id.is_empty() && id.len() <= 100 && !id.starts_with(['.', '-']) && id != "last";
        if !fits || !id.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c)) {
            return Err(fail!(Code::Usage, "got the run id {id:?}, wanted letters, digits, `-`, `_` and `.`"));
        }
        let continues = new.continues.as_deref().map(|name| self.find(name)).transpose()?;
        let folder = self.path(&id);
        let io = |error: std::io::Error| fail!(Code::JournalWrite, "`{}` cannot be made: {error}", folder.display());
        let runs = self.runs();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&runs).map_err(io)?;
        fs::DirBuilder::new().mode(0o700).create(&folder).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => fail!(Code::Refused, "there is already a run `{id}`")
                .hint(format!("resume it with `pgrun resume {id}`, or choose another `--run-id`")),
            _ => io(error),
        })?;
        let begun = Self::begin(&folder, &id, &new, continues, redactor);
        let (lock, journal) = begun.map_err(|error| {
            // Nothing was done yet, and what is left of it would stand in the way of the same id.
            if let Err(error) = fs::remove_dir_all(&folder) {
                tracing::warn!("`{}` stays: {error}", folder.display());
            }
            error.hint("make space or repair the disk, then begin the run again: nothing was done")
        })?;
        Ok(Run::new(self.clone(), id, new.sources, lock, journal, None))
    }

    fn begin(
        folder: &Path,
        id: &str,
        new: &NewRun,
        continues: Option<String>,
        redactor: Redactor,
    ) -> Result<(RunLock, JournalFile)> {
        let lock = RunLock::take(&folder.join("lock"), id)?;
        let digests = sources::keep(&folder.join("sources"), &new.sources)?;
        file::sync_folder(folder)?;
        let mut journal = JournalFile::create(&folder.join("journal.jsonl"), redactor)?;
        let started = RunStarted {
            run: id.to_owned(),
            runbook: new.runbook.clone(),
            path: std::path::absolute(&new.runbook).ok().map(|path| path.to_string_lossy().into_owned()),
            main: new.main.clone(),
            sources: digests,
            params: new.params.clone(),
            secret_params: new.secret_params.clone(),
            continues,
            pgrun: env!("CARGO_PKG_VERSION").into(),
            person: Person::here(),
        };
        journal.append(&[], 0, Event::RunStarted(started))?;
        Ok((lock, journal))
    }

    /// Opens a run to take it up again: locked, checked, its texts loaded. Nothing is written before [`Run::resume`],
    /// [`Run::begin_undo`] or [`Run::abandon`].
    ///
    /// # Errors
    /// `refused` when the run stands where that cannot be done.
    pub fn open(&self, name: &str, wish: Wish, redactor: Redactor) -> Result<Run> {
        let id = self.find(name)?;
        let folder = self.path(&id);
        let lock = RunLock::take(&folder.join("lock"), &id)?;
        let unborn = || {
            fail!(Code::NoSuchRun, "the run `{id}` died before its first record: there is nothing to resume")
                .hint("start the runbook anew, with another `--run-id` if one was given")
        };
        let path = folder.join("journal.jsonl");
        if !path.exists() {
            return Err(unborn());
        }
        let (journal, note) = JournalFile::open(&path, redactor)?;
        let started = journal.state().started.clone().ok_or_else(unborn)?;
        let status = journal.state().status;
        if wish != Wish::Abandon
            && let Some(next) = self.successor(&id)
        {
            return Err(fail!(Code::Refused, "the run `{id}` is continued by `{next}`")
                .hint(format!("look at it with `pgrun show {next}`; abandon or undo it before this one goes on")));
        }
        let allowed = match wish {
            Wish::Resume => !status.is_over() && status != Status::Undoing,
            Wish::Undo => !matches!(status, Status::Undone | Status::Abandoned),
            Wish::Abandon => !status.is_over(),
        };
        if !allowed {
            let error = fail!(Code::Refused, "the run `{id}` is {}", is_now(status));
            return Err(match status {
                Status::Undoing => error.hint(format!("go on with `{}`", journal.state().command(None))),
                _ => error.hint(format!("look at it with `pgrun show {id}`")),
            });
        }
        let sources = sources::load(&folder.join("sources"), &started.sources)?;
        Ok(Run::new(self.clone(), id, sources, lock, journal, note))
    }

    /// The run that goes on where this one stopped, unless it was undone or abandoned itself.
    fn successor(&self, id: &str) -> Option<String> {
        let continues = |other: &String| {
            let first = file::first(&self.path(other).join("journal.jsonl"));
            first.is_some_and(|started| started.continues.as_deref() == Some(id))
        };
        let counts = |other: &String| {
            let status = self.history(other).map(|history| history.state.status);
            !matches!(status, Ok(Status::Undone | Status::Abandoned))
        };
        self.ids().ok()?.into_iter().find(|other| continues(other) && counts(other))
    }

    /// True when the run is undone as a whole.
    pub fn is_undone(&self, name: &str) -> Result<bool> {
        Ok(self.history(&self.find(name)?)?.state.status == Status::Undone)
    }

    /// The id that a name means: itself, or the only run that contains it; `last` is the newest one.
    pub fn find(&self, name: &str) -> Result<String> {
        if name.is_empty() {
            return Err(fail!(Code::Usage, "got an empty name, wanted a run's id, a part of it, or `last`"));
        }
        let ids = self.ids()?;
        if ids.iter().any(|id| id == name) {
            return Ok(name.to_owned());
        }
        if name == "last"
            && let Some(id) = ids.last()
        {
            return Ok(id.clone());
        }
        let matching: Vec<&String> = ids.iter().filter(|id| id.contains(name)).collect();
        match matching.as_slice() {
            [only] => Ok((*only).clone()),
            [] => Err(fail!(Code::NoSuchRun, "there is no run `{name}` in `{}`", self.runs().display())
                .hint("list the runs with `pgrun runs`")),
            several => Err(fail!(
                Code::NoSuchRun,
                "`{name}` could be {}: {}",
                prose::count(several.len(), "run"),
                prose::ticked_list(several, 5)
            )),
        }
    }

    /// All ids, oldest first by the time of their first record's file.
    pub fn ids(&self) -> Result<Vec<String>> {
        let folder = self.runs();
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
            Err(error) => {
                return Err(fail!(Code::Config, "the folder `{}` cannot be read: {error}", folder.display()));
            }
        };
        let made =
            |path: &Path| fs::metadata(path.join("lock")).and_then(|meta| meta.created().or(meta.modified())).ok();
        let mut runs: Vec<_> = entries
            .flatten()
            .filter(|entry| entry.path().is_dir() && !entry.file_name().as_encoded_bytes().starts_with(b"."))
            .map(|entry| (made(&entry.path()), entry.file_name().to_string_lossy().into_owned()))
            .collect();
        runs.sort();
        Ok(runs.into_iter().map(|(_, id)| id).collect())
    }

    /// A run's history, read without a lock.
    pub fn history(&self, id: &str) -> Result<History> {
        file::read(&self.path(id).join("journal.jsonl"))
    }

    /// True while a process holds the run's lock.
    #[must_use]
    pub fn is_locked(&self, id: &str) -> bool {
        RunLock::is_held(&self.path(id).join("lock"))
    }

    pub(super) fn path(&self, id: &str) -> PathBuf {
        self.runs().join(id)
    }

    pub(super) fn runs(&self) -> PathBuf {
        self.home.join("runs")
    }

    pub(super) fn home(&self) -> &Path {
        &self.home
    }
}

/// What a run is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To go on.
    Resume,
    /// To undo it; also a run that is done.
    Undo,
    /// To end it for good.
    Abandon,
}

fn is_now(status: Status) -> &'static str {
    match status {
        Status::Undoing => "being undone",
        status => status.name(),
    }
}

/// A run that this process works on. Clones share one journal.
#[derive(Clone)]
pub struct Run {
    inner: Arc<Inner>,
}

struct Inner {
    folder: RunFolder,
    id: String,
    sources: Sources,
    claims: Claims,
    journal: Mutex<Box<dyn Journal>>,
    /// What was found when the journal was opened and is not noted in it yet.
    note: Option<String>,
    _lock: RunLock,
}

impl Run {
    fn new(
        folder: RunFolder,
        id: String,
        sources: Sources,
        lock: RunLock,
        journal: JournalFile,
        note: Option<String>,
    ) -> Self {
        let claims = Claims::new(&folder.home);
        let journal: Mutex<Box<dyn Journal>> = Mutex::new(Box::new(journal));
        Self { inner: Arc::new(Inner { folder, id, sources, claims, journal, note, _lock: lock }) }
    }

    /// Begins a new epoch of an opened run.
    ///
    /// # Errors
    /// `claimed` when another run has one of its targets meanwhile.
    pub fn resume(&self) -> Result<()> {
        self.take_up(Event::Resumed(Person::here()))
    }

    /// Begins to undo an opened run, down to the step `to` or as a whole, in a new epoch.
    ///
    /// # Errors
    /// `claimed` when another run has one of its targets meanwhile.
    pub fn begin_undo(&self, to: Option<Key>) -> Result<()> {
        self.take_up(Event::UndoStarted { to, person: Person::here() })
    }

    /// Writes that everything is undone that was to be undone; of a whole run, gives the claims back.
    pub fn end_undo(&self) -> Result<()> {
        self.write(&Key::new(), 0, Event::UndoFinished)?;
        if self.look(|state| state.status == Status::Undone) {
            self.release();
        }
        Ok(())
    }

    /// Ends the run for good and gives its claims back. What it made stays.
    pub fn abandon(&self, why: &str) -> Result<()> {
        self.write(&Key::new(), 0, Event::Abandoned { why: why.to_owned(), person: Person::here() })?;
        self.release();
        Ok(())
    }

    /// Writes what a person decided about a step.
    pub fn decide(&self, key: &[String], decision: Decision, why: &str) -> Result<()> {
        let attempt = self.look(|state| state.steps.get(key).map_or(0, |step| step.attempt));
        let event = Event::Decided { decision, why: why.to_owned(), person: Person::here() };
        self.write(key, attempt, event)
    }

    /// Keeps changed texts and writes that the run goes on with them.
    pub fn adopt(&self, texts: &Sources) -> Result<()> {
        let sources = sources::keep(&self.inner.folder.path(self.id()).join("sources"), texts)?;
        self.write(&Key::new(), 0, Event::Adopted { sources, person: Person::here() })
    }

    fn take_up(&self, event: Event) -> Result<()> {
        // A claim whose file went lost since (a power cut, a cleaned folder) might have been taken by another run.
        for target in self.look(|state| state.claims.clone()) {
            self.inner.claim(&target)?;
        }
        self.write(&Key::new(), 0, event)?;
        match &self.inner.note {
            Some(text) => self.write(&Key::new(), 0, Event::Noted { text: text.clone() }),
            None => Ok(()),
        }
    }

    /// The run's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.inner.folder.path(&self.inner.id)
    }

    /// The texts that the run executes.
    #[must_use]
    pub fn sources(&self) -> &Sources {
        &self.inner.sources
    }

    /// Looks at the history.
    pub fn look<T>(&self, read: impl FnOnce(&RunState) -> T) -> T {
        read(self.journal().state())
    }

    /// Writes one event; it is durable when this returns.
    pub fn write(&self, key: &[String], attempt: u32, event: Event) -> Result<()> {
        self.journal().append(key, attempt, event)
    }

    /// Whether more can be written, and so whether more may be done.
    ///
    /// # Errors
    /// `journal_write` once something could not be written.
    pub fn writable(&self) -> Result<()> {
        self.journal().writable()
    }

    /// Claims a target before the first write to it.
    pub fn claim(&self, target: &str) -> Result<()> {
        if self.look(|state| state.claims.iter().any(|claimed| claimed == target)) {
            return Ok(());
        }
        self.inner.claim(target)?;
        self.write(&Key::new(), 0, Event::Claimed { target: target.to_owned() })
    }

    /// Writes the last event and gives the claims back.
    pub fn finish(&self) -> Result<()> {
        self.write(&Key::new(), 0, Event::Finished)?;
        self.release();
        Ok(())
    }

    fn release(&self) {
        let claims = self.look(|state| state.claims.clone());
        self.inner.claims.release(self.id(), &claims);
    }

    /// Writes why the run stops before its end.
    pub fn stop(&self, state: Status, error: &Error) -> Result<()> {
        self.write(&Key::new(), 0, Event::Stopped { state: state.name().into(), error: error.into() })
    }

    fn journal(&self) -> MutexGuard<'_, Box<dyn Journal>> {
        self.inner.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RunFolder {
    /// True when a run has ended or is gone, so that its claims no longer count. An unreadable journal is not an end,
    /// nor is one that a process holds: it claims its targets before it writes that it undoes a run that was done.
    /// A run that was continued is over with the run that continues it.
    pub(super) fn is_over(&self, run: &str) -> bool {
        let has_ended = || self.history(run).is_ok_and(|history| history.state.status.is_over());
        let is_left = || self.successor(run).is_some_and(|next| self.is_over(&next));
        !self.path(run).exists() || (!self.is_locked(run) && (has_ended() || is_left()))
    }
}

impl Inner {
    /// Claims a target. The claim of a run that this one continues, or that one in turn, passes over, unless a process
    /// works on that run.
    fn claim(&self, target: &str) -> Result<()> {
        let continues = {
            let journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
            journal.state().started.as_ref().and_then(|started| started.continues.clone())
        };
        let before = |run: &String| file::first(&self.folder.path(run).join("journal.jsonl"))?.continues;
        let is_before = |run: &str| std::iter::successors(continues.clone(), before).any(|before| before == run);
        self.claims
            .claim(target, &self.id, |run| self.folder.is_over(run) || (is_before(run) && !self.folder.is_locked(run)))
    }
}
