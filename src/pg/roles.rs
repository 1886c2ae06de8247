//! Roles: who may log in, recorded and restored exactly; passwords that never travel in SQL.
//!
//! Roles belong to the whole server. ALTER ROLE needs CREATEROLE, and from 16 on ADMIN OPTION on the role besides; a
//! superuser can be altered by a superuser only (on RDS: `rdsadmin` by nobody).

use std::fmt::Write as _;

use super::{record::record, session::Session, settings::Settings, target::Target};
use crate::{
    base::{
        Code, Result, Secret, Value,
        ident::{ident, literal},
        prose::{count, ticked_list},
    },
    fail,
};

record! {
    /// What decides whether and how a role logs in.
    pub struct RoleLogin {
        /// The role.
        pub name: String,
        /// LOGIN or NOLOGIN.
        pub can_login: bool,
        /// SUPERUSER.
        pub superuser: bool,
        /// REPLICATION. On RDS membership in `rds_replication` stands for it.
        pub replication: bool,
        /// CONNECTION LIMIT; -1 is none.
        pub connection_limit: i64,
        /// VALID UNTIL, if set.
        pub valid_until: Option<String>,
    }

    /// That one role is a member of another.
    pub struct Membership {
        /// The role that is granted.
        pub role: String,
        /// Who has it.
        pub member: String,
        /// WITH ADMIN OPTION.
        pub admin: bool,
    }
}

/// What [`create`] makes.
#[derive(Clone, Debug, Default)]
pub struct NewRole {
    /// The role.
    pub name: String,
    /// A verifier is made of it here; the server never sees the password itself.
    pub password: Option<Secret>,
    /// LOGIN.
    pub login: bool,
    /// REPLICATION; on RDS `GRANT rds_replication`.
    pub replication: bool,
    /// CONNECTION LIMIT.
    pub connection_limit: Option<i64>,
    /// VALID UNTIL, as PostgreSQL reads a time stamp.
    pub valid_until: Option<String>,
    /// Roles that it becomes a member of.
    pub member_of: Vec<String>,
}

/// What a login said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// It works.
    Accepted,
    /// The password is right and the role is NOLOGIN: the server looks at the password first (28000).
    NoLogin,
    /// The password is wrong, expired or missing, or there is no such role (28P01).
    WrongPassword,
}

/// The state of every role but PostgreSQL's own (`pg_*`). Anybody may read it.
pub async fn logins(session: &Session) -> Result<Vec<RoleLogin>> {
    const LOGINS: &str = "SELECT rolname::text AS name, rolcanlogin AS can_login, rolsuper AS superuser, \
         rolreplication AS replication, rolconnlimit AS connection_limit, rolvaliduntil AS valid_until \
         FROM pg_roles WHERE rolname !~ '^pg_' ORDER BY rolname COLLATE \"C\"";
    session.records(LOGINS, &[]).await
}

/// Gives LOGIN or NOLOGIN to all of these roles in one transaction.
///
/// # Errors
/// `pg_sql` when one does not exist (42704) or may not be altered (42501): then none is changed.
pub async fn set_login(session: &Session, roles: &[String], can_login: bool) -> Result<()> {
    if roles.is_empty() {
        return Ok(());
    }
    session.batch(&alterations(roles, can_login)?).await
}

/// `ALTER ROLE .. LOGIN` or NOLOGIN for each.
pub(super) fn alterations(roles: &[String], can_login: bool) -> Result<String> {
    let word = if can_login { "LOGIN" } else { "NOLOGIN" };
    let mut sql = String::new();
    for role in roles {
        let _ = write!(sql, "ALTER ROLE {} {word}; ", ident(role)?);
    }
    Ok(sql)
}

/// Brings every recorded role back to its recorded LOGIN or NOLOGIN, in one transaction; others stay as they are.
/// Gives the names of those that had to be changed. Nothing else of a role is touched.
///
/// # Errors
/// `pg_sql` naming recorded roles that no longer exist.
pub async fn restore(session: &Session, recorded: &[RoleLogin]) -> Result<Vec<String>> {
    let now = logins(session).await?;
    let of = |name: &str| now.iter().find(|role| role.name == name);
    let gone: Vec<&str> =
        recorded.iter().filter(|role| of(&role.name).is_none()).map(|role| role.name.as_str()).collect();
    if !gone.is_empty() {
        let number = count(gone.len(), "role");
        return Err(fail!(Code::PgSql, "{number} of the record no longer exist: {}", ticked_list(&gone, 5))
            .detail("sqlstate", "42704"));
    }
    let changed = |can_login: bool| -> Vec<String> {
        let differs =
            |role: &&RoleLogin| role.can_login == can_login && of(&role.name).is_some_and(|n| n.can_login != can_login);
        recorded.iter().filter(differs).map(|role| role.name.clone()).collect()
    };
    let (open, close) = (changed(true), changed(false));
    let sql = format!("{}{}", alterations(&open, true)?, alterations(&close, false)?);
    if !sql.is_empty() {
        session.batch(&sql).await?;
    }
    Ok([open, close].concat())
}

