//! What a script can say. The only floor that knows both Rhai and the host.
//!
//! To add a function: one value in the table of its module. To add a module: its file, and its line in [`MODULES`].
//! The words of the language (`step phase confirm ..`) are in `words/`; the guarded values in `types.rs`.

pub mod bridge;
pub mod convert;
mod db;
pub mod frame;
pub mod function;
mod guardian;
mod hook;
pub mod host;
mod language;
pub mod operator;
mod options;
mod pg;
mod pg_compare;
mod pg_cutover;
mod pg_maintain;
mod pg_probe;
mod pg_replication;
mod pg_watch;
mod pg_window;
mod pgbouncer;
mod rds;
mod rds_cluster;
mod rds_settings;
mod rds_upgrade;
mod reads;
mod secrets;
pub mod stage;
pub mod stop;
mod streams;
mod transaction;
pub mod trial;
mod types;
pub mod undo;
pub mod waivers;
pub mod words;

use rhai::Engine;

pub use function::{Call, Effect, Function, Module};
pub use host::{Host, Parts, Purpose};
pub use language::absence;
pub use operator::{Answer, Notice, Operator, Question, Wanted};
pub use stop::Stop;
pub use waivers::Waive;
pub use words::back;

/// Every module that scripts can use.
pub const MODULES: &[&Module] = &[
    &language::MODULE,
    &hook::MODULE,
    &pg::MODULE,
    &pg_replication::MODULE,
    &pg_compare::MODULE,
    &pg_cutover::MODULE,
    &pg_probe::MODULE,
    &pg_watch::MODULE,
    &pg_window::MODULE,
    &pg_maintain::MODULE,
    &pgbouncer::MODULE,
    &rds::MODULE,
    &rds_settings::MODULE,
    &rds_upgrade::MODULE,
    &rds_cluster::MODULE,
    &secrets::MODULE,
    stage::REHEARSAL,
    stage::LAB,
    stage::LOAD,
];

/// Teaches an engine the whole language.
pub fn register(engine: &mut Engine, host: &Host) {
    // Where every script begins; modules that are loaded on the way begin here too.
    engine.set_default_tag(host.root().tag());
    types::register(engine);
    language::register_replacements(engine);
    Module::register_all(MODULES, engine, host);
    words::register(engine, host);
}
