//! The handle that `pg::connect` gives: it knows how to find its server, and opens nothing before a step uses it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use rhai::{Dynamic, ImmutableString};
use tokio::sync::{Mutex, OnceCell, OwnedMutexGuard};

use super::{function::Call, host::Host};
use crate::{
    base::{Code, Map, Result, Secret, Value, prose, span},
    fail,
    pg::{self, Session, SslMode, Target},
};

/// A database of a server. Clones share one connection.
#[derive(Clone)]
pub(super) struct Db(Arc<Inner>, Standing);

/// Where a handle stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Open,
    /// Inside a transaction.
    Within,
    /// Inside a transaction that leaves a row about itself.
    Marked,
}

struct Inner {
    host: Host,
    options: Options,
    opened: OnceCell<Opened>,
    /// Held from the first to the last statement of anything that takes several: branches do not mix.
    turn: Arc<Mutex<()>>,
}

struct Opened {
    session: Session,
    claims: Vec<String>,
}

/// What `pg::connect` was given.
#[derive(Clone, Default)]
struct Options {
    url: Option<Secret>,
    instance: Option<String>,
    cluster: Option<String>,
    secret: Option<String>,
    password: Option<Secret>,
    texts: Map,
    port: Option<u16>,
    lock_timeout: Option<Duration>,
    statement_timeout: Option<Duration>,
    search_path: Vec<String>,
}

const TEXTS: [&str; 6] = ["host", "hostaddr", "database", "user", "sslmode", "sslrootcert"];
const KEYS: [&str; 15] = [
    "url",
    "instance",
    "cluster",
    "secret",
    "password",
    "port",
    "lock_timeout",
    "statement_timeout",
    "search_path",
    "host",
    "hostaddr",
    "database",
    "user",
    "sslmode",
    "sslrootcert",
];

impl Db {
    /// Reads what `pg::connect` was given. Nothing is opened.
    pub(super) fn connect(call: &Call) -> Result<Self> {
        let given = call.argument(0);
        let mut options = Options::default();
        if let Some(url) = url(&given) {
            options.url = Some(url);
        } else {
            let map = call.handle::<rhai::Map>(0, "a map or a url")?;
            if let Some(key) = map.keys().find(|key| !KEYS.contains(&key.as_str())) {
                return Err(fail!(Code::Usage, "`pg::connect` got the option `{key}`")
                    .hint(format!("it takes {}", prose::ticked_list(&KEYS, 20))));
            }
            options.read(&map)?;
        }
        if let Some(url) = &options.url {
            call.host.redactor().learn(url);
        }
        Ok(Self::new(call.host.clone(), options))
    }

    /// Another database of the same server, by the same login; this handle if it is its own.
    pub(super) fn in_database(&self, name: &str) -> Self {
        let (host, options) = (&self.0.host, &self.0.options);
        if options.texts.get("database").and_then(Value::as_text) == Some(name) {
            return self.clone();
        }
        let mut options = options.clone();
        options.texts.insert("database".into(), name.into());
        Self::new(host.clone(), options)
    }

    fn new(host: Host, options: Options) -> Self {
        Self(Arc::new(Inner { host, options, opened: OnceCell::new(), turn: Arc::default() }), Standing::Open)
    }

    /// The session, opened or not. Looks instance and secret up when it is first called.
    pub(super) async fn session(&self) -> Result<&Session> {
        Ok(&self.opened().await?.session)
    }

    /// What a run that writes here claims: the instance's ARN, else address and system identifier.
    pub(super) async fn claims(&self) -> Result<&[String]> {
        Ok(&self.opened().await?.claims)
    }

    /// The session, if it was looked up before.
    pub(super) fn peek(&self) -> Option<&Session> {
        self.0.opened.get().map(|opened| &opened.session)
    }

