//! Fingerprints: no false difference between versions, and no true one missed. Contents: rows compared whatever their order.

use pgrun::{
    base::{Code, Value},
    pg::{own, schema, verify},
};

use super::fixture;

const RICH: &str = include_str!("rich.sql");

/// The same DDL on an old and a new server is the same schema, pgrun's own schema or not.
#[tokio::test]
async fn versions_print_differently_and_compare_equal() {
    let (pair, _turn) = fixture::shared().await;
    let (b, g) = (pair.blue.database("rich").await.psql(), pair.green.database("rich").await.psql());
    for session in [&b, &g] {
        session.batch(RICH).await.unwrap();
    }
    own::ensure(&g).await.unwrap();
    let (first, second) = (schema::fingerprint(&b).await.unwrap(), schema::fingerprint(&g).await.unwrap());
    let changes = schema::diff(&first, &second);
    assert!(
        changes.is_empty(),
        "{changes:?}\n{:?}\n{:?}",
        schema::definitions(&b, &changes).await,
        schema::definitions(&g, &changes).await
    );
    let kinds: std::collections::BTreeSet<&str> = first.iter().map(|entry| entry.kind.as_str()).collect();
    for kind in [
        "schema",
        "table",
        "column",
        "index",
        "constraint",
        "view",
        "materialized view",
        "rule",
        "sequence",
        "function",
        "trigger",
        "policy",
        "type",
        "domain",
        "extension",
        "statistics",
        "grant",
    ] {
        assert!(kinds.contains(kind), "{kind} is not among {kinds:?}");
    }
}

/// Each change of DDL shows up, under the kind and name that a person would look for.
#[tokio::test]
async fn every_kind_of_drift_is_found() {
    let (pair, _turn) = fixture::shared().await;
    for side in [&pair.blue, &pair.green] {
        let session = side.database("drift").await.psql();
        session.batch(RICH).await.unwrap();
        let mut before = schema::fingerprint(&session).await.unwrap();
        let token = schema::token(&session).await.unwrap();
        session.batch("ANALYZE").await.unwrap();
        session.execute("VACUUM public.parent", &[]).await.unwrap();
        session.batch("INSERT INTO public.log VALUES (now(), 1, 'x'); SELECT nextval('public.loose')").await.unwrap();
        assert_eq!(schema::token(&session).await.unwrap(), token, "rows are no DDL");
        for (ddl, wanted) in [
            ("ALTER TABLE public.parent ADD COLUMN extra int", "column public.parent.extra added"),
            ("ALTER TABLE public.parent ALTER COLUMN tags SET NOT NULL", "column public.parent.tags changed"),
            ("ALTER TABLE public.parent ALTER COLUMN m SET DEFAULT 'sad'", "column public.parent.m changed"),
            (
                "ALTER TABLE \"My \"\"App\"\" é\".\"Kid's table\" ALTER COLUMN v TYPE varchar(30)",
                "column \"My \"\"App\"\" é\".\"Kid's table\".v changed",
            ),
            ("CREATE INDEX late_one ON public.log_1 (id)", "index public.late_one added"),
            ("ALTER TABLE public.parent DROP CONSTRAINT \"Odd name\"", "constraint public.parent.\"Odd name\" missing"),
            (
                "CREATE OR REPLACE VIEW public.v2 AS SELECT id, at FROM public.parent UNION ALL SELECT id + 1, at FROM public.log ORDER BY 1",
                "view public.v2 changed",
            ),
            (
                "CREATE OR REPLACE FUNCTION public.trg() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN OLD; END $$",
                "function public.trg() changed",
            ),
            ("ALTER TABLE public.parent DISABLE TRIGGER tr", "trigger public.parent.tr changed"),
            ("ALTER POLICY pol ON public.parent USING (true)", "policy public.parent.pol changed"),
            ("ALTER TYPE public.mood ADD VALUE 'late'", "type public.mood changed"),
            ("ALTER DOMAIN public.email DROP NOT NULL", "domain public.email changed"),
            ("ALTER SEQUENCE public.loose INCREMENT -3", "sequence public.loose changed"),
            ("REVOKE SELECT ON public.log FROM pg_monitor", "grant table public.log changed"),
            ("ALTER TABLE public.refs REPLICA IDENTITY DEFAULT", "table public.refs changed"),
            ("ALTER TABLE public.log DETACH PARTITION public.log_d", "table public.log_d changed"),
            ("CREATE SCHEMA late", "schema late added"),
            ("DROP MATERIALIZED VIEW public.mv", "materialized view public.mv missing"),
            ("DROP STATISTICS public.st", "statistics public.st missing"),
            ("DROP RULE ru ON public.refs", "rule public.refs.ru missing"),
        ] {
            session.batch(ddl).await.unwrap_or_else(|error| panic!("{ddl}: {error:?}"));
            let after = schema::fingerprint(&session).await.unwrap();
            let said: Vec<String> =
                schema::diff(&before, &after).iter().map(|c| format!("{} {} {}", c.kind, c.name, c.what)).collect();
            assert!(said.iter().any(|change| change == wanted), "{ddl} on {}: {said:?}", side.major);
            before = after;
        }
        assert_ne!(schema::token(&session).await.unwrap(), token);
        let changes =
            [schema::Change { kind: "column".into(), name: "public.parent.extra".into(), what: "added".into() }];
        let told = schema::definitions(&session, &changes).await.unwrap();
        assert_eq!(told[0].definition, "integer; position 8");
    }
}

