//! The actions of Secrets Manager that write. Reading ones are in `secret_views`, the rules of labels in `secret`.

use std::{collections::BTreeSet, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::lab::{
    json::{Members, constraint, missing},
    refusal::{Outcome, Refusal},
    secret::{CURRENT, Data, StoredSecret, invalid_parameter, invalid_request, not_found},
    site::Site,
    world::World,
};

/// A recovery window in days (API reference, `DeleteSecret`).
const WINDOW: std::ops::RangeInclusive<i64> = 7..=30;

const DAY: f64 = 86_400.0;

/// The longest value in bytes (user guide, "quotas").
const MAX_VALUE: usize = 65_536;

/// A secret bears this many tags (General Reference, "Service quotas for tagging").
const MAX_TAGS: usize = 50;

/// Members of requests that the lab has nothing for. AWS would do something else than what it seems to do here.
const FOREIGN: [&str; 2] = ["AddReplicaRegions", "Type"];

pub(super) fn create(site: &Arc<Site>, members: &Members) -> Outcome<Value> {
    let name = members.required("Name", 1..=512)?.to_owned();
    let fits = |c: char| c.is_ascii_alphanumeric() || "-/_+=.@!".contains(c);
    if !name.chars().all(fits) {
        return Err(Refusal::new(
            "ValidationException",
            "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!",
        ));
    }
    if let Some(foreign) = FOREIGN.iter().find(|member| members.has(member)) {
        return Err(invalid_parameter(format!("The lab has one Region and no partners: it takes no {foreign}.")));
    }
    let (token, data, now) = (token(members)?, data(members)?, site.clock.seconds());
    let (description, kms_key, tags) = (description(members)?, kms_key(members)?, tags(members)?);
    if tags.len() > MAX_TAGS {
        return Err(Refusal::new("LimitExceededException", "A secret can have up to 50 tags."));
    }
    site.change(|world| {
        purge(world, now);
        if let Some(known) = world.secrets.get(&name) {
            return replayed(known, &token, data.as_ref());
        }
        let mut secret = StoredSecret::new(&name, site.region(), now);
        secret.description = description.filter(|text| !text.is_empty());
        secret.kms_key = kms_key.filter(|text| !text.is_empty());
        secret.tags = tags;
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
        Some(version) if data.is_some() && version.data.as_ref() == data => {
            Ok(json!({ "ARN": known.arn, "Name": known.name, "VersionId": token }))
        }
        _ => Err(Refusal::new(
            "ResourceExistsException",
            format!("The operation failed because the secret {} already exists.", known.name),
        )),
    }
}

pub(super) fn put_value(site: &Arc<Site>, members: &Members) -> Outcome<Value> {
    let data =
        data(members)?.ok_or_else(|| invalid_parameter("You must provide either SecretString or SecretBinary."))?;
    let (token, labels) = (token(members)?, labels(members)?);
    with_own(site, members, |secret, now| {
        put(secret, &token, data, &labels, now)?;
        let stages = secret.labels_of(&token);
        Ok(json!({ "ARN": secret.arn, "Name": secret.name, "VersionId": token, "VersionStages": stages }))
    })
}

/// A value that somebody puts in the place of the present one counts as a rotation.
fn put(secret: &mut StoredSecret, token: &str, data: Data, labels: &[String], now: f64) -> Outcome<()> {
    let before = secret.labels.get(CURRENT).cloned();
    secret.put(token, data, labels, now)?;
    if secret.labels.get(CURRENT) != before.as_ref() {
        secret.rotation.value_was_put(now);
    }
    Ok(())
}

pub(super) fn update(site: &Arc<Site>, members: &Members) -> Outcome<Value> {
    let (token, data) = (token(members)?, data(members)?);
    let (description, kms_key) = (description(members)?, kms_key(members)?);
    if members.has("Type") {
        return Err(invalid_parameter("The lab has no partners: it takes no Type."));
    }
    with_own(site, members, |secret, now| {
        let mut answer = json!({ "ARN": secret.arn, "Name": secret.name });
        if let Some(data) = data {
            // Otherwise than for PutSecretValue, a known token is an error here whatever its value is.
            if secret.versions.contains_key(&token) {
                return Err(secret.token_in_use(&token));
            }
            put(secret, &token, data, &[], now)?;
            answer["VersionId"] = json!(token);
        }
        if let Some(description) = description {
            secret.description = Some(description).filter(|text| !text.is_empty());
            secret.changed = now;
        }
        if let Some(key) = kms_key {
            // An empty text means the key that AWS manages.
            secret.kms_key = Some(key).filter(|text| !text.is_empty());
            secret.changed = now;
        }
        Ok(answer)
    })
}

pub(super) fn update_version_stage(site: &Arc<Site>, members: &Members) -> Outcome<Value> {
    let label = members.required("VersionStage", 1..=256)?;
    let (to, from) = (members.within("MoveToVersionId", 32..=64)?, members.within("RemoveFromVersionId", 32..=64)?);
    with_own(site, members, |secret, now| {
        secret.move_label(label, to, from, now)?;
        Ok(json!({ "ARN": secret.arn, "Name": secret.name }))
    })
}

pub(super) fn delete(site: &Arc<Site>, members: &Members) -> Outcome<Value> {
    let (force, window) = (members.is_true("ForceDeleteWithoutRecovery"), members.integer("RecoveryWindowInDays"));
    if force && window.is_some() {
        return Err(invalid_parameter(
            "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.",
        ));
    }
    if window.is_some_and(|days| !WINDOW.contains(&days)) {
        return Err(invalid_parameter("The RecoveryWindowInDays value must be between 7 and 30 days (inclusive)."));
    }
    let (id, now) = (secret_id(members)?, site.clock.seconds());
    site.change(|world| {
        purge(world, now);
        if force {
            // AWS answers well even when there is no such secret.
            let Ok(secret) = find(world, id) else { return Ok(json!({ "Name": id, "DeletionDate": now })) };
            secret.require_unmanaged()?;
            let (arn, name) = (secret.arn.clone(), secret.name.clone());
            world.secrets.remove(&name);
            return Ok(json!({ "ARN": arn, "Name": name, "DeletionDate": now }));
        }
        let secret = find(world, id)?;
        secret.require_live()?;
        secret.require_unmanaged()?;
        let days = i32::try_from(window.unwrap_or(*WINDOW.end())).unwrap_or(30);
        let at = now + DAY * f64::from(days);
        secret.deletion = Some(at);
        Ok(json!({ "ARN": secret.arn, "Name": secret.name, "DeletionDate": at }))
    })
}

pub(super) fn restore(site: &Arc<Site>, members: &Members) -> Outcome<Value> {
    with(site, members, |secret, now| {
        secret.deletion = None;
        secret.changed = now;
        Ok(json!({ "ARN": secret.arn, "Name": secret.name }))
    })
}

pub(super) fn tag(site: &Arc<Site>, members: &Members) -> Outcome<Value> {
    if !members.has("Tags") {
        return Err(missing("Tags"));
    }
    let new = tags(members)?;
    with_own(site, members, |secret, now| {
        for (key, value) in new {
            secret.tags.retain(|(known, _)| *known != key);
            secret.tags.push((key, value));
        }
        // `LimitExceededException` is no error of this action (API reference, `TagResource`).
        if secret.tags.len() > MAX_TAGS {
            return Err(invalid_parameter("A secret can have up to 50 tags."));
        }
        secret.changed = now;
        Ok(json!({}))
    })
}

pub(super) fn untag(site: &Arc<Site>, members: &Members) -> Outcome<Value> {
    if !members.has("TagKeys") {
        return Err(missing("TagKeys"));
    }
    let keys = members.texts("TagKeys");
    with_own(site, members, |secret, now| {
        let before = secret.tags.len();
        secret.tags.retain(|(key, _)| !keys.contains(key));
        if secret.tags.len() < before {
            secret.changed = now;
        }
        Ok(json!({}))
    })
}

/// Changes the secret that `SecretId` names.
pub(super) fn with<T>(
    site: &Site,
    members: &Members,
    change: impl FnOnce(&mut StoredSecret, f64) -> Outcome<T>,
) -> Outcome<T> {
    let (id, now) = (secret_id(members)?, site.clock.seconds());
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

/// As [`with_live`], unless another service manages the secret.
fn with_own<T>(
    site: &Site,
    members: &Members,
    change: impl FnOnce(&mut StoredSecret, f64) -> Outcome<T>,
) -> Outcome<T> {
    with_live(site, members, |secret, now| {
        secret.require_unmanaged()?;
        change(secret, now)
    })
}

pub(super) fn secret_id(members: &Members) -> Outcome<&str> {
    members.required("SecretId", 1..=2048)
}

pub(super) fn find<'a>(world: &'a mut World, id: &str) -> Outcome<&'a mut StoredSecret> {
    let found = world.secrets.values_mut().find(|secret| secret.is_called(id));
    found.ok_or_else(|| not_found("Secrets Manager can't find the specified secret."))
}

/// Removes what was scheduled to be gone by now.
pub(super) fn purge(world: &mut World, now: f64) {
    world.secrets.retain(|_, secret| secret.deletion.is_none_or(|at| at > now));
}

pub(super) fn token(members: &Members) -> Outcome<String> {
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
    members.within("SecretString", 1..=MAX_VALUE)?;
    let bytes = binary.map(|text| STANDARD.decode(text)).transpose();
    let bytes = bytes.map_err(|error| Refusal::new("SerializationException", format!("SecretBinary: {error}")))?;
    let length = text.map(str::len).or_else(|| bytes.map(|bytes| bytes.len()));
    if length.is_some_and(|length| !(1..=MAX_VALUE).contains(&length)) {
        let member = if text.is_some() { "SecretString" } else { "SecretBinary" };
        return Err(constraint(member, "Member must have length between 1 and 65536"));
    }
    let data = Data { text: text.map(str::to_owned), binary: binary.map(str::to_owned) };
    Ok(length.map(|_| data))
}

fn description(members: &Members) -> Outcome<Option<String>> {
    Ok(members.within("Description", 0..=2048)?.map(str::to_owned))
}

fn kms_key(members: &Members) -> Outcome<Option<String>> {
    Ok(members.within("KmsKeyId", 0..=2048)?.map(str::to_owned))
}

/// `VersionStages`, each label once.
fn labels(members: &Members) -> Outcome<Vec<String>> {
    members.list("VersionStages", 1..=20)?;
    let labels = members.texts("VersionStages");
    if labels.iter().any(|label| !(1..=256).contains(&label.chars().count())) {
        return Err(constraint("VersionStages", "Member must have length between 1 and 256"));
    }
    let mut known = BTreeSet::new();
    Ok(labels.into_iter().filter(|label| known.insert(label.clone())).collect())
}

/// The tags of a request: of two with one key the later one counts.
fn tags(members: &Members) -> Outcome<Vec<(String, String)>> {
    let mut tags: Vec<(String, String)> = Vec::new();
    for tag in members.items("Tags") {
        let key = tag.required("Key", 1..=128)?;
        let value = tag.within("Value", 0..=256)?.unwrap_or_default();
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(invalid_parameter(format!("The tag key {key} begins with aws:, which is reserved for AWS.")));
        }
        tags.retain(|(known, _)| known != key);
        tags.push((key.to_owned(), value.to_owned()));
    }
    Ok(tags)
}

/// The labels of a secret as the API prints them: version to labels, versions without a label left out.
pub(super) fn versions_to_stages(secret: &StoredSecret) -> Value {
    let labelled = secret.versions.keys().filter_map(|id| {
        let labels = secret.labels_of(id);
        (!labels.is_empty()).then(|| (id.clone(), json!(labels)))
    });
    Value::Object(labelled.collect())
}
