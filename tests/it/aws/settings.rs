//! GREEN like BLUE, against the lab: what a restore drops, the parameter group of the new version, and names.

use std::{collections::BTreeMap, time::Duration};

use aws_sdk_rds::types::CloudwatchLogsExportConfiguration;
use pgrun::{
    aws::{
        Carry, InstanceGoal, Made, Mark, NewInstance, Rds, Renaming, Resource, Restore, Scope, SnapshotGoal, Tags,
        Wait, family_of, unlike,
    },
    base::{Code, Redactor, Secret, config::Config},
    lab::postgres::Catalogue,
};

use super::{life::Stage, responder::aws_at};

pub(super) fn quick<'a>() -> Wait<'a> {
    Wait {
        every: Duration::from_millis(50),
        deadline: Duration::from_secs(120),
        grace: Duration::from_secs(20),
        ..Wait::default()
    }
}

/// The engine version to make instances of, and the next major version.
pub(super) async fn versions() -> (String, String) {
    let catalogue = Catalogue::look(&Config::from_env().unwrap()).await.unwrap();
    let (from, to) = catalogue.pair(None, None).unwrap();
    (from.to_string(), to.to_string())
}

async fn instance(rds: &Rds, id: &str, version: &str, change: impl FnOnce(&mut NewInstance)) {
    let mut new = NewInstance::new(id, "db.m7g.large", 500, "master", Secret::new("first-password"));
    new.engine_version = Some(version.to_owned());
    change(&mut new);
    rds.create_instance(&new, &Mark::new("r", id)).await.unwrap();
    rds.wait_instance(id, &InstanceGoal::Ready, &quick()).await.unwrap();
}

/// Everything that a person can set about BLUE is so on GREEN: at the restore what RDS takes there, the rest behind it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_made_like_its_original() {
    let stage = Stage::new().await;
    let rds = aws_at(stage.lab.url(), Redactor::default()).rds();
    let (from, _) = versions().await;
    instance(&rds, "blue", &from, |new| {
        new.multi_az = Some(true);
        new.iam_auth = Some(true);
        new.subnet_group = Some("private".into());
        new.security_groups = vec!["sg-2".into(), "sg-1".into()];
        new.deletion_protection = Some(true);
        new.backup_retention_days = Some(14);
        new.tags = Tags::from([("team".into(), "dba".into())]);
    })
    .await;
    // What pgrun itself never asks for when it makes an instance.
    let client = crate::lab::stage::rds_at(stage.lab.url());
    let exports = CloudwatchLogsExportConfiguration::builder().enable_log_types("upgrade").build();
    let call = client.modify_db_instance().db_instance_identifier("blue").apply_immediately(true);
    let call = call.storage_type("io2").iops(4000).max_allocated_storage(900).dedicated_log_volume(true);
    let call = call.monitoring_interval(60).monitoring_role_arn("arn:aws:iam::123456789012:role/monitor");
    let call = call.enable_performance_insights(true).performance_insights_retention_period(93);
    let call = call.preferred_backup_window("01:00-01:30").preferred_maintenance_window("mon:02:00-mon:02:30");
    let call = call.cloudwatch_logs_export_configuration(exports).auto_minor_version_upgrade(false);
    call.ca_certificate_identifier("rds-ca-ecc384-g1").copy_tags_to_snapshot(true).send().await.unwrap();
    let blue = rds.wait_instance("blue", &InstanceGoal::Changed(Box::new(iops_change())), &quick()).await.unwrap();
    assert_eq!((blue.iops, blue.insights_days, blue.monitoring_s), (Some(4000), Some(93), 60));

    rds.create_snapshot("blue", "snap", &Tags::new(), &Mark::new("r", "snap")).await.unwrap();
    rds.wait_snapshot("snap", &SnapshotGoal::Complete, &quick()).await.unwrap();
    let mut restore = Restore { snapshot: "snap".into(), instance: "green".into(), ..Restore::default() };
    restore.like(&blue);
    rds.restore_instance(&restore, &Mark::new("r", "restore")).await.unwrap();
    let green = rds.wait_instance("green", &InstanceGoal::Ready, &quick()).await.unwrap();
    let dropped: Vec<String> = unlike(&blue, &green).into_iter().map(|unlike| unlike.what).collect();
    assert_eq!(
        dropped,
        [
            "max_storage_gib",
            "port",
            "deletion_protection",
            "backup_retention_days",
            "backup_window",
            "maintenance_window",
            "monitoring_s",
            "monitoring_role",
            "insights",
        ]
    );

    let likened = rds.make_like("green", "blue", &quick()).await.unwrap();
    // The lab's servers share one machine, so each has a port of its own.
    let left: Vec<&str> = likened.different.iter().map(|unlike| unlike.what.as_str()).collect();
    assert_eq!(left, ["port"]);
    assert_eq!(likened.changed, dropped.into_iter().filter(|what| what != "port").collect::<Vec<_>>());
    let green = rds.instance("green").await.unwrap();
    assert_eq!((green.insights_days, green.deletion_protection), (Some(93), true));
    assert_eq!(rds.made_by(Resource::Instance("green"), &Mark::new("r", "restore")).await.unwrap(), Made::Ours);
    assert_eq!(rds.make_like("green", "blue", &quick()).await.unwrap().changed, Vec::<String>::new());
    assert!(!rds.protect("green", false, &quick()).await.unwrap().deletion_protection);
    stage.lab.shutdown().await.unwrap();
}

