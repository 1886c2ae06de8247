//! Instances come into being, and are described, as clusters are; clusters come into being in `clusters`. What changes
//! or ends one is in `instance_changes`.

use std::{collections::BTreeMap, sync::Arc};

use rand::Rng as _;

use super::{
    instance_changes::not_available,
    master_password,
    names::{database_name, identifier, master_name, verifier_of},
    page::Page,
    shapes,
    snapshots::require_available,
    tags::tags_of,
};
use crate::lab::{
    attributes::{self, of_storage},
    instance::{ApplyStatus, Changes, Instance, InstanceStatus, Tags, Work},
    kind::{Engine, Kind},
    postgres::Version,
    query::Query,
    refusal::{Outcome, Refusal},
    secret::StoredSecret,
    site::Site,
    snapshot::{Snapshot, SnapshotWork},
    work,
    world::{World, tail},
    xml::Element,
};

pub(super) fn create(site: &Arc<Site>, query: &Query) -> Outcome<Option<Element>> {
    let id = identifier(query, "DBInstanceIdentifier", 63)?;
    let class = query.required("DBInstanceClass")?.to_owned();
    let engine = engine_of(query)?;
    if query.text("DBClusterIdentifier").is_some() {
        return super::clusters::join(site, query, id, class, engine);
    }
    if engine == Engine::Aurora {
        return Err(Refusal::combination("An instance of aurora-postgresql needs a DBClusterIdentifier."));
    }
    let version = version_of(site, query, engine)?;
    let master = master_name(query.required("MasterUsername")?)?;
    let database = query.text("DBName").map(database_name).transpose()?;
    let mut instance = described(site, query, (Kind::Instance, engine), id, version)?;
    (instance.class, instance.master, instance.database) = (class, master, database.clone());
    let (secret, verifier) = match master_password::of_new(site, query, &instance)? {
        Some((secret, shown, verifier)) => {
            instance.master_secret = Some(shown);
            (Some(secret), verifier)
        }
        None => (None, verifier_of(query.required("MasterUserPassword")?)?),
    };
    instance.work = Some(Work::Create { verifier, database });
    insert_with(site, instance, secret)
}

/// The engine that a request names.
pub(super) fn engine_of(query: &Query) -> Outcome<Engine> {
    let text = query.required("Engine")?;
    let found = Engine::ALL.into_iter().find(|engine| engine.text() == text);
    found.ok_or_else(|| Refusal::value(format!("Invalid DB engine: {text}")))
}

/// The version that a request names, or the newest.
pub(super) fn version_of(site: &Site, query: &Query, engine: Engine) -> Outcome<Version> {
    let no_version = |text: &str| Refusal::combination(format!("Cannot find version {text} for {}", engine.text()));
    match query.text("EngineVersion") {
        Some(text) => site.catalogue.resolve(text).ok_or_else(|| no_version(text)),
        None => site.catalogue.newest().ok_or_else(|| no_version("default")),
    }
}

/// What a copy has from its original.
pub(super) struct Origin {
    pub(super) engine: Engine,
    pub(super) version: Version,
    master: String,
    database: Option<String>,
    class: Option<String>,
    storage_gb: i64,
    iam: bool,
    attributes: BTreeMap<String, String>,
    tags: Tags,
}

impl From<&Snapshot> for Origin {
    fn from(snapshot: &Snapshot) -> Self {
        Self {
            engine: snapshot.engine,
            version: snapshot.version,
            master: snapshot.master.clone(),
            database: None,
            class: None,
            storage_gb: snapshot.storage_gb,
            iam: snapshot.iam,
            attributes: snapshot.attributes.clone(),
            tags: snapshot.tags.clone(),
        }
    }
}

impl From<&Instance> for Origin {
    fn from(source: &Instance) -> Self {
        Self {
            engine: source.engine,
            version: source.version,
            master: source.master.clone(),
            database: source.database.clone(),
            class: Some(source.class.clone()),
            storage_gb: source.storage_gb,
            iam: source.iam,
            attributes: of_storage(&source.attributes),
            tags: source.tags.clone(),
        }
    }
}

pub(super) fn restore(site: &Arc<Site>, query: &Query) -> Outcome<Option<Element>> {
    master_password::refuse_for_restore(query)?;
    let id = identifier(query, "DBInstanceIdentifier", 63)?;
    let snapshot =
        site.look(|world| world.snapshot(Kind::Instance, query.required("DBSnapshotIdentifier")?).cloned())?;
    // Its data is there and whole in these states only; while an upgrade runs it would be the old version.
    require_available(&snapshot)?;
    let work = Work::Restore { snapshot: snapshot.id.clone() };
    insert(site, copied(site, query, Kind::Instance, id, Origin::from(&snapshot), work)?)
}

