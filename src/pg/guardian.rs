//! The guardian of a fence: whoever closes a server may die, hang or be cut off from it, and then nobody can write
//! anywhere. The guardian is another process with a connection of its own, opened before the fence. It opens the server
//! again when the run has ended inside the window, or when the window's time has passed by the server's clock.
//!
//! It guards one attempt of one run: a later attempt, by a process that took the run up again, is none of its business.
//! After a decision for the other server it does nothing.

use std::time::Duration;

use super::{
    record::{Record as _, record},
    session::Session,
    settings::Settings,
    target::Target,
};
use crate::{
    base::{Code, Result, Secret, clock},
    fail,
};

record! {
    /// What one look shows.
    struct Look {
        /// `none`, `fenced`, `green` or `reopened`.
        pub state: String,
        /// The fence stands, and its time has passed.
        pub overdue: bool,
        /// The other sessions of the run, as `PID@START`.
        pub sessions: Vec<String>,
    }
    /// What a guardian begins with.
    struct First {
        pub attempt: i64,
        pub opens: bool,
    }
}

/// Between two looks: a window lasts some hundred milliseconds.
const EVERY: Duration = Duration::from_millis(200);

/// Between two looks once the run has ended, or the server does not answer.
const AGAIN: Duration = Duration::from_millis(50);

/// For this long beyond the fence's time a guardian tries: longer than a failover and a restart of a large server.
const BEYOND: Duration = Duration::from_mins(15);

/// Whoever holds a lock that the guardian needs is about to end.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a guardian is alone with its fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// The run's process has ended, or closed its pipe.
    Alone,
    /// Another guardian takes over.
    Dismissed,
}

/// What became of the fence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The run decided for the other server.
    Green,
    /// The server was opened again, by the guardian if so.
    Reopened {
        /// It was the guardian.
        by_guardian: bool,
    },
    /// The run ended before anything was closed.
    NeverClosed,
    /// Another guardian took over.
    Dismissed,
    /// The fence's time and more passed without an answer; the text is what was said last.
    GaveUp(String),
}

impl End {
    /// The sentence for the log of the run.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            Self::Green => "the run decided for the other server: nothing was done".into(),
            Self::Reopened { by_guardian: false } => "the server was opened again by somebody else".into(),
            Self::Reopened { by_guardian: true } => "the server was opened again by the guardian".into(),
            Self::NeverClosed => "the run ended before anything was closed".into(),
            Self::Dismissed => "another guardian took over".into(),
            Self::GaveUp(why) => format!("gave up, open the server by hand (SELECT pgrun.reopen()): {why}"),
        }
    }
}

/// A process that opens a server again.
pub struct Guardian {
    session: Session,
    run: String,
    attempt: i64,
    /// Sessions of the run while it lived. What they have begun may still take effect after its end.
    known: Vec<String>,
    /// The run has ended, and so have its sessions.
    is_quiet: bool,
}

impl Guardian {
    /// Connects and proves that it could open the server again. The fence must not be closed before this returns.
    ///
    /// # Errors
    /// Those of connecting; `require_failed` without pgrun's schema or the right to use it.
    pub async fn prepare(target: Target, run: &str) -> Result<Self> {
        const FIRST: &str = "SELECT coalesce( \
               (SELECT s.attempt FROM pgrun.standing() s WHERE s.run = $1::text), \
               (SELECT max(d.attempt) + 1 FROM pgrun.decision d WHERE d.target = pgrun.target() AND d.run = $1::text), \
               1) AS attempt, \
             has_function_privilege('pgrun.reopen_run(text)', 'EXECUTE') AS opens";
        let mut settings = Settings::of_run(run);
        (settings.lock_timeout, settings.statement_timeout) = (LOCK_TIMEOUT, STATEMENT_TIMEOUT);
        let session = Session::new(target, settings);
        let row = session.one(FIRST, &[run.into()]).await.map_err(super::fence::own)?;
        let first = First::from_map(&row)?;
        if !first.opens {
            let label = session.target().label();
            return Err(fail!(Code::RequireFailed, "{label} may not open the server again (pgrun.reopen_run)")
                .hint("use the login that made the schema `pgrun`"));
        }
        let mut guardian =
            Self { session, run: run.to_owned(), attempt: first.attempt, known: vec![], is_quiet: false };
        guardian.known = guardian.look().await?.sessions;
        Ok(guardian)
    }

