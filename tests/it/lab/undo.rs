//! `pgrun undo` after a death at every step before GREEN is built: BLUE and the account are as they were.

use std::collections::BTreeMap;

use pgrun::pg::schema;

use super::upgrade::Upgrade;

/// The steps that change something, in their order.
const STEPS: [&str; 8] = [
    "make pgrun's own tables",
    "make a password for the replication",
    "make the replication role",
    "publish all tables",
    "create the slots",
    "write marker M1",
    "create the snapshot",
    "write marker M2",
];

/// What an undo has to bring back: name by name, with the definition's digest or the state.
pub(super) type World = BTreeMap<String, String>;

pub(super) async fn world(upgrade: &Upgrade) -> World {
    let (stage, session) = (&upgrade.stage, &upgrade.session);
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
    let upgrade = Upgrade::set().await;
    let made = "CREATE TABLE public.t (a int PRIMARY KEY); CREATE ROLE app LOGIN";
    upgrade.client.batch_execute(made).await.unwrap();
    let before = world(&upgrade).await;
    let mut number = 0;
    for step in STEPS {
        for point in ["after:intent", "before:done", "after:done"] {
            number += 1;
            let (id, crash) = (format!("r{number}"), format!("{point}:{step}"));
            upgrade.run_until(&id, &crash);
            upgrade.pgrun(&["undo", &id, "--yes"]).exit(0);
            assert_eq!(world(&upgrade).await, before, "after a death {crash}");
            upgrade.pgrun(&["undo", &id, "--yes"]).exit(0).stderr_has("is undone already");
        }
    }
}

/// What somebody else made under the same name stops the run, and no undo takes it away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_made_is_never_undone() {
    let upgrade = Upgrade::set().await;
    // It dies right before it asks for the snapshot, and somebody else makes one of that name.
    upgrade.run_until("r", "after:intent:create the snapshot");
    let rds = &upgrade.stage.rds;
    rds.create_db_snapshot().db_instance_identifier("blue").db_snapshot_identifier("s").send().await.unwrap();
    let output = upgrade.pgrun(&["resume", "r", "--yes"]).exit(3);
    output.stderr_has("error[foreign]: what step `create the snapshot` would make exists already");
    let output = upgrade.pgrun(&["undo", "r", "--yes"]).exit(0);
    output.stderr_has("`s` was not made by this step of this run: it stays");
    assert_eq!(rds.describe_db_snapshots().send().await.unwrap().db_snapshots().len(), 1);
}
