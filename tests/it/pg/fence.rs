//! pgrun's own schema, the fence and the decision: nothing gets through, and exactly those come back who were there.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use pgrun::{
    base::{Code, Result, Value, clock, poll::Patience},
    pg::{
        Session,
        fence::{self, Closed, Closing},
        own::{self, Kind},
        roles,
    },
};

use super::fixture::{self, Database, Side};

/// A database with pgrun's schema, a table, and roles of awkward names; the second of them may not log in.
async fn stage(side: &'static Side, stem: &str) -> (Database, Session, Vec<String>) {
    let db = side.database(stem).await;
    let admin = db.session();
    own::ensure(&admin).await.unwrap();
    let names = [fixture::unique("App \"Q\" é🙂"), fixture::unique("resting"), fixture::unique("billing")];
    admin.batch("CREATE TABLE public.t (id bigserial PRIMARY KEY, v text)").await.unwrap();
    for (at, name) in names.iter().enumerate() {
        let word = if at == 1 { "NOLOGIN" } else { "LOGIN" };
        let name = pgrun::base::ident::ident(name).unwrap();
        admin
            .batch(&format!(
                "CREATE ROLE {name} {word} PASSWORD 'secret'; GRANT ALL ON public.t, public.t_id_seq TO {name}"
            ))
            .await
            .unwrap();
    }
    (db, admin, names.to_vec())
}

/// Fixtures of other tests may be superusers, whom only a superuser can fence.
fn closing<'a>(run: &'a str, spare: &'a [String]) -> Closing<'a> {
    Closing { run, target: "arn:blue", spare, deadline: Duration::from_secs(30), recorded: None }
}

async fn close(admin: &Session, run: &str) -> Result<Closed> {
    fence::close(admin, &closing(run, &[]), Patience::ms(2, 20_000)).await
}

/// Who could log in can again, nobody else, and nothing else has changed; from psql alone, too.
#[tokio::test]
async fn a_fence_is_undone_exactly() {
    let (pair, _turn) = fixture::alone().await;
    for side in [&pair.blue, &pair.green] {
        let (_db, admin, names) = stage(side, "fence").await;
        let before = roles::logins(&admin).await.unwrap();
        assert_eq!(fence::state(&admin).await.unwrap().state, "open");
        let recorded = Closing { recorded: Some(&before), ..closing("run-1", &[]) };
        let closed = fence::close(&admin, &recorded, Patience::ms(2, 20_000)).await.unwrap();
        assert!(
            closed.roles.contains(&names[0]) && closed.roles.contains(&names[2]) && !closed.roles.contains(&names[1])
        );
        let state = fence::state(&admin).await.unwrap();
        assert!(state.is_closed() && !state.expired && state.run.as_deref() == Some("run-1"), "{state:?}");
        assert_eq!((state.roles.clone(), state.target.as_deref()), (closed.roles.clone(), Some("arn:blue")));
        assert!(state.spared.contains(&"postgres".to_owned()));
        assert!(roles::logins(&admin).await.unwrap().iter().all(|r| !r.can_login || r.name == "postgres"));

        let again = close(&admin, "run-1").await.unwrap();
        assert_eq!(
            (again.attempt, again.roles),
            (closed.attempt.clone(), closed.roles.clone()),
            "a second try remembers"
        );
        let other = close(&admin, "run-2").await.unwrap_err();
        assert_eq!(other.code(), Code::Refused);
        assert!(other.message().contains("`run-1`"), "{other:?}");
        assert_eq!(own::drop(&admin).await.unwrap_err().code(), Code::Refused);

        let said = admin.value("SELECT pgrun.reopen()", &[]).await.unwrap();
        assert_eq!(said, Value::from("reopened"), "as from psql");
        assert_eq!(roles::logins(&admin).await.unwrap(), before);
        fence::reopen(&admin).await.unwrap();
        assert_eq!(fence::state(&admin).await.unwrap().state, "reopened", "twice is the same as once");
        assert_eq!(fence::decide(&admin, &closed.attempt).await.unwrap_err().code(), Code::Refused);

        let wrong = fence::close(&admin, &closing("run-3", &["no such role".into()]), Patience::ms(2, 1000)).await;
        assert_eq!(wrong.unwrap_err().code(), Code::RequireFailed);
        roles::set_login(&admin, &names[1..2], true).await.unwrap();
        let changed =
            fence::close(&admin, &Closing { run: "run-4", ..recorded }, Patience::ms(2, 1000)).await.unwrap_err();
        assert!(changed.message().contains(&names[1]), "{changed:?}");
        assert!(own::drop(&admin).await.unwrap());
        assert!(!own::drop(&admin).await.unwrap());
        fence::reopen(&admin).await.unwrap();
        assert_eq!(fence::state(&admin).await.unwrap().state, "open", "nothing to reopen is no error");
    }
}

