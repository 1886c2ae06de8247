//! Making one cluster like another, as `aws/likeness.rs` does with instances: what RDS does not take with a clone.

use super::{Cluster, ClusterChange, ClusterGoal};
use crate::{
    aws::{
        client::Rds,
        likeness::{Likened, Unlike, compare, missing_tags},
        wait::Wait,
    },
    base::Result,
};

/// What two clusters for the same work have in common, under the names of [`Cluster::to_map`].
const TRAITS: [&str; 17] = [
    "storage_type",
    "encrypted",
    "kms_key",
    "serverless",
    "subnet_group",
    "network_type",
    "security_groups",
    "port",
    "iam_auth",
    "deletion_protection",
    "backup_retention_days",
    "backup_window",
    "maintenance_window",
    "copy_tags",
    "lifecycle_support",
    "log_exports",
    "master_secret",
];

/// Where the cluster is not like the example. Its instances are compared each by itself.
#[must_use]
pub fn unlike_clusters(example: &Cluster, cluster: &Cluster) -> Vec<Unlike> {
    compare(TRAITS.into_iter(), (&example.to_map(), &example.tags), (&cluster.to_map(), &cluster.tags))
}

/// The change that makes a cluster like the example, as far as RDS changes it without an outage.
fn change(example: &Cluster, cluster: &Cluster) -> ClusterChange {
    let has = |name: &str| unlike_clusters(example, cluster).iter().any(|unlike| unlike.what == name);
    let days = i32::try_from(example.backup_retention_days).ok();
    ClusterChange {
        security_groups: Some(example.security_groups.clone())
            .filter(|groups| !groups.is_empty() && has("security_groups")),
        iam_auth: Some(example.iam_auth).filter(|_| has("iam_auth")),
        deletion_protection: Some(example.deletion_protection).filter(|_| has("deletion_protection")),
        backup_retention_days: days.filter(|_| has("backup_retention_days")),
        backup_window: example.backup_window.clone().filter(|_| has("backup_window")),
        maintenance_window: example.maintenance_window.clone().filter(|_| has("maintenance_window")),
        copy_tags: Some(example.copy_tags).filter(|_| has("copy_tags")),
        log_exports: Some(example.log_exports.clone()).filter(|_| has("log_exports")),
        serverless: example.serverless.filter(|_| has("serverless")),
        ..ClusterChange::default()
    }
}

impl Rds {
    /// Makes a cluster like the example in everything that RDS does not take with a clone and changes without an
    /// outage. Gives what was changed and what is different all the same. Safe to repeat.
    ///
    /// # Errors
    /// Those of AWS and of waiting; `aws_unknown` when a change may have been begun.
    pub async fn make_cluster_like(&self, id: &str, example: &str, wait: &Wait<'_>) -> Result<Likened> {
        let (example, before) = (self.cluster(example).await?, self.cluster(id).await?);
        let (wanted, missing) = (change(&example, &before), unlike_clusters(&example, &before));
        let tags = missing_tags(&missing);
        if !tags.is_empty() {
            self.add_tags(&before.arn, &tags).await?;
        }
        let mut now = before;
        if wanted != ClusterChange::default() {
            self.modify_cluster(id, &wanted).await?;
            now = self.wait_cluster(id, &ClusterGoal::Changed(Box::new(wanted)), wait).await?;
        } else if !tags.is_empty() {
            now = self.cluster(id).await?;
        }
        Ok(Likened::new(missing, unlike_clusters(&example, &now)))
    }

    /// Turns deletion protection of a cluster on or off and waits until that is so.
    ///
    /// # Errors
    /// As [`Rds::make_cluster_like`].
    pub async fn protect_cluster(&self, id: &str, on: bool, wait: &Wait<'_>) -> Result<Cluster> {
        let found = self.cluster(id).await?;
        if found.deletion_protection == on {
            return Ok(found);
        }
        let change = ClusterChange { deletion_protection: Some(on), ..ClusterChange::default() };
        self.modify_cluster(id, &change).await?;
        self.wait_cluster(id, &ClusterGoal::Changed(Box::new(change)), wait).await
    }
}

#[cfg(test)]
mod tests {
    use super::{Cluster, TRAITS, change, unlike_clusters};
    use crate::aws::CloneOf;

    fn blue() -> Cluster {
        Cluster {
            storage_type: "aurora-iopt1".into(),
            serverless: Some((0.5, 16.0)),
            deletion_protection: true,
            backup_retention_days: 14,
            tags: [("team", "dba"), ("aws:cloudformation:stack", "x")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            ..Cluster::default()
        }
    }

    /// A trait that is misspelt would be compared as nothing with nothing.
    #[test]
    fn every_trait_is_described() {
        let described = Cluster::default().to_map();
        for name in TRAITS {
            assert!(described.contains_key(name), "{name}");
        }
    }

    /// A clone is asked for with what RDS takes there; protection would keep a copy that is not wanted.
    #[test]
    fn a_clone_and_a_change_hold_what_differs() {
        let mut clone = CloneOf::default();
        clone.like(&blue());
        assert_eq!((clone.storage_type.as_deref(), clone.serverless), (Some("aurora-iopt1"), Some((0.5, 16.0))));
        assert_eq!(clone.tags.keys().collect::<Vec<_>>(), ["team"]);
        assert_eq!(change(&blue(), &blue()), super::ClusterChange::default());
        let green = Cluster { deletion_protection: false, tags: super::super::Tags::new(), ..blue() };
        let what: Vec<String> = unlike_clusters(&blue(), &green).into_iter().map(|unlike| unlike.what).collect();
        assert_eq!(what, ["deletion_protection", "tag team"]);
        let wanted = change(&blue(), &green);
        assert_eq!((wanted.deletion_protection, wanted.backup_retention_days), (Some(true), None));
    }
}
