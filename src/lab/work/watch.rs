//! Servers that end by themselves are started again, as the host of an RDS instance does it.

use std::{sync::Arc, time::Duration};

use super::instances::{note, put, show};
use crate::{
    base::clock,
    lab::{instance::InstanceStatus, site::Site},
};

/// Short against what a client notices, long against what the look costs.
const INTERVAL: Duration = Duration::from_millis(250);

/// Looks for ended servers for as long as the lab lives.
pub(in crate::lab) async fn watch(site: Arc<Site>) {
    loop {
        clock::sleep(INTERVAL).await;
        let _tending = site.tending.lock().await;
        for resource in site.fleet.ended() {
            let serves = site.look(|world| world.resource(&resource).is_some_and(|found| found.status.serves()));
            if let Some(mut server) = site.fleet.take(&resource).filter(|_| serves) {
                let message = "Recovery of the DB instance has started";
                note(&site, &resource, "recovery", message, |_| {});
                match server.start().await {
                    Ok(()) => {
                        put(&site, &resource, server);
                        let message = "Recovery of the DB instance is complete";
                        note(&site, &resource, "recovery", message, |_| {});
                    }
                    Err(error) => {
                        tracing::warn!(resource, %error, "an ended server does not start again");
                        show(&site, &resource, InstanceStatus::Failed);
                    }
                }
            }
        }
    }
}
