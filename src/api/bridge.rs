//! Host errors as script errors and back. Besides the script diagnostics the only file that knows Rhai's error type.
//!
//! A script may catch most errors: they are maps with `code message hint sqlstate aws_code request_id source line`.
//! It may not catch a *halt*: cancelled, refused, paused, a journal that cannot be written, a phase out of time.

use rhai::{Dynamic, EvalAltResult, ImmutableString, Map, ParseError, Position};

use super::convert;
use crate::base::{Code, Error, Kind};

/// An error on its way through the script.
pub type Raised = Box<EvalAltResult>;

/// The result of anything that a script calls.
pub type Script<T> = Result<T, Raised>;

/// An error that no script can catch.
#[derive(Clone)]
struct Halt(Error);

/// The keys of an error's map that are not facts of the error.
const OWN_KEYS: [&str; 6] = ["code", "message", "hint", "unknown", "source", "line"];

/// How a block of script ended.
pub enum Ended {
    /// With its value, by its end or by `return`.
    Value(Dynamic),
    /// With `break` or `continue` out of the block.
    Broke(Position),
    /// With an error.
    Raised(Raised),
}

/// Sorts the ways in which a block can end; `return` gives the block its value.
#[must_use]
pub fn settle(result: Script<Dynamic>) -> Ended {
    match result {
        Ok(value) => Ended::Value(value),
        Err(raised) => match *raised {
            EvalAltResult::Return(value, _) => Ended::Value(value),
            EvalAltResult::LoopBreak(_, _, at) => Ended::Broke(at),
            other => Ended::Raised(Box::new(other)),
        },
    }
}

/// Raises an error at a place of the script. Errors that no script may survive become halts by themselves.
#[must_use]
pub fn raise(error: Error, source: Option<&str>, at: Position) -> Raised {
    if is_final(&error) {
        return halt(error, at);
    }
    let line = at.line().and_then(|line| i64::try_from(line).ok());
    Box::new(EvalAltResult::ErrorRuntime(caught_map(&error, source, line).into(), at))
}

/// True for an error that no script may survive.
#[must_use]
pub fn is_final(error: &Error) -> bool {
    let stops = matches!(error.code().kind(), Kind::Refused | Kind::Paused | Kind::Stopped);
    stops || is_phase_limit(error) || matches!(error.code(), Code::JournalWrite | Code::Declined | Code::Internal)
}

/// What a script's `catch` gets.
fn caught_map(error: &Error, source: Option<&str>, line: Option<i64>) -> Map {
    let mut map = Map::new();
    map.insert("code".into(), error.code().name().into());
    map.insert("message".into(), error.message().into());
    map.insert("hint".into(), error.hint_text().map_or(Dynamic::UNIT, Into::into));
    map.insert("unknown".into(), error.is_unknown().into());
    map.insert("source".into(), source.map_or(Dynamic::UNIT, Into::into));
    map.insert("line".into(), line.map_or(Dynamic::UNIT, Into::into));
    // Asking a map for a key that it lacks is an error, so the facts that scripts ask for are always there.
    for name in ["sqlstate", "aws_code", "request_id"] {
        map.insert(name.into(), Dynamic::UNIT);
    }
    for (name, fact) in error.details() {
        if OWN_KEYS.contains(&name.as_ref()) {
            continue;
        }
        // A map has each name once, an error may tell several things of one name.
        let before = map.get(name.as_ref()).and_then(|before| before.clone().into_string().ok());
        let all = before.map_or_else(|| fact.clone(), |before| format!("{before}; {fact}"));
        map.insert(name.as_ref().into(), all.into());
    }
    map
}

/// What a `catch` around a raised error gets.
pub enum Thrown {
    /// The map of one of pgrun's errors, and where it was raised first: source and line.
    Ours(Option<(String, i64)>),
    /// A value of the script's own.
    Own(Dynamic),
}

/// What a `catch` around the raised error gets; nothing where no script can catch it.
#[must_use]
pub fn thrown(raised: &EvalAltResult) -> Option<Thrown> {
    let EvalAltResult::ErrorRuntime(value, _) = innermost(raised) else { return None };
    let place = place_of(value);
    let (source, line) = place.clone().unzip();
    let ours = caught_map(&thrown_facts(value), source.as_deref(), line);
    let plain = |value: &Dynamic| convert::to_value(value, "").ok();
    let is_ours = value.is_map() && plain(value) == plain(&Dynamic::from_map(ours));
    Some(if is_ours { Thrown::Ours(place) } else { Thrown::Own(value.clone()) })
}

