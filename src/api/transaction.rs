//! `db.transaction`: several statements as one, and how a step learns whether they took effect.
//!
//! Where the database has pgrun's own schema, the transaction leaves a row about itself in it, committed or lost with
//! the rest ([`pg::applied`]). A step that has changed nothing but by such transactions is begun with the event
//! `marked`: when its outcome is not known, it simply runs again, and gets from the row what a transaction gave that
//! had taken effect. That holds only while the body cannot take another way than before. So it ends where the body
//! looks at the world outside a transaction, where a transaction fails, and with the first write of another kind; from
//! there on a write is announced by an `intent` as ever, and an unknown outcome is up to a person.

use std::sync::Arc;

use rhai::{Dynamic, FnPtr};

use super::{
    bridge::{self, Ended},
    convert,
    db::Db,
    frame::Work,
    function::Call,
    pg as sessions,
};
use crate::{
    base::{Code, Error, Result, Value, prose},
    fail,
    journal::{key_text, sources},
    pg::{
        Session,
        applied::{self, Applied},
    },
};

/// The function's code.
pub(super) fn run(call: &Call) -> Result<Dynamic> {
    let outer = sessions::db(call, 0)?;
    let body = call.closure(1)?;
    if outer.is_in_transaction() {
        return Err(fail!(Code::StepRule, "a transaction stands inside another transaction"));
    }
    let turn = call.host.wait(&call.frame, "waiting for the session", async { Ok(outer.turn().await) })?;
    let outcome = perform(call, &outer, &body);
    if outcome.is_err()
        && let Some(work) = call.frame.work()
    {
        // A script that catches the failure takes a way that a later attempt need not take.
        work.looked();
    }
    drop(turn);
    outcome
}

fn perform(call: &Call, outer: &Db, body: &FnPtr) -> Result<Dynamic> {
    let mark = Mark::of(call, outer, body)?;
    if let Some(mark) = &mark
        && let Some(value) = mark.begin(call, &outer.in_transaction(true))?
    {
        return Ok(value);
    }
    let inner = outer.in_transaction(mark.is_some());
    write(call, "beginning a transaction", &inner, async |session| session.begin().await)?;
    match bridge::settle(call.call_closure(body, vec![Dynamic::from(inner.clone())])) {
        Ended::Value(value) => match &mark {
            Some(mark) => mark.commit(call, &inner, value),
            None => commit(call, &inner).map(|()| value),
        },
        other => {
            // Where the connection is gone, the server rolls back by itself.
            if let Err(error) = write(call, "rolling back", &inner, async |session| session.rollback().await) {
                tracing::debug!("rollback: {error}");
            }
            match other {
                Ended::Raised(raised) => Err(bridge::facts(&raised)),
                _ => Err(fail!(Code::StepRule, "`break` may not leave a transaction")),
            }
        }
    }
}

fn commit(call: &Call, inner: &Db) -> Result<()> {
    write(call, "committing", inner, async |session| session.commit().await)
}

fn write<T>(call: &Call, doing: &str, inner: &Db, work: impl AsyncFnOnce(&Session) -> Result<T>) -> Result<T> {
    match inner.is_marked() {
        true => sessions::within(call, doing, inner, work),
        false => sessions::write_all(call, doing, &[inner], async |sessions| work(sessions[0]).await),
    }
}

/// What a transaction gave, as its row keeps it; none where a row cannot or must not keep it.
fn plain(call: &Call, value: &Dynamic) -> Option<String> {
    let json = convert::to_value(value, "what the transaction gave").ok()?.to_json().to_string();
    (!call.host.redactor().finds(&json)).then_some(json)
}

/// What a row kept. The first attempt gives this too, so that every attempt sees the same.
fn read(json: &str) -> Result<Dynamic> {
    let broken = |error| fail!(Code::PgValue, "a row of `pgrun.applied` cannot be read: {error}").unknown();
    Ok(convert::to_dynamic(&Value::from_json(&serde_json::from_str(json).map_err(broken)?)?))
}

/// A transaction that leaves a row about itself.
struct Mark {
    work: Arc<Work>,
    /// Counts the marked transactions of the step's body.
    number: u32,
    /// Where in the script it stands and which values its closure has captured.
    what: String,
}

