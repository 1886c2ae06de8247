//! A finding stops the upgrade before anything is changed; waived, the upgrade goes on and its reports say so.

use aws_sdk_rds::types::{ApplyMethod, Parameter};
use aws_sdk_secretsmanager::types::RotationRulesType;
use pgrun::{
    base::poll,
    lab::{Function, add_function},
};

use super::{
    stage::{PASSWORD, logical_group, number},
    undo::world,
    upgrade::Upgrade,
};

const ARN: &str = "arn:aws:lambda:eu-west-1:000000000000:function:rotate";

/// BLUE, the account and every catalog are as they were: no schema of pgrun's, no publication, no snapshot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stops_stops_before_anything_is_changed() {
    let upgrade = Upgrade::set().await;
    let planted = "CREATE UNLOGGED TABLE public.\"Cache\" (i int PRIMARY KEY); CREATE TABLE public.log (i int); \
                   CREATE TABLE public.fired (i int PRIMARY KEY); CREATE ROLE app LOGIN; \
                   CREATE FUNCTION public.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; \
                   CREATE TRIGGER audit BEFORE INSERT ON public.fired FOR EACH ROW EXECUTE FUNCTION public.f(); \
                   ALTER TABLE public.fired ENABLE ALWAYS TRIGGER audit";
    upgrade.client.batch_execute(planted).await.unwrap();
    let before = world(&upgrade).await;
    let begin = |more: &[&str]| {
        let id = ["--run-id", "r", "--yes"].iter().chain(more).map(|&word| word.to_owned());
        let arguments: Vec<String> = upgrade.arguments(&[]).into_iter().chain(id).collect();
        upgrade.pgrun(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let output = begin(&[]).exit(75);
    let output =
        output.stderr_has("2 findings stop the run\n  replica_identity  public.log in postgres: no primary key");
    let output = output.stderr_has("  unlogged  public.\"Cache\" in postgres: it is not replicated");
    let output = output.stderr_has("warn  always_trigger  audit on public.fired in postgres: it fires on GREEN too");
    output.last_line("pgrun resume r --waive replica_identity:public.log=.. --waive 'unlogged:public.\"Cache\"=..'");
    assert_eq!(world(&upgrade).await, before);

    // One of them is mended, the other one waived; the publication accepts what was waived.
    upgrade.client.batch_execute("ALTER TABLE public.\"Cache\" SET LOGGED").await.unwrap();
    let waive = "replica_identity:public.log=rows are only inserted";
    let variables = [("PGRUN_CRASH", "after:done:publish all tables")];
    let mut running = upgrade.start(&["resume", "r", "--yes", "--waive", waive], &variables);
    running.expect_death();
    running.finish();
    let shown = upgrade.pgrun(&["show", "r"]).exit(0);
    shown
        .stdout_has("waived:\n  replica_identity  public.log in postgres: ")
        .stdout_has("\n      rows are only inserted (");
    let published = "SELECT count(*) FROM pg_publication_tables WHERE tablename IN ('log', 'Cache')";
    assert_eq!(number(&upgrade.client, published).await, 2);
    // The waiver is part of the run: taken up again it is not asked for.
    upgrade.pgrun(&["undo", "r", "--yes"]).exit(0);
}

/// A finding that can be planted by SQL: its id, what plants it, the object that is named.
const PLANTED: &[(&str, &str, &str)] = &[
    ("replica_identity", "CREATE TABLE public.keyless (i int)", "public.keyless"),
    (
        "replica_identity_full_type",
        "CREATE TABLE public.shapes (i int, j json); ALTER TABLE public.shapes REPLICA IDENTITY FULL",
        "public.shapes.j",
    ),
    ("unlogged", "CREATE UNLOGGED TABLE public.fleeting (i int PRIMARY KEY)", "public.fleeting"),
    ("reg_type", "CREATE TABLE public.kept (i int PRIMARY KEY, p regproc)", "public.kept.p"),
    ("large_objects", "SELECT lo_create(0)", "pg_largeobject"),
    (
        "pg_cron_job",
        "CREATE SCHEMA cron; CREATE TABLE cron.job (jobid int PRIMARY KEY, schedule text, username text, active bool); \
         INSERT INTO cron.job VALUES (7, '* * * * *', 'app', true)",
        "job 7",
    ),
    (
        "own_subscription",
        "CREATE SUBSCRIPTION mine CONNECTION 'host=127.0.0.1 port=1 user=u password=p dbname=x' PUBLICATION p \
         WITH (connect = false, slot_name = NONE)",
        "mine",
    ),
    ("foreign_slot", "SELECT pg_create_logical_replication_slot('stream', 'pgoutput')", "stream"),
    ("closed_database", "CREATE DATABASE closed ALLOW_CONNECTIONS false", "closed"),
];

/// Every kind of finding that stops a run stops this one before anything was changed; with a reason for each it goes on,
/// and its report lists them all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_finding_stops_and_may_be_waived() {
    let upgrade = Upgrade::set().await;
    for (id, sql, _) in PLANTED {
        upgrade.client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{id}: {error}"));
    }
    let before = world(&upgrade).await;
    let arguments = [upgrade.arguments(&[]), ["--run-id", "r", "--yes"].map(str::to_owned).to_vec()].concat();
    let mut output = upgrade.pgrun(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).exit(75);
    for (id, _, object) in PLANTED {
        let line = |line: &str| line.trim_start().starts_with(&format!("{id}  ")) && line.contains(object);
        output.wants(output.stderr.lines().any(line), &format!("wanted {id} of {object}"));
        output = output.stderr_has(&format!("--waive {id}"));
    }
    let output = output.stderr_has(&format!("{} findings stop the run", PLANTED.len()));
    assert_eq!(world(&upgrade).await, before);
    // One reason is missing: it stops again, with nothing changed.
    let waivers: Vec<String> = PLANTED.iter().map(|(id, ..)| format!("{id}=known of {id}")).collect();
    let resume = |count: usize| {
        let waived = waivers[..count].iter().flat_map(|waiver| ["--waive", waiver.as_str()]);
        ["resume", "r", "--yes"].into_iter().chain(waived).collect::<Vec<_>>()
    };
    drop(output);
    upgrade.pgrun(&resume(PLANTED.len() - 1)).exit(75).stderr_has("1 finding stops the run\n  closed_database  ");
    assert_eq!(world(&upgrade).await, before);
    let variables = [("PGRUN_CRASH", "after:done:publish all tables")];
    let mut running = upgrade.start(&resume(PLANTED.len()), &variables);
    running.expect_death();
    running.finish();
    let mut shown = upgrade.pgrun(&["show", "r"]).exit(0).stdout_has("waived:\n");
    for (id, _, object) in PLANTED {
        shown = shown.stdout_has(&format!("  {id}  ")).stdout_has(object).stdout_has(&format!("known of {id} ("));
    }
}

