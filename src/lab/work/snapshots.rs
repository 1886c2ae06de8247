//! Taking, copying and upgrading snapshots.

use std::sync::Arc;

use crate::{
    base::{Code, Error, Result, clock, poll},
    fail,
    lab::{
        disk,
        instance::InstanceStatus,
        options::SlotsInSnapshot,
        postgres::{Process, ServerOptions, Upgrade, Version, copy_frozen, copy_tree},
        site::{SUPERUSER, Site},
        snapshot::{Snapshot, SnapshotStatus, SnapshotWork},
        world::EventSource,
    },
};

/// Does the work that the state holds for a snapshot.
pub(super) async fn run(site: &Arc<Site>, id: &str) {
    let Ok(snapshot) = site.look(|world| world.snapshot(id).cloned()) else { return };
    match snapshot.work.clone() {
        Some(SnapshotWork::Take { resource }) => {
            let done = take(site, &snapshot, &resource).await;
            site.record(|world| {
                // The instance goes on, whatever became of the copy; one that is being deleted stays so.
                if let Some(instance) = world.resource_mut(&resource)
                    && instance.status == InstanceStatus::BackingUp
                {
                    instance.status = InstanceStatus::Available;
                }
            });
            settle(site, id, done, "Manual snapshot created");
        }
        Some(SnapshotWork::Copy { source }) => {
            let done = copy(site, &snapshot, &source).await;
            settle(site, id, done, "Snapshot copied");
        }
        Some(SnapshotWork::Upgrade { to }) => upgrade(site, &snapshot, to).await,
        None => {}
    }
}

/// A snapshot that was to be made is there, or has failed.
fn settle(site: &Site, id: &str, done: Result<()>, message: &str) {
    site.record(|world| {
        let Ok(snapshot) = world.snapshot_mut(id) else { return };
        snapshot.work = None;
        let (status, progress) =
            if done.is_ok() { (SnapshotStatus::Available, 100) } else { (SnapshotStatus::Failed, 0) };
        (snapshot.status, snapshot.progress) = (status, progress);
        match done {
            Ok(()) => world.event(EventSource::Snapshot, id, "creation", message),
            Err(error) => world.event(EventSource::Snapshot, id, "failure", error.to_string()),
        }
    });
}

/// Freezes a running server; a stopped one is only copied.
async fn take(site: &Site, snapshot: &Snapshot, resource: &str) -> Result<()> {
    let instance = site.look(|world| world.resource(resource).cloned());
    let instance = instance.ok_or_else(|| fail!(Code::LabFailed, "the instance of the snapshot went away"))?;
    let target = fresh_folder(site, &snapshot.folder)?;
    site.dwell(&snapshot.id).await;
    // Held, so that the watch does not start a server in the middle of the copy of an ended one.
    let _tending = site.tending.lock().await;
    if let Some((process, data)) = site.fleet.view(resource)
        && process.is_alive()
    {
        let stood = copy_frozen(&process, &data, &target.join("data")).await?;
        let ms = u64::try_from(stood.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(snapshot = snapshot.id, ms, "the server stood still");
    } else {
        let data = site.instance_folder(&instance).join("data");
        let works_in = data.clone();
        // The backends of a killed postmaster write until they notice.
        let ended = poll::until("the server to have ended", poll::Patience::ms(50, 30_000), async move || {
            let left = Process::all_in(&works_in).unwrap_or_default().len();
            Ok(if left == 0 { poll::Seen::Ready(()) } else { poll::Seen::NotYet(format!("{left} processes")) })
        });
        ended.await?;
        copy_tree(&data, &target.join("data")).await?;
        disk::remove_file(&target.join("data/postmaster.pid"))?;
    }
    Ok(())
}

async fn copy(site: &Site, snapshot: &Snapshot, source: &str) -> Result<()> {
    let source = site.look(|world| world.snapshot(source).cloned());
    let source = source.map_err(|refusal| fail!(Code::LabFailed, "{}", refusal.message))?;
    let target = fresh_folder(site, &snapshot.folder)?;
    site.dwell(&snapshot.id).await;
    let from = site.snapshot_folder(&source.folder);
    for part in ["data", "log"] {
        if from.join(part).is_dir() {
            copy_tree(&from.join(part), &target.join(part)).await?;
        }
    }
    Ok(())
}

fn fresh_folder(site: &Site, name: &str) -> Result<std::path::PathBuf> {
    let folder = site.snapshot_folder(name);
    disk::remove_folder(&folder)?;
    disk::make_folder(&folder, 0o700)?;
    disk::give_to(&folder, site.user.as_ref())?;
    Ok(folder)
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
                let Ok(known) = world.snapshot_mut(&snapshot.id) else { return };
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
        let Ok(known) = world.snapshot_mut(&snapshot.id) else { return };
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
