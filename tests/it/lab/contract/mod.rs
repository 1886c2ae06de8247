//! The lab's contract with clients that nobody adapted to it: the Rust SDK, the aws CLI, boto3. One file per service.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use aws_sdk_rds::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};
use tokio::process::Command;

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

/// The aws CLI; says that it is skipped where there is none.
fn aws_cli() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("aws")).find(|program| program.is_file());
    if found.is_none() {
        println!("skipped: there is no aws CLI on PATH");
    }
    found
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

/// A client without anything of the user's: no profile, no proxy, no metadata service.
fn clean(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("AWS_ACCESS_KEY_ID", "lab").env("AWS_SECRET_ACCESS_KEY", "lab").env("AWS_PAGER", "");
    command.env("AWS_CONFIG_FILE", "/dev/null").env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
    command.env("AWS_DEFAULT_REGION", "eu-west-1").env("AWS_REGION", "eu-west-1").env("AWS_MAX_ATTEMPTS", "1");
    command.env("AWS_EC2_METADATA_DISABLED", "true").env("NO_PROXY", "127.0.0.1").env("PYTHONDONTWRITEBYTECODE", "1");
    command.env_remove("AWS_PROFILE").env_remove("AWS_SESSION_TOKEN").env_remove("AWS_ENDPOINT_URL").kill_on_drop(true);
    command
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
