//! Replication turned round: the stream that leads to the new server ends, and the one that leads back begins at the
//! position where the new server's own life begins.
//!
//! The way back exists before the window: a slot on the new server and a disabled subscription on the old one. What
//! is left for the window is one position. It is set on the subscription's origin; a slot that is advanced falls back
//! when its server crashes, and then changes come home a second time (facts: attack 7).

use std::time::Duration;

use super::{
    drain::{self, Baseline, Drained, LOOK_EVERY, Stream},
    facts::INSERT_LSN,
    fence, origin, own,
    record::{field, record},
    session::Session,
    slot, subscription,
};
use crate::{
    base::{
        Code, Error, Lsn, Result, Value, clock,
        ident::ident,
        poll::{self, Patience, Seen},
        prose::ticked_list,
    },
    fail,
};

record! {
    /// The turn.
    pub struct Turned {
        /// The database.
        pub database: String,
        /// R: everything that the new server got from the old one lies before it, everything of its own behind it.
        pub position: Lsn,
        /// A row that the new server wrote behind R; it comes back when the way back is enabled.
        pub sentinel: String,
        /// How often the stream had to be drained again, because somebody had written behind the fence.
        pub drained_again: i64,
        /// How long it took, in milliseconds.
        pub ms: i64,
    }
    /// A row that went from one server to the other.
    pub struct Flow {
        /// The row.
        pub sentinel: String,
        /// How long it took, in milliseconds.
        pub ms: i64,
    }
    /// The subscription that will lead back.
    struct WayBack {
        pub oid: i64,
        pub enabled: bool,
        pub workers: i64,
        pub left: bool,
    }
}

/// Before 16 nothing wakes an apply worker for DISABLE but a change that arrives (facts: attack 21). It is sent one at
/// once, and again each time this many looks have passed.
const LOOKS_PER_WAKE: u32 = 100;

/// So often the stream is drained anew when somebody writes behind the fence; then the fence is worth nothing.
const TRIES: i64 = 3;

/// Changes that are looked at for a stranger's among them; the fence leaves room for a handful.
const CHANGES_PEEKED: i64 = 10_000;

/// Turns replication round, behind the fence and after [`drain::drain`] of all databases, whose proofs are `drained`.
///
/// The forward subscription is disabled, and waited for until its slot is free and the processes of its workers are
/// gone: DISABLE alone returns while they still commit. Then it is proved that nobody but pgrun wrote to the old
/// server since T, by the count of transactions, and only if that is unclear by decoding what the slot still holds.
/// Then R is where the new server stands. It is durable there, and set on the origin of `reverse`, the disabled
/// subscription on the old server. Nothing comes back twice, and nothing is missed.
///
/// May be repeated until the way back is enabled or the decision has fallen.
///
/// # Errors
/// `refused` when `reverse` runs already, or the run has decided for the other server. `require_failed` when errors
/// were counted since `baseline`, or somebody keeps writing. `timeout` when worker or slot do not come to rest.
pub async fn turn(
    stream: Stream<'_>,
    reverse: &str,
    baseline: &Baseline,
    drained: &[Drained],
    deadline: Duration,
) -> Result<Turned> {
    let begun = clock::instant();
    let left = || deadline.saturating_sub(begun.elapsed());
    let (way_back, mut workers) = tokio::try_join!(way_back(stream, reverse), workers(stream, baseline, &[]))?;
    let mut proof = own_proof(stream, drained)?.clone();
    let mut xids: Vec<i64> = drained.iter().flat_map(|drained| drained.xids.iter().copied()).collect();
    let mut drained_again = 0;
    let position = loop {
        xids.extend(stop(stream, baseline, &mut workers, left()).await?);
        let (strangers, position) =
            tokio::try_join!(strangers(stream, baseline, &proof, &xids, left()), stream.to.insert_lsn())?;
        if strangers.is_empty() {
            break position;
        }
        if drained_again == TRIES {
            return Err(fail!(
                Code::RequireFailed,
                "somebody writes behind the fence: {}",
                ticked_list(&strangers, 10)
            )
            .hint("see who may still log in: the exceptions, superusers, background jobs"));
        }
        drained_again += 1;
        subscription::enable(stream.to, stream.subscription).await?;
        proof = drain::drain(stream, baseline, left()).await?;
        xids.extend(&proof.xids);
        workers = self::workers(stream, baseline, &[]).await?;
    };
    // The commit of a row behind R makes all before it durable, DISABLE too. Otherwise a crash could take the log back
    // behind R, and what is written there later would never come back.
    let values = [way_back.oid.into(), position.into()];
    let (row, read_back) =
        tokio::try_join!(own::sentinel(stream.to, stream.run), stream.from.scalar::<Lsn>(SET_ORIGIN, &values))?;
    if read_back != position {
        return Err(fail!(Code::RequireFailed, "the origin of `{reverse}` is at {read_back}, wanted {position}"));
    }
    let database = stream.from.target().database().to_owned();
    Ok(Turned { database, position, sentinel: row.id, drained_again, ms: drain::ms(begun.elapsed()) })
}

