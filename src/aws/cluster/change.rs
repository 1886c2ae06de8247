//! Making, changing and deleting clusters, and instances in them. Each call returns when RDS has accepted it: `wait.rs`
//! waits for the evidence.

use aws_sdk_rds::types::{DbCluster, ServerlessV2ScalingConfiguration};

use super::Cluster;
use crate::{
    aws::{
        client::Rds,
        instance::Instance,
        request::{FinalSnapshot, answered, exports},
        tags::{Mark, Tags},
    },
    base::{Code, Result, Secret},
    fail,
};

/// A cluster to be created. It has no instance then.
#[derive(Clone, Debug)]
pub struct NewCluster {
    /// The identifier.
    pub id: String,
    /// The version.
    pub engine_version: String,
    /// The master user.
    pub master_user: String,
    /// Its password.
    pub master_password: Secret,
    /// A database to create besides `postgres`.
    pub database: Option<String>,
    /// The cluster parameter group.
    pub parameter_group: Option<String>,
    /// Further tags.
    pub tags: Tags,
}

/// A clone of a cluster: a new one over the same pages, until either writes. It has no instance then.
#[derive(Clone, Debug, Default)]
pub struct CloneOf {
    /// The cluster to be cloned.
    pub source: String,
    /// The new cluster's identifier.
    pub cluster: String,
    /// The cluster parameter group, of the family of the source's version.
    pub parameter_group: Option<String>,
    /// The DB subnet group.
    pub subnet_group: Option<String>,
    /// VPC security groups; none takes the VPC's default one.
    pub security_groups: Vec<String>,
    /// IAM database authentication.
    pub iam_auth: Option<bool>,
    /// The kind of storage.
    pub storage_type: Option<String>,
    /// The least and the most capacity of serverless instances.
    pub serverless: Option<(f64, f64)>,
    /// `IPV4` or `DUAL`.
    pub network_type: Option<String>,
    /// Snapshots get the cluster's tags.
    pub copy_tags: Option<bool>,
    /// What becomes of it when its version is too old.
    pub lifecycle_support: Option<String>,
    /// Logs that go to CloudWatch.
    pub log_exports: Vec<String>,
    /// Further tags.
    pub tags: Tags,
}

impl CloneOf {
    /// Fills in what another cluster has of what RDS takes with a clone; the rest, [`Rds::make_cluster_like`] changes
    /// then. Deletion protection is left to it as well: it would keep a copy that is not wanted after all.
    pub fn like(&mut self, like: &Cluster) {
        self.subnet_group.clone_from(&like.subnet_group);
        self.security_groups.clone_from(&like.security_groups);
        self.iam_auth = Some(like.iam_auth);
        // `aurora` is what RDS takes for none, and does not always describe.
        self.storage_type = Some(like.storage_type.clone()).filter(|kind| !kind.is_empty() && kind != "aurora");
        self.serverless = like.serverless;
        self.network_type.clone_from(&like.network_type);
        self.copy_tags = Some(like.copy_tags);
        self.lifecycle_support.clone_from(&like.lifecycle_support);
        self.log_exports.clone_from(&like.log_exports);
        self.tags = own_tags(&like.tags);
    }
}

/// An instance to be created in a cluster: the first one writes.
#[derive(Clone, Debug, Default)]
pub struct NewMember {
    /// The cluster.
    pub cluster: String,
    /// The instance's identifier.
    pub id: String,
    /// The instance class, for example `db.r7g.large` or `db.serverless`.
    pub class: String,
    /// The DB parameter group.
    pub parameter_group: Option<String>,
    /// Who of a low one takes over first.
    pub promotion_tier: Option<i32>,
    /// A public address.
    pub publicly_accessible: Option<bool>,
    /// The zone.
    pub zone: Option<String>,
    /// Minor upgrades by themselves.
    pub auto_minor: Option<bool>,
    /// The certificate authority of the server certificate.
    pub ca: Option<String>,
    /// Further tags.
    pub tags: Tags,
}

