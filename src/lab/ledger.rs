//! What clients asked of the lab, and how soon they noticed what became of it: for those who rehearse against it and
//! want to know what a real account would see.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use serde::Serialize;

use super::{clock::LabClock, world::World};
use crate::base::clock;

/// A state that a client does not wait to pass: whoever was shown another one is waiting.
const RESTS: [&str; 6] =
    ["available", "stopped", "failed", "deleted", "incompatible-parameters", "incompatible-restore"];

/// The calls that a lab has answered, and how late their clients were.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Calls {
    /// All of them, by the name of the action.
    pub by_action: BTreeMap<String, u64>,
    /// The most calls of RDS's actions in one second of the system's clock.
    pub most_in_a_second: u64,
    /// The most calls of RDS's actions in one minute of it.
    pub most_in_a_minute: u64,
    /// How many times a state was over that a client had been shown, and the client saw the next one.
    pub noticed: u64,
    /// The longest time until it did, in milliseconds of the lab's clock.
    pub latest_ms: u64,
}

/// A resource: its kind as in ARNs, and its name.
type Name = (&'static str, String);

#[derive(Default)]
pub(crate) struct Ledger(Mutex<Book>);

#[derive(Default)]
struct Book {
    calls: Calls,
    begun: Option<Instant>,
    second: (u64, u64),
    minute: (u64, u64),
    shown: BTreeMap<Name, &'static str>,
    /// Changes that nobody who waits has seen yet, each with the lab's time of it.
    unseen: BTreeMap<Name, (&'static str, u64)>,
}

impl Ledger {
    /// A call came in.
    pub(crate) fn call(&self, action: &str, is_of_rds: bool) {
        let mut book = self.book();
        *book.calls.by_action.entry(action.to_owned()).or_default() += 1;
        if !is_of_rds {
            return;
        }
        let seconds = book.begun.get_or_insert_with(clock::instant).elapsed().as_secs();
        let in_second = tick(&mut book.second, seconds);
        let in_minute = tick(&mut book.minute, seconds / 60);
        book.calls.most_in_a_second = book.calls.most_in_a_second.max(in_second);
        book.calls.most_in_a_minute = book.calls.most_in_a_minute.max(in_minute);
    }

    /// An answer shows this status.
    pub(crate) fn shown(&self, kind: &'static str, id: &str, status: &'static str, clock: &LabClock) {
        let mut book = self.book();
        let name = (kind, id.to_owned());
        if let Some((_, since)) = book.unseen.get(&name).filter(|(unseen, _)| *unseen == status) {
            let late = clock.now_ms().saturating_sub(*since);
            book.calls.latest_ms = book.calls.latest_ms.max(late);
            book.calls.noticed += 1;
            book.unseen.remove(&name);
        }
        book.shown.insert(name, status);
    }

    /// The state may have become another one: what a client waits for and has not seen is new from now on.
    pub(crate) fn changed(&self, world: &World) {
        let now_ms = world.clock.now_ms();
        let mut book = self.book();
        for (name, status) in world.statuses() {
            let waits = book.shown.get(&name).is_some_and(|shown| !RESTS.contains(shown) && *shown != status);
            let is_known = book.unseen.get(&name).is_some_and(|(unseen, _)| *unseen == status);
            if waits && !is_known {
                book.unseen.insert(name, (status, now_ms));
            }
        }
    }

    /// Counts from here on.
    pub(crate) fn forget(&self) {
        let mut book = self.book();
        let shown = std::mem::take(&mut book.shown);
        *book = Book { shown, ..Book::default() };
    }

    pub(crate) fn calls(&self) -> Calls {
        self.book().calls.clone()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts in a second or minute; a new one begins at one.
fn tick(counter: &mut (u64, u64), now: u64) -> u64 {
    *counter = if counter.0 == now { (now, counter.1 + 1) } else { (now, 1) };
    counter.1
}

#[cfg(test)]
mod tests {
    use super::{LabClock, Ledger};

    /// Who was never shown that something is going on does not wait, and so cannot be late.
    #[test]
    fn only_who_waits_is_late() {
        let (ledger, clock) = (Ledger::default(), LabClock::default());
        let change = |status| ledger.book().unseen.insert(("db", "blue".into()), (status, clock.now_ms() - 500));
        ledger.shown("db", "blue", "creating", &clock);
        change("available");
        ledger.shown("db", "blue", "creating", &clock);
        assert_eq!(ledger.calls().noticed, 0);
        ledger.shown("db", "blue", "available", &clock);
        let calls = ledger.calls();
        assert!(calls.noticed == 1 && (500..5_000).contains(&calls.latest_ms), "{calls:?}");
    }

    #[test]
    fn calls_are_counted() {
        let ledger = Ledger::default();
        (0..3).for_each(|_| ledger.call("DescribeDBInstances", true));
        ledger.call("GetSecretValue", false);
        let calls = ledger.calls();
        assert_eq!(calls.by_action["DescribeDBInstances"], 3);
        assert!(calls.most_in_a_second <= 3 && calls.most_in_a_minute == 3 && calls.by_action["GetSecretValue"] == 1);
    }
}
