//! A lab on a bad day: each kind of fault, as the real SDK meets it, and how people ask for it.

use aws_sdk_secretsmanager::error::ProvideErrorMetadata;
use pgrun::lab::{FAULT_KINDS, Fault, FaultOn};

use super::stage::{Stage, scratch};
use crate::pgrun::Pgrun;

fn one(kind: &str, action: &str) -> Fault {
    Fault { action: action.into(), times: Some(1), hold_ms: 50, ..Fault::new(kind) }
}

/// A client that does not try again, so that it sees each fault.
fn impatient(stage: &Stage) -> aws_sdk_secretsmanager::Client {
    let config = stage.secrets.config().to_builder();
    let once = aws_sdk_secretsmanager::config::retry::RetryConfig::disabled();
    aws_sdk_secretsmanager::Client::from_conf(config.retry_config(once).build())
}

/// Whether a call that was struck has taken effect is what tells the kinds apart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_does_what_it_says() {
    let stage = Stage::set().await;
    let client = impatient(&stage);
    let desk = stage.lab.fault_desk();
    for kind in FAULT_KINDS.iter().filter(|kind| kind.on == FaultOn::Call) {
        let name = format!("secret-{}", kind.name);
        desk.add(one(kind.name, "CreateSecret")).unwrap();
        let answer = client.create_secret().name(&name).secret_string("x").send().await;
        let exists = client.describe_secret().secret_id(&name).send().await.is_ok();
        let (code, takes_effect) = match kind.name {
            "throttle" => (Some("ThrottlingException"), false),
            "unavailable" => (Some("ServiceUnavailable"), false),
            "error-after" => (Some("InternalFailure"), true),
            "reset-before" => (None, false),
            "reset-after" => (None, true),
            _ => (Some("no error"), true),
        };
        let found = answer.as_ref().err().map_or(Some("no error"), ProvideErrorMetadata::code);
        assert_eq!((found, exists), (code, takes_effect), "{}: {answer:?}", kind.name);
        let struck = desk.clear();
        assert_eq!(struck.len(), 1);
        assert_eq!(struck[0].hits, 1, "{}", kind.name);
        // It is over.
        client.list_secrets().send().await.unwrap();
    }
}

/// The SDK knows the answers of both protocols as throttling: it tries again by itself, three times in all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throttling_is_survived_in_both_protocols() {
    let stage = Stage::set().await;
    let desk = stage.lab.fault_desk();
    for action in ["DescribeDBInstances", "ListSecrets"] {
        desk.add(Fault { action: action.into(), times: Some(2), ..Fault::new("throttle") }).unwrap();
    }
    stage.rds.describe_db_instances().send().await.unwrap();
    stage.secrets.list_secrets().send().await.unwrap();
    assert_eq!(desk.clear().iter().map(|struck| struck.hits).collect::<Vec<_>>(), [2, 2]);
}

/// `pgrun lab fault`, as a person uses it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_are_asked_for_on_the_command_line() {
    let scratch = scratch();
    let dir = scratch.path().join("lab").to_str().unwrap().to_owned();
    let pgrun = Pgrun::new();
    let lab = |arguments: &[&str]| pgrun.pgrun(&[&["lab"], arguments, &["--dir", &dir]].concat());
    lab(&["fault", "list"]).exit(1).stderr_has("error[lab_failed]: no lab runs in ").stderr_has("hint: pgrun lab up");
    lab(&["up"]).exit(0);
    lab(&["fault", "list"]).exit(0).stdout("no faults\n");
    let output = lab(&["fault", "add", "throttle", "--action", "Describe*", "--times", "3"]).exit(0);
    output.stdout_has("throttle").stdout_has("Describe*").stdout_has("answers that the rate is exceeded");
    lab(&["fault", "add", "thunder"]).exit(2).stderr_has("error[usage]: got the fault `thunder`, wanted `throttle`");
    lab(&["fault", "add", "slow", "--chance", "2"]).exit(2).stderr_has("got the chance 2");
    let listed = lab(&["fault", "list", "--json"]).exit(0).json();
    assert_eq!((&listed["schema"], &listed["faults"][0]["times"]), (&1.into(), &3.into()), "{listed}");
    assert_eq!(listed["faults"].as_array().unwrap().len(), 1);
    lab(&["fault", "clear"]).exit(0).stdout("1 fault ended\n");
    lab(&["down"]).exit(0);
}
