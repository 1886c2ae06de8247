//! The actions of Secrets Manager that read: values, descriptions, lists, and random passwords.

use rand::{Rng as _, seq::SliceRandom as _};
use serde_json::{Value, json};

use super::{
    page::JsonPage,
    secrets::{purge, versions_to_stages, with, with_live},
};
use crate::lab::{
    json::Members,
    refusal::{Outcome, Refusal},
    secret::{StoredSecret, invalid_parameter},
    site::Site,
};

pub(super) fn get_value(site: &Site, members: &Members) -> Outcome<Value> {
    with_live(site, members, |secret, now| {
        let (id, version) = secret.pick(members.text("VersionId"), members.text("VersionStage"))?;
        let mut answer = json!({
            "ARN": secret.arn, "Name": secret.name, "VersionId": id, "VersionStages": secret.labels_of(id),
            "CreatedDate": version.created,
        });
        for (member, value) in [("SecretString", &version.data.text), ("SecretBinary", &version.data.binary)] {
            if let Some(value) = value {
                answer[member] = json!(value);
            }
        }
        // AWS tells the day of the last access, no more.
        secret.accessed = Some((now / 86_400.0).floor() * 86_400.0);
        Ok(answer)
    })
}

pub(super) fn describe(site: &Site, members: &Members) -> Outcome<Value> {
    with(site, members, |secret, _| {
        let mut answer = entry(secret);
        answer["VersionIdsToStages"] = versions_to_stages(secret);
        Ok(answer)
    })
}

/// What `DescribeSecret` and `ListSecrets` have in common.
fn entry(secret: &StoredSecret) -> Value {
    let tags: Vec<Value> = secret.tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
    let mut entry = json!({
        "ARN": secret.arn, "Name": secret.name, "CreatedDate": secret.created, "LastChangedDate": secret.changed,
        "RotationEnabled": false, "Tags": tags,
    });
    let texts = [
        ("Description", &secret.description),
        ("KmsKeyId", &secret.kms_key),
        ("OwningService", &secret.owning_service),
    ];
    for (member, text) in texts {
        if let Some(text) = text {
            entry[member] = json!(text);
        }
    }
    for (member, at) in [("DeletedDate", secret.deletion), ("LastAccessedDate", secret.accessed)] {
        if let Some(at) = at {
            entry[member] = json!(at);
        }
    }
    entry
}

pub(super) fn list_version_ids(site: &Site, members: &Members) -> Outcome<Value> {
    let (all, page) = (members.is_true("IncludeDeprecated"), JsonPage::read(members)?);
    with(site, members, |secret, _| {
        let mut versions: Vec<_> = secret.versions.iter().collect();
        versions.sort_by_key(|(_, version)| std::cmp::Reverse(version.number));
        let shown = versions.into_iter().filter(|(id, _)| all || !secret.labels_of(id).is_empty());
        let entries = shown.map(|(id, version)| {
            let stages = secret.labels_of(id);
            (id.clone(), json!({ "VersionId": id, "VersionStages": stages, "CreatedDate": version.created }))
        });
        let mut answer = page.answer("Versions", entries.collect());
        answer["ARN"] = json!(secret.arn);
        answer["Name"] = json!(secret.name);
        Ok(answer)
    })
}

/// What `ListSecrets` filters by (API reference, `Filter`).
const FILTERS: [&str; 7] = ["description", "name", "tag-key", "tag-value", "primary-region", "owning-service", "all"];

pub(super) fn list(site: &Site, members: &Members) -> Outcome<Value> {
    let (all, page) = (members.is_true("IncludePlannedDeletion"), JsonPage::read(members)?);
    let filters: Vec<(String, Vec<String>)> = members
        .items("Filters")
        .iter()
        .map(|filter| (filter.text("Key").unwrap_or("all").to_owned(), filter.texts("Values")))
        .collect();
    if let Some((key, _)) = filters.iter().find(|(key, _)| !FILTERS.contains(&key.as_str())) {
        return Err(Refusal::new(
            "ValidationException",
            format!("{key} is no filter; filters are {}", FILTERS.join(", ")),
        ));
    }
    site.change(|world| {
        purge(world, site.clock.seconds());
        let shown = world.secrets.values().filter(|secret| {
            (all || secret.deletion.is_none()) && filters.iter().all(|(key, values)| matches(secret, key, values))
        });
        let mut entries: Vec<(String, Value)> = shown
            .map(|secret| {
                let mut entry = entry(secret);
                entry["SecretVersionsToStages"] = versions_to_stages(secret);
                (secret.name.clone(), entry)
            })
            .collect();
        if members.text("SortOrder") == Some("desc") {
            entries.reverse();
        }
        Ok(page.answer("SecretList", entries))
    })
}

/// Any of the values fits, as a prefix; `!` in front of a value turns it round. Descriptions and `all` do not look at
/// case (API reference, `Filter`).
fn matches(secret: &StoredSecret, key: &str, values: &[String]) -> bool {
    let mut texts: Vec<&str> = Vec::new();
    let of = |name: &str| key == name || key == "all";
    if of("name") {
        texts.push(&secret.name);
    }
    if of("description") {
        texts.extend(secret.description.as_deref());
    }
    if of("owning-service") {
        texts.extend(secret.owning_service.as_deref());
    }
    for (tag, value) in &secret.tags {
        texts.extend(of("tag-key").then_some(tag.as_str()));
        texts.extend(of("tag-value").then_some(value.as_str()));
    }
    let folded = |text: &str| if matches!(key, "description" | "all") { text.to_lowercase() } else { text.to_owned() };
    let begins = |value: &str| texts.iter().any(|text| folded(text).starts_with(&folded(value)));
    values.iter().any(|value| match value.strip_prefix('!') {
        Some(unwanted) => !begins(unwanted),
        None => begins(value),
    })
}

/// The character classes of `GetRandomPassword`; the punctuation is the one of its documentation.
const CLASSES: [(&str, &str); 4] = [
    ("ExcludeLowercase", "abcdefghijklmnopqrstuvwxyz"),
    ("ExcludeUppercase", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
    ("ExcludeNumbers", "0123456789"),
    ("ExcludePunctuation", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"),
];

pub(super) fn random_password(_: &Site, members: &Members) -> Outcome<Value> {
    let length = usize::try_from(members.integer("PasswordLength").unwrap_or(32)).unwrap_or(0);
    if !(1..=4096).contains(&length) {
        return Err(invalid_parameter("PasswordLength must be between 1 and 4096."));
    }
    let excluded = members.text("ExcludeCharacters").unwrap_or_default();
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
        return Err(invalid_parameter("The password length is too short for the required character types."));
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
