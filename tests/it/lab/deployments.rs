//! Blue/green deployments through the real SDK: green follows blue, both change places under load without loss or
//! repetition, and what is asked for at the wrong time is refused.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use aws_sdk_rds::{
    error::{ProvideErrorMetadata, SdkError},
    types::BlueGreenDeployment,
};
use pgrun::base::{clock, poll};

use super::stage::{Stage, connect, logical_group, number, pair, settle, url};

/// The deployment, while there is one.
async fn described(rds: &aws_sdk_rds::Client, id: &str) -> Option<BlueGreenDeployment> {
    match rds.describe_blue_green_deployments().blue_green_deployment_identifier(id).send().await {
        Ok(told) => told.blue_green_deployments().first().cloned(),
        Err(error) if error.code() == Some("BlueGreenDeploymentNotFoundFault") => None,
        Err(error) => panic!("{error:?}"),
    }
}

/// Waits for a status of a deployment.
pub(super) async fn becomes(rds: &aws_sdk_rds::Client, id: &str, status: &str) {
    poll::until(&format!("the deployment to be {status}"), poll::Patience::ms(20, 180_000), async || {
        let found = described(rds, id).await;
        let seen = found.as_ref().map_or("gone", |found| found.status().unwrap());
        let bad = ["INVALID_CONFIGURATION", "SWITCHOVER_FAILED"].contains(&seen);
        assert!(seen == status || !bad, "{found:?}");
        Ok(if seen == status { poll::Seen::Ready(()) } else { poll::Seen::NotYet(seen.to_owned()) })
    })
    .await
    .unwrap();
}

async fn arn(rds: &aws_sdk_rds::Client, id: &str) -> String {
    let told = rds.describe_db_instances().db_instance_identifier(id).send().await.unwrap();
    told.db_instances()[0].db_instance_arn().unwrap().to_owned()
}

/// Asks for a deployment of `blue` with an upgrade, and gives its identifier and the name of green.
pub(super) async fn deploy(rds: &aws_sdk_rds::Client, name: &str, to: &str) -> (String, String) {
    let request = rds.create_blue_green_deployment().blue_green_deployment_name(name).source(arn(rds, "blue").await);
    let request = request.target_engine_version(to).target_db_parameter_group_name(logical_group(rds, to).await);
    let told = request.send().await.unwrap();
    let made = told.blue_green_deployment().unwrap();
    assert_eq!(made.status(), Some("PROVISIONING"));
    let target = made.target().unwrap().rsplit(':').next().unwrap().to_owned();
    (made.blue_green_deployment_identifier().unwrap().to_owned(), target)
}

fn code<T: std::fmt::Debug, E: ProvideErrorMetadata, R>(result: Result<T, SdkError<E, R>>) -> String {
    result.expect_err("it was not refused").code().unwrap_or("no code").to_owned()
}

/// What a client of blue has had acknowledged, and the longest time between two of its commits.
#[derive(Default)]
struct Told {
    acknowledged: Vec<i64>,
    outage: Duration,
}

/// Inserts one row after another, connecting anew at the same address whenever that is needed, until it is told to end.
async fn insert(address: String, ends: Arc<AtomicBool>) -> Told {
    let (mut told, mut next, mut last) = (Told::default(), 0, clock::instant());
    while !ends.load(Ordering::Relaxed) {
        let Ok((client, connection)) = tokio_postgres::connect(&address, tokio_postgres::NoTls).await else {
            clock::sleep(Duration::from_millis(5)).await;
            continue;
        };
        tokio::spawn(async move { drop(connection.await) });
        while !ends.load(Ordering::Relaxed) {
            // A row that may have been committed without an answer is not tried again.
            next += 1;
            if client.execute("INSERT INTO load (id) VALUES ($1)", &[&next]).await.is_err() {
                break;
            }
            told.acknowledged.push(next);
            told.outage = told.outage.max(last.elapsed());
            last = clock::instant();
            clock::sleep(Duration::from_millis(2)).await;
        }
    }
    told
}

