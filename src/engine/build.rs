//! The Rhai engine: limits, strict variables, no `eval`, no optimizer, our words and functions.

use std::sync::Arc;

use rhai::{Engine, OptimizationLevel};

use super::library::Resolver;
use crate::{
    api::{self, Host, Notice, bridge},
    journal::sources::Sources,
};

/// Nesting of expressions. Debug and release builds differ by default; a runbook must load in both.
const EXPRESSION_DEPTH: usize = 128;
/// Nesting of calls; a script thread has 64 MiB of stack, enough for eight times as many.
const CALL_DEPTH: usize = 64;
/// Longest text in bytes.
const TEXT_BYTES: usize = 64 << 20;
/// Most elements of a list or map.
const ELEMENTS: usize = 1_000_000;
/// Most modules of a run.
const MODULES: usize = 200;
/// Most functions of a file.
const FUNCTIONS: usize = 1000;
/// Most variables of a scope.
const VARIABLES: usize = 1000;

/// Operations between two looks at the clock in a loop that only computes; about a millisecond.
const TIME_EVERY: u64 = 4096;

/// An engine whose imports come from `sources` and nowhere else.
#[must_use]
pub fn engine(host: &Host, sources: Arc<Sources>) -> Engine {
    let mut engine = Engine::new();
    engine
        .set_strict_variables(true)
        // `Simple` drops steps in branches that look dead, `Full` calls host functions while it loads.
        .set_optimization_level(OptimizationLevel::None)
        .set_fail_on_invalid_map_property(true)
        .set_max_expr_depths(EXPRESSION_DEPTH, EXPRESSION_DEPTH)
        .set_max_call_levels(CALL_DEPTH)
        .set_max_string_size(TEXT_BYTES)
        .set_max_array_size(ELEMENTS)
        .set_max_map_size(ELEMENTS)
        .set_max_modules(MODULES)
        .set_max_functions(FUNCTIONS)
        .set_max_variables(VARIABLES);
    api::register(&mut engine, host);
    let resolver = Resolver::new(sources);
    resolver.find_closures_of_modules(&mut engine);
    engine.set_module_resolver(resolver);
    let printing = host.clone();
    engine.on_print(move |text| printing.tell(Notice::Said(text.to_owned())));
    let debugging = host.clone();
    engine.on_debug(move |text, _, at| debugging.tell(Notice::Warned(format!("debug {at:?}: {text}"))));
    let timing = host.clone();
    // Host calls hear the second Ctrl-C and the deadlines in `wait`; this hears them in loops that only compute.
    engine.on_progress(move |operations| {
        if timing.stop().is_urgent() {
            return Some(bridge::halt_token(timing.stop().error()));
        }
        let error = operations.is_multiple_of(TIME_EVERY).then(|| timing.time_is_up()).flatten();
        error.map(bridge::halt_token)
    });
    engine
}
