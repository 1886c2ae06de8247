//! The roles of a new instance, as on RDS, and what kind of role its master user is.

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

/// What is granted to `rds_superuser` for the whole server, by the first major version that can.
const GRANTS: [(u32, &str); 2] = [
    (15, "GRANT SET ON PARAMETER session_replication_role TO rds_superuser WITH GRANT OPTION"),
    (16, "GRANT pg_create_subscription TO rds_superuser WITH ADMIN OPTION"),
];

/// Positions of subscriptions: each database has its own rights on these functions. Before 14 they ask for a superuser
/// whatever is granted (`src/backend/replication/logical/origin.c`).
const ORIGINS: &str = "DO $$ DECLARE f regprocedure; BEGIN \
    FOR f IN SELECT oid FROM pg_catalog.pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace \
        AND (proname LIKE 'pg\\_replication\\_origin\\_%' OR proname = 'pg_show_replication_origin_status') \
    LOOP EXECUTE pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO rds_superuser', f); END LOOP; END $$";

/// Makes the roles, the master user, the database `rdsadmin` and the one that was asked for. Tells whether the master
/// is a superuser.
///
/// On RDS the master is no superuser but a member of `rds_superuser`, to which RDS's own patches allow much of what
/// superusers may. The hook library does the same here. Without it vanilla PostgreSQL would refuse the master slots,
/// publications for all tables and subscriptions, so there it is a superuser, and `pgrun lab status` says so.
pub(super) async fn prepare(server: &Server, master: &str, verifier: &str, database: Option<&str>) -> Result<bool> {
    let (name, verifier) = (ident(master)?, literal(verifier)?);
    let hooked = server.has_library();
    run(server, "postgres", ROLES).await?;
    let rights =
        if hooked { "NOSUPERUSER INHERIT CREATEDB CREATEROLE" } else { "SUPERUSER CREATEDB CREATEROLE REPLICATION" };
    let role =
        format!("CREATE ROLE {name} LOGIN {rights} PASSWORD {verifier} VALID UNTIL 'infinity' IN ROLE rds_superuser");
    run(server, "postgres", &role).await?;
    if hooked {
        grant(server, &["template1", "postgres"]).await?;
    }
    run(server, "postgres", "CREATE DATABASE rdsadmin").await?;
    run(server, "postgres", &format!("ALTER DATABASE postgres OWNER TO {name}")).await?;
    if let Some(database) = database.filter(|name| *name != "postgres") {
        run(server, "postgres", &format!("CREATE DATABASE {} OWNER {name}", ident(database)?)).await?;
    }
    Ok(!hooked)
}

async fn grant(server: &Server, databases: &[&str]) -> Result<()> {
    let major = server.installation().version.major;
    for (_, statement) in GRANTS.iter().filter(|(from, _)| major >= *from) {
        run(server, "postgres", statement).await?;
    }
    for database in databases {
        run(server, database, ORIGINS).await?;
    }
    Ok(())
}

/// Brings the rights of a restored or upgraded cluster up to its version, as RDS does after an upgrade; a master keeps
/// its kind. Tells whether it is a superuser. Where the library is missing it has to become one: half of what it made
/// before could not be altered any more.
pub(super) async fn renew(server: &Server, master: &str) -> Result<bool> {
    let client = server.connect("postgres").await?;
    let asked = client.query_opt("SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = $1", &[&master]).await;
    let is_superuser = asked.map_err(|e| sql_error(&e))?.is_some_and(|row| row.try_get(0).unwrap_or(false));
    if is_superuser {
        return Ok(true);
    }
    if !server.has_library() {
        run(server, "postgres", &format!("ALTER ROLE {} SUPERUSER REPLICATION", ident(master)?)).await?;
        return Ok(true);
    }
    let databases = "SELECT datname::text FROM pg_catalog.pg_database WHERE datallowconn";
    let rows = client.query(databases, &[]).await.map_err(|e| sql_error(&e))?;
    let names: Vec<String> = rows.iter().filter_map(|row| row.try_get(0).ok()).collect();
    grant(server, &names.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    Ok(false)
}

/// Gives the master user another password, and its rights back if somebody took them: so does RDS.
pub(super) async fn reset(server: &Server, master: &str, verifier: &str) -> Result<()> {
    let (master, verifier) = (ident(master)?, literal(verifier)?);
    let rights = if server.has_library() { "" } else { " SUPERUSER" };
    run(server, "postgres", &format!("ALTER ROLE {master} LOGIN{rights} PASSWORD {verifier}")).await?;
    run(server, "postgres", &format!("GRANT rds_superuser TO {master}")).await
}

async fn run(server: &Server, database: &str, statement: &str) -> Result<()> {
    let client = server.connect(database).await?;
    let done = clock::within(DEADLINE, client.batch_execute(statement)).await;
    done.ok_or_else(|| fail!(Code::Timeout, "the server did not answer"))?.map_err(|error| sql_error(&error))
}
