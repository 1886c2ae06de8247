//! The tables of the load and its statements.

use uuid::Uuid;

use super::ledger::Operation;
use crate::base::{Result, ident};

/// Quoted names of the tables. In `entry`, `probe`, `transfer` and `ticket` the tag is not unique on purpose: a unique
/// tag would stop a row that comes twice, and nobody would learn that it came.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) schema: String,
    pub(super) probe: String,
    pub(super) entry: String,
    pub(super) transfer: String,
    pub(super) ticket: String,
    pub(super) ticket_number: String,
    pub(super) note: String,
    pub(super) account: String,
}

impl Tables {
    /// The tables in a schema.
    ///
    /// # Errors
    /// `value_guard` when the name is no identifier.
    pub(super) fn new(schema: &str) -> Result<Self> {
        let table = |name: &str| ident::qualified(schema, name);
        Ok(Self {
            schema: ident::ident(schema)?,
            probe: table("probe")?,
            entry: table("entry")?,
            transfer: table("transfer")?,
            ticket: table("ticket")?,
            ticket_number: table("ticket_number")?,
            note: table("note")?,
            account: table("account")?,
        })
    }

    /// The statement of an operation that is one statement. Tags are UUIDs and need no quoting beyond theirs.
    pub(super) fn statement(&self, operation: Operation, tag: Uuid) -> String {
        match operation {
            Operation::Probe => format!("INSERT INTO {} (tag) VALUES ('{tag}')", self.probe),
            Operation::Insert | Operation::Transfer => format!("INSERT INTO {} (tag) VALUES ('{tag}')", self.entry),
            Operation::Open => format!("INSERT INTO {} (tag, balance) VALUES ('{tag}', 0)", self.account),
            Operation::Update => format!("UPDATE {} SET balance = balance + 1 WHERE tag = '{tag}'", self.account),
            Operation::Note => format!("INSERT INTO {} (tag, text) VALUES ('{tag}', 'to be erased')", self.note),
            Operation::Erase => format!("DELETE FROM {} WHERE tag = '{tag}'", self.note),
            Operation::Ticket => format!(
                "INSERT INTO {} (number, tag) VALUES (nextval('{}'), '{tag}')",
                self.ticket,
                self.ticket_number.replace('\'', "''")
            ),
        }
    }

    /// The second statement of a transfer.
    pub(super) fn transfer(&self, tag: Uuid) -> String {
        format!("INSERT INTO {} (tag) VALUES ('{tag}')", self.transfer)
    }
}
