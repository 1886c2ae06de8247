//! The catalogs as a fingerprint: every object with the hash of its definition, alike on 13 to 18, so that BLUE and GREEN
//! can be compared, and BLUE with itself a day later. The statement and its rules stand in `schema.sql`.

use std::collections::{BTreeMap, BTreeSet};

use super::{record::record, session::Session};
use crate::base::{Result, Value};

/// Gives `kind`, `name` and `definition` of every object.
const OBJECTS: &str = include_str!("schema.sql");

record! {
    /// An object and what it is like.
    pub struct Entry {
        /// `table`, `column`, `index`, .. as in `schema.sql`.
        pub kind: String,
        /// Its name, quoted as SQL needs it.
        pub name: String,
        /// MD5 of its definition.
        pub hash: String,
    }

    /// An object that is not the same on both sides.
    pub struct Change {
        /// As in [`Entry`].
        pub kind: String,
        /// As in [`Entry`].
        pub name: String,
        /// `missing` on the second side, `added` there, or `changed`.
        pub what: String,
    }

    /// The definition of one object, for people.
    pub struct Definition {
        /// As in [`Entry`].
        pub kind: String,
        /// As in [`Entry`].
        pub name: String,
        /// The text that is hashed. It is no SQL.
        pub definition: String,
    }
}

/// The objects that people made in this database. Anybody may read what it reads. pgrun's own schema, members of
/// extensions, temporary objects and values of sequences are left out.
pub async fn fingerprint(session: &Session) -> Result<Vec<Entry>> {
    let sql =
        format!("SELECT kind, name, md5(definition) AS hash FROM ({OBJECTS}) o ORDER BY kind, name COLLATE \"C\"");
    session.records(&sql, &[]).await
}

/// Hashes by kind and name. Several objects of one kind may share a name; their hashes are compared together.
type Objects<'a> = BTreeMap<(&'a str, &'a str), BTreeSet<&'a str>>;

fn by_name(entries: &[Entry]) -> Objects<'_> {
    let mut objects = Objects::new();
    for entry in entries {
        objects.entry((&entry.kind, &entry.name)).or_default().insert(&entry.hash);
    }
    objects
}

/// What differs between two fingerprints, by kind and name. Empty means the same.
#[must_use]
pub fn diff(first: &[Entry], second: &[Entry]) -> Vec<Change> {
    let (a, b) = (by_name(first), by_name(second));
    let names: BTreeSet<_> = a.keys().chain(b.keys()).collect();
    let change = |name: &&(&str, &str)| {
        let what = match (a.get(*name), b.get(*name)) {
            (Some(one), Some(other)) if one == other => return None,
            (Some(_), Some(_)) => "changed",
            (Some(_), None) => "missing",
            (None, _) => "added",
        };
        Some(Change { kind: name.0.to_owned(), name: name.1.to_owned(), what: what.to_owned() })
    };
    names.iter().filter_map(change).collect()
}

/// The definitions of changed objects as they are here, so that a person sees what differs.
pub async fn definitions(session: &Session, changes: &[Change]) -> Result<Vec<Definition>> {
    let sql = format!(
        "SELECT o.kind, o.name, o.definition FROM ({OBJECTS}) o \
         JOIN unnest($1::text[], $2::text[]) w(kind, name) ON w.kind = o.kind AND w.name = o.name ORDER BY o.kind, o.name COLLATE \"C\""
    );
    let list = |field: fn(&Change) -> &String| Value::List(changes.iter().map(|c| field(c).clone().into()).collect());
    session.records(&sql, &[list(|change| &change.kind), list(|change| &change.name)]).await
}

