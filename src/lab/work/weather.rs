//! Faults of servers: once a second each running one may be struck. A strike lasts as long as its fault says, and ends
//! by itself.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use nix::sys::signal::Signal;

use super::instances::{note, show};
use crate::{
    base::{Result, clock},
    lab::{
        fault::{Blow, On, Strike},
        instance::InstanceStatus,
        postgres::{DiskFault, Process, hold},
        site::Site,
    },
};

/// Between two tries of the faults of servers.
const ROLL: Duration = Duration::from_secs(1);

/// What lasts for a while and has to be taken back.
#[derive(Default)]
pub(super) struct Weather {
    rolled: Option<std::time::Instant>,
    ends: BTreeMap<(String, Lasting), std::time::Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lasting {
    Refusal,
    FullDisk,
    SlowDisk,
}

/// A fast shutdown writes a checkpoint, a long one on a slow disk.
const GOES_WITHIN: Duration = Duration::from_secs(30);

impl Weather {
    /// Strikes whom a fault strikes now, and ends what has lasted long enough. The caller has the servers in hand.
    pub(super) async fn pass(&mut self, site: &Arc<Site>) {
        let now = clock::instant();
        // Faults that were cleared end at once.
        let is_clear = site.faults.is_empty();
        let over: Vec<_> =
            self.ends.iter().filter(|(_, end)| is_clear || **end <= now).map(|(key, _)| key.clone()).collect();
        for key in over {
            self.ends.remove(&key);
            end(site, &key.0, key.1);
        }
        site.disturbed.store(!self.ends.is_empty(), Ordering::Relaxed);
        if self.rolled.is_some_and(|rolled| rolled + ROLL > now) {
            return;
        }
        self.rolled = Some(now);
        for resource in site.fleet.names() {
            let Some(id) = site.look(|world| world.resource(&resource).map(|found| found.id.clone())) else { continue };
            let Some(strike) = site.faults.strike(On::Server, &id) else { continue };
            tracing::info!(id, ?strike, "a fault strikes a server");
            site.disturbed.store(true, Ordering::Relaxed);
            if let Err(error) = self.fall(site, &resource, strike).await {
                tracing::warn!(id, %error, "a fault did not strike");
            }
        }
    }

    async fn fall(&mut self, site: &Arc<Site>, resource: &str, strike: Strike) -> Result<()> {
        let Some((postmaster, _)) = site.fleet.view(resource) else { return Ok(()) };
        let until = clock::instant() + Duration::from_millis(strike.hold_ms);
        match strike.blow {
            Blow::Kill => fell(&postmaster, Signal::SIGKILL).await,
            Blow::Restart => fell(&postmaster, Signal::SIGINT).await,
            Blow::Stall => stall(&postmaster, strike.hold_ms).await?,
            Blow::Refuse => {
                self.ends.insert((resource.into(), Lasting::Refusal), until);
                site.fleet.with(resource, |server| server.refuse(true)).transpose()?;
            }
            Blow::DiskFull => {
                self.ends.insert((resource.into(), Lasting::FullDisk), until);
                show(site, resource, InstanceStatus::StorageFull);
                let message = "The free storage capacity for the DB instance is low";
                note(site, resource, "low storage", message, |_| {});
                disk(site, resource, |fault| DiskFault { is_full: true, ..fault })?;
            }
            Blow::SlowFsync => {
                self.ends.insert((resource.into(), Lasting::SlowDisk), clock::instant() + ROLL);
                let sync_ms = u32::try_from(strike.hold_ms).unwrap_or(u32::MAX);
                disk(site, resource, |fault| DiskFault { sync_ms, ..fault })?;
            }
            _ => {}
        }
        Ok(())
    }

    /// True while its disk is full: then it is no wonder that a server does not start.
    pub(super) fn has_full_disk(&self, resource: &str) -> bool {
        self.ends.contains_key(&(resource.to_owned(), Lasting::FullDisk))
    }
}

/// Sends the signal and sees the server go: until then it looks like one that runs, and a run would be taken up again
/// right before it is gone.
async fn fell(postmaster: &Process, signal: Signal) {
    let begun = clock::instant();
    postmaster.signal(signal);
    while postmaster.is_alive() && begun.elapsed() < GOES_WITHIN {
        clock::sleep(Duration::from_millis(5)).await;
    }
}

/// Every process stands still; clients see a server that does not answer.
async fn stall(postmaster: &Process, hold_ms: u64) -> Result<()> {
    let _frozen = hold(postmaster).await?;
    clock::sleep(Duration::from_millis(hold_ms)).await;
    Ok(())
}

fn end(site: &Site, resource: &str, what: Lasting) {
    let ended = match what {
        Lasting::Refusal => site.fleet.with(resource, |server| server.refuse(false)).transpose().map(drop),
        Lasting::SlowDisk => disk(site, resource, |fault| DiskFault { sync_ms: 0, ..fault }),
        Lasting::FullDisk => {
            let has_room = disk(site, resource, |fault| DiskFault { is_full: false, ..fault });
            site.record(|world| {
                if let Some(instance) = world.resource_mut(resource)
                    && instance.status == InstanceStatus::StorageFull
                {
                    instance.status = InstanceStatus::Available;
                }
            });
            has_room
        }
    };
    if let Err(error) = ended {
        tracing::warn!(resource, %error, "a fault of a server lasts longer than it should");
    }
}

fn disk(site: &Site, resource: &str, change: impl FnOnce(DiskFault) -> DiskFault) -> Result<()> {
    site.fleet.with(resource, |server| server.set_disk_fault(change(server.disk_fault()))).transpose().map(drop)
}
