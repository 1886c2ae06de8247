//! `pg::`: the outage of a cutover as a writer sees it, measured by the run itself, in production too.
//!
//! One prober writes a row every few milliseconds, on whichever side takes it, from right before the fence until the
//! applications are sent over. Its role is fenced like an application's, so what it sees is what they see, without the
//! time in which they learn of the new address. It lives in the run's process and ends with it; its password is nowhere
//! else. Whatever goes wrong with it is told and stops nothing.

use std::{sync::Arc, time::Duration};

use rhai::Dynamic;

use super::{
    convert,
    function::{Call, Effect, Function, Module},
    language::random_password,
    operator::Notice,
    pg::{db, write_all},
};
use crate::{
    base::{
        Map, Result, Secret, Value,
        poll::{self, Patience, Seen},
    },
    load::{Endpoint, Load, Outcome, Plan, Probes},
    map,
    pg::{Session, probe, tls},
};

/// An outage is told to within about twice this. A prober that writes more often would be a load, and each login that
/// the fence refuses costs its server some milliseconds, which the window would pay for.
const EVERY: Duration = Duration::from_millis(10);

/// Logins may be open for less time than the prober rests.
const ARRIVES_WITHIN: Duration = Duration::from_secs(1);

/// It must not hold the cutover up.
const STARTS_WITHIN: Duration = Duration::from_secs(2);

/// When it ends by itself, whatever becomes of the run: some 20,000 rows.
const LONGEST: Duration = Duration::from_mins(2);

/// A prober that runs.
pub(super) struct Probing {
    load: Load,
    /// The side that takes over.
    there: Endpoint,
}

/// The functions.
pub(super) const MODULE: Module = Module {
    name: "pg",
    doc: "The outage, measured.",
    functions: &[
        Function {
            name: "start_probe",
            parameters: "from, to, role",
            gives: "true if it runs",
            effect: Effect::Writes,
            doc: "Makes a login role that may do nothing but write into pgrun's probe table, on both sides (on the second one \
                  NOLOGIN), and a prober in this process that goes to the side that takes its rows. Says why where it \
                  cannot be, and never fails.",
            example: "pg::start_probe(db, db, \"\") // => false",
            run: start_probe,
        },
        Function {
            name: "end_probe",
            parameters: "from, to, role",
            gives: "#{ measured, report, outage_ms, acknowledged, lost, doubled, first_error, errors }",
            effect: Effect::Writes,
            doc: "Ends the prober, counts its rows on the second side, drops its role on both, and never fails. `report` says \
                  it in a sentence; a process that did not start the prober has nothing to tell.",
            example: "pg::end_probe(db, db, \"no such role\").measured // => false",
            run: end_probe,
        },
    ],
    methods: &[],
};

fn start_probe(call: &Call) -> Result<Dynamic> {
    let (from, to, role) = (db(call, 0)?, db(call, 1)?, call.text(2)?);
    let password = random_password();
    call.host.redactor().learn(&password);
    // One of an attempt that was undone.
    drop(call.host.keep_probing(None));
    let started = write_all(call, "starting the probe", &[&from, &to], async |sessions| {
        let started = start(sessions[0], sessions[1], &role, &password).await;
        Ok(started.map_err(|error| error.message().to_owned()))
    })?;
    Ok(match started {
        Ok(probing) => {
            drop(call.host.keep_probing(Some(probing)));
            true
        }
        Err(why) => {
            call.host.tell(Notice::Warned(format!("the outage will not be measured: {why}")));
            false
        }
    }
    .into())
}

async fn start(from: &Session, to: &Session, role: &str, password: &Secret) -> Result<Probing> {
    probe::make(to, role, password, false).await?;
    probe::make(from, role, password, true).await?;
    let (here, there) = (endpoint(from, role, password).await?, endpoint(to, role, password).await?);
    let probes = Probes { writers: 1, think: EVERY, ..Probes::new(here, Some(there.clone())) };
    let plan = Plan {
        schema: "pgrun".into(),
        max_duration: LONGEST,
        attempt_limit: STARTS_WITHIN,
        start_limit: STARTS_WITHIN,
        ..Plan::new()
    };
    Ok(Probing { load: Load::start(plan.probes(probes)).await?, there })
}

/// The session's server and database as this role sees it.
async fn endpoint(session: &Session, role: &str, password: &Secret) -> Result<Endpoint> {
    let target = session.target();
    let tls = if session.server().await?.encrypted { Some(Arc::new(tls::config(target)?)) } else { None };
    Ok(Endpoint {
        host: target.host().to_owned(),
        port: target.port(),
        database: target.database().to_owned(),
        user: role.to_owned(),
        password: password.clone(),
        tls,
    })
}

fn end_probe(call: &Call) -> Result<Dynamic> {
    let (from, to, role) = (db(call, 0)?, db(call, 1)?, call.text(2)?);
    let probing = call.host.keep_probing(None);
    let (figures, left) = write_all(call, "ending the probe", &[&from, &to], async |sessions| {
        let figures = match probing {
            Some(Probing { load, there }) => {
                arrive(&load, &there).await;
                figures(&load.stop().await, &there).await
            }
            None => unmeasured("the run was interrupted, or the probe could not start"),
        };
        let mut left = vec![];
        for session in sessions {
            if let Err(error) = probe::remove(session, &role).await {
                left.push(format!("the role {role} is left on {}: {}", session.target().label(), error.message()));
            }
        }
        Ok((figures, left))
    })?;
    for text in left {
        call.host.tell(Notice::Warned(text));
    }
    Ok(convert::map_to_dynamic(&figures))
}

/// Waits for the first row on the side that has taken over; a cutover that failed has none.
async fn arrive(load: &Load, there: &Endpoint) {
    let patience = Patience { every: Duration::from_millis(5), deadline: ARRIVES_WITHIN };
    let arrived = poll::until("the probe's first row on the other side", patience, async || {
        let is_there = load.status().endpoint == Some(there.address());
        Ok(if is_there { Seen::Ready(()) } else { Seen::NotYet("it is not there".into()) })
    });
    // Without one it is told that nothing was measured.
    drop(arrived.await);
}

fn unmeasured(why: &str) -> Map {
    map! { "measured" => false, "report" => format!("the outage was not measured: {why}") }
}

/// What the prober saw, counted on the side that has taken over.
async fn figures(outcome: &Outcome, there: &Endpoint) -> Map {
    let proof = match outcome.verify(there).await {
        Ok(proof) => proof,
        Err(error) => return unmeasured(error.message()),
    };
    let Some(outage) = proof.outage_ms.max else {
        return unmeasured("the probe has not written on both sides");
    };
    let (acknowledged, lost, doubled) = (proof.acknowledged, proof.lost, proof.doubled);
    let errors: Vec<String> = proof.errors.iter().map(|(code, times)| format!("{code} {times} times")).collect();
    let report = format!(
        "a writer lost the database for {outage:.0} ms; {acknowledged} writes acknowledged, {lost} lost, {doubled} doubled; \
         errors by SQLSTATE: {}",
        errors.join(", ")
    );
    let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    map! {
        "measured" => true,
        "report" => report,
        "outage_ms" => Value::Float((outage * 10.0).round() / 10.0),
        "acknowledged" => count(acknowledged),
        "lost" => count(lost),
        "doubled" => count(doubled),
        "first_error" => outcome.ledger.first_error.clone(),
        "errors" => proof.errors.into_iter().map(|(code, times)| (code, Value::Int(count(times)))).collect::<Map>(),
    }
}
