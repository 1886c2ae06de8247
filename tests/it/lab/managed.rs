//! Master passwords that RDS manages in Secrets Manager: made, set on a real server, rotated in both ways, given back,
//! gone with the instance.

use aws_sdk_rds::types::DbInstance;
use aws_sdk_secretsmanager::error::ProvideErrorMetadata;

use pgrun::lab::Lab;

use super::stage::{PASSWORD, Stage, config, number, options, pair, rds_at, scratch, secrets_at, settle};

/// The values of `username` and `password` in the secret of an instance.
async fn login(secrets: &aws_sdk_secretsmanager::Client, arn: &str) -> (String, String) {
    let told = secrets.get_secret_value().secret_id(arn).send().await.unwrap();
    let value: serde_json::Value = serde_json::from_str(told.secret_string().unwrap()).unwrap();
    assert_eq!(value.as_object().unwrap().len(), 2, "user name and password, nothing else");
    (value["username"].as_str().unwrap().to_owned(), value["password"].as_str().unwrap().to_owned())
}

async fn described(rds: &aws_sdk_rds::Client) -> DbInstance {
    let told = rds.describe_db_instances().db_instance_identifier("one").send().await.unwrap();
    told.db_instances()[0].clone()
}

async fn can_log_in(rds: &aws_sdk_rds::Client, password: &str) -> bool {
    let told = described(rds).await;
    let endpoint = told.endpoint().unwrap();
    let mut config = tokio_postgres::Config::new();
    config.host(endpoint.address().unwrap()).port(u16::try_from(endpoint.port().unwrap()).unwrap());
    config.user("master").password(password).dbname("postgres");
    let Ok((client, connection)) = config.connect(tokio_postgres::NoTls).await else { return false };
    tokio::spawn(async move { drop(connection.await) });
    number(&client, "SELECT 1::bigint").await == 1
}

