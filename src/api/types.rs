//! The values with guards: an `Lsn` is compared with LSNs only, a `Secret` never becomes text, and what has no order is
//! not ordered.

use std::cmp::Ordering;

use rhai::{Dynamic, Engine, ImmutableString, Position};
use rust_decimal::Decimal;

use super::{
    bridge::{self, Script},
    convert::a_type,
};
use crate::{
    base::{Code, Error, Lsn, Secret, secret::MASK},
    fail,
};

/// Teaches the engine the guarded types.
pub(super) fn register(engine: &mut Engine) {
    register_lsn(engine);
    register_secret(engine);
    register_order(engine);
}

const EQUALITIES: [&str; 2] = ["==", "!="];
const ORDERS: [&str; 4] = ["<", "<=", ">", ">="];

fn register_lsn(engine: &mut Engine) {
    engine.register_type_with_name::<Lsn>("Lsn");
    engine.register_fn("to_string", |lsn: &mut Lsn| lsn.to_string());
    engine.register_fn("to_debug", |lsn: &mut Lsn| lsn.to_string());
    engine.register_fn("+", |lsn: Lsn, bytes: i64| Lsn(lsn.0.saturating_add_signed(bytes)));
    engine.register_fn("-", |lsn: Lsn, bytes: i64| Lsn(lsn.0.saturating_add_signed(bytes.saturating_neg())));
    engine.register_fn("-", |a: Lsn, b: Lsn| -> Script<i64> {
        let distance = i128::from(a.0) - i128::from(b.0);
        i64::try_from(distance).map_err(|_| raise(fail!(Code::ValueGuard, "the LSNs lie too far apart")))
    });
    engine.register_fn("max", |a: Lsn, b: Lsn| a.max(b));
    engine.register_fn("min", |a: Lsn, b: Lsn| a.min(b));
    engine.register_fn("==", |a: Lsn, b: Lsn| a == b);
    engine.register_fn("!=", |a: Lsn, b: Lsn| a != b);
    engine.register_fn("<", |a: Lsn, b: Lsn| a < b);
    engine.register_fn("<=", |a: Lsn, b: Lsn| a <= b);
    engine.register_fn(">", |a: Lsn, b: Lsn| a > b);
    engine.register_fn(">=", |a: Lsn, b: Lsn| a >= b);
    // Rhai finds every comparison of different types false, without a word. An exact overload above still wins.
    for operator in EQUALITIES.into_iter().chain(ORDERS) {
        engine.register_fn(operator, move |_: Lsn, other: Dynamic| mixed("an lsn", operator, &other));
        engine.register_fn(operator, move |other: Dynamic, _: Lsn| mixed("an lsn", operator, &other));
    }
}

fn mixed(what: &str, operator: &str, other: &Dynamic) -> Script<bool> {
    let other = a_type(other);
    let error = fail!(Code::ValueGuard, "{what} cannot be compared with {other} (`{operator}`)");
    Err(raise(error.hint("make it an lsn first: lsn(\"0/16B3748\")")))
}

/// Which of two is the larger has an answer between numbers and between texts; elsewhere Rhai says false. SQL's
/// `numeric` is a decimal and a literal with a point is a float: Rhai does not compare these two at all.
fn register_order(engine: &mut Engine) {
    // Else the built-in "false" comes first.
    engine.set_fast_operators(false);
    for operator in ORDERS {
        engine.register_fn(operator, move |a: Dynamic, b: Dynamic| -> Script<bool> {
            Ok(order(&a, &b, operator)?.is_some_and(|order| holds(operator, order)))
        });
    }
    for operator in EQUALITIES {
        engine.register_fn(operator, move |a: Decimal, b: f64| -> Script<bool> {
            Ok(holds(operator, a.cmp(&exact(b)?)))
        });
        engine.register_fn(operator, move |a: f64, b: Decimal| -> Script<bool> {
            Ok(holds(operator, exact(a)?.cmp(&b)))
        });
    }
}

/// How two values are ordered; none where one is no number at all.
fn order(a: &Dynamic, b: &Dynamic, operator: &str) -> Script<Option<Ordering>> {
    let numbers = (Number::of(a), Number::of(b));
    if let (Some(a), Some(b)) = numbers {
        return match (a, b) {
            (Number::Int(a), Number::Int(b)) => Ok(Some(a.cmp(&b))),
            (Number::Decimal(a), b) => Ok(Some(a.cmp(&b.decimal()?))),
            (a, Number::Decimal(b)) => Ok(Some(a.decimal()?.cmp(&b))),
            (a, b) => Ok(a.float().partial_cmp(&b.float())),
        };
    }
    let text = |value: &Dynamic| {
        let text = value.clone().try_cast::<ImmutableString>();
        text.or_else(|| value.as_char().ok().map(|char| char.to_string().into()))
    };
    if let (Some(a), Some(b)) = (text(a), text(b)) {
        return Ok(Some(a.cmp(&b)));
    }
    let (a, b) = (a_type(a), a_type(b));
    let error = fail!(Code::ValueGuard, "{a} cannot be compared with {b} (`{operator}`)");
    Err(raise(error.hint("convert one of them first, for example with parse_int(..) or major(..)")))
}

