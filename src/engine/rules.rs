//! The rules of the language that can be seen in a file's text: what may stand where, and which names are taken.

use rhai::Position;

use super::scan::{Scan, Word};
use crate::{
    api::words::RESERVED,
    base::{Code, Error},
    fail,
};

/// What is wrong, and where.
type Findings = Vec<(Position, Error)>;

/// Steps are leaves, change no variable of the script, and are told apart in loops.
pub(super) fn of_words(scan: &Scan) -> Findings {
    let mut findings = vec![];
    for (variable, step, at) in &scan.outer_assignments {
        let error = fail!(Code::StepRule, "the step `{step}` assigns the outer variable `{variable}`")
            .hint(format!("a step gives a value: `let {variable} = step \"{step}\" {{ .. }}`"));
        findings.push((*at, error));
    }
    for at in &scan.stray_breaks {
        findings.push((*at, fail!(Code::StepRule, "`break` and `continue` may not leave a block of pgrun")));
    }
    for word in &scan.words {
        // Inside a step `poll` is only the loop.
        if word.in_step && word.kind != "poll" {
            let shown = word.name.as_deref().unwrap_or("..");
            findings.push((word.at, fail!(Code::StepRule, "the {} `{shown}` stands inside a step", word.kind)));
        }
        findings.extend(in_a_loop(word).map(|error| (word.at, error)));
    }
    findings
}

/// The words of the language name nothing else.
pub(super) fn of_names(scan: &Scan) -> Findings {
    let taken = scan.names.iter().filter(|(name, _)| RESERVED.contains(&name.as_str()));
    let error = |name: &String| {
        fail!(Code::ScriptSyntax, "`{name}` is a word of pgrun and names nothing else").hint("choose another name")
    };
    taken.map(|(name, at)| (*at, error(name))).collect()
}

/// Two steps of one identity, unless they stand in different branches.
pub(super) fn of_identities(scan: &Scan) -> Findings {
    let mut seen: Vec<&Word> = vec![];
    let mut doubled = vec![];
    for word in scan.words.iter().filter(|word| word.kind != "parallel" && !word.in_step) {
        if word.phases.is_none() || word.name.is_none() || word.has_key {
            continue;
        }
        // Functions may be called in different phases; within one of them a name is used once.
        let identity = |word: &Word| (word.function.clone(), word.phases.clone(), word.name.clone(), is_gate(word));
        if let Some(first) = seen.iter().find(|other| identity(other) == identity(word) && !apart(other, word)) {
            let (line, name) = (first.at.line().unwrap_or(0), word.name.as_deref().unwrap_or_default());
            let text = format!("the name `{name}` was used in line {line}: two steps would share one identity");
            doubled.push((word.at, Error::new(Code::StepRule, text).hint("give each step its own name")));
        }
        seen.push(word);
    }
    doubled
}

/// What only a runbook may do.
pub(super) fn of_modules(scan: &Scan) -> Findings {
    let mut findings = vec![];
    for word in scan.words.iter().filter(|word| word.function.is_none()) {
        let shown = word.name.as_deref().unwrap_or("..");
        let error = fail!(Code::StepRule, "the {} `{shown}` stands at the top level of a module", word.kind);
        findings.push((word.at, error.hint("put it into a function: it would run where the import stands")));
    }
    for call in &scan.declarations {
        let error = fail!(Code::ScriptSyntax, "`params` stands in a module");
        findings.push((call.at, error.hint("the runbook declares the parameters and passes them on")));
    }
    findings
}

/// True when two words stand in different branches of the same statement: they never meet.
fn apart(a: &Word, b: &Word) -> bool {
    let differs = |(at, branch): &(Position, usize)| b.branches.iter().any(|(other, way)| other == at && way != branch);
    a.branches.iter().any(differs)
}

fn is_gate(word: &Word) -> bool {
    matches!(word.kind.as_str(), "confirm" | "pause")
}

/// What stands in a loop under one name would be met twice.
fn in_a_loop(word: &Word) -> Option<Error> {
    let shown = word.name.as_deref().filter(|_| word.in_loop && !word.has_key && !word.in_step)?;
    let kind = &word.kind;
    Some(match kind.as_str() {
        "step" | "poll" => fail!(Code::StepRule, "the {kind} `{shown}` stands in a loop and has no key")
            .hint(format!("{kind} \"{shown}\" with #{{ key: item }} {{ .. }}")),
        "phase" => fail!(Code::StepRule, "the phase `{shown}` stands in a loop under one name")
            .hint(format!("name what differs: phase `{shown} ${{item}}` {{ .. }}")),
        "confirm" | "pause" => fail!(Code::StepRule, "the gate `{shown}` stands in a loop under one name")
            .hint("a gate is answered once: give each its own `gate`, with what differs in it"),
        _ => return None,
    })
}
