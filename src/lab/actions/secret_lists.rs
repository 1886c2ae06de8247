//! The actions of Secrets Manager that read many secrets: `ListSecrets`, `BatchGetSecretValue`, and their filters.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    page::JsonPage,
    secret_views::{entry, value_of},
    secrets::{find, purge, versions_to_stages},
};
use crate::lab::{
    json::{Members, constraint},
    refusal::{Outcome, Refusal},
    secret::{StoredSecret, invalid_parameter},
    site::Site,
};

/// What secrets are filtered by (the service model, `FilterNameStringType`).
const FILTERS: [&str; 7] = ["description", "name", "tag-key", "tag-value", "primary-region", "owning-service", "all"];

/// What secrets are sorted by (the service model, `SortByType`).
const SORTS: [&str; 4] = ["created-date", "last-accessed-date", "last-changed-date", "name"];

/// A request has up to ten filters with up to ten values.
const MOST_FILTERS: usize = 10;

/// How many values `BatchGetSecretValue` gives at once.
const BATCH: usize = 20;

struct Filter {
    key: String,
    values: Vec<String>,
}

pub(super) fn list(site: &Arc<Site>, members: &Members) -> Outcome<Value> {
    let (planned, page) = (members.is_true("IncludePlannedDeletion"), JsonPage::read(members, 100)?);
    let filters = filters(members)?;
    let by = members.text("SortBy").unwrap_or("created-date");
    if !SORTS.contains(&by) {
        return Err(not_in_enum("SortBy", &SORTS));
    }
    let descending = match members.text("SortOrder") {
        Some("desc") => true,
        Some("asc") | None => false,
        Some(_) => return Err(not_in_enum("SortOrder", &["asc", "desc"])),
    };
    site.change(|world| {
        purge(world, site.clock.seconds());
        let shown = world.secrets.values().filter(|secret| planned || secret.deletion.is_none());
        let mut shown: Vec<&StoredSecret> = shown.filter(|secret| fits(secret, &filters, site.region())).collect();
        // The map has them by name, and what is equal stays in this order.
        match by {
            "created-date" => shown.sort_by(|a, b| a.created.total_cmp(&b.created)),
            "last-changed-date" => shown.sort_by(|a, b| a.changed.total_cmp(&b.changed)),
            "last-accessed-date" => {
                let at = |secret: &StoredSecret| secret.accessed.unwrap_or_default();
                shown.sort_by(|a, b| at(a).total_cmp(&at(b)));
            }
            _ => {}
        }
        if descending {
            shown.reverse();
        }
        let entries = shown.into_iter().map(|secret| {
            let mut entry = entry(secret);
            entry["SecretVersionsToStages"] = versions_to_stages(secret);
            (secret.name.clone(), entry)
        });
        Ok(page.answer("SecretList", entries.collect()))
    })
}

/// Values of the secrets that are named, or of those that filters find. What cannot be read is told in `Errors`.
pub(super) fn batch_get_value(site: &Arc<Site>, members: &Members) -> Outcome<Value> {
    let (filters, ids) = (filters(members)?, members.list("SecretIdList", 1..=BATCH)?);
    let by_filter = !filters.is_empty();
    if by_filter == ids.is_some() {
        return Err(invalid_parameter("Either 'SecretIdList' or 'Filters' must be provided, but not both."));
    }
    if !by_filter && members.has("MaxResults") {
        return Err(invalid_parameter(
            "'Filters' not specified. 'Filters' must also be specified when 'MaxResults' is provided.",
        ));
    }
    let page = JsonPage::read(members, BATCH)?;
    let now = site.clock.seconds();
    site.change(|world| {
        purge(world, now);
        let mut answer = if by_filter {
            let all = world.secrets.values().filter(|secret| secret.deletion.is_none());
            let found = all.filter(|secret| fits(secret, &filters, site.region()));
            page.answer("Ids", found.map(|secret| (secret.name.clone(), json!(secret.name))).collect())
        } else {
            json!({ "Ids": members.texts("SecretIdList") })
        };
        let ids = answer["Ids"].take();
        let (mut values, mut errors) = (Vec::new(), Vec::new());
        for id in ids.as_array().into_iter().flatten().filter_map(Value::as_str) {
            let read = find(world, id).and_then(|secret| {
                secret.require_live()?;
                value_of(secret, None, None, now)
            });
            match read {
                Ok(value) => values.push(value),
                Err(Refusal { code, message, .. }) => {
                    errors.push(json!({ "SecretId": id, "ErrorCode": code, "Message": message }));
                }
            }
        }
        let next = answer["NextToken"].take();
        let mut answer = json!({ "SecretValues": values, "Errors": errors });
        if !next.is_null() {
            answer["NextToken"] = next;
        }
        Ok(answer)
    })
}

