//! Who may log in, and the one decision of a cutover.
//!
//! The decision is a row on the server that is left, in the database whose session is given: one row per attempt that
//! says `fenced`, and at most one more that says `green` (the other server has taken over) or `reopened`. That row is
//! the truth for everybody: for the run, for a resumed run, for the process that watches over it, and for a person with
//! psql who calls `SELECT pgrun.reopen()`. Between `fenced` and the second row lies the window in which nobody writes.
//!
//! What was known of the other ways to fence (facts: attack 4): taking LOGIN and ending sessions in one transaction
//! lets pools come back in between; a commit that a crash forgets opens both sides; a backend that is still starting
//! has passed its login check already; a prepared transaction needs no session.

use std::time::Duration;

use super::{
    record::{Record as _, field, record},
    session::Session,
};
use crate::{
    base::{Code, Error, Result, Value, clock, poll},
    fail,
};

record! {
    /// An attempt to leave a server: what was decided last about it.
    pub struct Decision {
        /// The run.
        pub run: String,
        /// Counts the attempts of a run from 1.
        pub attempt: i64,
        /// `fenced`, `green` or `reopened`.
        pub state: String,
        /// Until when the fence may stand, by the server's clock.
        pub deadline: String,
        /// The roles that could log in before, but the exceptions; in the order of their creation.
        pub roles: Vec<String>,
        /// Their oids on this server.
        pub oids: Vec<i64>,
        /// The roles that may still log in.
        pub exceptions: Vec<String>,
    }
    /// What closing a server did.
    pub struct Closed {
        /// The decision as it stands now.
        pub decision: Decision,
        /// Sessions that were ended by this call.
        pub terminated: i64,
    }
    /// What opening the other server did.
    pub struct Admitted {
        /// Roles that may log in now.
        pub opened: Vec<String>,
        /// Roles that do not exist there.
        pub missing: Vec<String>,
        /// Roles that pgrun's role may not alter there.
        pub refused: Vec<String>,
    }
    /// Who lost LOGIN on a copy.
    pub struct Forbidden {
        /// The roles, from all calls of this run.
        pub roles: Vec<String>,
        /// Sessions that were ended by this call.
        pub terminated: i64,
    }
}

/// For this long [`reopen`] tries again when the server does not answer or somebody else alters the same roles.
/// Nothing is worse than a server that stays closed, and trying again costs nothing.
const REOPENS_WITHIN: Duration = Duration::from_secs(30);

/// For this long [`decide`] asks again when the connection broke: it then says what became of the first time.
const DECIDES_WITHIN: Duration = Duration::from_secs(5);

/// How long a copy's sessions may take to end when it is forbidden to log in there.
const EMPTIES_WITHIN: Duration = Duration::from_secs(30);

const COLUMNS: &str = "run, attempt, state, deadline::text AS deadline, roles, oids, exceptions";

/// Says which roles [`close`] would take LOGIN from, or why it would refuse. Changes nothing.
pub async fn preview(session: &Session, run: &str, exceptions: &[String]) -> Result<Vec<String>> {
    Ok(call_close(session, run, exceptions, Duration::ZERO, true).await?.roles)
}

/// Closes the server: the decision `fenced` and NOLOGIN for every login role but the exceptions, in one transaction
/// that is durable before the first session is ended; then ends sessions until none of these roles is left.
///
/// Called again by the same run while the fence stands, it keeps what the first call recorded, deadline included, and
/// finishes the work. The roles of RDS that cannot be altered stay out of it. `deadline` counts from the first call;
/// past it nothing can be decided but to open the server again.
///
/// Needs: CREATEROLE with ADMIN OPTION on the roles (16 and later), `pg_signal_backend` and `pg_read_all_stats`; the
/// master user of RDS has all of them.
///
/// # Errors
/// `require_failed` when the own login, a superuser, a role of RDS or a replicating role is not among the exceptions,
/// when a prepared transaction exists or another run's fence stands; then nothing was changed. `refused` when this
/// run has left the server already. `timeout` past the deadline; then the fence stands, and [`reopen`] is due.
pub async fn close(session: &Session, run: &str, exceptions: &[String], deadline: Duration) -> Result<Closed> {
    let decision = call_close(session, run, exceptions, deadline, false).await?;
    let terminated = expel(session, &decision.oids, &decision.deadline).await?;
    Ok(Closed { decision, terminated })
}

