//! All integration tests in one binary.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod aws;
mod cli;
mod examples;
mod faults;
mod lab;
mod language;
mod load;
mod pg;
mod pgrun;
mod recovery;
mod rehearse;
mod tidy;
