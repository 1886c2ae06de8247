//! A lab takes up what an earlier one left: running servers are adopted, others started, work begun anew, folders that
//! belong to nothing removed.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use futures_util::future::join_all;

use super::{
    begin, begin_deployment, begin_proxy, begin_snapshot, changes,
    instances::{note, options_of, put, raise, show},
    rotations,
};
use crate::{
    base::Result,
    lab::{
        deployment::DeploymentStatus,
        disk,
        instance::{Instance, InstanceStatus, Work},
        kind::Kind,
        postgres::{Process, SOCKETS, Scratch, Server},
        site::Site,
        world::World,
    },
};

/// Brings everything into the state that the file describes. Instances that do not come up show it in their status.
pub(in crate::lab) async fn take_up(site: &Arc<Site>) -> Result<()> {
    clean(site)?;
    let (databases, snapshots) = site.look(|world| {
        let snapshots = world.snapshots.values().chain(world.cluster_snapshots.values());
        let under_way = snapshots.filter(|snapshot| snapshot.work.is_some());
        let under_way: Vec<_> = under_way.map(|snapshot| (snapshot.kind, snapshot.id.clone())).collect();
        (world.databases().cloned().collect::<Vec<Instance>>(), under_way)
    });
    for cluster in databases.iter().filter(|database| database.kind == Kind::Cluster) {
        put_in_order(site, cluster);
    }
    let instances = databases.iter().filter(|database| database.kind == Kind::Instance);
    join_all(instances.map(|instance| bring_up(site, instance))).await;
    for database in databases.iter().filter(|database| database.work.is_some()) {
        begin(site, &database.resource);
    }
    for (kind, id) in snapshots {
        begin_snapshot(site, kind, &id);
    }
    for id in site.look(deployments_to_delete) {
        begin_deployment(site, &id);
    }
    rotations::take_up(site);
    site.spawn(rotations::keep(site.clone()));
    for name in site.look(|world| world.proxies.keys().cloned().collect::<Vec<_>>()) {
        begin_proxy(site, &name);
    }
    Ok(())
}

fn deployments_to_delete(world: &World) -> Vec<String> {
    let deleting = world.deployments.values().filter(|known| known.status == DeploymentStatus::Deleting);
    deleting.map(|known| known.id.clone()).collect()
}

/// Removes folders that the state does not know, and ends what runs in them.
fn clean(site: &Site) -> Result<()> {
    let known = site.look(|world| {
        let instances: BTreeSet<String> = world.databases().map(|found| found.folder.clone()).collect();
        let snapshots: BTreeSet<String> =
            world.snapshots.values().chain(world.cluster_snapshots.values()).map(|s| s.folder.clone()).collect();
        [("instances", instances), ("snapshots", snapshots)]
    });
    for (parent, known) in known {
        for folder in disk::entries(&site.options.dir.join(parent)) {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !known.contains(&name) {
                end_servers(&folder);
                disk::remove_folder(&folder)?;
            }
        }
    }
    Ok(())
}

/// Ends every server in a lab's folder, for a lab that does not run. Gives how many there were.
pub(in crate::lab) fn end_everything(dir: &Path) -> usize {
    let parents = ["instances", "snapshots"].map(|parent| dir.join(parent));
    parents.iter().flat_map(|parent| disk::entries(parent)).map(|folder| end_servers(&folder)).sum()
}

/// Ends whatever serves a folder of the lab: the instance itself, or a copy that was being upgraded. Gives how many
/// servers there were.
pub(in crate::lab) fn end_servers(folder: &Path) -> usize {
    let parts = ["data", "data.old", "upgrade/data", "upgrade/data.old"];
    let found: Vec<Process> = parts.iter().filter_map(|part| Process::serving(&folder.join(part))).collect();
    for process in &found {
        process.end();
    }
    // The sockets of an upgrade that was cut off lie elsewhere, because their path has to be short.
    for work in [folder.to_owned(), folder.join("upgrade")] {
        Scratch::sweep(&work.join(SOCKETS));
    }
    found.len()
}

/// The storage of a cluster has no server of its own but while it is made: such a one is ended, and an upgrade that was
/// cut off is put in order. Its instances are brought up by themselves.
fn put_in_order(site: &Arc<Site>, cluster: &Instance) {
    let folder = site.instance_folder(cluster);
    let served = site.look(|world| world.writer(&cluster.resource).is_some());
    if !served || matches!(cluster.work, Some(Work::Create { .. } | Work::Restore { .. } | Work::Clone { .. })) {
        end_servers(&folder);
    }
    if let Err(error) = changes::repair(&folder) {
        tracing::warn!(%error, "an upgrade that was cut off cannot be repaired");
    }
}

async fn bring_up(site: &Arc<Site>, instance: &Instance) {
    let folder = site.instance_folder(instance);
    match &instance.work {
        // These begin from nothing.
        Some(Work::Create { .. } | Work::Restore { .. } | Work::Clone { .. } | Work::Green { .. } | Work::Join) => {
            end_servers(&folder);
            return;
        }
        Some(Work::Modify(_)) => {
            if let Err(error) = changes::repair(&folder) {
                tracing::warn!(%error, "an upgrade that was cut off cannot be repaired");
            }
        }
        _ => {}
    }
    let adopted = adopt(site, instance).await;
    match adopted {
        Ok(Some(server)) => return put(site, &instance.resource, server),
        Ok(None) => {}
        Err(error) => {
            tracing::warn!(instance = instance.id, %error, "a server that was left behind does not answer");
            end_servers(&folder);
        }
    }
    let upgraded = matches!(changes::repair(&folder), Ok(Some(major)) if major != instance.version.major);
    let wanted = instance.status.serves() || matches!(instance.work, Some(Work::Backup));
    if !wanted || upgraded {
        return;
    }
    match raise(site, instance).await {
        Ok(server) => put(site, &instance.resource, server),
        Err(error) => {
            show(site, &instance.resource, InstanceStatus::Failed);
            note(site, &instance.resource, "failure", &error.to_string(), |_| {});
        }
    }
}

async fn adopt(site: &Arc<Site>, instance: &Instance) -> Result<Option<Server>> {
    let installation = site.obtain(instance.version).await?;
    let options = options_of(site, &installation, instance).await;
    Server::adopt(&installation, &site.instance_folder(instance), options).await
}
