//! The master password of an instance where RDS manages it: what `CreateDBInstance` and `ModifyDBInstance` ask for.
//! The rules are those of their API references; the words are RDS's where they are known.

use crate::lab::{
    instance::Instance,
    managed::{self, MasterSecret},
    query::Query,
    refusal::{Outcome, Refusal},
    secret::StoredSecret,
    site::Site,
    world::World,
};

/// A secret that is to be made, what the instance says of it, and the verifier that its server gets.
pub(super) type Made = (StoredSecret, MasterSecret, String);

/// What a request does with the management of the password.
pub(super) enum Management {
    Keep,
    Begin(Box<Made>),
    /// The password in the request takes its place.
    End,
    Rotate {
        token: String,
    },
}

/// The secret of a new instance, when RDS is to manage the password.
pub(super) fn of_new(site: &Site, query: &Query, instance: &Instance) -> Outcome<Option<Made>> {
    let manage = query.boolean("ManageMasterUserPassword")?.unwrap_or(false);
    let key = kms_key(query, manage)?;
    if !manage {
        return Ok(None);
    }
    refuse_password(query)?;
    managed::make(site, instance, key, site.clock.seconds()).map(Some)
}

/// "Applies to RDS for Oracle only" (API reference, `RestoreDBInstanceFromDBSnapshot`): a restored PostgreSQL has the
/// master password of its snapshot.
pub(super) fn refuse_for_restore(query: &Query) -> Outcome<()> {
    if query.boolean("ManageMasterUserPassword")?.unwrap_or(false) {
        let message = "ManageMasterUserPassword isn't supported for restoring a DB instance with the postgres engine.";
        return Err(Refusal::combination(message));
    }
    kms_key(query, false).map(drop)
}

fn kms_key(query: &Query, manage: bool) -> Outcome<Option<&str>> {
    let key = query.text("MasterUserSecretKmsKeyId");
    if key.is_some() && !manage {
        return Err(Refusal::combination(
            "A ManageMasterUserPassword value is required when MasterUserSecretKmsKeyId is specified.",
        ));
    }
    Ok(key)
}

fn refuse_password(query: &Query) -> Outcome<()> {
    if query.text("MasterUserPassword").is_none() {
        return Ok(());
    }
    Err(Refusal::combination("You can't specify MasterUserPassword when ManageMasterUserPassword is turned on."))
}

/// What a change asks for. `now` is `ApplyImmediately`.
pub(super) fn of_change(site: &Site, query: &Query, old: &Instance, now: bool) -> Outcome<Management> {
    let manage = query.boolean("ManageMasterUserPassword")?;
    let rotate = query.boolean("RotateMasterUserPassword")?.unwrap_or(false);
    let key = kms_key(query, manage == Some(true))?;
    let is_managed = old.master_secret.is_some();
    if rotate && !(is_managed && manage != Some(false)) {
        return Err(Refusal::combination(
            "You can't specify RotateMasterUserPassword for an instance that doesn't manage its master user password \
             with AWS Secrets Manager.",
        ));
    }
    if rotate && !now {
        return Err(Refusal::combination("You must specify ApplyImmediately when rotating the master user password."));
    }
    match manage {
        Some(false) if is_managed => {
            query.required("MasterUserPassword").map_err(|_| {
                Refusal::combination("You must specify MasterUserPassword when ManageMasterUserPassword is turned off.")
            })?;
            return Ok(Management::End);
        }
        Some(true) => refuse_password(query)?,
        _ if is_managed => refuse_password(query)?,
        _ => {}
    }
    Ok(match (manage, is_managed) {
        (Some(true), false) => Management::Begin(Box::new(managed::make(site, old, key, site.clock.seconds())?)),
        _ if rotate => Management::Rotate { token: uuid::Uuid::new_v4().to_string() },
        _ => Management::Keep,
    })
}

impl Management {
    /// The verifier of a password that RDS made.
    pub(super) fn verifier(&self) -> Option<String> {
        match self {
            Self::Begin(made) => Some(made.2.clone()),
            _ => None,
        }
    }

    /// Writes it down; gives the secret whose rotation begins.
    pub(super) fn apply(&self, world: &mut World, of: &Instance) -> Outcome<Option<String>> {
        match self {
            Self::Keep => Ok(None),
            Self::Begin(made) => {
                let (secret, master, _) = &**made;
                world.database_mut(of.kind, &of.id)?.master_secret = Some(master.clone());
                world.secrets.insert(secret.name.clone(), secret.clone());
                Ok(None)
            }
            Self::End => {
                let master = world.database_mut(of.kind, &of.id)?.master_secret.take();
                managed::forget(world, master.as_ref().map(|master| master.arn.as_str()));
                Ok(None)
            }
            Self::Rotate { token } => {
                let Some(master) = &mut world.database_mut(of.kind, &of.id)?.master_secret else { return Ok(None) };
                master.rotating = true;
                let arn = master.arn.clone();
                let secret = world.secrets.values_mut().find(|secret| secret.arn == arn);
                let Some(secret) = secret.filter(|secret| secret.unfinished().is_none()) else {
                    let message = format!("The master user secret of {} is being rotated.", of.id);
                    return Err(Refusal::new("InvalidDBInstanceState", message));
                };
                secret.begin_rotation(token, false, world.clock.seconds());
                Ok(Some(arn))
            }
        }
    }
}
