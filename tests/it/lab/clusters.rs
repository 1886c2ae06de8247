//! Clusters of Aurora: their storage, writer and readers, copies and upgrades, through the real SDK.

use aws_sdk_rds::{error::ProvideErrorMetadata, types::DbCluster};
use pgrun::base::{Lsn, poll};

use super::stage::{PASSWORD, Stage, connect, number, pair, settle};

const CLASS: &str = "db.r6g.large";

async fn described(rds: &aws_sdk_rds::Client, id: &str) -> Option<DbCluster> {
    match rds.describe_db_clusters().db_cluster_identifier(id).send().await {
        Ok(told) => told.db_clusters().first().cloned(),
        Err(error) if error.code() == Some("DBClusterNotFoundFault") => None,
        Err(error) => panic!("{error:?}"),
    }
}

/// Waits for a status of a cluster.
pub(super) async fn cluster_settles(rds: &aws_sdk_rds::Client, id: &str, status: &str) {
    poll::until(&format!("the cluster {id} to be {status}"), poll::Patience::ms(20, 120_000), async || {
        let seen = described(rds, id).await.map_or("deleted".to_owned(), |found| found.status().unwrap().to_owned());
        assert!(seen == status || !["failed", "incompatible-restore"].contains(&seen.as_str()), "{id} is {seen}");
        Ok(if seen == status { poll::Seen::Ready(()) } else { poll::Seen::NotYet(seen) })
    })
    .await
    .unwrap();
}

/// The members with their roles, and where the writer listens.
async fn members(rds: &aws_sdk_rds::Client, id: &str) -> (Vec<(String, bool)>, Option<i32>) {
    let found = described(rds, id).await.unwrap();
    let member = |member: &aws_sdk_rds::types::DbClusterMember| {
        (member.db_instance_identifier().unwrap().to_owned(), member.is_cluster_writer() == Some(true))
    };
    (found.db_cluster_members().iter().map(member).collect(), found.port())
}

pub(super) async fn add(rds: &aws_sdk_rds::Client, cluster: &str, id: &str) {
    let request = rds.create_db_instance().db_instance_identifier(id).db_cluster_identifier(cluster);
    request.engine("aurora-postgresql").db_instance_class(CLASS).send().await.unwrap();
}

/// A session with the writer, by the endpoint of the cluster.
async fn writer(rds: &aws_sdk_rds::Client, cluster: &str) -> tokio_postgres::Client {
    let port = members(rds, cluster).await.1.unwrap();
    connect(&format!("postgres://master:{PASSWORD}@127.0.0.1:{port}/postgres")).await
}

async fn start_lsn(client: &tokio_postgres::Client) -> Lsn {
    let row = client.query_one("SELECT aurora_volume_logical_start_lsn()::text", &[]).await.unwrap();
    row.get::<_, String>(0).parse().unwrap()
}

