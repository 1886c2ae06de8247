//! How long clients could not write when their endpoint changed, and whether two endpoints took writes at once.

use std::collections::BTreeMap;

use super::ledger::{Fate, Ledger, Record};
use crate::{
    base::{Map, Value},
    map,
};

/// Times in milliseconds over clients.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spread {
    /// The middle one, or the mean of the two middle ones.
    pub median: Option<f64>,
    /// The smallest that is not exceeded by 95 of 100.
    pub p95: Option<f64>,
    /// The greatest.
    pub max: Option<f64>,
    /// One per client; `None` for a client that never wrote at the new endpoint.
    pub writers: Vec<Option<f64>>,
}

impl Spread {
    /// The spread of some times.
    #[must_use]
    pub fn of(writers: Vec<Option<f64>>) -> Self {
        let mut sorted: Vec<f64> = writers.iter().copied().flatten().collect();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        let at = |index: usize| sorted.get(index).copied();
        let median = match (at(n.saturating_sub(1) / 2), at(n / 2)) {
            (Some(low), Some(high)) => Some(f64::midpoint(low, high)),
            _ => None,
        };
        // The nearest rank: the 95th of 100, the last of 4.
        let p95 = at((n * 95).div_ceil(100).saturating_sub(1));
        Self { median, p95, max: sorted.last().copied(), writers }
    }

    /// The spread for scripts, to a tenth of a millisecond.
    #[must_use]
    pub fn to_map(&self) -> Map {
        let ms = |time: Option<f64>| time.map_or(Value::Null, |ms| Value::Float((ms * 10.0).round() / 10.0));
        let writers: Vec<Value> = self.writers.iter().map(|time| ms(*time)).collect();
        map! {
            "median" => ms(self.median),
            "p95" => ms(self.p95),
            "max" => ms(self.max),
            "writers" => Value::List(writers),
        }
    }
}

/// What one lap shows: a stretch of time with one change of endpoints at most.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lap {
    /// Its name.
    pub name: String,
    /// From where to where the probes changed, as `host:port`; `None` when they did not.
    pub switch: Option<(String, String)>,
    /// First acknowledgement at the new endpoint less last one at the old, per probe. Without a change it is empty.
    pub outage_ms: Spread,
    /// The same per application client, which has to be told of the new endpoint.
    pub application_outage_ms: Spread,
    /// The longest time between two acknowledgements, per probe, wherever they came from.
    pub longest_gap_ms: Spread,
    /// The same per application client.
    pub application_longest_gap_ms: Spread,
    /// Writes that the old endpoint acknowledged although they were sent after the new one had acknowledged a write:
    /// both were open.
    pub split_brain: u64,
    /// Writes that the old endpoint acknowledged after the new one's first acknowledgement, but that were sent before
    /// it: they prove nothing, since an answer may be late.
    pub overlapping: u64,
}

impl Lap {
    /// The lap for scripts.
    #[must_use]
    pub fn to_map(&self) -> Map {
        let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        map! {
            "name" => self.name.as_str(),
            "from" => self.switch.as_ref().map(|(from, _)| from.as_str()),
            "to" => self.switch.as_ref().map(|(_, to)| to.as_str()),
            "outage_ms" => self.outage_ms.to_map(),
            "application_outage_ms" => self.application_outage_ms.to_map(),
            "longest_gap_ms" => self.longest_gap_ms.to_map(),
            "application_longest_gap_ms" => self.application_longest_gap_ms.to_map(),
            "split_brain" => count(self.split_brain),
            "overlapping" => count(self.overlapping),
        }
    }
}

/// The laps of a ledger.
pub(super) fn laps(ledger: &Ledger) -> Vec<Lap> {
    let ends = ledger.laps.iter().skip(1).map(|(_, begun)| *begun).chain([u64::MAX]);
    ledger.laps.iter().zip(ends).map(|((name, begun), end)| lap(ledger, name, *begun, end)).collect()
}

fn lap(ledger: &Ledger, name: &str, begun: u64, end: u64) -> Lap {
    let within = |record: &&Record| record.fate == Fate::Acknowledged && (begun..end).contains(&record.ended_us);
    let (probes, applications): (Vec<&Record>, Vec<&Record>) =
        ledger.records.iter().filter(within).partition(|record| ledger.is_probe(record.client));
    let (by_probes, by_applications) = (Switch::find(&probes), Switch::find(&applications));
    let name_of = |place: u8| ledger.places.get(usize::from(place)).cloned().unwrap_or_default();
    let outages = |switch: Option<Switch>, acks: &[&Record]| switch.map_or_else(Spread::default, |s| s.outages(acks));
    let strays = |switch: Option<Switch>, acks: &[&Record]| switch.map_or((0, 0), |s| s.strays(acks));
    let (probes_split, probes_over) = strays(by_probes, &probes);
    let (applications_split, applications_over) = strays(by_applications, &applications);
    Lap {
        name: name.to_owned(),
        switch: by_probes.or(by_applications).map(|switch| (name_of(switch.from), name_of(switch.to))),
        outage_ms: outages(by_probes, &probes),
        application_outage_ms: outages(by_applications, &applications),
        longest_gap_ms: gaps(&probes),
        application_longest_gap_ms: gaps(&applications),
        split_brain: probes_split + applications_split,
        overlapping: probes_over + applications_over,
    }
}

/// A change of endpoints, seen in acknowledgements.
#[derive(Clone, Copy)]
struct Switch {
    from: u8,
    to: u8,
    /// When the new endpoint's first acknowledgement came.
    first_us: u64,
}

