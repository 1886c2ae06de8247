//! An RDS Proxy of the lab, and a forwarded port: what names, passwords and secrets they want.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use aws_sdk_rds::{
    error::ProvideErrorMetadata as _,
    types::{AuthScheme, EngineFamily, UserAuthConfig},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use pgrun::base::{Code, poll};

use super::{
    stage::{Stage, connect, pair, url},
    tls::{ca, host, login, with_tls},
};

/// `pgrun lab forward`, and the port that it told.
struct Forward(Child, u16);

impl Forward {
    fn to(stage: &Stage, name: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgrun"));
        command.args(["lab", "forward", name, "--dir"]).arg(stage.lab.dir()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.strip_prefix("127.0.0.1:").expect(&line).split(' ').next().unwrap().parse().unwrap();
        Self(child, port)
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn secret(stage: &Stage, name: &str, user: &str, password: &str) -> String {
    let text = format!("{{\"username\":\"{user}\",\"password\":\"{password}\"}}");
    let made = stage.secrets.create_secret().name(name).secret_string(text).send().await.unwrap();
    made.arn().unwrap().to_owned()
}

async fn proxy(stage: &Stage, name: &str, secrets: &[&str]) -> u16 {
    let mut request = stage.rds.create_db_proxy().db_proxy_name(name).engine_family(EngineFamily::Postgresql);
    for arn in secrets {
        request = request.auth(UserAuthConfig::builder().auth_scheme(AuthScheme::Secrets).secret_arn(*arn).build());
    }
    let request = request.role_arn("arn:aws:iam::000000000000:role/proxy").vpc_subnet_ids("subnet-1");
    let made = request.vpc_subnet_ids("subnet-2").require_tls(true).send().await.unwrap();
    assert_eq!(made.db_proxy().unwrap().status().unwrap().as_str(), "creating");
    poll::until("the proxy", poll::Patience::ms(20, 20_000), async || {
        let told = stage.rds.describe_db_proxies().db_proxy_name(name).send().await.unwrap();
        let status = told.db_proxies()[0].status().unwrap().as_str().to_owned();
        Ok(if status == "available" { poll::Seen::Ready(()) } else { poll::Seen::NotYet(status) })
    })
    .await
    .unwrap();
    pgrun::lab::place(stage.lab.dir(), name).unwrap().unwrap().0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_proxy_logs_in_by_its_secrets() {
    let version = match with_tls().await {
        Some(version) => version,
        // The way from the proxy to the instance is then plain; everything else is the same.
        None => pair().await.0,
    };
    let stage = Stage::set().await;
    stage.instance("one", version).await;
    let master = connect(&url(&stage.rds, "one").await).await;
    let words = "p,=w é";
    master
        .batch_execute("CREATE ROLE app LOGIN PASSWORD 'p,=w é'; CREATE ROLE late LOGIN PASSWORD 'later'")
        .await
        .unwrap();
    let (app, late) = (secret(&stage, "app", "app", words).await, secret(&stage, "late", "late", "out-of-date").await);
    let port = proxy(&stage, "front", &[&app, &late]).await;
    let (_, name) = pgrun::lab::place(stage.lab.dir(), "front").unwrap().unwrap();
    assert!(name.starts_with("front.proxy-") && name.ends_with(".eu-west-1.rds.amazonaws.com"), "{name}");
    let ca = ca(&stage);
    let full = format!("sslmode=verify-full sslrootcert={}", ca.display());
    let at = |port: u16, user: &str, password: &str| format!("port={port} user={user} password='{password}'");
    let through = format!("host={name} hostaddr=127.0.0.1 {full}");

    let early = login(&format!("{through} {}", at(port, "app", words))).await.unwrap_err();
    assert!(early.message().contains("no available target"), "{early:?}");
    let register = || stage.rds.register_db_proxy_targets().db_proxy_name("front").db_instance_identifiers("one");
    register().send().await.unwrap();
    let twice = register().send().await.unwrap_err();
    assert_eq!(twice.code(), Some("DBProxyTargetAlreadyRegisteredFault"));
    let targets = stage.rds.describe_db_proxy_targets().db_proxy_name("front").send().await.unwrap();
    assert_eq!(targets.targets()[0].rds_resource_id(), Some("one"));
    assert_eq!(targets.targets()[0].target_health().unwrap().state().unwrap().as_str(), "AVAILABLE");

    // Whether a session of the instance is encrypted shows the way from the proxy to the instance.
    assert_eq!(login(&format!("{through} {}", at(port, "app", words))).await.unwrap(), with_tls().await.is_some());
    let wrong = login(&format!("{through} {}", at(port, "app", "wrong"))).await.unwrap_err();
    assert!(wrong.message().contains("The password that was provided for the role app is wrong."), "{wrong:?}");
    let stranger = login(&format!("{through} {}", at(port, "stranger", "x"))).await.unwrap_err();
    assert!(stranger.message().contains("This RDS proxy has no credentials for the role stranger."), "{stranger:?}");
    let plain = login(&format!("host=127.0.0.1 sslmode=disable {}", at(port, "app", words))).await.unwrap_err();
    assert!(plain.message().contains("This RDS Proxy requires TLS connections"), "{plain:?}");
    // The client knows what the secret says; the instance does not: its own words.
    let drifted = login(&format!("{through} {}", at(port, "late", "out-of-date"))).await.unwrap_err();
    assert!(drifted.message().contains("password authentication failed for user \"late\""), "{drifted:?}");
    let fresh = "{\"username\":\"late\",\"password\":\"later\"}";
    stage.secrets.put_secret_value().secret_id("late").secret_string(fresh).send().await.unwrap();
    login(&format!("{through} {}", at(port, "late", "later"))).await.unwrap();

    // A forwarded port has another name than the certificate.
    let forward = Forward::to(&stage, "front");
    let by_tunnel = login(&format!("host=localhost {full} {}", at(forward.1, "app", words))).await.unwrap_err();
    assert_eq!(by_tunnel.code(), Code::PgTls);
    assert!(by_tunnel.message().contains("not valid for the name `localhost`"), "{by_tunnel:?}");
    login(&format!("{through} {}", at(forward.1, "app", words))).await.unwrap();
    let direct = Forward::to(&stage, "one");
    if with_tls().await.is_some() {
        let by_tunnel = login(&format!("host=localhost {full} {}", at(direct.1, "app", words))).await.unwrap_err();
        assert!(by_tunnel.message().contains("not valid for the name `localhost`"), "{by_tunnel:?}");
        let real = format!("host={} hostaddr=127.0.0.1 {full} {}", host(&stage, "one"), at(direct.1, "app", words));
        login(&real).await.unwrap();
    }
    let mut direct = direct;
    kill(Pid::from_raw(i32::try_from(direct.0.id()).unwrap()), Signal::SIGINT).unwrap();
    assert!(direct.0.wait().unwrap().success(), "Ctrl-C is how it ends");

    let gone = stage.rds.delete_db_proxy().db_proxy_name("front").send().await.unwrap();
    assert_eq!(gone.db_proxy().unwrap().status().unwrap().as_str(), "deleting");
    let absent = stage.rds.describe_db_proxies().db_proxy_name("front").send().await.unwrap_err();
    assert_eq!(absent.code(), Some("DBProxyNotFoundFault"));
    poll::until("the port to be closed", poll::Patience::ms(20, 20_000), async || {
        let told = login(&format!("{through} {}", at(port, "app", words))).await;
        Ok(if told.is_err() { poll::Seen::Ready(()) } else { poll::Seen::NotYet("open".into()) })
    })
    .await
    .unwrap();
}