impl Mark {
    /// None where the transaction cannot leave a row, or where the body may take another way next time.
    fn of(call: &Call, outer: &Db, body: &FnPtr) -> Result<Option<Self>> {
        let Some(work) = call.frame.work() else { return Ok(None) };
        let Some(number) = work.next_transaction() else { return Ok(None) };
        let is_kept =
            call.host.wait(&call.frame, &format!("looking for pgrun's own tables on {}", outer.label()), async {
                applied::is_kept(outer.session().await?).await
            })?;
        let captured = body.curry().iter().map(|value| match convert::to_value(value, "a captured value") {
            Ok(value) => value.to_json().to_string(),
            Err(_) => convert::type_word(value).to_owned(),
        });
        let parts: Vec<String> = std::iter::once(call.place()).chain(captured).collect();
        let what = sources::digest(&parts.join("\n"));
        Ok(is_kept.then(|| Self { work: work.clone(), number, what }))
    }

    /// Makes the step's begin durable; gives the value where an earlier attempt's transaction has taken effect.
    fn begin(&self, call: &Call, inner: &Db) -> Result<Option<Dynamic>> {
        let claims =
            call.host.wait(&call.frame, "reading what to claim", async { Ok(inner.claims().await?.to_vec()) })?;
        for target in &claims {
            call.host.run()?.claim(target)?;
        }
        let earlier = match self.step(call)? {
            Some(step) if self.work.attempt() > 1 => Self::find(call, inner, &step)?,
            _ => None,
        };
        if earlier.as_ref().is_some_and(|earlier| earlier.what != self.what) {
            return Err(self.differs(call, inner));
        }
        self.work.begin_marked()?;
        earlier.map(|earlier| read(&earlier.value)).transpose()
    }

    /// Leaves the row and commits. Where no row can be left, that is noted first: then a lost answer is up to a person.
    fn commit(&self, call: &Call, inner: &Db, value: Dynamic) -> Result<Dynamic> {
        let Some(step) = self.step(call)? else {
            return Err(fail!(Code::Internal, "a transaction of a step that has not begun"));
        };
        let Some(json) = plain(call, &value).filter(|json| self.leave(call, inner, &step, json)) else {
            self.work.begin()?;
            return commit(call, inner).map(|()| value);
        };
        match commit(call, inner) {
            Err(lost) if lost.code() == Code::PgLost => match Self::find(call, inner, &step) {
                Ok(Some(_)) => {}
                Ok(None) => {
                    let place = inner.label();
                    return Err(fail!(
                        Code::PgConnect,
                        "the connection to {place} broke at COMMIT, and nothing of the transaction is kept"
                    ));
                }
                Err(_) => return Err(lost),
            },
            committed => committed?,
        }
        read(&json)
    }

    /// Writes the row, if that is possible.
    fn leave(&self, call: &Call, inner: &Db, step: &str, json: &str) -> bool {
        let applied = Applied { what: self.what.clone(), value: json.to_owned() };
        let mark = |run: &str| {
            write(call, "marking the transaction", inner, async |session| {
                applied::mark(session, run, step, &applied).await
            })
        };
        call.host.run().and_then(|run| mark(run.id())).unwrap_or(false)
    }

    /// The row's key: the step, the record that began it, and which of its transactions this is. A step that was undone
    /// begins anew with another record.
    fn step(&self, call: &Call) -> Result<Option<String>> {
        let key = self.work.key();
        // An id may be given to another run one day: its birth is its own.
        let begun = |state: &crate::journal::RunState| {
            let birth = state.birth.get(..16).unwrap_or_default().to_owned();
            state.step(key).map(|step| (birth, step.since))
        };
        let begun = call.host.run()?.look(begun);
        Ok(begun.map(|(birth, since)| format!("{} [{birth}.{since}.{}]", key_text(key), self.number)))
    }

    fn find(call: &Call, inner: &Db, step: &str) -> Result<Option<Applied>> {
        let run = call.host.run()?.id().to_owned();
        let doing = format!("looking whether the transaction took effect on {}", inner.label());
        let found =
            call.host.wait(&call.frame, &doing, async { applied::find(inner.session().await?, &run, step).await });
        found.map_err(|error| error.during(&doing).unknown())
    }

    fn differs(&self, call: &Call, inner: &Db) -> Error {
        let name = key_text(self.work.key());
        let command = call.host.run().map(|run| run.look(|state| state.command(None))).unwrap_or_default();
        let decision = prose::shell_word(&format!("{name}=done:JSON|skip|undo"));
        fail!(
            Code::StepUnknown,
            "transaction {} of step `{name}` took effect on {}, and the script now asks for another one",
            self.number,
            inner.label()
        )
        .unknown()
        .hint(format!("look at its target, then say what is true: {command} --decide {decision} --why .."))
    }
}
