//! The clients of AWS that stand on this machine.

use std::path::{Path, PathBuf};

use tokio::process::Command;

/// The aws CLI; says that it is skipped where there is none.
pub(super) fn aws_cli() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("aws")).find(|program| program.is_file());
    if found.is_none() {
        println!("skipped: there is no aws CLI on PATH");
    }
    found
}

/// A client without anything of the user's: no profile, no proxy, no metadata service.
pub(super) fn clean(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("AWS_ACCESS_KEY_ID", "lab").env("AWS_SECRET_ACCESS_KEY", "lab").env("AWS_PAGER", "");
    command.env("AWS_CONFIG_FILE", "/dev/null").env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
    command.env("AWS_DEFAULT_REGION", "eu-west-1").env("AWS_REGION", "eu-west-1").env("AWS_MAX_ATTEMPTS", "1");
    command.env("AWS_EC2_METADATA_DISABLED", "true").env("NO_PROXY", "127.0.0.1").env("PYTHONDONTWRITEBYTECODE", "1");
    command.env_remove("AWS_PROFILE").env_remove("AWS_SESSION_TOKEN").env_remove("AWS_ENDPOINT_URL").kill_on_drop(true);
    command
}
