//! Real PostgreSQL servers: found or fetched, chosen, started, frozen, upgraded. Knows nothing of RDS.

mod catalogue;
mod choose;
mod compile;
mod disk_fault;
mod facilities;
mod fetch;
mod find;
mod freeze;
mod initdb;
mod installation;
mod launch;
mod place;
mod process;
mod program;
mod server;
mod session;
mod settings;
mod upgrade;

pub use catalogue::Catalogue;
pub use choose::pair;
pub(in crate::lab) use disk_fault::{DiskFault, disk_fault_library, has_disk_faults};
pub use facilities::Facilities;
pub use fetch::{Wheel, wheels};
pub use find::installations;
pub(in crate::lab) use freeze::hold;
pub use freeze::{copy_frozen, copy_tree, thaw, tree_bytes};
pub use initdb::Shape;
pub use installation::{Installation, Version, parameters_of};
pub use place::{Scratch, ServerUser, cache_folder, lab_folder, obstacle, require_reachable};
pub use process::Process;
pub use server::{Door, Server, ServerOptions, Shutdown, Tls};
pub(in crate::lab) use session::sql_error;
pub use settings::{Settings, conf_text, hba_text};
pub(in crate::lab) use upgrade::SOCKETS;
pub use upgrade::Upgrade;
