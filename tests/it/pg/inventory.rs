//! Every check of the inventory finds what it is for, on both versions, and nothing on an empty database.

use pgrun::{
    base::poll::{self, Patience},
    pg::{
        Session,
        inventory::{self, Finding, Part, Verdict, Wish},
        slot,
    },
};

use super::fixture;

/// What is planted in a database: the id, what makes it, the object that is named.
const PLANTED: [(&str, Verdict, &str, &str); 17] = [
    ("replica_identity", Verdict::Stop, "CREATE TABLE \"No \"\"Key\" (i int)", "public.\"No \"\"Key\""),
    (
        "replica_identity_full",
        Verdict::Warn,
        "CREATE TABLE full_row (i int); ALTER TABLE full_row REPLICA IDENTITY FULL",
        "public.full_row",
    ),
    (
        "replica_identity_full_type",
        Verdict::Stop,
        "CREATE TABLE shapes (i int, \"É\" json[]); ALTER TABLE shapes REPLICA IDENTITY FULL",
        "public.shapes.\"É\"",
    ),
    ("unlogged", Verdict::Stop, "CREATE UNLOGGED TABLE fleeting (i int PRIMARY KEY)", "public.fleeting"),
    ("reg_type", Verdict::Stop, "CREATE TABLE kept (i int PRIMARY KEY, p regproc)", "public.kept.p"),
    ("materialized_view", Verdict::Info, "CREATE MATERIALIZED VIEW seen AS SELECT 1 AS i", "public.seen"),
    (
        "always_trigger",
        Verdict::Warn,
        "CREATE TABLE fired (i int PRIMARY KEY);
         CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
         CREATE TRIGGER audit AFTER INSERT ON fired FOR EACH ROW EXECUTE FUNCTION nothing();
         ALTER TABLE fired ENABLE ALWAYS TRIGGER audit",
        "audit on public.fired",
    ),
    (
        "always_trigger",
        Verdict::Warn,
        "CREATE TABLE copied (i int PRIMARY KEY);
         CREATE TRIGGER \"Copy\" AFTER INSERT ON copied FOR EACH ROW EXECUTE FUNCTION nothing();
         ALTER TABLE copied ENABLE REPLICA TRIGGER \"Copy\"",
        "\"Copy\" on public.copied",
    ),
    ("large_objects", Verdict::Stop, "SELECT lo_create(0)", "pg_largeobject"),
    (
        "event_trigger",
        Verdict::Warn,
        "CREATE FUNCTION on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
         CREATE EVENT TRIGGER ddl ON ddl_command_end EXECUTE FUNCTION on_ddl()",
        "ddl",
    ),
    (
        "foreign_table",
        Verdict::Warn,
        "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; CREATE FOREIGN TABLE far (i int) SERVER s",
        "public.far",
    ),
    (
        "pg_cron_job",
        Verdict::Stop,
        "CREATE SCHEMA cron; CREATE TABLE cron.job (jobid int PRIMARY KEY, schedule text, command text, username text, active bool);
         INSERT INTO cron.job VALUES (7, '* * * * *', 'SELECT ''hunter2''', 'app', true), (8, '@daily', '', 'app', false)",
        "job 7",
    ),
    (
        "extension_table",
        Verdict::Stop,
        "CREATE TABLE member (i int PRIMARY KEY); ALTER EXTENSION plpgsql ADD TABLE member",
        "public.member",
    ),
    (
        "own_subscription",
        Verdict::Stop,
        "CREATE SUBSCRIPTION \"Mine\" CONNECTION 'dbname=x' PUBLICATION p WITH (connect = false)",
        "\"Mine\"",
    ),
    (
        "extension_outdated",
        Verdict::Warn,
        "UPDATE pg_extension SET extversion = '0.9' WHERE extname = 'plpgsql'",
        "plpgsql",
    ),
    ("pg_cron", Verdict::Warn, "UPDATE pg_extension SET extname = 'pg_cron' WHERE extname = 'plpgsql'", "pg_cron"),
    ("extension_removed", Verdict::Stop, "UPDATE pg_extension SET extname = 'adminpack' WHERE extname = 'pg_cron'", "adminpack"),
];

fn has(found: &[Finding], id: &str, verdict: Verdict, object: &str) -> bool {
    found.iter().any(|finding| finding.id == id && finding.verdict == verdict && finding.object.contains(object))
}