/// Waits until the secret is active with another password than this one.
async fn rotated(rds: &aws_sdk_rds::Client, secrets: &aws_sdk_secretsmanager::Client, arn: &str, old: &str) -> String {
    for _ in 0..1000 {
        let status = described(rds).await.master_user_secret().unwrap().secret_status().unwrap().to_owned();
        let (_, password) = login(secrets, arn).await;
        if status == "active" && password != old {
            return password;
        }
        assert!(["active", "rotating"].contains(&status.as_str()), "{status}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the password stays");
}

fn code<T, E: ProvideErrorMetadata>(asked: Result<T, E>) -> String {
    asked.err().expect("it was not refused").code().unwrap_or("no code").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rds_manages_the_master_password() {
    let (from, _) = pair().await;
    let stage = Stage::set().await;
    let (rds, secrets) = (&stage.rds, &stage.secrets);
    let create = || {
        let request = rds.create_db_instance().db_instance_identifier("one").db_instance_class("db.t4g.micro");
        request.engine("postgres").engine_version(from.to_string()).master_username("master")
    };
    let combination = "InvalidParameterCombination";
    let both = create().manage_master_user_password(true).master_user_password(PASSWORD).send().await;
    assert_eq!(code(both), combination);
    let key = create().master_user_password(PASSWORD).master_user_secret_kms_key_id("alias/k").send().await;
    assert_eq!(code(key), combination);
    let made =
        create().manage_master_user_password(true).master_user_secret_kms_key_id("alias/k").send().await.unwrap();
    let shown = made.db_instance().unwrap().master_user_secret().unwrap();
    assert_eq!((shown.secret_status(), shown.kms_key_id()), (Some("creating"), Some("alias/k")));
    let arn = shown.secret_arn().unwrap().to_owned();
    settle(rds, "one", "available").await;
    assert_eq!(described(rds).await.master_user_secret().unwrap().secret_status(), Some("active"));
    let (user, first) = login(secrets, &arn).await;
    assert!(user == "master" && can_log_in(rds, &first).await);
    let world = std::fs::read_to_string(stage.lab.dir().join("world.json")).unwrap();
    let world: serde_json::Value = serde_json::from_str(&world).unwrap();
    assert!(!world["instances"].to_string().contains(&first), "the instance's state has no password");

    let told = secrets.describe_secret().secret_id(&arn).send().await.unwrap();
    assert!(told.name().unwrap().starts_with("rds!db-"));
    assert_eq!(
        (told.owning_service(), told.rotation_enabled(), told.rotation_lambda_arn()),
        (Some("rds"), Some(true), None)
    );
    assert_eq!(told.rotation_rules().unwrap().automatically_after_days(), Some(7));
    let state = "InvalidRequestException";
    assert_eq!(code(secrets.put_secret_value().secret_id(&arn).secret_string("x").send().await), state);
    assert_eq!(code(secrets.update_secret().secret_id(&arn).secret_string("x").send().await), state);
    assert_eq!(code(secrets.delete_secret().secret_id(&arn).send().await), state);
    let forced = secrets.delete_secret().secret_id(&arn).force_delete_without_recovery(true).send().await;
    assert_eq!(code(forced), state);
    let function = "arn:aws:lambda:eu-west-1:000000000000:function:rotate";
    assert_eq!(code(secrets.rotate_secret().secret_id(&arn).rotation_lambda_arn(function).send().await), state);
    let modify = || rds.modify_db_instance().db_instance_identifier("one").apply_immediately(true);
    assert_eq!(code(modify().master_user_password(PASSWORD).send().await), combination);
    assert_eq!(code(modify().manage_master_user_password(false).send().await), combination);
    let later = rds.modify_db_instance().db_instance_identifier("one").rotate_master_user_password(true).send().await;
    assert_eq!(code(later), combination, "it has to be at once");

    let told = modify().rotate_master_user_password(true).send().await.unwrap();
    assert_eq!(told.db_instance().unwrap().master_user_secret().unwrap().secret_status(), Some("rotating"));
    let second = rotated(rds, secrets, &arn, &first).await;
    settle(rds, "one", "available").await;
    assert!(can_log_in(rds, &second).await && !can_log_in(rds, &first).await);
    secrets.rotate_secret().secret_id(&arn).send().await.unwrap();
    let third = rotated(rds, secrets, &arn, &second).await;
    settle(rds, "one", "available").await;
    assert!(can_log_in(rds, &third).await && !can_log_in(rds, &second).await);
    let told = secrets.describe_secret().secret_id(&arn).send().await.unwrap();
    assert!(told.last_rotated_date().is_some() && told.version_ids_to_stages().unwrap().len() == 2, "{told:?}");

    modify().manage_master_user_password(false).master_user_password(PASSWORD).send().await.unwrap();
    settle(rds, "one", "resetting-master-credentials").await;
    settle(rds, "one", "available").await;
    assert!(can_log_in(rds, PASSWORD).await && described(rds).await.master_user_secret().is_none());
    assert_eq!(code(secrets.describe_secret().secret_id(&arn).send().await), "ResourceNotFoundException");
    assert_eq!(code(modify().rotate_master_user_password(true).send().await), combination, "nothing is managed");

    let told = modify().manage_master_user_password(true).send().await.unwrap();
    let arn = told.db_instance().unwrap().master_user_secret().unwrap().secret_arn().unwrap().to_owned();
    settle(rds, "one", "resetting-master-credentials").await;
    settle(rds, "one", "available").await;
    let (_, fourth) = login(secrets, &arn).await;
    assert!(can_log_in(rds, &fourth).await);
    rds.delete_db_instance().db_instance_identifier("one").skip_final_snapshot(true).send().await.unwrap();
    settle(rds, "one", "deleted").await;
    assert_eq!(code(secrets.describe_secret().secret_id(&arn).send().await), "ResourceNotFoundException");
}

/// A lab that dies amid a rotation goes on with it: the secret and the server agree, and no version is doubled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_managed_rotation_outlives_the_lab() {
    let (from, _) = pair().await;
    let scratch = scratch();
    let lab = Lab::start(&config(), options(&scratch)).await.unwrap();
    let (rds, secrets) = (rds_at(lab.url()), secrets_at(lab.url()));
    let request = rds.create_db_instance().db_instance_identifier("one").db_instance_class("db.t4g.micro");
    let request = request.engine("postgres").engine_version(from.to_string()).master_username("master");
    let made = request.manage_master_user_password(true).send().await.unwrap();
    let arn = made.db_instance().unwrap().master_user_secret().unwrap().secret_arn().unwrap().to_owned();
    settle(&rds, "one", "available").await;
    let (_, first) = login(&secrets, &arn).await;
    secrets.rotate_secret().secret_id(&arn).send().await.unwrap();
    settle(&rds, "one", "resetting-master-credentials").await;
    drop(lab);

    let lab = Lab::start(&config(), options(&scratch)).await.unwrap();
    let (rds, secrets) = (rds_at(lab.url()), secrets_at(lab.url()));
    let second = rotated(&rds, &secrets, &arn, &first).await;
    settle(&rds, "one", "available").await;
    assert!(can_log_in(&rds, &second).await && !can_log_in(&rds, &first).await);
    let told = secrets.list_secret_version_ids().secret_id(&arn).include_deprecated(true).send().await.unwrap();
    assert_eq!(told.versions().len(), 2);
}
