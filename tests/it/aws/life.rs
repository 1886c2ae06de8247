//! The life of an instance against the lab: real servers behind an RDS endpoint.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use pgrun::{
    aws::{
        Bounds, FinalSnapshot, Instance, InstanceChange, InstanceGoal, Made, Mark, NewInstance, Rds, Resource, Restore,
        Scope, SnapshotGoal, Source, Tags, Wait, choose_target, family_of,
    },
    base::{Code, Redactor, Secret, clock, config::Config},
    lab::{
        Lab, LabOptions,
        postgres::{Catalogue, Scratch, ServerUser},
    },
};
use tokio_postgres::{Client, NoTls};

use super::responder::aws_at;

/// The master's password, and the one it gets.
const FIRST: &str = "first-password";
const SECOND: &str = "second-password";

/// A lab in a folder of its own, which goes with it.
pub(super) struct Stage {
    pub(super) lab: Lab,
    _folder: Scratch,
}

impl Stage {
    pub(super) async fn new() -> Self {
        let folder = Scratch::new(ServerUser::choose().unwrap().as_ref()).unwrap();
        let config = Config::from_env().unwrap();
        let lab = Lab::start(&config, LabOptions::at(folder.path().join("lab"))).await.unwrap();
        Self { lab, _folder: folder }
    }
}

/// The versions of a rehearsal: what is not installed is fetched.
async fn versions() -> (String, String) {
    let catalogue = Catalogue::look(&Config::from_env().unwrap()).await.unwrap();
    let (from, to) = catalogue.pair(None, None).unwrap();
    (from.to_string(), to.to_string())
}

fn quick<'a>() -> Wait<'a> {
    Wait {
        every: Duration::from_millis(50),
        deadline: Duration::from_secs(120),
        grace: Duration::from_secs(20),
        ..Wait::default()
    }
}

async fn connect(instance: &Instance, password: &str) -> Result<Client, tokio_postgres::Error> {
    let mut config = tokio_postgres::Config::new();
    config.host(instance.host.as_ref().unwrap()).port(instance.port.unwrap());
    let (client, driver) = config.user("master").password(password).dbname("shop").connect(NoTls).await?;
    tokio::spawn(driver);
    Ok(client)
}

/// Writes until told to stop, as the heartbeat does: a snapshot of a silent server has nothing to replay.
async fn heartbeat(client: Client, stop: Arc<AtomicBool>) -> i64 {
    let mut beats = 0;
    while !stop.load(Ordering::SeqCst) {
        client.execute("INSERT INTO beat DEFAULT VALUES", &[]).await.unwrap();
        beats += 1;
    }
    beats
}

/// Create, change, snapshot, upgrade, restore, read where the recovery ended, delete: what the blue/green runbook asks
/// of RDS, each step recognised as one's own and each wait content with evidence only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_lives_and_is_upgraded_by_snapshot() {
    let stage = Stage::new().await;
    let rds = aws_at(stage.lab.url(), Redactor::default()).rds();
    let (from, to) = versions().await;
    let mark = Mark::new("run-1", "make \"blue\" 🙂");
    assert_eq!(rds.made_by(Resource::Instance("blue"), &mark).await.unwrap(), Made::Absent);

    let mut new = NewInstance::new("Blue", "db.m7g.large", 20, "master", Secret::new(FIRST));
    new.engine_version = Some(from.clone());
    new.database = Some("shop".into());
    new.tags = Tags::from([("team".into(), "dba".into())]);
    let begun = rds.create_instance(&new, &mark).await.unwrap();
    assert_eq!((begun.id.as_str(), begun.status.as_str()), ("blue", "creating"));
    let blue = rds.wait_instance("blue", &InstanceGoal::Ready, &quick()).await.unwrap();
    assert_eq!((blue.engine_version.as_str(), blue.class.as_str()), (from.as_str(), "db.m7g.large"));
    assert_eq!(blue.tags.get("team").map(String::as_str), Some("dba"));
    assert_eq!(rds.made_by(Resource::Instance("blue"), &mark).await.unwrap(), Made::Ours);
    let other = Mark::new("run-2", "make \"blue\" 🙂");
    assert_eq!(rds.made_by(Resource::Instance("blue"), &other).await.unwrap(), Made::Foreign);
    let taken = rds.create_instance(&new, &mark).await.unwrap_err();
    assert_eq!(taken.fact("aws_code"), Some("DBInstanceAlreadyExists"));

    changes(&rds, &blue).await;
    let blue = rds.instance("blue").await.unwrap();
    let client = connect(&blue, SECOND).await.unwrap();
    client.batch_execute("CREATE TABLE beat (id bigserial PRIMARY KEY, note text DEFAULT 'x')").await.unwrap();
    upgrade_by_snapshot(&rds, &blue, &to, client).await;
    a_failing_upgrade(&rds, &blue, &to).await;
    deletion(&rds, &blue).await;
    stage.lab.shutdown().await.unwrap();
}

