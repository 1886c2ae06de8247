//! A DB cluster of Aurora as plain data, and the questions about clusters. Its instances are instances: what belongs to
//! one of them alone is in `instance.rs`.

mod change;
mod likeness;
mod wait;

pub use change::{CloneOf, ClusterChange, NewCluster, NewMember};
pub use likeness::unlike_clusters;
pub use wait::ClusterGoal;

use aws_sdk_rds::types::{ClusterPendingModifiedValues, DbCluster, DbClusterSnapshot};

use super::{
    client::Rds,
    instance::{GroupStatus, epoch_ms, found, sorted, tags_map},
    snapshot::Snapshot,
    tags::{Tags, from_sdk},
};
use crate::{
    base::{Code, Map, Result, Value, clock, secret::MASK},
    fail, map,
};

/// A DB cluster, as DescribeDBClusters tells it.
#[expect(clippy::struct_excessive_bools, reason = "a mirror of what RDS describes, each with its own name")]
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cluster {
    /// The identifier, in lower case.
    pub id: String,
    /// The ARN; the identifier is part of it.
    pub arn: String,
    /// The identity that survives renaming (`cluster-ABCDEF..`).
    pub resource_id: String,
    /// The status, for example `available`. By itself it proves nothing: right after a change it is stale.
    pub status: String,
    /// `aurora-postgresql`.
    pub engine: String,
    /// The version of the storage, and of every instance over it.
    pub engine_version: String,
    /// The host of the endpoint, which leads to the writer.
    pub host: Option<String>,
    /// The host of the endpoint that leads to the readers.
    pub reader_host: Option<String>,
    /// The port of both endpoints.
    pub port: Option<u16>,
    /// The database named when the cluster was created.
    pub database: Option<String>,
    /// The master user.
    pub master_user: String,
    /// The ARN of the secret that RDS itself rotates for the master user.
    pub master_secret: Option<String>,
    /// Its instances, the writer first, the others as they would take over.
    pub members: Vec<Member>,
    /// The cluster parameter group.
    pub parameter_group: GroupStatus,
    /// The kind of storage: `aurora` or `aurora-iopt1`.
    pub storage_type: String,
    /// Whether the storage is encrypted.
    pub encrypted: bool,
    /// The key it is encrypted with.
    pub kms_key: Option<String>,
    /// The least and the most capacity of its serverless instances.
    pub serverless: Option<(f64, f64)>,
    /// The DB subnet group.
    pub subnet_group: Option<String>,
    /// `IPV4` or `DUAL`.
    pub network_type: Option<String>,
    /// Ids of the VPC security groups.
    pub security_groups: Vec<String>,
    /// Whether IAM database authentication is on.
    pub iam_auth: bool,
    /// Whether deletion is refused.
    pub deletion_protection: bool,
    /// Days that automated backups are kept.
    pub backup_retention_days: i64,
    /// When automated backups are taken.
    pub backup_window: Option<String>,
    /// When maintenance may be done.
    pub maintenance_window: Option<String>,
    /// Whether snapshots get its tags.
    pub copy_tags: bool,
    /// What becomes of it when its version is too old.
    pub lifecycle_support: Option<String>,
    /// Logs that go to CloudWatch.
    pub log_exports: Vec<String>,
    /// The cluster it replicates from, if it is a replica.
    pub replica_of: Option<String>,
    /// Its replicas, clusters or instances elsewhere.
    pub replicas: Vec<String>,
    /// Changes accepted and not yet made, by the name of the field. A pending password shows as `***`.
    pub pending: Map,
    /// Tags.
    pub tags: Tags,
    /// Up to when it can be restored, in milliseconds since 1970.
    pub restorable_ms: Option<u64>,
    /// When it was created, in milliseconds since 1970.
    pub created_ms: Option<u64>,
}

/// An instance of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// The instance's identifier.
    pub id: String,
    /// Whether it writes.
    pub is_writer: bool,
    /// Who of a low one takes over first.
    pub tier: i64,
}

impl Cluster {
    /// The instance that writes.
    #[must_use]
    pub fn writer(&self) -> Option<&str> {
        self.members.iter().find(|member| member.is_writer).map(|member| member.id.as_str())
    }

    /// The instances that only read, as they would take over.
    #[must_use]
    pub fn readers(&self) -> Vec<&str> {
        self.members.iter().filter(|member| !member.is_writer).map(|member| member.id.as_str()).collect()
    }

