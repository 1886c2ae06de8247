//! A major upgrade of a copy by the real `pg_upgrade`. Whoever calls keeps the original and decides what becomes of it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Installation, Process, Scratch, Server, ServerOptions, ServerUser, Shape, Shutdown, copy_tree,
    initdb::initdb,
    launch::{end_blocking, write_conf, write_hba},
    program,
    session::sql_error,
};
use crate::{
    base::{Code, Result, clock},
    fail,
    lab::disk,
};

/// `pg_upgrade` dumps and restores the catalogs; a lab's schemas take seconds, ten thousand tables minutes.
const DEADLINE: Duration = Duration::from_secs(3600);

/// `pg_upgrade` gives its servers another port by command line; the one in the file has to be valid, no more.
const UNUSED_PORT: u16 = 50_432;

/// A column of a type that `pg_upgrade` cannot carry over (manual, "pg_upgrade": `reg*` types other than `regclass`,
/// `regrole` and `regtype`).
const SPOILED: &str = "CREATE TABLE public.lab_refused_by_the_upgrade (what pg_catalog.regproc)";

/// Below the working folder, where the folder of its sockets is: whoever takes up a killed upgrade removes that too.
pub(in crate::lab) const SOCKETS: &str = "sockets";

/// One upgrade.
#[derive(Debug)]
pub struct Upgrade<'a> {
    /// What the cluster runs on.
    pub from: &'a Installation,
    /// What it is upgraded to.
    pub to: &'a Installation,
    /// The data folder to copy; it may be a crash image, and no server may use it.
    pub data: &'a Path,
    /// A folder to work in, made here. Afterwards `data/` in it is the upgraded cluster as a crash image, and
    /// `log/error/` holds the log of its recovery by the old version and the logs of `pg_upgrade`, also on failure.
    pub work: &'a Path,
    /// Superuser and settings of the cluster.
    pub options: &'a ServerOptions,
    /// Refuse a cluster below 17 with logical slots instead of letting `pg_upgrade` drop them silently.
    pub refuse_slots: bool,
    /// Put something into the copy that `pg_upgrade` refuses, to see what becomes of a failure.
    pub spoil: bool,
}

impl Upgrade<'_> {
    /// The settings of both sides. A crash image may hold more slots and prepared transactions than the usual settings
    /// allow, and would not even start; dump and restore lock every table at once.
    fn roomy(&self) -> ServerOptions {
        let mut options = self.options.clone();
        // The library is made for one version, and `pg_upgrade` works as the superuser.
        (options.library, options.tls) = (None, None);
        // A copy may have slots whose original allows them no longer, and would not start with them.
        options.settings.insert("wal_level".into(), "logical".into());
        for name in ["max_replication_slots", "max_prepared_transactions", "max_locks_per_transaction"] {
            options.settings.insert(name.into(), "1000".into());
        }
        // Its subscriptions must not wake up: they would take over slots that the original still uses.
        options.settings.insert("max_logical_replication_workers".into(), "0".into());
        options
    }

    /// Recovers the copy with the old version, upgrades it, proves that the new version serves it, and leaves it as
    /// after a crash.
    ///
    /// # Errors
    /// `lab_failed` with the last words of `pg_upgrade`, or with the precheck that refused; `data` is as it was.
    pub async fn run(&self) -> Result<()> {
        let user = ServerUser::choose()?;
        disk::make_folder(self.work, 0o700)?;
        disk::give_to(self.work, user.as_ref())?;
        let work = self.work.canonicalize().map_err(disk::failed("open", self.work))?;
        let _leftovers = Leftovers(vec![work.join("data"), work.join("data.old")]);
        copy_tree(self.data, &work.join("data")).await?;
        disk::remove_file(&work.join("data/postmaster.pid"))?;
        let shape = self.recover(&work).await?;
        std::fs::rename(work.join("data"), work.join("data.old")).map_err(disk::failed("move", &work))?;
        initdb(self.to, &work, self.options, &shape).await?;
        write_hba(&work, self.options, user.as_ref())?;
        write_conf(&work, &self.roomy(), UNUSED_PORT, user.as_ref())?;
        let upgraded = self.pg_upgrade(&work, user.as_ref()).await;
        keep_logs(&work, upgraded.as_ref().err().and_then(|error| error.fact("output")))?;
        upgraded?;
        let server = Server::open(self.to, &work, self.roomy()).await?;
        server.stop(Shutdown::Immediate).await?;
        disk::remove_folder(&work.join("data.old"))
    }

    /// Starts the crash image with its own version: this writes the line `redo done at` that a restore is known by.
    async fn recover(&self, work: &Path) -> Result<Shape> {
        let server = Server::open(self.from, work, self.roomy()).await?;
        let asked = server.connect("postgres").await?;
        let told = asked
            .query_one(
                "SELECT pg_catalog.pg_encoding_to_char(encoding)::text, datcollate::text, datctype::text, \
                 (SELECT pg_catalog.count(*) FROM pg_catalog.pg_replication_slots WHERE slot_type = 'logical') \
                 FROM pg_catalog.pg_database WHERE datname = 'template0'",
                &[],
            )
            .await
            .map_err(|error| sql_error(&error))?;
        if self.spoil {
            asked.batch_execute(SPOILED).await.map_err(|error| sql_error(&error))?;
        }
        drop(asked);
        server.stop(Shutdown::Fast).await?;
        let text = |column: usize| told.try_get::<_, String>(column).map_err(|error| sql_error(&error));
        let slots: i64 = told.try_get(3).map_err(|error| sql_error(&error))?;
        if self.refuse_slots && slots > 0 && self.from.version.major < 17 {
            return Err(fail!(
                Code::LabFailed,
                "the instance could not be upgraded because one or more databases have logical replication slots"
            )
            .hint("drop the slots before the snapshot is taken"));
        }
        Ok(Shape { encoding: text(0)?, locales: vec![(text(1)?, text(2)?)] })
    }

    async fn pg_upgrade(&self, work: &Path, user: Option<&ServerUser>) -> Result<String> {
        // Its sockets need a short path of their own: a socket's name may have 107 bytes.
        let sockets = Scratch::new(user)?;
        sockets.remember(&work.join(SOCKETS))?;
        let mut command = program::command(&self.to.program("pg_upgrade"), user);
        command.current_dir(work).arg("-b").arg(&self.from.bin).arg("-B").arg(&self.to.bin);
        command.arg("-d").arg(work.join("data.old")).arg("-D").arg(work.join("data"));
        command.args(["-U", &self.options.superuser, "--retain", "--socketdir"]).arg(sockets.path());
        // Hard links instead of a second copy: the old files are a copy already, and both lie in one folder.
        command.arg("--link");
        // A lab survives a killed process, not a power cut. The option came with 15.
        if self.to.version.major >= 15 {
            command.arg("--no-sync");
        }
        program::run(command, DEADLINE).await.map_err(|error| match error.fact("output").and_then(refusal_in) {
            Some(words) => fail!(Code::LabFailed, "pg_upgrade refused: {words}")
                .detail("output", error.fact("output").unwrap_or_default()),
            None => error,
        })
    }
}

