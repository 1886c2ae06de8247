//! Retention: runs that are over and old are removed, each as a whole or not at all. A run that can be taken up again,
//! that a process holds or whose journal is damaged stays.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    lock::{Claims, RunLock, Swept},
    run::{ASIDE, RunFolder},
    state::Status,
};
use crate::{
    base::{Code, Error, Result, clock},
    fail,
};

/// A run that is over and old.
#[derive(Clone, Debug)]
pub struct OldRun {
    /// Its id.
    pub run: String,
    /// How it ended.
    pub status: Status,
    /// The runbook's path as it was given.
    pub runbook: String,
    /// Wall clock of its last record, RFC 3339.
    pub ended: String,
    /// The time since then.
    pub age: Duration,
    /// The bytes of all its files.
    pub bytes: u64,
}

/// What may go, and what stays although it might be old.
#[derive(Debug, Default)]
pub struct Survey {
    /// Oldest first.
    pub old: Vec<OldRun>,
    /// Runs that cannot be judged or are in use, each with the reason. Runs that are not over, or are young, are not
    /// among them.
    pub kept: Vec<(String, String)>,
}

/// What came of one run's removal.
#[derive(Debug)]
pub enum Removal {
    /// It is gone.
    Done,
    /// It stays: a process took it up since it was looked at.
    TakenUp,
}

enum Verdict {
    Old(OldRun),
    Kept(String),
    Stays,
}

impl RunFolder {
    /// Looks for runs that are over and whose last record is at least so old. Changes nothing.
    ///
    /// # Errors
    /// `config` when the folder of runs cannot be read.
    pub fn survey(&self, older_than: Duration) -> Result<Survey> {
        let mut survey = Survey::default();
        for run in self.ids()? {
            match self.judge(&run, older_than) {
                Verdict::Old(_) if self.is_locked(&run) => {
                    survey.kept.push((run, "a process is working on it".into()));
                }
                Verdict::Old(old) => survey.old.push(old),
                Verdict::Kept(why) => survey.kept.push((run, why)),
                Verdict::Stays => {}
            }
        }
        survey.old.sort_by_key(|old| std::cmp::Reverse(old.age));
        Ok(survey)
    }

    /// Removes a run that [`RunFolder::survey`] found. It is judged again under its lock, so what was taken up since
    /// stays; and it loses its name durably before its first file goes, so no half of a run is ever found as a run.
    ///
    /// # Errors
    /// `journal_write` when its files cannot be moved or removed. [`RunFolder::sweep`] removes what is left then.
    pub fn remove(&self, run: &str, older_than: Duration) -> Result<Removal> {
        let folder = self.path(run);
        let Some(_lock) = RunLock::try_hold(&folder.join("lock")) else { return Ok(Removal::TakenUp) };
        if !matches!(self.judge(run, older_than), Verdict::Old(_)) {
            return Ok(Removal::TakenUp);
        }
        let cannot = |error| cannot_remove(run, &error);
        let runs = self.runs();
        let aside = runs.join(format!("{ASIDE}{:016x}", rand::random::<u64>()));
        fs::rename(&folder, &aside).map_err(cannot)?;
        fs::File::open(&runs).and_then(|runs| runs.sync_all()).map_err(cannot)?;
        remove_all(&aside).map_err(cannot)?;
        Ok(Removal::Done)
    }

    /// Removes what processes left behind that died: halves of removed runs, drafts of claims, and claims of runs that
    /// are over.
    ///
    /// # Errors
    /// `journal_write` when something cannot be removed.
    pub fn sweep(&self) -> Result<Swept> {
        for entry in fs::read_dir(self.runs()).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(ASIDE) {
                remove_all(&entry.path()).map_err(|error| cannot_remove(&name, &error))?;
            }
        }
        Claims::new(self.home()).sweep(|run| self.is_over(run))
    }

    fn judge(&self, run: &str, older_than: Duration) -> Verdict {
        let history = match self.history(run) {
            Ok(history) => history,
            Err(error) => return Verdict::Kept(error.message().to_owned()),
        };
        let state = &history.state;
        let (Some(started), Some(last)) = (&state.started, history.records.last()) else {
            return Verdict::Kept("its journal has no first record".into());
        };
        if !state.status.is_over() {
            return Verdict::Stays;
        }
        if history.torn_bytes > 0 {
            // Something was begun after the end, an undo for example, and nobody has looked at that yet.
            return Verdict::Kept("the last line of its journal is torn".into());
        }
        let Some(ended) = clock::ms_of_text(&last.at) else {
            return Verdict::Kept(format!("its last record has the time {:?}", last.at));
        };
        let age = Duration::from_millis(clock::epoch_ms().saturating_sub(ended));
        if age < older_than {
            return Verdict::Stays;
        }
        Verdict::Old(OldRun {
            run: run.to_owned(),
            status: state.status,
            runbook: started.runbook.clone(),
            ended: last.at.clone(),
            age,
            bytes: size(&self.path(run)),
        })
    }
}

/// The bytes of all files below; what cannot be read counts nothing.
fn size(path: &Path) -> u64 {
    let Ok(meta) = fs::symlink_metadata(path) else { return 0 };
    if !meta.is_dir() {
        return meta.len();
    }
    fs::read_dir(path).into_iter().flatten().flatten().map(|entry| size(&entry.path())).sum()
}

/// Two processes may be at it at the same time.
fn remove_all(path: &PathBuf) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn cannot_remove(what: &str, error: &io::Error) -> Error {
    fail!(Code::JournalWrite, "`{what}` cannot be removed: {error}")
        .hint("repair the folder, then run the same command again: it goes on where it stopped")
}
