//! Snapshots of instances and clusters: taken, described, upgraded, copied, deleted.

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
    attributes::of_storage,
    instance::{Instance, InstanceStatus, Tags},
    kind::Kind,
    query::Query,
    refusal::{Outcome, Refusal},
    site::Site,
    snapshot::{Snapshot, SnapshotStatus, SnapshotWork},
    work,
    world::{World, tail},
    xml::Element,
};

/// The identifier of a snapshot to be made, if the request names one.
pub(super) fn id_of_new(query: &Query, parameter: &str) -> Outcome<Option<String>> {
    query.text(parameter).map(|_| identifier(query, parameter, 255)).transpose()
}

/// A snapshot of an instance or cluster that is about to be taken.
pub(super) fn fresh(site: &Site, world: &World, id: &str, instance: &Instance) -> Outcome<Snapshot> {
    require_new(world, instance.kind, id)?;
    let now = site.clock.now_ms();
    tracing::debug!(region = site.region(), id, "a snapshot begins");
    Ok(Snapshot {
        kind: instance.kind,
        engine: instance.engine,
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
        attributes: of_storage(&instance.attributes),
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

fn require_new(world: &World, kind: Kind, id: &str) -> Outcome<()> {
    if !world.snapshots_of(kind).contains_key(id) {
        return Ok(());
    }
    Err(Refusal::new(
        kind.words().snapshot_exists,
        format!("Cannot create the snapshot because a snapshot with the identifier {id} already exists."),
    ))
}

pub(super) fn create(site: &Arc<Site>, query: &Query, kind: Kind) -> Outcome<Option<Element>> {
    let words = kind.words();
    let id = identifier(query, words.snapshot_id, 255)?;
    let (source, tags) = (query.required(words.id)?, tags_of(query)?);
    let shown = site.change(|world| {
        let database = world.database(kind, source)?.clone();
        if database.cluster.is_some() {
            return Err(Refusal::value(
                "The specified instance is a member of a cluster and a snapshot cannot be created directly. Please use \
                 the CreateDBClusterSnapshot API instead.",
            ));
        }
        if !database.is_idle() {
            let (what, id) = (kind.words().noun, &database.id);
            return Err(Refusal::new(
                words.state,
                format!("Cannot create a snapshot because the {what} {id} is not currently in the available state."),
            ));
        }
        let mut snapshot = fresh(site, world, &id, &database)?;
        snapshot.tags.add(tags);
        snapshot.work = Some(SnapshotWork::Take { resource: database.resource.clone() });
        let shown = shapes::snapshot(site, &snapshot, snapshot.status.text());
        world.database_mut(kind, source)?.status = InstanceStatus::BackingUp;
        world.snapshots_mut(kind).insert(id.clone(), snapshot);
        world.event(words.snapshot_source, &id, "creation", "Creating manual snapshot");
        Ok(shown)
    })?;
    work::begin_snapshot(site, kind, &id);
    Ok(Some(Element::new("Result").child(shown)))
}

pub(super) fn describe(site: &Arc<Site>, query: &Query, kind: Kind) -> Outcome<Option<Element>> {
    let (page, words) = (Page::read(query)?, kind.words());
    // What the filters are called, what they stand for, and the parameters that mean the same.
    let known = match kind {
        Kind::Instance => [
            ("db-instance-id", words.id),
            ("db-snapshot-id", words.snapshot_id),
            ("dbi-resource-id", "DbiResourceId"),
            ("snapshot-type", "SnapshotType"),
            ("engine", ""),
        ],
        Kind::Cluster => [
            ("db-cluster-id", words.id),
            ("db-cluster-snapshot-id", words.snapshot_id),
            ("db-cluster-resource-id", "DbClusterResourceId"),
            ("snapshot-type", "SnapshotType"),
            ("engine", ""),
        ],
    };
    let mut asked = filters(query, &known.map(|(filter, _)| filter))?;
    for (filter, parameter) in known {
        asked.extend(query.text(parameter).map(|value| (filter.to_owned(), vec![value.to_owned()])));
    }
    let fits = |snapshot: &Snapshot| {
        asked.iter().all(|(name, values)| {
            let place = known.iter().position(|(filter, _)| filter == name);
            values.iter().any(|value| match place {
                Some(0) => tail(value) == snapshot.instance,
                Some(1) => tail(value) == snapshot.id,
                Some(2) => *value == snapshot.resource,
                Some(3) => value == "manual",
                _ => value == snapshot.engine.text(),
            })
        })
    };
    let found: Vec<Snapshot> = site.look(|world| {
        if let Some(id) = query.text(words.snapshot_id) {
            world.snapshot(kind, id)?;
        }
        Ok(world.snapshots_of(kind).values().filter(|snapshot| fits(snapshot)).cloned().collect())
    })?;
    let items = found.iter().map(|found| (found.id.clone(), shapes::snapshot(site, found, found.status.text())));
    Ok(Some(page.result(words.snapshot_list, items.collect())))
}

pub(super) fn require_available(snapshot: &Snapshot) -> Outcome<()> {
    if snapshot.status == SnapshotStatus::Available {
        return Ok(());
    }
    Err(Refusal::new(
        snapshot.kind.words().snapshot_state,
        format!("The snapshot {} is in the {} state.", snapshot.id, snapshot.status.text()),
    ))
}

/// Upgrades the snapshot of an instance; those of clusters are upgraded when they are restored. Without a version it
/// changes nothing, as there are no option groups here.
pub(super) fn modify(site: &Arc<Site>, query: &Query) -> Outcome<Option<Element>> {
    let id = tail(query.required("DBSnapshotIdentifier")?);
    let (shown, begins) = site.change(|world| {
        let in_use = is_in_use(world, Kind::Instance, &id);
        let snapshot = world.snapshot_mut(Kind::Instance, &id)?;
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
        work::begin_snapshot(site, Kind::Instance, &id);
    }
    Ok(Some(Element::new("Result").child(shown)))
}

pub(super) fn copy(site: &Arc<Site>, query: &Query, kind: Kind) -> Outcome<Option<Element>> {
    let words = kind.words();
    let source = tail(query.required(words.copy_from)?);
    let id = identifier(query, words.copy_to, 255)?;
    let (copy_tags, tags) = (query.boolean("CopyTags")?.unwrap_or(false), tags_of(query)?);
    let shown = site.change(|world| {
        let original = world.snapshot(kind, &source)?.clone();
        require_available(&original)?;
        require_new(world, kind, &id)?;
        let mut snapshot = Snapshot {
            id: id.clone(),
            folder: folder_name(&id),
            status: SnapshotStatus::Creating,
            created_ms: site.clock.now_ms(),
            progress: 0,
            source: Some(site.arn(words.snapshot_arn, &source)),
            tags: if copy_tags { original.tags.clone() } else { Tags::default() },
            work: Some(SnapshotWork::Copy { source: source.clone() }),
            ..original
        };
        snapshot.tags.add(tags);
        let shown = shapes::snapshot(site, &snapshot, snapshot.status.text());
        world.snapshots_mut(kind).insert(id.clone(), snapshot);
        Ok(shown)
    })?;
    work::begin_snapshot(site, kind, &id);
    Ok(Some(Element::new("Result").child(shown)))
}

pub(super) fn delete(site: &Arc<Site>, query: &Query, kind: Kind) -> Outcome<Option<Element>> {
    let words = kind.words();
    let id = tail(query.required(words.snapshot_id)?);
    let deleted = site.change(|world| {
        let snapshot = world.snapshot(kind, &id)?.clone();
        if snapshot.status != SnapshotStatus::Failed {
            require_available(&snapshot)?;
        }
        if is_in_use(world, kind, &id) {
            return Err(Refusal::new(words.snapshot_state, format!("The snapshot {id} is in use.")));
        }
        world.snapshots_mut(kind).remove(&id);
        world.event(words.snapshot_source, &id, "deletion", "Deleted manual snapshot");
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
