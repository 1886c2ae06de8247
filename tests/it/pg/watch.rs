//! Who changed a definition: seen by the event triggers without harm to anybody, and told with what differs.

use pgrun::{
    base::Value,
    pg::{
        Session, own,
        schema::{
            self,
            drift::{self, Drift, Equal},
        },
        watch,
    },
};

use super::fixture::{self, Database};

/// A database that is watched, and a role that may make tables in it.
async fn watched(side: &'static fixture::Side) -> (Database, Session, String) {
    let database = side.database("watch").await;
    let session = database.session();
    let role = fixture::unique("maker");
    own::install(&session).await.unwrap();
    session
        .batch(&format!("CREATE ROLE {role} LOGIN PASSWORD 'secret'; GRANT ALL ON SCHEMA public TO {role}"))
        .await
        .unwrap();
    (database, session, role)
}

async fn strike(session: &Session, role: &str) {
    session.batch(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
}

/// `COMMAND KIND OBJECT`, the first one first.
async fn commands(session: &Session) -> Vec<String> {
    let mut deeds = watch::deeds(session).await.unwrap();
    deeds.reverse();
    deeds.iter().map(|d| format!("{} {} {}", d.command, d.kind, d.object.as_deref().unwrap_or("-"))).collect()
}

/// What somebody defines is written down with who it was; what one session has to itself, what defines nothing and what
/// pgrun does is not. Neither is the text of a statement. To a comparison of definitions the watch is not there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_changes_a_definition_is_written_down() {
    let (pair, _turn) = fixture::shared().await;
    for side in [&pair.blue, &pair.green] {
        let (database, session, role) = watched(side).await;
        let before = (schema::token(&session).await.unwrap(), schema::fingerprint(&session).await.unwrap());
        for _ in 0..2 {
            assert_eq!(watch::begin(&session).await.unwrap(), None);
        }
        let after = (schema::token(&session).await.unwrap(), schema::fingerprint(&session).await.unwrap());
        assert_eq!(before, after);
        session.batch("CREATE TABLE public.own (i int)").await.unwrap();
        let maker = database.login(&role);
        for sql in [
            "CREATE TABLE public.t (id bigint PRIMARY KEY)",
            "CREATE TEMPORARY TABLE mine (i int); CREATE INDEX ON mine (i); DROP TABLE mine",
            "INSERT INTO public.t VALUES (1)",
            "ALTER TABLE public.t ADD v text DEFAULT 'hunter2', ADD w text",
            "CREATE INDEX \"Größe\" ON public.t (v)",
            "CREATE MATERIALIZED VIEW public.m AS SELECT 'hunter2' AS x; REFRESH MATERIALIZED VIEW public.m; REINDEX TABLE public.t",
            "GRANT SELECT ON public.t TO PUBLIC",
            "DROP TABLE public.t CASCADE",
        ] {
            maker.batch(sql).await.unwrap();
        }
        let seen = commands(&session).await;
        let expected = [
            "CREATE TABLE table public.t",
            "CREATE TABLE index public.t_pkey",
            "ALTER TABLE table public.t",
            "CREATE INDEX index public.\"Größe\"",
            "CREATE MATERIALIZED VIEW materialized view public.m",
            "GRANT TABLE -",
            "DROP TABLE table public.t",
        ];
        for wanted in expected {
            assert!(seen.iter().any(|line| line == wanted), "{wanted} in {seen:?}");
        }
        assert!(
            !seen.iter().any(|line| line.contains("mine") || line.contains("REINDEX") || line.contains("own")),
            "{seen:?}"
        );
        let deed = watch::deeds(&session).await.unwrap().pop().unwrap();
        assert_eq!((deed.login.as_str(), deed.application.as_str()), (role.as_str(), "pgrun/app"));
        assert_eq!(deed.client.as_deref(), Some("127.0.0.1"));
        let all = session.value("SELECT string_agg(d::text, '') FROM pgrun.ddl d", &[]).await.unwrap();
        assert!(!all.as_text().unwrap().contains("hunter2"));
        // Somebody who is not pgrun, by pgrun's own login.
        side.nameless(&database.name).await.batch_execute("CREATE TABLE public.by_hand (i int)").await.unwrap();
        assert_eq!(commands(&session).await.last().unwrap(), "CREATE TABLE table public.by_hand");
        own::remove(&session).await.unwrap();
        let left = session.value("SELECT count(*) FROM pg_event_trigger", &[]).await.unwrap();
        assert_eq!(left, Value::Int(0));
        assert_eq!(watch::deeds(&session).await.unwrap(), []);
        maker.batch("CREATE TABLE public.later (i int)").await.unwrap();
        strike(&session, &role).await;
    }
}

