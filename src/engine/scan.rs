//! Walks a script's syntax tree: imports, the declaration of parameters, steps, calls. Knows Rhai's volatile tree;
//! nothing else does.

use std::collections::BTreeSet;

use rhai::{AST, ASTNode, Dynamic, Expr, Position, Stmt};

/// Everything `pgrun check` needs to know about one file.
#[derive(Default)]
pub(super) struct Scan {
    pub(super) imports: Vec<Import>,
    pub(super) declarations: Vec<Declaration>,
    pub(super) words: Vec<Word>,
    pub(super) calls: Vec<Call>,
    pub(super) outer_assignments: Vec<(String, String, Position)>,
    pub(super) stray_breaks: Vec<Position>,
    /// The ids of findings that the script makes itself, where they are plain texts.
    pub(super) finding_ids: BTreeSet<String>,
    /// Names that the script gives to variables, parameters and modules.
    pub(super) names: Vec<(String, Position)>,
    /// The closures that are undo clauses.
    undo_clauses: BTreeSet<String>,
}

/// An `import` statement; a computed path has no text.
pub(super) struct Import {
    pub(super) path: Option<String>,
    pub(super) alias: String,
    pub(super) at: Position,
}

/// A call of `params`; a computed map has no value.
pub(super) struct Declaration {
    pub(super) literal: Option<Dynamic>,
    pub(super) in_function: bool,
    pub(super) at: Position,
}

/// A `step`, `phase`, `poll`, `confirm`, `pause`, `parallel` or `waive`.
pub(super) struct Word {
    pub(super) kind: String,
    /// The name of a step, phase or poll, the gate of the others, where it is a plain text.
    pub(super) name: Option<String>,
    pub(super) at: Position,
    /// The function around it; none at the top level of the file.
    pub(super) function: Option<String>,
    /// Names of enclosing phases; none when one of them is computed.
    pub(super) phases: Option<Vec<String>>,
    pub(super) has_key: bool,
    pub(super) in_step: bool,
    pub(super) in_loop: bool,
    /// The branches of `if`, `switch` and `parallel` on the way: the statement, and which branch of it.
    pub(super) branches: Vec<(Position, usize)>,
}

/// A call of a function by name.
pub(super) struct Call {
    pub(super) namespace: Option<String>,
    pub(super) name: String,
    pub(super) arguments: usize,
    pub(super) is_method: bool,
    pub(super) passes_closure: bool,
    pub(super) at: Position,
}

/// Reads a compiled file.
pub(super) fn scan(ast: &AST) -> Scan {
    let mut found = Scan::default();
    let mut walk = |part: &AST, function: Option<&str>| {
        part.walk(&mut |path| {
            if let Some(node) = path.last() {
                visit(&mut found, path, node, function);
            }
            true
        });
    };
    walk(&ast.clone_statements_only(), None);
    for function in ast.iter_functions() {
        // Not `clone_functions_only_filtered`: in Rhai 1.27 it copies all functions.
        let mut one = ast.clone_functions_only();
        one.retain_functions(|_, _, name, count| name == function.name && count == function.params.len());
        walk(&one, Some(function.name));
    }
    for function in ast.iter_functions() {
        found.names.extend(function.params.iter().map(|name| ((*name).to_owned(), Position::NONE)));
    }
    // Functions come in hash order, and a case of several values is walked for each of them.
    found.words.sort_by_key(|word| word.at);
    found.words.dedup_by_key(|word| word.at);
    found.calls.sort_by_key(|call| call.at);
    found.calls.dedup_by(|a, b| (a.at, &a.name) == (b.at, &b.name));
    found.outer_assignments.sort_by_key(|(_, _, at)| *at);
    found.outer_assignments.dedup_by_key(|(_, _, at)| *at);
    for word in &mut found.words {
        word.in_step |= word.function.as_ref().is_some_and(|function| found.undo_clauses.contains(function));
    }
    found
}

