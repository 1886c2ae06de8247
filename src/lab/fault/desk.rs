//! The faults of a running lab: which are there, and whether one strikes now.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{Blow, Fault, On, Struck};
use crate::{
    base::{Code, Result},
    fail,
    lab::{clock::LabClock, postgres::has_disk_faults},
};

/// Actions that change nothing begin with one of these.
const READS: [&str; 5] = ["Describe", "List", "Get", "BatchGet", "Download"];

/// The action that `cut-log` is about.
const DOWNLOAD: &str = "DownloadDBLogFilePortion";

/// A blow that fell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Strike {
    pub(crate) blow: Blow,
    pub(crate) hold_ms: u64,
}

/// The faults of a lab.
#[derive(Default)]
pub(crate) struct Faults {
    active: Mutex<Vec<Active>>,
    clock: LabClock,
}

struct Active {
    fault: Fault,
    on: On,
    blow: Blow,
    random: StdRng,
    /// What it could have struck so far.
    seen: u32,
    hits: u32,
}

impl Active {
    /// Whether it strikes this, which it is about.
    fn falls(&mut self) -> bool {
        if self.fault.times.is_some_and(|times| self.hits >= times) {
            return false;
        }
        self.seen = self.seen.wrapping_add(1);
        let falls = self.seen.is_multiple_of(self.fault.every) && self.random.random_bool(self.fault.chance);
        self.hits += u32::from(falls);
        falls
    }
}

impl Faults {
    /// The faults of a lab with this clock.
    pub(crate) fn of(clock: LabClock) -> Self {
        Self { active: Mutex::default(), clock }
    }

    /// Adds a fault; it strikes from now on.
    pub(crate) fn add(&self, fault: Fault) -> Result<()> {
        let kind = fault.check()?;
        if matches!(kind.blow, Blow::DiskFull | Blow::SlowFsync) && !has_disk_faults() {
            return Err(fail!(
                Code::LabMissing,
                "`{}` needs Linux and a C compiler, and `cc` is not found",
                fault.kind
            ));
        }
        let random = StdRng::seed_from_u64(fault.seed);
        let mut active = self.active();
        active.push(Active { fault, on: kind.on, blow: kind.blow, random, seen: 0, hits: 0 });
        self.set_clock(&active);
        Ok(())
    }

    /// All faults, those that are over included.
    pub(crate) fn list(&self) -> Vec<Struck> {
        self.active().iter().map(|active| Struck { fault: active.fault.clone(), hits: active.hits }).collect()
    }

    /// Ends all faults, and tells what they have done.
    pub(crate) fn clear(&self) -> Vec<Struck> {
        let listed = self.list();
        let mut active = self.active();
        active.clear();
        self.set_clock(&active);
        listed
    }

    fn set_clock(&self, active: &[Active]) {
        let skews = active.iter().filter(|active| active.on == On::Clock);
        self.clock.skew(skews.map(|active| active.fault.skew_ms).sum());
    }

    /// What happens to a call of this action. At most one fault strikes it.
    pub(crate) fn strike_call(&self, action: &str) -> Option<Strike> {
        let is_read = READS.iter().any(|begin| action.starts_with(begin));
        let mut active = self.active();
        for skew in active.iter_mut().filter(|active| active.on == On::Clock) {
            skew.hits += 1;
        }
        first(&mut active, |fault, on| {
            let is_about = match on {
                On::Call => true,
                On::Read => is_read,
                On::Log => action == DOWNLOAD,
                _ => false,
            };
            is_about && fits(&fault.action, action)
        })
    }

    /// What happens to a resource. At most one fault strikes it.
    pub(crate) fn strike(&self, what: On, target: &str) -> Option<Strike> {
        first(&mut self.active(), |fault, on| on == what && fits(&fault.target, target))
    }

    /// Whether there is none, not even one that is over.
    pub(crate) fn is_empty(&self) -> bool {
        self.active().is_empty()
    }

