//! Blue/green deployments are asked for, shown, switched over and deleted. Parameters, codes and limits are those of
//! the service model of RDS (2014-10-31).
//!
//! What a source needs is in the user guide, "Overview of Amazon RDS Blue/Green Deployments", "Preparing an RDS for
//! PostgreSQL DB instance": automated backups, and `rds.logical_replication` for logical replication. That a master
//! password managed in Secrets Manager is not supported stands in its limitations. With which code RDS refuses a source
//! for these reasons no page says: here it is the one that the model has for sources that are not supported.

use std::sync::Arc;

use rand::Rng as _;

use super::{
    instance_changes::{not_available, upgrade_target},
    instances::{filters, group_for, resource_id},
    names::identifier,
    page::Page,
    shapes::tag_list,
    tags::tags_of,
};
use crate::{
    base::clock,
    lab::{
        deployment::{Deployment, DeploymentStatus as Status, Phase, Side, Task},
        group::is_logical,
        instance::{ApplyStatus, Changes, Instance, InstanceStatus, Work},
        kind::Kind,
        query::Query,
        refusal::{Outcome, Refusal},
        site::Site,
        work,
        world::{World, tail},
        xml::Element,
    },
};

/// `SwitchoverTimeout` in seconds (API reference: from 30; user guide: to 3600) and its default.
const TIMEOUTS: std::ops::RangeInclusive<i64> = 30..=3600;
const USUAL_TIMEOUT: i64 = 300;

/// Letters and digits of generated names.
fn letters(count: usize) -> String {
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut random = rand::rng();
    (0..count).map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())])).collect()
}

fn unsupported(message: String) -> Refusal {
    Refusal::new("SourceDatabaseNotSupportedFault", message)
}

fn wrong_state(deployment: &Deployment, what: &str) -> Refusal {
    let (id, status) = (&deployment.id, deployment.status.text());
    Refusal::new(
        "InvalidBlueGreenDeploymentStateFault",
        format!("The blue/green deployment {id} is {status} and cannot be {what}."),
    )
}

/// The instance that a request names as its source.
fn source_of(world: &World, query: &Query) -> Outcome<Instance> {
    let arn = query.required("Source")?;
    match arn.split(':').nth(5) {
        Some("db") => {}
        Some("cluster") => {
            let message = "The lab has blue/green deployments of instances only.";
            return Err(Refusal::new("SourceClusterNotSupportedFault", message));
        }
        _ => return Err(Refusal::value(format!("Invalid resource name: {arn}"))),
    }
    let blue = world.instance(arn)?.clone();
    let reason = if blue.cluster.is_some() {
        Some("it is a member of a cluster")
    } else if blue.retention_days == 0 {
        Some("automated backups are not enabled")
    } else if !is_logical(world.group_of(&blue).as_ref()) {
        Some("rds.logical_replication is not turned on in its parameter group")
    } else if blue.master_secret.is_some() {
        Some("its master password is managed in Secrets Manager")
    } else {
        let of = |side: &Side| side.resource == blue.resource;
        let taken = world.deployments.values().any(|known| known.is_open() && (of(&known.source) || of(&known.target)));
        taken.then_some("it is in a blue/green deployment already")
    };
    match reason {
        Some(reason) => Err(unsupported(format!("DBInstance {} is not supported as a source: {reason}.", blue.id))),
        None if !blue.is_idle() => Err(not_available(&blue)),
        None => Ok(blue),
    }
}