/// Writers that reconnect as fast as they can: from the moment `close` returns, not one more row.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reconnecting_writers_do_not_get_through() {
    let (pair, _turn) = fixture::alone().await;
    for side in [&pair.blue, &pair.green] {
        let (db, admin, names) = stage(side, "writers").await;
        let (stop, tries) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(0)));
        let mut writers = Vec::new();
        for at in 0..8 {
            let (stop, tries) = (Arc::clone(&stop), Arc::clone(&tries));
            let role = names[if at % 2 == 0 { 0 } else { 2 }].clone();
            let target = db.target().with_login(role, Some(pgrun::base::Secret::new("secret")));
            writers.push(tokio::spawn(async move {
                let session = Session::new(target, pgrun::pg::Settings::of_run("w").searching(&["public"]));
                session.batch("SET application_name = 'app'").await.unwrap();
                while !stop.load(Ordering::Relaxed) {
                    tries.fetch_add(1, Ordering::Relaxed);
                    drop(session.execute("INSERT INTO t (v) VALUES ('x')", &[]).await);
                }
            }));
        }
        while tries.load(Ordering::Relaxed) < 200 {
            clock::sleep(Duration::from_millis(5)).await;
        }
        let closed = close(&admin, "run").await.unwrap();
        let at_close = admin.value("SELECT count(*) FROM public.t", &[]).await.unwrap();
        assert!(closed.ended >= 1, "{closed:?}");
        let then = tries.load(Ordering::Relaxed);
        while tries.load(Ordering::Relaxed) < then + 100 {
            clock::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(admin.value("SELECT count(*) FROM public.t", &[]).await.unwrap(), at_close);
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.await.unwrap();
        }
        fence::reopen(&admin).await.unwrap();
    }
}

/// Attack 4: a backend that had passed its login check before NOLOGIN and is still starting is no session yet, and would
/// write afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_still_starting_does_not_get_through() {
    let (pair, _turn) = fixture::alone().await;
    for side in [&pair.blue, &pair.green] {
        let (db, admin, names) = stage(side, "starting").await;
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(side.port()).user(&names[2]).password("secret").dbname(&db.name);
        config.options("-c post_auth_delay=2");
        let slow = tokio::spawn(async move {
            let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
            tokio::spawn(connection);
            client.batch_execute("INSERT INTO public.t (v) VALUES ('late')").await
        });
        let mut seen = Vec::new();
        while seen.is_empty() {
            seen = pgrun::pg::sessions::starting(&admin).await.unwrap();
        }
        // Past its login check: NOLOGIN alone would come too late.
        clock::sleep(Duration::from_millis(300)).await;
        close(&admin, "run").await.unwrap();
        let at_close = admin.value("SELECT count(*) FROM public.t", &[]).await.unwrap();
        assert!(slow.await.unwrap().is_err(), "on {}", side.major);
        assert_eq!(admin.value("SELECT count(*) FROM public.t", &[]).await.unwrap(), at_close);
        fence::reopen(&admin).await.unwrap();
    }
}

/// A prepared transaction needs no session: it stops the fence before and after.
#[tokio::test]
async fn prepared_transactions_stop_the_fence() {
    let (pair, _turn) = fixture::alone().await;
    let (db, admin, names) = stage(&pair.blue, "prepared").await;
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(pair.blue.port()).user(&names[2]).password("secret").dbname(&db.name);
    let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
        .batch_execute("BEGIN; INSERT INTO public.t (v) VALUES ('p'); PREPARE TRANSACTION 'it''s mine'")
        .await
        .unwrap();
    let error = close(&admin, "run").await.unwrap_err();
    assert_eq!(error.code(), Code::RequireFailed);
    assert!(error.message().contains("it's mine"), "{error:?}");
    assert_eq!(fence::state(&admin).await.unwrap().state, "open", "nothing was closed");
    client.batch_execute("ROLLBACK PREPARED 'it''s mine'").await.unwrap();
    drop(client);
    close(&admin, "run").await.unwrap();
    fence::reopen(&admin).await.unwrap();
}

/// A spared role that holds changes is waited for, and named when it does not end.
#[tokio::test]
async fn an_open_write_of_the_operator_is_not_overlooked() {
    let (pair, _turn) = fixture::alone().await;
    let (db, admin, _) = stage(&pair.blue, "operator").await;
    let dba = db.psql();
    dba.batch("SET application_name = 'psql'").await.unwrap();
    dba.begin().await.unwrap();
    dba.execute("INSERT INTO t (v) VALUES ('dba')", &[]).await.unwrap();
    let error = fence::close(&admin, &closing("run", &[]), Patience::ms(5, 300)).await.unwrap_err();
    assert_eq!(error.code(), Code::Timeout);
    assert!(error.message().contains("of postgres"), "{error:?}");
    dba.rollback().await.unwrap();
    let closed = close(&admin, "run").await.unwrap();
    assert!(closed.watched.iter().any(|backend| backend.application == "psql"), "{closed:?}");
    fence::reopen(&admin).await.unwrap();
}

