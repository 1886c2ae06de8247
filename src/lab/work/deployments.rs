//! Blue/green deployments begin and end: green is made as a copy that follows blue, and what it followed by is taken
//! away. How the two change places is in `switchover`.

use std::sync::Arc;

use super::{
    begin, changes, copies,
    instances::{is_master, put, raise},
};
use crate::{
    base::{Code, Error, Result, poll},
    fail,
    lab::{
        deployment::{Deployment, DeploymentStatus, Phase, Task},
        disk,
        instance::{Instance, InstanceStatus, Work},
        master,
        postgres::{Door, Server, Shutdown},
        replication,
        site::Site,
        world::{EventSource, World},
    },
};

/// Green has to make up for what blue did while the copy was upgraded.
const CATCH_UP: poll::Patience =
    poll::Patience { every: std::time::Duration::from_millis(50), deadline: std::time::Duration::from_secs(1800) };

/// Whether an instance is the green of a deployment that has not been switched over: it stays read-only.
pub(super) fn follows(site: &Site, instance: &Instance) -> bool {
    site.look(|world| {
        let mut open = world.deployments.values().filter(|known| known.is_open());
        open.any(|known| known.target.resource == instance.resource)
    })
}

pub(super) fn look(site: &Site, id: &str) -> Result<Deployment> {
    let found = site.look(|world| world.deployments.get(id).cloned());
    found.ok_or_else(|| fail!(Code::LabFailed, "the deployment went away"))
}

/// Changes the deployment and says so in an event, if there is something to say.
pub(super) fn record(site: &Site, id: &str, message: Option<&str>, change: impl FnOnce(&mut Deployment)) {
    site.record(|world| {
        let Some(known) = world.deployments.get_mut(id) else { return };
        change(known);
        if let Some(message) = message {
            world.event(EventSource::Deployment, id, "notification", message);
        }
    });
}

/// The way to a server that runs.
pub(super) fn door(site: &Site, resource: &str) -> Result<Door> {
    let found = site.fleet.with(resource, |server| server.door());
    found.ok_or_else(|| fail!(Code::LabFailed, "one of the two servers does not run"))
}

/// Makes green. When that fails blue is as it was.
pub(super) async fn provision(site: &Arc<Site>, green: &Instance, id: &str) -> Result<()> {
    let deployment = look(site, id)?;
    record(site, id, None, |known| known.done = 0);
    let done = make(site, green, &deployment).await;
    if let Err(error) = &done {
        if let Ok(blue) = door(site, &deployment.source.resource)
            && let Err(error) = replication::unpublish(&blue, &deployment.mark()).await
        {
            tracing::warn!(id, %error, "a publication or slot is left");
        }
        invalid(site, id, error);
    }
    done
}

fn invalid(site: &Site, id: &str, error: &Error) {
    record(site, id, Some(&format!("Creation of the blue/green deployment failed: {error}")), |known| {
        (known.status, known.details) = (DeploymentStatus::InvalidConfiguration, Some(error.to_string()));
    });
}

/// The slots come first, the copy after them: whatever is not in the copy is in the slots.
async fn make(site: &Arc<Site>, green: &Instance, deployment: &Deployment) -> Result<()> {
    let (id, mark, source) = (&deployment.id, deployment.mark(), &deployment.source.resource);
    site.dwell(&green.id).await;
    let blue = site.look(|world| world.resource(source).cloned());
    let blue = blue.ok_or_else(|| fail!(Code::LabFailed, "the source went away"))?;
    let bare = replication::publish(&door(site, source)?, &mark).await?;
    if !bare.is_empty() {
        let message = format!(
            "Tables without a replica identity refuse UPDATE and DELETE until the deployment is deleted: {}",
            bare.join(", ")
        );
        record(site, id, Some(&message), |_| {});
    }
    copies::of_database(site, source, site.instance_folder(green)).await?;
    let from = recover(site, &blue, green).await?;
    let done = |task: Task| {
        record(site, id, None, |known| {
            known.done = known.tasks.iter().position(|known| *known == task).unwrap_or(0) + 1;
        });
    };
    done(Task::Copy);
    if blue.version.major != green.version.major {
        let (old, folder) = (Instance { version: blue.version, ..green.clone() }, site.instance_folder(green));
        changes::major_upgrade(site, &old, &folder, green.version, false).await?;
        disk::remove_folder(&folder.join("data.old"))?;
    }
    done(Task::Upgrade);
    done(Task::Backups);
    site.record(|world| {
        if let Some(green) = world.resource_mut(&green.resource) {
            green.read_only = true;
        }
    });
    let server = raise(site, &Instance { read_only: true, ..green.clone() }).await?;
    is_master(site, &green.resource, master::renew(&server, &green.master).await?);
    replication::subscribe(&server.door(), &door(site, source)?, &mark, from).await?;
    put(site, &green.resource, server);
    caught_up(site, deployment, CATCH_UP).await?;
    site.record(|world: &mut World| {
        let Some(known) = world.deployments.get_mut(id) else { return };
        (known.status, known.done) = (DeploymentStatus::Available, known.tasks.len());
        world.event(EventSource::Deployment, id, "creation", "Blue/green deployment created");
        if let Some(green) = world.resource_mut(&green.resource) {
            (green.status, green.work) = (InstanceStatus::Available, None);
        }
    });
    Ok(())
}