/// Storage comes first, an instance makes it reachable, a second one follows it; roles change without loss, and what
/// was written outlives every instance.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cluster_outlives_its_instances() {
    let (from, _) = pair().await;
    let stage = Stage::set().await;
    let rds = &stage.rds;
    let request = rds.create_db_cluster().db_cluster_identifier("C").engine("aurora-postgresql");
    let request = request.engine_version(from.to_string()).master_username("master").master_user_password(PASSWORD);
    request.database_name("app").send().await.unwrap();
    add(rds, "c", "c").await;
    cluster_settles(rds, "c", "available").await;
    settle(rds, "c", "available").await;
    add(rds, "c", "two").await;
    settle(rds, "two", "available").await;
    assert_eq!(members(rds, "c").await.0, [("c".to_owned(), true), ("two".to_owned(), false)]);
    let client = writer(rds, "c").await;
    client.batch_execute("CREATE TABLE kept AS SELECT 7::bigint AS i").await.unwrap();
    start_lsn(&client).await;
    let reader = connect(&super::stage::url(rds, "two").await).await;
    poll::until("the reader to follow", poll::Patience::ms(20, 20_000), async || {
        Ok(match reader.query_one("SELECT i FROM kept", &[]).await {
            Ok(_) => poll::Seen::Ready(()),
            Err(error) => poll::Seen::NotYet(error.to_string()),
        })
    })
    .await
    .unwrap();
    let refused = reader.batch_execute("INSERT INTO kept VALUES (8)").await.unwrap_err();
    assert_eq!(refused.code().unwrap().code(), "25006", "read_only_sql_transaction");

    let port = members(rds, "c").await.1;
    rds.failover_db_cluster().db_cluster_identifier("c").send().await.unwrap();
    cluster_settles(rds, "c", "failing-over").await;
    cluster_settles(rds, "c", "available").await;
    assert_eq!(members(rds, "c").await, (vec![("two".to_owned(), true), ("c".to_owned(), false)], port));
    let client = writer(rds, "c").await;
    client.batch_execute("INSERT INTO kept VALUES (8)").await.unwrap();
    let reader = connect(&super::stage::url(rds, "c").await).await;
    assert_eq!(number(&reader, "SELECT pg_is_in_recovery()::int::bigint").await, 1);

    // A writer that dies comes back in its place, and its reader goes on.
    let data = client.query_one("SHOW data_directory", &[]).await.unwrap().get::<_, String>(0);
    let server = pgrun::lab::postgres::Process::serving(data.as_ref()).unwrap();
    server.signal(nix::sys::signal::Signal::SIGKILL);
    poll::until("the writer to be back", poll::Patience::ms(50, 60_000), async || {
        let port = members(rds, "c").await.1.unwrap();
        let address = format!("postgres://master:{PASSWORD}@127.0.0.1:{port}/postgres");
        let Ok((client, connection)) = tokio_postgres::connect(&address, tokio_postgres::NoTls).await else {
            return Ok(poll::Seen::NotYet("down".into()));
        };
        tokio::spawn(async move { drop(connection.await) });
        let made = client.batch_execute("CREATE TABLE IF NOT EXISTS after_death (i int)").await;
        Ok(if made.is_ok() && !server.is_alive() { poll::Seen::Ready(()) } else { poll::Seen::NotYet("dying".into()) })
    })
    .await
    .unwrap();
    poll::until("the reader to follow again", poll::Patience::ms(50, 60_000), async || {
        let seen = number(&reader, "SELECT count(*) FROM pg_class WHERE relname = 'after_death'").await;
        Ok(if seen == 1 { poll::Seen::Ready(()) } else { poll::Seen::NotYet(seen.to_string()) })
    })
    .await
    .unwrap();
    for (old, new) in [("c", "d"), ("d", "c")] {
        let rename = rds.modify_db_cluster().db_cluster_identifier(old).new_db_cluster_identifier(new);
        rename.apply_immediately(true).send().await.unwrap();
        cluster_settles(rds, new, "available").await;
        assert_eq!(members(rds, new).await.0.len(), 2, "members stay through a new name");
    }

    let modify = rds.modify_db_cluster().db_cluster_identifier("c").master_user_password("another-password");
    let told = modify.apply_immediately(true).send().await.unwrap();
    let pending = told.db_cluster().unwrap().pending_modified_values().unwrap();
    assert_eq!(pending.master_user_password(), Some("****"));
    cluster_settles(rds, "c", "resetting-master-credentials").await;
    cluster_settles(rds, "c", "available").await;
    let address = format!("postgres://master:another-password@127.0.0.1:{}/postgres", port.unwrap());
    connect(&address).await;

    let delete = |id: &str| rds.delete_db_instance().db_instance_identifier(id).send();
    delete("two").await.unwrap();
    settle(rds, "two", "deleted").await;
    assert_eq!(members(rds, "c").await, (vec![("c".to_owned(), true)], port), "the reader has become the writer");
    assert_eq!(number(&connect(&address).await, "SELECT count(*) FROM kept").await, 2);
    rds.stop_db_cluster().db_cluster_identifier("c").send().await.unwrap();
    cluster_settles(rds, "c", "stopped").await;
    rds.start_db_cluster().db_cluster_identifier("c").send().await.unwrap();
    cluster_settles(rds, "c", "available").await;
    let early = rds.delete_db_cluster().db_cluster_identifier("c").skip_final_snapshot(true).send().await;
    assert_eq!(early.unwrap_err().code(), Some("InvalidDBClusterStateFault"), "it has an instance");
    delete("c").await.unwrap();
    settle(rds, "c", "deleted").await;
    assert!(tokio_postgres::connect(&address, tokio_postgres::NoTls).await.is_err(), "storage has no server");
    add(rds, "c", "three").await;
    settle(rds, "three", "available").await;
    assert_eq!(number(&connect(&address).await, "SELECT count(*) FROM kept").await, 2);
    delete("three").await.unwrap();
    rds.delete_db_cluster().db_cluster_identifier("c").final_db_snapshot_identifier("last").send().await.unwrap();
    cluster_settles(rds, "c", "deleted").await;
    let left = std::fs::read_dir(stage.lab.dir().join("instances")).unwrap().count();
    assert_eq!(left, 0, "folders are left");
    let snapshot = rds.describe_db_cluster_snapshots().db_cluster_snapshot_identifier("last").send().await.unwrap();
    assert_eq!(snapshot.db_cluster_snapshots()[0].status(), Some("available"));
}