    /// The turn of whoever needs several statements in a row.
    pub(super) async fn turn(&self) -> Option<OwnedMutexGuard<()>> {
        // Inside a transaction the turn is had already.
        if self.is_in_transaction() { None } else { Some(self.0.turn.clone().lock_owned().await) }
    }

    /// True for two handles on one connection.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The same database, inside a transaction that its caller has begun.
    pub(super) fn in_transaction(&self, is_marked: bool) -> Self {
        Self(self.0.clone(), if is_marked { Standing::Marked } else { Standing::Within })
    }

    /// True inside a transaction.
    pub(super) fn is_in_transaction(&self) -> bool {
        self.1 != Standing::Open
    }

    /// True inside a transaction that leaves a row about itself.
    pub(super) fn is_marked(&self) -> bool {
        self.1 == Standing::Marked
    }

    /// Where it leads, for people; what is known before it is opened.
    pub(super) fn label(&self) -> String {
        let opened = self.0.opened.get().map(|opened| opened.session.target().label());
        opened.or_else(|| self.0.options.server().cloned()).unwrap_or_else(|| "a server".into())
    }

    async fn opened(&self) -> Result<&Opened> {
        self.0.opened.get_or_try_init(|| self.open()).await
    }

    async fn open(&self) -> Result<Opened> {
        let (host, options) = (&self.0.host, &self.0.options);
        let mut arn = None;
        let mut target = match &options.url {
            Some(url) => Target::parse(url.expose())?,
            None => {
                let mut parts = options.parts()?;
                if let Some(secret) = &options.secret {
                    let stored = host.aws().secrets().current(secret).await?;
                    let fields = stored.fields()?;
                    fill(&mut parts, &fields);
                    parts.password = Some(stored.password()?);
                }
                if let Some((found, place)) = options.found(host).await? {
                    arn = Some(found);
                    (parts.host, parts.port) = place;
                }
                Target::from_parts(parts)?
            }
        };
        if let Some(password) = target.password() {
            host.redactor().learn(password);
        }
        if let Some(database) = options.texts.get("database").and_then(Value::as_text) {
            target = target.with_database(database);
        }
        let run = host.run().map_or("check", |run| run.id()).to_owned();
        let mut settings = pg::Settings::of_run(run);
        settings.lock_timeout = options.lock_timeout.unwrap_or(settings.lock_timeout);
        settings.statement_timeout = options.statement_timeout.unwrap_or(settings.statement_timeout);
        if !options.search_path.is_empty() {
            settings.search_path.clone_from(&options.search_path);
        }
        let session = Session::new(target, settings);
        let claims = match arn {
            Some(arn) => vec![arn],
            None => {
                let facts = session.server().await?;
                let place = format!("{}:{}", session.target().host(), session.target().port());
                [Some(place), facts.system_identifier.map(|id| format!("system identifier {id}"))]
                    .into_iter()
                    .flatten()
                    .collect()
            }
        };
        Ok(Opened { session, claims })
    }
}

impl Options {
    /// The instance or cluster that was named.
    fn server(&self) -> Option<&String> {
        self.instance.as_ref().or(self.cluster.as_ref())
    }

    /// ARN, host and port of the instance that was named, or of the cluster's writer.
    async fn found(&self, host: &Host) -> Result<Option<(String, (String, Option<u16>))>> {
        let rds = host.aws().rds();
        let (arn, status, address, port) = match (&self.instance, &self.cluster) {
            (Some(id), _) => {
                let found = rds.instance(id).await?;
                (found.arn, found.status, found.host, found.port)
            }
            (None, Some(id)) => {
                let found = rds.cluster(id).await?;
                (found.arn, found.status, found.host, found.port)
            }
            (None, None) => return Ok(None),
        };
        let (Some(address), Some(port)) = (address, port) else {
            let id = self.server().map_or("", String::as_str);
            return Err(
                fail!(Code::AwsError, "`{id}` has no endpoint yet; it is {status}").hint("wait until it is available")
            );
        };
        Ok(Some((arn, (address, Some(port)))))
    }