fn visit(found: &mut Scan, path: &[ASTNode], node: &ASTNode, function: Option<&str>) {
    match node {
        ASTNode::Stmt(Stmt::Var(variable, _, at)) => found.names.push((variable.0.name.to_string(), *at)),
        ASTNode::Stmt(Stmt::For(parts, at)) => {
            let counter = parts.1.as_ref().map(|counter| counter.name.to_string());
            found.names.extend([parts.0.name.to_string()].into_iter().chain(counter).map(|name| (name, *at)));
        }
        ASTNode::Stmt(Stmt::TryCatch(parts, _)) => {
            found.names.extend(root_variable(&parts.expr).map(|name| (name, parts.expr.position())));
        }
        ASTNode::Stmt(Stmt::Import(import, at)) => {
            found.names.push((import.1.name.to_string(), *at));
            let literal = import.0.get_literal_value(None).and_then(|path| path.into_string().ok());
            found.imports.push(Import { path: literal, alias: import.1.name.to_string(), at: *at });
        }
        ASTNode::Expr(Expr::Custom(custom, at)) => {
            let kind = custom.tokens[0].as_str();
            let place = Place::of(&path[..path.len() - 1]);
            let is_gate = matches!(kind, "confirm" | "pause");
            let gate = custom.inputs.iter().find_map(|input| option(input, "gate")).filter(|_| is_gate);
            found.words.push(Word {
                kind: kind.to_owned(),
                name: gate.or(custom.inputs.first()).and_then(literal_text),
                at: *at,
                function: function.map(str::to_owned),
                // A gate has one name in the whole run.
                phases: if is_gate { Some(vec![]) } else { place.phases },
                has_key: custom.inputs.iter().any(|input| option(input, "key").is_some()),
                in_step: place.in_step.is_some(),
                in_loop: place.in_loop,
                branches: place.branches,
            });
            if custom.tokens.iter().any(|token| token == "undo")
                && let Some(clause) = custom.inputs.last()
            {
                found.undo_clauses.extend(closure_names(clause));
            }
        }
        ASTNode::Expr(expr @ (Expr::FnCall(call, at) | Expr::MethodCall(call, at))) if call.op_token.is_none() => {
            note_call(found, call, *at, matches!(expr, Expr::MethodCall(..)), function);
        }
        ASTNode::Stmt(Stmt::FnCall(call, at)) if call.op_token.is_none() => {
            note_call(found, call, *at, false, function);
        }
        ASTNode::Stmt(Stmt::Assignment(assignment)) => {
            if let (Some(name), Some(step)) = (root_variable(&assignment.1.lhs), Place::of(path).in_step)
                && !declares(step, &name, assignment.1.lhs.position())
            {
                let block = literal_text(&step.inputs[0]).unwrap_or_default();
                found.outer_assignments.push((name, block, assignment.1.lhs.position()));
            }
        }
        ASTNode::Expr(map @ Expr::Map(..)) if option(map, "verdict").is_some() => {
            found.finding_ids.extend(option(map, "id").and_then(literal_text));
        }
        ASTNode::Stmt(Stmt::BreakLoop(_, _, at)) if breaks_out(path) => found.stray_breaks.push(*at),
        _ => {}
    }
}

fn note_call(found: &mut Scan, call: &rhai::FnCallExpr, at: Position, is_method: bool, function: Option<&str>) {
    let namespace = (!call.namespace.is_empty()).then(|| call.namespace.root().to_string());
    if namespace.is_none() && call.name == "params" && call.args.len() == 1 {
        let (literal, at) = (call.args[0].get_literal_value(None), call.args[0].position());
        found.declarations.push(Declaration { literal, in_function: function.is_some(), at });
    }
    let is_closure = |argument: &Expr| match argument {
        Expr::FnCall(call, _) => call.name.starts_with("anon$") || call.name == "curry",
        Expr::Stmt(block) => block.statements().iter().any(|statement| matches!(statement, Stmt::Share(..))),
        Expr::DynamicConstant(value, _) => value.is::<rhai::FnPtr>(),
        _ => false,
    };
    found.calls.push(Call {
        namespace,
        name: call.name.to_string(),
        arguments: call.args.len(),
        is_method,
        passes_closure: call.args.iter().any(is_closure),
        at,
    });
}

/// Where a node stands among the nodes above it.
struct Place<'a> {
    phases: Option<Vec<String>>,
    in_step: Option<&'a rhai::CustomExpr>,
    in_loop: bool,
    branches: Vec<(Position, usize)>,
}

