//! An annex: RDS and Secrets Manager in miniature, over real PostgreSQL servers. Imports `base/` only.

mod disk;
pub mod postgres;

/// The schema and rows of a rehearsal that brings none of its own: a small shop, for PostgreSQL 13 to 18. One batch.
pub const SAMPLE: &str = include_str!("sample.sql");
