//! Clusters of Aurora: one storage, a writer over it, readers beside it.
//!
//! The storage is the cluster's folder. The writer's server works in it; each reader is a real hot standby on a frozen
//! copy of it, in a folder of its own. Who becomes the writer moves into the storage as it is, and nothing is promoted:
//! as on Aurora, where all instances have one volume, a failover loses nothing that was committed. It takes the
//! writer's port along, so that the cluster's endpoint stays.

use std::{fs, sync::Arc};

use super::{
    changes, copies,
    instances::{is_master, last_snapshot, note, put, raise, show, take},
};
use crate::{
    base::{Code, Result, poll},
    fail,
    lab::{
        aurora, disk,
        instance::{ApplyStatus, Instance, InstanceStatus, Work},
        kind::Kind,
        master,
        options::SlotsInSnapshot,
        postgres::{Server, ServerOptions, Shutdown, Version},
        site::{SUPERUSER, Site},
        world::World,
    },
};

/// A reader that was away for a while finds what it missed; there is no slot for it, because users would see it.
const KEPT_FOR_READERS: &str = "512MB";

/// A writer may have to recover, and a cluster to be copied, before an instance can join.
const JOIN: poll::Patience =
    poll::Patience { every: std::time::Duration::from_millis(50), deadline: std::time::Duration::from_secs(3600) };

/// Does the work that the state holds for a cluster. What goes wrong becomes its status.
pub(super) async fn run(site: &Arc<Site>, cluster: &Instance, work: Work) -> (Result<()>, InstanceStatus) {
    match work {
        Work::Create { verifier, database } => {
            (create(site, cluster, &verifier, database.as_deref()).await, InstanceStatus::Failed)
        }
        Work::Restore { snapshot } => (restore(site, cluster, &snapshot).await, InstanceStatus::IncompatibleRestore),
        Work::Clone { source } => (clone(site, cluster, &source).await, InstanceStatus::IncompatibleRestore),
        Work::Delete { final_snapshot } => {
            (delete(site, cluster, final_snapshot.as_deref()).await, InstanceStatus::Available)
        }
        Work::Modify(_) => (changes::modify(site, &cluster.resource).await, InstanceStatus::Available),
        Work::Stop { .. } => (stop(site, cluster).await, InstanceStatus::Available),
        Work::Start => (start(site, cluster).await, InstanceStatus::Failed),
        Work::Failover { to } => (failover(site, cluster, &to).await, InstanceStatus::Available),
        // Of instances only.
        Work::Join | Work::Backup | Work::Reboot | Work::Green { .. } | Work::Switch { .. } => {
            (Ok(()), InstanceStatus::Available)
        }
    }
}

fn look(site: &Site, resource: &str) -> Result<Instance> {
    let found = site.look(|world| world.resource(resource).cloned());
    found.ok_or_else(|| fail!(Code::LabFailed, "the cluster went away"))
}

async fn create(site: &Site, cluster: &Instance, verifier: &str, database: Option<&str>) -> Result<()> {
    let folder = site.instance_folder(cluster);
    disk::remove_folder(&folder)?;
    let installation = site.obtain(cluster.version).await?;
    let options = site.server_options(&installation, cluster).await;
    let server = Server::create(&installation, &folder, options).await?;
    master::prepare(&server, &cluster.master, verifier, database).await?;
    site.dwell(&cluster.id).await;
    is_new(site, cluster, server, "DB cluster created").await
}

/// The storage is there; nobody serves it before there is an instance.
async fn is_new(site: &Site, cluster: &Instance, server: Server, message: &str) -> Result<()> {
    let lsn = aurora::start_lsn(&server).await?;
    server.stop(Shutdown::Fast).await?;
    let port = server.port();
    note(site, &cluster.resource, "creation", message, |cluster| {
        (cluster.start_lsn, cluster.port) = (Some(lsn), Some(port));
        settled(cluster);
    });
    Ok(())
}

fn settled(cluster: &mut Instance) {
    (cluster.status, cluster.work) = (InstanceStatus::Available, None);
}

