//! A lab in a process of its own: brought up, killed, taken up again, brought down without a trace.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use clap::Parser;
use nix::sys::signal::Signal;
use pgrun::{
    base::poll,
    cli::lab::{LabArgs, run},
    lab::{self, LabOptions, postgres::Process},
};

use super::deployments::{becomes, deploy};
use super::stage::{
    config, connect, number, options, pair, rds_at, scratch, secrets_at, settle, snapshot_settles, url,
};

const DIR: &str = "PGRUN_TEST_LAB_DIR";

/// Not a test: the process that the tests below start. It is what `pgrun lab up --foreground` calls.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lab_process() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let options = LabOptions { dir: PathBuf::from(dir), ..options(&scratch()) };
    lab::foreground(&config(), options, |_| Ok(())).await.unwrap();
}

/// The command that runs the process above.
pub(super) fn program(dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "lab::crash::lab_process", "--nocapture"]).env(DIR, dir);
    command
}

/// Ends whatever the test started, also when it panics.
pub(super) struct Guard(pub(super) PathBuf);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(found) = lab::running(&self.0) {
            found.process.signal(Signal::SIGKILL);
        }
        for server in servers(&self.0) {
            server.end();
        }
    }
}

/// The postmasters that run below the lab's folder.
fn servers(dir: &Path) -> Vec<Process> {
    let folders = |parent: &str| std::fs::read_dir(dir.join(parent)).into_iter().flatten().flatten();
    let all = folders("instances").chain(folders("snapshots"));
    all.flat_map(|entry| ["data", "data.old"].map(|data| entry.path().join(data)))
        .filter_map(|data| Process::serving(&data))
        .collect()
}

/// Kills a process and waits until it is gone.
fn kill(process: &Process) {
    process.signal(Signal::SIGKILL);
    assert!(process.wait_gone_blocking(std::time::Duration::from_secs(20)));
}

/// kill -9 of the lab leaves its servers alone; the next lab adopts them, thaws frozen ones, starts dead ones, finds
/// every secret, and goes on with an upgrade that was cut off.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_killed_lab_is_taken_up_again() {
    let (from, to) = pair().await;
    let scratch = scratch();
    let dir = scratch.path().join("lab");
    let _guard = Guard(dir.clone());
    let first = lab::up(&dir, program(&dir)).await.unwrap();
    let rds = rds_at(&first.url);
    let secrets = secrets_at(&first.url);
    secrets.create_secret().name("app").secret_string("kept").send().await.unwrap();
    super::stage::create(&rds, "one", &from.to_string()).await;
    settle(&rds, "one", "available").await;
    let address = url(&rds, "one").await;
    connect(&address).await.batch_execute("CREATE TABLE kept AS SELECT 7::bigint AS i").await.unwrap();
    let server = servers(&dir).remove(0);
    let mode = |name: &str| std::fs::metadata(dir.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("world.json"), mode("lab.log")), (0o600, 0o600), "they may hold secrets");

    // Killed while it copied: the server stands still. And while it made another instance: that begins anew.
    super::stage::create(&rds, "two", &from.to_string()).await;
    server.signal(Signal::SIGSTOP);
    kill(&first.process);
    assert!(lab::running(&dir).is_none());
    let second = lab::up(&dir, program(&dir)).await.unwrap();
    assert_eq!(second.url, first.url, "who has the address in the environment finds it again");
    assert!(server.is_alive() && servers(&dir).contains(&server), "adopted, not restarted");
    assert_eq!(number(&connect(&address).await, "SELECT i FROM kept").await, 7);
    let value = secrets.get_secret_value().secret_id("app").send().await.unwrap();
    assert_eq!(value.secret_string(), Some("kept"));
    assert_eq!(lab::up(&dir, program(&dir)).await.unwrap().process, second.process, "one lab is enough");

    settle(&rds, "two", "available").await;
    rds.create_db_snapshot().db_instance_identifier("one").db_snapshot_identifier("s").send().await.unwrap();
    snapshot_settles(&rds, "s", "available").await;
    rds.modify_db_snapshot().db_snapshot_identifier("s").engine_version(to.to_string()).send().await.unwrap();
    poll::until("the copy's server", poll::Patience::ms(5, 60_000), async || {
        let count = servers(&dir).len();
        Ok(if count > 2 { poll::Seen::Ready(()) } else { poll::Seen::NotYet(count.to_string()) })
    })
    .await
    .unwrap();
    // The worst moment: the server's processes stand still, and both the lab and the postmaster are killed.
    for backend in server.descendants() {
        backend.signal(Signal::SIGSTOP);
    }
    kill(&second.process);
    kill(&server);
    let third = lab::up(&dir, program(&dir)).await.unwrap();
    settle(&rds, "one", "available").await;
    assert_eq!(url(&rds, "one").await, address);
    assert_eq!(number(&connect(&address).await, "SELECT i FROM kept").await, 7);
    assert_eq!(snapshot_settles(&rds, "s", "available").await, to.to_string(), "the upgrade began anew");

    assert!(lab::down(&dir).await.unwrap());
    assert!(!third.process.is_alive() && servers(&dir).is_empty());
    assert!(!lab::down(&dir).await.unwrap(), "nothing is left to stop");
    let status = lab::status(&dir).unwrap();
    assert!(status.running.is_none() && status.instances.len() == 2 && status.snapshots.len() == 1);
}

