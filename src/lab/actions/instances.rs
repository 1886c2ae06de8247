//! Instances come into being and are described. What changes or ends one is in `instance_changes`.

use std::sync::Arc;

use rand::Rng as _;

use super::{
    master_password,
    names::{database_name, identifier, master_name, verifier_of},
    page::Page,
    shapes,
    tags::tags_of,
};
use crate::lab::{
    group::{default_group, default_group_major, family_major},
    instance::{ApplyStatus, Changes, Instance, InstanceStatus, Work},
    postgres::Version,
    query::Query,
    refusal::{Outcome, Refusal},
    secret::StoredSecret,
    site::Site,
    snapshot::{SnapshotStatus, SnapshotWork},
    work,
    world::{World, tail},
    xml::Element,
};

pub(super) fn create(site: &Arc<Site>, query: &Query) -> Outcome<Option<Element>> {
    let id = identifier(query, "DBInstanceIdentifier", 63)?;
    let class = query.required("DBInstanceClass")?.to_owned();
    let engine = query.required("Engine")?;
    if engine != "postgres" {
        return Err(Refusal::value(format!("Invalid DB engine: {engine}")));
    }
    let version = match query.text("EngineVersion") {
        Some(text) => site.catalogue.resolve(text).ok_or_else(|| no_version(text))?,
        None => site.catalogue.newest().ok_or_else(|| no_version("default"))?,
    };
    let master = master_name(query.required("MasterUsername")?)?;
    let database = query.text("DBName").map(database_name).transpose()?;
    let mut instance = described(site, query, id, version)?;
    (instance.class, instance.master, instance.database) = (class, master, database.clone());
    let (secret, verifier) = match master_password::of_new(site, query, &instance)? {
        Some((secret, shown, verifier)) => {
            instance.master_secret = Some(shown);
            (Some(secret), verifier)
        }
        None => (None, verifier_of(query.required("MasterUserPassword")?)?),
    };
    instance.work = Some(Work::Create { verifier, database });
    insert(site, instance, secret)
}

fn no_version(text: &str) -> Refusal {
    Refusal::combination(format!("Cannot find version {text} for postgres"))
}

pub(super) fn restore(site: &Arc<Site>, query: &Query) -> Outcome<Option<Element>> {
    master_password::refuse_for_restore(query)?;
    let id = identifier(query, "DBInstanceIdentifier", 63)?;
    let snapshot = site.look(|world| world.snapshot(query.required("DBSnapshotIdentifier")?).cloned())?;
    // Its data is there and whole in these states only; while an upgrade runs it would be the old version.
    if snapshot.status != SnapshotStatus::Available {
        return Err(Refusal::new(
            "InvalidDBSnapshotState",
            format!("The snapshot {} is in the {} state.", snapshot.id, snapshot.status.text()),
        ));
    }
    let mut instance = described(site, query, id, snapshot.version)?;
    query.text("DBInstanceClass").unwrap_or("db.t4g.micro").clone_into(&mut instance.class);
    instance.master.clone_from(&snapshot.master);
    instance.storage_gb = snapshot.storage_gb.max(instance.storage_gb);
    instance.iam = query.boolean("EnableIAMDatabaseAuthentication")?.unwrap_or(snapshot.iam);
    if instance.copy_tags && instance.tags.0.is_empty() {
        instance.tags = snapshot.tags.clone();
    }
    instance.work = Some(Work::Restore { snapshot: snapshot.id });
    insert(site, instance, None)
}

/// What creating and restoring have in common.
fn described(site: &Site, query: &Query, id: String, version: Version) -> Outcome<Instance> {
    let group = match query.text("DBParameterGroupName") {
        Some(name) => group_for(site, name, version)?,
        None => default_group(version.major),
    };
    let port = query.integer("Port")?.map(|port| {
        u16::try_from(port).ok().filter(|port| *port >= 1150).ok_or_else(|| Refusal::value("Invalid port."))
    });
    Ok(Instance {
        resource: resource_id(),
        folder: id.clone(),
        id,
        status: InstanceStatus::Creating,
        version,
        class: String::new(),
        master: String::new(),
        database: None,
        port: None,
        wanted_port: port.transpose()?,
        created_ms: site.clock.now_ms(),
        storage_gb: query.integer("AllocatedStorage")?.unwrap_or(20),
        retention_days: query.integer("BackupRetentionPeriod")?.unwrap_or(1),
        multi_az: query.boolean("MultiAZ")?.unwrap_or(false),
        iam: query.boolean("EnableIAMDatabaseAuthentication")?.unwrap_or(false),
        public: query.boolean("PubliclyAccessible")?.unwrap_or(false),
        protected: query.boolean("DeletionProtection")?.unwrap_or(false),
        copy_tags: query.boolean("CopyTagsToSnapshot")?.unwrap_or(false),
        auto_minor: query.boolean("AutoMinorVersionUpgrade")?.unwrap_or(true),
        group,
        group_status: ApplyStatus::InSync,
        subnet_group: query.text("DBSubnetGroupName").map(str::to_ascii_lowercase),
        security_groups: query.texts("VpcSecurityGroupIds", "VpcSecurityGroupId"),
        tags: tags_of(query)?,
        master_secret: None,
        pending: Changes::default(),
        work: None,
    })
}

