//! PostgreSQL in async Rust: connecting, typed rows, and the primitives of replication, roles and sequences. No Rhai.
//!
//! # Reading order
//!
//! - [`target`], `tls`, `failure`: where to connect, how it is encrypted, what a refusal means.
//! - [`session`], [`settings`]: statements, transactions, and what is certain when a connection breaks.
//! - [`sequences`], [`roles`], [`sessions`], [`publication`], [`slot`], [`subscription`], [`origin`]: single things.
//! - [`own`], [`fence`], [`drain`], [`turn`], [`meeting`]: the parts of a cutover.
//! - [`inventory`], [`schema`], [`verify`]: what a server is like, and whether two are alike.
//!
//! # Values
//!
//! | SQL | `Value` |
//! |---|---|
//! | `bool`, integers, `oid`, `xid`, floats | `Bool`, `Int`, `Float` |
//! | `numeric` | `Decimal` up to 28 digits, else its text |
//! | text types, enums, `uuid`, `inet`, `macaddr`, `reg*`, `xml` | `Text` |
//! | dates, times, intervals | `Text` in ISO 8601; `infinity`; ` BC` |
//! | `bytea`, `pg_lsn` | `Bytes`, `Lsn` |
//! | `json`, `jsonb` | what the JSON holds |
//! | arrays of these, of any dimension | `List` |
//! | all others: ranges, composites, geometry, `tsvector`, .. | `Map` with `type` and `text` |
//!
//! Parameters take the same values, and a `Text` for any type, read as SQL would read a literal.
//!
//! # Versions and privileges
//!
//! PostgreSQL 13 to 18. Nothing needs a superuser where RDS gives none; each module says what it needs.

mod breach;
mod calendar;
mod checks;
mod conceal;
mod conninfo;
mod decode;
pub mod drain;
mod facts;
mod failure;
pub mod fence;
mod harmless;
pub mod inventory;
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
pub mod turn;
pub mod verify;

pub use facts::ServerFacts;
pub use link::Notice;
pub use record::Record;
pub use session::Session;
pub use settings::Settings;
pub use target::{Parts, SslMode, Target};
