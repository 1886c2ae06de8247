//! What RDS has two of: instances and clusters, each with snapshots and parameter groups of its own. Here are the words
//! and codes in which the two differ, as the service model of RDS (2014-10-31) has them; the rest is common.

use serde::{Deserialize, Serialize};

use super::world::EventSource;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    #[default]
    Instance,
    Cluster,
}

/// Members of requests and answers, parts of ARNs, error codes.
#[derive(Debug)]
pub(crate) struct Words {
    pub(crate) noun: &'static str,
    pub(crate) id: &'static str,
    pub(crate) new_id: &'static str,
    pub(crate) arn: &'static str,
    /// Before the letters of a resource id.
    pub(crate) resource: &'static str,
    pub(crate) absent: &'static str,
    pub(crate) exists: &'static str,
    pub(crate) state: &'static str,
    pub(crate) source: EventSource,
    pub(crate) snapshot_id: &'static str,
    /// What a snapshot at the end of a life is named by in a request.
    pub(crate) final_snapshot: &'static str,
    pub(crate) copy_from: &'static str,
    pub(crate) copy_to: &'static str,
    pub(crate) snapshot_list: &'static str,
    pub(crate) snapshot_arn: &'static str,
    pub(crate) snapshot_absent: &'static str,
    pub(crate) snapshot_exists: &'static str,
    pub(crate) snapshot_state: &'static str,
    pub(crate) snapshot_source: EventSource,
    pub(crate) group: &'static str,
    pub(crate) group_name: &'static str,
    pub(crate) group_list: &'static str,
    pub(crate) group_arn: &'static str,
    pub(crate) group_arn_name: &'static str,
    /// What is said where a request for something else names a group that is not there. The actions on groups
    /// themselves say `DBParameterGroupNotFound` for both.
    pub(crate) group_absent: &'static str,
}

static INSTANCE: Words = Words {
    noun: "DBInstance",
    id: "DBInstanceIdentifier",
    new_id: "NewDBInstanceIdentifier",
    arn: "db",
    resource: "db-",
    absent: "DBInstanceNotFound",
    exists: "DBInstanceAlreadyExists",
    state: "InvalidDBInstanceState",
    source: EventSource::Instance,
    snapshot_id: "DBSnapshotIdentifier",
    final_snapshot: "FinalDBSnapshotIdentifier",
    copy_from: "SourceDBSnapshotIdentifier",
    copy_to: "TargetDBSnapshotIdentifier",
    snapshot_list: "DBSnapshots",
    snapshot_arn: "snapshot",
    snapshot_absent: "DBSnapshotNotFound",
    snapshot_exists: "DBSnapshotAlreadyExists",
    snapshot_state: "InvalidDBSnapshotState",
    snapshot_source: EventSource::Snapshot,
    group: "DBParameterGroup",
    group_name: "DBParameterGroupName",
    group_list: "DBParameterGroups",
    group_arn: "pg",
    group_arn_name: "DBParameterGroupArn",
    group_absent: "DBParameterGroupNotFound",
};

static CLUSTER: Words = Words {
    noun: "DBCluster",
    id: "DBClusterIdentifier",
    new_id: "NewDBClusterIdentifier",
    arn: "cluster",
    resource: "cluster-",
    absent: "DBClusterNotFoundFault",
    exists: "DBClusterAlreadyExistsFault",
    state: "InvalidDBClusterStateFault",
    source: EventSource::Cluster,
    snapshot_id: "DBClusterSnapshotIdentifier",
    final_snapshot: "FinalDBSnapshotIdentifier",
    copy_from: "SourceDBClusterSnapshotIdentifier",
    copy_to: "TargetDBClusterSnapshotIdentifier",
    snapshot_list: "DBClusterSnapshots",
    snapshot_arn: "cluster-snapshot",
    snapshot_absent: "DBClusterSnapshotNotFoundFault",
    snapshot_exists: "DBClusterSnapshotAlreadyExistsFault",
    snapshot_state: "InvalidDBClusterSnapshotStateFault",
    snapshot_source: EventSource::ClusterSnapshot,
    group: "DBClusterParameterGroup",
    group_name: "DBClusterParameterGroupName",
    group_list: "DBClusterParameterGroups",
    group_arn: "cluster-pg",
    group_arn_name: "DBClusterParameterGroupArn",
    group_absent: "DBClusterParameterGroupNotFound",
};

impl Kind {
    pub(crate) fn words(self) -> &'static Words {
        match self {
            Self::Instance => &INSTANCE,
            Self::Cluster => &CLUSTER,
        }
    }
}

/// The two engines of PostgreSQL. In the lab they are one: real servers of the same versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Engine {
    #[default]
    Postgres,
    Aurora,
}

impl Engine {
    pub(crate) const ALL: [Self; 2] = [Self::Aurora, Self::Postgres];

    /// `Engine` in requests and answers. Parameter group families begin so too.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Aurora => "aurora-postgresql",
        }
    }

    /// The parameter group family of a major version.
    pub(crate) fn family(self, major: u32) -> String {
        format!("{}{major}", self.text())
    }

    /// The group that RDS gives to whoever names none.
    pub(crate) fn default_group(self, major: u32) -> String {
        format!("default.{}", self.family(major))
    }

    /// Engine and major version of a family; `None` when it is none of PostgreSQL.
    pub(crate) fn of_family(family: &str) -> Option<(Self, u32)> {
        Self::ALL.into_iter().find_map(|engine| Some((engine, family.strip_prefix(engine.text())?.parse().ok()?)))
    }

    /// Engine and major version of a default group's name.
    pub(crate) fn of_default_group(name: &str) -> Option<(Self, u32)> {
        Self::of_family(name.strip_prefix("default.")?)
    }
}

#[cfg(test)]
mod tests {
    use super::Engine;

    #[test]
    fn families_are_read_back() {
        for engine in Engine::ALL {
            assert_eq!(Engine::of_family(&engine.family(15)), Some((engine, 15)));
            assert_eq!(Engine::of_default_group(&engine.default_group(17)), Some((engine, 17)));
        }
        assert_eq!(Engine::of_family("mysql8.0"), None);
        assert_eq!(Engine::of_default_group("postgres15"), None);
    }
}
