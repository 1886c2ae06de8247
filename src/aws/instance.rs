//! A DB instance as plain data, and the questions about instances.

use aws_sdk_rds::types::{DbInstance, PendingModifiedValues};

use super::{
    client::Rds,
    tags::{Tags, from_sdk},
};
use crate::{
    base::{Code, Map, Result, Value, clock, secret::MASK},
    map,
};

/// A DB instance, as DescribeDBInstances tells it.
#[expect(clippy::struct_excessive_bools, reason = "a mirror of what RDS describes, each with its own name")]
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Instance {
    /// The identifier, in lower case.
    pub id: String,
    /// The ARN; the identifier is part of it, so it changes when an instance is renamed.
    pub arn: String,
    /// The identity that survives renaming (`db-ABCDEF..`).
    pub resource_id: String,
    /// The status, for example `available`. By itself it proves nothing: right after a change it is stale.
    pub status: String,
    /// `postgres`, or `aurora-postgresql`.
    pub engine: String,
    /// The version that runs, for example `15.18`.
    pub engine_version: String,
    /// The host of the endpoint; `None` until there is one.
    pub host: Option<String>,
    /// The port of the endpoint.
    pub port: Option<u16>,
    /// The database named when the instance was created.
    pub database: Option<String>,
    /// The master user.
    pub master_user: String,
    /// The ARN of the secret that RDS itself rotates for the master user.
    pub master_secret: Option<String>,
    /// The instance class, for example `db.m7g.large`.
    pub class: String,
    /// Allocated storage in GiB.
    pub storage_gib: i64,
    /// The kind of storage, for example `gp3`.
    pub storage_type: String,
    /// Provisioned operations per second, where the kind of storage has them.
    pub iops: Option<i64>,
    /// Provisioned throughput in MiB per second.
    pub storage_throughput: Option<i64>,
    /// Up to this many GiB the storage grows by itself.
    pub max_storage_gib: Option<i64>,
    /// Whether the log has a volume of its own.
    pub dedicated_log_volume: bool,
    /// Whether the storage is encrypted.
    pub encrypted: bool,
    /// The key it is encrypted with.
    pub kms_key: Option<String>,
    /// Whether there is a standby in another zone.
    pub multi_az: bool,
    /// The zone it works in.
    pub zone: Option<String>,
    /// The DB subnet group.
    pub subnet_group: Option<String>,
    /// `IPV4` or `DUAL`.
    pub network_type: Option<String>,
    /// Ids of the VPC security groups.
    pub security_groups: Vec<String>,
    /// DB parameter groups with their apply status.
    pub parameter_groups: Vec<GroupStatus>,
    /// Whether IAM database authentication is on.
    pub iam_auth: bool,
    /// Whether deletion is refused.
    pub deletion_protection: bool,
    /// Whether the endpoint resolves to a public address.
    pub publicly_accessible: bool,
    /// Days that automated backups are kept; zero means they are off.
    pub backup_retention_days: i64,
    /// When automated backups are taken, for example `03:00-03:30` in UTC.
    pub backup_window: Option<String>,
    /// When maintenance may be done, for example `sun:04:00-sun:04:30` in UTC.
    pub maintenance_window: Option<String>,
    /// Whether minor upgrades come by themselves.
    pub auto_minor: bool,
    /// Whether snapshots get its tags.
    pub copy_tags: bool,
    /// What becomes of it when its version is too old.
    pub lifecycle_support: Option<String>,
    /// Logs that go to CloudWatch.
    pub log_exports: Vec<String>,
    /// Seconds between two measurements of Enhanced Monitoring; zero means that it is off.
    pub monitoring_s: i64,
    /// The role that Enhanced Monitoring works by.
    pub monitoring_role: Option<String>,
    /// Whether Performance Insights is on.
    pub insights: bool,
    /// The key of Performance Insights.
    pub insights_key: Option<String>,
    /// Days that Performance Insights keeps.
    pub insights_days: Option<i64>,
    /// `standard` or `advanced`.
    pub insights_mode: Option<String>,
    /// The certificate authority of the server certificate.
    pub ca: Option<String>,
    /// The cluster it belongs to, if any.
    pub cluster: Option<String>,
    /// In a cluster: who of a low one takes over first.
    pub promotion_tier: Option<i64>,
    /// The instance it replicates from, if it is a read replica.
    pub replica_of: Option<String>,
    /// Its read replicas.
    pub replicas: Vec<String>,
    /// Changes accepted and not yet made, by the name of the field. A pending password shows as `***`.
    pub pending: Map,
    /// Tags.
    pub tags: Tags,
    /// When it was created, in milliseconds since 1970.
    pub created_ms: Option<u64>,
}

/// A DB parameter group in use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupStatus {
    /// The group's name.
    pub name: String,
    /// `in-sync`, `applying` or `pending-reboot`.
    pub status: String,
}

