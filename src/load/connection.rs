//! A connection of a client of the load, and what its failures mean for a write.

use std::{error::Error as _, io::ErrorKind, time::Duration};

use tokio::{sync::Mutex, task::JoinHandle};
use tokio_postgres::{
    Client, Config, NoTls, SimpleQueryMessage,
    config::SslMode,
    error::{DbError, Severity},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::plan::Endpoint;
use crate::{
    base::{Code, Error, clock},
    fail,
};

/// A connection with its driver.
pub(super) struct Connection {
    client: Client,
    driver: JoinHandle<()>,
}

/// How an application opens connections: one at a time, and after a refusal it waits, at first little and twice as long
/// after each further one, as HikariCP does. All coming back at once would be a storm that no application is.
pub(super) struct Opening {
    pause: Mutex<Duration>,
    longest: Duration,
}

impl Opening {
    const FIRST: Duration = Duration::from_millis(10);

    pub(super) fn waiting_up_to(longest: Duration) -> Self {
        Self { pause: Mutex::new(Self::FIRST), longest }
    }

    /// Connects when it is this one's turn. A refusal is given after its pause.
    pub(super) async fn open<T, E>(&self, connect: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let mut pause = self.pause.lock().await;
        let opened = connect.await;
        if opened.is_ok() {
            *pause = Self::FIRST;
        } else {
            clock::sleep(*pause).await;
            *pause = self.longest.min(*pause * 2);
        }
        opened
    }
}

/// A failed connect or statement.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    /// The SQLSTATE, or a word: `refused`, `closed`, `timeout`, `other`.
    pub(super) code: String,
    /// The server said that the statement had no effect.
    pub(super) is_definite: bool,
    /// What to tell people.
    pub(super) words: String,
}

impl Connection {
    /// Connects within `limit`.
    pub(super) async fn open(endpoint: &Endpoint, limit: Duration) -> Result<Self, Failure> {
        let mut config = Config::new();
        config
            .host(&endpoint.host)
            .port(endpoint.port)
            .dbname(&endpoint.database)
            .user(&endpoint.user)
            .password(endpoint.password.expose())
            .application_name("pgrun/load")
            // An acknowledgement is a promise only where the commit was waited for.
            .options("-c synchronous_commit=on")
            .ssl_mode(if endpoint.tls.is_some() { SslMode::Require } else { SslMode::Disable });
        let connected = clock::within(limit, async {
            Ok(match &endpoint.tls {
                None => {
                    let (client, driver) = config.connect(NoTls).await?;
                    (client, tokio::spawn(async { drop(driver.await) }))
                }
                Some(tls) => {
                    let tls = MakeRustlsConnect::new(rustls::ClientConfig::clone(tls));
                    let (client, driver) = config.connect(tls).await?;
                    (client, tokio::spawn(async { drop(driver.await) }))
                }
            })
        });
        match connected.await {
            Some(Ok((client, driver))) => Ok(Self { client, driver }),
            Some(Err(error)) => Err(Failure::of(&error)),
            None => Err(Failure::late(limit)),
        }
    }

    /// Runs a statement that stands alone, and gives the number of rows it touched. The server has committed when this
    /// succeeds: the answer is taken at ReadyForQuery, not at CommandComplete, which comes before the commit.
    pub(super) async fn run(&self, sql: &str, limit: Duration) -> Result<u64, Failure> {
        let answer = clock::within(limit, self.client.simple_query(sql)).await;
        let messages = answer.ok_or_else(|| Failure::late(limit))?.map_err(|error| Failure::of(&error))?;
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::CommandComplete(rows) => Some(*rows),
            _ => None,
        });
        Ok(rows.sum())
    }

    /// Whether the server has ended the session already. What is not sent is not in doubt.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Waits until the server has ended the session. To be waited for once.
    pub(super) async fn ended(&mut self) {
        // Whether the driver failed or was done, the session is over.
        let _ = (&mut self.driver).await;
    }

    /// The client, for questions.
    pub(super) fn client(&mut self) -> &mut Client {
        &mut self.client
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // A driver whose server hangs would wait for ever.
        self.driver.abort();
    }
}

impl Failure {
    /// The session had ended before anything was sent.
    pub(super) fn ended() -> Self {
        Self { code: "closed".to_owned(), is_definite: true, words: "the session had ended".to_owned() }
    }

    fn late(limit: Duration) -> Self {
        let words = format!("no answer within {} ms", limit.as_millis());
        Self { code: "timeout".to_owned(), is_definite: false, words }
    }

    fn of(error: &tokio_postgres::Error) -> Self {
        if let Some(db) = error.as_db_error() {
            // An ERROR ends the transaction and says so. A FATAL ends the session, and a commit may have gone before.
            let is_definite = db.parsed_severity() == Some(Severity::Error);
            return Self { code: db.code().code().to_owned(), is_definite, words: words(db) };
        }
        let io = error.source().and_then(|cause| cause.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
        let code = match io {
            Some(ErrorKind::ConnectionRefused) => "refused",
            Some(_) => "closed",
            None if error.is_closed() => "closed",
            None => "other",
        };
        let cause = error.source().map_or_else(String::new, |cause| format!(": {cause}"));
        Self { code: code.to_owned(), is_definite: false, words: format!("{error}{cause}") }
    }

    /// The failure as an error, for callers who cannot go on.
    pub(super) fn error(&self, doing: &str) -> Error {
        let code = match self.code.as_str() {
            "refused" | "timeout" => Code::PgConnect,
            "closed" | "other" => Code::PgLost,
            state if state.starts_with("28") => Code::PgAuth,
            _ => Code::PgSql,
        };
        let error = fail!(code, "{doing}: {}", self.words);
        if matches!(code, Code::PgAuth | Code::PgSql) { error.detail("sqlstate", &self.code) } else { error }
    }
}

fn words(db: &DbError) -> String {
    format!("{} ({})", db.message(), db.code().code())
}

impl From<&tokio_postgres::Error> for Failure {
    fn from(error: &tokio_postgres::Error) -> Self {
        Self::of(error)
    }
}
