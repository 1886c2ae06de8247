//! What the lab refuses, with the codes and HTTP statuses of RDS, and how it pages.

use aws_sdk_rds::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    types::{ApplyMethod, Parameter, Tag},
};

use pgrun::lab::{LabOptions, SlotsInSnapshot};

use super::stage::{PASSWORD, Stage, connect, create, options, pair, scratch, settle, snapshot_settles, url};

fn refused<T, E: ProvideErrorMetadata>(result: Result<T, SdkError<E, HttpResponse>>) -> String {
    let error = result.err().expect("it was not refused");
    let status = error.raw_response().map_or(0, |response| response.status().as_u16());
    format!("{} {status}", error.code().unwrap_or("no code"))
}

/// Requests that are refused without any instance.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_checked_as_rds_checks_them() {
    let stage = Stage::set().await;
    let rds = &stage.rds;
    let missing = rds.describe_db_instances().db_instance_identifier("nobody").send().await;
    assert_eq!(refused(missing), "DBInstanceNotFound 404");
    let missing = rds.describe_db_snapshots().db_snapshot_identifier("nobody").send().await;
    assert_eq!(refused(missing), "DBSnapshotNotFound 404");
    let missing = rds.delete_db_instance().db_instance_identifier("nobody").skip_final_snapshot(true).send().await;
    assert_eq!(refused(missing), "DBInstanceNotFound 404");
    let missing = rds.describe_db_parameters().db_parameter_group_name("nobody").send().await;
    assert_eq!(refused(missing), "DBParameterGroupNotFound 404");
    let missing = rds.describe_db_subnet_groups().db_subnet_group_name("nobody").send().await;
    assert_eq!(refused(missing), "DBSubnetGroupNotFoundFault 404");
    let unknown = rds.describe_global_clusters().send().await;
    assert_eq!(refused(unknown), "InvalidAction 400");
    let most = rds.describe_db_instances().max_records(5).send().await;
    assert_eq!(refused(most), "InvalidParameterValue 400");

    let ask = |id: &str, engine: &str, version: &str, user: &str, password: &str| {
        let request = rds.create_db_instance().db_instance_identifier(id).db_instance_class("db.t4g.micro");
        request.engine(engine).engine_version(version).master_username(user).master_user_password(password).send()
    };
    let (from, _) = pair().await;
    let version = from.to_string();
    let value = "InvalidParameterValue 400";
    assert_eq!(refused(ask("1x", "postgres", &version, "master", PASSWORD).await), value);
    assert_eq!(refused(ask("x", "oracle", &version, "master", PASSWORD).await), value);
    assert_eq!(refused(ask("x", "postgres", &version, "rdsadmin", PASSWORD).await), value);
    assert_eq!(refused(ask("x", "postgres", &version, "master", "with@at-sign").await), value);
    assert_eq!(refused(ask("x", "postgres", &version, "master", "short").await), value);
    let combination = "InvalidParameterCombination 400";
    assert_eq!(refused(ask("x", "postgres", "99.9", "master", PASSWORD).await), combination);
    let request = rds.create_db_instance().db_instance_identifier("x").db_instance_class("db.t4g.micro");
    assert_eq!(refused(request.engine("postgres").send().await), "MissingParameter 400");
    assert!(rds.describe_db_instances().send().await.unwrap().db_instances().is_empty(), "nothing was made");
}

