//! Every way in which a login can be encrypted, refused or misled.

use pgrun::{
    base::{Code, Error, Secret},
    pg::{Session, Settings, Target},
};

use super::fixture::{self, CERTIFIED, Pair};

/// A login on BLUE with these connection settings.
async fn login(pair: &Pair, settings: &str) -> Result<bool, Error> {
    let port = pair.blue.port();
    let base = format!("hostaddr=127.0.0.1 port={port} dbname=postgres user=postgres");
    let password = pair.blue.password().expose();
    let target = Target::parse(&format!("{base} password={password} {settings}"))?;
    let session = Session::new(target, Settings::of_run("tls"));
    let facts = session.server().await?;
    Ok(facts.encrypted)
}

/// True if BLUE can speak TLS at all; the builds fetched for a machine without servers may not.
fn speaks_tls(pair: &Pair) -> bool {
    if !pair.blue.tls {
        println!("skipped: PostgreSQL {} was built without TLS", pair.blue.major);
    }
    pair.blue.tls
}

/// `require` asks nobody; `verify-full` asks for the chain and the name; `disable` is plain.
#[tokio::test]
async fn modes_do_what_they_say() {
    let (pair, _turn) = fixture::shared().await;
    if !speaks_tls(pair) {
        return;
    }
    let (right, wrong) = (pair.authority.display(), pair.stranger.display());
    assert!(!login(pair, "host=127.0.0.1 sslmode=disable").await.unwrap());
    assert!(login(pair, "host=127.0.0.1 sslmode=prefer").await.unwrap());
    assert!(login(pair, "host=127.0.0.1").await.unwrap(), "the default for loopback is prefer");
    assert!(login(pair, "host=any.name sslmode=require").await.unwrap());
    assert!(login(pair, "host=any.name").await.unwrap(), "the default elsewhere is require");
    let full = format!("host={CERTIFIED} sslmode=verify-full sslrootcert={right}");
    assert!(login(pair, &full).await.unwrap());
    assert!(login(pair, &format!("{full} channel_binding=require")).await.unwrap());

    let unknown = login(pair, &format!("host={CERTIFIED} sslmode=verify-full sslrootcert={wrong}")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::PgTls);
    assert!(unknown.message().contains("not issued by an authority"), "{unknown:?}");
    assert!(unknown.fact("tls").unwrap().contains("UnknownIssuer"), "{unknown:?}");

    let name =
        login(pair, &format!("host=green.lab.example sslmode=verify-full sslrootcert={right}")).await.unwrap_err();
    assert!(name.message().contains("not valid for the name `green.lab.example`"), "{name:?}");

    let missing = login(pair, "host=any.name sslmode=verify-full sslrootcert=/nowhere.pem").await.unwrap_err();
    assert!(missing.message().contains("/nowhere.pem"), "{missing:?}");
    let key = pair.authority.with_file_name("server.key");
    let empty = login(pair, &format!("host=x sslmode=verify-full sslrootcert={}", key.display())).await.unwrap_err();
    assert!(empty.message().contains("no certificate"), "{empty:?}");
}

/// The two refusals that people confuse: the server has no TLS, and the server has nothing else.
#[tokio::test]
async fn a_server_without_tls_and_one_that_insists_are_told_apart() {
    let (pair, _turn) = fixture::shared().await;
    let target = pair.green.target("postgres");
    let url = format!("host=127.0.0.1 port={} user=postgres dbname=postgres sslmode=require", target.port());
    let plain = Session::new(Target::parse(&url).unwrap(), Settings::of_run("tls")).open().await.unwrap_err();
    assert_eq!(plain.code(), Code::PgTls);
    assert!(plain.message().contains("does not offer TLS"), "{plain:?}");

    let admin = Session::new(pair.blue.target("postgres"), Settings::of_run("tls"));
    for role in ["tls_only", "plain_only"] {
        admin.batch(&format!("CREATE ROLE {role} LOGIN PASSWORD 'secret'")).await.unwrap();
    }
    let login = async |role: &str, mode: &str| {
        let url = format!("host=127.0.0.1 port={} dbname=postgres user=x sslmode={mode}", pair.blue.port());
        let target = Target::parse(&url).unwrap().with_login(role, Some(Secret::new("secret")));
        Session::new(target, Settings::of_run("tls")).open().await
    };
    let insists = login("tls_only", "disable").await.unwrap_err();
    assert_eq!((insists.code(), insists.fact("sqlstate")), (Code::PgTls, Some("28000")), "{insists:?}");
    assert!(insists.hint_text().unwrap().contains("sslmode=require"));
    login("plain_only", "disable").await.unwrap();
    if speaks_tls(pair) {
        login("tls_only", "require").await.unwrap();
        let refused = login("plain_only", "require").await.unwrap_err();
        assert_eq!(refused.code(), Code::PgAuth, "{refused:?}");
    }
}

