//! Two servers compared row by row: what differs is found and named, what is the same is not, whatever the versions.

use std::time::Duration;

use pgrun::{
    base::Code,
    lab::SAMPLE,
    pg::{
        Change, Session,
        verify::pair::{Options, Report, Unlike, pair},
    },
};

use super::{
    fixture,
    replication::{self, Stream},
};

fn options() -> Options {
    Options {
        tables: vec![],
        one_in: 1,
        rows_per_second: None,
        connections: 2,
        deadline: Duration::from_secs(120),
        slice: None,
        keys: 20,
        slot: None,
        from: None,
    }
}

async fn compared(there: &Session, here: &Session, options: &Options) -> Report {
    pair(there, here, options, &|_| ()).await.unwrap()
}

fn rows(unlike: &Unlike) -> Vec<(&str, Change)> {
    unlike.rows.iter().map(|row| (row.key.as_str(), row.what)).collect()
}

/// A database on each side, with the same statements run in both.
async fn sides(sql: &str) -> (Session, Session, fixture::Turn) {
    let (pair, turn) = fixture::shared().await;
    let (blue, green) = (pair.blue.database("compare").await.session(), pair.green.database("compare").await.session());
    for side in [&blue, &green] {
        side.batch(sql).await.unwrap();
    }
    (blue, green, turn)
}

/// Types whose equal values are easy to see as different ones, and the other way round.
const VALUES: &str = r#"
    CREATE TYPE public.pair AS (a int, b text);
    CREATE TABLE public.v (id int PRIMARY KEY, n numeric, f float8, t timestamptz, j jsonb, a int[], s text, b bytea,
                           p public.pair, g int GENERATED ALWAYS AS (id * 2) STORED);
    INSERT INTO public.v (id, n, f, t, j, a, s, b, p)
        SELECT i, 1.0, 0.1::float8 + 0.2::float8, '2024-10-27 01:30+02', '{"b": 1, "a": [2]}', '{1,NULL}', '', '\x00',
               '(1,)'::public.pair FROM generate_series(1, 12) i;"#;

/// One planted difference of each kind, and nothing else.
#[tokio::test]
async fn every_planted_difference_is_named() {
    let (blue, green, _turn) = sides(VALUES).await;
    // Equal, although written otherwise.
    green
        .batch(
            r#"UPDATE public.v SET j = '{"a": [2], "b": 1}', t = '2024-10-26 23:30+00', f = 0.30000000000000004,
                                   a = ARRAY[1, NULL], b = '\000'"#,
        )
        .await
        .unwrap();
    assert_eq!(compared(&blue, &green, &options()).await.different, []);
    green
        .batch(
            r#"UPDATE public.v SET n = 1.00 WHERE id = 1; UPDATE public.v SET f = 0.3 WHERE id = 2;
               UPDATE public.v SET t = t + interval '1 microsecond' WHERE id = 3;
               UPDATE public.v SET j = '{"b": 1, "a": [3]}' WHERE id = 4; UPDATE public.v SET a = '{1,0}' WHERE id = 5;
               UPDATE public.v SET s = NULL WHERE id = 6; UPDATE public.v SET b = '\x0000' WHERE id = 7;
               UPDATE public.v SET p = (1, '') WHERE id = 8; DELETE FROM public.v WHERE id = 9;
               INSERT INTO public.v (id) VALUES (13); UPDATE public.v SET id = 14 WHERE id = 10;"#,
        )
        .await
        .unwrap();
    let report = compared(&blue, &green, &options()).await;
    let [found] = report.different.as_slice() else { panic!("{report:?}") };
    let changed = (1..=8).map(|id| (format!("({id})"), Change::Changed));
    let mut wanted: Vec<(String, Change)> = changed.collect();
    wanted.extend([("(9)".into(), Change::Missing), ("(10)".into(), Change::Missing)]);
    wanted.extend([("(13)".into(), Change::Extra), ("(14)".into(), Change::Extra)]);
    wanted.sort_by(|a, b| a.0.cmp(&b.0));
    let wanted: Vec<(&str, Change)> = wanted.iter().map(|(key, what)| (key.as_str(), *what)).collect();
    assert_eq!(rows(found), wanted);
    assert_eq!((found.name.as_str(), found.what, found.all_rows), ("public.v", Change::Changed, true));
    assert_eq!((found.range.as_str(), report.rows, &report.next), ("all rows", 12, &None));
    assert!(found.there.as_ref().unwrap().starts_with("12 rows, checksum "), "{found:?}");

    let few = compared(&blue, &green, &Options { keys: 3, ..options() }).await;
    assert_eq!((few.different[0].rows.len(), few.different[0].all_rows), (3, false));
}

