//! What is made of AWS's failures: which calls are repeated, and when an outcome is unknown.

use pgrun::{
    aws::{Aws, CURRENT, Mark, Settings, Tags},
    base::{Code, Error, Redactor, Secret},
};

use super::responder::{Reaction, Responder, aws_at, instance, rds_answer, rds_error};

async fn create_snapshot(aws: &Aws) -> Error {
    let mark = Mark::new("run", "step");
    aws.rds().create_snapshot("blue", "snap", &Tags::new(), &mark).await.expect_err("it cannot have worked")
}

/// RDS throttles with HTTP 400 and a code that it does not model; neither questions nor changes may die of it.
#[tokio::test]
async fn throttled_calls_are_repeated() {
    let busy = Responder::start(|_, before| match before {
        0..3 => rds_error(400, "Throttling", "Rate exceeded"),
        _ => instance("available", "15.18"),
    });
    let busy = busy.await;
    assert_eq!(busy.aws().rds().instance("blue").await.unwrap().engine_version, "15.18");
    assert_eq!(busy.actions().len(), 4);
    let busy = Responder::start(|_, before| match before {
        0 => rds_error(400, "Throttling", "Rate exceeded"),
        _ => rds_answer("DeleteDBSnapshot", ""),
    });
    let busy = busy.await;
    busy.aws().rds().delete_snapshot("snap").await.unwrap();
}

/// When throttling does not end, the error says so, and nothing was done.
#[tokio::test]
async fn endless_throttling_is_an_error_of_its_own() {
    let busy = Responder::start(|_, _| rds_error(400, "Throttling", "Rate exceeded")).await;
    let error = create_snapshot(&busy.aws()).await;
    assert_eq!((error.code(), error.is_unknown()), (Code::AwsThrottled, false));
    assert_eq!((error.fact("aws_code"), error.fact("request_id")), (Some("Throttling"), Some("req-1")));
}

/// A change that AWS may have made is sent once and its outcome is unknown: after an answer of 500, a connection that
/// breaks, a deadline, and an answer that cannot be read. A second try would be told "already exists".
#[tokio::test]
async fn a_change_that_may_have_happened_is_not_repeated() {
    let reactions = [
        rds_error(500, "InternalFailure", "it broke halfway"),
        rds_error(503, "ServiceUnavailable", "later"),
        Reaction::Hangup,
        Reaction::Silence,
        Reaction::Answer(200, "<Create".into()),
    ];
    for (nth, reaction) in reactions.into_iter().enumerate() {
        let server = Responder::start(move |_, _| reaction.clone()).await;
        let error = create_snapshot(&server.aws()).await;
        assert_eq!((error.code(), error.is_unknown()), (Code::AwsUnknown, true), "{nth}: {error:?}");
        assert_eq!(server.actions(), ["CreateDBSnapshot"], "{nth}");
    }
}

/// A question may be asked again, whatever went wrong.
#[tokio::test]
async fn questions_are_repeated_until_answered() {
    let server = Responder::start(|_, before| match before {
        0 => rds_error(500, "InternalFailure", ""),
        1 => Reaction::Hangup,
        2 => Reaction::Silence,
        _ => instance("available", "15.18"),
    });
    let server = server.await;
    assert_eq!(server.aws().rds().instance("blue").await.unwrap().status, "available");
    let broken = Responder::start(|_, _| Reaction::Hangup).await;
    let error = broken.aws().rds().instance("blue").await.unwrap_err();
    assert_eq!((error.code(), error.is_unknown()), (Code::AwsUnavailable, false), "{error:?}");
    assert_eq!(broken.actions().len(), 4);
}

/// Where no connection was made nothing was sent: a definite failure, even of a change.
#[tokio::test]
async fn what_was_never_sent_did_not_happen() {
    // A port that was given out and closed again is refused.
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for url in [format!("http://{closed}"), "http://no-such-host.invalid".to_owned()] {
        let error = create_snapshot(&aws_at(&url, Redactor::default())).await;
        assert_eq!((error.code(), error.is_unknown()), (Code::AwsUnavailable, false), "{url}: {error:?}");
        assert!(error.hint_text().is_some_and(|hint| hint.contains("AWS_ENDPOINT_URL")), "{error:?}");
    }
}

