//! Reading requests and writing answers of the AWS JSON 1.1 protocol, which Secrets Manager speaks.

use std::ops::RangeInclusive;

use serde_json::{Map, Value, json};

use super::refusal::{Outcome, Refusal};

/// The members of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Members(Map<String, Value>);

impl Members {
    pub(crate) fn parse(body: &[u8]) -> Outcome<Self> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        let members = serde_json::from_slice(body);
        members.map(Self).map_err(|error| Refusal::new("SerializationException", format!("not a JSON object: {error}")))
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    /// A text whose length the service model limits.
    pub(crate) fn within(&self, name: &str, lengths: RangeInclusive<usize>) -> Outcome<Option<&str>> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let length = text.chars().count();
        if length < *lengths.start() {
            let least = format!("Member must have length greater than or equal to {}", lengths.start());
            return Err(constraint(name, &least));
        }
        if length > *lengths.end() {
            return Err(constraint(name, &format!("Member must have length less than or equal to {}", lengths.end())));
        }
        Ok(Some(text))
    }

    /// A text that the service model requires.
    pub(crate) fn required(&self, name: &str, lengths: RangeInclusive<usize>) -> Outcome<&str> {
        self.within(name, lengths)?.ok_or_else(|| missing(name))
    }

    /// A number that the service model limits.
    pub(crate) fn number(&self, name: &str, values: RangeInclusive<i64>) -> Outcome<Option<i64>> {
        let Some(value) = self.integer(name) else { return Ok(None) };
        if value < *values.start() {
            let least = format!("Member must have value greater than or equal to {}", values.start());
            return Err(constraint(name, &least));
        }
        if value > *values.end() {
            return Err(constraint(name, &format!("Member must have value less than or equal to {}", values.end())));
        }
        Ok(Some(value))
    }

    /// A list whose length the service model limits; none when it is not given.
    pub(crate) fn list(&self, name: &str, lengths: RangeInclusive<usize>) -> Outcome<Option<&Vec<Value>>> {
        let list = self.0.get(name).and_then(Value::as_array);
        match list {
            Some(list) if !lengths.contains(&list.len()) => {
                let message = format!("Member must have between {} and {} items", lengths.start(), lengths.end());
                Err(constraint(name, &message))
            }
            list => Ok(list),
        }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|value| !value.is_null())
    }

    pub(crate) fn structure(&self, name: &str) -> Option<Members> {
        self.0.get(name).and_then(Value::as_object).cloned().map(Members)
    }

    pub(crate) fn integer(&self, name: &str) -> Option<i64> {
        self.0.get(name).and_then(Value::as_i64)
    }

    pub(crate) fn is_true(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    pub(crate) fn boolean(&self, name: &str) -> Option<bool> {
        self.0.get(name).and_then(Value::as_bool)
    }

    pub(crate) fn texts(&self, name: &str) -> Vec<String> {
        let items = self.0.get(name).and_then(Value::as_array).into_iter().flatten();
        items.filter_map(|item| item.as_str().map(str::to_owned)).collect()
    }

    pub(crate) fn items(&self, name: &str) -> Vec<Members> {
        let items = self.0.get(name).and_then(Value::as_array).into_iter().flatten();
        items.filter_map(|item| item.as_object().cloned().map(Members)).collect()
    }
}

/// A value that the service model does not allow. Members are spelled with a small letter in these messages.
pub(crate) fn constraint(member: &str, what: &str) -> Refusal {
    let mut name = member.to_owned();
    if let Some(first) = name.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    let message = format!("1 validation error detected: Value at '{name}' failed to satisfy constraint: {what}");
    Refusal::new("ValidationException", message)
}

pub(crate) fn missing(member: &str) -> Refusal {
    constraint(member, "Member must not be null")
}

/// The body of an answer when an action is refused. `__type` names the code; both spellings of the message occur.
pub(crate) fn refusal(refusal: &Refusal) -> String {
    json!({ "__type": refusal.code, "Message": refusal.message, "message": refusal.message }).to_string()
}
