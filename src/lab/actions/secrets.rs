//! The actions of Secrets Manager that write. Reading ones are in `secret_views`, the rules of labels in `secret`.

use std::collections::BTreeMap;

use rand::Rng as _;
use serde_json::{Value, json};

use crate::lab::{
    json::Members,
    refusal::{Outcome, Refusal},
    secret::{Data, StoredSecret, invalid_parameter, invalid_request, not_found},
    site::{ACCOUNT, Site},
    world::World,
};

/// A recovery window in days (API reference, `DeleteSecret`).
const WINDOW: std::ops::RangeInclusive<i64> = 7..=30;

const DAY: f64 = 86_400.0;

/// The longest value in bytes (user guide, "quotas").
const MAX_VALUE: usize = 65_536;

pub(super) fn create(site: &Site, members: &Members) -> Outcome<Value> {
    let name = members.required("Name")?.to_owned();
    let fits = |c: char| c.is_ascii_alphanumeric() || "-/_+=.@!".contains(c);
    if name.len() > 512 || !name.chars().all(fits) {
        return Err(Refusal::new(
            "ValidationException",
            "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!",
        ));
    }
    let (token, data, now) = (token(members)?, data(members)?, site.clock.seconds());
    site.change(|world| {
        purge(world, now);
        if let Some(known) = world.secrets.get(&name) {
            return replayed(known, &token, data.as_ref());
        }
        let mut secret = blank(site, &name, now);
        secret.description = members.text("Description").map(str::to_owned);
        secret.kms_key = members.text("KmsKeyId").map(str::to_owned);
        secret.tags = tags(members);
        let mut answer = json!({ "ARN": secret.arn, "Name": name });
        if let Some(data) = data {
            secret.put(&token, data, &[], now)?;
            answer["VersionId"] = json!(token);
        }
        world.secrets.insert(name, secret);
        Ok(answer)
    })
}

fn replayed(known: &StoredSecret, token: &str, data: Option<&Data>) -> Outcome<Value> {
    if known.deletion.is_some() {
        return Err(invalid_request(
            "You can't create this secret because a secret with this name is already scheduled for deletion.",
        ));
    }
    match known.versions.get(token) {
        Some(version) if Some(&version.data) == data => {
            Ok(json!({ "ARN": known.arn, "Name": known.name, "VersionId": token }))
        }
        _ => Err(Refusal::new(
            "ResourceExistsException",
            format!("The operation failed because the secret {} already exists.", known.name),
        )),
    }
}

/// A secret without versions. The six characters behind the name are AWS's way to tell apart secrets of one name that
/// lived one after the other.
fn blank(site: &Site, name: &str, now: f64) -> StoredSecret {
    let suffix: String = rand::rng().sample_iter(rand::distr::Alphanumeric).take(6).map(char::from).collect();
    StoredSecret {
        name: name.to_owned(),
        arn: format!("arn:aws:secretsmanager:{}:{ACCOUNT}:secret:{name}-{suffix}", site.region()),
        description: None,
        kms_key: None,
        tags: Vec::new(),
        owning_service: None,
        created: now,
        changed: now,
        accessed: None,
        deletion: None,
        versions: BTreeMap::new(),
        labels: BTreeMap::new(),
        next_number: 0,
    }
}

pub(super) fn put_value(site: &Site, members: &Members) -> Outcome<Value> {
    let data =
        data(members)?.ok_or_else(|| invalid_parameter("You must provide either SecretString or SecretBinary."))?;
    let (token, labels) = (token(members)?, members.texts("VersionStages"));
    with_live(site, members, |secret, now| {
        secret.put(&token, data, &labels, now)?;
        let stages = secret.labels_of(&token);
        Ok(json!({ "ARN": secret.arn, "Name": secret.name, "VersionId": token, "VersionStages": stages }))
    })
}

pub(super) fn update(site: &Site, members: &Members) -> Outcome<Value> {
    let (token, data) = (token(members)?, data(members)?);
    with_live(site, members, |secret, now| {
        if let Some(description) = members.text("Description") {
            secret.description = Some(description.to_owned());
            secret.changed = now;
        }
        if let Some(key) = members.text("KmsKeyId") {
            secret.kms_key = Some(key.to_owned());
        }
        let mut answer = json!({ "ARN": secret.arn, "Name": secret.name });
        if let Some(data) = data {
            secret.put(&token, data, &[], now)?;
            answer["VersionId"] = json!(token);
        }
        Ok(answer)
    })
}

pub(super) fn update_version_stage(site: &Site, members: &Members) -> Outcome<Value> {
    let label = members.required("VersionStage")?;
    let (to, from) = (members.text("MoveToVersionId"), members.text("RemoveFromVersionId"));
    with_live(site, members, |secret, now| {
        secret.move_label(label, to, from, now)?;
        Ok(json!({ "ARN": secret.arn, "Name": secret.name }))
    })
}

