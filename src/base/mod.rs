//! Floor 0: plain types that every other floor may use. No PostgreSQL, no AWS, no Rhai, no terminal.

pub mod clock;
pub mod code;
pub mod config;
pub mod error;
pub mod finding;
pub mod ident;
pub mod lsn;
pub mod poll;
pub mod prose;
pub mod secret;
pub mod span;
pub mod value;

pub use code::{Code, Kind};
pub use config::Config;
pub use error::{Error, Result};
pub use finding::{Finding, Verdict};
pub use lsn::Lsn;
pub use secret::{Redactor, Secret};
pub use value::{Map, Value};