/// The codes that runbooks act on, with AWS's own words, code and request id.
#[tokio::test]
async fn refusals_keep_what_aws_said() {
    let cases = [
        (404, "DBSnapshotNotFound", Code::AwsNotFound),
        (403, "AccessDenied", Code::AwsDenied),
        (403, "ExpiredToken", Code::AwsCredentials),
        (403, "InvalidClientTokenId", Code::AwsCredentials),
        (400, "DBSnapshotAlreadyExists", Code::AwsError),
        (400, "InvalidParameterCombination", Code::AwsError),
    ];
    for (status, aws_code, code) in cases {
        let server = Responder::start(move |_, _| rds_error(status, aws_code, "AWS says why.")).await;
        let error = create_snapshot(&server.aws()).await;
        assert_eq!((error.code(), error.is_unknown()), (code, false), "{error:?}");
        assert_eq!(error.message(), format!("CreateDBSnapshot of `snap` was refused: AWS says why ({aws_code})"));
        assert_eq!(error.fact("aws_code"), Some(aws_code));
        assert_eq!(error.fact("request_id"), Some("req-1"));
        assert_eq!(server.actions().len(), 1, "{aws_code} is not repeated");
        if code == Code::AwsDenied {
            assert_eq!(error.hint_text(), Some("allow `rds:CreateDBSnapshot` for these credentials"));
        }
    }
}

/// Missing credentials are told as such, with what to do, and nothing is sent.
#[tokio::test]
async fn missing_credentials_are_told() {
    if std::env::var_os("AWS_ACCESS_KEY_ID").is_some() {
        println!("not run: AWS_ACCESS_KEY_ID is set, so credentials are not missing here");
        return;
    }
    let server = Responder::start(|_, _| instance("available", "15.18")).await;
    let settings = Settings {
        profile: Some("a profile that nobody has".into()),
        region: Some("eu-west-1".into()),
        endpoint: Some(server.url().into()),
        ..Settings::default()
    };
    let error = create_snapshot(&Aws::connect(settings, Redactor::default())).await;
    assert_eq!((error.code(), error.is_unknown()), (Code::AwsCredentials, false), "{error:?}");
    assert!(error.hint_text().is_some_and(|hint| hint.contains("aws sso login")), "{error:?}");
    assert!(server.actions().is_empty());
}

/// Keys and secret values are known to the redactor before anybody can print them.
#[tokio::test]
async fn secrets_reach_the_redactor_at_once() {
    let value = r#"{"ARN":"arn:x","Name":"app","VersionId":"v1","VersionStages":["AWSCURRENT"],
        "SecretString":"{\"host\":\"h\",\"password\":\"correct horse\"}"}"#;
    let server = Responder::start(move |_, _| Reaction::Answer(200, value.into())).await;
    let redactor = Redactor::default();
    let aws = aws_at(server.url(), redactor.clone());
    let stored = aws.secrets().current("app").await.unwrap();
    assert_eq!(stored.password().unwrap().expose(), "correct horse");
    for leak in ["correct horse", "the secret access key", stored.text.expose()] {
        assert_eq!(redactor.clean(leak), "***");
    }
    assert!(!format!("{stored:?}").contains("correct"));
    let told = redactor.clean("correct%20horse").into_owned();
    assert_eq!(told, "***");
}

fn labels(on: &str) -> Reaction {
    Reaction::Answer(200, format!(r#"{{"ARN":"arn:x","Name":"app","VersionIdsToStages":{{"{on}":["{CURRENT}"]}}}}"#))
}

/// The swap of AWSCURRENT whose answer is lost: the labels tell whether it happened, was prevented, or did not happen.
#[tokio::test]
async fn a_lost_answer_to_a_promotion_is_looked_up() {
    for (current, wanted) in
        [("new", Ok(true)), ("other", Err(Code::RequireFailed)), ("old", Err(Code::AwsUnavailable))]
    {
        let server = Responder::start(move |action, _| match action {
            "UpdateSecretVersionStage" => Reaction::Hangup,
            _ => labels(current),
        });
        let server = server.await;
        let promoted = server.aws().secrets().promote("app", "new", "old").await;
        let got = promoted.map(|promotion| promotion.was_done).map_err(|error| {
            assert!(!error.is_unknown(), "{error:?}");
            error.code()
        });
        assert_eq!(got, wanted, "{current}");
        assert_eq!(server.actions(), ["UpdateSecretVersionStage", "DescribeSecret"]);
    }
}

/// Writing a version carries its token, so it is repeated after a lost answer and makes one version.
#[tokio::test]
async fn a_write_with_a_token_is_repeated() {
    let server = Responder::start(|_, before| match before {
        0 => Reaction::Hangup,
        _ => Reaction::Answer(200, r#"{"ARN":"arn:x","Name":"app","VersionId":"t","VersionStages":[]}"#.into()),
    });
    let server = server.await;
    let secrets = server.aws().secrets();
    assert_eq!(secrets.put("app", &Secret::new("value"), "t", &["AWSPENDING"]).await.unwrap(), "t");
    assert_eq!(server.actions().len(), 2);
    let error = secrets.put("app", &Secret::new("value"), "t", &[]).await.unwrap_err();
    assert_eq!(error.code(), Code::ValueGuard, "without stages Secrets Manager would move AWSCURRENT");
}
