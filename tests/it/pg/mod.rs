//! Tests of `pgrun::pg` against real servers.

mod fixture;
mod session;
mod tls;
mod values;