impl Instance {
    /// The instance for scripts and the journal.
    #[must_use]
    pub fn to_map(&self) -> Map {
        let groups = self.parameter_groups.iter();
        let groups: Vec<Map> =
            groups.map(|g| map! { "name" => g.name.as_str(), "status" => g.status.as_str() }).collect();
        map! {
            "id" => self.id.as_str(),
            "arn" => self.arn.as_str(),
            "resource_id" => self.resource_id.as_str(),
            "status" => self.status.as_str(),
            "engine" => self.engine.as_str(),
            "engine_version" => self.engine_version.as_str(),
            "host" => self.host.as_deref(),
            "port" => self.port.map(i64::from),
            "database" => self.database.as_deref(),
            "master_user" => self.master_user.as_str(),
            "master_secret" => self.master_secret.as_deref(),
            "class" => self.class.as_str(),
            "storage_gib" => self.storage_gib,
            "storage_type" => self.storage_type.as_str(),
            "iops" => self.iops,
            "storage_throughput" => self.storage_throughput,
            "max_storage_gib" => self.max_storage_gib,
            "dedicated_log_volume" => self.dedicated_log_volume,
            "encrypted" => self.encrypted,
            "kms_key" => self.kms_key.as_deref(),
            "multi_az" => self.multi_az,
            "zone" => self.zone.as_deref(),
            "subnet_group" => self.subnet_group.as_deref(),
            "network_type" => self.network_type.as_deref(),
            "security_groups" => self.security_groups.clone(),
            "parameter_groups" => groups,
            "iam_auth" => self.iam_auth,
            "deletion_protection" => self.deletion_protection,
            "publicly_accessible" => self.publicly_accessible,
            "backup_retention_days" => self.backup_retention_days,
            "backup_window" => self.backup_window.as_deref(),
            "maintenance_window" => self.maintenance_window.as_deref(),
            "auto_minor" => self.auto_minor,
            "copy_tags" => self.copy_tags,
            "lifecycle_support" => self.lifecycle_support.as_deref(),
            "log_exports" => self.log_exports.clone(),
            "monitoring_s" => self.monitoring_s,
            "monitoring_role" => self.monitoring_role.as_deref(),
            "insights" => self.insights,
            "insights_key" => self.insights_key.as_deref(),
            "insights_days" => self.insights_days,
            "insights_mode" => self.insights_mode.as_deref(),
            "ca" => self.ca.as_deref(),
            "cluster" => self.cluster.as_deref(),
            "promotion_tier" => self.promotion_tier,
            "replica_of" => self.replica_of.as_deref(),
            "replicas" => self.replicas.clone(),
            "pending" => self.pending.clone(),
            "tags" => tags_map(&self.tags),
            "created" => self.created_ms.map(clock::text_of_ms),
        }
    }

    pub(super) fn from_sdk(sdk: &DbInstance) -> Self {
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let endpoint = sdk.endpoint();
        let groups = sdk.db_parameter_groups().iter();
        let security = sdk.vpc_security_groups().iter();
        Self {
            id: text(sdk.db_instance_identifier()),
            arn: text(sdk.db_instance_arn()),
            resource_id: text(sdk.dbi_resource_id()),
            status: text(sdk.db_instance_status()),
            engine: text(sdk.engine()),
            engine_version: text(sdk.engine_version()),
            host: endpoint.and_then(|e| e.address()).map(str::to_owned),
            port: endpoint.and_then(aws_sdk_rds::types::Endpoint::port).and_then(|port| u16::try_from(port).ok()),
            database: sdk.db_name().map(str::to_owned),
            master_user: text(sdk.master_username()),
            master_secret: sdk.master_user_secret().and_then(|s| s.secret_arn()).map(str::to_owned),
            class: text(sdk.db_instance_class()),
            storage_gib: sdk.allocated_storage().map_or(0, i64::from),
            storage_type: text(sdk.storage_type()),
            iops: sdk.iops().map(i64::from),
            storage_throughput: sdk.storage_throughput().map(i64::from),
            max_storage_gib: sdk.max_allocated_storage().map(i64::from),
            dedicated_log_volume: sdk.dedicated_log_volume().unwrap_or(false),
            encrypted: sdk.storage_encrypted().unwrap_or(false),
            kms_key: sdk.kms_key_id().map(str::to_owned),
            multi_az: sdk.multi_az().unwrap_or(false),
            zone: sdk.availability_zone().map(str::to_owned),
            network_type: sdk.network_type().map(str::to_owned),
            subnet_group: sdk.db_subnet_group().and_then(|g| g.db_subnet_group_name()).map(str::to_owned),
            security_groups: security.filter_map(|g| g.vpc_security_group_id()).map(str::to_owned).collect(),
            parameter_groups: groups
                .map(|g| GroupStatus {
                    name: text(g.db_parameter_group_name()),
                    status: text(g.parameter_apply_status()),
                })
                .collect(),
            iam_auth: sdk.iam_database_authentication_enabled().unwrap_or(false),
            deletion_protection: sdk.deletion_protection().unwrap_or(false),
            publicly_accessible: sdk.publicly_accessible().unwrap_or(false),
            backup_retention_days: sdk.backup_retention_period().map_or(0, i64::from),
            backup_window: sdk.preferred_backup_window().map(str::to_owned),
            maintenance_window: sdk.preferred_maintenance_window().map(str::to_owned),
            auto_minor: sdk.auto_minor_version_upgrade().unwrap_or(false),
            copy_tags: sdk.copy_tags_to_snapshot().unwrap_or(false),
            lifecycle_support: sdk.engine_lifecycle_support().map(str::to_owned),
            log_exports: sorted(sdk.enabled_cloudwatch_logs_exports()),
            monitoring_s: sdk.monitoring_interval().map_or(0, i64::from),
            monitoring_role: sdk.monitoring_role_arn().map(str::to_owned),
            insights: sdk.performance_insights_enabled().unwrap_or(false),
            insights_key: sdk.performance_insights_kms_key_id().map(str::to_owned),
            insights_days: sdk.performance_insights_retention_period().map(i64::from),
            insights_mode: sdk.database_insights_mode().map(|mode| mode.as_str().to_owned()),
            ca: sdk.ca_certificate_identifier().map(str::to_owned),
            cluster: sdk.db_cluster_identifier().map(str::to_owned),
            promotion_tier: sdk.promotion_tier().map(i64::from),
            replica_of: sdk.read_replica_source_db_instance_identifier().map(str::to_owned),
            replicas: sdk.read_replica_db_instance_identifiers().to_vec(),
            pending: sdk.pending_modified_values().map(pending).unwrap_or_default(),
            tags: from_sdk(sdk.tag_list()),
            created_ms: sdk.instance_create_time().and_then(epoch_ms),
        }
    }
}

