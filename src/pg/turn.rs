//! Turning the replication round: from BLUE to GREEN becomes from GREEN to BLUE, without an echo.

use std::time::Duration;

use super::{drain::Route, origin, own, record::record, session::Session, slot, subscription};
use crate::base::{
    Lsn, Result, clock,
    poll::{self, Patience, Seen},
};

record! {
    /// What turning did.
    pub struct Turned {
        /// R: from here on BLUE will ask GREEN for changes.
        pub position: Lsn,
    }
    /// A row that went from one side to the other.
    pub struct Flow {
        /// It arrived.
        pub arrived: bool,
        /// After so many milliseconds.
        pub ms: i64,
    }
}

const LOOK: Duration = Duration::from_millis(2);
/// How long a slot may still be read after its subscription was disabled and dropped.
const LEAVING: Patience = Patience { every: Duration::from_millis(50), deadline: Duration::from_secs(30) };

/// Ends the replication to GREEN and sets where BLUE begins to follow it.
///
/// DISABLE returns before the worker is gone, and before 16 nothing wakes a worker to notice: a row of pgrun's own wakes
/// it. Only when the slot is inactive *and* no worker is left, GREEN's insert position is R: what the worker applied lies
/// before it and is not sent back. Advancing the reverse slot instead would be lost in a crash of GREEN.
///
/// # Errors
/// `timeout` when the worker does not end; `require_failed` when the origin reads back differently.
pub async fn turn(
    blue: &Session,
    green: &Session,
    forward: &Route,
    reverse_subscription: &str,
    run: &str,
    deadline: Duration,
) -> Result<Turned> {
    subscription::disable(green, &forward.subscription).await?;
    own::sentinel(blue, run).await?;
    let patience = Patience { every: LOOK, deadline };
    poll::until("the apply worker to end and its slot to be free", patience, async || {
        let workers = subscription::state(green, &forward.subscription).await?.map_or(0, |found| found.workers);
        let reader = slot::state(blue, &forward.slot).await?.and_then(|slot| slot.active_pid);
        Ok(match (workers, reader) {
            (0, None) => Seen::Ready(()),
            (workers, reader) => Seen::NotYet(format!("{workers} workers, slot read by {reader:?}")),
        })
    })
    .await?;
    let position = green.insert_lsn().await?;
    origin::advance(blue, reverse_subscription, position).await?;
    Ok(Turned { position })
}

/// Drops the subscription that came from BLUE, then its slot there. Safe to repeat.
pub async fn drop_forward(blue: &Session, green: &Session, forward: &Route) -> Result<()> {
    subscription::drop(green, &forward.subscription).await?;
    slot::drop(blue, &forward.slot, LEAVING).await?;
    Ok(())
}

/// Writes a row on one side and waits until the other has it.
///
/// # Errors
/// `timeout` when it does not arrive.
pub async fn flow(from: &Session, to: &Session, run: &str, deadline: Duration) -> Result<Flow> {
    let begun = clock::instant();
    let sentinel = own::sentinel(from, run).await?;
    let what = format!("a row of {} to arrive on {}", from.target().label(), to.target().label());
    poll::until(&what, Patience { every: Duration::from_millis(20), deadline }, async || {
        let arrived = own::sees_sentinel(to, &sentinel.id).await?;
        Ok(if arrived { Seen::Ready(()) } else { Seen::NotYet("not there".into()) })
    })
    .await?;
    Ok(Flow { arrived: true, ms: i64::try_from(begun.elapsed().as_millis()).unwrap_or(i64::MAX) })
}
