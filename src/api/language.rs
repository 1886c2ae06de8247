//! The language's own functions: parameters, conditions, words for people, texts for SQL.

use rhai::{Array, Dynamic, Engine, FnPtr, ImmutableString, NativeCallContext};

use super::{
    bridge::{self, Script},
    convert,
    function::{Call, Effect, Function, Module},
    operator::Notice,
};
use crate::{
    base::{self, Code, Error, Lsn, Result, Secret, Value, clock, span},
    fail,
};

/// The module without a name.
pub(super) const MODULE: Module = Module {
    name: "",
    doc: "The language's own words.",
    functions: &[
        Function {
            name: "params",
            parameters: "declaration",
            gives: "a map of the run's parameters",
            effect: Effect::Pure,
            doc: "Declares the runbook's parameters and gives their values. The map is read before the runbook runs.",
            example: "let p = params(#{ name: #{ type: \"text\", help: \"a name\", otherwise: \"x\" } });",
            run: |call| Ok(Dynamic::from_map(call.host.params().clone())),
        },
        Function {
            name: "require",
            parameters: "holds, otherwise, [hint]",
            gives: "()",
            effect: Effect::Pure,
            doc: "Ends the run with the sentence `otherwise` unless the condition holds.",
            example: "require(1 < 2, \"numbers are broken\")",
            run: require,
        },
        Function {
            name: "say",
            parameters: "text",
            gives: "()",
            effect: Effect::Pure,
            doc: "Writes a line for the person in charge to standard output.",
            example: "say(`two is ${1 + 1}`)",
            run: say,
        },
        Function {
            name: "table",
            parameters: "rows, [columns]",
            gives: "()",
            effect: Effect::Pure,
            doc: "Writes a list of maps (or of lists) as a table to standard output. `columns` names the entries to show \
                  and their order.",
            example: "table([#{ role: \"app\", sessions: 3 }], [\"role\", \"sessions\"])",
            run: table,
        },
        Function {
            name: "lsn",
            parameters: "text",
            gives: "an lsn",
            effect: Effect::Pure,
            doc: "Reads a write-ahead log position such as 0/16B3748.",
            example: "lsn(\"0/16B3748\") + 1 // => lsn(\"0/16B3749\")",
            run: |call| Ok(Dynamic::from(call.text(0)?.parse::<Lsn>()?)),
        },
        Function {
            name: "ident",
            parameters: "name",
            gives: "a text",
            effect: Effect::Pure,
            doc: "Quotes an SQL identifier; refuses one that PostgreSQL would cut (over 63 bytes).",
            example: "ident(\"Order\") // => `\"Order\"`",
            run: |call| Ok(base::ident::ident(&call.text(0)?)?.into()),
        },
        Function {
            name: "literal",
            parameters: "text",
            gives: "a text",
            effect: Effect::Pure,
            doc: "Quotes an SQL string literal.",
            example: "literal(\"it's\") // => \"'it''s'\"",
            run: |call| Ok(base::ident::literal(&call.text(0)?)?.into()),
        },
        Function {
            name: "major",
            parameters: "version",
            gives: "an int",
            effect: Effect::Pure,
            doc: "The major version in a text such as `17.4`.",
            example: "major(\"15.18\") // => 15",
            run: |call| Ok(major(&call.text(0)?)?.into()),
        },
        Function {
            name: "error_text",
            parameters: "caught",
            gives: "a text",
            effect: Effect::Pure,
            doc: "The sentence of a caught error, whether the script threw a text or the host a map.",
            example: "error_text(\"no\") // => \"no\"",
            run: error_text,
        },
        Function {
            name: "now",
            parameters: "",
            gives: "a text",
            effect: Effect::Reads,
            doc: "The wall clock in UTC (RFC 3339). It stands in a step, so a resumed run sees the same time.",
            example: "now().len() // => 24",
            run: |call| call.wait("reading the clock", &[], async { Ok(clock::now_text().into()) }),
        },
        Function {
            name: "uuid",
            parameters: "",
            gives: "a text",
            effect: Effect::Reads,
            doc: "A new random UUID. It stands in a step, so a resumed run sees the same one.",
            example: "uuid().len() // => 36",
            run: |call| call.wait("drawing a UUID", &[], async { Ok(uuid::Uuid::new_v4().to_string().into()) }),
        },
        Function {
            name: "random_password",
            parameters: "",
            gives: "a secret",
            effect: Effect::Pure,
            doc: "A new password of 40 letters and digits; every system of this field accepts them unquoted.",
            example: "`${random_password()}` // => \"***\"",
            run: |call| {
                let secret = random_password();
                call.host.redactor().learn(&secret);
                Ok(Dynamic::from(secret))
            },
        },
        Function {
            name: "sleep",
            parameters: "duration",
            gives: "()",
            effect: Effect::Reads,
            doc: "Waits. Prefer `poll`, which waits for something.",
            example: "sleep(\"1ms\")",
            run: |call| {
                let duration = call.duration(0)?;
                let doing = format!("sleeping {}", span::duration_text(duration));
                call.wait(&doing, &[], async {
                    clock::sleep(duration).await;
                    Ok(Dynamic::UNIT)
                })
            },
        },
    ],
    methods: &[],
};

/// Functions of Rhai that a runbook lacks, and why.
const ABSENT: [(&str, &str); 3] = [
    ("eval", "what a runbook does must be known before it runs"),
    ("timestamp", "a resumed run would see another time: `now()` in a step is kept"),
    ("exit", "a run that ends in the middle would count as done: `return` ends a function, `require` the run"),
];