async fn restore(site: &Site, cluster: &Instance, snapshot: &str) -> Result<()> {
    let found = site.look(|world| world.snapshot(Kind::Cluster, snapshot).cloned());
    let snapshot = found.map_err(|refusal| fail!(Code::LabFailed, "the snapshot went away: {}", refusal.message))?;
    copies::of_snapshot(site, &snapshot, site.instance_folder(cluster)).await?;
    recover(site, cluster, snapshot.version, &format!("Restored from snapshot {}", snapshot.id)).await
}

async fn clone(site: &Site, cluster: &Instance, source: &str) -> Result<()> {
    let from = look(site, source)?;
    copies::of_database(site, source, site.instance_folder(cluster)).await?;
    recover(site, cluster, from.version, &format!("Cloned from {}", from.id)).await
}

/// The copy recovers with its own version: where that ends the log of the new storage begins, also when it is upgraded
/// afterwards.
async fn recover(site: &Site, cluster: &Instance, from: Version, message: &str) -> Result<()> {
    site.dwell(&cluster.id).await;
    let old = Instance { version: from, group: cluster.engine.default_group(from.major), ..cluster.clone() };
    let installation = site.obtain(from).await?;
    let mut options = site.server_options(&installation, &old).await;
    // With the slots of its original it would not start otherwise.
    options.settings.insert("wal_level".into(), "logical".into());
    let server = Server::open(&installation, &site.instance_folder(cluster), options).await?;
    if from.major == cluster.version.major {
        return is_new(site, cluster, server, message).await;
    }
    let lsn = aurora::start_lsn(&server).await?;
    server.stop(Shutdown::Fast).await?;
    let port = server.port();
    drop(server);
    let refuse_slots = site.options.slots_in_snapshot == SlotsInSnapshot::Refuse;
    let folder = site.instance_folder(cluster);
    changes::major_upgrade(site, &old, &folder, cluster.version, refuse_slots).await?;
    disk::remove_folder(&folder.join("data.old"))?;
    note(site, &cluster.resource, "creation", message, |cluster| {
        (cluster.start_lsn, cluster.port) = (Some(lsn), Some(port));
        settled(cluster);
    });
    Ok(())
}

async fn delete(site: &Arc<Site>, cluster: &Instance, final_snapshot: Option<&str>) -> Result<()> {
    last_snapshot(site, Kind::Cluster, final_snapshot).await?;
    let (here, resource) = (site.clone(), cluster.resource.clone());
    poll::until("the instances of the cluster to be gone", JOIN, async move || {
        let left = here.look(|world| world.members(&resource).len());
        Ok(if left == 0 { poll::Seen::Ready(()) } else { poll::Seen::NotYet(left.to_string()) })
    })
    .await?;
    site.dwell(&cluster.id).await;
    disk::remove_folder(&site.instance_folder(cluster))?;
    site.record(|world: &mut World| {
        world.clusters.retain(|_, known| known.resource != cluster.resource);
        world.event(cluster.kind.words().source, &cluster.id, "deletion", "DB cluster deleted");
    });
    Ok(())
}

fn members(site: &Site, cluster: &str) -> Vec<Instance> {
    site.look(|world| world.members(cluster).into_iter().cloned().collect())
}

/// Stops every server of a cluster, the writer last: it would wait for readers that are still there.
pub(super) async fn down(site: &Site, cluster: &str) -> Result<()> {
    for member in members(site, cluster).iter().rev() {
        if let Some(server) = take(site, &member.resource).await {
            server.stop(Shutdown::Fast).await?;
        }
    }
    Ok(())
}

/// Brings up every server of a cluster that does not run: the writer over the storage, readers over fresh copies.
pub(super) async fn up(site: &Site, cluster: &str) -> Result<()> {
    for member in members(site, cluster) {
        if site.fleet.view(&member.resource).is_none() && member.work.is_none() {
            serve(site, &member).await?;
            note(site, &member.resource, "availability", "DB instance restarted", |member| {
                (member.status, member.group_status) = (InstanceStatus::Available, ApplyStatus::InSync);
            });
        }
    }
    Ok(())
}

