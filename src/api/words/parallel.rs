//! `parallel {..} also {..}`: branches on threads of their own, each on copies of the variables; gives their values.

use rhai::{Array, Caches, Dynamic, Engine, EvalContext, Expression, Position, Scope};

use super::outer::Outer;
use crate::{
    api::{
        bridge::{self, Ended, Raised, Script},
        frame::Frame,
        host::Host,
    },
    base::Code,
    fail,
};

/// Stack of a branch: a debug build overflows the usual 2 MiB at 32 nested calls with steps.
const BRANCH_STACK_BYTES: usize = 64 << 20;

/// Teaches the engine `parallel`.
pub(super) fn register(engine: &mut Engine, _host: &Host) {
    engine.register_custom_syntax_with_state_raw(
        "parallel",
        |symbols, look, _| {
            Ok(match symbols.last().map_or("", |symbol| symbol.as_str()) {
                "parallel" | "also" => Some("$block$".into()),
                _ if look == "also" => Some("also".into()),
                _ => None,
            })
        },
        false,
        |context, inputs, _| run(context, inputs),
    );
}

fn run(context: &mut EvalContext, inputs: &[Expression]) -> Script<Dynamic> {
    let frame = Frame::of(Some(context.tag()));
    let at = inputs.first().map_or(Position::NONE, Expression::position);
    if frame.in_step() {
        let error = fail!(Code::StepRule, "`parallel` stands inside a step").hint("put the steps into the branches");
        return Err(bridge::raise(error, context.source(), at));
    }
    let engine = context.engine();
    let world = context.global_runtime_state().clone();
    let scope = plain_copy(context.scope());
    let source = context.source().map(str::to_owned);
    let run_branch = |number: usize, input: &Expression| -> Script<Dynamic> {
        let mut world = world.clone();
        world.tag = frame.in_branch(number).tag();
        let mut scope = scope.clone();
        let before = Outer::of(&scope);
        let mut caches = Caches::new();
        let result = {
            let mut inner = EvalContext::new(engine, &mut world, &mut caches, &mut scope, None);
            input.eval_with_context(&mut inner)
        };
        let raise = |error| bridge::raise(error, source.as_deref(), input.position());
        match bridge::settle(result) {
            Ended::Value(value) => {
                before.compare(&scope, &format!("branch {number} of `parallel`")).map_err(raise)?;
                Ok(value.flatten())
            }
            Ended::Broke(_) => Err(raise(fail!(Code::StepRule, "`break` and `continue` may not leave a branch"))),
            Ended::Raised(raised) => Err(raised),
        }
    };
    let ended: Vec<Script<Dynamic>> = std::thread::scope(|threads| {
        let mut branches = vec![];
        for (number, input) in (1..).zip(inputs) {
            let (input, run_branch) = (input.clone(), &run_branch);
            let branch = std::thread::Builder::new().stack_size(BRANCH_STACK_BYTES);
            branches.push(branch.spawn_scoped(threads, move || run_branch(number, &input)));
        }
        branches.into_iter().map(|branch| join(branch, at)).collect()
    });
    ended.into_iter().collect::<Script<Array>>().map(Into::into)
}

fn join(
    branch: std::io::Result<std::thread::ScopedJoinHandle<'_, Script<Dynamic>>>,
    at: Position,
) -> Result<Dynamic, Raised> {
    let broken = |why: &str| bridge::halt(fail!(Code::Internal, "a branch of `parallel` {why}"), at);
    branch.map_err(|_| broken("could not be started"))?.join().map_err(|_| broken("panicked"))?
}

/// Copies without shared cells: two branches never see each other's variables.
fn plain_copy(scope: &Scope) -> Scope<'static> {
    let mut copy = Scope::new();
    for (name, is_constant, value) in scope.iter() {
        if is_constant {
            copy.push_constant_dynamic(name.to_owned(), value.flatten());
        } else {
            copy.push_dynamic(name.to_owned(), value.flatten());
        }
    }
    copy
}
