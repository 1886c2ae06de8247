//! The checks of one database.

use super::{
    Check, Takes,
    Verdict::{Info, Stop, Warn},
    check,
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

pub(super) const CHECKS: &[Check] = &[
    check(
        "replica_identity_full",
        Warn,
        "each UPDATE and DELETE searches the whole table on a subscriber below 16",
        "add a primary key",
        concat!(relation!(), relations!(), "AND c.relkind = 'r' AND c.relreplident = 'f' ORDER BY 1"),
    ),
    check(
        "replica_identity_full_type",
        Stop,
        "",
        "add a primary key: such values have no =, so the apply worker finds no row of that table and stops",
        concat!(
            "SELECT format('%I.%I.%I', n.nspname, c.relname, a.attname) AS object, \
               format('REPLICA IDENTITY FULL compares values of type %s', format_type(a.atttypid, NULL)) AS text ",
            " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid \
               JOIN pg_type t ON t.oid = a.atttypid WHERE c.oid >= 16384 AND n.nspname !~ '^pg_(toast|temp)' \
               AND c.relkind = 'r' AND c.relreplident = 'f' AND a.attnum > 0 AND NOT a.attisdropped \
               AND coalesce(nullif(t.typbasetype, 0), CASE t.typcategory WHEN 'A' THEN t.typelem END, t.oid) IN \
                 ('json'::regtype, 'xml'::regtype, 'point'::regtype, 'line'::regtype, 'lseg'::regtype, 'box'::regtype, \
                  'path'::regtype, 'polygon'::regtype, 'circle'::regtype) ORDER BY 1"
        ),
    ),
    check(
        "unlogged",
        Stop,
        "it is not replicated, and empty on the copy",
        "ALTER TABLE .. SET LOGGED, or fill it anew on GREEN",
        concat!(relation!(), relations!(), "AND c.relkind = 'r' AND c.relpersistence = 'u' ORDER BY 1"),
    ),
    check(
        "foreign_table",
        Warn,
        "its definition is copied; what it reaches must be reachable from GREEN too",
        "try it on GREEN before the cutover",
        concat!(relation!(), relations!(), "AND c.relkind = 'f' ORDER BY 1"),
    ),
    check(
        "materialized_view",
        Info,
        "its contents stay as of the snapshot",
        "REFRESH MATERIALIZED VIEW on GREEN before the cutover",
        concat!(relation!(), relations!(), "AND c.relkind = 'm' ORDER BY 1"),
    ),
    check(
        "row_security",
        Stop,
        "the apply worker of 15 and later stops at it unless its owner bypasses row security",
        "make the subscription's owner a role with BYPASSRLS, or the table's owner without FORCE",
        concat!(
            relation!(),
            relations!(),
            "AND c.relrowsecurity AND NOT (SELECT r.rolbypassrls OR r.rolsuper FROM pg_roles r \
             WHERE r.rolname = current_user) ORDER BY 1"
        ),
    ),
    check(
        "extension_table",
        Stop,
        "",
        "stop what writes it on GREEN, or publish the tables by name without it",
        "SELECT format('%I.%I', n.nspname, c.relname) AS object, \
           format('it belongs to the extension %I, and is published too: rows of both sides collide', e.extname) AS text \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e' \
         JOIN pg_extension e ON e.oid = d.refobjid WHERE c.relkind = 'r' AND c.relpersistence = 'p' ORDER BY 1",
    ),
    check(
        "pg_cron",
        Warn,
        "its jobs start on the copy as soon as it runs; jobs of other roles may not be visible",
        "restore with cron.launch_active_jobs = off",
        "SELECT 'pg_cron' AS object FROM pg_extension WHERE extname = 'pg_cron'",
    ),
    // Not the command: it may hold a password.
    check(
        "pg_cron_job",
        Stop,
        "",
        "UPDATE cron.job SET active = false before the cutover, and restore with cron.launch_active_jobs = off",
        "SELECT format('job %s', jobid) AS object, format('it runs %L as %I on both sides; jobs of the role that is not \
           fenced go on writing', schedule, username) AS text FROM cron.job WHERE active ORDER BY jobid",
    )
    .needing("cron.job"),
    check(
        "large_objects",
        Stop,
        "",
        "move them to bytea, or do without changes from the snapshot on",
        "SELECT 'pg_largeobject' AS object, format('%s large objects: changes after the snapshot are lost', count(*)) AS text \
         FROM pg_largeobject_metadata HAVING count(*) > 0",
    ),
    check(
        "always_trigger",
        Warn,
        "it fires on GREEN too for every replicated row",
        "ALTER TABLE .. ENABLE TRIGGER, if its effects are replicated by themselves",
        "SELECT format('%I on %I.%I', t.tgname, n.nspname, c.relname) AS object FROM pg_trigger t \
         JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE t.tgenabled IN ('A', 'R') AND NOT t.tgisinternal AND n.nspname <> 'pgrun' ORDER BY 1",
    ),
    check(
        "event_trigger",
        Warn,
        "it fires for DDL on both sides",
        "RDS asks to drop event triggers before a major upgrade; look what it does on GREEN during upgrade and maintenance",
        "SELECT format('%I', e.evtname) AS object FROM pg_event_trigger e JOIN pg_proc p ON p.oid = e.evtfoid \
         WHERE e.evtenabled <> 'D' AND p.pronamespace IS DISTINCT FROM to_regnamespace('pgrun') ORDER BY 1",
    ),
    check(
        "reg_type",
        Stop,
        "",
        "ALTER TABLE .. ALTER COLUMN .. TYPE text",
        "SELECT format('%I.%I.%I', n.nspname, c.relname, a.attname) AS object, \
           format('pg_upgrade refuses columns of type %s: their values are numbers of the old server', format_type(a.atttypid, NULL)) \
           AS text FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'm', 'i') AND c.oid >= 16384 AND NOT a.attisdropped AND n.nspname !~ '^pg_' \
           AND n.nspname <> 'information_schema' AND a.atttypid IN ('regcollation'::regtype, 'regconfig'::regtype, \
             'regdictionary'::regtype, 'regnamespace'::regtype, 'regoper'::regtype, 'regoperator'::regtype, \
             'regproc'::regtype, 'regprocedure'::regtype) ORDER BY 1",
    ),
    // A subscriber from 16 on applies as the owner of each table; BLUE itself is the subscriber of the way back.
    check(
        "table_owner",
        Warn,
        "from 16 on the subscription applies as the owner of each table and needs SET ROLE to it",
        "GRANT the owner to the subscription's owner",
        "SELECT DISTINCT format('%I', r.rolname) AS object, \
           CASE WHEN greatest($1::int8, current_setting('server_version_num')::int8 / 10000) >= 16 THEN 'stop' END AS verdict \
         FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner \
         WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND c.oid >= 16384 AND NOT \
           CASE WHEN current_setting('server_version_num')::int >= 160000 THEN pg_has_role(r.oid, 'SET') \
             ELSE pg_has_role(r.oid, 'MEMBER') END ORDER BY 1",
    )
    .taking(Takes::Target),
    COLLATION,
    DATABASE_COLLATION,
    check(
        "own_subscription",
        Stop,
        "the copy would read from the same slot as soon as it runs",
        "restore with max_logical_replication_workers = 0, and move it by a plan of its own",
        "SELECT format('%I', s.subname) AS object FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid \
         WHERE d.datname = current_database() ORDER BY 1",
    ),
    // Release notes of 11, 12, 15 and 17: pg_upgrade stops at their missing libraries.
    check(
        "extension_removed",
        Stop,
        "",
        "DROP EXTENSION before the upgrade",
        "SELECT format('%I', e.extname) AS object, format('PostgreSQL %s and later do not have it', gone.major) AS text \
         FROM pg_extension e JOIN (VALUES ('chkpass', 11), ('tsearch2', 11), ('timetravel', 12), ('plpythonu', 15), \
           ('plpython2u', 15), ('hstore_plpythonu', 15), ('hstore_plpython2u', 15), ('jsonb_plpythonu', 15), \
           ('jsonb_plpython2u', 15), ('ltree_plpythonu', 15), ('ltree_plpython2u', 15), ('adminpack', 17), \
           ('old_snapshot', 17)) gone(name, major) ON gone.name = e.extname WHERE gone.major <= $1::int8 ORDER BY 1",
    )
    .taking(Takes::Target),
    check(
        "extension_outdated",
        Warn,
        "",
        "ALTER EXTENSION .. UPDATE before the snapshot: not every version has a way to the target",
        "SELECT format('%I', e.extname) AS object, \
           format('version %s is installed, this server offers %s', e.extversion, a.default_version) AS text \
         FROM pg_extension e JOIN pg_available_extensions a ON a.name = e.extname \
         WHERE a.default_version <> e.extversion ORDER BY 1",
    ),
    check(
        "extension",
        Info,
        "",
        "compare with what the target version offers; ALTER EXTENSION .. UPDATE on GREEN",
        "SELECT format('%I', extname) AS object, 'version ' || extversion AS text FROM pg_extension WHERE extname <> 'plpgsql' ORDER BY 1",
    ),
];

const COLLATION: Check = check(
    "collation",
    Warn,
    "its order has changed since its indexes were built",
    "REINDEX what uses it, on GREEN before the stream is enabled",
    "SELECT format('%I.%I', n.nspname, o.collname) AS object FROM pg_collation o JOIN pg_namespace n ON n.oid = o.collnamespace \
     WHERE o.collprovider <> 'd' AND o.collversion <> pg_collation_actual_version(o.oid) ORDER BY 1",
);

const DATABASE_COLLATION: Check = check(
    "database_collation",
    Warn,
    "the order of its texts has changed since its indexes were built",
    "REINDEX on GREEN before the stream is enabled, then ALTER DATABASE .. REFRESH COLLATION VERSION",
    "SELECT format('%I', d.datname) AS object FROM pg_database d WHERE d.datname = current_database() \
     AND d.datcollversion <> pg_database_collation_actual_version(d.oid)",
)
.from(15);

/// What can only be known of a copy that has the target's version.
pub(super) const OF_COPY: &[Check] = &[
    check(
        "extension_missing",
        Stop,
        "the upgraded server does not offer it: what calls it fails",
        "choose a version or a parameter group that has it, or do without it on BLUE before the upgrade",
        "SELECT format('%I', e.extname) AS object FROM pg_extension e \
         WHERE NOT EXISTS (SELECT FROM pg_available_extensions a WHERE a.name = e.extname) ORDER BY 1",
    ),
    check(
        "extension_update",
        Warn,
        "",
        "ALTER EXTENSION .. UPDATE on GREEN before the cutover",
        "SELECT format('%I', e.extname) AS object, format('version %s is installed%s, the upgraded server offers %s', e.extversion, \
           CASE WHEN EXISTS (SELECT FROM pg_available_extension_versions v WHERE v.name = e.extname AND v.version = e.extversion) \
             THEN '' ELSE ', which it no longer has' END, a.default_version) AS text \
         FROM pg_extension e JOIN pg_available_extensions a ON a.name = e.extname \
         WHERE a.default_version <> e.extversion ORDER BY 1",
    ),
    COLLATION,
    DATABASE_COLLATION,
];
