//! Waits for what RDS does on its own time. The SDK's waiters are not used: they look ever more seldom (after ten
//! minutes they are late by five on average), give up after three throttled answers, and take `available` for success.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use rand::Rng as _;

use super::{
    client::Rds,
    events::{Event, Source},
    instance::Instance,
    redo::{Bounds, Redo},
    snapshot::Snapshot,
    verdict::{History, InstanceGoal, SnapshotGoal, Verdict, is_ready, judge_instance, judge_snapshot},
};
use crate::{
    base::{
        Code, Error, Result, clock,
        poll::{self, Patience, Seen},
        span,
    },
    fail,
};

/// How to wait.
#[derive(Clone, Copy)]
pub struct Wait<'a> {
    /// Pause between two looks; it varies by a fifth, so that several runs do not look at the same instant.
    pub every: Duration,
    /// After this long the wait fails.
    pub deadline: Duration,
    /// How long a thing may look ready without showing the change before that counts as a failed change. Right after a
    /// call RDS shows the old state for some seconds, seldom for minutes.
    pub grace: Duration,
    /// From when on an event counts as a trace of the change, in milliseconds since 1970: when the change was asked
    /// for. `None` is the beginning of the wait.
    pub since_ms: Option<u64>,
    /// Told what is seen, whenever it changes.
    pub progress: Option<&'a (dyn Fn(&str) + Sync)>,
}

impl Default for Wait<'_> {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(5),
            deadline: Duration::from_secs(2 * 3600),
            grace: Duration::from_secs(180),
            since_ms: None,
            progress: None,
        }
    }
}

/// AWS's answers are consistent in the end (terraform-provider-aws retries the same for RDS): within this part of the
/// grace, fifteen seconds where nothing is said, a thing that is not found may be there.
const CONSISTENT_IN: u32 = 12;

/// How long an answer of AWS may be older than what it is about.
pub(super) fn settles_in(grace: Duration) -> Duration {
    grace / CONSISTENT_IN
}

/// So often the reason of a failure is looked for, and so long between two looks.
const REASON_LOOKS: u32 = 2;
const REASON_EVERY: Duration = Duration::from_secs(1);

/// The last look may take a little longer than the deadline, a silent peer may not.
const LAST_LOOK: Duration = Duration::from_secs(5);

impl Wait<'_> {
    /// Looks until the probe has a value. Throttled and unanswered questions are looks that saw nothing.
    pub(super) async fn watch<T>(&self, what: &str, mut probe: impl AsyncFnMut() -> Result<Seen<T>>) -> Result<T> {
        let jitter = rand::rng().random_range(0.8..1.2);
        let patience = Patience { every: self.every.mul_f64(jitter), deadline: self.deadline };
        let last = Mutex::new(String::new());
        let mut known = clock::instant();
        // Boxed: the SDK's futures are large, and this one is held while others are made.
        let looks = Box::pin(poll::until(what, patience, async || {
            let seen = match probe().await {
                Err(error) if matches!(error.code(), Code::AwsThrottled | Code::AwsUnavailable) => {
                    Seen::NotYet(error.message().to_owned())
                }
                // What was just made is not in every answer of the next seconds.
                Err(error) if error.code() == Code::AwsNotFound && known.elapsed() < settles_in(self.grace) => {
                    Seen::NotYet("not there yet".to_owned())
                }
                seen => {
                    known = clock::instant();
                    seen?
                }
            };
            if let Seen::NotYet(state) = &seen {
                self.tell(&last, state);
            }
            Ok(seen)
        }));
        if let Some(result) = clock::within(self.deadline.saturating_add(LAST_LOOK), looks).await {
            return result;
        }
        let after = span::duration_text(self.deadline);
        let last = last.into_inner().unwrap_or_default();
        Err(fail!(Code::Timeout, "waited {after} for {what}, and AWS does not answer; last seen: {last}"))
    }

    fn tell(&self, last: &Mutex<String>, state: &str) {
        let Ok(mut last) = last.lock() else { return };
        if *last != state {
            state.clone_into(&mut last);
            if let Some(progress) = self.progress {
                progress(state);
            }
        }
    }
}

/// Turns looks into a [`History`].
pub(super) struct Track {
    left: bool,
    ready_since: Option<Instant>,
    grace: Duration,
    traced: bool,
}

impl Track {
    pub(super) fn new(grace: Duration) -> Self {
        Self { left: false, ready_since: None, grace, traced: false }
    }

