//! Instances, groups, proxies and blue/green deployments by the Rust SDK: every operation once with success, and each
//! refusal that `rds.py` knows. What is left to do on one instance stands in the order that costs the least time.

use aws_sdk_rds::{
    Client,
    types::{ApplyMethod, AuthScheme, EngineFamily, Filter, Parameter, Tag, UserAuthConfig},
};

use crate::lab::{
    deployments::becomes,
    stage::{PASSWORD, Stage, create, logical_group, pair, settle, snapshot_settles},
};

const BUSY: &str = "InvalidDBInstanceState 400";
const VALUE: &str = "InvalidParameterValue 400";
const COMBINATION: &str = "InvalidParameterCombination 400";

pub(super) fn tag() -> Tag {
    Tag::builder().key("k").value("<&>").build()
}

pub(super) fn filter(name: &str, value: &str) -> Filter {
    Filter::builder().name(name).values(value).build()
}

pub(super) fn parameter(name: &str, value: &str, method: ApplyMethod) -> Parameter {
    Parameter::builder().parameter_name(name).parameter_value(value).apply_method(method).build()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rust_sdk_sees_instances() {
    let (from, to) = pair().await;
    let (from, to) = (from.to_string(), to.to_string());
    let stage = Stage::set().await;
    let rds = &stage.rds;
    nothing_there(rds, &to).await;
    create(rds, "one", &from).await;
    while_creating(rds, &from).await;
    groups(rds, &from).await;
    engines_and_events(rds, &from).await;
    proxies(rds).await;
    settle(rds, "one", "available").await;
    changes(rds).await;
    snapshots(rds).await;
    copies(rds).await;
    deployments(rds).await;
    ends(rds).await;
    stage.lab.shutdown().await.unwrap();
}

/// Every operation that names something, with a name that nothing has.
async fn nothing_there(rds: &Client, to: &str) {
    let engine = |id: &str| rds.create_db_instance().db_instance_identifier(id).db_instance_class("db.m7g.large");
    refuse!("DBInstanceNotFound 404";
        rds.describe_db_instances().db_instance_identifier("nobody"),
        rds.modify_db_instance().db_instance_identifier("nobody"),
        rds.reboot_db_instance().db_instance_identifier("nobody"),
        rds.stop_db_instance().db_instance_identifier("nobody"),
        rds.start_db_instance().db_instance_identifier("nobody"),
        rds.delete_db_instance().db_instance_identifier("nobody").skip_final_snapshot(true),
        rds.create_db_snapshot().db_instance_identifier("nobody").db_snapshot_identifier("s"),
        rds.describe_db_log_files().db_instance_identifier("nobody"),
        rds.download_db_log_file_portion().db_instance_identifier("nobody").log_file_name("error/x"),
        rds.restore_db_instance_to_point_in_time().source_db_instance_identifier("nobody")
            .target_db_instance_identifier("t").use_latest_restorable_time(true),
        rds.create_blue_green_deployment().blue_green_deployment_name("d")
            .source("arn:aws:rds:eu-west-1:000000000000:db:nobody"),
    );
    refuse!("DBSnapshotNotFound 404";
        rds.describe_db_snapshots().db_snapshot_identifier("nobody"),
        rds.modify_db_snapshot().db_snapshot_identifier("nobody").engine_version(to),
        rds.delete_db_snapshot().db_snapshot_identifier("nobody"),
        rds.copy_db_snapshot().source_db_snapshot_identifier("nobody").target_db_snapshot_identifier("t"),
        rds.restore_db_instance_from_db_snapshot().db_instance_identifier("t").db_snapshot_identifier("nobody"),
    );
    refuse!("BlueGreenDeploymentNotFoundFault 404";
        rds.describe_blue_green_deployments().blue_green_deployment_identifier("bgd-nobody"),
        rds.switchover_blue_green_deployment().blue_green_deployment_identifier("bgd-nobody"),
        rds.delete_blue_green_deployment().blue_green_deployment_identifier("bgd-nobody"),
    );
    refuse!("DBProxyNotFoundFault 404";
        rds.describe_db_proxies().db_proxy_name("nobody"),
        rds.delete_db_proxy().db_proxy_name("nobody"),
        rds.describe_db_proxy_targets().db_proxy_name("nobody"),
    );
    refuse!("DBParameterGroupNotFound 404";
        rds.describe_db_parameter_groups().db_parameter_group_name("nobody"),
        rds.modify_db_parameter_group().db_parameter_group_name("nobody")
            .parameters(parameter("work_mem", "64", ApplyMethod::PendingReboot)),
        rds.reset_db_parameter_group().db_parameter_group_name("nobody").reset_all_parameters(true),
        rds.delete_db_parameter_group().db_parameter_group_name("nobody"),
        rds.describe_db_parameters().db_parameter_group_name("nobody"),
        engine("x").engine("postgres").master_username("master").master_user_password(PASSWORD)
            .db_parameter_group_name("nobody"),
    );
    refuse!("DBClusterNotFoundFault 404"; engine("m").engine("aurora-postgresql").db_cluster_identifier("nobody"));
    refuse!("DBSubnetGroupNotFoundFault 404"; rds.describe_db_subnet_groups().db_subnet_group_name("nobody"));
    let arn = "arn:aws:rds:eu-west-1:000000000000:db:nobody";
    refuse!("DBInstanceNotFound 404";
        rds.list_tags_for_resource().resource_name(arn),
        rds.add_tags_to_resource().resource_name(arn).tags(tag()),
        rds.remove_tags_from_resource().resource_name(arn).tag_keys("k"),
    );
}

/// What an instance refuses while it is being made.
async fn while_creating(rds: &Client, from: &str) {
    refuse!(BUSY;
        rds.create_db_snapshot().db_instance_identifier("one").db_snapshot_identifier("early"),
        rds.modify_db_instance().db_instance_identifier("one").multi_az(true),
        rds.reboot_db_instance().db_instance_identifier("one"),
        rds.start_db_instance().db_instance_identifier("one"),
        rds.stop_db_instance().db_instance_identifier("one"),
        rds.restore_db_instance_to_point_in_time().source_db_instance_identifier("one")
            .target_db_instance_identifier("two").use_latest_restorable_time(true),
        rds.create_blue_green_deployment().blue_green_deployment_name("d")
            .source("arn:aws:rds:eu-west-1:000000000000:db:one"),
    );
    refuse!("DBInstanceNotReady 400"; rds.describe_db_log_files().db_instance_identifier("one"));
    let again = || rds.create_db_instance().db_instance_class("db.t4g.micro").engine("postgres").master_username("m");
    let again = || again().master_user_password(PASSWORD);
    refuse!("DBInstanceAlreadyExists 400"; again().db_instance_identifier("ONE").engine_version(from));
    refuse!(COMBINATION; again().db_instance_identifier("x").engine_version("99.9"));
}

async fn groups(rds: &Client, from: &str) {
    let family = format!("postgres{}", from.split('.').next().unwrap());
    let make = |name: &str, family: &str| {
        rds.create_db_parameter_group().db_parameter_group_name(name).db_parameter_group_family(family).description("x")
    };
    answer!(make("g", &family));
    refuse!("DBParameterGroupAlreadyExists 400"; make("g", &family));
    refuse!(VALUE; make("wrong", "oracle-ee-19"));
    let set = |group: &str, name: &str, value: &str, method: ApplyMethod| {
        rds.modify_db_parameter_group().db_parameter_group_name(group).parameters(parameter(name, value, method))
    };
    answer!(set("g", "work_mem", "8192", ApplyMethod::Immediate));
    refuse!(VALUE;
        set("g", "no_such", "1", ApplyMethod::PendingReboot),
        set(&format!("default.{family}"), "work_mem", "64", ApplyMethod::PendingReboot),
    );
    refuse!(COMBINATION; set("g", "max_connections", "50", ApplyMethod::Immediate));
    let mine = || rds.describe_db_parameters().db_parameter_group_name("g").source("user").send();
    let told = mine().await.unwrap();
    assert_eq!(told.parameters()[0].parameter_value(), Some("8192"));
    answer!(rds.reset_db_parameter_group().db_parameter_group_name("g").reset_all_parameters(true));
    assert!(mine().await.unwrap().parameters().is_empty());
    let told = rds.describe_db_parameter_groups().db_parameter_group_name("g").send().await.unwrap();
    assert_eq!(told.db_parameter_groups()[0].db_parameter_group_family(), Some(family.as_str()));
    // The instance has a group of its own by now.
    let used = logical_group(rds, from).await;
    refuse!("InvalidDBParameterGroupState 400"; rds.delete_db_parameter_group().db_parameter_group_name(used));
    answer!(rds.delete_db_parameter_group().db_parameter_group_name("g"));
}

async fn engines_and_events(rds: &Client, from: &str) {
    let told = rds.describe_db_engine_versions().engine("postgres").engine_version(from).send().await.unwrap();
    assert_eq!(told.db_engine_versions()[0].engine_version(), Some(from));
    let told = rds.describe_db_subnet_groups().send().await.unwrap();
    assert_eq!(told.db_subnet_groups()[0].db_subnet_group_name(), Some("default"));
    answer!(rds.describe_events().duration(60));
    refuse!(COMBINATION; rds.describe_events().source_identifier("x"));
    // The SDK takes the smallest page for granted; the service does not.
    refuse!(VALUE;
        rds.describe_db_engine_versions().max_records(5),
        rds.describe_db_instances().filters(filter("no-such", "x")),
    );
}

async fn proxies(rds: &Client) {
    let make = || {
        let auth = UserAuthConfig::builder().auth_scheme(AuthScheme::Secrets).secret_arn("arn").build();
        let request = rds.create_db_proxy().db_proxy_name("front").engine_family(EngineFamily::Postgresql).auth(auth);
        request.role_arn("arn:aws:iam::000000000000:role/proxy").vpc_subnet_ids("subnet-1")
    };
    answer!(make());
    refuse!("DBProxyAlreadyExistsFault 400"; make());
    refuse!(VALUE; make().engine_family(EngineFamily::Mysql));
    let told = rds.describe_db_proxies().db_proxy_name("front").send().await.unwrap();
    assert_eq!(told.db_proxies()[0].db_proxy_name(), Some("front"));
    let register = |proxy: &str, instance: &str| {
        rds.register_db_proxy_targets().db_proxy_name(proxy).db_instance_identifiers(instance)
    };
    refuse!("DBProxyNotFoundFault 404"; register("nobody", "one"));
    refuse!("DBInstanceNotFound 404"; register("front", "nobody"));
    refuse!("DBProxyTargetGroupNotFoundFault 404";
        register("front", "one").target_group_name("other"),
        rds.describe_db_proxy_targets().db_proxy_name("front").target_group_name("other"),
    );
    answer!(register("front", "one"));
    refuse!("DBProxyTargetAlreadyRegisteredFault 400"; register("front", "one"));
    let told = rds.describe_db_proxy_targets().db_proxy_name("front").send().await.unwrap();
    assert_eq!(told.targets()[0].rds_resource_id(), Some("one"));
    answer!(rds.delete_db_proxy().db_proxy_name("front"));
}

async fn changes(rds: &Client) {
    let modify = || rds.modify_db_instance().db_instance_identifier("one");
    refuse!("DBParameterGroupNotFound 404"; modify().db_parameter_group_name("nobody"));
    refuse!(COMBINATION; modify().engine_version("99.9"));
    let told = modify().iops(4000).send().await.unwrap();
    assert_eq!(told.db_instance().unwrap().pending_modified_values().unwrap().iops(), Some(4000));
    let told = rds.describe_db_instances().filters(filter("engine", "postgres")).send().await.unwrap();
    let arn = told.db_instances()[0].db_instance_arn().unwrap().to_owned();
    answer!(rds.add_tags_to_resource().resource_name(&arn).tags(tag()));
    let told = rds.list_tags_for_resource().resource_name(&arn).send().await.unwrap();
    assert_eq!(told.tag_list(), [tag()]);
    answer!(rds.remove_tags_from_resource().resource_name(&arn).tag_keys("k"));
    let told = rds.describe_db_log_files().db_instance_identifier("one").send().await.unwrap();
    let named = told.describe_db_log_files().iter().filter_map(|file| file.log_file_name());
    let log = named.max_by_key(|name| name.contains("postgresql.log")).unwrap();
    let file = |name: &str| rds.download_db_log_file_portion().db_instance_identifier("one").log_file_name(name);
    assert!(file(log).marker("0").send().await.unwrap().log_file_data().is_some());
    refuse!("DBLogFileNotFoundFault 404"; file("error/none"));
}

async fn snapshots(rds: &Client) {
    let take = || rds.create_db_snapshot().db_instance_identifier("one").db_snapshot_identifier("s");
    answer!(take());
    let delete = |id: &str| rds.delete_db_snapshot().db_snapshot_identifier(id);
    refuse!("InvalidDBSnapshotState 400";
        delete("s"),
        rds.restore_db_instance_from_db_snapshot().db_instance_identifier("t").db_snapshot_identifier("s"),
        rds.copy_db_snapshot().source_db_snapshot_identifier("s").target_db_snapshot_identifier("t"),
    );
    snapshot_settles(rds, "s", "available").await;
    settle(rds, "one", "available").await;
    refuse!("DBSnapshotAlreadyExists 400"; take());
    let modify = || rds.modify_db_snapshot().db_snapshot_identifier("s");
    refuse!(COMBINATION; modify().engine_version("99.9"));
    // Without a version there is nothing to do, which is not refused.
    answer!(modify());
    let copy = || rds.copy_db_snapshot().source_db_snapshot_identifier("s").target_db_snapshot_identifier("c");
    answer!(copy());
    refuse!("DBSnapshotAlreadyExists 400"; copy());
    snapshot_settles(rds, "c", "available").await;
    let told = delete("c").send().await.unwrap();
    assert_eq!(told.db_snapshot().unwrap().status(), Some("deleted"));
    let told = rds.describe_db_snapshots().db_instance_identifier("one").send().await.unwrap();
    assert_eq!(told.db_snapshots().len(), 1);
}

async fn copies(rds: &Client) {
    let restore = |id: &str| rds.restore_db_instance_from_db_snapshot().db_instance_identifier(id);
    refuse!("DBInstanceAlreadyExists 400"; restore("one").db_snapshot_identifier("s"));
    refuse!("DBParameterGroupNotFound 404"; restore("t").db_snapshot_identifier("s").db_parameter_group_name("nobody"));
    let clone = |id: &str| {
        let request = rds.restore_db_instance_to_point_in_time().source_db_instance_identifier("one");
        request.target_db_instance_identifier(id)
    };
    let past = aws_sdk_rds::primitives::DateTime::from_secs(1_577_836_800);
    refuse!(VALUE; clone("three").restore_time(past));
    refuse!(COMBINATION; clone("three"));
    refuse!("DBInstanceAlreadyExists 400"; clone("one").use_latest_restorable_time(true));
    answer!(restore("two").db_snapshot_identifier("s"), clone("three").use_latest_restorable_time(true));
    settle(rds, "two", "available").await;
    settle(rds, "three", "available").await;
    let modify = || rds.modify_db_instance().db_instance_identifier("three").apply_immediately(true);
    refuse!("DBInstanceAlreadyExists 400"; modify().new_db_instance_identifier("one"));
    answer!(modify().backup_retention_period(0));
    settle(rds, "three", "modifying").await;
    settle(rds, "three", "available").await;
    refuse!("PointInTimeRestoreNotEnabled 400";
        rds.restore_db_instance_to_point_in_time().source_db_instance_identifier("three")
            .target_db_instance_identifier("t").use_latest_restorable_time(true),
    );
    let source = "arn:aws:rds:eu-west-1:000000000000:db:three";
    refuse!("SourceDatabaseNotSupportedFault 400";
        rds.create_blue_green_deployment().blue_green_deployment_name("d").source(source),
    );
    for id in ["two", "three"] {
        let delete = || rds.delete_db_instance().db_instance_identifier(id).skip_final_snapshot(true);
        answer!(delete());
        refuse!(BUSY; delete());
    }
}

async fn deployments(rds: &Client) {
    let make = |source: &str| {
        let source = format!("arn:aws:rds:eu-west-1:000000000000:{source}");
        rds.create_blue_green_deployment().blue_green_deployment_name("d").source(source)
    };
    refuse!("SourceClusterNotSupportedFault 400"; make("cluster:one"));
    refuse!(COMBINATION; make("db:one").target_engine_version("99.9"));
    refuse!("DBParameterGroupNotFound 404"; make("db:one").target_db_parameter_group_name("nobody"));
    let told = make("db:one").send().await.unwrap();
    let id = told.blue_green_deployment().unwrap().blue_green_deployment_identifier().unwrap();
    let switch = || rds.switchover_blue_green_deployment().blue_green_deployment_identifier(id);
    let delete = || rds.delete_blue_green_deployment().blue_green_deployment_identifier(id);
    let state = "InvalidBlueGreenDeploymentStateFault 400";
    refuse!(state; switch(), delete());
    refuse!("SourceDatabaseNotSupportedFault 400"; make("db:one"));
    refuse!(VALUE; switch().switchover_timeout(29));
    becomes(rds, id, "AVAILABLE").await;
    answer!(switch());
    refuse!(state; switch());
    becomes(rds, id, "SWITCHOVER_COMPLETED").await;
    refuse!("BlueGreenDeploymentAlreadyExistsFault 400"; make("db:one"));
    refuse!(state; delete().delete_target(true));
    let named = filter("blue-green-deployment-name", "d");
    let told = rds.describe_blue_green_deployments().filters(named).send().await.unwrap();
    assert_eq!(told.blue_green_deployments()[0].blue_green_deployment_identifier(), Some(id));
    answer!(delete());
    becomes(rds, id, "gone").await;
}

async fn ends(rds: &Client) {
    answer!(rds.reboot_db_instance().db_instance_identifier("one"));
    settle(rds, "one", "available").await;
    let stop = || rds.stop_db_instance().db_instance_identifier("one");
    refuse!("DBSnapshotAlreadyExists 400"; stop().db_snapshot_identifier("s"));
    answer!(stop());
    settle(rds, "one", "stopped").await;
    answer!(rds.start_db_instance().db_instance_identifier("one"));
    settle(rds, "one", "available").await;
    let delete = || rds.delete_db_instance().db_instance_identifier("one");
    refuse!(COMBINATION; delete());
    refuse!("DBSnapshotAlreadyExists 400"; delete().final_db_snapshot_identifier("s"));
    answer!(delete().skip_final_snapshot(true));
    settle(rds, "one", "deleted").await;
}
