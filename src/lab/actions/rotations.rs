//! `RotateSecret` and `CancelRotateSecret`. What follows from them is in `work/rotations`.

use std::sync::Arc;

use serde_json::{Value, json};

use super::secrets::{find, purge, secret_id, token, with_live};
use crate::lab::{
    function::{Functions, name_in},
    json::Members,
    refusal::{Outcome, Refusal},
    rotation::{Attempt, Rules},
    schedule::Schedule,
    secret::{StoredSecret, invalid_parameter, invalid_request},
    site::Site,
    work,
};

/// What comes of `RotateSecret`.
enum Decision {
    /// Steps of a function, or of the owning service, begin.
    Begin,
    /// Nothing is to be done: a replay, or rules without a test.
    Done,
    /// An earlier rotation is not complete; it is tried again if it does not run.
    Refused { again: bool },
}

struct Asked<'a> {
    token: &'a str,
    function: Option<&'a str>,
    rules: Option<Rules>,
    at_once: bool,
}

pub(super) fn rotate(site: &Arc<Site>, members: &Members) -> Outcome<Value> {
    let token = token(members)?;
    let function = members.text("RotationLambdaARN").filter(|arn| !arn.is_empty());
    if function.is_some_and(|arn| arn.len() > 2048) {
        return Err(invalid_parameter("RotationLambdaARN must <= 2048 characters long."));
    }
    let at_once = members.boolean("RotateImmediately").unwrap_or(true);
    let asked = Asked { token: &token, function, rules: rules(members)?, at_once };
    let (id, now) = (secret_id(members)?, site.clock.seconds());
    let (decision, arn, name) = site.change(|world| {
        purge(world, now);
        let functions = world.functions.clone();
        let secret = find(world, id)?;
        secret.require_live()?;
        let decision = decide(secret, &functions, asked, now)?;
        Ok((decision, secret.arn.clone(), secret.name.clone()))
    })?;
    if matches!(decision, Decision::Begin | Decision::Refused { again: true }) {
        work::begin_rotation(site, &arn);
    }
    match decision {
        Decision::Refused { .. } => {
            Err(invalid_request("A previous rotation isn't complete. That rotation will be reattempted."))
        }
        _ => Ok(json!({ "ARN": arn, "Name": name, "VersionId": token })),
    }
}

fn rules(members: &Members) -> Outcome<Option<Rules>> {
    let Some(given) = members.structure("RotationRules") else { return Ok(None) };
    let text = |name: &str, most| Ok(given.within(name, 1..=most)?.map(str::to_owned));
    let rules = Rules {
        after_days: given.integer("AutomaticallyAfterDays"),
        duration: text("Duration", 3)?,
        schedule: text("ScheduleExpression", 256)?,
    };
    Schedule::read(&rules)?;
    Ok(Some(rules))
}

fn decide(secret: &mut StoredSecret, functions: &Functions, asked: Asked<'_>, now: f64) -> Outcome<Decision> {
    let function = asked.function.map(str::to_owned).or_else(|| secret.rotation.function.clone());
    let managed = secret.owning_service.is_some();
    if managed && asked.function.is_some() {
        return Err(invalid_request("You can't specify a rotation function for a secret with managed rotation."));
    }
    if !managed {
        require_callable(function.as_deref(), functions)?;
    }
    if let Some(pending) = secret.unfinished().map(str::to_owned) {
        let runs = secret.rotation.attempt.as_ref().is_some_and(|attempt| attempt.failed.is_none());
        if runs && pending == asked.token {
            return Ok(Decision::Done);
        }
        let again = !runs && (managed || secret.rotation.function.is_some());
        if again {
            secret.rotation.attempt = Some(Attempt { token: pending, test_only: false, failed: None });
        }
        return Ok(Decision::Refused { again });
    }
    if secret.versions.contains_key(asked.token) {
        return Ok(Decision::Done);
    }
    let rotation = &mut secret.rotation;
    rotation.enabled = Some(true);
    rotation.function = function;
    rotation.rules = asked.rules.unwrap_or_else(|| rotation.rules.clone());
    rotation.reckon(now);
    secret.changed = now;
    if managed && !asked.at_once {
        return Ok(Decision::Done);
    }
    secret.begin_rotation(asked.token, !asked.at_once, now);
    Ok(Decision::Begin)
}

fn require_callable(function: Option<&str>, functions: &Functions) -> Outcome<()> {
    let arn =
        function.ok_or_else(|| invalid_request("No Lambda rotation function ARN is associated with this secret."))?;
    if name_in(arn).is_some_and(|name| functions.contains_key(name)) {
        return Ok(());
    }
    Err(Refusal::new(
        "AccessDeniedException",
        "Secrets Manager cannot invoke the specified Lambda function. Ensure that the function policy grants access to \
         the principal secretsmanager.amazonaws.com.",
    ))
}

pub(super) fn cancel(site: &Arc<Site>, members: &Members) -> Outcome<Value> {
    with_live(site, members, |secret, now| {
        secret.require_unmanaged()?;
        if secret.rotation.function.is_none() {
            return Err(invalid_request("No Lambda rotation function ARN is associated with this secret."));
        }
        secret.cancel_rotation(now);
        let mut answer = json!({ "ARN": secret.arn, "Name": secret.name });
        if let Some(version) = secret.unfinished() {
            answer["VersionId"] = json!(version);
        }
        Ok(answer)
    })
}
