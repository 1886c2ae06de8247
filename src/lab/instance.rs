//! One DB instance or DB cluster as data: what was asked for, its status, and the work that is under way. Doing the
//! work is in `work/`, showing it in `actions/shapes`.

use serde::{Deserialize, Serialize};

use std::collections::BTreeMap;

use super::{
    kind::{Engine, Kind},
    managed::MasterSecret,
    postgres::Version,
};

/// `DBInstanceStatus` (user guide, "Viewing DB instance status"), as far as the lab goes through them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum InstanceStatus {
    Available,
    BackingUp,
    Creating,
    Deleting,
    FailingOver,
    Failed,
    IncompatibleParameters,
    IncompatibleRestore,
    Modifying,
    Rebooting,
    Renaming,
    ResettingMasterCredentials,
    Starting,
    Stopped,
    Stopping,
    StorageFull,
    Upgrading,
}

impl InstanceStatus {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::BackingUp => "backing-up",
            Self::Creating => "creating",
            Self::Deleting => "deleting",
            Self::FailingOver => "failing-over",
            Self::Failed => "failed",
            Self::IncompatibleParameters => "incompatible-parameters",
            Self::IncompatibleRestore => "incompatible-restore",
            Self::Modifying => "modifying",
            Self::Rebooting => "rebooting",
            Self::Renaming => "renaming",
            Self::ResettingMasterCredentials => "resetting-master-credentials",
            Self::Starting => "starting",
            Self::Stopped => "stopped",
            Self::Stopping => "stopping",
            Self::StorageFull => "storage-full",
            Self::Upgrading => "upgrading",
        }
    }

    /// True when a server is expected to run, so that one which ended by itself is started again.
    pub(crate) fn serves(self) -> bool {
        matches!(
            self,
            Self::Available
                | Self::BackingUp
                | Self::Modifying
                | Self::Renaming
                | Self::ResettingMasterCredentials
                | Self::StorageFull
        )
    }
}

/// `ParameterApplyStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ApplyStatus {
    InSync,
    PendingReboot,
}

impl ApplyStatus {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::InSync => "in-sync",
            Self::PendingReboot => "pending-reboot",
        }
    }
}

/// Work under way. It is part of the state: a lab that was killed begins it anew.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Work {
    /// `initdb`, first start, roles. Holds the SCRAM verifier of the master's password, never the password.
    Create { verifier: String, database: Option<String> },
    /// A copy of the snapshot with this identifier is started.
    Restore { snapshot: String },
    /// A frozen copy of what has this resource id is started: a restore to the latest time.
    Clone { source: String },
    /// A copy that follows its original, for the blue/green deployment with this identifier.
    Green { deployment: String },
    /// Blue and green of this deployment change places.
    Switch { deployment: String },
    /// A server in a cluster: over its storage, or over a standby's copy of it.
    Join,
    /// The first backup of what is new. Clients may be at work meanwhile.
    Backup,
    /// Stop and removal, after a last snapshot if one was asked for.
    Delete { final_snapshot: Option<String> },
    /// What `ModifyDBInstance` asked for.
    Modify(Box<Changes>),
    /// Stop and start.
    Reboot,
    /// Stop, after a snapshot if one was asked for.
    Stop { snapshot: Option<String> },
    /// Start after a stop.
    Start,
    /// The member with this resource id becomes the writer of the cluster.
    Failover { to: String },
}

impl Work {
    /// What is done, as `pgrun lab status` says it.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Restore { .. } => "restore",
            Self::Clone { .. } => "clone",
            Self::Join => "join",
            Self::Backup => "backup",
            Self::Delete { .. } => "delete",
            Self::Modify(_) => "modify",
            Self::Reboot => "reboot",
            Self::Stop { .. } => "stop",
            Self::Start => "start",
            Self::Failover { .. } => "failover",
            Self::Green { .. } => "make green",
            Self::Switch { .. } => "switch over",
        }
    }
}

