//! The inventory finds what it promises to find, and nothing in an empty database.

use pgrun::pg::inventory::{self, Scope};

use super::fixture;

/// One of everything that a check of the database is about.
const TROUBLE: &str = r#"
    CREATE TABLE public."no Key" (i int);
    CREATE TABLE public.full_row (i int); ALTER TABLE public.full_row REPLICA IDENTITY FULL;
    CREATE TABLE public.good (i int PRIMARY KEY, r regproc);
    CREATE UNLOGGED TABLE public.fast (i int PRIMARY KEY);
    SELECT lo_create(0);
    ALTER TABLE public.good ENABLE ROW LEVEL SECURITY;
    CREATE FUNCTION public.f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
    CREATE TRIGGER always BEFORE INSERT ON public.good FOR EACH ROW EXECUTE FUNCTION public.f();
    ALTER TABLE public.good ENABLE ALWAYS TRIGGER always;
    CREATE FUNCTION public.e() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$;
    CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION public.e();
    CREATE FOREIGN DATA WRAPPER w; CREATE SERVER far FOREIGN DATA WRAPPER w; CREATE FOREIGN TABLE public.away (i int) SERVER far;
    CREATE MATERIALIZED VIEW public.kept AS SELECT 1 AS i;
    CREATE SUBSCRIPTION elsewhere CONNECTION 'host=nowhere' PUBLICATION p WITH (connect = false, slot_name = NONE);
"#;

#[tokio::test]
async fn every_check_of_a_database_finds_its_case() {
    let (pair, _turn) = fixture::shared().await;
    for side in [&pair.blue, &pair.green] {
        let empty = side.database("empty").await.session();
        pgrun::pg::own::ensure(&empty).await.unwrap();
        let found: Vec<_> =
            inventory::look(&empty, Scope::Database).await.unwrap().into_iter().map(|f| (f.check, f.object)).collect();
        assert_eq!(found, [("extensions".to_owned(), "plpgsql".to_owned())]);

        let db = side.database("trouble").await;
        let session = db.session();
        session.batch(TROUBLE).await.unwrap();
        let found = inventory::look(&session, Scope::Database).await.unwrap();
        let of = |check: &str| found.iter().filter(|f| f.check == check).map(|f| f.object.as_str()).collect::<Vec<_>>();
        assert_eq!(of("replica-identity"), ["public.no Key"]);
        assert_eq!(of("replica-identity-full"), ["public.full_row"]);
        assert_eq!(of("unlogged"), ["public.fast"]);
        assert_eq!(of("large-objects"), ["large objects"]);
        assert_eq!(of("row-security"), ["public.good"]);
        assert_eq!(of("replica-triggers"), ["public.good: always"]);
        assert_eq!(of("subscriptions"), ["elsewhere"]);
        assert_eq!(of("reg-types"), ["public.good.r"]);
        assert_eq!(of("event-triggers"), ["watch"]);
        assert_eq!(of("foreign-tables"), ["public.away"]);
        assert_eq!(of("materialized-views"), ["public.kept"]);
        assert_eq!(
            found.first().map(|f| (f.verdict.as_str(), f.database.as_deref())),
            Some(("stop", Some(db.name.as_str())))
        );
        assert_eq!(found.last().map(|f| f.verdict.as_str()), Some("note"), "worst first");
        session.batch("DROP SUBSCRIPTION elsewhere; DROP EVENT TRIGGER watch").await.unwrap();
    }
}

#[tokio::test]
async fn the_server_is_looked_at_once() {
    let (pair, _turn) = fixture::alone().await;
    for side in [&pair.blue, &pair.green] {
        let db = side.database("server").await;
        let session = db.session();
        let writer = db.psql();
        writer.batch("CREATE TABLE t (i int)").await.unwrap();
        writer.batch("SET application_name = 'billing'").await.unwrap();
        let raw = db.side.target(&db.name);
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(raw.port()).user(raw.user()).password(side.password().expose()).dbname(&db.name);
        let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute("BEGIN; INSERT INTO public.t VALUES (1); PREPARE TRANSACTION 'waiting'").await.unwrap();
        let found = inventory::look(&session, Scope::Server).await.unwrap();
        client.batch_execute("ROLLBACK PREPARED 'waiting'").await.unwrap();
        client.batch_execute("SELECT pg_create_physical_replication_slot('theirs')").await.unwrap();
        let slots = inventory::look(&session, Scope::Server).await.unwrap();
        client.batch_execute("SELECT pg_drop_replication_slot('theirs')").await.unwrap();
        let has = |found: &[inventory::Finding], check: &str, object: &str| {
            found.iter().any(|f| f.check == check && f.object == object)
        };
        assert!(has(&found, "prepared-transactions", "waiting"), "{found:?}");
        assert!(
            found.iter().any(|f| f.check == "operator-in-use" && f.detail.as_deref().unwrap().contains("billing")),
            "{found:?}"
        );
        assert!(has(&slots, "foreign-slots", "theirs"), "{slots:?}");
        assert!(
            !found
                .iter()
                .any(|f| ["wal-level", "slot-wal-bound", "free-slots", "role-names"].contains(&f.check.as_str())),
            "{found:?}"
        );
        let mut ids: Vec<_> = inventory::checks().iter().map(|c| c.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), inventory::checks().len(), "a finding is waived by its check's name");
    }
}
