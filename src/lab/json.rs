//! Reading requests and writing answers of the AWS JSON 1.1 protocol, which Secrets Manager speaks.

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

    pub(crate) fn required(&self, name: &str) -> Outcome<&str> {
        self.text(name).filter(|text| !text.is_empty()).ok_or_else(|| {
            Refusal::new("ValidationException", format!("1 validation error detected: Value at '{name}' is missing"))
        })
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

/// The body of an answer when an action is refused. `__type` names the code; both spellings of the message occur.
pub(crate) fn refusal(refusal: &Refusal) -> String {
    json!({ "__type": refusal.code, "Message": refusal.message, "message": refusal.message }).to_string()
}
