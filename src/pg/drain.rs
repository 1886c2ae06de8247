//! Proof that everything written on a closed publisher has arrived on its subscriber.
//!
//! A lag of zero is no proof: WAL moves by itself, and a table that the subscription does not know is skipped with lag
//! zero. Here a fixed position, a row seen on the other side, equal sets of tables and unmoved error counters must come
//! together.

use super::{
    publication,
    record::record,
    session::Session,
    subscription::{self, Subscription},
};
use crate::{
    base::{
        Code, Lsn, Result, Value,
        poll::{self, Patience, Seen},
        prose::{count, ticked_list},
    },
    fail,
};

/// One direction of replication in one database.
#[derive(Clone, Copy, Debug)]
pub struct Stream<'a> {
    /// The subscription on the subscriber.
    pub subscription: &'a str,
    /// Its slot on the publisher.
    pub slot: &'a str,
    /// Its publications on the publisher.
    pub publications: &'a [String],
}

record! {
    /// The last write of a closed publisher.
    pub struct LastWrite {
        /// A row that must be seen on the subscriber.
        pub sentinel: String,
        /// Everything before must be confirmed.
        pub lsn: Lsn,
    }

    /// What [`drain`] saw at its end.
    pub struct Drained {
        /// The subscriber has flushed up to here; at or past the last write.
        pub confirmed: Lsn,
        /// Tables that are published and subscribed.
        pub tables: i64,
        /// Looks that were needed.
        pub looks: i64,
    }
}

/// Finds the last write of a publisher that nobody can write to any more: a row of its own, and the position behind it.
///
/// The position is read in the row's transaction, after the row and before its commit. So it lies behind everything that
/// applications committed, and a commit lies behind it: just past a page's header a position without a later commit
/// would not be confirmed on an idle server.
pub async fn last_write(publisher: &Session, run: &str) -> Result<LastWrite> {
    const LAST: &str = "WITH row AS (INSERT INTO pgrun.sentinel (run, purpose) VALUES ($1, 'last') RETURNING id) \
         SELECT id::text AS sentinel, pg_current_wal_insert_lsn() AS lsn FROM row";
    super::Record::from_map(&publisher.one(LAST, &[run.into()]).await?)
}

/// Waits until the subscriber has everything up to the last write. `before` is the subscription as it was while
/// applications still wrote: its counters must not have moved.
///
/// # Errors
/// `timeout` naming each condition that does not hold; `require_failed` at once for what waiting does not mend.
pub async fn drain(
    publisher: &Session,
    subscriber: &Session,
    stream: Stream<'_>,
    last: &LastWrite,
    before: Option<&Subscription>,
    patience: Patience,
) -> Result<Drained> {
    // The sets cannot move while the fence is closed, so they are compared once, beside the waiting.
    let (waited, tables) = tokio::join!(
        await_confirmed(publisher, subscriber, stream, last, patience),
        require_same_tables(publisher, subscriber, stream),
    );
    let tables = tables?;
    let (confirmed, looks) = waited?;
    let now = subscription::state(subscriber, stream.subscription).await?;
    require_unmoved(stream.subscription, before, now.as_ref())?;
    Ok(Drained { confirmed, tables, looks })
}

async fn await_confirmed(
    publisher: &Session,
    subscriber: &Session,
    stream: Stream<'_>,
    last: &LastWrite,
    patience: Patience,
) -> Result<(Lsn, i64)> {
    const SLOT: &str = "SELECT confirmed_flush_lsn AS confirmed, active_pid IS NOT NULL AS active, \
         coalesce(wal_status = 'lost', false) AS lost FROM pg_replication_slots WHERE slot_name = $1";
    const ARRIVED: &str = "SELECT EXISTS (SELECT FROM pgrun.sentinel WHERE id = $1::uuid)";
    let (slot, sentinel) = ([Value::from(stream.slot)], [Value::from(last.sentinel.as_str())]);
    let mut looks = 0;
    poll::until("the subscriber to have everything", patience, async || {
        looks += 1;
        let (slot, arrived) = tokio::join!(publisher.query(SLOT, &slot), subscriber.scalar::<bool>(ARRIVED, &sentinel));
        let (slot, arrived) = (slot?, arrived?);
        let Some(slot) = slot.first().map(SlotLook::of).transpose()? else {
            return Err(fail!(Code::RequireFailed, "the slot `{}` does not exist", stream.slot));
        };
        if slot.lost {
            return Err(fail!(Code::RequireFailed, "the slot `{}` has lost its WAL", stream.slot));
        }
        let mut missing = Vec::new();
        if !slot.active {
            missing.push(format!("nobody reads the slot `{}`", stream.slot));
        }
        let confirmed = slot.confirmed.unwrap_or(Lsn(0));
        if confirmed < last.lsn {
            missing.push(format!("confirmed up to {confirmed} of {}", last.lsn));
        }
        if !arrived {
            missing.push("the sentinel has not arrived".into());
        }
        Ok(if missing.is_empty() { Seen::Ready((confirmed, looks)) } else { Seen::NotYet(missing.join(", ")) })
    })
    .await
}