/// Changes that are not made at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Changes {
    pub(crate) verifier: Option<String>,
    pub(crate) class: Option<String>,
    pub(crate) storage_gb: Option<i64>,
    pub(crate) multi_az: Option<bool>,
    pub(crate) retention_days: Option<i64>,
    pub(crate) group: Option<String>,
    /// The instances' group in the upgrade of a cluster.
    #[serde(default)]
    pub(crate) member_group: Option<String>,
    #[serde(default)]
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) version: Option<Version>,
    pub(crate) rename: Option<String>,
}

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Later changes win.
    pub(crate) fn merge(mut self, later: Self) -> Self {
        self.attributes.extend(later.attributes);
        Self {
            attributes: self.attributes,
            verifier: later.verifier.or(self.verifier),
            class: later.class.or(self.class),
            storage_gb: later.storage_gb.or(self.storage_gb),
            multi_az: later.multi_az.or(self.multi_az),
            retention_days: later.retention_days.or(self.retention_days),
            group: later.group.or(self.group),
            member_group: later.member_group.or(self.member_group),
            version: later.version.or(self.version),
            rename: later.rename.or(self.rename),
        }
    }
}

/// A DB instance, or a DB cluster: what an instance has besides a server, a cluster has too.
#[expect(clippy::struct_excessive_bools, reason = "the API has as many independent switches")]
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Instance {
    #[serde(default)]
    pub(crate) kind: Kind,
    #[serde(default)]
    pub(crate) engine: Engine,
    pub(crate) id: String,
    /// `DbiResourceId` or `DbClusterResourceId`: stays through renaming.
    pub(crate) resource: String,
    /// Its folder below `instances/`; stays through renaming as well. The writer of a cluster has the cluster's.
    pub(crate) folder: String,
    /// The resource id of the cluster that it is a member of.
    #[serde(default)]
    pub(crate) cluster: Option<String>,
    /// `PromotionTier`: members of a low one become the writer first.
    #[serde(default)]
    pub(crate) tier: i64,
    /// Of a cluster: what `aurora_volume_logical_start_lsn()` gives.
    #[serde(default)]
    pub(crate) start_lsn: Option<String>,
    /// What is kept and shown and has no effect here; see `attributes`.
    #[serde(default)]
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) status: InstanceStatus,
    pub(crate) version: Version,
    pub(crate) class: String,
    pub(crate) master: String,
    /// The master user is a superuser, as in labs without the hook library; otherwise it is what it is on RDS.
    #[serde(default = "yes")]
    pub(crate) superuser_master: bool,
    pub(crate) database: Option<String>,
    /// Where its server listens; none before it first did. What was asked for is tried first.
    pub(crate) port: Option<u16>,
    pub(crate) wanted_port: Option<u16>,
    pub(crate) created_ms: u64,
    pub(crate) storage_gb: i64,
    pub(crate) retention_days: i64,
    pub(crate) multi_az: bool,
    pub(crate) iam: bool,
    pub(crate) public: bool,
    pub(crate) protected: bool,
    pub(crate) copy_tags: bool,
    pub(crate) auto_minor: bool,
    pub(crate) group: String,
    pub(crate) group_status: ApplyStatus,
    pub(crate) subnet_group: Option<String>,
    pub(crate) security_groups: Vec<String>,
    pub(crate) tags: Tags,
    /// The secret with the master password, where RDS manages it.
    #[serde(default)]
    pub(crate) master_secret: Option<MasterSecret>,
    /// Sessions begin read-only: green before a switchover, and what was blue after it until it is started again.
    #[serde(default)]
    pub(crate) read_only: bool,
    /// Changes that wait for a maintenance window, which the lab has none of, or for `ApplyImmediately`.
    pub(crate) pending: Changes,
    pub(crate) work: Option<Work>,
}

/// In labs of before there was a library.
fn yes() -> bool {
    true
}

impl Instance {
    /// True when a request may begin work on it.
    pub(crate) fn is_idle(&self) -> bool {
        self.status == InstanceStatus::Available && self.work.is_none()
    }
}

/// Tags in the order in which they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tags(pub(crate) Vec<(String, String)>);

impl Tags {
    pub(crate) fn add(&mut self, new: Tags) {
        for (key, value) in new.0 {
            self.remove(std::slice::from_ref(&key));
            self.0.push((key, value));
        }
    }

    pub(crate) fn remove(&mut self, keys: &[String]) {
        self.0.retain(|(key, _)| !keys.contains(key));
    }
}
