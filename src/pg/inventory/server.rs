//! The checks of a whole server. What they find is the same in every database of it.

use super::{
    Check, Takes,
    Verdict::{Stop, Warn},
    check,
};

/// Login roles `r` that a fence would close: neither named by the caller, nor pgrun's own, nor kept by RDS for itself.
macro_rules! fenced {
    () => {
        "r.rolcanlogin AND r.rolname <> ALL ($1::text[]) AND r.rolname NOT IN (current_user, session_user, 'rdsadmin', \
           'rdsrepladmin', 'rdstopmgr', 'rdsproxyadmin', 'rdswriteforwarduser')"
    };
}

pub(super) const CHECKS: &[Check] = &[
    check(
        "foreign_slot",
        Stop,
        "",
        "plan for each reader how it goes on at GREEN; drop what nobody reads",
        "SELECT format('%I', slot_name) AS object, format('a %s slot in %s, %s: it does not exist on GREEN', plugin, database, \
           CASE WHEN active THEN 'in use' ELSE 'unused' END) AS text FROM pg_replication_slots \
         WHERE slot_type = 'logical' AND NOT temporary ORDER BY 1",
    ),
    check(
        "read_replica",
        Warn,
        "a physical standby reads from this server; GREEN has none",
        "make GREEN's replicas before the cutover",
        "SELECT format('%s from %s', nullif(application_name, ''), coalesce(host(client_addr), 'local')) AS object \
         FROM pg_stat_replication w WHERE NOT EXISTS (SELECT FROM pg_replication_slots s \
         WHERE s.active_pid = w.pid AND s.slot_type = 'logical') ORDER BY 1",
    ),
    check(
        "prepared_transaction",
        Stop,
        "",
        "COMMIT PREPARED or ROLLBACK PREPARED it",
        "SELECT format('%L', gid) AS object, format('prepared in %s at %s: it stops pg_upgrade, and outlives the fence', database, \
           prepared) AS text FROM pg_prepared_xacts ORDER BY 1",
    ),
    check(
        "long_transaction",
        Warn,
        "",
        "end it before slots are made; they wait for it",
        "SELECT format('pid %s of %I', pid, usename) AS object, format('its transaction has been open since %s', xact_start) AS text \
         FROM pg_stat_activity WHERE backend_type = 'client backend' AND xact_start < clock_timestamp() - interval '5 min' \
           AND pid <> pg_backend_pid() ORDER BY xact_start",
    ),
    check(
        "wal_level",
        Stop,
        "",
        "RDS: rds.logical_replication = 1 in the parameter group, then a restart",
        "SELECT 'wal_level' AS object, format('it is %s, and logical replication needs logical', setting) AS text \
         FROM pg_settings WHERE name = 'wal_level' AND setting <> 'logical'",
    ),
    check(
        "slot_bound",
        Stop,
        "unbounded: a slot that nobody reads keeps WAL until the disk of production is full",
        "bound it: losing GREEN is better than losing BLUE",
        "SELECT 'max_slot_wal_keep_size' AS object FROM pg_settings WHERE name = 'max_slot_wal_keep_size' AND setting = '-1'",
    ),
    // GREEN of a large instance is built in hours, and nothing reads its slot meanwhile.
    check(
        "wal_room",
        Warn,
        "",
        "raise the bound, as far as the disk allows, or build GREEN in a quiet time",
        "SELECT 'max_slot_wal_keep_size' AS object, format('at the average rate since %s (%s of WAL in an hour) the bound of %s is \
           reached in %s hours: GREEN has to be built by then, else its slot is lost', date_trunc('second', since), \
           pg_size_pretty(rate * 3600), pg_size_pretty(bound), round(bound / rate / 3600, 1)) AS text \
         FROM (SELECT since, wal_bytes / greatest(extract(epoch FROM clock_timestamp() - since)::numeric, 1) AS rate FROM (SELECT \
             wal_bytes, coalesce(stats_reset, pg_postmaster_start_time()) AS since FROM pg_stat_wal) s) w, \
           (SELECT setting::numeric * 1048576 AS bound FROM pg_settings WHERE name = 'max_slot_wal_keep_size' AND setting <> '-1') b \
         WHERE rate > 0 AND bound / rate < 24 * 3600",
    )
    .from(14),
    check(
        "idle_slot_timeout",
        Stop,
        "",
        "idle_replication_slot_timeout = 0",
        "SELECT 'idle_replication_slot_timeout' AS object, \
           format('it is %s: the slot would be given up while GREEN is made', setting || coalesce(unit, '')) AS text \
         FROM pg_settings WHERE name = 'idle_replication_slot_timeout' AND setting <> '0'",
    )
    .from(18),
    // Each database needs a slot and a walsender for GREEN, an origin and a worker for the way back. Slots and origins
    // are counted apart, although both are bounded by max_replication_slots below 18.
    check(
        "free_slots",
        Stop,
        "",
        "raise it, then restart",
        "WITH need(n) AS (SELECT count(*) FROM pg_database WHERE datallowconn AND NOT datistemplate AND datname <> 'rdsadmin'), \
           used(name, what, n) AS ( \
             SELECT 'max_replication_slots', 'slots', (SELECT count(*) FROM pg_replication_slots) \
             UNION ALL SELECT CASE WHEN current_setting('server_version_num')::int >= 180000 THEN 'max_active_replication_origins' \
                 ELSE 'max_replication_slots' END, 'origins', (SELECT count(*) FROM pg_replication_origin) \
             UNION ALL SELECT 'max_wal_senders', 'walsenders', (SELECT count(*) FROM pg_stat_replication) \
             UNION ALL SELECT 'max_logical_replication_workers', 'workers', \
                 (SELECT count(*) FROM pg_stat_subscription WHERE pid IS NOT NULL) \
             UNION ALL SELECT 'max_worker_processes', 'workers', (SELECT count(*) FROM pg_stat_activity WHERE backend_type NOT IN \
                 ('client backend', 'walsender', 'autovacuum launcher', 'autovacuum worker', 'checkpointer', 'background writer', \
                  'walwriter', 'archiver', 'startup', 'walreceiver', 'walsummarizer', 'slotsync worker', 'io worker', 'logger', \
                  'parallel worker'))) \
         SELECT s.name AS object, string_agg(format('%s of %s %s are in use, and each of %s databases needs one', \
             used.n, s.setting, used.what, need.n), '; ') AS text \
         FROM used JOIN pg_settings s ON s.name = used.name, need WHERE s.setting::int8 - used.n < need.n GROUP BY s.name ORDER BY 1",
    ),
    check(
        "closed_database",
        Stop,
        "pg_upgrade refuses databases that allow no connections",
        "ALTER DATABASE .. ALLOW_CONNECTIONS true, or drop it",
        "SELECT format('%I', datname) AS object FROM pg_database WHERE NOT datallowconn AND datname NOT IN ('template0', 'rdsadmin') \
         ORDER BY 1",
    ),
    check(
        "role_name",
        Stop,
        "names that begin with pg_ are the server's own; pg_upgrade refuses them",
        "ALTER ROLE .. RENAME",
        "SELECT format('%I', rolname) AS object FROM pg_roles WHERE oid >= 16384 AND rolname LIKE 'pg\\_%' ORDER BY 1",
    ),
    // A fence refuses superusers, and members of rds_superuser can open it again.
    check(
        "superuser_login",
        Stop,
        "",
        "take its LOGIN, or let it log in on purpose by keep_open; nothing then stops what it writes",
        concat!(
            "SELECT format('%I', r.rolname) AS object, format('%s with %s sessions: no fence stops it', \
               CASE WHEN r.rolsuper THEN 'a superuser' ELSE 'a member of rds_superuser' END, count(a.pid)) AS text, \
               CASE WHEN r.rolsuper OR count(a.pid) > 0 THEN 'stop' ELSE 'warn' END AS verdict \
             FROM pg_roles r LEFT JOIN pg_stat_activity a ON a.usesysid = r.oid AND a.backend_type = 'client backend' \
             WHERE ",
            fenced!(),
            " AND (r.rolsuper OR EXISTS (SELECT FROM pg_roles s WHERE s.rolname = 'rds_superuser' \
                AND pg_has_role(r.oid, s.oid, 'MEMBER'))) GROUP BY r.oid, r.rolname, r.rolsuper ORDER BY 1"
        ),
    )
    .taking(Takes::KeepOpen),
    // The fence excepts the login that pgrun works with, so whoever else uses it writes on.
    check(
        "master_login",
        Stop,
        "",
        "end them, and give the application a role of its own",
        "SELECT format('%s from %s', coalesce(nullif(application_name, ''), 'a session without a name'), \
             coalesce(host(client_addr), 'local')) AS object, \
           format('%s sessions of %I, which no fence stops', count(*), current_user) AS text \
         FROM pg_stat_activity WHERE backend_type = 'client backend' AND usename = current_user \
           AND application_name NOT LIKE 'pgrun/%' GROUP BY application_name, client_addr ORDER BY 1",
    ),
    // From 16 on ALTER ROLE needs ADMIN OPTION; RDS goes on without it for members of rds_superuser.
    check(
        "role_admin",
        Stop,
        "pgrun's role may not take LOGIN from it (no ADMIN OPTION), so the fence would fail",
        "GRANT it to pgrun's role WITH ADMIN OPTION",
        concat!(
            "SELECT format('%I', r.rolname) AS object FROM pg_roles r, pg_roles me WHERE me.rolname = current_user \
               AND NOT me.rolsuper AND NOT r.rolsuper AND ",
            fenced!(),
            " AND NOT pg_has_role(r.oid, 'MEMBER WITH ADMIN OPTION') AND NOT EXISTS (SELECT FROM pg_roles s \
                WHERE s.rolname = 'rds_superuser' AND pg_has_role(me.oid, s.oid, 'MEMBER')) ORDER BY 1"
        ),
    )
    .from(16)
    .taking(Takes::KeepOpen),
    check(
        "plain_session",
        Warn,
        "",
        "let it use TLS, or GREEN with rds.force_ssl = 0 (it is 1 from 15 on)",
        "SELECT format('%I', a.usename) AS object, format('%s sessions without TLS from other machines', count(*)) AS text \
         FROM pg_stat_activity a JOIN pg_stat_ssl s ON s.pid = a.pid WHERE NOT s.ssl AND a.backend_type = 'client backend' \
           AND NOT coalesce(a.client_addr << '127.0.0.0/8' OR a.client_addr = '::1', true) GROUP BY a.usename ORDER BY 1",
    ),
];
