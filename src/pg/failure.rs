//! What tokio-postgres reports, turned into facts: code, SQLSTATE, the server's own words, and a hint.

use std::{error::Error as _, io};

use tokio_postgres::error::{DbError, ErrorPosition, Severity};

use super::target::{SslMode, Target};
use crate::{
    base::{Code, Error},
    fail,
};

/// True when the connection is gone, so that a statement's fate may be open.
///
/// A FATAL or PANIC answer ends the connection too; the server may send it after the commit was written.
pub(super) fn is_loss(error: &tokio_postgres::Error) -> bool {
    match error.as_db_error() {
        Some(db) => is_fatal(db),
        None => true,
    }
}

fn is_fatal(db: &DbError) -> bool {
    matches!(db.parsed_severity(), Some(Severity::Fatal | Severity::Panic))
        || matches!(db.severity(), "FATAL" | "PANIC")
}

/// A server's refusal of a statement.
pub(super) fn refused(db: &DbError, server: &str) -> Error {
    let mut error = fail!(Code::PgSql, "{}", db.message()).detail("sqlstate", db.code().code());
    if let Some(detail) = db.detail() {
        error = error.detail("detail", detail);
    }
    if let Some(position) = db.position() {
        error = error.detail(
            "position",
            match position {
                ErrorPosition::Original(at) => at.to_string(),
                ErrorPosition::Internal { position, query } => format!("{position} in {query}"),
            },
        );
    }
    for (name, value) in [
        ("schema", db.schema()),
        ("table", db.table()),
        ("column", db.column()),
        ("constraint", db.constraint()),
        ("where", db.where_()),
    ] {
        if let Some(value) = value {
            error = error.detail(name, value);
        }
    }
    error = error.detail("server", server);
    match (db.hint(), hint_for(db.code().code())) {
        (Some(hint), _) | (None, Some(hint)) => error.hint(hint),
        (None, None) => error,
    }
}

/// What usually helps, for states where the server itself gives no hint.
fn hint_for(sqlstate: &str) -> Option<&'static str> {
    Some(match sqlstate {
        "55P03" => "see who holds the lock: select * from pg_locks where not granted",
        "42501" => "grant the privilege to pgrun's role, or connect as a role that has it",
        "25006" => "the server is a standby or its database is set read-only; connect to the writer",
        "53100" => "free disk space on the server",
        _ => return None,
    })
}

/// Why a connection could not be opened.
pub(super) fn connecting(target: &Target, error: &tokio_postgres::Error) -> Error {
    let place = target.label();
    if let Some(db) = error.as_db_error() {
        return login_refused(target, db);
    }
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(tls) = tls_cause(cause) {
            return tls_failed(target, tls);
        }
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            // An error of rustls travels inside an io error.
            if let Some(tls) = io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                return tls_failed(target, tls);
            }
            return unreachable(target, io);
        }
        source = cause.source();
    }
    let words = chain(error);
    if words.contains("does not support TLS") {
        return fail!(Code::PgTls, "{place} does not offer TLS, and `sslmode={}` wants it", target.ssl_mode.word())
            .hint("switch TLS on at the server; on a network you trust, sslmode=disable");
    }
    if words.contains("password missing") {
        return fail!(Code::PgAuth, "{place} asks for a password and none was given")
            .hint("give the secret or password");
    }
    if words.contains("channel binding") {
        return fail!(Code::PgTls, "{place} cannot bind the login to the TLS channel: {words}")
            .hint("leave channel_binding=require out, or use sslmode=verify-full");
    }
    fail!(Code::PgConnect, "the connection to {place} failed: {words}")
}

/// Whether a connection that could not be opened may be opened a moment later: the server starts, stops or recovers
/// (manual, "PostgreSQL Error Codes", class 57). One that nobody has reached yet may as well be a wrong address, or
/// full for good; one that was there is coming back.
pub(super) fn passes(error: &Error, was_open: bool) -> bool {
    let away = error.fact("cause").is_some_and(|cause| matches!(cause, "refused" | "closed" | "timeout" | "network"));
    let state = error.fact("sqlstate").unwrap_or_default();
    matches!(state, "57P01" | "57P02" | "57P03") || (was_open && (away || state == "53300"))
}

/// Opening took too long.
pub(super) fn too_slow(target: &Target) -> Error {
    let limit = crate::base::span::duration_text(target.connect_timeout);
    fail!(Code::PgConnect, "{} gave no answer within {limit}", target.label())
        .detail("cause", "timeout")
        .hint("check security group, routes and host; a dropped packet looks like this")
}

