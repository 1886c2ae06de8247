//! One open connection: its driver, its notices, its prepared statements, and its end.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::TryStreamExt as _;
use tokio::task::JoinHandle;
use tokio_postgres::{
    AsyncMessage, CancelToken, Client, Config, Connection, Socket, Statement,
    config::{ChannelBinding as PgChannelBinding, SslMode as PgSslMode},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    decode::{self, Way},
    failure, param, sql,
    target::{ChannelBinding, SslMode, Target},
    tls,
};
use crate::{
    base::{Code, Error, Map, Result, Value, clock},
    fail,
};

/// Notices kept per session until they are drained; a chatty function must not fill the memory.
const NOTICES_KEPT: usize = 200;

/// Prepared statements kept per connection. In a cutover each poll then costs one round trip instead of two.
const STATEMENTS_KEPT: usize = 64;

/// A longer text was made for one use; keeping it would push out those that are asked again. The longest of our own,
/// the token of a catalog, takes three times as long to plan as to run.
const LONGEST_KEPT: usize = 10_000;

/// So much of a statement is told for diagnostics; values are bound and not told at all.
const LONGEST_TOLD: usize = 100;

/// A connection that was idle this long is asked for a sign of life before a statement is entrusted to it: a
/// statement sent into a dead connection has an unknown outcome, a sign of life has none.
const IDLE_TRUSTED: Duration = Duration::from_secs(1);

/// A cancelled statement and its connection get this long to end before the socket is closed.
const FAREWELL: Duration = Duration::from_secs(5);

/// A server that vanished is noticed after this long: keep-alive probes after 15 s of silence, three at 5 s.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(15), Duration::from_secs(5), 3);

/// What a server said besides its answers.
#[derive(Clone, Debug)]
pub struct Notice {
    /// `NOTICE`, `WARNING`, `INFO`, ..
    pub severity: String,
    /// SQLSTATE.
    pub sqlstate: String,
    /// The sentence.
    pub message: String,
    /// The server's hint, if it gave one.
    pub hint: Option<String>,
}

/// The notices of a session, oldest first; shared by all its connections.
pub(super) type Notices = Arc<Mutex<VecDeque<Notice>>>;

/// Why a statement failed, and how far it had got.
pub(super) enum Failure {
    /// Nothing was sent: a value does not fit, or the answer cannot be held.
    Here(Error),
    /// Nothing was begun: the statement was only being prepared.
    Before(tokio_postgres::Error),
    /// The statement had been sent.
    Amid(tokio_postgres::Error),
}

/// An open connection.
pub(super) struct Link {
    client: Client,
    cancel: CancelToken,
    tls: MakeRustlsConnect,
    driver: JoinHandle<()>,
    prepared: VecDeque<Arc<Prepared>>,
    used: Instant,
    /// Major version of the server.
    pub(super) major: u32,
}

/// A statement that the server knows, and how its columns come over.
struct Prepared {
    sql: String,
    answer: Answer,
    statement: Statement,
    columns: Vec<Column>,
}