/// `DbiResourceId`: `db-` and 26 capitals and digits.
fn resource_id() -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut random = rand::rng();
    let letters: String = (0..26).map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())])).collect();
    format!("db-{letters}")
}

/// The name of a parameter group that exists and is for this version.
pub(super) fn group_for(site: &Site, name: &str, version: Version) -> Outcome<String> {
    let name = tail(name);
    let major = match default_group_major(&name) {
        Some(major) => Some(major),
        None => site.look(|world| world.group(&name).map(|group| family_major(&group.family)))?,
    };
    if major == Some(version.major) {
        return Ok(name);
    }
    Err(Refusal::combination(format!(
        "The parameter group {name} with DBParameterGroupFamily {} cannot be used for this instance. Please use a \
         parameter group with DBParameterGroupFamily postgres{}",
        major.map_or_else(|| "unknown".to_owned(), |major| format!("postgres{major}")),
        version.major
    )))
}

fn insert(site: &Arc<Site>, instance: Instance, secret: Option<StoredSecret>) -> Outcome<Option<Element>> {
    let (resource, shown) = (instance.resource.clone(), shapes::instance(site, &instance));
    site.change(|world: &mut World| {
        // A folder of that name may still belong to an instance that was renamed.
        let used = world.instances.values().any(|known| known.folder == instance.folder);
        if world.instances.contains_key(&instance.id) {
            return Err(Refusal::new("DBInstanceAlreadyExists", "DB instance already exists"));
        }
        let folder = if used { format!("{}-{}", instance.id, &instance.resource[3..11]) } else { instance.id.clone() };
        world.instances.insert(instance.id.clone(), Instance { folder, ..instance });
        world.secrets.extend(secret.map(|secret| (secret.name.clone(), secret)));
        Ok(())
    })?;
    work::begin_instance(site, &resource);
    Ok(Some(Element::new("Result").child(shown)))
}

pub(super) fn describe(site: &Arc<Site>, query: &Query) -> Outcome<Option<Element>> {
    let page = Page::read(query)?;
    let filters = filters(query, &["db-instance-id", "dbi-resource-id", "engine", "db-cluster-id", "domain"])?;
    let fits = |instance: &Instance| {
        filters.iter().all(|(name, values)| match name.as_str() {
            "db-instance-id" => values.iter().any(|value| tail(value) == instance.id),
            "dbi-resource-id" => values.contains(&instance.resource),
            "engine" => values.iter().any(|value| value == "postgres"),
            _ => false,
        })
    };
    let found: Vec<Instance> = site.look(|world| match query.text("DBInstanceIdentifier") {
        Some(id) => Ok(vec![world.instance(id)?.clone()]),
        None => Ok(world.instances.values().cloned().collect()),
    })?;
    let items =
        found.iter().filter(|instance| fits(instance)).map(|found| (found.id.clone(), shapes::instance(site, found)));
    Ok(Some(page.result("DBInstances", items.collect())))
}

/// The filters of a request, refused when one is none of these.
pub(super) fn filters(query: &Query, known: &[&str]) -> Outcome<Vec<(String, Vec<String>)>> {
    let read = query.items("Filters", "Filter").into_iter().map(|filter| {
        let name = filter.required("Name")?.to_owned();
        if known.contains(&name.as_str()) {
            return Ok((name, filter.texts("Values", "Value")));
        }
        Err(Refusal::value(format!("Unrecognized filter name: {name}")))
    });
    read.collect()
}

/// True while something is made from this snapshot.
pub(super) fn is_in_use(world: &World, snapshot: &str) -> bool {
    let restored = world
        .instances
        .values()
        .any(|known| matches!(&known.work, Some(Work::Restore { snapshot: source }) if source == snapshot));
    let copied = world
        .snapshots
        .values()
        .any(|known| matches!(&known.work, Some(SnapshotWork::Copy { source }) if source == snapshot));
    restored || copied
}
