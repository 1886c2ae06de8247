//! A client that asks where its database is, as an application asks its secret, and does a mix of work there.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Mutex;

use super::{
    Shared,
    connection::{Connection, Failure, Opening},
    ledger::{Fate, Operation, Record},
    plan::{Endpoint, Source},
    probe::fate,
};
use crate::{
    base::{Code, Result, clock},
    fail,
};

/// What all clients know of where to go: one question at a time, and not too often. Whoever comes while another asks
/// gets that answer (single flight), so a thousand broken connections are one question.
pub(super) struct Directory {
    source: Source,
    every: Duration,
    known: Mutex<Option<(Result<Endpoint>, Instant)>>,
}

impl Directory {
    pub(super) fn new(source: Source, every: Duration) -> Self {
        Self { source, every, known: Mutex::new(None) }
    }

    /// Where to go, at most `every` old. A failure is an answer too: if each client waited for its own, they would
    /// queue up behind a source that hangs.
    pub(super) async fn look(&self, limit: Duration) -> Result<Endpoint> {
        let mut known = self.known.lock().await;
        if let Some((answer, at)) = &*known
            && at.elapsed() < self.every
        {
            return answer.clone();
        }
        let silent = || Err(fail!(Code::Timeout, "nobody says where the database is"));
        let answer = clock::within(limit, self.source.ask()).await.unwrap_or_else(silent);
        *known = Some((answer.clone(), clock::instant()));
        answer
    }
}

/// The mix: one turn of a client. A note is erased some turns after it was made.
const TURN: [Operation; 8] = [
    Operation::Insert,
    Operation::Update,
    Operation::Transfer,
    Operation::Note,
    Operation::Ticket,
    Operation::Update,
    Operation::Insert,
    Operation::Erase,
];

/// The longest pause before a client connects again: what it loses is told to within this.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_millis(160);

/// Notes that are kept before the oldest is erased.
const NOTES_KEPT: usize = 5;

/// A client of the application.
pub(super) struct Application {
    shared: Shared,
    client: u16,
    directory: Arc<Directory>,
    opening: Arc<Opening>,
    think: Duration,
    number: u32,
    turn: usize,
    account: Option<u32>,
    notes: VecDeque<u32>,
}

impl Application {
    pub(super) fn new(
        shared: Shared,
        client: u16,
        directory: Arc<Directory>,
        opening: Arc<Opening>,
        think: Duration,
    ) -> Self {
        Self { shared, client, directory, opening, think, number: 0, turn: 0, account: None, notes: VecDeque::new() }
    }

    /// Works until the load is over. On any error the connection is dropped and the way asked anew.
    pub(super) async fn run(mut self) {
        while !self.shared.is_over() {
            match self.opening.open(Box::pin(self.connect())).await {
                Ok((connection, place)) => {
                    self.work(&connection, place).await;
                    clock::sleep(self.think).await;
                }
                Err(failure) => self.shared.book.refused(self.client, &failure),
            }
        }
    }

    async fn connect(&self) -> Result<(Connection, u8), Failure> {
        let limit = self.shared.attempt_limit;
        let endpoint = self.directory.look(limit).await.map_err(|error| Failure {
            code: error.code().name().to_owned(),
            is_definite: true,
            words: error.message().to_owned(),
        })?;
        let place = self.shared.book.place(&endpoint.address());
        Ok((Connection::open(&endpoint, limit).await?, place))
    }

    /// Works over one connection until an operation does not succeed.
    async fn work(&mut self, connection: &Connection, place: u8) {
        while !self.shared.is_over() {
            if connection.is_closed() {
                return self.shared.book.refused(self.client, &Failure::ended());
            }
            let Some((operation, target)) = self.next() else { continue };
            let begun_us = self.shared.book.now_us();
            let result = self.perform(connection, operation, target.unwrap_or(self.number)).await;
            let ended_us = self.shared.book.now_us();
            let (client, number) = (self.client, self.number);
            self.number += 1;
            let (target, fate) = (target.unwrap_or(number), fate(&result));
            let record = Record { client, number, target, operation, fate, place, begun_us, ended_us };
            self.shared.book.enter(record, result.as_ref().err());
            self.remember(&record);
            if result.is_err() {
                return;
            }
            clock::sleep(self.think).await;
        }
    }

    /// The next operation, and the earlier write that it is about.
    fn next(&mut self) -> Option<(Operation, Option<u32>)> {
        // Whoever has no account opens one; an account whose opening is in doubt is given up.
        let Some(account) = self.account else { return Some((Operation::Open, None)) };
        let operation = TURN[self.turn % TURN.len()];
        self.turn += 1;
        match operation {
            Operation::Update => Some((operation, Some(account))),
            Operation::Erase if self.notes.len() <= NOTES_KEPT => None,
            // Whatever becomes of the deletion, it is not tried twice: the second would find nothing.
            Operation::Erase => self.notes.pop_front().map(|note| (operation, Some(note))),
            _ => Some((operation, None)),
        }
    }

    fn remember(&mut self, record: &Record) {
        match (record.operation, record.fate) {
            (Operation::Open, Fate::Acknowledged) => self.account = Some(record.number),
            (Operation::Note, Fate::Acknowledged) => self.notes.push_back(record.number),
            _ => {}
        }
    }

    async fn perform(&self, connection: &Connection, operation: Operation, target: u32) -> Result<(), Failure> {
        let limit = self.shared.attempt_limit;
        let tag = self.shared.book.tag(self.client, target);
        let sql = self.shared.tables.statement(operation, tag);
        if operation == Operation::Transfer {
            // Until COMMIT is sent the server cannot have committed: whatever fails before it is a definite failure.
            let definite = |failure| Failure { is_definite: true, ..failure };
            for statement in ["BEGIN", &sql, &self.shared.tables.transfer(tag)] {
                connection.run(statement, limit).await.map_err(definite)?;
            }
            connection.run("COMMIT", limit).await?;
            return Ok(());
        }
        match connection.run(&sql, limit).await? {
            1 => Ok(()),
            rows => Err(Failure {
                code: "no_row".to_owned(),
                is_definite: true,
                words: format!("{operation:?} touched {rows} rows, wanted 1"),
            }),
        }
    }
}
