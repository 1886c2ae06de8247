//! One snapshot of an instance or a cluster as data. Its files are a data folder as a crash would leave it, and the
//! logs of its upgrade.

use serde::{Deserialize, Serialize};

use std::collections::BTreeMap;

use super::{
    instance::Tags,
    kind::{Engine, Kind},
    postgres::Version,
};

/// `Status` of a snapshot: the API documents no list; these occur.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SnapshotStatus {
    Available,
    Creating,
    Upgrading,
    Failed,
}

impl SnapshotStatus {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Creating => "creating",
            Self::Upgrading => "upgrading",
            Self::Failed => "failed",
        }
    }
}

/// Work under way; see `instance::Work`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum SnapshotWork {
    /// A frozen copy of the instance with this resource id is made.
    Take { resource: String },
    /// The snapshot with this identifier is copied.
    Copy { source: String },
    /// `pg_upgrade` runs on a copy.
    Upgrade { to: Version },
}

/// A DB snapshot or a DB cluster snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    #[serde(default)]
    pub(crate) kind: Kind,
    #[serde(default)]
    pub(crate) engine: Engine,
    pub(crate) id: String,
    /// Its folder below `snapshots/`: another one after each upgrade.
    pub(crate) folder: String,
    /// The instance or cluster it was taken of.
    pub(crate) instance: String,
    pub(crate) resource: String,
    pub(crate) status: SnapshotStatus,
    pub(crate) version: Version,
    pub(crate) master: String,
    pub(crate) port: Option<u16>,
    pub(crate) created_ms: u64,
    /// When the first of a chain of copies was taken.
    pub(crate) original_ms: u64,
    pub(crate) instance_created_ms: u64,
    pub(crate) storage_gb: i64,
    #[serde(default)]
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) progress: u8,
    pub(crate) iam: bool,
    /// The ARN of the snapshot it is a copy of.
    pub(crate) source: Option<String>,
    pub(crate) tags: Tags,
    pub(crate) work: Option<SnapshotWork>,
}
