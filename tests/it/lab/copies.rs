//! Copies of running servers and their upgrade: undamaged, complete, and without harm to the original.

use std::{path::Path, time::Duration};

use pgrun::{
    base::{clock, config::Config},
    lab::postgres::{
        Catalogue, Installation, Scratch, Server, ServerOptions, ServerUser, Shutdown, Upgrade, copy_frozen,
    },
};
use tokio_postgres::Client;

/// The pair of a rehearsal: what is not installed is fetched.
pub(super) async fn pair() -> (Installation, Installation) {
    let catalogue = Catalogue::look(&Config::from_env().unwrap()).await.unwrap();
    let (from, to) = catalogue.pair(None, None).unwrap();
    (catalogue.obtain(from).await.unwrap(), catalogue.obtain(to).await.unwrap())
}

async fn number(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

/// Moves money between accounts until told to stop: whatever moment is copied, the sum must be the same.
async fn writer(client: Client, mut stop: tokio::sync::watch::Receiver<bool>) -> u64 {
    let mut done = 0;
    while !*stop.borrow_and_update() {
        let sql = format!(
            "BEGIN; UPDATE account SET balance = balance - 1 WHERE id = {}; \
             UPDATE account SET balance = balance + 1 WHERE id = {}; \
             INSERT INTO moved (note) VALUES (repeat('x', 500)); COMMIT",
            done * 7 % 1000,
            (done * 7 + 1) % 1000
        );
        client.batch_execute(&sql).await.unwrap();
        done += 1;
    }
    done
}

/// A copy taken while files are written in any order must recover as after a crash: never half a transaction, never an
/// index without its row. The original must go on without losing a session.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn frozen_copies_under_writes_are_whole() {
    let (installation, _) = pair().await;
    // Frequent checkpoints put every file in motion.
    let mut options = ServerOptions::default();
    options.settings.insert("checkpoint_timeout".into(), "30s".into());
    options.settings.insert("max_wal_size".into(), "32MB".into());
    let server = Server::scratch(&installation, options.clone()).await.unwrap();
    let admin = server.connect("postgres").await.unwrap();
    admin
        .batch_execute(
            "CREATE TABLE account (id int PRIMARY KEY, balance bigint NOT NULL);
             CREATE TABLE moved (id bigserial PRIMARY KEY, note text);
             INSERT INTO account SELECT i, 100 FROM generate_series(0, 999) i",
        )
        .await
        .unwrap();
    admin.batch_execute("SELECT pg_create_logical_replication_slot('kept', 'pgoutput')").await.unwrap();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut writers = Vec::new();
    for _ in 0..3 {
        writers.push(tokio::spawn(writer(server.connect("postgres").await.unwrap(), stopped.clone())));
    }
    let scratch = Scratch::new(ServerUser::choose().unwrap().as_ref()).unwrap();
    let mut copies = Vec::new();
    for n in 0..3 {
        clock::sleep(Duration::from_millis(300)).await;
        let copy = scratch.path().join(format!("copy{n}"));
        std::fs::create_dir(&copy).unwrap();
        copy_frozen(server.process(), &server.folder().join("data"), &copy.join("data")).await.unwrap();
        copies.push(copy);
    }
    stop.send(true).unwrap();
    for writer in writers {
        assert!(writer.await.unwrap() > 0);
    }
    for copy in copies {
        options.superuser = server.superuser().0.into();
        options.password = server.superuser().1.clone();
        let restored = Server::open(&installation, &copy, options.clone()).await.unwrap();
        assert_whole(&restored).await;
        assert!(log_of(&copy).contains("redo done at "), "a crash image is recovered");
    }
}

async fn assert_whole(server: &Server) {
    let client = server.connect("postgres").await.unwrap();
    assert_eq!(number(&client, "SELECT sum(balance)::bigint FROM account").await, 100_000);
    let by_heap = number(&client, "SELECT count(*) FROM moved WHERE note <> ''").await;
    client.batch_execute("SET enable_seqscan = off").await.unwrap();
    assert!(by_heap > 0);
    assert_eq!(number(&client, "SELECT count(id) FROM moved WHERE id > 0").await, by_heap);
    assert_eq!(number(&client, "SELECT count(*) FROM pg_replication_slots").await, 1, "the slot travels");
    let amcheck = client.batch_execute("CREATE EXTENSION amcheck").await;
    if amcheck.is_ok() {
        let whole = "SELECT bt_index_check(indexrelid, true) FROM pg_index JOIN pg_class ON oid = indexrelid \
                     WHERE relam = (SELECT oid FROM pg_am WHERE amname = 'btree') AND relpersistence = 'p'";
        client.batch_execute(whole).await.unwrap();
    }
}

fn log_of(folder: &Path) -> String {
    let mut files: Vec<_> = std::fs::read_dir(folder.join("log/error")).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files.iter().map(|path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()).collect()
}

/// The upgrade works on a copy: it gives the rows under the new version, and a refused one leaves its reason in the
/// logs, the original as it was and no process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_works_on_a_copy() {
    let (from, to) = pair().await;
    let server = Server::scratch(&from, ServerOptions::default()).await.unwrap();
    let client = server.connect("postgres").await.unwrap();
    client.batch_execute("CREATE TABLE kept AS SELECT 7 AS i").await.unwrap();
    server.stop(Shutdown::Immediate).await.unwrap();
    let mut options = ServerOptions::default();
    (options.superuser, options.password) = (server.superuser().0.into(), server.superuser().1.clone());
    let scratch = Scratch::new(ServerUser::choose().unwrap().as_ref()).unwrap();
    let (data, good) = (server.folder().join("data"), scratch.path().join("good"));
    let upgrade = Upgrade {
        from: &from,
        to: &to,
        data: &data,
        work: &good,
        options: &options,
        refuse_slots: false,
        spoil: false,
    };
    upgrade.run().await.unwrap();
    let log = log_of(&good);
    let new_server = log.rfind(&format!("starting PostgreSQL {}", to.version)).unwrap();
    assert!(log.find("redo done at ").unwrap() < new_server, "the old version recovers the copy first");
    let upgraded = Server::open(&to, &good, options.clone()).await.unwrap();
    assert_eq!(number(&upgraded.connect("postgres").await.unwrap(), "SELECT i::bigint FROM kept").await, 7);
    drop(upgraded);

    // `pg_upgrade` refuses a database that does not accept connections (check.c, `check_proper_datallowconn`).
    let mut again = server;
    again.start().await.unwrap();
    let client = again.connect("postgres").await.unwrap();
    client.batch_execute("CREATE DATABASE closed ALLOW_CONNECTIONS false").await.unwrap();
    again.stop(Shutdown::Fast).await.unwrap();
    let bad = scratch.path().join("bad");
    let upgrade = Upgrade { work: &bad, ..upgrade };
    let error = upgrade.run().await.unwrap_err();
    assert!(error.message().contains("pg_upgrade"), "{error:?}");
    let names: Vec<String> = std::fs::read_dir(bad.join("log/error"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert!(names.iter().any(|name| name.starts_with("pg_upgrade_precheck.log.")), "{names:?}");
    again.start().await.unwrap();
    assert_eq!(number(&again.connect("postgres").await.unwrap(), "SELECT i::bigint FROM kept").await, 7);
}
