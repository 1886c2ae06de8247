//! Options of script functions: a map in which every key must be known and of its type.

use std::time::Duration;

use super::function::Call;
use crate::{
    base::{Code, Map, Result, Value, prose, span},
    fail,
};

/// The map of options of one call.
pub(super) struct Options {
    map: Map,
    function: &'static str,
}

impl Options {
    /// Reads an argument; one that was left out is an empty map.
    pub(super) fn read(call: &Call, at: usize, known: &[&str]) -> Result<Self> {
        let map = if call.has(at) { call.map(at)? } else { Map::new() };
        let function = call.function.name;
        if let Some(key) = map.keys().find(|key| !known.contains(&key.as_str())) {
            let error = fail!(Code::ScriptError, "`{function}` got the option `{key}`");
            return Err(match prose::nearest(key, known.iter().copied()) {
                Some(near) => error.hint(format!("meant `{near}`?")),
                None => error.hint(format!("it takes {}", prose::ticked_list(known, 20))),
            });
        }
        Ok(Self { map, function })
    }

    /// A text that must be there.
    pub(super) fn need(&self, key: &str) -> Result<String> {
        let missing = || fail!(Code::ScriptError, "`{}` needs the option `{key}`", self.function);
        self.text(key)?.ok_or_else(missing)
    }

    /// A text; an empty one counts as none.
    pub(super) fn text(&self, key: &str) -> Result<Option<String>> {
        match self.map.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
            Some(other) => Err(self.wrong(key, other, "a text")),
        }
    }

    /// A truth value.
    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>> {
        match self.map.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(self.wrong(key, other, "true or false")),
        }
    }

    /// A whole number.
    pub(super) fn int(&self, key: &str) -> Result<Option<i64>> {
        match self.map.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Int(number)) => Ok(Some(*number)),
            Some(other) => Err(self.wrong(key, other, "an int")),
        }
    }

    /// A duration, given as a text such as `10m`.
    pub(super) fn duration(&self, key: &str) -> Result<Option<Duration>> {
        self.text(key)?.map(|text| span::parse_duration(&text)).transpose()
    }

    /// A list of texts; empty when it is not there.
    pub(super) fn texts(&self, key: &str) -> Result<Vec<String>> {
        let Some(value) = self.map.get(key).filter(|value| !matches!(value, Value::Null)) else { return Ok(vec![]) };
        let texts = value.as_list().map(|list| list.iter().map(|item| item.as_text().map(str::to_owned)).collect());
        texts.flatten().ok_or_else(|| self.wrong(key, value, "a list of texts"))
    }

    /// A map; empty when it is not there.
    pub(super) fn map(&self, key: &str) -> Result<Map> {
        match self.map.get(key) {
            None | Some(Value::Null) => Ok(Map::new()),
            Some(Value::Map(map)) => Ok(map.clone()),
            Some(other) => Err(self.wrong(key, other, "a map")),
        }
    }

    fn wrong(&self, key: &str, got: &Value, wanted: &str) -> crate::base::Error {
        let got = got.type_name();
        fail!(Code::ScriptError, "`{}`: the option `{key}` is a {got}, wanted {wanted}", self.function)
    }
}
