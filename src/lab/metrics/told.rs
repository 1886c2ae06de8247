//! The three protocols of CloudWatch: CBOR (`smithy-rpc-v2-cbor`, which SDKs take first), AWS JSON and AWS Query. A
//! request becomes one tree whichever it came by, and an answer is one tree that each of them writes.

use ciborium::Value as Cbor;
use serde_json::{Map, Value, json};

use crate::{
    base::clock,
    lab::{
        refusal::{Outcome, Refusal},
        xml::{self, Element},
    },
};

/// Which protocol a call came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Cbor,
    Json,
    Query,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Told {
    Map(Vec<(&'static str, Told)>),
    List(Vec<Told>),
    Text(String),
    Number(f64),
    /// Milliseconds since 1970.
    Time(u64),
}

/// CBOR's tag of a time in seconds since 1970 (RFC 8949, 3.4.2).
const EPOCH: u64 = 1;

impl Told {
    pub(crate) fn map<const N: usize>(members: [(&'static str, Told); N]) -> Self {
        Self::Map(members.into())
    }

    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    fn cbor(self) -> Cbor {
        match self {
            Self::Map(members) => Cbor::Map(members.into_iter().map(|(name, one)| (name.into(), one.cbor())).collect()),
            Self::List(items) => Cbor::Array(items.into_iter().map(Self::cbor).collect()),
            Self::Text(text) => Cbor::Text(text),
            Self::Number(number) => Cbor::Float(number),
            // A float, as CloudWatch writes it: the SDK for Rust reads no whole number here.
            #[expect(clippy::cast_precision_loss, reason = "seconds of this age fit")]
            Self::Time(ms) => Cbor::Tag(EPOCH, Box::new(Cbor::Float((ms / 1000) as f64))),
        }
    }

    fn json(self) -> Value {
        match self {
            Self::Map(members) => members.into_iter().map(|(name, one)| (name.to_owned(), one.json())).collect(),
            Self::List(items) => items.into_iter().map(Self::json).collect(),
            Self::Text(text) => json!(text),
            Self::Number(number) => json!(number),
            Self::Time(ms) => json!(ms / 1000),
        }
    }

    fn element(self, name: &str) -> Element {
        let element = Element::new(name);
        match self {
            Self::Map(members) => members.into_iter().fold(element, |all, (name, one)| all.child(one.element(name))),
            Self::List(items) => items.into_iter().fold(element, |all, one| all.child(one.element("member"))),
            Self::Text(text) => element.value(text),
            Self::Number(number) => element.value(number),
            Self::Time(ms) => element.value(clock::text_of_ms(ms / 1000 * 1000)),
        }
    }
}

impl Protocol {
    /// The content type of answers.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Cbor => "application/cbor",
            Self::Json => "application/x-amz-json-1.0",
            Self::Query => "text/xml",
        }
    }

    /// Reads a request.
    pub(crate) fn read(self, body: &[u8]) -> Outcome<Value> {
        let wrong = |what: String| Refusal::new("SerializationException", what);
        match self {
            _ if body.is_empty() => Ok(json!({})),
            Self::Cbor => ciborium::from_reader(body).map(plain).map_err(|error| wrong(error.to_string())),
            Self::Json => serde_json::from_slice(body).map_err(|error| wrong(error.to_string())),
            Self::Query => Ok(tree(body)),
        }
    }

    /// Writes an answer.
    pub(crate) fn write(self, action: &str, told: Told, request_id: &str) -> Vec<u8> {
        match self {
            Self::Cbor => bytes(&told.cbor()),
            Self::Json => told.json().to_string().into_bytes(),
            Self::Query => xml::answer(action, Some(told.element("Result")), request_id).into_bytes(),
        }
    }

    /// Writes a refusal.
    pub(crate) fn refuse(self, refusal: &Refusal, request_id: &str) -> Vec<u8> {
        let told = || Told::map([("__type", Told::text(refusal.code)), ("message", Told::text(&refusal.message))]);
        match self {
            Self::Query => xml::refusal(refusal, request_id).into_bytes(),
            other => other.write("", told(), request_id),
        }
    }
}

fn bytes(value: &Cbor) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Err(error) = ciborium::into_writer(value, &mut bytes) {
        tracing::error!(%error, "an answer was not written");
    }
    bytes
}

/// CBOR as JSON has it; what JSON has not is of no use in a request.
fn plain(value: Cbor) -> Value {
    match value {
        Cbor::Integer(number) => i64::try_from(number).map_or(Value::Null, Value::from),
        Cbor::Float(number) => json!(number),
        Cbor::Text(text) => json!(text),
        Cbor::Bool(is) => json!(is),
        Cbor::Tag(_, value) => plain(*value),
        Cbor::Array(items) => items.into_iter().map(plain).collect(),
        Cbor::Map(members) => {
            let named = members.into_iter().filter_map(|(name, one)| Some((name.into_text().ok()?, plain(one))));
            Value::Object(named.collect())
        }
        _ => Value::Null,
    }
}

/// The fields of a form as a tree: `A.member.1.B=x` is `{"A": [{"B": "x"}]}`.
fn tree(body: &[u8]) -> Value {
    let mut root = Value::Object(Map::new());
    for (key, text) in form_urlencoded::parse(body) {
        let place = key.split('.').fold(&mut root, |place, part| {
            if !place.is_object() {
                *place = Value::Object(Map::new());
            }
            &mut place[part]
        });
        *place = json!(text);
    }
    lists(root)
}

fn lists(value: Value) -> Value {
    let Value::Object(mut members) = value else { return value };
    match members.remove("member") {
        Some(Value::Object(items)) => {
            let mut items: Vec<(u32, Value)> =
                items.into_iter().filter_map(|(number, one)| Some((number.parse().ok()?, lists(one)))).collect();
            items.sort_by_key(|(number, _)| *number);
            items.into_iter().map(|(_, one)| one).collect()
        }
        _ => members.into_iter().map(|(name, one)| (name, lists(one))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Protocol, Told, bytes};

    #[test]
    fn one_request_by_three_protocols() {
        let wanted = json!({ "StartTime": 5, "Dimensions": [{ "Name": "n" }] });
        let json = Protocol::Json.read(wanted.to_string().as_bytes()).unwrap();
        let dimension = Told::List(vec![Told::map([("Name", Told::text("n"))])]);
        let cbor = bytes(&Told::map([("StartTime", Told::Time(5000)), ("Dimensions", dimension)]).cbor());
        let seconds = json!({ "StartTime": 5.0, "Dimensions": [{ "Name": "n" }] });
        assert_eq!((json, Protocol::Cbor.read(&cbor).unwrap()), (wanted, seconds));
        let query = Protocol::Query.read(b"StartTime=5&Dimensions.member.2.Name=m&Dimensions.member.1.Name=n").unwrap();
        assert_eq!(query, json!({ "StartTime": "5", "Dimensions": [{ "Name": "n" }, { "Name": "m" }] }));
        assert!(Protocol::Cbor.read(b"\xff").is_err());
    }
}
