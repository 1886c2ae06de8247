//! Host errors as script errors and back. Besides the script diagnostics the only file that knows Rhai's error type.
//!
//! A script may catch most errors: they are maps with `code message hint sqlstate aws_code request_id source line`.
//! It may not catch a *halt*: cancelled, refused, paused, a journal that cannot be written, a phase out of time.

use rhai::{Dynamic, EvalAltResult, ImmutableString, Map, Position};

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
    let stops = matches!(error.code().kind(), Kind::Refused | Kind::Paused | Kind::Stopped);
    if stops || is_phase_limit(&error) || matches!(error.code(), Code::JournalWrite | Code::Declined | Code::Internal) {
        return halt(error, at);
    }
    let mut map = Map::new();
    map.insert("code".into(), error.code().name().into());
    map.insert("message".into(), error.message().into());
    map.insert("hint".into(), error.hint_text().map_or(Dynamic::UNIT, Into::into));
    map.insert("unknown".into(), error.is_unknown().into());
    map.insert("source".into(), source.map_or(Dynamic::UNIT, Into::into));
    map.insert("line".into(), at.line().and_then(|line| i64::try_from(line).ok()).map_or(Dynamic::UNIT, Into::into));
    // Asking a map for a key that it lacks is an error, so the facts that scripts ask for are always there.
    for name in ["sqlstate", "aws_code", "request_id"] {
        map.insert(name.into(), Dynamic::UNIT);
    }
    for (name, fact) in error.details() {
        if !OWN_KEYS.contains(&name.as_ref()) {
            map.insert(name.as_ref().into(), fact.as_str().into());
        }
    }
    Box::new(EvalAltResult::ErrorRuntime(map.into(), at))
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
    let map = thrown.read_lock::<Map>()?;
    let source = map.get("source")?.clone().try_cast::<ImmutableString>()?;
    let line = u16::try_from(map.get("line")?.as_int().ok()?).ok()?;
    Some((source.to_string(), line))
}

/// Raises an error that no script can catch.
#[must_use]
pub fn halt(error: Error, at: Position) -> Raised {
    Box::new(EvalAltResult::ErrorTerminated(Dynamic::from(Halt(error)), at))
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
        other => {
            let mut text = other.to_string();
            if let Some(end) = text.rfind(" (line ") {
                text.truncate(end);
            }
            Error::new(Code::ScriptError, lower_first(&text))
        }
    }
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
        return Error::new(Code::ScriptError, thrown.to_string());
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
#[expect(clippy::boxed_local, reason = "Rhai hands errors around in boxes, and the chain is rebuilt from them")]
pub fn make_final(raised: Raised) -> Raised {
    match *raised {
        EvalAltResult::ErrorInFunctionCall(name, source, inner, at) => {
            Box::new(EvalAltResult::ErrorInFunctionCall(name, source, make_final(inner), at))
        }
        EvalAltResult::ErrorInModule(name, inner, at) => {
            Box::new(EvalAltResult::ErrorInModule(name, make_final(inner), at))
        }
        other => halt(facts(&other), other.position()),
    }
}
