//! From a raised error to what a person reads: the sentence, the line, the calls that led there. Besides the bridge the
//! only file that knows Rhai's error type.

use std::fmt::Write;

use rhai::{EvalAltResult, Position};

use crate::{
    api::bridge,
    base::{Error, Redactor},
    journal::sources::Sources,
};

/// An error with its place in the script.
#[derive(Clone, Debug)]
pub struct Diagnosis {
    /// The facts.
    pub error: Error,
    /// Where it was raised, then the calls that led there. Empty when no script was involved.
    pub places: Vec<Place>,
}

/// A place in a script.
#[derive(Clone, Debug)]
pub struct Place {
    /// The file's canonical name.
    pub source: String,
    /// Counts from 1; 0 where it is not known.
    pub line: usize,
    /// Counts characters from 1.
    pub column: usize,
    /// The text of the line.
    pub text: String,
    /// What the place is inside: `fn NAME`, `module NAME`, or empty at top level.
    pub inside: String,
}

impl From<Error> for Diagnosis {
    fn from(error: Error) -> Self {
        Self { error, places: vec![] }
    }
}

impl Diagnosis {
    /// Reads a raised error; `main` is the runbook's canonical name.
    #[must_use]
    pub fn of(raised: &EvalAltResult, main: &str, sources: &Sources) -> Self {
        let mut places = vec![];
        let mut source = main.to_owned();
        let mut inside = String::new();
        let mut error = raised;
        loop {
            let (inner, at, callee_source, what) = match error {
                EvalAltResult::ErrorInFunctionCall(name, callee, inner, at) => {
                    let shown = if name.starts_with("anon$") { "a closure".into() } else { format!("fn {name}") };
                    (inner, at, callee, shown)
                }
                EvalAltResult::ErrorInModule(name, inner, at) => (inner, at, name, format!("module {name}")),
                _ => break,
            };
            places.push(place(&source, *at, &inside, sources));
            inside = what;
            if !callee_source.is_empty() {
                source.clone_from(callee_source);
            }
            error = inner;
        }
        let facts = bridge::facts(error);
        let at = error.position();
        // A rethrown error knows its first place.
        let first = match bridge::first_place(error) {
            Some((first, line)) if first != source || Some(usize::from(line)) != at.line() => {
                place(&first, Position::new(line, 1), &inside, sources)
            }
            _ => place(&source, at, &inside, sources),
        };
        places.push(first);
        places.reverse();
        places.retain(|place| place.line > 0);
        Self { error: facts, places }
    }

    /// The whole message, without colours: sentence, facts, the script's line, the calls, the hint.
    #[must_use]
    pub fn render(&self, redactor: &Redactor) -> String {
        let error = &self.error;
        let mut out = format!("error[{}]: {}\n", error.code().name(), error.message());
        for (name, value) in error.details() {
            if !matches!(name.as_ref(), "source" | "line" | "limit") {
                let _ = writeln!(out, "  {name}: {value}");
            }
        }
        if let Some((first, callers)) = self.places.split_first() {
            let width = first.line.to_string().len().max(3);
            let _ = writeln!(out, "  --> {}:{}:{}", first.source, first.line, first.column);
            if !first.text.is_empty() {
                let _ = writeln!(out, "{:width$} |", "");
                let _ = writeln!(out, "{:width$} | {}", first.line, first.text);
                let _ = writeln!(out, "{:width$} | {}", "", marker(first));
            }
            let mut inside = &first.inside;
            for caller in callers {
                let _ = writeln!(out, "  called at {}:{}:{} ({inside})", caller.source, caller.line, caller.column);
                inside = &caller.inside;
            }
        }
        if let Some(hint) = error.hint_text() {
            let _ = writeln!(out, "hint: {hint}");
        }
        redactor.clean(&out).into_owned()
    }
}

fn place(source: &str, at: Position, inside: &str, sources: &Sources) -> Place {
    let line = at.line().unwrap_or(0);
    let text = sources.get(source).and_then(|text| text.lines().nth(line.wrapping_sub(1))).unwrap_or_default();
    Place {
        source: source.to_owned(),
        line,
        column: at.position().unwrap_or(1).max(1),
        text: text.to_owned(),
        inside: inside.to_owned(),
    }
}

/// Carets under the word that the position points to.
fn marker(place: &Place) -> String {
    let before = place.column - 1;
    let word = place.text.chars().skip(before).take_while(|c| c.is_alphanumeric() || *c == '_').count().max(1);
    let pad: String = place.text.chars().take(before).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    format!("{pad}{}", "^".repeat(word))
}
