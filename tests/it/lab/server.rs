//! Bare servers: they start on a port of their own, are proved to be ours, and leave nothing behind.

use std::{path::PathBuf, time::Duration};

use nix::sys::signal::Signal;
use pgrun::{
    base::{Secret, config::Config, poll},
    lab::postgres::{Installation, Process, Server, ServerOptions, Shutdown, installations},
};

async fn any_installation() -> Installation {
    let config = Config::from_env().unwrap();
    installations(&config).await.unwrap().into_iter().next().expect("no PostgreSQL is installed")
}

async fn one(url: &str, sql: &str) -> String {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    let task = tokio::spawn(connection);
    let value = client.query_one(sql, &[]).await.unwrap().get(0);
    drop(client);
    task.await.unwrap().unwrap();
    value
}

/// Everything that a test of another part needs: a server by one call, reachable by URL, gone with its value.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_serves_its_url_and_leaves_nothing_behind() {
    let password = Secret::new("p@ss/wo:rd %'\"\\");
    let options = ServerOptions { superuser: "Öl x".into(), password, ..ServerOptions::default() };
    let server = Server::scratch(&any_installation().await, options).await.unwrap();
    assert_eq!(one(&server.url("postgres"), "SELECT current_user::text").await, "Öl x");
    assert_eq!(one(&server.url("postgres"), "SHOW fsync").await, "on");
    assert_eq!(one(&server.url("postgres"), "SHOW wal_level").await, "logical");
    let mut all = server.process().descendants();
    all.push(server.process().clone());
    assert!(all.len() > 3, "{all:?}");
    let folder = server.folder().to_owned();
    drop(server);
    assert!(all.iter().all(|process| !process.is_alive()), "a process is left");
    assert!(!folder.exists());
}

/// A killed server comes back on the same port with what was committed; a stop waits for every process of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_comes_back() {
    let mut server = Server::scratch(&any_installation().await, ServerOptions::default()).await.unwrap();
    let client = server.connect("postgres").await.unwrap();
    client.batch_execute("CREATE TABLE kept (i int); INSERT INTO kept VALUES (7)").await.unwrap();
    let (port, first) = (server.port(), server.process().clone());
    first.signal(Signal::SIGKILL);
    server.start().await.unwrap();
    assert_eq!(server.port(), port);
    assert_ne!(server.process(), &first);
    assert_eq!(one(&server.url("postgres"), "SELECT i::text FROM kept").await, "7");
    let all = server.process().descendants();
    server.stop(Shutdown::Fast).await.unwrap();
    assert!(!server.process().is_alive() && all.iter().all(|process| !process.is_alive()));
}

/// A backend that never looks for its postmaster holds the shared memory of a killed one: a run that made its slots in
/// that moment waited for its server for ever. It is ended, and so is one of a server that nobody starts again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_does_not_notice_keeps_no_server_down() {
    let mut server = Server::scratch(&any_installation().await, ServerOptions::default()).await.unwrap();
    for starts_again in [true, false] {
        let client = server.connect("postgres").await.unwrap();
        let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
        let computing = tokio::spawn(async move { client.batch_execute("DO 'BEGIN LOOP END LOOP; END'").await });
        let (backend, other) = (Process::of(pid).unwrap(), server.connect("postgres").await.unwrap());
        let begins = poll::until("the backend to compute", poll::Patience::ms(5, 20_000), async || {
            let state = "SELECT state FROM pg_stat_activity WHERE pid = $1";
            let state: String = other.query_one(state, &[&pid]).await.unwrap().get(0);
            Ok(if state == "active" { poll::Seen::Ready(()) } else { poll::Seen::NotYet(state) })
        });
        begins.await.unwrap();
        assert!(server.process().signal(Signal::SIGKILL) && backend.is_alive());
        if starts_again {
            server.start().await.unwrap();
            assert_eq!(one(&server.url("postgres"), "SELECT 'up'").await, "up");
        } else {
            assert!(server.process().wait_gone_blocking(Duration::from_secs(20)));
            let folder = server.folder().to_owned();
            drop(server);
            assert!(backend.wait_gone_blocking(Duration::from_secs(20)) && !folder.exists());
            computing.abort();
            return;
        }
        assert!(!backend.is_alive());
        computing.abort();
    }
}

/// Two servers asked for one port: the second must not take the first one's for its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_port_is_passed_over() {
    let installation = any_installation().await;
    let first = Server::scratch(&installation, ServerOptions::default()).await.unwrap();
    let options = ServerOptions { port: Some(first.port()), ..ServerOptions::default() };
    let second = Server::scratch(&installation, options).await.unwrap();
    assert_ne!(first.port(), second.port());
    let folder = |server: &Server| -> PathBuf { server.folder().join("data") };
    let told = one(&second.url("postgres"), "SHOW data_directory").await;
    assert_eq!(PathBuf::from(told), folder(&second));
}

/// A server that cannot start says why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_cannot_start_quotes_its_log() {
    let mut options = ServerOptions::default();
    options.settings.insert("shared_preload_libraries".into(), "no_such_library".into());
    let error = Server::scratch(&any_installation().await, options).await.unwrap_err();
    assert_eq!(error.code().name(), "lab_failed");
    assert!(error.fact("log").unwrap().contains("no_such_library"), "{error:?}");
}