/// Opens the server again: `fenced` becomes `reopened`, and exactly those who could log in before may again, in one
/// transaction. Without a fence of this run it changes nothing; `None` if there never was one. A role that may not be
/// altered any more is named in a warning of the server and does not keep the others out.
///
/// # Errors
/// `refused` after [`decide`]: the other server takes writes by then.
pub async fn reopen(session: &Session, run: &str) -> Result<Option<Decision>> {
    let sql = format!("SELECT {COLUMNS} FROM pgrun.reopen_run($1::text)");
    let rows = insist("the server to be open again", REOPENS_WITHIN, async || session.query(&sql, &[run.into()]).await);
    match rows.await {
        Ok(rows) => rows.first().map(Decision::from_map).transpose(),
        // The schema was never made or is gone: nothing of it can be fenced.
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Decides for the other server: `fenced` becomes `green`, once. From then on there is only the way forward. Asked
/// again it gives the same answer.
///
/// # Errors
/// `require_failed` when no fence of this run stands, it has a gap, a fenced session is left, or a transaction is open
/// that could still commit here. `timeout` past the deadline. Then nothing was decided.
pub async fn decide(session: &Session, run: &str) -> Result<Decision> {
    let sql = decide_sql();
    let row = insist("the decision", DECIDES_WITHIN, async || session.one(&sql, &[run.into()]).await).await?;
    Decision::from_map(&row)
}

/// The state of a run's last attempt to leave this server: `none`, `fenced`, `green` or `reopened`.
pub async fn outcome(session: &Session, run: &str) -> Result<String> {
    Ok(decision(session, run).await?.map_or_else(|| "none".into(), |decision| decision.state))
}

/// A run's last attempt to leave this server.
pub async fn decision(session: &Session, run: &str) -> Result<Option<Decision>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM pgrun.decision WHERE target = pgrun.target() AND run = $1::text \
         ORDER BY attempt DESC, closes DESC LIMIT 1"
    );
    match session.query(&sql, &[run.into()]).await {
        Ok(rows) => rows.first().map(Decision::from_map).transpose(),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Lets those log in on the other server who could log in on the one that was left, in one transaction. Roles that do
/// not exist there or may not be altered are told: the others must not wait for them.
///
/// # Errors
/// `refused` unless it was decided for the other server.
pub async fn open(session: &Session, decision: &Decision) -> Result<Admitted> {
    if decision.state != "green" {
        return Err(fail!(
            Code::Refused,
            "the run `{}` has not decided for this server: it is {}",
            decision.run,
            decision.state
        )
        .hint("decide first"));
    }
    let roles = Value::from(decision.roles.clone());
    Admitted::from_map(&session.one(ADMIT, &[roles]).await?)
}

/// Takes LOGIN from everybody but the exceptions on a fresh copy, and ends their sessions. To be called right after
/// the restore: the copy has the passwords of the server it was made from.
///
/// # Errors
/// `require_failed` as [`close`].
pub async fn forbid(session: &Session, run: &str, exceptions: &[String]) -> Result<Forbidden> {
    const FORBID: &str = "SELECT roles, oids, (clock_timestamp() + $3::bigint * interval '1 ms')::text AS deadline \
         FROM pgrun.forbid($1::text, $2::text[])";
    let values = [run.into(), exceptions.to_vec().into(), ms(EMPTIES_WITHIN)];
    let row = session.one(FORBID, &values).await.map_err(own)?;
    let oids: Vec<i64> = field(&row, "oids")?;
    let deadline: String = field(&row, "deadline")?;
    Ok(Forbidden { roles: field(&row, "roles")?, terminated: expel(session, &oids, &deadline).await? })
}

const EXPEL: &str = "SELECT ended, left_over, prepared FROM pgrun.expel($1::oid[], $2::timestamptz)";
const ADMIT: &str = "SELECT opened, missing, refused FROM pgrun.admit($1::text[])";

fn close_sql() -> String {
    format!("SELECT {COLUMNS} FROM pgrun.close($1::text, $2::text[], $3::bigint, $4::bool)")
}

fn decide_sql() -> String {
    format!("SELECT {COLUMNS} FROM pgrun.decide($1::text)")
}

/// Lets both servers read the statements of [`close`], [`decide`] and [`open`] ahead.
pub(super) async fn prepare(from: &Session, to: &Session) -> Result<()> {
    from.prepare(&[&close_sql(), EXPEL, &decide_sql()]).await?;
    // Nobody is let in; what it asks is planned by now.
    to.one(ADMIT, &[Value::List(vec![])]).await.map_err(own).map(|_| ())
}

async fn call_close(
    session: &Session,
    run: &str,
    exceptions: &[String],
    deadline: Duration,
    only_look: bool,
) -> Result<Decision> {
    let values = [run.into(), exceptions.to_vec().into(), ms(deadline), only_look.into()];
    Decision::from_map(&session.one(&close_sql(), &values).await.map_err(own)?)
}

/// Ends the sessions of these roles, and gives their number.
async fn expel(session: &Session, oids: &[i64], deadline: &str) -> Result<i64> {
    let row = session.one(EXPEL, &[oids.to_vec().into(), deadline.into()]).await.map_err(own)?;
    let left_over: Vec<i64> = field(&row, "left_over")?;
    if !left_over.is_empty() {
        let pids: Vec<String> = left_over.iter().map(ToString::to_string).collect();
        return Err(fail!(Code::Timeout, "waited until {deadline} for fenced sessions to end")
            .detail("pids", pids.join(", "))
            .hint("see what holds them: select * from pg_stat_activity"));
    }
    let prepared: Vec<String> = field(&row, "prepared")?;
    if !prepared.is_empty() {
        return Err(fail!(Code::RequireFailed, "transactions were prepared while the sessions ended")
            .detail("prepared", prepared.join(", "))
            .hint("COMMIT PREPARED or ROLLBACK PREPARED each of them"));
    }
    field(&row, "ended")
}

/// Repeats what may be repeated while the server cannot be reached or somebody else alters the same roles.
async fn insist<T>(what: &str, within: Duration, mut ask: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let begun = clock::instant();
    let every = Duration::from_millis(20);
    poll::until(what, poll::Patience { every, deadline: within }, async || match ask().await {
        Ok(value) => Ok(poll::Seen::Ready(Ok(value))),
        Err(error) if !passes(&error) || begun.elapsed() >= within => Ok(poll::Seen::Ready(Err(own(error)))),
        Err(error) => Ok(poll::Seen::NotYet(error.message().to_owned())),
    })
    .await?
}

/// Whether asking again may help: the connection broke, or PostgreSQL asks for a repetition. `XX000` is how it says
/// "tuple concurrently updated" when two sessions alter one role.
fn passes(error: &Error) -> bool {
    match error.fact("sqlstate") {
        Some(state) => matches!(state, "XX000" | "40001" | "40P01" | "55P03" | "57P01" | "57P03" | "53300"),
        None => matches!(error.code(), Code::PgLost | Code::PgConnect),
    }
}

/// pgrun's own SQLSTATEs as codes.
pub(super) fn own(error: Error) -> Error {
    match error.fact("sqlstate") {
        Some("PR001") => error.with_code(Code::RequireFailed),
        Some("PR002") => error.with_code(Code::Timeout),
        Some("PR003") => error.with_code(Code::Refused),
        Some("42883" | "42P01" | "3F000") => error.hint("make pgrun's schema in this database first"),
        _ => error,
    }
}

/// Undefined function, table or schema.
fn is_absent(error: &Error) -> bool {
    matches!(error.fact("sqlstate"), Some("42883" | "42P01" | "3F000"))
}

fn ms(duration: Duration) -> Value {
    Value::Int(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
}
