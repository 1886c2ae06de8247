//! What only servers of Aurora have: the function that says where the log of a cluster's storage begins.

use std::time::Duration;

use crate::{
    base::{Code, Result, clock, ident::literal},
    fail,
    lab::postgres::{Server, sql_error},
};

/// Statements here are short; one that hangs is broken.
const DEADLINE: Duration = Duration::from_secs(60);

/// The name as Aurora has it (Aurora user guide, "Aurora PostgreSQL functions reference").
const NAME: &str = "aurora_volume_logical_start_lsn";

/// Where the log of this storage begins. Asked right after a start: recovery ends with a checkpoint (`xlog.c`,
/// `PerformRecoveryXLogAction`), whose redo position is behind the last record that was replayed.
pub(super) async fn start_lsn(server: &Server) -> Result<String> {
    let client = server.connect("postgres").await?;
    let asked = client.query_one("SELECT redo_lsn::text FROM pg_catalog.pg_control_checkpoint()", &[]);
    let told = clock::within(DEADLINE, asked).await;
    let row = told.ok_or_else(|| fail!(Code::Timeout, "the server did not answer"))?.map_err(|e| sql_error(&e))?;
    row.try_get(0).map_err(|error| sql_error(&error))
}

/// Makes the function in every database, also in those made later, unless it stands there and says the same. An
/// upgrade loses it: `pg_dump` leaves out whatever lies in `pg_catalog`.
pub(super) async fn provide(server: &Server, lsn: &str) -> Result<()> {
    let databases =
        ask(server, "postgres", "SELECT datname::text FROM pg_catalog.pg_database WHERE datallowconn").await?;
    let body = format!("SELECT {}::pg_catalog.pg_lsn", literal(lsn)?);
    let known = format!(
        "SELECT proname::text FROM pg_catalog.pg_proc WHERE proname = '{NAME}' AND prosrc = {}",
        literal(&body)?
    );
    let make = format!(
        "CREATE OR REPLACE FUNCTION pg_catalog.{NAME}() RETURNS pg_catalog.pg_lsn LANGUAGE sql STABLE AS {}",
        literal(&body)?
    );
    for database in databases {
        if ask(server, &database, &known).await?.is_empty() {
            ask(server, &database, &make).await?;
        }
    }
    Ok(())
}

/// The first column of what a statement gives.
async fn ask(server: &Server, database: &str, statement: &str) -> Result<Vec<String>> {
    let client = server.connect(database).await?;
    let told = clock::within(DEADLINE, client.query(statement, &[])).await;
    let rows = told.ok_or_else(|| fail!(Code::Timeout, "the server did not answer"))?.map_err(|e| sql_error(&e))?;
    rows.iter().map(|row| row.try_get(0).map_err(|error| sql_error(&error))).collect()
}
