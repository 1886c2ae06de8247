//! What an upgrade by logical replication would stumble over outside the server: storage, replicas, rotations.
//!
//! Sources: RDS user guide, "Monitoring metrics", "Upgrading the PostgreSQL DB engine", "Working with read replicas";
//! Secrets Manager user guide, "Rotate secrets".

use super::{client::Rds, cluster::Cluster, instance::Instance, secrets::Secrets, versions::choose_target};
use crate::base::{Code, Finding, Result, Verdict, clock, prose};

/// Every check, for waivers.
pub const IDS: [&str; 7] = [
    "upgrade_target",
    "free_storage",
    "instance_replica",
    "replica_instance",
    "instance_state",
    "rotation",
    "rotation_pending",
];

/// How long after the cutover an upgrade is finalized: a rotation that comes later than this is only told.
const FINALIZED_WITHIN_MS: u64 = 7 * 24 * 3600 * 1000;

/// What the caller knows besides.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// The version to upgrade to, if it is to be checked.
    pub target: Option<String>,
    /// Bytes of WAL that a slot may keep (`max_slot_wal_keep_size`), if that is bounded.
    pub wal_bound: Option<u64>,
}

fn finding(id: &str, verdict: Verdict, object: &str, text: String, hint: &str) -> Finding {
    let (database, object, hint) = (String::new(), object.to_owned(), hint.to_owned());
    Finding { id: id.to_owned(), verdict, database, object, text, hint }
}

impl Rds {
    /// What stands in the way of upgrading an instance.
    ///
    /// # Errors
    /// Those of AWS; where CloudWatch may not be asked there is a finding that says so.
    pub async fn findings(&self, id: &str, wish: &Wish) -> Result<Vec<Finding>> {
        let instance = self.instance(id).await?;
        let mut found = of_instance(&instance);
        if let Some(wanted) = &wish.target {
            let targets = self.upgrade_targets(&instance.engine, &instance.engine_version).await?;
            if let Err(error) = choose_target(&instance.engine_version, wanted, &targets) {
                let hint = error.hint_text().unwrap_or("choose a version that RDS offers").to_owned();
                let text = error.message().to_owned();
                found.push(finding("upgrade_target", Verdict::Stop, wanted, text, &hint));
            }
        }
        // The storage of a cluster grows by itself.
        if instance.cluster.is_none() {
            found.extend(self.of_storage(&instance, wish).await?);
        }
        Ok(found)
    }

    /// What stands in the way of upgrading a cluster: what is known of it and of its writer.
    ///
    /// # Errors
    /// As [`Rds::findings`].
    pub async fn cluster_findings(&self, id: &str, wish: &Wish) -> Result<Vec<Finding>> {
        let cluster = self.cluster(id).await?;
        let mut found = of_cluster(&cluster);
        if let Some(writer) = cluster.writer() {
            found.extend(self.findings(writer, wish).await?);
        }
        Ok(found)
    }

    async fn of_storage(&self, instance: &Instance, wish: &Wish) -> Result<Option<Finding>> {
        let id = instance.id.as_str();
        let warn = |text: String, hint: &str| Some(finding("free_storage", Verdict::Warn, id, text, hint));
        let free = match self.free_storage(id).await {
            Ok(Some(free)) => free,
            Ok(None) => {
                let text = "CloudWatch has no FreeStorageSpace of the last minutes".into();
                return Ok(warn(text, "look at the storage before slots are made: they keep WAL"));
            }
            Err(error) if error.code() == Code::AwsDenied => {
                let text = format!("could not be looked at: {}", error.message());
                return Ok(warn(text, "allow cloudwatch:GetMetricStatistics"));
            }
            Err(error) => return Err(error),
        };
        let gib = |bytes: u64| format!("{}.{} GiB", bytes >> 30, ((bytes % (1 << 30)) * 10) >> 30);
        if let Some(bound) = wish.wal_bound.filter(|bound| free < *bound) {
            let text = format!(
                "{} are free, and a slot may keep {} of WAL: the disk of production would be full before it is given up",
                gib(free),
                gib(bound)
            );
            let hint = "lower max_slot_wal_keep_size, or add storage";
            return Ok(Some(finding("free_storage", Verdict::Stop, id, text, hint)));
        }
        let allocated = u64::try_from(instance.storage_gib).unwrap_or(0) << 30;
        if free < allocated / 10 {
            let text = format!("only {} of {} are free", gib(free), gib(allocated));
            return Ok(warn(text, "add storage: while GREEN is built, slots keep WAL"));
        }
        Ok(None)
    }
}

fn of_instance(instance: &Instance) -> Vec<Finding> {
    let mut found = vec![];
    if instance.status != "available" {
        let text = format!("it is {}: no snapshot can be taken now", instance.status);
        found.push(finding("instance_state", Verdict::Stop, &instance.id, text, "wait until it is available"));
    }
    if let Some(source) = &instance.replica_of {
        let text = format!("it is a read replica of {source}: it takes no slots for all databases and no writes");
        found.push(finding(
            "replica_instance",
            Verdict::Stop,
            &instance.id,
            text,
            "upgrade the instance it reads from",
        ));
    }
    for replica in &instance.replicas {
        let text = "it goes on following BLUE after the cutover, and GREEN has none".into();
        let hint = "make GREEN's read replicas before the cutover, and send its readers there";
        found.push(finding("instance_replica", Verdict::Warn, replica, text, hint));
    }
    found
}

