//! Rotation of secrets by functions on loopback: what outlives the lab, what runs by itself, and the desk of functions.
//! The steps and their errors are in `contract/secrets`.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_sdk_secretsmanager::{Client, types::RotationRulesType};
use pgrun::lab::{Function, Lab, LabOptions, add_function, functions};
use serde_json::Value;

use super::stage::{Stage, config, options, scratch, secrets_at};
use crate::pgrun::Pgrun;

const TWO: &str = "22222222-2222-4222-8222-222222222222";
const ARN: &str = "arn:aws:lambda:eu-west-1:000000000000:function:rotate";

/// A rotation function; it finds the lab where it listens now.
#[derive(Clone, Default)]
struct Rotator {
    lab: Arc<Mutex<String>>,
    steps: Arc<Mutex<Vec<String>>>,
    /// The step that never answers.
    hangs: Arc<Mutex<Option<String>>>,
}

impl Rotator {
    async fn serve(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let rotator = self.clone();
        let router =
            axum::Router::new().route("/", axum::routing::post(move |body: String| rotator.clone().step(body)));
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    async fn step(self, body: String) {
        let event: Value = serde_json::from_str(&body).unwrap();
        let text = |name: &str| event[name].as_str().unwrap().to_owned();
        let (step, arn, token) = (text("Step"), text("SecretId"), text("ClientRequestToken"));
        self.steps.lock().unwrap().push(step.clone());
        if *self.hangs.lock().unwrap() == Some(step.clone()) {
            std::future::pending::<()>().await;
        }
        let url = self.lab.lock().unwrap().clone();
        let secrets = secrets_at(&url);
        if step == "createSecret" && secrets.get_secret_value().secret_id(&arn).version_id(&token).send().await.is_err()
        {
            let put = secrets.put_secret_value().secret_id(&arn).client_request_token(&token).secret_string(&token);
            put.version_stages("AWSPENDING").send().await.unwrap();
        }
        if step == "finishSecret" {
            let current = secrets.get_secret_value().secret_id(&arn).send().await.unwrap();
            let swap = secrets.update_secret_version_stage().secret_id(&arn).version_stage("AWSCURRENT");
            let swap = swap.move_to_version_id(&token).remove_from_version_id(current.version_id().unwrap());
            swap.send().await.unwrap();
        }
    }

    fn is_at(&self, lab: &Lab) -> Client {
        lab.url().clone_into(&mut self.lab.lock().unwrap());
        secrets_at(lab.url())
    }

    fn steps(&self) -> usize {
        self.steps.lock().unwrap().len()
    }
}

async fn until(what: &str, mut seen: impl AsyncFnMut() -> bool) {
    for _ in 0..500 {
        if seen().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what} did not happen");
}

async fn current(secrets: &Client) -> String {
    secrets.get_secret_value().secret_id("app").send().await.unwrap().version_id().unwrap().to_owned()
}

/// A lab that dies amid a rotation goes on with it, with the same version; one that was due meanwhile is made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_outlives_the_lab() {
    let (scratch, rotator) = (scratch(), Rotator::default());
    let lab = Lab::start(&config(), options(&scratch)).await.unwrap();
    let secrets = rotator.is_at(&lab);
    add_function(lab.url(), &Function::new("rotate", &rotator.serve().await)).await.unwrap();
    secrets.create_secret().name("app").secret_string("a").send().await.unwrap();
    *rotator.hangs.lock().unwrap() = Some("setSecret".into());
    let rules = RotationRulesType::builder().automatically_after_days(1).build();
    let rotate = secrets.rotate_secret().secret_id("app").client_request_token(TWO).rotation_lambda_arn(ARN);
    rotate.rotation_rules(rules).send().await.unwrap();
    until("the second step", async || rotator.steps() == 2).await;
    drop(lab);
    *rotator.hangs.lock().unwrap() = None;

    let lab = Lab::start(&config(), options(&scratch)).await.unwrap();
    let secrets = rotator.is_at(&lab);
    until("the rotation", async || current(&secrets).await == TWO).await;
    let told = secrets.list_secret_version_ids().secret_id("app").include_deprecated(true).send().await.unwrap();
    assert_eq!(told.versions().len(), 2, "the version is not doubled");
    until("its end", async || {
        let told = secrets.describe_secret().secret_id("app").send().await.unwrap();
        told.last_rotated_date().is_some()
    })
    .await;
    assert!(functions(lab.url()).await.unwrap()[0].last.as_deref().unwrap().starts_with("finishSecret of app: done"));
    drop(lab);

