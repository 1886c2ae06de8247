//! Logical replication slots on the publisher. Needs REPLICATION, or `rds_replication` on RDS.

use std::{pin::pin, time::Duration};

use super::{own, record::record, session::Session, sessions};
use crate::{
    base::{
        Code, Error, Lsn, Result, Value, clock,
        poll::{self, Patience, Seen},
        span::duration_text,
    },
    fail,
};

record! {
    /// A slot as `pg_replication_slots` shows it. Fields that a version lacks are absent.
    pub struct Slot {
        /// Its name.
        pub name: String,
        /// The output plug-in; absent for a physical slot.
        pub plugin: Option<String>,
        /// Its database; absent for a physical slot.
        pub database: Option<String>,
        /// The process that reads from it.
        pub active_pid: Option<i64>,
        /// WAL from here on is kept.
        pub restart_lsn: Option<Lsn>,
        /// Everything committed before is confirmed by the reader as flushed.
        pub confirmed_flush: Option<Lsn>,
        /// `reserved`, `extended`, `unreserved` or `lost` (13+).
        pub wal_status: Option<String>,
        /// Bytes that can still be written before the slot may be lost; absent without a bound.
        pub safe_wal_size: Option<i64>,
        /// Bytes of WAL kept for it.
        pub kept_bytes: Option<i64>,
        /// Prepared transactions are sent at PREPARE (14+).
        pub two_phase: bool,
        /// Synchronized to standbys (17+).
        pub failover: bool,
        /// Why it can no longer be used (17+).
        pub invalidation_reason: Option<String>,
    }
}

/// The slot of that name, if there is one.
pub async fn state(session: &Session, name: &str) -> Result<Option<Slot>> {
    Ok(all(session).await?.into_iter().find(|slot| slot.name == name))
}

/// Every slot of the server.
pub async fn all(session: &Session) -> Result<Vec<Slot>> {
    // The row as JSON: a column that a version lacks is NULL there instead of an error.
    const SLOTS: &str = "SELECT s.slot_name::text AS name, s.plugin::text AS plugin, s.database::text AS database, \
         s.active_pid, s.restart_lsn, s.confirmed_flush_lsn AS confirmed_flush, s.wal_status, s.safe_wal_size, \
         CASE WHEN pg_is_in_recovery() THEN NULL \
           ELSE pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn)::int8 END AS kept_bytes, \
         coalesce((to_jsonb(s) ->> 'two_phase')::bool, false) AS two_phase, \
         coalesce((to_jsonb(s) ->> 'failover')::bool, false) AS failover, \
         to_jsonb(s) ->> 'invalidation_reason' AS invalidation_reason \
         FROM pg_replication_slots s ORDER BY s.slot_name";
    session.records(SLOTS, &[]).await
}

/// Makes a logical slot for `pgoutput`, without two-phase decoding. Gives its consistent point.
///
/// The server waits for every transaction that has changed something to end (`SnapBuildFindSnapshot`). At the
/// deadline that wait is cancelled, which leaves no slot behind, and the error names who was waited for.
///
/// # Errors
/// `foreign` if the slot exists; `timeout` naming the transactions that were in the way.
pub async fn create(session: &Session, name: &str, deadline: Duration) -> Result<Lsn> {
    const CREATE: &str = "SELECT lsn FROM pg_create_logical_replication_slot($1::name, 'pgoutput')";
    if state(session, name).await?.is_some() {
        return Err(fail!(Code::Foreign, "the slot `{name}` exists on {}", session.target().label()));
    }
    // A session of its own: the given one stays free to look who is in the way, and keeps its limits.
    let maker = session.sibling().await;
    maker.set_statement_timeout(Duration::ZERO).await?;
    let pid: i64 = maker.scalar("SELECT pg_backend_pid()", &[]).await?;
    let values = [Value::from(name)];
    let late = {
        let mut making = pin!(maker.scalar::<Lsn>(CREATE, &values));
        match clock::within(deadline, &mut making).await {
            Some(made) => return made,
            None => in_the_way(session, pid, name, deadline).await,
        }
    };
    // Dropped above, the statement is cancelled; this waits until the server has done so. It may have been quicker.
    maker.open().await?;
    match state(session, name).await? {
        Some(Slot { confirmed_flush: Some(lsn), .. }) => Ok(lsn),
        _ => Err(late),
    }
}

async fn in_the_way(session: &Session, pid: i64, name: &str, deadline: Duration) -> Error {
    let limit = duration_text(deadline);
    let error =
        fail!(Code::Timeout, "the slot `{name}` could not be made within {limit}: open transactions are in the way");
    match sessions::blockers(session, pid).await {
        Ok(blockers) if !blockers.is_empty() => {
            let named: Vec<String> = blockers
                .iter()
                .map(|b| match b.pid {
                    0 => "a prepared transaction".to_owned(),
                    pid => {
                        let (role, application) = (b.role.as_deref(), b.application.as_deref());
                        format!("pid {pid} of {} ({})", role.unwrap_or("?"), application.unwrap_or(""))
                    }
                })
                .collect();
            let pids: Vec<String> = blockers.iter().map(|b| b.pid.to_string()).collect();
            error
                .detail("blocking", named.join(", "))
                .detail("blocking_pids", pids.join(" "))
                .hint("wait for them or end them with pg_terminate_backend(pid); a prepared one with ROLLBACK PREPARED")
        }
        _ => error.hint("look for old transactions: select * from pg_stat_activity where backend_xid is not null"),
    }
}

/// Drops all logical slots of a fresh copy, which nobody may read there and which stop its upgrade from 17 on. Gives
/// their names.
///
/// A copy at the same version has the original's `system_identifier`. What tells it from the original is a marker that
/// was written there when the snapshot was complete.
///
/// # Errors
/// `require_failed` where the marker `after` is: this is the original. `timeout` naming a process that reads from a
/// slot.
pub async fn drop_all_of_copy(session: &Session, after: &str, patience: Patience) -> Result<Vec<String>> {
    if own::has_mark(session, after).await? {
        return Err(fail!(Code::RequireFailed, "{} has the marker M2: it is no copy", session.target().label())
            .hint("its slots may be in use; connect to the restored instance"));
    }
    let mut dropped = vec![];
    for slot in all(session).await?.into_iter().filter(|slot| slot.database.is_some()) {
        drop(session, &slot.name, patience).await?;
        dropped.push(slot.name);
    }
    Ok(dropped)
}

/// Drops a slot as soon as nobody reads from it; false if there was none.
///
/// # Errors
/// `timeout` naming the process that still reads.
pub async fn drop(session: &Session, name: &str, patience: Patience) -> Result<bool> {
    const DROP: &str = "SELECT pg_drop_replication_slot($1::name)";
    if state(session, name).await?.is_none() {
        return Ok(false);
    }
    poll::until(&format!("the slot `{name}` to be free"), patience, async || {
        match state(session, name).await? {
            None => return Ok(Seen::Ready(())),
            Some(Slot { active_pid: Some(pid), .. }) => {
                return Ok(Seen::NotYet(format!("process {pid} reads from it")));
            }
            Some(_) => {}
        }
        match session.execute(DROP, &[name.into()]).await {
            Ok(_) => Ok(Seen::Ready(())),
            // Somebody took it up again in between, or dropped it.
            Err(error) if matches!(error.fact("sqlstate"), Some("55006" | "42704")) => {
                Ok(Seen::NotYet(error.message().to_owned()))
            }
            Err(error) => Err(error),
        }
    })
    .await?;
    Ok(true)
}
