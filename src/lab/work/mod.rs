//! What happens after an answer: instances and snapshots go through their states, and real servers with them. Work is
//! part of the state, so that a lab which was killed begins it anew; each piece therefore first removes what an
//! earlier attempt left.

use std::sync::Arc;

use super::{kind::Kind, site::Site};

mod changes;
mod clusters;
mod copies;
mod deployments;
mod instances;
mod proxies;
mod rotations;
mod snapshots;
mod switchover;
mod takeover;
mod watch;
mod weather;

pub(super) use proxies::begin_proxy;
pub(super) use takeover::{end_everything, take_up};
pub(super) use watch::watch;

/// Begins what the state says is to be done with an instance or a cluster.
pub(super) fn begin(site: &Arc<Site>, resource: &str) {
    let (site, resource) = (site.clone(), resource.to_owned());
    site.clone().spawn(async move { instances::run(&site, &resource).await });
}

/// Begins the rotation that the state holds for a secret.
pub(super) fn begin_rotation(site: &Arc<Site>, arn: &str) {
    let (site, arn) = (site.clone(), arn.to_owned());
    site.clone().spawn(async move { rotations::run(&site, &arn).await });
}

/// Begins the deletion that the state holds for a blue/green deployment.
pub(super) fn begin_deployment(site: &Arc<Site>, id: &str) {
    let (site, id) = (site.clone(), id.to_owned());
    site.clone().spawn(async move { deployments::delete(&site, &id).await });
}

/// Begins what the state says is to be done with a snapshot.
pub(super) fn begin_snapshot(site: &Arc<Site>, kind: Kind, id: &str) {
    let (site, id) = (site.clone(), id.to_owned());
    site.clone().spawn(async move { snapshots::run(&site, kind, &id).await });
}
