//! The fence: nobody writes behind it, nobody is locked out by it, and one decision holds for both sides.

mod back;
mod guardian;

use std::sync::{Arc, atomic};
use std::time::Duration;

use pgrun::{
    base::{Code, Result, clock},
    pg::{Session, fence, own},
};
use tokio::task::JoinHandle;

use super::fixture::{self, Database, Side};

const LONG: Duration = Duration::from_secs(20);

fn exceptions() -> Vec<String> {
    vec!["postgres".into()]
}

/// A database with pgrun's schema, a table, and roles that may write to it.
struct Stage {
    database: Database,
    session: Session,
    roles: Vec<String>,
}

impl Stage {
    async fn set(side: &'static Side, roles: &[&str]) -> Self {
        let database = side.database("fence").await;
        let session = database.session();
        own::install(&session).await.unwrap();
        session.batch("CREATE TABLE public.t (id bigserial PRIMARY KEY, v text)").await.unwrap();
        let mut all = vec![];
        for role in roles {
            let name = format!("{role}{}", fixture::unique(""));
            let quoted = pgrun::base::ident::ident(&name).unwrap();
            let sql = format!(
                "CREATE ROLE {quoted} LOGIN PASSWORD 'secret'; GRANT ALL ON public.t TO {quoted}; \
                 GRANT ALL ON SEQUENCE public.t_id_seq TO {quoted}"
            );
            session.batch(&sql).await.unwrap();
            all.push(name);
        }
        Self { database, session, roles: all }
    }

    /// Writes as a role, reconnecting for ever, until told to stop.
    fn writer(&self, role: &str, stop: &Arc<atomic::AtomicBool>, written: &Arc<atomic::AtomicU64>) -> JoinHandle<()> {
        let (url, stop, written) = (url(&self.database, role), stop.clone(), written.clone());
        tokio::spawn(async move {
            while !stop.load(atomic::Ordering::Relaxed) {
                let Ok((client, connection)) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await else {
                    continue;
                };
                let connection = tokio::spawn(connection);
                while !stop.load(atomic::Ordering::Relaxed)
                    && client.batch_execute("INSERT INTO public.t (v) VALUES ('w')").await.is_ok()
                {
                    written.fetch_add(1, atomic::Ordering::Relaxed);
                }
                connection.abort();
            }
        })
    }

    async fn rows(&self) -> i64 {
        self.session.value("SELECT count(*) FROM public.t", &[]).await.unwrap().as_int().unwrap()
    }

    async fn can_log_in(&self, role: &str) -> bool {
        let sql = "SELECT rolcanlogin FROM pg_roles WHERE rolname = $1";
        self.session.value(sql, &[role.into()]).await.unwrap().as_bool().unwrap()
    }

    /// Roles outlive databases; the next test must not meet them.
    async fn strike(self) {
        for role in &self.roles {
            let quoted = pgrun::base::ident::ident(role).unwrap();
            self.session.batch(&format!("DROP OWNED BY {quoted}; DROP ROLE {quoted}")).await.unwrap();
        }
    }
}

fn url(database: &Database, role: &str) -> String {
    format!("host=127.0.0.1 port={} user={role} password=secret dbname={}", database.side.port(), database.name)
}

fn code<T>(outcome: Result<T>) -> Code {
    outcome.err().expect("it should have failed").code()
}