    /// The attempt that it guards.
    #[must_use]
    pub fn attempt(&self) -> i64 {
        self.attempt
    }

    /// Watches until the fence is gone, at most until some minutes after its time; `given` is how long the fence may
    /// stand. `left` ends when the run's process does.
    pub async fn watch(mut self, given: Duration, left: impl Future<Output = Left>) -> End {
        let begun = clock::instant();
        let life = given.saturating_add(BEYOND);
        let mut left = std::pin::pin!(left);
        let mut is_alone = false;
        let mut said = String::new();
        loop {
            let rest = life.saturating_sub(begun.elapsed());
            let turn = clock::within(rest, self.turn(is_alone));
            let looked = if is_alone {
                turn.await
            } else {
                tokio::select! {
                    biased;
                    why = &mut left => {
                        if why == Left::Dismissed {
                            return End::Dismissed;
                        }
                        is_alone = true;
                        continue;
                    }
                    looked = turn => looked,
                }
            };
            let pause = match looked {
                None => return End::GaveUp(said),
                Some(Ok(Some(end))) => return end,
                Some(Ok(None)) if !is_alone => EVERY,
                Some(Ok(None)) => AGAIN,
                Some(Err(error)) => {
                    error.message().clone_into(&mut said);
                    AGAIN
                }
            };
            if is_alone {
                clock::sleep(pause).await;
                continue;
            }
            if let Some(why) = clock::within(pause, &mut left).await {
                if why == Left::Dismissed {
                    return End::Dismissed;
                }
                is_alone = true;
            }
        }
    }

    /// One look and what follows from it; an end when nothing is left to be guarded.
    async fn turn(&mut self, is_alone: bool) -> Result<Option<End>> {
        let look = self.look().await?;
        match look.state.as_str() {
            "green" => return Ok(Some(End::Green)),
            "reopened" => return Ok(Some(End::Reopened { by_guardian: false })),
            _ => {}
        }
        if !is_alone {
            self.known = look.sessions;
            return if look.overdue { self.open_again().await } else { Ok(None) };
        }
        // What the run had sent when it ended may be at work still, or not even begun: a fence that is closed behind
        // our back would stand for ever.
        let is_quiet = self.end_known().await? == 0;
        if look.state == "fenced" {
            return self.open_again().await;
        }
        // The look before this one may be older than the last commit of a session that has ended since.
        let ended = (is_quiet && self.is_quiet).then_some(End::NeverClosed);
        self.is_quiet = is_quiet;
        Ok(ended)
    }

    async fn look(&self) -> Result<Look> {
        const LOOK: &str = "SELECT coalesce(d.state, 'none') AS state, \
               coalesce(d.state = 'fenced' AND clock_timestamp() > d.deadline, false) AS overdue, \
               ARRAY(SELECT format('%s@%s', a.pid, a.backend_start) FROM pg_stat_activity a \
                     WHERE a.application_name = 'pgrun/' || $1::text AND a.usename = session_user \
                       AND a.pid <> pg_backend_pid()) AS sessions \
             FROM (SELECT) one LEFT JOIN LATERAL ( \
               SELECT p.state, p.deadline FROM pgrun.decision p \
               WHERE p.target = pgrun.target() AND p.run = $1::text AND p.attempt = $2::bigint \
               ORDER BY p.closes DESC LIMIT 1) d ON true";
        Look::from_map(&self.session.one(LOOK, &[self.run.as_str().into(), self.attempt.into()]).await?)
    }