pub(super) fn sorted(texts: &[String]) -> Vec<String> {
    let mut texts = texts.to_vec();
    texts.sort();
    texts
}

/// The pending changes that matter to PostgreSQL, under the names that [`Instance`] uses.
fn pending(sdk: &PendingModifiedValues) -> Map {
    let int = |number: Option<i32>| number.map(i64::from);
    let all: [(&str, Value); 13] = [
        ("class", sdk.db_instance_class().into()),
        ("storage_gib", int(sdk.allocated_storage()).into()),
        ("storage_type", sdk.storage_type().into()),
        ("iops", int(sdk.iops()).into()),
        ("master_password", sdk.master_user_password().map(|_| MASK).into()),
        ("port", int(sdk.port()).into()),
        ("backup_retention_days", int(sdk.backup_retention_period()).into()),
        ("multi_az", sdk.multi_az().into()),
        ("engine_version", sdk.engine_version().into()),
        ("id", sdk.db_instance_identifier().into()),
        ("ca", sdk.ca_certificate_identifier().into()),
        ("subnet_group", sdk.db_subnet_group_name().into()),
        ("iam_auth", sdk.iam_database_authentication_enabled().into()),
    ];
    all.into_iter().filter(|(_, value)| *value != Value::Null).map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Milliseconds since 1970; RDS never sends an earlier time.
pub(super) fn epoch_ms(at: &aws_sdk_rds::primitives::DateTime) -> Option<u64> {
    at.to_millis().ok().and_then(|ms| u64::try_from(ms).ok())
}

/// Tags for scripts.
pub(super) fn tags_map(tags: &Tags) -> Map {
    tags.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect()
}

impl Rds {
    /// The instance of that identifier.
    ///
    /// # Errors
    /// `aws_not_found`, and those of AWS.
    pub async fn instance(&self, id: &str) -> Result<Instance> {
        let sent = self.ask().await?.describe_db_instances().db_instance_identifier(id).send().await;
        let answer = sent.map_err(|error| self.aws.asks("DescribeDBInstances", id).failed(&error))?;
        match answer.db_instances() {
            [instance] => Ok(Instance::from_sdk(instance)),
            others => Err(crate::fail!(Code::AwsError, "got {} instances for `{id}`, wanted one", others.len())),
        }
    }

    /// The instance of that identifier, or `None` when there is none.
    ///
    /// # Errors
    /// Those of AWS.
    pub async fn find_instance(&self, id: &str) -> Result<Option<Instance>> {
        found(self.instance(id).await)
    }

    /// All instances of the account in this region.
    ///
    /// # Errors
    /// Those of AWS.
    pub async fn instances(&self) -> Result<Vec<Instance>> {
        let mut pages = self.ask().await?.describe_db_instances().into_paginator().send();
        let mut all = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| self.aws.asks("DescribeDBInstances", "all instances").failed(&error))?;
            all.extend(page.db_instances().iter().map(Instance::from_sdk));
        }
        Ok(all)
    }
}

/// That something does not exist is an answer.
pub(super) fn found<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(thing) => Ok(Some(thing)),
        Err(error) if error.code() == Code::AwsNotFound => Ok(None),
        Err(error) => Err(error),
    }
}
