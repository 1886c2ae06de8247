//! The roles of a new instance, as on RDS, with one difference: the master user is a superuser.

use std::time::Duration;

use crate::{
    base::{
        Code, Result, clock,
        ident::{ident, literal},
    },
    fail,
    lab::postgres::{Server, sql_error},
};

/// Statements here are short; one that hangs is broken.
const DEADLINE: Duration = Duration::from_secs(60);

/// Roles that exist on every RDS instance (user guide, "Understanding PostgreSQL roles and permissions").
const ROLES: &str = "CREATE ROLE rds_superuser; CREATE ROLE rds_replication; CREATE ROLE rds_password; \
    CREATE ROLE rds_iam; \
    GRANT pg_monitor, pg_signal_backend, rds_replication, rds_password TO rds_superuser WITH ADMIN OPTION";

/// Makes the roles, the master user, the database `rdsadmin` and the one that was asked for.
///
/// On RDS the master is no superuser but a member of `rds_superuser`, to which RDS's own patches allow much of what
/// superusers may. Vanilla PostgreSQL would refuse it slots, publications for all tables and subscriptions, so here it
/// is a superuser, and `pgrun lab status` says so. For the same reason `GRANT rds_replication` does not give a role
/// what it gives on RDS: logical replication in the lab needs a role made `WITH REPLICATION`.
pub(super) async fn prepare(server: &Server, master: &str, verifier: &str, database: Option<&str>) -> Result<()> {
    let (master, verifier) = (ident(master)?, literal(verifier)?);
    let mut statements = vec![
        ROLES.to_owned(),
        format!(
            "CREATE ROLE {master} LOGIN SUPERUSER CREATEDB CREATEROLE REPLICATION PASSWORD {verifier} \
             VALID UNTIL 'infinity' IN ROLE rds_superuser"
        ),
        "CREATE DATABASE rdsadmin".to_owned(),
        format!("ALTER DATABASE postgres OWNER TO {master}"),
    ];
    if let Some(database) = database.filter(|name| *name != "postgres") {
        statements.push(format!("CREATE DATABASE {} OWNER {master}", ident(database)?));
    }
    for statement in statements {
        run(server, &statement).await?;
    }
    Ok(())
}

/// Gives the master user another password, and its rights back if somebody took them: so does RDS.
pub(super) async fn reset(server: &Server, master: &str, verifier: &str) -> Result<()> {
    let (master, verifier) = (ident(master)?, literal(verifier)?);
    run(server, &format!("ALTER ROLE {master} LOGIN SUPERUSER PASSWORD {verifier}")).await?;
    run(server, &format!("GRANT rds_superuser TO {master}")).await
}

async fn run(server: &Server, statement: &str) -> Result<()> {
    let client = server.connect("postgres").await?;
    let done = clock::within(DEADLINE, client.batch_execute(statement)).await;
    done.ok_or_else(|| fail!(Code::Timeout, "the server did not answer"))?.map_err(|error| sql_error(&error))
}
