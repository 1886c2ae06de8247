//! RDS, Secrets Manager and CloudWatch through the AWS SDK, with pgrun's own waits. No Rhai, and no type of the SDK in
//! a public signature.
//!
//! [`Aws`] is a lazy handle; [`Rds`] and [`Secrets`] carry the methods, which are spread over the files by subject.
//! Calls that only ask are repeated until they are answered. Calls that change something are repeated only where AWS
//! cannot have acted on them; otherwise they end as `aws_unknown`, and the caller looks before it acts again.

mod carry;
mod client;
mod cluster;
mod error;
mod events;
mod instance;
pub mod inventory;
mod likeness;
mod log_line;
mod logs;
mod metrics;
mod parameters;
mod redo;
mod rename;
mod request;
mod retry;
mod secrets;
mod snapshot;
mod tags;
mod verdict;
mod versions;
mod wait;

pub use carry::{Carried, Carry, Deviation};
pub use client::{Aws, Keys, Rds, Settings};
pub use cluster::{CloneOf, Cluster, ClusterChange, ClusterGoal, Member, NewCluster, NewMember, unlike_clusters};
pub use events::{Event, Source};
pub use instance::{GroupStatus, Instance};
pub use likeness::{Likened, Unlike, unlike};
pub use logs::{LogFile, LogText};
pub use parameters::{Parameter, ParameterGroup, Scope, family_of};
pub use redo::{Bounds, Redo, first_redo_done};
pub use rename::Renaming;
pub use request::{FinalSnapshot, InstanceChange, NewInstance};
pub use secrets::{
    CURRENT, Deletion, PENDING, PREVIOUS, Passwords, Promotion, Repointed, Secrets, Stored, Summary, Which, token,
};
pub use snapshot::{Restore, Snapshot};
pub use tags::{Made, Mark, Resource, Tags};
pub use verdict::{InstanceGoal, SnapshotGoal};
pub use versions::{UpgradeTarget, Version, choose_target};
pub use wait::Wait;
