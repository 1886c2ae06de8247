//! Tests of `pgrun::pg` against real servers.

mod fixture;
mod schema;
mod sequences;
mod session;
mod tls;
mod values;
mod verify;
