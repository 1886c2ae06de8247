//! All integration tests in one binary.

mod aws;
mod lab;
mod load;
mod pg;
mod rehearse;
