//! Secrets Manager: every operation that a rotation needs, with what it refuses. Left out are the errors of KMS, of the
//! service itself and of replication (`DecryptionFailure`, `EncryptionFailure`, `InternalServiceError`,
//! `PreconditionNotMetException`): the lab has nothing that could fail so.

use std::path::Path;

use aws_sdk_secretsmanager::{Client, operation::describe_secret::DescribeSecretOutput};
use serde_json::{Value, json};

use super::run_script;
use crate::lab::{
    clients::{aws_cli, clean},
    stage::{Stage, secrets_at},
};

pub(super) const ONE: &str = "11111111-1111-4111-8111-111111111111";
pub(super) const TWO: &str = "22222222-2222-4222-8222-222222222222";
pub(super) const FUNCTION: &str = "arn:aws:lambda:eu-west-1:000000000000:function:rotate";
pub(super) const POLICY: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"secretsmanager:*","Resource":"*","Principal":{"AWS":"*"}}]}"#;

/// A rotation function that does everything in its last step.
async fn function(secrets: Client) -> String {
    let handle = move |body: String| async move {
        let event: Value = serde_json::from_str(&body).unwrap();
        let text = |name: &str| event[name].as_str().unwrap().to_owned();
        if text("Step") == "finishSecret" {
            let (arn, token) = (text("SecretId"), text("ClientRequestToken"));
            let put = secrets.put_secret_value().secret_id(&arn).client_request_token(&token).secret_string("made");
            put.version_stages("AWSPENDING").send().await.unwrap();
            let current = secrets.get_secret_value().secret_id(&arn).send().await.unwrap();
            let swap = secrets.update_secret_version_stage().secret_id(&arn).version_stage("AWSCURRENT");
            let swap = swap.move_to_version_id(&token).remove_from_version_id(current.version_id().unwrap());
            swap.send().await.unwrap();
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let router = axum::Router::new().route("/", axum::routing::post(handle));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// Waits until a secret was rotated.
pub(super) async fn rotated(secrets: &Client, id: &str) -> DescribeSecretOutput {
    loop {
        let told = secrets.describe_secret().secret_id(id).send().await.unwrap();
        if told.last_rotated_date().is_some() {
            return told;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

pub(super) async fn with_function(stage: &Stage) {
    let url = function(secrets_at(stage.lab.url())).await;
    pgrun::lab::add_function(stage.lab.url(), &pgrun::lab::Function::new("rotate", &url)).await.unwrap();
}

/// Runs `aws secretsmanager WORDS`, `~` for a blank in a word; its answer, or the code of its refusal.
async fn aws(cli: &Path, url: &str, words: &str) -> Value {
    let mut command = clean(cli);
    command
        .args(["--endpoint-url", url, "--output", "json", "secretsmanager"])
        .args(words.split(' ').map(|word| word.replace('~', " ")));
    let output = command.output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        return serde_json::from_slice(&output.stdout).unwrap_or_default();
    }
    let said = text(&output.stderr);
    let code = said.split_once("An error occurred (").and_then(|(_, rest)| rest.split_once(')'));
    json!(code.unwrap_or_else(|| panic!("aws {words}\n{said}")).0)
}

/// Chains of commands, one secret each, side by side: a start of the CLI takes long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_aws_cli_gets_what_it_expects() {
    let Some(cli) = aws_cli() else { return };
    let stage = Stage::set().await;
    with_function(&stage).await;
    let url = stage.lab.url();
    let ask = async |words: String| aws(&cli, url, &words).await;
    let values = async {
        let made = ask(format!("create-secret --name a --client-request-token {ONE} --secret-string x")).await;
        assert_eq!(made["VersionId"], ONE);
        let again = ask(format!("create-secret --name a --client-request-token {ONE} --secret-string y")).await;
        assert_eq!(again, "ResourceExistsException");
        let put = format!("put-secret-value --secret-id a --client-request-token {TWO} --secret-string y");
        assert_eq!(ask(format!("{put} --version-stages AWSPENDING")).await["VersionStages"], json!(["AWSPENDING"]));
        let swap =
            format!("update-secret-version-stage --secret-id a --version-stage AWSCURRENT --move-to-version-id {TWO}");
        assert_eq!(ask(swap.clone()).await, "InvalidParameterException");
        assert_eq!(ask(format!("{swap} --remove-from-version-id {ONE}")).await["Name"], "a");
        assert_eq!(ask("get-secret-value --secret-id a --version-stage AWSPREVIOUS".into()).await["SecretString"], "x");
        assert_eq!(ask("get-secret-value --secret-id b".into()).await, "ResourceNotFoundException");
        let batch = ask("batch-get-secret-value --secret-id-list a b".into()).await;
        assert_eq!(
            (&batch["SecretValues"][0]["SecretString"], &batch["Errors"][0]["SecretId"]),
            (&json!("y"), &json!("b"))
        );
        let versions = ask("list-secret-version-ids --secret-id a --include-deprecated".into()).await;
        assert_eq!(versions["Versions"].as_array().map(Vec::len), Some(2));
        assert_eq!(ask("update-secret --secret-id a --description d".into()).await["Name"], "a");
        assert_eq!(ask("describe-secret --secret-id a".into()).await["Description"], "d");
    };
    let rotations = async {
        assert_eq!(
            ask(format!("create-secret --name r --secret-string x --client-request-token {ONE}")).await["Name"],
            "r"
        );
        assert_eq!(ask("rotate-secret --secret-id r".into()).await, "InvalidRequestException");
        let rotate =
            format!("rotate-secret --secret-id r --client-request-token {TWO} --rotation-lambda-arn {FUNCTION}");
        assert_eq!(ask(format!("{rotate}-unknown")).await, "AccessDeniedException");
        let rules = "--rotation-rules {\"ScheduleExpression\":\"rate(10~days)\",\"Duration\":\"3h\"}";
        assert_eq!(ask(format!("{rotate} {rules}")).await["VersionId"], TWO);
        rotated(&stage.secrets, "r").await;
        assert!(!ask("describe-secret --secret-id r".into()).await["LastRotatedDate"].is_null());
        assert_eq!(ask("get-secret-value --secret-id r".into()).await["SecretString"], "made");
        assert_eq!(ask("cancel-rotate-secret --secret-id r".into()).await["Name"], "r");
    };
    let others = async {
        assert_eq!(ask("create-secret --name o --secret-string x".into()).await["Name"], "o");
        assert_eq!(ask("tag-resource --secret-id o --tags Key=k,Value=v".into()).await, Value::Null);
        let list = ask("list-secrets --filters Key=tag-key,Values=k --sort-by name".into()).await;
        assert_eq!(list["SecretList"][0]["Name"], "o");
        assert_eq!(ask("untag-resource --secret-id o --tag-keys k".into()).await, Value::Null);
        let policy = format!("put-resource-policy --secret-id o --resource-policy {POLICY}");
        assert_eq!(ask(format!("{policy} --block-public-policy")).await, "PublicPolicyException");
        assert_eq!(ask(policy).await["Name"], "o");
        assert_eq!(ask("get-resource-policy --secret-id o".into()).await["ResourcePolicy"], POLICY);
        assert_eq!(ask("delete-resource-policy --secret-id o".into()).await["Name"], "o");
        let wrong = ask("validate-resource-policy --resource-policy {}".into()).await;
        assert_eq!(wrong, "MalformedPolicyDocumentException");
        let password = ask("get-random-password --password-length 40 --exclude-punctuation".into()).await;
        assert_eq!(password["RandomPassword"].as_str().map(str::len), Some(40));
        let deleted = ask("delete-secret --secret-id o --recovery-window-in-days 7".into()).await;
        assert!(!deleted["DeletionDate"].is_null(), "{deleted}");
        assert_eq!(ask("get-secret-value --secret-id o".into()).await, "InvalidRequestException");
        assert_eq!(ask("restore-secret --secret-id o".into()).await["Name"], "o");
        assert_eq!(ask("delete-secret --secret-id o --force-delete-without-recovery".into()).await["Name"], "o");
    };
    tokio::join!(values, rotations, others);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boto3_gets_what_it_expects() {
    let stage = Stage::set().await;
    run_script("secretsmanager.py", stage.lab.url()).await;
}
