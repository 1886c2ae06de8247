//! Blue and green change places (user guide, "Switching a blue/green deployment", "Switchover actions"): new writes and
//! sessions are refused on both, green gets what it has not yet, sequences go on, names and ports are exchanged. What
//! was blue stays read-only until it is rebooted, and nothing leads back to it.
//!
//! A switchover that does not come to its end in time is put back, and the deployment is available again. On RDS the
//! same is promised, and the guardrails before it look at the replication too.

use std::{sync::Arc, time::Duration};

use super::{
    deployments::{caught_up, door, look, part, record},
    instances::{put, raise, show, take},
};
use crate::{
    base::{Code, Error, Result, clock, poll},
    fail,
    lab::{
        deployment::{Deployment, DeploymentStatus, Phase},
        group::READ_ONLY,
        instance::{Instance, InstanceStatus},
        postgres::{Door, Shutdown},
        replication,
        site::Site,
        world::{EventSource, World},
    },
};

/// Does the switchover that the state holds, or goes on with it. Both instances bear it as their work; blue's is run.
pub(super) async fn run(site: &Arc<Site>, blue: &Instance, id: &str) {
    let Ok(deployment) = look(site, id) else { return };
    if deployment.source.resource != blue.resource {
        return;
    }
    if deployment.phase == Phase::Follows {
        let limit = Duration::from_secs(deployment.timeout_s).div_f64(site.options.speed);
        let drained = clock::within(limit, Box::pin(drain(site, &deployment, limit))).await;
        let late = || Err(fail!(Code::Timeout, "the switchover timeout of {} s is over", deployment.timeout_s));
        if let Err(error) = drained.unwrap_or_else(late) {
            put_back(site, &deployment, &error);
            return;
        }
        record(site, id, None, |known| known.phase = Phase::Drained);
    }
    let done = exchange(site, id).await;
    if done.is_err() {
        reopen(site, id).await;
    }
    site.record(|world| settle(world, &deployment, &done));
    for side in [&deployment.source, &deployment.target] {
        if site.fleet.view(&side.resource).is_none() {
            show(site, &side.resource, InstanceStatus::Failed);
        }
    }
}

/// A switchover failed too late to be put back: clients get what there is, and blue takes writes if it still is blue.
async fn reopen(site: &Arc<Site>, id: &str) {
    let Ok(deployment) = look(site, id) else { return };
    for (side, read_only) in [(&deployment.source, false), (&deployment.target, true)] {
        let opened = match serve(site, &side.resource).await {
            Ok(()) if deployment.phase == Phase::Drained => hold(site, &side.resource, read_only, false),
            served => served,
        };
        if let Err(error) = opened {
            tracing::warn!(instance = side.id, %error, "it does not serve after a failed switchover");
        }
    }
}

/// Starts the server of an instance unless it runs.
async fn serve(site: &Site, resource: &str) -> Result<()> {
    let instance = site.look(|world| world.resource(resource).cloned());
    if let Some(instance) = instance.filter(|_| site.fleet.view(resource).is_none()) {
        put(site, resource, raise(site, &instance).await?);
    }
    Ok(())
}

/// Sets whether an instance is read-only, and whether it refuses clients, while it runs. The state has the first, so
/// that the next start has it too.
pub(super) fn hold(site: &Site, resource: &str, read_only: bool, refuses: bool) -> Result<()> {
    site.record(|world| {
        if let Some(instance) = world.resource_mut(resource) {
            instance.read_only = read_only;
        }
    });
    let own = site.look(|world| {
        let group = world.group_of(world.resource(resource)?)?;
        group.parameters.get(READ_ONLY).map(|set| set.value.clone())
    });
    let value = if read_only { Some("on".to_owned()) } else { own };
    let told = site.fleet.with(resource, |server| {
        match value {
            Some(value) => drop(server.settings_mut().insert(READ_ONLY.into(), value)),
            None => drop(server.settings_mut().remove(READ_ONLY)),
        }
        server.refuse(refuses)?;
        server.reload()
    });
    told.unwrap_or_else(|| Err(fail!(Code::LabFailed, "the server does not run")))
}

/// Ends writing on blue when green follows well, and gives green the rest.
async fn drain(site: &Site, deployment: &Deployment, limit: Duration) -> Result<()> {
    let (blue, green) = (&deployment.source.resource, &deployment.target.resource);
    let patience = poll::Patience { every: Duration::from_millis(10), deadline: limit };
    // Before anybody notices: a replication that stands still leads to a timeout and not to an outage.
    caught_up(site, deployment, patience).await?;
    let doors = (door(site, blue)?, door(site, green)?);
    let (one, other) = tokio::join!(replication::checkpoint(&doors.0), replication::checkpoint(&doors.1));
    one.and(other)?;
    let (one, other) = tokio::join!(close(site, blue, &doors.0), close(site, green, &doors.1));
    one.and(other)?;
    caught_up(site, deployment, patience).await?;
    replication::copy_sequences(&doors.0, &doors.1).await
}

