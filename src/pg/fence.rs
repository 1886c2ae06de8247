//! Closing a server to its applications, and the one decision that a cutover turns on.
//!
//! The decision is a row on the server that is closed, changed by compare-and-swap: `fenced`, and then `green` or
//! `reopened`, whichever commits first. The functions are SQL (`own.sql`), so that the way back works without pgrun.
//!
//! Fencing needs CREATEROLE (from 16 on ADMIN OPTION on the roles), `pg_signal_backend` and `pg_read_all_stats`. What a
//! fence cannot hold back is not let pass in silence: roles that may not be altered, prepared transactions, writers
//! among the spared roles.

use std::time::Duration;

use super::{
    breach, own,
    record::{field, record},
    roles::{self, RoleLogin},
    session::Session,
    sessions::Backend,
};
use crate::{
    base::{Code, Error, Result, Value, poll::Patience, prose::ticked_list},
    fail,
};

record! {
    /// What a server's decision table says.
    pub struct Fence {
        /// `open` (never fenced), `fenced`, `green` or `reopened`.
        pub state: String,
        /// The attempt it belongs to.
        pub attempt: Option<String>,
        /// Its run.
        pub run: Option<String>,
        /// The server in the caller's words.
        pub target: Option<String>,
        /// Roles that could log in before.
        pub roles: Vec<String>,
        /// Roles that were left alone.
        pub spared: Vec<String>,
        /// Past it, only the way back is left.
        pub deadline: Option<String>,
        /// The deadline has passed, by the server's clock.
        pub expired: bool,
        /// Who wrote the last row, and when.
        pub by: Option<String>,
        /// See `by`.
        pub at: Option<String>,
    }

    /// What [`close`] did.
    pub struct Closed {
        /// The attempt, by which it is decided or reopened.
        pub attempt: String,
        /// Roles that could log in and no longer can.
        pub roles: Vec<String>,
        /// Sessions that were ended.
        pub ended: i64,
        /// Sessions of spared roles that are not pgrun's own: they could still write.
        pub watched: Vec<Backend>,
    }
}

impl Fence {
    /// Closed and not yet decided.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state == "fenced"
    }
}

/// What [`close`] closes.
#[derive(Clone, Debug)]
pub struct Closing<'a> {
    /// The run.
    pub run: &'a str,
    /// The server in the caller's words (an ARN).
    pub target: &'a str,
    /// Roles that may go on: the replication role. The operator and RDS's own roles are spared anyway.
    pub spare: &'a [String],
    /// How long the decision may take; past it only the way back is left.
    pub deadline: Duration,
    /// Who could log in when a person last looked; another state now is an error.
    pub recorded: Option<&'a [RoleLogin]>,
}

/// Closes the server: in one transaction, flushed before anything else, the decision row `fenced` and NOLOGIN for every
/// login role that is not spared; then all their sessions are ended, also those that were still starting.
///
/// An unfinished fence of the same run is gone on with. After an error past the first transaction the server stays
/// fenced; [`reopen`] undoes it, whatever had been reached.
///
/// # Errors
/// `refused` for a fence of another run; `require_failed` for roles that cannot be fenced, prepared transactions, or a
/// state other than recorded; `timeout` naming sessions that would not end.
pub async fn close(session: &Session, closing: &Closing<'_>, patience: Patience) -> Result<Closed> {
    const CLOSE: &str = "SELECT pgrun.close($1, $2, $3, $4, $5)";
    let ms = i64::try_from(closing.deadline.as_millis()).unwrap_or(i64::MAX);
    let recorded = closing
        .recorded
        .map(|roles| roles.iter().filter(|role| role.can_login).map(|role| role.name.clone()).collect::<Vec<String>>());
    let values =
        [closing.run.into(), closing.target.into(), closing.spare.to_vec().into(), Value::Int(ms), recorded.into()];
    let answer = session.value(CLOSE, &values).await.map_err(|error| raised(session, error))?;
    let answer = answer.as_map().ok_or_else(|| fail!(Code::Internal, "pgrun.close() gave no object"))?;
    let spared: Vec<String> = field(answer, "spared")?;
    let swept = breach::sweep(session, &spared, patience).await?;
    Ok(Closed {
        attempt: field(answer, "attempt")?,
        roles: field(answer, "roles")?,
        ended: swept.ended,
        watched: swept.watched,
    })
}