impl Switch {
    /// The new endpoint is the one that answered last for the first time.
    fn find(acks: &[&Record]) -> Option<Self> {
        let mut first: BTreeMap<u8, u64> = BTreeMap::new();
        for ack in acks {
            first.entry(ack.place).and_modify(|at| *at = (*at).min(ack.ended_us)).or_insert(ack.ended_us);
        }
        let (&to, &first_us) = first.iter().max_by_key(|(_, at)| **at)?;
        let (&from, _) = first.iter().filter(|(place, _)| **place != to).min_by_key(|(_, at)| **at)?;
        Some(Self { from, to, first_us })
    }

    fn outages(&self, acks: &[&Record]) -> Spread {
        let mut clients: BTreeMap<u16, (Option<u64>, Option<u64>)> = BTreeMap::new();
        for ack in acks {
            let (last_old, first_new) = clients.entry(ack.client).or_default();
            if ack.place == self.to {
                *first_new = first_new.or(Some(ack.ended_us));
            } else if first_new.is_none() {
                *last_old = Some(ack.ended_us);
            }
        }
        // A client without a write at the old endpoint in this lap has no outage to tell.
        let told = clients.into_values().filter_map(|(old, new)| old.map(|old| new.map(|new| ms(old, new))));
        Spread::of(told.collect())
    }

    fn strays(&self, acks: &[&Record]) -> (u64, u64) {
        let late = acks.iter().filter(|ack| ack.place != self.to && ack.ended_us > self.first_us);
        late.fold((0, 0), |(split, overlapping), ack| {
            if ack.begun_us > self.first_us { (split + 1, overlapping) } else { (split, overlapping + 1) }
        })
    }
}

/// The longest time between two acknowledgements of each client.
fn gaps(acks: &[&Record]) -> Spread {
    let mut clients: BTreeMap<u16, (u64, u64)> = BTreeMap::new();
    for ack in acks {
        let (last, longest) = clients.entry(ack.client).or_insert((ack.ended_us, 0));
        *longest = (*longest).max(ack.ended_us.saturating_sub(*last));
        *last = ack.ended_us;
    }
    Spread::of(clients.into_values().map(|(_, longest)| Some(ms(0, longest))).collect())
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a day have 37 bits, a double holds 53")]
fn ms(from_us: u64, to_us: u64) -> f64 {
    to_us.saturating_sub(from_us) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::{super::ledger::Operation, Fate, Ledger, Record, Spread, laps};

    fn ack(client: u16, place: u8, begun_ms: u64, ended_ms: u64) -> Record {
        Record {
            client,
            number: 0,
            target: 0,
            operation: Operation::Probe,
            fate: Fate::Acknowledged,
            place,
            begun_us: begun_ms * 1000,
            ended_us: ended_ms * 1000,
        }
    }

    fn ledger(mut records: Vec<Record>) -> Ledger {
        records.sort_by_key(|record| record.ended_us);
        Ledger {
            probes: 2,
            places: vec!["blue:1".into(), "green:2".into()],
            records,
            laps: vec![("start".into(), 0)],
            ..Ledger::default()
        }
    }

    /// Nearest rank: with four writers the 95th percentile is the slowest one.
    #[test]
    fn a_spread_is_by_nearest_rank() {
        let spread = Spread::of(vec![Some(4.0), Some(1.0), None, Some(2.0), Some(3.0)]);
        assert_eq!((spread.median, spread.p95, spread.max), (Some(2.5), Some(4.0), Some(4.0)));
        assert_eq!(Spread::of(vec![None]).median, None);
        let hundred = Spread::of((1..=100).map(|n| Some(f64::from(n))).collect());
        assert_eq!((hundred.median, hundred.p95, hundred.max), (Some(50.5), Some(95.0), Some(100.0)));
    }

    /// The outage of each probe, and one that never arrived.
    #[test]
    fn an_outage_is_last_old_to_first_new() {
        let clean = ledger(vec![ack(0, 0, 9, 10), ack(1, 0, 11, 12), ack(0, 1, 49, 50), ack(0, 1, 60, 61)]);
        let lap = laps(&clean).remove(0);
        assert_eq!(lap.switch, Some(("blue:1".into(), "green:2".into())));
        assert_eq!(lap.outage_ms.writers, [Some(40.0), None]);
        assert_eq!((lap.split_brain, lap.overlapping), (0, 0));
        assert_eq!(lap.longest_gap_ms.writers, [Some(40.0), Some(0.0)]);
    }

    /// A write sent to the old endpoint after the new one had answered proves that both are open; one that was on its
    /// way proves nothing. That the old one answers last hides neither.
    #[test]
    fn split_brain_is_told_from_late_answers() {
        let both = ledger(vec![ack(0, 0, 9, 10), ack(0, 1, 49, 50), ack(1, 0, 48, 52), ack(1, 0, 53, 54)]);
        let lap = laps(&both).remove(0);
        assert_eq!((lap.split_brain, lap.overlapping), (1, 1));
    }

    /// A cutover and its rollback are two laps, each with its own direction.
    #[test]
    fn laps_have_their_own_switch() {
        let records = vec![ack(0, 0, 9, 10), ack(0, 1, 29, 30), ack(0, 1, 109, 110), ack(0, 0, 149, 150)];
        let mut there_and_back = ledger(records);
        there_and_back.laps.push(("rollback".into(), 100_000));
        let laps = laps(&there_and_back);
        assert_eq!(laps[0].outage_ms.max, Some(20.0));
        assert_eq!(laps[1].outage_ms.max, Some(40.0));
        assert_eq!(laps[1].switch, Some(("green:2".into(), "blue:1".into())));
        assert_eq!(laps.iter().map(|lap| lap.split_brain).sum::<u64>(), 0);
    }
}
