//! Faults of the endpoint: what AWS does on a bad day. Each strikes the actions that it names, so many times, with a
//! chance, from a seed: the same seed and the same calls give the same day again.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde::{Deserialize, Serialize};

use crate::{
    base::{Code, Result, prose},
    fail,
};

/// One kind of fault.
#[derive(Debug)]
pub struct Kind {
    /// The word on the command line and in JSON.
    pub name: &'static str,
    /// What a client sees, and what has happened then.
    pub does: &'static str,
    pub(crate) blow: Blow,
}

/// What happens to one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blow {
    Throttle,
    Unavailable,
    ErrorAfter,
    ResetBefore,
    ResetAfter,
    Slow,
}

/// Every kind there is.
pub const KINDS: &[Kind] = &[
    Kind { name: "throttle", does: "answers that the rate is exceeded; nothing is done", blow: Blow::Throttle },
    Kind { name: "unavailable", does: "answers with HTTP 503; nothing is done", blow: Blow::Unavailable },
    Kind { name: "error-after", does: "does what was asked, and answers with HTTP 500", blow: Blow::ErrorAfter },
    Kind {
        name: "reset-before",
        does: "closes the connection without an answer; nothing is done",
        blow: Blow::ResetBefore,
    },
    Kind {
        name: "reset-after",
        does: "does what was asked, and closes the connection amid the answer",
        blow: Blow::ResetAfter,
    },
    Kind { name: "slow", does: "holds the answer back for `hold_ms`", blow: Blow::Slow },
];

/// How long `slow` holds an answer where nothing is said, in milliseconds.
const HOLD_MS: u64 = 2000;

/// A fault as it is asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// One of [`KINDS`].
    pub kind: String,
    /// The action that it strikes, as AWS names it; `Describe*` means all that begin so, `*` all.
    #[serde(default = "every_action")]
    pub action: String,
    /// After so many strikes it is over; without, never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// How likely it strikes a call, from 0 to 1.
    #[serde(default = "always")]
    pub chance: f64,
    /// Where its chance begins.
    #[serde(default)]
    pub seed: u64,
    /// Milliseconds for which `slow` holds an answer back.
    #[serde(default = "hold_ms")]
    pub hold_ms: u64,
}

fn every_action() -> String {
    "*".into()
}

fn always() -> f64 {
    1.0
}

fn hold_ms() -> u64 {
    HOLD_MS
}

/// What the runs of `pgrun` call, for random schedules.
const ACTIONS: &[&str] = &[
    "*",
    "Describe*",
    "DescribeDBInstances",
    "DescribeDBSnapshots",
    "DescribeDBLogFiles",
    "DownloadDBLogFilePortion",
    "CreateDBSnapshot",
    "ModifyDBSnapshot",
    "RestoreDBInstanceFromDBSnapshot",
    "GetSecretValue",
    "CreateSecret",
    "PutSecretValue",
];

impl Fault {
    /// A fault of this kind that strikes every call.
    #[must_use]
    pub fn new(kind: &str) -> Self {
        Self { kind: kind.into(), action: every_action(), times: None, chance: always(), seed: 0, hold_ms: HOLD_MS }
    }

    /// Some faults, each of them bounded, drawn from a seed.
    #[must_use]
    pub fn schedule(seed: u64) -> Vec<Self> {
        let mut random = StdRng::seed_from_u64(seed);
        let draw = |random: &mut StdRng| Self {
            kind: KINDS.choose(random).map_or("throttle", |kind| kind.name).into(),
            action: (*ACTIONS.choose(random).unwrap_or(&"*")).into(),
            times: Some(random.random_range(1..=6)),
            chance: f64::from(random.random_range(2..=10_u8)) / 10.0,
            seed: random.random(),
            hold_ms: random.random_range(100..3000),
        };
        let number = random.random_range(1..=4);
        (0..number).map(|_| draw(&mut random)).collect()
    }

    pub(crate) fn check(&self) -> Result<&'static Kind> {
        let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        let unknown =
            || fail!(Code::Usage, "got the fault `{}`, wanted {}", self.kind, prose::ticked_list(&names, names.len()));
        let kind = KINDS.iter().find(|kind| kind.name == self.kind).ok_or_else(unknown)?;
        if !(0.0..=1.0).contains(&self.chance) {
            return Err(fail!(Code::Usage, "got the chance {}, wanted a number from 0 to 1", self.chance));
        }
        if self.action.is_empty() {
            return Err(fail!(Code::Usage, "the fault names no action").hint("`*` means all of them"));
        }
        Ok(kind)
    }

    fn strikes(&self, action: &str) -> bool {
        self.action.strip_suffix('*').map_or(self.action == action, |begin| action.starts_with(begin))
    }
}

