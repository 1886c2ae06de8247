//! Looking for what was acknowledged, at the endpoint that is the true one in the end.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio_postgres::{IsolationLevel, Transaction};
use uuid::Uuid;

use super::{
    Outcome,
    connection::{Connection, Failure},
    ledger::{Fate, Ledger, Operation, Record},
    plan::Endpoint,
    proof::Proof,
    tables::Tables,
};
use crate::{
    base::{Code, Result, clock},
    fail,
};

/// The longest time for the whole comparison.
const LIMIT: Duration = Duration::from_secs(300);

/// Tags per statement: a parameter of a megabyte, and one hash join each.
const BATCH: usize = 50_000;

/// Where the tags of an operation's rows stand. A transfer writes two.
const PLACES: [(Operation, Table); 7] = [
    (Operation::Probe, Table::Probe),
    (Operation::Insert, Table::Entry),
    (Operation::Transfer, Table::Entry),
    (Operation::Transfer, Table::Transfer),
    (Operation::Ticket, Table::Ticket),
    (Operation::Note, Table::Note),
    (Operation::Open, Table::Account),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Table {
    Probe,
    Entry,
    Transfer,
    Ticket,
    Note,
    Account,
}

/// What was found at the endpoint.
#[derive(Default)]
pub(super) struct Findings {
    /// Acknowledged writes without their effect.
    pub(super) lost: Vec<Record>,
    /// Tags with more rows than one, and how many too many.
    pub(super) doubled: BTreeMap<Uuid, u64>,
    /// Updates of an account that are missing, or too many.
    pub(super) updates_lost: u64,
    pub(super) updates_doubled: u64,
    /// Writes that the server had refused, with an effect.
    pub(super) contradicted: u64,
    /// Writes in doubt that are there.
    pub(super) in_doubt_present: u64,
    /// Transactions of which only one half is there.
    pub(super) torn: u64,
}

impl Outcome {
    /// Compares the ledger with what stands at an endpoint, in one snapshot of it.
    ///
    /// A write in doubt may be there or not, and is neither lost nor acknowledged; twice it must not be there. The role
    /// of the endpoint needs SELECT on the load's tables and nothing else.
    ///
    /// # Errors
    /// `pg_connect`, `pg_auth`, `pg_sql` with the server's words; `timeout` after five minutes.
    pub async fn verify(&self, endpoint: &Endpoint) -> Result<Proof> {
        let doing = format!("comparing the load's ledger with {}", endpoint.address());
        let mut connection =
            Connection::open(endpoint, Duration::from_secs(30)).await.map_err(|failure| failure.error(&doing))?;
        let comparing = clock::within(LIMIT, compare(&mut connection, &self.ledger, &self.tables)).await;
        let late = || fail!(Code::Timeout, "{doing} took longer than {} s", LIMIT.as_secs());
        let findings = comparing.ok_or_else(late)?.map_err(|error| Failure::from(&error).error(&doing))?;
        Ok(Proof::new(&self.ledger, &findings))
    }
}

async fn compare(
    connection: &mut Connection,
    ledger: &Ledger,
    tables: &Tables,
) -> Result<Findings, tokio_postgres::Error> {
    let begin = connection.client().build_transaction();
    let sql = begin.isolation_level(IsolationLevel::RepeatableRead).read_only(true).start().await?;
    // The tags have no index on purpose; a nested loop over them would take hours.
    sql.batch_execute("SET LOCAL enable_nestloop = off; SET LOCAL statement_timeout = '300s'").await?;
    let mut findings = Findings::default();
    let erased: BTreeSet<(u16, u32)> = ledger
        .records
        .iter()
        .filter(|record| record.operation == Operation::Erase && record.fate != Fate::Failed)
        .map(|record| (record.client, record.target))
        .collect();
    let mut halves: BTreeMap<Operation, Halves> = BTreeMap::new();
    // Who only probed has no other table, such as a run that measures itself.
    let only_probed = ledger.records.iter().all(|record| record.operation == Operation::Probe);
    let is_there = |table: Table| !only_probed || table == Table::Probe;
    for (operation, table) in PLACES.into_iter().filter(|(_, table)| is_there(*table)) {
        let look = Look { sql: &sql, ledger, table: tables.name(table) };
        let of = |fate| ledger.records.iter().filter(move |r| r.operation == operation && r.fate == fate);
        let kept = of(Fate::Acknowledged).filter(|record| !erased.contains(&(record.client, record.target)));
        let lost = look.pick(kept.collect(), false).await?;
        let in_doubt = look.pick(of(Fate::InDoubt).collect(), true).await?;
        let failed = look.pick(of(Fate::Failed).collect(), true).await?;
        if let Some(first) = halves.remove(&operation) {
            // The other table of a transfer: what the first one told already is not told again.
            let known = keys(&first.lost);
            findings.lost.extend(lost.into_iter().filter(|record| !known.contains(&(record.client, record.number))));
            findings.torn += different(&first.in_doubt, &in_doubt) + different(&first.failed, &failed);
        } else {
            findings.lost.extend(&lost);
            findings.in_doubt_present += in_doubt.len() as u64;
            findings.contradicted += failed.len() as u64;
            halves.insert(operation, Halves { lost, in_doubt, failed });
        }
    }
    for table in [Table::Probe, Table::Entry, Table::Transfer, Table::Ticket].into_iter().filter(|t| is_there(*t)) {
        let look = Look { sql: &sql, ledger, table: tables.name(table) };
        findings.doubled.extend(look.doubled().await?);
    }
    if only_probed {
        sql.rollback().await?;
        return Ok(findings);
    }
    let notes = Look { sql: &sql, ledger, table: tables.name(Table::Note) };
    let erase = |fate| ledger.records.iter().filter(move |r| r.operation == Operation::Erase && r.fate == fate);
    // A deletion that was acknowledged and whose row is there again is a lost write like any other.
    findings.lost.extend(notes.pick(erase(Fate::Acknowledged).collect(), true).await?);
    balances(&sql, ledger, &tables.account, &mut findings).await?;
    sql.rollback().await?;
    Ok(findings)
}

/// What the first table of an operation showed.
struct Halves {
    lost: Vec<Record>,
    in_doubt: Vec<Record>,
    failed: Vec<Record>,
}

fn keys(records: &[Record]) -> BTreeSet<(u16, u32)> {
    records.iter().map(|record| (record.client, record.number)).collect()
}

/// How many records are in one of the lists only.
fn different(some: &[Record], others: &[Record]) -> u64 {
    keys(some).symmetric_difference(&keys(others)).count() as u64
}

/// Questions to one table.
struct Look<'a> {
    sql: &'a Transaction<'a>,
    ledger: &'a Ledger,
    table: &'a str,
}

