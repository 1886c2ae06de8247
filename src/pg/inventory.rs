//! What a blue/green upgrade by logical replication would lose, break or stumble over: one table of checks, each a
//! statement that names what it found. Nothing is changed, and nothing that could not be looked at is passed over.
//!
//! A check looks at one database or at the whole server; what it says of the server is the same in every database.
//! Sources: manual, "Logical Replication", chapters Restrictions and Configuration Settings; "pg_upgrade", Notes.

use super::{
    record::{field, record},
    session::Session,
};
use crate::{
    base::{Result, Value},
    pg::publication,
};

record! {
    /// One thing that was found.
    pub struct Finding {
        /// The check.
        pub id: String,
        /// `stop`, `warn` or `info`.
        pub verdict: String,
        /// What it is about, quoted as in SQL.
        pub object: String,
        /// What it means.
        pub text: String,
        /// What to do.
        pub hint: String,
    }
}

/// One question to the server.
struct Check {
    id: &'static str,
    verdict: &'static str,
    /// The first major version that has what it asks for.
    from: i64,
    text: &'static str,
    hint: &'static str,
    /// Gives the column `object`, and `text` if there is more to say than the text above.
    sql: &'static str,
}

/// Needs no privilege to read the catalogs; `pg_read_all_stats` for sessions of others.
pub async fn findings(session: &Session) -> Result<Vec<Finding>> {
    let major = session.major().await?;
    let mut found = vec![];
    let keyless = publication::without_identity(session).await?;
    let (schemas, names): (Vec<String>, Vec<String>) =
        keyless.into_iter().map(|table| (table.schema, table.name)).unzip();
    for object in session.texts(IDENTITY.sql, &[schemas.into(), names.into()]).await? {
        found.push(finding(IDENTITY.id, IDENTITY.verdict, object, IDENTITY.text, IDENTITY.hint));
    }
    for check in CHECKS.iter().filter(|check| check.from <= major) {
        let rows = match session.query(check.sql, &[]).await {
            Ok(rows) => rows,
            // A question that may not be asked is no answer.
            Err(error) if error.fact("sqlstate") == Some("42501") => {
                let text = format!("could not be looked at: {}", error.message());
                found.push(finding(check.id, "warn", session.target().label(), &text, "grant pgrun's role pg_monitor"));
                continue;
            }
            Err(error) => return Err(error.during(format!("while checking {}", check.id))),
        };
        for row in rows {
            let text = row.get("text").and_then(Value::as_text).unwrap_or(check.text);
            found.push(finding(check.id, check.verdict, field(&row, "object")?, text, check.hint));
        }
    }
    Ok(found)
}

fn finding(id: &str, verdict: &str, object: String, text: &str, hint: &str) -> Finding {
    Finding { id: id.into(), verdict: verdict.into(), object, text: text.into(), hint: hint.into() }
}

/// Which tables, says the publication's own rule; the statement only quotes their names.
const IDENTITY: Check = Check {
    id: "replica_identity",
    verdict: "stop",
    from: 0,
    text: "no primary key: UPDATE and DELETE fail at once, in production, when it is published",
    hint: "add a primary key, or ALTER TABLE .. REPLICA IDENTITY USING INDEX, or FULL",
    sql: "SELECT format('%I.%I', t.schema, t.name) FROM unnest($1::text[], $2::text[]) t(schema, name)",
};

/// User relations `c` in their schemas `n`.
macro_rules! relations {
    () => {
        " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid >= 16384 \
          AND n.nspname NOT IN ('pgrun', 'pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)' "
    };
}

macro_rules! relation {
    () => {
        "SELECT format('%I.%I', n.nspname, c.relname) AS object"
    };
}

