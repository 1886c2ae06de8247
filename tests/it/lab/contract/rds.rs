//! Every operation of the lab's RDS by three clients: what is answered, and what is refused with which code and HTTP
//! status. The checks of boto3 and the aws CLI stand in `rds.py`; those of the Rust SDK in `rds_rust.rs` and
//! `rds_rust_clusters.rs`.

use std::{path::Path, time::Duration};

use pgrun::lab::{Delays, LabOptions};

use super::python;
use crate::lab::{
    clients::{aws_cli, clean},
    stage::{Stage, options, pair, scratch},
};

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
