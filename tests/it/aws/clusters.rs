//! Clusters against the lab: a clone is known by its maker, made like its original, upgraded with its instances, and
//! deleted whole.

use std::collections::BTreeMap;

use pgrun::{
    aws::{
        Carry, CloneOf, ClusterChange, ClusterGoal, FinalSnapshot, InstanceGoal, Made, Mark, NewCluster, NewMember,
        Rds, Resource, Scope, Tags, unlike, unlike_clusters,
    },
    base::{Code, Redactor, Secret},
};

use super::{
    life::Stage,
    responder::aws_at,
    settings::{quick, versions},
};
use crate::pgrun::Pgrun;

async fn join(rds: &Rds, cluster: &str, id: &str, like: Option<&str>) {
    let class = "db.r7g.large".into();
    let mut member = NewMember { cluster: cluster.into(), id: id.into(), class, ..NewMember::default() };
    if let Some(like) = like {
        member.like(&rds.instance(like).await.unwrap());
    }
    rds.join_cluster(&member, &Mark::new("r", id)).await.unwrap();
    rds.wait_instance(id, &InstanceGoal::Ready, &quick()).await.unwrap();
}

/// What a clone gets with the call that makes it, and what it gets afterwards, is all that can be set about BLUE. Its
/// upgrade is over when its instance has the version too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clone_is_made_like_its_original_and_upgraded() {
    let stage = Stage::new().await;
    let rds = aws_at(stage.lab.url(), Redactor::default()).rds();
    let (from, to) = versions().await;
    let made = NewCluster {
        id: "blue".into(),
        engine_version: from.clone(),
        master_user: "master".into(),
        master_password: Secret::new("first-password"),
        database: None,
        parameter_group: None,
        tags: Tags::from([("team".into(), "dba".into())]),
    };
    rds.create_cluster(&made, &Mark::new("r", "blue")).await.unwrap();
    rds.wait_cluster("blue", &ClusterGoal::Ready, &quick()).await.unwrap();
    join(&rds, "blue", "blue-1", None).await;
    let change = ClusterChange {
        security_groups: Some(vec!["sg-2".into(), "sg-1".into()]),
        iam_auth: Some(true),
        deletion_protection: Some(true),
        backup_retention_days: Some(14),
        backup_window: Some("01:00-01:30".into()),
        copy_tags: Some(true),
        log_exports: Some(vec!["postgresql".into()]),
        ..ClusterChange::default()
    };
    rds.modify_cluster("blue", &change).await.unwrap();
    let blue = rds.wait_cluster("blue", &ClusterGoal::Changed(Box::new(change)), &quick()).await.unwrap();
    assert_eq!((blue.writer(), blue.readers()), (Some("blue-1"), vec![]));

    let mark = Mark::new("r", "clone");
    assert_eq!(rds.made_by(Resource::Cluster("green"), &mark).await.unwrap(), Made::Absent);
    let mut clone = CloneOf { source: "blue".into(), cluster: "green".into(), ..CloneOf::default() };
    clone.like(&blue);
    rds.clone_cluster(&clone, &mark).await.unwrap();
    let green = rds.wait_cluster("green", &ClusterGoal::Ready, &quick()).await.unwrap();
    assert_eq!(rds.made_by(Resource::Cluster("green"), &mark).await.unwrap(), Made::Ours);
    assert_eq!(rds.made_by(Resource::Cluster("green"), &Mark::new("r2", "clone")).await.unwrap(), Made::Foreign);
    let dropped: Vec<String> = unlike_clusters(&blue, &green).into_iter().map(|unlike| unlike.what).collect();
    assert_eq!(dropped, ["port", "deletion_protection", "backup_retention_days", "backup_window"]);
    let likened = rds.make_cluster_like("green", "blue", &quick()).await.unwrap();
    // The lab's servers share one machine, so each has a port of its own.
    assert_eq!(likened.different.iter().map(|unlike| unlike.what.as_str()).collect::<Vec<_>>(), ["port"]);
    assert_eq!(likened.changed, dropped[1..]);
    join(&rds, "green", "green-1", Some("blue-1")).await;
    let (first, second) = (rds.instance("blue-1").await.unwrap(), rds.instance("green-1").await.unwrap());
    assert_eq!(unlike(&first, &second), [], "what is the cluster's is not compared here");

    let mark = Mark::new("r", "groups");
    let carry = Carry {
        scope: Scope::Cluster,
        from: "blue".into(),
        version: to.clone(),
        name: "new".into(),
        set: BTreeMap::from([("rds.logical_replication".into(), "1".into())]),
    };
    let carried = rds.carry_parameters(&carry, &mark).await.unwrap();
    assert!(carried.family.starts_with("aurora-postgresql"), "{}", carried.family);
    assert_eq!(rds.carried(&carry, &mark).await.unwrap(), Made::Ours);
    assert_eq!(rds.find_parameter_group(Scope::Instance, "new").await.unwrap(), None, "it is one of clusters");
    let upgrade = ClusterChange {
        engine_version: Some(to.clone()),
        parameter_group: Some("new".into()),
        ..ClusterChange::default()
    };
    let asked = rds.modify_cluster("green", &upgrade).await.unwrap();
    assert_eq!(asked.pending.get("engine_version"), Some(&to.as_str().into()), "a check sees it before it begins");
    let green = rds.wait_cluster("green", &ClusterGoal::Version(to.clone()), &quick()).await.unwrap();
    assert_eq!((green.engine_version.as_str(), green.parameter_group.name.as_str()), (to.as_str(), "new"));
    let member = rds.instance("green-1").await.unwrap();
    assert_eq!((member.status.as_str(), member.engine_version.as_str()), ("available", to.as_str()));

    let refused = rds.delete_cluster("green", &FinalSnapshot::Skip).await.unwrap_err();
    assert_eq!(refused.code(), Code::AwsError, "it is protected");
    rds.protect_cluster("green", false, &quick()).await.unwrap();
    let of_green = rds.instance("green-1").await.unwrap();
    rds.delete_instance("green-1", &FinalSnapshot::Skip, false).await.unwrap();
    rds.wait_instance_gone(&of_green, &quick()).await.unwrap();
    rds.delete_cluster("green", &FinalSnapshot::Take("last".into())).await.unwrap();
    rds.wait_cluster_gone(&green, &quick()).await.unwrap();
    assert_eq!(rds.cluster_snapshot("last").await.unwrap().status, "available");
    rds.delete_parameter_group(Scope::Cluster, "new").await.unwrap();
    stage.lab.shutdown().await.unwrap();
}

/// A login goes to the place of its kind: what led to readers goes to the readers' endpoint, all else to the writer's,
/// and what was sent on already stays where it is.
#[test]
fn a_login_of_readers_goes_to_readers() {
    let run = Pgrun::of(
        r#"import "std/servers" as servers;
        let blue = #{ host: "blue", port: 5432, reader_host: "blue-ro", readers: [#{ host: "blue-2", port: 5432 }] };
        let green = #{ host: "green", port: 5433, reader_host: "green-ro", readers: [] };
        let alone = #{ host: "alone", port: 5432 };
        for login in [
            #{ host: "blue" }, #{ host: "blue-ro", port: "5432" }, #{ host: "blue-2" }, #{ host: "blue-1", port: 5432 },
            #{ host: "green-ro", port: 5433 }, #{ host: "green", port: 5433 },
        ] {
            say(`${login.host}: ${servers::place_for(login, blue, green).host} ${servers::place_for(login, blue, alone).host}`);
        }"#,
    );
    run.run().exit(0).stdout(
        "blue: green alone\nblue-ro: green-ro alone\nblue-2: green-ro alone\nblue-1: green alone\ngreen-ro: green-ro \
         alone\ngreen: green alone\n",
    );
}