/// The seed's way to a GREEN on Aurora: a clone, which says where its log begins, and an upgrade of it, by a change or
/// by the restore itself. The source goes on, and its slot keeps what GREEN needs.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cluster_is_cloned_and_upgraded() {
    let (from, to) = pair().await;
    let stage = Stage::set().await;
    let rds = &stage.rds;
    let group = rds.create_db_cluster_parameter_group().db_cluster_parameter_group_name("logical").description("x");
    let family = format!("aurora-postgresql{}", from.major);
    group.db_parameter_group_family(&family).send().await.unwrap();
    let on = aws_sdk_rds::types::Parameter::builder().parameter_name("rds.logical_replication").parameter_value("1");
    let on = on.apply_method(aws_sdk_rds::types::ApplyMethod::PendingReboot).build();
    let set = rds.modify_db_cluster_parameter_group().db_cluster_parameter_group_name("logical");
    set.parameters(on).send().await.unwrap();
    let request = rds.create_db_cluster().db_cluster_identifier("blue").engine("aurora-postgresql");
    let request = request.engine_version(from.to_string()).master_username("master").master_user_password(PASSWORD);
    request.db_cluster_parameter_group_name("logical").send().await.unwrap();
    add(rds, "blue", "blue-1").await;
    settle(rds, "blue-1", "available").await;
    let blue = writer(rds, "blue").await;
    blue.batch_execute("CREATE TABLE kept AS SELECT 7::bigint AS i").await.unwrap();
    let position = async || {
        let row = blue.query_one("SELECT pg_current_wal_insert_lsn()::text", &[]).await.unwrap();
        row.get::<_, String>(0).parse::<Lsn>().unwrap()
    };
    let before = position().await;
    rds.create_db_cluster_snapshot()
        .db_cluster_identifier("blue")
        .db_cluster_snapshot_identifier("s")
        .send()
        .await
        .unwrap();
    cluster_settles(rds, "blue", "available").await;
    let clone = rds.restore_db_cluster_to_point_in_time().db_cluster_identifier("green");
    let clone = clone.source_db_cluster_identifier("blue").restore_type("copy-on-write");
    clone.use_latest_restorable_time(true).db_cluster_parameter_group_name("logical").send().await.unwrap();
    cluster_settles(rds, "green", "available").await;
    blue.batch_execute("INSERT INTO kept VALUES (8)").await.unwrap();
    let after = position().await;

    let restore = rds.restore_db_cluster_from_snapshot().db_cluster_identifier("other").snapshot_identifier("s");
    let restore = restore.engine("aurora-postgresql").engine_version(to.to_string());
    restore.send().await.unwrap();
    cluster_settles(rds, "other", "available").await;
    assert!(members(rds, "other").await.0.is_empty(), "a restore makes no instance");
    for cluster in ["green", "other"] {
        add(rds, cluster, &format!("{cluster}-1")).await;
        settle(rds, &format!("{cluster}-1"), "available").await;
        let client = writer(rds, cluster).await;
        assert_eq!(number(&client, "SELECT count(*) FROM kept").await, 1);
        let begins = start_lsn(&client).await;
        assert!(before <= begins && begins <= after, "{cluster}: {before} <= {begins} <= {after}");
    }
    let begins = start_lsn(&writer(rds, "green").await).await;
    let modify = rds.modify_db_cluster().db_cluster_identifier("green").engine_version(to.to_string());
    let modify = modify.allow_major_version_upgrade(true).apply_immediately(true);
    let upgrade = modify.db_cluster_parameter_group_name(format!("default.aurora-postgresql{}", to.major));
    upgrade.send().await.unwrap();
    cluster_settles(rds, "green", "upgrading").await;
    cluster_settles(rds, "green", "available").await;
    for cluster in ["green", "other"] {
        let client = writer(rds, cluster).await;
        let version = number(&client, "SELECT current_setting('server_version_num')::bigint / 10000").await;
        assert_eq!(version, i64::from(to.major), "{cluster}");
        // A role of the new version, which `rds_superuser` has from 16 on.
        let may = "SELECT count(*) FROM pg_roles WHERE rolname = 'pg_create_subscription' \
                   AND pg_has_role('master', oid, 'member')";
        assert_eq!(number(&client, may).await, i64::from(to.major >= 16), "{cluster}: the master's rights are renewed");
        assert_eq!(described(rds, cluster).await.unwrap().engine_version(), Some(to.to_string().as_str()));
    }
    assert_eq!(start_lsn(&writer(rds, "green").await).await, begins, "an upgrade does not move it");
}
