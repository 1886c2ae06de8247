//! IAM database authentication: tokens of the SDK's own generator, and everything that is none.

use aws_sdk_rds::{
    auth_token::{AuthTokenGenerator, Config},
    config::{BehaviorVersion, Credentials, Region},
};
use pgrun::base::{Error, clock};

use super::{
    master::with_library,
    stage::{Stage, connect, create, settle, url},
    tls::{ca, host, login, port, with_tls},
};

/// A token as applications make it.
async fn token(host: &str, port: i32, user: &str) -> String {
    let config = Config::builder().hostname(host).port(u64::try_from(port).unwrap()).username(user);
    let config =
        config.region(Region::new("eu-west-1")).credentials(Credentials::new("lab", "lab", None, None, "test"));
    let generator = AuthTokenGenerator::new(config.build().unwrap());
    let sdk = aws_config::defaults(BehaviorVersion::v2026_01_12()).no_credentials().region(Region::new("eu-west-1"));
    generator.auth_token(&sdk.load().await).await.unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tokens_are_passwords_over_tls() {
    let Some(version) = with_tls().await else { return };
    if !with_library().await.contains(&version) {
        println!("skipped: PostgreSQL {version} has TLS but not the library");
        return;
    }
    let stage = Stage::set().await;
    create(&stage.rds, "one", &version.to_string()).await;
    settle(&stage.rds, "one", "available").await;
    let master = connect(&url(&stage.rds, "one").await).await;
    master
        .batch_execute("CREATE ROLE \"app_2\" LOGIN; CREATE ROLE other LOGIN PASSWORD 'word-of-its-own'")
        .await
        .unwrap();
    master.batch_execute("GRANT rds_iam TO \"app_2\"").await.unwrap();
    let (name, port, ca) = (host(&stage, "one"), port(&stage, "one").await, ca(&stage));
    let at = |user: &str, password: &str, mode: &str| {
        let mode =
            if mode == "verify-full" { format!("verify-full sslrootcert={}", ca.display()) } else { mode.into() };
        format!("hostaddr=127.0.0.1 host={name} port={port} user='{user}' password='{password}' sslmode={mode}")
    };
    let right = token(&name, port, "app_2").await;
    // Not yet: the instance has no IAM authentication.
    login(&at("app_2", &right, "verify-full")).await.unwrap_err();
    let modify = stage.rds.modify_db_instance().db_instance_identifier("one").apply_immediately(true);
    modify.enable_iam_database_authentication(true).send().await.unwrap();
    clock::sleep(std::time::Duration::from_secs(1)).await;

    assert!(login(&at("app_2", &right, "verify-full")).await.unwrap());
    assert!(login(&at("app_2", &token("127.0.0.1", port, "app_2").await, "require")).await.unwrap());
    // Passwords of roles outside rds_iam stay what they are.
    assert!(login(&at("other", "word-of-its-own", "require")).await.unwrap());

    let stale = |date: &str| {
        let at = right.find("X-Amz-Date=").unwrap() + "X-Amz-Date=".len();
        let day = &right[at..at + 8];
        right.replace(&right[at..at + 16], date).replace(&format!("%2F{day}%2F"), &format!("%2F{}%2F", &date[..8]))
    };
    let wrong = [
        token(&name, port, "other").await,
        token("two.abcdefghijkl.eu-west-1.rds.amazonaws.com", port, "app_2").await,
        token(&name, port + 1, "app_2").await,
        stale("20200101T000000Z"),
        stale("20990101T000000Z"),
        right.replace("Action=connect", "Action=drop"),
        right.replace("X-Amz-Expires=900", "X-Amz-Expires=9000"),
        right[..right.len() - 1].to_owned(),
        "a-password".into(),
        right.replace("rds-db", "rds"),
    ];
    for password in &wrong {
        let told = refusal(login(&at("app_2", password, "verify-full")).await);
        assert!(
            told.contains("PAM authentication failed for user \"app_2\"") && told.contains("28000"),
            "{password}: {told}"
        );
    }
    let plain = refusal(login(&at("app_2", &right, "disable").replace(&name, "127.0.0.1")).await);
    assert!(plain.contains("password authentication failed"), "{plain}");
    // A role that left rds_iam has no password any more.
    master.batch_execute("REVOKE rds_iam FROM \"app_2\"").await.unwrap();
    assert!(refusal(login(&at("app_2", &right, "verify-full")).await).contains("password authentication failed"));
}

fn refusal(told: Result<bool, Error>) -> String {
    format!("{:?}", told.unwrap_err())
}