/// A cluster is taken up again with its writer and its reader, whoever died; a failover that was cut off goes on, and
/// work on storage alone begins anew. What was committed is there, and no server is left behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cluster_of_a_killed_lab_is_taken_up_again() {
    let (from, to) = pair().await;
    let scratch = scratch();
    let dir = scratch.path().join("lab");
    let _guard = Guard(dir.clone());
    let first = lab::up(&dir, program(&dir)).await.unwrap();
    let rds = rds_at(&first.url);
    let request = rds.create_db_cluster().db_cluster_identifier("c").engine("aurora-postgresql");
    let request = request.engine_version(from.to_string()).master_username("master");
    request.master_user_password(super::stage::PASSWORD).send().await.unwrap();
    for id in ["one", "two"] {
        let request = rds.create_db_instance().db_instance_identifier(id).db_cluster_identifier("c");
        request.engine("aurora-postgresql").db_instance_class("db.r6g.large").send().await.unwrap();
    }
    // Killed while it made the storage, and two instances waited for it.
    kill(&first.process);
    let second = lab::up(&dir, program(&dir)).await.unwrap();
    settle(&rds, "one", "available").await;
    settle(&rds, "two", "available").await;
    let address = url(&rds, "one").await;
    connect(&address).await.batch_execute("CREATE TABLE kept AS SELECT 7::bigint AS i").await.unwrap();
    assert_eq!(servers(&dir).len(), 2);
    rds.failover_db_cluster().db_cluster_identifier("c").send().await.unwrap();
    poll::until("the failover", poll::Patience::ms(1, 20_000), async || {
        let count = servers(&dir).len();
        Ok(if count < 2 { poll::Seen::Ready(()) } else { poll::Seen::NotYet(count.to_string()) })
    })
    .await
    .unwrap();
    kill(&second.process);
    for server in servers(&dir) {
        kill(&server);
    }
    let third = lab::up(&dir, program(&dir)).await.unwrap();
    let settles = async |id: &str| {
        poll::until("the cluster", poll::Patience::ms(20, 120_000), async || {
            let told = rds.describe_db_clusters().db_cluster_identifier(id).send().await.unwrap();
            let (seen, version) = (told.db_clusters()[0].status().unwrap(), told.db_clusters()[0].engine_version());
            let version = version.unwrap().to_owned();
            Ok(if seen == "available" { poll::Seen::Ready(version) } else { poll::Seen::NotYet(seen.to_owned()) })
        })
        .await
        .unwrap()
    };
    settles("c").await;
    let told = rds.describe_db_clusters().send().await.unwrap();
    let member = &told.db_clusters()[0].db_cluster_members()[0];
    assert_eq!((member.db_instance_identifier(), member.is_cluster_writer()), (Some("two"), Some(true)));
    for id in ["one", "two"] {
        assert_eq!(number(&connect(&url(&rds, id).await).await, "SELECT i FROM kept").await, 7, "{id}");
    }
    assert_eq!(url(&rds, "two").await, address, "the endpoint of the writer stays");

    // Killed while a copy is made, recovered or upgraded: the restore begins anew, and arrives at its version.
    let snapshot = rds.create_db_cluster_snapshot().db_cluster_identifier("c").db_cluster_snapshot_identifier("s");
    snapshot.send().await.unwrap();
    settles("c").await;
    let restore = rds.restore_db_cluster_from_snapshot().db_cluster_identifier("d").snapshot_identifier("s");
    restore.engine("aurora-postgresql").engine_version(to.to_string()).send().await.unwrap();
    poll::until("the copy's server", poll::Patience::ms(2, 60_000), async || {
        let count = servers(&dir).len();
        Ok(if count > 2 { poll::Seen::Ready(()) } else { poll::Seen::NotYet(count.to_string()) })
    })
    .await
    .unwrap();
    kill(&third.process);
    let fourth = lab::up(&dir, program(&dir)).await.unwrap();
    assert_eq!(settles("d").await, to.to_string());
    assert_eq!(servers(&dir).len(), 2, "a cluster without instances has no server");
    assert!(lab::down(&dir).await.unwrap());
    assert!(!fourth.process.is_alive() && servers(&dir).is_empty());
    let folders = std::fs::read_dir(dir.join("instances")).unwrap().count();
    assert_eq!(folders, 3, "two storages and a reader");
}

