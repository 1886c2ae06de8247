//! Clusters come into being, get instances, and change their writer. What else changes or ends one is common with
//! instances.

use std::sync::Arc;

use super::{
    instance_changes::{begin, not_available, upgrade_target},
    instances::{Origin, copied, described, engine_of, insert, require_now, source_of, version_of},
    names::{database_name, identifier, master_name, verifier_of},
    snapshots::require_available,
};
use crate::lab::{
    instance::{Instance, InstanceStatus, Work},
    kind::{Engine, Kind},
    query::Query,
    refusal::{Outcome, Refusal},
    site::Site,
    world::tail,
    xml::Element,
};

/// Aurora alone has clusters here: Multi-AZ DB clusters of `postgres` are another thing.
fn require_aurora(engine: Engine) -> Outcome<()> {
    if engine == Engine::Aurora {
        return Ok(());
    }
    Err(Refusal::value("The lab has clusters of aurora-postgresql only."))
}

pub(super) fn create(site: &Arc<Site>, query: &Query) -> Outcome<Option<Element>> {
    let id = identifier(query, "DBClusterIdentifier", 63)?;
    let engine = engine_of(query)?;
    require_aurora(engine)?;
    let version = version_of(site, query, engine)?;
    let master = master_name(query.required("MasterUsername")?)?;
    let verifier = verifier_of(query.required("MasterUserPassword")?)?;
    let database = query.text("DatabaseName").map(database_name).transpose()?;
    let mut cluster = described(site, query, (Kind::Cluster, engine), id, version)?;
    (cluster.master, cluster.database) = (master, database.clone());
    cluster.work = Some(Work::Create { verifier, database });
    insert(site, cluster)
}

/// May name another version: then the copy is upgraded. It makes no instance.
pub(super) fn restore(site: &Arc<Site>, query: &Query) -> Outcome<Option<Element>> {
    let id = identifier(query, "DBClusterIdentifier", 63)?;
    require_aurora(engine_of(query)?)?;
    let name = query.required("SnapshotIdentifier")?;
    let snapshot = site.look(|world| world.snapshot(Kind::Cluster, name).cloned())?;
    require_available(&snapshot)?;
    let mut origin = Origin::from(&snapshot);
    if let Some(text) = query.text("EngineVersion") {
        origin.version = upgrade_target(site, snapshot.version, text)?;
    }
    let work = Work::Restore { snapshot: snapshot.id.clone() };
    insert(site, copied(site, query, Kind::Cluster, id, origin, work)?)
}

/// A clone (`copy-on-write`) and a full copy are the same thing here: a copy of the moment.
pub(super) fn restore_to_time(site: &Arc<Site>, query: &Query) -> Outcome<Option<Element>> {
    let id = identifier(query, "DBClusterIdentifier", 63)?;
    let how = query.text("RestoreType").unwrap_or("full-copy");
    if !["full-copy", "copy-on-write"].contains(&how) {
        return Err(Refusal::value(format!("Invalid RestoreType {how}: wanted full-copy or copy-on-write.")));
    }
    let source = source_of(site, query, Kind::Cluster, "SourceDBClusterIdentifier", "SourceDbClusterResourceId")?;
    require_now(site, query, "RestoreToTime")?;
    let work = Work::Clone { source: source.resource.clone() };
    insert(site, copied(site, query, Kind::Cluster, id, Origin::from(&source), work)?)
}

/// What an instance in a cluster takes from it, with the words of RDS when a request names it all the same.
const OF_THE_CLUSTER: [(&str, &str); 3] = [
    ("MasterUsername", "master user name"),
    ("MasterUserPassword", "master user password"),
    ("DBName", "database name"),
];

/// An instance in a cluster: the first one is the writer, further ones are readers.
pub(super) fn join(
    site: &Arc<Site>,
    query: &Query,
    id: String,
    class: String,
    engine: Engine,
) -> Outcome<Option<Element>> {
    let cluster = site.look(|world| world.database(Kind::Cluster, query.required("DBClusterIdentifier")?).cloned())?;
    if engine != cluster.engine {
        return Err(Refusal::combination(format!(
            "The engine name requested for your DB instance ({}) doesn't match the engine name of your DB cluster ({}).",
            engine.text(),
            cluster.engine.text()
        )));
    }
    if let Some((_, what)) = OF_THE_CLUSTER.iter().find(|(name, _)| query.text(name).is_some()) {
        return Err(Refusal::combination(format!(
            "The requested DB Instance will be a member of a DB Cluster. Set {what} for the DB Cluster."
        )));
    }
    if let Some(text) = query.text("EngineVersion")
        && site.catalogue.resolve(text) != Some(cluster.version)
    {
        return Err(Refusal::combination(format!(
            "The engine version that you requested for your DB instance ({text}) does not match the engine version of \
             your DB cluster ({}).",
            cluster.version
        )));
    }
    // While a cluster is being made its instance may be asked for already, as scripts do.
    let usable = [InstanceStatus::Available, InstanceStatus::BackingUp, InstanceStatus::Creating];
    if !usable.contains(&cluster.status) {
        return Err(not_available(&cluster));
    }
    let mut member = described(site, query, (Kind::Instance, engine), id, cluster.version)?;
    (member.class, member.cluster, member.master) = (class, Some(cluster.resource), cluster.master);
    member.storage_gb = 1;
    member.work = Some(Work::Join);
    insert(site, member)
}

pub(super) fn failover(site: &Arc<Site>, query: &Query) -> Outcome<Option<Element>> {
    let target = query.text("TargetDBInstanceIdentifier").map(tail);
    begin(site, query, Kind::Cluster, |world, cluster| {
        if !cluster.is_idle() {
            return Err(not_available(cluster));
        }
        let readers: Vec<&Instance> =
            world.members(&cluster.resource).into_iter().filter(|member| !world.is_writer(member)).collect();
        let to = match &target {
            Some(id) => readers.into_iter().find(|reader| reader.id == *id).ok_or_else(|| {
                Refusal::new("InvalidDBInstanceState", format!("{id} is no reader of the cluster {}.", cluster.id))
            })?,
            None => readers.into_iter().next().ok_or_else(|| {
                let message = format!("The cluster {} has no instance to fail over to.", cluster.id);
                Refusal::new("InvalidDBClusterStateFault", message)
            })?,
        };
        Ok((InstanceStatus::FailingOver, Work::Failover { to: to.resource.clone() }))
    })
}
