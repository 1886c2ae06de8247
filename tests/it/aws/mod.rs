//! Tests of `aws`.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "what fails in a helper fails the test")]

mod faults;
mod log_blocks;
mod responder;
mod waits;
