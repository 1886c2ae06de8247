//! What `ModifyDBInstance` and `ModifyDBCluster` change, one after the other: attributes, the master's password, the
//! version, the name.

use std::{fs, path::Path, sync::Arc};

use super::{
    clusters,
    instances::{is_master, note, put, raise, show, take},
};
use crate::{
    base::{Code, Result},
    fail,
    lab::{
        disk,
        instance::{ApplyStatus, Changes, Instance, InstanceStatus, Work},
        kind::Kind,
        master,
        postgres::{Process, ServerUser, Shutdown, Upgrade, Version},
        site::Site,
        world::World,
    },
};

/// Makes the changes that the state holds. `available` is shown a while before the first of them.
pub(super) async fn modify(site: &Arc<Site>, resource: &str) -> Result<()> {
    site.clock.sleep(site.options.delays.stale).await;
    let Some(changes) = begin(site, resource) else { return Ok(()) };
    if let Some(verifier) = &changes.verifier {
        password(site, resource, verifier).await?;
    }
    attributes(site, resource, &changes).await?;
    if let Some(version) = changes.version {
        upgrade(site, resource, version, &changes).await?;
    }
    if let Some(new) = &changes.rename {
        rename(site, resource, new).await?;
    }
    site.record(|world| {
        if let Some(instance) = world.resource_mut(resource) {
            instance.status = InstanceStatus::Available;
            instance.work = None;
        }
    });
    Ok(())
}

/// Reads the changes and leaves `available` in one step: until here a second request may have added to the first one,
/// from here on the status refuses it.
fn begin(site: &Site, resource: &str) -> Option<Changes> {
    let mut begun = None;
    site.record(|world| {
        let Some(instance) = world.resource_mut(resource) else { return };
        let Some(Work::Modify(changes)) = &instance.work else { return };
        instance.status = match &**changes {
            Changes { verifier: Some(_), .. } => InstanceStatus::ResettingMasterCredentials,
            changes if !attributes_of(changes).is_empty() => InstanceStatus::Modifying,
            Changes { version: Some(_), .. } => InstanceStatus::Upgrading,
            _ => InstanceStatus::Renaming,
        };
        begun = Some((**changes).clone());
    });
    begun
}

/// The changes that need nothing but to be written down. A group that comes with an upgrade is one for the new version:
/// it takes effect when the upgrade succeeds.
fn attributes_of(changes: &Changes) -> Changes {
    let group = changes.group.clone().filter(|_| changes.version.is_none());
    Changes { verifier: None, version: None, rename: None, group, member_group: None, ..changes.clone() }
}

fn instance(site: &Site, resource: &str) -> Result<Instance> {
    let found = site.look(|world| world.resource(resource).cloned());
    found.ok_or_else(|| fail!(Code::LabFailed, "the instance went away"))
}

async fn password(site: &Site, resource: &str, verifier: &str) -> Result<()> {
    show(site, resource, InstanceStatus::ResettingMasterCredentials);
    let instance = instance(site, resource)?;
    site.dwell(&instance.id).await;
    // Of a cluster the writer's; where it has no instance its storage is served for this moment only.
    let at = site.look(|world| world.servers_of(&instance).first().map(|server| server.resource.clone()));
    let server = match &at {
        Some(at) => take(site, at).await,
        None => None,
    };
    let server = match server {
        Some(server) => server,
        None => raise(site, &instance).await?,
    };
    let done = master::reset(&server, &instance.master, verifier).await;
    match at {
        Some(at) => put(site, &at, server),
        None => server.stop(Shutdown::Fast).await?,
    }
    done?;
    note(site, resource, "configuration change", "Reset master credentials", |_| {});
    Ok(())
}

async fn attributes(site: &Site, resource: &str, changes: &Changes) -> Result<()> {
    let plain = attributes_of(changes);
    if plain.is_empty() {
        return Ok(());
    }
    show(site, resource, InstanceStatus::Modifying);
    site.dwell(&instance(site, resource)?.id).await;
    note(site, resource, "configuration change", "Finished applying modification to DB instance", |instance| {
        if let Some(class) = plain.class {
            instance.class = class;
        }
        if let Some(storage) = plain.storage_gb {
            instance.storage_gb = storage;
        }
        if let Some(multi_az) = plain.multi_az {
            instance.multi_az = multi_az;
        }
        if let Some(days) = plain.retention_days {
            instance.retention_days = days;
        }
        instance.attributes.extend(plain.attributes);
        // Another group takes effect with the next start, its dynamic parameters too. An upgrade is such a start.
        if let Some(group) = plain.group.filter(|group| *group != instance.group) {
            instance.group = group;
            instance.group_status = ApplyStatus::PendingReboot;
        }
    });
    Ok(())
}

