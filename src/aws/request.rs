//! Creating, changing, restarting and deleting DB instances. Each call returns when RDS has accepted it, which is not
//! when it is done: `wait.rs` waits for the evidence.

use aws_sdk_rds::types::{CloudwatchLogsExportConfiguration, DatabaseInsightsMode};

use super::{
    client::Rds,
    instance::Instance,
    tags::{Mark, Tags},
};
use crate::base::{Code, Result, Secret};
use crate::fail;

/// A DB instance to be created.
#[derive(Clone, Debug)]
pub struct NewInstance {
    /// The identifier: letters, digits and hyphens, at most 63. RDS makes it lower case.
    pub id: String,
    /// `postgres`, unless said otherwise.
    pub engine: String,
    /// The version; `None` takes RDS's default.
    pub engine_version: Option<String>,
    /// The instance class, for example `db.m7g.large`.
    pub class: String,
    /// Storage in GiB.
    pub storage_gib: i32,
    /// The master user.
    pub master_user: String,
    /// Its password: printable ASCII, 8 to 128 characters, without `/`, `"`, `@` and blanks.
    pub master_password: Secret,
    /// A database to create besides `postgres`.
    pub database: Option<String>,
    /// The DB parameter group.
    pub parameter_group: Option<String>,
    /// The DB subnet group.
    pub subnet_group: Option<String>,
    /// VPC security groups.
    pub security_groups: Vec<String>,
    /// A standby in another zone.
    pub multi_az: Option<bool>,
    /// IAM database authentication.
    pub iam_auth: Option<bool>,
    /// A public address.
    pub publicly_accessible: Option<bool>,
    /// Refuse deletion.
    pub deletion_protection: Option<bool>,
    /// Days to keep automated backups.
    pub backup_retention_days: Option<i32>,
    /// Further tags.
    pub tags: Tags,
}

impl NewInstance {
    /// The least that RDS needs: engine `postgres`, everything else as RDS decides.
    #[must_use]
    pub fn new(id: &str, class: &str, storage_gib: i32, master_user: &str, master_password: Secret) -> Self {
        Self {
            id: id.to_owned(),
            engine: "postgres".to_owned(),
            engine_version: None,
            class: class.to_owned(),
            storage_gib,
            master_user: master_user.to_owned(),
            master_password,
            database: None,
            parameter_group: None,
            subnet_group: None,
            security_groups: Vec::new(),
            multi_az: None,
            iam_auth: None,
            publicly_accessible: None,
            deletion_protection: None,
            backup_retention_days: None,
            tags: Tags::new(),
        }
    }
}

/// What to change on a DB instance; `None` leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InstanceChange {
    /// The version to upgrade to. A major upgrade is allowed by naming it.
    pub engine_version: Option<String>,
    /// The instance class.
    pub class: Option<String>,
    /// Storage in GiB; it can only grow.
    pub storage_gib: Option<i32>,
    /// The master user's password. RDS sets it some time later, without a downtime.
    pub master_password: Option<Secret>,
    /// The DB parameter group. Its values hold after a reboot, the dynamic ones too.
    pub parameter_group: Option<String>,
    /// VPC security groups, all of them.
    pub security_groups: Option<Vec<String>>,
    /// A standby in another zone.
    pub multi_az: Option<bool>,
    /// IAM database authentication.
    pub iam_auth: Option<bool>,
    /// A public address.
    pub publicly_accessible: Option<bool>,
    /// Refuse deletion.
    pub deletion_protection: Option<bool>,
    /// Days to keep automated backups.
    pub backup_retention_days: Option<i32>,
    /// When automated backups are taken.
    pub backup_window: Option<String>,
    /// When maintenance may be done.
    pub maintenance_window: Option<String>,
    /// Minor upgrades by themselves.
    pub auto_minor: Option<bool>,
    /// Snapshots get the instance's tags.
    pub copy_tags: Option<bool>,
    /// Up to this many GiB the storage grows by itself.
    pub max_storage_gib: Option<i32>,
    /// All logs that go to CloudWatch.
    pub log_exports: Option<Vec<String>>,
    /// Seconds between two measurements of Enhanced Monitoring.
    pub monitoring_s: Option<i32>,
    /// The role that Enhanced Monitoring works by.
    pub monitoring_role: Option<String>,
    /// Performance Insights.
    pub insights: Option<bool>,
    /// Its key.
    pub insights_key: Option<String>,
    /// Days that it keeps.
    pub insights_days: Option<i32>,
    /// `standard` or `advanced`.
    pub insights_mode: Option<String>,
    /// The certificate authority of the server certificate.
    pub ca: Option<String>,
    /// The identifier. The address of the endpoint changes with it.
    pub id: Option<String>,
    /// Wait for the maintenance window instead of beginning at once. Some fields ignore this (RDS User Guide,
    /// "Modifying an Amazon RDS DB instance").
    pub in_maintenance_window: bool,
}

