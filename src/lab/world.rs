//! Everything that the lab remembers, as plain data, and its one file. Servers that run are in `fleet`.

use std::{collections::BTreeMap, fs, path::Path};

use rand::Rng as _;
use serde::{Deserialize, Serialize};

use super::{
    clock::LabClock,
    deeds::Deed,
    deployment::Deployment,
    disk,
    function::Functions,
    group::ParameterGroup,
    instance::Instance,
    kind::Kind,
    proxy::Proxy,
    refusal::{Outcome, Refusal},
    secret::StoredSecret,
    snapshot::Snapshot,
};
use crate::{
    base::{Code, Result, Secret},
    fail,
};

/// The shape of `world.json`; a lab refuses a file of another shape.
const SCHEMA: u32 = 1;

/// RDS keeps events for 14 days (user guide, "Viewing Amazon RDS events").
const EVENTS_KEPT_MS: u64 = 14 * 86_400_000;

/// A lab in a loop makes more events in a day than anybody reads.
const EVENTS_KEPT: usize = 2_000;

/// The state of the lab.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct World {
    schema: u32,
    pub(crate) region: String,
    /// Where the endpoint listened last: whoever has it in the environment finds the lab there again.
    pub(crate) endpoint_port: Option<u16>,
    /// The password of `rdsadmin` on every server of this lab; random, and only ever used on loopback.
    superuser_password: String,
    pub(crate) instances: BTreeMap<String, Instance>,
    pub(crate) snapshots: BTreeMap<String, Snapshot>,
    pub(crate) groups: BTreeMap<String, ParameterGroup>,
    #[serde(default)]
    pub(crate) clusters: BTreeMap<String, Instance>,
    #[serde(default)]
    pub(crate) cluster_snapshots: BTreeMap<String, Snapshot>,
    #[serde(default)]
    pub(crate) cluster_groups: BTreeMap<String, ParameterGroup>,
    pub(crate) secrets: BTreeMap<String, StoredSecret>,
    #[serde(default)]
    pub(crate) functions: Functions,
    #[serde(default)]
    pub(crate) proxies: BTreeMap<String, Proxy>,
    #[serde(default)]
    pub(crate) deployments: BTreeMap<String, Deployment>,
    pub(crate) events: Vec<Event>,
    #[serde(default)]
    pub(crate) deeds: Vec<Deed>,
    /// How far its clock was before the system's.
    #[serde(default)]
    ahead_ms: u64,
    #[serde(skip)]
    pub(crate) clock: LabClock,
}

/// One line of `DescribeEvents`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Event {
    pub(crate) at_ms: u64,
    pub(crate) source: EventSource,
    pub(crate) id: String,
    pub(crate) category: String,
    pub(crate) message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum EventSource {
    Instance,
    Snapshot,
    ParameterGroup,
    Cluster,
    ClusterSnapshot,
    #[serde(rename = "blue-green-deployment")]
    Deployment,
}

impl EventSource {
    /// The `SourceType` of the API.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Instance => "db-instance",
            Self::Snapshot => "db-snapshot",
            Self::ParameterGroup => "db-parameter-group",
            Self::Cluster => "db-cluster",
            Self::ClusterSnapshot => "db-cluster-snapshot",
            Self::Deployment => "blue-green-deployment",
        }
    }
}

impl World {
    pub(crate) fn new(region: &str) -> Self {
        let letters = rand::rng().sample_iter(rand::distr::Alphanumeric).take(32).map(char::from);
        Self {
            schema: SCHEMA,
            region: region.to_owned(),
            endpoint_port: None,
            superuser_password: letters.collect(),
            instances: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            groups: BTreeMap::new(),
            clusters: BTreeMap::new(),
            cluster_snapshots: BTreeMap::new(),
            cluster_groups: BTreeMap::new(),
            secrets: BTreeMap::new(),
            functions: Functions::new(),
            proxies: BTreeMap::new(),
            deployments: BTreeMap::new(),
            events: Vec::new(),
            deeds: Vec::new(),
            ahead_ms: 0,
            clock: LabClock::default(),
        }
    }

    /// Reads the file; `None` when there is none yet.
    pub(crate) fn load(path: &Path) -> Result<Option<Self>> {
        let text = match fs::read(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(disk::failed("read", path))?,
        };
        let damaged = |what: String| {
            fail!(Code::LabFailed, "the lab's state `{}` cannot be used: {what}", path.display())
                .hint(format!("remove the folder {} and start again", path.parent().unwrap_or(path).display()))
        };
        let world: Self = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        if world.schema != SCHEMA {
            return Err(damaged(format!("it has schema {}, wanted {SCHEMA}", world.schema)));
        }
        Ok(Some(world))
    }