fn not_in_enum(member: &str, values: &[&str]) -> Refusal {
    constraint(member, &format!("Member must satisfy enum value set: [{}]", values.join(", ")))
}

fn filters(members: &Members) -> Outcome<Vec<Filter>> {
    members.list("Filters", 0..=MOST_FILTERS)?;
    let read = members.items("Filters").into_iter().map(|filter| {
        let key = filter.text("Key").unwrap_or("all").to_owned();
        if !FILTERS.contains(&key.as_str()) {
            return Err(not_in_enum("Key", &FILTERS));
        }
        let given = filter.list("Values", 1..=MOST_FILTERS)?;
        if given.is_none() {
            return Err(invalid_parameter(format!("Invalid filter values for key: {key}")));
        }
        let values = filter.texts("Values");
        let is_plain = |c: char| c.is_ascii_alphanumeric() || " :_@/+=.-!".contains(c);
        if values.iter().any(|value| value.len() > 512 || !value.chars().all(is_plain)) {
            let pattern = "Member must satisfy regular expression pattern: ^\\!?[a-zA-Z0-9 :_@\\/\\+\\=\\.\\-\\!]*$";
            return Err(constraint("Values", pattern));
        }
        Ok(Filter { key, values })
    });
    read.collect()
}

/// Every filter, and of its values any. `!` in front of a value turns it round.
fn fits(secret: &StoredSecret, filters: &[Filter], region: &str) -> bool {
    filters.iter().all(|Filter { key, values }| {
        let texts = texts_of(secret, key, region);
        let matches = |value: &str| texts.iter().any(|text| matches_text(key, text, value));
        values.iter().any(|value| match value.strip_prefix('!') {
            Some(unwanted) => !matches(unwanted),
            None => matches(value),
        })
    })
}

fn texts_of<'a>(secret: &'a StoredSecret, key: &str, region: &'a str) -> Vec<&'a str> {
    let of = |name: &str| key == name || key == "all";
    let mut texts: Vec<&str> = Vec::new();
    texts.extend(of("name").then_some(secret.name.as_str()));
    texts.extend(secret.description.as_deref().filter(|_| of("description")));
    texts.extend(secret.owning_service.as_deref().filter(|_| of("owning-service")));
    texts.extend(of("primary-region").then_some(region));
    for (tag, value) in &secret.tags {
        texts.extend(of("tag-key").then_some(tag.as_str()));
        texts.extend(of("tag-value").then_some(value.as_str()));
    }
    texts
}

/// Values are prefixes. Descriptions and `all` do not look at case; `all` looks for words: each of the value's begins
/// one of the text's (API reference, `Filter`).
fn matches_text(key: &str, text: &str, value: &str) -> bool {
    match key {
        "description" => text.to_lowercase().starts_with(&value.to_lowercase()),
        "all" => {
            let (text, value) = (text.to_lowercase(), value.to_lowercase());
            let words = |text: &str| -> Vec<String> {
                text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).map(str::to_owned).collect()
            };
            let wanted = words(&value);
            let has = words(&text);
            !wanted.is_empty() && wanted.iter().all(|word| has.iter().any(|other| other.starts_with(word)))
        }
        _ => text.starts_with(value),
    }
}
