//! What is defined in a database and on a server, object by object, and in what two of them differ. Rows are compared
//! in `verify`, the state of sequences in `sequences`.
//!
//! # What is compared
//!
//! Everything that somebody can define in a database, with its owner and privileges; `catalog.sql` says what is left
//! out. The same definition is equal on PostgreSQL 13 to 18: where versions print or store it differently, that is
//! evened out. What PostgreSQL itself gives a new database differs before 15 (schema `public` and its owner) and
//! shows.

pub mod drift;
mod spelling;
mod token;

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::{
    Session,
    difference::{Comparable, differences},
    record::{field, record},
};
use crate::base::{
    Map, Result, Value,
    poll::{self, Patience, Seen},
};

pub use super::difference::{Change, Difference};
pub use token::token;

record! {
    /// One object of a schema.
    pub struct Object {
        /// `table`, `index`, `function`, `grants`, ..
        pub kind: String,
        /// Its name with its schema, quoted where its letters need it; no other object of its kind has it. What
        /// belongs to a table has the table's name before its own. Functions carry the types of their arguments.
        pub name: String,
        /// How it is defined, in the server's words, a line for each thing that can differ.
        pub definition: String,
        /// 32 hexadecimal digits that are equal where the definitions mean the same.
        pub hash: String,
    }
}

const CATALOG: &str = include_str!("catalog.sql");
const SERVER: &str = include_str!("server.sql");

/// What stands for a variable of the statements: since which version, then and before.
const SINCE: &[(&str, i64, &str, &str)] = &[
    (":compression", 14, "a.attcompression", "''"),
    (":sqlbody", 14, "pg_get_function_sqlbody(p.oid)", "NULL"),
    (":inherit_option", 16, "g.inherit_option", "k.rolinherit"),
    (":set_option", 16, "g.set_option", "true"),
];

/// What the server's printing of definitions depends on, besides what every session sets.
const PRINTING: &str = "SET LOCAL search_path = pg_catalog; SET LOCAL quote_all_identifiers = off";

/// An object that somebody drops while it is printed makes the server fail (SQLSTATE XX000: `cache lookup failed`,
/// `could not open relation`). The next look does not see it any more. Only a server that makes and drops things
/// without a pause can spoil all of these looks.
const LOOKS: Patience = Patience { every: Duration::from_millis(20), deadline: Duration::from_secs(30) };

/// Every object that is defined in the session's database, by kind and name.
///
/// One statement, whatever the number of objects: 10,000 tables with 40,000 indexes, constraints and sequences take
/// some 1.2 s (`pg_dump --schema-only` of 15: 2.6 s). Works on a connection of its own with the session's target and
/// limits: what the session has set or begun does not matter. Needs no privilege; reads catalogs that everybody may
/// read.
///
/// Left out: publications and subscriptions, pgrun's own schema, temporary objects, members of extensions and the
/// extensions' versions, the privilege MAINTAIN (new in 17), large objects, options of user mappings (they hold
/// passwords). Values of settings with a dot in their names may be secrets of applications and are shown as a digest.
///
/// # Errors
/// `pg_sql` 55P03 while somebody locks a table exclusively for longer than the session's `lock_timeout`: printing an
/// index, a check or a view opens its tables.
pub async fn fingerprint(session: &Session) -> Result<Vec<Object>> {
    read(session, CATALOG).await
}

/// Every role, membership and setting that is defined for the whole server, by kind and name.
///
/// As [`fingerprint`]. Left out: whether a role may log in, which is a fence's state; passwords; roles of PostgreSQL
/// and RDS themselves.
pub async fn server_fingerprint(session: &Session) -> Result<Vec<Object>> {
    read(session, SERVER).await
}

/// What is not the same on both sides, by kind and name. `there` is the side that is right: in an upgrade BLUE.
///
/// Of an object that changed, only those lines are shown that the other side does not have; if only their order
/// differs, all of them.
#[must_use]
pub fn diff(there: &[Object], here: &[Object]) -> Vec<Difference> {
    differences(there, here)
}

impl Comparable for Object {
    fn key(&self) -> (String, String) {
        (self.kind.clone(), self.name.clone())
    }

    fn equals(&self, other: &Self) -> bool {
        self.hash == other.hash
    }

    fn show(&self, other: Option<&Self>) -> String {
        let Some(other) = other else { return self.definition.clone() };
        let (own, others) =
            (spelling::evened(&self.kind, &self.definition), spelling::evened(&other.kind, &other.definition));
        let others: std::collections::HashSet<&str> = others.lines().collect();
        let alone = self.definition.lines().zip(own.lines()).filter(|(_, evened)| !others.contains(evened));
        let lines: Vec<&str> = alone.map(|(line, _)| line).collect();
        let both_have_all = lines.is_empty() && others.len() <= own.lines().count();
        if both_have_all { self.definition.clone() } else { lines.join("\n") }
    }
}

async fn read(session: &Session, statement: &str) -> Result<Vec<Object>> {
    let reader = session.sibling().await;
    let major = reader.major().await?;
    let sql = for_major(statement, major);
    let rows = poll::until("a look at all definitions that nobody disturbs", LOOKS, async || {
        match rows(&reader, &sql).await {
            Ok(rows) => Ok(Seen::Ready(rows)),
            Err(error) if error.fact("sqlstate") == Some("XX000") => Ok(Seen::NotYet(error.message().to_owned())),
            Err(error) => Err(error),
        }
    })
    .await?;
    reader.close().await;
    let mut objects: Vec<Object> = rows.iter().map(object).collect::<Result<_>>()?;
    objects.sort_by(|a, b| (&a.kind, &a.name).cmp(&(&b.kind, &b.name)));
    Ok(objects)
}

/// The statement as a server of this major version understands it.
fn for_major(statement: &str, major: i64) -> String {
    SINCE.iter().fold(statement.to_owned(), |sql, (variable, since, then, before)| {
        sql.replace(variable, if major >= *since { then } else { before })
    })
}

/// In a transaction a lost connection is an error; outside, a new one would read on without these settings.
async fn rows(reader: &Session, sql: &str) -> Result<Vec<Map>> {
    reader.begin_read_only().await?;
    let printing = reader.batch(PRINTING).await;
    let rows = match printing {
        Ok(()) => reader.query(sql, &[]).await,
        Err(error) => Err(error),
    };
    reader.rollback().await?;
    rows
}

fn object(row: &Map) -> Result<Object> {
    let (kind, name): (String, String) = (field(row, "kind")?, field(row, "name")?);
    let mut definition: String = field(row, "definition")?;
    if let Some(body) = row.get("body").and_then(Value::as_text) {
        definition.push_str(spelling::BODY);
        definition.push_str(body);
    }
    let name = spelling::without_needless_quotes(&name);
    let mut hash = format!("{:x}", Sha256::digest(spelling::evened(&kind, &definition)));
    hash.truncate(32);
    Ok(Object { kind, name, definition, hash })
}

#[cfg(test)]
mod tests {
    use super::{CATALOG, SERVER, for_major, token::TOKEN};
    use crate::pg::sql;

    /// A connection that is lost while one of them runs must leave nothing in doubt.
    #[test]
    fn the_statements_provably_only_read() {
        for major in [13, 18] {
            assert!(sql::single(&for_major(CATALOG, major)).unwrap().reads);
            assert!(sql::single(&for_major(SERVER, major)).unwrap().reads);
        }
        assert!(sql::single(TOKEN).unwrap().reads);
    }
}
