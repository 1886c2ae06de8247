//! Clusters by the Rust SDK: every operation once with success, and each refusal that `rds.py` knows, on one cluster.

use std::time::Duration;

use aws_sdk_rds::{Client, client::Waiters, types::ApplyMethod};

use super::rds_rust::{filter, parameter, tag};
use crate::lab::{
    clusters::{add, cluster_settles},
    stage::{PASSWORD, Stage, pair, settle},
};

const BUSY: &str = "InvalidDBClusterStateFault 400";
const VALUE: &str = "InvalidParameterValue 400";
const COMBINATION: &str = "InvalidParameterCombination 400";
const ENGINE: &str = "aurora-postgresql";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rust_sdk_sees_clusters() {
    let (from, to) = pair().await;
    let (from, to) = (from.to_string(), to.to_string());
    let stage = Stage::set().await;
    let rds = &stage.rds;
    nothing_there(rds).await;
    groups(rds, &from).await;
    creation(rds, &from).await;
    members(rds).await;
    changes(rds, &to).await;
    snapshots(rds).await;
    copies(rds).await;
    ends(rds).await;
    stage.lab.shutdown().await.unwrap();
}

/// Every operation that names something, with a name that nothing has.
async fn nothing_there(rds: &Client) {
    refuse!("DBClusterNotFoundFault 404";
        rds.describe_db_clusters().db_cluster_identifier("nobody"),
        rds.modify_db_cluster().db_cluster_identifier("nobody"),
        rds.stop_db_cluster().db_cluster_identifier("nobody"),
        rds.start_db_cluster().db_cluster_identifier("nobody"),
        rds.failover_db_cluster().db_cluster_identifier("nobody"),
        rds.delete_db_cluster().db_cluster_identifier("nobody").skip_final_snapshot(true),
        rds.create_db_cluster_snapshot().db_cluster_identifier("nobody").db_cluster_snapshot_identifier("s"),
        rds.restore_db_cluster_to_point_in_time().source_db_cluster_identifier("nobody").db_cluster_identifier("t")
            .use_latest_restorable_time(true),
    );
    refuse!("DBClusterSnapshotNotFoundFault 404";
        rds.describe_db_cluster_snapshots().db_cluster_snapshot_identifier("nobody"),
        rds.delete_db_cluster_snapshot().db_cluster_snapshot_identifier("nobody"),
        rds.copy_db_cluster_snapshot().source_db_cluster_snapshot_identifier("nobody")
            .target_db_cluster_snapshot_identifier("t"),
        rds.restore_db_cluster_from_snapshot().snapshot_identifier("nobody").db_cluster_identifier("t").engine(ENGINE),
    );
    refuse!("DBParameterGroupNotFound 404";
        rds.describe_db_cluster_parameter_groups().db_cluster_parameter_group_name("nobody"),
        rds.modify_db_cluster_parameter_group().db_cluster_parameter_group_name("nobody")
            .parameters(parameter("work_mem", "64", ApplyMethod::PendingReboot)),
        rds.reset_db_cluster_parameter_group().db_cluster_parameter_group_name("nobody").reset_all_parameters(true),
        rds.delete_db_cluster_parameter_group().db_cluster_parameter_group_name("nobody"),
        rds.describe_db_cluster_parameters().db_cluster_parameter_group_name("nobody"),
    );
    let arn = "arn:aws:rds:eu-west-1:000000000000:cluster:nobody";
    refuse!("DBClusterNotFoundFault 404";
        rds.list_tags_for_resource().resource_name(arn),
        rds.add_tags_to_resource().resource_name(arn).tags(tag()),
        rds.remove_tags_from_resource().resource_name(arn).tag_keys("k"),
    );
    // The SDK has a type for each of these faults.
    let error = rds.describe_db_clusters().db_cluster_identifier("nobody").send().await.unwrap_err();
    assert!(error.as_service_error().unwrap().is_db_cluster_not_found_fault());
    let error = rds.describe_db_cluster_snapshots().db_cluster_snapshot_identifier("nobody").send().await.unwrap_err();
    assert!(error.as_service_error().unwrap().is_db_cluster_snapshot_not_found_fault());
}

