//! Subscriptions, as the subscriber sees them. How one is made without its password reaching a log is in `conceal.rs`.
//!
//! CREATE SUBSCRIPTION needs a superuser before 16, from then on `pg_create_subscription`; `rds_superuser` may as well.

use std::fmt::Write as _;

use super::{
    conceal, publication,
    record::record,
    session::Session,
    slot,
    target::{SslMode, Target},
};
use crate::{
    base::{
        Code, Lsn, Result, Value,
        ident::{ident, literal},
        poll::{self, Patience, Seen},
        prose::ticked_list,
    },
    fail,
};

record! {
    /// A subscription of this database, and its worker.
    pub struct Subscription {
        /// Its name.
        pub name: String,
        /// Its oid; its origin is `pg_<oid>`.
        pub oid: i64,
        /// It is meant to run.
        pub enabled: bool,
        /// The slot on the publisher that it reads.
        pub slot: Option<String>,
        /// The publications it asks for.
        pub publications: Vec<String>,
        /// `synchronous_commit` of its workers.
        pub synchronous_commit: String,
        /// Workers that run now: apply, parallel apply and table synchronization.
        pub workers: i64,
        /// Process id of the apply worker.
        pub apply_pid: Option<i64>,
        /// The last position the apply worker received.
        pub received: Option<Lsn>,
        /// Tables it knows.
        pub tables: i64,
        /// Of these, ready (`r`).
        pub ready: i64,
        /// Errors while applying since it was made (15+).
        pub apply_errors: Option<i64>,
        /// Errors while copying tables (15+).
        pub sync_errors: Option<i64>,
        /// Conflicts of all kinds (18+), also those that only log and go on.
        pub conflicts: Option<i64>,
    }

    /// A table of a subscription and its state.
    pub struct SubscribedTable {
        /// Schema.
        pub schema: String,
        /// Name, unquoted.
        pub name: String,
        /// `i` `d` `f` `s` on the way, `r` ready (manual, "pg_subscription_rel").
        pub state: String,
    }
}

/// What [`create`] makes.
#[derive(Clone, Debug)]
pub struct NewSubscription<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where *the subscriber's server* finds the publisher, and as whom it logs in.
    pub publisher: &'a Target,
    /// A file of certificates on the subscriber's server; with it the connection is `verify-full`.
    pub root_cert_there: Option<&'a str>,
    /// An existing slot on the publisher.
    pub slot: &'a str,
    /// Existing publications on the publisher.
    pub publications: &'a [String],
    /// It runs at once.
    pub enabled: bool,
    /// The tables are copied first.
    pub copy_data: bool,
}

/// Makes a subscription on an existing slot; the server connects to the publisher to learn the tables.
///
/// The password reaches no log, no parameter, no statistics and no error text: see `conceal.rs`. `publisher` is pgrun's
/// own session with the publisher, asked first, because the server's warnings would repeat the statement.
///
/// # Errors
/// `foreign` if it exists; `require_failed` if slot or publications do not, or if a setting of the server would write
/// the password down; `usage` for a connection without encryption to another machine.
pub async fn create(subscriber: &Session, publisher: &Session, new: &NewSubscription<'_>) -> Result<()> {
    let NewSubscription { name, slot, publications, .. } = *new;
    let place = subscriber.target().label();
    if state(subscriber, name).await?.is_some() {
        return Err(fail!(Code::Foreign, "the subscription `{name}` exists on {place}"));
    }
    let at = new.publisher;
    if !at.is_near() && matches!(at.ssl_mode(), SslMode::Disable | SslMode::Prefer) {
        let mode = at.ssl_mode().word();
        return Err(fail!(
            Code::Usage,
            "the subscription `{name}` would send data to {} under `sslmode={mode}`",
            at.label()
        )
        .hint("use sslmode=require or verify-full"));
    }
    require_published(publisher, publications).await?;
    if slot::state(publisher, slot).await?.is_none() {
        let place = publisher.target().label();
        return Err(fail!(Code::RequireFailed, "the slot `{slot}` does not exist on {place}"));
    }
    let asked: Vec<String> = publications.iter().map(|publication| ident(publication)).collect::<Result<_>>()?;
    let statement = conceal::Statement {
        before: format!("CREATE SUBSCRIPTION {} CONNECTION ", ident(name)?),
        after: format!(
            " PUBLICATION {} WITH (connect = true, create_slot = false, slot_name = {}, enabled = {}, copy_data = {})",
            asked.join(", "),
            literal(slot)?.trim_start(),
            new.enabled,
            new.copy_data
        ),
        // A publication that does not exist is a mere warning (15+). It exists where pgrun looked.
        gives_no_warning: at.same_database(publisher.target()),
    };
    conceal::execute(subscriber, &statement, &at.conninfo(new.root_cert_there), at).await
}

async fn require_published(publisher: &Session, publications: &[String]) -> Result<()> {
    let mut missing = Vec::new();
    for name in publications {
        if publication::state(publisher, name).await?.is_none() {
            missing.push(name.as_str());
        }
    }
    if publications.is_empty() || !missing.is_empty() {
        let place = publisher.target().label();
        return Err(fail!(Code::RequireFailed, "{place} does not have the publication {}", ticked_list(&missing, 5)));
    }
    Ok(())
}

/// Points an existing subscription at another place or password, as concealed as [`create`].
pub async fn set_connection(
    subscriber: &Session,
    name: &str,
    publisher: &Target,
    root_cert_there: Option<&str>,
) -> Result<()> {
    let before = format!("ALTER SUBSCRIPTION {} CONNECTION ", ident(name)?);
    let statement = conceal::Statement { before, after: String::new(), gives_no_warning: true };
    conceal::execute(subscriber, &statement, &publisher.conninfo(root_cert_there), publisher).await
}

