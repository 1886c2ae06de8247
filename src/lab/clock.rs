//! The lab's clock. It runs with the system's until it is told to run faster, so that a recovery window of days passes
//! in minutes; a fault lets clients see it wrong, as it looks to those whose own clock is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::base::clock;

/// A clock that everything in a lab shares. Logs of its servers bear the system's time whatever it shows.
#[derive(Clone, Debug)]
pub(crate) struct LabClock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    began: Instant,
    began_ms: u64,
    speed: f64,
    skew_ms: AtomicI64,
}

impl Default for LabClock {
    fn default() -> Self {
        Self::new(1.0, 0)
    }
}

impl LabClock {
    /// A clock that is `ahead_ms` before the system's and runs `speed` times as fast.
    pub(crate) fn new(speed: f64, ahead_ms: u64) -> Self {
        let began_ms = clock::epoch_ms().saturating_add(ahead_ms);
        Self(Arc::new(Inner { began: clock::instant(), began_ms, speed, skew_ms: AtomicI64::new(0) }))
    }

    /// Seconds since 1970 with fractions.
    #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 have 41 bits")]
    pub(crate) fn seconds(&self) -> f64 {
        self.now_ms() as f64 / 1000.0
    }

    /// Milliseconds since 1970. What a fault lets clients see instead is in `skew`.
    pub(crate) fn now_ms(&self) -> u64 {
        let passed = self.0.began.elapsed();
        // At the usual speed the system's clock is told as it is, so that it and the lab never differ.
        if self.is_usual() {
            return self.0.began_ms.saturating_add(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX));
        }
        let passed = passed.mul_f64(self.0.speed);
        self.0.began_ms.saturating_add(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX))
    }

    fn is_usual(&self) -> bool {
        (self.0.speed - 1.0).abs() < f64::EPSILON
    }

    /// How far it is before the system's clock, for the next lab in the same folder: its time must not go back.
    pub(crate) fn ahead_ms(&self) -> u64 {
        if self.is_usual() { 0 } else { self.now_ms().saturating_sub(clock::epoch_ms()) }
    }

    /// By how much a fault lets clients see it wrong.
    pub(crate) fn skew_ms(&self) -> i64 {
        self.0.skew_ms.load(Ordering::Relaxed)
    }

    /// Lets clients see it wrong by so much.
    pub(crate) fn skew(&self, ms: i64) {
        self.0.skew_ms.store(ms, Ordering::Relaxed);
    }

    /// Waits until so much of the lab's time has passed.
    pub(crate) async fn sleep(&self, duration: Duration) {
        clock::sleep(duration.div_f64(self.0.speed)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::LabClock;
    use crate::base::clock;

    #[test]
    fn it_runs_faster_and_never_back() {
        let fast = LabClock::new(100_000.0, 0);
        clock::sleep_blocking(Duration::from_millis(20));
        let ahead = fast.ahead_ms();
        assert!(ahead >= 1_000_000, "20 ms are over half an hour: {ahead}");
        assert!(LabClock::new(100_000.0, ahead).now_ms() >= clock::epoch_ms() + 1_000_000);
        assert_eq!(LabClock::default().ahead_ms(), 0);
    }

    #[test]
    fn a_fault_leaves_it_right() {
        let wrong = LabClock::default();
        wrong.skew(-600_000);
        assert!(wrong.skew_ms() == -600_000 && wrong.now_ms() + 500_000 > clock::epoch_ms());
    }
}