fn iops_change() -> pgrun::aws::InstanceChange {
    pgrun::aws::InstanceChange { insights_days: Some(93), auto_minor: Some(false), ..Default::default() }
}

/// BLUE's settings go over to a group of the next version. What does not go is told, a second time is as good as one,
/// and a group of somebody else's is never filled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parameters_are_carried_to_the_next_version() {
    let stage = Stage::new().await;
    let rds = aws_at(stage.lab.url(), Redactor::default()).rds();
    let (from, to) = versions().await;
    let mark = Mark::new("r", "group");
    rds.create_parameter_group(Scope::Instance, "old", (&family_of("postgres", &from), "old"), &mark).await.unwrap();
    instance(&rds, "blue", &from, |new| new.parameter_group = Some("old".into())).await;
    // The lab knows a version's parameters once it has a server of it.
    instance(&rds, "other", &to, |_| {}).await;
    let gone = gone_since(&rds, &from, &to).await;
    let mut set: Vec<(String, String)> = (0..22).map(|n| (format!("auto_explain.x{n}"), "1".to_owned())).collect();
    let own = [("work_mem", "65536"), ("max_replication_slots", "33"), ("rds.logical_replication", "1")];
    set.extend(own.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    set.extend(gone.clone());
    set_by_hand(stage.lab.url(), "old", &set).await;

    let carry = Carry {
        scope: Scope::Instance,
        from: "blue".into(),
        version: to.clone(),
        name: "new".into(),
        set: BTreeMap::from([("work_mem".into(), "32768".into())]),
    };
    assert_eq!(rds.carried(&carry, &mark).await.unwrap(), Made::Absent);
    let done = rds.carry_parameters(&carry, &mark).await.unwrap();
    assert_eq!((done.family.as_str(), done.from.as_str()), (family_of("postgres", &to).as_str(), "old"));
    let own = rds.parameters(Scope::Instance, "new", Some("user")).await.unwrap();
    let values: BTreeMap<String, String> =
        own.into_iter().map(|known| (known.name, known.value.unwrap_or_default())).collect();
    assert_eq!(values, done.values);
    assert_eq!(values.len(), 25, "{values:?}");
    assert_eq!((values["work_mem"].as_str(), values["max_replication_slots"].as_str()), ("32768", "33"));
    for (name, _) in &gone {
        let told = done.differences.iter().find(|found| found.parameter == *name).unwrap();
        assert!(told.why.contains("has no such parameter"), "{told:?}");
    }
    let told = |name: &str| done.differences.iter().any(|found| found.parameter == name);
    assert!(told("work_mem"), "the runbook's own value is told");
    assert!(done.differences.iter().any(|found| found.why.starts_with("another default")), "{:?}", done.differences);
    // A value that only RDS knows to be wrong.
    set_by_hand(stage.lab.url(), "old", &[("geqo_seed".to_owned(), "0.5".to_owned())]).await;
    assert_eq!(rds.carried(&carry, &mark).await.unwrap(), Made::Absent, "a value is missing now");
    assert_eq!(rds.carry_parameters(&carry, &mark).await.unwrap().values["geqo_seed"], "0.5");
    assert_eq!(rds.carried(&carry, &mark).await.unwrap(), Made::Ours);
    let foreign = Mark::new("another", "group");
    assert_eq!(rds.carried(&carry, &foreign).await.unwrap(), Made::Foreign);
    assert_eq!(rds.carry_parameters(&carry, &foreign).await.unwrap_err().code(), Code::Foreign);
    let wrong = Carry { name: "new2".into(), set: BTreeMap::from([("wrk_mem".into(), "1".into())]), ..carry };
    assert_eq!(rds.carry_parameters(&wrong, &mark).await.unwrap_err().code(), Code::RequireFailed);
    stage.lab.shutdown().await.unwrap();
}

