//! The ledger: every write that was sent, and what became of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{BufWriter, Write as _},
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use uuid::Uuid;

use super::{
    Status,
    connection::Failure,
    series::{Series, Tick},
};
use crate::{
    base::{Code, Result, clock},
    fail,
};

/// What a client did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// A probe's insert.
    Probe,
    /// An insert under a `bigserial` key.
    Insert,
    /// The insert of the row that the client's updates count in.
    Open,
    /// An update.
    Update,
    /// The insert of a row that will be deleted.
    Note,
    /// The deletion of such a row; its number is that of the row.
    Erase,
    /// A transaction over two tables.
    Transfer,
    /// An insert numbered by a sequence.
    Ticket,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fate {
    /// The server said that it is committed.
    Acknowledged,
    /// The server said that it is not.
    Failed,
    /// Neither was said: it may be there or not, but not twice.
    InDoubt,
}

/// One write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The client; probes come first.
    pub client: u16,
    /// The client's own count of writes.
    pub number: u32,
    /// The write whose row this one changes: an update's account, a deletion's note. Otherwise the number itself.
    pub target: u32,
    /// What was done.
    pub operation: Operation,
    /// What became of it.
    pub fate: Fate,
    /// Where it was sent: an index into [`Ledger::places`].
    pub place: u8,
    /// When it was sent, in microseconds since the start.
    pub begun_us: u64,
    /// When the answer was there, or was given up, in microseconds since the start.
    pub ended_us: u64,
}

/// A copy of what a load has done.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// A number of this load alone; every tag begins with it.
    pub nonce: u64,
    /// Clients below this number are probes.
    pub probes: u16,
    /// Addresses, as `host:port`.
    pub places: Vec<String>,
    /// Every write, in the order in which they ended.
    pub records: Vec<Record>,
    /// Failures of the probes by SQLSTATE or word, failed connects included.
    pub errors: BTreeMap<String, u64>,
    /// The failures of the applications by SQLSTATE or word.
    pub application_errors: BTreeMap<String, u64>,
    /// The SQLSTATE or word of a probe's first failure.
    pub first_error: Option<String>,
    /// What happened in each tenth of a second.
    pub series: Vec<Tick>,
    /// Names of laps with their beginnings, in microseconds since the start.
    pub laps: Vec<(String, u64)>,
    /// The ledger was full, and the load ended for that reason.
    pub is_full: bool,
}

impl Ledger {
    /// The tag in the row that a record is about.
    #[must_use]
    pub fn tag(&self, record: &Record) -> Uuid {
        tag(self.nonce, record.client, record.target)
    }

    /// The lowest and the highest tag that this load can have written.
    pub(super) fn tag_range(&self) -> (Uuid, Uuid) {
        (tag(self.nonce, 0, 0), Uuid::from_u64_pair(self.nonce, u64::MAX))
    }

    /// Whether the client is a probe.
    #[must_use]
    pub fn is_probe(&self, client: u16) -> bool {
        client < self.probes
    }
}

/// The tag of a client's write: load, client and number, so that it can be computed from a record.
pub(super) fn tag(nonce: u64, client: u16, number: u32) -> Uuid {
    Uuid::from_u64_pair(nonce, u64::from(client) << 32 | u64::from(number))
}

/// The most writes that a load remembers, which bounds its memory to 400 MB. Four probes need two hours for it.
const MAX_RECORDS: usize = 10_000_000;

/// The ledger that is being written.
pub(super) struct Book {
    begun: Instant,
    nonce: u64,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    ledger: Ledger,
    series: Series,
    heard: BTreeSet<u16>,
    counts: [u64; 3],
    last: Option<(u64, u8)>,
    last_failure: Option<String>,
    file: Option<BufWriter<File>>,
}

impl Book {
    /// An empty book, which also writes to a file if there is a path. The clients below `probes` are probes.
    ///
    /// # Errors
    /// `no_such_file` when the file cannot be made.
    pub(super) fn open(path: Option<PathBuf>, probes: u16) -> Result<Self> {
        let nonce: u64 = rand::random();
        let mut inner = Inner::default();
        (inner.ledger.nonce, inner.ledger.probes) = (nonce, probes);
        inner.ledger.laps.push(("start".to_owned(), 0));
        if let Some(path) = path {
            let unusable = |error: std::io::Error| {
                fail!(Code::NoSuchFile, "the ledger `{}` cannot be written: {error}", path.display())
            };
            let mut file = BufWriter::new(File::create(&path).map_err(unusable)?);
            writeln!(file, "begun_us\tended_us\ttag\tclient\toperation\tfate\tplace").map_err(unusable)?;
            inner.file = Some(file);
        }
        Ok(Self { begun: clock::instant(), nonce, inner: Mutex::new(inner) })
    }

