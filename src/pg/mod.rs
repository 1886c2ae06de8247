//! PostgreSQL in async Rust: connecting, typed rows, and the primitives of replication, roles and sequences. No Rhai.

mod calendar;
mod conceal;
mod conninfo;
mod decode;
pub mod drain;
mod facts;
mod failure;
pub mod fence;
mod harmless;
mod lexer;
mod link;
pub mod meeting;
pub mod origin;
pub mod own;
mod param;
mod pgoutput;
pub mod publication;
pub mod record;
pub mod roles;
pub mod sequences;
pub mod session;
pub mod sessions;
pub mod settings;
pub mod slot;
mod sql;
mod state;
pub mod subscription;
pub mod target;
mod tls;
pub mod turn;

pub use facts::ServerFacts;
pub use link::Notice;
pub use record::Record;
pub use session::Session;
pub use settings::Settings;
pub use target::{Parts, SslMode, Target};
