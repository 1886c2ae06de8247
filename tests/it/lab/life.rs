//! The life of instances and snapshots through the real SDK, over real servers.

use std::time::Duration;

use aws_sdk_rds::{
    error::ProvideErrorMetadata,
    types::{ApplyMethod, Parameter},
};
use pgrun::base::{Lsn, clock, poll};

use super::stage::{PASSWORD, Stage, connect, number, pair, settle, snapshot_settles, url};

/// All log files from their beginning, block by block, as a script has to read them.
async fn whole_log(rds: &aws_sdk_rds::Client, id: &str) -> String {
    let files = rds.describe_db_log_files().db_instance_identifier(id).filename_contains("postgresql.log");
    let files = files.send().await.unwrap();
    let mut text = String::new();
    for file in files.describe_db_log_files() {
        let mut marker = "0".to_owned();
        loop {
            let request = rds.download_db_log_file_portion().db_instance_identifier(id).marker(&marker);
            let block = request.log_file_name(file.log_file_name().unwrap()).number_of_lines(50).send().await.unwrap();
            text.push_str(block.log_file_data().unwrap_or_default());
            block.marker().unwrap().clone_into(&mut marker);
            if !block.additional_data_pending().unwrap_or(false) {
                break;
            }
        }
    }
    text
}

fn first_redo_done(log: &str) -> Lsn {
    let at = log.find("redo done at ").expect(log) + "redo done at ".len();
    log[at..].split_whitespace().next().unwrap().parse().unwrap()
}

/// Prepares what the seed's procedure prepares: a table, a publication, a slot, and a marker row with its position.
async fn prepare(blue: &tokio_postgres::Client) -> Lsn {
    let statements = "CREATE TABLE kept (id bigserial PRIMARY KEY, note text);
         INSERT INTO kept (note) SELECT 'row ' || i FROM generate_series(1, 5000) i;
         CREATE PUBLICATION everything FOR ALL TABLES";
    blue.batch_execute(statements).await.unwrap();
    blue.batch_execute("SELECT pg_create_logical_replication_slot('to_green', 'pgoutput')").await.unwrap();
    blue.batch_execute("BEGIN").await.unwrap();
    let at = blue.query_one("SELECT pg_current_wal_insert_lsn()::text", &[]).await.unwrap().get::<_, String>(0);
    blue.batch_execute("INSERT INTO kept (note) VALUES ('before'); COMMIT").await.unwrap();
    at.parse().unwrap()
}

