//! What a blue/green upgrade by logical replication would lose, break or stumble over: tables of checks, each a
//! statement that names what it found. Nothing is changed, and nothing that could not be looked at is passed over.
//!
//! `database.rs` looks at one database, `server.rs` at the whole server, which says the same in every database.
//! Sources: manual, "Logical Replication", chapters Restrictions and Configuration Settings; "pg_upgrade", Notes.

mod database;
mod server;

use super::{record::field, session::Session};
pub use crate::base::{Finding, Verdict};
use crate::{
    base::{Error, Map, Result, Value},
    map,
    pg::publication,
};

/// One question to the server.
struct Check {
    id: &'static str,
    verdict: Verdict,
    /// Empty where the statement gives it.
    text: &'static str,
    hint: &'static str,
    /// Gives the column `object`; `text` if there is more to say than the text above, and `verdict` where it depends.
    sql: &'static str,
    /// The first major version that has what it asks for.
    from: i64,
    /// A relation without which there is nothing to look at.
    needs: Option<&'static str>,
    /// What `$1` is.
    takes: Takes,
}

/// What a statement is given.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    /// The major version of the target, or null.
    Target,
    /// The roles that are not fenced.
    KeepOpen,
}

const fn check(id: &'static str, verdict: Verdict, text: &'static str, hint: &'static str, sql: &'static str) -> Check {
    Check { id, verdict, text, hint, sql, from: 0, needs: None, takes: Takes::Nothing }
}

impl Check {
    const fn from(self, major: i64) -> Self {
        Self { from: major, ..self }
    }

    const fn needing(self, relation: &'static str) -> Self {
        Self { needs: Some(relation), ..self }
    }

    const fn taking(self, what: Takes) -> Self {
        Self { takes: what, ..self }
    }
}

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The database of the session.
    Database,
    /// The server: once is enough for all of its databases.
    Server,
    /// The database of the session on an upgraded copy.
    Copy,
}

/// What the caller knows besides.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// The major version to upgrade to.
    pub target: Option<i64>,
    /// Login roles that will not be fenced, besides the session's own.
    pub keep_open: Vec<String>,
}

/// Looks at the database and at the server.
///
/// Needs no privilege to read the catalogs; `pg_read_all_stats` for sessions of others.
pub async fn findings(session: &Session, wish: &Wish) -> Result<Vec<Finding>> {
    let mut found = findings_of(session, Part::Database, wish).await?;
    found.extend(findings_of(session, Part::Server, wish).await?);
    Ok(found)
}

/// As [`findings`], of one part.
pub async fn findings_of(session: &Session, part: Part, wish: &Wish) -> Result<Vec<Finding>> {
    let major = session.major().await?;
    let checks = table(part);
    let database = match part {
        Part::Server => String::new(),
        Part::Database | Part::Copy => session.scalar("SELECT current_database()::text", &[]).await?,
    };
    let needed: Vec<String> = checks.iter().filter_map(|check| check.needs).map(str::to_owned).collect();
    let there = match needed.is_empty() {
        true => vec![],
        false => {
            let names = "SELECT name FROM unnest($1::text[]) name WHERE to_regclass(name) IS NOT NULL";
            session.texts(names, &[needed.into()]).await?
        }
    };
    let mut found = vec![];
    if part == Part::Database {
        found.extend(without_identity(session, &database).await?);
    }
    for check in checks {
        let is_there = |relation: &str| there.iter().any(|name| name == relation);
        if check.from > major || check.needs.is_some_and(|relation| !is_there(relation)) {
            continue;
        }
        let given: Vec<Value> = match check.takes {
            Takes::Nothing => vec![],
            Takes::Target => vec![wish.target.into()],
            Takes::KeepOpen => vec![wish.keep_open.clone().into()],
        };
        match session.query(check.sql, &given).await {
            Ok(rows) => {
                for row in &rows {
                    found.push(check.finding(row, &database)?);
                }
            }
            // A question that may not be asked is no answer: what would stop the run may be there.
            Err(error) if error.fact("sqlstate") == Some("42501") => found.push(unseen(check, &database, &error)),
            Err(error) => return Err(error.during(format!("while checking {}", check.id))),
        }
    }
    Ok(found)
}

/// Every id that a finding can have, for waivers.
pub fn ids() -> impl Iterator<Item = &'static str> {
    let of = |part: Part| table(part).iter().map(|check| check.id);
    std::iter::once(IDENTITY.id).chain(of(Part::Database)).chain(of(Part::Server)).chain(of(Part::Copy))
}

fn table(part: Part) -> &'static [Check] {
    match part {
        Part::Database => database::CHECKS,
        Part::Server => server::CHECKS,
        Part::Copy => database::OF_COPY,
    }
}

impl Check {
    fn finding(&self, row: &Map, database: &str) -> Result<Finding> {
        let text = |name: &str| row.get(name).and_then(Value::as_text);
        Ok(Finding {
            id: self.id.into(),
            verdict: text("verdict").and_then(Verdict::named).unwrap_or(self.verdict),
            database: database.into(),
            object: field(row, "object")?,
            text: text("text").unwrap_or(self.text).into(),
            hint: self.hint.into(),
        })
    }
}

fn unseen(check: &Check, database: &str, error: &Error) -> Finding {
    Finding {
        id: check.id.into(),
        verdict: check.verdict,
        database: database.into(),
        object: "not seen".into(),
        text: format!("could not be looked at: {}", error.message()),
        hint: "grant pgrun's role pg_monitor".into(),
    }
}

/// Which tables, says the publication's own rule.
const IDENTITY: Check = check(
    "replica_identity",
    Verdict::Stop,
    "no primary key: UPDATE and DELETE fail at once, in production, when it is published",
    "add a primary key, or ALTER TABLE .. REPLICA IDENTITY USING INDEX, or FULL",
    "",
);

async fn without_identity(session: &Session, database: &str) -> Result<Vec<Finding>> {
    let keyless = publication::without_identity(session).await?;
    let objects = publication::spelled(session, &keyless).await?;
    let finding = |object| IDENTITY.finding(&map! { "object" => Value::Text(object) }, database);
    objects.into_iter().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::{Check, IDENTITY, Part, Takes, ids, table};

    const PARTS: [Part; 3] = [Part::Database, Part::Server, Part::Copy];

    fn all() -> impl Iterator<Item = &'static Check> {
        PARTS.into_iter().flat_map(table).chain([&IDENTITY])
    }

    /// A waiver names an id: two of a kind in one place would waive both.
    #[test]
    fn ids_are_unique_and_every_check_says_what_it_found() {
        for part in PARTS {
            let mut of_part: Vec<&str> = table(part).iter().map(|check| check.id).collect();
            of_part.sort_unstable();
            let count = of_part.len();
            of_part.dedup();
            assert_eq!(of_part.len(), count);
        }
        assert_eq!(ids().count(), all().count());
        for check in all() {
            assert!(check.id.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{}", check.id);
            assert_eq!(check.text.is_empty(), check.sql.contains(" AS text"), "{}", check.id);
            assert!(!check.hint.is_empty(), "{}", check.id);
            assert_eq!(check.takes != Takes::Nothing, check.sql.contains("$1"), "{}", check.id);
        }
    }
}
