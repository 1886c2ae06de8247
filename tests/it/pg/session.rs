//! Sessions when things go wrong: what is certain, what is not, and that the session can be used afterwards.

use std::time::Duration;

use pgrun::{
    base::{Code, Value, clock},
    pg::{Session, Settings},
};

use super::fixture::{self, Database};

async fn prepared(name: &str) -> (Database, Session, fixture::Turn) {
    let (pair, turn) = fixture::shared().await;
    let db = pair.blue.database(name).await;
    let session = db.psql();
    session.batch("CREATE TABLE t (id int PRIMARY KEY, v text)").await.unwrap();
    (db, session, turn)
}

async fn count(session: &Session) -> Value {
    session.value("SELECT count(*) FROM t", &[]).await.unwrap()
}

/// Ends the connection of `victim` from outside.
async fn cut(db: &Database, victim: &Value) {
    let killer = db.session();
    killer.value("SELECT pg_terminate_backend($1::int)", std::slice::from_ref(victim)).await.unwrap();
}

async fn pid(session: &Session) -> Value {
    session.value("SELECT pg_backend_pid()", &[]).await.unwrap()
}

/// Settings of role and database do not reach a session of pgrun.
#[tokio::test]
async fn a_session_sets_everything_for_itself() {
    let (pair, _turn) = fixture::shared().await;
    for side in [&pair.blue, &pair.green] {
        let db = side.database("settings").await;
        let name = pgrun::base::ident::ident(&db.name).unwrap();
        let session = db.session();
        for setting in [
            "synchronous_commit = off",
            "search_path = public",
            "timezone = 'Asia/Tokyo'",
            "datestyle = German",
            "statement_timeout = 300",
            "lock_timeout = 1",
            "standard_conforming_strings = off",
        ] {
            // Each statement on a connection that was opened before the setting.
            session.batch(&format!("ALTER DATABASE {name} SET {setting}")).await.unwrap();
        }
        let fresh = Session::new(db.target(), Settings::of_run("émigré-run"));
        let shown = async |name: &str| fresh.value(&format!("SELECT current_setting('{name}')"), &[]).await.unwrap();
        assert_eq!(shown("synchronous_commit").await, Value::from("on"));
        assert_eq!(shown("search_path").await, Value::from("pg_catalog"));
        assert_eq!(shown("TimeZone").await, Value::from("UTC"));
        assert_eq!(shown("statement_timeout").await, Value::from("5min"));
        assert_eq!(shown("standard_conforming_strings").await, Value::from("on"));
        assert!(shown("application_name").await.as_text().unwrap().starts_with("pgrun/"));
        let facts = fresh.server().await.unwrap();
        assert_eq!(
            (facts.major, facts.in_recovery, facts.wal_level.as_str()),
            (i64::from(side.major), false, "logical")
        );
        assert!(facts.system_identifier.unwrap().len() > 10 && facts.timeline == Some(1) && facts.superuser);
        assert!(fresh.insert_lsn().await.unwrap().0 > 0);
    }
}

/// The three shapes of an answer, and what each refuses.
#[tokio::test]
async fn rows_values_and_counts() {
    let (_db, session, _turn) = prepared("shapes").await;
    let inserted = session.execute("INSERT INTO t SELECT i, 'x' FROM generate_series(1, 5) i", &[]).await.unwrap();
    assert_eq!(inserted, 5);
    assert!(session.exists("SELECT 1 FROM t WHERE id = $1", &[Value::Int(3)]).await.unwrap());
    assert!(!session.exists("SELECT 1 FROM t WHERE id = $1", &[Value::Int(9)]).await.unwrap());
    assert!(session.one("SELECT id FROM t", &[]).await.unwrap_err().message().contains("several rows"));
    assert!(session.one("SELECT id FROM t WHERE false", &[]).await.unwrap_err().message().contains("no row"));
    assert!(session.value("SELECT id, v FROM t LIMIT 1", &[]).await.unwrap_err().message().contains("2 columns"));
    let error = session.execute("INSERT INTO t VALUES (1, 'again')", &[]).await.unwrap_err();
    assert_eq!(
        (error.code(), error.fact("sqlstate"), error.fact("constraint")),
        (Code::PgSql, Some("23505"), Some("t_pkey"))
    );
    assert!(!error.is_unknown() && error.fact("detail").unwrap().contains("(id)=(1)"));
    let error = session.query("SELECT nope FROM t", &[]).await.unwrap_err();
    assert_eq!(error.fact("position"), Some("8"));
    session.batch("DO $$ BEGIN RAISE NOTICE 'hello'; RAISE WARNING 'careful'; END $$").await.unwrap();
    let notices = session.drain_notices();
    assert_eq!(notices.iter().map(|n| n.message.as_str()).collect::<Vec<_>>(), ["hello", "careful"]);
    assert_eq!(notices[1].severity, "WARNING");
    assert!(session.drain_notices().is_empty());
}

