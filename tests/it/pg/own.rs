//! pgrun's own schema: made and removed by an ordinary role, and safe to travel by snapshot and replication.

use pgrun::{
    base::{Code, Lsn, Secret, Value},
    pg::{Session, Settings, own},
};

use super::fixture::{self, Database};

async fn count(session: &Session, table: &str) -> i64 {
    session.value(&format!("SELECT count(*) FROM pgrun.{table}"), &[]).await.unwrap().as_int().unwrap()
}

/// RDS gives no superuser: a role with CREATE on the database must do. Twice is as good as once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ordinary_role_installs_and_removes_it() {
    let (pair, _turn) = fixture::shared().await;
    for side in [&pair.blue, &pair.green] {
        let database = side.database("own").await;
        let role = fixture::unique("owner");
        let admin = database.session();
        admin.batch(&format!("CREATE ROLE {role} LOGIN PASSWORD 'secret'")).await.unwrap();
        admin.batch(&format!("GRANT CREATE ON DATABASE \"{}\" TO {role}", database.name)).await.unwrap();
        let target = database.target().with_login(&role, Some(Secret::new("secret")));
        let session = Session::new(target, Settings::of_run("test"));
        assert!(!own::is_installed(&session).await.unwrap());
        own::install(&session).await.unwrap();
        let mark = own::mark(&session, "run", "M1").await.unwrap();
        own::install(&session).await.unwrap();
        assert!(own::has_mark(&session, &mark.id).await.unwrap());
        let keyless = "SELECT relname::text FROM pg_class c WHERE relnamespace = 'pgrun'::regnamespace AND relkind = 'r' \
                       AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)";
        assert!(!session.exists(keyless, &[]).await.unwrap(), "a published table without a primary key");
        own::remove(&session).await.unwrap();
        assert!(!own::is_installed(&session).await.unwrap());
        own::remove(&session).await.unwrap();
        admin.batch(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
    }
}

/// A schema that somebody else calls `pgrun` is left alone, and so is a view over our tables.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_ours_stays() {
    let (pair, _turn) = fixture::shared().await;
    let session = pair.blue.database("own").await.psql();
    session.batch("CREATE SCHEMA pgrun").await.unwrap();
    assert_eq!(own::install(&session).await.unwrap_err().code(), Code::Foreign);
    assert_eq!(own::remove(&session).await.unwrap_err().code(), Code::Foreign);
    session.batch("COMMENT ON SCHEMA pgrun IS 'pgrun, format 99'").await.unwrap();
    assert_eq!(own::install(&session).await.unwrap_err().code(), Code::Refused);
    session.batch("DROP SCHEMA pgrun").await.unwrap();
    own::install(&session).await.unwrap();
    session.batch("CREATE VIEW public.mine AS SELECT * FROM pgrun.marker").await.unwrap();
    let error = own::remove(&session).await.unwrap_err();
    assert!(error.fact("detail").unwrap().contains("view mine"), "{error:?}");
    assert!(own::is_installed(&session).await.unwrap());
}

/// Attack 13: the position of a marker must lie before its own rows, and the next one's behind its commit; otherwise a
/// right L is refused. Writers that run at once take turns.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn positions_of_markers_bracket_their_commits() {
    let (pair, _turn) = fixture::shared().await;
    let database = pair.blue.database("own").await;
    let session = database.session();
    own::install(&session).await.unwrap();
    let before = session.insert_lsn().await.unwrap();
    let mark = own::mark(&session, "run", "M1").await.unwrap();
    assert!(before <= mark.lsn && mark.lsn < session.insert_lsn().await.unwrap());
    assert!(mark.redo.unwrap() <= mark.lsn);
    let writers = (0..4).map(|_| async {
        let session = database.session();
        for _ in 0..10 {
            own::heartbeat(&session, "run").await.unwrap();
        }
    });
    futures_util::future::join_all(writers).await;
    let marks = own::marks(&session, "run").await.unwrap();
    assert_eq!(marks.len(), 41);
    let mut lsns: Vec<Lsn> = marks.iter().map(|mark| mark.lsn).collect();
    lsns.dedup();
    assert_eq!(lsns.len(), 41, "two markers stand at one place");
}

/// Attack 6: what is true of one server only must not be believed by the other, and must not stop its apply worker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_arrive_by_replication_are_thrown_away_where_they_would_lie() {
    let (pair, _turn) = fixture::shared().await;
    let session = pair.green.database("own").await.session();
    own::install(&session).await.unwrap();
    session.batch("SET session_replication_role = replica").await.unwrap();
    session
        .batch(
            "INSERT INTO pgrun.decision VALUES (pgrun.target(), 'r', 1, false, 'fenced', now(), now(), '{}', '{}', '{}');
             INSERT INTO pgrun.applied VALUES (pgrun.target(), 'r', 's', NULL);
             INSERT INTO pgrun.forbidden VALUES (pgrun.target(), 'r', 'x', now());
             INSERT INTO pgrun.ddl (target, command, kind, login, application) VALUES ('t', 'DROP TABLE', 'table', 'x', '');
             INSERT INTO pgrun.sentinel VALUES (gen_random_uuid(), 'r', 'sentinel', 't', '0/1', 1, now())",
        )
        .await
        .unwrap();
    session.batch("RESET session_replication_role").await.unwrap();
    for (table, kept) in [("decision", 0), ("applied", 0), ("forbidden", 0), ("ddl", 0), ("sentinel", 1)] {
        assert_eq!(count(&session, table).await, kept, "{table}");
    }
    session.batch("INSERT INTO pgrun.applied VALUES (pgrun.target(), 'r', 's', NULL)").await.unwrap();
    assert_eq!(count(&session, "applied").await, 1);
}

/// A sentinel is seen by its id alone, and tells its transaction.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sentinel_is_known_by_its_id() {
    let (pair, _turn) = fixture::shared().await;
    let database: Database = pair.blue.database("own").await;
    let session = database.session();
    own::install(&session).await.unwrap();
    let sentinel = own::sentinel(&session, "it's \"a\" run é🙂").await.unwrap();
    assert!(own::sees_sentinel(&session, &sentinel.id).await.unwrap());
    assert!(!own::sees_sentinel(&session, "00000000-0000-0000-0000-000000000000").await.unwrap());
    let xmin = session.value("SELECT xmin::text::bigint FROM pgrun.sentinel", &[]).await.unwrap();
    assert_eq!(xmin, Value::Int(sentinel.xid));
}
