//! What the upgrade refuses before it has changed anything: one error, which says what to do.

use pgrun::lab::postgres::Version;

use super::stage::{PASSWORD, Stage, connect, pair, url};
use crate::pgrun::{Output, Pgrun};

const RUNBOOK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/runbooks/bluegreen.rhai");

struct Upgrade<'a> {
    pgrun: Pgrun,
    stage: &'a Stage,
}

impl Upgrade<'_> {
    fn run(&self, sets: &[&str]) -> Output {
        self.run_as("m", sets)
    }

    fn run_as(&self, master: &str, sets: &[&str]) -> Output {
        let master = format!("master={master}");
        let fixed = ["green=g", "snapshot=s", "database=postgres", "sslmode=prefer", &master];
        let mut arguments = vec![RUNBOOK];
        for set in fixed.iter().chain(sets) {
            arguments.extend(["--set", set]);
        }
        self.pgrun.pgrun(&arguments)
    }

    async fn nothing_was_made(&self) {
        let instances = self.stage.rds.describe_db_instances().send().await.unwrap();
        let snapshots = self.stage.rds.describe_db_snapshots().send().await.unwrap();
        assert_eq!((instances.db_instances().len(), snapshots.db_snapshots().len()), (1, 0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_that_cannot_work_changes_nothing() {
    let (from, to) = pair().await;
    let stage = Stage::set().await;
    stage.instance("blue", from).await;
    let url = url(&stage.rds, "blue").await;
    let place = pgrun::pg::Target::parse(&url).unwrap();
    let login = |password: &str| {
        let fields = [("username", "master"), ("password", password), ("host", place.host())];
        let mut fields: serde_json::Map<String, serde_json::Value> =
            fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        fields.insert("port".into(), place.port().into());
        serde_json::Value::from(fields).to_string()
    };
    for (name, password) in [("m", PASSWORD), ("stale", "not the password")] {
        stage.secrets.create_secret().name(name).secret_string(login(password)).send().await.unwrap();
    }
    let client = connect(&url).await;
    client.batch_execute("CREATE TABLE public.\"No key\" (a int)").await.unwrap();

    let pgrun = Pgrun::new()
        .env("AWS_ENDPOINT_URL", stage.lab.url())
        .env("AWS_REGION", stage.lab.region())
        .env("AWS_ACCESS_KEY_ID", "lab")
        .env("AWS_SECRET_ACCESS_KEY", "lab");
    let upgrade = Upgrade { pgrun, stage: &stage };
    let major = format!("target={}", major(to));

    let output = upgrade.run(&["blue=elsewhere", &major]).exit(1);
    let output = output.stderr_has("error[aws_not_found]: DescribeDBInstances of `elsewhere` was refused: ");
    output.stderr_has("hint: this is region ").stderr_has("check the name, AWS_REGION and AWS_PROFILE");

    let output = upgrade.run(&["blue=blue", "target=99"]).exit(1);
    let output =
        output.stderr_has(&format!("error[require_failed]: RDS cannot upgrade {from} to `99`; valid targets are "));
    output.stderr_has(&to.to_string());

    let output = upgrade.run_as("stale", &["blue=blue", &major]).exit(1).stderr_lacks("not the password");
    output.stderr_has("error[pg_auth]: ").stderr_has("28P01");

    let output = upgrade.run(&["blue=blue", &major]).exit(1);
    let output = output.stderr_has("error[require_failed]: public.\"No key\": no primary key: UPDATE and DELETE fail");
    output.stderr_has("hint: add a primary key, ");

    upgrade.nothing_was_made().await;
    let schemas = client.query_one("SELECT count(*) FROM pg_namespace WHERE nspname = 'pgrun'", &[]).await.unwrap();
    let publications = client.query_one("SELECT count(*) FROM pg_publication", &[]).await.unwrap();
    assert_eq!((schemas.get::<_, i64>(0), publications.get::<_, i64>(0)), (0, 0));

    // The same command goes as far as the person once the table has a key.
    client.batch_execute("ALTER TABLE public.\"No key\" ADD PRIMARY KEY (a)").await.unwrap();
    upgrade.run(&["blue=blue", &major]).exit(75).stderr_has("error[needs_answer]: the gate `begin` waits for a person");
    upgrade.nothing_was_made().await;
}

fn major(version: Version) -> String {
    version.to_string().split('.').next().unwrap().to_owned()
}
