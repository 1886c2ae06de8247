//! Which server, database and role; how to encrypt; nothing is opened here.

use std::{fmt, net::IpAddr, path::PathBuf, time::Duration};

use super::conninfo::{self, Pairs};
use crate::{
    base::{Code, Result, Secret, prose},
    fail,
};

/// The port of a server that does not say otherwise.
const DEFAULT_PORT: u16 = 5432;

/// Opening a connection, TLS and login included, takes at most this long unless `connect_timeout` says otherwise:
/// three times what a far region under load was seen to need, short against every deadline of a procedure.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Keys that a URL or a `key=value` list may carry. All others are refused by name: an ignored setting is a lie.
const KEYS: &[&str] = &[
    "host",
    "hostaddr",
    "port",
    "user",
    "password",
    "dbname",
    "sslmode",
    "sslrootcert",
    "connect_timeout",
    "channel_binding",
];

/// How a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslMode {
    /// Never.
    Disable,
    /// When the server offers it. The default for loopback and sockets.
    Prefer,
    /// Always, without asking who the server is; stops listeners, not impostors. The default for every other host.
    Require,
    /// Always, and chain and name of the certificate are verified against `sslrootcert` or `PGSSLROOTCERT`.
    VerifyFull,
}

impl SslMode {
    /// From libpq's word.
    ///
    /// # Errors
    /// `usage` for `allow` and `verify-ca`, which promise less than they seem to, and for anything else.
    pub fn parse(text: &str) -> Result<Self> {
        Ok(match text {
            "disable" => Self::Disable,
            "prefer" => Self::Prefer,
            "require" => Self::Require,
            "verify-full" => Self::VerifyFull,
            "verify-ca" => {
                return Err(fail!(Code::Usage, "`sslmode=verify-ca` accepts any name under the same authority")
                    .hint("use sslmode=verify-full"));
            }
            "allow" => {
                return Err(fail!(Code::Usage, "`sslmode=allow` tries without encryption first")
                    .hint("use sslmode=prefer, or sslmode=require"));
            }
            other => {
                return Err(fail!(
                    Code::Usage,
                    "got `sslmode={other}`, wanted disable, prefer, require or verify-full"
                ));
            }
        })
    }

    /// libpq's word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyFull => "verify-full",
        }
    }
}

/// Whether a SCRAM login must be bound to the TLS channel (libpq, `channel_binding`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelBinding {
    /// Not used.
    Disable,
    /// When both sides can.
    Prefer,
    /// Or no connection: stops an impostor even under `sslmode=require`.
    Require,
}

impl ChannelBinding {
    /// libpq's word for it.
    fn word(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
        }
    }
}

/// A server, a database on it, and a role to log in as.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    pub(super) host: String,
    pub(super) hostaddr: Option<IpAddr>,
    pub(super) port: u16,
    pub(super) database: String,
    pub(super) user: String,
    pub(super) password: Option<Secret>,
    pub(super) ssl_mode: SslMode,
    pub(super) ssl_root_cert: Option<PathBuf>,
    pub(super) connect_timeout: Duration,
    pub(super) channel_binding: ChannelBinding,
}

/// The parts of a [`Target`], for callers that have no text. Empty `database` means the user's name, as in libpq.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    /// A name, an address, or the folder of a socket.
    pub host: String,
    /// Connects there, while `host` is the name that the certificate must bear.
    pub hostaddr: Option<IpAddr>,
    /// 5432 if absent.
    pub port: Option<u16>,
    /// Database name.
    pub database: String,
    /// Role name.
    pub user: String,
    /// What the role proves itself with.
    pub password: Option<Secret>,
    /// See [`SslMode`]; the default depends on the host.
    pub ssl_mode: Option<SslMode>,
    /// A file of certificates in PEM.
    pub ssl_root_cert: Option<PathBuf>,
}

