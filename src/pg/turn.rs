//! Turning replication round between a closed publisher and a subscriber that nobody writes to yet.
//!
//! The way back exists before: a slot on the subscriber, and a disabled subscription on the publisher. What GREEN applied
//! must not come back to BLUE. The tool is the *origin* of the reverse subscription: everything that GREEN committed
//! before R is BLUE's own. (Advancing the reverse slot instead was tried and is wrong: its position falls back in a
//! crash, and costs time by the amount of WAL.)

use super::{
    drain::Stream,
    origin, own, pgoutput,
    record::record,
    session::Session,
    slot,
    subscription::{self, Subscription},
};
use crate::{
    base::{
        Code, Lsn, Result, Value, clock,
        poll::{self, Patience, Seen},
        prose::ticked_list,
    },
    fail,
};

/// From this version on DISABLE wakes the apply worker; before, it sleeps up to a second unless a change arrives.
const WAKES_ITSELF: i64 = 16;

/// How long the worker gets before it is woken again: longer than a change takes to arrive.
const WAKE_AGAIN_MS: u128 = 200;

/// The other direction.
#[derive(Clone, Copy, Debug)]
pub struct WayBack<'a> {
    /// The disabled subscription on the publisher.
    pub subscription: &'a str,
    /// Its slot on the subscriber.
    pub slot: &'a str,
}

record! {
    /// Where the way back begins.
    pub struct Turned {
        /// R: commits of the subscriber from here on flow back.
        pub from: Lsn,
        /// Milliseconds until the forward worker was gone.
        pub stopped_ms: i64,
    }
}

/// Stops the forward stream and sets the reverse subscription's origin. Both stay disabled.
///
/// [`require_way_back`] belongs before the window: nothing in it is mended inside.
///
/// # Errors
/// `timeout` while a worker lives; `pg_sql` 55006 when the reverse subscription runs; `require_failed` when another
/// position is read back.
pub async fn turn(
    publisher: &Session,
    subscriber: &Session,
    forward: Stream<'_>,
    back: WayBack<'_>,
    run: &str,
    patience: Patience,
) -> Result<Turned> {
    let begun = clock::instant();
    stop(publisher, subscriber, forward, run, patience).await?;
    let stopped_ms = i64::try_from(begun.elapsed().as_millis()).unwrap_or(i64::MAX);
    // After the last worker: nothing but this session writes there now.
    let from = subscriber.insert_lsn().await?;
    origin::advance(publisher, back.subscription, from).await?;
    Ok(Turned { from, stopped_ms })
}

/// Disables the forward subscription and waits until neither its slot is read nor a worker of it lives. DISABLE returns
/// long before: a worker was seen to commit 300,000 rows after it.
pub async fn stop(
    publisher: &Session,
    subscriber: &Session,
    forward: Stream<'_>,
    run: &str,
    patience: Patience,
) -> Result<()> {
    const READER: &str = "SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1 AND active_pid IS NOT NULL";
    const WORKERS: &str = "SELECT count(w.pid) FROM pg_stat_subscription w JOIN pg_subscription s ON s.oid = w.subid \
         JOIN pg_database d ON d.oid = s.subdbid AND d.datname = current_database() WHERE s.subname = $1";
    subscription::disable(subscriber, forward.subscription).await?;
    let asleep = subscriber.major().await? < WAKES_ITSELF;
    let (slot, name) = ([Value::from(forward.slot)], [Value::from(forward.subscription)]);
    let mut woken: Option<std::time::Instant> = None;
    poll::until("the forward worker to end", patience, async || {
        if asleep && woken.is_none_or(|at| at.elapsed().as_millis() > WAKE_AGAIN_MS) {
            // A change of a published table: the worker wakes for it, rereads its subscription, and ends.
            own::sentinel(publisher, run, "wake").await?;
            woken = Some(clock::instant());
        }
        let (readers, workers) =
            tokio::join!(publisher.scalar::<i64>(READER, &slot), subscriber.scalar::<i64>(WORKERS, &name));
        let (readers, workers) = (readers?, workers?);
        if readers == 0 && workers == 0 {
            return Ok(Seen::Ready(()));
        }
        Ok(Seen::NotYet(format!("{workers} workers, {readers} readers of the slot")))
    })
    .await
}

/// The way back as it must be found: a slot that has its WAL, and a subscription on it that does not run.
///
/// # Errors
/// `require_failed` saying what it is instead.
pub async fn require_way_back(publisher: &Session, subscriber: &Session, back: WayBack<'_>) -> Result<()> {
    let (slot, subscription) =
        tokio::join!(slot::state(subscriber, back.slot), subscription::state(publisher, back.subscription));
    let wrong = |why: String| fail!(Code::RequireFailed, "the way back cannot be used: {why}");
    let Some(slot) = slot? else { return Err(wrong(format!("the slot `{}` does not exist", back.slot))) };
    if slot.wal_status.as_deref() == Some("lost") || slot.invalidation_reason.is_some() {
        return Err(wrong(format!("the slot `{}` has lost its WAL", back.slot)));
    }
    match subscription? {
        None => Err(wrong(format!("the subscription `{}` does not exist", back.subscription))),
        Some(Subscription { enabled: true, .. }) => Err(wrong(format!("`{}` is enabled", back.subscription))),
        Some(Subscription { workers: 1.., .. }) => Err(wrong(format!("`{}` still has workers", back.subscription))),
        Some(found) if found.slot.as_deref() != Some(back.slot) => {
            Err(wrong(format!("`{}` reads the slot `{}`", back.subscription, found.slot.unwrap_or_default())))
        }
        Some(found) if found.tables == 0 => Err(wrong(format!("`{}` knows no table", back.subscription))),
        Some(found) if found.ready != found.tables => {
            Err(wrong(format!("{} of {} tables of `{}` are ready", found.ready, found.tables, back.subscription)))
        }
        Some(_) => Ok(()),
    }
}

/// Proves that a stopped slot holds no change of anybody but pgrun: whatever had been confirmed, nothing was written
/// after. Reads the WAL that the slot keeps, so on a busy server it takes a moment; the slot must be inactive.
///
/// # Errors
/// `require_failed` naming the tables: then the forward stream is enabled and drained again.
pub async fn require_no_strangers(publisher: &Session, forward: Stream<'_>) -> Result<()> {
    const PEEK: &str = "SELECT data FROM pg_logical_slot_peek_binary_changes($1::name, NULL, NULL, \
         'proto_version', '1', 'publication_names', $2)";
    let publications: Vec<String> =
        forward.publications.iter().map(|name| crate::base::ident::ident(name)).collect::<Result<_>>()?;
    let rows = publisher.query(PEEK, &[forward.slot.into(), publications.join(",").into()]).await?;
    let messages = rows.iter().filter_map(|row| match row.get("data") {
        Some(Value::Bytes(bytes)) => Some(bytes.as_slice()),
        _ => None,
    });
    let mut strangers = pgoutput::changed_tables(messages);
    strangers.retain(|table| !table.starts_with("pgrun."));
    if strangers.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = strangers.into_iter().collect();
    Err(fail!(Code::RequireFailed, "changes were written after the fence: {}", ticked_list(&names, 5))
        .hint("enable the forward subscription and drain again"))
}
