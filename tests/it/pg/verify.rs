//! The proof that two databases hold the same rows: equal for equal rows on every version, different for any change.

use pgrun::{
    base::{Code, Value},
    lab::SAMPLE,
    pg::{
        Change, Difference, Session,
        verify::{self, Count},
    },
};

use super::fixture::{self, Database};

async fn loaded(database: &Database) -> Session {
    let session = database.session();
    session.batch(SAMPLE).await.unwrap();
    session
}

fn named<'a>(found: &'a [Difference], name: &str) -> &'a Difference {
    found.iter().find(|difference| difference.name == name).unwrap()
}

fn of(counts: &[Count], name: &str) -> Count {
    counts.iter().find(|count| count.name == name).unwrap().clone()
}

/// The rehearsal's proof: the sample on the older and on the newer server has equal sums, and whatever is changed on
/// one of them shows in its table and in no other.
#[tokio::test]
async fn equal_rows_are_equal_on_both_versions_and_changed_ones_are_found() {
    let (pair, _turn) = fixture::shared().await;
    let (blue, green) = (pair.blue.database("verify").await, pair.green.database("verify").await);
    let (b, g) = (loaded(&blue).await, loaded(&green).await);
    let there = verify::tables(&b).await.unwrap();
    assert_eq!(verify::compare(&there, &verify::tables(&g).await.unwrap()), []);
    assert_eq!(there.len(), 20);
    assert_eq!(there.iter().map(|count| count.rows).sum::<i64>(), 19_953);
    let parents = ["orders", "orders_2024", "payments", "revenue_by_month"];
    assert!(there.iter().all(|count| !parents.contains(&count.name.as_str())), "only what holds rows is counted");

    g.batch(
        r#"UPDATE "Lager & Größen"."📦 Pakete" SET "Rest" = coalesce("Rest", 0) WHERE "Sendung №" = 'JJD000000199982';
           DELETE FROM shop.audit_log WHERE ctid = (SELECT min(ctid) FROM shop.audit_log);
           INSERT INTO shop.audit_log SELECT * FROM shop.audit_log WHERE ctid = (SELECT max(ctid) FROM shop.audit_log);
           UPDATE shop.product SET dimensions[2] = dimensions[2] + 1e-17 WHERE id = 700;
           UPDATE shop.payments SET method = 'transfer' WHERE id = 5;
           UPDATE shop.customer SET full_name = full_name || ' ' WHERE id = 1005;
           CREATE TABLE shop.later (id int PRIMARY KEY);
           DROP TABLE shop.inventory;
           UPDATE shop.country SET vat = vat;"#,
    )
    .await
    .unwrap();
    let found = verify::compare(&there, &verify::tables(&g).await.unwrap());
    let names: Vec<(&str, Change)> =
        found.iter().map(|difference| (difference.name.as_str(), difference.what)).collect();
    let expected = [
        ("\"Lager & Größen\".\"📦 Pakete\"", Change::Changed),
        ("shop.audit_log", Change::Changed),
        ("shop.customer", Change::Changed),
        ("shop.inventory", Change::Missing),
        ("shop.later", Change::Extra),
        ("shop.payments_bank", Change::Changed),
        ("shop.payments_counter", Change::Changed),
        ("shop.product", Change::Changed),
    ];
    assert_eq!(names, expected);
    let logged = named(&found, "shop.audit_log");
    assert!(logged.there.as_ref().unwrap().starts_with("600 rows, checksum "), "{logged:?}");
    assert!(logged.here.as_ref().unwrap().starts_with("600 rows, checksum "), "{logged:?}");
    assert_eq!(named(&found, "shop.later").here.as_deref(), Some("0 rows, checksum 0000000000000000"));
}

