//! The superuser's sessions with a server of the lab. Everything else reaches the servers by URL.

use std::{path::Path, time::Duration};

use tokio_postgres::{Client, NoTls};

use super::ServerOptions;
use crate::{
    base::{Code, Error, Result, clock},
    fail,
};

/// Opens a session. Its connection runs in a task of its own and ends when the client is dropped.
pub(super) async fn connect(options: &ServerOptions, port: u16, database: &str) -> Result<Client> {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(port).user(&options.superuser).password(options.password.expose());
    config.dbname(database).application_name("lab").connect_timeout(Duration::from_secs(10));
    let opened = clock::within(Duration::from_secs(20), config.connect(NoTls)).await;
    let (client, connection) =
        opened.ok_or_else(|| fail!(Code::LabFailed, "port {port} does not answer"))?.map_err(|e| sql_error(&e))?;
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}

/// The server's own words, which `tokio_postgres::Error` shortens to "db error".
pub(in crate::lab) fn sql_error(error: &tokio_postgres::Error) -> Error {
    match error.as_db_error() {
        Some(db) => fail!(Code::LabFailed, "{}", db.message()).detail("sqlstate", db.code().code()),
        None => fail!(Code::LabFailed, "{error}"),
    }
}

/// Another server may listen on the port we asked for: ours is the one whose data folder is ours.
pub(super) async fn prove(options: &ServerOptions, port: u16, folder: &Path) -> Result<()> {
    let client = connect(options, port, "postgres").await?;
    let asked = client.query_one("SELECT pg_catalog.current_setting('data_directory')", &[]);
    let told = clock::within(Duration::from_secs(10), asked)
        .await
        .ok_or_else(|| fail!(Code::LabFailed, "the server does not answer"))?
        .map_err(|error| sql_error(&error))?;
    let data: String = told.try_get(0).map_err(|error| sql_error(&error))?;
    if Path::new(&data) != folder.join("data") {
        return Err(fail!(Code::LabFailed, "port {port} belongs to the server of `{data}`"));
    }
    Ok(())
}
