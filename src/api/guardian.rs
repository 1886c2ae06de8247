//! Starts the guardian of a fence: this program again, as `pgrun guard`, with a connection of its own.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{ChildStdin, Command},
};

use crate::{
    base::{Code, Error, Result, clock},
    fail,
    journal::Run,
    pg::{Session, guardian::Task},
};

/// A guardian starts and logs in within this time, or the server is not closed.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// A guardian that watches. It notices the end of this process, and a drop of this value, by its end of the pipe.
pub(super) struct Guardian {
    pipe: ChildStdin,
}

impl Guardian {
    /// Starts a guardian for a fence that will be closed by this session, and waits until it is ready.
    ///
    /// # Errors
    /// `refused` when it does not get ready: then the server must not be closed.
    pub(super) async fn start(session: &Session, run: &Run, deadline: Duration) -> Result<Self> {
        let failed = |why: String| -> Error {
            fail!(Code::Refused, "the server is not closed, since nobody would open it if this process died: {why}")
                .hint("the guardian is `pgrun guard`, with a connection of its own: see that it can be made")
        };
        // Its own first: a guardian ends the sessions that it knows of when the run has ended.
        session.open().await?;
        let log = std::path::absolute(run.folder().join("guardian.log")).map_err(|e| failed(e.to_string()))?;
        let task = Task::new(run.id(), session.target(), deadline, log);
        let mut command = Command::new(program().map_err(|error| failed(error.to_string()))?);
        command.arg0("pgrun").arg("guard").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
        let (Some(mut pipe), Some(out)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(fail!(Code::Internal, "the guardian has no pipes"));
        };
        let told = async {
            pipe.write_all(task.line()?.expose().as_bytes()).await.map_err(|error| failed(error.to_string()))?;
            let answer = BufReader::new(out).lines().next_line().await.map_err(|error| failed(error.to_string()))?;
            match answer.as_deref() {
                Some("ready") => Ok(()),
                Some(other) => Err(failed(other.trim_start_matches("failed ").to_owned())),
                None => Err(failed("it ended while it was starting".into())),
            }
        };
        let told = clock::within(READY_WITHIN, told).await;
        told.unwrap_or_else(|| Err(failed(format!("it was not ready within {READY_WITHIN:?}"))))?;
        Ok(Self { pipe })
    }

    /// Lets it go: another one takes over.
    pub(super) async fn dismiss(mut self) {
        if let Err(error) = self.pipe.write_all(b"done\n").await {
            tracing::debug!(%error, "a guardian was gone before it was dismissed");
        }
    }
}

/// This program, also after its file was replaced by a newer one.
fn program() -> std::io::Result<PathBuf> {
    let running = Path::new("/proc/self/exe");
    if running.exists() { Ok(running.to_owned()) } else { std::env::current_exe() }
}