    /// Writes the file whole. It holds secrets: nobody else may read it.
    pub(crate) fn save(&mut self, path: &Path) -> Result<()> {
        self.ahead_ms = self.clock.ahead_ms();
        let text = serde_json::to_vec(self).map_err(|error| fail!(Code::Internal, "the lab's state: {error}"))?;
        disk::write_file(path, &text, 0o600, None)
    }

    /// Gives it the clock of a lab whose time passes so fast, and goes on from where it was.
    pub(crate) fn wind(&mut self, speed: f64) {
        self.clock = LabClock::new(speed, self.ahead_ms);
    }

    pub(crate) fn superuser_password(&self) -> Secret {
        Secret::new(self.superuser_password.as_str())
    }

    /// All instances, or all clusters.
    pub(crate) fn all(&self, kind: Kind) -> &BTreeMap<String, Instance> {
        match kind {
            Kind::Instance => &self.instances,
            Kind::Cluster => &self.clusters,
        }
    }

    pub(crate) fn all_mut(&mut self, kind: Kind) -> &mut BTreeMap<String, Instance> {
        match kind {
            Kind::Instance => &mut self.instances,
            Kind::Cluster => &mut self.clusters,
        }
    }

    /// Instances and clusters.
    pub(crate) fn databases(&self) -> impl Iterator<Item = &Instance> {
        self.instances.values().chain(self.clusters.values())
    }

    /// An instance or a cluster by its identifier or ARN, whatever their case.
    pub(crate) fn database(&self, kind: Kind, id: &str) -> Outcome<&Instance> {
        self.all(kind).get(&tail(id)).ok_or_else(|| Refusal::no_database(kind, &tail(id)))
    }

    pub(crate) fn database_mut(&mut self, kind: Kind, id: &str) -> Outcome<&mut Instance> {
        self.all_mut(kind).get_mut(&tail(id)).ok_or_else(|| Refusal::no_database(kind, &tail(id)))
    }

    pub(crate) fn instance(&self, id: &str) -> Outcome<&Instance> {
        self.database(Kind::Instance, id)
    }

    /// An instance or a cluster by what never changes about it.
    pub(crate) fn resource(&self, resource: &str) -> Option<&Instance> {
        self.databases().find(|database| database.resource == resource)
    }

    pub(crate) fn resource_mut(&mut self, resource: &str) -> Option<&mut Instance> {
        self.instances.values_mut().chain(self.clusters.values_mut()).find(|database| database.resource == resource)
    }

    /// The members of a cluster: the writer first, then in the order in which they would follow it.
    pub(crate) fn members(&self, cluster: &str) -> Vec<&Instance> {
        let mut members: Vec<&Instance> =
            self.instances.values().filter(|member| member.cluster.as_deref() == Some(cluster)).collect();
        members.sort_by_key(|member| (!self.is_writer(member), member.tier, member.created_ms));
        members
    }

    /// True for the member that works on the cluster's own storage.
    pub(crate) fn is_writer(&self, member: &Instance) -> bool {
        let cluster = member.cluster.as_deref().and_then(|cluster| self.resource(cluster));
        cluster.is_some_and(|cluster| cluster.folder == member.folder)
    }

    pub(crate) fn writer(&self, cluster: &str) -> Option<&Instance> {
        self.members(cluster).into_iter().find(|member| self.is_writer(member))
    }

    /// The instances whose servers serve an instance or cluster.
    pub(crate) fn servers_of(&self, database: &Instance) -> Vec<&Instance> {
        match database.kind {
            Kind::Instance => self.resource(&database.resource).into_iter().collect(),
            Kind::Cluster => self.members(&database.resource),
        }
    }

    pub(crate) fn snapshots_of(&self, kind: Kind) -> &BTreeMap<String, Snapshot> {
        match kind {
            Kind::Instance => &self.snapshots,
            Kind::Cluster => &self.cluster_snapshots,
        }
    }

    pub(crate) fn snapshots_mut(&mut self, kind: Kind) -> &mut BTreeMap<String, Snapshot> {
        match kind {
            Kind::Instance => &mut self.snapshots,
            Kind::Cluster => &mut self.cluster_snapshots,
        }
    }

    pub(crate) fn snapshot(&self, kind: Kind, id: &str) -> Outcome<&Snapshot> {
        self.snapshots_of(kind).get(&tail(id)).ok_or_else(|| Refusal::no_snapshot(kind, &tail(id)))
    }

    pub(crate) fn snapshot_mut(&mut self, kind: Kind, id: &str) -> Outcome<&mut Snapshot> {
        self.snapshots_mut(kind).get_mut(&tail(id)).ok_or_else(|| Refusal::no_snapshot(kind, &tail(id)))
    }