/// Closes the built-in functions that wait deafly, hide calls or end the run. Calls by name (`Fn("exit")`) reach them
/// too.
pub(super) fn register_replacements(engine: &mut Engine) {
    engine.disable_symbol("eval");
    engine.register_fn("timestamp", || -> Script<()> { Err(absent("timestamp")) });
    engine.register_fn("exit", || -> Script<()> { Err(absent("exit")) });
    engine.register_fn("exit", |_: Dynamic| -> Script<()> { Err(absent("exit")) });
    // Rhai's own hands an element to a module's closure as `this`, and its place in the list as the parameter.
    for (name, backwards) in [("reduce", false), ("reduce_rev", true)] {
        engine.register_fn(name, move |context: NativeCallContext, items: &mut Array, closure: FnPtr| {
            fold(&context, items, &closure, Dynamic::UNIT, backwards)
        });
        let with = move |context: NativeCallContext, items: &mut Array, closure: FnPtr, first: Dynamic| {
            fold(&context, items, &closure, first, backwards)
        };
        engine.register_fn(name, with);
    }
    engine.register_fn("sleep", |_: i64| -> Script<()> { Err(unit_missing()) });
    engine.register_fn("sleep", |_: f64| -> Script<()> { Err(unit_missing()) });
}

/// Calls `closure` with what it gave before, at first `value`, and each item: what it gives last.
fn fold(
    context: &NativeCallContext,
    items: &[Dynamic],
    closure: &FnPtr,
    value: Dynamic,
    backwards: bool,
) -> Script<Dynamic> {
    let mut step = |value: Dynamic, item: &Dynamic| closure.call_within_context(context, (value, item.clone()));
    match backwards {
        false => items.iter().try_fold(value, &mut step),
        true => items.iter().rev().try_fold(value, &mut step),
    }
}

/// The error of a call of something that a runbook lacks.
#[must_use]
pub fn absence(name: &str) -> Option<Error> {
    let (name, why) = ABSENT.iter().find(|(absent, _)| *absent == name)?;
    Some(fail!(Code::ScriptSyntax, "a runbook has no `{name}`: {why}"))
}

fn absent(name: &str) -> bridge::Raised {
    let error = absence(name).unwrap_or_else(|| fail!(Code::ScriptSyntax, "a runbook has no `{name}`"));
    bridge::halt(error, rhai::Position::NONE)
}

fn unit_missing() -> bridge::Raised {
    let error = fail!(Code::ScriptError, "`sleep` wants a duration with its unit");
    bridge::raise(error.hint("sleep(\"10s\")"), None, rhai::Position::NONE)
}

fn require(call: &Call) -> Result<Dynamic> {
    let holds: bool = call.handle(0, "true or false")?;
    let otherwise = call.text(1)?;
    if holds {
        return Ok(Dynamic::UNIT);
    }
    let error = fail!(Code::RequireFailed, "{otherwise}");
    Err(if call.has(2) { error.hint(call.text(2)?) } else { error })
}

fn say(call: &Call) -> Result<Dynamic> {
    let said = call.argument(0);
    let text = match said.clone().try_cast::<ImmutableString>() {
        Some(text) => text.to_string(),
        None => plain(&call.value(0)?),
    };
    call.host.tell(Notice::Said(text));
    Ok(Dynamic::UNIT)
}

fn table(call: &Call) -> Result<Dynamic> {
    let rows = call.list(0)?;
    let mut lines: Vec<Vec<String>> = vec![];
    let mut columns = call.texts(1)?;
    let given = columns.len();
    for row in rows.iter().filter(|_| given == 0) {
        for key in row.as_map().into_iter().flat_map(base::Map::keys) {
            if !columns.contains(key) {
                columns.push(key.clone());
            }
        }
    }
    if !columns.is_empty() {
        lines.push(columns.clone());
    }
    for row in &rows {
        lines.push(match row {
            Value::Map(map) => columns.iter().map(|key| map.get(key).map_or_else(String::new, plain)).collect(),
            Value::List(cells) => cells.iter().map(plain).collect(),
            other => vec![plain(other)],
        });
    }
    call.host.tell(Notice::Table(lines));
    Ok(Dynamic::UNIT)
}

/// A value as people read it.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Text(text) => text.clone(),
        Value::Bool(b) => b.to_string(),
        Value::Int(n) => n.to_string(),
        Value::Float(f) => f.to_string(),
        Value::Decimal(d) => d.to_string(),
        Value::Lsn(lsn) => lsn.to_string(),
        Value::List(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_json().to_string(),
    }
}

fn error_text(call: &Call) -> Result<Dynamic> {
    let caught = call.argument(0);
    let message = caught.clone().try_cast::<rhai::Map>().and_then(|map| map.get("message").cloned());
    let said = message.unwrap_or(caught);
    // A script may throw anything, secrets included.
    let text = convert::to_value(&said, "").map_or_else(|_| convert::a_type(&said), |value| plain(&value));
    Ok(text.into())
}

pub(super) fn major(version: &str) -> Result<i64> {
    let digits = version.split('.').next().unwrap_or_default();
    digits.parse().map_err(|_| fail!(Code::ValueGuard, "got the version {version:?}, wanted one such as 17.4"))
}

/// 40 letters and digits, about 238 bits.
pub(super) fn random_password() -> Secret {
    use rand::Rng;
    let password: String = rand::rng().sample_iter(rand::distr::Alphanumeric).take(40).map(char::from).collect();
    Secret::new(password)
}
