//! What a person should know of a server before it is upgraded by replication: one table of checks, each with its
//! statement and its verdict. The checks themselves stand in `checks.rs`.

use super::{
    checks::CHECKS,
    record::{field, record},
    session::Session,
};
use crate::base::{Result, Value};

/// What a finding means for the upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Good to know.
    Note,
    /// Somebody should look at it.
    Warn,
    /// It breaks the upgrade or loses data, unless a person waives it with a reason.
    Stop,
}

impl Verdict {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warn => "warn",
            Self::Stop => "stop",
        }
    }
}

/// Where a check has to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Once per server.
    Server,
    /// In every database.
    Database,
}

/// One check. Its statement gives a row per finding: `object` and `detail`, both texts.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// Its name, by which a finding is waived.
    pub id: &'static str,
    /// Where.
    pub scope: Scope,
    /// How bad a finding is.
    pub verdict: Verdict,
    /// What a finding means, one sentence.
    pub means: &'static str,
    /// What to do about it.
    pub hint: &'static str,
    /// The first major version that has what the statement asks for.
    pub since: i64,
    /// A relation that must exist, for extensions.
    pub needs: Option<&'static str>,
    /// The statement.
    pub sql: &'static str,
}

record! {
    /// Something that a check found.
    pub struct Finding {
        /// The check's name.
        pub check: String,
        /// `stop`, `warn` or `note`.
        pub verdict: String,
        /// The database, for checks that are made in each.
        pub database: Option<String>,
        /// What it is about.
        pub object: String,
        /// More about it.
        pub detail: Option<String>,
        /// What the check's findings mean.
        pub means: String,
        /// What to do about it.
        pub hint: String,
    }
}

/// Every check, in the order in which they are made.
#[must_use]
pub fn checks() -> &'static [Check] {
    CHECKS
}

/// Makes the checks of a scope and gives what they found, worst first. The database's checks need the catalogs only,
/// which anybody may read; the server's need `pg_monitor` to see other sessions.
///
/// # Errors
/// `pg_sql` with the name of the check whose statement failed.
pub async fn look(session: &Session, scope: Scope) -> Result<Vec<Finding>> {
    let facts = session.server().await?;
    let mut findings = Vec::new();
    for check in CHECKS.iter().filter(|check| check.scope == scope && check.since <= facts.major) {
        if let Some(relation) = check.needs
            && session.value("SELECT to_regclass($1)::text", &[relation.into()]).await? == Value::Null
        {
            continue;
        }
        let rows = session.query(check.sql, &[]).await;
        for row in rows.map_err(|error| error.during(format!("the check `{}`", check.id)))? {
            findings.push((
                check.verdict,
                Finding {
                    check: check.id.into(),
                    verdict: check.verdict.word().into(),
                    database: (scope == Scope::Database).then(|| facts.database.clone()),
                    object: field(&row, "object")?,
                    detail: field(&row, "detail")?,
                    means: check.means.into(),
                    hint: check.hint.into(),
                },
            ));
        }
    }
    findings.sort_by_key(|(verdict, _)| std::cmp::Reverse(*verdict));
    Ok(findings.into_iter().map(|(_, finding)| finding).collect())
}
