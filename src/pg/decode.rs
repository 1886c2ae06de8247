//! PostgreSQL's binary column formats to [`Value`]. The formats are those of each type's `*_send` function.

use std::fmt::Write as _;

use rust_decimal::Decimal;
use tokio_postgres::types::{Kind, Type};

use super::calendar;
use crate::base::{Lsn, Value};

/// How a column of some type is brought over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Decoded here.
    Native,
    /// Asked for as text; the text says everything (`regclass`).
    Text,
    /// Asked for as text, and handed on together with the name of its type.
    Tagged,
}

/// The bytes are not what the type's format promises, or hold what a [`Value`] cannot.
pub(super) type Broken = String;

/// How a column of this type is brought over.
pub(super) fn way(ty: &Type) -> Way {
    let decoded = match ty.kind() {
        Kind::Domain(base) => return way(base),
        Kind::Enum(_) => true,
        Kind::Array(element) => way(element) == Way::Native,
        Kind::Simple => native(ty).is_some(),
        Kind::Pseudo => matches!(*ty, Type::VOID | Type::UNKNOWN | Type::CSTRING),
        _ => false,
    };
    match decoded {
        true => Way::Native,
        false if TEXTS.contains(ty) => Way::Text,
        false => Way::Tagged,
    }
}

/// Types whose text is all there is to say.
const TEXTS: &[Type] = &[
    Type::REGCLASS,
    Type::REGPROC,
    Type::REGPROCEDURE,
    Type::REGOPER,
    Type::REGOPERATOR,
    Type::REGTYPE,
    Type::REGROLE,
    Type::REGNAMESPACE,
    Type::REGCONFIG,
    Type::REGDICTIONARY,
    Type::REGCOLLATION,
    Type::XML,
    Type::ACLITEM,
    Type::JSONPATH,
];

/// The name of a type as SQL writes it: `point[]`, not `_point`.
pub(super) fn type_name(ty: &Type) -> String {
    match ty.kind() {
        Kind::Array(element) => format!("{}[]", type_name(element)),
        _ => ty.name().to_owned(),
    }
}

/// One value. `None` is SQL's NULL.
pub(super) fn value(ty: &Type, raw: Option<&[u8]>) -> Result<Value, Broken> {
    let Some(raw) = raw else { return Ok(Value::Null) };
    match ty.kind() {
        Kind::Domain(base) => value(base, Some(raw)),
        Kind::Array(element) => array(element, raw),
        Kind::Pseudo if *ty == Type::VOID => Ok(Value::Null),
        Kind::Enum(_) | Kind::Pseudo => text(raw),
        _ => native(ty).ok_or_else(|| format!("pgrun has no decoder for the type {}", type_name(ty)))?(raw),
    }
}

type Decoder = fn(&[u8]) -> Result<Value, Broken>;

