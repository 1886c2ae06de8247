//! Values there and back: every built-in type, its arrays, its edges.

use pgrun::{
    base::{Code, Lsn, Map, Value},
    map,
    pg::Session,
};

use super::fixture;

async fn read(session: &Session, expression: &str) -> Value {
    session.value(&format!("SELECT {expression} AS v"), &[]).await.unwrap_or_else(|e| panic!("{expression}: {e:?}"))
}

fn tagged(ty: &str, text: &str) -> Value {
    Value::Map(map! { "type" => ty, "text" => text })
}

fn decimal(text: &str) -> Value {
    Value::Decimal(text.parse().unwrap())
}

/// What each type becomes. The texts are those that PostgreSQL takes back as input.
#[tokio::test]
async fn every_type_is_read() {
    let (pair, _turn) = fixture::shared().await;
    for side in [&pair.blue, &pair.green] {
        let db = side.database("types").await;
        let session = db.psql();
        session.batch("CREATE TYPE mood AS ENUM ('sad', 'so \"so\"'); CREATE DOMAIN short AS varchar(3) CHECK (value <> 'x'); \
            CREATE TYPE pair AS (a int, b text); CREATE DOMAIN moods AS mood[]").await.unwrap();
        let text = |text: &str| Value::from(text);
        let cases = [
            ("NULL::int", Value::Null),
            ("true", Value::Bool(true)),
            ("'-32768'::int2", Value::Int(-32768)),
            ("2147483647", Value::Int(2_147_483_647)),
            ("'-9223372036854775808'::int8", Value::Int(i64::MIN)),
            ("4294967295::oid", Value::Int(4_294_967_295)),
            ("'7'::xid", Value::Int(7)),
            ("'9000000000'::xid8", Value::Int(9_000_000_000)),
            ("'3'::cid", Value::Int(3)),
            ("0.1::float4", Value::Float(0.1)),
            ("'-Infinity'::float8", Value::Float(f64::NEG_INFINITY)),
            ("1.10", decimal("1.10")),
            ("-0.00012340::numeric", decimal("-0.00012340")),
            ("12345678901234567890.12345678", decimal("12345678901234567890.12345678")),
            ("0::numeric(10,3)", decimal("0.000")),
            ("100000000::numeric", decimal("100000000")),
            ("1e40::numeric", text("10000000000000000000000000000000000000000")),
            ("'NaN'::numeric", text("NaN")),
            ("'é🙂'::text", text("é🙂")),
            ("'ab'::char(4)", text("ab  ")),
            ("'x'::\"char\"", text("x")),
            ("'n'::name", text("n")),
            ("'abc'::short", text("abc")),
            ("'so \"so\"'::mood", text("so \"so\"")),
            ("ARRAY['sad']::moods", Value::List(vec![text("sad")])),
            ("'\\x00ff'::bytea", Value::Bytes(vec![0, 255])),
            ("'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'::uuid", text("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")),
            (
                "'{\"a\": [1, null, 1.5]}'::json",
                Value::Map(map! { "a" => Value::List(vec![Value::Int(1), Value::Null, Value::Float(1.5)]) }),
            ),
            ("'\"x\"'::jsonb", text("x")),
            ("'2026-02-28'::date", text("2026-02-28")),
            ("'infinity'::date", text("infinity")),
            ("'0044-03-15 BC'::date", text("0044-03-15 BC")),
            ("'24:00:00'::time", text("24:00:00")),
            ("'04:05:06.789-08'::timetz", text("04:05:06.789-08:00")),
            ("'2026-11-20 15:12:07.5'::timestamp", text("2026-11-20T15:12:07.5")),
            ("'2026-11-20 15:12:07+02'::timestamptz", text("2026-11-20T13:12:07Z")),
            ("'-infinity'::timestamptz", text("-infinity")),
            ("'4713-11-24 00:00:00 BC'::timestamp", text("4713-11-24T00:00:00 BC")),
            ("'294276-12-31 23:59:59.999999'::timestamp", text("294276-12-31T23:59:59.999999")),
            ("'1 year 2 mons -3 days 04:05:06.5'::interval", text("P1Y2M-3DT4H5M6.5S")),
            ("'10.0.0.1'::inet", text("10.0.0.1")),
            ("'10.0.0.0/8'::cidr", text("10.0.0.0/8")),
            ("'::1/64'::inet", text("::1/64")),
            ("'08:00:2b:01:02:03'::macaddr", text("08:00:2b:01:02:03")),
            ("'A/1'::pg_lsn", Value::Lsn("A/1".parse().unwrap())),
            ("ARRAY[1, NULL, 3]", Value::List(vec![Value::Int(1), Value::Null, Value::Int(3)])),
            ("'{}'::text[]", Value::List(vec![])),
            (
                "ARRAY[[1, 2], [3, 4]]",
                Value::List(vec![
                    Value::List(vec![Value::Int(1), Value::Int(2)]),
                    Value::List(vec![Value::Int(3), Value::Int(4)]),
                ]),
            ),
            ("ARRAY['0/1'::pg_lsn]", Value::List(vec![Value::Lsn(Lsn(1))])),
            ("'1 2'::int2vector", Value::List(vec![Value::Int(1), Value::Int(2)])),
            ("'pg_class'::regclass", text("pg_class")),
            ("'<a/>'::xml", text("<a/>")),
            ("'[1,5)'::int4range", tagged("int4range", "[1,5)")),
            ("'(1,2)'::point", tagged("point", "(1,2)")),
            ("ARRAY['(1,2)'::point]", tagged("point[]", "{\"(1,2)\"}")),
            ("'a b'::tsvector", tagged("tsvector", "'a' 'b'")),
            ("ROW(1, 'x y')::pair", tagged("pair", "(1,\"x y\")")),
            ("ROW(1, 'x')", tagged("record", "(1,x)")),
            ("B'101'", tagged("bit", "101")),
            ("NULL::point", Value::Null),
            ("pg_sleep(0)", Value::Null),
        ];
        for (expression, wanted) in cases {
            // Some builds lack libxml.
            if expression.contains("xml") && session.value(&format!("SELECT {expression}"), &[]).await.is_err() {
                continue;
            }
            assert_eq!(read(&session, expression).await, wanted, "{expression} on {}", side.major);
        }
        if side.major >= 17 {
            assert_eq!(read(&session, "'infinity'::interval").await, text("infinity"));
        }
        if side.major >= 14 {
            assert_eq!(read(&session, "'-Infinity'::numeric").await, text("-Infinity"));
        }
    }
}

