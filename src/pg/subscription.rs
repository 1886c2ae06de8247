//! Subscriptions. Creating one is the only statement of pgrun's that must carry a password in clear.

use std::time::Duration;

use super::{record::record, session::Session, target::Target};
use crate::{
    base::{
        Code, Lsn, Result, Secret,
        ident::{ident, literal},
        poll::{self, Patience, Seen},
    },
    fail,
};

record! {
    /// A subscription of this database.
    pub struct Subscription {
        /// Its name.
        pub name: String,
        /// The name of its replication origin, `pg_<oid>`.
        pub origin: String,
        /// Whether it is enabled.
        pub enabled: bool,
        /// The slot on the other side; absent after `slot_name = NONE`.
        pub slot: Option<String>,
        /// The apply worker, if one runs.
        pub worker_pid: Option<i64>,
        /// Tables whose state is not `r` (ready).
        pub unready: i64,
        /// Tables in all.
        pub tables: i64,
        /// Where its origin stands: what was applied and flushed.
        pub position: Option<Lsn>,
    }
}

/// How long an apply worker gets to appear.
const STARTING: Patience = Patience { every: Duration::from_millis(50), deadline: Duration::from_secs(30) };

/// The subscription of that name in this database, if there is one. Needs no right to read conninfo.
pub async fn find(session: &Session, name: &str) -> Result<Option<Subscription>> {
    const FIND: &str = "SELECT s.subname::text AS name, 'pg_' || s.oid AS origin, s.subenabled AS enabled, \
        s.subslotname::text AS slot, \
        (SELECT a.pid::bigint FROM pg_stat_subscription a WHERE a.subid = s.oid AND a.relid IS NULL AND a.pid IS NOT NULL \
         LIMIT 1) AS worker_pid, \
        (SELECT count(*) FROM pg_subscription_rel r WHERE r.srsubid = s.oid AND r.srsubstate <> 'r') AS unready, \
        (SELECT count(*) FROM pg_subscription_rel r WHERE r.srsubid = s.oid) AS tables, \
        (SELECT o.remote_lsn FROM pg_replication_origin_status o WHERE o.external_id = 'pg_' || s.oid) AS position \
        FROM pg_subscription s WHERE s.subname = $1 \
        AND s.subdbid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())";
    Ok(session.records(FIND, &[name.into()]).await?.into_iter().next())
}

async fn need(session: &Session, name: &str) -> Result<Subscription> {
    let database = session.target().database().to_owned();
    let missing = || fail!(Code::RequireFailed, "there is no subscription `{name}` in database `{database}`");
    find(session, name).await?.ok_or_else(missing)
}

/// Creates a subscription to an existing slot: disabled, copying nothing, after a connection was tried.
///
/// The password goes into the statement on the server: by COPY into a temporary table, then a DO block that builds the
/// statement and catches its error, because the context of an error that leaves EXECUTE quotes the statement in the
/// server's log. `connect = true`, because the warning of `connect = false` quotes it too.
///
/// # Errors
/// `pg_sql` with the server's words about the other side, for example 08006 when it cannot be reached; `pg_sql` 42710 when
/// the name is taken.
pub async fn create(session: &Session, name: &str, publisher: &Target, publication: &str, slot: &str) -> Result<()> {
    let options = format!(
        "PUBLICATION {} WITH (connect = true, enabled = false, copy_data = false, create_slot = false, slot_name = {})",
        ident(publication)?,
        literal(slot)?
    );
    let conninfo = publisher.conninfo(None);
    let block = format!(
        "DECLARE conninfo text; state text; words text;
         BEGIN
             -- Where nested statements are tracked, utility commands show their text; setting this needs rights that a
             -- master user may lack.
             BEGIN PERFORM set_config('pg_stat_statements.track_utility', 'off', true);
             EXCEPTION WHEN OTHERS THEN NULL; END;
             SELECT c.text INTO STRICT conninfo FROM pg_temp.pgrun_conninfo c;
             BEGIN
                 EXECUTE 'CREATE SUBSCRIPTION ' || {} || ' CONNECTION ' || quote_literal(conninfo) || ' ' || {};
             EXCEPTION WHEN OTHERS THEN
                 GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, words = MESSAGE_TEXT;
                 RAISE EXCEPTION USING ERRCODE = state, MESSAGE = replace(words, conninfo, '***');
             END;
         END",
        literal(&ident(name)?)?,
        literal(&options)?
    );
    let statement = format!("DO {}", literal(&block)?);
    let line = copy_line(&conninfo);
    session
        .transaction(async |tx| {
            tx.batch("CREATE TEMPORARY TABLE pgrun_conninfo (text text) ON COMMIT DROP").await?;
            tx.copy_in("COPY pg_temp.pgrun_conninfo (text) FROM STDIN", line.expose()).await?;
            tx.batch(&statement).await
        })
        .await
}

/// One line of COPY's text format.
fn copy_line(text: &Secret) -> Secret {
    let escaped = text.expose().replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r");
    Secret::new(format!("{escaped}\n"))
}

/// Enables a subscription and waits for its worker. With `origin` the replication origin is read back immediately before
/// and must stand there: an advance is not flushed, and a crash of the server may have lost it.
///
/// # Errors
/// `require_failed` when the origin stands elsewhere; `timeout` when no worker appears.
pub async fn enable(session: &Session, name: &str, origin: Option<Lsn>) -> Result<Subscription> {
    let found = need(session, name).await?;
    if let Some(wanted) = origin.filter(|_| !found.enabled)
        && found.position != Some(wanted)
    {
        let stands = found.position.map_or_else(|| "nowhere".to_owned(), |lsn| lsn.to_string());
        return Err(fail!(
            Code::RequireFailed,
            "the origin of subscription `{name}` stands at {stands}, wanted {wanted}: it is not enabled"
        )
        .hint("set the origin again, then enable"));
    }
    session.batch(&format!("ALTER SUBSCRIPTION {} ENABLE", ident(name)?)).await?;
    poll::until(&format!("the worker of subscription `{name}`"), STARTING, async || {
        let now = need(session, name).await?;
        Ok(if now.worker_pid.is_some() { Seen::Ready(now) } else { Seen::NotYet("no worker".into()) })
    })
    .await
}

/// Disables a subscription. Its worker may live on for a while: before 16 up to a second.
pub async fn disable(session: &Session, name: &str) -> Result<()> {
    session.batch(&format!("ALTER SUBSCRIPTION {} DISABLE", ident(name)?)).await
}

/// Drops a subscription and leaves its slot on the other side alone; one that is not there is no error.
pub async fn drop(session: &Session, name: &str) -> Result<()> {
    let Some(found) = find(session, name).await? else { return Ok(()) };
    let quoted = ident(name)?;
    if found.enabled {
        disable(session, name).await?;
    }
    if found.slot.is_some() {
        session.batch(&format!("ALTER SUBSCRIPTION {quoted} SET (slot_name = NONE)")).await?;
    }
    session.batch(&format!("DROP SUBSCRIPTION {quoted}")).await
}