    pub(super) fn look(&mut self, ready: bool) -> History {
        self.left |= !ready;
        self.ready_since = if ready { self.ready_since.or_else(|| Some(clock::instant())) } else { None };
        let ready_for = self.ready_since.map_or(Duration::ZERO, |since| since.elapsed());
        History { left: self.left, ready_for, grace: self.grace, traced: self.traced }
    }
}

impl Rds {
    /// Waits until an instance shows the evidence of `goal`, and returns it as it is then.
    ///
    /// # Errors
    /// `timeout` with what was seen last; `aws_error` when the instance is broken, or when it looks ready for longer
    /// than the grace and lacks the change; `aws_not_found` when it does not exist or vanishes.
    pub async fn wait_instance(&self, id: &str, goal: &InstanceGoal, wait: &Wait<'_>) -> Result<Instance> {
        let begun_ms = wait.since_ms.unwrap_or_else(clock::epoch_ms);
        let mut track = Track::new(wait.grace);
        let evidence = trace_of(goal);
        let what = format!("instance `{id}` {}", goal_text(goal));
        let waited = wait.watch(&what, async || {
            let instance = self.instance(id).await?;
            if let Some((status, words)) = evidence
                && !track.traced
            {
                let ready = is_ready(&instance.status);
                track.traced =
                    instance.status == status || (ready && self.told(Source::Instance(id), begun_ms, words).await);
            }
            let history = track.look(is_ready(&instance.status));
            seen(judge_instance(goal, &instance, &history), instance)
        });
        match waited.await {
            Err(error) => Err(self.with_events(error, Source::Instance(id), begun_ms).await),
            done => done,
        }
    }

    /// Waits until a snapshot shows the evidence of `goal`, and returns it as it is then.
    ///
    /// # Errors
    /// `timeout` with what was seen last; `aws_error` when the snapshot failed or its upgrade was rolled back;
    /// `aws_not_found` when it does not exist or vanishes, which the aws CLI's waiter takes for success.
    pub async fn wait_snapshot(&self, id: &str, goal: &SnapshotGoal, wait: &Wait<'_>) -> Result<Snapshot> {
        let begun_ms = wait.since_ms.unwrap_or_else(clock::epoch_ms);
        let mut track = Track::new(wait.grace);
        let what = match goal {
            SnapshotGoal::Complete => format!("snapshot `{id}` to be complete"),
            SnapshotGoal::Version(version) => format!("snapshot `{id}` to be at {version}"),
        };
        let waited = wait.watch(&what, async || {
            let snapshot = self.snapshot(id).await?;
            let is_ready = snapshot.status == "available";
            // An upgrade that fails at once is over between two looks.
            let may_have_failed =
                is_ready && matches!(goal, SnapshotGoal::Version(to) if *to != snapshot.engine_version);
            if may_have_failed && !track.traced {
                track.traced = self.told(Source::Snapshot(id), begun_ms, FAILED).await;
            }
            let history = track.look(is_ready);
            seen(judge_snapshot(goal, &snapshot, &history), snapshot)
        });
        match waited.await {
            Err(error) => Err(self.with_events(error, Source::Snapshot(id), begun_ms).await),
            done => done,
        }
    }

    /// Waits until this very instance is gone. It is asked for as it was described, so a mistyped identifier cannot
    /// pass for a deleted instance, and a new instance of the same name does not keep the wait alive.
    ///
    /// # Errors
    /// `timeout`; `aws_error` when it stays ready for longer than the grace.
    pub async fn wait_instance_gone(&self, instance: &Instance, wait: &Wait<'_>) -> Result<()> {
        let mut track = Track::new(wait.grace);
        let what = format!("instance `{}` to be deleted", instance.id);
        let gone = async || {
            let Some(now) = self.find_instance(&instance.id).await? else { return Ok(Seen::Ready(())) };
            if now.resource_id != instance.resource_id {
                return Ok(Seen::Ready(()));
            }
            let history = track.look(is_ready(&now.status));
            if history.ready_for > wait.grace {
                return Err(fail!(Code::AwsError, "instance `{}` is `{}`, not being deleted", now.id, now.status));
            }
            Ok(Seen::NotYet(now.status))
        };
        wait.watch(&what, gone).await
    }

