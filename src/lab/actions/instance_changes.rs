//! What changes or ends an instance: modify, reboot, stop, start, delete.

use std::sync::Arc;

use super::{
    instances::group_for,
    master_password,
    names::{identifier, verifier_of},
    shapes,
    snapshots::{fresh, id_of_new},
};
use crate::lab::{
    group::{default_group, default_group_major},
    instance::{Changes, Instance, InstanceStatus, Work},
    postgres::Version,
    query::Query,
    refusal::{Outcome, Refusal},
    site::Site,
    snapshot::SnapshotWork,
    work,
    world::World,
    xml::Element,
};

pub(super) fn modify(site: &Arc<Site>, query: &Query) -> Outcome<Option<Element>> {
    let now = query.boolean("ApplyImmediately")?.unwrap_or(false);
    let old = site.look(|world| world.instance(query.required("DBInstanceIdentifier")?).cloned())?;
    let version = query.text("EngineVersion").map(|text| target(site, query, &old, text)).transpose()?.flatten();
    let management = master_password::of_change(site, query, &old, now)?;
    let mut changes = asked(site, query, &old, version)?;
    changes.verifier = management.verifier().or(changes.verifier);
    let protect = query.boolean("DeletionProtection")?;
    let (iam, public) = (query.boolean("EnableIAMDatabaseAuthentication")?, query.boolean("PubliclyAccessible")?);
    let security_groups = query.texts("VpcSecurityGroupIds", "VpcSecurityGroupId");
    let (mut begins, mut rotates, mut resource) = (false, None, String::new());
    let shown = site.change(|world| {
        if let Some(new) = &changes.rename
            && world.instances.contains_key(new)
        {
            return Err(Refusal::new("DBInstanceAlreadyExists", "DB instance already exists"));
        }
        rotates = management.apply(world, &old.id)?;
        let instance = world.instance_mut(&old.id)?;
        // While `available` is stale a second change joins the first one.
        let waiting = match instance.work.take() {
            Some(Work::Modify(waiting)) if instance.status == InstanceStatus::Available => Some(*waiting),
            other => {
                instance.work = other;
                None
            }
        };
        if waiting.is_none() && !instance.is_idle() {
            return Err(not_available(instance));
        }
        instance.protected = protect.unwrap_or(instance.protected);
        instance.iam = iam.unwrap_or(instance.iam);
        instance.public = public.unwrap_or(instance.public);
        if !security_groups.is_empty() {
            instance.security_groups.clone_from(&security_groups);
        }
        let (at_once, later) = split(changes.clone(), now);
        instance.pending = std::mem::take(&mut instance.pending).merge(later);
        let at_once = if now { std::mem::take(&mut instance.pending).merge(at_once) } else { at_once };
        let joined = waiting.is_some();
        let all = waiting.unwrap_or_default().merge(at_once);
        if !all.is_empty() {
            instance.work = Some(Work::Modify(Box::new(all)));
            begins = !joined;
        }
        resource.clone_from(&instance.resource);
        Ok(shapes::instance(site, instance))
    })?;
    if iam.is_some() {
        site.settle_access(&resource);
    }
    if begins {
        work::begin_instance(site, &resource);
    }
    if let Some(secret) = rotates {
        work::begin_rotation(site, &secret);
    }
    Ok(Some(Element::new("Result").child(shown)))
}

/// What the request asks to change, checked.
fn asked(site: &Site, query: &Query, old: &Instance, version: Option<Version>) -> Outcome<Changes> {
    let becomes = version.unwrap_or(old.version);
    let group = query.text("DBParameterGroupName").map(|name| group_for(site, name, becomes)).transpose()?;
    let major = becomes.major != old.version.major;
    let group = match group {
        None if major && default_group_major(&old.group).is_none() => {
            return Err(Refusal::combination(format!(
                "The current DB instance parameter group {} is custom. You must explicitly specify a new DB instance \
                 parameter group, either default or custom, for the engine version upgrade.",
                old.group
            )));
        }
        None if major => Some(default_group(becomes.major)),
        group => group,
    };
    let rename = match query.text("NewDBInstanceIdentifier") {
        Some(_) => Some(identifier(query, "NewDBInstanceIdentifier", 63)?).filter(|new| *new != old.id),
        None => None,
    };
    Ok(Changes {
        verifier: query.text("MasterUserPassword").map(verifier_of).transpose()?,
        class: query.text("DBInstanceClass").map(str::to_owned),
        storage_gb: query.integer("AllocatedStorage")?,
        multi_az: query.boolean("MultiAZ")?,
        retention_days: query.integer("BackupRetentionPeriod")?,
        group,
        version,
        rename,
    })
}

/// Passwords, parameter groups and retention never wait; the rest waits for the maintenance window unless told
/// otherwise (API reference, `ModifyDBInstance`). A group that comes with a waiting upgrade waits with it.
fn split(changes: Changes, now: bool) -> (Changes, Changes) {
    if now {
        return (changes, Changes::default());
    }
    let group_waits = changes.version.is_some();
    let at_once = Changes {
        verifier: changes.verifier.clone(),
        retention_days: changes.retention_days,
        group: changes.group.clone().filter(|_| !group_waits),
        ..Changes::default()
    };
    let later = Changes {
        verifier: None,
        retention_days: None,
        group: changes.group.clone().filter(|_| group_waits),
        ..changes
    };
    (at_once, later)
}

