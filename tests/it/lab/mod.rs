//! Tests of `lab`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "what fails in a helper fails the test, and a test that is skipped says so"
)]

mod clients;
mod clusters;
mod contract;
mod copies;
mod crash;
mod deployments;
mod errors;
mod faults;
mod house;
mod iam;
mod life;
mod managed;
mod master;
mod proxy;
mod refusals;
mod rotation;
mod secrets;
mod seeds;
mod server;
pub(crate) mod stage;
mod tls;
mod undo;
mod upgrade;
mod waivers;
mod weather;
