//! Other people's sessions: seen, ended until none is left, and who holds up what.
//!
//! Needs `pg_signal_backend` to end sessions of others and `pg_read_all_stats` to see their details; `rds_superuser`
//! has both. Sessions of superusers can be ended by a superuser only.

use super::{record::record, session::Session};
use crate::{
    base::{
        Code, Result, Value,
        poll::{self, Patience, Seen},
        prose::{count, ticked_list},
    },
    fail,
};

record! {
    /// A session, or a background process that acts for a role (pg_cron).
    pub struct Backend {
        /// Process id.
        pub pid: i64,
        /// The role that logged in.
        pub role: Option<String>,
        /// Its database.
        pub database: Option<String>,
        /// `application_name`.
        pub application: String,
        /// Client address; absent for local processes.
        pub client: Option<String>,
        /// `backend_type`.
        pub kind: String,
        /// `active`, `idle in transaction`, ..
        pub state: Option<String>,
        /// When its transaction began.
        pub transaction_start: Option<String>,
        /// It has changed something in its open transaction.
        pub has_xid: bool,
    }

    /// A transaction that waits for COMMIT PREPARED: it needs no session, and no fence stops it.
    pub struct PreparedTransaction {
        /// Its name.
        pub gid: String,
        /// Who prepared it.
        pub owner: String,
        /// Where.
        pub database: String,
        /// When.
        pub prepared: String,
    }

    /// Somebody that another session waits for.
    pub struct Blocker {
        /// Process id; 0 is a prepared transaction.
        pub pid: i64,
        /// Who.
        pub role: Option<String>,
        /// `application_name`.
        pub application: Option<String>,
        /// When its transaction began.
        pub transaction_start: Option<String>,
    }

    /// What [`end`] did.
    pub struct Ended {
        /// Sessions that were ended.
        pub sessions: i64,
        /// Looks that were needed.
        pub looks: i64,
    }
}

/// Which roles' sessions are meant.
#[derive(Clone, Copy, Debug)]
pub enum Whose<'a> {
    /// Those of these roles.
    Of(&'a [String]),
    /// Those of all roles but these.
    AllBut(&'a [String]),
}

impl Whose<'_> {
    /// Two parameters: the names, and whether they are meant or spared.
    fn values(self) -> [Value; 2] {
        match self {
            Self::Of(roles) => [roles.to_vec().into(), true.into()],
            Self::AllBut(roles) => [roles.to_vec().into(), false.into()],
        }
    }
}

/// Columns of a [`Backend`] from `pg_stat_activity a`.
macro_rules! backend {
    () => {
        "a.pid, a.usename::text AS role, a.datname::text AS database, coalesce(a.application_name, '') AS application, \
         host(a.client_addr) AS client, coalesce(a.backend_type, '') AS kind, a.state, \
         a.xact_start AS transaction_start, a.backend_xid IS NOT NULL AS has_xid"
    };
}

/// Processes of the server itself. Some of them show the bootstrap superuser as their role.
macro_rules! not_the_server_itself {
    () => {
        "a.usesysid IS NOT NULL AND a.pid <> pg_backend_pid() \
         AND coalesce(a.backend_type, '') NOT IN ('autovacuum launcher', 'autovacuum worker', 'logical replication launcher', \
           'logical replication worker', 'logical replication apply worker', 'logical replication tablesync worker', \
           'logical replication parallel worker', 'parallel worker', 'background writer', 'checkpointer', 'walwriter', \
           'archiver', 'startup', 'walreceiver', 'slotsync worker', 'io worker', 'walsummarizer')"
    };
}

/// The sessions of these roles, this one excepted.
pub async fn of(session: &Session, whose: Whose<'_>) -> Result<Vec<Backend>> {
    const SEEN: &str = concat!(
        "SELECT ",
        backend!(),
        " FROM pg_stat_activity a WHERE ",
        not_the_server_itself!(),
        " AND (a.usename = ANY ($1::name[])) = $2 ORDER BY a.pid"
    );
    session.records(SEEN, &whose.values()).await
}

/// Backends that are past the lookup of their role but still starting: they have a transaction, and no role yet in
/// `pg_stat_activity`. A backend that looked its role up before NOLOGIN was committed is among them, or is a session.
///
/// Up to 17 such a backend is missing in `pg_stat_activity` (`pgstat_bestart` comes last in `InitPostgres`); from 18 on
/// it is there in the state `starting`.
pub async fn starting(session: &Session) -> Result<Vec<i64>> {
    const STARTING: &str = "SELECT coalesce(array_agg(DISTINCT l.pid), '{}') FROM pg_locks l \
         WHERE l.locktype = 'virtualxid' AND l.pid <> pg_backend_pid() AND NOT EXISTS ( \
           SELECT FROM pg_stat_activity a WHERE a.pid = l.pid AND a.state IS DISTINCT FROM 'starting' \
             AND (a.usesysid IS NOT NULL OR a.backend_type <> 'client backend'))";
    session.scalar(STARTING, &[]).await
}

/// A backend that was starting gets this many looks to become a session or to end; then it is ended like one. Starting
/// takes some milliseconds; only `post_auth_delay` and a stopped process take longer.
const LOOKS_TO_START: i64 = 50;

