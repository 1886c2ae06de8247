//! The lab's contract with clients that nobody adapted to it: the Rust SDK, the aws CLI, boto3. One file per service.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use aws_sdk_rds::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};

use super::clients::clean;

/// Each of the requests must be refused with this code and HTTP status.
macro_rules! refuse {
    ($wanted:expr; $($request:expr),+ $(,)?) => {
        $(assert_eq!(super::refused(Box::pin($request.send()).await), $wanted, "{}", stringify!($request));)+
    };
}

/// Each of the requests must be answered.
macro_rules! answer {
    ($($request:expr),+ $(,)?) => {
        $(Box::pin($request.send()).await.expect(stringify!($request));)+
    };
}

mod everything;
mod rds;
mod rds_rust;
mod rds_rust_clusters;
mod secrets;
mod secrets_rust;

/// Code and HTTP status of a refusal.
fn refused<T, E: ProvideErrorMetadata>(result: Result<T, SdkError<E, HttpResponse>>) -> String {
    let error = result.err().expect("it was not refused");
    let status = error.raw_response().map_or(0, |response| response.status().as_u16());
    format!("{} {status}", error.code().unwrap_or("no code"))
}

/// A Python with boto3; says that it is skipped where there is none.
async fn python() -> Option<PathBuf> {
    let program = PathBuf::from("python3");
    let asked = clean(&program).args(["-c", "import boto3"]).stderr(Stdio::null()).status().await;
    if asked.is_ok_and(|status| status.success()) {
        return Some(program);
    }
    println!("skipped: there is no python3 with boto3");
    None
}

/// Runs one of the Python scripts beside this file against a lab; its lines are the test's when it fails.
async fn run_script(name: &str, url: &str) {
    let Some(python) = python().await else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/lab/contract").join(name);
    let output = clean(&python).arg(script).arg(url).output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (said, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{name}\n{said}{errors}");
    println!("{name}: {}", said.lines().last().unwrap_or_default());
}