fn tls_cause<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    cause.downcast_ref::<rustls::Error>()
}

fn tls_failed(target: &Target, tls: &rustls::Error) -> Error {
    use rustls::CertificateError as Certificate;
    let place = target.label();
    let error = match tls {
        rustls::Error::InvalidCertificate(Certificate::UnknownIssuer) => {
            fail!(Code::PgTls, "the certificate of {place} was not issued by an authority in `sslrootcert`")
                .hint("take the server's CA bundle (RDS: global-bundle.pem)")
        }
        rustls::Error::InvalidCertificate(
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. },
        ) => fail!(Code::PgTls, "the certificate of {place} is not valid for the name `{}`", target.host).hint(
            "connect by the name in the certificate; with a tunnel, give that name as host and the tunnel as hostaddr",
        ),
        rustls::Error::InvalidCertificate(Certificate::Expired | Certificate::ExpiredContext { .. }) => {
            fail!(Code::PgTls, "the certificate of {place} has expired").hint("renew the server's certificate")
        }
        _ => fail!(Code::PgTls, "TLS with {place} failed"),
    };
    error.detail("tls", tls.to_string())
}

fn unreachable(target: &Target, io: &io::Error) -> Error {
    let place = target.label();
    match io.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => {
            fail!(Code::PgConnect, "{place} refuses connections: nothing listens there")
                .detail("cause", "refused")
                .hint("check host and port, and that the server runs")
        }
        io::ErrorKind::TimedOut => too_slow(target),
        io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => {
            fail!(Code::PgConnect, "{place} closed the connection before the login was done")
                .detail("cause", "closed")
                .hint("the server may be restarting, or the port speaks no PostgreSQL")
        }
        // Name resolution has no kind of its own; its text is the platform's ("failed to lookup address information").
        _ if io.raw_os_error().is_none() && io.to_string().contains("lookup") => {
            fail!(Code::PgConnect, "the host name `{}` cannot be resolved", target.host)
                .detail("cause", "dns")
                .hint("check the name, DNS and VPN")
        }
        _ => fail!(Code::PgConnect, "{place} cannot be reached: {io}").detail("cause", "network"),
    }
}

/// The server spoke, and said no.
fn login_refused(target: &Target, db: &DbError) -> Error {
    let place = target.label();
    let state = db.code().code();
    let words = db.message();
    let refused = |code: Code, hint: &str| fail!(code, "{place}: {words}").hint(hint);
    let error = match state {
        "28P01" => refused(Code::PgAuth, "the password is wrong, expired or missing, or the role does not exist"),
        "28000" if is_hba(db) => {
            let plain = words.contains("no encryption") || words.contains("SSL off");
            match (plain, target.ssl_mode) {
                (true, SslMode::Disable | SslMode::Prefer) => {
                    refused(Code::PgTls, "the server takes no unencrypted connections: use sslmode=require")
                }
                _ => refused(Code::PgAuth, "no line of pg_hba.conf admits this host, user and database"),
            }
        }
        // RDS says this, and nothing else, about whatever is wrong with a token (user guide, "IAM authentication").
        "28000" if words.contains("PAM authentication failed") => {
            refused(Code::PgAuth, "the token is over 15 minutes old, or for another host, port, role or region")
        }
        "28000" => refused(Code::PgAuth, "the role may not log in (NOLOGIN), or it does not exist"),
        "3D000" => refused(Code::PgConnect, "check the database name, capitals included"),
        "53300" => refused(Code::PgConnect, "wait, or raise the limit of the role, database or server"),
        "57P03" => refused(Code::PgConnect, "the server is starting or stopping: try again in a moment"),
        _ => fail!(Code::PgConnect, "{place}: {words}"),
    };
    let error = error.detail("sqlstate", state);
    match db.routine() {
        Some(routine) => error.detail("routine", routine),
        None => error,
    }
}

/// `ClientAuthentication` in `libpq/auth.c` speaks of pg_hba.conf; `InitializeSessionUserId` of the role. Both say
/// 28000.
fn is_hba(db: &DbError) -> bool {
    db.routine() == Some("ClientAuthentication") || db.message().contains("pg_hba.conf")
}

/// The words of an error and of its causes.
pub(super) fn chain(error: &tokio_postgres::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    words
}
