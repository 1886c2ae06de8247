//! `pgrun check`: everything that can be known about a runbook without running it. `run` calls the same code first.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use rhai::{AST, Engine, Position};

use super::{
    build, library,
    params::{self, Declaration},
    scan::{self, Scan},
};
use crate::{
    api::{Host, MODULES, bridge, words::RESERVED},
    base::{Code, Error, Result, prose},
    fail,
    journal::sources::Sources,
};

/// A runbook that was read with everything it imports.
pub struct Loaded {
    /// The runbook's canonical name.
    pub main: String,
    /// All texts by canonical name.
    pub sources: Sources,
    /// Its parameters.
    pub declaration: Declaration,
    /// What is wrong with it; empty when it may run.
    pub findings: Vec<Finding>,
    /// The `//!` lines at its top.
    pub summary: String,
}

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The file's canonical name.
    pub source: String,
    /// Counts from 1; 0 for the file as a whole.
    pub line: usize,
    /// Counts characters from 1.
    pub column: usize,
    /// The facts.
    pub error: Error,
}

/// Reads a runbook and everything it imports, and checks all of it. `host` has no run.
///
/// # Errors
/// `no_such_file` when the runbook itself cannot be read; everything else is a finding.
pub fn load(path: &Path, host: &Host) -> Result<Loaded> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| {
        fail!(Code::NoSuchFile, "the runbook `{shown}` cannot be read: {error}").hint("run `ls` on its folder")
    };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let (root, main) = library::place_of(path).map_err(unreadable)?;
    let mut check = Check {
        engine: build::engine(host, Arc::new(Sources::new())),
        root: Some(root),
        shelf: library::shelf_here(),
        sources: Sources::from([(main.clone(), text)]),
        files: BTreeMap::new(),
        following: vec![],
        findings: vec![],
    };
    check.follow(&main);
    Ok(check.conclude(main))
}

/// Checks texts that were read before, for example those kept with a run.
#[must_use]
pub fn check_sources(main: &str, sources: &Sources, host: &Host) -> Loaded {
    let engine = build::engine(host, Arc::new(Sources::new()));
    let mut check = Check {
        engine,
        root: None,
        shelf: library::shelf_kept(sources),
        sources: sources.clone(),
        files: BTreeMap::new(),
        following: vec![],
        findings: vec![],
    };
    check.follow(main);
    check.conclude(main.to_owned())
}

struct Check {
    engine: Engine,
    root: Option<std::path::PathBuf>,
    shelf: library::Shelf,
    sources: Sources,
    files: BTreeMap<String, File>,
    /// The files whose imports are being followed, outermost first.
    following: Vec<String>,
    findings: Vec<Finding>,
}

struct File {
    ast: AST,
    scan: Scan,
    /// Alias to canonical name.
    aliases: BTreeMap<String, String>,
}

impl Check {
    /// Compiles a file and everything it imports.
    fn follow(&mut self, name: &str) {
        let text = self.sources.get(name).cloned().unwrap_or_default();
        let mut ast = match self.engine.compile(&text) {
            Ok(ast) => ast,
            Err(error) => {
                let at = error.position();
                let facts = bridge::facts(&rhai_error(error));
                self.find(name, at, clearer(facts));
                return;
            }
        };
        ast.set_source(name);
        let scan = scan::scan(&ast);
        let mut aliases = BTreeMap::new();
        let imports: Vec<(Option<String>, String, Position)> =
            scan.imports.iter().map(|import| (import.path.clone(), import.alias.clone(), import.at)).collect();
        self.files.insert(name.to_owned(), File { ast, scan, aliases: BTreeMap::new() });
        self.following.push(name.to_owned());
        for (path, alias, at) in imports {
            let Some(path) = path else {
                let error = fail!(Code::ScriptSyntax, "the path of an import must be a plain text");
                self.find(name, at, error.hint("import \"std/replication\" as replication;"));
                continue;
            };
            match self.import(name, &path) {
                Ok(target) => drop(aliases.insert(alias, target)),
                Err(error) => self.find(name, at, error),
            }
        }
        self.following.pop();
        if let Some(file) = self.files.get_mut(name) {
            file.aliases = aliases;
        }
    }

    fn import(&mut self, importer: &str, path: &str) -> Result<String> {
        let target = library::canonical(importer, path, &self.shelf)?;
        if let Some(first) = self.following.iter().position(|name| *name == target) {
            let way = self.following[first..].join(" -> ");
            return Err(fail!(Code::ScriptSyntax, "the imports go round: {way} -> {target}")
                .hint("move what both files need into a third one"));
        }
        if !self.sources.contains_key(&target) {
            let Some(root) = &self.root else {
                return Err(fail!(Code::ScriptSyntax, "the module `{target}` was not kept with the run"));
            };
            let text = library::read(root, &target)?;
            self.sources.insert(target.clone(), text);
        }
        if !self.files.contains_key(&target) {
            self.follow(&target);
        }
        Ok(target)
    }