    /// The cluster for scripts and the journal.
    #[must_use]
    pub fn to_map(&self) -> Map {
        let group = map! {
            "name" => self.parameter_group.name.as_str(), "status" => self.parameter_group.status.as_str(),
        };
        let serverless =
            self.serverless.map(|(least, most)| map! { "least" => Value::Float(least), "most" => Value::Float(most) });
        map! {
            "id" => self.id.as_str(),
            "arn" => self.arn.as_str(),
            "resource_id" => self.resource_id.as_str(),
            "status" => self.status.as_str(),
            "engine" => self.engine.as_str(),
            "engine_version" => self.engine_version.as_str(),
            "host" => self.host.as_deref(),
            "reader_host" => self.reader_host.as_deref(),
            "port" => self.port.map(i64::from),
            "database" => self.database.as_deref(),
            "master_user" => self.master_user.as_str(),
            "master_secret" => self.master_secret.as_deref(),
            "writer" => self.writer(),
            "readers" => self.readers().into_iter().map(str::to_owned).collect::<Vec<String>>(),
            "parameter_group" => group,
            "storage_type" => self.storage_type.as_str(),
            "encrypted" => self.encrypted,
            "kms_key" => self.kms_key.as_deref(),
            "serverless" => serverless,
            "subnet_group" => self.subnet_group.as_deref(),
            "network_type" => self.network_type.as_deref(),
            "security_groups" => self.security_groups.clone(),
            "iam_auth" => self.iam_auth,
            "deletion_protection" => self.deletion_protection,
            "backup_retention_days" => self.backup_retention_days,
            "backup_window" => self.backup_window.as_deref(),
            "maintenance_window" => self.maintenance_window.as_deref(),
            "copy_tags" => self.copy_tags,
            "lifecycle_support" => self.lifecycle_support.as_deref(),
            "log_exports" => self.log_exports.clone(),
            "replica_of" => self.replica_of.as_deref(),
            "replicas" => self.replicas.clone(),
            "pending" => self.pending.clone(),
            "tags" => tags_map(&self.tags),
            "restorable" => self.restorable_ms.map(clock::text_of_ms),
            "created" => self.created_ms.map(clock::text_of_ms),
        }
    }

    fn from_sdk(sdk: &DbCluster) -> Self {
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let security = sdk.vpc_security_groups().iter();
        let serverless = sdk.serverless_v2_scaling_configuration();
        let mut members: Vec<Member> = sdk
            .db_cluster_members()
            .iter()
            .map(|member| Member {
                id: text(member.db_instance_identifier()),
                is_writer: member.is_cluster_writer().unwrap_or(false),
                tier: member.promotion_tier().map_or(0, i64::from),
            })
            .collect();
        members.sort_by_key(|member| (!member.is_writer, member.tier, member.id.clone()));
        // Each member tells how far it is with the cluster's group.
        let statuses = sdk.db_cluster_members().iter().filter_map(|member| member.db_cluster_parameter_group_status());
        let status = statuses.max_by_key(|status| *status != "in-sync").unwrap_or("in-sync").to_owned();
        Self {
            id: text(sdk.db_cluster_identifier()),
            arn: text(sdk.db_cluster_arn()),
            resource_id: text(sdk.db_cluster_resource_id()),
            status: text(sdk.status()),
            engine: text(sdk.engine()),
            engine_version: text(sdk.engine_version()),
            host: sdk.endpoint().map(str::to_owned),
            reader_host: sdk.reader_endpoint().map(str::to_owned),
            port: sdk.port().and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0),
            database: sdk.database_name().map(str::to_owned),
            master_user: text(sdk.master_username()),
            master_secret: sdk.master_user_secret().and_then(|secret| secret.secret_arn()).map(str::to_owned),
            members,
            parameter_group: GroupStatus { name: text(sdk.db_cluster_parameter_group()), status },
            storage_type: text(sdk.storage_type()),
            encrypted: sdk.storage_encrypted().unwrap_or(false),
            kms_key: sdk.kms_key_id().map(str::to_owned),
            serverless: serverless.and_then(|scaling| Some((scaling.min_capacity()?, scaling.max_capacity()?))),
            subnet_group: sdk.db_subnet_group().map(str::to_owned),
            network_type: sdk.network_type().map(str::to_owned),
            security_groups: security.filter_map(|group| group.vpc_security_group_id()).map(str::to_owned).collect(),
            iam_auth: sdk.iam_database_authentication_enabled().unwrap_or(false),
            deletion_protection: sdk.deletion_protection().unwrap_or(false),
            backup_retention_days: sdk.backup_retention_period().map_or(0, i64::from),
            backup_window: sdk.preferred_backup_window().map(str::to_owned),
            maintenance_window: sdk.preferred_maintenance_window().map(str::to_owned),
            copy_tags: sdk.copy_tags_to_snapshot().unwrap_or(false),
            lifecycle_support: sdk.engine_lifecycle_support().map(str::to_owned),
            log_exports: sorted(sdk.enabled_cloudwatch_logs_exports()),
            replica_of: sdk.replication_source_identifier().map(str::to_owned),
            replicas: sdk.read_replica_identifiers().to_vec(),
            pending: sdk.pending_modified_values().map(pending).unwrap_or_default(),
            tags: from_sdk(sdk.tag_list()),
            restorable_ms: sdk.latest_restorable_time().and_then(epoch_ms),
            created_ms: sdk.cluster_create_time().and_then(epoch_ms),
        }
    }
}

