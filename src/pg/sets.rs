//! What both sides of a stream have to agree on besides rows: which tables go through it. Told by a count and a digest,
//! since thousands of names take longer to send than to compare.

use super::{
    drain::Stream,
    publication,
    record::{Record as _, record},
    session::Session,
    sides::{Condition, condition, require},
    subscription,
};
use crate::{
    base::{Code, Result, prose::ticked_list},
    fail,
};

record! {
    /// A set of tables.
    struct Tables {
        /// How many.
        pub tables: i64,
        /// Of their names.
        pub digest: String,
        /// How many of them are not ready (`r`); none on the side that writes.
        pub unready: i64,
    }
}

/// Aggregates over `nspname` and `relname`. Lengths keep `a.b` + `c` and `a` + `b.c` apart; the column type `name`
/// sorts by bytes on every server.
macro_rules! digest {
    () => {
        "count(*) AS tables, md5(coalesce(string_agg(length(n.nspname::text) || ':' || n.nspname || c.relname, ',' \
         ORDER BY n.nspname, c.relname), '')) AS digest"
    };
}

/// How many tables a message names.
const NAMED: usize = 10;

/// The tables of these publications. From the function below the view `pg_publication_tables`, which also collects the
/// columns of every table.
async fn published(from: &Session, publications: &[String]) -> Result<Tables> {
    const PUBLISHED: &str = concat!(
        "SELECT ",
        digest!(),
        ", 0::int8 AS unready FROM (SELECT DISTINCT g.relid FROM unnest($1::text[]) p(name), \
         LATERAL pg_get_publication_tables(p.name) g) t \
         JOIN pg_class c ON c.oid = t.relid JOIN pg_namespace n ON n.oid = c.relnamespace"
    );
    Tables::from_map(&from.one(PUBLISHED, &[publications.to_vec().into()]).await?)
}

/// The tables of a subscription.
async fn subscribed(to: &Session, oid: i64) -> Result<Tables> {
    const SUBSCRIBED: &str = concat!(
        "SELECT ",
        digest!(),
        ", count(*) FILTER (WHERE r.srsubstate <> 'r') AS unready FROM pg_subscription_rel r \
         JOIN pg_class c ON c.oid = r.srrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE r.srsubid = $1::oid"
    );
    Tables::from_map(&to.one(SUBSCRIBED, &[oid.into()]).await?)
}

/// Which subscription the tables belong to.
pub(super) struct Followed<'a> {
    pub(super) subscription: &'a str,
    pub(super) publications: &'a [String],
}

/// How many tables go through the stream, and whether both sides have the same ones and all are ready. Only if not are
/// their names fetched.
pub(super) async fn agree(stream: Stream<'_>, oid: i64, followed: &Followed<'_>) -> Result<(i64, [Condition; 2])> {
    let (published, subscribed) =
        tokio::try_join!(published(stream.from, followed.publications), subscribed(stream.to, oid))?;
    let same = published.tables == subscribed.tables && published.digest == subscribed.digest;
    let seen = if same { format!("{} on both sides", published.tables) } else { difference(stream, followed).await? };
    let ready = condition("ready", subscribed.unready == 0, format!("{} not ready", subscribed.unready));
    Ok((published.tables, [condition("tables", same, seen), ready]))
}

/// Proves that the way back will carry every table: `reverse`, the disabled subscription on the server that is left,
/// knows those that were there when it was made. What is missing would be noticed by a rollback, too late.
///
/// # Errors
/// `require_failed` naming the tables.
pub async fn way_back(stream: Stream<'_>, reverse: &str) -> Result<()> {
    let label = stream.from.target().label();
    let missing = || fail!(Code::RequireFailed, "there is no subscription `{reverse}` on {label}");
    let found = subscription::state(stream.from, reverse).await?.ok_or_else(missing)?;
    let back = Stream { from: stream.to, to: stream.from, subscription: reverse, ..stream };
    let followed = Followed { subscription: reverse, publications: &found.publications };
    let (_, agree) = agree(back, found.oid, &followed).await?;
    require(&agree, "the way back does not carry every table").map_err(|error| {
        error.hint("make its subscription anew: `pgrun undo RUN --to STEP` with the step that made it, then resume")
    })
}

async fn difference(stream: Stream<'_>, followed: &Followed<'_>) -> Result<String> {
    let here = publication::tables(stream.from, followed.publications).await?;
    let here: Vec<String> = here.iter().map(publication::Table::label).collect();
    let there = subscription::tables(stream.to, followed.subscription).await?;
    let there: Vec<String> = there.iter().map(|table| format!("{}.{}", table.schema, table.name)).collect();
    let only = |these: &[String], those: &[String]| {
        let only: Vec<String> = these.iter().filter(|table| !those.contains(table)).cloned().collect();
        ticked_list(&only, NAMED)
    };
    Ok(format!("only published {}, only subscribed {}", only(&here, &there), only(&there, &here)))
}
