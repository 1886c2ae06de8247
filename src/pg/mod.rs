//! PostgreSQL in async Rust: connecting, typed rows, and the primitives of replication, roles and sequences. No Rhai.

mod calendar;
mod conninfo;
mod decode;
mod facts;
mod failure;
pub mod fence;
mod harmless;
mod lexer;
mod link;
pub mod own;
mod param;
pub mod record;
pub mod sequences;
pub mod session;
pub mod settings;
mod sql;
mod state;
pub mod target;
mod tls;

pub use facts::ServerFacts;
pub use link::Notice;
pub use record::Record;
pub use session::Session;
pub use settings::Settings;
pub use target::{Parts, SslMode, Target};
