//! The two sides of a stream as they look at one moment, and what has to hold of them.

use std::time::Duration;

use super::{
    drain::{Baseline, Stream},
    fence,
    record::{field, record},
};
use crate::{
    base::{Code, Error, Lsn, Result, Value},
    fail,
};

record! {
    /// One thing that has to hold.
    pub struct Condition {
        /// Its name.
        pub name: String,
        /// Whether it holds.
        pub holds: bool,
        /// What was seen.
        pub seen: String,
    }
}

pub(super) fn condition(name: &str, holds: bool, seen: String) -> Condition {
    Condition { name: name.into(), holds, seen }
}

/// Fails with all conditions that do not hold.
pub(super) fn require(conditions: &[Condition], what: &str) -> Result<()> {
    let failing: Vec<&Condition> = conditions.iter().filter(|condition| !condition.holds).collect();
    if failing.is_empty() {
        return Ok(());
    }
    let words: Vec<String> = failing.iter().map(|c| format!("{}: {}", c.name, c.seen)).collect();
    let error = fail!(Code::RequireFailed, "{what}: {}", words.join("; "));
    Err(failing.iter().fold(error, |error, c| error.detail(c.name.clone(), c.seen.clone())))
}

/// A slot, and where its server stands.
pub(super) struct SlotSeen {
    pub(super) confirmed: Lsn,
    pub(super) insert: Lsn,
    pub(super) active: bool,
    wal_status: String,
}

impl SlotSeen {
    pub(super) fn usable(&self) -> Condition {
        condition("slot", self.wal_status != "lost", format!("wal_status {}", self.wal_status))
    }
}

/// Looks at the slot.
///
/// # Errors
/// `require_failed` if there is none.
pub(super) async fn look_at_slot(stream: Stream<'_>) -> Result<SlotSeen> {
    const SLOT: &str = "SELECT confirmed_flush_lsn AS confirmed, pg_current_wal_insert_lsn() AS insert, active, \
         coalesce(wal_status, 'lost') AS wal_status FROM pg_replication_slots \
         WHERE slot_name = $1::name AND slot_type = 'logical' AND database = current_database()";
    let rows = stream.from.query(SLOT, &[stream.slot.into()]).await?;
    let row = rows.first().ok_or_else(|| no_slot(stream))?;
    Ok(SlotSeen {
        confirmed: field::<Option<Lsn>>(row, "confirmed")?.unwrap_or(Lsn(0)),
        insert: field(row, "insert")?,
        active: field(row, "active")?,
        wal_status: field(row, "wal_status")?,
    })
}

pub(super) fn no_slot(stream: Stream<'_>) -> Error {
    let label = stream.from.target().label();
    fail!(Code::RequireFailed, "there is no logical slot `{}` of this database on {label}", stream.slot)
}

/// The side that follows.
pub(super) struct FollowerSeen {
    pub(super) row: bool,
    /// Up to where everything was applied and is on disk, when the row is there.
    pub(super) applied: Option<Lsn>,
    workers: i64,
    pub(super) errors: Option<i64>,
}

impl FollowerSeen {
    pub(super) fn text(&self) -> String {
        let row = if self.row { "the row is there" } else { "the row is not there" };
        format!("{row}, {} at work", crate::base::prose::count(usize::try_from(self.workers).unwrap_or(0), "worker"))
    }
}

/// Waits for a row, but no longer than `within`, and looks at workers and counters of the subscription with this oid.
pub(super) async fn look_at_follower(
    stream: Stream<'_>,
    oid: i64,
    row: &str,
    within: Duration,
) -> Result<FollowerSeen> {
    let values = [row.into(), oid.into(), Value::Int(ms(within))];
    let seen = stream.to.one(ARRIVAL, &values).await.map_err(fence::own)?;
    Ok(FollowerSeen {
        row: field(&seen, "arrived")?,
        applied: field(&seen, "applied")?,
        workers: field(&seen, "workers")?,
        errors: field(&seen, "errors")?,
    })
}

pub(super) const ARRIVAL: &str =
    "SELECT arrived, applied, workers, errors FROM pgrun.arrival($1::uuid, $2::oid, $3::int8)";

/// Whether nothing was counted since the baseline.
pub(super) fn unharmed(errors: Option<i64>, baseline: &Baseline) -> Condition {
    let number = |errors: Option<i64>| errors.map_or_else(|| "not counted".to_owned(), |n| n.to_string());
    let seen = format!("{}, before {}", number(errors), number(baseline.errors));
    condition("errors", errors == baseline.errors, seen)
}

pub(super) fn absent(stream: Stream<'_>) -> Error {
    let label = stream.to.target().label();
    fail!(Code::RequireFailed, "there is no subscription `{}` on {label}", stream.subscription)
}

pub(super) fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