/// Under a load of inserts green is made and takes blue's place.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn green_takes_the_place_of_blue() {
    let (from, to) = pair().await;
    let stage = Stage::set().await;
    let rds = &stage.rds;
    stage.instance("blue", from).await;
    let address = url(rds, "blue").await;
    let blue = connect(&address).await;
    let schema = "CREATE TABLE load (id bigint PRIMARY KEY, n bigserial); CREATE TABLE bare (i int); \
        CREATE SEQUENCE \"Odd.Name\" START 100; SELECT nextval('\"Odd.Name\"'); CREATE ROLE app LOGIN PASSWORD 'secret'";
    blue.batch_execute(schema).await.unwrap();
    blue.batch_execute("CREATE DATABASE \"other db\"").await.unwrap();
    let ends = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn(insert(address.clone(), ends.clone()));

    let (id, green) = deploy(rds, "upgrade", &to.to_string()).await;
    assert!(green.starts_with("blue-green-") && green.len() == "blue-green-".len() + 6, "{green}");
    let early = rds.switchover_blue_green_deployment().blue_green_deployment_identifier(&id).send().await;
    assert_eq!(code(early), "InvalidBlueGreenDeploymentStateFault");
    becomes(rds, &id, "AVAILABLE").await;
    settle(rds, &green, "available").await;
    let made = described(rds, &id).await.unwrap();
    assert!(made.tasks().iter().all(|task| task.status() == Some("COMPLETED")) && made.tasks().len() == 4, "{made:?}");
    let reader = connect(&url(rds, &green).await).await;
    let refused = reader.batch_execute("INSERT INTO load (id) VALUES (-1)").await.unwrap_err();
    assert_eq!(refused.code().unwrap().code(), "25006", "read_only_sql_transaction");
    let events = rds.describe_events().source_identifier(&id).source_type("blue-green-deployment".into()).send().await;
    let events = events.unwrap();
    assert!(events.events().iter().any(|event| event.message().unwrap().contains("bare")), "{events:?}");

    let switch = rds.switchover_blue_green_deployment().blue_green_deployment_identifier(&id);
    let told = switch.clone().send().await.unwrap();
    assert_eq!(told.blue_green_deployment().unwrap().status(), Some("SWITCHOVER_IN_PROGRESS"));
    assert_eq!(code(switch.send().await), "InvalidBlueGreenDeploymentStateFault");
    becomes(rds, &id, "SWITCHOVER_COMPLETED").await;
    clock::sleep(Duration::from_millis(300)).await;
    ends.store(true, Ordering::Relaxed);
    let told = load.await.unwrap();
    println!("{} rows, outage {} ms", told.acknowledged.len(), told.outage.as_millis());

    assert_eq!(url(rds, "blue").await, address, "name and port are blue's");
    let new = connect(&address).await;
    let version = number(&new, "SELECT current_setting('server_version_num')::bigint / 10000").await;
    assert_eq!(version, i64::from(to.major));
    let rows = new.query("SELECT id FROM load ORDER BY id", &[]).await.unwrap();
    let there: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    let lost: Vec<&i64> = told.acknowledged.iter().filter(|id| there.binary_search(id).is_err()).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    // Without the key a row that was applied twice would be there twice; with it the apply would stand still.
    assert_eq!(number(&new, "SELECT nextval('\"Odd.Name\"')").await, 101);
    assert!(number(&new, "SELECT max(n) FROM load").await < number(&new, "SELECT nextval('load_n_seq')").await);
    new.batch_execute("INSERT INTO bare VALUES (1); UPDATE bare SET i = 2").await.unwrap();
    connect(&address.replace("master:", "app:").replace(super::stage::PASSWORD, "secret")).await;

    let old = url(rds, "blue-old1").await;
    let kept = connect(&old).await;
    assert!(number(&kept, "SELECT count(*) FROM load").await > 0);
    let refused = kept.batch_execute("INSERT INTO load (id) VALUES (-1)").await.unwrap_err();
    assert_eq!(refused.code().unwrap().code(), "25006", "read_only_sql_transaction");
    let left = "SELECT (SELECT count(*) FROM pg_replication_slots) + (SELECT count(*) FROM pg_publication)";
    assert_eq!((number(&kept, left).await, number(&new, left).await), (0, 0), "nothing leads from one to the other");
    rds.reboot_db_instance().db_instance_identifier("blue-old1").send().await.unwrap();
    settle(rds, "blue-old1", "available").await;
    connect(&old).await.batch_execute("INSERT INTO load (id) VALUES (-1)").await.unwrap();

    let made = described(rds, &id).await.unwrap();
    let detail = &made.switchover_details()[0];
    let members = [detail.source_member().unwrap(), detail.target_member().unwrap()];
    assert!(members[0].ends_with(":db:blue-old1") && members[1].ends_with(":db:blue"), "{members:?}");
    let delete = rds.delete_blue_green_deployment().blue_green_deployment_identifier(&id);
    assert_eq!(code(delete.clone().delete_target(true).send().await), "InvalidBlueGreenDeploymentStateFault");
    delete.send().await.unwrap();
    becomes(rds, &id, "gone").await;
    assert_eq!(arn(rds, "blue").await.rsplit(':').next(), Some("blue"), "the instances stay");
}

