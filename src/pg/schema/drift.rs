//! Definitions that have come apart, with who did it where that is known.

use std::collections::BTreeMap;

use super::{Object, diff, fingerprint, server_fingerprint, spelling, token};
use crate::{
    base::Result,
    pg::{
        Session,
        difference::{Change, Difference},
        record::record,
        watch::{self, Deed},
    },
};

record! {
    /// One object in which two sides differ, or which differs from what it was.
    pub struct Drift {
        /// The database; absent for what belongs to the whole server.
        pub database: Option<String>,
        /// What it is: `table`, `index`, ..
        pub kind: String,
        /// Its name with its schema.
        pub name: String,
        /// In which way the sides differ.
        pub what: Change,
        /// How it is on the first side, or was.
        pub there: Option<String>,
        /// How it is on the second side, or is now.
        pub here: Option<String>,
        /// The last command that changed it, with who ran it and when, where a server has written that down.
        pub by: Option<String>,
    }
}

/// Tokens of both sides' databases at moments when nothing differed, by database.
#[derive(Clone, Debug, Default)]
pub struct Equal(BTreeMap<String, [String; 2]>);

impl Equal {
    /// In what this database and its copy differ. Once they are found equal, looking again costs two [`token`]s until
    /// one of them changes.
    ///
    /// # Errors
    /// As [`fingerprint`].
    pub async fn drift(&mut self, there: &Session, here: &Session) -> Result<Vec<Drift>> {
        let database = there.target().database().to_owned();
        // First the tokens: what changes between them and the definitions is looked at again.
        let (one, other) = tokio::try_join!(token(there), token(here))?;
        let tokens = [one, other];
        if self.0.get(&database) == Some(&tokens) {
            return Ok(vec![]);
        }
        let (one, other) = tokio::try_join!(fingerprint(there), fingerprint(here))?;
        let found = diff(&one, &other);
        if found.is_empty() {
            self.0.insert(database, tokens);
            return Ok(vec![]);
        }
        let (mut deeds, more) = tokio::try_join!(watch::deeds(there), watch::deeds(here))?;
        deeds.extend(more);
        Ok(told(Some(&database), found, deeds))
    }
}

/// In what the two servers differ beside their databases: roles, memberships, settings. Who did it is not known: event
/// triggers do not see what belongs to all databases.
///
/// # Errors
/// As [`server_fingerprint`].
pub async fn server_drift(there: &Session, here: &Session) -> Result<Vec<Drift>> {
    let (one, other) = tokio::try_join!(server_fingerprint(there), server_fingerprint(here))?;
    Ok(told(None, diff(&one, &other), vec![]))
}

/// In what this database differs from what it was.
///
/// # Errors
/// As [`fingerprint`].
pub async fn since(before: &[Object], session: &Session) -> Result<Vec<Drift>> {
    let found = diff(before, &fingerprint(session).await?);
    let deeds = if found.is_empty() { vec![] } else { watch::deeds(session).await? };
    Ok(told(Some(session.target().database()), found, deeds))
}

fn told(database: Option<&str>, found: Vec<Difference>, mut deeds: Vec<Deed>) -> Vec<Drift> {
    deeds.sort_by(|a, b| b.at.cmp(&a.at));
    let tell = |difference: Difference| {
        let by = deeds.iter().find(|deed| concerns(deed, &difference)).map(Deed::text);
        let Difference { kind, name, what, there, here } = difference;
        Drift { database: database.map(str::to_owned), kind, name, what, there, here, by }
    };
    found.into_iter().map(tell).collect()
}

/// Whether the command may have made this difference. The server calls some things by other names than a fingerprint:
/// `t on s.x` is the trigger `s.x.t`, and what belongs to a table goes by the table's name where that is altered.
fn concerns(deed: &Deed, difference: &Difference) -> bool {
    let Some(object) = &deed.object else {
        return matches!(difference.kind.as_str(), "grants" | "default privileges");
    };
    let object = spelling::without_needless_quotes(object);
    let name = &difference.name;
    let turned = object.split_once(" on ").map(|(part, whole)| format!("{whole}.{part}"));
    *name == object
        || turned.as_ref() == Some(name)
        || name.strip_prefix(&object).is_some_and(|rest| rest.starts_with('.'))
        || difference.kind == "comment" && name.strip_suffix(&object).is_some_and(|kind| kind.ends_with(' '))
}

#[cfg(test)]
mod tests {
    use super::{Change, Deed, Difference, told};

    fn deed(at: &str, object: Option<&str>) -> Deed {
        let text = |text: &str| text.to_owned();
        Deed {
            at: text(at),
            command: text("ALTER TABLE"),
            kind: text("table"),
            object: object.map(text),
            login: text("app"),
            application: text("psql"),
            client: Some(text("10.0.0.1")),
        }
    }

    /// Whoever is named did change the object, and nobody after them.
    #[test]
    fn the_last_command_on_an_object_is_told() {
        let all = vec![
            deed("2026-01-01 10:00:00+00", Some("shop.orders")),
            deed("2026-01-01 12:00:00+00", Some("\"shop\".\"orders\"")),
            deed("2026-01-01 13:00:00+00", Some("shop.order")),
            deed("2026-01-01 11:00:00+00", Some("t on shop.orders")),
            deed("2026-01-01 14:00:00+00", None),
        ];
        let by = |kind: &str, name: &str| {
            let difference =
                Difference { kind: kind.into(), name: name.into(), what: Change::Missing, there: None, here: None };
            let by = told(None, vec![difference], all.clone()).remove(0).by?;
            by.split_once("with psql from 10.0.0.1 at 2026-01-01 ").map(|(_, at)| at[..2].to_owned())
        };
        assert_eq!(by("table", "shop.orders").as_deref(), Some("12"));
        assert_eq!(by("constraint", "shop.orders.orders_pkey").as_deref(), Some("12"));
        assert_eq!(by("trigger", "shop.orders.t").as_deref(), Some("12"), "a later command on its table");
        assert_eq!(by("comment", "table shop.orders").as_deref(), Some("12"));
        assert_eq!(by("grants", "table shop.orders").as_deref(), Some("14"));
        assert_eq!(by("table", "shop.orders_2"), None);
    }
}
