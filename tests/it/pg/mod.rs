//! Tests of `pgrun::pg` against real servers.

mod fence;
mod fixture;
mod own;
mod sequences;
mod session;
mod tls;
mod values;