/// The subscription of that name in this database, if there is one.
pub async fn state(session: &Session, name: &str) -> Result<Option<Subscription>> {
    Ok(all(session).await?.into_iter().find(|subscription| subscription.name == name))
}

/// Every subscription of this database.
pub async fn all(session: &Session) -> Result<Vec<Subscription>> {
    // Columns one by one: `subconninfo` may be read by superusers only, and `s.*` would touch it.
    const BEFORE_15: &str = "SELECT NULL::oid AS subid, NULL::jsonb AS stats WHERE false";
    const FROM_15: &str = "SELECT t.subid, to_jsonb(t) AS stats FROM pg_stat_subscription_stats t";
    let stats = if session.major().await? >= 15 { FROM_15 } else { BEFORE_15 };
    let sql = format!(
        "SELECT s.subname::text AS name, s.oid, s.subenabled AS enabled, s.subslotname::text AS slot, \
           s.subpublications AS publications, s.subsynccommit AS synchronous_commit, w.workers, w.apply_pid, w.received, \
           r.tables, r.ready, (t.stats ->> 'apply_error_count')::int8 AS apply_errors, \
           (t.stats ->> 'sync_error_count')::int8 AS sync_errors, \
           (SELECT sum(c.value::int8)::int8 FROM jsonb_each_text(t.stats) c WHERE c.key LIKE 'confl\\_%') AS conflicts \
         FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid AND d.datname = current_database() \
         LEFT JOIN LATERAL (SELECT count(w.pid) AS workers, max(w.pid) FILTER (WHERE w.relid IS NULL) AS apply_pid, \
             max(w.received_lsn) FILTER (WHERE w.relid IS NULL) AS received \
           FROM pg_stat_subscription w WHERE w.subid = s.oid) w ON true \
         LEFT JOIN LATERAL (SELECT count(*) AS tables, count(*) FILTER (WHERE r.srsubstate = 'r') AS ready \
           FROM pg_subscription_rel r WHERE r.srsubid = s.oid) r ON true \
         LEFT JOIN ({stats}) t ON t.subid = s.oid ORDER BY 1"
    );
    session.records(&sql, &[]).await
}

/// The tables of a subscription.
pub async fn tables(session: &Session, name: &str) -> Result<Vec<SubscribedTable>> {
    const TABLES: &str = "SELECT n.nspname::text AS schema, c.relname::text AS name, r.srsubstate AS state \
         FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid AND d.datname = current_database() \
         JOIN pg_subscription_rel r ON r.srsubid = s.oid JOIN pg_class c ON c.oid = r.srrelid \
         JOIN pg_namespace n ON n.oid = c.relnamespace WHERE s.subname = $1 ORDER BY 1, 2";
    session.records(TABLES, &[Value::from(name)]).await
}

/// Lets it run. The origin is to be proved immediately before ([`super::origin::require_at`]).
pub async fn enable(session: &Session, name: &str) -> Result<()> {
    session.batch(&format!("ALTER SUBSCRIPTION {} ENABLE", ident(name)?)).await
}

/// Stops it. The command returns while its worker still lives and may still commit: see [`await_stopped`].
pub async fn disable(session: &Session, name: &str) -> Result<()> {
    session.batch(&format!("ALTER SUBSCRIPTION {} DISABLE", ident(name)?)).await
}

/// Waits until no worker of it is left.
///
/// Before 16 nothing wakes a worker for DISABLE; it sleeps up to a second unless a change arrives.
pub async fn await_stopped(session: &Session, name: &str, patience: Patience) -> Result<()> {
    poll::until(&format!("the workers of `{name}` to end"), patience, async || {
        Ok(match state(session, name).await? {
            Some(Subscription { workers, .. }) if workers > 0 => Seen::NotYet(format!("{workers} left")),
            _ => Seen::Ready(()),
        })
    })
    .await
}

/// Settings that [`set`] takes (manual, "CREATE SUBSCRIPTION"). What moves the connection or the slot is not among
/// them.
const SETTABLE: &[&str] = &[
    "synchronous_commit",
    "binary",
    "streaming",
    "disable_on_error",
    "origin",
    "password_required",
    "run_as_owner",
    "failover",
    "max_retention_duration",
];

/// Changes settings of a subscription. The apply worker of an enabled one restarts.
///
/// # Errors
/// `usage` for a setting that is not one of a subscription's.
pub async fn set(session: &Session, name: &str, settings: &[(&str, &str)]) -> Result<()> {
    let mut words = String::new();
    for (setting, value) in settings {
        if !SETTABLE.contains(setting) {
            return Err(fail!(Code::Usage, "`{setting}` cannot be set on a subscription")
                .hint(format!("settable are {}", SETTABLE.join(", "))));
        }
        let comma = if words.is_empty() { "" } else { ", " };
        let _ = write!(words, "{comma}{setting} = {}", literal(value)?.trim_start());
    }
    session.batch(&format!("ALTER SUBSCRIPTION {} SET ({words})", ident(name)?)).await
}

/// Parts a subscription from its slot, which stays on the publisher, and drops it; false if there was none.
///
/// With the slot still attached DROP SUBSCRIPTION would connect to the publisher and drop it there, and could not run
/// in a transaction.
pub async fn drop(session: &Session, name: &str) -> Result<bool> {
    if state(session, name).await?.is_none() {
        return Ok(false);
    }
    let quoted = ident(name)?;
    let sql = format!(
        "ALTER SUBSCRIPTION {quoted} DISABLE; ALTER SUBSCRIPTION {quoted} SET (slot_name = NONE); \
         DROP SUBSCRIPTION IF EXISTS {quoted}"
    );
    session.batch(&sql).await?;
    Ok(true)
}
