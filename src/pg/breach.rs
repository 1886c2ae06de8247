//! What could still get through a fence that was just closed: looked at in one statement, until nothing is left.

use super::{
    Record as _,
    record::field,
    session::Session,
    sessions::{Backend, backend, not_the_server_itself, signal, starting_backends},
};
use crate::{
    base::{
        Code, Result,
        poll::{self, Patience, Seen},
        prose::{count, ticked_list},
    },
    fail,
};

/// A backend that was starting gets this many looks to become a session or to end; then it is ended like one. Starting
/// takes some milliseconds; only `post_auth_delay` and a stopped process take longer.
const LOOKS_TO_START: i64 = 50;

/// What a sweep did, and who it left alone.
pub(super) struct Swept {
    /// Sessions that were ended.
    pub(super) ended: i64,
    /// Sessions of spared roles that are not pgrun's own.
    pub(super) watched: Vec<Backend>,
}

/// Everything that one look finds.
#[derive(Default)]
struct Look {
    /// Sessions of roles that are not spared.
    sessions: Vec<Backend>,
    /// Sessions of spared roles with changes that they could still commit.
    writers: Vec<Backend>,
    /// The other sessions of spared roles.
    watched: Vec<Backend>,
    /// Processes between the lookup of their role and their appearance as a session.
    starting: Vec<i64>,
    /// Prepared transactions.
    prepared: Vec<String>,
    /// Roles that may log in and are not spared.
    holes: Vec<String>,
}

/// Ends every session but those of the spared roles, and waits until these hold no changes either.
///
/// To be called after NOLOGIN is committed. Who by then has not looked up its role will find NOLOGIN; who has is a
/// session, or was starting at the first look. A look at sessions counts only when it comes after one in which none of
/// those was starting any more: the two are read one after the other by the server.
///
/// # Errors
/// `timeout` naming who is left; `require_failed` for prepared transactions and holes, which no waiting mends.
pub(super) async fn sweep(session: &Session, spared: &[String], patience: Patience) -> Result<Swept> {
    let mut unborn: Option<Vec<i64>> = None;
    let mut told: Vec<i64> = Vec::new();
    let mut looks = 0;
    poll::until("everybody to be out", patience, async || {
        looks += 1;
        let look = look(session, spared).await?;
        require_no_leak(&look)?;
        let all_born = unborn.as_ref().is_some_and(Vec::is_empty);
        let waiting: Vec<i64> = match &unborn {
            None => look.starting.clone(),
            Some(before) => before.iter().copied().filter(|pid| look.starting.contains(pid)).collect(),
        };
        let mut ending: Vec<i64> = look.sessions.iter().map(|b| b.pid).filter(|pid| !told.contains(pid)).collect();
        if looks > LOOKS_TO_START {
            ending.extend(&waiting);
        }
        if !ending.is_empty() {
            signal(session, &ending).await?;
            told.extend(ending);
        }
        let state = shown(&look, &waiting);
        unborn = Some(waiting);
        if all_born && look.sessions.is_empty() && look.writers.is_empty() {
            let ended = i64::try_from(told.len()).unwrap_or(i64::MAX);
            return Ok(Seen::Ready(Swept { ended, watched: look.watched }));
        }
        Ok(Seen::NotYet(state))
    })
    .await
    .map_err(|error| match error.code() {
        Code::Timeout => error.hint("a session of a superuser is ended by a superuser only; see pg_stat_activity"),
        _ => error,
    })
}

fn require_no_leak(look: &Look) -> Result<()> {
    if !look.prepared.is_empty() {
        let number = count(look.prepared.len(), "prepared transaction");
        let names = ticked_list(&look.prepared, 5);
        return Err(fail!(Code::RequireFailed, "{number} could be committed without a session: {names}")
            .hint("COMMIT PREPARED or ROLLBACK PREPARED each of them in its database"));
    }
    if !look.holes.is_empty() {
        return Err(fail!(Code::RequireFailed, "the fence has a hole: {} may log in", ticked_list(&look.holes, 5)));
    }
    Ok(())
}

fn shown(look: &Look, waiting: &[i64]) -> String {
    let named = |backend: &Backend| format!("{} of {}", backend.pid, backend.role.as_deref().unwrap_or("?"));
    let sessions = look.sessions.iter().map(named);
    let writers = look.writers.iter().map(|backend| format!("{} with open changes", named(backend)));
    let starting = waiting.iter().map(|pid| format!("{pid} still starting"));
    let all: Vec<String> = sessions.chain(writers).chain(starting).collect();
    format!("{}: {}", count(all.len(), "session"), ticked_list(&all, 5))
}

async fn look(session: &Session, spared: &[String]) -> Result<Look> {
    const LOOK: &str = concat!(
        "SELECT CASE WHEN a.usename <> ALL ($1::name[]) THEN 'session' \
           WHEN a.application_name LIKE 'pgrun/%' OR a.backend_type = 'walsender' THEN 'ours' \
           WHEN a.backend_xid IS NOT NULL THEN 'writer' ELSE 'watched' END AS what, NULL::text AS name, ",
        backend!(),
        " FROM pg_stat_activity a WHERE ",
        not_the_server_itself!(),
        " UNION ALL SELECT 'starting', NULL, s.pid, NULL, NULL, '', NULL, '', NULL, NULL, false FROM (",
        starting_backends!(),
        ") s UNION ALL SELECT 'prepared', p.gid, 0, NULL, NULL, '', NULL, '', NULL, NULL, true FROM pg_prepared_xacts p \
         UNION ALL SELECT 'hole', r.rolname::text, 0, NULL, NULL, '', NULL, '', NULL, NULL, false FROM pg_roles r \
           WHERE r.rolcanlogin AND r.rolname <> ALL ($1::name[])"
    );
    let mut look = Look::default();
    for row in session.query(LOOK, &[spared.to_vec().into()]).await? {
        let what: String = field(&row, "what")?;
        match what.as_str() {
            "session" => look.sessions.push(Backend::from_map(&row)?),
            "writer" => look.writers.push(Backend::from_map(&row)?),
            "watched" => look.watched.push(Backend::from_map(&row)?),
            "starting" => look.starting.push(field(&row, "pid")?),
            "prepared" => look.prepared.push(field(&row, "name")?),
            "hole" => look.holes.push(field(&row, "name")?),
            _ => {}
        }
    }
    Ok(look)
}
