//! Replication turned round: the stream that leads to the new server ends, and the one that leads back begins at the
//! position where the new server's own life begins.
//!
//! The way back exists before the window: a slot on the new server and a disabled subscription on the old one. What
//! is left for the window is one position. It is set on the subscription's origin; a slot that is advanced falls back
//! when its server crashes, and then changes come home a second time (facts: attack 7).

use std::{collections::BTreeMap, time::Duration};

use super::{
    drain::{self, Baseline, Drained, LOOK_EVERY, SLICE, Stream},
    fence, origin, own,
    record::{field, record},
    sequences,
    session::Session,
    sides, slot, subscription,
};
use crate::{
    base::{
        Code, Error, Lsn, Result, Value, clock,
        ident::ident,
        poll::{self, Patience, Seen},
        prose::{count, ticked_list},
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
        /// Sequences that are equal on both sides now.
        pub sequences: i64,
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
}

/// So often the stream is drained anew when somebody writes behind the fence; then the fence is worth nothing.
const TRIES: i64 = 3;

/// Changes that are looked at for a stranger's among them; the fence leaves room for a handful.
const CHANGES_PEEKED: i64 = 10_000;

/// Turns replication round, behind the fence and after [`drain::drain`] of all databases, whose proofs are `drained`.
///
/// The forward subscription is disabled, and waited for until the processes of its workers are gone and its slot is
/// free: DISABLE alone returns while they still commit. (Before 16 nothing wakes a worker for DISABLE but a change
/// that arrives afterwards, facts: attack 21; so it is sent some.) Meanwhile it is proved that no definition has
/// changed here since `baseline`, and the sequences are copied. Then it is proved that nobody but pgrun wrote to the
/// old server since T, by the count of transactions, and only if that is unclear by decoding what the slot still
/// holds. Then R is where the new server stands. It is durable there, and set on the origin of `reverse`, the
/// disabled subscription on the old server. Nothing comes back twice, and nothing is missed.
///
/// May be repeated until the way back is enabled or the decision has fallen.
///
/// # Errors
/// `refused` when `reverse` runs already, or the run has decided for the other server. `require_failed` when errors
/// were counted since `baseline`, a definition has changed, or somebody keeps writing. `timeout` when worker or slot
/// do not come to rest.
pub async fn turn(
    stream: Stream<'_>,
    reverse: &str,
    baseline: &Baseline,
    drained: &[Drained],
    deadline: Duration,
) -> Result<Turned> {
    let begun = clock::instant();
    let left = || deadline.saturating_sub(begun.elapsed());
    let mut proof = own_proof(stream, drained)?.clone();
    let mut xids: Vec<i64> = drained.iter().flat_map(|drained| drained.xids.iter().copied()).collect();
    // To end the reading does no harm where the way back turns out to run already: then it has ended before.
    let (mut rest, there) = {
        let (tell, told) = tokio::sync::oneshot::channel();
        let (there, rest) = tokio::join!(
            async {
                let there = sequences::look(stream.from).await?;
                // Whoever waits for them may have failed.
                drop(tell.send(there.clone()));
                sides::require(&[drain::same_catalog(stream, baseline).await?], "the two servers differ")?;
                Ok(there)
            },
            async {
                let rest = come_to_rest(stream, baseline, &mut xids, left()).await?;
                // Without an answer the other one has failed, which is told.
                if let Ok(there) = told.await {
                    sequences::follow(stream.to, &there).await?;
                }
                Ok(rest)
            }
        );
        let there = there?;
        (rest?, there)
    };
    let mut drained_again = 0;
    let mut sequences = there.len();
    loop {
        let next = released(stream, reverse, &rest, left()).await?;
        let strangers = strangers(stream, baseline, &proof, &xids, next, left()).await?;
        if strangers.is_empty() {
            break;
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
        rest = come_to_rest(stream, baseline, &mut xids, left()).await?;
        sequences = sequences::copy(stream.from, stream.to).await?.sequences;
    }
    let sequences = i64::try_from(sequences).unwrap_or(i64::MAX);
    let database = stream.from.target().database().to_owned();
    let Rest { position, sentinel } = rest;
    Ok(Turned { database, position, sentinel, drained_again, sequences, ms: sides::ms(begun.elapsed()) })
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
    Ok(Flow { sentinel: row.id, ms: sides::ms(begun.elapsed()) })
}

/// Removes the stream that led to the new server: first the subscription, parted from its slot, then the slot. What
/// is gone already is passed over.
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

/// Lets both servers read the statements of [`turn`] ahead.
pub(super) async fn prepare(stream: Stream<'_>) -> Result<()> {
    stream.from.prepare(&[RELEASED]).await?;
    stream.to.prepare(&[STOP]).await?;
    // What the procedure asks most is planned by now.
    stream.to.query("SELECT pgrun.alive(NULL, '{}')", &[]).await.map_err(fence::own).map(|_| ())
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

/// A subscription that reads no more.
struct Rest {
    /// Where its server stood when the workers were gone. It is on disk.
    position: Lsn,
    /// The row behind it.
    sentinel: String,
}

const STOP: &str = "CALL pgrun.stop($1::text, $2::oid, $3::int8, $4::int4[], NULL::int8, NULL::pg_lsn, NULL::text)";

/// Disables the forward subscription and waits until nothing of it is left. Adds the transactions that it took on the
/// server that is left.
async fn come_to_rest(
    stream: Stream<'_>,
    baseline: &Baseline,
    xids: &mut Vec<i64>,
    deadline: Duration,
) -> Result<Rest> {
    let sleeps = stream.to.major().await? < 16;
    let mut alive: Option<Vec<i64>> = None;
    let patience = Patience { every: LOOK_EVERY, deadline };
    let (position, sentinel, errors) = poll::until("the forward subscription to come to rest", patience, async || {
        let mut within = SLICE;
        if sleeps {
            match alive {
                // A change that arrives before DISABLE is committed wakes nobody.
                None => within = Duration::ZERO,
                Some(_) => xids.push(own::sentinel(stream.from, stream.run).await?.xid),
            }
        }
        let before = alive.take().unwrap_or_default();
        let values = [stream.run.into(), baseline.oid.into(), Value::Int(sides::ms(within)), before.into()];
        let row = stream.to.one(STOP, &values).await.map_err(fence::own)?;
        let left: Vec<i64> = field(&row, "alive")?;
        if let Some(position) = field::<Option<Lsn>>(&row, "at_rest")? {
            return Ok(Seen::Ready((position, field(&row, "id")?, field(&row, "errors")?)));
        }
        let seen = format!("{} alive", count(left.len(), "worker"));
        alive = Some(left);
        Ok(Seen::NotYet(seen))
    })
    .await?;
    // Only now have the workers told all that they counted.
    sides::require(&[sides::unharmed(errors, baseline)], "not everything was applied")?;
    Ok(Rest { position, sentinel })
}

const RELEASED: &str =
    "SELECT active, next, origin FROM pgrun.released($1::text, $2::name, $3::name, $4::pg_lsn, $5::int8)";

/// Waits until nobody reads from the forward slot, and sets the origin of the way back, which must be at rest. Gives
/// the transaction before which everything had begun that the reader was given.
async fn released(stream: Stream<'_>, reverse: &str, rest: &Rest, deadline: Duration) -> Result<i64> {
    let slice = Value::Int(sides::ms(SLICE));
    let values = [stream.run.into(), stream.slot.into(), reverse.into(), rest.position.into(), slice];
    let patience = Patience { every: LOOK_EVERY, deadline };
    let (next, origin) = poll::until("the forward slot to be free", patience, async || {
        let row = stream.from.one(RELEASED, &values).await.map_err(fence::own)?;
        match field::<Option<bool>>(&row, "active")? {
            None => Err(sides::no_slot(stream)),
            Some(true) => Ok(Seen::NotYet("it is read from".into())),
            Some(false) => Ok(Seen::Ready((field(&row, "next")?, field::<Option<Lsn>>(&row, "origin")?))),
        }
    })
    .await?;
    if origin != Some(rest.position) {
        let at = origin.map_or_else(|| "nowhere".to_owned(), |origin| origin.to_string());
        return Err(fail!(Code::RequireFailed, "the origin of `{reverse}` is at {at}, wanted {}", rest.position));
    }
    Ok(next)
}

/// Tables that somebody else changed on the server that is left since the proof. None if the transactions since then
/// are all pgrun's own; else the slot tells.
async fn strangers(
    stream: Stream<'_>,
    baseline: &Baseline,
    proof: &Drained,
    own: &[i64],
    next: i64,
    deadline: Duration,
) -> Result<Vec<String>> {
    // The slot's own position may lie far before T. A relation is announced once, perhaps before T.
    const PEEK: &str = "SELECT p.lsn, p.data FROM pg_logical_slot_peek_binary_changes($1::name, NULL, NULL, \
         'proto_version', '1', 'publication_names', $2::text) p \
         WHERE p.lsn > $3::pg_lsn OR get_byte(p.data, 0) = ascii('R') LIMIT $4::int8";
    let since = |xid: &&i64| (proof.since..next).contains(*xid);
    let mine = i64::try_from(own.iter().filter(since).count()).unwrap_or(i64::MAX);
    if next - proof.since <= mine {
        return Ok(vec![]);
    }
    let publications: Vec<String> = baseline.publications.iter().map(|name| ident(name)).collect::<Result<_>>()?;
    let values = [stream.slot.into(), publications.join(",").into(), proof.target.into(), Value::Int(CHANGES_PEEKED)];
    let rows = clock::within(deadline, stream.from.query(PEEK, &values)).await.ok_or_else(|| {
        fail!(Code::Timeout, "the changes since {} could not be looked through in time", proof.target)
    })??;
    let messages = rows.iter().filter_map(|row| match (row.get("lsn"), row.get("data")) {
        (Some(Value::Lsn(lsn)), Some(Value::Bytes(bytes))) => Some((*lsn, bytes.as_slice())),
        _ => None,
    });
    let mut strangers = changed(messages, proof.target);
    strangers.retain(|table| !table.starts_with("pgrun."));
    Ok(strangers)
}

/// The tables that messages of `pgoutput` behind a position change (manual, "Logical Replication Message Formats"):
/// `I`, `U` and `D` begin with the table's oid, `T` with the number of tables and a byte of options. `R` announces a
/// table before its first change: its oid, and two texts that end with a zero byte.
fn changed<'a>(messages: impl Iterator<Item = (Lsn, &'a [u8])>, behind: Lsn) -> Vec<String> {
    let (mut names, mut found) = (BTreeMap::new(), vec![]);
    for (lsn, message) in messages {
        let Some((kind, body)) = message.split_first() else { continue };
        let tables: &[u8] = match kind {
            b'R' => {
                if let Some((oid, name)) = relation(body) {
                    names.insert(oid, name);
                }
                continue;
            }
            b'I' | b'U' | b'D' => body.get(..4).unwrap_or_default(),
            b'T' => body.get(5..).unwrap_or_default(),
            _ => continue,
        };
        if lsn <= behind {
            continue;
        }
        for oid in tables.as_chunks::<4>().0 {
            let oid = u32::from_be_bytes(*oid);
            let name = names.get(&oid).cloned().unwrap_or_else(|| format!("the table with the oid {oid}"));
            if !found.contains(&name) {
                found.push(name);
            }
        }
    }
    found
}

fn relation(body: &[u8]) -> Option<(u32, String)> {
    let (oid, names) = body.split_first_chunk::<4>()?;
    let mut parts = names.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    Some((u32::from_be_bytes(*oid), format!("{}.{}", parts.next()?, parts.next()?)))
}

#[cfg(test)]
mod tests {
    use super::changed;
    use crate::base::Lsn;

    /// What was changed before the position is no stranger's, though its table is announced there and only there.
    #[test]
    fn only_changes_behind_the_position_count() {
        let told = |messages: &[(u64, &[u8])]| changed(messages.iter().map(|(lsn, data)| (Lsn(*lsn), *data)), Lsn(10));
        let announced: (u64, &[u8]) = (5, b"R\0\0\x40\x01public\0It's \"T\"\0d\0\x01");
        assert_eq!(told(&[announced, (6, b"I\0\0\x40\x01N"), (10, b"D\0\0\x40\x01K")]), Vec::<String>::new());
        for change in [b"I\0\0\x40\x01N".as_slice(), b"U\0\0\x40\x01N", b"T\0\0\0\x01\0\0\0\x40\x01"] {
            assert_eq!(told(&[announced, (6, change), (11, change), (12, change)]), ["public.It's \"T\""]);
        }
        assert_eq!(told(&[(11, b"T\0\0\0\x02\0\0\0\0\x07\0\0\0\x08")]).len(), 2);
        assert_eq!(told(&[(11, b""), (12, b"I\0"), (13, b"B\0\0\0\0\0\0\0\x01"), (14, b"R\0")]), Vec::<String>::new());
    }
}
