//! Proxies listen for as long as the state has them.

use std::{sync::Arc, time::Duration};

use tokio::{net::TcpListener, task::JoinSet};

use crate::{
    base::{Result, clock},
    lab::{
        disk,
        proxy::{Proxy, proxy_host},
        relay::{acceptor, serve},
        site::Site,
    },
};

/// How soon a deleted proxy is gone, with its connections.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Listens for a proxy until it is deleted; connections end with it.
pub(in crate::lab) fn begin_proxy(site: &Arc<Site>, name: &str) {
    let (site, name) = (site.clone(), name.to_owned());
    site.clone().spawn(async move {
        let Some(proxy) = site.look(|world| world.proxies.get(&name).cloned()) else { return };
        if let Err(error) = listen(&site, &proxy).await {
            tracing::error!(proxy = proxy.name, %error, "a proxy does not listen");
        }
    });
}

async fn listen(site: &Arc<Site>, proxy: &Proxy) -> Result<()> {
    site.dwell(&proxy.name).await;
    let folder = site.options.dir.join("proxies").join(&proxy.resource);
    site.certify_proxy(&folder, &proxy_host(&proxy.name, site.region()))?;
    let tls = acceptor(&folder)?;
    // The port of last time, unless somebody else has it now.
    let again = match proxy.port {
        Some(port) => TcpListener::bind(("127.0.0.1", port)).await.ok(),
        None => None,
    };
    let listener = match again {
        Some(listener) => listener,
        None => TcpListener::bind(("127.0.0.1", 0)).await.map_err(disk::failed("bind in", &folder))?,
    };
    let port = listener.local_addr().map_err(disk::failed("bind in", &folder))?.port();
    let mine = |known: &Proxy| known.resource == proxy.resource;
    site.record(|world| {
        if let Some(known) = world.proxies.get_mut(&proxy.name).filter(|known| mine(known)) {
            known.port = Some(port);
        }
    });
    let mut connections = JoinSet::new();
    while site.look(|world| world.proxies.get(&proxy.name).is_some_and(mine)) {
        while connections.try_join_next().is_some() {}
        if let Some(Ok((client, _))) = clock::within(LOOK_EVERY, listener.accept()).await {
            connections.spawn(serve(site.clone(), proxy.name.clone(), tls.clone(), client));
        }
    }
    disk::remove_folder(&folder)
}
