//! A writer that knows both endpoints and changes sides on any error.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use super::{
    Shared,
    connection::{Connection, Failure},
    ledger::{Fate, Operation, Record},
    plan::Endpoint,
};
use crate::base::clock;

/// Between two writes as long as only one side is known.
const ALONE: Duration = Duration::from_millis(10);

/// The endpoints that all probes know. The second one may become known while they run.
#[derive(Clone, Debug)]
pub(super) struct Places(Arc<RwLock<Vec<(u8, Endpoint)>>>);

impl Places {
    pub(super) fn new(known: Vec<(u8, Endpoint)>) -> Self {
        Self(Arc::new(RwLock::new(known)))
    }

    pub(super) fn add(&self, place: u8, endpoint: Endpoint) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push((place, endpoint));
    }

    /// The pause after a write: while nobody knows another side there is no switch to be measured, and the server is
    /// not kept busier than it takes to see a lost write.
    fn pause(&self, think: Duration) -> Duration {
        let is_alone = self.0.read().unwrap_or_else(PoisonError::into_inner).len() < 2;
        if is_alone { think.max(ALONE) } else { think }
    }

    /// The endpoint on one side or the other.
    fn side(&self, side: usize) -> (u8, Endpoint) {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known[side % known.len()].clone()
    }
}

/// A probe.
pub(super) struct Probe {
    shared: Shared,
    client: u16,
    places: Places,
    think: Duration,
    number: u32,
}

impl Probe {
    pub(super) fn new(shared: Shared, client: u16, places: Places, think: Duration) -> Self {
        Self { shared, client, places, think, number: 0 }
    }

    /// Writes until the load is over.
    pub(super) async fn run(mut self) {
        let mut side = 0;
        while !self.shared.is_over() {
            let (place, endpoint) = self.places.side(side);
            match Connection::open(&endpoint, self.shared.attempt_limit).await {
                Ok(connection) => self.write(&connection, place).await,
                Err(failure) => self.shared.book.refused(self.client, &failure),
            }
            side += 1;
            clock::sleep(self.think).await;
        }
    }

    /// Writes over one connection until a write does not succeed.
    async fn write(&mut self, connection: &Connection, place: u8) {
        while !self.shared.is_over() {
            if connection.is_closed() {
                return self.shared.book.refused(self.client, &Failure::ended());
            }
            let number = self.number;
            self.number += 1;
            let sql = self.shared.tables.statement(Operation::Probe, self.shared.book.tag(self.client, number));
            let begun_us = self.shared.book.now_us();
            let result = connection.run(&sql, self.shared.attempt_limit).await;
            let ended_us = self.shared.book.now_us();
            let (client, fate) = (self.client, fate(&result));
            let operation = Operation::Probe;
            let record = Record { client, number, target: number, operation, fate, place, begun_us, ended_us };
            self.shared.book.enter(record, result.as_ref().err());
            if result.is_err() {
                return;
            }
            clock::sleep(self.places.pause(self.think)).await;
        }
    }
}

/// What the answer to a statement that stands alone says about its write.
pub(super) fn fate<T>(result: &Result<T, Failure>) -> Fate {
    match result {
        Ok(_) => Fate::Acknowledged,
        Err(failure) if failure.is_definite => Fate::Failed,
        Err(_) => Fate::InDoubt,
    }
}