/// What is asked of a connection. Plain data instead of a closure: the futures of closures that borrow are not `Send`.
#[derive(Clone, Copy)]
pub(super) enum Request<'a> {
    /// A statement's rows, at most `limit` of them.
    Rows { wraps: bool, values: &'a [Value], limit: usize },
    /// A statement whose rows will be asked for later.
    Prepare { wraps: bool },
    /// A statement, and how many rows it touched.
    Count { values: &'a [Value] },
    /// Statements without values.
    Simple,
    /// Lines for a COPY.
    CopyIn { lines: &'a str },
}

/// What a connection answered.
pub(super) enum Reply {
    Rows(Vec<Map>),
    Count(u64),
}

impl Reply {
    /// How many rows were touched or given.
    pub(super) fn number(self) -> u64 {
        match self {
            Self::Rows(rows) => u64::try_from(rows.len()).unwrap_or(u64::MAX),
            Self::Count(number) => number,
        }
    }
}

/// What is done with the rows of a statement.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// They are brought over. `wraps` says that the statement may be put into another one.
    Read { wraps: bool },
    /// They are counted at most.
    Counted,
}

struct Column {
    name: String,
    way: Way,
    type_name: String,
}

impl Column {
    fn of(column: &tokio_postgres::Column) -> Self {
        let ty = column.type_();
        Self { name: column.name().to_owned(), way: decode::way(ty), type_name: decode::type_name(ty) }
    }

    fn unreadable(&self, why: &str) -> Error {
        fail!(Code::PgValue, "the column `{}` of type {} cannot be read: {why}", self.name, self.type_name)
            .hint("cast it in the statement: ::text")
    }
}

impl Link {
    /// Opens a connection within the target's `connect_timeout`.
    pub(super) async fn open(target: &Target, application: &str, notices: Notices) -> Result<Self> {
        let tls = tls::connector(target)?;
        let config = config(target, application);
        let opening = clock::within(target.connect_timeout, Box::pin(config.connect(tls.clone()))).await;
        let (client, connection) =
            opening.ok_or_else(|| failure::too_slow(target))?.map_err(|error| failure::connecting(target, &error))?;
        let version = connection.parameter("server_version").unwrap_or_default();
        let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
        let major = digits
            .parse()
            .map_err(|_| fail!(Code::PgConnect, "{} says it is version {version:?}: no PostgreSQL", target.label()))?;
        let driver = tokio::spawn(drive(connection, notices));
        let cancel = client.cancel_token();
        Ok(Self { client, cancel, tls, driver, prepared: VecDeque::new(), used: clock::instant(), major })
    }

    /// False when the connection is known or found to be dead.
    pub(super) async fn is_alive(&self) -> bool {
        if self.client.is_closed() {
            return false;
        }
        if self.used.elapsed() < IDLE_TRUSTED {
            return true;
        }
        matches!(clock::within(FAREWELL, self.client.check_connection()).await, Some(Ok(())))
    }

    /// Does one request.
    pub(super) async fn perform(&mut self, sql: &str, request: Request<'_>) -> Result<Reply, Failure> {
        let begun = clock::instant();
        let answer = self.ask(sql, request).await;
        let us = begun.elapsed().as_micros();
        tracing::debug!(us, failed = answer.is_err(), sql = sql.get(..LONGEST_TOLD).unwrap_or(sql));
        answer
    }

    async fn ask(&mut self, sql: &str, request: Request<'_>) -> Result<Reply, Failure> {
        match request {
            Request::Rows { wraps, values, limit } => self.rows(sql, wraps, values, limit).await.map(Reply::Rows),
            Request::Prepare { wraps } => self.prepare(sql, Answer::Read { wraps }).await.map(|_| Reply::Count(0)),
            Request::Count { values } => self.count(sql, values).await.map(Reply::Count),
            Request::Simple => self.simple(sql).await.map(|()| Reply::Count(0)).map_err(Failure::Amid),
            Request::CopyIn { lines } => self.copy_in(sql, lines).await.map(Reply::Count).map_err(Failure::Amid),
        }
    }

    /// Runs statements by the simple protocol; their rows are not read.
    pub(super) async fn simple(&mut self, sql: &str) -> Result<(), tokio_postgres::Error> {
        let outcome = self.client.batch_execute(sql).await;
        self.used = clock::instant();
        outcome
    }

    /// Runs a statement and brings its rows over, at most `limit` of them; further ones are read and forgotten.
    async fn rows(&mut self, sql: &str, wraps: bool, values: &[Value], limit: usize) -> Result<Vec<Map>, Failure> {
        let prepared = self.prepare(sql, Answer::Read { wraps }).await?;
        let params = param::bind(values, prepared.statement.params()).map_err(Failure::Here)?;
        let stream = self.client.query_raw(&prepared.statement, params).await.map_err(Failure::Amid)?;
        let mut stream = std::pin::pin!(stream);
        let mut rows = Vec::new();
        let mut broken = None;
        // The stream is read to its end even when a value cannot be held: the statement's own fate must be known.
        while let Some(row) = stream.try_next().await.map_err(Failure::Amid)? {
            if rows.len() < limit && broken.is_none() {
                match map(&row, &prepared.columns) {
                    Ok(map) => rows.push(map),
                    Err(error) => broken = Some(error),
                }
            }
        }
        self.used = clock::instant();
        broken.map_or(Ok(rows), |error| Err(Failure::Here(error)))
    }

    /// Runs a statement and counts the rows it touched.
    async fn count(&mut self, sql: &str, values: &[Value]) -> Result<u64, Failure> {
        let prepared = self.prepare(sql, Answer::Counted).await?;
        let params = param::bind(values, prepared.statement.params()).map_err(Failure::Here)?;
        let touched = self.client.execute_raw(&prepared.statement, params).await.map_err(Failure::Amid)?;
        self.used = clock::instant();
        Ok(touched)
    }

    /// Sends `lines` to a `COPY .. FROM STDIN`.
    async fn copy_in(&mut self, sql: &str, lines: &str) -> Result<u64, tokio_postgres::Error> {
        use futures_util::SinkExt as _;
        let sink = self.client.copy_in::<_, std::io::Cursor<Vec<u8>>>(sql).await?;
        let mut sink = std::pin::pin!(sink);
        sink.send(std::io::Cursor::new(lines.as_bytes().to_vec())).await?;
        let rows = sink.finish().await?;
        self.used = clock::instant();
        Ok(rows)
    }

    /// Forgets what was prepared for a text, if anything was; after DDL the server asks for that.
    pub(super) fn forget(&mut self, sql: &str) -> bool {
        let before = self.prepared.len();
        self.prepared.retain(|known| known.sql != sql);
        self.prepared.len() < before
    }

    /// The statement, prepared now or before. Columns without a decoder are asked for as text by a second statement
    /// around the first.
    async fn prepare(&mut self, sql: &str, answer: Answer) -> Result<Arc<Prepared>, Failure> {
        if let Some(known) = self.prepared.iter().find(|known| known.answer == answer && known.sql == sql) {
            return Ok(Arc::clone(known));
        }
        let mut statement = self.client.prepare(sql).await.map_err(Failure::Before)?;
        let mut columns = Vec::new();
        if let Answer::Read { wraps } = answer {
            columns.extend(statement.columns().iter().map(Column::of));
            refuse_duplicates(&columns).map_err(Failure::Here)?;
            if let Some(foreign) = columns.iter().find(|column| column.way != Way::Native) {
                if !wraps {
                    return Err(Failure::Here(foreign.unreadable("pgrun has no decoder for it")));
                }
                let texts: Vec<_> = columns.iter().map(|c| (c.name.clone(), c.way != Way::Native)).collect();
                let wrapped = sql::as_texts(sql, &texts).map_err(Failure::Here)?;
                statement = self.client.prepare(&wrapped).await.map_err(Failure::Before)?;
            }
        }
        let prepared = Arc::new(Prepared { sql: sql.to_owned(), answer, statement, columns });
        if sql.len() > LONGEST_KEPT {
            return Ok(prepared);
        }
        if self.prepared.len() >= STATEMENTS_KEPT {
            self.prepared.pop_front();
        }
        self.prepared.push_back(Arc::clone(&prepared));
        Ok(prepared)
    }

    /// Cancels what runs, waits until the server has ended it, and closes the connection. `None` without a runtime.
    pub(super) fn part(self) -> Option<JoinHandle<()>> {
        let runtime = tokio::runtime::Handle::try_current().ok()?;
        Some(runtime.spawn(async move {
            let Self { client, cancel, tls, mut driver, .. } = self;
            // An error here means that the server cannot be reached; then the closed socket is all that can be done.
            let cancelled = clock::within(FAREWELL, cancel.cancel_query(tls)).await;
            tracing::debug!(reached = matches!(cancelled, Some(Ok(()))), "statement cancelled");
            drop(client);
            if clock::within(FAREWELL, &mut driver).await.is_none() {
                driver.abort();
            }
        }))
    }
}

/// What a connection to this target is opened with.
pub(super) fn config(target: &Target, application: &str) -> Config {
    let mut config = Config::new();
    config
        .host(&target.host)
        .port(target.port)
        .user(&target.user)
        .dbname(&target.database)
        .application_name(application)
        .connect_timeout(target.connect_timeout)
        .keepalives_idle(KEEPALIVE.0)
        .keepalives_interval(KEEPALIVE.1)
        .keepalives_retries(KEEPALIVE.2)
        .tcp_user_timeout(KEEPALIVE.0 + KEEPALIVE.1 * KEEPALIVE.2)
        .ssl_mode(match target.ssl_mode {
            SslMode::Disable => PgSslMode::Disable,
            SslMode::Prefer => PgSslMode::Prefer,
            SslMode::Require | SslMode::VerifyFull => PgSslMode::Require,
        })
        .channel_binding(match target.channel_binding {
            ChannelBinding::Disable => PgChannelBinding::Disable,
            ChannelBinding::Prefer => PgChannelBinding::Prefer,
            ChannelBinding::Require => PgChannelBinding::Require,
        });
    if let Some(address) = target.hostaddr {
        config.hostaddr(address);
    }
    if let Some(password) = &target.password {
        config.password(password.expose());
    }
    config
}

/// Carries the connection's traffic until it ends, and keeps its notices.
async fn drive<T>(mut connection: Connection<Socket, T>, notices: Notices)
where
    T: tokio_postgres::tls::TlsStream + Unpin,
{
    while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
        match message {
            Ok(AsyncMessage::Notice(notice)) => keep(
                &notices,
                Notice {
                    severity: notice.severity().to_owned(),
                    sqlstate: notice.code().code().to_owned(),
                    message: notice.message().to_owned(),
                    hint: notice.hint().map(str::to_owned),
                },
            ),
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(error = failure::chain(&error), "connection ended");
                return;
            }
        }
    }
}

