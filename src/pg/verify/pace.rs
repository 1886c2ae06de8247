//! How quickly rows may be read: production shares the disk.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, Instant},
};

use crate::base::clock;

/// A rate over everything that was read so far, so that a large read is followed by a long pause.
pub(super) struct Pace {
    per_second: Option<i64>,
    begun: Instant,
    rows: AtomicI64,
}

impl Pace {
    /// At most so many rows a second; without a number as quickly as it goes.
    pub(super) fn new(per_second: Option<i64>) -> Self {
        Self { per_second, begun: clock::instant(), rows: AtomicI64::new(0) }
    }

    /// Notes rows that were read; gives all of them.
    pub(super) fn add(&self, rows: i64) -> i64 {
        self.rows.fetch_add(rows, Ordering::Relaxed) + rows
    }

    /// Waits until the rows read so far were due.
    pub(super) async fn keep(&self) {
        let Some(per_second) = self.per_second else { return };
        let ms = self.rows.load(Ordering::Relaxed).saturating_mul(1000) / per_second.max(1);
        let due = Duration::from_millis(u64::try_from(ms).unwrap_or(0));
        clock::sleep(due.saturating_sub(self.begun.elapsed())).await;
    }
}