pub(super) fn delete(site: &Site, members: &Members) -> Outcome<Value> {
    let (force, window) = (members.is_true("ForceDeleteWithoutRecovery"), members.integer("RecoveryWindowInDays"));
    if force && window.is_some() {
        return Err(invalid_parameter(
            "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.",
        ));
    }
    if window.is_some_and(|days| !WINDOW.contains(&days)) {
        return Err(invalid_parameter("The RecoveryWindowInDays value must be between 7 and 30 days (inclusive)."));
    }
    let (id, now) = (members.required("SecretId")?, site.clock.seconds());
    site.change(|world| {
        purge(world, now);
        if force {
            // AWS answers well even when there is no such secret.
            let Ok(found) = find(world, id).map(|secret| (secret.arn.clone(), secret.name.clone())) else {
                return Ok(json!({ "Name": id, "DeletionDate": now }));
            };
            world.secrets.remove(&found.1);
            return Ok(json!({ "ARN": found.0, "Name": found.1, "DeletionDate": now }));
        }
        let secret = find(world, id)?;
        secret.require_live()?;
        let days = i32::try_from(window.unwrap_or(*WINDOW.end())).unwrap_or(30);
        let at = now + DAY * f64::from(days);
        secret.deletion = Some(at);
        Ok(json!({ "ARN": secret.arn, "Name": secret.name, "DeletionDate": at }))
    })
}

pub(super) fn restore(site: &Site, members: &Members) -> Outcome<Value> {
    with(site, members, |secret, now| {
        secret.deletion = None;
        secret.changed = now;
        Ok(json!({ "ARN": secret.arn, "Name": secret.name }))
    })
}

/// The lab runs no Lambda functions, so no secret of it has one.
pub(super) fn rotate(site: &Site, members: &Members) -> Outcome<Value> {
    with_live(site, members, |_, _| {
        Err(invalid_request("No Lambda rotation function ARN is associated with this secret."))
    })
}

pub(super) fn tag(site: &Site, members: &Members) -> Outcome<Value> {
    let new = tags(members);
    with_live(site, members, |secret, _| {
        for (key, value) in new {
            secret.tags.retain(|(known, _)| *known != key);
            secret.tags.push((key, value));
        }
        Ok(json!({}))
    })
}

pub(super) fn untag(site: &Site, members: &Members) -> Outcome<Value> {
    let keys = members.texts("TagKeys");
    with_live(site, members, |secret, _| {
        secret.tags.retain(|(key, _)| !keys.contains(key));
        Ok(json!({}))
    })
}

/// Changes the secret that `SecretId` names.
pub(super) fn with<T>(
    site: &Site,
    members: &Members,
    change: impl FnOnce(&mut StoredSecret, f64) -> Outcome<T>,
) -> Outcome<T> {
    let (id, now) = (members.required("SecretId")?, site.clock.seconds());
    site.change(|world| {
        purge(world, now);
        change(find(world, id)?, now)
    })
}

/// As [`with`], unless the secret is scheduled for deletion.
pub(super) fn with_live<T>(
    site: &Site,
    members: &Members,
    change: impl FnOnce(&mut StoredSecret, f64) -> Outcome<T>,
) -> Outcome<T> {
    with(site, members, |secret, now| {
        secret.require_live()?;
        change(secret, now)
    })
}

/// By name, by ARN, or by ARN without the six characters at its end.
fn find<'a>(world: &'a mut World, id: &str) -> Outcome<&'a mut StoredSecret> {
    let names = |secret: &&mut StoredSecret| {
        secret.name == id || secret.arn == id || secret.arn.rsplit_once('-').is_some_and(|(short, _)| short == id)
    };
    let found = world.secrets.values_mut().find(names);
    found.ok_or_else(|| not_found("Secrets Manager can't find the specified secret."))
}

/// Removes what was scheduled to be gone by now.
pub(super) fn purge(world: &mut World, now: f64) {
    world.secrets.retain(|_, secret| secret.deletion.is_none_or(|at| at > now));
}

fn token(members: &Members) -> Outcome<String> {
    match members.text("ClientRequestToken") {
        Some(token) if (32..=64).contains(&token.len()) => Ok(token.to_owned()),
        Some(_) => Err(invalid_parameter("ClientRequestToken must be 32-64 characters long.")),
        None => Ok(uuid::Uuid::new_v4().to_string()),
    }
}

fn data(members: &Members) -> Outcome<Option<Data>> {
    let (text, binary) = (members.text("SecretString"), members.text("SecretBinary"));
    if text.is_some() && binary.is_some() {
        return Err(invalid_parameter(
            "You can't specify both a binary secret value and a string secret value in the same secret.",
        ));
    }
    if text.or(binary).is_some_and(|value| value.len() > MAX_VALUE) {
        return Err(Refusal::new("ValidationException", "The secret value must be at most 65536 bytes long."));
    }
    let data = Data { text: text.map(str::to_owned), binary: binary.map(str::to_owned) };
    Ok((text.is_some() || binary.is_some()).then_some(data))
}

fn tags(members: &Members) -> Vec<(String, String)> {
    let pair = |tag: Members| Some((tag.text("Key")?.to_owned(), tag.text("Value").unwrap_or_default().to_owned()));
    members.items("Tags").into_iter().filter_map(pair).collect()
}

/// The labels of a secret as the API prints them: version to labels, versions without a label left out.
pub(super) fn versions_to_stages(secret: &StoredSecret) -> Value {
    let labelled = secret.versions.keys().filter_map(|id| {
        let labels = secret.labels_of(id);
        (!labels.is_empty()).then(|| (id.clone(), json!(labels)))
    });
    Value::Object(labelled.collect())
}
