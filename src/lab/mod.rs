//! An annex: RDS and Secrets Manager in miniature, over real PostgreSQL servers. Imports `base/` only.
//!
//! ```text
//!  endpoint   HTTP on loopback; query + xml (RDS) and json (Secrets Manager) are the two protocols
//!  actions/   what can be asked: one table, name -> function
//!  world      what the lab remembers: instance, snapshot, group, secret; one file, written with every change
//!  work/      what happens after an answer: states pass, servers are made, copied, upgraded, restarted
//!  function   rotation functions: HTTP servers on loopback in the place of Lambda
//!  postgres/  real servers, without any notion of RDS
//!  life       a lab in this process;  daemon  one in a process of its own
//! ```
//!
//! # Where the lab differs from RDS
//!
//! - The master user is a superuser. On RDS it is a member of `rds_superuser`, to which patches of RDS give what
//!   vanilla PostgreSQL gives superusers only. So the lab does not refuse what RDS refuses, such as `ALTER SYSTEM`.
//! - `GRANT rds_replication TO x` does not let `x` replicate: it needs `CREATE ROLE x .. REPLICATION`, which the master
//!   may write here and may not on RDS.
//! - There is no TLS, so `rds.force_ssl` is 0 by default.
//! - `Endpoint` is 127.0.0.1 with the port that the server really has, whatever `Port` asked for. It stays through
//!   restarts unless somebody else takes the port meanwhile.
//! - Requests for every region are answered from one state, and backups that RDS takes by itself leave no snapshot.
//! - There is one minor version per major: the one installed or fetchable here.
//! - Secrets Manager rotates when a window opens, not at any time in it, and tries a failed rotation again every hour;
//!   AWS does not say when it does. Secrets are not encrypted, policies are kept and not enforced, and nothing is
//!   replicated to another Region.
//! - A snapshot shows what a killed process leaves, not what a power cut leaves: what was written is in it, synced or
//!   not.

mod actions;
mod call;
mod clock;
mod daemon;
mod disk;
mod endpoint;
mod fault;
mod fleet;
mod function;
mod functions_at;
mod group;
mod http;
mod instance;
mod json;
mod ledger;
mod life;
mod managed;
mod master;
mod options;
pub mod postgres;
mod query;
mod refusal;
mod rotation;
mod schedule;
mod secret;
#[cfg(test)]
mod secret_laws;
mod site;
mod snapshot;
mod work;
mod world;
mod xml;

pub use daemon::{Running, Status, down, foreground, running, status, up};
pub use fault::{
    Fault, KINDS as FAULT_KINDS, Kind as FaultKind, On as FaultOn, Struck, add_fault, clear_faults, faults,
};
pub use function::{Function, Registered};
pub use functions_at::{add_function, functions, remove_function};
pub use ledger::Calls;
pub use life::{FaultDesk, Lab};
pub use options::{Delays, LabOptions, SlotsInSnapshot};

/// The schema and rows of a rehearsal that brings none of its own: a small shop, for PostgreSQL 13 to 18. One batch.
pub const SAMPLE: &str = include_str!("sample.sql");