impl NewMember {
    /// Fills in what another instance has and nothing was said about.
    pub fn like(&mut self, like: &Instance) {
        if self.class.is_empty() {
            self.class.clone_from(&like.class);
        }
        self.promotion_tier = like.promotion_tier.and_then(|tier| i32::try_from(tier).ok());
        self.publicly_accessible = Some(like.publicly_accessible);
        self.zone.clone_from(&like.zone);
        self.auto_minor = Some(like.auto_minor);
        self.ca.clone_from(&like.ca);
        self.tags = own_tags(&like.tags);
    }
}

/// Those of AWS itself cannot be given.
fn own_tags(tags: &Tags) -> Tags {
    tags.clone().into_iter().filter(|(key, _)| !key.starts_with("aws:")).collect()
}

/// What to change on a cluster; `None` leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterChange {
    /// The version to upgrade to. A major upgrade is allowed by naming it.
    pub engine_version: Option<String>,
    /// The cluster parameter group.
    pub parameter_group: Option<String>,
    /// The parameter group of all its instances; RDS takes it with a major upgrade only.
    pub member_group: Option<String>,
    /// VPC security groups, all of them.
    pub security_groups: Option<Vec<String>>,
    /// IAM database authentication.
    pub iam_auth: Option<bool>,
    /// Refuse deletion.
    pub deletion_protection: Option<bool>,
    /// Days to keep automated backups.
    pub backup_retention_days: Option<i32>,
    /// When automated backups are taken.
    pub backup_window: Option<String>,
    /// When maintenance may be done.
    pub maintenance_window: Option<String>,
    /// Snapshots get the cluster's tags.
    pub copy_tags: Option<bool>,
    /// All logs that go to CloudWatch.
    pub log_exports: Option<Vec<String>>,
    /// The least and the most capacity of serverless instances.
    pub serverless: Option<(f64, f64)>,
}

impl Rds {
    /// Asks for a new cluster, which carries the step's mark from its first moment.
    ///
    /// # Errors
    /// `aws_error` with `DBClusterAlreadyExistsFault` and others of AWS; `aws_unknown` when it may have been created.
    pub async fn create_cluster(&self, new: &NewCluster, mark: &Mark) -> Result<Cluster> {
        let call = self.change().await?.create_db_cluster().db_cluster_identifier(&new.id).engine(ENGINE);
        let call = call
            .engine_version(&new.engine_version)
            .master_username(&new.master_user)
            .master_user_password(self.aws.learn(new.master_password.expose()).expose())
            .set_database_name(new.database.clone())
            .set_db_cluster_parameter_group_name(new.parameter_group.clone())
            .set_tags(Some(mark.join(&new.tags)));
        let answer = call.send().await.map_err(|error| self.aws.changes("CreateDBCluster", &new.id).failed(&error))?;
        described(answer.db_cluster(), &new.id)
    }

    /// Asks for a clone of a cluster as it is now, which carries the step's mark from its first moment.
    ///
    /// # Errors
    /// `aws_not_found`, `aws_error` with `DBClusterAlreadyExistsFault`, `InvalidDBClusterStateFault` and others of AWS;
    /// `aws_unknown` when it may have been begun.
    pub async fn clone_cluster(&self, clone: &CloneOf, mark: &Mark) -> Result<Cluster> {
        let given = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
        let call = self
            .change()
            .await?
            .restore_db_cluster_to_point_in_time()
            .db_cluster_identifier(&clone.cluster)
            .source_db_cluster_identifier(&clone.source)
            .restore_type("copy-on-write")
            .use_latest_restorable_time(true)
            .set_db_cluster_parameter_group_name(clone.parameter_group.clone())
            .set_db_subnet_group_name(clone.subnet_group.clone())
            .set_vpc_security_group_ids(given(&clone.security_groups))
            .set_enable_iam_database_authentication(clone.iam_auth)
            .set_storage_type(clone.storage_type.clone())
            .set_serverless_v2_scaling_configuration(clone.serverless.map(scaling))
            .set_network_type(clone.network_type.clone())
            .set_copy_tags_to_snapshot(clone.copy_tags)
            .set_engine_lifecycle_support(clone.lifecycle_support.clone())
            .set_enable_cloudwatch_logs_exports(given(&clone.log_exports))
            .set_tags(Some(mark.join(&clone.tags)));
        let failed = |error| self.aws.changes("RestoreDBClusterToPointInTime", &clone.cluster).failed(&error);
        described(call.send().await.map_err(failed)?.db_cluster(), &clone.cluster)
    }

