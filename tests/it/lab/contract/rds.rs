//! Every operation of the lab's RDS by three clients: what is answered, and what is refused with which code and HTTP
//! status. The checks of boto3 and the aws CLI stand in `rds.py`; those of the Rust SDK are here, as far as the tests
//! beside this folder do not ask the same already.

use std::{path::Path, time::Duration};

use aws_sdk_rds::{
    client::Waiters,
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};
use pgrun::lab::{Delays, LabOptions};

use super::{aws_cli, clean, python};
use crate::lab::stage::{PASSWORD, Stage, options, pair, scratch};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/lab/contract/rds.py");

async fn checks(python: &Path, client: &str) {
    let (from, to) = pair().await;
    let scratch = scratch();
    // States that a script in Python sees too.
    let delays = Delays { state: Duration::from_millis(500), stale: Duration::from_millis(100) };
    let options = LabOptions { delays, ..options(&scratch) };
    let stage = Stage::set_with(scratch, options).await;
    let words = [SCRIPT, client, &from.to_string(), &to.to_string()];
    let output = clean(python).args(words).env("AWS_ENDPOINT_URL", stage.lab.url()).output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    println!("{client}: {}", said.lines().last().unwrap_or_default());
    let left = |folder: &str| std::fs::read_dir(stage.lab.dir().join(folder)).unwrap().count();
    assert_eq!(left("instances"), 0, "folders of deleted instances are left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boto3_sees_rds() {
    let Some(python) = python().await else { return };
    checks(&python, "boto3").await;
}

/// The same checks; a call of the CLI takes as long as ten of boto3.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_aws_cli_sees_rds() {
    let (Some(python), Some(aws)) = (python().await, aws_cli()) else { return };
    checks(&python, aws.to_str().unwrap()).await;
}

fn refused<T, E: ProvideErrorMetadata>(result: Result<T, SdkError<E, HttpResponse>>) -> String {
    let error = result.err().expect("it was not refused");
    let status = error.raw_response().map_or(0, |response| response.status().as_u16());
    format!("{} {status}", error.code().unwrap_or("no code"))
}

/// The faults of clusters are modelled: the SDK must recognise each of them as what it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rust_sdk_sees_rds() {
    let (from, _) = pair().await;
    let stage = Stage::set().await;
    let rds = &stage.rds;
    let gone = "DBClusterNotFoundFault 404";
    let error = rds.describe_db_clusters().db_cluster_identifier("nobody").send().await.unwrap_err();
    assert!(error.as_service_error().unwrap().is_db_cluster_not_found_fault());
    assert_eq!(refused(rds.modify_db_cluster().db_cluster_identifier("nobody").send().await), gone);
    assert_eq!(refused(rds.stop_db_cluster().db_cluster_identifier("nobody").send().await), gone);
    assert_eq!(refused(rds.start_db_cluster().db_cluster_identifier("nobody").send().await), gone);
    assert_eq!(refused(rds.failover_db_cluster().db_cluster_identifier("nobody").send().await), gone);
    assert_eq!(refused(rds.delete_db_cluster().db_cluster_identifier("nobody").send().await), gone);
    let error = rds.describe_db_cluster_snapshots().db_cluster_snapshot_identifier("nobody").send().await.unwrap_err();
    assert!(error.as_service_error().unwrap().is_db_cluster_snapshot_not_found_fault());
    let gone = rds.describe_db_cluster_parameters().db_cluster_parameter_group_name("nobody").send().await;
    assert_eq!(refused(gone), "DBParameterGroupNotFound 404");
    let restore = rds.restore_db_instance_to_point_in_time().source_db_instance_identifier("nobody");
    let restore = restore.target_db_instance_identifier("t").use_latest_restorable_time(true);
    assert_eq!(refused(restore.send().await), "DBInstanceNotFound 404");

    let create = || {
        let request = rds.create_db_cluster().db_cluster_identifier("c").engine("aurora-postgresql");
        request.engine_version(from.to_string()).master_username("master").master_user_password(PASSWORD)
    };
    let made = create().monitoring_interval(60).enable_cloudwatch_logs_exports("postgresql").send().await.unwrap();
    let made = made.db_cluster().unwrap();
    assert_eq!((made.status(), made.monitoring_interval()), (Some("creating"), Some(60)));
    assert_eq!(made.enabled_cloudwatch_logs_exports(), ["postgresql"]);
    assert!(made.db_cluster_arn().unwrap().ends_with(":cluster:c"));
    let error = create().send().await.unwrap_err();
    assert!(error.as_service_error().unwrap().is_db_cluster_already_exists_fault());
    let error = rds.stop_db_cluster().db_cluster_identifier("c").send().await.unwrap_err();
    assert!(error.as_service_error().unwrap().is_invalid_db_cluster_state_fault());
    let wait = rds.wait_until_db_cluster_available().db_cluster_identifier("c");
    wait.wait(Duration::from_secs(120)).await.unwrap();
    rds.delete_db_cluster().db_cluster_identifier("c").skip_final_snapshot(true).send().await.unwrap();
    stage.lab.shutdown().await.unwrap();
}