/// Raises again what a script threw.
#[must_use]
pub fn throw(value: Dynamic, at: Position) -> Raised {
    Box::new(EvalAltResult::ErrorRuntime(value, at))
}

/// Raises an error again that was raised at another place first.
#[must_use]
pub fn raise_from(error: Error, place: &(String, i64), at: Position) -> Raised {
    if is_final(&error) {
        return halt(error, at);
    }
    throw(caught_map(&error, Some(&place.0), Some(place.1)).into(), at)
}

fn place_of(thrown: &Dynamic) -> Option<(String, i64)> {
    let map = thrown.read_lock::<Map>()?;
    let source = map.get("source")?.clone().try_cast::<ImmutableString>()?;
    Some((source.to_string(), map.get("line")?.as_int().ok()?))
}

/// The same error, as the map of pgrun where it was one of Rhai's own: a `catch` then gets the same on every run.
#[must_use]
pub fn in_our_words(raised: Raised, source: Option<&str>) -> Raised {
    if is_halt(&raised) || matches!(innermost(&raised), EvalAltResult::ErrorRuntime(..)) {
        return raised;
    }
    // The place of the innermost error belongs to the file of the innermost call.
    let source = innermost_source(&raised).or(source.map(str::to_owned));
    rebuild(raised, &|inner| raise(facts(&inner), source.as_deref(), inner.position()))
}

fn innermost_source(raised: &EvalAltResult) -> Option<String> {
    match raised {
        EvalAltResult::ErrorInFunctionCall(_, source, inner, _) => {
            innermost_source(inner).or_else(|| (!source.is_empty()).then(|| source.clone()))
        }
        EvalAltResult::ErrorInModule(name, inner, _) => innermost_source(inner).or_else(|| Some(name.clone())),
        _ => None,
    }
}

/// The same chain of calls and modules over another innermost error.
#[expect(clippy::boxed_local, reason = "Rhai hands errors around in boxes, and the chain is rebuilt from them")]
fn rebuild(raised: Raised, inner_most: &dyn Fn(Raised) -> Raised) -> Raised {
    match *raised {
        EvalAltResult::ErrorInFunctionCall(name, source, inner, at) => {
            Box::new(EvalAltResult::ErrorInFunctionCall(name, source, rebuild(inner, inner_most), at))
        }
        EvalAltResult::ErrorInModule(name, inner, at) => {
            Box::new(EvalAltResult::ErrorInModule(name, rebuild(inner, inner_most), at))
        }
        other => inner_most(Box::new(other)),
    }
}

/// In a timeout's facts: the deadline that passed was a phase's, so the script cannot catch the error.
pub const PHASE_LIMIT: (&str, &str) = ("limit", "phase");

/// True for a timeout of a phase.
#[must_use]
pub fn is_phase_limit(error: &Error) -> bool {
    error.fact(PHASE_LIMIT.0) == Some(PHASE_LIMIT.1)
}

/// Where an error was raised first, if the script threw it again since: source and line.
#[must_use]
pub fn first_place(raised: &EvalAltResult) -> Option<(String, u16)> {
    let EvalAltResult::ErrorRuntime(thrown, _) = raised else { return None };
    let (source, line) = place_of(thrown)?;
    Some((source, u16::try_from(line).ok()?))
}

/// Raises an error that no script can catch.
#[must_use]
pub fn halt(error: Error, at: Position) -> Raised {
    Box::new(EvalAltResult::ErrorTerminated(halt_token(error), at))
}

/// What ends a script from outside (`Engine::on_progress`).
pub fn halt_token(error: Error) -> Dynamic {
    Dynamic::from(Halt(error))
}

/// True when no script can catch it.
#[must_use]
pub fn is_halt(raised: &EvalAltResult) -> bool {
    matches!(innermost(raised), EvalAltResult::ErrorTerminated(..))
}