/// The reason in the output of a `pg_upgrade` that refused: what stands between its last check and its last words,
/// without the names of its files, which are gone with the copy.
fn refusal_in(output: &str) -> Option<String> {
    let (words, _) = output.split_once("Failure, exiting")?;
    let is_reason = |line: &&str| !line.starts_with("Checking ") && !line.ends_with(" fatal") && !line.ends_with(" ok");
    let mut lines: Vec<&str> = words.lines().rev().take_while(is_reason).collect();
    lines.reverse();
    lines.retain(|line| !line.trim().is_empty() && !line.starts_with(char::is_whitespace));
    let words = lines.join(" ");
    (!words.is_empty()).then_some(words)
}

/// Moves what `pg_upgrade` wrote to where RDS shows it: from 15 on it lies below the new data folder, before in the
/// working folder. What it said when it refused is RDS's precheck log.
fn keep_logs(work: &Path, refusal: Option<&str>) -> Result<()> {
    let (target, at) = (work.join("log/error"), clock::now_compact());
    if let Some(text) = refusal {
        disk::write_file(&target.join(format!("pg_upgrade_precheck.log.{at}")), text.as_bytes(), 0o644, None)?;
    }
    let mut reports = disk::entries(work);
    let mut folders = vec![work.join("data/pg_upgrade_output.d")];
    while let Some(folder) = folders.pop() {
        let (below, files) = disk::entries(&folder).into_iter().partition::<Vec<PathBuf>, _>(|path| path.is_dir());
        folders.extend(below);
        reports.extend(files);
    }
    for report in reports.iter().filter(|path| path.extension().is_some_and(|end| end == "log" || end == "txt")) {
        let name = report.file_name().unwrap_or_default().to_string_lossy();
        let kept = target.join(format!("{name}.{at}"));
        std::fs::copy(report, &kept).map_err(disk::failed("keep", report))?;
        disk::remove_file(report)?;
    }
    disk::remove_folder(&work.join("data/pg_upgrade_output.d"))
}

/// Data folders whose servers must not outlive an upgrade: `pg_upgrade` that is cut off leaves one running.
struct Leftovers(Vec<PathBuf>);

impl Drop for Leftovers {
    fn drop(&mut self) {
        for process in self.0.iter().filter_map(|data| Process::serving(data)) {
            end_blocking(&process);
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_reason_of_a_refusal_is_found() {
        let output = "Checking for prepared transactions      ok\nChecking for reg* data types      fatal\n\n\
            Your installation contains one of the reg* data types.\nThey are not preserved.  A list is in the file:\n    \
            /x/tables_using_reg.txt\nFailure, exiting\n";
        let found = super::refusal_in(output).unwrap();
        assert_eq!(
            found,
            "Your installation contains one of the reg* data types. They are not preserved.  A list is in the file:"
        );
        assert_eq!(super::refusal_in("Failure, exiting"), None);
    }
}