/// The sample schema: 20 tables with partitions, odd names and types; loaded on two versions it is the same, whole and
/// as a sample, and so it stays when it is read slowly over one connection.
#[tokio::test]
async fn equal_databases_are_equal() {
    let (blue, green, _turn) = sides(SAMPLE).await;
    for given in [
        options(),
        Options { one_in: 7, ..options() },
        Options { connections: 1, rows_per_second: Some(100_000), ..options() },
    ] {
        let report = compared(&blue, &green, &given).await;
        assert_eq!((report.different, report.tables, report.rows), (vec![], 20, 19_953));
    }
    // Other columns are not other rows: they are told as what they are.
    green.batch("ALTER TABLE shop.country ADD \"New One\" int; DROP TABLE shop.inventory").await.unwrap();
    let report = compared(&blue, &green, &options()).await;
    let told: Vec<_> = report.different.iter().map(|unlike| (unlike.name.as_str(), unlike.what)).collect();
    assert_eq!(told, [("shop.country", Change::Changed), ("shop.inventory", Change::Missing)]);
    assert_eq!(report.different[0].here.as_deref(), Some("columns New One, code, name, vat"));
    let only = Options { tables: vec!["\"Lager & Größen\".\"📦 Pakete\"".into()], ..options() };
    assert_eq!(compared(&blue, &green, &only).await.tables, 1);
    let nowhere = Options { tables: vec!["shop.order".into()], ..options() };
    let error = pair(&blue, &green, &nowhere, &|_| ()).await.unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::PgValue, "`shop.order` is on neither side"));
}

/// The table of a [`Stream`].
const TABLE: &str = r#"public."It's ""T"" 🙂""#;

/// Large enough to be read by ranges, with a key of two columns and a name that SQL does not like.
const LARGE: &str = r#"
    CREATE SCHEMA "It's ""Q"" é🙂";
    CREATE TABLE "It's ""Q"" é🙂"."select (" ("Ke""y" text COLLATE "C", "or" bigint, pad text,
                                             PRIMARY KEY ("Ke""y", "or"));
    INSERT INTO "It's ""Q"" é🙂"."select (" SELECT 'k''\' || i % 7 || 'é', i, repeat('x', 400)
        FROM generate_series(1, 60000) i;
    CREATE TABLE public.unkeyed (i int, pad text);
    INSERT INTO public.unkeyed SELECT i, repeat('y', 400) FROM generate_series(1, 60000) i;
    ANALYZE;"#;

const NAME: &str = r#""It's ""Q"" é🙂"."select (""#;

/// Ranges: rows in three of them differ, at the beginning, amid and behind the end of the other side.
#[tokio::test]
async fn ranges_of_keys_lead_to_the_rows() {
    let (blue, green, _turn) = sides(LARGE).await;
    let report = compared(&blue, &green, &options()).await;
    assert_eq!((report.different, report.rows, report.tables), (vec![], 120_000, 2));
    green
        .batch(&format!(
            r#"UPDATE {NAME} SET pad = 'z' WHERE "or" = 7; DELETE FROM {NAME} WHERE "or" = 3;
               INSERT INTO {NAME} VALUES ('~', 1, NULL); UPDATE public.unkeyed SET pad = '' WHERE i = 5;"#
        ))
        .await
        .unwrap();
    let report = compared(&blue, &green, &options()).await;
    let [keyed, unkeyed] = report.different.as_slice() else { panic!("{report:?}") };
    let wanted =
        [("(\"k'\\\\0é\",7)", Change::Changed), ("(\"k'\\\\3é\",3)", Change::Missing), ("(~,1)", Change::Extra)];
    let mut found = rows(keyed);
    found.sort_by_key(|row| row.0);
    assert_eq!(found, wanted);
    assert_eq!((keyed.name.as_str(), keyed.ranges, keyed.all_rows), (NAME, 3, true));
    assert_eq!(keyed.key, ["Ke\"y", "or"]);
    assert!(keyed.range.starts_with("(Ke\"y, or) "), "{}", keyed.range);
    assert_eq!((unkeyed.name.as_str(), unkeyed.range.as_str()), ("public.unkeyed", "all rows"));
    assert_eq!((unkeyed.rows.len(), unkeyed.all_rows), (0, false));

    // A sample of every row but one in a million misses the change, and never the count.
    let sample = compared(&blue, &green, &Options { one_in: 1_000_000_007, ..options() }).await;
    let keyed = sample.different.iter().find(|unlike| unlike.name == NAME).unwrap();
    assert!(keyed.ranges >= 1 && keyed.rows.is_empty(), "{keyed:?}");

    // In parts, as a run does that dies now and then: together they find the same and read nothing twice.
    let mut from = None;
    let (mut parts, mut read, mut names) = (0, 0, vec![]);
    loop {
        let given = Options { slice: Some(Duration::ZERO), connections: 1, from, ..options() };
        let report = compared(&blue, &green, &given).await;
        parts += 1;
        read += report.rows;
        names.extend(report.different.iter().flat_map(|unlike| unlike.rows.iter().map(|row| row.key.clone())));
        from = report.next;
        if from.is_none() {
            break;
        }
    }
    names.sort();
    assert_eq!(names, wanted.map(|(key, _)| key.to_owned()));
    assert!(parts > 4, "{parts}");
    assert_eq!(read, 120_000);
}