/// What a row gave can be given back as a parameter, for every type.
#[tokio::test]
async fn values_go_back_as_they_came() {
    let (pair, _turn) = fixture::shared().await;
    let db = pair.green.database("roundtrip").await;
    let session = db.psql();
    session.batch("CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN small AS int CHECK (value < 10); CREATE EXTENSION IF NOT EXISTS plpgsql").await.unwrap();
    for (ty, literal) in [
        ("bool", "f"),
        ("int2", "-5"),
        ("int4", "5"),
        ("int8", "-5"),
        ("oid", "5"),
        ("xid8", "5"),
        ("float4", "0.1"),
        ("float8", "1e300"),
        ("float8", "NaN"),
        ("numeric", "1.10"),
        ("numeric", "1e50"),
        ("numeric", "NaN"),
        ("text", "it's \\ \"q\" é"),
        ("varchar", ""),
        ("bytea", "\\x00ff"),
        ("uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ("jsonb", "{\"a\": [1, \"x\", null, true], \"b\": {\"$lsn\": \"0/1\"}}"),
        ("date", "0044-03-15 BC"),
        ("date", "-infinity"),
        ("time", "24:00:00"),
        ("timetz", "04:05:06.789-08:30"),
        ("timestamp", "0044-03-15 01:02:03 BC"),
        ("timestamptz", "2026-11-20 15:12:07.000001+02"),
        ("timestamptz", "0001-12-31 23:59:59 BC"),
        ("interval", "-1 mons +3 days -00:00:00.5"),
        ("interval", "infinity"),
        ("inet", "::1/64"),
        ("macaddr8", "08:00:2b:01:02:03:04:05"),
        ("pg_lsn", "A/1"),
        ("mood", "ok"),
        ("small", "9"),
        ("point", "(1,2)"),
        ("int4range", "[1,5)"),
        ("box[]", "{(1,1),(0,0);(3,3),(2,2)}"),
        ("text[]", "{\"a,b\",NULL,\"NULL\",\"{}\\\\\\\"\",\"\"}"),
        ("int4[]", "{{1,2},{3,NULL}}"),
        ("mood[]", "{ok,sad}"),
        ("jsonb[]", "{\"[1, 2]\",\"{}\"}"),
        ("timestamptz[]", "{infinity}"),
    ] {
        let sql = format!(
            "SELECT x, ($1::{ty}) IS NOT DISTINCT FROM x OR ($1::{ty})::text = x::text AS same FROM (VALUES ('{}'::{ty})) v(x)",
            literal.replace('\'', "''")
        );
        let plain = session.value(&format!("SELECT '{}'::{ty}", literal.replace('\'', "''")), &[]).await.unwrap();
        let sql =
            if ty == "point" || ty == "box[]" { sql.replace("IS NOT DISTINCT FROM x OR", "IS NULL OR") } else { sql };
        let row =
            session.one(&sql, std::slice::from_ref(&plain)).await.unwrap_or_else(|e| panic!("{ty} {literal}: {e:?}"));
        assert_eq!(row["same"], Value::Bool(true), "{ty} {literal}: {plain:?}");
        assert!(row["x"] == plain || format!("{plain:?}").contains("NaN"), "{ty} {literal}: {plain:?} {row:?}");
        let null = session.value(&format!("SELECT $1::{ty} IS NULL"), &[Value::Null]).await.unwrap();
        assert_eq!(null, Value::Bool(true));
    }
}

/// Decimals and large numbers keep their digits inside JSON.
#[tokio::test]
async fn json_parameters_are_exact() {
    let (pair, _turn) = fixture::shared().await;
    let session = pair.blue.database("json").await.psql();
    let given = Value::Map(map! {
        "d" => decimal("12345678901234567890.12345678"), "i" => i64::MAX, "t" => "a\"b\\é\u{1}",
    });
    let text = session.value("SELECT ($1::jsonb)::text", &[given]).await.unwrap();
    assert_eq!(
        text,
        Value::from(
            "{\"d\": 12345678901234567890.12345678, \"i\": 9223372036854775807, \"t\": \"a\\\"b\\\\é\\u0001\"}"
        )
    );
    let literal = session.value("SELECT $1::jsonb -> 'a'", &[Value::from("{\"a\": 1}")]).await.unwrap();
    assert_eq!(literal, Value::Int(1), "a text is JSON, as in SQL");
}

/// A type without a decoder comes as text with its name, from every statement that can be wrapped; order is kept.
#[tokio::test]
async fn types_without_a_decoder_come_as_text() {
    let (pair, _turn) = fixture::shared().await;
    let session = pair.blue.database("tagged").await.psql();
    session.batch("CREATE TABLE t (id int, p point); INSERT INTO t VALUES (2, '(2,2)'), (1, '(1,1)')").await.unwrap();
    let rows = session.query("SELECT id, p FROM t WHERE id < $1 ORDER BY id -- last", &[Value::Int(9)]).await.unwrap();
    assert_eq!(
        rows,
        vec![
            map! { "id" => 1_i64, "p" => tagged("point", "(1,1)") },
            map! { "id" => 2_i64, "p" => tagged("point", "(2,2)") },
        ]
    );
    let rows = session.query("INSERT INTO t VALUES (3, $1) RETURNING p;", &[tagged("point", "(3,3)")]).await.unwrap();
    assert_eq!(rows, vec![map! { "p" => tagged("point", "(3,3)") }]);
    assert_eq!(session.value("SELECT count(*) FROM t", &[]).await.unwrap(), Value::Int(3), "inserted once");
    let error = session.query("WITH d AS (DELETE FROM t RETURNING p) SELECT p FROM d", &[]).await.unwrap_err();
    assert_eq!(error.code(), Code::PgValue);
    assert!(error.message().contains("`p` of type point"), "{error:?}");
    assert_eq!(session.value("SELECT count(*) FROM t", &[]).await.unwrap(), Value::Int(3), "and nothing was deleted");
}

/// What does not fit is said before anything is sent.
#[tokio::test]
async fn misfits_are_refused() {
    let (pair, _turn) = fixture::shared().await;
    let session = pair.blue.database("misfits").await.psql();
    let said = async |sql: &str, values: &[Value]| {
        let error = session.query(sql, values).await.unwrap_err();
        assert_eq!(error.code(), Code::PgValue, "{error:?}");
        error.to_string()
    };
    assert_eq!(said("SELECT $1", &[Value::Int(5)]).await, "parameter $1: got int, wanted text");
    assert_eq!(said("SELECT $1::int", &[Value::Bool(true)]).await, "parameter $1: got bool, wanted int4");
    assert_eq!(said("SELECT $1::pg_lsn", &[Value::Int(1)]).await, "parameter $1: got int, wanted pg_lsn");
    assert_eq!(said("SELECT $1::text", &[Value::Lsn(Lsn(1))]).await, "parameter $1: got lsn, wanted text");
    assert_eq!(said("SELECT $1::int", &[]).await, "got 0 values, the statement wants 1");
    assert_eq!(said("SELECT 1 AS a, 2 AS a", &[]).await, "two columns of the result are named `a`");
    assert_eq!(said("SELECT 1, 2", &[]).await, "two columns of the result are named `?column?`");
    let wrong = session.query("SELECT $1::int", &[Value::from("x")]).await.unwrap_err();
    assert_eq!((wrong.code(), wrong.fact("sqlstate")), (Code::PgSql, Some("22P02")), "a text is the server's to judge");
    let empty: Map = Map::new();
    assert_eq!(session.one("SELECT", &[]).await.unwrap(), empty);
}