/// Ends the sessions of these roles until none is left, also those of backends that were still starting when this was
/// called. To be called after NOLOGIN is committed: then no new one can come.
///
/// # Errors
/// `timeout` naming sessions that would not end; those of superusers are only ended by a superuser. `require_failed`
/// without `pg_read_all_stats`.
pub async fn end(session: &Session, whose: Whose<'_>, patience: Patience) -> Result<Ended> {
    require_sight(session).await?;
    // Whoever is not among these by now looks up its role later, and finds NOLOGIN.
    let mut unborn = starting(session).await?;
    let mut ended = Ended { sessions: 0, looks: 0 };
    let mut told: Vec<i64> = Vec::new();
    poll::until("sessions to end", patience, async || {
        ended.looks += 1;
        if !unborn.is_empty() {
            let still = starting(session).await?;
            unborn.retain(|pid| still.contains(pid));
            if ended.looks > LOOKS_TO_START && !unborn.is_empty() {
                signal(session, &unborn).await?;
            }
        }
        // After the look at those that start: one that became a session in between is seen here.
        let left = of(session, whose).await?;
        let fresh: Vec<i64> = left.iter().map(|backend| backend.pid).filter(|pid| !told.contains(pid)).collect();
        if !fresh.is_empty() {
            signal(session, &fresh).await?;
            ended.sessions += i64::try_from(fresh.len()).unwrap_or(i64::MAX);
            told.extend(fresh);
        }
        if left.is_empty() && unborn.is_empty() {
            return Ok(Seen::Ready(()));
        }
        Ok(Seen::NotYet(shown(&left, &unborn)))
    })
    .await
    .map_err(|error| error.hint("a session of a superuser is ended by a superuser only; see pg_stat_activity"))?;
    Ok(ended)
}

/// Without this privilege `pg_stat_activity` hides what a process is and whether it writes: nobody to be seen would
/// look like nobody there.
async fn require_sight(session: &Session) -> Result<()> {
    const SIGHT: &str = "SELECT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')";
    if session.scalar(SIGHT, &[]).await? {
        return Ok(());
    }
    Err(fail!(Code::RequireFailed, "{} cannot see other sessions", session.target().label())
        .hint("grant pg_monitor and pg_signal_backend to pgrun's role"))
}

/// Asks processes to end. Those that this role may not signal are left; the caller's deadline names them.
async fn signal(session: &Session, pids: &[i64]) -> Result<()> {
    const SIGNAL: &str = "SELECT count(*) FILTER (WHERE pg_terminate_backend(p.pid)) FROM unnest($1::int4[]) p(pid) \
         LEFT JOIN pg_stat_activity a ON a.pid = p.pid LEFT JOIN pg_roles r ON r.oid = a.usesysid \
         WHERE current_setting('is_superuser') = 'on' OR r.rolsuper IS NOT TRUE";
    session.value(SIGNAL, &[pids.to_vec().into()]).await.map(drop)
}

fn shown(left: &[Backend], unborn: &[i64]) -> String {
    let named = left.iter().map(|b| format!("{} of {}", b.pid, b.role.as_deref().unwrap_or("?")));
    let all: Vec<String> = named.chain(unborn.iter().map(|pid| format!("{pid} still starting"))).collect();
    format!("{}: {}", count(all.len(), "session"), ticked_list(&all, 5))
}

/// Prepared transactions of the whole server.
pub async fn prepared(session: &Session) -> Result<Vec<PreparedTransaction>> {
    const PREPARED: &str = "SELECT gid, owner::text AS owner, database::text AS database, prepared::text AS prepared \
         FROM pg_prepared_xacts ORDER BY prepared";
    session.records(PREPARED, &[]).await
}

/// Refuses while there is a prepared transaction.
///
/// # Errors
/// `require_failed` naming them.
pub async fn require_none_prepared(session: &Session) -> Result<()> {
    let prepared = prepared(session).await?;
    if prepared.is_empty() {
        return Ok(());
    }
    let gids: Vec<&str> = prepared.iter().map(|transaction| transaction.gid.as_str()).collect();
    let number = count(gids.len(), "prepared transaction");
    Err(fail!(Code::RequireFailed, "{number} could be committed without a session: {}", ticked_list(&gids, 5))
        .hint("COMMIT PREPARED or ROLLBACK PREPARED each of them in its database"))
}

/// Who an own session waits for: the holders of what it wants, by [`pg_blocking_pids`], and prepared transactions.
///
/// [`pg_blocking_pids`]: https://www.postgresql.org/docs/current/functions-info.html
pub async fn blockers(session: &Session, waiting: i64) -> Result<Vec<Blocker>> {
    const BLOCKERS: &str = "SELECT b.pid, a.usename::text AS role, a.application_name AS application, \
         a.xact_start AS transaction_start FROM (SELECT DISTINCT unnest(pg_blocking_pids($1::int4)) AS pid) b \
         LEFT JOIN pg_stat_activity a ON a.pid = b.pid ORDER BY a.xact_start";
    session.records(BLOCKERS, &[Value::Int(waiting)]).await
}

/// Sessions, of whatever role, that have changed something in a transaction that is still open; pgrun's own excepted.
///
/// # Errors
/// `require_failed` without `pg_read_all_stats`.
pub async fn writers(session: &Session) -> Result<Vec<Backend>> {
    const WRITERS: &str = concat!(
        "SELECT ",
        backend!(),
        " FROM pg_stat_activity a WHERE ",
        not_the_server_itself!(),
        " AND a.backend_xid IS NOT NULL AND a.application_name NOT LIKE 'pgrun/%' ORDER BY a.xact_start"
    );
    require_sight(session).await?;
    session.records(WRITERS, &[]).await
}
