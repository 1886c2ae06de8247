//! What changes or ends an instance or a cluster: modify, reboot, stop, start, delete.

use std::sync::Arc;

use super::{
    instances::group_for,
    master_password,
    names::{identifier, verifier_of},
    shapes,
    snapshots::{fresh, id_of_new},
};
use crate::lab::{
    attributes,
    instance::{Changes, Instance, InstanceStatus, Work},
    kind::{Engine, Kind},
    postgres::Version,
    query::Query,
    refusal::{Outcome, Refusal},
    site::Site,
    snapshot::SnapshotWork,
    work,
    world::World,
    xml::Element,
};

/// What is the cluster's own affair: for a member these are refused.
const OF_THE_CLUSTER: [&str; 5] = [
    "MasterUserPassword",
    "EngineVersion",
    "BackupRetentionPeriod",
    "EnableIAMDatabaseAuthentication",
    "AllocatedStorage",
];

pub(super) fn modify(site: &Arc<Site>, query: &Query, kind: Kind) -> Outcome<Option<Element>> {
    let now = query.boolean("ApplyImmediately")?.unwrap_or(false);
    let old = site.look(|world| world.database(kind, query.required(kind.words().id)?).cloned())?;
    if let Some(name) = OF_THE_CLUSTER.iter().find(|name| old.cluster.is_some() && query.text(name).is_some()) {
        return Err(Refusal::combination(format!(
            "The specified DB Instance is a member of a cluster. Modify {name} for the DB Cluster using the \
             ModifyDBCluster API."
        )));
    }
    let version = query.text("EngineVersion").map(|text| target(site, query, &old, text)).transpose()?.flatten();
    let management = master_password::of_change(site, query, &old, now)?;
    let mut changes = asked(site, query, &old, version)?;
    changes.verifier = management.verifier().or(changes.verifier);
    let protect = query.boolean("DeletionProtection")?;
    let (iam, public) = (query.boolean("EnableIAMDatabaseAuthentication")?, query.boolean("PubliclyAccessible")?);
    let (copy_tags, auto_minor) = (query.boolean("CopyTagsToSnapshot")?, query.boolean("AutoMinorVersionUpgrade")?);
    let (tier, security_groups) =
        (query.integer("PromotionTier")?, query.texts("VpcSecurityGroupIds", "VpcSecurityGroupId"));
    let (mut begins, mut rotates, mut resource) = (false, None, String::new());
    let shown = site.change(|world| {
        if let Some(new) = &changes.rename
            && world.all(kind).contains_key(new)
        {
            return Err(Refusal::new(kind.words().exists, format!("{} already exists", kind.words().noun)));
        }
        require_calm(world, &old)?;
        rotates = management.apply(world, &old)?;
        let instance = world.database_mut(kind, &old.id)?;
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
        instance.copy_tags = copy_tags.unwrap_or(instance.copy_tags);
        instance.auto_minor = auto_minor.unwrap_or(instance.auto_minor);
        instance.tier = tier.unwrap_or(instance.tier);
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
        let changed = instance.clone();
        Ok(shapes::database(site, world, &changed))
    })?;
    if iam.is_some() {
        site.settle_access(&resource);
    }
    if begins {
        work::begin(site, &resource);
    }
    if let Some(secret) = rotates {
        work::begin_rotation(site, &secret);
    }
    Ok(Some(Element::new("Result").child(shown)))
}