/// A collation that sorts otherwise on the other side: ranges would tear equal tables apart.
#[tokio::test]
async fn another_order_is_no_difference() {
    let (blue, green, _turn) = sides("SELECT 1").await;
    for (side, collation) in [(&blue, "C"), (&green, "POSIX")] {
        side.batch(&format!(
            "CREATE TABLE public.t (k text COLLATE \"{collation}\" PRIMARY KEY, pad text);
             INSERT INTO public.t SELECT md5(i::text), repeat('x', 400) FROM generate_series(1, 60000) i"
        ))
        .await
        .unwrap();
    }
    green.batch("UPDATE public.t SET pad = '' WHERE k = md5('77')").await.unwrap();
    let report = compared(&blue, &green, &options()).await;
    let [found] = report.different.as_slice() else { panic!("{report:?}") };
    assert_eq!((found.range.as_str(), found.rows.len(), found.all_rows), ("all rows", 1, true));
}

/// A comparison that is held to a rate does not finish before its deadline, and ends there with a sentence.
#[tokio::test]
async fn a_deadline_and_a_rate_are_kept() {
    let (blue, green, _turn) = sides(LARGE).await;
    let begun = pgrun::base::clock::instant();
    let slow = Options { rows_per_second: Some(60_000), tables: vec![NAME.into()], ..options() };
    let error = pair(&blue, &green, &Options { deadline: Duration::from_millis(200), ..slow }, &|_| ()).await;
    let error = error.unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::Timeout, "the comparison took longer than 200 ms"));
    assert!(begun.elapsed() < Duration::from_secs(30));
}

/// While changes flow, what is only late is no difference, and what is really different is.
#[tokio::test]
async fn a_difference_counts_only_when_the_stream_has_passed() {
    let (pair, _turn) = fixture::shared().await;
    for (from, to) in [(&pair.blue, &pair.green), (&pair.green, &pair.blue)] {
        let stream = Stream::new(from.database("flow").await, to.database("flow").await).await;
        stream.subscribe("flow", true).await.unwrap();
        replication::insert(&stream.publisher, "first").await;
        replication::await_rows(&stream.subscriber, 1).await;
        let writer = stream.from.session();
        let writing = tokio::spawn(async move {
            loop {
                replication::insert(&writer, "x").await;
                let update =
                    format!("UPDATE {TABLE} SET v = v || 'y' WHERE ctid IN (SELECT ctid FROM {TABLE} LIMIT 3)");
                writer.execute(&update, &[]).await.unwrap();
            }
        });
        let given = Options { slot: Some(stream.slot.clone()), ..options() };
        for _ in 0..5 {
            let report = compared(&stream.publisher, &stream.subscriber, &given).await;
            assert_eq!(report.different, []);
        }
        // A row that nobody has written on the first side.
        stream.subscriber.batch(&format!("INSERT INTO {TABLE} (v) VALUES ('extra')")).await.unwrap();
        let report = compared(&stream.publisher, &stream.subscriber, &given).await;
        let kinds: Vec<_> = report.different.iter().flat_map(|unlike| &unlike.rows).map(|row| row.what).collect();
        assert_eq!(kinds, [Change::Extra], "{report:?}");
        writing.abort();
        drop(writing.await);
        let missing = Options { slot: Some("no such slot".into()), ..options() };
        let error = pair_of(&stream, &missing).await;
        assert_eq!(error.code(), Code::RequireFailed);
        stream.end("flow").await;
    }
}

async fn pair_of(stream: &Stream, options: &Options) -> pgrun::base::Error {
    pair(&stream.publisher, &stream.subscriber, options, &|_| ()).await.unwrap_err()
}
