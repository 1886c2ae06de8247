//! TLS with instances: certificates of the lab's authority for RDS's names, and `rds.force_ssl`.

use std::path::PathBuf;

use aws_sdk_rds::types::{ApplyMethod, Parameter};
use pgrun::{
    base::{Code, Error, poll},
    lab::{
        ca_file,
        postgres::{Catalogue, Version},
    },
    pg::{Session, Settings, Target},
};

use super::stage::{PASSWORD, Stage, config, settle};

/// The first version here whose build has TLS.
pub(super) async fn with_tls() -> Option<Version> {
    let catalogue = Catalogue::look(&config()).await.unwrap();
    for version in catalogue.installed() {
        let installation = catalogue.obtain(version).await.unwrap();
        if catalogue.facilities(&installation).await.tls {
            return Some(version);
        }
    }
    println!("skipped: no installed PostgreSQL has TLS");
    None
}

/// The name of an instance, as `pgrun lab status` shows it.
pub(super) fn host(stage: &Stage, id: &str) -> String {
    let status = pgrun::lab::status(stage.lab.dir()).unwrap();
    status.instances.iter().find(|known| known.id == id).unwrap().host.clone()
}

pub(super) async fn port(stage: &Stage, id: &str) -> i32 {
    let told = stage.rds.describe_db_instances().db_instance_identifier(id).send().await.unwrap();
    told.db_instances()[0].endpoint().unwrap().port().unwrap()
}

pub(super) fn ca(stage: &Stage) -> PathBuf {
    ca_file(stage.lab.dir())
}

/// A login by pgrun's own client; tells whether it was encrypted.
pub(super) async fn login(settings: &str) -> Result<bool, Error> {
    let target = Target::parse(&format!("dbname=postgres {settings}"))?;
    let session = Session::new(target, Settings::of_run("tls"));
    Ok(session.server().await?.encrypted)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_instance_is_known_by_its_name() {
    let Some(version) = with_tls().await else { return };
    let stage = Stage::set().await;
    let family = format!("postgres{}", version.major);
    let group = stage.rds.create_db_parameter_group().db_parameter_group_name("strict").description("for a test");
    group.db_parameter_group_family(family).send().await.unwrap();
    stage.instance("one", version).await;
    let (name, ca) = (host(&stage, "one"), ca(&stage));
    assert!(name.starts_with("one.") && name.ends_with(".eu-west-1.rds.amazonaws.com"), "{name}");
    let at = format!("hostaddr=127.0.0.1 port={} user=master password={PASSWORD}", port(&stage, "one").await);
    let full = format!("{at} sslmode=verify-full sslrootcert={}", ca.display());
    assert!(login(&format!("{full} host={name}")).await.unwrap());
    assert!(login(&format!("{full} host=127.0.0.1")).await.unwrap());
    let wrong = login(&format!("{full} host=two{}", &name[3..])).await.unwrap_err();
    assert_eq!(wrong.code(), Code::PgTls);
    assert!(wrong.message().contains("not valid for the name `two."), "{wrong:?}");

    // Not forced: plaintext passes, as documented for the lab. Forced: PostgreSQL's own refusal, after a reload.
    assert!(!login(&format!("{at} host=127.0.0.1 sslmode=disable")).await.unwrap());
    let modify = || stage.rds.modify_db_instance().db_instance_identifier("one").apply_immediately(true);
    modify().db_parameter_group_name("strict").send().await.unwrap();
    settle(&stage.rds, "one", "modifying").await;
    settle(&stage.rds, "one", "available").await;
    force(&stage, "1").await;
    let refused = until(&format!("{at} host=127.0.0.1 sslmode=disable"), false).await;
    let told = format!("{refused:?}");
    assert!(told.contains("no pg_hba.conf entry for host \"127.0.0.1\"") && told.contains("no encryption"), "{told}");
    assert!(login(&format!("{full} host={name}")).await.unwrap());
    force(&stage, "0").await;
    until(&format!("{at} host=127.0.0.1 sslmode=disable"), true).await;

    // The certificate follows the name.
    modify().new_db_instance_identifier("two").send().await.unwrap();
    settle(&stage.rds, "two", "available").await;
    let renamed = host(&stage, "two");
    until(&format!("{full} host={renamed}"), true).await;
    assert!(login(&format!("{full} host={name}")).await.is_err());
}

async fn force(stage: &Stage, value: &str) {
    let parameter = Parameter::builder().parameter_name("rds.force_ssl").parameter_value(value);
    let parameter = parameter.apply_method(ApplyMethod::Immediate).build();
    let request = stage.rds.modify_db_parameter_group().db_parameter_group_name("strict").parameters(parameter);
    request.send().await.unwrap();
}

/// Waits until a login passes or fails: a reload takes a moment.
async fn until(settings: &str, passes: bool) -> Option<Error> {
    poll::until("the reload", poll::Patience::ms(20, 20_000), async || {
        let told = login(settings).await;
        let wanted = told.is_ok() == passes;
        Ok(if wanted { poll::Seen::Ready(told.err()) } else { poll::Seen::NotYet(format!("{told:?}")) })
    })
    .await
    .unwrap()
}
