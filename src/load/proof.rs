//! What a load proves.

use std::collections::BTreeMap;

use super::{
    ledger::{Fate, Ledger, Record},
    outage::{Lap, Spread, laps},
    verify::Findings,
};
use crate::{
    base::{Map, Value},
    map,
};

/// The comparison of a ledger with a server, in numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Proof {
    /// Writes that were acknowledged.
    pub acknowledged: u64,
    /// Acknowledged writes without their effect: rows missing, updates missing, deletions undone.
    pub lost: u64,
    /// Effects too many: rows that are there twice, updates that count twice.
    pub doubled: u64,
    /// Writes that a server refused.
    pub failed: u64,
    /// Writes whose outcome nobody was told.
    pub in_doubt: u64,
    /// How many of those are there.
    pub in_doubt_present: u64,
    /// Writes that a server refused and that are there all the same.
    pub contradicted: u64,
    /// Transactions of which one half is there.
    pub torn: u64,
    /// Writes that the old endpoint took while the new one was open.
    pub split_brain: u64,
    /// Time without writes when the endpoint changed, over all laps, per probe.
    pub outage_ms: Spread,
    /// The same per application client.
    pub application_outage_ms: Spread,
    /// Each lap.
    pub laps: Vec<Lap>,
    /// Failures of the probes by SQLSTATE or word.
    pub errors: BTreeMap<String, u64>,
    /// Failures of the applications by SQLSTATE or word.
    pub application_errors: BTreeMap<String, u64>,
    /// The first lost writes, for people.
    pub lost_examples: Vec<String>,
    /// The first tags with too many rows.
    pub doubled_examples: Vec<String>,
    /// The ledger was full, so the load ended before its time.
    pub is_full: bool,
}

/// Examples that are named.
const EXAMPLES: usize = 10;

impl Proof {
    pub(super) fn new(ledger: &Ledger, findings: &Findings) -> Self {
        let count = |fate| ledger.records.iter().filter(|record| record.fate == fate).count() as u64;
        let laps = laps(ledger);
        let pool = |part: fn(&Lap) -> &Spread| {
            Spread::of(laps.iter().flat_map(|lap| part(lap).writers.iter().copied()).collect())
        };
        Self {
            acknowledged: count(Fate::Acknowledged),
            lost: findings.lost.len() as u64 + findings.updates_lost,
            doubled: findings.doubled.values().sum::<u64>() + findings.updates_doubled,
            failed: count(Fate::Failed),
            in_doubt: count(Fate::InDoubt),
            in_doubt_present: findings.in_doubt_present,
            contradicted: findings.contradicted,
            torn: findings.torn,
            split_brain: laps.iter().map(|lap| lap.split_brain).sum(),
            outage_ms: pool(|lap| &lap.outage_ms),
            application_outage_ms: pool(|lap| &lap.application_outage_ms),
            errors: ledger.errors.clone(),
            application_errors: ledger.application_errors.clone(),
            lost_examples: findings.lost.iter().take(EXAMPLES).map(|record| example(ledger, record)).collect(),
            doubled_examples: findings.doubled.keys().take(EXAMPLES).map(ToString::to_string).collect(),
            is_full: ledger.is_full,
            laps,
        }
    }

    /// Whether nothing was lost, doubled, torn or contradicted, and the two endpoints were never open at once.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.lost + self.doubled + self.contradicted + self.torn + self.split_brain == 0
    }

    /// The proof for scripts and reports.
    #[must_use]
    pub fn to_map(&self) -> Map {
        let number = |n: u64| Value::Int(i64::try_from(n).unwrap_or(i64::MAX));
        let errors = |errors: &BTreeMap<String, u64>| -> Map {
            errors.iter().map(|(code, count)| (code.clone(), number(*count))).collect()
        };
        let laps: Vec<Map> = self.laps.iter().map(Lap::to_map).collect();
        map! {
            "holds" => self.holds(),
            "acknowledged" => number(self.acknowledged),
            "lost" => number(self.lost),
            "doubled" => number(self.doubled),
            "failed" => number(self.failed),
            "in_doubt" => number(self.in_doubt),
            "in_doubt_present" => number(self.in_doubt_present),
            "contradicted" => number(self.contradicted),
            "torn" => number(self.torn),
            "split_brain" => number(self.split_brain),
            "outage_ms" => self.outage_ms.to_map(),
            "application_outage_ms" => self.application_outage_ms.to_map(),
            "laps" => laps,
            "errors" => errors(&self.errors),
            "application_errors" => errors(&self.application_errors),
            "lost_examples" => self.lost_examples.clone(),
            "doubled_examples" => self.doubled_examples.clone(),
            "is_full" => self.is_full,
        }
    }
}

/// A lost write as somebody who looks for it needs it.
fn example(ledger: &Ledger, record: &Record) -> String {
    let kind = if ledger.is_probe(record.client) { "probe" } else { "application" };
    let place = ledger.places.get(usize::from(record.place)).map_or("nobody", String::as_str);
    format!(
        "{kind} {}, {:?} {}, acknowledged after {}.{:03} s by {place}",
        record.client,
        record.operation,
        ledger.tag(record),
        record.ended_us / 1_000_000,
        record.ended_us / 1000 % 1000,
    )
}
