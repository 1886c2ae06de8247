//! The drain: nothing that BLUE has committed is missing on GREEN, and both agree on what is replicated.

use std::{collections::BTreeSet, time::Duration};

use super::{own, publication, record::record, session::Session, sessions, subscription};
use crate::{
    base::{
        Code, Lsn, Result,
        poll::{self, Patience, Seen},
        prose, span,
    },
    fail,
};

record! {
    /// The replication between two databases, by its names.
    pub struct Route {
        /// On the publisher.
        pub publication: String,
        /// On the publisher.
        pub slot: String,
        /// On the subscriber.
        pub subscription: String,
    }
    /// What a drain has proved.
    pub struct Drained {
        /// T: the insert position after the last write.
        pub target: Lsn,
        /// Up to where the subscriber has applied and flushed.
        pub confirmed: Lsn,
        /// Tables that are published and subscribed.
        pub tables: i64,
    }
    /// How far the two are apart before a cutover.
    pub struct Readiness {
        /// Bytes that are not confirmed.
        pub lag_bytes: i64,
        /// Tables that are published and subscribed.
        pub tables: i64,
    }
}

/// In the window every millisecond counts; the slot's position is one cheap row.
const LOOK: Duration = Duration::from_millis(2);

/// Whether a cutover may begin: the worker runs, everything is ready, the lag is small, nothing is prepared.
///
/// # Errors
/// `require_failed` naming what is in the way.
pub async fn require_ready(blue: &Session, green: &Session, route: &Route, max_lag: u64) -> Result<Readiness> {
    sessions::require_none_prepared(blue).await?;
    let tables = require_same_tables(blue, green, route).await?;
    let worker = subscription::state(green, &route.subscription).await?.and_then(|found| found.apply_pid);
    if worker.is_none() {
        return Err(fail!(Code::RequireFailed, "the subscription `{}` has no worker", route.subscription)
            .hint("read GREEN's log: it says why the worker ended"));
    }
    let confirmed = confirmed(blue, &route.slot).await?;
    let lag = blue.insert_lsn().await?.bytes_since(confirmed);
    if lag > max_lag {
        let (lag, limit) = (span::size_text(lag), span::size_text(max_lag));
        return Err(fail!(Code::RequireFailed, "GREEN lags by {lag}, at most {limit} is allowed")
            .hint("wait until it has caught up, then resume"));
    }
    Ok(Readiness { lag_bytes: i64::try_from(lag).unwrap_or(i64::MAX), tables })
}

/// After the fence: waits until GREEN has everything that BLUE has.
///
/// A sentinel first, then T, then one more commit: on an idle server `confirmed_flush_lsn` may stay below a T that lies
/// just past a page header until something is written behind it.
///
/// # Errors
/// `timeout` with both positions; `require_failed` when the tables differ or the worker met errors.
pub async fn drain(blue: &Session, green: &Session, route: &Route, run: &str, deadline: Duration) -> Result<Drained> {
    let errors = |found: &subscription::Subscription| (found.apply_errors, found.conflicts);
    let gone = || fail!(Code::RequireFailed, "the subscription `{}` is gone", route.subscription);
    let before = errors(&subscription::state(green, &route.subscription).await?.ok_or_else(gone)?);
    let sentinel = own::sentinel(blue, run).await?;
    let target = blue.insert_lsn().await?;
    own::sentinel(blue, run).await?;
    let what = format!("GREEN to confirm {target}");
    let reached = poll::until(&what, Patience { every: LOOK, deadline }, async || {
        let now = confirmed(blue, &route.slot).await?;
        Ok(if now >= target { Seen::Ready(now) } else { Seen::NotYet(now.to_string()) })
    })
    .await?;
    if !own::sees_sentinel(green, &sentinel.id).await? {
        return Err(fail!(Code::RequireFailed, "GREEN confirmed {reached} but has not got the sentinel row"));
    }
    let after = errors(&subscription::state(green, &route.subscription).await?.ok_or_else(gone)?);
    if before != after {
        return Err(fail!(Code::RequireFailed, "the apply worker met errors or conflicts while GREEN was drained")
            .hint("read GREEN's log; the rows it names differ between the two"));
    }
    let tables = require_same_tables(blue, green, route).await?;
    Ok(Drained { target, confirmed: reached, tables })
}

async fn confirmed(blue: &Session, slot: &str) -> Result<Lsn> {
    const CONFIRMED: &str = "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = $1";
    blue.scalar(CONFIRMED, &[slot.into()]).await
}

/// A table that is published and not subscribed gets no rows, raises no error, and shows no lag.
async fn require_same_tables(blue: &Session, green: &Session, route: &Route) -> Result<i64> {
    let published = publication::tables(blue, std::slice::from_ref(&route.publication)).await?;
    let published: BTreeSet<String> = published.iter().map(publication::Table::label).collect();
    let subscribed = subscription::tables(green, &route.subscription).await?;
    let unready: Vec<String> =
        subscribed.iter().filter(|table| table.state != "r").map(|t| format!("{}.{}", t.schema, t.name)).collect();
    if !unready.is_empty() {
        return Err(fail!(Code::RequireFailed, "tables are not ready on GREEN: {}", prose::ticked_list(&unready, 8)));
    }
    let subscribed: BTreeSet<String> = subscribed.iter().map(|t| format!("{}.{}", t.schema, t.name)).collect();
    let missing: Vec<&String> = published.symmetric_difference(&subscribed).collect();
    if missing.is_empty() {
        return Ok(i64::try_from(published.len()).unwrap_or(i64::MAX));
    }
    let hint = "create the table on both sides, then ALTER SUBSCRIPTION .. REFRESH PUBLICATION";
    let names = prose::ticked_list(&missing, 8);
    Err(fail!(Code::RequireFailed, "tables are published or subscribed, but not both: {names}").hint(hint))
}