/// What the request asks to change, checked.
fn asked(site: &Site, query: &Query, old: &Instance, version: Option<Version>) -> Outcome<Changes> {
    let (becomes, words) = (version.unwrap_or(old.version), old.kind.words());
    let which = (old.kind, old.engine);
    let group = query.text(words.group_name).map(|name| group_for(site, which, name, becomes)).transpose()?;
    let major = becomes.major != old.version.major;
    let group = match group {
        None if major && Engine::of_default_group(&old.group).is_none() => {
            return Err(Refusal::combination(format!(
                "The current DB instance parameter group {} is custom. You must explicitly specify a new DB instance \
                 parameter group, either default or custom, for the engine version upgrade.",
                old.group
            )));
        }
        None if major => Some(old.engine.default_group(becomes.major)),
        group => group,
    };
    let members = query.text("DBInstanceParameterGroupName").filter(|_| old.kind == Kind::Cluster && major);
    let member_group = members.map(|name| group_for(site, (Kind::Instance, old.engine), name, becomes)).transpose()?;
    let rename = match query.text(words.new_id) {
        Some(_) => Some(identifier(query, words.new_id, 63)?).filter(|new| *new != old.id),
        None => None,
    };
    Ok(Changes {
        verifier: query.text("MasterUserPassword").map(verifier_of).transpose()?,
        class: query.text("DBInstanceClass").map(str::to_owned),
        storage_gb: query.integer("AllocatedStorage")?,
        multi_az: query.boolean("MultiAZ")?,
        retention_days: query.integer("BackupRetentionPeriod")?,
        group,
        member_group,
        attributes: attributes::read(query, &old.attributes)?,
        version,
        rename,
    })
}