impl Target {
    /// From a `postgres://` or `postgresql://` URL, or libpq's `key=value` text.
    ///
    /// Understood: host hostaddr port user password dbname sslmode sslrootcert connect_timeout channel_binding.
    /// One host only: a runbook acts on the server that it names. Without `sslmode` it is `require`, except for
    /// loopback addresses and sockets: `prefer`.
    ///
    /// # Errors
    /// `usage`, which never repeats a value that could be a password.
    pub fn parse(text: &str) -> Result<Self> {
        let mut parts = Parts::default();
        let mut connect_timeout = CONNECT_TIMEOUT;
        let mut channel_binding = ChannelBinding::Prefer;
        let pairs: Pairs = conninfo::pairs(text)?;
        for (key, value) in pairs {
            match key.as_str() {
                "host" => parts.host = value,
                "hostaddr" => parts.hostaddr = Some(address(&value)?),
                "port" => parts.port = Some(port(&value)?),
                "user" => parts.user = value,
                "password" => parts.password = Some(Secret::new(value)),
                "dbname" => parts.database = value,
                "sslmode" => parts.ssl_mode = Some(SslMode::parse(&value)?),
                "sslrootcert" => parts.ssl_root_cert = Some(value.into()),
                "connect_timeout" => connect_timeout = timeout(&value)?,
                "channel_binding" => channel_binding = binding(&value)?,
                other => return Err(unknown_key(other)),
            }
        }
        Ok(Self { connect_timeout, channel_binding, ..Self::from_parts(parts)? })
    }

    /// From its parts.
    ///
    /// # Errors
    /// `usage` when host or user are missing, several hosts are given, or the TLS settings contradict each other.
    pub fn from_parts(parts: Parts) -> Result<Self> {
        let Parts { mut host, hostaddr, port, database, user, password, ssl_mode, ssl_root_cert } = parts;
        if let (true, Some(address)) = (host.is_empty(), hostaddr) {
            host = address.to_string();
        }
        if host.is_empty() {
            return Err(fail!(Code::Usage, "the host is missing").hint("write postgres://USER@HOST/DATABASE"));
        }
        if host.contains(',') {
            return Err(fail!(Code::Usage, "got several hosts, wanted one: a runbook acts on the server it names"));
        }
        if user.is_empty() {
            return Err(
                fail!(Code::Usage, "the user for `{host}` is missing").hint("write postgres://USER@HOST/DATABASE")
            );
        }
        let near = host.starts_with('/') || is_loopback(&host);
        let ssl_mode = ssl_mode.unwrap_or(if near { SslMode::Prefer } else { SslMode::Require });
        if ssl_root_cert.is_some() && ssl_mode != SslMode::VerifyFull {
            return Err(fail!(Code::Usage, "`sslrootcert` has no effect under `sslmode={}`", ssl_mode.word())
                .hint("use sslmode=verify-full"));
        }
        if ssl_root_cert.as_deref().is_some_and(|file| file.as_os_str() == "system") {
            return Err(fail!(Code::Usage, "`sslrootcert=system` is not supported")
                .hint("name the file, for example sslrootcert=/etc/ssl/certs/ca-certificates.crt"));
        }
        Ok(Self {
            port: port.unwrap_or(DEFAULT_PORT),
            database: if database.is_empty() { user.clone() } else { database },
            ssl_mode: if host.starts_with('/') { SslMode::Disable } else { ssl_mode },
            connect_timeout: CONNECT_TIMEOUT,
            channel_binding: ChannelBinding::Prefer,
            host,
            hostaddr,
            user,
            password,
            ssl_root_cert,
        })
    }

    /// `host:port/database as user`, for people.
    #[must_use]
    pub fn label(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("{host}:{}/{} as {}", self.port, self.database, self.user)
    }

    /// The name that the certificate must bear.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port, or the number in the socket's name.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The role.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// What the role proves itself with; for the redactor.
    #[must_use]
    pub fn password(&self) -> Option<&Secret> {
        self.password.as_ref()
    }