async fn of(session: &Session, part: Part, wish: &Wish) -> Vec<Finding> {
    let found = inventory::findings_of(session, part, wish).await.unwrap();
    for finding in &found {
        assert!(!finding.text.is_empty() && !finding.hint.is_empty(), "{finding:?}");
        assert_eq!(finding.database.is_empty(), part == Part::Server, "{finding:?}");
        assert!(inventory::ids().any(|id| id == finding.id), "{finding:?} cannot be waived");
    }
    found
}

/// What stands in the way is named with its database; waivers hang on these ids. An empty database has none of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_check_of_a_database_names_what_it_finds() {
    let (pair, _turn) = fixture::alone().await;
    for side in [&pair.blue, &pair.green] {
        let database = side.database("inventory").await;
        let session = database.psql();
        let wish = Wish { target: Some(18), keep_open: vec![] };
        assert_eq!(of(&session, Part::Database, &wish).await, []);
        for (id, verdict, sql, object) in PLANTED {
            session.batch(sql).await.unwrap_or_else(|error| panic!("{id}: {error}"));
            let found = of(&session, Part::Database, &wish).await;
            assert!(has(&found, id, verdict, object), "{id}: {found:#?}");
            assert!(found.iter().all(|finding| finding.database == database.name), "{found:#?}");
        }
        let found = of(&session, Part::Database, &wish).await;
        assert!(!has(&found, "replica_identity", Verdict::Stop, "full_row"), "{found:#?}");
        assert!(!has(&found, "pg_cron_job", Verdict::Stop, "job 8"), "{found:#?}");
        assert!(!format!("{found:?}").contains("hunter2"), "a job's command may hold a password");
        let older = of(&session, Part::Database, &Wish { target: Some(16), keep_open: vec![] }).await;
        assert!(!has(&older, "extension_removed", Verdict::Stop, ""), "16 still has adminpack");
        session.batch("DROP EVENT TRIGGER ddl; ALTER SUBSCRIPTION \"Mine\" SET (slot_name = NONE)").await.unwrap();
        session.batch("DROP SUBSCRIPTION \"Mine\"").await.unwrap();
    }
}

/// Orders that moved under their indexes, where the server was built with ICU: locales of a libc may have no version.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moved_collations_are_named() {
    let (pair, _turn) = fixture::shared().await;
    for side in [&pair.blue, &pair.green] {
        let session = side.database("inventory").await.psql();
        let moved = "CREATE COLLATION \"Moved\" (provider = icu, locale = 'de'); \
                     UPDATE pg_collation SET collversion = '0' WHERE collname = 'Moved'";
        match session.batch(moved).await {
            Err(error) if error.message().contains("ICU is not supported in this build") => continue,
            made => made.unwrap(),
        }
        for part in [Part::Database, Part::Copy] {
            let found = of(&session, part, &Wish::default()).await;
            assert!(has(&found, "collation", Verdict::Warn, "public.\"Moved\""), "{found:#?}");
        }
        if side.major < 15 {
            continue;
        }
        let name = fixture::unique("icu");
        let made =
            format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'de'");
        session.batch(&made).await.unwrap();
        session.batch(&format!("UPDATE pg_database SET datcollversion = '0' WHERE datname = '{name}'")).await.unwrap();
        let other = Session::new(side.target(&name), pgrun::pg::Settings::of_run("psql"));
        let found = of(&other, Part::Database, &Wish::default()).await;
        assert!(has(&found, "database_collation", Verdict::Warn, &name), "{found:#?}");
    }
}

