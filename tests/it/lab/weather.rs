//! Faults of states, upgrades, logs, the clock and the servers: what a client sees of each, and that it passes.

use std::time::{Duration, Instant};

use aws_sdk_rds::error::ProvideErrorMetadata;
use pgrun::{
    base::poll,
    lab::{Fault, FaultDesk},
};

use super::stage::{Stage, connect, number, pair, settle, snapshot_settles, url};

/// A desk whose faults end with the test.
fn one(desk: &FaultDesk, fault: Fault) {
    desk.add(Fault { times: Some(1), ..fault }).unwrap();
}

async fn hits(desk: &FaultDesk) {
    let desk = desk.clone();
    poll::until("the fault to strike", poll::Patience::ms(20, 30_000), async move || {
        let struck = desk.list().iter().any(|struck| struck.hits > 0);
        Ok(if struck { poll::Seen::Ready(()) } else { poll::Seen::NotYet("not yet".into()) })
    })
    .await
    .unwrap();
}

/// Waits until a new session can ask something, and gives how long that took.
async fn answers(url: &str) -> Duration {
    let begun = Instant::now();
    poll::until("the server to answer", poll::Patience::ms(50, 60_000), async || {
        let (client, connection) = match tokio_postgres::connect(url, tokio_postgres::NoTls).await {
            Ok(opened) => opened,
            Err(error) => return Ok(poll::Seen::NotYet(error.to_string())),
        };
        let task = tokio::spawn(connection);
        let asked = client.query_one("SELECT 1", &[]).await;
        drop(client);
        let _ = task.await;
        Ok(if asked.is_ok() { poll::Seen::Ready(()) } else { poll::Seen::NotYet("it ended".into()) })
    })
    .await
    .unwrap();
    begun.elapsed()
}

/// One server for all of them: each fault strikes, shows what it says, and is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn servers_are_struck_and_recover() {
    let (from, _) = pair().await;
    let stage = Stage::set().await;
    stage.instance("blue", from).await;
    let (desk, address) = (stage.lab.fault_desk(), url(&stage.rds, "blue").await);
    let client = connect(&address).await;
    client.batch_execute("CREATE TABLE kept AS SELECT 7::bigint AS i").await.unwrap();
    let started = "SELECT extract(epoch FROM pg_postmaster_start_time())::bigint * 1000";

    for kind in ["kill", "restart"] {
        let before = number(&connect(&address).await, started).await;
        tokio::time::sleep(Duration::from_millis(1100)).await;
        one(&desk, Fault { target: "blue".into(), ..Fault::new(kind) });
        hits(&desk).await;
        poll::until("another start", poll::Patience::ms(50, 60_000), async || {
            answers(&address).await;
            let Ok((client, connection)) = tokio_postgres::connect(&address, tokio_postgres::NoTls).await else {
                return Ok(poll::Seen::NotYet("gone".into()));
            };
            tokio::spawn(connection);
            let Ok(row) = client.query_one(started, &[]).await else { return Ok(poll::Seen::NotYet("gone".into())) };
            let now: i64 = row.get(0);
            Ok(if now > before { poll::Seen::Ready(()) } else { poll::Seen::NotYet("the same".into()) })
        })
        .await
        .unwrap();
        desk.clear();
    }
    settle(&stage.rds, "blue", "available").await;

    let client = connect(&address).await;
    one(&desk, Fault { hold_ms: 4000, ..Fault::new("stall") });
    hits(&desk).await;
    // It is counted a moment before the processes stand.
    let hung = poll::until("a session to hang", poll::Patience::ms(10, 5_000), async || {
        let begun = Instant::now();
        number(&client, "SELECT 1::bigint").await;
        let took = begun.elapsed();
        Ok(if took > Duration::from_millis(500) {
            poll::Seen::Ready(())
        } else {
            poll::Seen::NotYet(format!("{took:?}"))
        })
    });
    hung.await.unwrap();
    desk.clear();

    one(&desk, Fault { hold_ms: 8000, ..Fault::new("refuse") });
    hits(&desk).await;
    number(&client, "SELECT 1::bigint").await;
    let refused = poll::until("a refusal", poll::Patience::ms(20, 7_500), async || {
        let opened = tokio_postgres::connect(&address, tokio_postgres::NoTls).await;
        let said = opened.err().and_then(|error| error.code().map(|code| code.code().to_owned()));
        Ok(said.map_or(poll::Seen::NotYet("taken".into()), poll::Seen::Ready))
    });
    assert_eq!(refused.await.unwrap(), "28000", "sessions go on and new ones are refused");
    desk.clear();
    answers(&address).await;
    assert_eq!(number(&connect(&address).await, "SELECT i FROM kept").await, 7);
}

