//! Logical replication slots.

use std::time::Duration;

use super::{record::record, session::Session};
use crate::{
    base::{
        Code, Lsn, Result, clock, ident,
        poll::{self, Patience, Seen},
        prose, span,
    },
    fail,
};

record! {
    /// A slot as the server shows it.
    pub struct Slot {
        /// Its name.
        pub name: String,
        /// Whether somebody streams from it.
        pub active: bool,
        /// Who streams.
        pub active_pid: Option<i64>,
        /// The oldest WAL it keeps; absent when it is lost.
        pub restart_lsn: Option<Lsn>,
        /// Up to where the subscriber has confirmed.
        pub confirmed_flush_lsn: Option<Lsn>,
        /// `reserved`, `extended`, `unreserved` or `lost`.
        pub wal_status: Option<String>,
        /// Bytes between the confirmed position and the present end of WAL.
        pub lag_bytes: Option<i64>,
        /// Bytes of WAL that it keeps on disk.
        pub kept_bytes: Option<i64>,
    }
}

/// How long a slot that is being left may stay active before its drop is given up.
const LEAVING: Patience = Patience { every: Duration::from_millis(50), deadline: Duration::from_secs(15) };

/// The slot of that name, if there is one.
pub async fn find(session: &Session, name: &str) -> Result<Option<Slot>> {
    const SLOT: &str = "SELECT slot_name::text AS name, active, active_pid::bigint AS active_pid, restart_lsn, \
        confirmed_flush_lsn, wal_status, (pg_current_wal_insert_lsn() - confirmed_flush_lsn)::bigint AS lag_bytes, \
        (pg_current_wal_insert_lsn() - restart_lsn)::bigint AS kept_bytes \
        FROM pg_replication_slots WHERE slot_name = $1";
    Ok(session.records(SLOT, &[name.into()]).await?.into_iter().next())
}

/// Creates a slot for `pgoutput` and gives its consistent point. The server waits for every transaction that has an xid,
/// prepared ones included (manual, "Logical Decoding Concepts"); past the deadline this names who is waited for, and
/// leaves no slot behind.
///
/// # Errors
/// `timeout` naming the blocking processes; `pg_sql` 42710 when the name is taken.
pub async fn create(session: &Session, name: &str, deadline: Duration) -> Result<Lsn> {
    const CREATE: &str = "SELECT lsn FROM pg_create_logical_replication_slot($1, 'pgoutput')";
    if let Some(bad) = name.chars().find(|c| !c.is_ascii_lowercase() && !c.is_ascii_digit() && *c != '_') {
        return Err(fail!(Code::ValueGuard, "the slot name {name:?} contains {bad:?}")
            .hint("names of slots consist of lower-case letters, digits and underscores"));
    }
    if name.is_empty() || name.len() > ident::MAX_IDENT_BYTES {
        return Err(fail!(Code::ValueGuard, "the slot name {name:?} has {} bytes, wanted 1 to 63", name.len()));
    }
    let watcher = session.sibling().await;
    if let Some(created) = clock::within(deadline, Box::pin(session.scalar(CREATE, &[name.into()]))).await {
        return created;
    }
    let blockers = blockers(&watcher).await?;
    watcher.close().await;
    let after = span::duration_text(deadline);
    let by = if blockers.is_empty() { "nobody any more".to_owned() } else { prose::ticked_list(&blockers, 8) };
    Err(fail!(Code::Timeout, "waited {after} for the slot `{name}`, which waits for {by}")
        .hint("let these transactions end, or end them with pg_terminate_backend(PID); then resume"))
}

/// Everybody whose transaction a new slot has to wait for.
async fn blockers(session: &Session) -> Result<Vec<String>> {
    const OPEN: &str = "SELECT format('pid %s of %s, in a transaction since %s', pid, coalesce(usename, 'nobody'), \
        date_trunc('second', xact_start)) FROM pg_stat_activity WHERE backend_xid IS NOT NULL \
        AND pid <> pg_backend_pid() \
        UNION ALL SELECT format('prepared transaction %s of %s', gid, owner) FROM pg_prepared_xacts";
    session.texts(OPEN, &[]).await
}

/// Drops a slot; one that is not there is no error. A slot that somebody still leaves is waited for.
///
/// # Errors
/// `timeout` while somebody streams from it.
pub async fn drop(session: &Session, name: &str) -> Result<()> {
    const DROP: &str = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots \
                        WHERE slot_name = $1 AND NOT active";
    poll::until(&format!("the slot `{name}` to be left and dropped"), LEAVING, async || {
        match find(session, name).await? {
            None => Ok(Seen::Ready(())),
            Some(Slot { active: true, active_pid, .. }) => {
                Ok(Seen::NotYet(format!("active, pid {}", active_pid.unwrap_or_default())))
            }
            Some(_) => {
                session.query(DROP, &[name.into()]).await?;
                Ok(Seen::NotYet("dropped just now".into()))
            }
        }
    })
    .await
}
