//! One pair of servers for all tests of this part: BLUE and a newer GREEN, with a fresh database per test.
//!
//! The servers end with the test process, however that ends: a watchdog waits at the other end of a pipe. (Statics are
//! not dropped, and a test that panics runs nothing at all.)

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use pgrun::{
    base::{Secret, config::Config},
    lab::postgres::{Catalogue, Installation, Scratch, Server, ServerOptions, ServerUser},
    pg::{Session, Settings, Target},
};
use tokio::sync::{OnceCell, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A server and what the tests have to know of it.
pub(super) struct Side {
    server: Server,
    /// Its major version.
    pub(super) major: u32,
    /// It was built with TLS.
    pub(super) tls: bool,
    /// `pg_stat_statements` is loaded.
    pub(super) statements: bool,
}

/// Both servers.
pub(super) struct Pair {
    pub(super) blue: Side,
    pub(super) green: Side,
    /// The certificate authority of BLUE, in PEM; BLUE's certificate is for [`CERTIFIED`].
    pub(super) authority: PathBuf,
    /// Another authority, in PEM.
    pub(super) stranger: PathBuf,
    _scratch: Scratch,
}

/// The only name in BLUE's certificate.
pub(super) const CERTIFIED: &str = "blue.lab.example";

static PAIR: OnceCell<Pair> = OnceCell::const_new();
static TURNS: RwLock<()> = RwLock::const_new(());
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// The servers, shared with other tests, or alone: whatever changes logins or counts transactions of a whole server
/// must be alone on it.
pub(super) enum Turn {
    Shared { _guard: RwLockReadGuard<'static, ()> },
    Alone { _guard: RwLockWriteGuard<'static, ()> },
}

/// The servers, for a test that keeps to its own database.
pub(super) async fn shared() -> (&'static Pair, Turn) {
    let guard = TURNS.read().await;
    (PAIR.get_or_init(start).await, Turn::Shared { _guard: guard })
}

/// The servers, for a test that nobody may disturb.
pub(super) async fn alone() -> (&'static Pair, Turn) {
    let guard = TURNS.write().await;
    (PAIR.get_or_init(start).await, Turn::Alone { _guard: guard })
}

/// A name that no other test has.
pub(super) fn unique(stem: &str) -> String {
    format!("{stem}_{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

impl Side {
    /// A fresh database.
    pub(super) async fn database(&'static self, stem: &str) -> Database {
        let name = unique(stem);
        let admin = self.server.connect("postgres").await.unwrap();
        admin.batch_execute(&format!("CREATE DATABASE \"{name}\" TEMPLATE template0")).await.unwrap();
        Database { side: self, name }
    }

    /// The superuser's target.
    pub(super) fn target(&self, database: &str) -> Target {
        Target::parse(&self.server.url(database)).unwrap()
    }

    pub(super) fn port(&self) -> u16 {
        self.server.port()
    }

    pub(super) fn password(&self) -> &Secret {
        self.server.superuser().1
    }

    /// A connection of the superuser that does not say whose it is.
    pub(super) async fn nameless(&self, database: &str) -> tokio_postgres::Client {
        self.server.connect(database).await.unwrap()
    }

    /// Everything that the server has logged so far.
    pub(super) fn log(&self) -> String {
        let folder = self.server.folder().join("log/error");
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        files.map(|file| String::from_utf8_lossy(&fs::read(file).unwrap()).into_owned()).collect()
    }
}

/// A database of one test.
pub(super) struct Database {
    pub(super) side: &'static Side,
    pub(super) name: String,
}

impl Database {
    /// The superuser's target.
    pub(super) fn target(&self) -> Target {
        self.side.target(&self.name)
    }

    /// A session as the procedures use it: names are looked up in `pg_catalog` alone.
    pub(super) fn session(&self) -> Session {
        Session::new(self.target(), Settings::of_run("test"))
    }

    /// A session that also sees `public`.
    pub(super) fn psql(&self) -> Session {
        Session::new(self.target(), Settings::of_run("psql").searching(&["public", "pg_catalog"]))
    }

    /// A session of another role, with the password `secret`.
    pub(super) fn login(&self, role: &str) -> Session {
        let target = self.target().with_login(role, Some(Secret::new("secret")));
        Session::new(target, Settings::of_run("app").searching(&["public", "pg_catalog"]))
    }
}

/// The versions there are.
pub(super) async fn catalogue() -> Catalogue {
    Catalogue::look(&Config::from_env().unwrap()).await.unwrap()
}

/// A session of the superuser with a server of the test's own.
pub(super) fn session_of(server: &Server, database: &str) -> Session {
    let target = Target::parse(&server.url(database)).unwrap();
    Session::new(target, Settings::of_run("psql").searching(&["public", "pg_catalog"]))
}

async fn start() -> Pair {
    let catalogue = catalogue().await;
    let (from, to) = catalogue.pair(None, None).unwrap();
    let scratch = Scratch::new(ServerUser::choose().unwrap().as_ref()).unwrap();
    let folder = scratch.path().to_owned();
    let files = certificates(&folder);
    let blue = side(&catalogue.obtain(from).await.unwrap(), Some(&folder)).await;
    let green = side(&catalogue.obtain(to).await.unwrap(), None).await;
    watch(&[&blue.server, &green.server], &folder);
    Pair { blue, green, authority: files.0, stranger: files.1, _scratch: scratch }
}

/// A server that hides nothing from its log. With `certificates` it offers TLS, if it can.
async fn side(installation: &Installation, certificates: Option<&PathBuf>) -> Side {
    let library = installation.library_folder().await.map(|folder| folder.join("pg_stat_statements.so"));
    let statements = library.is_some_and(|file| file.exists());
    let mut options = ServerOptions { hba: lines(), ..ServerOptions::default() };
    let mut set = |name: &str, value: &str| options.settings.insert(name.into(), value.into());
    set("max_prepared_transactions", "10");
    set("wal_writer_delay", "10ms");
    set("log_statement", "all");
    set("log_min_duration_statement", "0");
    set("log_parameter_max_length_on_error", "-1");
    set("autovacuum_naptime", "1h");
    if statements {
        set("shared_preload_libraries", "pg_stat_statements");
        set("pg_stat_statements.track", "all");
    }
    let mut server = Server::scratch(installation, options).await.unwrap();
    let admin = server.connect("postgres").await.unwrap();
    let library: String = admin.query_one("SELECT current_setting('ssl_library')", &[]).await.unwrap().get(0);
    let tls = !library.is_empty();
    if let (true, Some(folder)) = (tls, certificates) {
        for (name, file) in [("ssl_cert_file", "server.crt"), ("ssl_key_file", "server.key")] {
            server.settings_mut().insert(name.into(), folder.join(file).display().to_string());
        }
        server.settings_mut().insert("ssl".into(), "on".into());
        server.reload().unwrap();
    }
    if statements {
        admin.batch_execute("CREATE EXTENSION pg_stat_statements").await.unwrap();
    }
    Side { server, major: installation.version.major, tls, statements }
}

/// A role for each thing that `pg_hba.conf` can say about encryption.
fn lines() -> Vec<String> {
    [
        "hostssl all tls_only 127.0.0.1/32 scram-sha-256",
        "hostnossl all plain_only 127.0.0.1/32 scram-sha-256",
        "host all tls_only,plain_only 127.0.0.1/32 reject",
    ]
    .map(String::from)
    .to_vec()
}

fn certificates(folder: &std::path::Path) -> (PathBuf, PathBuf) {
    let authority = |name: &str| {
        let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let file = folder.join(format!("{name}.pem"));
        fs::write(&file, certificate.pem()).unwrap();
        (file, rcgen::Issuer::new(params, key))
    };
    let (file, issuer) = authority("authority");
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec![CERTIFIED.to_owned()]).unwrap();
    fs::write(folder.join("server.crt"), params.signed_by(&key, &issuer).unwrap().pem()).unwrap();
    let key_file = folder.join("server.key");
    fs::write(&key_file, key.serialize_pem()).unwrap();
    fs::set_permissions(&key_file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    if let Some(user) = ServerUser::choose().unwrap() {
        std::os::unix::fs::chown(&key_file, Some(user.uid), Some(user.gid)).unwrap();
    }
    (file, authority("stranger").0)
}

/// Ends the servers and removes their folders as soon as this process is no more: then the pipe is closed.
fn watch(servers: &[&Server], scratch: &std::path::Path) {
    let script = "cat >/dev/null; folder=$1; shift; for pair; do kill -QUIT \"${pair%%:*}\" 2>/dev/null; done; \
                  sleep 1; for pair; do rm -rf \"${pair#*:}\"; done; rm -rf \"$folder\"";
    let pairs = servers.iter().map(|server| {
        let lock = fs::read_to_string(server.folder().join("data/postmaster.pid")).unwrap();
        format!("{}:{}", lock.lines().next().unwrap(), server.folder().display())
    });
    let child = Command::new("sh")
        .args(["-c", script, "watchdog"])
        .arg(scratch)
        .args(pairs)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    // The write end lives as long as this process.
    std::mem::forget(child);
}
