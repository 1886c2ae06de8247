//! The checks of the inventory: data, and the reason for each. Facts: the manual's chapters "Logical Replication",
//! "pg_upgrade" and RDS's pre-check list for major upgrades.

use super::inventory::{
    Check,
    Scope::{Database, Server},
    Verdict::{Note, Stop, Warn},
};

/// Tables that belong to people: neither the catalogs nor pgrun's own.
macro_rules! people {
    ($alias:literal) => {
        concat!(
            $alias,
            ".nspname NOT IN ('pg_catalog', 'information_schema', 'pgrun') AND ",
            $alias,
            ".nspname !~ '^pg_(toast|temp)'"
        )
    };
}

/// `schema.name` of `pg_class c` in `pg_namespace n`.
macro_rules! tables {
    ($detail:literal, $condition:expr) => {
        concat!(
            "SELECT n.nspname || '.' || c.relname AS object, ",
            $detail,
            " AS detail FROM pg_class c \
                 JOIN pg_namespace n ON n.oid = c.relnamespace WHERE ",
            people!("n"),
            " AND ",
            $condition,
            " ORDER BY 1"
        )
    };
}

/// Worst kinds first, as far as possible; the outcome is sorted anyway.
pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "replica-identity",
        scope: Database,
        verdict: Stop,
        means: "a publication makes UPDATE and DELETE on this table fail at once, in production",
        hint: "add a primary key, or ALTER TABLE .. REPLICA IDENTITY USING INDEX, or FULL",
        since: 13,
        needs: None,
        sql: tables!(
            "CASE c.relreplident WHEN 'n' THEN 'NOTHING' WHEN 'i' THEN 'its index is gone' ELSE 'no primary key' END",
            "c.relkind = 'r' AND c.relpersistence = 'p' AND CASE c.relreplident WHEN 'f' THEN false WHEN 'n' THEN true \
             WHEN 'd' THEN NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND i.indisvalid) \
             ELSE NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisreplident AND i.indisvalid) END"
        ),
    },
    Check {
        id: "replica-identity-full",
        scope: Database,
        verdict: Warn,
        means: "a subscriber reads the whole table for each changed row (before 16 even with indexes)",
        hint: "add a primary key, or a unique index as REPLICA IDENTITY",
        since: 13,
        needs: None,
        sql: tables!("NULL::text", "c.relkind = 'r' AND c.relpersistence = 'p' AND c.relreplident = 'f'"),
    },
    Check {
        id: "unlogged",
        scope: Database,
        verdict: Stop,
        means: "an unlogged table is not replicated, and empty on GREEN after its crash recovery",
        hint: "ALTER TABLE .. SET LOGGED, or waive it if its content does not matter",
        since: 13,
        needs: None,
        sql: tables!("NULL::text", "c.relkind IN ('r', 'p') AND c.relpersistence = 'u'"),
    },
    Check {
        id: "large-objects",
        scope: Database,
        verdict: Stop,
        means: "large objects are not replicated: what changes after the snapshot is lost",
        hint: "move them into tables, or waive it if they no longer change",
        since: 13,
        needs: None,
        sql: "SELECT 'large objects' AS object, count(*) || ' of them' AS detail FROM pg_largeobject_metadata HAVING count(*) > 0",
    },
    Check {
        id: "row-security",
        scope: Database,
        verdict: Stop,
        means: "an apply worker stops at a table whose row security applies to the subscription's owner (15+)",
        hint: "let the owner of the subscription bypass row security, or waive it",
        since: 13,
        needs: None,
        sql: tables!(
            "CASE WHEN c.relforcerowsecurity THEN 'FORCE' END",
            "c.relkind IN ('r', 'p') AND c.relrowsecurity"
        ),
    },
    Check {
        id: "replica-triggers",
        scope: Database,
        verdict: Stop,
        means: "this trigger fires on GREEN as well, for every replicated change",
        hint: "ALTER TABLE .. ENABLE TRIGGER, without ALWAYS or REPLICA; or waive it if it may fire twice",
        since: 13,
        needs: None,
        sql: concat!(
            "SELECT n.nspname || '.' || c.relname || ': ' || t.tgname AS object, \
             CASE t.tgenabled WHEN 'A' THEN 'ENABLE ALWAYS' ELSE 'ENABLE REPLICA' END AS detail \
             FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE NOT t.tgisinternal AND t.tgenabled IN ('A', 'R') AND ",
            people!("n"),
            " ORDER BY 1"
        ),
    },
    Check {
        id: "subscriptions",
        scope: Database,
        verdict: Stop,
        means: "the restored copy would run this subscription too, and take its slot away",
        hint: "drop it, or start GREEN with max_logical_replication_workers = 0",
        since: 13,
        needs: None,
        sql: "SELECT s.subname::text AS object, CASE WHEN s.subenabled THEN 'enabled' ELSE 'disabled' END AS detail \
              FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid WHERE d.datname = current_database() \
                AND s.subname !~ '^pgrun' ORDER BY 1",
    },
    Check {
        id: "reg-types",
        scope: Database,
        verdict: Stop,
        means: "pg_upgrade refuses columns of this type: it holds an oid that changes",
        hint: "ALTER TABLE .. ALTER COLUMN .. TYPE text",
        since: 13,
        needs: None,
        sql: concat!(
            "SELECT n.nspname || '.' || c.relname || '.' || a.attname AS object, t.typname::text AS detail FROM pg_attribute a \
             JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
             JOIN pg_type t ON t.oid = a.atttypid WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'm', 'i') \
               AND t.typname IN ('regcollation', 'regconfig', 'regdictionary', 'regnamespace', 'regoper', 'regoperator', \
                 'regproc', 'regprocedure', 'unknown') AND ",
            people!("n"),
            " ORDER BY 1"
        ),
    },
    Check {
        id: "event-triggers",
        scope: Database,
        verdict: Warn,
        means: "RDS upgrades refuse event triggers, and pgrun's own DDL fires them",
        hint: "drop it for the upgrade, and make it again on GREEN",
        since: 13,
        needs: None,
        sql: "SELECT e.evtname::text AS object, e.evtevent::text AS detail FROM pg_event_trigger e \
              WHERE e.evtenabled <> 'D' AND NOT EXISTS (SELECT FROM pg_depend d \
                WHERE d.classid = 'pg_event_trigger'::regclass AND d.objid = e.oid AND d.deptype = 'e') ORDER BY 1",
    },
    Check {
        id: "extension-tables",
        scope: Database,
        verdict: Warn,
        means: "a table of an extension is replicated like any other, and may be written on both sides",
        hint: "see that its jobs do not run on GREEN before the cutover",
        since: 13,
        needs: None,
        sql: concat!(
            "SELECT n.nspname || '.' || c.relname AS object, e.extname::text AS detail FROM pg_class c \
             JOIN pg_namespace n ON n.oid = c.relnamespace \
             JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e' \
             JOIN pg_extension e ON e.oid = d.refobjid WHERE c.relkind IN ('r', 'p') AND ",
            people!("n"),
            " ORDER BY 1"
        ),
    },
    Check {
        id: "foreign-tables",
        scope: Database,
        verdict: Warn,
        means: "GREEN must reach the foreign server too",
        hint: "check network and user mappings from GREEN",
        since: 13,
        needs: None,
        sql: concat!(
            "SELECT n.nspname || '.' || c.relname AS object, s.srvname::text AS detail FROM pg_foreign_table f \
             JOIN pg_class c ON c.oid = f.ftrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
             JOIN pg_foreign_server s ON s.oid = f.ftserver WHERE ",
            people!("n"),
            " ORDER BY 1"
        ),
    },
    Check {
        id: "materialized-views",
        scope: Database,
        verdict: Note,
        means: "a materialized view is not replicated: GREEN's is as old as the snapshot",
        hint: "refresh it on GREEN before the cutover",
        since: 13,
        needs: None,
        sql: tables!("NULL::text", "c.relkind = 'm'"),
    },
    Check {
        id: "cron-jobs",
        scope: Database,
        verdict: Warn,
        means: "the job runs on the restored copy as well, and past a fence",
        hint: "restore GREEN with pg_cron off; pause the job for the cutover",
        since: 13,
        needs: Some("cron.job"),
        sql: "SELECT jobid::text AS object, schedule AS detail FROM cron.job WHERE active ORDER BY jobid",
    },
    Check {
        id: "extensions",
        scope: Database,
        verdict: Note,
        means: "the extension must exist for GREEN's version",
        hint: "compare with pg_available_extension_versions on GREEN; ALTER EXTENSION .. UPDATE after the upgrade",
        since: 13,
        needs: None,
        sql: "SELECT extname::text AS object, extversion AS detail FROM pg_extension ORDER BY 1",
    },
    Check {
        id: "collations",
        scope: Database,
        verdict: Warn,
        means: "text indexes were built under another version of this collation: rows may be missed by their keys",
        hint: "REINDEX what uses it, then ALTER DATABASE .. or COLLATION .. REFRESH VERSION",
        since: 15,
        needs: None,
        sql: "SELECT 'database ' || d.datname AS object, d.datcollversion || ' is ' || \
                pg_database_collation_actual_version(d.oid) AS detail FROM pg_database d \
              WHERE d.datname = current_database() AND d.datcollversion <> pg_database_collation_actual_version(d.oid) \
              UNION ALL SELECT 'collation ' || c.collname, c.collversion || ' is ' || pg_collation_actual_version(c.oid) \
              FROM pg_collation c WHERE c.collversion <> pg_collation_actual_version(c.oid) \
                AND EXISTS (SELECT FROM pg_depend d WHERE d.refclassid = 'pg_collation'::regclass AND d.refobjid = c.oid)",
    },
    Check {
        id: "wal-level",
        scope: Server,
        verdict: Stop,
        means: "logical replication needs wal_level = logical",
        hint: "rds.logical_replication = 1 in the parameter group, and a reboot",
        since: 13,
        needs: None,
        sql: "SELECT 'wal_level' AS object, setting AS detail FROM pg_settings WHERE name = 'wal_level' AND setting <> 'logical'",
    },
    Check {
        id: "prepared-transactions",
        scope: Server,
        verdict: Stop,
        means: "pg_upgrade refuses prepared transactions, and no fence holds them back",
        hint: "COMMIT PREPARED or ROLLBACK PREPARED in its database",
        since: 13,
        needs: None,
        sql: "SELECT gid AS object, owner || ' in ' || database AS detail FROM pg_prepared_xacts ORDER BY prepared",
    },
    Check {
        id: "foreign-slots",
        scope: Server,
        verdict: Stop,
        means: "whoever reads this slot will not find it on GREEN",
        hint: "plan with its owner where it goes on after the cutover",
        since: 13,
        needs: None,
        sql: "SELECT slot_name::text AS object, concat_ws(', ', slot_type, plugin, database, \
                CASE WHEN active THEN 'active' ELSE 'inactive' END) AS detail FROM pg_replication_slots \
              WHERE NOT temporary AND slot_name !~ '^pgrun' ORDER BY 1",
    },
    Check {
        id: "free-slots",
        scope: Server,
        verdict: Stop,
        means: "each database needs a slot and a sender of its own, and a subscriber's worker on the way back",
        hint: "raise the setting in the parameter group, and reboot",
        since: 13,
        needs: None,
        sql: "SELECT l.name AS object, l.used || ' of ' || l.most || ' used, ' || d.wanted || ' wanted' AS detail FROM \
              (SELECT count(*) AS wanted FROM pg_database WHERE datallowconn AND NOT datistemplate) d, \
              (SELECT 'max_replication_slots' AS name, current_setting('max_replication_slots')::int AS most, \
                 (SELECT count(*) FROM pg_replication_slots) AS used \
               UNION ALL SELECT 'max_wal_senders', current_setting('max_wal_senders')::int, \
                 (SELECT count(*) FROM pg_stat_replication) \
               UNION ALL SELECT 'max_logical_replication_workers', current_setting('max_logical_replication_workers')::int, \
                 (SELECT count(pid) FROM pg_stat_subscription)) l WHERE l.most - l.used < d.wanted",
    },
    Check {
        id: "slot-wal-bound",
        scope: Server,
        verdict: Stop,
        means: "a slot that nobody reads would fill the disk: losing GREEN is better than losing production",
        hint: "set max_slot_wal_keep_size to what the disk can spare",
        since: 13,
        needs: None,
        sql: "SELECT name AS object, 'unbounded' AS detail FROM pg_settings \
              WHERE name = 'max_slot_wal_keep_size' AND setting = '-1'",
    },
    Check {
        id: "slot-timeout",
        scope: Server,
        verdict: Stop,
        means: "a slot that is idle while GREEN is built would be lost",
        hint: "set idle_replication_slot_timeout to 0",
        since: 18,
        needs: None,
        sql: "SELECT name AS object, setting || ' ' || unit AS detail FROM pg_settings \
              WHERE name = 'idle_replication_slot_timeout' AND setting <> '0'",
    },
    Check {
        id: "role-names",
        scope: Server,
        verdict: Stop,
        means: "pg_upgrade refuses roles whose names begin with pg_",
        hint: "ALTER ROLE .. RENAME TO ..",
        since: 13,
        needs: None,
        // Roles below the first oid of users belong to PostgreSQL.
        sql: "SELECT rolname::text AS object, NULL::text AS detail FROM pg_roles WHERE rolname ~ '^pg_' AND oid >= 16384 ORDER BY 1",
    },
    Check {
        id: "long-transactions",
        scope: Server,
        verdict: Warn,
        means: "a slot cannot be made before this transaction ends",
        hint: "find out whose it is; pg_terminate_backend(pid) ends it",
        since: 13,
        needs: None,
        sql: "SELECT pid::text AS object, concat_ws(', ', usename, datname, application_name, state, \
                'since ' || xact_start::text) AS detail FROM pg_stat_activity WHERE xact_start < now() - interval '5 minutes' \
                AND pid <> pg_backend_pid() AND backend_type <> 'walsender' ORDER BY xact_start",
    },
    Check {
        id: "operator-in-use",
        scope: Server,
        verdict: Warn,
        means: "this session uses pgrun's own role, which a fence spares",
        hint: "give applications roles of their own",
        since: 13,
        needs: None,
        sql: "SELECT pid::text AS object, concat_ws(', ', datname, application_name, host(client_addr)) AS detail \
              FROM pg_stat_activity WHERE usename = session_user AND application_name NOT LIKE 'pgrun/%' \
                AND backend_type = 'client backend' ORDER BY pid",
    },
    Check {
        id: "read-replicas",
        scope: Server,
        verdict: Note,
        means: "this reader follows BLUE, not GREEN",
        hint: "make a replica of GREEN before its readers are sent there",
        since: 13,
        needs: None,
        sql: "SELECT coalesce(host(r.client_addr), 'local') AS object, r.application_name AS detail FROM pg_stat_replication r \
              WHERE NOT EXISTS (SELECT FROM pg_replication_slots s WHERE s.active_pid = r.pid AND s.slot_type = 'logical') ORDER BY 1",
    },
];
