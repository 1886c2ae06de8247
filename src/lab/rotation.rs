//! How a secret is rotated, as data: the function, the rules, the next window, the rotation that is under way. The
//! requests are read in `actions/rotations`, the work is done in `work/rotations`.

use serde::{Deserialize, Serialize};

use super::{
    schedule::{Schedule, Window},
    secret::{CURRENT, StoredSecret},
};

/// The rotation of one secret.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Rotation {
    /// None when it was never configured: `RotationEnabled` is left out then (API reference, `DescribeSecret`).
    pub(crate) enabled: Option<bool>,
    /// The ARN of its function; none when the owning service rotates.
    pub(crate) function: Option<String>,
    pub(crate) rules: Rules,
    /// When it was rotated last, in seconds since 1970.
    pub(crate) last: Option<f64>,
    /// When it is to be rotated next.
    pub(crate) window: Option<Window>,
    pub(crate) attempt: Option<Attempt>,
}

/// `RotationRules`, as they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rules {
    pub(crate) after_days: Option<i64>,
    pub(crate) duration: Option<String>,
    pub(crate) schedule: Option<String>,
}

/// A rotation that is not complete. It is part of the state: a lab that was killed begins its steps anew with the same
/// token, and so with the same version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Attempt {
    pub(crate) token: String,
    /// Only `testSecret`, on a version that is removed afterwards (`RotateImmediately` is false).
    pub(crate) test_only: bool,
    /// When its last try ended badly; none while it runs.
    pub(crate) failed: Option<f64>,
}

impl Rotation {
    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled == Some(true)
    }

    /// Sets the next window, counted from `now`. Rules are checked when they are given, so bad ones are none here.
    pub(crate) fn reckon(&mut self, now: f64) {
        let schedule = Schedule::read(&self.rules).ok().flatten();
        self.window = schedule.filter(|_| self.is_enabled()).and_then(|schedule| schedule.next(now));
    }

    /// A new value that somebody puts counts as a rotation where days are counted, and not for a `ScheduleExpression`
    /// (API reference, `RotationRulesType`).
    pub(crate) fn value_was_put(&mut self, now: f64) {
        if self.rules.after_days.is_some() {
            self.reckon(now);
        }
    }
}

impl StoredSecret {
    /// Begins a rotation with this version, which gets AWSPENDING before the first step.
    pub(crate) fn begin_rotation(&mut self, token: &str, test_only: bool, now: f64) {
        // The version that a test has and loses again (API reference, `RotateSecret`). What is in it AWS does not say:
        // the functions that AWS publishes log in with it, so it is the present value.
        let present = self.labels.get(CURRENT).and_then(|current| self.versions.get(current));
        let present = present.and_then(|version| version.data.clone()).filter(|_| test_only);
        self.begin_version(token, now);
        if let Some(version) = self.versions.get_mut(token) {
            version.data = present;
        }
        self.rotation.attempt = Some(Attempt { token: token.to_owned(), test_only, failed: None });
    }

    /// The last step went well. Whether the rotation did is told by AWSCURRENT, which the function has to move; false
    /// when it did not.
    pub(crate) fn end_rotation(&mut self, token: &str, now: f64) -> bool {
        let Some(attempt) = self.rotation.attempt.take_if(|attempt| attempt.token == token) else { return true };
        if attempt.test_only {
            self.drop_version(token, now);
            return true;
        }
        if self.labels.get(CURRENT).is_none_or(|current| current != token) {
            self.rotation.attempt = Some(Attempt { failed: Some(now), ..attempt });
            return false;
        }
        self.rotation.last = Some(now);
        self.rotation.reckon(now);
        true
    }

    /// Turns rotation off. The labels stay where they are, and whoever cancels has to look at them (API reference,
    /// `CancelRotateSecret`); only the version of a test goes.
    pub(crate) fn cancel_rotation(&mut self, now: f64) {
        self.rotation.enabled = Some(false);
        self.rotation.window = None;
        if let Some(Attempt { token, test_only: true, .. }) = self.rotation.attempt.take() {
            self.drop_version(&token, now);
        }
        self.changed = now;
    }

    /// A step failed: AWSPENDING and the schedule stay, and the rotation is tried again later. Of a test nothing stays.
    pub(crate) fn fail_rotation(&mut self, token: &str, now: f64) {
        match &mut self.rotation.attempt {
            Some(attempt) if attempt.token != token => {}
            Some(Attempt { test_only: true, .. }) => {
                self.rotation.attempt = None;
                self.drop_version(token, now);
            }
            Some(attempt) => attempt.failed = Some(now),
            None => {}
        }
    }
}