/// Members of a cluster and the cluster itself are not changed at the same time.
fn require_calm(world: &World, database: &Instance) -> Outcome<()> {
    let cluster = database.cluster.as_deref().and_then(|cluster| world.resource(cluster));
    if let Some(cluster) = cluster.filter(|cluster| cluster.work.is_some()) {
        return Err(not_available(cluster));
    }
    let members = if database.kind == Kind::Cluster { world.members(&database.resource) } else { vec![] };
    members.into_iter().find(|member| member.work.is_some()).map_or(Ok(()), |member| Err(not_available(member)))
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
        attributes: changes.attributes.clone().into_iter().filter(|(name, _)| !attributes::waits(name)).collect(),
        ..Changes::default()
    };
    let later = Changes {
        verifier: None,
        retention_days: None,
        group: changes.group.clone().filter(|_| group_waits),
        attributes: attributes::of_storage(&changes.attributes),
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

pub(super) fn not_available(database: &Instance) -> Refusal {
    let words = database.kind.words();
    Refusal::new(words.state, format!("{} {} is not currently available.", words.noun, database.id))
}

pub(super) fn reboot(site: &Arc<Site>, query: &Query) -> Outcome<Option<Element>> {
    let failover = query.boolean("ForceFailover")?.unwrap_or(false);
    begin(site, query, Kind::Instance, |_, instance| {
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

/// A member of a cluster is stopped and started with all of it.
fn require_alone(instance: &Instance) -> Outcome<()> {
    if instance.cluster.is_none() {
        return Ok(());
    }
    let message = format!("The instance {} belongs to a cluster: stop and start the cluster.", instance.id);
    Err(Refusal::new("InvalidDBClusterStateFault", message))
}

pub(super) fn start(site: &Arc<Site>, query: &Query, kind: Kind) -> Outcome<Option<Element>> {
    begin(site, query, kind, |world, database| {
        require_alone(database)?;
        if database.status != InstanceStatus::Stopped {
            let (words, id) = (kind.words(), &database.id);
            return Err(Refusal::new(
                words.state,
                format!("{} {id} is not stopped, it cannot be started.", words.noun),
            ));
        }
        show_members(world, database, InstanceStatus::Starting);
        Ok((InstanceStatus::Starting, Work::Start))
    })
}

pub(super) fn stop(site: &Arc<Site>, query: &Query, kind: Kind) -> Outcome<Option<Element>> {
    let snapshot = id_of_new(query, "DBSnapshotIdentifier")?.filter(|_| kind == Kind::Instance);
    let shown = begin(site, query, kind, |world, database| {
        require_alone(database)?;
        if !database.is_idle() {
            return Err(not_available(database));
        }
        last_snapshot(site, world, database, snapshot.as_deref())?;
        show_members(world, database, InstanceStatus::Stopping);
        Ok((InstanceStatus::Stopping, Work::Stop { snapshot: snapshot.clone() }))
    })?;
    begin_last(site, kind, snapshot);
    Ok(shown)
}

/// The members of a cluster go through its states with it.
fn show_members(world: &mut World, database: &Instance, status: InstanceStatus) {
    let of_it = |member: &&mut Instance| member.cluster.as_ref() == Some(&database.resource);
    world.instances.values_mut().filter(of_it).for_each(|member| member.status = status);
}

pub(super) fn delete(site: &Arc<Site>, query: &Query, kind: Kind) -> Outcome<Option<Element>> {
    let (skip, words) = (query.boolean("SkipFinalSnapshot")?.unwrap_or(false), kind.words());
    let snapshot = id_of_new(query, words.final_snapshot)?;
    let shown = begin(site, query, kind, |world, database| {
        if database.status == InstanceStatus::Deleting {
            return Err(Refusal::new(words.state, format!("{} {} is already being deleted.", words.noun, database.id)));
        }
        if database.protected {
            return Err(Refusal::combination(format!(
                "Cannot delete protected {}, please disable deletion protection and try again.",
                words.noun.replacen("DB", "DB ", 1)
            )));
        }
        let servers = if kind == Kind::Cluster { world.members(&database.resource) } else { vec![] };
        if servers.iter().any(|member| member.status != InstanceStatus::Deleting) {
            return Err(Refusal::new(
                words.state,
                "Cluster cannot be deleted, it still contains DB instances in non-deleting state.",
            ));
        }
        let skip = skip || (database.cluster.is_some() && snapshot.is_none());
        match (skip, &snapshot) {
            (false, None) => Err(Refusal::combination(
                "FinalDBSnapshotIdentifier is required unless SkipFinalSnapshot is specified.",
            )),
            (false, Some(_)) if database.cluster.is_some() => Err(Refusal::combination(
                "FinalDBSnapshotIdentifier can not be specified when deleting a cluster instance.",
            )),
            (true, Some(_)) => Err(Refusal::combination(
                "FinalDBSnapshotIdentifier can not be specified when deleting a DB instance with SkipFinalSnapshot.",
            )),
            _ if database.work.is_some() => Err(not_available(database)),
            (false, Some(_)) if !database.is_idle() && database.status != InstanceStatus::Stopped => {
                let (what, id, status) = (words.noun, &database.id, database.status.text());
                Err(Refusal::new(words.state, format!("{what} {id} is {status}: skip the final snapshot.")))
            }
            _ => {
                last_snapshot(site, world, database, snapshot.as_deref())?;
                Ok((InstanceStatus::Deleting, Work::Delete { final_snapshot: snapshot.clone() }))
            }
        }
    })?;
    begin_last(site, kind, snapshot);
    Ok(shown)
}

/// Sets status and work of the named instance or cluster, if `decide` agrees, and begins the work.
pub(super) fn begin(
    site: &Arc<Site>,
    query: &Query,
    kind: Kind,
    decide: impl FnOnce(&mut World, &Instance) -> Outcome<(InstanceStatus, Work)>,
) -> Outcome<Option<Element>> {
    let id = query.required(kind.words().id)?;
    let (resource, shown) = site.change(|world| {
        let found = world.database(kind, id)?.clone();
        let (status, work) = decide(world, &found)?;
        if !matches!(work, Work::Delete { .. }) || kind == Kind::Instance {
            require_calm(world, &found)?;
        }
        let database = world.database_mut(kind, id)?;
        (database.status, database.work) = (status, Some(work));
        let database = database.clone();
        Ok((found.resource, shapes::database(site, world, &database)))
    })?;
    work::begin(site, &resource);
    Ok(Some(Element::new("Result").child(shown)))
}

/// Adds the snapshot that a stop or a deletion asked for; the work waits for it.
fn last_snapshot(site: &Site, world: &mut World, instance: &Instance, id: Option<&str>) -> Outcome<()> {
    let Some(id) = id else { return Ok(()) };
    let mut snapshot = fresh(site, world, id, instance)?;
    snapshot.work = Some(SnapshotWork::Take { resource: instance.resource.clone() });
    world.snapshots_mut(instance.kind).insert(id.to_owned(), snapshot);
    Ok(())
}

fn begin_last(site: &Arc<Site>, kind: Kind, snapshot: Option<String>) {
    if let Some(id) = snapshot {
        work::begin_snapshot(site, kind, &id);
    }
}