impl Look<'_> {
    /// The records whose tag is in the table, or is not.
    async fn pick(&self, records: Vec<&Record>, present: bool) -> Result<Vec<Record>, tokio_postgres::Error> {
        let not = if present { "" } else { "NOT" };
        let table = self.table;
        let sql = format!(
            "SELECT t FROM pg_catalog.unnest($1::pg_catalog.uuid[]) AS u(t) \
             WHERE {not} EXISTS (SELECT FROM {table} AS w WHERE w.tag = u.t)"
        );
        let mut picked = Vec::new();
        for some in records.chunks(BATCH) {
            let by_tag: BTreeMap<Uuid, Record> =
                some.iter().map(|record| (self.ledger.tag(record), **record)).collect();
            let tags: Vec<Uuid> = by_tag.keys().copied().collect();
            let rows = self.sql.query(&sql, &[&tags]).await?;
            picked.extend(rows.iter().filter_map(|row| by_tag.get(&row.get::<_, Uuid>(0)).copied()));
        }
        Ok(picked)
    }

    /// Tags of this load with more rows than one, and how many too many.
    async fn doubled(&self) -> Result<Vec<(Uuid, u64)>, tokio_postgres::Error> {
        let table = self.table;
        let sql = format!(
            "SELECT tag, pg_catalog.count(*) - 1 FROM {table} WHERE tag BETWEEN $1 AND $2 \
             GROUP BY tag HAVING pg_catalog.count(*) > 1"
        );
        let (low, high) = self.ledger.tag_range();
        let rows = self.sql.query(&sql, &[&low, &high]).await?;
        Ok(rows.iter().map(|row| (row.get(0), u64::try_from(row.get::<_, i64>(1)).unwrap_or(0))).collect())
    }
}

/// Every update added one to the client's account, so its balance tells how many arrived.
async fn balances(
    sql: &Transaction<'_>,
    ledger: &Ledger,
    table: &str,
    findings: &mut Findings,
) -> Result<(), tokio_postgres::Error> {
    let mut updates: BTreeMap<Uuid, (u64, u64)> = BTreeMap::new();
    for record in ledger.records.iter().filter(|record| record.operation == Operation::Update) {
        let (acknowledged, in_doubt) = updates.entry(ledger.tag(record)).or_default();
        match record.fate {
            Fate::Acknowledged => *acknowledged += 1,
            Fate::InDoubt => *in_doubt += 1,
            Fate::Failed => {}
        }
    }
    let (low, high) = ledger.tag_range();
    let question = format!("SELECT tag, balance FROM {table} WHERE tag BETWEEN $1 AND $2");
    let rows = sql.query(&question, &[&low, &high]).await?;
    let balances: BTreeMap<Uuid, u64> =
        rows.iter().map(|row| (row.get(0), u64::try_from(row.get::<_, i64>(1)).unwrap_or(0))).collect();
    for (tag, (acknowledged, in_doubt)) in updates {
        let balance = balances.get(&tag).copied().unwrap_or(0);
        findings.updates_lost += acknowledged.saturating_sub(balance);
        findings.updates_doubled += balance.saturating_sub(acknowledged + in_doubt);
        findings.in_doubt_present += balance.saturating_sub(acknowledged).min(in_doubt);
    }
    Ok(())
}

impl Tables {
    fn name(&self, table: Table) -> &str {
        match table {
            Table::Probe => &self.probe,
            Table::Entry => &self.entry,
            Table::Transfer => &self.transfer,
            Table::Ticket => &self.ticket,
            Table::Note => &self.note,
            Table::Account => &self.account,
        }
    }
}
