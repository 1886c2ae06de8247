//! Walks a script's syntax tree: imports, the declaration of parameters, steps, calls. Knows Rhai's volatile tree; nothing
//! else does.

use rhai::{AST, ASTNode, Dynamic, Expr, Position, Stmt};

/// Everything `pgrun check` needs to know about one file.
#[derive(Default)]
pub(super) struct Scan {
    pub(super) imports: Vec<Import>,
    pub(super) declaration: Option<(Option<Dynamic>, Position)>,
    pub(super) words: Vec<Word>,
    pub(super) calls: Vec<Call>,
    pub(super) outer_assignments: Vec<(String, String, Position)>,
    pub(super) stray_breaks: Vec<Position>,
}

/// An `import` statement; a computed path has no text.
pub(super) struct Import {
    pub(super) path: Option<String>,
    pub(super) alias: String,
    pub(super) at: Position,
}

/// A `step`, `phase`, `poll`, `confirm` or `pause`.
pub(super) struct Word {
    pub(super) kind: String,
    /// The name, where it is a plain text.
    pub(super) name: Option<String>,
    pub(super) at: Position,
    /// Names of enclosing phases; none when one of them is computed.
    pub(super) phases: Option<Vec<String>>,
    pub(super) has_key: bool,
    pub(super) in_step: bool,
    pub(super) in_loop: bool,
    /// Branches of `if`, `switch` and `try` on the way: two steps of one name in different branches never meet.
    pub(super) branches: Vec<Position>,
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
    ast.walk(&mut |path| {
        if let Some(node) = path.last() {
            visit(&mut found, path, node);
        }
        true
    });
    // Functions come in hash order.
    found.words.sort_by_key(|word| word.at);
    found.calls.sort_by_key(|call| call.at);
    found
}

fn visit(found: &mut Scan, path: &[ASTNode], node: &ASTNode) {
    match node {
        ASTNode::Stmt(Stmt::Import(import, at)) => {
            let literal = import.0.get_literal_value(None).and_then(|path| path.into_string().ok());
            found.imports.push(Import { path: literal, alias: import.1.name.to_string(), at: *at });
        }
        ASTNode::Expr(Expr::Custom(custom, at)) => {
            let word = custom.tokens[0].as_str();
            let place = Place::of(&path[..path.len() - 1]);
            found.words.push(Word {
                kind: word.to_owned(),
                name: custom.inputs.first().and_then(literal_text),
                at: *at,
                phases: place.phases,
                has_key: custom.inputs.iter().any(has_key),
                in_step: place.in_step.is_some(),
                in_loop: place.in_loop,
                branches: place.branches,
            });
        }
        ASTNode::Expr(expr @ (Expr::FnCall(call, at) | Expr::MethodCall(call, at))) if call.op_token.is_none() => {
            note_call(found, call, *at, matches!(expr, Expr::MethodCall(..)));
        }
        ASTNode::Stmt(Stmt::FnCall(call, at)) if call.op_token.is_none() => note_call(found, call, *at, false),
        ASTNode::Stmt(Stmt::Assignment(assignment)) => {
            if let (Some(name), Some(step)) = (root_variable(&assignment.1.lhs), Place::of(path).in_step)
                && !declares(step, &name, assignment.1.lhs.position())
            {
                let block = literal_text(&step.inputs[0]).unwrap_or_default();
                found.outer_assignments.push((name, block, assignment.1.lhs.position()));
            }
        }
        ASTNode::Stmt(Stmt::BreakLoop(_, _, at)) if breaks_out(path) => found.stray_breaks.push(*at),
        _ => {}
    }
}

fn note_call(found: &mut Scan, call: &rhai::FnCallExpr, at: Position, is_method: bool) {
    let namespace = (!call.namespace.is_empty()).then(|| call.namespace.root().to_string());
    if namespace.is_none() && call.name == "params" && call.args.len() == 1 {
        found.declaration = Some((call.args[0].get_literal_value(None), call.args[0].position()));
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
    branches: Vec<Position>,
}

impl<'a> Place<'a> {
    fn of(path: &[ASTNode<'a>]) -> Self {
        let mut place = Self { phases: Some(vec![]), in_step: None, in_loop: false, branches: vec![] };
        for node in path {
            match node {
                ASTNode::Expr(Expr::Custom(custom, _)) => match custom.tokens[0].as_str() {
                    "phase" => {
                        let name = custom.inputs.first().and_then(literal_text);
                        place.phases = place.phases.zip(name).map(|(mut phases, name)| {
                            phases.push(name);
                            phases
                        });
                    }
                    "step" => place.in_step = Some(custom),
                    "parallel" => place.branches.push(custom.inputs[0].position()),
                    _ => {}
                },
                ASTNode::Stmt(Stmt::For(..) | Stmt::While(..) | Stmt::Do(..)) => place.in_loop = true,
                ASTNode::Stmt(Stmt::If(_, at) | Stmt::Switch(_, at) | Stmt::TryCatch(_, at)) => {
                    place.branches.push(*at);
                }
                _ => {}
            }
        }
        place
    }
}

/// `break` that leaves a block of ours: a word stands between it and its loop.
fn breaks_out(path: &[ASTNode]) -> bool {
    let is_loop = |node: &ASTNode| matches!(node, ASTNode::Stmt(Stmt::For(..) | Stmt::While(..) | Stmt::Do(..)));
    let is_word = |node: &ASTNode| matches!(node, ASTNode::Expr(Expr::Custom(..)));
    path.iter().rposition(is_word).is_some_and(|word| path.iter().rposition(is_loop).is_none_or(|inner| inner < word))
}

fn has_key(input: &Expr) -> bool {
    matches!(input, Expr::Map(map, _) if map.0.iter().any(|(name, _)| name.name == "key"))
}

fn literal_text(expr: &Expr) -> Option<String> {
    expr.get_literal_value(None).and_then(|value| value.into_string().ok())
}

/// The variable at the left end of `a`, `a.b`, `a[0].b`.
fn root_variable(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Variable(variable, ..) => Some(variable.1.to_string()),
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