/// What is wrong is said, each with its own words; a password is in none of them.
#[tokio::test]
async fn every_refusal_has_its_own_words() {
    let (pair, _turn) = fixture::shared().await;
    let port = pair.blue.port();
    let attempt = async |text: String| {
        let target = Target::parse(&format!("{text} password=hunter2 connect_timeout=2")).unwrap();
        let error = Session::new(target, Settings::of_run("x")).open().await.unwrap_err();
        assert!(!format!("{error:?} {error}").contains("hunter2"), "{error:?}");
        error
    };
    let wrong = attempt(format!("host=127.0.0.1 port={port} user=postgres")).await;
    assert_eq!((wrong.code(), wrong.fact("sqlstate")), (Code::PgAuth, Some("28P01")));
    let refused = attempt("host=127.0.0.1 port=1 user=postgres".into()).await;
    assert_eq!(refused.fact("cause"), Some("refused"), "{refused:?}");
    let dns = attempt("host=no-such-host.invalid user=postgres".into()).await;
    assert_eq!(dns.fact("cause"), Some("dns"), "{dns:?}");
    // Reserved for documentation (RFC 5737): nobody answers. Where the network says so at once, that is right too.
    let silent = attempt("host=192.0.2.1 user=postgres".into()).await;
    assert!(matches!(silent.fact("cause"), Some("timeout" | "network" | "refused")), "{silent:?}");

    let password = pair.blue.password().expose();
    let url = format!("host=127.0.0.1 port={port} user=postgres dbname=nowhere password={password}");
    let absent = Session::new(Target::parse(&url).unwrap(), Settings::of_run("x")).open().await.unwrap_err();
    assert_eq!((absent.code(), absent.fact("sqlstate")), (Code::PgConnect, Some("3D000")));
    let bare = Target::parse(&format!("host=127.0.0.1 port={port} user=postgres")).unwrap();
    let bare = Session::new(bare, Settings::of_run("x")).open().await.unwrap_err();
    assert!(bare.code() == Code::PgAuth && bare.message().contains("none was given"), "{bare:?}");

    let admin = Session::new(pair.blue.target("postgres"), Settings::of_run("x"));
    admin.batch("CREATE ROLE few LOGIN PASSWORD 'secret' CONNECTION LIMIT 0").await.unwrap();
    let few = pair.blue.target("postgres").with_login("few", Some(Secret::new("secret")));
    let few = Session::new(few, Settings::of_run("x")).open().await.unwrap_err();
    assert_eq!((few.code(), few.fact("sqlstate")), (Code::PgConnect, Some("53300")));
}

/// A password may hold every printable character, in a URL and in a list of settings.
#[tokio::test]
async fn passwords_of_every_character() {
    let (pair, _turn) = fixture::shared().await;
    let printable: String = (' '..='~').collect();
    let admin = Session::new(pair.blue.target("postgres"), Settings::of_run("x"));
    let role = fixture::unique("awkward \"role\" é🙂");
    let ident = pgrun::base::ident::ident(&role).unwrap();
    let literal = pgrun::base::ident::literal(&printable).unwrap();
    admin.batch(&format!("CREATE ROLE {ident} LOGIN PASSWORD {literal}")).await.unwrap();
    let target = pair.blue.target("postgres").with_login(&role, Some(Secret::new(printable.as_str())));
    Session::new(target.clone(), Settings::of_run("x")).open().await.unwrap();
    let again = Target::parse(target.conninfo(None).expose()).unwrap();
    Session::new(again, Settings::of_run("x")).open().await.unwrap();
    let percent = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
    let (user, percent) = (percent(&role), percent(&printable));
    let url = format!("postgres://{user}:{percent}@127.0.0.1:{}/postgres", pair.blue.port());
    Session::new(Target::parse(&url).unwrap(), Settings::of_run("x")).open().await.unwrap();
}
