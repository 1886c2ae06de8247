//! An annex: RDS and Secrets Manager in miniature, over real PostgreSQL servers. Imports `base/` only.

mod disk;
pub mod postgres;