/// A switchover that green's data do not allow is put back without an outage; a deployment is deleted with green and
/// without it; sources that are not fit are refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_deployment_is_put_back_and_deleted() {
    let (from, to) = pair().await;
    let scratch = super::stage::scratch();
    let options = pgrun::lab::LabOptions { speed: 5.0, ..super::stage::options(&scratch) };
    let stage = Stage::set_with(scratch, options).await;
    let rds = &stage.rds;
    stage.instance("blue", from).await;
    let blue = connect(&url(rds, "blue").await).await;
    blue.batch_execute("CREATE TABLE load (id bigint PRIMARY KEY)").await.unwrap();
    let source = arn(rds, "blue").await;
    let ask = |name: &str, source: &str| {
        rds.create_blue_green_deployment().blue_green_deployment_name(name).source(source).send()
    };
    assert_eq!(code(ask("x", &source.replace("blue", "nobody")).await), "DBInstanceNotFound");
    let retention = async |days| {
        let modify = rds.modify_db_instance().db_instance_identifier("blue").apply_immediately(true);
        modify.backup_retention_period(days).send().await.unwrap();
        poll::until("the retention", poll::Patience::ms(20, 20_000), async || {
            let told = rds.describe_db_instances().db_instance_identifier("blue").send().await.unwrap();
            let blue = &told.db_instances()[0];
            let is = (blue.backup_retention_period(), blue.db_instance_status()) == (Some(days), Some("available"));
            Ok(if is { poll::Seen::Ready(()) } else { poll::Seen::NotYet("not yet".into()) })
        })
        .await
        .unwrap();
    };
    retention(0).await;
    assert_eq!(code(ask("x", &source).await), "SourceDatabaseNotSupportedFault");
    retention(1).await;

    let (id, green) = deploy(rds, "first", &to.to_string()).await;
    assert_eq!(code(ask("second", &source).await), "SourceDatabaseNotSupportedFault");
    becomes(rds, &id, "AVAILABLE").await;
    let writer = connect(&url(rds, &green).await).await;
    writer.batch_execute("SET default_transaction_read_only = off").await.unwrap();
    writer.batch_execute("INSERT INTO load VALUES (1)").await.unwrap();
    blue.batch_execute("INSERT INTO load VALUES (1)").await.unwrap();
    let switch = rds.switchover_blue_green_deployment().blue_green_deployment_identifier(&id);
    assert_eq!(code(switch.clone().switchover_timeout(29).send().await), "InvalidParameterValue");
    switch.clone().switchover_timeout(30).send().await.unwrap();
    becomes(rds, &id, "AVAILABLE").await;
    let told = described(rds, &id).await.unwrap();
    assert!(told.status_details().is_some(), "{told:?}");
    blue.batch_execute("INSERT INTO load VALUES (2)").await.expect("the session was not ended");
    writer.batch_execute("DELETE FROM load").await.unwrap();
    poll::until("green to follow again", poll::Patience::ms(50, 60_000), async || {
        let seen = number(&writer, "SELECT count(*) FROM load").await;
        Ok(if seen == 2 { poll::Seen::Ready(()) } else { poll::Seen::NotYet(seen.to_string()) })
    })
    .await
    .unwrap();

    let slots = "SELECT (SELECT count(*) FROM pg_replication_slots) + (SELECT count(*) FROM pg_publication)";
    let delete = |id: &str| rds.delete_blue_green_deployment().blue_green_deployment_identifier(id);
    delete(&id).send().await.unwrap();
    becomes(rds, &id, "gone").await;
    assert_eq!(number(&blue, slots).await, 0);
    connect(&url(rds, &green).await).await.batch_execute("INSERT INTO load VALUES (7)").await.unwrap();
    let (id, second) = deploy(rds, "first", &to.to_string()).await;
    becomes(rds, &id, "AVAILABLE").await;
    delete(&id).delete_target(true).send().await.unwrap();
    becomes(rds, &id, "gone").await;
    settle(rds, &second, "deleted").await;
    assert_eq!(number(&blue, slots).await, 0);
    assert_eq!(code(delete(&id).send().await), "BlueGreenDeploymentNotFoundFault");
    let left = std::fs::read_dir(stage.lab.dir().join("instances")).unwrap().count();
    assert_eq!(left, 2, "blue, and the first green");
}
