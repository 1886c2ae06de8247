//! Tests of `pgrun::pg` against real servers.

mod fixture;
mod replication;
mod roles;
mod sequences;
mod session;
mod tls;
mod values;
