//! One blue/green deployment as data: who is blue, who is green, how far both are. Doing the work is in
//! `work/deployments` and `work/switchover`, showing it in `actions/deployments`.
//!
//! Names, states and lists are those of the service model of RDS (2014-10-31), `BlueGreenDeployment`. The names of the
//! tasks are in no list: they are those in the examples of the API reference.

use serde::{Deserialize, Serialize};

use super::instance::Tags;

/// `Status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum DeploymentStatus {
    Provisioning,
    Available,
    SwitchoverInProgress,
    SwitchoverCompleted,
    SwitchoverFailed,
    InvalidConfiguration,
    Deleting,
}

impl DeploymentStatus {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Provisioning => "PROVISIONING",
            Self::Available => "AVAILABLE",
            Self::SwitchoverInProgress => "SWITCHOVER_IN_PROGRESS",
            Self::SwitchoverCompleted => "SWITCHOVER_COMPLETED",
            Self::SwitchoverFailed => "SWITCHOVER_FAILED",
            Self::InvalidConfiguration => "INVALID_CONFIGURATION",
            Self::Deleting => "DELETING",
        }
    }
}

/// One of `Tasks`, in the order in which they are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Task {
    Copy,
    Upgrade,
    Backups,
    Topology,
}

impl Task {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Copy => "CREATING_READ_REPLICA_OF_SOURCE",
            Self::Upgrade => "DB_ENGINE_VERSION_UPGRADE",
            Self::Backups => "CONFIGURE_BACKUPS",
            Self::Topology => "CREATING_TOPOLOGY_OF_SOURCE",
        }
    }
}

/// How far a switchover is. Each step is written down before the next begins, so that a killed one goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// Green follows blue. From here a switchover can be put back.
    #[default]
    Follows,
    /// Nobody writes to blue any more, and green has everything.
    Drained,
    /// Names and ports are exchanged.
    Exchanged,
}

/// Blue or green.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Side {
    /// The resource id of its instance, which stays.
    pub(crate) resource: String,
    /// Its last name, for when the instance is gone.
    pub(crate) id: String,
}

/// A blue/green deployment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Deployment {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) source: Side,
    pub(crate) target: Side,
    pub(crate) status: DeploymentStatus,
    pub(crate) details: Option<String>,
    pub(crate) tasks: Vec<Task>,
    /// So many of the tasks are done.
    pub(crate) done: usize,
    pub(crate) phase: Phase,
    /// Of the switchover under way, in seconds.
    pub(crate) timeout_s: u64,
    /// Its deletion takes green along.
    pub(crate) delete_target: bool,
    pub(crate) created_ms: u64,
    pub(crate) deleted_ms: Option<u64>,
    pub(crate) tags: Tags,
}

impl Deployment {
    /// What its publications are called, and how its slots and subscriptions begin.
    pub(crate) fn mark(&self) -> String {
        self.id.replace('-', "_")
    }

    /// True while one of its sides may not be in another one.
    pub(crate) fn is_open(&self) -> bool {
        self.phase != Phase::Exchanged
    }
}
