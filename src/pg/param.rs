//! [`Value`]s to parameters. They travel in PostgreSQL's text format, which every type reads, so that one rule serves
//! all types: the server parses what it would parse as a literal. What cannot be meant is refused here.

use std::{error::Error, fmt};

use rust_decimal::prelude::ToPrimitive as _;
use tokio_postgres::types::{Format, IsNull, Kind, ToSql, Type, private::BytesMut, to_sql_checked};

use super::decode;
use crate::{
    base::{Code, Result, Value},
    fail,
};

/// One parameter, ready to be sent. Its `Debug` shows nothing: tokio-postgres logs parameters at debug level.
pub(super) struct Param(Option<String>);

impl fmt::Debug for Param {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

impl ToSql for Param {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        Ok(match &self.0 {
            None => IsNull::Yes,
            Some(text) => {
                out.extend_from_slice(text.as_bytes());
                IsNull::No
            }
        })
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

/// Makes each value fit the type that the statement wants.
///
/// # Errors
/// `pg_value` naming the number of the parameter, the type that was got and the one that is wanted.
pub(super) fn bind(values: &[Value], wanted: &[Type]) -> Result<Vec<Param>> {
    if values.len() != wanted.len() {
        return Err(fail!(Code::PgValue, "got {} values, the statement wants {}", values.len(), wanted.len()));
    }
    let one = |(at, (value, ty)): (usize, (&Value, &Type))| {
        text(value, ty).map(Param).map_err(|misfit| {
            let number = at + 1;
            let (got, wanted) = (value.type_name(), decode::type_name(ty));
            match misfit {
                Misfit::Type => fail!(Code::PgValue, "parameter ${number}: got {got}, wanted {wanted}")
                    .hint(format!("cast it in the statement, for example ${number}::{}", suggestion(value))),
                Misfit::Content(why) => fail!(Code::PgValue, "parameter ${number}: {why}; wanted {wanted}"),
            }
        })
    };
    values.iter().zip(wanted).enumerate().map(one).collect()
}

/// A type that this kind of value would fit.
fn suggestion(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "bool",
        Value::Int(_) => "bigint",
        Value::Float(_) => "float8",
        Value::Decimal(_) => "numeric",
        Value::Bytes(_) => "bytea",
        Value::Lsn(_) => "pg_lsn",
        Value::List(_) => "text[]",
        Value::Map(_) => "jsonb",
        Value::Null | Value::Text(_) => "text",
    }
}

enum Misfit {
    Type,
    Content(String),
}

/// The literal's text; `None` is NULL.
fn text(value: &Value, ty: &Type) -> Result<Option<String>, Misfit> {
    if let Kind::Domain(base) = ty.kind() {
        return text(value, base);
    }
    let is = |types: &[Type]| types.contains(ty);
    Ok(Some(match value {
        Value::Null => return Ok(None),
        // SQL's own meaning of a text: a literal of the wanted type. For `jsonb` it is JSON, not a JSON string.
        Value::Text(text) if text.contains('\0') => {
            return Err(Misfit::Content("a text with a zero byte cannot be stored".into()));
        }
        Value::Text(text) => text.clone(),
        Value::Bool(b) if is(&[Type::BOOL]) || is(JSON) => b.to_string(),
        Value::Int(n) if is(NUMBERS) || is(JSON) => whole(*n, ty)?,
        Value::Float(f) if is(&[Type::FLOAT4, Type::FLOAT8, Type::NUMERIC]) => float(*f),
        Value::Float(f) if is(JSON) && f.is_finite() => f.to_string(),
        Value::Decimal(d) if is(&[Type::FLOAT4, Type::FLOAT8, Type::NUMERIC]) || is(JSON) => d.to_string(),
        Value::Decimal(d) if is(NUMBERS) && d.is_integer() => whole(d.to_i64().ok_or(Misfit::Type)?, ty)?,
        Value::Bytes(bytes) if is(&[Type::BYTEA]) => hex(bytes),
        Value::Lsn(lsn) if is(&[Type::PG_LSN]) => lsn.to_string(),
        Value::List(_) | Value::Map(_) if is(JSON) => plain_json(value)?,
        Value::List(items) => match ty.kind() {
            Kind::Array(element) => array(items, element)?,
            _ => return Err(Misfit::Type),
        },
        // What a row gave for a type without a decoder goes back as it came.
        Value::Map(map) if map.len() == 2 && map.contains_key("type") => {
            map.get("text").and_then(Value::as_text).ok_or(Misfit::Type)?.to_owned()
        }
        _ => return Err(Misfit::Type),
    }))
}

const JSON: &[Type] = &[Type::JSON, Type::JSONB];

const NUMBERS: &[Type] = &[
    Type::INT2,
    Type::INT4,
    Type::INT8,
    Type::OID,
    Type::XID,
    Type::XID8,
    Type::CID,
    Type::FLOAT4,
    Type::FLOAT8,
    Type::NUMERIC,
];

/// Refused here rather than by the server, so that the message can name the parameter.
fn whole(n: i64, ty: &Type) -> Result<String, Misfit> {
    let (least, most) = match *ty {
        Type::INT2 => (i64::from(i16::MIN), i64::from(i16::MAX)),
        Type::INT4 => (i64::from(i32::MIN), i64::from(i32::MAX)),
        Type::OID | Type::XID | Type::CID => (0, i64::from(u32::MAX)),
        Type::XID8 => (0, i64::MAX),
        _ => (i64::MIN, i64::MAX),
    };
    if (least..=most).contains(&n) { Ok(n.to_string()) } else { Err(Misfit::Content(format!("{n} is out of range"))) }
}

fn float(f: f64) -> String {
    if f.is_nan() {
        "NaN".into()
    } else if f.is_infinite() {
        if f > 0.0 { "Infinity".into() } else { "-Infinity".into() }
    } else {
        f.to_string()
    }
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
    std::iter::once("\\x".to_owned()).chain(digits).collect()
}

/// JSON without the tags that the journal uses. Numbers keep all their digits: `jsonb` does too.
fn plain_json(value: &Value) -> Result<String, Misfit> {
    Ok(match value {
        Value::Null => "null".into(),
        Value::Bool(b) => b.to_string(),
        Value::Int(n) => n.to_string(),
        Value::Float(f) if f.is_finite() => f.to_string(),
        Value::Float(f) => return Err(Misfit::Content(format!("{f} is no JSON number"))),
        Value::Decimal(d) => d.to_string(),
        Value::Text(text) => json_text(text),
        Value::Lsn(lsn) => json_text(&lsn.to_string()),
        Value::Bytes(_) => return Err(Misfit::Content("bytes have no place in JSON".into())),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(plain_json).collect::<Result<_, _>>()?;
            format!("[{}]", items.join(","))
        }
        Value::Map(map) => {
            let pair = |(key, value): (&String, &Value)| Ok(format!("{}:{}", json_text(key), plain_json(value)?));
            let pairs: Vec<String> = map.iter().map(pair).collect::<Result<_, Misfit>>()?;
            format!("{{{}}}", pairs.join(","))
        }
    })
}

fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// An array literal (manual, "Array Input and Output Syntax"): every element quoted, NULL bare.
fn array(items: &[Value], element: &Type) -> Result<String, Misfit> {
    // The only built-in type with another delimiter (pg_type.typdelim).
    let delimiter = if *element == Type::BOX { ";" } else { "," };
    let one = |item: &Value| match item {
        Value::List(inner) if !JSON.contains(element) => array(inner, element),
        _ => Ok(match text(item, element)? {
            None => "NULL".to_owned(),
            Some(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
        }),
    };
    let parts: Vec<String> = items.iter().map(one).collect::<Result<_, _>>()?;
    Ok(format!("{{{}}}", parts.join(delimiter)))
}

#[cfg(test)]
mod tests {
    use tokio_postgres::types::Type;

    use super::bind;
    use crate::{base::Value, map};

    #[test]
    fn a_misfit_names_the_parameter_and_both_types() {
        let said = |value: Value, ty: Type| bind(&[Value::Null, value], &[Type::TEXT, ty]).unwrap_err().to_string();
        assert_eq!(said(Value::Int(5), Type::TEXT), "parameter $2: got int, wanted text");
        assert_eq!(
            said(Value::from("x\0"), Type::TEXT),
            "parameter $2: a text with a zero byte cannot be stored; wanted text"
        );
        assert_eq!(said(Value::Int(70_000), Type::INT2), "parameter $2: 70000 is out of range; wanted int2");
        assert_eq!(
            said(Value::List(vec![Value::Bool(true)]), Type::INT4_ARRAY),
            "parameter $2: got list, wanted int4[]"
        );
        assert_eq!(said(Value::Map(map! { "a" => 1_i64 }), Type::POINT), "parameter $2: got map, wanted point");
        assert_eq!(bind(&[], &[Type::TEXT]).unwrap_err().to_string(), "got 0 values, the statement wants 1");
        assert_eq!(format!("{:?}", bind(&[Value::from("hunter2")], &[Type::TEXT]).unwrap()), "[..]");
    }
}
