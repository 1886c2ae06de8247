//! A BLUE in the lab and the command that upgrades it.

use pgrun::pg::{Session, Settings, Target};

use super::stage::{PASSWORD, Stage, connect, logical_group, pair, url};
use crate::pgrun::{Output, Pgrun, Running};

const RUNBOOK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/runbooks/bluegreen.rhai");

/// An instance `blue` whose master's login stands in the secret `m`.
pub(super) struct Upgrade {
    pub(super) stage: Stage,
    /// A connection as the master.
    pub(super) client: tokio_postgres::Client,
    pub(super) session: Session,
    /// The versions of BLUE and GREEN.
    pub(super) from: String,
    pub(super) to: String,
    group: String,
    pgrun: Pgrun,
    place: Target,
}

impl Upgrade {
    pub(super) async fn set() -> Self {
        let (from, to) = pair().await;
        let stage = Stage::set().await;
        stage.instance("blue", from).await;
        let group = logical_group(&stage.rds, &to.to_string()).await;
        let url = url(&stage.rds, "blue").await;
        let place = Target::parse(&url).unwrap();
        let pgrun = Pgrun::new()
            .env("AWS_ENDPOINT_URL", stage.lab.url())
            .env("AWS_REGION", stage.lab.region())
            .env("AWS_ACCESS_KEY_ID", "lab")
            .env("AWS_SECRET_ACCESS_KEY", "lab");
        let upgrade = Self {
            // Not taken for an application that logs in as the master.
            client: connect(&format!("{url}?application_name=pgrun/test")).await,
            session: Session::new(place.clone(), Settings::of_run("test")),
            from: from.to_string(),
            to: to.to_string(),
            group: format!("parameter_group={group}"),
            stage,
            pgrun,
            place,
        };
        upgrade.keep_login("m", PASSWORD).await;
        upgrade
    }

    /// A secret with a login of the master.
    pub(super) async fn keep_login(&self, name: &str, password: &str) {
        let login = serde_json::json!({
            "username": "master", "password": password, "host": self.place.host(), "port": self.place.port(),
        });
        self.stage.secrets.create_secret().name(name).secret_string(login.to_string()).send().await.unwrap();
    }

    /// `pgrun bluegreen.rhai` with these parameters besides, or instead of, those that work.
    pub(super) fn arguments(&self, sets: &[&str]) -> Vec<String> {
        let major = self.to.split('.').next().unwrap();
        let fine = ["blue=blue", "green=g", "snapshot=s", "master=m", "sslmode=prefer"];
        let target = format!("target={major}");
        let name = |set: &str| set.split('=').next().unwrap().to_owned();
        let kept = fine
            .into_iter()
            .chain([target.as_str(), self.group.as_str()])
            .filter(|set| !sets.iter().any(|other| name(other) == name(set)));
        let pairs = kept.chain(sets.iter().copied()).flat_map(|set| ["--set".to_owned(), set.to_owned()]);
        [RUNBOOK.to_owned()].into_iter().chain(pairs).collect()
    }

    pub(super) fn run(&self, sets: &[&str]) -> Output {
        self.pgrun.pgrun(&self.arguments(sets))
    }

    /// A run of this id with its gates open that dies at a record.
    pub(super) fn run_until(&self, id: &str, crash: &str) {
        let more = ["--run-id", id, "--yes"].map(str::to_owned);
        let arguments = [self.arguments(&[]), more.to_vec()].concat();
        let mut running = self.pgrun.start_with(&arguments, &[("PGRUN_CRASH", crash)]);
        running.expect_death();
        running.finish();
    }

    pub(super) fn start(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Running {
        self.pgrun.start_with(arguments, variables)
    }

    pub(super) fn pgrun(&self, arguments: &[&str]) -> Output {
        self.pgrun.pgrun(arguments)
    }
}