/// What becomes of the data when an instance is deleted. RDS wants this said.
#[derive(Clone, Debug)]
pub enum FinalSnapshot {
    /// A last snapshot of that name is taken first.
    Take(String),
    /// The data is gone, but for existing manual snapshots.
    Skip,
}

impl Rds {
    /// Asks for a new instance, which carries the step's mark from its first moment.
    ///
    /// # Errors
    /// `aws_error` with `DBInstanceAlreadyExists` and others of AWS; `aws_unknown` when it may have been created.
    pub async fn create_instance(&self, new: &NewInstance, mark: &Mark) -> Result<Instance> {
        let security = (!new.security_groups.is_empty()).then(|| new.security_groups.clone());
        let call = self
            .change()
            .await?
            .create_db_instance()
            .db_instance_identifier(&new.id)
            .engine(&new.engine)
            .set_engine_version(new.engine_version.clone())
            .db_instance_class(&new.class)
            .allocated_storage(new.storage_gib)
            .master_username(&new.master_user)
            .master_user_password(self.aws.learn(new.master_password.expose()).expose())
            .set_db_name(new.database.clone())
            .set_db_parameter_group_name(new.parameter_group.clone())
            .set_db_subnet_group_name(new.subnet_group.clone())
            .set_vpc_security_group_ids(security)
            .set_multi_az(new.multi_az)
            .set_enable_iam_database_authentication(new.iam_auth)
            .set_publicly_accessible(new.publicly_accessible)
            .set_deletion_protection(new.deletion_protection)
            .set_backup_retention_period(new.backup_retention_days)
            .set_tags(Some(mark.join(&new.tags)));
        let answer = call.send().await.map_err(|e| self.aws.changes("CreateDBInstance", &new.id).failed(&e))?;
        answered(answer.db_instance(), &new.id)
    }

    /// Asks for changes to an instance. Most begin after the answer: the status is stale for a while.
    ///
    /// # Errors
    /// `aws_not_found`, `aws_error` with `InvalidDBInstanceState` and others of AWS; `aws_unknown`.
    pub async fn modify_instance(&self, id: &str, change: &InstanceChange) -> Result<Instance> {
        let password = change.master_password.as_ref().map(|password| self.aws.learn(password.expose()));
        let call = self
            .change()
            .await?
            .modify_db_instance()
            .db_instance_identifier(id)
            .apply_immediately(!change.in_maintenance_window)
            .set_allow_major_version_upgrade(change.engine_version.as_ref().map(|_| true))
            .set_engine_version(change.engine_version.clone())
            .set_db_instance_class(change.class.clone())
            .set_allocated_storage(change.storage_gib)
            .set_master_user_password(password.map(|password| password.expose().to_owned()))
            .set_db_parameter_group_name(change.parameter_group.clone())
            .set_vpc_security_group_ids(change.security_groups.clone())
            .set_multi_az(change.multi_az)
            .set_enable_iam_database_authentication(change.iam_auth)
            .set_publicly_accessible(change.publicly_accessible)
            .set_deletion_protection(change.deletion_protection)
            .set_backup_retention_period(change.backup_retention_days)
            .set_preferred_backup_window(change.backup_window.clone())
            .set_preferred_maintenance_window(change.maintenance_window.clone())
            .set_auto_minor_version_upgrade(change.auto_minor)
            .set_copy_tags_to_snapshot(change.copy_tags)
            .set_max_allocated_storage(change.max_storage_gib)
            .set_cloudwatch_logs_export_configuration(change.log_exports.as_deref().map(exports))
            .set_monitoring_interval(change.monitoring_s)
            .set_monitoring_role_arn(change.monitoring_role.clone())
            .set_enable_performance_insights(change.insights)
            .set_performance_insights_kms_key_id(change.insights_key.clone())
            .set_performance_insights_retention_period(change.insights_days)
            .set_database_insights_mode(change.insights_mode.as_deref().map(DatabaseInsightsMode::from))
            .set_ca_certificate_identifier(change.ca.clone())
            .set_new_db_instance_identifier(change.id.clone());
        let answer = call.send().await.map_err(|e| self.aws.changes("ModifyDBInstance", id).failed(&e))?;
        answered(answer.db_instance(), id)
    }

