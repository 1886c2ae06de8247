//! What the ledger says about writes that were cut off, and how a load ends.

use std::time::Duration;

use pgrun::{
    base::{Code, Secret},
    lab::postgres::Shutdown,
    load::{Endpoint, Fate, Load, Plan, Probes},
};

use super::stage::{Stage, plan, until};

/// A server that dies between commit and answer: the rows are there and nobody was told. They are in doubt, neither
/// lost nor acknowledged, and everything that was acknowledged has survived.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_without_an_answer_is_in_doubt() {
    let mut stage = Stage::new().await;
    let patient = Plan { attempt_limit: Duration::from_secs(60), ..plan() };
    let load = Load::start(patient.probes(Probes::new(stage.endpoint(), None))).await.unwrap();
    until(&load, "work", |status| status.acknowledged > 50).await;
    // From here on commits are written and flushed, and then wait for a standby that does not exist.
    stage.server.settings_mut().insert("synchronous_standby_names".into(), "nobody".into());
    stage.server.reload().unwrap();
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    while stage.number(waiting).await < 4 {
        pgrun::base::clock::sleep(Duration::from_millis(5)).await;
    }
    stage.server.stop(Shutdown::Immediate).await.unwrap();
    until(&load, "the writers to notice", |status| status.in_doubt == 4).await;
    stage.server.settings_mut().remove("synchronous_standby_names");
    stage.server.start().await.unwrap();
    let before = load.status().acknowledged;
    until(&load, "work again", |status| status.acknowledged > before + 50).await;
    let outcome = load.stop().await;
    let proof = outcome.verify(&stage.endpoint()).await.unwrap();
    assert!(proof.holds(), "{proof:?}");
    assert_eq!((proof.in_doubt, proof.in_doubt_present), (4, 4));
    let told = outcome.ledger.records.iter().filter(|record| record.fate == Fate::Acknowledged).count() as u64;
    assert_eq!(proof.acknowledged, told);
    assert!(proof.errors.contains_key("refused"), "{:?}", proof.errors);
}

/// A statement that the server refuses is a failure, not a doubt; and one that was cut off before it was committed is a
/// doubt that turns out to be absent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_no_doubt() {
    let stage = Stage::new().await;
    let load = Load::start(plan().probes(Probes::new(stage.endpoint(), None))).await.unwrap();
    until(&load, "work", |status| status.acknowledged > 20).await;
    stage.run("ALTER TABLE {s}.probe ADD CONSTRAINT never CHECK (false) NOT VALID").await;
    until(&load, "refusals", |status| status.failed >= 8).await;
    stage.run("ALTER TABLE {s}.probe DROP CONSTRAINT never").await;
    let transaction = stage.admin.batch_execute("BEGIN").await;
    transaction.unwrap();
    stage.run("LOCK TABLE {s}.probe IN ACCESS EXCLUSIVE MODE").await;
    let blocked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    while stage.number(blocked).await < 4 {
        // pg_stat_activity is a snapshot within a transaction.
        stage.run("SELECT pg_stat_clear_snapshot()").await;
        pgrun::base::clock::sleep(Duration::from_millis(5)).await;
    }
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    assert_eq!(stage.number(cut).await, 4);
    stage.admin.batch_execute("COMMIT").await.unwrap();
    let before = load.status().acknowledged;
    until(&load, "work again", |status| status.acknowledged > before + 20).await;
    let outcome = load.stop().await;
    let proof = outcome.verify(&stage.endpoint()).await.unwrap();
    assert!(proof.holds() && proof.failed >= 8, "{proof:?}");
    assert_eq!((proof.in_doubt, proof.in_doubt_present), (4, 0), "{proof:?}");
    assert_eq!(proof.errors.get("57P01"), Some(&4), "{:?}", proof.errors);
    assert_eq!(proof.errors.get("23514"), Some(&proof.failed), "{:?}", proof.errors);
}

/// A load ends by itself, and its file tells every write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_ends_by_itself_and_leaves_a_file() {
    let stage = Stage::new().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ledger.tsv");
    let short = Plan { max_duration: Duration::from_millis(500), ledger_file: Some(file.clone()), ..plan() };
    let load = Load::start(short.probes(Probes::new(stage.endpoint(), None))).await.unwrap();
    until(&load, "the end", |status| status.running == 0).await;
    let outcome = load.stop().await;
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text.lines().count(), outcome.ledger.records.len() + 1);
    let last = outcome.ledger.records.last().unwrap();
    assert!(text.lines().last().unwrap().contains(&outcome.ledger.tag(last).to_string()));
}

/// A load that cannot write does not start, and says why. So does one without clients.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_that_cannot_write_does_not_start() {
    let stage = Stage::new().await;
    let stranger = Endpoint { password: Secret::new("wrong"), ..stage.endpoint() };
    let brief = Plan { start_limit: Duration::from_millis(500), ..plan() };
    let error = Load::start(brief.clone().probes(Probes::new(stranger, None))).await.err().unwrap();
    assert!(error.code() == Code::Timeout && error.message().contains("28P01"), "{error:?}");
    assert!(!error.message().contains("wrong"), "{error:?}");
    let error = Load::start(brief).await.err().unwrap();
    assert_eq!(error.code(), Code::ValueGuard);
}