/// The main job in small: a snapshot under writes, a real upgrade of it, a restore whose log gives the position from
/// which replication has to go on. Then an upgrade that fails: the snapshot stays what it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_snapshot_is_upgraded_and_restored() {
    let (from, to) = pair().await;
    let stage = Stage::set().await;
    let rds = &stage.rds;
    stage.instance("Blue", from).await;
    let blue = connect(&url(rds, "blue").await).await;
    let before = prepare(&blue).await;
    let writer = {
        let client = connect(&url(rds, "blue").await).await;
        tokio::spawn(async move {
            loop {
                client.batch_execute("INSERT INTO kept (note) VALUES ('under way')").await.unwrap();
            }
        })
    };
    rds.create_db_snapshot().db_instance_identifier("blue").db_snapshot_identifier("green").send().await.unwrap();
    assert_eq!(snapshot_settles(rds, "green", "available").await, from.to_string());
    settle(rds, "blue", "available").await;
    writer.abort();
    let written = number(&blue, "SELECT count(*) FROM kept WHERE note = 'under way'").await;
    let after: Lsn = {
        let row = blue.query_one("SELECT pg_current_wal_insert_lsn()::text", &[]).await.unwrap();
        blue.batch_execute("INSERT INTO kept (note) VALUES ('after')").await.unwrap();
        row.get::<_, String>(0).parse().unwrap()
    };

    rds.modify_db_snapshot().db_snapshot_identifier("green").engine_version(to.to_string()).send().await.unwrap();
    assert_eq!(snapshot_settles(rds, "green", "available").await, to.to_string());
    let request = rds.restore_db_instance_from_db_snapshot().db_instance_identifier("green");
    request.db_snapshot_identifier("green").db_instance_class("db.t4g.micro").send().await.unwrap();
    settle(rds, "green", "available").await;

    let green = connect(&url(rds, "green").await).await;
    assert_eq!(number(&green, "SELECT count(*) FROM kept WHERE note LIKE 'row %'").await, 5000);
    assert_eq!(number(&green, "SELECT count(*) FROM kept WHERE note = 'before'").await, 1);
    assert_eq!(number(&green, "SELECT count(*) FROM kept WHERE note = 'after'").await, 0);
    let arrived = number(&green, "SELECT count(*) FROM kept WHERE note = 'under way'").await;
    assert!((1..=written).contains(&arrived), "{arrived} of {written}");
    let version = number(&green, "SELECT current_setting('server_version_num')::bigint").await;
    assert_eq!(version / 10_000, i64::from(to.major));
    assert_eq!(number(&green, "SELECT count(*) FROM pg_replication_slots").await, 0, "dropped by pg_upgrade");
    let redo = first_redo_done(&whole_log(rds, "green").await);
    assert!(before <= redo && redo < after, "{before} <= {redo} < {after}");
    let confirmed = blue.query_one("SELECT confirmed_flush_lsn::text FROM pg_replication_slots", &[]).await.unwrap();
    assert!(confirmed.get::<_, String>(0).parse::<Lsn>().unwrap() <= redo, "BLUE's slot keeps what GREEN needs");

    blue.batch_execute("CREATE DATABASE closed ALLOW_CONNECTIONS false").await.unwrap();
    rds.create_db_snapshot().db_instance_identifier("blue").db_snapshot_identifier("bad").send().await.unwrap();
    snapshot_settles(rds, "bad", "available").await;
    rds.modify_db_snapshot().db_snapshot_identifier("bad").engine_version(to.to_string()).send().await.unwrap();
    assert_eq!(snapshot_settles(rds, "bad", "available").await, from.to_string(), "back at the old version");
    let events = rds.describe_events().source_type(aws_sdk_rds::types::SourceType::DbSnapshot);
    let events = events.source_identifier("bad").send().await.unwrap();
    assert!(events.events().iter().any(|event| event.message().unwrap().contains("Upgrade to")), "{events:?}");
    stage.lab.shutdown().await.unwrap();
}

