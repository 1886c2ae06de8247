//! What can be asked of the lab. One table; adding an action costs one function and one line here.

use std::sync::Arc;

use serde_json::Value;

use super::{json::Members, query::Query, refusal::Outcome, site::Site, xml::Element};

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
    ("DescribeDBInstances", Rds(instances::describe)),
    ("ModifyDBInstance", Rds(instance_changes::modify)),
    ("RebootDBInstance", Rds(instance_changes::reboot)),
    ("StopDBInstance", Rds(instance_changes::stop)),
    ("StartDBInstance", Rds(instance_changes::start)),
    ("DeleteDBInstance", Rds(instance_changes::delete)),
    ("RestoreDBInstanceFromDBSnapshot", Rds(instances::restore)),
    ("CreateDBSnapshot", Rds(snapshots::create)),
    ("DescribeDBSnapshots", Rds(snapshots::describe)),
    ("ModifyDBSnapshot", Rds(snapshots::modify)),
    ("CopyDBSnapshot", Rds(snapshots::copy)),
    ("DeleteDBSnapshot", Rds(snapshots::delete)),
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
    ("CreateDBParameterGroup", Rds(groups::create)),
    ("DescribeDBParameterGroups", Rds(groups::describe)),
    ("ModifyDBParameterGroup", Rds(groups::modify)),
    ("ResetDBParameterGroup", Rds(groups::reset)),
    ("DeleteDBParameterGroup", Rds(groups::delete)),
    ("DescribeDBParameters", Rds(groups::describe_parameters)),
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
