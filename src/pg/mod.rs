//! PostgreSQL in async Rust: connecting, typed rows, and the primitives of replication, roles and sequences. No Rhai.

mod calendar;
mod conceal;
mod conninfo;
mod decode;
mod difference;
mod facts;
mod failure;
pub mod fence;
mod harmless;
mod lexer;
mod link;
pub mod origin;
pub mod own;
mod param;
pub mod publication;
pub mod record;
pub mod roles;
pub mod schema;
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
pub mod verify;

pub use difference::{Change, Difference};
pub use facts::ServerFacts;
pub use link::Notice;
pub use record::Record;
pub use session::Session;
pub use settings::Settings;
pub use target::{Parts, SslMode, Target};