/// Of a decision and a reopening that come at once, exactly one wins; the loser is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_decision_only() {
    let (pair, _turn) = fixture::alone().await;
    let (db, admin, names) = stage(&pair.green, "decision").await;
    let (guardian, mut greens, mut reopened) = (db.session(), 0, 0);
    guardian.open().await.unwrap();
    for at in 0..12 {
        let closed = close(&admin, &format!("run-{at}")).await.unwrap();
        let (decided, back) = tokio::join!(fence::decide(&admin, &closed.attempt), fence::reopen(&guardian));
        let state = fence::state(&admin).await.unwrap();
        let open = roles::logins(&admin).await.unwrap().iter().any(|r| r.name == names[2] && r.can_login);
        match state.state.as_str() {
            "green" => {
                decided.unwrap();
                assert_eq!(back.unwrap_err().code(), Code::Refused);
                assert!(!open);
                fence::decide(&admin, &closed.attempt).await.unwrap();
                greens += 1;
                // As after a rollback: open it by hand for the next round.
                fence::open(&admin, &closed.roles).await.unwrap();
            }
            "reopened" => {
                assert_eq!(decided.unwrap_err().code(), Code::Refused);
                back.unwrap();
                assert!(open);
                reopened += 1;
            }
            other => panic!("{other}"),
        }
    }
    assert_eq!(greens + reopened, 12);
}

/// Past the deadline, or when somebody opened a role by hand, there is no decision any more.
#[tokio::test]
async fn no_decision_past_the_deadline_or_through_a_hole() {
    let (pair, _turn) = fixture::alone().await;
    let (_db, admin, names) = stage(&pair.blue, "deadline").await;
    let short = Closing { deadline: Duration::from_millis(1), ..closing("late", &[]) };
    let closed = fence::close(&admin, &short, Patience::ms(2, 20_000)).await.unwrap();
    let error = fence::decide(&admin, &closed.attempt).await.unwrap_err();
    assert_eq!(error.code(), Code::Refused);
    assert!(error.message().contains("deadline") && fence::state(&admin).await.unwrap().expired, "{error:?}");
    fence::reopen(&admin).await.unwrap();

    let closed = close(&admin, "hole").await.unwrap();
    roles::set_login(&admin, &names[..1], true).await.unwrap();
    let error = fence::decide(&admin, &closed.attempt).await.unwrap_err();
    assert!(error.message().contains(&names[0]), "{error:?}");
    fence::reopen(&admin).await.unwrap();
}

/// Without superuser: what RDS's master may do is enough, and what it may not do is refused before anything is changed.
#[tokio::test]
async fn an_operator_without_superuser() {
    let (pair, _turn) = fixture::alone().await;
    for side in [&pair.blue, &pair.green] {
        let db = side.database("operator").await;
        let admin = db.session();
        let operator = fixture::unique("master");
        let name = pgrun::base::ident::ident(&db.name).unwrap();
        admin
            .batch(&format!(
                "CREATE ROLE {operator} LOGIN CREATEROLE CREATEDB PASSWORD 'secret'; \
            GRANT CREATE ON DATABASE {name} TO {operator}; GRANT pg_monitor, pg_signal_backend TO {operator}"
            ))
            .await
            .unwrap();
        let session = db.login(&operator);
        own::ensure(&session).await.unwrap();
        own::ensure(&session).await.unwrap();
        let (own_app, anothers) = (fixture::unique("own_app"), fixture::unique("anothers"));
        admin.batch(&format!("CREATE ROLE {anothers} LOGIN PASSWORD 'secret'")).await.unwrap();
        session.batch(&format!("CREATE ROLE {own_app} LOGIN PASSWORD 'secret'")).await.unwrap();
        let before = roles::logins(&admin).await.unwrap();
        let error = close(&session, "run").await.unwrap_err();
        assert_eq!(error.code(), Code::RequireFailed, "postgres is a superuser: {error:?}");
        let spare: Vec<String> = before.iter().filter(|r| r.superuser).map(|r| r.name.clone()).collect();
        let closed = fence::close(&session, &closing("run", &spare), Patience::ms(2, 20_000)).await;
        if side.major < 16 {
            let closed = closed.unwrap();
            assert!(closed.roles.contains(&own_app));
            fence::reopen(&session).await.unwrap();
        } else {
            // From 16 on CREATEROLE is not enough for roles that somebody else made.
            assert_eq!(closed.unwrap_err().fact("sqlstate"), Some("42501"));
            assert_eq!(fence::state(&session).await.unwrap().state, "open");
        }
        assert_eq!(roles::logins(&admin).await.unwrap(), before);
        admin
            .batch(&format!(
                "DROP OWNED BY {operator}; DROP ROLE {own_app}; DROP ROLE {anothers}; DROP ROLE {operator}"
            ))
            .await
            .unwrap();
    }
}