fn of_cluster(cluster: &Cluster) -> Vec<Finding> {
    let (mut found, id) = (vec![], cluster.id.as_str());
    if cluster.status != "available" {
        let text = format!("it is {}: it cannot be cloned now", cluster.status);
        found.push(finding("instance_state", Verdict::Stop, id, text, "wait until it is available"));
    }
    if cluster.writer().is_none() {
        let text = "it has no instance: nobody can write a marker".into();
        found.push(finding("instance_state", Verdict::Stop, id, text, "make an instance in it"));
    }
    if let Some(source) = &cluster.replica_of {
        let text = format!("it is a replica of {source}: it takes no writes");
        found.push(finding("replica_instance", Verdict::Stop, id, text, "upgrade the cluster that it replicates from"));
    }
    for replica in &cluster.replicas {
        let text = "it goes on following BLUE after the cutover, and GREEN has none".into();
        let hint = "make GREEN's replicas before the cutover, and send its readers there";
        found.push(finding("instance_replica", Verdict::Warn, replica, text, hint));
    }
    found
}

impl Secrets {
    /// Rotations that would change a password, or bring the old host back, while two servers share a secret.
    ///
    /// # Errors
    /// Those of AWS.
    pub async fn findings(&self, secrets: &[String]) -> Result<Vec<Finding>> {
        let mut found = vec![];
        for secret in secrets {
            let known = self.describe(secret).await?;
            if let Some(pending) = known.pending() {
                let text =
                    format!("version `{pending}` of a rotation is pending: ending it restores what it began with");
                let hint = "finish the rotation, or take AWSPENDING from that version";
                found.push(finding("rotation_pending", Verdict::Stop, secret, text, hint));
            }
            if known.rotation_enabled {
                found.push(of_rotation(secret, known.next_rotation_ms, clock::epoch_ms()));
            }
        }
        Ok(found)
    }
}

fn of_rotation(secret: &str, next_ms: Option<u64>, now_ms: u64) -> Finding {
    let is_late = next_ms.is_some_and(|next| next > now_ms.saturating_add(FINALIZED_WITHIN_MS));
    let verdict = if is_late { Verdict::Warn } else { Verdict::Stop };
    let when = next_ms.map_or_else(|| "at a time that is not told".to_owned(), clock::text_of_ms);
    let text =
        format!("it is rotated next {when}: GREEN does not hear of the new password, and BLUE's host comes back");
    let command = format!("aws secretsmanager cancel-rotate-secret --secret-id {}", prose::shell_word(secret));
    let hint = format!("suspend the rotation until the upgrade is finalized: {command}");
    finding("rotation", verdict, secret, text, &hint)
}

#[cfg(test)]
mod tests {
    use super::{Cluster, FINALIZED_WITHIN_MS, Instance, Verdict, of_cluster, of_instance, of_rotation};
    use crate::aws::Member;

    /// A rotation that can come before the upgrade is finalized stops it; a later one is told.
    #[test]
    fn a_rotation_stops_when_it_is_due() {
        assert_eq!(of_rotation("s", None, 5).verdict, Verdict::Stop);
        assert_eq!(of_rotation("s", Some(5 + FINALIZED_WITHIN_MS), 5).verdict, Verdict::Stop);
        let late = of_rotation("it's", Some(6 + FINALIZED_WITHIN_MS), 5);
        assert_eq!(late.verdict, Verdict::Warn);
        assert!(late.hint.ends_with(r"--secret-id 'it'\''s'"), "{}", late.hint);
    }

    #[test]
    fn an_instance_at_rest_on_its_own_has_no_findings() {
        let calm = Instance { id: "blue".into(), status: "available".into(), ..Instance::default() };
        assert_eq!(of_instance(&calm), []);
        let busy = Instance {
            status: "modifying".into(),
            replica_of: Some("first".into()),
            replicas: vec!["r1".into(), "r2".into()],
            ..calm
        };
        let found: Vec<_> = of_instance(&busy).into_iter().map(|f| (f.id, f.object)).collect();
        let wanted = [
            ("instance_state", "blue"),
            ("replica_instance", "blue"),
            ("instance_replica", "r1"),
            ("instance_replica", "r2"),
        ];
        assert_eq!(found, wanted.map(|(id, object)| (id.to_owned(), object.to_owned())));
    }
    #[test]
    fn a_cluster_at_rest_on_its_own_has_no_findings() {
        let writer = Member { id: "blue-1".into(), is_writer: true, tier: 1 };
        let calm =
            Cluster { id: "blue".into(), status: "available".into(), members: vec![writer], ..Cluster::default() };
        assert_eq!(of_cluster(&calm), []);
        let busy = Cluster {
            status: "upgrading".into(),
            members: vec![],
            replica_of: Some("first".into()),
            replicas: vec!["elsewhere".into()],
            ..calm
        };
        let found: Vec<_> = of_cluster(&busy).into_iter().map(|f| (f.id, f.object)).collect();
        let wanted = [
            ("instance_state", "blue"),
            ("instance_state", "blue"),
            ("replica_instance", "blue"),
            ("instance_replica", "elsewhere"),
        ];
        assert_eq!(found, wanted.map(|(id, object)| (id.to_owned(), object.to_owned())));
    }
}
