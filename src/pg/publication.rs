//! Publications. `FOR ALL TABLES` needs a superuser or `rds_superuser`; named tables need their owner and CREATE on the
//! database.

use super::{record::record, session::Session};
use crate::{
    base::{
        Code, Result, Value,
        ident::{ident, qualified},
        prose::{count, ticked_list},
    },
    fail,
};

record! {
    /// A table by name.
    pub struct Table {
        /// Schema.
        pub schema: String,
        /// Name, unquoted.
        pub name: String,
    }

    /// A publication.
    pub struct Publication {
        /// Its name.
        pub name: String,
        /// FOR ALL TABLES.
        pub all_tables: bool,
        /// The four kinds of change it publishes, in the manual's words.
        pub publishes: Vec<String>,
        /// Partitions are published as their root.
        pub via_root: bool,
        /// Who owns it.
        pub owner: String,
    }
}

impl Table {
    /// `schema.name`, for people.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

/// What a publication publishes.
#[derive(Clone, Copy, Debug)]
pub enum Scope<'a> {
    /// Every permanent table, also those made later.
    AllTables,
    /// These.
    Tables(&'a [Table]),
}

/// Makes a publication of all changes.
///
/// From that moment the server refuses UPDATE and DELETE on published tables without a usable replica identity: in
/// production, at once. So such tables are looked for first, and are an error but for those
/// in `waived`, named as findings name them.
///
/// # Errors
/// `foreign` if it exists; `require_failed` naming the tables.
pub async fn create(session: &Session, name: &str, scope: Scope<'_>, waived: &[String]) -> Result<()> {
    let publication = ident(name)?;
    if state(session, name).await?.is_some() {
        return Err(fail!(Code::Foreign, "the publication `{name}` exists on {}", session.target().label()));
    }
    require_identities(session, scope, waived).await?;
    let of = match scope {
        Scope::AllTables => "FOR ALL TABLES".to_owned(),
        Scope::Tables([]) => return Err(fail!(Code::Usage, "the publication `{name}` would publish nothing")),
        Scope::Tables(tables) => format!("FOR TABLE {}", names(tables)?),
    };
    session.batch(&format!("CREATE PUBLICATION {publication} {of}")).await
}

fn names(tables: &[Table]) -> Result<String> {
    let names: Vec<String> = tables.iter().map(|table| qualified(&table.schema, &table.name)).collect::<Result<_>>()?;
    Ok(names.join(", "))
}

async fn require_identities(session: &Session, scope: Scope<'_>, waived: &[String]) -> Result<()> {
    let mut without = without_identity(session).await?;
    if !waived.is_empty() {
        let spelled = spelled(session, &without).await?;
        let mut names = spelled.iter();
        without.retain(|_| names.next().is_none_or(|name| !waived.contains(name)));
    }
    if let Scope::Tables(wanted) = scope {
        without.retain(|table| wanted.contains(table));
    }
    if without.is_empty() {
        return Ok(());
    }
    let labels: Vec<String> = without.iter().map(Table::label).collect();
    let number = count(labels.len(), "table");
    Err(fail!(Code::RequireFailed, "UPDATE and DELETE would fail at once on {number}: {}", ticked_list(&labels, 10))
        .hint("add a primary key, or ALTER TABLE .. REPLICA IDENTITY USING INDEX, or FULL"))
}

/// The names of tables as SQL spells them, in the same order: quoted where PostgreSQL would quote.
pub(super) async fn spelled(session: &Session, tables: &[Table]) -> Result<Vec<String>> {
    const SPELLED: &str = "SELECT format('%I.%I', t.schema, t.name) FROM unnest($1::text[], $2::text[]) \
         WITH ORDINALITY t(schema, name, at) ORDER BY at";
    let (schemas, names): (Vec<String>, Vec<String>) =
        tables.iter().map(|table| (table.schema.clone(), table.name.clone())).unzip();
    session.texts(SPELLED, &[schemas.into(), names.into()]).await
}

/// Tables whose changed rows a subscriber could not find: no primary key under REPLICA IDENTITY DEFAULT, NOTHING, or an
/// index that is gone. `FULL` is usable, slowly.
pub async fn without_identity(session: &Session) -> Result<Vec<Table>> {
    const WITHOUT: &str = "SELECT n.nspname::text AS schema, c.relname::text AS name FROM pg_class c \
         JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname NOT IN ('pg_catalog', 'information_schema') \
           AND CASE c.relreplident WHEN 'f' THEN false WHEN 'n' THEN true \
             WHEN 'd' THEN NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND i.indisvalid) \
             ELSE NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisreplident AND i.indisvalid) END \
         ORDER BY 1, 2";
    session.records(WITHOUT, &[]).await
}

/// The publication of that name, if there is one.
pub async fn state(session: &Session, name: &str) -> Result<Option<Publication>> {
    const STATE: &str = "SELECT pubname::text AS name, puballtables AS all_tables, pubviaroot AS via_root, \
         array_remove(ARRAY[CASE WHEN pubinsert THEN 'insert' END, CASE WHEN pubupdate THEN 'update' END, \
           CASE WHEN pubdelete THEN 'delete' END, CASE WHEN pubtruncate THEN 'truncate' END], NULL) AS publishes, \
         pg_get_userbyid(pubowner)::text AS owner FROM pg_publication WHERE pubname = $1";
    Ok(session.records(STATE, &[Value::from(name)]).await?.into_iter().next())
}

/// What these publications publish now: leaf partitions instead of their parents unless they publish via root.
pub async fn tables(session: &Session, publications: &[String]) -> Result<Vec<Table>> {
    const TABLES: &str = "SELECT DISTINCT schemaname::text AS schema, tablename::text AS name \
         FROM pg_publication_tables WHERE pubname = ANY ($1::name[]) ORDER BY 1, 2";
    session.records(TABLES, &[publications.to_vec().into()]).await
}

/// Adds tables to a publication of named tables.
pub async fn add(session: &Session, name: &str, tables: &[Table]) -> Result<()> {
    session.batch(&format!("ALTER PUBLICATION {} ADD TABLE {}", ident(name)?, names(tables)?)).await
}

/// Drops a publication; false if there was none.
pub async fn drop(session: &Session, name: &str) -> Result<bool> {
    let there = state(session, name).await?.is_some();
    if there {
        session.batch(&format!("DROP PUBLICATION IF EXISTS {}", ident(name)?)).await?;
    }
    Ok(there)
}
