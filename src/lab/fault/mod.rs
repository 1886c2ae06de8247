//! Faults: what AWS, its endpoint and its servers do on a bad day. Each strikes what it names, so many times, with a
//! chance, from a seed: the same seed and the same calls give the same day again.

mod desk;
mod remote;
mod schedule;

use serde::{Deserialize, Serialize};

use crate::{
    base::{Code, Result, prose},
    fail,
};

pub(crate) use desk::{Faults, Strike};
pub use remote::{add_fault, clear_faults, faults};

/// One kind of fault.
#[derive(Debug)]
pub struct Kind {
    /// The word on the command line and in JSON.
    pub name: &'static str,
    /// What it strikes.
    pub on: On,
    /// What a client sees, and what has happened then.
    pub does: &'static str,
    pub(crate) blow: Blow,
}

/// What a kind strikes, and so when its chance is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// A call of the actions that it names.
    Call,
    /// As `Call`, of actions that only read.
    Read,
    /// As `Call`, of `DownloadDBLogFilePortion`.
    Log,
    /// A state that a resource goes through.
    State,
    /// An upgrade by `pg_upgrade`.
    Upgrade,
    /// The lab's clock, for as long as the fault is there.
    Clock,
    /// A running server, once a second.
    Server,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blow {
    Throttle,
    Unavailable,
    ErrorAfter,
    ResetBefore,
    ResetAfter,
    Slow,
    Stale,
    CutLog,
    Stuck,
    FailUpgrade,
    Skew,
    Kill,
    Restart,
    Stall,
    Refuse,
    DiskFull,
    SlowFsync,
}

const fn kind(name: &'static str, on: On, blow: Blow, does: &'static str) -> Kind {
    Kind { name, on, does, blow }
}

/// Every kind there is.
pub const KINDS: &[Kind] = &[
    kind("throttle", On::Call, Blow::Throttle, "answers that the rate is exceeded; nothing is done"),
    kind("unavailable", On::Call, Blow::Unavailable, "answers with HTTP 503; nothing is done"),
    kind("error-after", On::Call, Blow::ErrorAfter, "does what was asked, and answers with HTTP 500"),
    kind("reset-before", On::Call, Blow::ResetBefore, "closes the connection without an answer; nothing is done"),
    kind("reset-after", On::Call, Blow::ResetAfter, "does what was asked, and closes the connection amid the answer"),
    kind("slow", On::Call, Blow::Slow, "holds the answer back for `hold_ms`"),
    kind("stale", On::Read, Blow::Stale, "answers as it was `hold_ms` ago: what was just made is not there yet"),
    kind("cut-log", On::Log, Blow::CutLog, "cuts a block of a log in the middle of a line, with RDS's words about it"),
    kind("stuck", On::State, Blow::Stuck, "holds a state for `hold_ms` longer"),
    kind("fail-upgrade", On::Upgrade, Blow::FailUpgrade, "lets `pg_upgrade` find a column that it refuses"),
    kind("clock-skew", On::Clock, Blow::Skew, "sets the clock of AWS wrong by `skew_ms`"),
    kind("kill", On::Server, Blow::Kill, "kills the postmaster; the server recovers"),
    kind("restart", On::Server, Blow::Restart, "stops the server in order; it starts again"),
    kind("stall", On::Server, Blow::Stall, "lets every process of the server stand still for `hold_ms`"),
    kind("refuse", On::Server, Blow::Refuse, "refuses new connections for `hold_ms`"),
    kind("disk-full", On::Server, Blow::DiskFull, "no file of the server can grow for `hold_ms`"),
    kind("slow-fsync", On::Server, Blow::SlowFsync, "for a second each fsync takes `hold_ms` longer"),
];

/// How long a fault lasts where nothing is said, in milliseconds.
const HOLD_MS: u64 = 2000;

/// AWS refuses a request that is older or newer than this (API reference, "Signing AWS API requests").
pub(crate) const SKEW_BORNE_MS: u64 = 300_000;