/// What is about the whole server is found from every database, and belongs to none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_check_of_a_server_names_what_it_finds() {
    let (pair, _turn) = fixture::alone().await;
    for side in [&pair.blue, &pair.green] {
        let database = side.database("inventory").await;
        let session = database.psql();
        let (slot, role, closed) = (fixture::unique("slot"), fixture::unique("Root"), fixture::unique("closed"));
        let reserved = fixture::unique("reserved");
        slot::create(&session, &slot, std::time::Duration::from_secs(20)).await.unwrap();
        session.batch(&format!("CREATE ROLE \"{role}\" SUPERUSER LOGIN")).await.unwrap();
        // Only an upgrade from before 9.6 could have brought such a name.
        let named = format!(
            "CREATE ROLE {reserved}; UPDATE pg_authid SET rolname = 'pg_{reserved}' WHERE rolname = '{reserved}'"
        );
        session.batch(&named).await.unwrap();
        session.batch(&format!("CREATE DATABASE {closed} ALLOW_CONNECTIONS false")).await.unwrap();
        let none = Wish::default();
        // An application that logs in as pgrun does: no fence stops it.
        let nameless = side.nameless(&database.name).await;
        let prepared = "CREATE TABLE t (i int); BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'it''s'";
        nameless.batch_execute(prepared).await.unwrap();
        let found = of(&session, Part::Server, &none).await;
        for (id, verdict, object) in [
            ("foreign_slot", Verdict::Stop, slot.as_str()),
            ("superuser_login", Verdict::Stop, role.as_str()),
            ("closed_database", Verdict::Stop, closed.as_str()),
            ("role_name", Verdict::Stop, reserved.as_str()),
            ("prepared_transaction", Verdict::Stop, "'it''s'"),
            ("master_login", Verdict::Stop, "lab from 127.0.0.1"),
        ] {
            assert!(has(&found, id, verdict, object), "{id}: {found:#?}");
        }
        drop(nameless);
        // Who is to stay open is no finding.
        let wish = Wish { target: None, keep_open: vec![role.clone()] };
        assert!(!has(&of(&session, Part::Server, &wish).await, "superuser_login", Verdict::Stop, &role), "{found:#?}");
        let end = "ROLLBACK PREPARED 'it''s'";
        side.nameless(&database.name).await.batch_execute(end).await.unwrap();
        slot::drop(&session, &slot, Patience::ms(10, 10_000)).await.unwrap();
        session.batch(&format!("DROP ROLE \"{role}\"")).await.unwrap();
        session.batch(&format!("DROP DATABASE {closed}")).await.unwrap();
        let back = format!(
            "UPDATE pg_authid SET rolname = '{reserved}' WHERE rolname = 'pg_{reserved}'; DROP ROLE {reserved}"
        );
        session.batch(&back).await.unwrap();
        let clean = of(&session, Part::Server, &none).await;
        for id in ["foreign_slot", "closed_database", "prepared_transaction", "role_name"] {
            assert!(clean.iter().all(|finding| finding.id != id), "{clean:#?}");
        }
    }
}

/// A session knows its server's settings as it sees them: bounds, levels and free places are compared with the need.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_are_compared_with_the_need() {
    use pgrun::lab::postgres::{Server, ServerOptions};
    let catalogue = fixture::catalogue().await;
    let (from, to) = catalogue.pair(None, None).unwrap();
    for version in [from, to] {
        let mut options = ServerOptions::default();
        for (name, value) in [
            ("wal_level", "replica"),
            ("max_replication_slots", "2"),
            ("max_wal_senders", "2"),
            ("max_logical_replication_workers", "2"),
            ("max_slot_wal_keep_size", "1MB"),
        ] {
            options.settings.insert(name.into(), value.into());
        }
        if version.major >= 18 {
            options.settings.insert("idle_replication_slot_timeout".into(), "60".into());
            options.settings.insert("max_active_replication_origins".into(), "2".into());
        }
        let mut server = Server::scratch(&catalogue.obtain(version).await.unwrap(), options).await.unwrap();
        let session = fixture::session_of(&server, "postgres");
        session.batch("CREATE DATABASE one").await.unwrap();
        session.batch("CREATE DATABASE two").await.unwrap();
        // Enough WAL for a rate.
        session.batch("CREATE TABLE public.t AS SELECT repeat('x', 1000) FROM generate_series(1, 5000)").await.unwrap();
        let found = of(&session, Part::Server, &Wish::default()).await;
        for (id, verdict, object, from_major) in [
            ("wal_level", Verdict::Stop, "wal_level", 13),
            ("free_slots", Verdict::Stop, "max_replication_slots", 13),
            ("free_slots", Verdict::Stop, "max_wal_senders", 13),
            ("free_slots", Verdict::Stop, "max_logical_replication_workers", 13),
            ("free_slots", Verdict::Stop, "max_active_replication_origins", 18),
            ("wal_room", Verdict::Warn, "max_slot_wal_keep_size", 14),
            ("idle_slot_timeout", Verdict::Stop, "idle_replication_slot_timeout", 18),
        ] {
            let is_wanted = version.major >= from_major;
            assert_eq!(has(&found, id, verdict, object), is_wanted, "{id} {object}: {found:#?}");
        }
        let slots = found.iter().find(|finding| finding.object == "max_replication_slots").unwrap();
        assert!(slots.text.contains("0 of 2 slots are in use, and each of 3 databases needs one"), "{slots:?}");
        assert!(!has(&found, "slot_bound", Verdict::Stop, ""), "{found:#?}");
        server.settings_mut().insert("max_slot_wal_keep_size".into(), "-1".into());
        server.reload().unwrap();
        poll::until("the bound to be gone", Patience::ms(10, 10_000), async || {
            let found = of(&session, Part::Server, &Wish::default()).await;
            let is_there = has(&found, "slot_bound", Verdict::Stop, "max_slot_wal_keep_size");
            Ok(if is_there { poll::Seen::Ready(()) } else { poll::Seen::NotYet(format!("{found:?}")) })
        })
        .await
        .unwrap();
    }
}

