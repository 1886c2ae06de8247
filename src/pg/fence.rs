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
    own,
    record::record,
    roles::{self, RoleLogin},
    session::Session,
    sessions::{self, Backend, Whose},
};
use crate::{
    base::{
        Code, Error, Result, Value, clock,
        poll::{self, Patience, Seen},
        prose::ticked_list,
    },
    fail,
};

/// Roles of RDS itself: nobody may alter them, and they write nothing that belongs to applications.
const RDS_ROLES: &[&str] = &["rdsadmin", "rdsrepladmin", "rdstopmgr", "rdsproxyadmin"];

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
    let begun = clock::instant();
    let spared = spared(session, closing.spare).await?;
    sessions::require_none_prepared(session).await?;
    let (attempt, roles) = session.transaction(async |tx| shut(tx, closing, &spared).await).await?;
    let left = || Patience { deadline: patience.deadline.saturating_sub(begun.elapsed()), ..patience };
    let ended = sessions::end(session, Whose::AllBut(&spared), left()).await?;
    await_no_writer(session, left()).await?;
    // Only now can none be added.
    sessions::require_none_prepared(session).await?;
    require_no_hole(session, &spared).await?;
    let watched = sessions::of(session, Whose::Of(&spared)).await?;
    let watched =
        watched.into_iter().filter(|b| b.kind != "walsender" && !b.application.starts_with("pgrun/")).collect();
    Ok(Closed { attempt, roles, ended: ended.sessions, watched })
}

/// The first transaction: who could log in is recorded and closed at once, so that no crash comes between.
async fn shut(tx: &Session, closing: &Closing<'_>, spared: &[String]) -> Result<(String, Vec<String>)> {
    const INSERT: &str = "INSERT INTO pgrun.decision (attempt, turn, state, run, target, system, roles, spared, deadline) \
         SELECT gen_random_uuid(), 1, 'fenced', $1, $2, pgrun.system(), $3, $4, \
           clock_timestamp() + $5::int8 * interval '1 millisecond' RETURNING attempt::text";
    tx.execute("SELECT pg_advisory_xact_lock(hashtextextended('pgrun.fence', 0))", &[]).await?;
    let now = state(tx).await?;
    if now.is_closed() {
        let run = now.run.as_deref().unwrap_or_default();
        let attempt = now.attempt.clone().unwrap_or_default();
        if run != closing.run {
            let place = tx.target().label();
            return Err(fail!(
                Code::Refused,
                "{place} is fenced by the run `{run}` since {}",
                now.at.unwrap_or_default()
            )
            .hint("finish or undo that run, or: select pgrun.reopen()"));
        }
        return Ok((attempt, now.roles));
    }
    let logins = roles::logins(tx).await?;
    let open: Vec<String> =
        logins.iter().filter(|r| r.can_login && !spared.contains(&r.name)).map(|r| r.name.clone()).collect();
    require_as_recorded(&open, closing.recorded, spared)?;
    require_alterable(tx, &logins, &open).await?;
    let ms = i64::try_from(closing.deadline.as_millis()).unwrap_or(i64::MAX);
    let values =
        [closing.run.into(), closing.target.into(), open.clone().into(), spared.to_vec().into(), Value::Int(ms)];
    let attempt: String = tx.scalar(INSERT, &values).await?;
    tx.batch(&roles::alterations(&open, false)?).await?;
    Ok((attempt, open))
}

/// The given roles, the operator, and RDS's own.
async fn spared(session: &Session, given: &[String]) -> Result<Vec<String>> {
    const KNOWN: &str = "SELECT rolname::text FROM pg_roles WHERE rolname = ANY ($1::name[]) \
         OR rolname IN (session_user, current_user) ORDER BY 1";
    let wanted: Vec<String> = given.iter().cloned().chain(RDS_ROLES.iter().map(|role| (*role).to_owned())).collect();
    let known = session.texts(KNOWN, &[wanted.into()]).await?;
    let unknown: Vec<&String> = given.iter().filter(|role| !known.contains(role)).collect();
    if !unknown.is_empty() {
        return Err(fail!(Code::RequireFailed, "the roles to spare do not exist: {}", ticked_list(&unknown, 5)));
    }
    Ok(known)
}

fn require_as_recorded(open: &[String], recorded: Option<&[RoleLogin]>, spared: &[String]) -> Result<()> {
    let Some(recorded) = recorded else { return Ok(()) };
    let then = recorded.iter().filter(|role| role.can_login && !spared.contains(&role.name));
    let then: Vec<&str> = then.map(|role| role.name.as_str()).collect();
    let mut changed: Vec<&str> = open.iter().map(String::as_str).filter(|role| !then.contains(role)).collect();
    changed.extend(then.iter().filter(|role| !open.iter().any(|now| now == *role)));
    if changed.is_empty() {
        return Ok(());
    }
    Err(fail!(Code::RequireFailed, "who may log in has changed since it was recorded: {}", ticked_list(&changed, 5))
        .hint("record it again"))
}

