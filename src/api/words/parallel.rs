//! `parallel {..} also {..}`: branches on threads of their own, each on copies of the variables; gives their values.

use rhai::{Array, Caches, Dynamic, Engine, EvalContext, Expression, GlobalRuntimeState, Position, Scope};

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
pub(super) fn register(engine: &mut Engine, host: &Host) {
    let host = host.clone();
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
        move |context, inputs, _| run(&host, context, inputs),
    );
}

fn run(host: &Host, context: &mut EvalContext, inputs: &[Expression]) -> Script<Dynamic> {
    let frame = Frame::of(Some(context.tag()));
    let at = inputs.first().map_or(Position::NONE, Expression::position);
    if frame.in_step() {
        let error = fail!(Code::StepRule, "`parallel` stands inside a step").hint("put the steps into the branches");
        return Err(bridge::raise(error, context.source(), at));
    }
    let base = Branch {
        host,
        engine: context.engine(),
        world: context.global_runtime_state().clone(),
        scope: plain_copy(context.scope()),
        this: context.this_ptr().map(Dynamic::flatten_clone),
        source: context.source().map(str::to_owned),
    };
    let frames: Vec<Frame> = (1..=inputs.len()).map(|number| frame.in_branch(number)).collect();
    let ended: Vec<Script<Dynamic>> = std::thread::scope(|threads| {
        let mut branches = vec![];
        for (number, (input, frame)) in (1..).zip(inputs.iter().zip(&frames)) {
            let (input, base) = (input.clone(), &base);
            let branch = std::thread::Builder::new().stack_size(BRANCH_STACK_BYTES);
            branches.push(branch.spawn_scoped(threads, move || base.run(number, &input, frame)));
        }
        branches.into_iter().map(|branch| join(branch, at)).collect()
    });
    for branch in &frames {
        frame.join(branch);
    }
    // What no script may survive counts before what another branch failed with.
    let is_final = |ended: &Script<Dynamic>| ended.as_ref().is_err_and(|raised| bridge::is_halt(raised));
    let (finals, others): (Vec<_>, Vec<_>) = ended.into_iter().partition(is_final);
    finals.into_iter().chain(others).collect::<Script<Array>>().map(Into::into)
}

/// What every branch begins with.
struct Branch<'a> {
    host: &'a Host,
    engine: &'a Engine,
    world: GlobalRuntimeState,
    scope: Scope<'static>,
    this: Option<Dynamic>,
    source: Option<String>,
}

impl Branch<'_> {
    fn run(&self, number: usize, input: &Expression, frame: &Frame) -> Script<Dynamic> {
        let (mut world, mut scope, mut this) = (self.world.clone(), self.scope.clone(), self.this.clone());
        world.tag = frame.tag();
        let before = Outer::of_scope(&scope, this.as_ref());
        let mut caches = Caches::new();
        let result = {
            let _time = self.host.keep_time(frame);
            let mut inner = EvalContext::new(self.engine, &mut world, &mut caches, &mut scope, this.as_mut());
            input.eval_with_context(&mut inner)
        };
        let raise = |error| bridge::raise(error, self.source.as_deref(), input.position());
        let after = Outer::of_scope(&scope, this.as_ref());
        let unchanged = before.compare(&after, &format!("branch {number} of `parallel`"));
        match bridge::settle(result) {
            Ended::Value(value) => unchanged.map(|()| value.flatten()).map_err(raise),
            Ended::Broke(_) => Err(raise(fail!(Code::StepRule, "`break` and `continue` may not leave a branch"))),
            Ended::Raised(raised) => Err(raised),
        }
    }
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