    fn conclude(mut self, main: String) -> Loaded {
        let known = known_functions(&self.engine);
        let names: Vec<String> = self.files.keys().cloned().collect();
        for name in &names {
            self.check_file(name, &known);
            if *name != main {
                self.check_module(name);
            }
        }
        self.check_clashes();
        self.check_duplicates(&main);
        let declaration = self.read_declaration(&main);
        let summary = self.files.get(&main).map_or_else(String::new, |file| summary(file.ast.doc()));
        let mut findings = self.findings;
        findings.sort_by(|a, b| (&a.source, a.line, a.column).cmp(&(&b.source, b.line, b.column)));
        Loaded { main, sources: self.sources, declaration, findings, summary }
    }

    fn read_declaration(&mut self, main: &str) -> Declaration {
        let Some(file) = self.files.get(main) else { return Declaration::new() };
        let mut findings = vec![];
        let mut declaration = Declaration::new();
        for (number, call) in file.scan.declarations.iter().enumerate() {
            let hint = "declare all parameters in one map at the top of the runbook";
            if call.in_function {
                findings.push((call.at, fail!(Code::ScriptSyntax, "`params` stands in a function").hint(hint)));
            } else if number > 0 {
                findings.push((call.at, fail!(Code::ScriptSyntax, "`params` stands twice").hint(hint)));
            } else {
                match params::declaration(call.literal.as_ref()) {
                    Ok(declared) => declaration = declared,
                    Err(error) => findings.push((call.at, error)),
                }
            }
        }
        for (at, error) in findings {
            self.find(main, at, error);
        }
        declaration
    }

    /// What only a runbook may do.
    fn check_module(&mut self, name: &str) {
        let Some(file) = self.files.get(name) else { return };
        let mut findings = vec![];
        for word in file.scan.words.iter().filter(|word| word.function.is_none()) {
            let shown = word.name.as_deref().unwrap_or("..");
            let error = fail!(Code::StepRule, "the {} `{shown}` stands at the top level of a module", word.kind);
            findings.push((word.at, error.hint("put it into a function: it would run where the import stands")));
        }
        for call in &file.scan.declarations {
            let error = fail!(Code::ScriptSyntax, "`params` stands in a module");
            findings.push((call.at, error.hint("the runbook declares the parameters and passes them on")));
        }
        for (at, error) in findings {
            self.find(name, at, error);
        }
    }

    fn check_file(&mut self, name: &str, known: &Known) {
        let Some(file) = self.files.get(name) else { return };
        let mut findings: Vec<(Position, Error)> = vec![];
        let own: Known = file.ast.iter_functions().map(|f| (f.name.to_owned(), f.params.len())).fold(
            Known::new(),
            |mut own, (name, count)| {
                own.entry(name).or_default().insert(count);
                own
            },
        );
        for call in &file.scan.calls {
            if let Some(error) = self.check_call(file, call, known, &own) {
                findings.push((call.at, error));
            }
        }
        for (variable, step, at) in &file.scan.outer_assignments {
            let error = fail!(Code::StepRule, "the step `{step}` assigns the outer variable `{variable}`")
                .hint(format!("a step gives a value: `let {variable} = step \"{step}\" {{ .. }}`"));
            findings.push((*at, error));
        }
        for at in &file.scan.stray_breaks {
            findings.push((*at, fail!(Code::StepRule, "`break` and `continue` may not leave a block of pgrun")));
        }
        for word in &file.scan.words {
            if word.in_step && matches!(word.kind.as_str(), "step" | "phase" | "confirm" | "pause" | "parallel") {
                let shown = word.name.as_deref().unwrap_or("..");
                findings.push((word.at, fail!(Code::StepRule, "the {} `{shown}` stands inside a step", word.kind)));
            }
            findings.extend(in_a_loop(word).map(|error| (word.at, error)));
        }
        for (at, error) in findings {
            self.find(name, at, error);
        }
    }

    fn check_call(&self, file: &File, call: &scan::Call, known: &Known, own: &Known) -> Option<Error> {
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
        let target = file.aliases.get(namespace).and_then(|target| self.files.get(target))?;
        let functions = || target.ast.iter_functions().filter(|f| f.access == rhai::FnAccess::Public);
        let counts: BTreeSet<usize> = functions().filter(|f| f.name == name.as_str()).map(|f| f.params.len()).collect();
        if call.passes_closure && !counts.is_empty() {
            let error = fail!(Code::ScriptSyntax, "`{namespace}::{name}` is a script function and gets a closure");
            return Some(error.hint("Rhai would look the closure's names up in the wrong file: pass plain values"));
        }
        mismatch(&format!("{namespace}::{name}"), &counts, given, functions().map(|f| f.name))
    }