/// The copy recovers with its own version, for itself: gives the position from which green goes on.
async fn recover(site: &Site, blue: &Instance, green: &Instance) -> Result<crate::base::Lsn> {
    let old = Instance { version: blue.version, group: blue.group.clone(), ..green.clone() };
    let installation = site.obtain(blue.version).await?;
    let mut options = site.server_options(&installation, &old).await;
    // With the slots of its original it would not start otherwise.
    options.settings.insert("wal_level".into(), "logical".into());
    let folder = site.instance_folder(green);
    let server = Server::open(&installation, &folder, options).await?;
    let from = replication::end_of_copy(&folder).await?;
    replication::drop_slots(&server.door()).await?;
    server.stop(Shutdown::Fast).await?;
    Ok(from)
}

/// Waits until green has applied everything that is committed on blue now.
pub(super) async fn caught_up(site: &Site, deployment: &Deployment, patience: poll::Patience) -> Result<()> {
    let blue = door(site, &deployment.source.resource)?;
    let (position, mark) = (replication::position(&blue).await?, deployment.mark());
    let client = blue.connect("postgres").await?;
    poll::until("green to have everything", patience, async move || {
        let behind = replication::behind(&client, &mark, &position).await?;
        Ok(if behind.is_empty() { poll::Seen::Ready(()) } else { poll::Seen::NotYet(behind.join(", ")) })
    })
    .await
}

/// Takes away what green followed by, on both sides, as far as they are there.
pub(super) async fn part(site: &Site, deployment: &Deployment) -> Result<()> {
    let mark = deployment.mark();
    if let Ok(green) = door(site, &deployment.target.resource) {
        replication::unsubscribe(&green, &mark).await?;
    }
    if let Ok(blue) = door(site, &deployment.source.resource) {
        replication::unpublish(&blue, &mark).await?;
    }
    Ok(())
}

/// Deletes a deployment, and green with it where that was asked for; otherwise green goes on by itself, and takes
/// writes.
pub(super) async fn delete(site: &Arc<Site>, id: &str) {
    let Ok(deployment) = look(site, id) else { return };
    site.dwell(id).await;
    if let Err(error) = part(site, &deployment).await {
        tracing::warn!(id, %error, "a publication, slot or subscription is left");
    }
    let green = &deployment.target.resource;
    if deployment.delete_target {
        if let Err(error) = delete_green(site, green).await {
            tracing::warn!(id, %error, "green is left");
        }
    } else if deployment.phase != Phase::Exchanged {
        super::switchover::hold(site, green, false, false).unwrap_or_else(|error| {
            tracing::warn!(id, %error, "green stays read-only");
        });
    }
    site.record(|world| {
        world.deployments.remove(id);
        world.event(EventSource::Deployment, id, "deletion", "Blue/green deployment deleted");
    });
}

/// Begins the deletion of green, unless somebody did, and waits for its end.
async fn delete_green(site: &Arc<Site>, green: &str) -> Result<()> {
    let (site, green) = (site.clone(), green.to_owned());
    poll::until("green to be deleted", CATCH_UP, async move || {
        let Some(known) = site.look(|world| world.resource(&green).cloned()) else {
            return Ok(poll::Seen::Ready(()));
        };
        if known.work.is_none() {
            site.record(|world| {
                if let Some(known) = world.resource_mut(&green) {
                    known.status = InstanceStatus::Deleting;
                    known.work = Some(Work::Delete { final_snapshot: None });
                }
            });
            begin(&site, &green);
        }
        Ok(poll::Seen::NotYet(known.status.text().to_owned()))
    })
    .await
}