/// LOGIN comes back to exactly those who had it, whatever they are called; twice is as good as once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins_come_back_exactly() {
    let (pair, _turn) = fixture::alone().await;
    let long = "x".repeat(55);
    let stage = Stage::set(&pair.blue, &["Quo\"te '\\", "None", &long, "é🙂 ", "renamed", "dropped"]).await;
    stage.session.batch(&format!("CREATE ROLE group_{long}")).await.unwrap();
    let held = stage.database.login(&stage.roles[0]);
    held.batch("BEGIN; INSERT INTO public.t (v) VALUES ('open')").await.unwrap_err();
    held.batch("INSERT INTO public.t (v) VALUES ('x')").await.unwrap();

    let seen = fence::preview(&stage.session, "r", &exceptions()).await.unwrap();
    assert!(stage.roles.iter().all(|role| seen.contains(role)), "{seen:?}");
    assert_eq!(fence::outcome(&stage.session, "r").await.unwrap(), "none");
    assert!(stage.can_log_in(&stage.roles[1]).await);

    let closed = fence::close(&stage.session, "r", &exceptions(), LONG).await.unwrap();
    assert_eq!(closed.decision.roles, seen);
    assert!(closed.terminated >= 1);
    assert_eq!(fence::outcome(&stage.session, "r").await.unwrap(), "fenced");
    for role in &stage.roles {
        assert!(!stage.can_log_in(role).await, "{role}");
    }
    // Attack 5: by now nobody can log in; the second call must not write that down.
    let again = fence::close(&stage.session, "r", &exceptions(), LONG).await.unwrap();
    assert_eq!((again.decision, again.terminated), (closed.decision, 0));

    let [.., renamed, dropped] = &stage.roles[..] else { unreachable!() };
    stage
        .session
        .batch(&format!("ALTER ROLE {renamed} RENAME TO {renamed}_new; DROP OWNED BY {dropped}; DROP ROLE {dropped}"))
        .await
        .unwrap();
    let opened = fence::reopen(&stage.session, "r").await.unwrap().unwrap();
    assert_eq!(opened.state, "reopened");
    assert!(stage.can_log_in(&format!("{renamed}_new")).await);
    for role in &stage.roles[..4] {
        assert!(stage.can_log_in(role).await, "{role}");
    }
    assert!(!stage.can_log_in(&format!("group_{long}")).await, "a group role was given LOGIN");
    assert_eq!(fence::reopen(&stage.session, "r").await.unwrap().unwrap().state, "reopened");
    assert_eq!(fence::reopen(&stage.session, "other").await.unwrap(), None);
    assert_eq!(code(fence::decide(&stage.session, "r").await), Code::RequireFailed);

    // A fresh attempt after a failed one.
    let second = fence::close(&stage.session, "r", &exceptions(), LONG).await.unwrap();
    assert_eq!(second.decision.attempt, 2);
    fence::reopen(&stage.session, "r").await.unwrap();

    stage
        .session
        .batch(&format!("DROP OWNED BY {renamed}_new; DROP ROLE {renamed}_new; DROP ROLE group_{long}"))
        .await
        .unwrap();
    Stage { roles: stage.roles[..4].to_vec(), ..stage }.strike().await;
}

/// What must not be fenced, and what outlives a fence, is found before anything is changed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_changes_nothing() {
    let (pair, _turn) = fixture::alone().await;
    for side in [&pair.blue, &pair.green] {
        let stage = Stage::set(side, &["app"]).await;
        let app = &stage.roles[0];
        let refused = async |sentence: &str| {
            for only_look in [true, false] {
                let error = match only_look {
                    true => fence::preview(&stage.session, "r", &exceptions()).await.unwrap_err(),
                    false => fence::close(&stage.session, "r", &exceptions(), LONG).await.unwrap_err(),
                };
                assert!(error.code() == Code::RequireFailed && error.message().contains(sentence), "{error:?}");
                assert!(stage.can_log_in(app).await);
            }
        };
        let error = fence::close(&stage.session, "r", &[], LONG).await.unwrap_err();
        assert!(error.message().contains("own login `postgres`"), "{error:?}");

        let other = fixture::unique("super");
        stage.session.batch(&format!("CREATE ROLE {other} LOGIN SUPERUSER")).await.unwrap();
        refused(&format!("superusers are not fenced: `{other}`")).await;
        stage.session.batch(&format!("DROP ROLE {other}; CREATE ROLE rds_{other} LOGIN")).await.unwrap();
        refused(&format!("roles of RDS are not fenced: `rds_{other}`")).await;
        stage.session.batch(&format!("DROP ROLE rds_{other}")).await.unwrap();

        let elsewhere = side.database("fence").await.psql();
        elsewhere.batch("CREATE TABLE p (i int)").await.unwrap();
        let prepare = tokio_postgres::connect(&side_url(side, &elsewhere), tokio_postgres::NoTls).await.unwrap();
        let connection = tokio::spawn(prepare.1);
        prepare.0.batch_execute("BEGIN; INSERT INTO p VALUES (1); PREPARE TRANSACTION 'it''s'").await.unwrap();
        refused("prepared transactions outlive every session: `it's`").await;
        prepare.0.batch_execute("ROLLBACK PREPARED 'it''s'").await.unwrap();
        drop(prepare.0);
        connection.await.unwrap().unwrap();

        assert_eq!(fence::outcome(&stage.session, "r").await.unwrap(), "none");
        fence::close(&stage.session, "r", &exceptions(), LONG).await.unwrap();
        assert_eq!(code(fence::close(&stage.session, "other", &exceptions(), LONG).await), Code::RequireFailed);
        assert_eq!(code(own::remove(&stage.session).await), Code::Refused);
        fence::reopen(&stage.session, "r").await.unwrap();
        stage.strike().await;
    }
}

