//! What `pgrun lab status` shows: everything in a lab, whether it runs or not.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    authority::{ca_file, instance_host},
    daemon::{Running, running},
    deeds::Deed,
    instance::Instance,
    kind::Kind,
    postgres::{Version, tree_bytes},
    proxy::proxy_host,
    snapshot::Snapshot,
    world::World,
};
use crate::base::Result;

/// A lab as it is now.
#[derive(Clone, Debug)]
pub struct Status {
    /// The lab that runs, if one does.
    pub running: Option<Running>,
    /// Its folder.
    pub dir: PathBuf,
    /// Instances.
    pub instances: Vec<Database>,
    /// Clusters.
    pub clusters: Vec<Database>,
    /// Proxies.
    pub proxies: Vec<ProxyPlace>,
    /// Snapshots, those of clusters included.
    pub snapshots: Vec<Copy>,
    /// Names of secrets.
    pub secrets: Vec<String>,
    /// What was done last, the oldest first.
    pub deeds: Vec<Deed>,
}

/// An instance or a cluster.
#[derive(Clone, Debug, Serialize)]
pub struct Database {
    /// Its identifier.
    pub id: String,
    /// Its status, as the API has it.
    pub status: &'static str,
    /// What its server runs.
    pub engine_version: Version,
    /// Where it listens; none before it first did.
    pub endpoint: Option<String>,
    /// The name in its certificate.
    pub host: String,
    /// What kind of role its master user is: `rds_superuser` or `superuser`.
    pub master_user: &'static str,
    /// How large its folder is.
    pub bytes: u64,
}

/// An RDS Proxy.
#[derive(Clone, Debug, Serialize)]
pub struct ProxyPlace {
    /// Its name.
    pub name: String,
    /// Its status, as the API has it.
    pub status: &'static str,
    /// The name in its certificate.
    pub host: String,
    /// Its port on 127.0.0.1.
    pub port: Option<u16>,
}

/// A snapshot.
#[derive(Clone, Debug, Serialize)]
pub struct Copy {
    /// Its identifier.
    pub id: String,
    /// Its status, as the API has it.
    pub status: &'static str,
    /// The version of its data.
    pub engine_version: Version,
    /// What it was taken of.
    pub instance: String,
    /// How large its folder is. Blocks that a file system shares count as if it did not.
    pub bytes: u64,
}

/// Reads the state of the lab in this folder, running or not.
///
/// # Errors
/// `lab_failed` when the state cannot be read.
pub fn status(dir: &Path) -> Result<Status> {
    let world = World::load(&dir.join("world.json"))?.unwrap_or_else(|| World::new(""));
    let database = |found: &Instance| Database {
        id: found.id.clone(),
        status: found.status.text(),
        engine_version: found.version,
        endpoint: found.port.map(|port| format!("127.0.0.1:{port}")),
        host: instance_host(&found.id, &world.region),
        master_user: if found.superuser_master { "superuser" } else { "rds_superuser" },
        bytes: tree_bytes(&dir.join("instances").join(&found.folder)),
    };
    let copy = |found: &Snapshot| Copy {
        id: found.id.clone(),
        status: found.status.text(),
        engine_version: found.version,
        instance: found.instance.clone(),
        bytes: tree_bytes(&dir.join("snapshots").join(&found.folder)),
    };
    let proxies = world.proxies.values().map(|found| ProxyPlace {
        name: found.name.clone(),
        status: found.status(),
        host: proxy_host(&found.name, &world.region),
        port: found.port,
    });
    Ok(Status {
        running: running(dir),
        dir: dir.to_owned(),
        instances: world.all(Kind::Instance).values().map(database).collect(),
        clusters: world.all(Kind::Cluster).values().map(database).collect(),
        proxies: proxies.collect(),
        snapshots: world.snapshots.values().chain(world.cluster_snapshots.values()).map(copy).collect(),
        secrets: world.secrets.keys().cloned().collect(),
        deeds: world.deeds,
    })
}

/// Where an instance or a proxy of the lab in this folder listens on 127.0.0.1, and the name in its certificate.
/// Measures nothing: a forwarded port asks for each connection.
///
/// # Errors
/// `lab_failed` when the state cannot be read.
pub fn place(dir: &Path, name: &str) -> Result<Option<(u16, String)>> {
    let Some(world) = World::load(&dir.join("world.json"))? else { return Ok(None) };
    let instance = world.instances.get(name).map(|found| (found.port, instance_host(name, &world.region)));
    let proxy = || world.proxies.get(name).map(|found| (found.port, proxy_host(name, &world.region)));
    Ok(instance.or_else(proxy).and_then(|(port, host)| Some((port?, host))))
}

impl Status {
    /// The lab's authority, for `sslrootcert`.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        ca_file(&self.dir)
    }

    /// What kind of role the master users are: `rds_superuser`, `superuser`, or `mixed`; none without instances.
    #[must_use]
    pub fn master_user(&self) -> Option<&'static str> {
        let first = self.instances.first()?.master_user;
        let all = self.instances.iter().all(|found| found.master_user == first);
        Some(if all { first } else { "mixed" })
    }

    /// [`Status::master_user`] as a sentence, with the versions it is true for.
    #[must_use]
    pub fn masters(&self) -> String {
        let of = |kind: &str| {
            let mut found: Vec<Version> =
                self.instances.iter().filter(|one| one.master_user == kind).map(|one| one.engine_version).collect();
            found.sort();
            found.dedup();
            found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        let (like_rds, superusers) = (of("rds_superuser"), of("superuser"));
        let why = "what RDS refuses them is not refused here (no C compiler, or no server headers of that version)";
        match (like_rds.is_empty(), superusers.is_empty()) {
            (true, true) => "no master user yet".to_owned(),
            (false, true) => "master users are members of rds_superuser, as on RDS".to_owned(),
            (true, false) => format!("master users are superusers: {why}"),
            (false, false) => {
                format!("master users are as on RDS in {like_rds}, and superusers in {superusers}: there {why}")
            }
        }
    }

    /// The documented JSON: no field of it is ever removed.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let running = self.running.as_ref();
        json!({
            "schema": 1,
            "running": running.is_some(),
            "url": running.map(|lab| &lab.url),
            "region": running.map(|lab| &lab.region),
            "pid": running.map(|lab| lab.process.pid),
            "started": running.map(|lab| &lab.started),
            "dir": self.dir,
            "master_user": self.master_user(),
            "ca": self.ca(),
            "instances": self.instances,
            "clusters": self.clusters,
            "proxies": self.proxies,
            "snapshots": self.snapshots,
            "secrets": self.secrets,
            "deeds": self.deeds,
        })
    }
}
