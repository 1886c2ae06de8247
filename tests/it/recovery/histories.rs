//! Histories of every kind: legal ones load from every line's end, and no edit of their file gets past the reader.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use pgrun::{
    base::{Code, Redactor},
    journal::{Event, How, Journal, JournalFile, Record, file},
};
use proptest::{
    prelude::any,
    sample::Index,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use serde_json::{Value as Json, json};

use super::{
    chance::{History, key, proposals, started},
    forger,
};

/// A file to write journals into and read them.
struct Place {
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { path: folder.path().join("journal.jsonl"), _folder: folder }
    }

    fn read(&self, bytes: &[u8]) -> pgrun::base::Result<file::History> {
        std::fs::write(&self.path, bytes).unwrap();
        file::read(&self.path)
    }

    /// The file is refused because of this line.
    #[track_caller]
    fn refuses(&self, bytes: &[u8], line: usize, what: &str, why: &str) {
        let Err(error) = self.read(bytes) else { panic!("{what} in line {line} was not found") };
        let wanted = format!("line {line} of the journal `{}` is damaged: ", self.path.display());
        assert_eq!(error.code(), Code::JournalDamaged, "{what}: {error}");
        assert!(error.message().starts_with(&wanted), "{what} in line {line}: {error}");
        assert!(error.message().contains(why), "{what}: wanted `{why}`: {error}");
    }

    /// A forger's file is refused by what its line says, since its hashes fit.
    #[track_caller]
    fn refuses_forged(&self, mut records: Vec<Record>, line: usize, what: &str) {
        let lines = forger::chain(&mut records).unwrap();
        self.refuses(forger::file(&lines).as_bytes(), line, what, "cannot follow");
    }
}

/// The same histories each time. `PGRUN_CASES=1000` looks at as many other ones.
fn runner(cases: u32) -> TestRunner {
    let config = |cases| Config { cases, failure_persistence: None, max_shrink_iters: 2_000, ..Config::default() };
    match std::env::var("PGRUN_CASES").ok().and_then(|text| text.parse().ok()) {
        Some(wanted) => TestRunner::new(config(wanted)),
        None => TestRunner::new_with_rng(config(cases), TestRng::deterministic_rng(RngAlgorithm::ChaCha)),
    }
}

fn for_each(cases: u32, check: impl Fn(&History, Index)) {
    let checked = runner(cases).run(&(proposals(), any::<Index>()), |(proposals, index)| {
        check(&History::of(&proposals), index);
        Ok(())
    });
    if let Err(found) = checked {
        panic!("{found}");
    }
}

/// Every prefix that ends with a line is a journal that means what the run knew at that time; one cut off inside its
/// last line is torn and means what it did before. On the way every event, and every place where a run can stand, is
/// met, so that the other properties speak of them all.
#[test]
fn every_prefix_loads_as_it_was_lived() {
    let place = Place::new();
    let met: RefCell<(BTreeSet<&str>, BTreeSet<&str>, usize)> = RefCell::default();
    for_each(60, |history, index| {
        let whole = place.read(history.text(history.lines.len()).as_bytes()).unwrap();
        assert_eq!(whole.records, history.records);
        for end in 0..=history.lines.len() {
            let text = history.text(end);
            let prefix = place.read(text.as_bytes()).unwrap();
            assert_eq!((format!("{:?}", prefix.state), prefix.torn_bytes), (history.states[end].clone(), 0));
            let Some(next) = history.lines.get(end) else { break };
            let cut = 1 + index.index(next.len());
            let torn = place.read(&[text.as_bytes(), &next.as_bytes()[..cut]].concat()).unwrap();
            assert_eq!((format!("{:?}", torn.state), torn.torn_bytes), (history.states[end].clone(), cut as u64));
            assert_eq!(torn.good_bytes, text.len() as u64);
        }
        let mut met = met.borrow_mut();
        met.0.extend(history.records.iter().map(|record| record.event.kind()));
        met.1.extend(&history.stood);
        met.2 += history.records.len();
    });
    let (kinds, statuses, records) = met.into_inner();
    assert_eq!(kinds.len(), 23, "{kinds:?}");
    assert_eq!(statuses.len(), 8, "{statuses:?}");
    assert!(records > 60 * 20, "{records} records");
}

/// The same through the file that a live run appends to and syncs.
#[test]
fn a_journal_on_disk_is_what_its_writer_knows() {
    for_each(8, |history, _| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let mut journal = JournalFile::create(&path, Redactor::default()).unwrap();
        for record in &history.records {
            journal.append(&record.key, record.attempt, record.event.clone()).unwrap();
            let found = file::read(&path).unwrap();
            assert_eq!(format!("{:?}", found.state), format!("{:?}", journal.state()));
        }
        let size = std::fs::metadata(&path).unwrap().len();
        for (_, record) in history.refused.iter().filter(|(after, _)| *after == history.records.len()) {
            let (seq, epoch) = (history.state.seq + 1, history.state.epoch + u32::from(record.event.begins_epoch()));
            if (record.seq, record.epoch) == (seq, epoch) {
                let error = journal.append(&record.key, record.attempt, record.event.clone()).unwrap_err();
                assert_eq!(error.code(), Code::JournalMismatch);
            }
        }
        assert_eq!(std::fs::metadata(&path).unwrap().len(), size, "what is refused is not written");
        let known = format!("{:?}", journal.state());
        drop(journal);
        let (journal, note) = JournalFile::open(&path, Redactor::default()).unwrap();
        assert_eq!((format!("{:?}", journal.state()), note), (known, None));
    });
}

