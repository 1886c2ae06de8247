//! Waiting: throttling is survived, evidence is wanted, and every wait ends.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use pgrun::{
    aws::{InstanceGoal, SnapshotGoal, Wait},
    base::Code,
};

use super::responder::{Reaction, Responder, instance, rds_answer, rds_error};

fn quick<'a>() -> Wait<'a> {
    Wait {
        every: Duration::from_millis(10),
        deadline: Duration::from_secs(20),
        grace: Duration::from_secs(10),
        since_ms: None,
        progress: None,
    }
}

fn snapshot(status: &str, version: &str) -> Reaction {
    let body = format!(
        "<DBSnapshots><DBSnapshot><DBSnapshotIdentifier>snap</DBSnapshotIdentifier><Status>{status}</Status>\
         <PercentProgress>50</PercentProgress><EngineVersion>{version}</EngineVersion></DBSnapshot></DBSnapshots>"
    );
    rds_answer("DescribeDBSnapshots", &body)
}

fn events(message: &str) -> Reaction {
    let body = format!(
        "<Events><Event><SourceIdentifier>blue</SourceIdentifier><Message>{message}</Message>\
         <Date>2026-11-20T10:00:00Z</Date></Event></Events>"
    );
    rds_answer("DescribeEvents", &body)
}

/// A major upgrade as RDS shows it: available and old, still available, upgrading, throttled, available and new. The
/// SDK's waiter would have been content with the first look, or died of the fourth.
#[tokio::test]
async fn an_upgrade_is_waited_for_until_the_version_is_there() {
    let server = Responder::start(|_, before| match before {
        0 | 1 => instance("available", "15.18"),
        2 => instance("upgrading", "15.18"),
        3..9 => rds_error(400, "Throttling", "Rate exceeded"),
        9 => instance("upgrading", "17.4"),
        _ => instance("available", "17.4"),
    });
    let server = server.await;
    let said = Mutex::new(Vec::new());
    let progress = |state: &str| said.lock().unwrap().push(state.to_owned());
    let wait = Wait { progress: Some(&progress), ..quick() };
    let goal = InstanceGoal::Version("17.4".into());
    let seen = server.aws().rds().wait_instance("blue", &goal, &wait).await.unwrap();
    assert_eq!((seen.engine_version.as_str(), seen.port), ("17.4", Some(5432)));
    let said = said.into_inner().unwrap();
    assert_eq!(said[..2], ["available, but engine_version is `15.18`, wanted `17.4`", "upgrading"]);
    assert!(said[2].contains("Rate exceeded"), "{said:?}");
    assert_eq!(said[3..], ["upgrading"]);
}

/// An upgrade that RDS took back ends the wait at once, with what RDS told about it.
#[tokio::test]
async fn a_snapshot_that_was_rolled_back_ends_the_wait() {
    let server = Responder::start(|action, before| match (action, before) {
        ("DescribeEvents", _) => events("Database cluster is in a state that cannot be upgraded"),
        (_, 1) => snapshot("upgrading", "15.18"),
        _ => snapshot("available", "15.18"),
    });
    let server = server.await;
    let goal = SnapshotGoal::Version("17.4".into());
    let error = server.aws().rds().wait_snapshot("snap", &goal, &quick()).await.unwrap_err();
    assert!(error.code() == Code::AwsError && error.message().contains("rolled back"), "{error:?}");
    assert!(error.fact("event").is_some_and(|event| event.contains("cannot be upgraded")), "{error:?}");
}

/// The aws CLI's waiter takes a snapshot that does not exist for a finished one.
#[tokio::test]
async fn a_snapshot_that_vanished_is_an_error() {
    let server = Responder::start(|action, before| match (action, before) {
        ("DescribeEvents", _) => rds_error(500, "InternalFailure", ""),
        (_, 0) => snapshot("creating", "15.18"),
        _ => rds_error(404, "DBSnapshotNotFound", "DBSnapshot snap not found."),
    });
    let server = server.await;
    let error = server.aws().rds().wait_snapshot("snap", &SnapshotGoal::Complete, &quick()).await.unwrap_err();
    assert_eq!(error.code(), Code::AwsNotFound);
}

/// A restart leaves no trace in the description when nobody looked in time; the event does.
#[tokio::test]
async fn a_restart_is_proved_by_an_event() {
    let server = Responder::start(|action, before| match action {
        "DescribeEvents" if before < 3 => events("Updated the parameter group"),
        "DescribeEvents" => events("DB instance restarted"),
        _ => instance("available", "15.18"),
    });
    let server = server.await;
    server.aws().rds().wait_instance("blue", &InstanceGoal::Restarted, &quick()).await.unwrap();
    assert!(server.actions().len() >= 4);
}

/// The deadline holds although AWS says nothing at all, and the error says what was seen last.
#[tokio::test]
async fn a_wait_ends_when_aws_falls_silent() {
    static LOOKS: AtomicUsize = AtomicUsize::new(0);
    let server = Responder::start(|_, _| match LOOKS.fetch_add(1, Ordering::SeqCst) {
        0 => instance("backing-up", "15.18"),
        _ => Reaction::Silence,
    });
    let server = server.await;
    let wait = Wait { deadline: Duration::from_millis(100), ..quick() };
    let error = server.aws().rds().wait_instance("blue", &InstanceGoal::Ready, &wait).await.unwrap_err();
    assert_eq!(error.code(), Code::Timeout);
    assert!(error.message().contains("instance `blue` to be ready"), "{error:?}");
}

/// "Gone" means this very instance: a name that never existed cannot be asked for, and a successor does not count.
#[tokio::test]
async fn gone_means_this_very_instance() {
    let server = Responder::start(|_, before| match before {
        0 | 1 => instance("deleting", "15.18"),
        _ => {
            let Reaction::Answer(status, body) = instance("creating", "17.4") else { unreachable!() };
            Reaction::Answer(status, body.replace("db-1", "db-2"))
        }
    });
    let server = server.await;
    let rds = server.aws().rds();
    let old = rds.instance("blue").await.unwrap();
    rds.wait_instance_gone(&old, &quick()).await.unwrap();
    assert_eq!(server.actions().len(), 3);
}