/// A fault that was added, and how often it has struck.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Struck {
    /// The fault.
    #[serde(flatten)]
    pub fault: Fault,
    /// How many calls it has struck.
    pub hits: u32,
}

/// The faults of a lab.
#[derive(Default)]
pub(crate) struct Faults(Mutex<Vec<Active>>);

struct Active {
    fault: Fault,
    blow: Blow,
    random: StdRng,
    hits: u32,
}

impl Faults {
    /// Adds a fault; it strikes from the next call on.
    pub(crate) fn add(&self, fault: Fault) -> Result<()> {
        let blow = fault.check()?.blow;
        let random = StdRng::seed_from_u64(fault.seed);
        self.active().push(Active { fault, blow, random, hits: 0 });
        Ok(())
    }

    /// All faults, those that are over included.
    pub(crate) fn list(&self) -> Vec<Struck> {
        self.active().iter().map(|active| Struck { fault: active.fault.clone(), hits: active.hits }).collect()
    }

    /// Ends all faults, and tells what they have done.
    pub(crate) fn clear(&self) -> Vec<Struck> {
        let listed = self.list();
        self.active().clear();
        listed
    }

    /// What happens to a call of this action, and for how long an answer is held back. At most one fault strikes.
    pub(crate) fn strike(&self, action: &str) -> Option<(Blow, u64)> {
        let mut active = self.active();
        let at = active.iter_mut().position(|active| {
            let is_over = active.fault.times.is_some_and(|times| active.hits >= times);
            !is_over && active.fault.strikes(action) && active.random.random_bool(active.fault.chance)
        })?;
        let struck = &mut active[at];
        struck.hits += 1;
        Some((struck.blow, struck.fault.hold_ms))
    }

    fn active(&self) -> MutexGuard<'_, Vec<Active>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{Blow, Fault, Faults, KINDS};

    #[test]
    fn a_fault_strikes_its_actions_so_many_times() {
        let faults = Faults::default();
        faults.add(Fault { action: "Describe*".into(), times: Some(2), ..Fault::new("throttle") }).unwrap();
        faults.add(Fault { action: "CreateDBSnapshot".into(), ..Fault::new("reset-after") }).unwrap();
        let blows: Vec<_> = ["DescribeDBInstances", "CreateDBInstance", "DescribeEvents", "DescribeEvents"]
            .map(|action| faults.strike(action).map(|(blow, _)| blow))
            .to_vec();
        assert_eq!(blows, [Some(Blow::Throttle), None, Some(Blow::Throttle), None]);
        assert_eq!(faults.strike("CreateDBSnapshot").map(|(blow, _)| blow), Some(Blow::ResetAfter));
        assert_eq!(faults.list().iter().map(|struck| struck.hits).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(faults.clear().len(), 2);
        assert_eq!(faults.strike("CreateDBSnapshot"), None);
    }

    /// The same seed is the same day; a schedule ends.
    #[test]
    fn seeds_repeat() {
        for seed in 0..50 {
            let day = Fault::schedule(seed);
            assert_eq!(day, Fault::schedule(seed));
            assert!(!day.is_empty() && day.iter().all(|fault| fault.times.is_some() && fault.check().is_ok()));
            let strikes = || {
                let faults = Faults::default();
                day.iter().try_for_each(|fault| faults.add(fault.clone())).unwrap();
                (0..50).map(|_| faults.strike("DescribeDBInstances")).collect::<Vec<_>>()
            };
            assert_eq!(strikes(), strikes());
        }
        assert_ne!(Fault::schedule(1), Fault::schedule(2));
    }

    #[test]
    fn wrong_faults_are_refused() {
        let refused = |fault: Fault| Faults::default().add(fault).unwrap_err().message().to_owned();
        assert!(refused(Fault::new("thunder")).contains(KINDS[0].name));
        assert!(refused(Fault { chance: 1.5, ..Fault::new("slow") }).contains("got the chance 1.5"));
        assert!(refused(Fault { action: String::new(), ..Fault::new("slow") }).contains("names no action"));
        assert!(serde_json::from_str::<Fault>(r#"{"kind":"slow","acton":"*"}"#).is_err());
        let read: Fault = serde_json::from_str(r#"{"kind":"slow"}"#).unwrap();
        assert_eq!(read, Fault::new("slow"));
    }
}