    /// A blue/green deployment by its identifier or ARN.
    pub(crate) fn deployment(&self, id: &str) -> Outcome<&Deployment> {
        self.deployments.get(&tail(id)).ok_or_else(|| Refusal::no_deployment(&tail(id)))
    }

    pub(crate) fn deployment_mut(&mut self, id: &str) -> Outcome<&mut Deployment> {
        self.deployments.get_mut(&tail(id)).ok_or_else(|| Refusal::no_deployment(&tail(id)))
    }

    pub(crate) fn groups_of(&self, kind: Kind) -> &BTreeMap<String, ParameterGroup> {
        match kind {
            Kind::Instance => &self.groups,
            Kind::Cluster => &self.cluster_groups,
        }
    }

    pub(crate) fn groups_mut(&mut self, kind: Kind) -> &mut BTreeMap<String, ParameterGroup> {
        match kind {
            Kind::Instance => &mut self.groups,
            Kind::Cluster => &mut self.cluster_groups,
        }
    }

    /// The status of everything that has one.
    pub(crate) fn statuses(&self) -> BTreeMap<(&'static str, String), &'static str> {
        let databases = self.databases().map(|found| ((found.kind.words().arn, found.id.clone()), found.status.text()));
        let snapshots = self.snapshots.values().chain(self.cluster_snapshots.values());
        let snapshots =
            snapshots.map(|found| ((found.kind.words().snapshot_arn, found.id.clone()), found.status.text()));
        databases.chain(snapshots).collect()
    }

    /// A parameter group that somebody made; the default ones are in no map.
    pub(crate) fn group(&self, kind: Kind, name: &str) -> Outcome<&ParameterGroup> {
        self.groups_of(kind).get(&tail(name)).ok_or_else(|| Refusal::no_group(&tail(name)))
    }

    pub(crate) fn group_mut(&mut self, kind: Kind, name: &str) -> Outcome<&mut ParameterGroup> {
        self.groups_mut(kind).get_mut(&tail(name)).ok_or_else(|| Refusal::no_group(&tail(name)))
    }

    /// The parameters that a server starts with: those of its own group over those of its cluster's.
    pub(crate) fn group_of(&self, database: &Instance) -> Option<ParameterGroup> {
        let own = self.groups_of(database.kind).get(&database.group);
        let cluster = database.cluster.as_deref().and_then(|cluster| self.resource(cluster));
        let common = cluster.and_then(|cluster| self.cluster_groups.get(&cluster.group));
        match (common, own) {
            (Some(common), Some(own)) => {
                let mut both = common.clone();
                both.parameters.extend(own.parameters.clone());
                Some(both)
            }
            (one, other) => one.or(other).cloned(),
        }
    }

    pub(crate) fn event(&mut self, source: EventSource, id: &str, category: &str, message: impl Into<String>) {
        let at_ms = self.clock.now_ms();
        let event = Event { at_ms, source, id: id.to_owned(), category: category.to_owned(), message: message.into() };
        tracing::info!(source = source.text(), id, message = event.message, "lab event");
        self.events.push(event);
        let too_many = self.events.len().saturating_sub(EVENTS_KEPT);
        self.events.drain(..too_many);
        self.events.retain(|event| event.at_ms + EVENTS_KEPT_MS > at_ms);
    }
}

/// The name in `NAME` or `arn:aws:rds:REGION:ACCOUNT:KIND:NAME`, lower-cased as RDS stores it. Names of automated
/// snapshots contain a colon themselves, so only an ARN is cut.
pub(crate) fn tail(id: &str) -> String {
    let name = if id.starts_with("arn:") { id.splitn(7, ':').nth(6).unwrap_or_default() } else { id };
    name.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::{EventSource, World, tail};

    #[test]
    fn names_and_arns_lead_to_the_same_thing() {
        assert_eq!(tail("Blue"), "blue");
        assert_eq!(tail("arn:aws:rds:eu-west-1:000000000000:db:blue"), "blue");
        assert_eq!(tail("rds:blue-2026"), "rds:blue-2026");
    }

    #[test]
    fn the_file_is_read_back_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("world.json");
        assert!(World::load(&path).unwrap().is_none());
        let mut world = World::new("eu-west-1");
        world.event(EventSource::Instance, "blue", "creation", "DB instance created");
        world.save(&path).unwrap();
        assert_eq!(World::load(&path).unwrap().unwrap().events.len(), 1);
        std::fs::write(&path, "{\"schema\":1").unwrap();
        assert!(World::load(&path).unwrap_err().hint_text().unwrap().contains("remove the folder"));
    }
}
