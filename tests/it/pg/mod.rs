//! Tests of `pg`.