/// Only files that grow meet a full disk; the server says what every full disk says.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn disks_are_full_and_slow() {
    let (from, _) = pair().await;
    let stage = Stage::set().await;
    let desk = stage.lab.fault_desk();
    if let Err(error) = desk.add(Fault { times: Some(0), ..Fault::new("disk-full") }) {
        println!("skipped: {error}");
        return;
    }
    stage.instance("blue", from).await;
    let address = url(&stage.rds, "blue").await;
    let client = connect(&address).await;
    client.batch_execute("CREATE TABLE filled (t text); INSERT INTO filled VALUES ('first')").await.unwrap();
    desk.add(Fault { times: Some(1), hold_ms: 8000, ..Fault::new("disk-full") }).unwrap();
    hits(&desk).await;
    let fill = "INSERT INTO filled SELECT repeat('x', 1000) FROM generate_series(1, 3000)";
    let refused = poll::until("the disk to be full", poll::Patience::ms(20, 7_500), async || {
        let said = client.batch_execute(fill).await.err().and_then(|error| error.code().cloned());
        Ok(said.map_or(poll::Seen::NotYet("it had room".into()), poll::Seen::Ready))
    });
    assert_eq!(refused.await.unwrap().code(), "53100", "disk_full");
    desk.clear();
    settle(&stage.rds, "blue", "available").await;
    answers(&address).await;
    let client = connect(&address).await;
    client.batch_execute(fill).await.unwrap();

    let commits = || async {
        let begun = Instant::now();
        client.batch_execute("INSERT INTO filled VALUES ('y')").await.unwrap();
        begun.elapsed()
    };
    desk.add(Fault { times: Some(20), hold_ms: 400, ..Fault::new("slow-fsync") }).unwrap();
    hits(&desk).await;
    assert!(commits().await > Duration::from_millis(300), "a commit waits for its fsync");
}

/// What was just made is not there yet; a state hangs; an upgrade fails with the words of `pg_upgrade`.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn states_answers_and_upgrades_are_struck() {
    let (from, to) = pair().await;
    let stage = Stage::set().await;
    let (rds, desk) = (&stage.rds, stage.lab.fault_desk());
    stage.instance("blue", from).await;

    let stale = Fault { action: "DescribeDBSnapshots".into(), hold_ms: 30_000, ..Fault::new("stale") };
    desk.add(Fault { times: Some(1), ..stale }).unwrap();
    let stuck = Fault { target: "snap".into(), hold_ms: 1200, ..Fault::new("stuck") };
    desk.add(Fault { times: Some(1), ..stuck }).unwrap();
    let begun = Instant::now();
    rds.create_db_snapshot().db_instance_identifier("blue").db_snapshot_identifier("snap").send().await.unwrap();
    let told = rds.describe_db_snapshots().db_snapshot_identifier("snap").send().await.unwrap_err();
    assert_eq!(told.code(), Some("DBSnapshotNotFound"), "the answer is older than the snapshot");
    assert_eq!(snapshot_settles(rds, "snap", "available").await, from.to_string());
    assert!(begun.elapsed() > Duration::from_millis(1200), "it was in creation for {:?}", begun.elapsed());
    assert!(desk.clear().iter().all(|struck| struck.hits == 1));

    desk.add(Fault { times: Some(1), target: "snap".into(), ..Fault::new("fail-upgrade") }).unwrap();
    let modify = || rds.modify_db_snapshot().db_snapshot_identifier("snap").engine_version(to.to_string()).send();
    modify().await.unwrap();
    assert_eq!(snapshot_settles(rds, "snap", "available").await, from.to_string(), "back at its version");
    let events = rds.describe_events().send().await.unwrap();
    let messages: Vec<&str> = events.events().iter().filter_map(|event| event.message()).collect();
    assert!(messages.iter().any(|message| message.contains("reg*")), "{messages:#?}");
    modify().await.unwrap();
    assert_eq!(snapshot_settles(rds, "snap", "available").await, to.to_string(), "nothing of the failure stays");
}

/// A request that seems to come from another time is refused, as AWS refuses it; dates that are told are wrong too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clock_of_aws_is_another_one() {
    let stage = Stage::set().await;
    let desk = stage.lab.fault_desk();
    for (skew_ms, code, words) in [
        (900_000, Some("InvalidSignatureException"), "Signature expired"),
        (-900_000, Some("InvalidSignatureException"), "Signature not yet current"),
        (200_000, None, ""),
    ] {
        desk.add(Fault { skew_ms, ..Fault::new("clock-skew") }).unwrap();
        let told = stage.secrets.list_secrets().send().await;
        let error = told.as_ref().err();
        assert_eq!(error.and_then(ProvideErrorMetadata::code), code, "{told:?}");
        assert!(error.and_then(ProvideErrorMetadata::message).unwrap_or_default().contains(words), "{error:?}");
        desk.clear();
    }
    let refused = stage.rds.describe_db_instances();
    desk.add(Fault { skew_ms: 900_000, ..Fault::new("clock-skew") }).unwrap();
    assert_eq!(refused.send().await.unwrap_err().code(), Some("SignatureDoesNotMatch"));
    desk.clear();
    desk.add(Fault { skew_ms: 200_000, ..Fault::new("clock-skew") }).unwrap();
    let made = stage.secrets.create_secret().name("s").secret_string("x").send().await;
    made.unwrap();
    let told = stage.secrets.describe_secret().secret_id("s").send().await.unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(told.created_date().unwrap().secs() > i64::try_from(now).unwrap() + 100);
}
