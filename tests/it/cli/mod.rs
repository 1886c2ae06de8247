//! Tests of the command line: exit codes, outputs, terminals.

mod arguments;
mod outputs;
mod parameters;
mod prune;
mod terminal;
mod waivers;

use crate::pgrun::Pgrun;

const USAGE: i32 = 2;
const REFUSED: i32 = 3;
const PAUSED: i32 = 75;

/// A place with one runbook that ends well.
fn fine() -> Pgrun {
    Pgrun::of("step \"one\" { 1 } say(\"fine\");")
}