fn side_url(side: &Side, session: &Session) -> String {
    let target = session.target();
    format!(
        "host=127.0.0.1 port={} user=postgres password={} dbname={}",
        side.port(),
        side.password().expose(),
        target.database()
    )
}

/// Measured elsewhere: NOLOGIN and terminate in one transaction left survivors in 19 of 20 rounds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_reconnecting_writer_gets_through() {
    let (pair, _turn) = fixture::alone().await;
    for side in [&pair.blue, &pair.green] {
        let stage = Stage::set(side, &["app", "batch", "cron"]).await;
        for round in 0..3 {
            let run = format!("r{round}");
            let stop = Arc::new(atomic::AtomicBool::new(false));
            let written = Arc::new(atomic::AtomicU64::new(0));
            let roles = stage.roles.iter().flat_map(|role| [role; 4]);
            let writers: Vec<_> = roles.map(|role| stage.writer(role, &stop, &written)).collect();
            while written.load(atomic::Ordering::Relaxed) < 200 {
                clock::sleep(Duration::from_millis(5)).await;
            }
            let closed = fence::close(&stage.session, &run, &exceptions(), LONG).await.unwrap();
            let rows = stage.rows().await;
            clock::sleep(Duration::from_millis(100)).await;
            assert_eq!(stage.rows().await, rows, "somebody wrote behind the fence");
            assert!(closed.terminated >= 1);
            fence::reopen(&stage.session, &run).await.unwrap();
            let before = written.load(atomic::Ordering::Relaxed);
            while written.load(atomic::Ordering::Relaxed) < before + 50 {
                clock::sleep(Duration::from_millis(5)).await;
            }
            stop.store(true, atomic::Ordering::Relaxed);
            for writer in writers {
                writer.await.unwrap();
            }
        }
        stage.strike().await;
    }
}

/// Attack 4: a backend that has passed its login check and is still starting has no name yet; it wrote after T.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_is_still_starting_does_not_get_through() {
    let (pair, _turn) = fixture::alone().await;
    for side in [&pair.blue, &pair.green] {
        let stage = Stage::set(side, &["app"]).await;
        let mut config: tokio_postgres::Config = url(&stage.database, &stage.roles[0]).parse().unwrap();
        config.options("-c post_auth_delay=1");
        let late = tokio::spawn(async move {
            let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
            let connection = tokio::spawn(connection);
            let done = client.batch_execute("INSERT INTO public.t (v) VALUES ('late')").await;
            connection.abort();
            done
        });
        clock::sleep(Duration::from_millis(300)).await;
        fence::close(&stage.session, "r", &exceptions(), LONG).await.unwrap();
        let rows = stage.rows().await;
        assert!(late.await.unwrap().is_err(), "a backend got through on {}", side.major);
        assert_eq!(stage.rows().await, rows);
        fence::reopen(&stage.session, "r").await.unwrap();
        stage.strike().await;
    }
}