/// The decoder of a type, if there is one here.
fn native(ty: &Type) -> Option<Decoder> {
    Some(match *ty {
        Type::BOOL => |raw| Ok(Value::Bool(fixed::<1>(raw)?[0] != 0)),
        Type::INT2 => |raw| Ok(Value::Int(i64::from(i16::from_be_bytes(fixed(raw)?)))),
        Type::INT4 => |raw| Ok(Value::Int(i64::from(i32::from_be_bytes(fixed(raw)?)))),
        Type::INT8 => |raw| Ok(Value::Int(i64::from_be_bytes(fixed(raw)?))),
        Type::OID | Type::XID | Type::CID => |raw| Ok(Value::Int(i64::from(u32::from_be_bytes(fixed(raw)?)))),
        Type::XID8 => |raw| {
            let xid = u64::from_be_bytes(fixed(raw)?);
            i64::try_from(xid).map(Value::Int).map_err(|_| format!("the xid8 {xid} is too large"))
        },
        Type::FLOAT4 => |raw| Ok(Value::Float(widen(f32::from_be_bytes(fixed(raw)?)))),
        Type::FLOAT8 => |raw| Ok(Value::Float(f64::from_be_bytes(fixed(raw)?))),
        Type::NUMERIC => numeric,
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::PG_NODE_TREE => text,
        Type::CHAR => |raw| match fixed::<1>(raw)? {
            [0] => Ok(Value::from("")),
            [byte] if byte.is_ascii() => Ok(Value::Text(char::from(byte).to_string())),
            [byte] => Ok(Value::Text(format!("\\{byte:03o}"))),
        },
        Type::BYTEA => |raw| Ok(Value::Bytes(raw.to_vec())),
        Type::UUID => |raw| Ok(Value::Text(uuid::Uuid::from_bytes(fixed(raw)?).to_string())),
        Type::JSON => json,
        Type::JSONB => |raw| match raw.split_first() {
            Some((1, body)) => json(body),
            _ => Err("a jsonb of an unknown version".into()),
        },
        Type::PG_LSN => |raw| Ok(Value::Lsn(Lsn(u64::from_be_bytes(fixed(raw)?)))),
        Type::DATE => |raw| Ok(Value::Text(calendar::date(i32::from_be_bytes(fixed(raw)?)))),
        Type::TIME => |raw| Ok(Value::Text(calendar::time(i64::from_be_bytes(fixed(raw)?)))),
        Type::TIMETZ => |raw| {
            let (micros, zone) = raw.split_at_checked(8).ok_or("a timetz of wrong length")?;
            Ok(Value::Text(calendar::time_with_zone(
                i64::from_be_bytes(fixed(micros)?),
                i32::from_be_bytes(fixed(zone)?),
            )))
        },
        Type::TIMESTAMP => |raw| Ok(Value::Text(calendar::timestamp(i64::from_be_bytes(fixed(raw)?), ""))),
        Type::TIMESTAMPTZ => |raw| Ok(Value::Text(calendar::timestamp(i64::from_be_bytes(fixed(raw)?), "Z"))),
        Type::INTERVAL => |raw| {
            let raw: [u8; 16] = fixed(raw)?;
            let part = |from: usize| i32::from_be_bytes([raw[from], raw[from + 1], raw[from + 2], raw[from + 3]]);
            let micros = i64::from_be_bytes(fixed(&raw[..8])?);
            Ok(Value::Text(calendar::interval(micros, part(8), part(12))))
        },
        Type::INET | Type::CIDR => inet,
        Type::MACADDR | Type::MACADDR8 => |raw| {
            let pairs: Vec<String> = raw.iter().map(|byte| format!("{byte:02x}")).collect();
            Ok(Value::Text(pairs.join(":")))
        },
        // An extension's type: its `send` function is textsend.
        _ if ty.name() == "citext" => text,
        _ => return None,
    })
}

fn fixed<const N: usize>(raw: &[u8]) -> Result<[u8; N], Broken> {
    raw.try_into().map_err(|_| format!("got {} bytes, wanted {N}", raw.len()))
}

fn text(raw: &[u8]) -> Result<Value, Broken> {
    // Sessions ask for UTF-8; a database in SQL_ASCII sends whatever was stored.
    let text = std::str::from_utf8(raw).map_err(|_| "the text is not valid UTF-8")?;
    Ok(Value::from(text))
}

fn json(raw: &[u8]) -> Result<Value, Broken> {
    let json = serde_json::from_slice(raw).map_err(|error| format!("the JSON cannot be held: {error}"))?;
    Ok(Value::from_plain_json(&json))
}

/// The same digits that PostgreSQL prints for a `float4`: `0.1`, not `0.10000000149011612`.
fn widen(narrow: f32) -> f64 {
    narrow.to_string().parse().unwrap_or(f64::from(narrow))
}

