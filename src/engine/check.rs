//! `pgrun check`: everything that can be known about a runbook without running it. `run` calls the same code first.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use rhai::{AST, Engine, Position};

use super::{
    build,
    calls::{self, Functions, Known},
    library,
    params::{self, Declaration},
    rules,
    scan::{self, Scan},
};
use crate::{
    api::{Host, MODULES, bridge, words::RESERVED},
    base::{Code, Error, Result},
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
    /// The ids of findings that its texts make themselves: they can be waived.
    pub finding_ids: BTreeSet<String>,
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
                let facts = bridge::parse_facts(error);
                let line = at.line().and_then(|line| text.lines().nth(line - 1)).unwrap_or_default();
                self.find(name, at, clearer(facts, line));
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
        let builtin = calls::of_engine(&self.engine);
        let names: Vec<String> = self.files.keys().cloned().collect();
        for name in &names {
            self.check_file(name, *name == main, &builtin);
        }
        self.check_clashes();
        let declaration = self.read_declaration(&main);
        let summary = self.files.get(&main).map_or_else(String::new, |file| summary(file.ast.doc()));
        let mut findings = self.findings;
        findings.sort_by(|a, b| (&a.source, a.line, a.column).cmp(&(&b.source, b.line, b.column)));
        let finding_ids = self.files.values().flat_map(|file| file.scan.finding_ids.iter().cloned()).collect();
        Loaded { main, sources: self.sources, declaration, findings, summary, finding_ids }
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

    fn check_file(&mut self, name: &str, is_main: bool, builtin: &Known) {
        let Some(file) = self.files.get(name) else { return };
        let mut findings = rules::of_words(&file.scan);
        findings.extend(rules::of_names(&file.scan));
        findings.extend(if is_main { rules::of_identities(&file.scan) } else { rules::of_modules(&file.scan) });
        let functions =
            Functions { builtin, own: calls::of_script(&file.ast), of_alias: &|alias| self.file_of(file, alias) };
        findings.extend(file.scan.calls.iter().filter_map(|call| Some((call.at, functions.refuse(call)?))));
        for (at, error) in findings {
            self.find(name, at, error);
        }
    }

    /// The module behind an alias of a file.
    fn file_of(&self, file: &File, alias: &str) -> Option<&AST> {
        file.aliases.get(alias).and_then(|target| self.files.get(target)).map(|file| &file.ast)
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
                    let text = format!("`{}` is a word of pgrun and names nothing else", key.0);
                    clashes.push((file.clone(), Error::new(Code::ScriptSyntax, text).hint("choose another name")));
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

    fn find(&mut self, source: &str, at: Position, error: Error) {
        let (line, column) = (at.line().unwrap_or(0), at.position().unwrap_or(0));
        self.findings.push(Finding { source: source.to_owned(), line, column, error });
    }
}

fn has(module: &crate::api::Module, name: &str) -> bool {
    module.functions.iter().any(|function| function.name == name)
}

/// The first paragraph: what follows is for readers of the text.
fn summary(doc: &str) -> String {
    let lines = doc.lines().map(|line| line.trim_start_matches("//!").trim());
    let first: Vec<&str> = lines.skip_while(|line| line.is_empty()).take_while(|line| !line.is_empty()).collect();
    first.join(" ")
}

/// Rhai's poorest texts in plain words; `line` is the line that the error stands in.
fn clearer(error: Error, line: &str) -> Error {
    let misused = RESERVED.iter().find(|word| line.split('.').skip(1).any(|after| starts_with_word(after, word)));
    let named = RESERVED.iter().find(|word| line.contains(&format!("fn {word}")));
    match error.message() {
        text if text.starts_with("undefined variable") => {
            error.hint("functions do not see the script's variables: pass them as parameters")
        }
        text if text.ends_with("is a reserved keyword") => {
            error.hint("as the key of a map write it in quotes: #{ \"go\": 1 }; else choose another name")
        }
        _ => match (misused, named) {
            (Some(word), _) => {
                error.hint(format!("`{word}` is a word of pgrun and names nothing else; for a key write [\"{word}\"]"))
            }
            (None, Some(word)) => error.hint(format!("`{word}` is a word of pgrun and names nothing else")),
            (None, None) => error,
        },
    }
}

fn starts_with_word(text: &str, word: &str) -> bool {
    let rest = text.trim_start().strip_prefix(word);
    rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
}