/// A transaction keeps all or nothing, and a failed one cannot be committed by accident.
#[tokio::test]
async fn transactions() {
    let (_db, session, _turn) = prepared("transactions").await;
    session.transaction(async |tx| tx.execute("INSERT INTO t VALUES (1, 'a')", &[]).await).await.unwrap();
    let failed = session
        .transaction(async |tx| {
            tx.execute("INSERT INTO t VALUES (2, 'b')", &[]).await?;
            tx.execute("INSERT INTO t VALUES (1, 'twice')", &[]).await
        })
        .await;
    assert_eq!(failed.unwrap_err().fact("sqlstate"), Some("23505"));
    assert_eq!(count(&session).await, Value::Int(1));

    session.begin().await.unwrap();
    assert_eq!(session.begin().await.unwrap_err().code(), Code::Usage);
    session.execute("INSERT INTO t VALUES (3, 'c')", &[]).await.unwrap();
    session.savepoint("s\"p").await.unwrap();
    assert!(session.execute("INSERT INTO t VALUES (1, 'd')", &[]).await.is_err());
    assert!(session.query("SELECT 1", &[]).await.unwrap_err().message().contains("takes no further"));
    session.rollback_to("s\"p").await.unwrap();
    session.execute("INSERT INTO t VALUES (4, 'e')", &[]).await.unwrap();
    session.release("s\"p").await.unwrap();
    session.commit().await.unwrap();
    assert_eq!(count(&session).await, Value::Int(3));

    session.begin().await.unwrap();
    assert!(session.execute("SELECT 1/0", &[]).await.is_err());
    let error = session.commit().await.unwrap_err();
    assert!(
        error.message().contains("nothing of it is kept"),
        "COMMIT of a failed transaction is no success: {error:?}"
    );
    session.begin_read_only().await.unwrap();
    let error = session.execute("DELETE FROM t", &[]).await.unwrap_err();
    assert_eq!(error.fact("sqlstate"), Some("25006"));
    session.rollback().await.unwrap();
    assert_eq!(session.commit().await.unwrap_err().code(), Code::Usage);
    assert_eq!(session.execute("COMMIT", &[]).await.unwrap_err().code(), Code::Usage);
    assert_eq!(count(&session).await, Value::Int(3));
}

/// A deferred constraint fails at COMMIT: the server's no is definite.
#[tokio::test]
async fn a_refused_commit_is_definite() {
    let (_db, session, _turn) = prepared("deferred").await;
    session.batch("CREATE TABLE c (id int REFERENCES t DEFERRABLE INITIALLY DEFERRED)").await.unwrap();
    let error = session.transaction(async |tx| tx.execute("INSERT INTO c VALUES (1)", &[]).await).await.unwrap_err();
    assert_eq!((error.code(), error.fact("sqlstate"), error.is_unknown()), (Code::PgSql, Some("23503"), false));
    assert_eq!(session.value("SELECT count(*) FROM c", &[]).await.unwrap(), Value::Int(0));
}

/// The heart of the error model: a broken connection is an open question only where it is one.
#[tokio::test]
async fn what_a_broken_connection_means() {
    let (db, session, _turn) = prepared("lost").await;
    // Idle: the next statement runs on a new connection, a write too.
    let first = pid(&session).await;
    cut(&db, &first).await;
    session.execute("INSERT INTO t VALUES (1, 'a')", &[]).await.unwrap();
    assert_ne!(pid(&session).await, first);

    // In the middle of a write: nobody knows.
    let victim = pid(&session).await;
    let slow = session.execute("INSERT INTO t SELECT 2, pg_sleep(30)::text", &[]);
    let (outcome, ()) = tokio::join!(slow, async {
        clock::sleep(Duration::from_millis(300)).await;
        cut(&db, &victim).await;
    });
    let error = outcome.unwrap_err();
    assert_eq!((error.code(), error.is_unknown()), (Code::PgLost, true), "{error:?}");

    // In the middle of a read: it is run again.
    let victim = pid(&session).await;
    let sql = "SELECT count(*) FROM generate_series(1, 40000000)";
    let (outcome, ()) = tokio::join!(session.value(sql, &[]), async {
        clock::sleep(Duration::from_millis(100)).await;
        cut(&db, &victim).await;
    });
    assert_eq!(outcome.unwrap(), Value::Int(40_000_000));

    // Inside a transaction: nothing of it is kept, and no later statement runs on its own.
    session.begin().await.unwrap();
    session.execute("INSERT INTO t VALUES (3, 'c')", &[]).await.unwrap();
    let victim = pid(&session).await;
    cut(&db, &victim).await;
    clock::sleep(Duration::from_millis(50)).await;
    assert!(session.execute("INSERT INTO t VALUES (4, 'd')", &[]).await.is_err());
    assert!(
        session
            .execute("INSERT INTO t VALUES (5, 'e')", &[])
            .await
            .unwrap_err()
            .message()
            .contains("nothing of it is kept")
    );
    let error = session.commit().await.unwrap_err();
    assert!(!error.is_unknown(), "{error:?}");
    assert_eq!(count(&session).await, Value::Int(1));
}

