//! The journal's file: appended, synced, chained by hashes; read back through the same state machine.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use super::{
    crash::CrashPoint,
    event::{Event, Key, RunStarted},
    record::{FIRST_PREV, Masks, Record},
    state::RunState,
};
use crate::{
    base::{Code, Error, Redactor, Result, clock, prose},
    fail,
};

/// Where events go. One implementation today, the file; nothing above this trait may know which.
pub trait Journal: Send {
    /// What the history says so far.
    fn state(&self) -> &RunState;

    /// Writes one event and returns when it is durable. After an error nothing more may be done in this run.
    fn append(&mut self, key: &[String], attempt: u32, event: Event) -> Result<()>;

    /// Whether more can be written. Asked before effects that need no record of their own.
    ///
    /// # Errors
    /// `journal_write` once something could not be written.
    fn writable(&self) -> Result<()>;
}

/// A journal in a file of JSON lines.
pub struct JournalFile {
    path: PathBuf,
    file: File,
    state: RunState,
    redactor: Redactor,
    crash: CrashPoint,
    /// Why a write or sync failed: what is on disk is not known from then on (a second sync may lie). Whoever comes
    /// next, another branch for example, gets the same answer.
    broken: Option<Error>,
}

impl JournalFile {
    /// Begins a new journal; the file must not exist yet.
    pub fn create(path: &Path, redactor: Redactor) -> Result<Self> {
        let file = OpenOptions::new()
            .create_new(true)
            .read(true)
            .append(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| write_error(path, &error))?;
        sync_folder(path)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            state: RunState::default(),
            redactor,
            crash: CrashPoint::from_env(),
            broken: None,
        })
    }

    /// Opens a journal to go on with it. A torn last line is cut off; the caller notes that.
    ///
    /// # Errors
    /// `journal_damaged` with the number of the first line that is not as it was written.
    pub fn open(path: &Path, redactor: Redactor) -> Result<(Self, Option<String>)> {
        // Whoever goes on needs what the lines mean; the lines themselves are most of the memory.
        let history = walk(path, &mut drop)?;
        let mut file =
            OpenOptions::new().read(true).append(true).open(path).map_err(|error| write_error(path, &error))?;
        if history.torn_bytes > 0 {
            file.set_len(history.good_bytes).map_err(|error| write_error(path, &error))?;
            file.sync_data().map_err(|error| write_error(path, &error))?;
        }
        file.seek(SeekFrom::End(0)).map_err(|error| write_error(path, &error))?;
        let note = (history.torn_bytes > 0).then(|| {
            let torn = prose::count(usize::try_from(history.torn_bytes).unwrap_or(usize::MAX), "byte");
            format!("a torn last line was cut off ({torn}): the process died while it wrote")
        });
        Ok((
            Self {
                path: path.to_owned(),
                file,
                state: history.state,
                redactor,
                crash: CrashPoint::from_env(),
                broken: None,
            },
            note,
        ))
    }
}

impl Journal for JournalFile {
    fn state(&self) -> &RunState {
        &self.state
    }

    fn append(&mut self, key: &[String], attempt: u32, event: Event) -> Result<()> {
        self.writable()?;
        let grows = u32::from(event.begins_epoch());
        let prev = if self.state.seq == 0 { FIRST_PREV.to_owned() } else { self.state.head.clone() };
        let mut record = Record {
            seq: self.state.seq + 1,
            epoch: self.state.epoch + grows,
            at: clock::now_text(),
            key: Key::from(key),
            attempt,
            event,
            prev,
            hash: String::new(),
        };
        let prose = |text: &str| self.redactor.clean(text).into_owned();
        let exact = |text: &str| if self.redactor.finds(text) { prose(text) } else { text.to_owned() };
        let (mut line, hash) = record.encode(&Masks { prose: &prose, exact: &exact })?;
        record.hash = hash;
        self.state.next(&record)?;
        self.crash.pass(true, &record.event, key);
        line.push('\n');
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(|error| {
            // What is told about the run from here on is what a later process will find, not what was to be written.
            if let Ok(history) = read(&self.path) {
                self.state = history.state;
            }
            self.broken.insert(write_error(&self.path, &error)).clone()
        })?;
        self.crash.pass(false, &record.event, key);
        Ok(())
    }

    fn writable(&self) -> Result<()> {
        self.broken.clone().map_or(Ok(()), Err)
    }
}

/// What a file holds.
pub struct History {
    /// The meaning of all good lines.
    pub state: RunState,
    /// All good lines.
    pub records: Vec<Record>,
    /// Bytes up to the end of the last good line.
    pub good_bytes: u64,
    /// Bytes of a torn last line; 0 where there is none.
    pub torn_bytes: u64,
}