/// Requests that are refused because of the state of what they name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn states_are_guarded() {
    let (from, to) = pair().await;
    let scratch = scratch();
    let options = LabOptions { slots_in_snapshot: SlotsInSnapshot::Refuse, ..options(&scratch) };
    let stage = Stage::set_with(scratch, options).await;
    let rds = &stage.rds;
    create(rds, "one", &from.to_string()).await;
    let busy = "InvalidDBInstanceState 400";
    let snapshot = |id: &str| rds.create_db_snapshot().db_instance_identifier("one").db_snapshot_identifier(id).send();
    assert_eq!(refused(snapshot("s").await), busy, "it is being created");
    let log = rds.describe_db_log_files().db_instance_identifier("one").send().await;
    assert_eq!(refused(log), "DBInstanceNotReady 400");
    let again = rds.create_db_instance().db_instance_identifier("ONE").db_instance_class("db.t4g.micro");
    let again = again.engine("postgres").master_username("master").master_user_password(PASSWORD).send().await;
    assert_eq!(refused(again), "DBInstanceAlreadyExists 400");
    settle(rds, "one", "available").await;

    assert_eq!(refused(rds.start_db_instance().db_instance_identifier("one").send().await), busy);
    let file = |name: &str| rds.download_db_log_file_portion().db_instance_identifier("one").log_file_name(name).send();
    for name in ["error/nothing", "error/../../../world.json", "../world.json", "error/.."] {
        assert_eq!(refused(file(name).await), "DBLogFileNotFoundFault 404", "{name}");
    }
    let client = connect(&url(rds, "one").await).await;
    client.batch_execute("SELECT pg_create_logical_replication_slot('s', 'pgoutput')").await.unwrap();
    snapshot("s").await.unwrap();
    assert_eq!(refused(snapshot("t").await), busy, "it is backing up");
    let upgrade = |version: String| rds.modify_db_snapshot().db_snapshot_identifier("s").engine_version(version).send();
    assert_eq!(refused(upgrade(to.to_string()).await), "InvalidDBSnapshotState 400");
    snapshot_settles(rds, "s", "available").await;
    settle(rds, "one", "available").await;
    assert_eq!(refused(snapshot("S").await), "DBSnapshotAlreadyExists 400");
    assert_eq!(refused(upgrade("99.9".into()).await), "InvalidParameterCombination 400");
    assert_eq!(refused(upgrade(from.to_string()).await), "InvalidParameterCombination 400");
    upgrade(to.to_string()).await.unwrap();
    assert_eq!(snapshot_settles(rds, "s", "available").await, from.to_string(), "its slot keeps it where it is");
    let restore = rds.restore_db_instance_from_db_snapshot().db_snapshot_identifier("s").db_instance_identifier("one");
    assert_eq!(refused(restore.send().await), "DBInstanceAlreadyExists 400");

    let delete = || rds.delete_db_instance().db_instance_identifier("one");
    let combination = "InvalidParameterCombination 400";
    assert_eq!(refused(delete().send().await), combination, "a final snapshot is the default");
    let both = delete().skip_final_snapshot(true).final_db_snapshot_identifier("f").send().await;
    assert_eq!(refused(both), combination);
    let protect = |on: bool| rds.modify_db_instance().db_instance_identifier("one").deletion_protection(on).send();
    protect(true).await.unwrap();
    assert_eq!(refused(delete().skip_final_snapshot(true).send().await), combination, "it is protected");
    protect(false).await.unwrap();
    delete().skip_final_snapshot(true).send().await.unwrap();
    assert_eq!(refused(delete().skip_final_snapshot(true).send().await), busy);
    settle(rds, "one", "deleted").await;
}

/// Parameter groups know the engine's parameters: names, ranges, and which need a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parameters_are_checked_against_the_engine() {
    let (from, to) = pair().await;
    let stage = Stage::set().await;
    let rds = &stage.rds;
    let make = |name: &str, family: String| {
        let request = rds.create_db_parameter_group().db_parameter_group_name(name).db_parameter_group_family(family);
        request.description("for a test").send()
    };
    make("g", format!("postgres{}", from.major)).await.unwrap();
    assert_eq!(refused(make("G", format!("postgres{}", from.major)).await), "DBParameterGroupAlreadyExists 400");
    assert_eq!(refused(make("h", "oracle-ee-19".into()).await), "InvalidParameterValue 400");
    let set = |group: &str, name: &str, value: &str, method: ApplyMethod| {
        let parameter = Parameter::builder().parameter_name(name).parameter_value(value).apply_method(method).build();
        rds.modify_db_parameter_group().db_parameter_group_name(group).parameters(parameter).send()
    };
    let value = "InvalidParameterValue 400";
    assert_eq!(refused(set("g", "no_such", "1", ApplyMethod::Immediate).await), value);
    assert_eq!(refused(set("g", "port", "1", ApplyMethod::PendingReboot).await), value, "not modifiable");
    assert_eq!(refused(set("g", "max_connections", "0", ApplyMethod::PendingReboot).await), value, "out of range");
    let both = set("g", "max_connections", "50", ApplyMethod::Immediate).await;
    assert_eq!(refused(both), "InvalidParameterCombination 400", "static");
    let default = format!("default.postgres{}", from.major);
    assert_eq!(refused(set(&default, "work_mem", "64", ApplyMethod::Immediate).await), value);
    set("g", "rds.logical_replication", "1", ApplyMethod::PendingReboot).await.unwrap();
    let user = rds.describe_db_parameters().db_parameter_group_name("g").source("user").send().await.unwrap();
    assert_eq!(user.parameters().len(), 1);
    let mut pages = rds.describe_db_parameters().db_parameter_group_name(&default).into_paginator().items().send();
    let (mut count, mut found) = (0, false);
    while let Some(parameter) = pages.next().await {
        let parameter = parameter.unwrap();
        count += 1;
        found |= parameter.parameter_name() == Some("wal_level") && parameter.apply_type() == Some("static");
    }
    assert!(count > 300 && found, "{count}");

    let request = rds.create_db_instance().db_instance_identifier("x").db_instance_class("db.t4g.micro");
    let request = request.engine("postgres").engine_version(to.to_string()).db_parameter_group_name("g");
    let wrong = request.master_username("master").master_user_password(PASSWORD).send().await;
    assert_eq!(refused(wrong), "InvalidParameterCombination 400", "another family");
}

