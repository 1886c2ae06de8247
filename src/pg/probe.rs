//! The role by which a run measures the outage that it causes: a login that is fenced like an application's and may
//! do one thing, write into `pgrun.probe`.

use super::{
    roles::{self, NewRole},
    session::Session,
    verifier,
};
use crate::base::{
    Result, Secret,
    ident::{ident, literal},
};

/// Makes the role with this password, which was drawn at random, or gives it to one that an earlier attempt has left;
/// in the database of pgrun's own schema.
///
/// # Errors
/// `pg_sql` where the role may not be made, or the schema is not there.
pub async fn make(session: &Session, role: &str, password: &Secret, can_login: bool) -> Result<()> {
    let there = session.exists("SELECT FROM pg_roles WHERE rolname = $1", &[role.into()]).await?;
    if there {
        roles::set_login(session, &[role.to_owned()], can_login).await?;
    } else {
        let new = NewRole {
            name: role.to_owned(),
            login: can_login,
            connection_limit: Some(CONNECTIONS),
            ..NewRole::default()
        };
        roles::create(session, &new).await?;
    }
    let (role, verifier) = (ident(role)?, verifier::of_one_round(password));
    session.batch(&format!("ALTER ROLE {role} PASSWORD {}", literal(verifier.expose())?)).await?;
    session
        .batch(&format!("GRANT USAGE ON SCHEMA pgrun TO {role}; GRANT SELECT, INSERT ON pgrun.probe TO {role}"))
        .await
}

/// One that writes, one that is about to take its place, one that counts.
const CONNECTIONS: i64 = 3;

/// Drops the role with what it may do; one that is not there is no error. Its sessions must have ended.
///
/// # Errors
/// `pg_sql` where it may not be dropped.
pub async fn remove(session: &Session, role: &str) -> Result<()> {
    if !session.exists("SELECT FROM pg_roles WHERE rolname = $1", &[role.into()]).await? {
        return Ok(());
    }
    if session.exists("SELECT WHERE to_regclass('pgrun.probe') IS NOT NULL", &[]).await? {
        let role = ident(role)?;
        session
            .batch(&format!("REVOKE ALL ON pgrun.probe FROM {role}; REVOKE ALL ON SCHEMA pgrun FROM {role}"))
            .await?;
    }
    roles::drop(session, role).await.map(|_| ())
}
