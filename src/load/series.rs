//! What happened in each tenth of a second: enough to draw a picture.

use crate::{
    base::{Map, Value},
    map,
};

/// The length of a tick.
const TICK_US: u64 = 100_000;

/// Writes of one kind of client in a tick.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beats {
    /// Acknowledged, by place.
    pub ok: Vec<u32>,
    /// Failed or in doubt, failed connects included.
    pub failed: u32,
}

impl Beats {
    /// All that were acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> u32 {
        self.ok.iter().sum()
    }

    /// The place that acknowledged most, if any did.
    #[must_use]
    pub fn place(&self) -> Option<usize> {
        let most = self.ok.iter().enumerate().max_by_key(|(_, count)| **count);
        most.filter(|(_, count)| **count > 0).map(|(place, _)| place)
    }

    fn to_map(&self, places: &[String]) -> Map {
        let place = self.place().and_then(|place| places.get(place));
        map! {
            "ok" => i64::from(self.acknowledged()),
            "failed" => i64::from(self.failed),
            "endpoint" => place.map(String::as_str),
        }
    }
}

/// A tenth of a second.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tick {
    /// When it began, in milliseconds since the start.
    pub begun_ms: u64,
    /// The probes.
    pub probes: Beats,
    /// The applications.
    pub applications: Beats,
}

impl Tick {
    /// The tick for scripts; `places` are those of the ledger.
    #[must_use]
    pub fn to_map(&self, places: &[String]) -> Map {
        map! {
            "begun_ms" => i64::try_from(self.begun_ms).unwrap_or(i64::MAX),
            "probes" => Value::Map(self.probes.to_map(places)),
            "applications" => Value::Map(self.applications.to_map(places)),
        }
    }
}

/// The ticks of a load, which its greatest duration bounds.
#[derive(Default)]
pub(super) struct Series(Vec<Tick>);

impl Series {
    /// Counts a write that ended at `ended_us`: acknowledged by a place, or not.
    pub(super) fn count(&mut self, ended_us: u64, is_probe: bool, place: Option<u8>) {
        let Ok(index) = usize::try_from(ended_us / TICK_US) else { return };
        while self.0.len() <= index {
            let begun_ms = self.0.len() as u64 * TICK_US / 1000;
            self.0.push(Tick { begun_ms, ..Tick::default() });
        }
        let tick = &mut self.0[index];
        let beats = if is_probe { &mut tick.probes } else { &mut tick.applications };
        match place.map(usize::from) {
            None => beats.failed += 1,
            Some(place) => {
                if beats.ok.len() <= place {
                    beats.ok.resize(place + 1, 0);
                }
                beats.ok[place] += 1;
            }
        }
    }

    /// The ticks, given away.
    pub(super) fn take(&mut self) -> Vec<Tick> {
        std::mem::take(&mut self.0)
    }

    /// A copy of the ticks.
    pub(super) fn ticks(&self) -> Vec<Tick> {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::Series;

    /// A second of silence is ten empty ticks, and a tick knows who answered most.
    #[test]
    fn silence_has_ticks_too() {
        let mut series = Series::default();
        series.count(50_000, true, Some(0));
        series.count(60_000, true, Some(0));
        series.count(70_000, true, Some(1));
        series.count(80_000, false, None);
        series.count(1_000_000, true, Some(1));
        let ticks = series.ticks();
        assert_eq!(ticks.len(), 11);
        assert_eq!((ticks[0].probes.acknowledged(), ticks[0].probes.place()), (3, Some(0)));
        assert_eq!((ticks[0].applications.failed, ticks[0].applications.place()), (1, None));
        assert_eq!((ticks[5].begun_ms, ticks[5].probes.acknowledged()), (500, 0));
        assert_eq!(ticks[10].probes.place(), Some(1));
    }
}
