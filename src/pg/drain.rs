//! The proof that the other server has everything: what has to hold before the window, and that behind the fence
//! nothing is on its way any more.
//!
//! A position alone proves little. A table that the publication knows and the subscription does not is passed over in
//! silence while the lag is zero; a conflict on 18 is counted and passed over. So positions, a row, the tables of both
//! sides and the counters of errors are asked for together, and every condition is named in the result or the error.

use std::time::Duration;

use super::{
    fence, own,
    record::{Record as _, field, record},
    schema, sequences,
    session::Session,
    sets::{self, Followed},
    subscription::{self, Subscription},
    turn,
};
use crate::{
    base::{
        Code, Error, Lsn, Map, Result, Value, clock,
        poll::{self, Patience, Seen},
        span,
    },
    fail,
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
    /// One thing that has to hold.
    pub struct Condition {
        /// Its name.
        pub name: String,
        /// Whether it holds.
        pub holds: bool,
        /// What was seen.
        pub seen: String,
    }
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
        /// Up to where the other server has confirmed.
        pub confirmed: Lsn,
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
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(1);

/// A follower whose `wal_writer_delay` could not be lowered writes its log to disk after up to 200 ms only, and
/// confirms no earlier. When it has the row for this long and has not confirmed it, it is helped: see [`help`].
const HELP_AFTER: Duration = Duration::from_millis(15);

/// How long a row may take before the window. Any stream worth cutting over takes milliseconds.
const ROUND_TRIP_WITHIN: Duration = Duration::from_secs(5);

/// No row bears this id.
const NO_ROW: &str = "00000000-0000-0000-0000-000000000000";

const INCOMPLETE: &str = "it is not proved that the other server has everything";

/// Whether this stream may be cut over: the lag is small, the worker runs, both sides have the same tables, nothing
/// went wrong on the way, no transaction would be cut off or left behind, and a row gets through.
///
/// It uses the statements of [`drain`], so that the sessions know them when time matters.
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
    let sentinel = own::sentinel(stream.from, stream.run).await?;
    let patience = Patience { every: LOOK_EVERY, deadline: ROUND_TRIP_WITHIN };
    poll::until("a row to get through to the other side", patience, async || {
        let seen = look_at_follower(stream, &sentinel.id).await?;
        Ok(if seen.row { Seen::Ready(()) } else { Seen::NotYet(seen.text()) })
    })
    .await?;
    let lag_bytes = i64::try_from(lag).unwrap_or(i64::MAX);
    Ok(Ready { lag_bytes, tables, round_trip_ms: ms(begun.elapsed()), conditions })
}

/// Takes down what must not change from now on, and lets both servers read the statements of the window ahead. To be
/// called right before the window.
pub async fn baseline(stream: Stream<'_>) -> Result<Baseline> {
    let (follower, seen, catalog) =
        tokio::try_join!(follower(stream), look_at_follower(stream, NO_ROW), schema::token(stream.from))?;
    stream.from.prepare(&[FIRST]).await?;
    turn::prepare(stream).await?;
    fence::prepare(stream.from, stream.to).await?;
    sequences::prepare(stream.from, stream.to).await?;
    Ok(Baseline { oid: follower.oid, publications: follower.publications, errors: seen.errors, catalog })
}

/// Proves that the other server has everything. To be called behind the fence, when nobody writes any more.
///
/// A row is written, T is where the server stands then, and one more commit follows, since a position right behind the
/// head of a WAL page is never confirmed on an idle server. Then: the other server has confirmed T, which it does only
/// for what it has written to disk; the row is there; the tables published are the tables subscribed, all of them
/// ready; nothing was counted as error or conflict since `baseline`; and no DDL came in. May be repeated: it proves
/// anew.
///
/// # Errors
/// `require_failed` at once for what waiting cannot mend, `timeout` for what did not come, naming the conditions.
pub async fn drain(stream: Stream<'_>, baseline: &Baseline, deadline: Duration) -> Result<Drained> {
    let begun = clock::instant();
    let (first, mut xids) = quiescence(stream, deadline).await?;
    let second = own::sentinel(stream.from, stream.run).await?;
    let target = second.lsn;
    xids.push(second.xid);
    // With thousands of tables these take a while; the stream drains meanwhile.
    let followed = Followed { subscription: stream.subscription, publications: &baseline.publications };
    let (tables, agree) = sets::agree(stream, baseline.oid, &followed).await?;
    let same = schema::token(stream.from).await? == baseline.catalog;
    let mut conditions = agree.to_vec();
    conditions.push(condition("catalog", same, if same { "unchanged" } else { "changed" }.into()));
    require(&conditions, INCOMPLETE)?;

    let mut helped = clock::instant();
    let patience = Patience { every: LOOK_EVERY, deadline: deadline.saturating_sub(begun.elapsed()) };
    let (slot, seen) = poll::until("the other server to have everything", patience, async || {
        let (slot, seen) = tokio::try_join!(look_at_slot(stream), look_at_follower(stream, &first.id))?;
        require(&[slot.usable(), unharmed(seen.errors, baseline)], INCOMPLETE)?;
        if seen.row && slot.confirmed >= target {
            return Ok(Seen::Ready((slot, seen)));
        }
        if seen.row && helped.elapsed() > HELP_AFTER {
            xids.push(help(stream).await?);
            helped = clock::instant();
        }
        Ok(Seen::NotYet(format!("confirmed {} of {target}, {}", slot.confirmed, seen.text())))
    })
    .await?;
    conditions.extend([
        condition("confirmed", true, format!("{} of {target}", slot.confirmed)),
        condition("sentinel", true, seen.text()),
        slot.usable(),
        unharmed(seen.errors, baseline),
    ]);
    Ok(Drained {
        database: stream.from.target().database().to_owned(),
        target,
        confirmed: slot.confirmed,
        sentinel: first.id,
        since: first.since,
        xids,
        tables,
        ms: ms(begun.elapsed()),
        conditions,
    })
}