/// Roles and their settings drift too; LOGIN is the fence's business.
#[tokio::test]
async fn roles_have_a_fingerprint() {
    let (pair, _turn) = fixture::alone().await;
    let session = pair.blue.database("roles").await.session();
    let role = fixture::unique("drifting");
    session.batch(&format!("CREATE ROLE {role} LOGIN")).await.unwrap();
    let before = schema::roles_fingerprint(&session).await.unwrap();
    session.batch(&format!("ALTER ROLE {role} NOLOGIN")).await.unwrap();
    assert_eq!(schema::diff(&before, &schema::roles_fingerprint(&session).await.unwrap()), []);
    session
        .batch(&format!(
            "ALTER ROLE {role} CREATEDB; GRANT pg_monitor TO {role}; ALTER ROLE {role} SET work_mem = '7MB'"
        ))
        .await
        .unwrap();
    let said: Vec<_> = schema::diff(&before, &schema::roles_fingerprint(&session).await.unwrap())
        .into_iter()
        .map(|c| format!("{} {} {}", c.kind, c.name, c.what))
        .collect();
    assert_eq!(
        said,
        [
            format!("membership {role} in pg_monitor added"),
            format!("role {role} changed"),
            format!("setting {role} on every database: work_mem added")
        ]
    );
}

/// Equal rows in any order are equal; one row more, less, doubled or altered is not.
#[tokio::test]
async fn contents_are_compared_whatever_their_order() {
    const TABLES: &str = r#"CREATE SCHEMA "S s"; CREATE TABLE "S s"."It's ""T"" 🙂" (a int, "B b" text, f float8, t timestamptz, j jsonb, y bytea, p point);
        CREATE TABLE public.log (at date, n numeric) PARTITION BY RANGE (at);
        CREATE TABLE public.leaf PARTITION OF public.log DEFAULT; CREATE TABLE public.empty (); CREATE UNLOGGED TABLE public.u (i int)"#;
    const ROWS: &str = r#"INSERT INTO "S s"."It's ""T"" 🙂" SELECT i, 'v' || i, i / 3.0, '2026-01-01'::timestamptz + i * interval '1 s', jsonb_build_object('i', i),
        decode(lpad(to_hex(i), 8, '0'), 'hex'), point(i, i) FROM generate_series(1, 500) i ORDER BY"#;
    let (pair, _turn) = fixture::shared().await;
    let (b, g) = (pair.blue.database("rows").await.session(), pair.green.database("rows").await.session());
    for (session, order) in [(&b, "i"), (&g, "i DESC")] {
        session.batch(TABLES).await.unwrap();
        session
            .batch(&format!("{ROWS} {order}; INSERT INTO public.log VALUES ('2026-01-01', 1.10), (NULL, NULL)"))
            .await
            .unwrap();
        own::ensure(session).await.unwrap();
        own::sentinel(session, "run", "differs").await.unwrap();
    }
    let verified = verify::compare(&b, &g).await.unwrap();
    assert!(verified.rows_equal(), "{verified:?}");
    assert_eq!((verified.tables, verified.rows), (3, 502), "leaf, empty, and the awkward one");
    verified.require().unwrap();
    let table = r#""S s"."It's ""T"" 🙂""#;
    for change in [
        format!("UPDATE {table} SET f = f + 1e-9 WHERE a = 7"),
        format!("INSERT INTO {table} SELECT * FROM {table} WHERE a = 8"),
        format!("DELETE FROM {table} WHERE a = 9"),
        format!("UPDATE {table} SET \"B b\" = NULL WHERE a = 10"),
        "UPDATE public.log SET n = 1.1 WHERE n = 1.10".to_owned(),
        "CREATE TABLE public.late (i int)".to_owned(),
    ] {
        g.batch("CHECKPOINT").await.unwrap();
        g.batch(&change).await.unwrap();
        let unequal = verify::compare(&b, &g).await.unwrap();
        assert!(!unequal.rows_equal(), "{change}");
        assert_eq!(unequal.require().unwrap_err().code(), Code::RequireFailed);
    }
    // Row security would hide rows: no silent half of a table.
    let role = fixture::unique("blind");
    b.batch(&format!("CREATE ROLE {role} LOGIN PASSWORD 'secret'; GRANT USAGE ON SCHEMA \"S s\" TO {role}; \
        GRANT SELECT ON ALL TABLES IN SCHEMA \"S s\", public TO {role}; ALTER TABLE public.empty ENABLE ROW LEVEL SECURITY")).await.unwrap();
    let blind = pgrun::pg::Session::new(
        b.target().clone().with_login(&role, Some(pgrun::base::Secret::new("secret"))),
        pgrun::pg::Settings::of_run("x"),
    );
    let error = verify::compare(&blind, &b).await.unwrap_err();
    assert_eq!(error.fact("sqlstate"), Some("42501"), "{error:?}");
    assert_eq!(b.value("SELECT count(*) FROM public.empty", &[]).await.unwrap(), Value::Int(0));
}
