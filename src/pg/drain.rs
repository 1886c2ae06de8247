//! The proof that the other server has everything: what has to hold before the window, and that behind the fence
//! nothing is on its way any more.
//!
//! A position alone proves little. A table that the publication knows and the subscription does not is passed over in
//! silence while the lag is zero; a conflict on 18 is counted and passed over. So positions, a row, the tables of
//! both sides and the counters of errors are asked for together, and every condition is named in the result or the
//! error.

use std::time::Duration;

use uuid::Uuid;

use super::{
    fence,
    record::{field, record},
    schema, sequences,
    session::Session,
    sets::{self, Followed},
    sides::{Condition, FollowerSeen, absent, condition, look_at_follower, look_at_slot, ms, require, unharmed},
    subscription::{self, Subscription},
    turn,
};
use crate::base::{
    Lsn, Map, Result, Value, clock,
    poll::{self, Patience, Seen},
    span,
};

/// One database's stream of changes, in the direction of the cutover: from BLUE to GREEN, in a rollback from GREEN to
/// BLUE.
#[derive(Clone, Copy)]
pub struct Stream<'a> {
    /// The server that is left.
    pub from: &'a Session,
    /// The server that takes over.
    pub to: &'a Session,
    /// The slot on `from`.
    pub slot: &'a str,
    /// The subscription on `to`.
    pub subscription: &'a str,
    /// The run.
    pub run: &'a str,
}

record! {
    /// What is so right before the window, and must still be so at its end.
    pub struct Baseline {
        /// Oid of the subscription.
        pub oid: i64,
        /// The publications that it asks for.
        pub publications: Vec<String>,
        /// Errors and conflicts counted so far. Absent below 15, which counts none.
        pub errors: Option<i64>,
        /// Stands for the catalog of the server that is left; another text means DDL in between.
        pub catalog: String,
    }
    /// The proof.
    pub struct Drained {
        /// The database.
        pub database: String,
        /// T: everything that was written before the fence lies before it.
        pub target: Lsn,
        /// Up to where the other server has applied everything, and has it on disk.
        pub applied: Lsn,
        /// The row that arrived.
        pub sentinel: String,
        /// Transactions from this one on were begun behind the fence; no older one was open any more.
        pub since: i64,
        /// The transactions of this proof on the server that is left.
        pub xids: Vec<i64>,
        /// Tables that are published and subscribed.
        pub tables: i64,
        /// How long it took, in milliseconds.
        pub ms: i64,
        /// All that was required.
        pub conditions: Vec<Condition>,
    }
    /// The state of a stream that may be cut over.
    pub struct Ready {
        /// Bytes that the other server has not confirmed yet.
        pub lag_bytes: i64,
        /// Tables that are published and subscribed.
        pub tables: i64,
        /// How long a row took to be seen on the other side, in milliseconds.
        pub round_trip_ms: i64,
        /// All that was required.
        pub conditions: Vec<Condition>,
    }
}

/// Between two looks inside the window: about what a round trip inside one zone takes.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(2);

/// For so long the server itself looks, before it tells what it saw.
pub(super) const SLICE: Duration = Duration::from_millis(100);

/// How long a row may take before the window. Any stream worth cutting over takes milliseconds.
const ROUND_TRIP_WITHIN: Duration = Duration::from_secs(5);

/// No row bears this id.
const NO_ROW: &str = "00000000-0000-0000-0000-000000000000";

const INCOMPLETE: &str = "it is not proved that the other server has everything";

