//! Damages recorded journals in every way that is quick to think of, and looks whether their reader stands it: no input
//! makes it panic or hang, and what it accepts it writes again as it was.
//!
//! ```text
//! cargo test --test fuzz_journal                          two seconds of the same inputs
//! cargo test --release --test fuzz_journal -- 600         ten minutes, other inputs each time
//! cargo test --release --test fuzz_journal -- 600 SEED    the same as a run that failed
//! ```
//!
//! A failing input is kept in a file, whose path is printed.

#![allow(clippy::unwrap_used, reason = "a fuzzer fails by panicking")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what it counts and finds is what it is for")]

#[path = "../it/recovery/forger.rs"]
mod forger;
mod mutation;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use pgrun::journal::{Record, file};
use rand::{SeedableRng, rngs::StdRng};

use mutation::Mutator;

/// A reader that takes longer over a few kilobytes hangs.
const LONGEST: Duration = Duration::from_secs(1);

/// What came of the inputs.
#[derive(Default)]
struct Counts {
    inputs: u64,
    /// Whole journals that were accepted, with all of their lines or torn.
    accepted: u64,
    /// Lines that were records.
    records: u64,
}

/// The input that is being read, and since when: a second thread watches the first one.
struct Watch {
    began: Instant,
    /// Milliseconds after `began`, or none.
    since: AtomicU64,
    input: Mutex<Vec<u8>>,
    over: AtomicBool,
}

const IDLE: u64 = u64::MAX;

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|text| text.parse::<u64>().ok());
    let seconds = numbers.next();
    let seed = numbers.next().unwrap_or_else(|| if seconds.is_some() { rand::random() } else { 1 });
    let journals = recorded();
    let folder = tempfile::tempdir().unwrap();
    let watch =
        Watch { began: Instant::now(), since: IDLE.into(), input: Mutex::default(), over: AtomicBool::default() };
    println!("fuzz_journal: seed {seed}");
    let counts = std::thread::scope(|threads| {
        threads.spawn(|| watch.look());
        let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(2));
        let counts = catch_unwind(AssertUnwindSafe(|| fuzz(&journals, folder.path(), seed, end, &watch)));
        watch.over.store(true, Ordering::SeqCst);
        counts.unwrap_or_else(|_| watch.fail("the reader failed"))
    });
    let Counts { inputs, accepted, records } = counts;
    println!("fuzz_journal: {inputs} inputs, {accepted} journals accepted, {records} lines accepted alone");
    assert!(inputs > 100 && accepted > 10 && records > 10, "the inputs are not what they are meant to be");
}

fn recorded() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/recovery/recorded");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let journals = paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    let journals: Vec<Vec<u8>> = journals.map(|path| std::fs::read(path).unwrap()).collect();
    assert!(!journals.is_empty(), "there are no recorded journals");
    journals
}

fn fuzz(journals: &[Vec<u8>], folder: &Path, seed: u64, end: Instant, watch: &Watch) -> Counts {
    let mut mutator = Mutator::new(journals, StdRng::seed_from_u64(seed));
    let path = folder.join("journal.jsonl");
    let mut counts = Counts::default();
    while Instant::now() < end {
        let input = mutator.input();
        watch.begin(&input);
        read_whole(&input, &path, &mut counts);
        // The same lines without the rest of their journal.
        let line = mutator.line(&input);
        watch.begin(line);
        read_line(line, &mut counts);
        watch.since.store(IDLE, Ordering::SeqCst);
    }
    counts
}

/// What is accepted comes back as it was, lines and state, after it was written again.
fn read_whole(input: &[u8], path: &Path, counts: &mut Counts) {
    counts.inputs += 1;
    std::fs::write(path, input).unwrap();
    let Ok(first) = file::read(path) else { return };
    counts.accepted += 1;
    assert_eq!(first.good_bytes + first.torn_bytes, input.len() as u64, "every byte is good or torn");
    let mut records = first.records.clone();
    let lines = forger::chain(&mut records).unwrap();
    std::fs::write(path, forger::file(&lines)).unwrap();
    let second = file::read(path).unwrap();
    // A forger may have written a line otherwise than we do (blanks, order of fields): then the hashes differ.
    let plain = |records: &[Record]| -> Vec<Record> {
        let bare = |record: &Record| Record { prev: String::new(), hash: String::new(), ..record.clone() };
        records.iter().map(bare).collect()
    };
    assert_eq!(plain(&first.records), plain(&second.records));
    let bare = |mut state: pgrun::journal::RunState| {
        state.head.clear();
        format!("{state:?}")
    };
    assert_eq!(bare(first.state), bare(second.state));
}

fn read_line(line: &[u8], counts: &mut Counts) {
    counts.inputs += 1;
    let Ok(text) = std::str::from_utf8(line) else { return };
    let Ok(record) = Record::decode(text) else { return };
    counts.records += 1;
    let (again, hash) = record.encode(&forger::PLAIN).unwrap();
    assert_eq!(Record::decode(&again).unwrap(), Record { hash, ..record });
}

impl Watch {
    fn begin(&self, input: &[u8]) {
        let mut now = self.input.lock().unwrap();
        now.clear();
        now.extend_from_slice(input);
        let since = u64::try_from(self.began.elapsed().as_millis()).unwrap();
        self.since.store(since, Ordering::SeqCst);
    }

    /// Ends the process when an input takes too long: the thread that reads it cannot be ended alone.
    fn look(&self) {
        while !self.over.load(Ordering::SeqCst) {
            std::thread::sleep(LONGEST / 20);
            let since = self.since.load(Ordering::SeqCst);
            if since != IDLE && self.began.elapsed() > Duration::from_millis(since) + LONGEST {
                self.fail("the reader hangs");
            }
        }
    }

    fn fail(&self, why: &str) -> ! {
        let path = std::env::temp_dir().join("fuzz_journal.failed");
        std::fs::write(&path, &*self.input.lock().unwrap()).unwrap();
        eprintln!("fuzz_journal: {why}; the input is kept in {}", path.display());
        std::process::exit(1);
    }
}
