//! PostgreSQL in async Rust: connecting, typed rows, and the primitives of replication, roles and sequences. No Rhai.