/// Whether this stream may be cut over: the lag is small, the worker runs, both sides have the same tables, nothing
/// went wrong on the way, no transaction would be cut off or left behind, and a row gets through.
///
/// It uses the statements of [`drain`]: both servers then have read and planned them when time matters.
///
/// # Errors
/// `require_failed` naming every condition that does not hold. `timeout` when the row does not arrive.
pub async fn ready(stream: Stream<'_>, max_lag_bytes: u64, longest_transaction: Duration) -> Result<Ready> {
    let follower = follower(stream).await?;
    let running = follower.enabled && follower.apply_pid.is_some();
    let pid = follower.apply_pid.map_or_else(|| "no apply worker".into(), |pid| format!("apply worker {pid}"));
    let conflicts = follower.conflicts.unwrap_or(0);
    let slot = look_at_slot(stream).await?;
    let lag = slot.insert.bytes_since(slot.confirmed);
    let [is, may] = [lag, max_lag_bytes].map(span::size_text);
    let mut conditions = vec![
        condition("worker", running, if follower.enabled { pid } else { "disabled".into() }),
        condition("conflicts", conflicts == 0, format!("{conflicts} counted")),
        condition("lag", lag <= max_lag_bytes, format!("{is}, at most {may}")),
        condition("slot_read", slot.active, if slot.active { "by its reader" } else { "by nobody" }.into()),
        slot.usable(),
    ];
    let followed = Followed { subscription: stream.subscription, publications: &follower.publications };
    let (tables, agree) = sets::agree(stream, follower.oid, &followed).await?;
    conditions.extend(agree);
    conditions.extend(quiet(stream.from, longest_transaction).await?);
    require(&conditions, "the stream is not ready to be cut over")?;

    let begun = clock::instant();
    let id = Uuid::new_v4().to_string();
    Seal::write(stream, &id, &mut vec![]).await?;
    let patience = Patience { every: LOOK_EVERY, deadline: ROUND_TRIP_WITHIN };
    poll::until("a row to get through to the other side", patience, async || {
        let seen = look_at_follower(stream, follower.oid, &id, SLICE).await?;
        Ok(if seen.row { Seen::Ready(()) } else { Seen::NotYet(seen.text()) })
    })
    .await?;
    let lag_bytes = i64::try_from(lag).unwrap_or(i64::MAX);
    Ok(Ready { lag_bytes, tables, round_trip_ms: ms(begun.elapsed()), conditions })
}

/// Takes down what must not change from now on, and lets both servers read the statements of the window ahead. To be
/// called right before the window.
pub async fn baseline(stream: Stream<'_>) -> Result<Baseline> {
    let (follower, catalog) = tokio::try_join!(follower(stream), schema::token(stream.from))?;
    let seen = look_at_follower(stream, follower.oid, NO_ROW, Duration::ZERO).await?;
    turn::prepare(stream).await?;
    fence::prepare(stream.from, stream.to).await?;
    sequences::prepare(stream.from, stream.to).await?;
    Ok(Baseline { oid: follower.oid, publications: follower.publications, errors: seen.errors, catalog })
}

/// Proves that the other server has everything. To be called behind the fence, when nobody writes any more.
///
/// A row is written, T is where the server stands then, and its commit follows. Then: the row is there; everything up
/// to T was applied there and is on disk, as the other server's own origin says; the tables published are the tables
/// subscribed, all of them ready; and nothing was counted as error or conflict since `baseline`. May be repeated: it
/// proves anew. That no DDL came in is proved by [`turn::turn`].
///
/// The slot's `confirmed_flush_lsn` is not waited for. It says the same later: when the worker has woken, seen that
/// its log is on disk, and reported (worker.c, `send_feedback`).
///
/// # Errors
/// `require_failed` at once for what waiting cannot mend, `timeout` for what did not come, naming the conditions.
pub async fn drain(stream: Stream<'_>, baseline: &Baseline, deadline: Duration) -> Result<Drained> {
    let begun = clock::instant();
    let mut xids = vec![];
    // The other side looks out for the row before it is written.
    let id = Uuid::new_v4().to_string();
    let (seal, seen) =
        tokio::join!(Seal::write(stream, &id, &mut xids), look_at_follower(stream, baseline.oid, &id, SLICE));
    let (mut seal, mut seen) = (seal?, Some(seen?));
    if !seal.writers.is_empty() {
        (seal, seen) = (quiescence(stream, &mut xids, deadline).await?, None);
    }
    // Most often the row has arrived by now. What waiting cannot mend is told before anything is waited for.
    let (tables, mut conditions) = look(stream, baseline).await?;
    let patience = Patience { every: LOOK_EVERY, deadline: deadline.saturating_sub(begun.elapsed()) };
    let (seen, applied) = arrival(stream, baseline, &seal, seen, patience).await?;
    conditions.extend([
        condition("applied", true, format!("{applied} of {}", seal.target)),
        condition("sentinel", true, seen.text()),
        unharmed(seen.errors, baseline),
    ]);
    Ok(Drained {
        database: stream.from.target().database().to_owned(),
        target: seal.target,
        applied,
        sentinel: seal.id,
        since: seal.since,
        xids,
        tables,
        ms: ms(begun.elapsed()),
        conditions,
    })
}

/// How many tables go through the stream, and that both sides have the same.
async fn look(stream: Stream<'_>, baseline: &Baseline) -> Result<(i64, Vec<Condition>)> {
    let followed = Followed { subscription: stream.subscription, publications: &baseline.publications };
    let (tables, agree) = sets::agree(stream, baseline.oid, &followed).await?;
    let mut conditions = agree.to_vec();
    if conditions.iter().any(|condition| !condition.holds) {
        conditions.push(same_catalog(stream, baseline).await?);
    }
    require(&conditions, INCOMPLETE)?;
    Ok((tables, conditions))
}