/// An instance passes through the states of RDS, shows `available` a moment too long after a change, and keeps its
/// port, its data and its parameters through them.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_instance_goes_through_its_states() {
    let (from, _) = pair().await;
    let stage = Stage::set().await;
    let rds = &stage.rds;
    let group = rds.create_db_parameter_group().db_parameter_group_name("tuned").description("for a test");
    group.db_parameter_group_family(format!("postgres{}", from.major)).send().await.unwrap();
    stage.instance("one", from).await;
    let client = connect(&url(rds, "one").await).await;
    client.batch_execute("CREATE TABLE kept AS SELECT 7::bigint AS i").await.unwrap();
    let roles = "SELECT count(*) FROM pg_roles WHERE rolname IN ('rds_superuser', 'rds_replication', 'rds_password', 'rds_iam', 'rdsadmin')";
    assert_eq!(number(&client, roles).await, 5);
    assert_eq!(number(&client, "SELECT pg_has_role('rds_superuser', 'member')::int::bigint").await, 1);
    let theirs = url(rds, "one").await.replace("/postgres", "/rdsadmin");
    assert!(
        tokio_postgres::connect(&theirs, tokio_postgres::NoTls).await.is_err(),
        "RDS keeps its own database to itself"
    );

    let modify = || rds.modify_db_instance().db_instance_identifier("one").apply_immediately(true);
    let told = modify().master_user_password("another-password").send().await.unwrap();
    let told = told.db_instance().unwrap();
    assert_eq!(told.db_instance_status(), Some("available"), "stale, as on RDS");
    assert_eq!(told.pending_modified_values().unwrap().master_user_password(), Some("****"));
    settle(rds, "one", "resetting-master-credentials").await;
    settle(rds, "one", "available").await;
    let new_url = url(rds, "one").await.replace(PASSWORD, "another-password");
    assert!(tokio_postgres::connect(&url(rds, "one").await, tokio_postgres::NoTls).await.is_err());
    connect(&new_url).await;

    modify().db_parameter_group_name("tuned").send().await.unwrap();
    settle(rds, "one", "modifying").await;
    settle(rds, "one", "available").await;
    set(rds, "max_connections", "77", ApplyMethod::PendingReboot).await;
    assert_eq!(apply_status(rds).await, "pending-reboot");
    rds.reboot_db_instance().db_instance_identifier("one").send().await.unwrap();
    settle(rds, "one", "available").await;
    assert_eq!(apply_status(rds).await, "in-sync");
    let client = connect(&new_url).await;
    assert_eq!(number(&client, "SELECT current_setting('max_connections')::bigint").await, 77);
    set(rds, "log_min_duration_statement", "4321", ApplyMethod::Immediate).await;
    poll::until("the parameter", poll::Patience::ms(20, 20_000), async || {
        let seen = number(&client, "SELECT setting::bigint FROM pg_settings WHERE name = 'log_min_duration_statement'");
        let seen = seen.await;
        Ok(if seen == 4321 { poll::Seen::Ready(()) } else { poll::Seen::NotYet(seen.to_string()) })
    })
    .await
    .unwrap();

    rds.stop_db_instance().db_instance_identifier("one").send().await.unwrap();
    settle(rds, "one", "stopped").await;
    assert!(tokio_postgres::connect(&new_url, tokio_postgres::NoTls).await.is_err());
    rds.start_db_instance().db_instance_identifier("one").send().await.unwrap();
    settle(rds, "one", "available").await;
    modify().new_db_instance_identifier("Two").send().await.unwrap();
    settle(rds, "two", "available").await;
    settle(rds, "one", "deleted").await;
    let client = connect(&new_url).await;
    assert_eq!(number(&client, "SELECT i FROM kept").await, 7, "same server, same port, same data");

    let delete = || rds.delete_db_instance().db_instance_identifier("two");
    delete().final_db_snapshot_identifier("last").send().await.unwrap();
    settle(rds, "two", "deleted").await;
    assert_eq!(snapshot_settles(rds, "last", "available").await, from.to_string());
    let request = rds.restore_db_instance_from_db_snapshot().db_snapshot_identifier("last");
    request.db_instance_identifier("again").db_parameter_group_name("tuned").send().await.unwrap();
    settle(rds, "again", "available").await;
    let again = connect(&url(rds, "again").await.replace(PASSWORD, "another-password")).await;
    assert_eq!(number(&again, "SELECT i FROM kept").await, 7);
    assert_eq!(number(&again, "SELECT current_setting('max_connections')::bigint").await, 77);
}

async fn set(rds: &aws_sdk_rds::Client, name: &str, value: &str, method: ApplyMethod) {
    let parameter = Parameter::builder().parameter_name(name).parameter_value(value).apply_method(method).build();
    rds.modify_db_parameter_group().db_parameter_group_name("tuned").parameters(parameter).send().await.unwrap();
}

async fn apply_status(rds: &aws_sdk_rds::Client) -> String {
    let told = rds.describe_db_instances().db_instance_identifier("one").send().await.unwrap();
    told.db_instances()[0].db_parameter_groups()[0].parameter_apply_status().unwrap().to_owned()
}