/// The lab keeps no log of the past: what it can give is the moment at which it is asked.
pub(super) fn restore_to_time(site: &Arc<Site>, query: &Query) -> Outcome<Option<Element>> {
    let id = identifier(query, "TargetDBInstanceIdentifier", 63)?;
    let source = source_of(site, query, Kind::Instance, "SourceDBInstanceIdentifier", "SourceDbiResourceId")?;
    if source.cluster.is_some() {
        return Err(Refusal::combination("The source is a member of a cluster: use RestoreDBClusterToPointInTime."));
    }
    if source.retention_days == 0 {
        let message = format!("Automated backups are not enabled for the source DB instance {}.", source.id);
        return Err(Refusal::new("PointInTimeRestoreNotEnabled", message));
    }
    require_now(site, query, "RestoreTime")?;
    let work = Work::Clone { source: source.resource.clone() };
    insert(site, copied(site, query, Kind::Instance, id, Origin::from(&source), work)?)
}

/// The source of a restore to a time, by one of two parameters. It must have its data, and keep it for a while.
pub(super) fn source_of(site: &Site, query: &Query, kind: Kind, id: &str, resource: &str) -> Outcome<Instance> {
    let found = site.look(|world| match query.text(resource) {
        Some(resource) => {
            let found = world.resource(resource).filter(|found| found.kind == kind);
            found.cloned().ok_or_else(|| Refusal::no_database(kind, resource))
        }
        None => world.database(kind, query.required(id)?).cloned(),
    })?;
    if matches!(found.status, InstanceStatus::Available | InstanceStatus::BackingUp | InstanceStatus::Stopped)
        && found.work.is_none()
    {
        return Ok(found);
    }
    Err(not_available(&found))
}

/// How far behind now a time may lie and be taken for now: as long as a script needs to pass on the latest time shown.
const NOW_MS: u64 = 10_000;

/// Refuses a restore to any time but now.
pub(super) fn require_now(site: &Site, query: &Query, parameter: &str) -> Outcome<()> {
    let latest = query.boolean("UseLatestRestorableTime")?.unwrap_or(false);
    match (latest, query.time_ms(parameter)?) {
        (true, None) => Ok(()),
        (true, Some(_)) => {
            Err(Refusal::combination(format!("{parameter} cannot be specified when UseLatestRestorableTime is true.")))
        }
        (false, None) => {
            Err(Refusal::combination(format!("Either {parameter} or UseLatestRestorableTime must be specified.")))
        }
        (false, Some(at)) if (at..=at + NOW_MS).contains(&site.clock.now_ms()) => Ok(()),
        (false, Some(_)) => Err(Refusal::value(format!(
            "{parameter} lies outside of what the lab can restore: it keeps no log of the past, and clones the \
             present. Use UseLatestRestorableTime."
        ))),
    }
}

/// A copy of what there is, as the request changes it.
pub(super) fn copied(
    site: &Site,
    query: &Query,
    kind: Kind,
    id: String,
    origin: Origin,
    work: Work,
) -> Outcome<Instance> {
    let mut copy = described(site, query, (kind, origin.engine), id, origin.version)?;
    let class = query.text("DBInstanceClass").or(origin.class.as_deref()).unwrap_or("db.t4g.micro");
    class.clone_into(&mut copy.class);
    (copy.master, copy.database) = (origin.master, origin.database);
    copy.storage_gb = origin.storage_gb.max(copy.storage_gb);
    copy.iam = query.boolean("EnableIAMDatabaseAuthentication")?.unwrap_or(origin.iam);
    let asked = std::mem::replace(&mut copy.attributes, origin.attributes);
    copy.attributes.extend(asked);
    attributes::complete(&mut copy.attributes, site.region());
    if copy.copy_tags && copy.tags.0.is_empty() {
        copy.tags = origin.tags;
    }
    copy.work = Some(work);
    Ok(copy)
}

/// What creating and restoring have in common.
pub(super) fn described(
    site: &Site,
    query: &Query,
    (kind, engine): (Kind, Engine),
    id: String,
    version: Version,
) -> Outcome<Instance> {
    let group = match query.text(kind.words().group_name) {
        Some(name) => group_for(site, (kind, engine), name, version)?,
        None => engine.default_group(version.major),
    };
    let port = query.integer("Port")?.map(|port| {
        u16::try_from(port).ok().filter(|port| *port >= 1150).ok_or_else(|| Refusal::value("Invalid port."))
    });
    let mut attributes = attributes::read(query, &BTreeMap::new())?;
    attributes::complete(&mut attributes, site.region());
    Ok(Instance {
        kind,
        engine,
        resource: resource_id(kind),
        // No identifier has a dot: an instance may be called as its cluster is.
        folder: if kind == Kind::Cluster { format!("{id}.cluster") } else { id.clone() },
        id,
        cluster: None,
        tier: query.integer("PromotionTier")?.unwrap_or(1),
        start_lsn: None,
        attributes,
        status: InstanceStatus::Creating,
        version,
        class: String::new(),
        master: String::new(),
        superuser_master: true,
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
        read_only: false,
        pending: Changes::default(),
        work: None,
    })
}