    /// Whether old states have to be remembered.
    pub(crate) fn may_be_stale(&self) -> bool {
        self.active().iter().any(|active| active.blow == Blow::Stale)
    }

    fn active(&self) -> MutexGuard<'_, Vec<Active>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn first(active: &mut [Active], is_about: impl Fn(&Fault, On) -> bool) -> Option<Strike> {
    let mut about = active.iter_mut().filter(|active| is_about(&active.fault, active.on));
    let struck = about.find_map(|active| active.falls().then_some(active))?;
    Some(Strike { blow: struck.blow, hold_ms: struck.fault.hold_ms })
}

/// `*` at the end of a pattern stands for any end.
fn fits(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |begin| name.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use super::{Blow, Fault, Faults, On};

    fn blow(faults: &Faults, action: &str) -> Option<Blow> {
        faults.strike_call(action).map(|strike| strike.blow)
    }

    #[test]
    fn a_fault_strikes_its_actions_so_many_times() {
        let faults = Faults::default();
        faults.add(Fault { action: "Describe*".into(), times: Some(2), ..Fault::new("throttle") }).unwrap();
        faults.add(Fault { action: "CreateDBSnapshot".into(), ..Fault::new("reset-after") }).unwrap();
        let blows: Vec<_> = ["DescribeDBInstances", "CreateDBInstance", "DescribeEvents", "DescribeEvents"]
            .map(|action| blow(&faults, action))
            .to_vec();
        assert_eq!(blows, [Some(Blow::Throttle), None, Some(Blow::Throttle), None]);
        assert_eq!(blow(&faults, "CreateDBSnapshot"), Some(Blow::ResetAfter));
        assert_eq!(faults.list().iter().map(|struck| struck.hits).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(faults.clear().len(), 2);
        assert_eq!(blow(&faults, "CreateDBSnapshot"), None);
    }

    /// "Every second call" is what a test of throttling needs; a chance of a half is not.
    #[test]
    fn every_second_call_is_every_second_call() {
        let faults = Faults::default();
        faults.add(Fault { every: 2, ..Fault::new("throttle") }).unwrap();
        let struck: Vec<bool> = (0..6).map(|_| blow(&faults, "DescribeEvents").is_some()).collect();
        assert_eq!(struck, [false, true, false, true, false, true]);
    }

    #[test]
    fn each_kind_strikes_what_it_is_about() {
        let faults = Faults::default();
        for kind in ["stale", "cut-log", "stuck", "kill"] {
            faults.add(Fault { times: Some(1), ..Fault::new(kind) }).unwrap();
        }
        faults.add(Fault { target: "blue".into(), ..Fault::new("fail-upgrade") }).unwrap();
        assert_eq!(blow(&faults, "CreateDBSnapshot"), None, "stale answers are for reads");
        assert_eq!(blow(&faults, "GetSecretValue"), Some(Blow::Stale));
        assert_eq!(blow(&faults, "GetSecretValue"), None);
        assert_eq!(blow(&faults, "DownloadDBLogFilePortion"), Some(Blow::CutLog));
        let on = |what, target: &str| faults.strike(what, target).map(|strike| strike.blow);
        assert_eq!(on(On::State, "blue"), Some(Blow::Stuck));
        assert_eq!(on(On::Server, "blue"), Some(Blow::Kill));
        assert_eq!((on(On::Upgrade, "green"), on(On::Upgrade, "blue")), (None, Some(Blow::FailUpgrade)));
    }

    #[test]
    fn the_clock_is_wrong_while_the_fault_is_there() {
        let faults = Faults::default();
        faults.add(Fault { skew_ms: 3_600_000, ..Fault::new("clock-skew") }).unwrap();
        assert_eq!(faults.clock.skew_ms(), 3_600_000);
        faults.clear();
        assert_eq!(faults.clock.skew_ms(), 0);
    }
}
