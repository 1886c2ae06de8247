//! Copies of what there is: of a snapshot's files, of a running server by freezing it, of a stopped one as it lies.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    base::{Code, Result, poll},
    fail,
    lab::{
        disk,
        postgres::{Process, copy_frozen, copy_tree},
        site::Site,
        snapshot::Snapshot,
    },
};

/// An empty folder that belongs to the servers' user, in the place of whatever an earlier attempt left.
pub(super) fn fresh(site: &Site, folder: PathBuf) -> Result<PathBuf> {
    disk::remove_folder(&folder)?;
    disk::make_folder(&folder, 0o700)?;
    disk::give_to(&folder, site.user.as_ref())?;
    Ok(folder)
}

/// Fills a fresh folder with the files of a snapshot, and with the logs of its upgrade if it had one.
pub(super) async fn of_snapshot(site: &Site, snapshot: &Snapshot, target: PathBuf) -> Result<()> {
    let (source, target) = (site.snapshot_folder(&snapshot.folder), fresh(site, target)?);
    for part in ["data", "log"] {
        if source.join(part).is_dir() {
            copy_tree(&source.join(part), &target.join(part)).await?;
        }
    }
    Ok(())
}

/// Fills a fresh folder with the data of an instance or a cluster as it is now, and gives the time for which its server
/// stood still, if it ran.
pub(super) async fn of_database(site: &Site, resource: &str, target: PathBuf) -> Result<Option<Duration>> {
    let target = fresh(site, target)?;
    let found = site.look(|world| {
        let database = world.resource(resource)?;
        let server = world.servers_of(database).first().map(|server| server.resource.clone());
        Some((site.instance_folder(database), server))
    });
    let (folder, server) = found.ok_or_else(|| fail!(Code::LabFailed, "what was to be copied went away"))?;
    // Held, so that the watch does not start a server in the middle of the copy of an ended one.
    let _tending = site.tending.lock().await;
    let running = server.and_then(|server| site.fleet.view(&server)).filter(|(process, _)| process.is_alive());
    copy(running, &folder.join("data"), &target.join("data")).await
}

async fn copy(running: Option<(Process, PathBuf)>, data: &Path, target: &Path) -> Result<Option<Duration>> {
    if let Some((process, data)) = running {
        return copy_frozen(&process, &data, target).await.map(Some);
    }
    let works_in = data.to_owned();
    // The backends of a killed postmaster write until they notice.
    let ended = poll::until("the server to have ended", poll::Patience::ms(50, 30_000), async move || {
        let left = Process::all_in(&works_in).unwrap_or_default().len();
        Ok(if left == 0 { poll::Seen::Ready(()) } else { poll::Seen::NotYet(format!("{left} processes")) })
    });
    ended.await?;
    copy_tree(data, target).await?;
    disk::remove_file(&target.join("postmaster.pid"))?;
    Ok(None)
}