/// Refuses clients, and ends their sessions once nobody new can come.
async fn close(site: &Site, resource: &str, door: &Door) -> Result<()> {
    let before = replication::loaded_at(door).await?;
    hold(site, resource, true, true)?;
    let at = door.clone();
    poll::until("the server to refuse clients", poll::Patience::ms(5, 30_000), async move || {
        let now = replication::loaded_at(&at).await?;
        Ok(if now == before { poll::Seen::NotYet("not yet".into()) } else { poll::Seen::Ready(()) })
    })
    .await?;
    replication::end_sessions(door).await
}

/// Everything is as before, blue takes writes, green follows.
fn put_back(site: &Site, deployment: &Deployment, error: &Error) {
    tracing::warn!(id = deployment.id, %error, "a switchover is put back");
    for (side, read_only) in [(&deployment.source, false), (&deployment.target, true)] {
        if let Err(error) = hold(site, &side.resource, read_only, false) {
            tracing::warn!(instance = side.id, %error, "it takes effect with the next start");
        }
    }
    let message = format!("Switchover canceled, no changes were made: {error}");
    record(site, &deployment.id, Some(&message), |known| {
        (known.status, known.details) = (DeploymentStatus::Available, Some(error.to_string()));
    });
    site.record(|world| idle(world, deployment));
}

fn idle(world: &mut World, deployment: &Deployment) {
    for side in [&deployment.source, &deployment.target] {
        if let Some(instance) = world.resource_mut(&side.resource) {
            (instance.status, instance.work) = (InstanceStatus::Available, None);
        }
    }
}

/// Names and ports change hands while neither server runs, in one step of the state.
async fn exchange(site: &Site, id: &str) -> Result<()> {
    let deployment = look(site, id)?;
    let sides = [&deployment.target.resource, &deployment.source.resource];
    if deployment.phase == Phase::Drained {
        part(site, &deployment).await?;
        for resource in sides {
            if let Some(server) = take(site, resource).await {
                server.stop(Shutdown::Fast).await?;
            }
        }
        site.record(|world| rename(world, id));
    }
    // Green first: clients wait for it.
    for resource in sides {
        serve(site, resource).await?;
    }
    Ok(())
}

/// Blue becomes `ID-old1`, or the first such name that is free; green becomes `ID`.
fn rename(world: &mut World, id: &str) {
    let Some(deployment) = world.deployments.get(id).cloned() else { return };
    let resources = [&deployment.source.resource, &deployment.target.resource];
    let [Some(blue), Some(green)] = resources.map(|resource| world.resource(resource).cloned()) else { return };
    let mut old = format!("{}-old1", blue.id);
    let mut number = 1;
    while world.instances.contains_key(&old) {
        number += 1;
        old = format!("{}-old{number}", blue.id);
    }
    let message = format!("Renamed instance from {} to {old}, and from {} to {}", blue.id, green.id, blue.id);
    world.instances.remove(&green.id);
    let (port, wanted_port) = (blue.port, blue.wanted_port);
    let new = Instance { id: blue.id.clone(), port, wanted_port, read_only: false, ..green.clone() };
    let kept = Instance { id: old.clone(), port: green.port, wanted_port: None, read_only: true, ..blue.clone() };
    world.event(EventSource::Instance, &blue.id, "notification", message);
    world.instances.insert(blue.id.clone(), new);
    world.instances.insert(old.clone(), kept);
    // A proxy of blue goes on with green (user guide, "Switchover when using Amazon RDS Proxy").
    for proxy in world.proxies.values_mut().filter(|proxy| proxy.target.as_ref() == Some(&blue.resource)) {
        proxy.target = Some(green.resource.clone());
    }
    if let Some(known) = world.deployments.get_mut(id) {
        (known.source.id, known.target.id, known.phase) = (old, blue.id, Phase::Exchanged);
    }
}

fn settle(world: &mut World, deployment: &Deployment, done: &Result<()>) {
    let Some(known) = world.deployments.get_mut(&deployment.id) else { return };
    let message = match done {
        Ok(()) => {
            (known.status, known.details) = (DeploymentStatus::SwitchoverCompleted, None);
            "Switchover completed".to_owned()
        }
        Err(error) => {
            (known.status, known.details) = (DeploymentStatus::SwitchoverFailed, Some(error.to_string()));
            format!("Switchover failed: {error}")
        }
    };
    world.event(EventSource::Deployment, &deployment.id, "notification", message);
    idle(world, deployment);
}