/// A changed byte, a line that was removed, doubled, exchanged with another one or taken from another journal: the
/// chain names the first line that is not as it was.
#[test]
fn every_edit_is_found_in_its_line() {
    let place = Place::new();
    let stranger = History::of(&[]).lines.remove(0).replace("\"r.rhai\"", "\"s.rhai\"");
    let stranger = forger::chain_json(&mut [serde_json::from_str(&stranger).unwrap()]).remove(0);
    for_each(60, |history, index| {
        let (lines, count) = (&history.lines, history.lines.len());
        let edited = |edit: &dyn Fn(&mut Vec<String>)| {
            let mut lines = lines.clone();
            edit(&mut lines);
            forger::file(&lines).into_bytes()
        };
        let at = index.index(count);
        for bit in 0..8 {
            // The last line feed is all that tells a whole last line from a torn one.
            let mut bytes = edited(&|_| {});
            let byte = (index.index(bytes.len() - 1) + bit * 131) % (bytes.len() - 1);
            bytes[byte] ^= 1 << bit;
            let line = history.text(count).as_bytes()[..byte].split(|byte| *byte == b'\n').count();
            place.refuses(&bytes, line, "a changed byte", "");
        }
        if at + 1 < count {
            place.refuses(&edited(&|lines| drop(lines.remove(at))), at + 1, "a removed line", "removed or exchanged");
            place.refuses(&edited(&|lines| lines.swap(at, count - 1)), at + 1, "an exchange", "removed or exchanged");
        }
        let doubled = edited(&|lines| lines.insert(at, lines[at].clone()));
        place.refuses(&doubled, at + 2, "a doubled line", "removed or exchanged");
        let strange = edited(&|lines| lines.insert(at + 1, stranger.clone()));
        place.refuses(&strange, at + 2, "a stranger's line", "removed or exchanged");
    });
}

/// Whoever computes the hashes anew still cannot write a history that never was legal: the state machine names the
/// line. Everything that a live run was refused is refused in a file.
#[test]
fn a_forged_history_is_found_in_its_line() {
    let place = Place::new();
    let met: RefCell<BTreeMap<&str, u32>> = RefCell::default();
    for_each(40, |history, index| {
        let refuses = |name: &'static str, at: usize, line: usize, edit: &dyn Fn(&mut Vec<Record>, usize)| {
            let mut records = history.records.clone();
            edit(&mut records, at);
            place.refuses_forged(records, line, name);
            *met.borrow_mut().entry(name).or_default() += 1;
        };
        for (after, record) in history.refused.iter().skip(index.index(8)).step_by(8) {
            refuses("what was refused", *after, after + 1, &|records, at| records.insert(at, record.clone()));
        }
        let insert = |records: &mut Vec<Record>, at: usize, mut record: Record| {
            record.seq = at as u64 + 1;
            records.insert(at, record);
            records[at + 1..].iter_mut().for_each(|record| record.seq += 1);
        };
        let at = 1 + index.index(history.records.len());
        let outside =
            Record { key: key(&["nowhere", "s"]), attempt: 1, event: Event::Intent, ..history.records[at - 1].clone() };
        refuses("an intent outside its phase", at, at + 1, &|records, at| insert(records, at, outside.clone()));
        for (at, record) in history.records.iter().enumerate() {
            match record.event {
                Event::RunStarted(_) => {
                    refuses("a second start", at + 1, at + 2, &|records, at| insert(records, at, record.clone()));
                }
                Event::Done { .. } => {
                    refuses("a second `done`", at + 1, at + 2, &|records, at| insert(records, at, record.clone()));
                    refuses("a wrong epoch", at, at + 1, &|records, at| records[at].epoch += 1);
                    refuses("an epoch of before", at, at + 1, &|records, at| records[at].epoch -= 1);
                    refuses("a wrong number", at, at + 1, &|records, at| records[at].seq += 1);
                }
                Event::Intent => {
                    refuses("a second intent", at + 1, at + 2, &|records, at| insert(records, at, record.clone()));
                    refuses("a wrong attempt", at, at + 1, &|records, at| records[at].attempt += 1);
                    refuses("an attempt of before", at, at + 1, &|records, at| records[at].attempt -= 1);
                }
                Event::Resumed(_) if at + 1 < history.records.len() => {
                    refuses("a hidden resume", at, at + 1, &|records, at| {
                        records.remove(at);
                        records[at..].iter_mut().for_each(|record| record.seq -= 1);
                    });
                }
                _ => {}
            }
        }
    });
    let met = met.into_inner();
    assert_eq!(met.len(), 11, "{met:?}");
    assert!(met.values().all(|times| *times >= 30), "{met:?}");
}

/// A value that no reader could take in again is not written, and the run goes on from before it.
#[test]
fn what_could_not_be_read_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path: &Path = &folder.path().join("journal.jsonl");
    let mut journal = JournalFile::create(path, Redactor::default()).unwrap();
    journal.append(&[], 0, started()).unwrap();
    let mut refused = 0;
    for depth in 0..200 {
        let value = (0..depth).fold(Json::Null, |inner, _| json!([inner]));
        let done = Event::Done { value, how: How::Looked, ms: 1 };
        match journal.append(&key(&[&format!("s [{depth}]")]), 0, done) {
            Ok(()) => assert_eq!(refused, 0),
            Err(error) => {
                assert_eq!(error.code(), Code::NotJournalable, "{error}");
                refused += 1;
            }
        }
    }
    // Nothing is refused that could be read: the line, its body and 125 lists are the most.
    assert_eq!(refused, 74);
    assert_eq!(file::read(path).unwrap().records.len(), 201 - refused);
}