/// A role without special rights may look too: what concerns owners and row security is then found as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ordinary_role_sees_what_concerns_it() {
    let (pair, _turn) = fixture::alone().await;
    for side in [&pair.blue, &pair.green] {
        let database = side.database("inventory").await;
        let admin = database.psql();
        let (role, other) = (fixture::unique("looker"), fixture::unique("other"));
        admin
            .batch(&format!(
                "CREATE ROLE {role} LOGIN CREATEROLE PASSWORD 'secret'; CREATE ROLE {other} LOGIN; \
                 CREATE TABLE secret (i int PRIMARY KEY); ALTER TABLE secret ENABLE ROW LEVEL SECURITY"
            ))
            .await
            .unwrap();
        let session = database.login(&role);
        let wish = |target| Wish { target, keep_open: vec![] };
        let found = of(&session, Part::Database, &wish(Some(15))).await;
        assert!(has(&found, "row_security", Verdict::Stop, "public.secret"), "{found:#?}");
        // From 16 on the apply worker needs SET ROLE to the owner, on either side.
        let verdict = if side.major >= 16 { Verdict::Stop } else { Verdict::Warn };
        assert!(has(&found, "table_owner", verdict, "postgres"), "{found:#?}");
        let found = of(&session, Part::Database, &wish(Some(16))).await;
        assert!(has(&found, "table_owner", Verdict::Stop, "postgres"), "{found:#?}");
        let found = of(&session, Part::Server, &wish(None)).await;
        assert_eq!(has(&found, "role_admin", Verdict::Stop, &other), side.major >= 16, "{found:#?}");
        assert!(found.iter().all(|finding| finding.object != "not seen"), "{found:#?}");
        // What it may not look at may be there.
        admin
            .batch(
                "CREATE SCHEMA cron; CREATE TABLE cron.job (jobid int PRIMARY KEY, schedule text, \
             username text, active bool)",
            )
            .await
            .unwrap();
        admin.batch(&format!("GRANT USAGE ON SCHEMA cron TO {role}")).await.unwrap();
        let found = of(&session, Part::Database, &wish(None)).await;
        assert!(has(&found, "pg_cron_job", Verdict::Stop, "not seen"), "{found:#?}");
        admin.batch("DROP SCHEMA cron CASCADE").await.unwrap();
        let found = inventory::findings(&admin, &wish(None)).await.unwrap();
        assert!(
            found.iter().all(|f| !["row_security", "role_admin", "table_owner"].contains(&f.id.as_str())),
            "{found:#?}"
        );
        admin.batch(&format!("DROP ROLE {role}; DROP ROLE {other}")).await.unwrap();
    }
}

/// What the upgraded server lacks is only known there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_asked_for_its_extensions() {
    let (pair, _turn) = fixture::shared().await;
    let session = pair.green.database("inventory").await.psql();
    assert_eq!(of(&session, Part::Copy, &Wish::default()).await, []);
    session.batch("UPDATE pg_extension SET extversion = '0.9' WHERE extname = 'plpgsql'").await.unwrap();
    let found = of(&session, Part::Copy, &Wish::default()).await;
    assert!(has(&found, "extension_update", Verdict::Warn, "plpgsql"), "{found:#?}");
    assert!(found[0].text.contains("which it no longer has"), "{found:#?}");
    session.batch("UPDATE pg_extension SET extname = 'gone' WHERE extname = 'plpgsql'").await.unwrap();
    let found = of(&session, Part::Copy, &Wish::default()).await;
    assert!(has(&found, "extension_missing", Verdict::Stop, "gone"), "{found:#?}");
}
