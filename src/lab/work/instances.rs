//! The life of an instance's server: created, restored, rebooted, stopped, started, deleted. Changes asked for by
//! `ModifyDBInstance` are in `changes`.

use std::sync::Arc;

use super::{changes, clusters, copies, deployments, switchover};
use crate::{
    base::{Error, Result, poll},
    lab::{
        aurora,
        deeds::Doing,
        disk,
        instance::{ApplyStatus, Instance, InstanceStatus, Work},
        kind::Kind,
        managed, master,
        postgres::{Installation, Server, ServerOptions, Shutdown},
        site::Site,
        snapshot::SnapshotStatus,
        world::World,
    },
};

/// Does the work that the state holds for an instance or a cluster. What goes wrong becomes its status and an event.
pub(super) async fn run(site: &Arc<Site>, resource: &str) {
    let Some(instance) = site.look(|world| world.resource(resource).cloned()) else { return };
    let Some(work) = instance.work.clone() else { return };
    let doing = Doing::begin(work.word());
    perform(site, resource, &instance, work).await;
    doing.end(site, &instance.id, site.instance_folder(&instance), None).await;
}

async fn perform(site: &Arc<Site>, resource: &str, instance: &Instance, work: Work) {
    let (done, failed) = match work {
        work if instance.kind == Kind::Cluster => clusters::run(site, instance, work).await,
        Work::Create { verifier, database } => {
            (create(site, instance, &verifier, database.as_deref()).await, InstanceStatus::Failed)
        }
        Work::Restore { snapshot } => (restore(site, instance, &snapshot).await, InstanceStatus::IncompatibleRestore),
        Work::Clone { source } => (clone(site, instance, &source).await, InstanceStatus::IncompatibleRestore),
        Work::Green { deployment } => {
            (deployments::provision(site, instance, &deployment).await, InstanceStatus::Failed)
        }
        Work::Switch { deployment } => {
            Box::pin(switchover::run(site, instance, &deployment)).await;
            return;
        }
        Work::Join => (clusters::join(site, resource).await, InstanceStatus::IncompatibleParameters),
        Work::Backup => {
            first_backup(site, resource).await;
            return;
        }
        Work::Delete { final_snapshot } => {
            (delete(site, instance, final_snapshot.as_deref()).await, InstanceStatus::Available)
        }
        Work::Modify(_) => (changes::modify(site, resource).await, InstanceStatus::Available),
        Work::Reboot => (reboot(site, instance).await, InstanceStatus::IncompatibleParameters),
        Work::Stop { snapshot } => (stop(site, instance, snapshot.as_deref()).await, InstanceStatus::Available),
        Work::Start => (start(site, instance).await, InstanceStatus::IncompatibleParameters),
        // Of clusters only.
        Work::Failover { .. } => return,
    };
    if let Err(error) = done {
        // What was to go on and has no server does not go on.
        let serves = instance.kind == Kind::Cluster || site.fleet.view(resource).is_some();
        let gone = failed == InstanceStatus::Available && !serves;
        fail(site, resource, if gone { InstanceStatus::Failed } else { failed }, &error);
    }
}

/// The work ended badly. What was promised to be undone is undone by whoever did it; here is only what shows.
pub(super) fn fail(site: &Site, resource: &str, status: InstanceStatus, error: &Error) {
    tracing::warn!(resource, %error, "work failed");
    site.record(|world| {
        let Some(instance) = world.resource_mut(resource) else { return };
        instance.status = status;
        instance.work = None;
        let (id, source) = (instance.id.clone(), instance.kind.words().source);
        world.event(source, &id, "failure", format!("{}: {error}", status.text()));
    });
}

/// Changes the instance and says so in an event.
pub(super) fn note(site: &Site, resource: &str, category: &str, message: &str, change: impl FnOnce(&mut Instance)) {
    site.record(|world| {
        let Some(instance) = world.resource_mut(resource) else { return };
        change(instance);
        let (id, source) = (instance.id.clone(), instance.kind.words().source);
        world.event(source, &id, category, message);
    });
}

/// Shows another status.
pub(super) fn show(site: &Site, resource: &str, status: InstanceStatus) {
    site.record(|world| {
        if let Some(instance) = world.resource_mut(resource) {
            instance.status = status;
        }
    });
}