async fn groups(rds: &Client, from: &str) {
    let family = format!("{ENGINE}{}", from.split('.').next().unwrap());
    let make = |name: &str, family: &str| {
        let request = rds.create_db_cluster_parameter_group().db_cluster_parameter_group_name(name).description("x");
        request.db_parameter_group_family(family)
    };
    answer!(make("logical", &family));
    refuse!("DBParameterGroupAlreadyExists 400"; make("logical", &family));
    refuse!(VALUE; make("wrong", "oracle-ee-19"));
    let set = |group: &str, name: &str, value: &str, method: ApplyMethod| {
        let request = rds.modify_db_cluster_parameter_group().db_cluster_parameter_group_name(group);
        request.parameters(parameter(name, value, method))
    };
    answer!(set("logical", "work_mem", "8192", ApplyMethod::Immediate));
    refuse!(VALUE;
        set("logical", "no_such", "1", ApplyMethod::PendingReboot),
        set(&format!("default.{family}"), "work_mem", "64", ApplyMethod::PendingReboot),
    );
    refuse!(COMBINATION; set("logical", "max_connections", "50", ApplyMethod::Immediate));
    let mine = || rds.describe_db_cluster_parameters().db_cluster_parameter_group_name("logical").source("user").send();
    assert_eq!(mine().await.unwrap().parameters()[0].parameter_value(), Some("8192"));
    let reset = rds.reset_db_cluster_parameter_group().db_cluster_parameter_group_name("logical");
    answer!(reset.reset_all_parameters(true));
    assert!(mine().await.unwrap().parameters().is_empty());
    let told = rds.describe_db_cluster_parameter_groups().db_cluster_parameter_group_name("logical").send().await;
    let told = told.unwrap();
    assert_eq!(told.db_cluster_parameter_groups()[0].db_parameter_group_family(), Some(family.as_str()));
}

async fn creation(rds: &Client, from: &str) {
    let create = || {
        let request = rds.create_db_cluster().db_cluster_identifier("c").engine(ENGINE).engine_version(from);
        request.master_username("master").master_user_password(PASSWORD)
    };
    refuse!(COMBINATION; create().engine_version("99.9"));
    refuse!("DBClusterParameterGroupNotFound 404"; create().db_cluster_parameter_group_name("nobody"));
    let made = create().monitoring_interval(60).enable_cloudwatch_logs_exports("postgresql");
    let made = made.db_cluster_parameter_group_name("logical").send().await.unwrap();
    let made = made.db_cluster().unwrap();
    assert_eq!((made.status(), made.monitoring_interval()), (Some("creating"), Some(60)));
    assert_eq!(made.enabled_cloudwatch_logs_exports(), ["postgresql"]);
    assert!(made.db_cluster_arn().unwrap().ends_with(":cluster:c"));
    refuse!(BUSY;
        rds.create_db_cluster_snapshot().db_cluster_identifier("c").db_cluster_snapshot_identifier("s"),
        rds.modify_db_cluster().db_cluster_identifier("c").master_user_password(PASSWORD),
        rds.stop_db_cluster().db_cluster_identifier("c"),
        rds.start_db_cluster().db_cluster_identifier("c"),
        rds.failover_db_cluster().db_cluster_identifier("c"),
        rds.restore_db_cluster_to_point_in_time().source_db_cluster_identifier("c").db_cluster_identifier("d")
            .use_latest_restorable_time(true),
    );
    let error = rds.stop_db_cluster().db_cluster_identifier("c").send().await.unwrap_err();
    assert!(error.as_service_error().unwrap().is_invalid_db_cluster_state_fault());
    refuse!("DBClusterAlreadyExistsFault 400"; create());
    let error = create().send().await.unwrap_err();
    assert!(error.as_service_error().unwrap().is_db_cluster_already_exists_fault());
    refuse!("InvalidDBParameterGroupState 400";
        rds.delete_db_cluster_parameter_group().db_cluster_parameter_group_name("logical"),
    );
    cluster_settles(rds, "c", "available").await;
    // The waiter sleeps for half a minute when it has to.
    let wait = rds.wait_until_db_cluster_available().db_cluster_identifier("c");
    wait.wait(Duration::from_secs(60)).await.unwrap();
}

async fn members(rds: &Client) {
    let member = |engine: &str| {
        let request = rds.create_db_instance().db_instance_identifier("x").db_cluster_identifier("c");
        request.db_instance_class("db.r6g.large").engine(engine)
    };
    refuse!(COMBINATION;
        member("postgres"),
        member(ENGINE).master_username("master"),
        member(ENGINE).engine_version("99.9"),
    );
    add(rds, "c", "m").await;
    settle(rds, "m", "available").await;
    refuse!(BUSY;
        rds.failover_db_cluster().db_cluster_identifier("c"),
        rds.stop_db_instance().db_instance_identifier("m"),
        rds.start_db_instance().db_instance_identifier("m"),
    );
    refuse!("InvalidDBInstanceState 400";
        rds.failover_db_cluster().db_cluster_identifier("c").target_db_instance_identifier("m"),
    );
    refuse!(VALUE; rds.create_db_snapshot().db_instance_identifier("m").db_snapshot_identifier("x"));
    refuse!(COMBINATION;
        rds.modify_db_instance().db_instance_identifier("m").master_user_password(PASSWORD),
        rds.delete_db_instance().db_instance_identifier("m").final_db_snapshot_identifier("x"),
        rds.restore_db_instance_to_point_in_time().source_db_instance_identifier("m")
            .target_db_instance_identifier("t").use_latest_restorable_time(true),
    );
    add(rds, "c", "n").await;
    settle(rds, "n", "available").await;
    answer!(rds.failover_db_cluster().db_cluster_identifier("c"));
    cluster_settles(rds, "c", "failing-over").await;
    cluster_settles(rds, "c", "available").await;
    let told = rds.describe_db_clusters().filters(filter("db-cluster-id", "c")).send().await.unwrap();
    let of_it = told.db_clusters()[0].db_cluster_members();
    let writer = of_it.iter().find(|member| member.is_cluster_writer() == Some(true)).unwrap();
    assert_eq!(writer.db_instance_identifier(), Some("n"));
    refuse!(VALUE; rds.describe_db_clusters().filters(filter("no-such", "x")));
}

