//! pgrun executes PostgreSQL operations from versioned Rhai runbooks. This page is the architecture.
//!
//! # From a file to a finished run
//!
//! `pgrun FILE.rhai` reads the runbook and everything it imports ([`engine::check`]), checks it without running it,
//! types its parameters ([`engine::params`]), and begins a *run* ([`journal::Run`]): a folder with the texts, a lock,
//! and a journal. Then a Rhai engine runs the script on a thread of its own ([`engine::run`]). The script's words
//! (`step phase confirm poll ..`, [`api::words`]) ask the journal first: what is done gives its recorded value, what is
//! not runs. So a run that died is simply run again, and arrives where it was.
//!
//! # Floors
//!
//! ```text
//!  4  cli/      words on a terminal: the only place that prints, the only exit
//!  3  engine/   Rhai configured; runbooks found, checked, run, resumed, explained
//!  2  api/      what a script can say: the only floor that knows both Rhai and the host
//!  1  pg/  aws/  journal/  load/    the world in async Rust, no Rhai; siblings do not know each other
//!  0  base/     plain types: errors, secrets, identifiers, clock, durations, waits, configuration
//!     lab/      an annex: RDS and Secrets Manager in miniature over real servers
//! ```
//!
//! A file imports its own folder and lower floors. `lab/` imports `base/` only, and only `cli/` starts it: everything
//! else reaches it by URL, as it reaches AWS.
//!
//! # Invariants, kept by a test that reads the source
//!
//! - Only `api/` and `engine/` mention `rhai`; only `api/bridge.rs` and `engine/diagnostic.rs` know its error type. Its
//!   volatile insides live in one file each: the syntax tree in `engine/scan.rs`, custom syntax in `api/words/mod.rs`,
//!   the scope in `api/words/outer.rs`, contexts that outlive their call in `api/undo.rs`.
//! - A script waits for the world in one place, [`api::Host::wait`]: there a second Ctrl-C and the deadlines of step
//!   and phase are heard. The script has a thread with a 64 MiB stack; no other code of it blocks on a future.
//! - `cli/` prints, `main` exits, `base/clock.rs` reads the time and sleeps. Whatever is printed or journaled passes
//!   the same [`base::Redactor`].
//! - What reaches the journal are the types of `journal/event.rs`. A live run and a recovery call the same
//!   [`journal::RunState::next`].
//! - `engine` does not know that a lab exists: AWS is an endpoint, PostgreSQL is an address.
//! - A script cannot catch: cancelled, refused, paused, a journal that cannot be written, a phase out of time
//!   ([`api::bridge`]).
//! - Every wait has an interval, a deadline and a sentence saying what it waits for ([`base::poll`]).
//!
//! # How a step stays a step
//!
//! A function of a script has an *effect* ([`api::Effect`]). Reading needs a step; writing needs a step's body. The
//! first write of a body makes the step's *intent* durable and claims the target; so a body that only reads leaves no
//! intent and simply runs again, and an intent without a result means that something may have changed. Then the ladder
//! in `api/words/step.rs` decides: `check`, `verify`, `retry: "safe"`, or a person.
//!
//! A transaction can know more: where the database has pgrun's own schema, it leaves a row about itself. A step that
//! changed something by such transactions only is begun with `marked` instead, and settles its outcome by itself
//! (`api/transaction.rs`).
//!
//! # Adding one thing
//!
//! | what | where |
//! |---|---|
//! | a function for scripts | one value in the table of its module in `api/` |
//! | a module for scripts | its file, and its line in `api::MODULES` |
//! | a file of the script library | `stdlib/NAME.rhai`, and its line in `engine/library.rs` |
//! | an error | one line in `base/code.rs` |
//! | a type of parameters | one line in `engine/params.rs` |
//! | a command | its type in `cli/args.rs`, its function, its line in `cli/mod.rs` |
//! | an action of the lab | one line in `lab/actions/mod.rs` |
//! | a runbook | one file; its rehearsal is `rehearsals/` beside it |

pub mod api;
pub mod aws;
pub mod base;
pub mod cli;
pub mod engine;
pub mod journal;
pub mod lab;
pub mod load;
pub mod pg;