/// The version an upgrade leads to; `None` when it is the one the instance has.
fn target(site: &Site, query: &Query, old: &Instance, text: &str) -> Outcome<Option<Version>> {
    let to = upgrade_target(site, old.version, text)?;
    if to.major != old.version.major && !query.boolean("AllowMajorVersionUpgrade")?.unwrap_or(false) {
        return Err(Refusal::combination(
            "The AllowMajorVersionUpgrade flag must be present when upgrading to a new major version.",
        ));
    }
    Ok(Some(to).filter(|to| *to != old.version))
}

/// A version that `DescribeDBEngineVersions` lists as a valid target, or the present one.
pub(super) fn upgrade_target(site: &Site, from: Version, text: &str) -> Outcome<Version> {
    let found = site.catalogue.resolve(text).filter(|to| *to >= from);
    found.ok_or_else(|| {
        Refusal::combination(format!("Cannot find upgrade target from {from} with requested version {text}."))
    })
}

fn not_available(instance: &Instance) -> Refusal {
    Refusal::new("InvalidDBInstanceState", format!("Instance {} is not currently available.", instance.id))
}

pub(super) fn reboot(site: &Arc<Site>, query: &Query) -> Outcome<Option<Element>> {
    let failover = query.boolean("ForceFailover")?.unwrap_or(false);
    begin(site, query, |_, instance| {
        if failover && !instance.multi_az {
            return Err(Refusal::combination(
                "ForceFailover cannot be specified since the instance is not configured for MultiAZ.",
            ));
        }
        // Rebooting is how an instance comes back whose parameters kept it from starting.
        let broken = instance.status == InstanceStatus::IncompatibleParameters && instance.work.is_none();
        if !instance.is_idle() && !broken {
            return Err(not_available(instance));
        }
        Ok((InstanceStatus::Rebooting, Work::Reboot))
    })
}

pub(super) fn start(site: &Arc<Site>, query: &Query) -> Outcome<Option<Element>> {
    begin(site, query, |_, instance| {
        if instance.status != InstanceStatus::Stopped {
            let message = format!("Instance {} is not stopped, it cannot be started.", instance.id);
            return Err(Refusal::new("InvalidDBInstanceState", message));
        }
        Ok((InstanceStatus::Starting, Work::Start))
    })
}

pub(super) fn stop(site: &Arc<Site>, query: &Query) -> Outcome<Option<Element>> {
    let snapshot = id_of_new(query, "DBSnapshotIdentifier")?;
    let shown = begin(site, query, |world, instance| {
        if !instance.is_idle() {
            return Err(not_available(instance));
        }
        last_snapshot(site, world, instance, snapshot.as_deref())?;
        Ok((InstanceStatus::Stopping, Work::Stop { snapshot: snapshot.clone() }))
    })?;
    begin_last(site, snapshot);
    Ok(shown)
}

pub(super) fn delete(site: &Arc<Site>, query: &Query) -> Outcome<Option<Element>> {
    let skip = query.boolean("SkipFinalSnapshot")?.unwrap_or(false);
    let snapshot = id_of_new(query, "FinalDBSnapshotIdentifier")?;
    let shown = begin(site, query, |world, instance| {
        if instance.status == InstanceStatus::Deleting {
            let message = format!("Instance {} is already being deleted.", instance.id);
            return Err(Refusal::new("InvalidDBInstanceState", message));
        }
        if instance.protected {
            return Err(Refusal::combination(
                "Cannot delete protected DB Instance, please disable deletion protection and try again.",
            ));
        }
        match (skip, &snapshot) {
            (false, None) => Err(Refusal::combination(
                "FinalDBSnapshotIdentifier is required unless SkipFinalSnapshot is specified.",
            )),
            (true, Some(_)) => Err(Refusal::combination(
                "FinalDBSnapshotIdentifier can not be specified when deleting a DB instance with SkipFinalSnapshot.",
            )),
            _ if instance.work.is_some() => Err(not_available(instance)),
            (false, Some(_)) if !instance.is_idle() && instance.status != InstanceStatus::Stopped => {
                let message =
                    format!("Instance {} is {}: skip the final snapshot.", instance.id, instance.status.text());
                Err(Refusal::new("InvalidDBInstanceState", message))
            }
            _ => {
                last_snapshot(site, world, instance, snapshot.as_deref())?;
                Ok((InstanceStatus::Deleting, Work::Delete { final_snapshot: snapshot.clone() }))
            }
        }
    })?;
    begin_last(site, snapshot);
    Ok(shown)
}

/// Sets status and work of the named instance, if `decide` agrees, and begins the work.
fn begin(
    site: &Arc<Site>,
    query: &Query,
    decide: impl FnOnce(&mut World, &Instance) -> Outcome<(InstanceStatus, Work)>,
) -> Outcome<Option<Element>> {
    let id = query.required("DBInstanceIdentifier")?;
    let (resource, shown) = site.change(|world| {
        let found = world.instance(id)?.clone();
        let (status, work) = decide(world, &found)?;
        let instance = world.instance_mut(id)?;
        (instance.status, instance.work) = (status, Some(work));
        Ok((found.resource, shapes::instance(site, instance)))
    })?;
    work::begin_instance(site, &resource);
    Ok(Some(Element::new("Result").child(shown)))
}

/// Adds the snapshot that a stop or a deletion asked for; the work waits for it.
fn last_snapshot(site: &Site, world: &mut World, instance: &Instance, id: Option<&str>) -> Outcome<()> {
    let Some(id) = id else { return Ok(()) };
    let mut snapshot = fresh(site, world, id, instance)?;
    snapshot.work = Some(SnapshotWork::Take { resource: instance.resource.clone() });
    world.snapshots.insert(id.to_owned(), snapshot);
    Ok(())
}

fn begin_last(site: &Arc<Site>, snapshot: Option<String>) {
    if let Some(id) = snapshot {
        work::begin_snapshot(site, &id);
    }
}
