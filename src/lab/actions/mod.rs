//! What can be asked of the lab. One table; adding an action costs one function and one line here.

use std::sync::Arc;

use serde_json::Value;

use super::{json::Members, kind::Kind, query::Query, refusal::Outcome, site::Site, xml::Element};

mod cluster_shapes;
mod clusters;
mod deployments;
mod engines;
mod events;
mod groups;
mod instance_changes;
mod instances;
mod logs;
mod master_password;
mod names;
mod page;
mod policies;
mod proxies;
mod rotations;
mod secret_lists;
mod secret_views;
mod secrets;
mod shapes;
mod snapshots;
mod tags;

/// An action of RDS: gives the content of the `Result` element, or nothing where the API has none.
type QueryAction = fn(&Arc<Site>, &Query) -> Outcome<Option<Element>>;

/// An action of Secrets Manager.
type JsonAction = fn(&Arc<Site>, &Members) -> Outcome<Value>;

/// One action with the protocol that it is asked by.
#[derive(Clone, Copy)]
pub(super) enum Action {
    Query(QueryAction),
    Json(JsonAction),
}

use Action::{Json, Query as Rds};

/// Every action by its name. Names of both services do not clash.
pub(super) const ACTIONS: &[(&str, Action)] = &[
    ("CreateDBInstance", Rds(instances::create)),
    ("DescribeDBInstances", Rds(|site, query| instances::describe(site, query, Kind::Instance))),
    ("ModifyDBInstance", Rds(|site, query| instance_changes::modify(site, query, Kind::Instance))),
    ("RebootDBInstance", Rds(instance_changes::reboot)),
    ("StopDBInstance", Rds(|site, query| instance_changes::stop(site, query, Kind::Instance))),
    ("StartDBInstance", Rds(|site, query| instance_changes::start(site, query, Kind::Instance))),
    ("DeleteDBInstance", Rds(|site, query| instance_changes::delete(site, query, Kind::Instance))),
    ("RestoreDBInstanceFromDBSnapshot", Rds(instances::restore)),
    ("CreateDBSnapshot", Rds(|site, query| snapshots::create(site, query, Kind::Instance))),
    ("DescribeDBSnapshots", Rds(|site, query| snapshots::describe(site, query, Kind::Instance))),
    ("ModifyDBSnapshot", Rds(snapshots::modify)),
    ("CopyDBSnapshot", Rds(|site, query| snapshots::copy(site, query, Kind::Instance))),
    ("DeleteDBSnapshot", Rds(|site, query| snapshots::delete(site, query, Kind::Instance))),
    ("DescribeDBEngineVersions", Rds(engines::describe_versions)),
    ("CreateDBProxy", Rds(proxies::create)),
    ("DescribeDBProxies", Rds(proxies::describe)),
    ("DeleteDBProxy", Rds(proxies::delete)),
    ("RegisterDBProxyTargets", Rds(proxies::register)),
    ("DescribeDBProxyTargets", Rds(proxies::describe_targets)),
    ("DescribeDBSubnetGroups", Rds(engines::describe_subnet_groups)),
    ("DescribeDBLogFiles", Rds(logs::describe)),
    ("DownloadDBLogFilePortion", Rds(logs::download)),
    ("DescribeEvents", Rds(events::describe)),
    ("AddTagsToResource", Rds(tags::add)),
    ("RemoveTagsFromResource", Rds(tags::remove)),
    ("ListTagsForResource", Rds(tags::list)),
    ("CreateDBParameterGroup", Rds(|site, query| groups::create(site, query, Kind::Instance))),
    ("DescribeDBParameterGroups", Rds(|site, query| groups::describe(site, query, Kind::Instance))),
    ("ModifyDBParameterGroup", Rds(|site, query| groups::modify(site, query, Kind::Instance))),
    ("ResetDBParameterGroup", Rds(|site, query| groups::reset(site, query, Kind::Instance))),
    ("DeleteDBParameterGroup", Rds(|site, query| groups::delete(site, query, Kind::Instance))),
    ("DescribeDBParameters", Rds(|site, query| groups::describe_parameters(site, query, Kind::Instance))),
    ("RestoreDBInstanceToPointInTime", Rds(instances::restore_to_time)),
    ("CreateDBCluster", Rds(clusters::create)),
    ("DescribeDBClusters", Rds(|site, query| instances::describe(site, query, Kind::Cluster))),
    ("ModifyDBCluster", Rds(|site, query| instance_changes::modify(site, query, Kind::Cluster))),
    ("StopDBCluster", Rds(|site, query| instance_changes::stop(site, query, Kind::Cluster))),
    ("StartDBCluster", Rds(|site, query| instance_changes::start(site, query, Kind::Cluster))),
    ("FailoverDBCluster", Rds(clusters::failover)),
    ("DeleteDBCluster", Rds(|site, query| instance_changes::delete(site, query, Kind::Cluster))),
    ("RestoreDBClusterFromSnapshot", Rds(clusters::restore)),
    ("RestoreDBClusterToPointInTime", Rds(clusters::restore_to_time)),
    ("CreateDBClusterSnapshot", Rds(|site, query| snapshots::create(site, query, Kind::Cluster))),
    ("DescribeDBClusterSnapshots", Rds(|site, query| snapshots::describe(site, query, Kind::Cluster))),
    ("CopyDBClusterSnapshot", Rds(|site, query| snapshots::copy(site, query, Kind::Cluster))),
    ("DeleteDBClusterSnapshot", Rds(|site, query| snapshots::delete(site, query, Kind::Cluster))),
    ("CreateDBClusterParameterGroup", Rds(|site, query| groups::create(site, query, Kind::Cluster))),
    ("DescribeDBClusterParameterGroups", Rds(|site, query| groups::describe(site, query, Kind::Cluster))),
    ("ModifyDBClusterParameterGroup", Rds(|site, query| groups::modify(site, query, Kind::Cluster))),
    ("ResetDBClusterParameterGroup", Rds(|site, query| groups::reset(site, query, Kind::Cluster))),
    ("DeleteDBClusterParameterGroup", Rds(|site, query| groups::delete(site, query, Kind::Cluster))),
    ("DescribeDBClusterParameters", Rds(|site, query| groups::describe_parameters(site, query, Kind::Cluster))),
    ("CreateBlueGreenDeployment", Rds(deployments::create)),
    ("DescribeBlueGreenDeployments", Rds(deployments::describe)),
    ("SwitchoverBlueGreenDeployment", Rds(deployments::switch)),
    ("DeleteBlueGreenDeployment", Rds(deployments::delete)),
    ("CreateSecret", Json(secrets::create)),
    ("PutSecretValue", Json(secrets::put_value)),
    ("UpdateSecret", Json(secrets::update)),
    ("UpdateSecretVersionStage", Json(secrets::update_version_stage)),
    ("DeleteSecret", Json(secrets::delete)),
    ("RestoreSecret", Json(secrets::restore)),
    ("RotateSecret", Json(rotations::rotate)),
    ("CancelRotateSecret", Json(rotations::cancel)),
    ("TagResource", Json(secrets::tag)),
    ("UntagResource", Json(secrets::untag)),
    ("PutResourcePolicy", Json(policies::put)),
    ("GetResourcePolicy", Json(policies::get)),
    ("DeleteResourcePolicy", Json(policies::delete)),
    ("ValidateResourcePolicy", Json(policies::validate)),
    ("GetSecretValue", Json(secret_views::get_value)),
    ("BatchGetSecretValue", Json(secret_lists::batch_get_value)),
    ("DescribeSecret", Json(secret_views::describe)),
    ("ListSecrets", Json(secret_lists::list)),
    ("ListSecretVersionIds", Json(secret_views::list_version_ids)),
    ("GetRandomPassword", Json(secret_views::random_password)),
];

/// The names of all operations of RDS and Secrets Manager that the lab answers.
#[must_use]
pub fn operations() -> Vec<&'static str> {
    ACTIONS.iter().map(|(name, _)| *name).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::ACTIONS;

    #[test]
    fn no_action_stands_twice() {
        let names: BTreeSet<&str> = ACTIONS.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), ACTIONS.len());
    }
}