pub(super) fn create(site: &Arc<Site>, query: &Query) -> Outcome<Option<Element>> {
    identifier(query, "BlueGreenDeploymentName", 60)?;
    let (name, tags) = (query.required("BlueGreenDeploymentName")?.to_owned(), tags_of(query)?);
    let blue = site.look(|world| source_of(world, query))?;
    let version = match query.text("TargetEngineVersion") {
        Some(text) => upgrade_target(site, blue.version, text)?,
        None => blue.version,
    };
    let group = match query.text("TargetDBParameterGroupName") {
        Some(name) => group_for(site, (Kind::Instance, blue.engine), name, version)?,
        None if version.major == blue.version.major => blue.group.clone(),
        None => blue.engine.default_group(version.major),
    };
    let id = format!("bgd-{}", letters(16));
    let green_id = format!("{}-green-{}", blue.id, letters(6));
    let green = Instance {
        resource: resource_id(Kind::Instance),
        folder: green_id.clone(),
        id: green_id,
        status: InstanceStatus::Creating,
        class: query.text("TargetDBInstanceClass").unwrap_or(&blue.class).to_owned(),
        version,
        group,
        group_status: ApplyStatus::InSync,
        port: None,
        wanted_port: None,
        created_ms: site.clock.now_ms(),
        read_only: false,
        pending: Changes::default(),
        work: Some(Work::Green { deployment: id.clone() }),
        ..blue.clone()
    };
    let side = |instance: &Instance| Side { resource: instance.resource.clone(), id: instance.id.clone() };
    let upgrades = query.text("TargetEngineVersion").is_some();
    let deployment = Deployment {
        id: id.clone(),
        name,
        source: side(&blue),
        target: side(&green),
        status: Status::Provisioning,
        details: None,
        tasks: [Task::Copy, Task::Upgrade, Task::Backups, Task::Topology]
            .into_iter()
            .filter(|task| upgrades || *task != Task::Upgrade)
            .collect(),
        done: 0,
        phase: Phase::default(),
        timeout_s: 0,
        delete_target: false,
        created_ms: site.clock.now_ms(),
        deleted_ms: None,
        tags,
    };
    let resource = green.resource.clone();
    let shown = site.change(|world| {
        if world.deployments.values().any(|known| known.name == deployment.name) {
            let message = format!("A blue/green deployment with the name {} already exists.", deployment.name);
            return Err(Refusal::new("BlueGreenDeploymentAlreadyExistsFault", message));
        }
        // Another request may have been faster.
        source_of(world, query)?;
        let shown = shape(site, world, &deployment);
        world.instances.insert(green.id.clone(), green);
        world.deployments.insert(id, deployment);
        Ok(shown)
    })?;
    work::begin(site, &resource);
    Ok(Some(Element::new("Result").child(shown)))
}

pub(super) fn describe(site: &Arc<Site>, query: &Query) -> Outcome<Option<Element>> {
    let page = Page::read(query)?;
    let known = ["blue-green-deployment-identifier", "blue-green-deployment-name", "source", "target"];
    let filters = filters(query, &known)?;
    let fits = |world: &World, found: &Deployment| {
        filters.iter().all(|(name, values)| match name.as_str() {
            "blue-green-deployment-identifier" => values.iter().any(|value| tail(value) == found.id),
            "blue-green-deployment-name" => values.contains(&found.name),
            "source" => values.iter().any(|value| tail(value) == name_of(world, &found.source)),
            _ => values.iter().any(|value| tail(value) == name_of(world, &found.target)),
        })
    };
    let items = site.look(|world| {
        let found = match query.text("BlueGreenDeploymentIdentifier") {
            Some(id) => vec![world.deployment(id)?],
            None => world.deployments.values().collect(),
        };
        let shown = found.into_iter().filter(|found| fits(world, found));
        Ok(shown.map(|found| (found.id.clone(), shape(site, world, found).named("member"))).collect())
    })?;
    Ok(Some(page.result("BlueGreenDeployments", items)))
}

pub(super) fn switch(site: &Arc<Site>, query: &Query) -> Outcome<Option<Element>> {
    let id = query.required("BlueGreenDeploymentIdentifier")?;
    let timeout = query.integer("SwitchoverTimeout")?.unwrap_or(USUAL_TIMEOUT);
    if !TIMEOUTS.contains(&timeout) {
        let (least, most) = (TIMEOUTS.start(), TIMEOUTS.end());
        return Err(Refusal::value(format!("SwitchoverTimeout must be between {least} and {most} seconds.")));
    }
    let (resource, shown) = site.change(|world| {
        let mut deployment = world.deployment(id)?.clone();
        let sides = [deployment.source.resource.clone(), deployment.target.resource.clone()];
        let ready = sides.iter().all(|side| world.resource(side).is_some_and(Instance::is_idle));
        if deployment.status != Status::Available || !ready {
            return Err(wrong_state(&deployment, "switched over"));
        }
        for side in &sides {
            if let Some(instance) = world.resource_mut(side) {
                instance.status = InstanceStatus::Modifying;
                instance.work = Some(Work::Switch { deployment: deployment.id.clone() });
            }
        }
        (deployment.status, deployment.details) = (Status::SwitchoverInProgress, None);
        deployment.timeout_s = timeout.unsigned_abs();
        let shown = shape(site, world, &deployment);
        let [blue, _] = sides;
        world.deployments.insert(deployment.id.clone(), deployment);
        Ok((blue, shown))
    })?;
    work::begin(site, &resource);
    Ok(Some(Element::new("Result").child(shown)))
}