/// Whether no definition has changed on the server that is left since the baseline. To ask takes longer than the rest
/// of [`drain`]; [`turn::turn`] does it while the other server ends its workers.
pub(super) async fn same_catalog(stream: Stream<'_>, baseline: &Baseline) -> Result<Condition> {
    let same = schema::token(stream.from).await? == baseline.catalog;
    Ok(condition("catalog", same, if same { "unchanged" } else { "changed" }.into()))
}

/// Waits until the row of the seal is there, and everything up to T with it; `seen` is what was seen of it already.
async fn arrival(
    stream: Stream<'_>,
    baseline: &Baseline,
    seal: &Seal,
    mut seen: Option<FollowerSeen>,
    patience: Patience,
) -> Result<(FollowerSeen, Lsn)> {
    poll::until("the other server to have everything", patience, async || {
        let now = match seen.take() {
            Some(seen) => seen,
            None => look_at_follower(stream, baseline.oid, &seal.id, SLICE).await?,
        };
        require(&[unharmed(now.errors, baseline)], INCOMPLETE)?;
        if let Some(applied) = now.applied
            && now.row
            && applied >= seal.target
        {
            return Ok(Seen::Ready((now, applied)));
        }
        let slot = look_at_slot(stream).await?;
        require(&[slot.usable()], INCOMPLETE)?;
        Ok(Seen::NotYet(format!("confirmed {} of {}, {}", slot.confirmed, seal.target, now.text())))
    })
    .await
}

/// The row behind the fence.
struct Seal {
    id: String,
    /// Transactions from this one on were begun behind the fence.
    since: i64,
    /// Who may still commit; nobody if empty.
    writers: String,
    /// T.
    target: Lsn,
}

impl Seal {
    /// Writes the row, and adds the transaction that it took.
    async fn write(stream: Stream<'_>, id: &str, xids: &mut Vec<i64>) -> Result<Self> {
        let row = stream.from.one(SEAL, &[stream.run.into(), id.into()]).await.map_err(fence::own)?;
        xids.push(field(&row, "xid")?);
        Ok(Self {
            id: id.to_owned(),
            since: field(&row, "since")?,
            writers: field(&row, "writers")?,
            target: field(&row, "target")?,
        })
    }
}

const SEAL: &str = "SELECT xid, since, writers, target FROM pgrun.seal($1::text, $2::uuid)";

/// Writes the row again until nobody has a transaction open any more that has written. Roles that the fence spares
/// may have one; committed behind T it would be noticed only if it was begun behind the fence.
async fn quiescence(stream: Stream<'_>, xids: &mut Vec<i64>, deadline: Duration) -> Result<Seal> {
    let patience = Patience { every: QUIET_EVERY, deadline };
    poll::until("transactions to end that may still write", patience, async || {
        let seal = Seal::write(stream, &Uuid::new_v4().to_string(), xids).await?;
        Ok(if seal.writers.is_empty() { Seen::Ready(seal) } else { Seen::NotYet(seal.writers) })
    })
    .await
}

/// Each look at open transactions writes a row.
const QUIET_EVERY: Duration = Duration::from_millis(20);

async fn follower(stream: Stream<'_>) -> Result<Subscription> {
    subscription::state(stream.to, stream.subscription).await?.ok_or_else(|| absent(stream))
}

/// Transactions that the fence would cut off, or that would outlive it.
async fn quiet(from: &Session, longest: Duration) -> Result<[Condition; 2]> {
    const LONG: &str = "SELECT coalesce(string_agg(format('%s of %s for %s s', a.pid, a.usename, \
           extract(epoch FROM clock_timestamp() - a.xact_start)::int8), ', ' ORDER BY a.xact_start), '') AS long, \
         (SELECT coalesce(string_agg(p.gid, ', ' ORDER BY p.gid), '') FROM pg_prepared_xacts p) AS prepared \
         FROM pg_stat_activity a WHERE a.backend_type = 'client backend' AND a.pid <> pg_backend_pid() \
           AND a.xact_start < clock_timestamp() - $1::bigint * interval '1 ms'";
    let row: Map = from.one(LONG, &[Value::Int(ms(longest))]).await?;
    let none = |name: &str, column: &str| -> Result<Condition> {
        let found: String = field(&row, column)?;
        let holds = found.is_empty();
        Ok(condition(name, holds, if holds { "none".into() } else { found }))
    };
    Ok([none("long_transactions", "long")?, none("prepared_transactions", "prepared")?])
}
