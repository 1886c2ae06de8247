//! Roles and other people's sessions.

use std::time::Duration;

use pgrun::{
    base::{Code, Secret, Value, clock, poll::Patience},
    pg::{
        Session, Settings,
        roles::{self, Login, NewRole},
        sessions::{self, Whose},
    },
};

use super::fixture;

/// Names that break careless quoting.
fn awkward(stem: &str) -> [String; 4] {
    let number = fixture::unique(stem);
    let long = format!("{number}_{}", "x".repeat(62 - number.len()));
    [format!("{number} it's \"Q\""), format!("{number} éé🙂"), format!("{number} CAPITALS; DROP"), long]
}

/// LOGIN comes back exactly to those who had it, and nothing else of a role changes.
#[tokio::test]
async fn logins_are_recorded_and_restored() {
    let (pair, _turn) = fixture::shared().await;
    for side in [&pair.blue, &pair.green] {
        let session = side.database("roles").await.session();
        let names = awkward("role");
        for (at, name) in names.iter().enumerate() {
            let role = NewRole {
                name: name.clone(),
                login: at % 2 == 0,
                connection_limit: Some(7),
                valid_until: Some("2099-01-01 00:00:00+00".into()),
                ..NewRole::default()
            };
            roles::create(&session, &role).await.unwrap();
        }
        let mine = |all: Vec<roles::RoleLogin>| all.into_iter().filter(|r| names.contains(&r.name)).collect::<Vec<_>>();
        let before = mine(roles::logins(&session).await.unwrap());
        assert_eq!(before.len(), 4);
        assert!(
            before.iter().all(|r| r.connection_limit == 7 && r.valid_until.as_deref() == Some("2099-01-01T00:00:00Z"))
        );
        roles::set_login(&session, &names, false).await.unwrap();
        assert!(mine(roles::logins(&session).await.unwrap()).iter().all(|r| !r.can_login));
        let changed = roles::restore(&session, &before).await.unwrap();
        assert_eq!(changed.len(), 2);
        assert_eq!(mine(roles::logins(&session).await.unwrap()), before);
        assert!(roles::restore(&session, &before).await.unwrap().is_empty(), "twice is the same as once");

        let mut strange = names.to_vec();
        strange.push("no such role".into());
        let error = roles::set_login(&session, &strange, true).await.unwrap_err();
        assert_eq!(error.fact("sqlstate"), Some("42704"));
        assert_eq!(mine(roles::logins(&session).await.unwrap()), before, "all or none");
        let error =
            roles::create(&session, &NewRole { name: names[0].clone(), ..NewRole::default() }).await.unwrap_err();
        assert_eq!(error.code(), Code::Foreign);
        assert!(roles::drop(&session, &names[0]).await.unwrap());
        assert!(!roles::drop(&session, &names[0]).await.unwrap());
        assert!(roles::restore(&session, &before).await.unwrap_err().message().contains("1 role of the record"));
    }
}

/// A password made here works, and the server never sees it. A login tells NOLOGIN from a wrong password.
#[tokio::test]
async fn passwords_travel_as_verifiers() {
    let (pair, _turn) = fixture::shared().await;
    let db = pair.green.database("roles").await;
    let session = db.session();
    let [name, ..] = awkward("login");
    let password = Secret::new(format!("{}é ſecret", (' '..='~').collect::<String>()));
    let role = NewRole { name: name.clone(), login: true, password: Some(password.clone()), ..NewRole::default() };
    roles::create(&session, &role).await.unwrap();
    let target = db.target().with_login(&name, None);
    let other = Secret::new("other");
    assert_eq!(roles::try_login(&target, &password).await.unwrap(), Login::Accepted);
    assert_eq!(roles::try_login(&target, &other).await.unwrap(), Login::WrongPassword);
    roles::set_login(&session, std::slice::from_ref(&name), false).await.unwrap();
    assert_eq!(roles::try_login(&target, &password).await.unwrap(), Login::NoLogin, "28000: the password is right");
    assert_eq!(roles::try_login(&target, &other).await.unwrap(), Login::WrongPassword);
    roles::set_login(&session, std::slice::from_ref(&name), true).await.unwrap();
    roles::set_password(&session, &name, &other).await.unwrap();
    assert_eq!(roles::try_login(&target, &other).await.unwrap(), Login::Accepted);
    let absent = db.target().with_login("no such role", None);
    assert_eq!(roles::try_login(&absent, &other).await.unwrap(), Login::WrongPassword);
    let elsewhere = target.with_database("no such database");
    assert_eq!(roles::try_login(&elsewhere, &other).await.unwrap_err().fact("sqlstate"), Some("3D000"));
    assert!(!pair.green.log().contains("~é ſecret"), "the log has the verifier only");
    assert_eq!(roles::verifier(&Secret::new("")).unwrap_err().code(), Code::Usage);
}