/// Lets the forward stream run again after a turn that led to no decision: what undoes [`turn`]. It goes on where it
/// stopped. Without a subscription there is nothing to do.
///
/// # Errors
/// `refused` when the run has decided for the other server: its applications write there.
pub async fn back(stream: Stream<'_>) -> Result<()> {
    if fence::outcome(stream.from, stream.run).await? == "green" {
        return Err(left_already(stream.run));
    }
    match subscription::state(stream.to, stream.subscription).await? {
        Some(state) if !state.enabled => subscription::enable(stream.to, stream.subscription).await,
        _ => Ok(()),
    }
}

fn left_already(run: &str) -> Error {
    fail!(Code::Refused, "the run `{run}` has left this server: its applications write to the other one")
        .hint("go on: enable the way back")
}

/// The name of a subscription's origin is `pg_<oid>` (`ReplicationOriginNameForLogicalRep`).
const SET_ORIGIN: &str = "SELECT pgrun.set_origin('pg_' || $1::oid, $2::pg_lsn)";

/// Lets the way back run, from R. Enabled already, it is left alone.
///
/// The origin is proved immediately before. A crash of the old server may have forgotten an advance whose log was not
/// on disk yet: then it is set again.
///
/// # Errors
/// `require_failed` when the origin lies behind R: the subscription has run before, and somebody stopped it.
pub async fn enable(from: &Session, reverse: &str, turned: &Turned) -> Result<()> {
    let state = subscription::state(from, reverse).await?.ok_or_else(|| absent(from, reverse))?;
    if state.enabled {
        return Ok(());
    }
    match origin::position(from, reverse).await? {
        Some(at) if at > turned.position => {
            return Err(fail!(Code::RequireFailed, "`{reverse}` has come to {at}, beyond {}", turned.position)
                .hint("it has run before: find out who disabled it, then enable it by hand"));
        }
        Some(at) if at == turned.position => {}
        _ => origin::advance(from, reverse, turned.position).await?,
    }
    subscription::enable(from, reverse).await
}

/// Proves that changes flow from one server to the other: a row is written and seen.
///
/// # Errors
/// `timeout` when it does not arrive.
pub async fn flows(writer: &Session, follower: &Session, run: &str, deadline: Duration) -> Result<Flow> {
    let begun = clock::instant();
    let row = own::sentinel(writer, run).await?;
    poll::until("a row to arrive", Patience { every: Duration::from_millis(5), deadline }, async || {
        let seen = own::sees_sentinel(follower, &row.id).await?;
        Ok(if seen { Seen::Ready(()) } else { Seen::NotYet("it is not there".into()) })
    })
    .await?;
    Ok(Flow { sentinel: row.id, ms: drain::ms(begun.elapsed()) })
}