/// COMMIT was sent and no answer came: that is unknown, whatever happened.
#[tokio::test]
async fn a_commit_without_an_answer_is_unknown() {
    let (db, session, _turn) = prepared("commit").await;
    // A deferred trigger makes COMMIT slow, so that it can be cut off.
    session.batch("CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(30); RETURN NULL; END $$; \
        CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow()").await.unwrap();
    session.begin().await.unwrap();
    session.execute("INSERT INTO t VALUES (1, 'a')", &[]).await.unwrap();
    let victim = pid(&session).await;
    let (outcome, ()) = tokio::join!(session.commit(), async {
        clock::sleep(Duration::from_millis(200)).await;
        cut(&db, &victim).await;
    });
    let error = outcome.unwrap_err();
    assert_eq!((error.code(), error.is_unknown()), (Code::PgLost, true), "{error:?}");
    assert_eq!(count(&session).await, Value::Int(0));
}

/// A dropped future cancels its statement on the server; what the session does next comes after it.
#[tokio::test]
async fn a_dropped_statement_is_cancelled() {
    let (_db, session, _turn) = prepared("cancel").await;
    let other = session.sibling().await;
    let begun = clock::instant();
    let slow = session.execute("INSERT INTO t SELECT i, pg_sleep(0.1)::text FROM generate_series(1, 600) i", &[]);
    assert!(clock::within(Duration::from_millis(300), slow).await.is_none());
    session.execute("INSERT INTO t VALUES (1, 'after')", &[]).await.unwrap();
    let running = other.value(
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'INSERT INTO t SELECT%'",
        &[],
    );
    assert_eq!(running.await.unwrap(), Value::Int(0));
    assert_eq!(count(&session).await, Value::Int(1));
    assert!(begun.elapsed() < Duration::from_secs(30), "the statement would have run a minute");

    // Inside a transaction the drop ends the transaction too, and locks are free when the session goes on.
    let within = session.transaction(async |tx| {
        tx.execute("UPDATE t SET v = 'x'", &[]).await?;
        tx.query("SELECT pg_sleep(30)", &[]).await
    });
    assert!(clock::within(Duration::from_millis(200), within).await.is_none());
    assert_eq!(session.execute("UPDATE t SET v = 'y'", &[]).await.unwrap(), 1);
    let between = session.transaction(async |tx| {
        tx.execute("UPDATE t SET v = 'x'", &[]).await?;
        std::future::pending::<pgrun::base::Result<()>>().await
    });
    assert!(clock::within(Duration::from_millis(200), between).await.is_none());
    assert_eq!(other.execute("UPDATE t SET v = 'z'", &[]).await.unwrap(), 1);
}

/// Limits are the server's, and say so.
#[tokio::test]
async fn limits_of_time() {
    let (db, session, _turn) = prepared("limits").await;
    session.set_statement_timeout(Duration::from_millis(100)).await.unwrap();
    let error = session.query("SELECT pg_sleep(10)", &[]).await.unwrap_err();
    assert_eq!((error.code(), error.fact("sqlstate")), (Code::Timeout, Some("57014")), "{error:?}");
    let settings = Settings { lock_timeout: Duration::from_millis(50), ..Settings::of_run("x").searching(&["public"]) };
    let hasty = Session::new(db.target(), settings);
    session.set_statement_timeout(Duration::ZERO).await.unwrap();
    session.begin().await.unwrap();
    session.batch("LOCK TABLE t").await.unwrap();
    let error = hasty.execute("INSERT INTO t VALUES (1)", &[]).await.unwrap_err();
    assert_eq!(error.fact("sqlstate"), Some("55P03"));
    assert!(error.hint_text().unwrap().contains("pg_locks"));
    session.rollback().await.unwrap();
}

/// A prepared statement that DDL has made stale is prepared again.
#[tokio::test]
async fn ddl_does_not_break_remembered_statements() {
    let (db, session, _turn) = prepared("stale").await;
    session.execute("INSERT INTO t VALUES (1, 'a')", &[]).await.unwrap();
    assert_eq!(session.query("SELECT * FROM t", &[]).await.unwrap()[0].len(), 2);
    db.psql().batch("ALTER TABLE t ADD COLUMN w int DEFAULT 7").await.unwrap();
    assert_eq!(session.query("SELECT * FROM t", &[]).await.unwrap()[0]["w"], Value::Int(7));
}
