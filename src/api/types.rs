//! The values with guards: an `Lsn` is compared with LSNs only, a `Secret` never becomes text.

use rhai::{Dynamic, Engine, Position};

use super::{
    bridge::{self, Script},
    convert::type_word,
};
use crate::{
    base::{Code, Error, Lsn, Secret, secret::MASK},
    fail,
};

/// Teaches the engine the guarded types.
pub(super) fn register(engine: &mut Engine) {
    register_lsn(engine);
    register_secret(engine);
}

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
    for operator in ["==", "!=", "<", "<=", ">", ">="] {
        engine.register_fn(operator, move |_: Lsn, other: Dynamic| mixed("an lsn", operator, &other));
        engine.register_fn(operator, move |other: Dynamic, _: Lsn| mixed("an lsn", operator, &other));
    }
}

fn mixed(what: &str, operator: &str, other: &Dynamic) -> Script<bool> {
    let other = type_word(other);
    let error = fail!(Code::ValueGuard, "{what} cannot be compared with a {other} (`{operator}`)");
    Err(raise(error.hint("make it an lsn first: lsn(\"0/16B3748\")")))
}

fn register_secret(engine: &mut Engine) {
    engine.register_type_with_name::<Secret>("Secret");
    engine.register_fn("to_string", |_: &mut Secret| MASK.to_owned());
    engine.register_fn("to_debug", |_: &mut Secret| MASK.to_owned());
    engine.register_fn("print", |_: &mut Secret| MASK.to_owned());
    engine.register_fn("debug", |_: &mut Secret| MASK.to_owned());
    engine.register_fn("+", |_: &str, _: Secret| -> Script<String> { Err(raise(joined())) });
    engine.register_fn("+", |_: Secret, _: &str| -> Script<String> { Err(raise(joined())) });
    engine.register_fn("+=", |_: &mut rhai::ImmutableString, _: Secret| -> Script<()> { Err(raise(joined())) });
    engine.register_fn("to_json", |_: &mut Secret| -> Script<String> { Err(raise(joined())) });
    // Rhai's own `to_json` writes a custom type's name as text; ours is strict and knows LSNs.
    engine.register_fn("to_json", |map: &mut rhai::Map| -> Script<String> { to_json(&Dynamic::from_map(map.clone())) });
    engine.register_fn("to_json", |list: &mut rhai::Array| -> Script<String> { to_json(&list.clone().into()) });
}

fn to_json(value: &Dynamic) -> Script<String> {
    super::convert::to_value(value, "the value").map(|value| value.to_json().to_string()).map_err(raise)
}

fn joined() -> Error {
    fail!(Code::SecretGuard, "a secret cannot become part of a text")
        .hint("pass the secret itself: functions that need one take it as it is")
}

fn raise(error: Error) -> bridge::Raised {
    bridge::raise(error, None, Position::NONE)
}