    /// Waits until this very snapshot is gone.
    ///
    /// # Errors
    /// `timeout`, and those of AWS.
    pub async fn wait_snapshot_gone(&self, snapshot: &Snapshot, wait: &Wait<'_>) -> Result<()> {
        let what = format!("snapshot `{}` to be deleted", snapshot.id);
        let gone = async || match self.find_snapshot(&snapshot.id).await? {
            Some(now) if now.created_ms == snapshot.created_ms => Ok(Seen::NotYet(now.status)),
            _ => Ok(Seen::Ready(())),
        };
        wait.watch(&what, gone).await
    }

    /// Waits until the log of a restored instance tells where its first recovery ended. The log appears some time
    /// after the instance is `available`.
    ///
    /// # Errors
    /// `timeout`, and those of [`Rds::first_redo_done`].
    pub async fn wait_redo(&self, instance: &str, bounds: &Bounds, wait: &Wait<'_>) -> Result<Redo> {
        let what = format!("the end of the first recovery in the log of `{instance}`");
        let look = async || match self.first_redo_done(instance, bounds).await? {
            Some(redo) => Ok(Seen::Ready(redo)),
            None => Ok(Seen::NotYet("no recovery in the log yet".to_owned())),
        };
        wait.watch(&what, look).await
    }

    /// Whether an event since then contains one of the words. A question that fails is no evidence.
    async fn told(&self, source: Source<'_>, since_ms: u64, words: &[&str]) -> bool {
        let Ok(events) = self.events(source, Some(since_ms)).await else { return false };
        events.iter().any(|event| {
            let message = event.message.to_ascii_lowercase();
            words.iter().any(|word| message.contains(word))
        })
    }

    /// Adds what RDS itself told meanwhile, the newest first; the reason of a failed upgrade stands there.
    pub(super) async fn with_events(&self, error: Error, source: Source<'_>, since_ms: u64) -> Error {
        let says_why = |events: &[Event]| {
            events.iter().any(|event| FAILED.iter().any(|word| event.message.to_ascii_lowercase().contains(word)))
        };
        let looks = Box::pin(async {
            let mut told = self.events(source, Some(since_ms)).await;
            // The reason may come a moment after the failure shows.
            for _ in 0..REASON_LOOKS {
                if told.as_ref().is_ok_and(|events| says_why(events)) {
                    break;
                }
                clock::sleep(REASON_EVERY).await;
                told = self.events(source, Some(since_ms)).await;
            }
            told
        });
        // When AWS is silent the wait has lasted long enough.
        match clock::within(LAST_LOOK, looks).await {
            Some(Ok(events)) => events.iter().rev().take(5).fold(error, |error, event| {
                error.detail("event", format!("{} {}", clock::text_of_ms(event.at_ms), event.message))
            }),
            _ => error,
        }
    }
}

/// What RDS says of an upgrade that it rolled back.
const FAILED: &[&str] = &["fail", "rolled back", "cannot be upgraded"];

/// A verdict for [`poll::until`].
pub(super) fn seen<T>(verdict: Verdict, thing: T) -> Result<Seen<T>> {
    match verdict {
        Verdict::Reached => Ok(Seen::Ready(thing)),
        Verdict::NotYet(state) => Ok(Seen::NotYet(state)),
        Verdict::Failed(why) => Err(fail!(Code::AwsError, "{why}")),
    }
}

/// What the wait is for, as the end of a sentence that begins with the instance.
fn goal_text(goal: &InstanceGoal) -> String {
    match goal {
        InstanceGoal::Ready => "to be ready".to_owned(),
        InstanceGoal::Version(version) => format!("to run {version}"),
        InstanceGoal::Changed(_) => "to be changed".to_owned(),
        InstanceGoal::Restarted => "to be restarted".to_owned(),
        InstanceGoal::InSync(group) => format!("to use the values of parameter group `{group}`"),
        InstanceGoal::Stopped => "to be stopped".to_owned(),
    }
}

/// The status, and the words in an event, that prove a goal which the description cannot show ("Amazon RDS event
/// categories and event messages": 0006 "DB instance restarted", 0016 "Reset master credentials").
fn trace_of(goal: &InstanceGoal) -> Option<(&'static str, &'static [&'static str])> {
    match goal {
        InstanceGoal::Restarted => Some(("rebooting", &["restarted"])),
        InstanceGoal::Changed(change) if change.master_password.is_some() => Some((
            "resetting-master-credentials",
            &["reset master credentials", "master user password", "master password"],
        )),
        _ => None,
    }
}
