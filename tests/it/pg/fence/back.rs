//! Opening again: by a person with psql, on the copy, and by an operator who is no superuser.

use pgrun::{
    base::Code,
    pg::{fence, own},
};

use super::{LONG, Stage, code, exceptions};
use crate::pg::fixture;

/// The way back needs psql alone. It runs as its owner and is safe from its caller's names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_with_psql_opens_the_server() {
    let (pair, _turn) = fixture::alone().await;
    for side in [&pair.blue, &pair.green] {
        let stage = Stage::set(side, &["app", "oncall"]).await;
        let [app, oncall] = &stage.roles[..] else { unreachable!() };
        let except = vec!["postgres".into(), oncall.clone()];
        let person = stage.database.login(oncall);
        let error = person.value("SELECT pgrun.reopen()", &[]).await.unwrap_err();
        assert_eq!(error.fact("sqlstate"), Some("42501"));
        let grants =
            format!("GRANT USAGE ON SCHEMA pgrun TO {oncall}; GRANT EXECUTE ON FUNCTION pgrun.reopen() TO {oncall}");
        stage.session.batch(&grants).await.unwrap();
        let said = person.value("SELECT pgrun.reopen()", &[]).await.unwrap();
        assert!(said.as_text().unwrap().starts_with("nothing is fenced"), "{said:?}");
        fence::close(&stage.session, "r", &except, LONG).await.unwrap();
        // Names that stand before pg_catalog's in the caller's path must not be used.
        let traps = "CREATE FUNCTION pg_temp.format(text, VARIADIC \"any\") RETURNS text LANGUAGE sql AS 'SELECT ''x''';
                     CREATE TEMP TABLE pg_roles (rolname name, oid oid, rolcanlogin bool); CREATE TEMP TABLE decision (i int);
                     SET search_path = pg_temp, pgrun, pg_catalog";
        let _ = person.batch("CREATE TEMP TABLE pg_roles (rolname name, oid oid, rolcanlogin bool)").await;
        let _ = person.batch(traps).await;
        person.batch("SET search_path = pg_temp, pgrun, pg_catalog").await.unwrap();
        for forbidden in ["pgrun.decide('r')", "pgrun.reopen_run('r')", "pgrun.admit('{postgres}')"] {
            let error = person.query(&format!("SELECT {forbidden}"), &[]).await.unwrap_err();
            assert_eq!(error.fact("sqlstate"), Some("42501"), "{forbidden}");
        }
        let said = person.value("SELECT pgrun.reopen()", &[]).await.unwrap();
        assert!(said.as_text().unwrap().starts_with("open again: "), "{said:?}");
        assert!(stage.can_log_in(app).await);
        assert_eq!(fence::outcome(&stage.session, "r").await.unwrap(), "reopened");
        assert_eq!(code(fence::decide(&stage.session, "r").await), Code::RequireFailed);
        drop(person);
        stage.strike().await;
    }
}

/// The copy takes nobody until the decision; then exactly those who could log in, even if somebody is missing there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_opens_for_those_who_could_log_in() {
    let (pair, _turn) = fixture::alone().await;
    let blue = Stage::set(&pair.blue, &["app", "only_blue"]).await;
    let green = Stage::set(&pair.green, &["only_green"]).await;
    let (app, only_green) = (&blue.roles[0], &green.roles[0]);
    green.session.batch(&format!("CREATE ROLE {app} LOGIN")).await.unwrap();
    for _ in 0..2 {
        let forbidden = fence::forbid(&green.session, "r", &exceptions()).await.unwrap();
        assert!(forbidden.roles.contains(app) && forbidden.roles.contains(only_green), "{forbidden:?}");
    }
    let closed = fence::close(&blue.session, "r", &exceptions(), LONG).await.unwrap();
    assert_eq!(code(fence::open(&green.session, &closed.decision).await), Code::Refused);
    let decision = fence::decide(&blue.session, "r").await.unwrap();
    for _ in 0..2 {
        let opened = fence::open(&green.session, &decision).await.unwrap();
        assert!(opened.opened.contains(app) && opened.missing.contains(&blue.roles[1]), "{opened:?}");
    }
    assert!(green.can_log_in(app).await && !green.can_log_in(only_green).await);
    assert!(!blue.can_log_in(app).await);
    green.session.batch(&format!("DROP ROLE {app}")).await.unwrap();
    fence::open(&blue.session, &decision).await.unwrap();
    blue.strike().await;
    green.strike().await;
}

/// RDS has no superuser: CREATEROLE, monitoring and signalling must do. What may not be altered is refused as a whole,
/// and when going back it does not keep the others out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_without_superuser() {
    let (pair, _turn) = fixture::alone().await;
    for side in [&pair.blue, &pair.green] {
        let database = side.database("fence").await;
        let admin = database.session();
        let [operator, app, other] = ["operator", "app", "other"].map(fixture::unique);
        let sql = format!(
            "CREATE ROLE {operator} LOGIN CREATEROLE PASSWORD 'secret'; GRANT pg_monitor, pg_signal_backend TO {operator};
             GRANT CREATE ON DATABASE \"{}\" TO {operator}", database.name
        );
        admin.batch(&sql).await.unwrap();
        let session = database.login(&operator);
        own::install(&session).await.unwrap();
        session.batch(&format!("CREATE ROLE {app} LOGIN PASSWORD 'secret'; CREATE ROLE {other} LOGIN")).await.unwrap();
        let all = admin.query("SELECT rolname::text AS name FROM pg_roles WHERE rolcanlogin", &[]).await.unwrap();
        let mut names: Vec<String> = all.iter().map(|row| row["name"].as_text().unwrap().to_owned()).collect();
        names.retain(|name| ![&app, &other].contains(&name));
        let held = database.login(&app);
        held.open().await.unwrap();

        let closed = fence::close(&session, "r", &names, LONG).await.unwrap();
        assert_eq!((closed.decision.roles.len(), closed.terminated), (2, 1));
        admin.batch(&format!("ALTER ROLE {other} SUPERUSER")).await.unwrap();
        let reopened = fence::reopen(&session, "r").await.unwrap().unwrap();
        assert_eq!(reopened.state, "reopened");
        let warned = session.drain_notices();
        assert!(warned.iter().any(|notice| notice.message.contains(&other)), "{warned:?}");
        held.open().await.unwrap();

        // Refused before anything is changed: no LOGIN taken, no decision made.
        admin
            .batch(&format!("ALTER ROLE {other} NOSUPERUSER LOGIN; REVOKE pg_signal_backend FROM {operator}"))
            .await
            .unwrap();
        let error = fence::close(&session, "r", &names, LONG).await.unwrap_err();
        assert!(error.hint_text().unwrap().contains("GRANT pg_signal_backend"), "{error:?}");
        admin
            .batch(&format!("GRANT pg_signal_backend TO {operator}; ALTER ROLE {operator} NOCREATEROLE"))
            .await
            .unwrap();
        let error = fence::close(&session, "r", &names, LONG).await.unwrap_err();
        assert_eq!(error.fact("sqlstate"), Some("42501"), "{error:?}");
        assert_eq!(fence::outcome(&session, "r").await.unwrap(), "reopened");
        held.value("SELECT 1", &[]).await.unwrap();

        drop((held, session));
        admin
            .batch(&format!("DROP OWNED BY {operator} CASCADE; DROP ROLE {app}, {other}; DROP ROLE {operator}"))
            .await
            .unwrap();
    }
}