    /// Ends the sessions of a run that has ended, and gives the number of those that were left.
    async fn end_known(&self) -> Result<usize> {
        const END: &str = "SELECT pg_terminate_backend(a.pid) AS ended FROM pg_stat_activity a \
             WHERE format('%s@%s', a.pid, a.backend_start) = ANY ($1::text[])";
        Ok(self.session.query(END, &[self.known.clone().into()]).await?.len())
    }

    /// Opens the server again unless somebody else has made a decision meanwhile: the next look tells then.
    async fn open_again(&self) -> Result<Option<End>> {
        const STANDS: &str = "SELECT FROM pgrun.standing() s WHERE s.run = $1::text AND s.attempt = $2::bigint";
        const OPEN: &str = "SELECT state FROM pgrun.reopen_run($1::text)";
        let run = || self.run.as_str().into();
        let opened = self.session.transaction(async |session| {
            // Under the lock that every decision takes.
            session.batch("LOCK TABLE pgrun.decision IN SHARE ROW EXCLUSIVE MODE").await?;
            if !session.exists(STANDS, &[run(), self.attempt.into()]).await? {
                return Ok(false);
            }
            session.one(OPEN, &[run()]).await.map(|_| true)
        });
        Ok(opened.await?.then_some(End::Reopened { by_guardian: true }))
    }
}

/// What a run tells its guardian, by a pipe: it holds a password.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct Task {
    /// The run's id.
    pub run: String,
    /// Where to connect, as [`Target::text`] gives it.
    target: String,
    /// How long the fence may stand, in milliseconds.
    deadline_ms: u64,
    /// Where the last word of the guardian is written, an absolute path.
    pub log: std::path::PathBuf,
}

impl Task {
    /// The task of guarding a fence on this target.
    #[must_use]
    pub fn new(run: &str, target: &Target, deadline: Duration, log: std::path::PathBuf) -> Self {
        let deadline_ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
        Self { run: run.to_owned(), target: target.text().expose().to_owned(), deadline_ms, log }
    }

    /// Where to connect.
    ///
    /// # Errors
    /// `usage` for a text that [`Target::text`] did not give.
    pub fn target(&self) -> Result<Target> {
        Target::parse(&self.target)
    }

    /// How long the fence may stand.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        Duration::from_millis(self.deadline_ms)
    }

    /// One line for the pipe.
    ///
    /// # Errors
    /// `internal` for a path that is no text.
    pub fn line(&self) -> Result<Secret> {
        let line = serde_json::to_string(self);
        let line = line.map_err(|error| fail!(Code::Internal, "a guardian's task cannot be written: {error}"))?;
        Ok(Secret::new(format!("{line}\n")))
    }

    /// Reads the line.
    ///
    /// # Errors
    /// `usage` for anything else; the message never repeats it.
    pub fn read(line: &str) -> Result<Self> {
        serde_json::from_str(line)
            .map_err(|_| fail!(Code::Usage, "`pgrun guard` is started by pgrun itself, which tells it what to guard"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Task;
    use crate::pg::Target;

    /// What goes through the pipe comes out whole, whatever a password or a name holds.
    #[test]
    fn a_task_survives_its_pipe() {
        let text = r"host=db.example.com hostaddr=10.0.0.1 port=6000 user='o\'\\ne 🙂' password='p\' w=\\x\n' dbname='Größe'
            sslmode=verify-full sslrootcert='/a b.pem' connect_timeout=7 channel_binding=require";
        let target = Target::parse(text).unwrap();
        let task = Task::new("r", &target, Duration::from_millis(10_500), "/runs/r/guardian.log".into());
        let line = task.line().unwrap();
        assert_eq!(line.expose().matches('\n').count(), 1);
        let read = Task::read(line.expose()).unwrap();
        assert_eq!((read.target().unwrap(), read.deadline()), (target, task.deadline()));
        assert!(Task::read("password=x").is_err_and(|error| !error.message().contains("=x")));
    }
}
