//! Real PostgreSQL servers: found or fetched, chosen, started, frozen, upgraded. Knows nothing of RDS.

mod find;
mod installation;
mod launch;
mod place;
mod process;
mod program;
mod server;
mod session;
mod settings;

pub use find::installations;
pub use installation::{Installation, Version};
pub use place::{Scratch, ServerUser, cache_folder, lab_folder, obstacle, require_reachable};
pub use process::Process;
pub use server::{Server, ServerOptions, Shutdown};
pub use settings::{Settings, conf_text, hba_text};
