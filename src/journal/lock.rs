//! Who may work: a lock on a run while a process lives, and a claim on each target for as long as a run may write to
//! it.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{event::Person, record::hex};
use crate::{
    base::{Code, Result, clock},
    fail,
};

/// Who holds a lock or a claim, and since when.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Holder {
    /// The run.
    pub run: String,
    /// What is held: the run itself, or a target.
    pub target: String,
    /// Who, where, which process.
    pub person: Person,
    /// Wall clock, RFC 3339.
    pub since: String,
}

impl Holder {
    fn new(run: &str, target: &str) -> Self {
        Self { run: run.into(), target: target.into(), person: Person::here(), since: clock::now_text() }
    }

    fn words(&self) -> String {
        let Person { user, host, pid } = &self.person;
        format!("{user}@{host} (pid {pid}) since {}", self.since)
    }
}

/// How often a taken lock is looked at again before it counts as taken.
const LOOKS: u32 = 5;
/// The pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The lock of a run. The kernel lets it go when the process ends, however it ends.
pub struct RunLock {
    _file: File,
}

impl RunLock {
    /// Takes the lock, or says who has it.
    ///
    /// # Errors
    /// `locked` naming user, host, process and time.
    pub fn take(path: &Path, run: &str) -> Result<Self> {
        let io = |error: std::io::Error| {
            fail!(Code::JournalWrite, "the lock `{}` cannot be written: {error}", path.display())
                .hint("make space or repair the disk; nothing was done")
        };
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(path)
            .map_err(io)?;
        match try_lock(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                file.read_to_string(&mut text).map_err(io)?;
                let holder = serde_json::from_str::<Holder>(&text).map_or_else(|_| "somebody".into(), |h| h.words());
                return Err(fail!(Code::Locked, "`{run}` is being worked on by {holder}")
                    .hint(format!("wait for it, or look at it with `pgrun show {run}`")));
            }
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        let text = serde_json::to_string(&Holder::new(run, run)).unwrap_or_default();
        file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).map_err(io)?;
        file.write_all(text.as_bytes()).map_err(io)?;
        Ok(Self { _file: file })
    }

    /// Takes the lock of a run that is not to be worked on. Who held it last stays written in it, and a full disk does
    /// not hinder; none when it is taken.
    #[must_use]
    pub fn try_hold(path: &Path) -> Option<Self> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path).ok()?;
        try_lock(&file).ok().map(|()| Self { _file: file })
    }

    /// True while another process holds the lock. Changes nothing.
    #[must_use]
    pub fn is_held(path: &Path) -> bool {
        File::open(path).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }
}

/// `is_held` holds the lock for a moment when somebody lists the runs, so it is looked at more than once.
fn try_lock(file: &File) -> Result<(), TryLockError> {
    for _ in 0..LOOKS {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => clock::sleep_blocking(LOOK_EVERY),
            taken => return taken,
        }
    }
    file.try_lock()
}

/// What a sweep of the claims removed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Swept {
    /// Claims of runs that are over.
    pub claims: usize,
    /// Drafts of processes that died.
    pub drafts: usize,
}

/// The claims of all runs of this `$PGRUN_HOME`.
#[derive(Clone, Debug)]
pub struct Claims {
    folder: PathBuf,
}

impl Claims {
    /// The claims under a home folder.
    #[must_use]
    pub fn new(home: &Path) -> Self {
        Self { folder: home.join("claims") }
    }

