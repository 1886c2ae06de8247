//! Processes by pid and birth, so that a pid that was given to somebody else is never signalled.

use std::{fs, path::Path, process::Command, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};

use super::launch::end_blocking;
use crate::base::clock;

/// The variable by which a program of a lab tells whose it is.
pub(super) const OWNER: &str = "PGRUN_LAB_OWNER";

/// One process, for as long as it lives. A zombie counts as gone: it runs nothing and holds nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Process {
    /// Its process id.
    pub pid: i32,
    /// When it began, in the system's own words: on Linux the boot's id and the clock ticks since that boot
    /// (`proc_pid_stat(5)`, field 22), elsewhere what `ps -o lstart` prints. Compared, never interpreted.
    pub born: String,
}

impl Process {
    /// The live process that has this pid now.
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        let (state, born) = look(pid)?;
        (!matches!(state, 'Z' | 'X')).then_some(Self { pid, born })
    }

    /// This process.
    #[must_use]
    pub fn own() -> Option<Self> {
        Self::of(i32::try_from(std::process::id()).ok()?)
    }

    /// The postmaster that serves a data folder: the one named in its lock file, if that pid still works there. A pid
    /// that was given to somebody else since works elsewhere.
    #[must_use]
    pub fn serving(data: &Path) -> Option<Self> {
        let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
        let process = Self::of(text.lines().next()?.trim().parse().ok()?)?;
        let data = data.canonicalize().ok()?;
        let works_here = if cfg!(target_os = "linux") {
            fs::read_link(format!("/proc/{}/cwd", process.pid)).is_ok_and(|folder| folder == data)
        } else {
            by_ps(process.pid, "command=").is_some_and(|command| command.contains(&data.display().to_string()))
        };
        (works_here && process.is_alive()).then_some(process)
    }

    /// This process as one word, for the environment of those that it starts.
    pub(super) fn text(&self) -> String {
        format!("{}@{}", self.pid, self.born)
    }

    /// What this process started and left behind when it was killed: programs such as `pg_upgrade`, which go on by
    /// themselves. None where that cannot be found out.
    #[must_use]
    pub fn orphans(&self) -> Vec<Self> {
        let mark = format!("{OWNER}={}", self.text());
        let names = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.file_name());
        let pids = names.filter_map(|name| name.to_str()?.parse::<i32>().ok());
        let is_ours = |pid: &i32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
        };
        pids.filter(is_ours).filter_map(Self::of).collect()
    }

    /// True for a postmaster or one of its children.
    #[must_use]
    pub fn is_postgres(&self) -> bool {
        fs::read_to_string(format!("/proc/{}/comm", self.pid)).is_ok_and(|name| name.trim() == "postgres")
    }

    /// True when the pid belongs to a process that ended and was not reaped.
    #[must_use]
    pub fn is_zombie(pid: i32) -> bool {
        look(pid).is_some_and(|(state, _)| state == 'Z')
    }

    /// The processes that work in this folder, as every process of a server does in its data folder; `None` where that
    /// cannot be found out.
    #[must_use]
    pub fn all_in(folder: &Path) -> Option<Vec<Self>> {
        let folder = folder.canonicalize().ok().filter(|_| cfg!(target_os = "linux"))?;
        let works_there = |pid: &i32| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|at| at == folder);
        let names = fs::read_dir("/proc").ok()?.flatten().map(|entry| entry.file_name());
        let pids = names.filter_map(|name| name.to_str()?.parse().ok()).filter(works_there);
        Some(pids.filter_map(Self::of).collect())
    }

    /// True while it lives; false when it ended, even if its pid was given away since.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }

    /// True when it is stopped by a signal.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        look(self.pid).is_some_and(|(state, born)| born == self.born && matches!(state, 'T' | 't'))
    }

    /// Sends a signal to it, and to nobody else; false when it is gone.
    #[expect(clippy::must_use_candidate, reason = "whether it was still there is seldom of interest")]
    pub fn signal(&self, signal: Signal) -> bool {
        self.is_alive() && kill(Pid::from_raw(self.pid), signal).is_ok()
    }

    /// Its children and theirs. Complete only while it and they are stopped; otherwise a look.
    #[must_use]
    pub fn descendants(&self) -> Vec<Process> {
        let mut found = Vec::new();
        let mut parents = vec![self.pid];
        while let Some(parent) = parents.pop() {
            for pid in children(parent) {
                if let Some(child) = Self::of(pid) {
                    parents.push(pid);
                    found.push(child);
                }
            }
        }
        found
    }

    /// Ends a postmaster and whatever it started, without a checkpoint: for servers that nobody needs any more. Blocks
    /// for some seconds at most.
    pub fn end(&self) {
        end_blocking(self);
    }

    /// Blocks until it is gone or `limit` has passed; true when it is gone. For paths that have no runtime.
    #[must_use]
    pub fn wait_gone_blocking(&self, limit: Duration) -> bool {
        let begun = clock::instant();
        while self.is_alive() {
            if begun.elapsed() >= limit {
                return false;
            }
            clock::sleep_blocking(Duration::from_millis(5));
        }
        true
    }
}

/// State letter and birth of a pid; `None` when there is no such process.
fn look(pid: i32) -> Option<(char, String)> {
    if !cfg!(target_os = "linux") {
        return look_by_ps(pid);
    }
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses and may itself contain blanks and parentheses.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Some((fields.first()?.chars().next()?, format!("{}/{}", boot.trim(), fields.get(19)?)))
}

fn look_by_ps(pid: i32) -> Option<(char, String)> {
    let text = by_ps(pid, "stat=,lstart=")?;
    let (state, born) = text.split_once(' ')?;
    Some((state.chars().next()?, born.trim().to_owned()))
}

fn by_ps(pid: i32, columns: &str) -> Option<String> {
    let output = Command::new("ps").env("LC_ALL", "C").args(["-o", columns, "-p", &pid.to_string()]).output().ok()?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

/// The children of a process: of each of its threads on Linux (`/proc/PID/task/TID/children`).
fn children(pid: i32) -> Vec<i32> {
    let text = if cfg!(target_os = "linux") {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok()).collect::<String>()
    } else {
        let output = Command::new("pgrep").args(["-P", &pid.to_string()]).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
    };
    text.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nix::sys::signal::Signal;

    use super::Process;

    #[test]
    fn a_process_is_known_by_its_birth() {
        let own = Process::own().unwrap();
        assert!(own.is_alive() && !own.is_stopped());
        let impostor = Process { born: "another boot/1".into(), ..own };
        assert!(!impostor.is_alive());
        assert!(!impostor.signal(Signal::SIGCONT), "a stranger with our pid must not be signalled");
    }

    #[test]
    fn an_ended_child_is_gone_before_it_is_reaped() {
        let mut shell = std::process::Command::new("sh").args(["-c", "sleep 600 & wait"]).spawn().unwrap();
        let process = Process::of(i32::try_from(shell.id()).unwrap()).unwrap();
        let mut below = process.descendants();
        for _ in 0..400 {
            if !below.is_empty() {
                break;
            }
            crate::base::clock::sleep_blocking(Duration::from_millis(5));
            below = process.descendants();
        }
        assert_eq!(below.len(), 1);
        assert!(below[0].signal(Signal::SIGKILL));
        assert!(process.wait_gone_blocking(Duration::from_secs(20)), "a zombie counts as gone");
        shell.wait().unwrap();
    }
}