    /// A client that panicked has not left the book half written: every change is one call.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the load began.
    pub(super) fn begun(&self) -> Instant {
        self.begun
    }

    /// Microseconds since then.
    pub(super) fn now_us(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// The index of an address. After 256 of them the last index stands for all others.
    pub(super) fn place(&self, address: &str) -> u8 {
        let places = &mut self.inner().ledger.places;
        let index = places.iter().position(|place| place == address).unwrap_or_else(|| {
            if places.len() < usize::from(u8::MAX) {
                places.push(address.to_owned());
            }
            places.len() - 1
        });
        u8::try_from(index).unwrap_or(u8::MAX)
    }

    /// The tag of a client's write.
    pub(super) fn tag(&self, client: u16, number: u32) -> Uuid {
        tag(self.nonce, client, number)
    }

    /// Enters a write that ended now, with the failure if it failed.
    pub(super) fn enter(&self, record: Record, failure: Option<&Failure>) {
        let mut inner = self.inner();
        let is_probe = inner.ledger.is_probe(record.client);
        inner.counts[record.fate as usize] += 1;
        if record.fate == Fate::Acknowledged {
            inner.last = Some((record.ended_us, record.place));
            inner.heard.insert(record.client);
        }
        inner.series.count(record.ended_us, is_probe, (record.fate == Fate::Acknowledged).then_some(record.place));
        if let Some(failure) = failure {
            inner.fail(is_probe, failure);
        }
        let tag = inner.ledger.tag(&record);
        if let Some(file) = &mut inner.file {
            let Record { begun_us, ended_us, client, operation, fate, place, .. } = record;
            let line = writeln!(file, "{begun_us}\t{ended_us}\t{tag}\t{client}\t{operation:?}\t{fate:?}\t{place}");
            // The file is evidence on top; the proof is made from memory.
            if let Err(error) = line {
                tracing::warn!(%error, "the ledger's file cannot be written any more");
                inner.file = None;
            }
        }
        inner.ledger.records.push(record);
        inner.ledger.is_full |= inner.ledger.records.len() >= MAX_RECORDS;
    }

    /// Enters a connect that failed: nothing was sent.
    pub(super) fn refused(&self, client: u16, failure: &Failure) {
        let at_us = self.now_us();
        let mut inner = self.inner();
        let is_probe = inner.ledger.is_probe(client);
        inner.series.count(at_us, is_probe, None);
        inner.fail(is_probe, failure);
    }

    /// How many clients have had an acknowledgement.
    pub(super) fn clients_heard(&self) -> usize {
        self.inner().heard.len()
    }

    /// The last failure, for people.
    pub(super) fn last_failure(&self) -> Option<String> {
        self.inner().last_failure.clone()
    }

    /// Whether nothing more fits.
    pub(super) fn is_full(&self) -> bool {
        self.inner().ledger.is_full
    }

    /// Begins a lap.
    pub(super) fn lap(&self, name: &str) {
        let at_us = self.now_us();
        self.inner().ledger.laps.push((name.to_owned(), at_us));
    }

    /// How the load is doing.
    pub(super) fn status(&self, running: usize) -> Status {
        let now_us = self.now_us();
        let inner = self.inner();
        let [acknowledged, failed, in_doubt] = inner.counts;
        let endpoint = inner.last.and_then(|(_, place)| inner.ledger.places.get(usize::from(place)).cloned());
        Status {
            running,
            elapsed_ms: now_us / 1000,
            acknowledged,
            failed,
            in_doubt,
            silent_ms: inner.last.map(|(at_us, _)| now_us.saturating_sub(at_us) / 1000),
            endpoint,
            idle: 0,
            idle_ended: 0,
        }
    }

    /// A copy.
    pub(super) fn ledger(&self) -> Ledger {
        let inner = self.inner();
        let mut ledger = inner.ledger.clone();
        ledger.series = inner.series.ticks();
        ledger
    }

    /// Ends the book: what the file's buffer holds is written, and the ledger is given away.
    pub(super) fn close(&self) -> Ledger {
        let mut inner = self.inner();
        if let Some(mut file) = inner.file.take()
            && let Err(error) = file.flush()
        {
            tracing::warn!(%error, "the end of the ledger's file cannot be written");
        }
        let mut ledger = std::mem::take(&mut inner.ledger);
        ledger.series = inner.series.take();
        ledger
    }
}

impl Inner {
    fn fail(&mut self, is_probe: bool, failure: &Failure) {
        if is_probe && self.ledger.first_error.is_none() {
            self.ledger.first_error = Some(failure.code.clone());
        }
        let errors = if is_probe { &mut self.ledger.errors } else { &mut self.ledger.application_errors };
        *errors.entry(failure.code.clone()).or_default() += 1;
        self.last_failure = Some(failure.words.clone());
    }
}
