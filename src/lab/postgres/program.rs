//! Runs a program to its end, as the server's user, with a deadline, and keeps what it said. Servers themselves are
//! started in `server`.

use std::{
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use tokio::process::Command;

use super::{Process, place::ServerUser, process::OWNER};
use crate::{
    base::{Code, Result, clock, span},
    fail,
};

/// A command with an environment of its own: no `PG*` variable of the caller may choose another server, and messages
/// are English because the lab and its users' scripts read them. Killed when it is dropped.
pub(super) fn command(program: &Path, user: Option<&ServerUser>) -> Command {
    let mut command = Command::new(program);
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    command.env_clear().env("PATH", path).env("LC_ALL", "C").env("TZ", "UTC");
    // Whoever finds this process knows whose it was.
    command.env(OWNER, Process::own().map(|own| own.text()).unwrap_or_default());
    command.stdin(Stdio::null()).kill_on_drop(true);
    // A folder that the server's user may not enter would make `initdb` and `pg_upgrade` fail before they begin.
    command.current_dir("/");
    if let Some(user) = user {
        command.uid(user.uid).gid(user.gid);
    }
    command
}

/// Runs it and gives its standard output.
///
/// # Errors
/// `lab_failed` when it cannot be started, exits with another status than 0 or misses the deadline; what it printed
/// last is the detail `output`.
pub(super) async fn run(mut command: Command, deadline: Duration) -> Result<String> {
    let name = Path::new(command.as_std().get_program()).display().to_string();
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = clock::within(deadline, command.output())
        .await
        .ok_or_else(|| fail!(Code::LabFailed, "`{name}` did not end within {}", span::duration_text(deadline)))?
        .map_err(|error| fail!(Code::LabFailed, "cannot run `{name}`: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(fail!(Code::LabFailed, "`{name}` failed with {}: {}", output.status, last_words(&output))
        .detail("output", both(&output)))
}

fn both(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The last line with words in it: programs of PostgreSQL end with their reason.
fn last_words(output: &Output) -> String {
    let text = both(output);
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it said nothing").to_owned()
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use super::{command, run};

    #[tokio::test]
    async fn a_failing_program_is_quoted() {
        let mut shell = command(Path::new("/bin/sh"), None);
        shell.args(["-c", "echo first; echo the reason >&2; exit 3"]);
        let error = run(shell, Duration::from_secs(20)).await.unwrap_err();
        assert!(error.message().contains("the reason") && error.message().contains('3'), "{error:?}");
        assert_eq!(error.fact("output"), Some("first\nthe reason\n"));
    }

    /// A hanging program must neither hang the lab nor outlive the wait.
    #[tokio::test]
    async fn a_hanging_program_is_ended() {
        let mut sleep = command(Path::new("/bin/sleep"), None);
        sleep.arg("600");
        let error = run(sleep, Duration::from_millis(50)).await.unwrap_err();
        assert_eq!(error.message(), "`/bin/sleep` did not end within 50 ms");
    }
}
