//! The actions of Secrets Manager that read one secret: value, description, versions; and random passwords. Reading
//! many is in `secret_lists`.

use std::sync::Arc;

use rand::{Rng as _, seq::SliceRandom as _};
use serde_json::{Value, json};

use super::{
    page::JsonPage,
    secrets::{versions_to_stages, with, with_live},
};
use crate::lab::{
    json::Members,
    refusal::Outcome,
    rotation::Rotation,
    secret::{StoredSecret, invalid_parameter},
    site::Site,
};

/// What `KmsKeyIds` of a version says of the key that AWS manages.
const DEFAULT_KEY: &str = "DefaultEncryptionKey";

pub(super) fn get_value(site: &Arc<Site>, members: &Members) -> Outcome<Value> {
    let (version, label) = (members.within("VersionId", 32..=64)?, members.within("VersionStage", 1..=256)?);
    with_live(site, members, |secret, now| value_of(secret, version, label, now))
}

/// The value of one version, which counts as an access.
pub(super) fn value_of(
    secret: &mut StoredSecret,
    version: Option<&str>,
    label: Option<&str>,
    now: f64,
) -> Outcome<Value> {
    let (id, data) = secret.pick(version, label)?;
    let id = id.to_owned();
    let mut answer = json!({
        "ARN": secret.arn, "Name": secret.name, "VersionId": id, "VersionStages": secret.labels_of(&id),
    });
    for (member, value) in [("SecretString", &data.text), ("SecretBinary", &data.binary)] {
        if let Some(value) = value {
            answer[member] = json!(value);
        }
    }
    // AWS tells the day of the last access, no more.
    let day = (now / 86_400.0).floor() * 86_400.0;
    secret.accessed = Some(day);
    if let Some(version) = secret.versions.get_mut(&id) {
        version.accessed = Some(day);
        answer["CreatedDate"] = json!(version.created);
    }
    Ok(answer)
}

pub(super) fn describe(site: &Arc<Site>, members: &Members) -> Outcome<Value> {
    with(site, members, |secret, _| {
        let mut answer = entry(secret);
        answer["VersionIdsToStages"] = versions_to_stages(secret);
        Ok(answer)
    })
}

/// What `DescribeSecret` and `ListSecrets` have in common. "Secrets Manager only returns fields that have a value"
/// (API reference, `DescribeSecret`).
pub(super) fn entry(secret: &StoredSecret) -> Value {
    let tags: Vec<Value> = secret.tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
    let mut entry = json!({
        "ARN": secret.arn, "Name": secret.name, "CreatedDate": secret.created, "LastChangedDate": secret.changed,
    });
    let rotation = &secret.rotation;
    // Of a rotation that was turned off the rules and the function stay, the dates do not.
    let dates = rotation.is_enabled().then_some((rotation.last, rotation.window.map(|window| window.closes)));
    let (last, next) = dates.unwrap_or_default();
    let members = [
        ("Description", json!(secret.description)),
        ("KmsKeyId", json!(secret.kms_key)),
        ("OwningService", json!(secret.owning_service)),
        ("DeletedDate", json!(secret.deletion)),
        ("LastAccessedDate", json!(secret.accessed)),
        ("RotationEnabled", json!(rotation.enabled)),
        ("RotationLambdaARN", json!(rotation.function)),
        ("RotationRules", rules(rotation)),
        ("LastRotatedDate", json!(last)),
        ("NextRotationDate", json!(next)),
        ("Tags", if tags.is_empty() { Value::Null } else { json!(tags) }),
    ];
    for (member, value) in members.into_iter().filter(|(_, value)| !value.is_null()) {
        entry[member] = value;
    }
    entry
}

fn rules(rotation: &Rotation) -> Value {
    let rules = &rotation.rules;
    let members = [
        ("AutomaticallyAfterDays", json!(rules.after_days)),
        ("Duration", json!(rules.duration)),
        ("ScheduleExpression", json!(rules.schedule)),
    ];
    let given = members.into_iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.to_owned(), value));
    let given: serde_json::Map<String, Value> = given.collect();
    if given.is_empty() { Value::Null } else { Value::Object(given) }
}

pub(super) fn list_version_ids(site: &Arc<Site>, members: &Members) -> Outcome<Value> {
    let (all, page) = (members.is_true("IncludeDeprecated"), JsonPage::read(members, 100)?);
    with(site, members, |secret, _| {
        let mut versions: Vec<_> = secret.versions.iter().collect();
        versions.sort_by_key(|(_, version)| std::cmp::Reverse(version.number));
        let shown = versions.into_iter().filter(|(id, _)| all || !secret.labels_of(id).is_empty());
        let key = secret.kms_key.as_deref().unwrap_or(DEFAULT_KEY);
        let entries = shown.map(|(id, version)| {
            let mut entry = json!({ "VersionId": id, "CreatedDate": version.created, "KmsKeyIds": [key] });
            let stages = secret.labels_of(id);
            if !stages.is_empty() {
                entry["VersionStages"] = json!(stages);
            }
            if let Some(day) = version.accessed {
                entry["LastAccessedDate"] = json!(day);
            }
            (id.clone(), entry)
        });
        let mut answer = page.answer("Versions", entries.collect());
        answer["ARN"] = json!(secret.arn);
        answer["Name"] = json!(secret.name);
        Ok(answer)
    })
}

/// The character classes of `GetRandomPassword`; the punctuation is the one of its documentation.
const CLASSES: [(&str, &str); 4] = [
    ("ExcludeLowercase", "abcdefghijklmnopqrstuvwxyz"),
    ("ExcludeUppercase", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
    ("ExcludeNumbers", "0123456789"),
    ("ExcludePunctuation", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"),
];

pub(super) fn random_password(_: &Arc<Site>, members: &Members) -> Outcome<Value> {
    let length = members.number("PasswordLength", 1..=4096)?.unwrap_or(32);
    let length = usize::try_from(length).unwrap_or_default();
    let excluded = members.within("ExcludeCharacters", 0..=4096)?.unwrap_or_default();
    let kept = |class: &str| class.chars().filter(|c| !excluded.contains(*c)).collect::<Vec<char>>();
    let included = CLASSES.iter().filter(|(switch, _)| !members.is_true(switch));
    let mut classes: Vec<Vec<char>> = included.map(|(_, class)| kept(class)).filter(|c| !c.is_empty()).collect();
    if members.is_true("IncludeSpace") {
        classes.push(vec![' ']);
    }
    let all: Vec<char> = classes.concat();
    if all.is_empty() {
        return Err(invalid_parameter("The exclusions leave no character for the password."));
    }
    let each = members.boolean("RequireEachIncludedType").unwrap_or(true);
    if each && length < classes.len() {
        return Err(invalid_parameter("Password length is too short based on the required types."));
    }
    let mut random = rand::rng();
    let mut draw = |class: &[char]| class[random.random_range(0..class.len())];
    let mut password: Vec<char> = if each { classes.iter().map(|class| draw(class)).collect() } else { Vec::new() };
    while password.len() < length {
        password.push(draw(&all));
    }
    password.shuffle(&mut rand::rng());
    Ok(json!({ "RandomPassword": password.into_iter().collect::<String>() }))
}