const CHECKS: &[Check] = &[
    Check {
        id: "replica_identity_full",
        verdict: "warn",
        from: 0,
        text: "each UPDATE and DELETE searches the whole table on a subscriber below 16",
        hint: "add a primary key",
        sql: concat!(relation!(), relations!(), "AND c.relkind = 'r' AND c.relreplident = 'f' ORDER BY 1"),
    },
    Check {
        id: "unlogged",
        verdict: "stop",
        from: 0,
        text: "it is not replicated, and empty on the copy",
        hint: "ALTER TABLE .. SET LOGGED, or fill it anew on GREEN",
        sql: concat!(relation!(), relations!(), "AND c.relkind = 'r' AND c.relpersistence = 'u' ORDER BY 1"),
    },
    Check {
        id: "foreign_table",
        verdict: "warn",
        from: 0,
        text: "its definition is copied; what it reaches must be reachable from GREEN too",
        hint: "try it on GREEN before the cutover",
        sql: concat!(relation!(), relations!(), "AND c.relkind = 'f' ORDER BY 1"),
    },
    Check {
        id: "materialized_view",
        verdict: "info",
        from: 0,
        text: "its contents stay as of the snapshot",
        hint: "REFRESH MATERIALIZED VIEW on GREEN before the cutover",
        sql: concat!(relation!(), relations!(), "AND c.relkind = 'm' ORDER BY 1"),
    },
    Check {
        id: "row_security",
        verdict: "stop",
        from: 0,
        text: "the apply worker of 15 and later stops at it unless its owner bypasses row security",
        hint: "make the subscription's owner a role with BYPASSRLS, or the table's owner without FORCE",
        sql: concat!(
            relation!(),
            relations!(),
            "AND c.relrowsecurity AND NOT (SELECT r.rolbypassrls OR r.rolsuper FROM pg_roles r \
             WHERE r.rolname = current_user) ORDER BY 1"
        ),
    },
    Check {
        id: "extension_table",
        verdict: "stop",
        from: 0,
        text: "",
        hint: "stop what writes it on GREEN, or publish the tables by name without it",
        sql: "SELECT format('%I.%I', n.nspname, c.relname) AS object, \
                format('it belongs to the extension %I, and is published too: rows of both sides collide', e.extname) AS text \
              FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
              JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e' \
              JOIN pg_extension e ON e.oid = d.refobjid WHERE c.relkind = 'r' AND c.relpersistence = 'p' ORDER BY 1",
    },
    Check {
        id: "pg_cron",
        verdict: "warn",
        from: 0,
        text: "its jobs start on the copy as soon as it runs, and no fence stops its background workers",
        hint: "restore with cron.launch_active_jobs = off, and switch the jobs off for the cutover",
        sql: "SELECT 'pg_cron' AS object FROM pg_extension WHERE extname = 'pg_cron'",
    },
    Check {
        id: "large_objects",
        verdict: "warn",
        from: 0,
        text: "",
        hint: "move them to bytea, or do without changes from the snapshot on",
        sql: "SELECT 'pg_largeobject' AS object, format('%s large objects: changes after the snapshot are lost', count(*)) AS text \
              FROM pg_largeobject_metadata HAVING count(*) > 0",
    },
    Check {
        id: "always_trigger",
        verdict: "warn",
        from: 0,
        text: "it fires on GREEN too for every replicated row",
        hint: "ALTER TABLE .. ENABLE TRIGGER, if its effects are replicated by themselves",
        sql: "SELECT format('%I on %I.%I', t.tgname, n.nspname, c.relname) AS object FROM pg_trigger t \
              JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
              WHERE t.tgenabled IN ('A', 'R') AND NOT t.tgisinternal AND n.nspname <> 'pgrun' ORDER BY 1",
    },
    Check {
        id: "event_trigger",
        verdict: "warn",
        from: 0,
        text: "it fires for DDL on both sides",
        hint: "look what it does on GREEN during upgrade and maintenance",
        sql: "SELECT format('%I', evtname) AS object FROM pg_event_trigger WHERE evtenabled <> 'D' ORDER BY 1",
    },
    Check {
        id: "reg_type",
        verdict: "stop",
        from: 0,
        text: "",
        hint: "ALTER TABLE .. ALTER COLUMN .. TYPE text",
        sql: "SELECT format('%I.%I.%I', n.nspname, c.relname, a.attname) AS object, \
                format('pg_upgrade refuses columns of type %s: their values are numbers of the old server', format_type(a.atttypid, NULL)) \
                AS text FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
              WHERE c.relkind IN ('r', 'm', 'i') AND c.oid >= 16384 AND NOT a.attisdropped AND n.nspname !~ '^pg_' \
                AND n.nspname <> 'information_schema' AND a.atttypid IN ('regcollation'::regtype, 'regconfig'::regtype, \
                  'regdictionary'::regtype, 'regnamespace'::regtype, 'regoper'::regtype, 'regoperator'::regtype, \
                  'regproc'::regtype, 'regprocedure'::regtype) ORDER BY 1",
    },
    Check {
        id: "table_owner",
        verdict: "warn",
        from: 0,
        text: "from 16 on the subscription applies as the owner of each table and needs SET ROLE to it",
        hint: "GRANT the owner to the subscription's owner, or run_as_owner = true",
        sql: "SELECT DISTINCT format('%I', r.rolname) AS object FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner \
              WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND c.oid >= 16384 AND NOT pg_has_role(r.oid, 'MEMBER') ORDER BY 1",
    },
    Check {
        id: "collation",
        verdict: "warn",
        from: 0,
        text: "its order has changed since its indexes were built",
        hint: "REINDEX what uses it, on GREEN before the stream is enabled",
        sql: "SELECT format('%I.%I', n.nspname, o.collname) AS object FROM pg_collation o JOIN pg_namespace n ON n.oid = o.collnamespace \
              WHERE o.collprovider <> 'd' AND o.collversion <> pg_collation_actual_version(o.oid) ORDER BY 1",
    },
    Check {
        id: "database_collation",
        verdict: "warn",
        from: 15,
        text: "the order of its texts has changed since its indexes were built",
        hint: "REINDEX on GREEN before the stream is enabled, then ALTER DATABASE .. REFRESH COLLATION VERSION",
        sql: "SELECT format('%I', d.datname) AS object FROM pg_database d WHERE d.datname = current_database() \
              AND d.datcollversion <> pg_database_collation_actual_version(d.oid)",
    },
    Check {
        id: "own_subscription",
        verdict: "stop",
        from: 0,
        text: "the copy would read from the same slot as soon as it runs",
        hint: "restore with max_logical_replication_workers = 0, and move it by a plan of its own",
        sql: "SELECT format('%I', s.subname) AS object FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid \
              WHERE d.datname = current_database() ORDER BY 1",
    },
    Check {
        id: "foreign_slot",
        verdict: "warn",
        from: 0,
        text: "",
        hint: "plan for each reader how it goes on at GREEN; drop what nobody reads",
        sql: "SELECT format('%I', slot_name) AS object, format('a %s slot in %s, %s: it does not exist on GREEN', plugin, database, \
                CASE WHEN active THEN 'in use' ELSE 'unused' END) AS text FROM pg_replication_slots WHERE slot_type = 'logical' ORDER BY 1",
    },
    Check {
        id: "read_replica",
        verdict: "info",
        from: 0,
        text: "a physical standby reads from this server; GREEN has none",
        hint: "make GREEN's replicas before the cutover",
        sql: "SELECT format('%s from %s', nullif(application_name, ''), coalesce(host(client_addr), 'local')) AS object \
              FROM pg_stat_replication w WHERE NOT EXISTS (SELECT FROM pg_replication_slots s \
              WHERE s.active_pid = w.pid AND s.slot_type = 'logical') ORDER BY 1",
    },
    Check {
        id: "prepared_transaction",
        verdict: "stop",
        from: 0,
        text: "",
        hint: "COMMIT PREPARED or ROLLBACK PREPARED it",
        sql: "SELECT format('%L', gid) AS object, format('prepared in %s at %s: it stops pg_upgrade, and outlives the fence', database, \
                prepared) AS text FROM pg_prepared_xacts ORDER BY 1",
    },
    Check {
        id: "long_transaction",
        verdict: "warn",
        from: 0,
        text: "",
        hint: "end it before slots are made; they wait for it",
        sql: "SELECT format('pid %s of %I', pid, usename) AS object, format('its transaction has been open since %s', xact_start) AS text \
              FROM pg_stat_activity WHERE backend_type = 'client backend' AND xact_start < clock_timestamp() - interval '5 min' \
                AND pid <> pg_backend_pid() ORDER BY xact_start",
    },
    Check {
        id: "wal_level",
        verdict: "stop",
        from: 0,
        text: "logical replication needs wal_level = logical",
        hint: "RDS: rds.logical_replication = 1 in the parameter group, then a restart",
        sql: "SELECT 'wal_level = ' || setting AS object FROM pg_settings WHERE name = 'wal_level' AND setting <> 'logical'",
    },
    Check {
        id: "slot_bound",
        verdict: "stop",
        from: 0,
        text: "a slot that nobody reads keeps WAL until the disk of production is full",
        hint: "bound it: losing GREEN is better than losing BLUE",
        sql: "SELECT 'max_slot_wal_keep_size = -1' AS object FROM pg_settings WHERE name = 'max_slot_wal_keep_size' AND setting = '-1'",
    },
    Check {
        id: "idle_slot_timeout",
        verdict: "stop",
        from: 18,
        text: "the slot would be given up while GREEN is made",
        hint: "idle_replication_slot_timeout = 0",
        sql: "SELECT 'idle_replication_slot_timeout = ' || setting || coalesce(unit, '') AS object FROM pg_settings \
              WHERE name = 'idle_replication_slot_timeout' AND setting <> '0'",
    },
    Check {
        id: "free_slots",
        verdict: "stop",
        from: 0,
        text: "",
        hint: "raise it, then restart",
        sql: "WITH need(n) AS (SELECT count(*) FROM pg_database WHERE datallowconn AND NOT datistemplate), used(name, n) AS ( \
                SELECT 'max_replication_slots', (SELECT count(*) FROM pg_replication_slots) \
                UNION ALL SELECT 'max_wal_senders', (SELECT count(*) FROM pg_stat_replication) \
                UNION ALL SELECT 'max_logical_replication_workers', (SELECT count(*) FROM pg_stat_subscription WHERE pid IS NOT NULL)) \
              SELECT s.name || ' = ' || s.setting AS object, \
                format('%s of them are in use, and each of %s databases needs one', used.n, need.n) AS text \
              FROM used JOIN pg_settings s ON s.name = used.name, need WHERE s.setting::int8 - used.n < need.n ORDER BY 1",
    },
    Check {
        id: "closed_database",
        verdict: "stop",
        from: 0,
        text: "pg_upgrade refuses databases that allow no connections",
        hint: "ALTER DATABASE .. ALLOW_CONNECTIONS true, or drop it",
        sql: "SELECT format('%I', datname) AS object FROM pg_database WHERE NOT datallowconn AND datname NOT IN ('template0', 'rdsadmin') \
              ORDER BY 1",
    },
    Check {
        id: "role_name",
        verdict: "stop",
        from: 0,
        text: "names that begin with pg_ are the server's own; pg_upgrade refuses them",
        hint: "ALTER ROLE .. RENAME",
        sql: "SELECT format('%I', rolname) AS object FROM pg_roles WHERE oid >= 16384 AND rolname LIKE 'pg\\_%' ORDER BY 1",
    },
    Check {
        id: "plain_session",
        verdict: "warn",
        from: 0,
        text: "",
        hint: "let it use TLS, or GREEN with rds.force_ssl = 0 (it is 1 from 15 on)",
        sql: "SELECT format('%I', a.usename) AS object, format('%s sessions without TLS from other machines', count(*)) AS text \
              FROM pg_stat_activity a JOIN pg_stat_ssl s ON s.pid = a.pid WHERE NOT s.ssl AND a.backend_type = 'client backend' \
                AND NOT coalesce(a.client_addr << '127.0.0.0/8' OR a.client_addr = '::1', true) GROUP BY a.usename ORDER BY 1",
    },
    Check {
        id: "extension",
        verdict: "info",
        from: 0,
        text: "",
        hint: "compare with what the target version offers; ALTER EXTENSION .. UPDATE on GREEN",
        sql: "SELECT format('%I', extname) AS object, 'version ' || extversion AS text FROM pg_extension WHERE extname <> 'plpgsql' ORDER BY 1",
    },
];

#[cfg(test)]
mod tests {
    use super::{CHECKS, IDENTITY};

    /// A waiver names an id: two of a kind would waive both.
    #[test]
    fn ids_are_unique_and_every_check_says_what_it_found() {
        let mut ids: Vec<&str> = CHECKS.iter().map(|check| check.id).chain([IDENTITY.id]).collect();
        ids.sort_unstable();
        let count = ids.len();
        ids.dedup();
        assert_eq!(ids.len(), count);
        for check in CHECKS {
            assert!(["stop", "warn", "info"].contains(&check.verdict), "{}", check.id);
            assert_eq!(check.text.is_empty(), check.sql.contains(" AS text"), "{}", check.id);
            assert!(!check.hint.is_empty(), "{}", check.id);
        }
    }
}