record! {
    struct SlotLook {
        pub confirmed: Option<Lsn>,
        pub active: bool,
        pub lost: bool,
    }
}

impl SlotLook {
    fn of(row: &crate::base::Map) -> Result<Self> {
        super::Record::from_map(row)
    }
}

/// What is published must be what is subscribed, and every table ready. Gives their number.
///
/// # Errors
/// `require_failed` naming tables on one side only, or not ready.
pub async fn require_same_tables(publisher: &Session, subscriber: &Session, stream: Stream<'_>) -> Result<i64> {
    let (offered, taken) = tokio::join!(
        publication::tables(publisher, stream.publications),
        subscription::tables(subscriber, stream.subscription),
    );
    let offered: Vec<String> = offered?.iter().map(publication::Table::label).collect();
    let taken = taken?;
    let label = |table: &subscription::SubscribedTable| format!("{}.{}", table.schema, table.name);
    let known: std::collections::BTreeSet<String> = taken.iter().map(label).collect();
    let there: std::collections::BTreeSet<&String> = offered.iter().collect();
    let unknown: Vec<&String> = offered.iter().filter(|table| !known.contains(*table)).collect();
    let gone: Vec<&String> = known.iter().filter(|table| !there.contains(table)).collect();
    let slow: Vec<String> =
        taken.iter().filter(|t| t.state != "r").map(|t| format!("{} ({})", label(t), t.state)).collect();
    for (what, tables) in [
        ("published but not subscribed, so their changes are skipped", ticked(&unknown)),
        ("subscribed but not published", ticked(&gone)),
        ("not ready", ticked(&slow)),
    ] {
        if let Some((number, names)) = tables {
            return Err(fail!(Code::RequireFailed, "{number} {what}: {names}")
                .hint("bring the schemas together, then ALTER SUBSCRIPTION .. REFRESH PUBLICATION"));
        }
    }
    i64::try_from(offered.len()).map_err(|_| fail!(Code::Internal, "too many tables"))
}

fn ticked<T: AsRef<str>>(names: &[T]) -> Option<(String, String)> {
    if names.is_empty() { None } else { Some((count(names.len(), "table"), ticked_list(names, 5))) }
}

/// The counters of errors and conflicts must be those of before: some conflicts only log, and go on.
fn require_unmoved(name: &str, before: Option<&Subscription>, now: Option<&Subscription>) -> Result<()> {
    let Some(now) = now else { return Err(fail!(Code::RequireFailed, "the subscription `{name}` is gone")) };
    if !now.enabled {
        return Err(fail!(Code::RequireFailed, "the subscription `{name}` is disabled")
            .hint("an error may have disabled it (disable_on_error); read the subscriber's log"));
    }
    let counters = |s: &Subscription| [s.apply_errors, s.sync_errors, s.conflicts].map(|counter| counter.unwrap_or(0));
    let (then, now) = (before.map_or([0; 3], counters), counters(now));
    for (what, (then, now)) in ["apply errors", "synchronization errors", "conflicts"].iter().zip(then.iter().zip(now))
    {
        if before.is_some() && *then != now {
            return Err(fail!(Code::RequireFailed, "the {what} of `{name}` went from {then} to {now}")
                .hint("read the subscriber's log, compare the tables it names"));
        }
    }
    Ok(())
}