/// Attack 1: one decision. Whoever opens the server again and whoever decides for the other one cannot both win.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decision_and_a_way_back_exclude_each_other() {
    let (pair, _turn) = fixture::alone().await;
    let stage = Stage::set(&pair.blue, &["app"]).await;
    let guardian = stage.database.session();
    guardian.open().await.unwrap();
    let (mut decided, mut reopened) = (0, 0);
    for round in 0..24 {
        let run = format!("r{round}");
        fence::close(&stage.session, &run, &exceptions(), LONG).await.unwrap();
        let (first, second) = tokio::join!(
            async {
                clock::sleep(Duration::from_micros(400 * (round % 4))).await;
                fence::decide(&stage.session, &run).await
            },
            fence::reopen(&guardian, &run)
        );
        let open = stage.can_log_in(&stage.roles[0]).await;
        match (first, second) {
            (Ok(decision), Err(error)) => {
                assert_eq!((decision.state.as_str(), error.code(), open), ("green", Code::Refused, false));
                decided += 1;
                assert_eq!(fence::decide(&stage.session, &run).await.unwrap(), decision);
                assert_eq!(code(fence::close(&stage.session, &run, &exceptions(), LONG).await), Code::Refused);
                fence::open(&stage.session, &decision).await.unwrap();
            }
            (Err(error), Ok(Some(decision))) => {
                assert_eq!((decision.state.as_str(), error.code(), open), ("reopened", Code::RequireFailed, true));
                reopened += 1;
                assert_eq!(code(fence::open(&stage.session, &decision).await), Code::Refused);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(decided + reopened == 24 && reopened > 0, "{decided} {reopened}");
    stage.strike().await;
}

/// Past the deadline there is only the way back; that way has no deadline.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn past_the_deadline_nothing_is_decided() {
    let (pair, _turn) = fixture::alone().await;
    let stage = Stage::set(&pair.blue, &["app"]).await;
    fence::close(&stage.session, "r", &exceptions(), Duration::from_millis(300)).await.unwrap();
    clock::sleep(Duration::from_millis(350)).await;
    assert_eq!(code(fence::decide(&stage.session, "r").await), Code::Timeout);
    assert_eq!(code(fence::close(&stage.session, "r", &exceptions(), LONG).await), Code::Timeout);
    assert_eq!(fence::outcome(&stage.session, "r").await.unwrap(), "fenced");
    fence::reopen(&stage.session, "r").await.unwrap();
    assert!(stage.can_log_in(&stage.roles[0]).await);
    stage.strike().await;
}

/// The decision is refused as long as somebody could still write here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fence_with_a_gap_is_not_decided() {
    let (pair, _turn) = fixture::alone().await;
    let stage = Stage::set(&pair.blue, &["app"]).await;
    let app = &stage.roles[0];
    let said = async |words: &str| {
        let error = fence::decide(&stage.session, "r").await.unwrap_err();
        assert!(error.code() == Code::RequireFailed && error.message().contains(words), "{error:?}");
        assert_eq!(fence::outcome(&stage.session, "r").await.unwrap(), "fenced");
    };
    fence::close(&stage.session, "r", &exceptions(), LONG).await.unwrap();
    stage.session.batch(&format!("ALTER ROLE {app} LOGIN")).await.unwrap();
    said(&format!("may log in: `{app}`")).await;
    let held = stage.database.login(app);
    held.open().await.unwrap();
    stage.session.batch(&format!("ALTER ROLE {app} NOLOGIN; CREATE ROLE {app}_new LOGIN")).await.unwrap();
    said(&format!("may log in: `{app}_new`")).await;
    assert_eq!(code(fence::close(&stage.session, "r", &exceptions(), LONG).await), Code::RequireFailed);
    stage.session.batch(&format!("DROP ROLE {app}_new")).await.unwrap();
    said("fenced sessions are left").await;
    assert_eq!(fence::close(&stage.session, "r", &exceptions(), LONG).await.unwrap().terminated, 1);
    let operator = stage.database.psql();
    operator.begin().await.unwrap();
    operator.batch("INSERT INTO t (v) VALUES ('by hand')").await.unwrap();
    said("may still commit here").await;
    operator.rollback().await.unwrap();
    assert_eq!(fence::decide(&stage.session, "r").await.unwrap().state, "green");
    let error = fence::reopen(&stage.session, "r").await.unwrap_err();
    assert_eq!(error.code(), Code::Refused);
    stage.session.batch(&format!("ALTER ROLE {app} LOGIN")).await.unwrap();
    stage.strike().await;
}

/// A process that is killed inside `close` leaves the record; whoever comes next finishes or goes back by it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_that_was_cut_off_is_taken_up() {
    let (pair, _turn) = fixture::alone().await;
    let stage = Stage::set(&pair.blue, &["app"]).await;
    let held = stage.database.login(&stage.roles[0]);
    held.open().await.unwrap();
    // Killed between its two halves: the decision is committed, the sessions are still there.
    let half = "SELECT pgrun.close('r', '{postgres}', 20000, false)";
    stage.session.query(half, &[]).await.unwrap();
    held.value("SELECT 1", &[]).await.unwrap();
    let closed = fence::close(&stage.session, "r", &exceptions(), LONG).await.unwrap();
    assert!(closed.decision.roles.contains(&stage.roles[0]) && closed.terminated >= 1, "{closed:?}");
    fence::reopen(&stage.session, "r").await.unwrap();
    // Killed anywhere.
    for micros in [0, 500, 2000, 8000, 16_000] {
        let killed = stage.database.session();
        killed.open().await.unwrap();
        let run = format!("r{micros}");
        let _ = clock::within(Duration::from_micros(micros), fence::close(&killed, &run, &exceptions(), LONG)).await;
        drop(killed);
        // What the killed process had sent is done or cancelled by then.
        clock::sleep(Duration::from_millis(100)).await;
        if fence::outcome(&stage.session, &run).await.unwrap() == "fenced" {
            let closed = fence::close(&stage.session, &run, &exceptions(), LONG).await.unwrap();
            assert!(closed.decision.roles.contains(&stage.roles[0]));
        }
        fence::reopen(&stage.session, &run).await.unwrap();
        assert!(stage.can_log_in(&stage.roles[0]).await);
    }
    stage.strike().await;
}