async fn changes(rds: &Client, to: &str) {
    let modify = || rds.modify_db_cluster().db_cluster_identifier("c");
    refuse!(COMBINATION;
        modify().engine_version(to).apply_immediately(true),
        modify().engine_version("1.0"),
    );
    refuse!("DBClusterParameterGroupNotFound 404"; modify().db_cluster_parameter_group_name("nobody"));
    let told = modify().new_db_cluster_identifier("e").deletion_protection(true).send().await.unwrap();
    let pending = told.db_cluster().unwrap().pending_modified_values().unwrap();
    assert_eq!(pending.db_cluster_identifier(), Some("e"));
    refuse!(COMBINATION; rds.delete_db_cluster().db_cluster_identifier("c").skip_final_snapshot(true));
    answer!(modify().new_db_cluster_identifier("c").deletion_protection(false));
}

async fn snapshots(rds: &Client) {
    let take = || rds.create_db_cluster_snapshot().db_cluster_identifier("c").db_cluster_snapshot_identifier("s");
    answer!(take());
    let delete = |id: &str| rds.delete_db_cluster_snapshot().db_cluster_snapshot_identifier(id);
    refuse!("InvalidDBClusterSnapshotStateFault 400";
        delete("s"),
        rds.restore_db_cluster_from_snapshot().snapshot_identifier("s").db_cluster_identifier("d").engine(ENGINE),
    );
    cluster_settles(rds, "c", "available").await;
    let wait = rds.describe_db_cluster_snapshots().db_cluster_snapshot_identifier("s");
    while wait.clone().send().await.unwrap().db_cluster_snapshots()[0].status() != Some("available") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    refuse!("DBClusterSnapshotAlreadyExistsFault 400"; take());
    let copy = || {
        let request = rds.copy_db_cluster_snapshot().source_db_cluster_snapshot_identifier("s");
        request.target_db_cluster_snapshot_identifier("t")
    };
    answer!(copy());
    refuse!("DBClusterSnapshotAlreadyExistsFault 400"; copy());
    while delete("t").send().await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    refuse!("DBClusterSnapshotNotFoundFault 404"; delete("t"));
}

async fn copies(rds: &Client) {
    let restore = |id: &str| {
        let request = rds.restore_db_cluster_from_snapshot().snapshot_identifier("s").engine(ENGINE);
        request.db_cluster_identifier(id)
    };
    let clone = |id: &str| {
        let request = rds.restore_db_cluster_to_point_in_time().source_db_cluster_identifier("c");
        request.db_cluster_identifier(id)
    };
    let past = aws_sdk_rds::primitives::DateTime::from_secs(1_577_836_800);
    refuse!("DBClusterAlreadyExistsFault 400"; restore("c"), clone("c").use_latest_restorable_time(true));
    refuse!(COMBINATION; restore("d").engine_version("99.9"), clone("d"));
    refuse!(VALUE; clone("d").restore_to_time(past));
    answer!(restore("d"), clone("f").use_latest_restorable_time(true));
    for id in ["d", "f"] {
        cluster_settles(rds, id, "available").await;
        answer!(rds.delete_db_cluster().db_cluster_identifier(id).skip_final_snapshot(true));
    }
}

async fn ends(rds: &Client) {
    let delete = || rds.delete_db_cluster().db_cluster_identifier("c");
    refuse!(BUSY; delete().skip_final_snapshot(true));
    answer!(rds.stop_db_cluster().db_cluster_identifier("c"));
    cluster_settles(rds, "c", "stopped").await;
    refuse!(BUSY;
        rds.create_db_instance().db_instance_identifier("o").db_cluster_identifier("c").engine(ENGINE)
            .db_instance_class("db.r6g.large"),
    );
    answer!(rds.start_db_cluster().db_cluster_identifier("c"));
    cluster_settles(rds, "c", "available").await;
    for id in ["m", "n"] {
        answer!(rds.delete_db_instance().db_instance_identifier(id));
    }
    refuse!(COMBINATION; delete());
    answer!(delete().skip_final_snapshot(true));
    cluster_settles(rds, "c", "deleted").await;
    answer!(
        rds.delete_db_cluster_snapshot().db_cluster_snapshot_identifier("s"),
        rds.delete_db_cluster_parameter_group().db_cluster_parameter_group_name("logical"),
    );
}
