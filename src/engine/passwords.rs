//! Passwords in parameters: found wherever they hide, so that they reach the redactor and never the journal.

use rhai::{Dynamic, Map};
use serde_json::Value as Json;

use crate::{
    api::convert,
    base::{Redactor, Secret, Value},
};

/// Keys of maps whose text is a password. Not `secret`: that is a secret's name.
const KEYS: [&str; 3] = ["password", "passwd", "pwd"];

/// True when a value holds a password: a URL with one in it, or the key of a map.
pub(super) fn holds(json: &Json) -> bool {
    !found(json).is_empty()
}

/// Teaches the redactor every password in a value; true when there was one.
pub(super) fn learn(json: &Json, redactor: &Redactor) -> bool {
    let found = found(json);
    for secret in &found {
        redactor.learn(secret);
    }
    !found.is_empty()
}

/// The value as scripts see it: passwords, and URLs that hold one, are secrets.
pub(super) fn conceal(json: &Json) -> Dynamic {
    match json {
        Json::String(text) if is_url(text) && raw_password(text).is_some() => Dynamic::from(Secret::new(text.as_str())),
        Json::Array(items) => items.iter().map(conceal).collect::<rhai::Array>().into(),
        Json::Object(map) => {
            let item = |(key, value): (&String, &Json)| {
                let concealed = match value.as_str() {
                    Some(text) if is_password(key, text) => Dynamic::from(Secret::new(text)),
                    _ => conceal(value),
                };
                (key.as_str().into(), concealed)
            };
            map.iter().map(item).collect::<Map>().into()
        }
        plain => convert::to_dynamic(&Value::from_plain_json(plain)),
    }
}

fn found(json: &Json) -> Vec<Secret> {
    match json {
        Json::String(text) => of_text(text),
        Json::Array(items) => items.iter().flat_map(found).collect(),
        Json::Object(map) => {
            let item = |(key, value): (&String, &Json)| match value.as_str() {
                Some(text) if is_password(key, text) => vec![Secret::new(text)],
                _ => found(value),
            };
            map.iter().flat_map(item).collect()
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => vec![],
    }
}

fn is_password(key: &str, text: &str) -> bool {
    KEYS.contains(&key.to_ascii_lowercase().as_str()) && !text.is_empty()
}

/// The password in a URL, raw and decoded, and the URL itself.
fn of_text(text: &str) -> Vec<Secret> {
    let Some(raw) = raw_password(text) else { return vec![] };
    let decoded = form_urlencoded::parse(format!("p={}", raw.replace('+', "%2B")).as_bytes())
        .next()
        .map_or_else(String::new, |(_, value)| value.into_owned());
    vec![Secret::new(text), Secret::new(raw), Secret::new(decoded)]
}

fn raw_password(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let in_authority =
        authority.rsplit_once('@').and_then(|(user, _)| user.split_once(':')).map(|(_, password)| password);
    let in_query = || rest.split_once('?')?.1.split('&').find_map(|pair| pair.strip_prefix("password="));
    in_authority.or_else(in_query).filter(|password| !password.is_empty())
}

fn is_url(text: &str) -> bool {
    text.starts_with("postgres://") || text.starts_with("postgresql://")
}