    /// How the connection is encrypted.
    #[must_use]
    pub fn ssl_mode(&self) -> SslMode {
        self.ssl_mode
    }

    /// The same server and role, another database.
    #[must_use]
    pub fn with_database(mut self, database: impl Into<String>) -> Self {
        self.database = database.into();
        self
    }

    /// The same server and database, another role.
    #[must_use]
    pub fn with_login(mut self, user: impl Into<String>, password: Option<Secret>) -> Self {
        self.user = user.into();
        self.password = password;
        self
    }

    /// Opening takes at most this long.
    #[must_use]
    pub fn with_connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// libpq's `key='value'` text, for a subscription. It holds the password, so it is a secret.
    ///
    /// The certificates of `verify-full` lie on this machine, not on the server that will connect; so the server is
    /// told `require`, unless `root_cert_there` names its own file.
    #[must_use]
    pub fn conninfo(&self, root_cert_there: Option<&str>) -> Secret {
        let mode = match (self.ssl_mode, root_cert_there) {
            (SslMode::VerifyFull, None) => SslMode::Require,
            (_, Some(_)) => SslMode::VerifyFull,
            (mode, None) => mode,
        };
        let port = self.port.to_string();
        let hostaddr = self.hostaddr.map(|address| address.to_string());
        let seconds = self.connect_timeout.as_secs().max(2).to_string();
        let settings = [
            ("host", Some(self.host.as_str())),
            ("hostaddr", hostaddr.as_deref()),
            ("port", Some(port.as_str())),
            ("dbname", Some(self.database.as_str())),
            ("user", Some(self.user.as_str())),
            ("password", self.password.as_ref().map(Secret::expose)),
            ("sslmode", Some(mode.word())),
            ("sslrootcert", root_cert_there),
            ("connect_timeout", Some(seconds.as_str())),
        ];
        Secret::new(joined(&settings))
    }

    /// The whole target as a text that [`Target::parse`] reads back. It holds the password, so it is a secret.
    #[must_use]
    pub fn text(&self) -> Secret {
        let port = self.port.to_string();
        let hostaddr = self.hostaddr.map(|address| address.to_string());
        let seconds = self.connect_timeout.as_secs().max(1).to_string();
        let root = self.ssl_root_cert.as_ref().map(|file| file.to_string_lossy().into_owned());
        let settings = [
            ("host", Some(self.host.as_str())),
            ("hostaddr", hostaddr.as_deref()),
            ("port", Some(port.as_str())),
            ("dbname", Some(self.database.as_str())),
            ("user", Some(self.user.as_str())),
            ("password", self.password.as_ref().map(Secret::expose)),
            ("sslmode", Some(self.ssl_mode.word())),
            ("sslrootcert", root.as_deref()),
            ("connect_timeout", Some(seconds.as_str())),
            ("channel_binding", Some(self.channel_binding.word())),
        ];
        Secret::new(joined(&settings))
    }

    /// Both name the same database by the same words.
    #[must_use]
    pub(super) fn same_database(&self, other: &Self) -> bool {
        let place = |target: &Self| (target.host.clone(), target.hostaddr, target.port, target.database.clone());
        place(self) == place(other)
    }

    /// Loopback or a socket: nobody listens in between.
    #[must_use]
    pub fn is_near(&self) -> bool {
        self.host.starts_with('/')
            || self.hostaddr.map_or_else(|| is_loopback(&self.host), |address| address.is_loopback())
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({}, sslmode={})", self.label(), self.ssl_mode.word())
    }
}