/// The second order of the procedure: restore first, upgrade the instance afterwards. With a slot it is refused, as
/// RDS documents it, and the instance goes on at its version; without one it is upgraded in place.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_instance_is_upgraded_in_place() {
    let (from, to) = pair().await;
    let stage = Stage::set().await;
    let rds = &stage.rds;
    stage.instance("one", from).await;
    let client = connect(&url(rds, "one").await).await;
    client.batch_execute("CREATE TABLE kept AS SELECT 7::bigint AS i").await.unwrap();
    client.batch_execute("SELECT pg_create_logical_replication_slot('s', 'pgoutput')").await.unwrap();
    let modify = || {
        let request = rds.modify_db_instance().db_instance_identifier("one").apply_immediately(true);
        let family = format!("postgres{}", to.major);
        request.engine_version(to.to_string()).db_parameter_group_name(format!("default.{family}"))
    };
    let refused = modify().send().await.unwrap_err();
    assert_eq!(refused.code(), Some("InvalidParameterCombination"), "AllowMajorVersionUpgrade is missing");
    let upgraded = async || {
        modify().allow_major_version_upgrade(true).send().await.unwrap();
        settle(rds, "one", "upgrading").await;
        settle(rds, "one", "available").await;
        let told = rds.describe_db_instances().db_instance_identifier("one").send().await.unwrap();
        told.db_instances()[0].engine_version().unwrap().to_owned()
    };
    assert_eq!(upgraded().await, from.to_string());
    let files = rds.describe_db_log_files().db_instance_identifier("one").filename_contains("pg_upgrade");
    assert!(files.send().await.unwrap().describe_db_log_files().is_empty(), "the precheck refused before pg_upgrade");
    let client = connect(&url(rds, "one").await).await;
    client.batch_execute("SELECT pg_drop_replication_slot('s')").await.unwrap();
    assert_eq!(upgraded().await, to.to_string());
    let files = rds.describe_db_log_files().db_instance_identifier("one").filename_contains("pg_upgrade_internal");
    assert!(!files.send().await.unwrap().describe_db_log_files().is_empty());
    let client = connect(&url(rds, "one").await).await;
    assert_eq!(number(&client, "SELECT i FROM kept").await, 7);
    assert_eq!(
        number(&client, "SELECT current_setting('server_version_num')::bigint / 10000").await,
        i64::from(to.major)
    );
}

/// A server that dies is started again on its port, and what was committed is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_dead_server_is_started_again() {
    let (from, _) = pair().await;
    let stage = Stage::set().await;
    stage.instance("one", from).await;
    let address = url(&stage.rds, "one").await;
    let client = connect(&address).await;
    client.batch_execute("CREATE TABLE kept AS SELECT 7::bigint AS i").await.unwrap();
    let data = client.query_one("SHOW data_directory", &[]).await.unwrap().get::<_, String>(0);
    let server = pgrun::lab::postgres::Process::serving(data.as_ref()).unwrap();
    server.signal(nix::sys::signal::Signal::SIGKILL);
    let kept = poll::until("the server to be back", poll::Patience::ms(50, 60_000), async || {
        let told = tokio_postgres::connect(&address, tokio_postgres::NoTls).await;
        let Ok((client, connection)) = told else { return Ok(poll::Seen::NotYet("down".into())) };
        tokio::spawn(async move { drop(connection.await) });
        // The dying server may still have taken this session.
        let row = clock::within(Duration::from_secs(20), client.query_one("SELECT i FROM kept", &[])).await;
        Ok(match row {
            Some(Ok(row)) if !server.is_alive() => poll::Seen::Ready(row.get::<_, i64>(0)),
            _ => poll::Seen::NotYet("no answer".into()),
        })
    });
    assert_eq!(kept.await.unwrap(), 7);
    let events = stage.rds.describe_events().send().await.unwrap();
    assert!(events.events().iter().any(|event| event.message().unwrap().contains("Recovery")));
}