/// How the server of an instance is started, also in a cluster.
pub(super) async fn options_of(site: &Site, installation: &Installation, instance: &Instance) -> ServerOptions {
    let mut options = site.server_options(installation, instance).await;
    clusters::provide_options(site, instance, &mut options);
    options
}

/// Starts the server over the instance's folder with the version and the parameters it has now.
pub(super) async fn raise(site: &Site, instance: &Instance) -> Result<Server> {
    let installation = site.obtain(instance.version).await?;
    let options = options_of(site, &installation, instance).await;
    let folder = site.instance_folder(instance);
    let server = Server::open(&installation, &folder, options).await?;
    let cluster = instance.cluster.as_deref().filter(|_| !clusters::is_standby(&folder));
    let lsn = site.look(|world| cluster.and_then(|cluster| world.resource(cluster)?.start_lsn.clone()));
    if let Some(lsn) = lsn {
        aurora::provide(&server, &lsn).await?;
    }
    Ok(server)
}

/// Takes the server out of the fleet, waiting for the watch if it has it in hand.
pub(super) async fn take(site: &Site, resource: &str) -> Option<Server> {
    let _tending = site.tending.lock().await;
    site.fleet.take(resource)
}

/// Puts the server into the fleet and remembers where it listens.
pub(super) fn put(site: &Site, resource: &str, server: Server) {
    let port = server.port();
    site.fleet.put(resource, server);
    site.record(|world| {
        if let Some(instance) = world.resource_mut(resource) {
            instance.port = Some(port);
        }
    });
    let cluster = site.look(|world| {
        let member = world.resource(resource).filter(|member| world.is_writer(member))?;
        member.cluster.clone()
    });
    if let Some(cluster) = cluster {
        clusters::follow(site, &cluster, port);
    }
}

async fn create(site: &Site, instance: &Instance, verifier: &str, database: Option<&str>) -> Result<()> {
    let folder = site.instance_folder(instance);
    disk::remove_folder(&folder)?;
    let installation = site.obtain(instance.version).await?;
    let options = site.server_options(&installation, instance).await;
    let server = Server::create(&installation, &folder, options).await?;
    let superuser = master::prepare(&server, &instance.master, verifier, database).await?;
    is_master(site, &instance.resource, superuser);
    site.dwell(&instance.id).await;
    is_new(site, &instance.resource, server, "creation", "DB instance created");
    first_backup(site, &instance.resource).await;
    Ok(())
}

/// The server is there, and from now on nobody may begin it anew: clients see its address.
fn is_new(site: &Site, resource: &str, server: Server, category: &str, message: &str) {
    let port = server.port();
    site.fleet.put(resource, server);
    note(site, resource, category, message, |instance| {
        instance.port = Some(port);
        instance.work = Some(Work::Backup);
        if instance.retention_days > 0 {
            instance.status = InstanceStatus::BackingUp;
        }
    });
}

/// Remembers what kind of role the master user is.
pub(super) fn is_master(site: &Site, resource: &str, superuser: bool) {
    site.record(|world| {
        if let Some(instance) = world.resource_mut(resource) {
            instance.superuser_master = superuser;
        }
    });
}

/// RDS takes a first backup of what is new; until it is done the instance is not available.
async fn first_backup(site: &Site, resource: &str) {
    let is_kept =
        |world: &World| world.resource(resource).filter(|known| known.retention_days > 0).map(|k| k.id.clone());
    if let Some(id) = site.look(is_kept) {
        site.dwell(&id).await;
    }
    site.record(|world| {
        if let Some(instance) = world.resource_mut(resource) {
            instance.status = InstanceStatus::Available;
            instance.work = None;
        }
    });
}

/// The copy recovers in its own server: this writes the true `redo done at` line, unless the snapshot was upgraded,
/// which wrote it before; then its log comes along.
async fn restore(site: &Site, instance: &Instance, snapshot: &str) -> Result<()> {
    let snapshot = site
        .look(|world| world.snapshot(Kind::Instance, snapshot).cloned())
        .map_err(|refusal| crate::fail!(crate::base::Code::LabFailed, "the snapshot went away: {}", refusal.message))?;
    copies::of_snapshot(site, &snapshot, site.instance_folder(instance)).await?;
    is_restored(site, instance, &format!("Restored from snapshot {}", snapshot.id)).await
}