/// Starts the server of a member: of the writer over the storage, of a reader over a fresh copy of it.
async fn serve(site: &Site, member: &Instance) -> Result<()> {
    let cluster = member.cluster.as_deref().unwrap_or_default();
    let writes = site.look(|world| world.is_writer(member));
    if !writes {
        let folder = site.instance_folder(member);
        copies::of_database(site, cluster, folder.clone()).await?;
        // A standby on another's slots would hold the log back for nobody; `pg_basebackup` leaves them out too.
        for slot in disk::entries(&folder.join("data/pg_replslot")) {
            disk::remove_folder(&slot)?;
        }
        disk::write_file(&folder.join("data/standby.signal"), b"", 0o600, site.user.as_ref())?;
    }
    let server = raise(site, member).await?;
    // The storage may have been upgraded since, or be a clone.
    if writes {
        let superuser = master::renew(&server, &member.master).await?;
        is_master(site, &member.resource, superuser);
        is_master(site, cluster, superuser);
    }
    put(site, &member.resource, server);
    in_effect(site, member);
    Ok(())
}

/// The parameters of a cluster are in effect when its writer has started with them.
pub(super) fn in_effect(site: &Site, member: &Instance) {
    site.record(|world| {
        let cluster = member.cluster.as_deref().filter(|_| world.is_writer(member));
        if let Some(cluster) = cluster.and_then(|cluster| world.resource_mut(cluster)) {
            cluster.group_status = ApplyStatus::InSync;
        }
    });
}

/// An instance joins: as soon as its cluster, and for a reader the writer, is there.
pub(super) async fn join(site: &Arc<Site>, resource: &str) -> Result<()> {
    let (here, own) = (site.clone(), resource.to_owned());
    let member = poll::until("the cluster", JOIN, async move || {
        let member = look(&here, &own)?;
        let cluster = look(&here, member.cluster.as_deref().unwrap_or_default())?;
        let broken = [InstanceStatus::Failed, InstanceStatus::IncompatibleRestore].contains(&cluster.status);
        if broken {
            return Err(fail!(Code::LabFailed, "the cluster is {}", cluster.status.text()));
        }
        let writer = here.look(|world| world.writer(&cluster.resource).cloned());
        let writes = writer.as_ref().is_some_and(|writer| writer.resource == own);
        let writer_runs = writer.is_some_and(|writer| here.fleet.view(&writer.resource).is_some());
        let ready = cluster.work.is_none() && (writes || writer_runs);
        Ok(if ready { poll::Seen::Ready(member) } else { poll::Seen::NotYet(cluster.status.text().into()) })
    })
    .await?;
    serve(site, &member).await?;
    site.dwell(&member.id).await;
    note(site, resource, "creation", "DB instance created", settled);
    Ok(())
}

/// What a server of a cluster has besides the parameters of its groups.
pub(super) fn provide_options(site: &Site, database: &Instance, options: &mut ServerOptions) {
    let found = site.look(|world| {
        let cluster = database.cluster.as_deref().and_then(|cluster| world.resource(cluster))?;
        Some((cluster.port, cluster.wanted_port, world.is_writer(database), world.superuser_password()))
    });
    let Some((port, wanted, writes, password)) = found else { return };
    if writes {
        options.settings.insert("wal_keep_size".into(), KEPT_FOR_READERS.into());
        options.port = port.or(wanted);
    } else if let Some(port) = port {
        options.settings.insert(PRIMARY.into(), primary(port, password.expose()));
    }
}

const PRIMARY: &str = "primary_conninfo";

fn primary(port: u16, password: &str) -> String {
    format!("host=127.0.0.1 port={port} user={SUPERUSER} password={password}")
}

