//! Rhai values to plain data and back. Strict: what cannot come back unchanged is an error, never a type's name.

use rhai::{Array, Blob, Dynamic, ImmutableString};
use rust_decimal::Decimal;

use crate::{
    base::{Code, Finding, Lsn, Map, Result, Secret, Value},
    fail,
};

/// The plain data of a script value; `at` names it in errors, for example "the value of step `look`".
///
/// # Errors
/// `secret_guard` for a secret, `not_journalable` for functions, ranges, sessions and other handles.
pub fn to_value(value: &Dynamic, at: &str) -> Result<Value> {
    if value.is_shared() {
        return to_value(&value.flatten_clone(), at);
    }
    if value.is_unit() {
        return Ok(Value::Null);
    }
    if let Ok(b) = value.as_bool() {
        return Ok(Value::Bool(b));
    }
    if let Ok(n) = value.as_int() {
        return Ok(Value::Int(n));
    }
    if let Ok(f) = value.as_float() {
        return Ok(Value::Float(f));
    }
    if let Ok(c) = value.as_char() {
        return Ok(Value::Text(c.to_string()));
    }
    if let Some(text) = value.read_lock::<ImmutableString>() {
        return Ok(Value::Text(text.to_string()));
    }
    if let Some(decimal) = value.read_lock::<Decimal>() {
        return Ok(Value::Decimal(*decimal));
    }
    if let Some(lsn) = value.read_lock::<Lsn>() {
        return Ok(Value::Lsn(*lsn));
    }
    if let Some(bytes) = value.read_lock::<Blob>() {
        return Ok(Value::Bytes(bytes.clone()));
    }
    if let Some(items) = value.read_lock::<Array>() {
        let item = |(i, item): (usize, &Dynamic)| to_value(item, &format!("{at}[{i}]"));
        return Ok(Value::List(items.iter().enumerate().map(item).collect::<Result<_>>()?));
    }
    if let Some(map) = value.read_lock::<rhai::Map>() {
        let pairs = map.iter().map(|(key, item)| Ok((key.to_string(), to_value(item, &format!("{at}.{key}"))?)));
        return Ok(Value::Map(pairs.collect::<Result<_>>()?));
    }
    if value.is::<Secret>() {
        return Err(fail!(Code::SecretGuard, "{at} is a secret, which is never written down")
            .hint("keep the secret's ARN and version, and read it again where it is needed"));
    }
    Err(fail!(Code::NotJournalable, "{at} is {}, which cannot be kept", a_type(value))
        .hint("let the step give plain values: text, numbers, lists, maps, LSNs"))
}

/// The script value of plain data.
pub fn to_dynamic(value: &Value) -> Dynamic {
    match value {
        Value::Null => Dynamic::UNIT,
        Value::Bool(b) => (*b).into(),
        Value::Int(n) => (*n).into(),
        Value::Float(f) => (*f).into(),
        Value::Decimal(d) => Dynamic::from(*d),
        Value::Text(text) => text.clone().into(),
        Value::Bytes(bytes) => Dynamic::from_blob(bytes.clone()),
        Value::Lsn(lsn) => Dynamic::from(*lsn),
        Value::List(items) => items.iter().map(to_dynamic).collect::<Array>().into(),
        Value::Map(map) => map_to_dynamic(map),
    }
}

/// The script value of a row or another map.
pub fn map_to_dynamic(map: &Map) -> Dynamic {
    Dynamic::from_map(map.iter().map(|(key, value)| (key.as_str().into(), to_dynamic(value))).collect())
}

/// Findings as scripts see them.
pub fn findings(found: &[Finding]) -> Dynamic {
    found.iter().map(|finding| map_to_dynamic(&finding.to_map())).collect::<Array>().into()
}

/// The type of a script value, in a script's words.
#[must_use]
pub fn type_word(value: &Dynamic) -> &'static str {
    match value.type_name() {
        "()" => "()",
        "bool" => "bool",
        "i64" => "int",
        "f64" => "float",
        "string" => "text",
        "char" => "char",
        "array" => "list",
        "map" => "map",
        "blob" => "bytes",
        "Fn" => "function",
        name if name.ends_with("::Lsn") => "lsn",
        name if name.ends_with("::Secret") => "secret",
        name if name.ends_with("Decimal") => "decimal",
        name if name.ends_with("Session") => "session",
        name if name.contains("Range") => "range",
        _ => "handle",
    }
}

/// `an int`, `a text`: a type of script values in a sentence.
#[must_use]
pub fn a_type(value: &Dynamic) -> String {
    with_article(type_word(value))
}

/// A type's word with its article; `()` has none.
#[must_use]
pub fn with_article(word: &str) -> String {
    match word.chars().next() {
        Some('a' | 'e' | 'i' | 'l' | 'o') if word != "list" => format!("an {word}"),
        // Said letter by letter.
        Some('r') if word.starts_with("rds") => format!("an {word}"),
        Some('(') | None => word.to_owned(),
        Some(_) => format!("a {word}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{to_dynamic, to_value};
    use crate::{
        base::{Code, Lsn, Secret, Value},
        map,
    };

    #[test]
    fn plain_data_survives_both_ways() {
        let value = Value::Map(map! {
            "n" => 1_i64, "f" => Value::Float(2.0), "d" => Value::Decimal("1.10".parse().unwrap()), "l" => Lsn(5),
            "b" => Value::Bytes(vec![1]), "u" => Value::Null, "list" => vec!["a", "b"], "t" => true,
        });
        assert_eq!(to_value(&to_dynamic(&value), "x").unwrap(), value);
    }

    #[test]
    fn what_cannot_come_back_is_refused_by_name() {
        let secret = rhai::Dynamic::from(Secret::new("hunter2"));
        let list: rhai::Dynamic = vec![secret].into();
        let error = to_value(&list, "the value of step `s`").unwrap_err();
        assert_eq!(error.code(), Code::SecretGuard);
        assert!(error.message().starts_with("the value of step `s`[0] is a secret"));
        let range = rhai::Dynamic::from(0_i64..5);
        assert_eq!(to_value(&range, "x").unwrap_err().code(), Code::NotJournalable);
    }
}
