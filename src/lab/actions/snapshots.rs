//! Snapshots: taken, described, upgraded, copied, deleted.

use std::sync::Arc;

use super::{
    instance_changes::upgrade_target,
    instances::{filters, is_in_use},
    names::identifier,
    page::Page,
    shapes,
    tags::tags_of,
};
use crate::lab::{
    instance::{Instance, InstanceStatus, Tags},
    query::Query,
    refusal::{Outcome, Refusal},
    site::Site,
    snapshot::{Snapshot, SnapshotStatus, SnapshotWork},
    work,
    world::{EventSource, World, tail},
    xml::Element,
};

/// The identifier of a snapshot to be made, if the request names one.
pub(super) fn id_of_new(query: &Query, parameter: &str) -> Outcome<Option<String>> {
    query.text(parameter).map(|_| identifier(query, parameter, 255)).transpose()
}

/// A snapshot of an instance that is about to be taken.
pub(super) fn fresh(site: &Site, world: &World, id: &str, instance: &Instance) -> Outcome<Snapshot> {
    if world.snapshots.contains_key(id) {
        return Err(Refusal::new(
            "DBSnapshotAlreadyExists",
            format!("Cannot create the snapshot because a snapshot with the identifier {id} already exists."),
        ));
    }
    let now = site.clock.now_ms();
    tracing::debug!(region = site.region(), id, "a snapshot begins");
    Ok(Snapshot {
        id: id.to_owned(),
        folder: folder_name(id),
        instance: instance.id.clone(),
        resource: instance.resource.clone(),
        status: SnapshotStatus::Creating,
        version: instance.version,
        master: instance.master.clone(),
        port: instance.port,
        created_ms: now,
        original_ms: now,
        instance_created_ms: instance.created_ms,
        storage_gb: instance.storage_gb,
        progress: 0,
        iam: instance.iam,
        source: None,
        tags: if instance.copy_tags { instance.tags.clone() } else { Tags::default() },
        work: None,
    })
}

/// A folder of its own for each snapshot that ever was; an identifier may be longer than a file name can be with more
/// behind it.
fn folder_name(id: &str) -> String {
    let random = uuid::Uuid::new_v4().simple().to_string();
    format!("{}-{}", &id[..id.len().min(80)], &random[..8])
}

pub(super) fn create(site: &Arc<Site>, query: &Query) -> Outcome<Option<Element>> {
    let id = identifier(query, "DBSnapshotIdentifier", 255)?;
    let (source, tags) = (query.required("DBInstanceIdentifier")?, tags_of(query)?);
    let shown = site.change(|world| {
        let instance = world.instance(source)?.clone();
        if !instance.is_idle() {
            return Err(Refusal::new(
                "InvalidDBInstanceState",
                format!(
                    "Cannot create a snapshot because the database instance {} is not currently in the available state.",
                    instance.id
                ),
            ));
        }
        let mut snapshot = fresh(site, world, &id, &instance)?;
        snapshot.tags.add(tags);
        snapshot.work = Some(SnapshotWork::Take { resource: instance.resource.clone() });
        let shown = shapes::snapshot(site, &snapshot, snapshot.status.text());
        world.instance_mut(source)?.status = InstanceStatus::BackingUp;
        world.snapshots.insert(id.clone(), snapshot);
        world.event(EventSource::Snapshot, &id, "creation", "Creating manual snapshot");
        Ok(shown)
    })?;
    work::begin_snapshot(site, &id);
    Ok(Some(Element::new("Result").child(shown)))
}

pub(super) fn describe(site: &Arc<Site>, query: &Query) -> Outcome<Option<Element>> {
    let page = Page::read(query)?;
    let mut asked =
        filters(query, &["db-instance-id", "db-snapshot-id", "dbi-resource-id", "snapshot-type", "engine"])?;
    let parameters = [
        ("DBInstanceIdentifier", "db-instance-id"),
        ("DBSnapshotIdentifier", "db-snapshot-id"),
        ("DbiResourceId", "dbi-resource-id"),
        ("SnapshotType", "snapshot-type"),
    ];
    for (parameter, filter) in parameters {
        asked.extend(query.text(parameter).map(|value| (filter.to_owned(), vec![value.to_owned()])));
    }
    let fits = |snapshot: &Snapshot| {
        asked.iter().all(|(name, values)| {
            values.iter().any(|value| match name.as_str() {
                "db-instance-id" => tail(value) == snapshot.instance,
                "db-snapshot-id" => tail(value) == snapshot.id,
                "dbi-resource-id" => *value == snapshot.resource,
                "snapshot-type" => value == "manual",
                _ => value == "postgres",
            })
        })
    };
    let found: Vec<Snapshot> = site.look(|world| {
        if let Some(id) = query.text("DBSnapshotIdentifier") {
            world.snapshot(id)?;
        }
        Ok(world.snapshots.values().filter(|snapshot| fits(snapshot)).cloned().collect())
    })?;
    let items = found.iter().map(|found| (found.id.clone(), shapes::snapshot(site, found, found.status.text())));
    Ok(Some(page.result("DBSnapshots", items.collect())))
}