/// Members are found through any number of groups.
#[tokio::test]
async fn members_of_members() {
    let (pair, _turn) = fixture::shared().await;
    let session = pair.blue.database("roles").await.session();
    let [a, b, c, d] = awkward("group");
    for (name, of) in [(&a, None), (&b, Some(&a)), (&c, Some(&b)), (&d, None)] {
        let member_of = of.cloned().into_iter().collect();
        roles::create(&session, &NewRole { name: name.clone(), member_of, ..NewRole::default() }).await.unwrap();
    }
    let mut wanted = vec![b.clone(), c.clone()];
    wanted.sort();
    let mut found = roles::members(&session, &a).await.unwrap();
    found.sort();
    assert_eq!(found, wanted);
    assert!(roles::memberships(&session).await.unwrap().iter().any(|m| m.role == a && m.member == b && !m.admin));
}

/// Sessions end, whoever reconnects in a loop; others stay.
#[tokio::test]
async fn sessions_end_until_none_is_left() {
    let (pair, _turn) = fixture::shared().await;
    let db = pair.blue.database("sessions").await;
    let admin = db.session();
    let (app, other) = (fixture::unique("app"), fixture::unique("other"));
    admin
        .batch(&format!("CREATE ROLE {app} LOGIN PASSWORD 'secret'; CREATE ROLE {other} LOGIN PASSWORD 'secret'"))
        .await
        .unwrap();
    let stays = db.login(&other);
    stays.open().await.unwrap();
    let mut loops = Vec::new();
    for _ in 0..10 {
        let session = db.login(&app);
        loops.push(tokio::spawn(async move {
            while session.value("SELECT 1", &[]).await.is_ok() {
                clock::sleep(Duration::from_millis(1)).await;
            }
        }));
    }
    let of_app = [app.clone()];
    while sessions::of(&admin, Whose::Of(&of_app)).await.unwrap().len() < 10 {
        clock::sleep(Duration::from_millis(10)).await;
    }
    roles::set_login(&admin, &of_app, false).await.unwrap();
    let ended = sessions::end(&admin, Whose::Of(&of_app), Patience::ms(2, 10_000)).await.unwrap();
    assert!(ended.sessions >= 10, "{ended:?}");
    assert!(sessions::of(&admin, Whose::Of(&of_app)).await.unwrap().is_empty());
    for each in loops {
        each.await.unwrap();
    }
    assert_eq!(stays.value("SELECT 1", &[]).await.unwrap(), Value::Int(1));
    assert_eq!(sessions::of(&admin, Whose::Of(&[other])).await.unwrap().len(), 1);
}

/// A session that may not be ended is named at the deadline; a superuser's is not touched by anybody else.
#[tokio::test]
async fn what_cannot_be_ended_is_named() {
    let (pair, _turn) = fixture::shared().await;
    let db = pair.green.database("sessions").await;
    let admin = db.session();
    let (operator, boss) = (fixture::unique("operator"), fixture::unique("boss"));
    admin
        .batch(&format!(
            "CREATE ROLE {operator} LOGIN PASSWORD 'secret'; GRANT pg_signal_backend TO {operator}; \
        CREATE ROLE {boss} SUPERUSER LOGIN PASSWORD 'secret'"
        ))
        .await
        .unwrap();
    let busy = db.login(&boss);
    busy.open().await.unwrap();
    let blind = sessions::end(&db.login(&operator), Whose::Of(&[]), Patience::ms(5, 100)).await.unwrap_err();
    assert_eq!(blind.code(), Code::RequireFailed, "who sees nobody must not believe that nobody is there: {blind:?}");
    admin.batch(&format!("GRANT pg_monitor TO {operator}")).await.unwrap();
    let error = sessions::end(&db.login(&operator), Whose::Of(std::slice::from_ref(&boss)), Patience::ms(5, 100))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::Timeout);
    assert!(error.message().contains(&boss), "{error:?}");
    assert!(busy.value("SELECT 1", &[]).await.is_ok());
}

/// Open transactions that have changed something, prepared ones, and who blocks whom.
#[tokio::test]
async fn writers_and_blockers_are_seen() {
    let (pair, _turn) = fixture::shared().await;
    let db = pair.blue.database("writers").await;
    let admin = db.session();
    admin.batch("CREATE TABLE public.t (i int)").await.unwrap();
    let app = Session::new(db.target(), Settings::of_run("x"));
    app.begin().await.unwrap();
    app.execute("INSERT INTO public.t VALUES (1)", &[]).await.unwrap();
    assert!(
        sessions::writers(&admin).await.unwrap().iter().all(|w| w.database.as_deref() != Some(db.name.as_str())),
        "pgrun's own are left out"
    );
    app.batch("SET application_name = 'billing'").await.unwrap();
    let writers = sessions::writers(&admin).await.unwrap();
    let mine = writers.iter().find(|w| w.database.as_deref() == Some(db.name.as_str())).unwrap();
    assert_eq!((mine.application.as_str(), mine.has_xid), ("billing", true));
    let waiting = db.session();
    let pid = waiting.value("SELECT pg_backend_pid()", &[]).await.unwrap().as_int().unwrap();
    let (locked, ()) = tokio::join!(waiting.batch("ALTER TABLE public.t ADD COLUMN j int"), async {
        let mut blockers = Vec::new();
        while blockers.is_empty() {
            blockers = sessions::blockers(&admin, pid).await.unwrap();
        }
        assert_eq!((blockers[0].pid, blockers[0].application.as_deref()), (mine.pid, Some("billing")));
        app.rollback().await.unwrap();
    });
    locked.unwrap();
}