    // A day later: the window that was to come is open.
    let world = scratch.path().join("lab/world.json");
    edit(&world, |world| world["secrets"]["app"]["rotation"]["window"]["opens"] = 0.0.into());
    let lab = Lab::start(&config(), options(&scratch)).await.unwrap();
    let secrets = rotator.is_at(&lab);
    until("the rotation that was due", async || current(&secrets).await != TWO).await;
    until("its end", async || rotator.steps() == 10).await;
    let told = secrets.list_secret_version_ids().secret_id("app").include_deprecated(true).send().await.unwrap();
    assert_eq!(told.versions().len(), 3);
}

fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    change(&mut value);
    std::fs::write(path, value.to_string()).unwrap();
}

/// Where the lab's clock runs fast, a schedule of hours is one of a second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_rotates_by_itself() {
    let (scratch, rotator) = (scratch(), Rotator::default());
    let fast = LabOptions { speed: 14_400.0, ..options(&scratch) };
    let lab = Lab::start(&config(), fast).await.unwrap();
    let secrets = rotator.is_at(&lab);
    add_function(lab.url(), &Function::new("rotate", &rotator.serve().await)).await.unwrap();
    secrets.create_secret().name("app").secret_string("a").send().await.unwrap();
    let rules = RotationRulesType::builder().schedule_expression("rate(4 hours)").duration("1h").build();
    let rotate = secrets.rotate_secret().secret_id("app").rotation_lambda_arn(ARN).rotation_rules(rules);
    rotate.rotate_immediately(false).send().await.unwrap();
    until("the third rotation", async || rotator.steps() > 3 * 4).await;
    secrets.cancel_rotate_secret().secret_id("app").send().await.unwrap();
    let told = secrets.describe_secret().secret_id("app").send().await.unwrap();
    assert!(told.next_rotation_date().is_none() && told.version_ids_to_stages().unwrap().len() >= 2, "{told:?}");
}

/// A function that does not answer in time has failed, and whoever takes its place goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_has_a_deadline() {
    let (stage, rotator) = (Stage::set().await, Rotator::default());
    let secrets = rotator.is_at(&stage.lab);
    let function = Function::new("rotate", &rotator.serve().await);
    add_function(stage.lab.url(), &Function { timeout_seconds: 1, ..function.clone() }).await.unwrap();
    secrets.create_secret().name("app").secret_string("a").send().await.unwrap();
    *rotator.hangs.lock().unwrap() = Some("createSecret".into());
    let rotate = |token: &str| secrets.rotate_secret().secret_id("app").client_request_token(token).send();
    let first = secrets.rotate_secret().secret_id("app").client_request_token(TWO).rotation_lambda_arn(ARN);
    first.send().await.unwrap();
    let last = async || functions(stage.lab.url()).await.unwrap().remove(0).last.unwrap_or_default();
    until("the deadline", async || last().await.contains("no answer within 1.0 s")).await;
    *rotator.hangs.lock().unwrap() = None;
    assert!(rotate("33333333-3333-4333-8333-333333333333").await.is_err());
    until("the second try", async || current(&secrets).await == TWO).await;
}

/// `pgrun lab function`, as a person uses it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_are_kept_on_the_command_line() {
    let scratch = scratch();
    let dir = scratch.path().join("lab").to_str().unwrap().to_owned();
    let pgrun = Pgrun::new();
    let lab = |arguments: &[&str]| pgrun.pgrun(&[&["lab"], arguments, &["--dir", &dir]].concat());
    lab(&["function", "list"]).exit(1).stderr_has("hint: pgrun lab up");
    lab(&["up"]).exit(0);
    lab(&["function", "list"]).exit(0).stdout("no functions\n");
    let output = lab(&["function", "add", "rotate", "http://127.0.0.1:9/", "--timeout", "5"]).exit(0);
    output.stdout_has("rotate").stdout_has("http://127.0.0.1:9/").stdout_has("5 s");
    lab(&["function", "add", "rotate", "http://example.org/"]).exit(2).stderr_has("wanted http:// and an address of");
    let listed = lab(&["function", "list", "--json"]).exit(0).json();
    assert_eq!((&listed["schema"], &listed["functions"][0]["name"]), (&1.into(), &"rotate".into()), "{listed}");
    lab(&["function", "remove", "other"]).exit(2).stderr_has("there is no function `other`");
    lab(&["function", "remove", "rotate"]).exit(0).stdout("rotate is removed\n");
    lab(&["down"]).exit(0);
}

/// The same protection as for faults: no signature, no answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_desk_of_functions_wants_a_signature() {
    let stage = Stage::set().await;
    let address = stage.lab.url().strip_prefix("http://").unwrap().to_owned();
    let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
    let request = format!("GET /lab/functions HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
}