/// Attributes, password and parameters: `available` is shown before, between and after.
async fn changes(rds: &Rds, blue: &Instance) {
    let change = InstanceChange { class: Some("db.m7g.xlarge".into()), multi_az: Some(true), ..Default::default() };
    rds.modify_instance("blue", &change).await.unwrap();
    let changed = rds.wait_instance("blue", &InstanceGoal::Changed(Box::new(change)), &quick()).await.unwrap();
    assert_eq!((changed.class.as_str(), changed.multi_az), ("db.m7g.xlarge", true));

    let change = InstanceChange { master_password: Some(Secret::new(SECOND)), ..Default::default() };
    rds.modify_instance("blue", &change).await.unwrap();
    rds.wait_instance("blue", &InstanceGoal::Changed(Box::new(change)), &quick()).await.unwrap();
    assert!(connect(blue, FIRST).await.is_err());
    connect(blue, SECOND).await.unwrap();

    let mark = Mark::new("run-1", "parameters");
    let family = family_of(&blue.engine, &blue.engine_version);
    rds.create_parameter_group(Scope::Instance, "blue-own", (&family, "of a test"), &mark).await.unwrap();
    assert_eq!(rds.made_by(Resource::ParameterGroup(Scope::Instance, "blue-own"), &mark).await.unwrap(), Made::Ours);
    let values = [("log_min_duration_statement", "777"), ("max_replication_slots", "33")];
    let values: Vec<(String, String)> = values.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
    rds.set_parameters(Scope::Instance, "blue-own", &values).await.unwrap();
    let own = rds.parameters(Scope::Instance, "blue-own", Some("user")).await.unwrap();
    assert_eq!(own.len(), 2, "{own:?}");
    let wrong = rds
        .set_parameters(Scope::Instance, "blue-own", &[("max_replication_slot".into(), "1".into())])
        .await
        .unwrap_err();
    assert_eq!(wrong.hint_text(), Some("set `max_replication_slots` if that is what was meant"));

    let change = InstanceChange { parameter_group: Some("blue-own".into()), ..Default::default() };
    rds.modify_instance("blue", &change).await.unwrap();
    rds.wait_instance("blue", &InstanceGoal::Changed(Box::new(change)), &quick()).await.unwrap();
    let since = clock::epoch_ms();
    rds.reboot_instance("blue", false).await.unwrap();
    let restarted = Wait { since_ms: Some(since), ..quick() };
    rds.wait_instance("blue", &InstanceGoal::Restarted, &restarted).await.unwrap();
    rds.wait_instance("blue", &InstanceGoal::InSync("blue-own".into()), &quick()).await.unwrap();
    let slots = connect(&rds.instance("blue").await.unwrap(), SECOND).await.unwrap();
    let slots: String = slots.query_one("SHOW max_replication_slots", &[]).await.unwrap().get(0);
    assert_eq!(slots, "33");
}