/// `DbiResourceId`: `db-` and 26 capitals and digits; of a cluster: `cluster-` and as many.
pub(super) fn resource_id(kind: Kind) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut random = rand::rng();
    let letters: String = (0..26).map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())])).collect();
    format!("{}{letters}", kind.words().resource)
}

/// The name of a parameter group that exists and is for this engine and version.
pub(super) fn group_for(site: &Site, (kind, engine): (Kind, Engine), name: &str, version: Version) -> Outcome<String> {
    let name = tail(name);
    let family = match Engine::of_default_group(&name) {
        Some((engine, major)) => engine.family(major),
        None => site
            .look(|world| world.group(kind, &name).map(|group| group.family.clone()))
            .map_err(|refusal| Refusal { code: kind.words().group_absent, ..refusal })?,
    };
    let wanted = engine.family(version.major);
    if family == wanted {
        return Ok(name);
    }
    Err(Refusal::combination(format!(
        "The parameter group {name} with DBParameterGroupFamily {family} cannot be used for this instance. Please use a \
         parameter group with DBParameterGroupFamily {wanted}"
    )))
}

/// Takes it into the state and begins its work.
pub(super) fn insert(site: &Arc<Site>, new: Instance) -> Outcome<Option<Element>> {
    insert_with(site, new, None)
}

/// As [`insert`], together with the secret of its master's password.
fn insert_with(site: &Arc<Site>, new: Instance, secret: Option<StoredSecret>) -> Outcome<Option<Element>> {
    let (resource, words) = (new.resource.clone(), new.kind.words());
    let shown = site.change(|world: &mut World| {
        if world.all(new.kind).contains_key(&new.id) {
            return Err(Refusal::new(words.exists, format!("{} already exists", words.noun)));
        }
        let mut new = new;
        let storage = new.cluster.as_deref().filter(|cluster| world.writer(cluster).is_none());
        if let Some(cluster) = storage.and_then(|cluster| world.resource(cluster)) {
            new.folder.clone_from(&cluster.folder);
        } else if world.databases().any(|known| known.folder == new.folder) {
            // It may still belong to one that was renamed.
            new.folder = format!("{}-{}", new.folder, &new.resource[words.resource.len()..][..8]);
        }
        world.all_mut(new.kind).insert(new.id.clone(), new.clone());
        world.secrets.extend(secret.map(|secret| (secret.name.clone(), secret)));
        Ok(shapes::database(site, world, &new))
    })?;
    work::begin(site, &resource);
    Ok(Some(Element::new("Result").child(shown)))
}

pub(super) fn describe(site: &Arc<Site>, query: &Query, kind: Kind) -> Outcome<Option<Element>> {
    let page = Page::read(query)?;
    let known: &[&str] = match kind {
        Kind::Instance => &["db-instance-id", "dbi-resource-id", "engine", "db-cluster-id", "domain"],
        Kind::Cluster => &["db-cluster-id", "db-cluster-resource-id", "engine", "clone-group-id", "domain"],
    };
    let filters = filters(query, known)?;
    let fits = |world: &World, found: &Instance| {
        let cluster = found.cluster.as_deref().and_then(|cluster| world.resource(cluster)).unwrap_or(found);
        filters.iter().all(|(name, values)| match name.as_str() {
            "db-instance-id" => values.iter().any(|value| tail(value) == found.id),
            "db-cluster-id" => cluster.kind == Kind::Cluster && values.iter().any(|value| tail(value) == cluster.id),
            "dbi-resource-id" | "db-cluster-resource-id" => values.contains(&found.resource),
            "engine" => values.iter().any(|value| value == found.engine.text()),
            _ => false,
        })
    };
    let items = site.look(|world| {
        let found = match query.text(kind.words().id) {
            Some(id) => vec![world.database(kind, id)?],
            None => world.all(kind).values().collect(),
        };
        let shown = found.into_iter().filter(|found| fits(world, found));
        Ok(shown.map(|found| (found.id.clone(), shapes::database(site, world, found))).collect())
    })?;
    Ok(Some(page.result(&format!("{}s", kind.words().noun), items)))
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
pub(super) fn is_in_use(world: &World, kind: Kind, snapshot: &str) -> bool {
    let mut restored = world
        .all(kind)
        .values()
        .map(|known| matches!(&known.work, Some(Work::Restore { snapshot: source }) if source == snapshot));
    let mut copied = world
        .snapshots_of(kind)
        .values()
        .map(|known| matches!(&known.work, Some(SnapshotWork::Copy { source }) if source == snapshot));
    restored.any(|is| is) || copied.any(|is| is)
}
