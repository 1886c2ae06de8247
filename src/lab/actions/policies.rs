//! Resource policies of secrets. The lab keeps them and reads their syntax; it checks no permission by them.

use std::sync::Arc;

use serde_json::{Value, json};

use super::secrets::{secret_id, with, with_live};
use crate::lab::{
    json::Members,
    refusal::{Outcome, Refusal},
    site::Site,
};

/// The longest policy (user guide, "quotas").
const MAX_POLICY: usize = 20_480;

pub(super) fn put(site: &Arc<Site>, members: &Members) -> Outcome<Value> {
    let text = text(members)?;
    let policy = read(text)?;
    if members.is_true("BlockPublicPolicy") && is_public(&policy) {
        let message = "You can't attach a resource policy that allows broad access to the secret.";
        return Err(Refusal::new("PublicPolicyException", message));
    }
    with_live(site, members, |secret, now| {
        secret.policy = Some(text.to_owned());
        secret.changed = now;
        Ok(json!({ "ARN": secret.arn, "Name": secret.name }))
    })
}

pub(super) fn get(site: &Arc<Site>, members: &Members) -> Outcome<Value> {
    with_live(site, members, |secret, _| {
        let mut answer = json!({ "ARN": secret.arn, "Name": secret.name });
        if let Some(policy) = &secret.policy {
            answer["ResourcePolicy"] = json!(policy);
        }
        Ok(answer)
    })
}

pub(super) fn delete(site: &Arc<Site>, members: &Members) -> Outcome<Value> {
    with_live(site, members, |secret, now| {
        if secret.policy.take().is_some() {
            secret.changed = now;
        }
        Ok(json!({ "ARN": secret.arn, "Name": secret.name }))
    })
}

/// Syntax errors are an error of the action, public access is one of the validation.
pub(super) fn validate(site: &Arc<Site>, members: &Members) -> Outcome<Value> {
    let policy = read(text(members)?)?;
    if members.has("SecretId") {
        secret_id(members)?;
        with(site, members, |secret, _| secret.require_live())?;
    }
    if !is_public(&policy) {
        return Ok(json!({ "PolicyValidationPassed": true, "ValidationErrors": [] }));
    }
    let error = json!({
        "CheckName": "ZELKOVA_CHECK", "ErrorMessage": "The resource policy allows broad access to the secret.",
    });
    Ok(json!({ "PolicyValidationPassed": false, "ValidationErrors": [error] }))
}

fn text(members: &Members) -> Outcome<&str> {
    members.required("ResourcePolicy", 1..=MAX_POLICY)
}

/// The statements of a policy (IAM user guide, "Grammar of the IAM JSON policy language").
fn read(text: &str) -> Outcome<Vec<Value>> {
    let malformed = |what: &str| Refusal::new("MalformedPolicyDocumentException", format!("This policy {what}."));
    let policy: Value = serde_json::from_str(text).map_err(|error| malformed(&format!("is no JSON: {error}")))?;
    let statements = match policy.get("Statement") {
        Some(Value::Array(all)) if !all.is_empty() => all.clone(),
        Some(one @ Value::Object(_)) => vec![one.clone()],
        _ => return Err(malformed("has no Statement")),
    };
    for statement in &statements {
        let has = |names: [&str; 2]| names.iter().any(|name| statement.get(name).is_some());
        if !matches!(statement.get("Effect").and_then(Value::as_str), Some("Allow" | "Deny")) {
            return Err(malformed("has a statement whose Effect is not Allow or Deny"));
        }
        for names in [["Principal", "NotPrincipal"], ["Action", "NotAction"], ["Resource", "NotResource"]] {
            if !has(names) {
                return Err(malformed(&format!("has a statement without {}", names[0])));
            }
        }
    }
    Ok(statements)
}

/// AWS proves it by reasoning; here it is an `Allow` for every principal without a condition.
fn is_public(statements: &[Value]) -> bool {
    let is_everybody = |principal: &Value| match principal {
        Value::String(text) => text == "*",
        Value::Array(all) => all.iter().any(|one| one == "*"),
        _ => false,
    };
    statements.iter().any(|statement| {
        let principal = &statement["Principal"];
        let open =
            is_everybody(principal) || is_everybody(&principal["AWS"]) || statement.get("NotPrincipal").is_some();
        statement["Effect"] == "Allow" && open && statement.get("Condition").is_none()
    })
}
