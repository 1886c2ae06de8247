//! Runs the real binary in a fresh home and compares what came of it. On a failure every test sees the command, both
//! outputs and the journal.
#![allow(dead_code, reason = "a tool box: parts of the tests use parts of it")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "what fails in a helper fails the test, and a test that is skipped says so"
)]

mod bouncer;
mod database;
mod output;
mod process;
mod terminal;

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use tempfile::TempDir;

pub(crate) use bouncer::{Bouncer, Place};
pub(crate) use database::Database;
pub(crate) use output::Output;
pub(crate) use process::Running;
pub(crate) use terminal::{Terminal, lines_of};

/// A folder with runbooks and a `PGRUN_HOME` of its own; gone with the value.
pub(crate) struct Pgrun {
    folder: Arc<TempDir>,
    arguments: Vec<String>,
    env: Vec<(String, String)>,
}

/// The run id that [`Pgrun::run`] gives, so that outputs are the same each time.
pub(crate) const RUN: &str = "r";

impl Pgrun {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("book")).unwrap();
        Self { folder: Arc::new(folder), arguments: vec![], env: vec![] }
    }

    /// A fresh place with this runbook.
    pub(crate) fn of(text: &str) -> Self {
        Self::new().runbook(text)
    }

    /// Writes `main.rhai`.
    pub(crate) fn runbook(self, text: &str) -> Self {
        self.file("main.rhai", text)
    }

    /// Writes another file beside it.
    pub(crate) fn file(self, path: &str, text: &str) -> Self {
        self.write(path, text);
        self
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// A further argument of [`Pgrun::run`].
    pub(crate) fn arg(mut self, argument: &str) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// A variable of the environment, which is otherwise empty.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Where a file of the runbook's folder lies.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join("book").join(path)
    }

    /// `$PGRUN_HOME`.
    pub(crate) fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// The journal of [`RUN`].
    pub(crate) fn journal(&self) -> PathBuf {
        self.home().join("runs").join(RUN).join("journal.jsonl")
    }

    /// What stands in the journal: `kind key`, one for each line.
    pub(crate) fn events(&self) -> Vec<String> {
        output::events(&self.journal())
    }

    /// The journal holds exactly these events after `run_started`.
    #[track_caller]
    pub(crate) fn journal_is(&self, events: &[&str]) {
        assert_eq!(self.events()[1..], *events);
    }

    /// `pgrun main.rhai --run-id r ARGUMENTS`
    pub(crate) fn run(&self) -> Output {
        self.pgrun(&self.run_arguments())
    }

    /// The run taken up again.
    pub(crate) fn resume(&self) -> Output {
        self.pgrun(&["resume", RUN])
    }

    /// `pgrun check main.rhai`
    pub(crate) fn check(&self) -> Output {
        self.pgrun(&["check", "main.rhai"])
    }

    /// Any command, with nobody at a terminal.
    pub(crate) fn pgrun<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Output {
        self.start(arguments).finish()
    }

    /// [`Pgrun::run`], not waited for.
    pub(crate) fn start_run(&self) -> Running {
        self.start(&self.run_arguments())
    }

    /// [`Pgrun::run`] with further variables, not waited for.
    pub(crate) fn start_run_with(&self, variables: &[(&str, &str)]) -> Running {
        self.start_with(&self.run_arguments(), variables)
    }

    /// Any command with further variables, not waited for.
    pub(crate) fn start_with<S: AsRef<OsStr>>(&self, arguments: &[S], variables: &[(&str, &str)]) -> Running {
        Running::start(self.command(&self.path(""), arguments, variables), self)
    }

    /// Any command, not waited for.
    pub(crate) fn start<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Running {
        self.start_in(&self.path(""), arguments)
    }

    /// Any command typed in another folder.
    pub(crate) fn start_in<S: AsRef<OsStr>>(&self, folder: &Path, arguments: &[S]) -> Running {
        Running::start(self.command(folder, arguments, &[]), self)
    }

    /// Any command, not started.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, folder: &Path, arguments: &[S], more: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgrun"));
        command.args(arguments).current_dir(folder).env_clear().envs(self.environment());
        command.envs(more.iter().copied()).stdin(Stdio::null());
        command
    }

    /// Any command at a terminal of 80 columns.
    pub(crate) fn terminal<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Terminal {
        let mut variables = self.environment();
        variables.push(("TERM".into(), "xterm".into()));
        Terminal::start(self, arguments, variables)
    }

    /// [`Pgrun::run`] at a terminal.
    pub(crate) fn run_at_terminal(&self) -> Terminal {
        self.terminal(&self.run_arguments())
    }

    /// A command that was made elsewhere, not waited for.
    pub(crate) fn start_command(&self, command: Command) -> Running {
        Running::start(command, self)
    }

    /// The arguments of [`Pgrun::run`].
    pub(crate) fn run_arguments(&self) -> Vec<String> {
        let fixed = ["main.rhai", "--run-id", RUN].map(str::to_owned);
        fixed.into_iter().chain(self.arguments.iter().cloned()).collect()
    }

    fn environment(&self) -> Vec<(String, String)> {
        let path = std::env::var("PATH").unwrap_or_default();
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let mut variables = vec![
            ("PATH".into(), path),
            ("HOME".into(), text(self.folder.path())),
            ("PGRUN_HOME".into(), text(&self.home())),
        ];
        // Where the servers are is this machine's matter.
        variables.extend(std::env::var("PGRUN_POSTGRES").map(|folder| ("PGRUN_POSTGRES".to_owned(), folder)));
        variables.extend(self.env.iter().cloned());
        variables
    }
}