/// Upgrades in place. A major upgrade works on a copy; when it fails the instance goes on at its version.
async fn upgrade(site: &Site, resource: &str, to: Version, changes: &Changes) -> Result<()> {
    let old = instance(site, resource)?;
    if old.version == to {
        return Ok(());
    }
    show(site, resource, InstanceStatus::Upgrading);
    site.dwell(&old.id).await;
    let folder = site.instance_folder(&old);
    let is_cluster = old.kind == Kind::Cluster;
    if is_cluster {
        clusters::down(site, resource).await?;
    } else if let Some(server) = take(site, resource).await {
        server.stop(Shutdown::Fast).await?;
    }
    let group = changes.group.clone().unwrap_or_else(|| old.group.clone());
    let next = Instance { group: group.clone(), ..old.clone() };
    let done = if old.version.major == to.major { Ok(()) } else { major_upgrade(site, &next, &folder, to, true).await };
    if let Err(error) = &done {
        let message = format!("Database cluster major version upgrade failed: {error}");
        note(site, resource, "notification", &message, |_| {});
    } else {
        let message = format!("Database upgraded from {} to {to}", old.version);
        note(site, resource, "maintenance", &message, |instance| {
            (instance.version, instance.group) = (to, group);
            instance.group_status = ApplyStatus::InSync;
        });
        site.record(|world| upgrade_members(world, &old, to, changes.member_group.as_deref()));
        disk::remove_folder(&folder.join("data.old"))?;
    }
    if is_cluster {
        return clusters::up(site, resource).await;
    }
    let server = raise(site, &instance(site, resource)?).await?;
    is_master(site, resource, master::renew(&server, &old.master).await?);
    put(site, resource, server);
    Ok(())
}

/// The instances of a cluster have its version; a group for the old one is of no use to them.
fn upgrade_members(world: &mut World, cluster: &Instance, to: Version, group: Option<&str>) {
    for member in world.instances.values_mut().filter(|member| member.cluster.as_ref() == Some(&cluster.resource)) {
        member.version = to;
        if to.major != cluster.version.major {
            member.group = group.map_or_else(|| member.engine.default_group(to.major), str::to_owned);
        }
    }
}

pub(super) async fn major_upgrade(
    site: &Site,
    old: &Instance,
    folder: &Path,
    to: Version,
    refuse_slots: bool,
) -> Result<()> {
    if repair(folder)? == Some(to.major) {
        return Ok(());
    }
    let (from, target) = (site.obtain(old.version).await?, site.obtain(to).await?);
    let options = site.server_options(&target, old).await;
    let work = folder.join("upgrade");
    disk::remove_folder(&work)?;
    let data = folder.join("data");
    let spoil = site.fails_upgrade(&old.id);
    let upgrade =
        Upgrade { from: &from, to: &target, data: &data, work: &work, options: &options, refuse_slots, spoil };
    let done = upgrade.run().await;
    keep_logs(&work, &folder.join("log/error"), site.user.as_ref())?;
    if done.is_ok() {
        let aside = folder.join("data.old");
        fs::rename(&data, &aside).map_err(disk::failed("move", &data))?;
        fs::rename(work.join("data"), &data).map_err(disk::failed("move", &work))?;
    }
    disk::remove_folder(&work)?;
    done
}

/// Puts in order what a killed upgrade left, and gives the major version of the data folder.
///
/// The two renames at the end of an upgrade are the only moment without a data folder: then the old one goes back.
pub(super) fn repair(folder: &Path) -> Result<Option<u32>> {
    for data in [folder.join("upgrade/data"), folder.join("upgrade/data.old")] {
        if let Some(left) = Process::serving(&data) {
            left.end();
        }
    }
    let (data, aside) = (folder.join("data"), folder.join("data.old"));
    if !data.exists() && aside.exists() {
        fs::rename(&aside, &data).map_err(disk::failed("put back", &aside))?;
    }
    Ok(fs::read_to_string(data.join("PG_VERSION")).ok().and_then(|text| text.trim().parse().ok()))
}

/// The log of the upgrade goes on in the instance's own: hourly files of one name are joined, as one server would have
/// written them.
fn keep_logs(work: &Path, target: &Path, owner: Option<&ServerUser>) -> Result<()> {
    for file in disk::entries(&work.join("log/error")) {
        let text = fs::read(&file).map_err(disk::failed("read", &file))?;
        let into = target.join(file.file_name().unwrap_or_default());
        let mut log = disk::append_to(&into, owner)?;
        std::io::Write::write_all(&mut log, &text).map_err(disk::failed("write", &into))?;
    }
    Ok(())
}

async fn rename(site: &Site, resource: &str, new: &str) -> Result<()> {
    let old = instance(site, resource)?;
    if old.id == new {
        return Ok(());
    }
    show(site, resource, InstanceStatus::Renaming);
    site.dwell(&old.id).await;
    site.record(|world| {
        // A request that came first may have taken the name since.
        let source = old.kind.words().source;
        if world.all(old.kind).contains_key(new) {
            let message = format!("The {} cannot be renamed: {new} exists", old.kind.words().noun);
            world.event(source, &old.id, "notification", message);
        } else if let Some(mut database) = world.all_mut(old.kind).remove(&old.id) {
            new.clone_into(&mut database.id);
            world.all_mut(old.kind).insert(new.to_owned(), database);
            let message = format!("Renamed instance from {} to {new}", old.id);
            world.event(source, new, "notification", message);
        }
    });
    // Its certificate is for its name.
    site.settle_access(resource);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::repair;

    /// Killed between its two last renames, an upgrade leaves no data folder: the old one has to come back.
    #[test]
    fn a_cut_off_upgrade_is_put_back() {
        let folder = tempfile::tempdir().unwrap();
        let old = folder.path().join("data.old");
        std::fs::create_dir(&old).unwrap();
        std::fs::write(old.join("PG_VERSION"), "15\n").unwrap();
        assert_eq!(repair(folder.path()).unwrap(), Some(15));
        assert!(folder.path().join("data/PG_VERSION").exists() && !old.exists());
        std::fs::rename(folder.path().join("data"), &old).unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        std::fs::write(folder.path().join("data/PG_VERSION"), "17\n").unwrap();
        assert_eq!(repair(folder.path()).unwrap(), Some(17), "after both renames the new one stays");
    }
}