/// Settings as libpq's text, without those that are not there.
fn joined(settings: &[(&str, Option<&str>)]) -> String {
    let pairs = settings.iter().filter_map(|(key, value)| value.map(|value| conninfo::pair(key, value)));
    pairs.collect::<Vec<_>>().join(" ")
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn address(value: &str) -> Result<IpAddr> {
    value.parse().map_err(|_| fail!(Code::Usage, "got `hostaddr={value}`, wanted an IP address"))
}

fn port(value: &str) -> Result<u16> {
    let port = value.parse().ok().filter(|port| *port != 0);
    port.ok_or_else(|| fail!(Code::Usage, "the port is not a number between 1 and 65535"))
}

/// libpq's meaning: whole seconds, and 0 or less would wait for ever, which pgrun never does.
fn timeout(value: &str) -> Result<Duration> {
    let seconds = value.parse().ok().filter(|seconds| *seconds > 0);
    let seconds = seconds.ok_or_else(|| fail!(Code::Usage, "got `connect_timeout={value}`, wanted seconds above 0"))?;
    Ok(Duration::from_secs(seconds))
}

fn binding(value: &str) -> Result<ChannelBinding> {
    Ok(match value {
        "disable" => ChannelBinding::Disable,
        "prefer" => ChannelBinding::Prefer,
        "require" => ChannelBinding::Require,
        other => return Err(fail!(Code::Usage, "got `channel_binding={other}`, wanted disable, prefer or require")),
    })
}

fn unknown_key(key: &str) -> crate::base::Error {
    let error = fail!(Code::Usage, "the connection setting `{key}` is not supported");
    match (key, prose::nearest(key, KEYS.iter().copied())) {
        ("options" | "application_name" | "client_encoding", _) => error.hint("leave it out: pgrun sets it itself"),
        (_, Some(near)) => error.hint(format!("did you mean {near}?")),
        (_, None) => error.hint(format!("supported are {}", KEYS.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::{Parts, SslMode, Target};
    use crate::base::Secret;

    #[test]
    fn the_default_sslmode_is_safe_and_lets_loopback_work() {
        let mode = |url: &str| Target::parse(url).unwrap().ssl_mode();
        assert_eq!(mode("postgres://u@db.example.com/d"), SslMode::Require);
        assert_eq!(mode("postgres://u@localhost/d"), SslMode::Prefer);
        assert_eq!(mode("postgres://u@[::1]/d"), SslMode::Prefer);
        assert_eq!(mode("host=/tmp user=u"), SslMode::Disable);
        assert_eq!(mode("postgres://u@localhost/d?sslmode=verify-full"), SslMode::VerifyFull);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (text, word) in [
            ("postgres://u@h/d?sslmode=verify-ca", "verify-ca"),
            ("postgres://u@h/d?sslmod=require", "sslmod"),
            ("postgres://u@h/d?options=-cx%3D1", "options"),
            ("postgres://u@a,b/d", "several hosts"),
            ("postgres://h/d", "user"),
            ("postgres://u@/d", "host"),
            ("postgres://u@h/d?sslrootcert=ca.pem", "sslrootcert"),
            ("postgres://u@h:0/d", "port"),
            ("postgres://u@h/d?connect_timeout=0", "connect_timeout"),
        ] {
            let error = Target::parse(text).unwrap_err();
            assert!(error.message().contains(word), "{text}: {error:?}");
        }
    }

    #[test]
    fn a_password_is_in_no_text_but_the_conninfo() {
        let target = Target::parse("postgres://u:hun%20ter'2@h:6000/d").unwrap();
        assert_eq!(format!("{target:?}"), "Target(h:6000/d as u, sslmode=require)");
        assert_eq!(
            target.conninfo(None).expose(),
            r"host='h' port='6000' dbname='d' user='u' password='hun ter\'2' sslmode='require' connect_timeout='10'"
        );
        let parts = Parts { password: Some(Secret::new("hunter2")), ..Parts::default() };
        assert!(!format!("{parts:?}").contains("hunter2"));
        let again = Target::parse(target.conninfo(None).expose()).unwrap();
        assert_eq!(again, target);
    }
}
