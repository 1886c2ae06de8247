//! What stands in the way of an upgrade by logical replication: one table of checks, each one statement.

use super::{record::record, session::Session};
use crate::base::{Map, Result, Value};

record! {
    /// One thing that the operator of an upgrade has to know.
    pub struct Finding {
        /// Which check found it.
        pub id: String,
        /// `stop`: the procedure is unsafe; `warn`: a person should read it.
        pub verdict: String,
        /// What it is about, as a name.
        pub object: String,
        /// What is the matter.
        pub text: String,
        /// What to do.
        pub hint: String,
    }
}

/// A check: its statement gives one `object` a row.
struct Check {
    id: &'static str,
    verdict: &'static str,
    sql: &'static str,
    text: &'static str,
    hint: &'static str,
}

/// Schemas that are not the users'.
macro_rules! users {
    ($column:literal) => {
        concat!(
            $column,
            " NOT IN ('pg_catalog', 'information_schema', 'pgrun') AND ",
            $column,
            " !~ '^pg_(toast|temp)'"
        )
    };
}

const CHECKS: &[Check] = &[
    Check {
        id: "replica_identity",
        verdict: "stop",
        sql: concat!(
            "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND ",
            users!("n.nspname"),
            " AND (c.relreplident = 'n' OR c.relreplident = 'd' AND NOT EXISTS (SELECT FROM pg_index i WHERE \
             i.indrelid = c.oid AND i.indisprimary AND i.indisvalid) OR c.relreplident = 'i' AND NOT EXISTS (SELECT FROM \
             pg_index i WHERE i.indrelid = c.oid AND i.indisreplident AND i.indisvalid)) ORDER BY 1"
        ),
        text: "has no usable replica identity: a publication would make its UPDATE and DELETE fail at once",
        hint: "add a primary key, or ALTER TABLE .. REPLICA IDENTITY USING INDEX, or FULL",
    },
    Check {
        id: "unlogged",
        verdict: "stop",
        sql: concat!(
            "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind IN ('r', 'S') AND c.relpersistence = 'u' AND ",
            users!("n.nspname"),
            " ORDER BY 1"
        ),
        text: "is unlogged: it is empty on GREEN and not replicated",
        hint: "ALTER TABLE .. SET LOGGED, or drop it",
    },
    Check {
        id: "prepared_transaction",
        verdict: "stop",
        sql: "SELECT gid FROM pg_prepared_xacts ORDER BY 1",
        text: "is a prepared transaction: it holds up the slot, and pg_upgrade refuses it",
        hint: "COMMIT PREPARED or ROLLBACK PREPARED it",
    },
    Check {
        id: "wal_level",
        verdict: "stop",
        sql: "SELECT 'wal_level' WHERE current_setting('wal_level') <> 'logical'",
        text: "is not `logical`",
        hint: "set rds.logical_replication = 1 in the parameter group and reboot",
    },
    Check {
        id: "own_subscription",
        verdict: "stop",
        sql: "SELECT subname::text FROM pg_subscription ORDER BY 1",
        text: "is a subscription of BLUE: its copy on GREEN would connect to the same slot",
        hint: "drop it, or replicate to GREEN after the upgrade",
    },
    Check {
        id: "free_slots",
        verdict: "stop",
        sql: "SELECT 'max_replication_slots' WHERE current_setting('max_replication_slots')::int - \
              (SELECT count(*) FROM pg_replication_slots) < 1 UNION ALL \
              SELECT 'max_wal_senders' WHERE current_setting('max_wal_senders')::int - \
              (SELECT count(*) FROM pg_stat_replication) < 1",
        text: "is used up",
        hint: "raise it in the parameter group and reboot",
    },
    Check {
        id: "role_name",
        verdict: "stop",
        sql: "SELECT rolname::text FROM pg_roles WHERE rolname ~ '^pg_' AND oid >= 16384 ORDER BY 1",
        text: "is a role whose name begins with pg_: pg_upgrade refuses it",
        hint: "ALTER ROLE .. RENAME TO ..",
    },
    Check {
        id: "slot_bound",
        verdict: "warn",
        sql: "SELECT 'max_slot_wal_keep_size' WHERE current_setting('max_slot_wal_keep_size') = '-1'",
        text: "is unbounded: if GREEN stays behind, BLUE's disk fills up",
        hint: "set a bound that leaves room on the disk; losing GREEN is better than losing production",
    },
    Check {
        id: "large_objects",
        verdict: "warn",
        sql: "SELECT count(*) || ' large objects' FROM pg_largeobject_metadata HAVING count(*) > 0",
        text: "are not replicated: what is written after the snapshot is lost",
        hint: "do not write them until the cutover is over",
    },
    Check {
        id: "foreign_table",
        verdict: "warn",
        sql: "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
              WHERE c.relkind = 'f' ORDER BY 1",
        text: "is a foreign table: GREEN reaches the same foreign server",
        hint: "see that the foreign server lets GREEN in",
    },
    Check {
        id: "row_security",
        verdict: "warn",
        sql: concat!(
            "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relrowsecurity AND ",
            users!("n.nspname"),
            " ORDER BY 1"
        ),
        text: "has row-level security: from 15 on the apply worker must be able to bypass it",
        hint: "the subscription's owner needs BYPASSRLS",
    },
    Check {
        id: "always_trigger",
        verdict: "warn",
        sql: concat!(
            "SELECT format('%I on %I.%I', t.tgname, n.nspname, c.relname) FROM pg_trigger t JOIN pg_class c ON \
             c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE t.tgenabled IN ('A', 'R') AND ",
            users!("n.nspname"),
            " ORDER BY 1"
        ),
        text: "fires on GREEN too, for rows that fired it on BLUE already",
        hint: "see that its effects may happen twice, or disable it on GREEN until the cutover",
    },
    Check {
        id: "event_trigger",
        verdict: "warn",
        sql: "SELECT evtname::text FROM pg_event_trigger WHERE evtenabled <> 'D' ORDER BY 1",
        text: "is an event trigger: it may stop pg_upgrade or pgrun's own statements",
        hint: "disable it for the time of the upgrade",
    },
    Check {
        id: "foreign_slot",
        verdict: "warn",
        sql: "SELECT slot_name::text FROM pg_replication_slots WHERE slot_type = 'logical' ORDER BY 1",
        text: "is a slot of somebody else's: its consumer does not find it on GREEN",
        hint: "plan how the consumer goes on after the cutover",
    },
    Check {
        id: "long_transaction",
        verdict: "warn",
        sql: "SELECT format('pid %s of %s', pid, usename) FROM pg_stat_activity WHERE backend_xid IS NOT NULL \
              AND xact_start < now() - interval '1 minute' AND pid <> pg_backend_pid() ORDER BY xact_start",
        text: "has been in a transaction for more than a minute: it holds up the slot",
        hint: "let it end, or end it with pg_terminate_backend",
    },
];

/// All findings, those that stop the procedure first. Needs no privilege beyond reading the catalogs.
pub async fn findings(session: &Session) -> Result<Vec<Finding>> {
    let mut found = vec![];
    for check in CHECKS {
        for row in session.query(check.sql, &[]).await? {
            found.push(Finding {
                id: check.id.into(),
                verdict: check.verdict.into(),
                object: name(row),
                text: check.text.into(),
                hint: check.hint.into(),
            });
        }
    }
    found.sort_by_key(|finding| finding.verdict != "stop");
    Ok(found)
}

fn name(row: Map) -> String {
    match row.into_values().next() {
        Some(Value::Text(name)) => name,
        other => other.map_or_else(String::new, |value| value.to_json().to_string()),
    }
}
