//! Every check of the inventory finds what it is for, on both versions, and nothing on an empty database.

use pgrun::pg::{inventory, publication, slot, subscription};

use super::fixture;

/// What stands in the way is named; waivers hang on these ids.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_check_names_what_it_finds() {
    let (pair, _turn) = fixture::alone().await;
    for side in [&pair.blue, &pair.green] {
        let database = side.database("inventory").await;
        let session = database.psql();
        let of_database = |finding: &inventory::Finding| {
            !["slot_bound", "free_slots", "extension", "foreign_slot", "role_name"].contains(&finding.id.as_str())
        };
        let clean = inventory::findings(&session).await.unwrap();
        assert!(clean.iter().filter(|finding| of_database(finding)).count() == 0, "{clean:#?}");

        let owner = fixture::unique("owner");
        session
            .batch(&format!(
                "CREATE TABLE \"No \"\"Key\" (i int); CREATE TABLE full_row (i int); ALTER TABLE full_row REPLICA IDENTITY FULL;
                 CREATE UNLOGGED TABLE fleeting (i int PRIMARY KEY); CREATE TABLE kept (i int PRIMARY KEY, p regproc);
                 CREATE MATERIALIZED VIEW seen AS SELECT 1 AS i; CREATE ROLE {owner};
                 CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
                 CREATE TRIGGER audit AFTER INSERT ON kept FOR EACH ROW EXECUTE FUNCTION nothing();
                 ALTER TABLE kept ENABLE ALWAYS TRIGGER audit; SELECT lo_create(0);
                 CREATE FUNCTION on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
                 CREATE EVENT TRIGGER ddl ON ddl_command_end EXECUTE FUNCTION on_ddl();
                 CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; CREATE FOREIGN TABLE far (i int) SERVER s"
            ))
            .await
            .unwrap();
        let name = fixture::unique("slot");
        slot::create(&session, &name, std::time::Duration::from_secs(20)).await.unwrap();
        let found = inventory::findings(&session).await.unwrap();
        let has =
            |id: &str, object: &str| found.iter().any(|finding| finding.id == id && finding.object.contains(object));
        for (id, object) in [
            ("replica_identity", "public.\"No \"\"Key\""),
            ("replica_identity_full", "public.full_row"),
            ("unlogged", "public.fleeting"),
            ("reg_type", "public.kept.p"),
            ("materialized_view", "public.seen"),
            ("always_trigger", "audit on public.kept"),
            ("large_objects", "pg_largeobject"),
            ("event_trigger", "ddl"),
            ("foreign_table", "public.far"),
            ("foreign_slot", &name),
        ] {
            assert!(has(id, object), "{id}: {found:#?}");
        }
        assert!(found.iter().all(|finding| !finding.text.is_empty() && !finding.hint.is_empty()));
        assert!(!has("replica_identity", "full_row") && !has("replica_identity", "kept"));

        session.batch("BEGIN").await.unwrap_err();
        let quoted = found.iter().find(|finding| finding.id == "large_objects").unwrap();
        assert!(quoted.text.starts_with("1 large objects"));
        slot::drop(&session, &name, pgrun::base::poll::Patience::ms(10, 10_000)).await.unwrap();
        session.batch(&format!("DROP EVENT TRIGGER ddl; DROP ROLE {owner}")).await.unwrap();
        assert!(publication::state(&session, "none").await.unwrap().is_none());
        assert!(subscription::all(&session).await.unwrap().is_empty());
    }
}

/// A role without special rights may look too: what concerns owners and row security is then found as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ordinary_role_sees_what_concerns_it() {
    let (pair, _turn) = fixture::alone().await;
    for side in [&pair.blue, &pair.green] {
        let database = side.database("inventory").await;
        let admin = database.psql();
        let role = fixture::unique("looker");
        admin
            .batch(&format!(
                "CREATE ROLE {role} LOGIN PASSWORD 'secret'; CREATE TABLE secret (i int PRIMARY KEY); \
                 ALTER TABLE secret ENABLE ROW LEVEL SECURITY"
            ))
            .await
            .unwrap();
        let found = inventory::findings(&database.login(&role)).await.unwrap();
        let has = |id: &str, object: &str| found.iter().any(|finding| finding.id == id && finding.object == object);
        assert!(has("row_security", "public.secret") && has("table_owner", "postgres"), "{found:#?}");
        assert!(inventory::findings(&admin).await.unwrap().iter().all(|finding| finding.id != "row_security"));
        admin.batch(&format!("DROP ROLE {role}")).await.unwrap();
    }
}
