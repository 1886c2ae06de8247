//! Rotations of secrets: the steps of a function, or a new master password by RDS; and those that are due.
//!
//! AWS tries a failed rotation again "multiple times" without saying when. The lab does it when `RotateSecret` says so,
//! when it is started again, and every hour.

use std::{sync::Arc, time::Duration};

use super::{changes, instances};
use crate::{
    base::{Code, Result, clock, poll},
    fail,
    lab::{
        function::{Registered, name_in},
        instance::{InstanceStatus, Work},
        managed,
        rotation::Attempt,
        secret::{CURRENT, PENDING, StoredSecret},
        site::Site,
        world::World,
    },
};

/// The steps of a rotation function (user guide, "Lambda rotation functions").
const STEPS: [&str; 4] = ["createSecret", "setSecret", "testSecret", "finishSecret"];

/// After a failed try.
const RETRY_SECONDS: f64 = 3600.0;

/// How often to look for rotations that are due: windows are hours long.
const INTERVAL: Duration = Duration::from_millis(500);

/// How long RDS waits for an instance on which other work is under way.
const INSTANCE_FREE: poll::Patience =
    poll::Patience { every: Duration::from_millis(50), deadline: Duration::from_secs(1800) };

/// The rotation that the state holds for a secret, to its end.
pub(super) async fn run(site: &Arc<Site>, arn: &str) {
    let Some((secret, attempt)) = under_way(site, arn) else { return };
    let token = &attempt.token;
    let done = match &secret.owning_service {
        Some(_) => rotate_master(site, arn, token).await,
        None => call_steps(site, &secret, &attempt).await,
    };
    let now = site.clock.seconds();
    change(site, arn, |secret| {
        let complete = done.is_ok() && secret.end_rotation(token, now);
        if !complete {
            secret.fail_rotation(token, now);
        }
    });
    set_rotating(site, arn, false);
    if let Err(error) = done {
        tracing::warn!(secret = arn, %error, "a rotation failed");
    }
}

fn under_way(site: &Site, arn: &str) -> Option<(StoredSecret, Attempt)> {
    let secret = site.look(|world| world.secrets.values().find(|secret| secret.arn == arn).cloned())?;
    let attempt = secret.rotation.attempt.clone().filter(|attempt| attempt.failed.is_none())?;
    Some((secret, attempt))
}

fn change<T>(site: &Site, arn: &str, change: impl FnOnce(&mut StoredSecret) -> T) -> Option<T> {
    let mut done = None;
    site.record(|world| done = world.secrets.values_mut().find(|secret| secret.arn == arn).map(change));
    done
}

/// Calls the function step by step. A rotation that was cancelled meanwhile goes no further.
async fn call_steps(site: &Site, secret: &StoredSecret, attempt: &Attempt) -> Result<()> {
    let steps: &[&str] = if attempt.test_only { &["testSecret"] } else { &STEPS };
    let name = secret.rotation.function.as_deref().and_then(name_in).unwrap_or_default();
    for step in steps {
        if under_way(site, &secret.arn).is_none_or(|(_, now)| now.token != attempt.token) {
            return Ok(());
        }
        let function = site.look(|world| world.functions.get(name).map(|known| known.function.clone()));
        let gone = || fail!(Code::LabFailed, "no function `{name}` is registered").hint("pgrun lab function add");
        let done = match function {
            Some(function) => function.call(step, &secret.arn, &attempt.token).await,
            None => Err(gone()),
        };
        note(site, name, &format!("{step} of {}", secret.name), &done);
        done?;
    }
    Ok(())
}

/// What `pgrun lab function list` shows of the last call.
fn note(site: &Site, name: &str, what: &str, done: &Result<()>) {
    let said = done.as_ref().map_or_else(|error| format!("{what}: {error}"), |()| format!("{what}: done"));
    site.record(|world| {
        if let Some(Registered { calls, last, .. }) = world.functions.get_mut(name) {
            *calls += 1;
            *last = Some(said);
        }
    });
}