async fn clone(site: &Site, instance: &Instance, source: &str) -> Result<()> {
    copies::of_database(site, source, site.instance_folder(instance)).await?;
    is_restored(site, instance, "Restored to the latest restorable time").await
}

async fn is_restored(site: &Site, instance: &Instance, message: &str) -> Result<()> {
    site.dwell(&instance.id).await;
    let server = raise(site, instance).await?;
    is_master(site, &instance.resource, master::renew(&server, &instance.master).await?);
    is_new(site, &instance.resource, server, "restoration", message);
    first_backup(site, &instance.resource).await;
    Ok(())
}

/// Waits for the snapshot that a deletion or a stop asked for; fails when it failed.
pub(super) async fn last_snapshot(site: &Arc<Site>, kind: Kind, id: Option<&str>) -> Result<()> {
    let Some(id) = id else { return Ok(()) };
    let (here, own) = (site.clone(), id.to_owned());
    let taken = poll::until("the last snapshot", poll::Patience::ms(50, 3_600_000), async move || {
        let status = here.look(|world| world.snapshot(kind, &own).map(|snapshot| snapshot.status));
        Ok(match status {
            Ok(SnapshotStatus::Creating) => poll::Seen::NotYet("creating".into()),
            Ok(status) => poll::Seen::Ready(status == SnapshotStatus::Available),
            Err(_) => poll::Seen::Ready(false),
        })
    });
    match taken.await? {
        true => Ok(()),
        false => Err(crate::fail!(crate::base::Code::LabFailed, "the snapshot {id} could not be taken")),
    }
}

async fn delete(site: &Arc<Site>, instance: &Instance, final_snapshot: Option<&str>) -> Result<()> {
    last_snapshot(site, Kind::Instance, final_snapshot).await?;
    site.dwell(&instance.id).await;
    if instance.cluster.is_some() {
        clusters::leave(site, instance).await?;
    } else {
        if let Some(server) = take(site, &instance.resource).await {
            server.stop(Shutdown::Fast).await?;
        }
        disk::remove_folder(&site.instance_folder(instance))?;
    }
    site.record(|world: &mut World| {
        world.instances.retain(|_, known| known.resource != instance.resource);
        managed::forget(world, instance.master_secret.as_ref().map(|master| master.arn.as_str()));
        world.event(instance.kind.words().source, &instance.id, "deletion", "DB instance deleted");
    });
    Ok(())
}

async fn reboot(site: &Site, instance: &Instance) -> Result<()> {
    site.dwell(&instance.id).await;
    if let Some(server) = take(site, &instance.resource).await {
        server.stop(Shutdown::Fast).await?;
    }
    up_again(site, instance, "DB instance restarted").await
}

async fn start(site: &Site, instance: &Instance) -> Result<()> {
    site.dwell(&instance.id).await;
    up_again(site, instance, "DB instance started").await
}

/// After a start every parameter is in effect, and what was blue takes writes again.
async fn up_again(site: &Site, instance: &Instance, message: &str) -> Result<()> {
    let instance =
        &Instance { read_only: instance.read_only && deployments::follows(site, instance), ..instance.clone() };
    let read_only = instance.read_only;
    let server = raise(site, instance).await?;
    put(site, &instance.resource, server);
    note(site, &instance.resource, "availability", message, |instance| {
        instance.group_status = ApplyStatus::InSync;
        instance.read_only = read_only;
        instance.status = InstanceStatus::Available;
        instance.work = None;
    });
    clusters::in_effect(site, instance);
    Ok(())
}

async fn stop(site: &Arc<Site>, instance: &Instance, snapshot: Option<&str>) -> Result<()> {
    last_snapshot(site, Kind::Instance, snapshot).await?;
    site.dwell(&instance.id).await;
    if let Some(server) = take(site, &instance.resource).await {
        server.stop(Shutdown::Fast).await?;
    }
    note(site, &instance.resource, "notification", "DB instance stopped", |instance| {
        instance.status = InstanceStatus::Stopped;
        instance.work = None;
    });
    Ok(())
}