/// Production does not stop for a watch: it may be broken, locked or forbidden.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_fails_no_statement() {
    let (pair, _turn) = fixture::shared().await;
    let (database, session, role) = watched(&pair.blue).await;
    assert_eq!(watch::begin(&session).await.unwrap(), None);
    let maker = database.login(&role);
    let other = database.session();
    other.begin().await.unwrap();
    other.batch("LOCK TABLE pgrun.ddl IN ACCESS EXCLUSIVE MODE").await.unwrap();
    maker.batch("CREATE TABLE public.beside_a_lock (i int)").await.unwrap();
    other.rollback().await.unwrap();
    session.batch("DROP TABLE pgrun.ddl").await.unwrap();
    maker.batch("CREATE TABLE public.without_a_table (i int); DROP TABLE public.without_a_table").await.unwrap();
    own::install(&session).await.unwrap();
    maker.batch("CREATE TABLE public.mended (i int)").await.unwrap();
    assert_eq!(commands(&session).await, ["CREATE TABLE table public.mended"]);
    own::remove(&session).await.unwrap();
    assert!(watch::begin(&session).await.unwrap().is_some(), "no schema, no watch");

    // Outside RDS only a superuser makes event triggers.
    let admin = &session;
    admin.batch(&format!("GRANT CREATE ON DATABASE \"{}\" TO {role}", database.name)).await.unwrap();
    own::install(&maker).await.unwrap();
    let refused = watch::begin(&maker).await.unwrap().unwrap();
    assert!(refused.contains("permission denied to create event trigger"), "{refused}");
    own::remove(&maker).await.unwrap();
    strike(admin, &role).await;
}

/// A drift on either side is told with what, how, who and when, on every look until it is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_apart_is_told_with_who_did_it() {
    let (pair, _turn) = fixture::shared().await;
    let (blue, there, role) = watched(&pair.blue).await;
    let green = pair.green.database("watch").await;
    let here = green.session();
    own::install(&here).await.unwrap();
    for session in [&there, &here] {
        watch::begin(session).await.unwrap();
        // It is made and granted in other ways by the versions.
        session
            .batch("DROP SCHEMA public; CREATE SCHEMA shop; CREATE TABLE shop.orders (id bigint PRIMARY KEY)")
            .await
            .unwrap();
    }
    let said = |found: &[Drift]| -> Vec<String> {
        found.iter().map(|d| format!("{} {} {}", d.what.name(), d.kind, d.name)).collect()
    };
    let mut equal = Equal::default();
    assert_eq!(equal.drift(&there, &here).await.unwrap(), []);
    let noted = schema::fingerprint(&there).await.unwrap();
    assert_eq!(drift::since(&noted, &there).await.unwrap(), []);

    let maker = pair.blue.nameless(&blue.name).await;
    maker.batch_execute("SET application_name = 'migrate'; ALTER TABLE shop.orders ADD v text").await.unwrap();
    let hand = pair.green.nameless(&green.name).await;
    hand.batch_execute("CREATE INDEX by_hand ON shop.orders (id)").await.unwrap();
    for _ in 0..2 {
        let found = equal.drift(&there, &here).await.unwrap();
        assert_eq!(said(&found), ["extra index shop.by_hand", "changed table shop.orders"]);
        let table = &found[1];
        assert_eq!((table.there.as_deref(), table.here.as_deref()), (Some("column v text"), Some("")));
        let by = table.by.as_deref().unwrap();
        assert!(by.starts_with("ALTER TABLE by postgres with migrate from 127.0.0.1 at 20"), "{by}");
        assert!(found[0].by.as_deref().unwrap().starts_with("CREATE INDEX by postgres"));
    }
    let since = drift::since(&noted, &there).await.unwrap();
    assert_eq!(said(&since), ["changed table shop.orders"]);
    assert_eq!(since[0].here.as_deref(), Some("column v text"));
    // The ways out: the same there, or undone here.
    hand.batch_execute("ALTER TABLE shop.orders ADD v text; DROP INDEX shop.by_hand").await.unwrap();
    assert_eq!(equal.drift(&there, &here).await.unwrap(), []);
    maker.batch_execute("COMMENT ON TABLE shop.orders IS 'x'").await.unwrap();
    let found = equal.drift(&there, &here).await.unwrap();
    assert_eq!(said(&found), ["missing comment table shop.orders"]);
    assert!(found[0].by.as_deref().unwrap().starts_with("COMMENT by postgres"), "{found:?}");
    strike(&there, &role).await;
}
