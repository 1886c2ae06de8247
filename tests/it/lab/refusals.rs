//! What the upgrade refuses before it has changed anything: one error, which says what to do.

use super::upgrade::Upgrade;

async fn nothing_was_made(upgrade: &Upgrade) {
    let instances = upgrade.stage.rds.describe_db_instances().send().await.unwrap();
    let snapshots = upgrade.stage.rds.describe_db_snapshots().send().await.unwrap();
    assert_eq!((instances.db_instances().len(), snapshots.db_snapshots().len()), (1, 0));
    let made =
        "SELECT (SELECT count(*) FROM pg_namespace WHERE nspname = 'pgrun') + (SELECT count(*) FROM pg_publication)";
    assert_eq!(upgrade.client.query_one(made, &[]).await.unwrap().get::<_, i64>(0), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_that_cannot_work_changes_nothing() {
    let upgrade = Upgrade::set().await;
    upgrade.keep_login("stale", "not the password").await;
    upgrade.client.batch_execute("CREATE TABLE public.\"No key\" (a int)").await.unwrap();

    let output = upgrade.run(&["blue=elsewhere"]).exit(1);
    let output = output.stderr_has("error[aws_not_found]: DescribeDBInstances of `elsewhere` was refused: ");
    output.stderr_has("hint: this is region ").stderr_has("check the name, AWS_REGION and AWS_PROFILE");

    let output = upgrade.run(&["target=99"]).exit(75).stderr_has(&upgrade.to);
    let says = format!("upgrade_target  99: RDS cannot upgrade {} to `99`; valid targets are ", upgrade.from);
    output.stderr_has("error[needs_waiver]: 2 findings stop the run").stderr_has(&says);

    let output = upgrade.run(&["master=stale"]).exit(1).stderr_lacks("not the password");
    output.stderr_has("error[pg_auth]: ").stderr_has("28P01");

    let output = upgrade.run(&[]).exit(75).stderr_has("error[needs_waiver]: 1 finding stops the run");
    let says = "replica_identity  public.\"No key\" in postgres: no primary key: UPDATE and DELETE fail";
    output.stderr_has(says).stderr_has("hint: add a primary key, ");

    nothing_was_made(&upgrade).await;
    // The same command goes as far as the person once the table has a key.
    upgrade.client.batch_execute("ALTER TABLE public.\"No key\" ADD PRIMARY KEY (a)").await.unwrap();
    upgrade.run(&[]).exit(75).stderr_has("error[needs_answer]: the gate `begin` waits for a person");
    nothing_was_made(&upgrade).await;
}
