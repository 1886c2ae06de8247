//! What tests of the lab share: a lab in a folder of its own, clients of the real SDK, waits.

use std::time::Duration;

use aws_sdk_rds::{
    config::{BehaviorVersion, Credentials, Region},
    types::{ApplyMethod, Parameter},
};
use aws_sdk_secretsmanager::error::ProvideErrorMetadata;
use pgrun::{
    base::{config::Config, poll},
    lab::{
        Delays, Lab, LabOptions,
        postgres::{Catalogue, Scratch, ServerUser, Version},
    },
};

pub(crate) const PASSWORD: &str = "correct-horse-battery";

/// A lab with its clients. Everything ends with it, also when the test panics.
pub(crate) struct Stage {
    pub(crate) rds: aws_sdk_rds::Client,
    pub(crate) secrets: aws_sdk_secretsmanager::Client,
    // Dropped in this order: the servers first, then their folder.
    pub(crate) lab: Lab,
    _scratch: Scratch,
}

/// A folder for a lab that its servers can reach.
pub(crate) fn scratch() -> Scratch {
    Scratch::new(ServerUser::choose().unwrap().as_ref()).unwrap()
}

/// Options with states long enough to be seen and short enough to wait for.
pub(crate) fn options(scratch: &Scratch) -> LabOptions {
    let delays = Delays { state: Duration::from_millis(60), stale: Duration::from_millis(60) };
    LabOptions { delays, ..LabOptions::at(scratch.path().join("lab")) }
}

pub(super) fn config() -> Config {
    Config::from_env().unwrap()
}

/// The versions of a rehearsal.
pub(crate) async fn pair() -> (Version, Version) {
    Catalogue::look(&config()).await.unwrap().pair(None, None).unwrap()
}

pub(crate) fn rds_at(url: &str) -> aws_sdk_rds::Client {
    let config = aws_sdk_rds::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("eu-west-1"))
        .credentials_provider(Credentials::new("lab", "lab", None, None, "test"))
        .endpoint_url(url);
    aws_sdk_rds::Client::from_conf(config.build())
}

pub(super) fn secrets_at(url: &str) -> aws_sdk_secretsmanager::Client {
    let config = aws_sdk_secretsmanager::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("eu-west-1"))
        .credentials_provider(Credentials::new("lab", "lab", None, None, "test"))
        .endpoint_url(url);
    aws_sdk_secretsmanager::Client::from_conf(config.build())
}

impl Stage {
    pub(super) async fn set() -> Self {
        let scratch = scratch();
        let options = options(&scratch);
        Self::set_with(scratch, options).await
    }

    pub(crate) async fn set_with(scratch: Scratch, options: LabOptions) -> Self {
        let lab = Lab::start(&config(), options).await.unwrap();
        Self { rds: rds_at(lab.url()), secrets: secrets_at(lab.url()), lab, _scratch: scratch }
    }

    /// Creates an instance and waits until it is available.
    pub(super) async fn instance(&self, id: &str, version: Version) {
        create(&self.rds, id, &version.to_string()).await;
        settle(&self.rds, id, "available").await;
    }
}

/// A parameter group with logical replication, which RDS turns on for nobody; made unless it is there. Gives its name.
pub(crate) async fn logical_group(rds: &aws_sdk_rds::Client, version: &str) -> String {
    let family = format!("postgres{}", version.split('.').next().unwrap());
    let name = format!("logical-{family}");
    let made = rds.create_db_parameter_group().db_parameter_group_name(&name).db_parameter_group_family(&family);
    match made.description("logical replication").send().await {
        Ok(_) => {}
        Err(error) if error.code() == Some("DBParameterGroupAlreadyExists") => {}
        Err(error) => panic!("{error:?}"),
    }
    let on = Parameter::builder().parameter_name("rds.logical_replication").parameter_value("1");
    let on = on.apply_method(ApplyMethod::PendingReboot).build();
    rds.modify_db_parameter_group().db_parameter_group_name(&name).parameters(on).send().await.unwrap();
    name
}

pub(crate) async fn create(rds: &aws_sdk_rds::Client, id: &str, version: &str) {
    let request = rds.create_db_instance().db_instance_identifier(id).db_instance_class("db.t4g.micro");
    let request = request.engine("postgres").engine_version(version).allocated_storage(20);
    let request = request.db_parameter_group_name(logical_group(rds, version).await);
    request.master_username("master").master_user_password(PASSWORD).send().await.unwrap();
}

/// Waits for a status of an instance. Any failure status ends the wait.
pub(crate) async fn settle(rds: &aws_sdk_rds::Client, id: &str, status: &str) {
    poll::until(&format!("{id} to be {status}"), poll::Patience::ms(20, 120_000), async || {
        let told = rds.describe_db_instances().db_instance_identifier(id).send().await;
        let seen = match &told {
            Ok(told) => told.db_instances()[0].db_instance_status().unwrap().to_owned(),
            Err(error) if error.code() == Some("DBInstanceNotFound") => "deleted".to_owned(),
            Err(error) => panic!("{error:?}"),
        };
        let failed = seen == "failed" || seen.starts_with("incompatible");
        let events = if failed { rds.describe_events().send().await.ok() } else { None };
        assert!(seen == status || !failed, "{id} is {seen}: {events:?}");
        Ok(if seen == status { poll::Seen::Ready(()) } else { poll::Seen::NotYet(seen) })
    })
    .await
    .unwrap();
}

/// Waits until a snapshot is in a status, and gives its version.
pub(super) async fn snapshot_settles(rds: &aws_sdk_rds::Client, id: &str, status: &str) -> String {
    poll::until(&format!("{id} to be {status}"), poll::Patience::ms(20, 120_000), async || {
        let told = rds.describe_db_snapshots().db_snapshot_identifier(id).send().await.unwrap();
        let snapshot = &told.db_snapshots()[0];
        let seen = snapshot.status().unwrap();
        let version = snapshot.engine_version().unwrap().to_owned();
        Ok(if seen == status { poll::Seen::Ready(version) } else { poll::Seen::NotYet(seen.to_owned()) })
    })
    .await
    .unwrap()
}

/// The address of an instance as a connection string.
pub(crate) async fn url(rds: &aws_sdk_rds::Client, id: &str) -> String {
    let told = rds.describe_db_instances().db_instance_identifier(id).send().await.unwrap();
    let endpoint = told.db_instances()[0].endpoint().unwrap();
    let (address, port) = (endpoint.address().unwrap(), endpoint.port().unwrap());
    format!("postgres://master:{PASSWORD}@{address}:{port}/postgres")
}

/// A session with an instance.
pub(crate) async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    client
}

pub(super) async fn number(client: &tokio_postgres::Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap().get(0)
}