/// `numeric_send`: digits in base 10,000, weight of the first, sign, digits after the point. What 28 digits cannot
/// hold, and NaN and the infinities, become the text that PostgreSQL prints.
fn numeric(raw: &[u8]) -> Result<Value, Broken> {
    const NEGATIVE: u16 = 0x4000;
    let mut words = raw.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    let mut next = || words.next().ok_or("a numeric of wrong length");
    let (count, weight, sign, scale) = (next()?, next()?.cast_signed(), next()?, usize::from(next()?));
    match sign {
        0 | NEGATIVE => {}
        0xC000 => return Ok(Value::from("NaN")),
        0xD000 => return Ok(Value::from("Infinity")),
        0xF000 => return Ok(Value::from("-Infinity")),
        other => return Err(format!("a numeric of unknown sign {other:#x}")),
    }
    let digits: Vec<u16> = words.collect();
    if digits.len() != usize::from(count) {
        return Err("a numeric of wrong length".into());
    }
    let at =
        |place: i32| usize::try_from(i32::from(weight) - place).ok().and_then(|i| digits.get(i)).copied().unwrap_or(0);
    let mut shown = String::new();
    for place in (0..=i32::from(weight).max(0)).rev() {
        let _ = write!(shown, "{:04}", at(place));
    }
    let whole = shown.trim_start_matches('0');
    let mut shown = if whole.is_empty() { "0".to_owned() } else { whole.to_owned() };
    if scale > 0 {
        let mut fraction = String::new();
        for place in 1..=scale.div_ceil(4) {
            let _ = write!(fraction, "{:04}", at(-i32::try_from(place).unwrap_or(i32::MAX)));
        }
        shown = format!("{shown}.{}", &fraction[..scale]);
    }
    if sign == NEGATIVE {
        shown.insert(0, '-');
    }
    Ok(Decimal::from_str_exact(&shown).map_or(Value::Text(shown), Value::Decimal))
}

/// `inet_send`: family, bits, is_cidr, length, address.
fn inet(raw: &[u8]) -> Result<Value, Broken> {
    let [_, bits, is_cidr, len, address @ ..] = raw else { return Err("an inet of wrong length".into()) };
    if usize::from(*len) != address.len() {
        return Err("an inet of wrong length".into());
    }
    let (shown, full) = match address.len() {
        4 => (std::net::Ipv4Addr::from(fixed::<4>(address)?).to_string(), 32),
        16 => (std::net::Ipv6Addr::from(fixed::<16>(address)?).to_string(), 128),
        other => return Err(format!("an inet of {other} bytes")),
    };
    Ok(Value::Text(if *is_cidr == 0 && *bits == full { shown } else { format!("{shown}/{bits}") }))
}

/// `array_send`: dimensions, flags, element type, then per dimension length and lower bound, then the elements.
fn array(element: &Type, raw: &[u8]) -> Result<Value, Broken> {
    let mut reader = Reader(raw);
    let dimensions = reader.int()?;
    reader.int()?;
    reader.int()?;
    let mut lengths = Vec::new();
    for _ in 0..dimensions {
        lengths.push(usize::try_from(reader.int()?).map_err(|_| "an array of negative length")?);
        reader.int()?;
    }
    if lengths.is_empty() {
        return Ok(Value::List(Vec::new()));
    }
    nested(element, &lengths, &mut reader)
}

fn nested(element: &Type, lengths: &[usize], reader: &mut Reader<'_>) -> Result<Value, Broken> {
    let Some((len, inner)) = lengths.split_first() else {
        let len = reader.int()?;
        let raw = usize::try_from(len).ok().map(|len| reader.take(len)).transpose()?;
        return value(element, raw);
    };
    (0..*len).map(|_| nested(element, inner, reader)).collect::<Result<Vec<_>, _>>().map(Value::List)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Broken> {
        let (head, tail) = self.0.split_at_checked(len).ok_or("an array that ends too early")?;
        self.0 = tail;
        Ok(head)
    }

    fn int(&mut self) -> Result<i32, Broken> {
        Ok(i32::from_be_bytes(fixed(self.take(4)?)?))
    }
}