    /// Asks for a restart.
    ///
    /// # Errors
    /// `aws_not_found`, `aws_error` with `InvalidDBInstanceState` and others of AWS; `aws_unknown`.
    pub async fn reboot_instance(&self, id: &str, failover: bool) -> Result<Instance> {
        let call = self.change().await?.reboot_db_instance().db_instance_identifier(id);
        let call = call.set_force_failover(failover.then_some(true));
        let answer = call.send().await.map_err(|e| self.aws.changes("RebootDBInstance", id).failed(&e))?;
        answered(answer.db_instance(), id)
    }

    /// Asks to stop an instance. RDS starts it again by itself after seven days.
    ///
    /// # Errors
    /// `aws_not_found`, `aws_error` with `InvalidDBInstanceState` and others of AWS; `aws_unknown`.
    pub async fn stop_instance(&self, id: &str) -> Result<Instance> {
        let call = self.change().await?.stop_db_instance().db_instance_identifier(id);
        let answer = call.send().await.map_err(|e| self.aws.changes("StopDBInstance", id).failed(&e))?;
        answered(answer.db_instance(), id)
    }

    /// Asks to start a stopped instance.
    ///
    /// # Errors
    /// `aws_not_found`, `aws_error` with `InvalidDBInstanceState` and others of AWS; `aws_unknown`.
    pub async fn start_instance(&self, id: &str) -> Result<Instance> {
        let call = self.change().await?.start_db_instance().db_instance_identifier(id);
        let answer = call.send().await.map_err(|e| self.aws.changes("StartDBInstance", id).failed(&e))?;
        answered(answer.db_instance(), id)
    }

    /// Asks to delete an instance. Automated backups are kept when `keep_backups`; RDS's own default drops them.
    ///
    /// # Errors
    /// `aws_not_found`, `aws_error` (`InvalidParameterCombination` while deletion protection is on) and others of AWS;
    /// `aws_unknown`.
    pub async fn delete_instance(&self, id: &str, last: &FinalSnapshot, keep_backups: bool) -> Result<Instance> {
        let call = self.change().await?.delete_db_instance().db_instance_identifier(id);
        let call = match last {
            FinalSnapshot::Skip => call.skip_final_snapshot(true),
            FinalSnapshot::Take(name) => call.skip_final_snapshot(false).final_db_snapshot_identifier(name),
        };
        let call = call.delete_automated_backups(!keep_backups);
        let answer = call.send().await.map_err(|e| self.aws.changes("DeleteDBInstance", id).failed(&e))?;
        answered(answer.db_instance(), id)
    }
}

/// The logs of RDS for PostgreSQL that can go to CloudWatch ("Publishing PostgreSQL logs", RDS User Guide).
const LOGS: [&str; 2] = ["postgresql", "upgrade"];

/// RDS wants to hear what is added and what is taken away; naming what is so already is no error.
pub(super) fn exports(wanted: &[String]) -> CloudwatchLogsExportConfiguration {
    let others = LOGS.iter().map(|log| (*log).to_owned()).filter(|log| !wanted.contains(log));
    CloudwatchLogsExportConfiguration::builder()
        .set_enable_log_types(Some(wanted.to_vec()).filter(|wanted| !wanted.is_empty()))
        .set_disable_log_types(Some(others.collect::<Vec<_>>()).filter(|others| !others.is_empty()))
        .build()
}

/// The instance in an answer. Without one the call was accepted all the same, so the outcome is unknown.
pub(super) fn answered(instance: Option<&aws_sdk_rds::types::DbInstance>, id: &str) -> Result<Instance> {
    instance
        .map(Instance::from_sdk)
        .ok_or_else(|| fail!(Code::AwsUnknown, "RDS accepted the call for `{id}` and did not describe the instance"))
}
