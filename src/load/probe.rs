//! A writer that knows both endpoints and changes sides on any error.

use std::{sync::Arc, time::Duration};

use super::{
    Shared,
    connection::{Connection, Failure},
    ledger::{Fate, Operation, Record},
    plan::Endpoint,
};
use crate::base::clock;

/// A probe.
pub(super) struct Probe {
    shared: Shared,
    client: u16,
    places: Arc<[(u8, Endpoint)]>,
    think: Duration,
    number: u32,
}

impl Probe {
    pub(super) fn new(shared: Shared, client: u16, places: Arc<[(u8, Endpoint)]>, think: Duration) -> Self {
        Self { shared, client, places, think, number: 0 }
    }

    /// Writes until the load is over.
    pub(super) async fn run(mut self) {
        let mut side = 0;
        while !self.shared.is_over() {
            let (place, endpoint) = &self.places[side % self.places.len()];
            let place = *place;
            match Connection::open(endpoint, self.shared.attempt_limit).await {
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
            clock::sleep(self.think).await;
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