/// Values whose text form hangs on a setting or on the version: the sums must be equal although both databases are set
/// differently.
#[tokio::test]
async fn no_setting_changes_a_sum() {
    let (pair, _turn) = fixture::shared().await;
    let (blue, green) = (pair.blue.database("verify").await, pair.green.database("verify").await);
    let mut sums = Vec::new();
    for (db, settings) in [
        (&blue, ["timezone = 'Asia/Kathmandu'", "datestyle = 'German'", "bytea_output = 'escape'"]),
        (&green, ["lc_monetary = 'C.UTF-8'", "extra_float_digits = -15", "intervalstyle = 'postgres_verbose'"]),
    ] {
        let session = db.session();
        session
            .batch(
                r#"CREATE TABLE public.text (a "char", b money, c float8, d float4, e timestamptz, f interval, g bytea, h regclass,
                                             i timestamptz[], j json, k tstzrange, "T" text, t text);
                   INSERT INTO public.text VALUES (chr(228)::"char", 1234.5, 0.1::float8 + 0.2::float8, 1e-7, 'epoch',
                       '-1 day +02:03:04.5', '\x00ff', 'public.text', '{2024-10-27 01:30+02, infinity}', '{"b":1, "a":  2}',
                       '[2024-03-31 02:30+01,)', 'upper', 'lower'),
                     ('x', '-0.01', '-0', 'NaN', '-infinity', '1 year', '', 'pg_class', NULL, NULL, 'empty', '', NULL);
                   CREATE TABLE public."none" ();
                   INSERT INTO public."none" DEFAULT VALUES;
                   ALTER TABLE public."none" ADD COLUMN gone int; ALTER TABLE public."none" DROP COLUMN gone;"#,
            )
            .await
            .unwrap();
        for setting in settings {
            session.batch(&format!("ALTER DATABASE \"{}\" SET {setting}; SET {setting}", db.name)).await.unwrap();
        }
        sums.push(verify::tables(&session).await.unwrap());
        // The order of the columns is the order of their names, and that of the rows does not matter.
        session.batch("CREATE TABLE public.again AS SELECT t, \"T\", k, j, i, h, g, f, e, d, c, b, a FROM public.text ORDER BY b")
            .await
            .unwrap();
        let again = verify::tables(&session).await.unwrap();
        assert_eq!(of(&again, "again").checksum, of(&again, "text").checksum);
    }
    assert_eq!(verify::compare(&sums[0], &sums[1]), []);
    assert_eq!((of(&sums[0], "none").rows, of(&sums[0], "text").rows), (1, 2));
}

/// A row that the reader does not see, or a table that it does not reach, would be a difference nobody finds.
#[tokio::test]
async fn what_cannot_be_read_whole_is_an_error() {
    let (pair, _turn) = fixture::shared().await;
    for side in [&pair.blue, &pair.green] {
        let db = side.database("verify").await;
        let role = fixture::unique("verifier");
        db.session()
            .batch(&format!(
                "CREATE ROLE {role} LOGIN PASSWORD 'secret';
                 CREATE TABLE public.mine (i int); GRANT SELECT ON public.mine TO {role};
                 CREATE TABLE public.closed (i int);"
            ))
            .await
            .unwrap();
        let reader = db.login(&role);
        let error = verify::tables(&reader).await.unwrap_err();
        assert_eq!((error.code(), error.fact("sqlstate")), (Code::PgSql, Some("42501")));
        db.session()
            .batch(&format!(
                "GRANT SELECT ON public.closed TO {role}; ALTER TABLE public.mine ENABLE ROW LEVEL SECURITY;
                 CREATE POLICY none ON public.mine USING (false)"
            ))
            .await
            .unwrap();
        let error = verify::tables(&reader).await.unwrap_err();
        assert_eq!((error.code(), error.fact("sqlstate")), (Code::PgSql, Some("42501")), "{error:?}");
        let mut listed = verify::list(&reader).await.unwrap();
        listed.retain(|table| table.name == "closed");
        assert_eq!(verify::count(&reader, &listed).await.unwrap()[0].rows, 0);
        db.session().batch("DROP TABLE public.closed").await.unwrap();
        let error = verify::count(&reader, &listed).await.unwrap_err();
        let sentence =
            format!("`public.closed` cannot be counted: there is no such table in {}", reader.target().label());
        assert_eq!((error.code(), error.message()), (Code::PgValue, sentence.as_str()));
    }
}

/// What replication does not carry is no part of the proof: it would always differ, or say nothing.
#[tokio::test]
async fn only_what_replication_carries_is_counted() {
    let (pair, _turn) = fixture::shared().await;
    let db = pair.blue.database("verify").await;
    let session = db.session();
    session
        .batch(
            "CREATE SCHEMA pgrun; CREATE TABLE pgrun.probe (i int); CREATE UNLOGGED TABLE public.unlogged (i int);
             CREATE TABLE public.parent (i int); INSERT INTO public.parent VALUES (1), (2);
             CREATE TABLE public.child () INHERITS (public.parent); INSERT INTO public.child VALUES (3);
             CREATE VIEW public.view AS SELECT * FROM public.parent;
             CREATE MATERIALIZED VIEW public.matview AS SELECT * FROM public.parent;
             CREATE TEMP TABLE passing (i int)",
        )
        .await
        .unwrap();
    // The session's own transaction goes on undisturbed, and what it has not committed does not count.
    session.begin().await.unwrap();
    session.execute("INSERT INTO public.child VALUES (4)", &[]).await.unwrap();
    let counts = verify::tables(&session).await.unwrap();
    assert_eq!(session.value("SELECT count(*) FROM public.child", &[]).await.unwrap(), Value::Int(2));
    session.rollback().await.unwrap();
    let shown: Vec<(&str, i64)> = counts.iter().map(|count| (count.name.as_str(), count.rows)).collect();
    assert_eq!(shown, [("child", 1), ("parent", 2)]);
}
