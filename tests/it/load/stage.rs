//! Real servers with the load's tables, and a role that may use them.

use std::{
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    time::Duration,
};

use futures_util::{SinkExt as _, StreamExt as _, pin_mut};
use pgrun::{
    base::{Secret, clock, config::Config},
    lab::postgres::{Catalogue, Server, ServerOptions},
    load::{Endpoint, Load, Plan, Status, prepare},
};
use tokio_postgres::Client;

/// Names as they occur: with blanks, quotes and capitals.
pub(super) const DATABASE: &str = "The \"Shop\"";
const ROLE: &str = "app's \"role\"";
pub(super) const SCHEMA: &str = "Load's \"tables\"";
const PASSWORD: &str = "p@ss word'";

/// A server with the load's tables; it stops when it is dropped.
pub(super) struct Stage {
    pub(super) server: Server,
    pub(super) admin: Client,
}

impl Stage {
    pub(super) async fn new() -> Self {
        let catalogue = Catalogue::look(&Config::from_env().unwrap()).await.unwrap();
        let version = catalogue.installed().last().copied();
        let version = version.unwrap_or_else(|| catalogue.pair(None, None).unwrap().0);
        let installation = catalogue.obtain(version).await.unwrap();
        let server = Server::scratch(&installation, ServerOptions::default()).await.unwrap();
        let root = server.connect("postgres").await.unwrap();
        let role = pgrun::base::ident::ident(ROLE).unwrap();
        let password = pgrun::base::ident::literal(PASSWORD).unwrap();
        let database = pgrun::base::ident::ident(DATABASE).unwrap();
        root.batch_execute(&format!("CREATE DATABASE {database}")).await.unwrap();
        root.batch_execute(&format!("CREATE ROLE {role} LOGIN PASSWORD {password}")).await.unwrap();
        let admin = server.connect(DATABASE).await.unwrap();
        let stage = Self { server, admin };
        // Twice: a rehearsal that is begun again finds the tables.
        for _ in 0..2 {
            prepare(&stage.superuser(), SCHEMA, Some(ROLE)).await.unwrap();
        }
        stage
    }

    /// The endpoint as the application knows it.
    pub(super) fn endpoint(&self) -> Endpoint {
        Endpoint { user: ROLE.into(), password: Secret::new(PASSWORD), ..self.superuser() }
    }

    /// Lets the server speak TLS under a fresh certificate for `localhost`, and gives that certificate; `None` when
    /// this build of PostgreSQL has no TLS.
    pub(super) async fn speak_tls(&mut self) -> Option<String> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let owner = std::fs::metadata(self.server.folder().join("data")).unwrap();
        for (name, text) in [("tls.pem", made.cert.pem()), ("tls.key", made.signing_key.serialize_pem())] {
            let path = self.server.folder().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            std::os::unix::fs::chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
            let setting = if name == "tls.pem" { "ssl_cert_file" } else { "ssl_key_file" };
            self.server.settings_mut().insert(setting.into(), path.display().to_string());
        }
        self.server.settings_mut().insert("ssl".into(), "on".into());
        self.server.reload().unwrap();
        for _ in 0..200 {
            let on: String = self.admin.query_one("SHOW ssl", &[]).await.unwrap().get(0);
            if on == "on" {
                return Some(made.cert.pem());
            }
            clock::sleep(Duration::from_millis(10)).await;
        }
        None
    }

    fn superuser(&self) -> Endpoint {
        let (user, password) = self.server.superuser();
        Endpoint {
            host: "127.0.0.1".into(),
            port: self.server.port(),
            database: DATABASE.into(),
            user: user.into(),
            password: password.clone(),
            tls: None,
        }
    }

    /// Runs a statement as the superuser. `{s}` stands for the load's schema.
    pub(super) async fn run(&self, sql: &str) -> u64 {
        self.admin.execute(&with_schema(sql), &[]).await.unwrap()
    }

    pub(super) async fn number(&self, sql: &str) -> i64 {
        self.admin.query_one(&with_schema(sql), &[]).await.unwrap().get(0)
    }

    /// Nobody of the application logs in any more, and nobody is left.
    pub(super) async fn fence(&self) {
        let role = pgrun::base::ident::ident(ROLE).unwrap();
        self.run(&format!("ALTER ROLE {role} NOLOGIN")).await;
        let kick = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = $1";
        loop {
            let left: i64 = self.admin.query_one(kick, &[&ROLE]).await.unwrap().get(0);
            if left == 0 {
                return;
            }
            clock::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(super) async fn open(&self) {
        let role = pgrun::base::ident::ident(ROLE).unwrap();
        self.run(&format!("ALTER ROLE {role} LOGIN")).await;
    }

    /// Copies tables and sequences of the load to another server.
    pub(super) async fn copy_to(&self, other: &Stage) {
        for table in ["probe", "entry", "transfer", "ticket", "note", "account"] {
            let rows = self.admin.copy_out(&with_schema(&format!("COPY {{s}}.{table} TO STDOUT"))).await.unwrap();
            let sink = other.admin.copy_in(&with_schema(&format!("COPY {{s}}.{table} FROM STDIN"))).await.unwrap();
            pin_mut!(rows);
            pin_mut!(sink);
            while let Some(bytes) = rows.next().await {
                sink.send(bytes.unwrap()).await.unwrap();
            }
            sink.finish().await.unwrap();
        }
        for sequence in ["probe_id_seq", "entry_id_seq", "transfer_id_seq", "ticket_number"] {
            let at = self.number(&format!("SELECT last_value FROM {{s}}.{sequence}")).await;
            let name = with_schema(&format!("{{s}}.{sequence}"));
            other.admin.execute("SELECT setval($1::text::regclass, $2)", &[&name, &at]).await.unwrap();
        }
    }
}

/// A plan without clients, in the stage's schema.
pub(super) fn plan() -> Plan {
    Plan { schema: SCHEMA.into(), max_duration: Duration::from_secs(120), ..Plan::new() }
}

/// Waits until the load shows what is wanted; 60 s at most.
pub(super) async fn until(load: &Load, what: &str, wanted: impl Fn(&Status) -> bool) {
    for _ in 0..6_000 {
        if wanted(&load.status()) {
            return;
        }
        clock::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited for {what}; the load is {:?}", load.status());
}

fn with_schema(sql: &str) -> String {
    sql.replace("{s}", &pgrun::base::ident::ident(SCHEMA).unwrap())
}
