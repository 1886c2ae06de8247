//! pgrun executes PostgreSQL operations from versioned Rhai runbooks.
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

pub mod aws;
pub mod base;
pub mod cli;
pub mod lab;
pub mod load;
pub mod pg;