    /// Functions of one name in two files: a closure could call the wrong one (Rhai 1.26 and later).
    fn check_clashes(&mut self) {
        let mut seen: BTreeMap<(String, usize), String> = BTreeMap::new();
        let mut clashes = vec![];
        for (file, content) in &self.files {
            for function in content.ast.iter_functions().filter(|f| !f.name.starts_with("anon$")) {
                let key = (function.name.to_owned(), function.params.len());
                if RESERVED.contains(&function.name)
                    || MODULES.iter().any(|m| m.name.is_empty() && has(m, function.name))
                {
                    clashes.push((file.clone(), fail!(Code::ScriptSyntax, "`{}` is a word of pgrun", key.0)));
                }
                if let Some(other) = seen.insert(key.clone(), file.clone()) {
                    let text = format!("the function `{}` stands in `{other}` and in `{file}`", key.0);
                    clashes.push((file.clone(), Error::new(Code::ScriptSyntax, text).hint("rename one of them")));
                }
            }
        }
        for (file, error) in clashes {
            self.find(&file, Position::NONE, error);
        }
    }

    /// Two steps of one identity in the runbook itself, unless they stand in different branches.
    fn check_duplicates(&mut self, main: &str) {
        let Some(file) = self.files.get(main) else { return };
        let mut seen: Vec<&scan::Word> = vec![];
        let mut doubled = vec![];
        for word in file.scan.words.iter().filter(|word| word.kind != "parallel" && !word.in_step) {
            if word.phases.is_none() || word.name.is_none() || word.has_key {
                continue;
            }
            // Functions may be called in different phases; within one of them a name is used once.
            let is_same = |other: &&&scan::Word| {
                let identity = |word: &scan::Word| (word.function.clone(), word.phases.clone(), word.name.clone());
                identity(other) == identity(word) && is_gate(other) == is_gate(word) && !apart(other, word)
            };
            if let Some(first) = seen.iter().find(is_same) {
                let (line, name) = (first.at.line().unwrap_or(0), word.name.as_deref().unwrap_or_default());
                let text = format!("the name `{name}` was used in line {line}: two steps would share one identity");
                doubled.push((word.at, Error::new(Code::StepRule, text).hint("give each step its own name")));
            }
            seen.push(word);
        }
        for (at, error) in doubled {
            self.find(main, at, error);
        }
    }

    fn find(&mut self, source: &str, at: Position, error: Error) {
        let (line, column) = (at.line().unwrap_or(0), at.position().unwrap_or(0));
        self.findings.push(Finding { source: source.to_owned(), line, column, error });
    }
}

/// Function names and how many arguments they take.
type Known = BTreeMap<String, BTreeSet<usize>>;

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

fn known_functions(engine: &Engine) -> Known {
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

/// True when two words stand in different branches of the same statement: they never meet.
fn apart(a: &scan::Word, b: &scan::Word) -> bool {
    let differs = |(at, branch): &(Position, usize)| b.branches.iter().any(|(other, way)| other == at && way != branch);
    a.branches.iter().any(differs)
}

fn is_gate(word: &scan::Word) -> bool {
    matches!(word.kind.as_str(), "confirm" | "pause")
}

/// What stands in a loop under one name would be met twice.
fn in_a_loop(word: &scan::Word) -> Option<Error> {
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

fn has(module: &crate::api::Module, name: &str) -> bool {
    module.functions.iter().any(|function| function.name == name)
}

fn summary(doc: &str) -> String {
    let lines: Vec<&str> = doc.lines().map(|line| line.trim_start_matches("//!").trim()).collect();
    lines.join(" ").trim().to_owned()
}

/// Rhai's poorest texts in plain words.
fn clearer(error: Error) -> Error {
    match error.message() {
        text if text.starts_with("undefined variable") => {
            error.hint("functions do not see the script's variables: pass them as parameters")
        }
        text if text.ends_with("is a reserved keyword") => {
            error.hint("as the key of a map write it in quotes: #{ \"go\": 1 }; else choose another name")
        }
        text if RESERVED.iter().any(|word| text.contains(&format!("'{word}'"))) => {
            error.hint("`step phase confirm pause poll parallel` are words of pgrun and name nothing else")
        }
        _ => error,
    }
}

fn rhai_error(error: rhai::ParseError) -> Box<rhai::EvalAltResult> {
    error.into()
}
