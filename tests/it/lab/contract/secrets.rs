//! Secrets Manager: every operation that a rotation needs, with what it refuses. Left out are the errors of KMS, of the
//! service itself and of replication (`DecryptionFailure`, `EncryptionFailure`, `InternalServiceError`,
//! `PreconditionNotMetException`): the lab has nothing that could fail so.

use std::{future::Future, path::Path};

use aws_sdk_secretsmanager::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::describe_secret::DescribeSecretOutput,
    types::{Filter, FilterNameStringType, RotationRulesType, Tag},
};
use serde_json::{Value, json};

use super::{aws_cli, clean, run_script};
use crate::lab::stage::{Stage, secrets_at};

const ONE: &str = "11111111-1111-4111-8111-111111111111";
const TWO: &str = "22222222-2222-4222-8222-222222222222";
const NINE: &str = "99999999-9999-4999-8999-999999999999";
const FUNCTION: &str = "arn:aws:lambda:eu-west-1:000000000000:function:rotate";
const POLICY: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"secretsmanager:*","Resource":"*","Principal":{"AWS":"*"}}]}"#;

/// Code and HTTP status of a refusal.
async fn refused<T, E: ProvideErrorMetadata>(
    asked: impl Future<Output = Result<T, SdkError<E, aws_sdk_secretsmanager::config::http::HttpResponse>>>,
) -> String {
    let error = asked.await.err().expect("it was not refused");
    let status = error.raw_response().map_or(0, |response| response.status().as_u16());
    format!("{} {status}", error.code().unwrap_or("no code"))
}

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
async fn rotated(secrets: &Client, id: &str) -> DescribeSecretOutput {
    loop {
        let told = secrets.describe_secret().secret_id(id).send().await.unwrap();
        if told.last_rotated_date().is_some() {
            return told;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

async fn with_function(stage: &Stage) {
    let url = function(secrets_at(stage.lab.url())).await;
    pgrun::lab::add_function(stage.lab.url(), &pgrun::lab::Function::new("rotate", &url)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rust_sdk_gets_what_it_expects() {
    let stage = Stage::set().await;
    let s = &stage.secrets;
    let (missing, state) = ("ResourceNotFoundException 400", "InvalidRequestException 400");
    let (invalid, shape) = ("InvalidParameterException 400", "ValidationException 400");
    let tag = || Tag::builder().key("k").value("v").build();
    s.create_secret().name("deleted").secret_string("x").send().await.unwrap();
    s.delete_secret().secret_id("deleted").recovery_window_in_days(7).send().await.unwrap();
    for (id, wanted) in [("nothing", missing), ("deleted", state)] {
        let told = [
            refused(s.get_secret_value().secret_id(id).send()).await,
            refused(s.put_secret_value().secret_id(id).secret_string("x").send()).await,
            refused(s.update_secret().secret_id(id).description("x").send()).await,
            refused(s.update_secret_version_stage().secret_id(id).version_stage("x").move_to_version_id(ONE).send())
                .await,
            refused(s.rotate_secret().secret_id(id).send()).await,
            refused(s.cancel_rotate_secret().secret_id(id).send()).await,
            refused(s.tag_resource().secret_id(id).tags(tag()).send()).await,
            refused(s.untag_resource().secret_id(id).tag_keys("k").send()).await,
            refused(s.put_resource_policy().secret_id(id).resource_policy(POLICY).send()).await,
            refused(s.get_resource_policy().secret_id(id).send()).await,
            refused(s.delete_resource_policy().secret_id(id).send()).await,
            refused(s.validate_resource_policy().secret_id(id).resource_policy(POLICY).send()).await,
            refused(s.delete_secret().secret_id(id).send()).await,
        ];
        assert!(told.iter().all(|told| told == wanted), "{id}: {told:?}");
    }
    assert_eq!(refused(s.describe_secret().secret_id("nothing").send()).await, missing);
    assert_eq!(refused(s.list_secret_version_ids().secret_id("nothing").send()).await, missing);
    assert_eq!(refused(s.restore_secret().secret_id("nothing").send()).await, missing);
    s.restore_secret().secret_id("deleted").send().await.unwrap();

    let create = || s.create_secret().name("app").client_request_token(ONE);
    create().secret_string("a").tags(tag()).send().await.unwrap();
    assert_eq!(create().secret_string("a").send().await.unwrap().version_id(), Some(ONE));
    assert_eq!(refused(create().secret_string("b").send()).await, "ResourceExistsException 400");
    assert_eq!(refused(s.create_secret().name("a b").send()).await, shape);
    let tags = (0..51).map(|n| Tag::builder().key(format!("k{n}")).value("v").build()).collect();
    let many = s.create_secret().name("many").set_tags(Some(tags)).send();
    assert_eq!(refused(many).await, "LimitExceededException 400");
    let put = |value: &str| s.put_secret_value().secret_id("app").client_request_token(TWO).secret_string(value);
    put("b").version_stages("AWSPENDING").send().await.unwrap();
    assert_eq!(refused(put("c").send()).await, "ResourceExistsException 400");
    let update = s.update_secret().secret_id("app").client_request_token(TWO).secret_string("b").send();
    assert_eq!(refused(update).await, "ResourceExistsException 400");
    assert_eq!(refused(s.put_secret_value().secret_id("app").send()).await, invalid);
    let labels = Some((0..20).map(|n| format!("l{n}")).collect());
    let labels = s.put_secret_value().secret_id("app").secret_string("x").set_version_stages(labels).send();
    assert_eq!(refused(labels).await, "LimitExceededException 400");
    let swap = || s.update_secret_version_stage().secret_id("app").version_stage("AWSCURRENT").move_to_version_id(TWO);
    assert_eq!(refused(swap().send()).await, invalid);
    swap().remove_from_version_id(ONE).send().await.unwrap();
    assert_eq!(refused(s.get_secret_value().secret_id("app").version_id(NINE).send()).await, missing);
    let both = s.get_secret_value().secret_id("app").version_id(ONE).version_stage("AWSCURRENT").send();
    assert_eq!(refused(both).await, state);
    let previous = s.get_secret_value().secret_id("app").version_stage("AWSPREVIOUS").send().await.unwrap();
    assert_eq!((previous.secret_string(), previous.version_id()), (Some("a"), Some(ONE)));

    let filter = || Filter::builder().key(FilterNameStringType::Name).values("app").build();
    let batch = s.batch_get_secret_value().secret_id_list("app").secret_id_list("nothing").send().await.unwrap();
    assert_eq!((batch.secret_values().len(), batch.errors()[0].error_code()), (1, Some("ResourceNotFoundException")));
    let batch = s.batch_get_secret_value().filters(filter()).send().await.unwrap();
    assert_eq!(batch.secret_values()[0].secret_string(), Some("b"));
    assert_eq!(refused(s.batch_get_secret_value().send()).await, invalid);
    let wrong = s.batch_get_secret_value().filters(filter()).next_token("nonsense").send();
    assert_eq!(refused(wrong).await, "InvalidNextTokenException 400");
    assert_eq!(refused(s.list_secrets().next_token("nonsense").send()).await, "InvalidNextTokenException 400");
    assert_eq!(refused(s.list_secrets().max_results(101).send()).await, shape);
    assert_eq!(s.list_secrets().filters(filter()).send().await.unwrap().secret_list().len(), 1);
    assert_eq!(refused(s.get_random_password().password_length(3).send()).await, invalid);
    assert_eq!(refused(s.get_random_password().password_length(5000).send()).await, shape);
    let reserved = Tag::builder().key("aws:k").value("v").build();
    assert_eq!(refused(s.tag_resource().secret_id("app").tags(reserved).send()).await, invalid);

    let policy = |text: &str| s.put_resource_policy().secret_id("app").resource_policy(text);
    assert_eq!(refused(policy("{").send()).await, "MalformedPolicyDocumentException 400");
    assert_eq!(refused(policy(POLICY).block_public_policy(true).send()).await, "PublicPolicyException 400");
    policy(POLICY).send().await.unwrap();
    let told = s.get_resource_policy().secret_id("app").send().await.unwrap();
    assert_eq!(told.resource_policy(), Some(POLICY));
    s.delete_resource_policy().secret_id("app").send().await.unwrap();
    let told = s.validate_resource_policy().resource_policy(POLICY).send().await.unwrap();
    assert!(!told.policy_validation_passed() && told.validation_errors()[0].check_name().is_some());
    rotation_by_the_rust_sdk(&stage).await;
}

async fn rotation_by_the_rust_sdk(stage: &Stage) {
    let s = &stage.secrets;
    let rotate = || s.rotate_secret().secret_id("app").client_request_token(NINE);
    assert_eq!(refused(rotate().send()).await, "InvalidRequestException 400");
    assert_eq!(refused(rotate().rotation_lambda_arn(FUNCTION).send()).await, "AccessDeniedException 400");
    with_function(stage).await;
    let rules = |days| RotationRulesType::builder().automatically_after_days(days).build();
    let wrong = rotate().rotation_lambda_arn(FUNCTION).rotation_rules(rules(1001)).send();
    assert_eq!(refused(wrong).await, "InvalidParameterException 400");
    // AWSPENDING of the last test is on the current version: nothing is in the way.
    let told = rotate().rotation_lambda_arn(FUNCTION).rotation_rules(rules(30)).send().await.unwrap();
    assert_eq!(told.version_id(), Some(NINE));
    let told = rotated(s, "app").await;
    assert_eq!(told.rotation_rules().unwrap().automatically_after_days(), Some(30));
    assert!(told.rotation_enabled() == Some(true) && told.next_rotation_date().is_some());
    let value = s.get_secret_value().secret_id("app").send().await.unwrap();
    assert_eq!((value.secret_string(), value.version_id()), (Some("made"), Some(NINE)));
    assert_eq!(s.cancel_rotate_secret().secret_id("app").send().await.unwrap().version_id(), None);
    let told = s.describe_secret().secret_id("app").send().await.unwrap();
    assert_eq!((told.rotation_enabled(), told.next_rotation_date()), (Some(false), None));
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