    /// Claims a target for a run. Claiming it again for the same run, or for one that continues the holder's, is fine.
    /// `is_over` tells whether a run has ended, so that its claims no longer count.
    ///
    /// # Errors
    /// `claimed` naming the other run, who, where and since when.
    pub fn claim(&self, target: &str, run: &str, is_over: impl Fn(&str) -> bool) -> Result<()> {
        let io = |error: std::io::Error| {
            fail!(Code::JournalWrite, "the claim on `{target}` cannot be written: {error}")
                .hint("make space or repair the disk; nothing was done to the target")
        };
        fs::create_dir_all(&self.folder).map_err(io)?;
        let _turn = self.turn().map_err(io)?;
        let path = self.path(target);
        let mine = serde_json::to_string(&Holder::new(run, target)).unwrap_or_default();
        // The claim is complete before it has its name: a process that dies in between leaves no half claim.
        let draft = self.folder.join(format!("{run}.{}.draft", std::process::id()));
        fs::write(&draft, &mine).and_then(|()| File::open(&draft)?.sync_all()).map_err(|error| {
            let _ = fs::remove_file(&draft);
            io(error)
        })?;
        let linked = loop {
            match fs::hard_link(&draft, &path) {
                Ok(()) => break Ok(()),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => break Err(io(error)),
            }
            match holder(&path) {
                Some(holder) if holder.run == run => break Ok(()),
                Some(holder) if !is_over(&holder.run) => {
                    break Err(fail!(
                        Code::Claimed,
                        "`{target}` is claimed by run `{}` of {}",
                        holder.run,
                        holder.words()
                    )
                    .hint(format!("finish that run first: `pgrun resume {}`", holder.run)));
                }
                // Ended, or unreadable because it was removed in this moment: take its place.
                Some(_) | None => match fs::remove_file(&path) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => break Err(io(error)),
                    _ => {}
                },
            }
        };
        fs::remove_file(&draft).map_err(io)?;
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(io)?;
        linked
    }

    /// Gives a run's claims back. Claims that another run has taken over meanwhile stay.
    pub fn release(&self, run: &str, targets: &[String]) {
        for target in targets {
            let path = self.path(target);
            if holder(&path).is_some_and(|holder| holder.run == run)
                && let Err(error) = fs::remove_file(&path)
            {
                tracing::warn!("the claim on {target} stays: {error}");
            }
        }
    }

    /// Removes claims of runs that are over, and drafts.
    ///
    /// # Errors
    /// `journal_write` when one cannot be removed.
    pub fn sweep(&self, is_over: impl Fn(&str) -> bool) -> Result<Swept> {
        let io = |error: std::io::Error| fail!(Code::JournalWrite, "the claims cannot be swept: {error}");
        let mut swept = Swept::default();
        if !self.folder.exists() {
            return Ok(swept);
        }
        // A draft lives in its process's turn only: whoever has the turn sees only those of processes that died.
        let _turn = self.turn().map_err(io)?;
        for entry in fs::read_dir(&self.folder).map_err(io)? {
            let path = entry.map_err(io)?.path();
            let counter = match path.extension().and_then(|extension| extension.to_str()) {
                Some("draft") => &mut swept.drafts,
                Some("json") if holder(&path).is_some_and(|holder| is_over(&holder.run)) => &mut swept.claims,
                _ => continue,
            };
            fs::remove_file(&path).map_err(io)?;
            *counter += 1;
        }
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(io)?;
        Ok(swept)
    }

    /// One claim at a time: between reading that a holder's run is over and taking its place, nobody else may do so.
    fn turn(&self) -> std::io::Result<File> {
        let turn = File::options().create(true).append(true).open(self.folder.join("turn"))?;
        turn.lock().map(|()| turn)
    }

    fn path(&self, target: &str) -> PathBuf {
        self.folder.join(format!("{}.json", &hex(&Sha256::digest(target.as_bytes()))[..32]))
    }
}

/// Who has a claim, where the file tells.
fn holder(path: &Path) -> Option<Holder> {
    serde_json::from_str(&fs::read_to_string(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::{Claims, RunLock};

    #[test]
    fn a_claim_belongs_to_one_run_until_it_is_over() {
        let home = tempfile::tempdir().unwrap();
        let claims = Claims::new(home.path());
        claims.claim("arn:blue", "one", |_| false).unwrap();
        claims.claim("arn:blue", "one", |_| false).unwrap();
        let refused = claims.claim("arn:blue", "two", |_| false).unwrap_err();
        assert!(refused.message().contains("claimed by run `one`"), "{refused:?}");
        claims.claim("arn:blue", "two", |run| run == "one").unwrap();
        claims.release("one", &["arn:blue".into()]);
        assert!(claims.claim("arn:blue", "three", |_| false).is_err(), "two still holds it");
        claims.release("two", &["arn:blue".into()]);
        claims.claim("arn:blue", "three", |_| false).unwrap();
        assert_eq!(std::fs::read_dir(home.path().join("claims")).unwrap().count(), 2, "no drafts are left");
    }

    /// Taking the place of a run that is over is one act: of many that try at once, in one process or several, one
    /// wins.
    #[test]
    fn one_of_many_takes_a_place_that_became_free() {
        let home = tempfile::tempdir().unwrap();
        let claims = Claims::new(home.path());
        for round in 0..20 {
            let target = format!("arn:{round}");
            claims.claim(&target, "over", |_| false).unwrap();
            let winners = std::thread::scope(|threads| {
                let claim = |n: usize| claims.claim(&target, &format!("run {n}"), |run| run == "over").is_ok();
                let tries: Vec<_> = (0..8).map(|n| threads.spawn(move || claim(n))).collect();
                tries.into_iter().map(|one| one.join().unwrap()).filter(|won| *won).count()
            });
            assert_eq!(winners, 1);
        }
    }

    /// Two branches of one run claim different targets at the same time.
    #[test]
    fn branches_of_a_run_claim_at_the_same_time() {
        let home = tempfile::tempdir().unwrap();
        let claims = Claims::new(home.path());
        std::thread::scope(|threads| {
            for n in 0..8 {
                let claims = &claims;
                threads.spawn(move || claims.claim(&format!("arn:{n}"), "run", |_| false).unwrap());
            }
        });
        for n in 0..8 {
            let refused = claims.claim(&format!("arn:{n}"), "other", |_| false).unwrap_err();
            assert!(refused.message().starts_with(&format!("`arn:{n}` is claimed")), "{refused:?}");
        }
    }

    #[test]
    fn a_locked_run_names_its_holder() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("lock");
        let held = RunLock::take(&path, "r1").unwrap();
        let refused = RunLock::take(&path, "r1").err().unwrap();
        assert!(refused.message().contains(&format!("pid {}", std::process::id())), "{refused:?}");
        drop(held);
        assert!(RunLock::take(&path, "r1").is_ok());
    }
}