    fn read(&mut self, map: &rhai::Map) -> Result<()> {
        let text = |key: &str| -> Result<Option<String>> {
            let Some(value) = map.get(key).filter(|value| !value.is_unit()) else { return Ok(None) };
            let wrong = || fail!(Code::Usage, "`pg::connect`: `{key}` must be a text");
            value.clone().flatten().try_cast::<ImmutableString>().map(|text| Some(text.to_string())).ok_or_else(wrong)
        };
        self.instance = text("instance")?;
        self.cluster = text("cluster")?;
        self.secret = text("secret")?;
        for key in TEXTS {
            if let Some(text) = text(key)? {
                self.texts.insert(key.to_owned(), text.into());
            }
        }
        if let Some(given) = map.get("url") {
            self.url = Some(url(given).ok_or_else(|| fail!(Code::Usage, "`pg::connect`: `url` must be a url"))?);
        }
        if let Some(given) = map.get("password") {
            let secret = given.clone().flatten().try_cast::<Secret>();
            self.password = Some(secret.ok_or_else(|| {
                fail!(Code::SecretGuard, "`pg::connect`: `password` must be a secret, not a text").hint(
                    "a text in a script is kept with every run; use `secret: \"NAME\"` or a parameter of type url",
                )
            })?);
        }
        if let Some(port) = map.get("port") {
            let number = port.as_int().ok().and_then(|port| u16::try_from(port).ok());
            self.port = Some(number.ok_or_else(|| fail!(Code::Usage, "`pg::connect`: `port` must be 1 to 65535"))?);
        }
        self.lock_timeout = text("lock_timeout")?.map(|text| span::parse_duration(&text)).transpose()?;
        self.statement_timeout = text("statement_timeout")?.map(|text| span::parse_duration(&text)).transpose()?;
        if let Some(path) = text("search_path")? {
            self.search_path = path.split(',').map(|name| name.trim().to_owned()).collect();
        }
        Ok(())
    }

    fn parts(&self) -> Result<pg::Parts> {
        let text = |key: &str| self.texts.get(key).and_then(Value::as_text).map(str::to_owned);
        let address = text("hostaddr").map(|address| {
            address.parse().map_err(|_| fail!(Code::Usage, "got the hostaddr {address:?}, wanted an IP address"))
        });
        Ok(pg::Parts {
            host: text("host").unwrap_or_default(),
            hostaddr: address.transpose()?,
            port: self.port,
            database: text("database").unwrap_or_default(),
            user: text("user").unwrap_or_default(),
            password: self.password.clone(),
            ssl_mode: text("sslmode").map(|mode| SslMode::parse(&mode)).transpose()?,
            ssl_root_cert: text("sslrootcert").map(PathBuf::from),
        })
    }
}

/// What the secret says and the script does not.
fn fill(parts: &mut pg::Parts, fields: &Map) {
    let text = |name: &str| fields.get(name).and_then(Value::as_text).map(str::to_owned);
    if parts.host.is_empty() {
        parts.host = text("host").unwrap_or_default();
    }
    if parts.user.is_empty() {
        parts.user = text("username").unwrap_or_default();
    }
    if parts.database.is_empty() {
        parts.database = text("dbname").unwrap_or_default();
    }
    if parts.port.is_none() {
        let number = fields.get("port").and_then(|port| match port {
            Value::Int(number) => u16::try_from(*number).ok(),
            Value::Text(text) => text.parse().ok(),
            _ => None,
        });
        parts.port = number;
    }
}

/// A URL comes as a secret (a parameter of type `url`) or as a text without a password.
fn url(given: &Dynamic) -> Option<Secret> {
    let given = given.flatten_clone();
    let text = given.clone().try_cast::<ImmutableString>().map(|text| Secret::new(text.as_str()));
    given.try_cast::<Secret>().or(text)
}