/// A fault as it is asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// One of [`KINDS`].
    pub kind: String,
    /// The action that it strikes, as AWS names it; `Describe*` means all that begin so, `*` all.
    #[serde(default = "everything")]
    pub action: String,
    /// The instance, snapshot or cluster that a fault of states, upgrades and servers strikes; `shop-*` means all that
    /// begin so, `*` all.
    #[serde(default = "everything")]
    pub target: String,
    /// After so many strikes it is over; without, never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// How likely it strikes, from 0 to 1.
    #[serde(default = "always")]
    pub chance: f64,
    /// Strikes only every so many-th of what it could strike.
    #[serde(default = "each")]
    pub every: u32,
    /// Where its chance begins.
    #[serde(default)]
    pub seed: u64,
    /// Milliseconds for which it lasts, where it lasts.
    #[serde(default = "hold_ms")]
    pub hold_ms: u64,
    /// Milliseconds by which `clock-skew` sets the clock forward, or back.
    #[serde(default)]
    pub skew_ms: i64,
}

fn everything() -> String {
    "*".into()
}

fn always() -> f64 {
    1.0
}

fn each() -> u32 {
    1
}

fn hold_ms() -> u64 {
    HOLD_MS
}

impl Fault {
    /// A fault of this kind that strikes whatever it can.
    #[must_use]
    pub fn new(kind: &str) -> Self {
        Self {
            kind: kind.into(),
            action: everything(),
            target: everything(),
            times: None,
            chance: always(),
            every: each(),
            seed: 0,
            hold_ms: HOLD_MS,
            skew_ms: 0,
        }
    }

    /// Some faults, each of them bounded, drawn from a seed.
    #[must_use]
    pub fn schedule(seed: u64) -> Vec<Self> {
        schedule::draw(seed)
    }

    pub(crate) fn check(&self) -> Result<&'static Kind> {
        let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        let unknown =
            || fail!(Code::Usage, "got the fault `{}`, wanted {}", self.kind, prose::ticked_list(&names, names.len()));
        let kind = KINDS.iter().find(|kind| kind.name == self.kind).ok_or_else(unknown)?;
        if !(0.0..=1.0).contains(&self.chance) {
            return Err(fail!(Code::Usage, "got the chance {}, wanted a number from 0 to 1", self.chance));
        }
        if self.action.is_empty() || self.target.is_empty() {
            let what = if self.action.is_empty() { "action" } else { "target" };
            return Err(fail!(Code::Usage, "the fault names no {what}").hint("`*` means all of them"));
        }
        if self.every == 0 {
            return Err(fail!(Code::Usage, "got every 0th, wanted a number from 1 on"));
        }
        let is_of_calls = matches!(kind.on, On::Call | On::Read | On::Log);
        if !is_of_calls && self.action != "*" {
            return Err(fail!(Code::Usage, "`{}` strikes no calls, so it takes no action", self.kind)
                .hint("name a resource by its target"));
        }
        if self.target != "*" && (is_of_calls || kind.on == On::Clock) {
            return Err(fail!(Code::Usage, "`{}` strikes no resource, so it takes no target", self.kind));
        }
        if (kind.on == On::Clock) != (self.skew_ms != 0) {
            let message = "a skew of the clock belongs to `clock-skew`, and there it must not be 0";
            return Err(fail!(Code::Usage, "{message}"));
        }
        Ok(kind)
    }
}

/// A fault that was added, and how often it has struck.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Struck {
    /// The fault.
    #[serde(flatten)]
    pub fault: Fault,
    /// How often it has struck.
    pub hits: u32,
}

#[cfg(test)]
mod tests {
    use super::{Fault, KINDS};

    #[test]
    fn wrong_faults_are_refused() {
        let refused = |fault: Fault| fault.check().unwrap_err().message().to_owned();
        assert!(refused(Fault::new("thunder")).contains(KINDS[0].name));
        assert!(refused(Fault { chance: 1.5, ..Fault::new("slow") }).contains("got the chance 1.5"));
        assert!(refused(Fault { action: String::new(), ..Fault::new("slow") }).contains("names no action"));
        assert!(refused(Fault { every: 0, ..Fault::new("slow") }).contains("every 0th"));
        assert!(refused(Fault { target: "blue".into(), ..Fault::new("slow") }).contains("no target"));
        assert!(refused(Fault { action: "Describe*".into(), ..Fault::new("kill") }).contains("no action"));
        assert!(refused(Fault::new("clock-skew")).contains("must not be 0"));
        assert!(refused(Fault { skew_ms: 5, ..Fault::new("kill") }).contains("belongs to `clock-skew`"));
        assert!(serde_json::from_str::<Fault>(r#"{"kind":"slow","acton":"*"}"#).is_err());
        let read: Fault = serde_json::from_str(r#"{"kind":"slow"}"#).unwrap();
        assert_eq!(read, Fault::new("slow"));
    }
}