/// The writer listens somewhere: the cluster's endpoint is there, and its readers follow it there.
pub(super) fn follow(site: &Site, cluster: &str, port: u16) {
    let (readers, password) = site.look(|world| {
        let members = world.members(cluster).into_iter().filter(|member| !world.is_writer(member));
        (members.map(|member| member.resource.clone()).collect::<Vec<_>>(), world.superuser_password())
    });
    site.record(|world| {
        if let Some(cluster) = world.resource_mut(cluster) {
            cluster.port = Some(port);
        }
    });
    for reader in readers {
        let told = site.fleet.with(&reader, |server| {
            server.settings_mut().insert(PRIMARY.into(), primary(port, password.expose()));
            server.reload()
        });
        if let Some(Err(error)) = told {
            tracing::warn!(reader, %error, "a reader does not follow its writer");
        }
    }
}

/// Makes a member the writer. It moves into the storage and takes the writer's port; who was there before gets its
/// folder, which is empty then.
pub(super) async fn succeed(site: &Site, cluster: &str, heir: &str) -> Result<()> {
    down_one(site, heir).await?;
    if let Some(writer) = site.look(|world| world.writer(cluster).map(|writer| writer.resource.clone())) {
        down_one(site, &writer).await?;
    }
    let mut left = None;
    site.record(|world| {
        let writer = world.writer(cluster).map(|writer| (writer.resource.clone(), writer.folder.clone(), writer.port));
        let Some((writer, storage, port)) = writer.filter(|(writer, ..)| writer != heir) else { return };
        let Some(next) = world.resource_mut(heir) else { return };
        let own = (std::mem::replace(&mut next.folder, storage), std::mem::replace(&mut next.port, port));
        left = Some(own.0.clone());
        if let Some(writer) = world.resource_mut(&writer) {
            (writer.folder, writer.port) = own;
        }
    });
    if let Some(folder) = left {
        disk::remove_folder(&site.options.dir.join("instances").join(folder))?;
    }
    Ok(())
}

async fn down_one(site: &Site, resource: &str) -> Result<()> {
    match take(site, resource).await {
        Some(server) => server.stop(Shutdown::Fast).await,
        None => Ok(()),
    }
}

async fn failover(site: &Site, cluster: &Instance, to: &str) -> Result<()> {
    site.dwell(&cluster.id).await;
    if site.look(|world| world.writer(&cluster.resource).is_none_or(|writer| writer.resource != to)) {
        succeed(site, &cluster.resource, to).await?;
    }
    up(site, &cluster.resource).await?;
    note(site, &cluster.resource, "failover", "Completed failover to another DB instance", settled);
    Ok(())
}

async fn stop(site: &Site, cluster: &Instance) -> Result<()> {
    site.dwell(&cluster.id).await;
    down(site, &cluster.resource).await?;
    for member in members(site, &cluster.resource) {
        show(site, &member.resource, InstanceStatus::Stopped);
    }
    note(site, &cluster.resource, "notification", "DB cluster stopped", |cluster| {
        (cluster.status, cluster.work) = (InstanceStatus::Stopped, None);
    });
    Ok(())
}

async fn start(site: &Site, cluster: &Instance) -> Result<()> {
    site.dwell(&cluster.id).await;
    up(site, &cluster.resource).await?;
    note(site, &cluster.resource, "notification", "DB cluster started", settled);
    Ok(())
}

/// A member is deleted: the storage stays, and the next one writes.
pub(super) async fn leave(site: &Site, member: &Instance) -> Result<()> {
    let cluster = member.cluster.as_deref().unwrap_or_default();
    let goes_on = |other: &Instance| other.resource != member.resource && other.status != InstanceStatus::Deleting;
    let heir = members(site, cluster).into_iter().find(goes_on);
    if let Some(heir) = heir.filter(|_| site.look(|world| world.is_writer(member))) {
        succeed(site, cluster, &heir.resource).await?;
        up(site, cluster).await?;
    }
    down_one(site, &member.resource).await?;
    let (folder, storage) = (look(site, &member.resource)?.folder, look(site, cluster)?.folder);
    if folder != storage {
        disk::remove_folder(&site.options.dir.join("instances").join(folder))?;
    }
    Ok(())
}

/// True when a folder holds a standby: such a one is never taken for the storage.
pub(super) fn is_standby(folder: &std::path::Path) -> bool {
    fs::exists(folder.join("data/standby.signal")).unwrap_or(false)
}
