//! The ways to GREEN that `std/redirect` offers, by the real program against the lab and a real pgbouncer: done, found
//! done when they are taken up again, and undone.

use std::time::Duration;

use pgrun::{
    aws::{InstanceGoal, Mark, NewInstance, Rds, Wait},
    base::{Redactor, Secret},
};

use super::{life::Stage, responder::aws_at};
use crate::pgrun::{Bouncer, Pgrun, Place};

const PASSWORD: &str = "first-password";

async fn instance(rds: &Rds, id: &str) -> u16 {
    let new = NewInstance::new(id, "db.t4g.micro", 20, "master", Secret::new(PASSWORD));
    rds.create_instance(&new, &Mark::new("r", id)).await.unwrap();
    let wait = Wait { every: Duration::from_millis(50), deadline: Duration::from_secs(120), ..Wait::default() };
    rds.wait_instance(id, &InstanceGoal::Ready, &wait).await.unwrap().port.unwrap()
}

/// A run that asks the lab.
fn pgrun(stage: &Stage, runbook: &str) -> Pgrun {
    let keys = [("AWS_ACCESS_KEY_ID", "lab"), ("AWS_SECRET_ACCESS_KEY", "lab"), ("AWS_REGION", "eu-west-1")];
    let run = Pgrun::of(&format!("import \"std/redirect\" as redirect;\n{runbook}"));
    keys.into_iter().fold(run, |run, (name, value)| run.env(name, value)).env("AWS_ENDPOINT_URL", stage.lab.url())
}

/// Names are exchanged, by a process that dies in the middle and one that goes on; and exchanged back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_exchanged_and_exchanged_back() {
    let stage = Stage::new().await;
    let rds = aws_at(stage.lab.url(), Redactor::default()).rds();
    instance(&rds, "blue").await;
    instance(&rds, "green").await;
    let (blue, green) =
        (rds.instance("blue").await.unwrap().resource_id, rds.instance("green").await.unwrap().resource_id);
    let run = pgrun(
        &stage,
        r#"phase "exchange the names" { redirect::exchange_names("blue", "green", "blue-old"); }
           confirm "done?" with #{ gate: "done" };"#,
    );
    let run = tokio::task::spawn_blocking(move || {
        let mut running = run.start_run_with(&[("PGRUN_CRASH", "before:done:rename BLUE")]);
        running.expect_death();
        running.finish();
        run.resume().exit(75);
        run
    });
    let run = run.await.unwrap();
    assert_eq!(rds.instance("blue").await.unwrap().resource_id, green);
    assert_eq!(rds.instance("blue-old").await.unwrap().resource_id, blue);
    assert!(rds.find_instance("green").await.unwrap().is_none());
    tokio::task::spawn_blocking(move || run.pgrun(&["undo", "r", "--yes"]).exit(0)).await.unwrap();
    assert_eq!(rds.instance("blue").await.unwrap().resource_id, blue);
    assert_eq!(rds.instance("green").await.unwrap().resource_id, green);
    stage.lab.shutdown().await.unwrap();
}

/// A pgbouncer is led to GREEN by a hook that writes its configuration. When the hook does not do what it is for, the
/// clients go on where they were.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pgbouncer_is_led_to_green_and_back() {
    let stage = Stage::new().await;
    let rds = aws_at(stage.lab.url(), Redactor::default()).rds();
    let (blue, green) = (instance(&rds, "blue").await, instance(&rds, "green").await);
    let place = Place { port: blue, database: "postgres".into(), user: "master".into(), password: PASSWORD.into() };
    let Some(bouncer) = Bouncer::before(&place) else { return };
    let url = bouncer.url("app", "Shop-1");
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let at = async || match &client.simple_query("select current_setting('port')").await.unwrap()[1] {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).unwrap().parse::<u16>().unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!(at().await, blue);
    let runbook = |hook: &str| {
        format!(
            r#"let p = params(#{{ pooler: #{{ type: "url", help: "its console" }}, file: #{{ type: "text", help: "its file" }} }});
               let hook = #{{ command: ["sh", "-c", {hook:?}, p.file], env: #{{ FILE: p.file }} }};
               step "lead pgbouncer to GREEN"
                   check {{ redirect::pooler_leads_to(p.pooler, "Shop-1", "green") }}
                   {{ redirect::by_pooler(p.pooler, "Shop-1", hook, "green") }}
                   undo {{ redirect::by_pooler(p.pooler, "Shop-1", hook, "blue"); }};
               confirm "done?" with #{{ gate: "done" }};"#
        )
    };
    let set = |run: Pgrun| {
        let (pooler, file) = (bouncer.url("admin", "pgbouncer"), bouncer.file());
        run.arg("--set").arg(&format!("pooler={pooler}")).arg("--set").arg(&format!("file={}", file.display()))
    };
    let lazy = set(pgrun(&stage, &runbook("exit 0")));
    let said = "pgbouncer does not lead Shop-1 to green";
    tokio::task::spawn_blocking(move || lazy.run().exit(1).stderr_has(said)).await.unwrap();
    assert_eq!(at().await, blue, "clients go on after a switch that failed");

    let script = r#"test "$PGRUN_DATABASE" = Shop-1 && sed -i "s/ port=[0-9]*/ port=$PGRUN_PORT/" "$FILE""#;
    let run = set(pgrun(&stage, &runbook(script)));
    let run = tokio::task::spawn_blocking(move || {
        run.run().exit(75);
        run
    });
    let run = run.await.unwrap();
    assert_eq!(at().await, green);
    let undo = move || run.pgrun(&["undo", "r", "--yes"]).exit(0);
    tokio::task::spawn_blocking(undo).await.unwrap();
    assert_eq!(at().await, blue);
    stage.lab.shutdown().await.unwrap();
}