enum Number {
    Int(i64),
    Float(f64),
    Decimal(Decimal),
}

impl Number {
    fn of(value: &Dynamic) -> Option<Self> {
        let decimal = || value.clone().try_cast::<Decimal>().map(Self::Decimal);
        value.as_int().map(Self::Int).or_else(|_| value.as_float().map(Self::Float)).ok().or_else(decimal)
    }

    #[expect(clippy::cast_precision_loss, reason = "as Rhai itself compares an int with a float")]
    fn float(&self) -> f64 {
        match self {
            Self::Int(number) => *number as f64,
            Self::Float(number) => *number,
            Self::Decimal(_) => f64::NAN,
        }
    }

    fn decimal(&self) -> Script<Decimal> {
        match self {
            Self::Int(number) => Ok((*number).into()),
            Self::Float(number) => exact(*number),
            Self::Decimal(number) => Ok(*number),
        }
    }
}

fn holds(operator: &str, ordering: Ordering) -> bool {
    match operator {
        "==" => ordering.is_eq(),
        "!=" => ordering.is_ne(),
        "<" => ordering.is_lt(),
        "<=" => ordering.is_le(),
        ">" => ordering.is_gt(),
        _ => ordering.is_ge(),
    }
}

fn exact(float: f64) -> Script<Decimal> {
    let wrong = |_| raise(fail!(Code::ValueGuard, "the number {float} cannot be compared with a decimal"));
    Decimal::try_from(float).map_err(wrong)
}

fn register_secret(engine: &mut Engine) {
    engine.register_type_with_name::<Secret>("Secret");
    engine.register_fn("to_string", |_: &mut Secret| MASK.to_owned());
    engine.register_fn("to_debug", |_: &mut Secret| MASK.to_owned());
    engine.register_fn("print", |_: &mut Secret| MASK.to_owned());
    engine.register_fn("debug", |_: &mut Secret| MASK.to_owned());
    // Rhai's own text + anything comes before text + Dynamic.
    engine.register_fn("+", |_: &str, _: Secret| -> Script<String> { Err(raise(joined())) });
    engine.register_fn("+", |_: Secret, _: &str| -> Script<String> { Err(raise(joined())) });
    engine.register_fn("+", |_: Secret, _: Secret| -> Script<String> { Err(raise(joined())) });
    engine.register_fn("+", |_: Dynamic, _: Secret| -> Script<String> { Err(raise(joined())) });
    engine.register_fn("+", |_: Secret, _: Dynamic| -> Script<String> { Err(raise(joined())) });
    engine.register_fn("+=", |_: &mut rhai::ImmutableString, _: Secret| -> Script<()> { Err(raise(joined())) });
    engine.register_fn("==", |a: Secret, b: Secret| a == b);
    engine.register_fn("!=", |a: Secret, b: Secret| a != b);
    for operator in EQUALITIES {
        engine.register_fn(operator, move |_: Secret, other: Dynamic| unlike(operator, &other));
        engine.register_fn(operator, move |other: Dynamic, _: Secret| unlike(operator, &other));
    }
    engine.register_fn("to_json", |_: &mut Secret| -> Script<String> { Err(raise(joined())) });
    // Rhai's own `to_json` writes a custom type's name as text; ours is strict and knows LSNs.
    engine.register_fn("to_json", |map: &mut rhai::Map| -> Script<String> { to_json(&Dynamic::from_map(map.clone())) });
    engine.register_fn("to_json", |list: &mut rhai::Array| -> Script<String> { to_json(&list.clone().into()) });
}

fn to_json(value: &Dynamic) -> Script<String> {
    super::convert::to_value(value, "the value").map(|value| value.to_json().to_string()).map_err(raise)
}

/// A secret is there or not; what it is cannot be asked.
fn unlike(operator: &str, other: &Dynamic) -> Script<bool> {
    if other.is_unit() {
        return Ok(operator == "!=");
    }
    let other = a_type(other);
    Err(raise(fail!(Code::SecretGuard, "a secret cannot be compared with {other} (`{operator}`)")))
}

fn joined() -> Error {
    fail!(Code::SecretGuard, "a secret cannot become part of a text")
        .hint("pass the secret itself: functions that need one take it as it is")
}

fn raise(error: Error) -> bridge::Raised {
    bridge::raise(error, None, Position::NONE)
}
