//! Tests of `pgrun::pg` against real servers.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "what fails in a helper of a test fails the test"
)]

mod compare;
mod cutover;
mod fence;
mod fixture;
mod inventory;
mod maintain;
mod meeting;
mod own;
mod pooler;
mod replication;
mod roles;
mod schema;
mod sequences;
mod session;
mod tls;
mod values;
mod verify;
mod watch;
pub(crate) mod writers;
