//! An annex: RDS and Secrets Manager in miniature, over real PostgreSQL servers. Imports `base/` only.
//!
//! ```text
//!  endpoint   HTTP on loopback; query + xml (RDS) and json (Secrets Manager) are the two protocols
//!  actions/   what can be asked: one table, name -> function
//!  metrics/   CloudWatch: what servers use at the moment; three protocols
//!  world      what the lab remembers: instance, cluster, snapshot, deployment ..; one file, written with every change
//!  kind       what instances and clusters are called, and what they are refused with
//!  work/      what happens after an answer: states pass, servers are made, copied, upgraded, restarted
//!  function   rotation functions: HTTP servers on loopback in the place of Lambda
//!  postgres/  real servers, without any notion of RDS but in the C of its hooks/
//!  replication  what green follows blue by
//!  authority  certificates;  relay, scram, wire  the connections of an RDS Proxy
//!  fault/     a bad day: what is struck, how often;  call, skew  what a client sees of it;  work/weather  servers
//!  clock      the lab's time;  ledger  what clients asked and how late they noticed;  deeds, status  what is shown
//!  life       a lab in this process;  daemon  one in a process of its own
//! ```
//!
//! # Where the lab differs from RDS
//!
//! - The master user is what it is on RDS, a member of `rds_superuser` without SUPERUSER, where a C compiler and the
//!   server headers of that version are: then servers load a library (`postgres/hooks/rdslab.c`) that allows it what
//!   RDS allows and nothing else. Elsewhere it is a superuser, `GRANT rds_replication` gives nothing, and what RDS
//!   refuses, such as `ALTER SYSTEM`, passes. It becomes one also where an upgrade leads to a version without headers.
//! - With the library, differences remain. Who has the privileges of `rds_replication` shows REPLICATION in `pg_roles`:
//!   PostgreSQL asks for the attribute itself. Extensions and event triggers belong to `rdsadmin`, and below 16
//!   subscriptions do. From 16 on a subscription belongs to whoever made it, and its worker acts as the owners of the
//!   tables, as PostgreSQL has it; RDS does not say. Of the settings that only superusers may set, the master may set
//!   `session_replication_role` and no other. On 13 the functions `pg_replication_origin_*` stay closed to it.
//! - From 16 on members of `rds_superuser` with CREATEROLE alter, grant and drop every ordinary role, ADMIN OPTION or
//!   not. No page of RDS says so; that they can after an upgrade is what users report.
//! - TLS is there where the build of PostgreSQL has it, by an authority of the lab's own (`ca.pem`). `rds.force_ssl` is
//!   0 by default. `CACertificateIdentifier` names Amazon's authority all the same.
//! - IAM authentication needs the library and TLS. A token's signature is not verified, and no policy is asked: the lab
//!   knows neither secret keys nor identities. Host, port, role, age and form are checked.
//! - An RDS Proxy multiplexes nothing, takes no IAM authentication, has one instance behind it, and listens on a port
//!   of its own that `pgrun lab status` shows: its `Endpoint` is the name in its certificate, which no DNS knows.
//! - `Endpoint` is 127.0.0.1 with the port that the server really has, whatever `Port` asked for. It stays through
//!   restarts unless somebody else takes the port meanwhile. The name that RDS would give is in the certificate.
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
//! - In a blue/green deployment green follows blue by logical replication always. RDS does so for a major upgrade only,
//!   and otherwise physically; so here `rds.logical_replication` is needed, and DDL is not followed, in every case. RDS
//!   takes sources that are clusters, and replicas along with a source; the lab takes neither. Nothing looks for DDL
//!   on blue: a sequence that green has not stops the switchover, a table that it has not stays empty.
//! - During a switchover both instances are `modifying`, and both servers are started again so that green has blue's
//!   port. On RDS a name in DNS changes, and clients depend on how long they keep it.
//! - CloudWatch keeps nothing: it measures when it is asked, and gives one data point.
//! - Requests for every region are answered from one state, and backups that RDS takes by itself leave no snapshot.
//! - There is one minor version per major: the one installed or fetchable here.
//! - Secrets Manager rotates when a window opens, not at any time in it, and tries a failed rotation again every hour;
//!   AWS does not say when it does. Secrets are not encrypted, policies are kept and not enforced, and nothing is
//!   replicated to another Region.
//! - A snapshot shows what a killed process leaves, not what a power cut leaves: what was written is in it, synced or
//!   not.

mod actions;
mod attributes;
mod aurora;
mod authority;
mod call;
mod clock;
mod daemon;
mod deeds;
mod deployment;
mod disk;
mod endpoint;
mod fault;
mod fleet;
mod function;
mod functions_at;
mod group;
mod http;
mod instance;
mod json;
mod kind;
mod ledger;
mod life;
mod managed;
mod master;
mod metrics;
mod options;
pub mod postgres;
mod proxy;
mod query;
mod refusal;
mod relay;
mod replication;
mod rotation;
mod schedule;
mod scram;
mod secret;
#[cfg(test)]
mod secret_laws;
mod site;
mod skew;
mod snapshot;
mod status;
mod wire;
mod work;
mod world;
mod xml;

pub use actions::operations;
pub use authority::ca_file;
pub use daemon::{Running, down, end_left_over, foreground, running, up};
pub use deeds::Deed;
pub use fault::{
    Fault, KINDS as FAULT_KINDS, Kind as FaultKind, On as FaultOn, Struck, add_fault, clear_faults, faults,
};
pub use function::{Function, Registered};
pub use functions_at::{add_function, functions, remove_function};
pub use ledger::Calls;
pub use life::{FaultDesk, Lab};
pub use options::{Delays, LabOptions, SlotsInSnapshot};
pub use status::{Status, place, status};

/// The schema and rows of a rehearsal that brings none of its own: a small shop, for PostgreSQL 13 to 18. One batch.
pub const SAMPLE: &str = include_str!("sample.sql");