/// What this server's decision table says now; `open` where there is none.
pub async fn state(session: &Session) -> Result<Fence> {
    const STATE: &str = "SELECT state, attempt::text AS attempt, run, target, roles, spared, deadline, \
         deadline <= clock_timestamp() AS expired, by, at FROM pgrun.fence()";
    let found = if own::exists(session).await? { session.records(STATE, &[]).await? } else { Vec::new() };
    Ok(found.into_iter().next().unwrap_or_else(|| Fence {
        state: "open".into(),
        attempt: None,
        run: None,
        target: None,
        roles: Vec::new(),
        spared: Vec::new(),
        deadline: None,
        expired: false,
        by: None,
        at: None,
    }))
}

/// Opens a fenced server again: `fenced -> reopened` and LOGIN for exactly those who had it, in one transaction. Twice
/// is the same as once, and nothing to reopen is no error.
///
/// # Errors
/// `refused` once the other server was decided for; `require_failed` naming roles that could not be opened (the others
/// are).
pub async fn reopen(session: &Session) -> Result<()> {
    if !own::exists(session).await? {
        return Ok(());
    }
    let answer: String = session.scalar("SELECT pgrun.reopen()", &[]).await.map_err(|error| raised(session, error))?;
    if answer.contains("stay shut") {
        return Err(fail!(Code::RequireFailed, "{}: {answer}", session.target().label())
            .hint("open them as a role that may: ALTER ROLE .. LOGIN"));
    }
    Ok(())
}

/// The point of no return: `fenced -> green`. Twice is the same as once, so an unknown outcome is simply asked again.
///
/// # Errors
/// `refused` past the deadline, after a reopening, or when a role that was closed may log in.
pub async fn decide(session: &Session, attempt: &str) -> Result<()> {
    let decided = session.value("SELECT pgrun.decide($1::uuid)", &[attempt.into()]).await;
    decided.map(|_| ()).map_err(|error| raised(session, error))
}

/// `RAISE EXCEPTION` of our own functions, by the SQLSTATEs that they use.
fn raised(session: &Session, error: Error) -> Error {
    let code = match error.fact("sqlstate") {
        Some("PGR01") => Code::Refused,
        Some("PGR02") => Code::RequireFailed,
        _ => return error,
    };
    error.with_code(code).during(session.target().label())
}

/// NOLOGIN on a server that is not open yet, for every login role that is neither spared nor the operator. Gives who
/// could log in before, for [`roles::restore`].
///
/// # Errors
/// `pg_sql` 42501 for a role that may not be altered: then none is.
pub async fn bar(session: &Session, spare: &[String]) -> Result<Vec<RoleLogin>> {
    const OPEN: &str = "SELECT rolname::text FROM pg_roles WHERE rolcanlogin AND rolname <> ALL ($1::name[]) \
         AND rolname NOT IN (session_user, current_user, 'rdsadmin', 'rdsrepladmin', 'rdstopmgr', 'rdsproxyadmin')";
    let before = roles::logins(session).await?;
    let open = session.texts(OPEN, &[spare.to_vec().into()]).await?;
    roles::set_login(session, &open, false).await?;
    Ok(before)
}

/// Opens the other server after the decision: LOGIN, in one transaction, for exactly those roles that could log in on
/// the one that was closed. Roles that it lacks do not keep the others shut.
///
/// # Errors
/// `require_failed` naming the roles that do not exist here.
pub async fn open(session: &Session, roles: &[String]) -> Result<()> {
    match roles::set_login(session, roles, true).await {
        Err(error) if error.fact("sqlstate") == Some("42704") => {}
        done => return done,
    }
    let here: Vec<String> = roles::logins(session).await?.into_iter().map(|role| role.name).collect();
    let (known, missing): (Vec<String>, Vec<String>) = roles.iter().cloned().partition(|role| here.contains(role));
    roles::set_login(session, &known, true).await?;
    let place = session.target().label();
    Err(fail!(Code::RequireFailed, "{place} is open, but these roles do not exist there: {}", ticked_list(&missing, 5)))
}