record! {
    /// The first row behind the fence.
    struct First {
        pub id: String,
        pub xid: i64,
        pub since: i64,
        pub writers: String,
    }
}

/// Writes the first row behind the fence when nobody has a transaction open any more that has written. Roles that the
/// fence spares may have one; committed behind T it would be noticed only if it was begun behind the fence. Gives the
/// row and all transactions that it took.
async fn quiescence(stream: Stream<'_>, deadline: Duration) -> Result<(First, Vec<i64>)> {
    let mut xids = vec![];
    let patience = Patience { every: QUIET_EVERY, deadline };
    let first = poll::until("transactions to end that may still write", patience, async || {
        let first = First::from_map(&stream.from.one(FIRST, &[stream.run.into()]).await?)?;
        xids.push(first.xid);
        Ok(if first.writers.is_empty() { Seen::Ready(first) } else { Seen::NotYet(first.writers) })
    });
    let first = first.await?;
    Ok((first, xids))
}

/// The snapshot is the statement's and so older than its look at others: a transaction that is not in the future of the
/// snapshot is over by then, or seen by `writers`. Its commit need not be durable: the next one's makes it so.
const FIRST: &str = "INSERT INTO pgrun.sentinel (id, run, kind, target, lsn, xid, at) \
     SELECT gen_random_uuid(), $1::text, 'sentinel', pgrun.target(), pg_current_wal_insert_lsn(), \
            pg_current_xact_id()::text::bigint, clock_timestamp() FROM set_config('synchronous_commit', 'off', true) \
     RETURNING id::text AS id, xid, pg_snapshot_xmax(pg_current_snapshot())::text::int8 AS since, \
               pgrun.writers($1::text) AS writers";

/// Each look at open transactions writes a row.
const QUIET_EVERY: Duration = Duration::from_millis(20);

/// A durable commit on the follower writes all of its log to disk, and one more row on the other side wakes the worker,
/// which then confirms what has become durable. Gives the transaction of that row.
async fn help(stream: Stream<'_>) -> Result<i64> {
    stream.to.execute("SELECT pg_logical_emit_message(true, 'pgrun', 'flush')", &[]).await?;
    Ok(own::sentinel(stream.from, stream.run).await?.xid)
}

/// A slot, and where its server stands.
pub(super) struct SlotSeen {
    confirmed: Lsn,
    insert: Lsn,
    pub(super) active: bool,
    wal_status: String,
}

impl SlotSeen {
    fn usable(&self) -> Condition {
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
    let row = rows.first().ok_or_else(|| {
        let label = stream.from.target().label();
        fail!(Code::RequireFailed, "there is no logical slot `{}` of this database on {label}", stream.slot)
    })?;
    Ok(SlotSeen {
        confirmed: field::<Option<Lsn>>(row, "confirmed")?.unwrap_or(Lsn(0)),
        insert: field(row, "insert")?,
        active: field(row, "active")?,
        wal_status: field(row, "wal_status")?,
    })
}

/// The side that follows.
struct FollowerSeen {
    row: bool,
    workers: i64,
    errors: Option<i64>,
}

impl FollowerSeen {
    fn text(&self) -> String {
        let row = if self.row { "the row is there" } else { "the row is not there" };
        format!("{row}, {} at work", crate::base::prose::count(usize::try_from(self.workers).unwrap_or(0), "worker"))
    }
}

/// Looks whether a row has arrived, and at workers and counters.
async fn look_at_follower(stream: Stream<'_>, row: &str) -> Result<FollowerSeen> {
    let sql = format!(
        "SELECT EXISTS (SELECT FROM pgrun.sentinel WHERE id = $1::uuid) AS row, \
           (SELECT count(w.pid) FROM pg_stat_subscription w WHERE w.subid = s.oid) AS workers, {} AS errors \
         FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid AND d.datname = current_database() \
         WHERE s.subname = $2::name",
        errors_of("s.oid", stream.to.major().await?)
    );
    let rows = stream.to.query(&sql, &[row.into(), stream.subscription.into()]).await?;
    let row = rows.first().ok_or_else(|| absent(stream))?;
    Ok(FollowerSeen { row: field(row, "row")?, workers: field(row, "workers")?, errors: field(row, "errors")? })
}

/// The sum of a subscription's counters: 15 brought those of errors, 18 those of conflicts.
pub(super) fn errors_of(oid: &str, major: i64) -> String {
    if major < 15 {
        return "NULL::int8".into();
    }
    format!(
        "(SELECT sum(v.value::int8)::int8 FROM pg_stat_subscription_stats t, jsonb_each_text(to_jsonb(t)) v \
          WHERE t.subid = {oid} AND (v.key LIKE '%\\_error\\_count' OR v.key LIKE 'confl\\_%'))"
    )
}

/// Whether nothing was counted since the baseline.
pub(super) fn unharmed(errors: Option<i64>, baseline: &Baseline) -> Condition {
    let number = |errors: Option<i64>| errors.map_or_else(|| "not counted".to_owned(), |n| n.to_string());
    let seen = format!("{}, before {}", number(errors), number(baseline.errors));
    condition("errors", errors == baseline.errors, seen)
}

async fn follower(stream: Stream<'_>) -> Result<Subscription> {
    subscription::state(stream.to, stream.subscription).await?.ok_or_else(|| absent(stream))
}

fn absent(stream: Stream<'_>) -> Error {
    let label = stream.to.target().label();
    fail!(Code::RequireFailed, "there is no subscription `{}` on {label}", stream.subscription)
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

pub(super) fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