/// The facts behind a raised error; the call chain is read by the diagnostics.
#[must_use]
pub fn facts(raised: &EvalAltResult) -> Error {
    match innermost(raised) {
        EvalAltResult::ErrorTerminated(token, _) => match token.clone().try_cast::<Halt>() {
            Some(Halt(error)) => error,
            None => Error::new(Code::Cancelled, "the script was stopped"),
        },
        EvalAltResult::ErrorRuntime(thrown, _) => thrown_facts(thrown),
        EvalAltResult::ErrorParsing(kind, _) => Error::new(Code::ScriptSyntax, lower_first(&kind.to_string())),
        EvalAltResult::ErrorModuleNotFound(name, _) => {
            Error::new(Code::ScriptSyntax, format!("there is no module `{name}`"))
        }
        EvalAltResult::ErrorFunctionNotFound(signature, _) => {
            Error::new(Code::ScriptError, format!("there is no function `{}`", signature.trim_end()))
                .hint("run `pgrun check` on the runbook: it names unknown functions before anything runs")
        }
        EvalAltResult::ErrorDataRace(..) => {
            Error::new(Code::ScriptError, "a closure uses the variable whose method calls it")
                .hint("copy the variable first: let copy = list; list.map(|x| copy.len())")
        }
        other => {
            let mut text = other.to_string();
            if let Some(end) = text.rfind(" (line ") {
                text.truncate(end);
            }
            Error::new(Code::ScriptError, lower_first(&text))
        }
    }
}

/// The facts of a text that Rhai cannot read.
#[must_use]
pub fn parse_facts(error: ParseError) -> Error {
    facts(&error.into())
}

/// The error below all calls and modules.
pub fn innermost(raised: &EvalAltResult) -> &EvalAltResult {
    match raised {
        EvalAltResult::ErrorInFunctionCall(_, _, inner, _) | EvalAltResult::ErrorInModule(_, inner, _) => {
            innermost(inner)
        }
        other => other,
    }
}

fn thrown_facts(thrown: &Dynamic) -> Error {
    let Some(map) = thrown.read_lock::<Map>() else {
        let text = match thrown.clone().try_cast::<ImmutableString>() {
            Some(text) => text.to_string(),
            None => convert::to_value(thrown, "").map_or_else(
                |_| format!("the script threw {}", convert::a_type(thrown)),
                |value| value.to_json().to_string(),
            ),
        };
        return Error::new(Code::ScriptError, text);
    };
    let text = |name: &str| map.get(name).and_then(|d| d.clone().try_cast::<ImmutableString>());
    let code = text("code").and_then(|name| Code::named(&name)).unwrap_or(Code::ScriptError);
    let message = text("message").unwrap_or_else(|| "the script threw a map without a `message`".into());
    let mut error = Error::new(code, message.as_str());
    if let Some(hint) = text("hint") {
        error = error.hint(hint.as_str());
    }
    for name in map.keys().filter(|name| !OWN_KEYS.contains(&name.as_str())) {
        if let Some(fact) = text(name) {
            error = error.detail(name.to_string(), fact.as_str());
        }
    }
    let unknown = map.get("unknown").and_then(|d| d.as_bool().ok()).unwrap_or(false);
    if unknown { error.unknown() } else { error }
}

fn lower_first(text: &str) -> String {
    let text = text.strip_prefix("Syntax error: ").unwrap_or(text);
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

/// Ends the replay of a phase that is only run to rebuild its undo clauses.
#[derive(Clone)]
struct Rewound;

/// Raises the end of a rewind.
#[must_use]
pub fn rewound(at: Position) -> Raised {
    Box::new(EvalAltResult::ErrorTerminated(Dynamic::from(Rewound), at))
}

/// True for the end of a rewind.
#[must_use]
pub fn is_rewound(raised: &EvalAltResult) -> bool {
    matches!(innermost(raised), EvalAltResult::ErrorTerminated(token, _) if token.is::<Rewound>())
}

/// An error inside a module, with the place of its import.
#[must_use]
pub fn in_module(name: &str, raised: Raised, at: Position) -> Raised {
    Box::new(EvalAltResult::ErrorInModule(name.to_owned(), raised, at))
}

/// The same error at the same place, which no script can catch any more.
#[must_use]
pub fn make_final(raised: Raised) -> Raised {
    rebuild(raised, &|inner| halt(facts(&inner), inner.position()))
}
