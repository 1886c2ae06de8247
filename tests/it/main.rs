//! All integration tests in one binary.

mod aws;
mod lab;
mod language;
mod load;
mod pg;
mod pgrun;
mod recovery;
mod rehearse;