async fn upgrade_by_snapshot(rds: &Rds, blue: &Instance, to: &str, client: Client) {
    let stop = Arc::new(AtomicBool::new(false));
    let beating = tokio::spawn(heartbeat(client, Arc::clone(&stop)));
    let mark = Mark::new("run-1", "take the snapshot");
    rds.create_snapshot("blue", "Snap", &Tags::new(), &mark).await.unwrap();
    let taken = rds.wait_snapshot("snap", &SnapshotGoal::Complete, &quick()).await.unwrap();
    let complete_ms = clock::epoch_ms();
    stop.store(true, Ordering::SeqCst);
    let beats = beating.await.unwrap();
    assert_eq!((taken.instance.as_str(), taken.kind.as_str()), ("blue", "manual"));
    assert_eq!(rds.made_by(Resource::Snapshot("snap"), &mark).await.unwrap(), Made::Ours);

    let targets = rds.upgrade_targets("postgres", &blue.engine_version).await.unwrap();
    let major = to.split('.').next().unwrap();
    let target = choose_target(&blue.engine_version, major, &targets).unwrap();
    assert!(target.is_major && target.version == to, "{target:?}");
    assert!(rds.upgrade_snapshot("snap", "99.9").await.is_err());
    rds.upgrade_snapshot("snap", to).await.unwrap();
    let upgraded = rds.wait_snapshot("snap", &SnapshotGoal::Version(to.into()), &quick()).await.unwrap();
    assert_eq!(upgraded.created_ms, taken.created_ms, "an upgrade does not make a snapshot younger");

    let restore = Restore {
        snapshot: "snap".into(),
        instance: "green".into(),
        class: Some("db.m7g.large".into()),
        iam_auth: Some(true),
        publicly_accessible: Some(false),
        ..Restore::default()
    };
    rds.restore_instance(&restore, &Mark::new("run-1", "restore")).await.unwrap();
    let green = rds.wait_instance("green", &InstanceGoal::Ready, &quick()).await.unwrap();
    assert_eq!(green.engine_version, to);
    let bounds = Bounds { since_ms: taken.created_ms, complete_ms: Some(complete_ms) };
    let redo = rds.wait_redo("green", &bounds, &quick()).await.unwrap();
    assert!(redo.start <= redo.done, "{redo:?}");
    assert_eq!(redo.server_version.as_ref(), Some(&blue.engine_version), "the old version recovers");
    let rows = connect(&green, SECOND).await.unwrap();
    let rows: i64 = rows.query_one("SELECT count(*) FROM beat", &[]).await.unwrap().get(0);
    assert!(rows > 0 && rows <= beats, "{rows} of {beats}");
    let events = rds.events(Source::Instance("green"), taken.created_ms).await.unwrap();
    assert!(!events.is_empty());
}

/// `pg_upgrade` refuses a database that nobody may connect to. The snapshot is `available` again, at its old version.
async fn a_failing_upgrade(rds: &Rds, blue: &Instance, to: &str) {
    let client = connect(blue, SECOND).await.unwrap();
    client.batch_execute("CREATE DATABASE closed ALLOW_CONNECTIONS false").await.unwrap();
    rds.create_snapshot("blue", "doomed", &Tags::new(), &Mark::new("run-1", "doomed")).await.unwrap();
    rds.wait_snapshot("doomed", &SnapshotGoal::Complete, &quick()).await.unwrap();
    rds.upgrade_snapshot("doomed", to).await.unwrap();
    let error = rds.wait_snapshot("doomed", &SnapshotGoal::Version(to.into()), &quick()).await.unwrap_err();
    assert!(error.code() == Code::AwsError && error.message().contains("rolled back"), "{error:?}");
    assert!(error.fact("event").is_some_and(|event| event.contains("failed")), "RDS's reason: {error:?}");
    assert_eq!(rds.snapshot("doomed").await.unwrap().engine_version, blue.engine_version);
}

/// Deleting is refused while it is protected, and waited for by identity.
async fn deletion(rds: &Rds, blue: &Instance) {
    let protect = |on| InstanceChange { deletion_protection: Some(on), ..Default::default() };
    rds.modify_instance("blue", &protect(true)).await.unwrap();
    rds.wait_instance("blue", &InstanceGoal::Changed(Box::new(protect(true))), &quick()).await.unwrap();
    let refused = rds.delete_instance("blue", &FinalSnapshot::Skip, false).await.unwrap_err();
    assert_eq!((refused.code(), refused.fact("aws_code")), (Code::AwsError, Some("InvalidParameterCombination")));
    rds.modify_instance("blue", &protect(false)).await.unwrap();
    rds.wait_instance("blue", &InstanceGoal::Changed(Box::new(protect(false))), &quick()).await.unwrap();
    rds.delete_instance("blue", &FinalSnapshot::Skip, true).await.unwrap();
    rds.wait_instance_gone(blue, &quick()).await.unwrap();
    assert_eq!(rds.find_instance("blue").await.unwrap(), None);
    assert_eq!(rds.instance("blue").await.unwrap_err().code(), Code::AwsNotFound);
    let snapshot = rds.snapshot("snap").await.unwrap();
    rds.delete_snapshot("snap").await.unwrap();
    rds.wait_snapshot_gone(&snapshot, &quick()).await.unwrap();
    assert_eq!(rds.made_by(Resource::Snapshot("snap"), &Mark::new("a", "b")).await.unwrap(), Made::Absent);
    rds.delete_parameter_group(Scope::Instance, "blue-own").await.unwrap();
    assert_eq!(rds.find_parameter_group(Scope::Instance, "blue-own").await.unwrap(), None);
}
