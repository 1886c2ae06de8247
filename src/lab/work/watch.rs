//! Servers that end by themselves are started again, as the host of an RDS instance does it; and faults strike them.

use std::{sync::Arc, time::Duration};

use super::{
    instances::{note, put, show},
    weather::Weather,
};
use crate::{
    base::clock,
    lab::{instance::InstanceStatus, site::Site},
};

/// Short against what a client notices, long against what the look costs.
const INTERVAL: Duration = Duration::from_millis(250);

/// Looks for ended servers for as long as the lab lives.
pub(in crate::lab) async fn watch(site: Arc<Site>) {
    let mut weather = Weather::default();
    loop {
        clock::sleep(INTERVAL).await;
        let _tending = site.tending.lock().await;
        weather.pass(&site).await;
        for resource in site.fleet.ended() {
            if !site.look(|world| world.resource(&resource).is_some_and(|found| found.status.serves())) {
                continue;
            }
            if let Some(mut server) = site.fleet.take(&resource) {
                let message = "Recovery of the DB instance has started";
                note(&site, &resource, "recovery", message, |_| {});
                match server.start().await {
                    Ok(()) => {
                        put(&site, &resource, server);
                        let message = "Recovery of the DB instance is complete";
                        note(&site, &resource, "recovery", message, |_| {});
                    }
                    // It is tried again until the disk has room.
                    Err(_) if weather.has_full_disk(&resource) => put(&site, &resource, server),
                    Err(error) => {
                        tracing::warn!(resource, %error, "an ended server does not start again");
                        show(&site, &resource, InstanceStatus::Failed);
                    }
                }
            }
        }
    }
}