    /// Asks for an instance in a cluster, which carries the step's mark from its first moment.
    ///
    /// # Errors
    /// `aws_not_found`, `aws_error` with `DBInstanceAlreadyExists`, `InvalidDBClusterStateFault` and others of AWS;
    /// `aws_unknown` when it may have been begun.
    pub async fn join_cluster(&self, new: &NewMember, mark: &Mark) -> Result<Instance> {
        let call = self
            .change()
            .await?
            .create_db_instance()
            .db_instance_identifier(&new.id)
            .db_cluster_identifier(&new.cluster)
            .engine(ENGINE)
            .db_instance_class(&new.class)
            .set_db_parameter_group_name(new.parameter_group.clone())
            .set_promotion_tier(new.promotion_tier)
            .set_publicly_accessible(new.publicly_accessible)
            .set_availability_zone(new.zone.clone())
            .set_auto_minor_version_upgrade(new.auto_minor)
            .set_ca_certificate_identifier(new.ca.clone())
            .set_tags(Some(mark.join(&new.tags)));
        let answer = call.send().await.map_err(|error| self.aws.changes("CreateDBInstance", &new.id).failed(&error))?;
        answered(answer.db_instance(), &new.id)
    }

    /// Asks for changes to a cluster. Most begin after the answer: the status is stale for a while.
    ///
    /// # Errors
    /// `aws_not_found`, `aws_error` with `InvalidDBClusterStateFault` and others of AWS; `aws_unknown`.
    pub async fn modify_cluster(&self, id: &str, change: &ClusterChange) -> Result<Cluster> {
        let call = self
            .change()
            .await?
            .modify_db_cluster()
            .db_cluster_identifier(id)
            .apply_immediately(true)
            .set_allow_major_version_upgrade(change.engine_version.as_ref().map(|_| true))
            .set_engine_version(change.engine_version.clone())
            .set_db_cluster_parameter_group_name(change.parameter_group.clone())
            .set_db_instance_parameter_group_name(change.member_group.clone())
            .set_vpc_security_group_ids(change.security_groups.clone())
            .set_enable_iam_database_authentication(change.iam_auth)
            .set_deletion_protection(change.deletion_protection)
            .set_backup_retention_period(change.backup_retention_days)
            .set_preferred_backup_window(change.backup_window.clone())
            .set_preferred_maintenance_window(change.maintenance_window.clone())
            .set_copy_tags_to_snapshot(change.copy_tags)
            .set_cloudwatch_logs_export_configuration(change.log_exports.as_deref().map(exports))
            .set_serverless_v2_scaling_configuration(change.serverless.map(scaling));
        let answer = call.send().await.map_err(|error| self.aws.changes("ModifyDBCluster", id).failed(&error))?;
        described(answer.db_cluster(), id)
    }

    /// Asks to delete a cluster whose instances are gone or being deleted.
    ///
    /// # Errors
    /// `aws_not_found`, `aws_error` (`InvalidDBClusterStateFault` while it has instances) and others of AWS;
    /// `aws_unknown`.
    pub async fn delete_cluster(&self, id: &str, last: &FinalSnapshot) -> Result<Cluster> {
        let call = self.change().await?.delete_db_cluster().db_cluster_identifier(id);
        let call = match last {
            FinalSnapshot::Skip => call.skip_final_snapshot(true),
            FinalSnapshot::Take(name) => call.skip_final_snapshot(false).final_db_snapshot_identifier(name),
        };
        let answer = call.send().await.map_err(|error| self.aws.changes("DeleteDBCluster", id).failed(&error))?;
        described(answer.db_cluster(), id)
    }
}

/// What pgrun makes clusters of.
const ENGINE: &str = "aurora-postgresql";

fn scaling((least, most): (f64, f64)) -> ServerlessV2ScalingConfiguration {
    ServerlessV2ScalingConfiguration::builder().min_capacity(least).max_capacity(most).build()
}

/// The cluster in an answer. Without one the call was accepted all the same, so the outcome is unknown.
fn described(cluster: Option<&DbCluster>, id: &str) -> Result<Cluster> {
    cluster
        .map(Cluster::from_sdk)
        .ok_or_else(|| fail!(Code::AwsUnknown, "RDS accepted the call for `{id}` and did not describe the cluster"))
}