/// Snapshots are copied, tagged, filtered and paged; a marker neither repeats nor hides one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_are_copied_tagged_and_paged() {
    let (from, _) = pair().await;
    let stage = Stage::set().await;
    let rds = &stage.rds;
    stage.instance("one", from).await;
    let tag = Tag::builder().key("pgrun:run").value("r1").build();
    let request = rds.create_db_snapshot().db_instance_identifier("one").db_snapshot_identifier("s-00");
    let made = request.tags(tag).send().await.unwrap();
    let arn = made.db_snapshot().unwrap().db_snapshot_arn().unwrap().to_owned();
    assert_eq!(arn, "arn:aws:rds:eu-west-1:000000000000:snapshot:s-00");
    snapshot_settles(rds, "s-00", "available").await;
    for n in 1..=21 {
        let request = rds.copy_db_snapshot().source_db_snapshot_identifier(&arn).copy_tags(n == 1);
        request.target_db_snapshot_identifier(format!("s-{n:02}")).send().await.unwrap();
    }
    for n in 1..=21 {
        snapshot_settles(rds, &format!("s-{n:02}"), "available").await;
    }
    let first = rds.describe_db_snapshots().max_records(20).send().await.unwrap();
    assert_eq!(first.db_snapshots().len(), 20);
    rds.delete_db_snapshot().db_snapshot_identifier("s-19").send().await.unwrap();
    let rest = rds.describe_db_snapshots().max_records(20).marker(first.marker().unwrap()).send().await.unwrap();
    let names: Vec<&str> = rest.db_snapshots().iter().filter_map(|s| s.db_snapshot_identifier()).collect();
    assert_eq!((names, rest.marker()), (vec!["s-20", "s-21"], None), "also when the last one shown is gone");
    let bad = rds.describe_db_snapshots().marker("nonsense").send().await;
    assert_eq!(refused(bad), "InvalidParameterValue 400");

    let tags = async |arn: &str| {
        let told = rds.list_tags_for_resource().resource_name(arn).send().await.unwrap();
        told.tag_list().iter().map(|tag| format!("{}={}", tag.key().unwrap(), tag.value().unwrap())).collect::<Vec<_>>()
    };
    let copy = arn.replace("s-00", "s-01");
    assert_eq!(tags(&copy).await, ["pgrun:run=r1"]);
    assert!(tags(&arn.replace("s-00", "s-02")).await.is_empty());
    let step = Tag::builder().key("pgrun:step").value("take <it> & \"run\" é").build();
    rds.add_tags_to_resource().resource_name(&copy).tags(step).send().await.unwrap();
    rds.remove_tags_from_resource().resource_name(&copy).tag_keys("pgrun:run").send().await.unwrap();
    assert_eq!(tags(&copy).await, ["pgrun:step=take <it> & \"run\" é"]);
    let missing = rds.list_tags_for_resource().resource_name(arn.replace("s-00", "gone")).send().await;
    assert_eq!(refused(missing), "DBSnapshotNotFound 404");

    let versions = rds.describe_db_engine_versions().engine("postgres").engine_version(from.to_string());
    let versions = versions.send().await.unwrap();
    let targets = versions.db_engine_versions()[0].valid_upgrade_target();
    assert!(targets.iter().any(|target| target.is_major_version_upgrade() == Some(true)), "{targets:?}");
}
