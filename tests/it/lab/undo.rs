//! `pgrun undo` after a death at every step before GREEN is built: BLUE and the account are as they were.

use std::collections::BTreeMap;

use pgrun::pg::{Session, Settings, Target, schema};

use super::stage::{PASSWORD, Stage, connect, pair, url};
use crate::pgrun::Pgrun;

const RUNBOOK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/runbooks/bluegreen.rhai");

/// The steps that change something, in their order.
const STEPS: [&str; 8] = [
    "make pgrun's own tables",
    "make a password for the replication",
    "make the replication role",
    "publish all tables",
    "create the slot",
    "write marker M1",
    "create the snapshot",
    "write marker M2",
];

/// What an undo has to bring back: name by name, with the definition's digest or the state.
type World = BTreeMap<String, String>;

async fn world(stage: &Stage, session: &Session) -> World {
    let mut world = World::new();
    for object in schema::fingerprint(session).await.unwrap() {
        world.insert(format!("{} {}", object.kind, object.name), object.hash);
    }
    for object in schema::server_fingerprint(session).await.unwrap() {
        world.insert(format!("{} {}", object.kind, object.name), object.hash);
    }
    let besides = "SELECT 'role ' || rolname || ' ' || rolcanlogin AS name FROM pg_roles \
         UNION ALL SELECT 'publication ' || pubname FROM pg_publication \
         UNION ALL SELECT 'slot ' || slot_name FROM pg_replication_slots \
         UNION ALL SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp_'";
    for row in session.query(besides, &[]).await.unwrap() {
        world.insert(row["name"].as_text().unwrap().to_owned(), String::new());
    }
    for instance in stage.rds.describe_db_instances().send().await.unwrap().db_instances() {
        let name = instance.db_instance_identifier().unwrap();
        world.insert(format!("instance {name}"), instance.db_instance_status().unwrap().to_owned());
    }
    for snapshot in stage.rds.describe_db_snapshots().send().await.unwrap().db_snapshots() {
        world.insert(format!("snapshot {}", snapshot.db_snapshot_identifier().unwrap()), String::new());
    }
    let secrets = stage.secrets.list_secrets().include_planned_deletion(true).send().await.unwrap();
    for secret in secrets.secret_list() {
        world.insert(format!("secret {}", secret.name().unwrap()), String::new());
    }
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_before_green_is_undone_without_a_trace() {
    let (from, to) = pair().await;
    let stage = Stage::set().await;
    stage.instance("blue", from).await;
    let url = url(&stage.rds, "blue").await;
    let place = Target::parse(&url).unwrap();
    let login = serde_json::json!({
        "username": "master", "password": PASSWORD, "host": place.host(), "port": place.port(),
    });
    stage.secrets.create_secret().name("m").secret_string(login.to_string()).send().await.unwrap();
    let client = connect(&url).await;
    client.batch_execute("CREATE TABLE public.t (a int PRIMARY KEY); CREATE ROLE app LOGIN").await.unwrap();
    let session = Session::new(place, Settings::of_run("test"));
    let before = world(&stage, &session).await;

    let sets = ["blue=blue", "green=g", "snapshot=s", "database=postgres", "master=m", "sslmode=prefer"];
    let target = format!("target={}", to.to_string().split('.').next().unwrap());
    let mut number = 0;
    for step in STEPS {
        for point in ["after:intent", "before:done", "after:done"] {
            number += 1;
            let id = format!("r{number}");
            let pgrun = Pgrun::new()
                .env("AWS_ENDPOINT_URL", stage.lab.url())
                .env("AWS_REGION", stage.lab.region())
                .env("AWS_ACCESS_KEY_ID", "lab")
                .env("AWS_SECRET_ACCESS_KEY", "lab");
            let mut arguments = vec![RUNBOOK, "--run-id", &id, "--yes", "--set", &target];
            arguments.extend(sets.iter().flat_map(|set| ["--set", set]));
            let crash = format!("{point}:{step}");
            let mut running = pgrun.start_with(&arguments, &[("PGRUN_CRASH", &crash)]);
            running.expect_death();
            running.finish();
            pgrun.pgrun(&["undo", &id, "--yes"]).exit(0);
            assert_eq!(world(&stage, &session).await, before, "after a death {crash}");
            pgrun.pgrun(&["undo", &id, "--yes"]).exit(0).stderr_has("is undone already");
        }
    }
}

/// What somebody else made under the same name stops the run, and no undo takes it away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_made_is_never_undone() {
    let (from, to) = pair().await;
    let stage = Stage::set().await;
    stage.instance("blue", from).await;
    let url = url(&stage.rds, "blue").await;
    let place = Target::parse(&url).unwrap();
    let login = serde_json::json!({
        "username": "master", "password": PASSWORD, "host": place.host(), "port": place.port(),
    });
    stage.secrets.create_secret().name("m").secret_string(login.to_string()).send().await.unwrap();
    let pgrun = Pgrun::new()
        .env("AWS_ENDPOINT_URL", stage.lab.url())
        .env("AWS_REGION", stage.lab.region())
        .env("AWS_ACCESS_KEY_ID", "lab")
        .env("AWS_SECRET_ACCESS_KEY", "lab");
    let target = format!("target={}", to.to_string().split('.').next().unwrap());
    let sets = ["blue=blue", "green=g", "snapshot=s", "database=postgres", "master=m", "sslmode=prefer", &target];
    let mut arguments = vec![RUNBOOK, "--run-id", "r", "--yes"];
    arguments.extend(sets.iter().flat_map(|set| ["--set", set]));
    // It dies right before it asks for the snapshot, and somebody else makes one of that name.
    let mut running = pgrun.start_with(&arguments, &[("PGRUN_CRASH", "after:intent:create the snapshot")]);
    running.expect_death();
    running.finish();
    let create = stage.rds.create_db_snapshot().db_instance_identifier("blue").db_snapshot_identifier("s");
    create.send().await.unwrap();
    let output = pgrun.pgrun(&["resume", "r", "--yes"]).exit(3);
    output.stderr_has("error[foreign]: what step `create the snapshot` would make exists already");
    let output = pgrun.pgrun(&["undo", "r", "--yes"]).exit(0);
    output.stderr_has("`s` was not made by this step of this run: it stays");
    let snapshots = stage.rds.describe_db_snapshots().send().await.unwrap();
    assert_eq!(snapshots.db_snapshots().len(), 1);
}
