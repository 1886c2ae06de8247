//! All integration tests in one binary.

mod aws;
mod cli;
mod lab;
mod language;
mod load;
mod pg;
mod pgrun;
mod recovery;
mod rehearse;