pub(super) fn delete(site: &Arc<Site>, query: &Query) -> Outcome<Option<Element>> {
    let id = query.required("BlueGreenDeploymentIdentifier")?;
    let delete_target = query.boolean("DeleteTarget")?.unwrap_or(false);
    let (id, shown) = site.change(|world| {
        let mut deployment = world.deployment(id)?.clone();
        let busy = [Status::Provisioning, Status::SwitchoverInProgress, Status::Deleting];
        // Its slots can be dropped on a server that runs only.
        let blue = world.resource(&deployment.source.resource).is_none_or(Instance::is_idle);
        if busy.contains(&deployment.status) || (deployment.is_open() && !blue) {
            return Err(wrong_state(&deployment, "deleted"));
        }
        if delete_target && !deployment.is_open() {
            return Err(wrong_state(&deployment, "deleted together with its target"));
        }
        let green = world.resource(&deployment.target.resource);
        if delete_target && green.is_some_and(|green| green.protected) {
            return Err(Refusal::combination("Cannot delete protected DB Instance."));
        }
        deployment.status = Status::Deleting;
        (deployment.delete_target, deployment.deleted_ms) = (delete_target, Some(site.clock.now_ms()));
        let shown = shape(site, world, &deployment);
        world.deployments.insert(deployment.id.clone(), deployment.clone());
        Ok((deployment.id, shown))
    })?;
    work::begin_deployment(site, &id);
    Ok(Some(Element::new("Result").child(shown)))
}

/// What an instance of a deployment is called now, or was at last.
fn name_of(world: &World, side: &Side) -> String {
    world.resource(&side.resource).map_or_else(|| side.id.clone(), |instance| instance.id.clone())
}

/// `BlueGreenDeployment`.
fn shape(site: &Site, world: &World, deployment: &Deployment) -> Element {
    let arn = |side: &Side| site.arn("db", &name_of(world, side));
    let (source, target) = (arn(&deployment.source), arn(&deployment.target));
    let gone = |side: &Side| world.resource(&side.resource).is_none();
    let detail = match deployment.status {
        // The answer to a creation is made before green is there.
        Status::Provisioning => "PROVISIONING",
        _ if gone(&deployment.source) => "MISSING_SOURCE",
        _ if gone(&deployment.target) => "MISSING_TARGET",
        Status::InvalidConfiguration => "PROVISIONING",
        Status::Deleting => "AVAILABLE",
        status => status.text(),
    };
    let task = |(place, task): (usize, &Task)| {
        let status = match (place.cmp(&deployment.done), deployment.status) {
            (std::cmp::Ordering::Less, _) => "COMPLETED",
            (std::cmp::Ordering::Equal, Status::Provisioning) => "IN_PROGRESS",
            (std::cmp::Ordering::Equal, Status::InvalidConfiguration) => "FAILED",
            _ => "PENDING",
        };
        Element::new("member").text("Name", task.text()).text("Status", status)
    };
    let switched =
        Element::new("member").text("SourceMember", &source).text("TargetMember", &target).text("Status", detail);
    Element::new("BlueGreenDeployment")
        .text("BlueGreenDeploymentIdentifier", &deployment.id)
        .text("BlueGreenDeploymentName", &deployment.name)
        .text("Source", &source)
        .text("Target", &target)
        .list("SwitchoverDetails", [switched])
        .list("Tasks", deployment.tasks.iter().enumerate().map(task))
        .text("Status", deployment.status.text())
        .maybe("StatusDetails", deployment.details.as_ref())
        .text("CreateTime", clock::text_of_ms(deployment.created_ms))
        .maybe("DeleteTime", deployment.deleted_ms.map(clock::text_of_ms))
        .list("TagList", tag_list(&deployment.tags))
}