fn keep(notices: &Notices, notice: Notice) {
    if let Ok(mut notices) = notices.lock() {
        if notices.len() >= NOTICES_KEPT {
            notices.pop_front();
        }
        notices.push_back(notice);
    }
}

fn refuse_duplicates(columns: &[Column]) -> Result<()> {
    for (at, column) in columns.iter().enumerate() {
        if columns[..at].iter().any(|earlier| earlier.name == column.name) {
            return Err(fail!(Code::PgValue, "two columns of the result are named `{}`", column.name)
                .hint(format!("give one of them another name: .. AS {}_2", column.name.trim_matches('?'))));
        }
    }
    Ok(())
}

fn map(row: &tokio_postgres::Row, columns: &[Column]) -> Result<Map> {
    let one = |(at, column): (usize, &Column)| {
        let value = row.try_get::<_, Cell>(at).map_err(|error| {
            let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            column.unreadable(&why)
        })?;
        let value = match (column.way, value.0) {
            (Way::Tagged, Value::Text(text)) => {
                Value::Map(crate::map! { "type" => column.type_name.as_str(), "text" => text })
            }
            (_, value) => value,
        };
        Ok((column.name.clone(), value))
    };
    columns.iter().enumerate().map(one).collect()
}

/// A column of any type.
struct Cell(Value);

impl<'a> tokio_postgres::types::FromSql<'a> for Cell {
    fn from_sql(
        ty: &tokio_postgres::types::Type,
        raw: &'a [u8],
    ) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(decode::value(ty, Some(raw))?))
    }

    fn from_sql_null(_: &tokio_postgres::types::Type) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(Value::Null))
    }

    fn accepts(_: &tokio_postgres::types::Type) -> bool {
        true
    }
}
