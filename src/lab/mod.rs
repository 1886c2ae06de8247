//! An annex: RDS and Secrets Manager in miniature, over real PostgreSQL servers. Imports `base/` only.
//!
//! ```text
//!  endpoint   HTTP on loopback; query + xml (RDS) and json (Secrets Manager) are the two protocols
//!  actions/   what can be asked: one table, name -> function
//!  metrics/   CloudWatch: what servers use at the moment; three protocols
//!  world      what the lab remembers: instance, cluster, snapshot, group, secret; one file, written with every change
//!  kind       what instances and clusters are called, and what they are refused with
//!  work/      what happens after an answer: states pass, servers are made, copied, upgraded, restarted
//!  postgres/  real servers, without any notion of RDS
//!  life       a lab in this process;  daemon  one in a process of its own
//! ```
//!
//! # Where the lab differs from RDS
//!
//! - The master user is a superuser. On RDS it is a member of `rds_superuser`, to which patches of RDS give what
//!   vanilla PostgreSQL gives superusers only. So the lab does not refuse what RDS refuses, such as `ALTER SYSTEM`.
//! - `GRANT rds_replication TO x` does not let `x` replicate: it needs `CREATE ROLE x .. REPLICATION`, which the master
//!   may write here and may not on RDS.
//! - There is no TLS, so `rds.force_ssl` is 0 by default.
//! - `Endpoint` is 127.0.0.1 with the port that the server really has, whatever `Port` asked for. It stays through
//!   restarts unless somebody else takes the port meanwhile.
//! - A restore to a point in time gives the present: `LatestRestorableTime` is now, and an earlier time is refused.
//! - What is only kept and shown, such as `StorageType`, `Iops`, `KmsKeyId` or `MonitoringInterval`, changes no server.
//!   `AllocatedStorage` limits nothing.
//! - The storage of a cluster is the data folder of its writer, and its readers are streaming standbys on copies of it:
//!   they lag as standbys do, and a writer that dies is started again in its place. A failover moves the other instance
//!   into the storage and gives it the writer's port, so that nothing is lost and the cluster's endpoint stays; the
//!   endpoints of the two instances change places.
//! - `Endpoint` and `ReaderEndpoint` of a cluster are the same address, because it has one `Port`: both lead to the
//!   writer. A reader is reached by the endpoint of its instance.
//! - A cluster that is restored with logical slots needs a group with `rds.logical_replication` before an instance of
//!   it starts: PostgreSQL refuses slots without `wal_level = logical`. `aurora_volume_logical_start_lsn()` gives where
//!   recovery of the copy ended.
//! - CloudWatch keeps nothing: it measures when it is asked, and gives one data point.
//! - Requests for every region are answered from one state, and backups that RDS takes by itself leave no snapshot.
//! - There is one minor version per major: the one installed or fetchable here.
//! - A snapshot shows what a killed process leaves, not what a power cut leaves: what was written is in it, synced or
//!   not.

mod actions;
mod attributes;
mod aurora;
mod daemon;
mod disk;
mod endpoint;
mod fault;
mod faults_at;
mod fleet;
mod group;
mod instance;
mod json;
mod kind;
mod life;
mod master;
mod metrics;
mod options;
pub mod postgres;
mod query;
mod refusal;
mod secret;
mod site;
mod snapshot;
mod work;
mod world;
mod xml;

pub use daemon::{Running, Status, down, foreground, running, status, up};
pub use fault::{Fault, KINDS as FAULT_KINDS, Kind as FaultKind, Struck};
pub use faults_at::{add_fault, clear_faults, faults};
pub use life::{FaultDesk, Lab};
pub use options::{Delays, LabOptions, SlotsInSnapshot};

/// The schema and rows of a rehearsal that brings none of its own: a small shop, for PostgreSQL 13 to 18. One batch.
pub const SAMPLE: &str = include_str!("sample.sql");