fn require_available(snapshot: &Snapshot) -> Outcome<()> {
    if snapshot.status == SnapshotStatus::Available {
        return Ok(());
    }
    Err(Refusal::new(
        "InvalidDBSnapshotState",
        format!("The snapshot {} is in the {} state.", snapshot.id, snapshot.status.text()),
    ))
}

/// Upgrades the snapshot. Without a version it changes nothing, as there are no option groups here.
pub(super) fn modify(site: &Arc<Site>, query: &Query) -> Outcome<Option<Element>> {
    let id = tail(query.required("DBSnapshotIdentifier")?);
    let (shown, begins) = site.change(|world| {
        let in_use = is_in_use(world, &id);
        let snapshot = world.snapshot_mut(&id)?;
        require_available(snapshot)?;
        let to = query.text("EngineVersion").map(|text| upgrade_target(site, snapshot.version, text)).transpose()?;
        if let Some(to) = to {
            if to == snapshot.version {
                return Err(Refusal::combination(format!("The snapshot {id} has version {to} already.")));
            }
            if in_use {
                let message = format!("The snapshot {id} is in use.");
                return Err(Refusal::new("InvalidDBSnapshotState", message));
            }
            (snapshot.status, snapshot.work) = (SnapshotStatus::Upgrading, Some(SnapshotWork::Upgrade { to }));
        }
        Ok((shapes::snapshot(site, snapshot, snapshot.status.text()), to.is_some()))
    })?;
    if begins {
        work::begin_snapshot(site, &id);
    }
    Ok(Some(Element::new("Result").child(shown)))
}

pub(super) fn copy(site: &Arc<Site>, query: &Query) -> Outcome<Option<Element>> {
    let source = tail(query.required("SourceDBSnapshotIdentifier")?);
    let id = identifier(query, "TargetDBSnapshotIdentifier", 255)?;
    let (copy_tags, tags) = (query.boolean("CopyTags")?.unwrap_or(false), tags_of(query)?);
    let shown = site.change(|world| {
        let original = world.snapshot(&source)?.clone();
        require_available(&original)?;
        if world.snapshots.contains_key(&id) {
            return Err(Refusal::new(
                "DBSnapshotAlreadyExists",
                format!("Cannot create the snapshot because a snapshot with the identifier {id} already exists."),
            ));
        }
        let mut snapshot = Snapshot {
            id: id.clone(),
            folder: folder_name(&id),
            status: SnapshotStatus::Creating,
            created_ms: site.clock.now_ms(),
            progress: 0,
            source: Some(site.arn("snapshot", &source)),
            tags: if copy_tags { original.tags.clone() } else { Tags::default() },
            work: Some(SnapshotWork::Copy { source: source.clone() }),
            ..original
        };
        snapshot.tags.add(tags);
        let shown = shapes::snapshot(site, &snapshot, snapshot.status.text());
        world.snapshots.insert(id.clone(), snapshot);
        Ok(shown)
    })?;
    work::begin_snapshot(site, &id);
    Ok(Some(Element::new("Result").child(shown)))
}

pub(super) fn delete(site: &Arc<Site>, query: &Query) -> Outcome<Option<Element>> {
    let id = tail(query.required("DBSnapshotIdentifier")?);
    let deleted = site.change(|world| {
        let snapshot = world.snapshot(&id)?.clone();
        if snapshot.status != SnapshotStatus::Failed {
            require_available(&snapshot)?;
        }
        if is_in_use(world, &id) {
            return Err(Refusal::new("InvalidDBSnapshotState", format!("The snapshot {id} is in use.")));
        }
        world.snapshots.remove(&id);
        world.event(EventSource::Snapshot, &id, "deletion", "Deleted manual snapshot");
        Ok(snapshot)
    })?;
    let folder = site.snapshot_folder(&deleted.folder);
    // The state does not know it any more: what cannot be removed now is removed at the next start.
    site.spawn(async move {
        let removed = tokio::task::spawn_blocking(move || crate::lab::disk::remove_folder(&folder)).await;
        if !matches!(removed, Ok(Ok(()))) {
            tracing::warn!("the folder of a deleted snapshot stays until the next start");
        }
    });
    Ok(Some(Element::new("Result").child(shapes::snapshot(site, &deleted, "deleted"))))
}
