//! Tests of `lab`.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "what fails in a helper of a test fails the test")]

mod copies;
mod errors;
mod life;
mod secrets;
mod server;
mod stage;