impl<'a> Place<'a> {
    /// `path` leads from the outermost node to the one that the place is in.
    fn of(path: &[ASTNode<'a>]) -> Self {
        let mut place = Self { phases: Some(vec![]), in_step: None, in_loop: false, branches: vec![] };
        for (node, below) in path.iter().zip(path.iter().skip(1).map(Some).chain([None])) {
            match node {
                ASTNode::Expr(Expr::Custom(custom, at)) => place.enter_word(custom, *at, below),
                ASTNode::Stmt(Stmt::For(parts, _)) => place.in_loop |= is_among(&parts.2.body, below),
                ASTNode::Stmt(Stmt::While(..) | Stmt::Do(..)) => place.in_loop = true,
                ASTNode::Stmt(Stmt::If(parts, at)) => {
                    let branch = [&parts.body, &parts.branch].into_iter().position(|block| is_among(block, below));
                    place.branches.extend(branch.map(|branch| (*at, branch)));
                }
                ASTNode::Stmt(Stmt::Switch(parts, at)) => {
                    let is_it = |case: &rhai::BinaryExpr| is_this(&case.rhs, below);
                    let branch = parts.1.expressions.iter().position(is_it);
                    place.branches.extend(branch.map(|branch| (*at, branch)));
                }
                _ => {}
            }
        }
        place
    }

    fn enter_word(&mut self, custom: &'a rhai::CustomExpr, at: Position, below: Option<&ASTNode>) {
        match custom.tokens[0].as_str() {
            "phase" => {
                let name = custom.inputs.first().and_then(literal_text);
                // A phase of a loop bears another name each time, and with it everything in it.
                self.in_loop &= name.is_some();
                self.phases = self.phases.take().zip(name).map(|(mut phases, name)| {
                    phases.push(name);
                    phases
                });
            }
            "step" => self.in_step = Some(custom),
            "parallel" => {
                let branch = custom.inputs.iter().position(|input| is_this(input, below));
                self.branches.extend(branch.map(|branch| (at, branch)));
            }
            _ => {}
        }
    }
}

/// True when a node is one of the statements of a block itself, not of an equal one.
fn is_among(block: &rhai::StmtBlock, node: Option<&ASTNode>) -> bool {
    let Some(ASTNode::Stmt(found)) = node else { return false };
    block.statements().iter().any(|statement| std::ptr::eq(statement, *found))
}

fn is_this(expr: &Expr, node: Option<&ASTNode>) -> bool {
    matches!(node, Some(ASTNode::Expr(found)) if std::ptr::eq(expr, *found))
}

/// `break` that leaves a block of ours: a word stands between it and its loop.
fn breaks_out(path: &[ASTNode]) -> bool {
    let is_loop = |node: &ASTNode| matches!(node, ASTNode::Stmt(Stmt::For(..) | Stmt::While(..) | Stmt::Do(..)));
    let is_word = |node: &ASTNode| matches!(node, ASTNode::Expr(Expr::Custom(..)));
    path.iter().rposition(is_word).is_some_and(|word| path.iter().rposition(is_loop).is_none_or(|inner| inner < word))
}

/// The value behind a key of a literal map.
fn option<'a>(input: &'a Expr, key: &str) -> Option<&'a Expr> {
    let Expr::Map(map, _) = input else { return None };
    map.0.iter().find(|(name, _)| name.name == key).map(|(_, value)| value)
}

/// The names of the closures in an expression.
fn closure_names(expr: &Expr) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    expr.walk(&mut vec![], &mut |path: &[ASTNode]| {
        if let Some(ASTNode::Expr(Expr::DynamicConstant(value, _))) = path.last()
            && let Some(closure) = value.read_lock::<rhai::FnPtr>()
        {
            names.insert(closure.fn_name().to_owned());
        }
        true
    });
    names
}

fn literal_text(expr: &Expr) -> Option<String> {
    expr.get_literal_value(None).and_then(|value| value.into_string().ok())
}

/// The variable at the left end of `a`, `a.b`, `a[0].b`.
fn root_variable(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Variable(variable, ..) => Some(variable.1.to_string()),
        Expr::ThisPtr(..) => Some("this".into()),
        Expr::Dot(pair, ..) | Expr::Index(pair, ..) => root_variable(&pair.lhs),
        _ => None,
    }
}

/// True when a step's own block declares the name before a position.
fn declares(step: &rhai::CustomExpr, name: &str, before: Position) -> bool {
    let mut found = false;
    for input in &step.inputs {
        input.walk(&mut vec![], &mut |path: &[ASTNode]| {
            match path.last() {
                Some(ASTNode::Stmt(Stmt::Var(variable, _, at))) => found |= variable.0.name == name && *at < before,
                Some(ASTNode::Stmt(Stmt::For(parts, at))) => {
                    let counter = parts.1.as_ref().is_some_and(|counter| counter.name == name);
                    found |= (parts.0.name == name || counter) && *at < before;
                }
                Some(ASTNode::Stmt(Stmt::TryCatch(parts, at))) => {
                    let caught = matches!(&parts.expr, Expr::Variable(variable, ..) if variable.1 == name);
                    found |= caught && *at < before;
                }
                _ => {}
            }
            true
        });
    }
    found
}