/// Makes a role. On a server with `rds_replication` REPLICATION becomes membership in it.
///
/// # Errors
/// `foreign` if a role of that name exists.
pub async fn create(session: &Session, role: &NewRole) -> Result<()> {
    // A superuser gives the attribute itself. There is none on RDS; a lab without its hook library has both, and there
    // membership gives nothing.
    const RDS: &str = "SELECT 1 FROM pg_roles WHERE rolname = 'rds_replication' \
         AND NOT (SELECT m.rolsuper FROM pg_roles m WHERE m.rolname = current_user)";
    let name = ident(&role.name)?;
    if session.exists("SELECT 1 FROM pg_roles WHERE rolname = $1", &[role.name.as_str().into()]).await? {
        return Err(fail!(Code::Foreign, "the role `{}` exists on {}", role.name, session.target().label()));
    }
    let rds = session.exists(RDS, &[]).await?;
    let mut sql = format!("CREATE ROLE {name} {}", if role.login { "LOGIN" } else { "NOLOGIN" });
    if role.replication && !rds {
        sql.push_str(" REPLICATION");
    }
    if let Some(limit) = role.connection_limit {
        let _ = write!(sql, " CONNECTION LIMIT {limit}");
    }
    if let Some(until) = &role.valid_until {
        let _ = write!(sql, " VALID UNTIL {}", literal(until)?);
    }
    if let Some(password) = &role.password {
        let _ = write!(sql, " PASSWORD {}", literal(verifier(password)?.expose())?);
    }
    let rds_replication = (role.replication && rds).then(|| "rds_replication".to_owned());
    for group in role.member_of.iter().chain(&rds_replication) {
        let _ = write!(sql, "; GRANT {} TO {name}", ident(group)?);
    }
    session.batch(&sql).await
}

/// Gives a role another password, by its verifier.
pub async fn set_password(session: &Session, role: &str, password: &Secret) -> Result<()> {
    let sql = format!("ALTER ROLE {} PASSWORD {}", ident(role)?, literal(verifier(password)?.expose())?);
    session.batch(&sql).await
}

/// Drops a role; false if there was none.
///
/// # Errors
/// `pg_sql` 2BP01 while something still belongs to it.
pub async fn drop(session: &Session, role: &str) -> Result<bool> {
    let there = session.exists("SELECT 1 FROM pg_roles WHERE rolname = $1", &[role.into()]).await?;
    if there {
        session.batch(&format!("DROP ROLE IF EXISTS {}", ident(role)?)).await?;
    }
    Ok(there)
}

/// What the server keeps of a password: `SCRAM-SHA-256$..` (RFC 5803), salted anew at each call. From it the password
/// cannot be read back, but it can be guessed at, so it is a secret too.
///
/// # Errors
/// `usage` for an empty password, with which nobody could log in (manual, "CREATE ROLE").
pub fn verifier(password: &Secret) -> Result<Secret> {
    if password.expose().is_empty() {
        return Err(fail!(Code::Usage, "got an empty password: PostgreSQL takes it for none"));
    }
    Ok(Secret::new(postgres_protocol::password::scram_sha_256(password.expose().as_bytes())))
}

/// All memberships, PostgreSQL's own roles included.
pub async fn memberships(session: &Session) -> Result<Vec<Membership>> {
    const MEMBERSHIPS: &str = "SELECT r.rolname::text AS role, m.rolname::text AS member, bool_or(a.admin_option) AS admin \
         FROM pg_auth_members a JOIN pg_roles r ON r.oid = a.roleid JOIN pg_roles m ON m.oid = a.member \
         GROUP BY 1, 2 ORDER BY 1, 2";
    session.records(MEMBERSHIPS, &[]).await
}

/// The names of all direct and indirect members of a role.
pub async fn members(session: &Session, role: &str) -> Result<Vec<String>> {
    const MEMBERS: &str = "WITH RECURSIVE inside AS ( \
           SELECT a.member FROM pg_auth_members a JOIN pg_roles r ON r.oid = a.roleid WHERE r.rolname = $1 \
           UNION SELECT a.member FROM pg_auth_members a JOIN inside i ON i.member = a.roleid) \
         SELECT r.rolname::text FROM inside i JOIN pg_roles r ON r.oid = i.member ORDER BY 1";
    session.texts(MEMBERS, &[Value::from(role)]).await
}

/// Tries to log in as the target's role with this password, and closes the connection again.
///
/// # Errors
/// Whatever else stands between: network, TLS, `pg_hba.conf`, limits.
pub async fn try_login(target: &Target, password: &Secret) -> Result<Login> {
    let target = target.clone().with_login(target.user(), Some(password.clone()));
    let session = Session::new(target, Settings::of_run("login"));
    let error = match session.open().await {
        Ok(()) => return Ok(Login::Accepted),
        Err(error) => error,
    };
    match error.fact("sqlstate") {
        Some("28P01") => Ok(Login::WrongPassword),
        // Both "not permitted to log in" and "does not exist" come from there; the latter where no password is asked.
        Some("28000") if error.fact("routine") == Some("InitializeSessionUserId") => {
            if error.message().contains("does not exist") { Err(error) } else { Ok(Login::NoLogin) }
        }
        _ => Err(error),
    }
}
