//! A bad day drawn from a seed: some faults, each of them bounded, so that the day ends.

use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use super::{Fault, KINDS, On};
use crate::lab::postgres::has_disk_faults;

/// What the runs of `pgrun` call.
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

/// The faults of a seed, one to four of them. Kinds that this machine cannot have are drawn as well and left out: the
/// others are the same everywhere.
pub(super) fn draw(seed: u64) -> Vec<Fault> {
    let mut random = StdRng::seed_from_u64(seed);
    let number = random.random_range(1..=4);
    let drawn: Vec<Fault> = (0..number).map(|_| one(&mut random)).collect();
    let is_possible = |fault: &Fault| has_disk_faults() || !matches!(fault.kind.as_str(), "disk-full" | "slow-fsync");
    drawn.into_iter().filter(is_possible).collect()
}

fn one(random: &mut StdRng) -> Fault {
    let kind = KINDS.choose(random).unwrap_or(&KINDS[0]);
    let of_calls = matches!(kind.on, On::Call | On::Read);
    let action = ACTIONS.choose(random).unwrap_or(&"*");
    let skew_ms = random.random_range(1_000..900_000) * if random.random_bool(0.5) { 1 } else { -1 };
    Fault {
        action: if of_calls { (*action).into() } else { "*".into() },
        // A server is tried once a second for as long as the run lasts: it would be struck at once otherwise.
        chance: match kind.on {
            On::Server => f64::from(random.random_range(1..=5_u8)) / 10.0,
            On::State | On::Upgrade => 1.0,
            _ => f64::from(random.random_range(2..=10_u8)) / 10.0,
        },
        times: Some(random.random_range(1..=if kind.on == On::Server { 3 } else { 6 })),
        seed: random.random(),
        hold_ms: match kind.name {
            "slow-fsync" => random.random_range(20..300),
            _ => random.random_range(100..3000),
        },
        skew_ms: if kind.on == On::Clock { skew_ms } else { 0 },
        ..Fault::new(kind.name)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::{Fault, KINDS, desk::Faults};

    /// The same seed is the same day; a schedule ends; in the end every kind has had its day.
    #[test]
    fn seeds_repeat() {
        let mut kinds = BTreeSet::new();
        for seed in 0..100 {
            let day = Fault::schedule(seed);
            assert_eq!(day, Fault::schedule(seed));
            assert!(day.iter().all(|fault| fault.times.is_some() && fault.check().is_ok()), "{day:?}");
            kinds.extend(day.iter().map(|fault| fault.kind.clone()));
            let strikes = || {
                let faults = Faults::default();
                day.iter().try_for_each(|fault| faults.add(fault.clone())).unwrap();
                (0..50).map(|_| faults.strike_call("DescribeDBInstances")).collect::<Vec<_>>()
            };
            assert_eq!(strikes(), strikes());
        }
        assert!(kinds.len() + 2 >= KINDS.len(), "{kinds:?}");
        assert_ne!(Fault::schedule(1), Fault::schedule(2));
    }
}