/// What a journal's first line says; none where it cannot be read.
#[must_use]
pub fn first(path: &Path) -> Option<RunStarted> {
    let mut line = String::new();
    BufReader::new(File::open(path).ok()?).read_line(&mut line).ok()?;
    match Record::decode(line.trim_end_matches('\n')).ok()?.event {
        Event::RunStarted(started) => Some(started),
        _ => None,
    }
}

/// Reads and checks a whole journal without changing it.
///
/// # Errors
/// `journal_damaged` naming the first bad line, unless only the last line is torn (no line feed at its end).
pub fn read(path: &Path) -> Result<History> {
    let mut records = vec![];
    let walked = walk(path, &mut |record| records.push(record))?;
    Ok(History { records, ..walked })
}

/// As [`read`], but hands the records out one by one and keeps none.
fn walk(path: &Path, each: &mut dyn FnMut(Record)) -> Result<History> {
    let shown = path.display();
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|mut file| file.read_to_end(&mut bytes))
        .map_err(|error| fail!(Code::JournalDamaged, "the journal `{shown}` cannot be read: {error}"))?;
    let mut history = History { state: RunState::default(), records: vec![], good_bytes: 0, torn_bytes: 0 };
    let mut prev = FIRST_PREV.to_owned();
    let mut rest = bytes.as_slice();
    let mut number = 0_usize;
    while !rest.is_empty() {
        number += 1;
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            history.torn_bytes = rest.len() as u64;
            break;
        };
        let damaged = |why: String| {
            fail!(Code::JournalDamaged, "line {number} of the journal `{shown}` is damaged: {why}")
                .hint("restore the file from a copy; a run whose journal was changed cannot be resumed")
        };
        let line = std::str::from_utf8(&rest[..end]).map_err(|_| damaged("it is not UTF-8".into()))?;
        let record = Record::decode(line).map_err(|error| damaged(error.to_string()))?;
        if record.prev != prev {
            return Err(damaged("it does not follow the line before: lines were removed or exchanged".into()));
        }
        history.state.next(&record).map_err(|error| damaged(error.to_string()))?;
        prev.clone_from(&record.hash);
        each(record);
        history.good_bytes += end as u64 + 1;
        rest = &rest[end + 1..];
    }
    Ok(history)
}

/// Makes a new file's name durable.
pub fn sync_folder(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| write_error(path, &error))
}

fn write_error(path: &Path, error: &std::io::Error) -> Error {
    fail!(Code::JournalWrite, "the journal `{}` cannot be written: {error}", path.display()).hint(AFTER_ERROR)
}

const AFTER_ERROR: &str = "make space or repair the disk; nothing more was done, and the run can be resumed";

#[cfg(test)]
mod tests {
    use super::{Event, Journal, JournalFile, RunStarted, read};
    use crate::base::{Redactor, Secret};
    use crate::journal::event::Person;

    fn begin(path: &std::path::Path, redactor: &Redactor) -> JournalFile {
        let mut journal = JournalFile::create(path, redactor.clone()).unwrap();
        let started = RunStarted {
            run: "r".into(),
            runbook: "r.rhai".into(),
            path: None,
            main: "r.rhai".into(),
            sources: std::collections::BTreeMap::new(),
            params: serde_json::Value::Null,
            secret_params: vec![],
            continues: None,
            pgrun: "0".into(),
            person: Person::here(),
        };
        journal.append(&[], 0, Event::RunStarted(started)).unwrap();
        journal
    }

    #[test]
    fn a_torn_tail_is_cut_and_any_other_damage_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let mut journal = begin(&path, &Redactor::default());
        journal.append(&["a".into()], 1, Event::Intent).unwrap();
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        let first_end = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for cut in first_end + 1..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let (journal, note) = JournalFile::open(&path, Redactor::default()).unwrap();
            assert_eq!(journal.state().seq, 1);
            assert!(note.unwrap().contains("torn"));
        }
        let mut changed = whole.clone();
        changed[10] ^= 1;
        std::fs::write(&path, &changed).unwrap();
        assert!(read(&path).err().unwrap().message().starts_with("line 1 of the journal"));
        std::fs::write(&path, &whole[first_end..]).unwrap();
        assert!(read(&path).err().unwrap().message().contains("lines were removed"));
    }

    #[test]
    fn a_secret_never_reaches_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let redactor = Redactor::default();
        redactor.learn(&Secret::new("hunter2\"x"));
        let mut journal = begin(&path, &redactor);
        journal.append(&[], 0, Event::Noted { text: "url with hunter2\"x inside".into() }).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("url with *** inside") && !text.contains("hunter2"));
        assert!(read(&path).is_ok());
    }
}