/// RDS makes a password, sets it on the server, and moves the labels. A second time it finds the password it made.
async fn rotate_master(site: &Arc<Site>, arn: &str, token: &str) -> Result<()> {
    let gone = || fail!(Code::LabFailed, "the instance of the secret went away");
    let master = site.look(|world| of_secret(world, arn).map(|found| (found.resource.clone(), found.master.clone())));
    let (resource, user) = master.ok_or_else(gone)?;
    set_rotating(site, arn, true);
    let text = change(site, arn, |secret| {
        let made = managed::value(&user, &managed::new_password());
        let (now, labels) = (site.clock.seconds(), [PENDING.to_owned()]);
        // A version that has a value keeps it.
        drop(secret.put(token, made, &labels, now));
        secret.pick(Some(token), None).ok().and_then(|(_, data)| data.text.clone())
    });
    let password = password_in(&text.flatten().unwrap_or_default());
    let password = password.ok_or_else(|| fail!(Code::LabFailed, "the secret holds no password"))?;
    claim(site, &resource, &password).await?;
    if let Err(error) = changes::modify(site, &resource).await {
        instances::fail(site, &resource, InstanceStatus::Available, &error);
        return Err(error);
    }
    change(site, arn, |secret| {
        let from = secret.labels.get(CURRENT).cloned();
        secret.move_label(CURRENT, Some(token), from.as_deref(), site.clock.seconds())
    });
    Ok(())
}

fn of_secret<'a>(world: &'a World, arn: &str) -> Option<&'a crate::lab::instance::Instance> {
    world.instances.values().find(|found| found.master_secret.as_ref().is_some_and(|master| master.arn == arn))
}

fn password_in(text: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    value["password"].as_str().map(str::to_owned)
}

/// Gives the instance the work to set the password, as soon as it has no other: nobody else may begin any then.
async fn claim(site: &Arc<Site>, resource: &str, password: &str) -> Result<()> {
    let work = Work::Modify(Box::new(managed::change(password)));
    let (site, resource) = (site.clone(), resource.to_owned());
    poll::until("the instance to be free", INSTANCE_FREE, async move || {
        let is_idle = site.look(|world| world.resource(&resource).map(crate::lab::instance::Instance::is_idle));
        match is_idle {
            None => return Err(fail!(Code::LabFailed, "the instance went away")),
            Some(false) => return Ok(poll::Seen::NotYet("at work".into())),
            Some(true) => {}
        }
        let mut claimed = false;
        site.record(|world| {
            if let Some(instance) = world.resource_mut(&resource).filter(|instance| instance.is_idle()) {
                instance.work = Some(work.clone());
                claimed = true;
            }
        });
        Ok(if claimed { poll::Seen::Ready(()) } else { poll::Seen::NotYet("at work".into()) })
    })
    .await
}

fn set_rotating(site: &Site, arn: &str, rotating: bool) {
    let differs = |found: &managed::MasterSecret| found.arn == arn && found.rotating != rotating;
    if !site.look(|world| world.instances.values().any(|known| known.master_secret.as_ref().is_some_and(differs))) {
        return;
    }
    site.record(|world| {
        for master in world.instances.values_mut().filter_map(|known| known.master_secret.as_mut()) {
            if master.arn == arn {
                master.rotating = rotating;
            }
        }
    });
}

/// Takes up rotations that an earlier lab left.
pub(super) fn take_up(site: &Arc<Site>) {
    let mut left = Vec::new();
    site.record(|world| {
        for secret in world.secrets.values_mut() {
            if let Some(attempt) = &mut secret.rotation.attempt {
                attempt.failed = None;
                left.push(secret.arn.clone());
            }
        }
    });
    for arn in left {
        super::begin_rotation(site, &arn);
    }
}

/// Begins rotations when their windows open, and failed ones again, for as long as the lab lives.
pub(super) async fn keep(site: Arc<Site>) {
    loop {
        clock::sleep(INTERVAL).await;
        let now = site.clock.seconds();
        if !site.look(|world| world.secrets.values().any(|secret| is_due(secret, now))) {
            continue;
        }
        let mut due = Vec::new();
        site.record(|world| {
            for secret in world.secrets.values_mut().filter(|secret| is_due(secret, now)) {
                // What stands in the way of a new version is what was not completed.
                let token = secret.unfinished().map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned);
                match &mut secret.rotation.attempt {
                    Some(attempt) => attempt.failed = None,
                    None if secret.versions.contains_key(&token) => {
                        secret.rotation.attempt = Some(Attempt { token, test_only: false, failed: None });
                    }
                    None => secret.begin_rotation(&token, false, now),
                }
                due.push(secret.arn.clone());
            }
        });
        for arn in due {
            super::begin_rotation(&site, &arn);
        }
    }
}

fn is_due(secret: &StoredSecret, now: f64) -> bool {
    let rotation = &secret.rotation;
    if !rotation.is_enabled() || secret.deletion.is_some() {
        return false;
    }
    match &rotation.attempt {
        Some(attempt) => attempt.failed.is_some_and(|failed| now - failed > RETRY_SECONDS),
        None => rotation.window.is_some_and(|window| window.opens <= now),
    }
}