/// Roles, memberships and settings of the whole server, as a fingerprint. LOGIN is no part of it, and neither are
/// passwords: the one differs while a server is fenced, the others may not be read.
pub async fn roles_fingerprint(session: &Session) -> Result<Vec<Entry>> {
    const ROLES: &str = "SELECT kind, name, md5(definition) AS hash FROM ( \
           SELECT 'role' AS kind, quote_ident(rolname) AS name, concat_ws(' ', rolsuper, rolinherit, rolcreaterole, \
             rolcreatedb, rolreplication, rolbypassrls, rolconnlimit, rolvaliduntil) AS definition \
           FROM pg_roles WHERE rolname !~ '^pg_' \
           UNION ALL SELECT 'membership', format('%I in %I', m.rolname, r.rolname), bool_or(a.admin_option)::text \
           FROM pg_auth_members a JOIN pg_roles r ON r.oid = a.roleid JOIN pg_roles m ON m.oid = a.member GROUP BY 2 \
           UNION ALL SELECT 'setting', format('%s on %s: %s', coalesce(quote_ident(r.rolname), 'everybody'), \
             coalesce(quote_ident(d.datname), 'every database'), split_part(c, '=', 1)), c \
           FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole \
           LEFT JOIN pg_database d ON d.oid = s.setdatabase, unnest(s.setconfig) c \
         ) o ORDER BY kind, name COLLATE \"C\"";
    session.records(ROLES, &[]).await
}

/// A short text that changes with any DDL in this database: oids and row versions of the catalogs. Taken before a fence
/// and after it, it says that nothing was altered in between; it says nothing about two servers.
///
/// VACUUM and ANALYZE leave it alone: they update `pg_class` in place.
pub async fn token(session: &Session) -> Result<String> {
    const TOKEN: &str = "SELECT md5(string_agg(t.catalog || ' ' || t.rows || ' ' || t.sum, ',' ORDER BY t.catalog)) FROM ( \
           SELECT 'class' AS catalog, count(*) AS rows, sum(hashint8(c.oid::int8 * 4294967296 + c.xmin::text::int8)::int8) AS sum \
             FROM pg_class c WHERE c.relpersistence <> 't' \
           UNION ALL SELECT 'attribute', count(*), sum(hashint8(a.attrelid::int8 * 4294967296 + a.xmin::text::int8)::int8) \
             FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid AND c.relpersistence <> 't' WHERE a.attrelid >= 16384 \
           UNION ALL SELECT 'constraint', count(*), sum(hashint8(oid::int8 * 4294967296 + xmin::text::int8)::int8) FROM pg_constraint \
           UNION ALL SELECT 'trigger', count(*), sum(hashint8(oid::int8 * 4294967296 + xmin::text::int8)::int8) FROM pg_trigger \
           UNION ALL SELECT 'proc', count(*), sum(hashint8(oid::int8 * 4294967296 + xmin::text::int8)::int8) FROM pg_proc WHERE oid >= 16384 \
           UNION ALL SELECT 'enum', count(*), sum(hashint8(oid::int8 * 4294967296 + xmin::text::int8)::int8) FROM pg_enum \
           UNION ALL SELECT 'namespace', count(*), sum(hashint8(oid::int8 * 4294967296 + xmin::text::int8)::int8) FROM pg_namespace \
             WHERE nspname !~ '^pg_(toast_)?temp' \
           UNION ALL SELECT 'policy', count(*), sum(hashint8(oid::int8 * 4294967296 + xmin::text::int8)::int8) FROM pg_policy \
           UNION ALL SELECT 'publication', count(*), sum(hashint8(oid::int8 * 4294967296 + xmin::text::int8)::int8) FROM pg_publication \
           UNION ALL SELECT 'rewrite', count(*), sum(hashint8(oid::int8 * 4294967296 + xmin::text::int8)::int8) FROM pg_rewrite WHERE oid >= 16384) t";
    session.scalar(TOKEN, &[]).await
}

#[cfg(test)]
mod tests {
    use super::{Entry, diff};

    #[test]
    fn a_diff_names_what_is_missing_added_and_changed() {
        let entry =
            |kind: &str, name: &str, hash: &str| Entry { kind: kind.into(), name: name.into(), hash: hash.into() };
        let first = [entry("table", "a", "1"), entry("table", "b", "1"), entry("index", "a", "1")];
        let second = [entry("table", "b", "2"), entry("table", "c", "1"), entry("index", "a", "1")];
        let said: Vec<String> =
            diff(&first, &second).iter().map(|c| format!("{} {} {}", c.kind, c.name, c.what)).collect();
        assert_eq!(said, ["table a missing", "table b changed", "table c added"]);
        assert!(diff(&first, &first).is_empty());
    }
}
