//! Which functions a script may call, and with how many arguments. Types are not known before a script runs.

use std::collections::{BTreeMap, BTreeSet};

use rhai::{AST, Engine};

use super::scan;
use crate::{
    api::MODULES,
    base::{Code, Error, prose},
    fail,
};

/// Function names and how many arguments they take.
pub(super) type Known = BTreeMap<String, BTreeSet<usize>>;

/// Functions that live in Rhai's language itself and so in no package.
const BUILT_IN: &[(&str, &[usize])] = &[
    ("print", &[1]),
    ("debug", &[1]),
    ("type_of", &[1]),
    ("Fn", &[1]),
    ("call", &[1, 2, 3, 4, 5, 6, 7, 8]),
    ("curry", &[1, 2, 3, 4, 5, 6, 7, 8]),
    ("is_shared", &[1]),
    ("is_def_var", &[1]),
    ("is_def_fn", &[2]),
];

/// The functions of Rhai and of pgrun that have no name space.
pub(super) fn of_engine(engine: &Engine) -> Known {
    let plain = engine.collect_fn_metadata(
        None,
        |info| info.namespace.is_empty().then(|| (info.metadata.name.to_string(), info.metadata.num_params)),
        true,
    );
    let mut known = Known::new();
    for (name, count) in plain {
        known.entry(name).or_default().insert(count);
    }
    for (name, counts) in BUILT_IN {
        known.entry((*name).to_owned()).or_default().extend(*counts);
    }
    for method in MODULES.iter().flat_map(|module| module.methods) {
        let (least, most) = method.arity();
        known.entry(method.name.to_owned()).or_default().extend(least..=most);
    }
    known
}

/// The functions of a file.
pub(super) fn of_script(ast: &AST) -> Known {
    let mut own = Known::new();
    for function in ast.iter_functions() {
        own.entry(function.name.to_owned()).or_default().insert(function.params.len());
    }
    own
}

/// Everything that a file can call.
pub(super) struct Functions<'a> {
    pub(super) builtin: &'a Known,
    pub(super) own: Known,
    /// The module behind an alias.
    pub(super) of_alias: &'a dyn Fn(&str) -> Option<&'a AST>,
}

impl Functions<'_> {
    /// What is wrong with a call, if anything.
    pub(super) fn refuse(&self, call: &scan::Call) -> Option<Error> {
        let (known, own) = (self.builtin, &self.own);
        let name = &call.name;
        let given = call.arguments + usize::from(call.is_method);
        if name.starts_with("anon$") {
            return None;
        }
        let Some(namespace) = &call.namespace else {
            if let Some(error) = crate::api::absence(name).filter(|_| !own.contains_key(name)) {
                return Some(error);
            }
            let mut counts: BTreeSet<usize> = known.get(name).cloned().unwrap_or_default();
            // A script function is called as a method with `this` in front.
            counts.extend(own.get(name).into_iter().flatten().map(|count| count + usize::from(call.is_method)));
            return mismatch(name, &counts, given, known.keys().chain(own.keys()).map(String::as_str));
        };
        if MODULES.iter().any(|module| module.name == namespace) {
            let functions = || MODULES.iter().filter(|module| module.name == namespace).flat_map(|m| m.functions);
            let function = functions().find(|function| function.name == name);
            let counts = function.map_or_else(BTreeSet::new, |function| {
                let (least, most) = function.arity();
                (least..=most).collect()
            });
            let names = functions().map(|function| function.name);
            return mismatch(&format!("{namespace}::{name}"), &counts, given, names);
        }
        if namespace == "global" {
            return None;
        }
        let target = (self.of_alias)(namespace)?;
        let functions = || target.iter_functions().filter(|f| f.access == rhai::FnAccess::Public);
        let counts: BTreeSet<usize> = functions().filter(|f| f.name == name.as_str()).map(|f| f.params.len()).collect();
        if call.passes_closure && !counts.is_empty() {
            let error = fail!(Code::ScriptSyntax, "`{namespace}::{name}` is a script function and gets a closure");
            return Some(error.hint("Rhai would look the closure's names up in the wrong file: pass plain values"));
        }
        mismatch(&format!("{namespace}::{name}"), &counts, given, functions().map(|f| f.name))
    }
}

fn mismatch<'a>(
    name: &str,
    counts: &BTreeSet<usize>,
    given: usize,
    names: impl Iterator<Item = &'a str>,
) -> Option<Error> {
    if counts.contains(&given) {
        return None;
    }
    if counts.is_empty() {
        let bare = name.rsplit("::").next().unwrap_or(name);
        let error = fail!(Code::ScriptSyntax, "there is no function `{name}`");
        return Some(match prose::nearest(bare, names) {
            Some(near) => error.hint(format!("meant `{near}`?")),
            None => error,
        });
    }
    let wanted: Vec<String> = counts.iter().map(ToString::to_string).collect();
    let wanted = wanted.join(" or ");
    Some(fail!(Code::ScriptSyntax, "`{name}` got {}, wanted {wanted}", prose::count(given, "argument")))
}
