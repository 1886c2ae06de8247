//! Plain data that crosses every floor: rows, parameters, values of steps. Its JSON form is strict and reversible.

use std::collections::BTreeMap;

use base64::Engine as _;
use rust_decimal::Decimal;
use serde_json::{Value as Json, json};

use super::{Code, Lsn, Result};
use crate::fail;

/// A map with text keys, sorted.
pub type Map = BTreeMap<String, Value>;

/// A value that scripts, PostgreSQL rows and the journal can hold. Secrets are not among them.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// SQL NULL, Rhai `()`.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A floating-point number, `NaN` and infinities included.
    Float(f64),
    /// An exact number; SQL `numeric` as far as 28 digits carry.
    Decimal(Decimal),
    /// A text.
    Text(String),
    /// A sequence of bytes; SQL `bytea`.
    Bytes(Vec<u8>),
    /// A write-ahead log position; SQL `pg_lsn`.
    Lsn(Lsn),
    /// A list; SQL arrays.
    List(Vec<Value>),
    /// A map; rows and JSON objects.
    Map(Map),
}

impl Value {
    /// The JSON form in the journal and in outputs. Types that JSON lacks become objects with one key, as
    /// `{"$lsn": "0/1"}`.
    #[must_use]
    pub fn to_json(&self) -> Json {
        match self {
            Self::Null => Json::Null,
            Self::Bool(b) => json!(b),
            Self::Int(n) => json!(n),
            Self::Float(f) if f.is_finite() && f.fract() != 0.0 => json!(f),
            Self::Float(f) => json!({ "$float": f.to_string() }),
            Self::Decimal(d) => json!({ "$decimal": d.to_string() }),
            Self::Text(s) => json!(s),
            Self::Bytes(b) => json!({ "$bytes": base64::engine::general_purpose::STANDARD.encode(b) }),
            Self::Lsn(l) => json!({ "$lsn": l.to_string() }),
            Self::List(items) => Json::Array(items.iter().map(Self::to_json).collect()),
            Self::Map(map) => {
                let escaped = |key: &String| if key.starts_with('$') { format!("${key}") } else { key.clone() };
                Json::Object(map.iter().map(|(key, value)| (escaped(key), value.to_json())).collect())
            }
        }
    }

    /// Reads what [`Value::to_json`] wrote.
    ///
    /// # Errors
    /// `journal_damaged` for a `$` tag that is unknown or holds the wrong thing.
    pub fn from_json(json: &Json) -> Result<Self> {
        Ok(match json {
            Json::Null => Self::Null,
            Json::Bool(b) => Self::Bool(*b),
            Json::String(s) => Self::Text(s.clone()),
            Json::Number(n) => n.as_i64().map_or_else(|| Self::Float(n.as_f64().unwrap_or(f64::NAN)), Self::Int),
            Json::Array(items) => Self::List(items.iter().map(Self::from_json).collect::<Result<_>>()?),
            Json::Object(map) => {
                if let Some((tag, inner)) = map.iter().next()
                    && map.len() == 1
                    && tag.starts_with('$')
                    && !tag.starts_with("$$")
                {
                    return Self::from_tag(tag, inner);
                }
                let plain = |key: &String| key.strip_prefix('$').unwrap_or(key).to_owned();
                let pairs = map.iter().map(|(key, value)| Ok((plain(key), Self::from_json(value)?)));
                Self::Map(pairs.collect::<Result<_>>()?)
            }
        })
    }

    fn from_tag(tag: &str, inner: &Json) -> Result<Self> {
        let wrong = || fail!(Code::JournalDamaged, "the value {{{tag:?}: {inner}}} cannot be read");
        let text = inner.as_str().ok_or_else(wrong)?;
        Ok(match tag {
            "$float" => Self::Float(text.parse().map_err(|_| wrong())?),
            "$decimal" => Self::Decimal(text.parse().map_err(|_| wrong())?),
            "$lsn" => Self::Lsn(text.parse().map_err(|_| wrong())?),
            "$bytes" => Self::Bytes(base64::engine::general_purpose::STANDARD.decode(text).map_err(|_| wrong())?),
            _ => return Err(wrong()),
        })
    }

    /// The value of foreign JSON (a file, a `jsonb` column): no tags are interpreted.
    #[must_use]
    pub fn from_plain_json(json: &Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(b) => Self::Bool(*b),
            Json::String(s) => Self::Text(s.clone()),
            Json::Number(n) => n.as_i64().map_or_else(|| Self::Float(n.as_f64().unwrap_or(f64::NAN)), Self::Int),
            Json::Array(items) => Self::List(items.iter().map(Self::from_plain_json).collect()),
            Json::Object(map) => Self::Map(map.iter().map(|(k, v)| (k.clone(), Self::from_plain_json(v))).collect()),
        }
    }

    /// The name of the type, in a script's words.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "()",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Decimal(_) => "decimal",
            Self::Text(_) => "text",
            Self::Bytes(_) => "bytes",
            Self::Lsn(_) => "lsn",
            Self::List(_) => "list",
            Self::Map(_) => "map",
        }
    }

    /// The text inside, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The whole number inside, if it is one.
    #[must_use]
    pub fn as_int(&self) -> Option<i64> {
        if let Self::Int(n) = self { Some(*n) } else { None }
    }

    /// The truth value inside, if it is one.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(b) = self { Some(*b) } else { None }
    }

    /// The list inside, if it is one.
    #[must_use]
    pub fn as_list(&self) -> Option<&[Value]> {
        if let Self::List(items) = self { Some(items) } else { None }
    }

    /// The map inside, if it is one.
    #[must_use]
    pub fn as_map(&self) -> Option<&Map> {
        if let Self::Map(map) = self { Some(map) } else { None }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Value {
    fn from(b: bool) -> Self {
        Self::Bool(b)
    }
}

impl From<i64> for Value {
    fn from(n: i64) -> Self {
        Self::Int(n)
    }
}

impl From<Lsn> for Value {
    fn from(lsn: Lsn) -> Self {
        Self::Lsn(lsn)
    }
}

impl From<Map> for Value {
    fn from(map: Map) -> Self {
        Self::Map(map)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(option: Option<T>) -> Self {
        option.map_or(Self::Null, Into::into)
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(items: Vec<T>) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

/// Builds a [`Map`]: `map! { "id" => id, "ready" => true }`.
#[macro_export]
macro_rules! map {
    ($($key:expr => $value:expr),* $(,)?) => {
        $crate::base::Map::from([$((String::from($key), $crate::base::Value::from($value))),*])
    };
}

#[cfg(test)]
mod tests {
    use super::{Lsn, Value};

    #[test]
    fn the_json_form_is_reversible() {
        let all = map! {
            "null" => Value::Null, "bool" => true, "int" => i64::MIN, "whole" => Value::Float(2.0), "text" => "$lsn",
            "nan" => Value::Float(f64::INFINITY), "decimal" => Value::Decimal("1.10".parse().unwrap()),
            "bytes" => Value::Bytes(vec![0, 255]), "lsn" => Lsn(77), "list" => vec![1, 2_i64],
            "$dollar" => map! { "$lsn" => "not an lsn" }, "half" => Value::Float(0.5),
        };
        let value = Value::Map(all);
        let text = value.to_json().to_string();
        assert_eq!(Value::from_json(&serde_json::from_str(&text).unwrap()).unwrap(), value, "{text}");
    }

    #[test]
    fn unknown_tags_are_damage() {
        assert!(Value::from_json(&serde_json::json!({ "$x": "1" })).is_err());
        assert!(Value::from_json(&serde_json::json!({ "$lsn": 1 })).is_err());
    }
}
