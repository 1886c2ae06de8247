//! Tests of `load`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "what fails in a helper fails the test")]

mod asking;
mod stage;
mod switch;
mod tls;
mod truth;
