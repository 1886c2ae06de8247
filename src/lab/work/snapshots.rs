//! Taking, copying and upgrading snapshots.

use std::{sync::Arc, time::Duration};

use super::copies;
use crate::{
    base::{Code, Error, Result, clock},
    fail,
    lab::{
        deeds::Doing,
        disk,
        instance::InstanceStatus,
        kind::Kind,
        options::SlotsInSnapshot,
        postgres::{ServerOptions, Upgrade, Version},
        site::{SUPERUSER, Site},
        snapshot::{Snapshot, SnapshotStatus, SnapshotWork},
        world::EventSource,
    },
};

/// Does the work that the state holds for a snapshot.
pub(super) async fn run(site: &Arc<Site>, kind: Kind, id: &str) {
    let Ok(snapshot) = site.look(|world| world.snapshot(kind, id).cloned()) else { return };
    let Some(work) = snapshot.work.clone() else { return };
    let doing = Doing::begin(match work {
        SnapshotWork::Take { .. } => "take snapshot",
        SnapshotWork::Copy { .. } => "copy snapshot",
        SnapshotWork::Upgrade { .. } => "upgrade snapshot",
    });
    let stood = perform(site, kind, &snapshot, work).await;
    let folder = site.look(|world| world.snapshot(kind, id).map(|found| found.folder.clone())).unwrap_or_default();
    doing.end(site, id, site.snapshot_folder(&folder), stood).await;
}

/// Gives the time for which a server stood still for it.
async fn perform(site: &Arc<Site>, kind: Kind, snapshot: &Snapshot, work: SnapshotWork) -> Option<Duration> {
    let id = &snapshot.id;
    match work {
        SnapshotWork::Take { resource } => {
            let done = take(site, snapshot, &resource).await;
            site.record(|world| {
                // What was copied goes on, whatever became of the copy; one that is being deleted stays so.
                if let Some(instance) = world.resource_mut(&resource)
                    && instance.status == InstanceStatus::BackingUp
                {
                    instance.status = InstanceStatus::Available;
                }
            });
            let stood = done.as_ref().ok().copied().flatten();
            settle(site, kind, id, done.map(drop), "Manual snapshot created");
            return stood;
        }
        SnapshotWork::Copy { source } => {
            let done = copy(site, snapshot, &source).await;
            settle(site, kind, id, done, "Snapshot copied");
        }
        SnapshotWork::Upgrade { to } => upgrade(site, snapshot, to).await,
    }
    None
}

/// A snapshot that was to be made is there, or has failed.
fn settle(site: &Site, kind: Kind, id: &str, done: Result<()>, message: &str) {
    site.record(|world| {
        let source = kind.words().snapshot_source;
        let Ok(snapshot) = world.snapshot_mut(kind, id) else { return };
        snapshot.work = None;
        let (status, progress) =
            if done.is_ok() { (SnapshotStatus::Available, 100) } else { (SnapshotStatus::Failed, 0) };
        (snapshot.status, snapshot.progress) = (status, progress);
        match done {
            Ok(()) => world.event(source, id, "creation", message),
            Err(error) => world.event(source, id, "failure", error.to_string()),
        }
    });
}

/// Freezes a running server; a stopped one is only copied.
async fn take(site: &Site, snapshot: &Snapshot, resource: &str) -> Result<Option<Duration>> {
    site.dwell(&snapshot.id).await;
    copies::of_database(site, resource, site.snapshot_folder(&snapshot.folder)).await
}

async fn copy(site: &Site, snapshot: &Snapshot, source: &str) -> Result<()> {
    let source = site.look(|world| world.snapshot(snapshot.kind, source).cloned());
    let source = source.map_err(|refusal| fail!(Code::LabFailed, "{}", refusal.message))?;
    site.dwell(&snapshot.id).await;
    copies::of_snapshot(site, &source, site.snapshot_folder(&snapshot.folder)).await
}

/// Upgrades a copy and takes it in the place of the original when it is proved to work; else nothing has changed,
/// as RDS promises ("rolled back to the original state with the original version").
async fn upgrade(site: &Site, snapshot: &Snapshot, to: Version) {
    site.dwell(&snapshot.id).await;
    let next = format!("{}-to-{to}", snapshot.folder.split("-to-").next().unwrap_or_default());
    let work = site.snapshot_folder(&next);
    let done = upgrade_copy(site, snapshot, to, &work).await;
    let kept = site.options.dir.join("failed-upgrades").join(format!("{}-{}", snapshot.id, clock::now_compact()));
    match done {
        Ok(()) => {
            site.record(|world| {
                let Ok(known) = world.snapshot_mut(snapshot.kind, &snapshot.id) else { return };
                (known.status, known.work, known.version) = (SnapshotStatus::Available, None, to);
                known.folder.clone_from(&next);
                let message = format!("Upgraded from {} to {to}", snapshot.version);
                world.event(EventSource::Snapshot, &snapshot.id, "notification", message);
            });
            drop_folder(&site.snapshot_folder(&snapshot.folder));
        }
        Err(error) => {
            keep(&work.join("log"), &kept);
            drop_folder(&work);
            refused(site, snapshot, to, &error);
        }
    }
}

async fn upgrade_copy(site: &Site, snapshot: &Snapshot, to: Version, work: &std::path::Path) -> Result<()> {
    disk::remove_folder(work)?;
    let (from, target) = (site.obtain(snapshot.version).await?, site.obtain(to).await?);
    let data = site.snapshot_folder(&snapshot.folder).join("data");
    let password = site.look(crate::lab::world::World::superuser_password);
    let options = ServerOptions { superuser: SUPERUSER.into(), password, ..ServerOptions::default() };
    let spoil = site.fails_upgrade(&snapshot.id);
    let refuse_slots = site.options.slots_in_snapshot == SlotsInSnapshot::Refuse;
    Upgrade { from: &from, to: &target, data: &data, work, options: &options, refuse_slots, spoil }.run().await
}

fn refused(site: &Site, snapshot: &Snapshot, to: Version, error: &Error) {
    tracing::warn!(snapshot = snapshot.id, %error, "an upgrade failed");
    site.record(|world| {
        let Ok(known) = world.snapshot_mut(snapshot.kind, &snapshot.id) else { return };
        (known.status, known.work) = (SnapshotStatus::Available, None);
        let message = format!("Upgrade to {to} failed, the snapshot is back at {}: {error}", snapshot.version);
        world.event(EventSource::Snapshot, &snapshot.id, "failure", message);
    });
}

/// RDS throws the logs of a failed snapshot upgrade away; a lab's user wants to read them.
fn keep(logs: &std::path::Path, target: &std::path::Path) {
    let parent = target.parent().unwrap_or(target);
    let kept = disk::make_folder(parent, 0o755)
        .and_then(|()| std::fs::rename(logs, target).map_err(disk::failed("keep", logs)));
    if let Err(error) = kept {
        tracing::warn!(%error, "the logs of a failed upgrade are lost");
    }
}

fn drop_folder(folder: &std::path::Path) {
    if let Err(error) = disk::remove_folder(folder) {
        tracing::warn!(%error, "a folder of a snapshot stays until the next start");
    }
}
