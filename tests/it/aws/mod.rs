//! Tests of `aws`.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "what fails in a helper fails the test")]

mod clusters;
mod faults;
mod life;
mod log_blocks;
mod responder;
mod settings;
mod switch;
mod versions_of_secrets;
mod waits;