/// ALTER ROLE on a superuser needs a superuser; better said before than by a failing statement.
async fn require_alterable(tx: &Session, logins: &[RoleLogin], open: &[String]) -> Result<()> {
    let is_superuser: bool = tx.scalar("SELECT current_setting('is_superuser') = 'on'", &[]).await?;
    let above = logins.iter().filter(|role| role.superuser && open.contains(&role.name));
    let above: Vec<&str> = above.map(|role| role.name.as_str()).collect();
    if is_superuser || above.is_empty() {
        return Ok(());
    }
    Err(fail!(
        Code::RequireFailed,
        "superusers cannot be fenced by {}: {}",
        tx.target().label(),
        ticked_list(&above, 5)
    )
    .hint("spare them if no application uses them, or connect as a superuser"))
}

/// Waits until no session at all, of whatever role, holds changes that it could still commit.
async fn await_no_writer(session: &Session, patience: Patience) -> Result<()> {
    poll::until("open transactions of spared roles to end", patience, async || {
        let writers = sessions::writers(session).await?;
        let named: Vec<String> =
            writers.iter().map(|w| format!("{} of {}", w.pid, w.role.as_deref().unwrap_or("?"))).collect();
        Ok(if named.is_empty() { Seen::Ready(()) } else { Seen::NotYet(ticked_list(&named, 5)) })
    })
    .await
}

/// A role made or opened while the fence was closing.
async fn require_no_hole(session: &Session, spared: &[String]) -> Result<()> {
    let open: Vec<String> = roles::logins(session).await?.into_iter().filter(|r| r.can_login).map(|r| r.name).collect();
    let holes: Vec<&String> = open.iter().filter(|role| !spared.contains(role)).collect();
    if holes.is_empty() {
        return Ok(());
    }
    Err(fail!(Code::RequireFailed, "the fence has a hole: {} may log in", ticked_list(&holes, 5)))
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
pub async fn reopen(session: &Session) -> Result<Fence> {
    if !own::exists(session).await? {
        return state(session).await;
    }
    let answer: Result<String> = session.scalar("SELECT pgrun.reopen()", &[]).await;
    let answer = answer.map_err(raised)?;
    if answer.contains("stay shut") {
        return Err(fail!(Code::RequireFailed, "{}: {answer}", session.target().label())
            .hint("open them as a role that may: ALTER ROLE .. LOGIN"));
    }
    state(session).await
}

/// The point of no return: `fenced -> green`. Twice is the same as once, so an unknown outcome is simply asked again.
///
/// # Errors
/// `refused` past the deadline, after a reopening, or when a role that was closed may log in.
pub async fn decide(session: &Session, attempt: &str) -> Result<Fence> {
    session.scalar::<String>("SELECT pgrun.decide($1::uuid)", &[attempt.into()]).await.map_err(raised)?;
    state(session).await
}

/// `RAISE EXCEPTION` of our own functions is a refusal.
fn raised(error: Error) -> Error {
    if error.fact("sqlstate") == Some("P0001") { error.with_code(Code::Refused) } else { error }
}

/// NOLOGIN on a server that is not open yet, for every login role that is not spared. Gives who could log in before.
pub async fn bar(session: &Session, spare: &[String]) -> Result<Vec<RoleLogin>> {
    let spared = spared(session, spare).await?;
    let before = roles::logins(session).await?;
    let open: Vec<String> =
        before.iter().filter(|r| r.can_login && !spared.contains(&r.name)).map(|r| r.name.clone()).collect();
    require_alterable(session, &before, &open).await?;
    roles::set_login(session, &open, false).await?;
    Ok(before)
}

/// Opens the other server after the decision: LOGIN, in one transaction, for exactly those roles that could log in on
/// the one that was closed. Roles that it lacks do not keep the others shut.
///
/// # Errors
/// `require_failed` naming the roles that do not exist here.
pub async fn open(session: &Session, roles: &[String]) -> Result<()> {
    let here: Vec<String> = roles::logins(session).await?.into_iter().map(|role| role.name).collect();
    let (known, missing): (Vec<String>, Vec<String>) = roles.iter().cloned().partition(|role| here.contains(role));
    roles::set_login(session, &known, true).await?;
    if missing.is_empty() {
        return Ok(());
    }
    let place = session.target().label();
    Err(fail!(Code::RequireFailed, "{place} is open, but these roles do not exist there: {}", ticked_list(&missing, 5)))
}