/// One role that cannot be opened must not keep the others shut, and is named.
#[tokio::test]
async fn what_cannot_be_reopened_is_named() {
    let (pair, _turn) = fixture::alone().await;
    let (_db, admin, names) = stage(&pair.green, "shut").await;
    close(&admin, "run").await.unwrap();
    let gone = pgrun::base::ident::ident(&names[0]).unwrap();
    admin.batch(&format!("DROP OWNED BY {gone}; DROP ROLE {gone}")).await.unwrap();
    let error = fence::reopen(&admin).await.unwrap_err();
    assert!(error.code() == Code::RequireFailed && error.message().contains(&names[0]), "{error:?}");
    assert!(roles::logins(&admin).await.unwrap().iter().any(|r| r.name == names[2] && r.can_login));
    let missing = fence::open(&admin, &names).await.unwrap_err();
    assert!(missing.message().contains(&names[0]) && missing.message().contains("is open"), "{missing:?}");
    roles::set_login(&admin, &names[1..2], false).await.unwrap();
    let barred = fence::bar(&admin, &[]).await.unwrap();
    assert!(barred.iter().any(|r| r.name == names[2] && r.can_login), "as it was before");
    assert!(!roles::logins(&admin).await.unwrap().iter().any(|r| r.name == names[2] && r.can_login));
    roles::restore(&admin, &barred).await.unwrap();
}

/// The schema: made once, recognised, never mistaken; its rows say whose they are.
#[tokio::test]
async fn the_own_schema() {
    let (pair, _turn) = fixture::shared().await;
    for side in [&pair.blue, &pair.green] {
        let db = side.database("own").await;
        let (admin, second) = (db.session(), db.session());
        let (a, b) = tokio::join!(own::ensure(&admin), own::ensure(&second));
        a.unwrap();
        b.unwrap();
        assert!(own::exists(&admin).await.unwrap());
        let m1 = own::mark(&admin, "run", Kind::Before, "arn:blue").await.unwrap();
        let m2 = own::mark(&admin, "run", Kind::After, "arn:blue").await.unwrap();
        assert!(m1.lsn < m2.lsn && m1.redo.is_some_and(|redo| redo < m1.lsn), "{m1:?} {m2:?}");
        assert!(m1.is(Kind::Before) && m2.is(Kind::After));
        assert_eq!(own::markers(&admin, "run").await.unwrap(), [m1, m2]);
        let id = own::sentinel(&admin, "run", "test").await.unwrap();
        assert!(own::has_sentinel(&admin, &id).await.unwrap());
        assert!(!own::has_sentinel(&admin, &uuid::Uuid::new_v4().to_string()).await.unwrap());
        assert!(own::note_applied(&admin, "run", "step", "arn:blue").await.unwrap());
        assert!(!own::note_applied(&admin, "run", "step", "arn:blue").await.unwrap());
        assert!(!own::is_applied(&admin, "run", "step", "arn:green").await.unwrap(), "GREEN has not done it");
        // A decision that came by replication is another server's.
        admin
            .batch(
                "SET session_replication_role = replica; \
            INSERT INTO pgrun.decision (attempt, turn, state, run, target, system, roles, spared, deadline) \
            VALUES (gen_random_uuid(), 1, 'fenced', 'r', 't', pgrun.system(), '{}', '{}', now()); \
            SET session_replication_role = origin",
            )
            .await
            .unwrap();
        assert_eq!(fence::state(&admin).await.unwrap().state, "open");
        // And a copied one, of a server with another identity.
        admin
            .batch(
                "INSERT INTO pgrun.decision (attempt, turn, state, run, target, system, roles, spared, deadline) \
            VALUES (gen_random_uuid(), 1, 'fenced', 'r', 't', '1', '{}', '{}', now())",
            )
            .await
            .unwrap();
        assert_eq!(fence::state(&admin).await.unwrap().state, "open");

        let other = side.database("own").await.session();
        other.batch("CREATE SCHEMA pgrun; COMMENT ON SCHEMA pgrun IS 'somebody else'").await.unwrap();
        assert_eq!(own::ensure(&other).await.unwrap_err().code(), Code::Foreign);
        assert!(!own::exists(&other).await.unwrap());
    }
}