/// The pending changes under the names that [`Cluster`] uses.
fn pending(sdk: &ClusterPendingModifiedValues) -> Map {
    let all: [(&str, Value); 5] = [
        ("id", sdk.db_cluster_identifier().into()),
        ("master_password", sdk.master_user_password().map(|_| MASK).into()),
        ("engine_version", sdk.engine_version().into()),
        ("backup_retention_days", sdk.backup_retention_period().map(i64::from).into()),
        ("iam_auth", sdk.iam_database_authentication_enabled().into()),
    ];
    all.into_iter().filter(|(_, value)| *value != Value::Null).map(|(name, value)| (name.to_owned(), value)).collect()
}

impl Rds {
    /// The cluster of that identifier.
    ///
    /// # Errors
    /// `aws_not_found`, and those of AWS.
    pub async fn cluster(&self, id: &str) -> Result<Cluster> {
        let sent = self.ask().await?.describe_db_clusters().db_cluster_identifier(id).send().await;
        let answer = sent.map_err(|error| self.aws.asks("DescribeDBClusters", id).failed(&error))?;
        match answer.db_clusters() {
            [cluster] => Ok(Cluster::from_sdk(cluster)),
            others => Err(fail!(Code::AwsError, "got {} clusters for `{id}`, wanted one", others.len())),
        }
    }

    /// The cluster of that identifier, or `None` when there is none.
    ///
    /// # Errors
    /// Those of AWS.
    pub async fn find_cluster(&self, id: &str) -> Result<Option<Cluster>> {
        found(self.cluster(id).await)
    }

    /// All clusters of the account in this region.
    ///
    /// # Errors
    /// Those of AWS.
    pub async fn clusters(&self) -> Result<Vec<Cluster>> {
        let mut pages = self.ask().await?.describe_db_clusters().into_paginator().send();
        let mut all = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| self.aws.asks("DescribeDBClusters", "all clusters").failed(&error))?;
            all.extend(page.db_clusters().iter().map(Cluster::from_sdk));
        }
        Ok(all)
    }

    /// The snapshot of a cluster of that identifier.
    ///
    /// # Errors
    /// `aws_not_found`, and those of AWS.
    pub async fn cluster_snapshot(&self, id: &str) -> Result<Snapshot> {
        let sent = self.ask().await?.describe_db_cluster_snapshots().db_cluster_snapshot_identifier(id).send().await;
        let answer = sent.map_err(|error| self.aws.asks("DescribeDBClusterSnapshots", id).failed(&error))?;
        match answer.db_cluster_snapshots() {
            [snapshot] => Ok(snapshot_of(snapshot)),
            others => Err(fail!(Code::AwsError, "got {} snapshots for `{id}`, wanted one", others.len())),
        }
    }
}

/// A snapshot of a cluster has no history of copies: RDS upgrades none of them in place.
fn snapshot_of(sdk: &DbClusterSnapshot) -> Snapshot {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    Snapshot {
        id: text(sdk.db_cluster_snapshot_identifier()),
        arn: text(sdk.db_cluster_snapshot_arn()),
        instance: text(sdk.db_cluster_identifier()),
        resource_id: text(sdk.db_cluster_resource_id()),
        status: text(sdk.status()),
        progress: sdk.percent_progress().map_or(0, i64::from),
        engine: text(sdk.engine()),
        engine_version: text(sdk.engine_version()),
        kind: text(sdk.snapshot_type()),
        storage_gib: sdk.allocated_storage().map_or(0, i64::from),
        encrypted: sdk.storage_encrypted().unwrap_or(false),
        master_user: text(sdk.master_username()),
        tags: from_sdk(sdk.tag_list()),
        created_ms: sdk.snapshot_create_time().and_then(epoch_ms),
    }
}
