//! What unmodified clients of AWS see of the lab: the Rust SDK, boto3 and the aws CLI ask the same, and must be told
//! the same as by AWS.

mod rds;

use std::{path::PathBuf, process::Output};

use tokio::process::Command;

/// A program on `PATH`; says so where there is none.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file());
    if found.is_none() {
        println!("skipped: there is no {name} on PATH");
    }
    found
}

/// A python that has boto3; says so where there is none.
async fn python() -> Option<PathBuf> {
    let python = program("python3")?;
    let asked = Command::new(&python).args(["-c", "import boto3"]).output().await.unwrap();
    if !asked.status.success() {
        println!("skipped: this python3 has no boto3");
        return None;
    }
    Some(python)
}

/// Runs a client against an endpoint with nothing of the caller's own settings.
async fn run(program: &PathBuf, words: &[&str], endpoint: &str) -> Output {
    let mut command = Command::new(program);
    command.args(words).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("AWS_ENDPOINT_URL", endpoint).env("AWS_REGION", "eu-west-1").env("AWS_DEFAULT_REGION", "eu-west-1");
    command.env("AWS_ACCESS_KEY_ID", "lab").env("AWS_SECRET_ACCESS_KEY", "lab").env("AWS_PAGER", "");
    command.env("AWS_CONFIG_FILE", "/dev/null").env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
    command.env("AWS_MAX_ATTEMPTS", "1").env("AWS_EC2_METADATA_DISABLED", "true").env("NO_PROXY", "127.0.0.1");
    command.kill_on_drop(true).output().await.unwrap()
}
