//! `pgrun guard`: the process beside a run that opens a fenced server again (`pg::guardian`). A run starts it before it
//! closes the server; nobody types it.
//!
//! It is told by its standard input what to guard, answers `ready` or why it is not, and learns from the end of that
//! pipe that the run has ended. It is no part of the terminal's session, so what ends a run there does not reach it.

use std::{io::Write as _, os::fd::AsFd as _, path::Path};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::unix::pipe::Receiver,
    signal::unix::{SignalKind, signal},
};

use crate::{
    base::{Code, Redactor, Result, Secret, clock},
    fail,
    pg::guardian::{Guardian, Left, Task},
};

/// Does one guardian's work.
pub(super) fn run() -> Result<()> {
    // A process that leads a group already, such as one typed at a prompt, may not leave its session; it need not.
    let left = nix::unistd::setsid();
    tracing::debug!(?left, "the guardian's session");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| fail!(Code::Internal, "the runtime cannot be started: {error}"))?;
    let done = runtime.block_on(guard());
    runtime.shutdown_background();
    done
}

async fn guard() -> Result<()> {
    let _deaf = deaf()?;
    let input = std::io::stdin().as_fd().try_clone_to_owned().and_then(Receiver::from_owned_fd);
    let input = input.map_err(|_| fail!(Code::Usage, "`pgrun guard` is started by pgrun itself, over a pipe"))?;
    let mut lines = BufReader::new(input).lines();
    let first = lines.next_line().await.ok().flatten().unwrap_or_default();
    let task = Task::read(&first)?;
    let target = task.target()?;
    let redactor = Redactor::default();
    redactor.learn(&Secret::new(first));
    if let Some(password) = target.password() {
        redactor.learn(password);
    }
    let guardian = match Guardian::prepare(target, &task.run).await {
        Ok(guardian) => guardian,
        Err(error) => {
            answer(&redactor.clean(&format!("failed {}", error.message())))?;
            return Ok(());
        }
    };
    let attempt = guardian.attempt();
    answer("ready")?;
    let left = async move {
        match lines.next_line().await {
            Ok(Some(_)) => Left::Dismissed,
            _ => Left::Alone,
        }
    };
    let end = guardian.watch(task.deadline(), left).await;
    note(&task.log, &redactor.clean(&format!("{} attempt {attempt}: {}", clock::now_text(), end.sentence())))
}

/// As long as this lives no signal that can be caught ends the process: what is meant for the run must not leave a
/// server closed. Its life is bounded by the fence's time.
fn deaf() -> Result<Vec<tokio::signal::unix::Signal>> {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let heard = kinds.into_iter().map(signal).collect::<std::io::Result<_>>();
    heard.map_err(|error| fail!(Code::Internal, "signals cannot be heard: {error}"))
}

/// Tells the run. One that is gone cannot be told, and then its server has not been closed.
fn answer(line: &str) -> Result<()> {
    let mut out = std::io::stdout();
    let sent = writeln!(out, "{}", line.replace('\n', " ")).and_then(|()| out.flush());
    sent.map_err(|error| fail!(Code::Cancelled, "the run cannot be told: {error}"))
}

/// Adds the last word to the run's folder.
fn note(log: &Path, line: &str) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let file = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(log);
    let written = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    written.map_err(|error| fail!(Code::JournalWrite, "`{}` cannot be written: {error}", log.display()))
}