/// Removes the stream that led to the new server: first the subscription, parted from its slot, then the slot. What is
/// gone already is passed over.
///
/// # Errors
/// `refused` while the subscription is enabled: then nothing was turned. `timeout` when somebody reads from the slot.
pub async fn drop_forward(stream: Stream<'_>, patience: Patience) -> Result<()> {
    if subscription::state(stream.to, stream.subscription).await?.is_some_and(|state| state.enabled) {
        let label = stream.to.target().label();
        return Err(fail!(Code::Refused, "the subscription `{}` on {label} is still enabled", stream.subscription)
            .hint("turn replication round first"));
    }
    subscription::drop(stream.to, stream.subscription).await?;
    slot::drop(stream.from, stream.slot, patience).await.map(|_| ())
}

const WAY_BACK: &str = "SELECT s.oid, s.subenabled AS enabled, \
       (SELECT count(w.pid) FROM pg_stat_subscription w WHERE w.subid = s.oid) AS workers, \
       EXISTS (SELECT FROM pgrun.decision p WHERE p.target = pgrun.target() AND p.run = $2::text AND p.state = 'green') AS left \
     FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid AND d.datname = current_database() \
     WHERE s.subname = $1::name";

/// Lets both servers read the statements of [`turn`] ahead.
pub(super) async fn prepare(stream: Stream<'_>) -> Result<()> {
    stream.from.prepare(&[WAY_BACK, ENDED, SET_ORIGIN]).await?;
    stream.to.prepare(&[INSERT_LSN, own::SENTINEL, &workers_sql(stream.to.major().await?)]).await
}

/// The subscription that will lead back, at rest.
async fn way_back(stream: Stream<'_>, reverse: &str) -> Result<WayBack> {
    let rows: Vec<WayBack> = stream.from.records(WAY_BACK, &[reverse.into(), stream.run.into()]).await?;
    let found = rows.into_iter().next().ok_or_else(|| absent(stream.from, reverse))?;
    if found.left {
        return Err(left_already(stream.run));
    }
    if found.enabled || found.workers > 0 {
        return Err(fail!(Code::Refused, "the subscription `{reverse}` runs already").hint("disable it first"));
    }
    Ok(found)
}

fn absent(session: &Session, subscription: &str) -> Error {
    fail!(Code::RequireFailed, "there is no subscription `{subscription}` on {}", session.target().label())
}

/// This database's proof among all.
fn own_proof<'a>(stream: Stream<'_>, drained: &'a [Drained]) -> Result<&'a Drained> {
    let database = stream.from.target().database();
    drained.iter().rfind(|drained| drained.database == database).ok_or_else(|| {
        fail!(Code::Usage, "`{database}` was not drained before its replication is turned").hint("drain it first")
    })
}

/// The processes of a subscription's workers, and the counters.
struct Workers {
    /// Those that were ever seen and still live.
    alive: Vec<i64>,
    errors: Option<i64>,
}

/// Looks at the workers. A worker leaves `pg_stat_subscription` before it has reported its last numbers; so those that
/// were `seen` there before count until their process is gone.
async fn workers(stream: Stream<'_>, baseline: &Baseline, seen: &[i64]) -> Result<Workers> {
    let sql = workers_sql(stream.to.major().await?);
    let row = stream.to.one(&sql, &[baseline.oid.into(), seen.to_vec().into()]).await?;
    Ok(Workers { alive: field(&row, "alive")?, errors: field(&row, "errors")? })
}

fn workers_sql(major: i64) -> String {
    format!(
        "SELECT ARRAY(SELECT w.pid FROM pg_stat_subscription w WHERE w.subid = $1::oid AND w.pid IS NOT NULL \
           UNION SELECT a.pid FROM pg_stat_activity a \
           WHERE a.pid = ANY ($2::int4[]) AND a.backend_type LIKE 'logical replication%') AS alive, {} AS errors",
        drain::errors_of("$1::oid", major)
    )
}

