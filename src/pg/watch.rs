//! Who changes a definition while an upgrade is under way: event triggers of pgrun's own, where the role may make them.
//!
//! They tell who and when; *what* has changed is told by comparing definitions, which needs no privilege
//! ([`super::schema::drift`]).
//!
//! They are made after the snapshot: RDS asks that event triggers be dropped before a major upgrade (its manual, "Event
//! triggers for RDS for PostgreSQL"), and a snapshot would carry them.

use super::{own, record::record, session::Session};
use crate::base::Result;

record! {
    /// A command that changed a definition.
    pub struct Deed {
        /// When, by the server's clock.
        pub at: String,
        /// The command without its particulars: `ALTER TABLE`.
        pub command: String,
        /// What it was done to: `table`, `index`, ..
        pub kind: String,
        /// Its name; absent for privileges, of which the server does not tell it.
        pub object: Option<String>,
        /// The role that had logged in.
        pub login: String,
        /// Its `application_name`.
        pub application: String,
        /// Where it came from; absent for a local connection.
        pub client: Option<String>,
    }
}

impl Deed {
    /// Who did it and when, for people.
    #[must_use]
    pub fn text(&self) -> String {
        let with = if self.application.is_empty() { String::new() } else { format!(" with {}", self.application) };
        let from = self.client.as_ref().map_or_else(String::new, |client| format!(" from {client}"));
        format!("{} by {}{with}{from} at {}", self.command, self.login, self.at)
    }
}

/// The event triggers: their names, and when they are called.
const TRIGGERS: [(&str, &str); 2] = [("pgrun_ddl", "ddl_command_end"), ("pgrun_drop", "sql_drop")];

/// As many commands as anybody reads.
const DEEDS: usize = 1000;

/// Lets the database write down from now on who changes a definition. Gives why it may not, which is no error: then
/// only the objects will be known. Safe to repeat. [`own::remove`] ends it.
///
/// # Errors
/// `foreign` as [`own::install`], which must have been called before.
pub async fn begin(session: &Session) -> Result<Option<String>> {
    const IS_THERE: &str = "SELECT FROM pg_event_trigger e JOIN pg_proc p ON p.oid = e.evtfoid \
         WHERE e.evtname = $1 AND p.pronamespace = to_regnamespace('pgrun')";
    if !own::is_installed(session).await? {
        return Ok(Some("the schema `pgrun` is not there".into()));
    }
    for (name, event) in TRIGGERS {
        if session.exists(IS_THERE, &[name.into()]).await? {
            continue;
        }
        let sql = format!("CREATE EVENT TRIGGER {name} ON {event} EXECUTE FUNCTION pgrun.note_ddl()");
        match session.batch(&sql).await {
            Ok(()) => {}
            // Not allowed, or somebody else's trigger bears the name, or an older pgrun made the schema.
            Err(error) if matches!(error.fact("sqlstate"), Some("42501" | "42710" | "42883")) => {
                return Ok(Some(error.message().to_owned()));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// The last command that they have seen, for people: what it was done to, who did it and when.
///
/// # Errors
/// Those of reading.
pub async fn last(session: &Session) -> Result<Option<String>> {
    let deed = deeds(session).await?.into_iter().next();
    Ok(deed.map(|deed| match &deed.object {
        Some(object) => format!("{} {object}: {}", deed.kind, deed.text()),
        None => deed.text(),
    }))
}

/// The commands that the event triggers of this server have seen in this database, the last one first.
pub async fn deeds(session: &Session) -> Result<Vec<Deed>> {
    // What a snapshot has brought along was done elsewhere.
    let sql = format!(
        "SELECT date_trunc('seconds', at)::text AS at, command, kind, object, login, application, host(client) AS client \
         FROM pgrun.ddl WHERE target = pgrun.target() ORDER BY pgrun.ddl.at DESC LIMIT {DEEDS}"
    );
    match session.records(&sql, &[]).await {
        Err(error) if matches!(error.fact("sqlstate"), Some("42P01" | "3F000")) => Ok(vec![]),
        deeds => deeds,
    }
}