/// What AWS knows stops a run as well: a version that RDS does not offer, a disk that a slot can fill.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_account_is_taken_stock_of() {
    let upgrade = Upgrade::set().await;
    // The lab's instance has 20 GiB.
    let group = logical_group(&upgrade.stage.rds, &upgrade.from).await;
    let bound = Parameter::builder().parameter_name("max_slot_wal_keep_size").parameter_value("30720");
    let bound = bound.apply_method(ApplyMethod::Immediate).build();
    let rds = &upgrade.stage.rds;
    rds.modify_db_parameter_group().db_parameter_group_name(group).parameters(bound).send().await.unwrap();
    poll::until("the parameter to hold", poll::Patience::ms(20, 60_000), async || {
        let is = "SELECT current_setting('max_slot_wal_keep_size')";
        let seen: String = upgrade.client.query_one(is, &[]).await.unwrap().get(0);
        Ok(if seen == "30GB" { poll::Seen::Ready(()) } else { poll::Seen::NotYet(seen) })
    })
    .await
    .unwrap();
    // Nobody can write by it now, and it can open any fence again.
    upgrade.client.batch_execute("CREATE ROLE dba LOGIN; GRANT rds_superuser TO dba").await.unwrap();
    let before = world(&upgrade).await;
    let output = upgrade.run(&["target=99"]).exit(75);
    let output = output.stderr_has("warn  superuser_login  dba: a member of rds_superuser with 0 sessions");
    let output = output.stderr_has("  upgrade_target  99: RDS cannot upgrade ");
    output.stderr_has("  free_storage  blue: ").stderr_has("and a slot may keep 30.0 GiB of WAL");
    assert_eq!(world(&upgrade).await, before);
}

/// A rotation that is due changes a password that GREEN does not hear of; one far away is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotations_are_suspended_or_waived() {
    let upgrade = Upgrade::set().await;
    let secrets = &upgrade.stage.secrets;
    // Nobody answers there, and nobody is asked before the rotation is due.
    add_function(upgrade.stage.lab.url(), &Function::new("rotate", "http://127.0.0.1:9/")).await.unwrap();
    for (name, schedule) in [("soon", "rate(2 days)"), ("late", "rate(30 days)")] {
        upgrade.keep_login(name, PASSWORD).await;
        let rules = RotationRulesType::builder().schedule_expression(schedule).build();
        let rotate = secrets.rotate_secret().secret_id(name).rotation_lambda_arn(ARN).rotation_rules(rules);
        rotate.rotate_immediately(false).send().await.unwrap();
    }
    let output = upgrade.run(&["secrets=[\"soon\",\"late\"]"]).exit(75);
    let output = output.stderr_has("1 finding stops the run\n  rotation  soon: it is rotated next ");
    let output = output.stderr_has("aws secretsmanager cancel-rotate-secret --secret-id soon");
    output.stderr_has("warn  rotation  late: it is rotated next ");
}