/// Disables the forward subscription and waits until nothing of it is left. Gives the transactions that took on the
/// server that is left.
async fn stop(stream: Stream<'_>, baseline: &Baseline, seen: &mut Workers, deadline: Duration) -> Result<Vec<i64>> {
    // It need not wait for the disk: a row behind R does.
    let name = ident(stream.subscription)?;
    stream.to.batch(&format!("SET LOCAL synchronous_commit = off; ALTER SUBSCRIPTION {name} DISABLE")).await?;
    let sleeps = stream.to.major().await? < 16;
    let (mut looks, mut xids) = (0, vec![]);
    let patience = Patience { every: LOOK_EVERY, deadline };
    poll::until("the forward subscription to come to rest", patience, async || {
        if sleeps && looks % LOOKS_PER_WAKE == 0 {
            xids.push(own::sentinel(stream.from, stream.run).await?.xid);
        }
        looks += 1;
        let (slot, workers) = tokio::try_join!(drain::look_at_slot(stream), workers(stream, baseline, &seen.alive))?;
        *seen = workers;
        if seen.alive.is_empty() && !slot.active {
            return Ok(Seen::Ready(()));
        }
        Ok(Seen::NotYet(format!("{} workers alive, slot read {}", seen.alive.len(), slot.active)))
    })
    .await?;
    // Only now have the workers told all that they counted.
    drain::require(&[drain::unharmed(seen.errors, baseline)], "not everything was applied")?;
    Ok(xids)
}

/// Up to here every transaction has ended, but those that are open.
const ENDED: &str = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::int8";

/// Tables that somebody else changed on the server that is left since the proof. None if the transactions since then
/// are all pgrun's own; else the slot tells.
async fn strangers(
    stream: Stream<'_>,
    baseline: &Baseline,
    proof: &Drained,
    own: &[i64],
    deadline: Duration,
) -> Result<Vec<String>> {
    const PEEK: &str = "SELECT data FROM pg_logical_slot_peek_binary_changes($1::name, NULL, $2::int4, \
         'proto_version', '1', 'publication_names', $3::text)";
    let next: i64 = stream.from.scalar(ENDED, &[]).await?;
    let since = |xid: &&i64| (proof.since..next).contains(*xid);
    let mine = i64::try_from(own.iter().filter(since).count()).unwrap_or(i64::MAX);
    if next - proof.since <= mine {
        return Ok(vec![]);
    }
    let publications: Vec<String> = baseline.publications.iter().map(|name| ident(name)).collect::<Result<_>>()?;
    let values = [stream.slot.into(), Value::Int(CHANGES_PEEKED), publications.join(",").into()];
    let rows = clock::within(deadline, stream.from.query(PEEK, &values)).await.ok_or_else(|| {
        fail!(Code::Timeout, "the changes since {} could not be looked through in time", proof.target)
    })??;
    let mut strangers: Vec<String> = rows.iter().filter_map(|row| row.get("data").and_then(relation)).collect();
    strangers.retain(|table| !table.starts_with("pgrun."));
    Ok(strangers)
}

/// The table that a Relation message of `pgoutput` announces: `R`, its oid, and two texts that end with a zero byte
/// (manual, "Logical Replication Message Formats"). It stands before the first change of each table.
fn relation(message: &Value) -> Option<String> {
    let Value::Bytes(bytes) = message else { return None };
    let names = bytes.strip_prefix(b"R")?.get(4..)?;
    let mut parts = names.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    Some(format!("{}.{}", parts.next()?, parts.next()?))
}

#[cfg(test)]
mod tests {
    use super::relation;
    use crate::base::Value;

    #[test]
    fn only_relation_messages_name_a_table() {
        let told = |bytes: &[u8]| relation(&Value::Bytes(bytes.to_vec()));
        assert_eq!(told(b"R\0\0\x40\x01public\0It's \"T\"\0d\0\x01"), Some("public.It's \"T\"".into()));
        assert_eq!(told(b"I\0\0\x40\x01N\0\x01"), None);
        assert_eq!(told(b"R\0"), None);
        assert_eq!(told(b""), None);
    }
}