/// One parameter that the newer version has not, where there is such a one between the two.
async fn gone_since(rds: &Rds, from: &str, to: &str) -> Vec<(String, String)> {
    let default = |version: &str| format!("default.{}", family_of("postgres", version));
    let (old, new) = (
        rds.parameters(Scope::Instance, &default(from), None).await.unwrap(),
        rds.parameters(Scope::Instance, &default(to), None).await.unwrap(),
    );
    let is_gone = |name: &str| !new.iter().any(|known| known.name == name);
    let found = old.into_iter().find(|known| known.is_modifiable && known.value.is_some() && is_gone(&known.name));
    found.map(|known| (known.name, known.value.unwrap_or_default())).into_iter().collect()
}

/// Sets values as a person does who may name what the engine does not list.
async fn set_by_hand(url: &str, group: &str, values: &[(String, String)]) {
    let client = crate::lab::stage::rds_at(url);
    for some in values.chunks(20) {
        let mut call = client.modify_db_parameter_group().db_parameter_group_name(group);
        for (name, value) in some {
            let parameter = aws_sdk_rds::types::Parameter::builder().parameter_name(name).parameter_value(value);
            call = call.parameters(parameter.apply_method("pending-reboot".into()).build());
        }
        call.send().await.unwrap();
    }
}

/// Two instances exchange their names, as a switch by renaming does. Each is known by its identity, whatever it is
/// called; nothing is renamed over another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_exchanged() {
    let stage = Stage::new().await;
    let rds = aws_at(stage.lab.url(), Redactor::default()).rds();
    let (from, _) = versions().await;
    instance(&rds, "blue", &from, |_| {}).await;
    instance(&rds, "green", &from, |_| {}).await;
    let (blue, green) = (rds.instance("blue").await.unwrap(), rds.instance("green").await.unwrap());
    assert_eq!(rds.renaming("green", "blue").await.unwrap(), Renaming::Taken);
    assert_eq!(rds.rename_instance("green", "blue", &quick()).await.unwrap_err().code(), Code::Refused);
    assert_eq!(rds.renaming("blue", "blue-old").await.unwrap(), Renaming::NotBegun);
    let old = rds.rename_instance("Blue", "Blue-Old", &quick()).await.unwrap();
    assert_eq!((old.id.as_str(), old.resource_id), ("blue-old", blue.resource_id));
    assert_eq!(rds.renaming("blue", "blue-old").await.unwrap(), Renaming::Done);
    let new = rds.rename_instance("green", "blue", &quick()).await.unwrap();
    assert_eq!(new.resource_id, green.resource_id);
    // Taken up again behind its end.
    assert_eq!(rds.rename_instance("green", "blue", &quick()).await.unwrap().resource_id, green.resource_id);
    assert_eq!(rds.renaming("no", "body").await.unwrap_err().code(), Code::AwsNotFound);
    stage.lab.shutdown().await.unwrap();
}