/// A blue/green deployment goes on after its lab was killed, while green is made and while the two change places. No
/// slot, server or folder is left, and what was committed is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_deployment_of_a_killed_lab_is_taken_up_again() {
    let (from, to) = pair().await;
    let scratch = scratch();
    let dir = scratch.path().join("lab");
    let _guard = Guard(dir.clone());
    let first = lab::up(&dir, program(&dir)).await.unwrap();
    let rds = rds_at(&first.url);
    super::stage::create(&rds, "blue", &from.to_string()).await;
    settle(&rds, "blue", "available").await;
    let address = url(&rds, "blue").await;
    connect(&address).await.batch_execute("CREATE TABLE kept (i bigint PRIMARY KEY)").await.unwrap();
    let (id, _) = deploy(&rds, "upgrade", &to.to_string()).await;
    let servers_are = async |wanted: std::ops::Range<usize>| {
        poll::until("the servers", poll::Patience::ms(2, 120_000), async || {
            let count = servers(&dir).len();
            Ok(if wanted.contains(&count) { poll::Seen::Ready(()) } else { poll::Seen::NotYet(count.to_string()) })
        })
        .await
        .unwrap();
    };
    servers_are(2..9).await;
    connect(&address).await.batch_execute("INSERT INTO kept VALUES (1)").await.unwrap();
    kill(&first.process);
    let second = lab::up(&dir, program(&dir)).await.unwrap();
    becomes(&rds, &id, "AVAILABLE").await;
    assert_eq!(servers(&dir).len(), 2);
    let blue = connect(&address).await;
    assert_eq!(number(&blue, "SELECT count(*) FROM pg_replication_slots").await, 1, "one for the one database");
    blue.batch_execute("INSERT INTO kept VALUES (2)").await.unwrap();
    rds.switchover_blue_green_deployment().blue_green_deployment_identifier(&id).send().await.unwrap();
    servers_are(0..2).await;
    kill(&second.process);
    let third = lab::up(&dir, program(&dir)).await.unwrap();
    becomes(&rds, &id, "SWITCHOVER_COMPLETED").await;
    assert_eq!((url(&rds, "blue").await, servers(&dir).len()), (address.clone(), 2));
    let new = connect(&address).await;
    new.batch_execute("INSERT INTO kept VALUES (3)").await.unwrap();
    assert_eq!(number(&new, "SELECT count(*) FROM kept").await, 3);
    let old = connect(&url(&rds, "blue-old1").await).await;
    assert_eq!(number(&old, "SELECT count(*) FROM pg_replication_slots").await, 0);
    assert!(lab::down(&dir).await.unwrap());
    assert!(!third.process.is_alive() && servers(&dir).is_empty());
    assert_eq!(std::fs::read_dir(dir.join("instances")).unwrap().count(), 2);
}

#[derive(Parser)]
struct Program {
    #[command(flatten)]
    lab: LabArgs,
}

async fn say(words: &[&str], dir: &Path) -> pgrun::base::Result<String> {
    let words = words.iter().copied().chain(["--dir", dir.to_str().unwrap()]);
    let program = Program::parse_from(std::iter::once("pgrun-lab").chain(words));
    let mut out = Vec::new();
    run(&program.lab, &config(), &mut out).await?;
    Ok(String::from_utf8(out).unwrap())
}

/// What the command line prints: JSON with the documented fields, shell lines that point every client to the lab.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_shows_the_lab() {
    let scratch = scratch();
    let dir = scratch.path().join("lab");
    let _guard = Guard(dir.clone());
    assert!(say(&["env"], &dir).await.unwrap_err().hint_text().unwrap().contains("lab up"));
    assert_eq!(say(&["down"], &dir).await.unwrap(), "no lab was running\n");
    let found = lab::up(&dir, program(&dir)).await.unwrap();
    secrets_at(&found.url).create_secret().name("app").secret_string("hidden").send().await.unwrap();
    let text = say(&["status", "--json"], &dir).await.unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((json["schema"].as_i64(), json["running"].as_bool()), (Some(1), Some(true)));
    assert_eq!(json["secrets"][0], "app");
    assert_eq!(json["url"], found.url);
    assert!(!text.contains("hidden"));
    assert!(say(&["status"], &dir).await.unwrap().starts_with(&format!("running at {}", found.url)));
    let lines = say(&["env"], &dir).await.unwrap();
    for line in [&format!("export AWS_ENDPOINT_URL={}", found.url), "export AWS_REGION=eu-west-1"] {
        assert!(lines.lines().any(|known| known == line), "{lines}");
    }
    let other = lab::Lab::start(&config(), LabOptions::at(&dir)).await.err().unwrap();
    assert!(other.message().contains("another lab runs"), "{other:?}");
    assert_eq!(say(&["down"], &dir).await.unwrap(), "the lab is down\n");
    assert!(say(&["status"], &dir).await.unwrap().starts_with("not running"));
}
