//! DB snapshots: taking, upgrading, restoring and deleting them.

use aws_sdk_rds::types::DbSnapshot;

use super::{
    client::Rds,
    instance::{Instance, epoch_ms, found, tags_map},
    request::answered,
    tags::{Mark, Tags, from_sdk},
};
use crate::{
    base::{Code, Map, Result, clock},
    fail, map,
};

/// A DB snapshot, as DescribeDBSnapshots tells it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// The identifier, in lower case.
    pub id: String,
    /// The ARN.
    pub arn: String,
    /// The instance it was taken of.
    pub instance: String,
    /// The identity of that instance, which survives renaming.
    pub resource_id: String,
    /// The status, for example `available`.
    pub status: String,
    /// Percent done.
    pub progress: i64,
    /// `postgres`, or `aurora-postgresql`.
    pub engine: String,
    /// The version of the data in it.
    pub engine_version: String,
    /// `manual`, `automated`, `shared`, .. Only manual ones can be upgraded.
    pub kind: String,
    /// Allocated storage in GiB.
    pub storage_gib: i64,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// The master user of the instance.
    pub master_user: String,
    /// Tags.
    pub tags: Tags,
    /// When it was taken, in milliseconds since 1970.
    pub created_ms: Option<u64>,
}

impl Snapshot {
    /// The snapshot for scripts and the journal.
    #[must_use]
    pub fn to_map(&self) -> Map {
        map! {
            "id" => self.id.as_str(),
            "arn" => self.arn.as_str(),
            "instance" => self.instance.as_str(),
            "resource_id" => self.resource_id.as_str(),
            "status" => self.status.as_str(),
            "progress" => self.progress,
            "engine" => self.engine.as_str(),
            "engine_version" => self.engine_version.as_str(),
            "kind" => self.kind.as_str(),
            "storage_gib" => self.storage_gib,
            "encrypted" => self.encrypted,
            "master_user" => self.master_user.as_str(),
            "tags" => tags_map(&self.tags),
            "created" => self.created_ms.map(clock::text_of_ms),
        }
    }

    fn from_sdk(sdk: &DbSnapshot) -> Self {
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        // A copied or upgraded snapshot keeps the original's time apart.
        let created = sdk.original_snapshot_create_time().or_else(|| sdk.snapshot_create_time());
        Self {
            id: text(sdk.db_snapshot_identifier()),
            arn: text(sdk.db_snapshot_arn()),
            instance: text(sdk.db_instance_identifier()),
            resource_id: text(sdk.dbi_resource_id()),
            status: text(sdk.status()),
            progress: sdk.percent_progress().map_or(0, i64::from),
            engine: text(sdk.engine()),
            engine_version: text(sdk.engine_version()),
            kind: text(sdk.snapshot_type()),
            storage_gib: sdk.allocated_storage().map_or(0, i64::from),
            encrypted: sdk.encrypted().unwrap_or(false),
            master_user: text(sdk.master_username()),
            tags: from_sdk(sdk.tag_list()),
            created_ms: created.and_then(epoch_ms),
        }
    }
}

/// How a snapshot becomes an instance. There is no version here: RDS restores the one the snapshot has.
#[derive(Clone, Debug, Default)]
pub struct Restore {
    /// The snapshot.
    pub snapshot: String,
    /// The new instance's identifier.
    pub instance: String,
    /// The instance class; `None` takes the original's.
    pub class: Option<String>,
    /// The DB parameter group, of the family of the snapshot's version.
    pub parameter_group: Option<String>,
    /// The DB subnet group.
    pub subnet_group: Option<String>,
    /// VPC security groups; none takes the VPC's default one.
    pub security_groups: Vec<String>,
    /// A standby in another zone.
    pub multi_az: Option<bool>,
    /// IAM database authentication.
    pub iam_auth: Option<bool>,
    /// A public address.
    pub publicly_accessible: Option<bool>,
    /// Refuse deletion.
    pub deletion_protection: Option<bool>,
    /// The certificate authority of the server certificate.
    pub ca: Option<String>,
    /// The kind of storage; RDS takes its own default, not the original's.
    pub storage_type: Option<String>,
    /// Provisioned operations per second.
    pub iops: Option<i32>,
    /// Provisioned throughput in MiB per second.
    pub storage_throughput: Option<i32>,
    /// The log has a volume of its own.
    pub dedicated_log_volume: Option<bool>,
    /// The zone; not with a standby in another one.
    pub zone: Option<String>,
    /// `IPV4` or `DUAL`.
    pub network_type: Option<String>,
    /// Minor upgrades by themselves.
    pub auto_minor: Option<bool>,
    /// Snapshots get the instance's tags.
    pub copy_tags: Option<bool>,
    /// What becomes of it when its version is too old.
    pub lifecycle_support: Option<String>,
    /// Logs that go to CloudWatch.
    pub log_exports: Vec<String>,
    /// Further tags.
    pub tags: Tags,
}

/// From this size on gp3 storage can be given operations and throughput; below it RDS shows them and refuses them in
/// requests ("Amazon RDS DB instance storage", RDS User Guide: for PostgreSQL 400 GiB).
const GP3_PROVISIONED_GIB: i64 = 400;

impl Restore {
    /// Fills in what another instance has and nothing was said about: everything of it that RDS takes with a restore.
    /// The port is the original's by itself. What RDS takes only afterwards, [`Rds::make_like`] changes; so with
    /// deletion protection, which would keep a copy that is not wanted after all.
    pub fn like(&mut self, like: &Instance) {
        let number = |number: Option<i64>| number.and_then(|number| i32::try_from(number).ok());
        self.class = self.class.take().or_else(|| Some(like.class.clone()).filter(|class| !class.is_empty()));
        self.multi_az = self.multi_az.or(Some(like.multi_az));
        self.subnet_group.clone_from(&like.subnet_group);
        self.security_groups.clone_from(&like.security_groups);
        self.iam_auth = Some(like.iam_auth);
        self.publicly_accessible = Some(like.publicly_accessible);
        self.ca.clone_from(&like.ca);
        self.storage_type = Some(like.storage_type.clone()).filter(|kind| !kind.is_empty());
        let is_provisioned = like.storage_type.starts_with("io")
            || (like.storage_type == "gp3" && like.storage_gib >= GP3_PROVISIONED_GIB);
        if is_provisioned {
            self.iops = number(like.iops);
            self.storage_throughput = number(like.storage_throughput).filter(|_| like.storage_type == "gp3");
        }
        self.dedicated_log_volume = Some(true).filter(|_| like.dedicated_log_volume);
        self.zone = like.zone.clone().filter(|_| self.multi_az != Some(true));
        self.network_type.clone_from(&like.network_type);
        self.auto_minor = Some(like.auto_minor);
        self.copy_tags = Some(like.copy_tags);
        self.lifecycle_support.clone_from(&like.lifecycle_support);
        self.log_exports.clone_from(&like.log_exports);
        // Those of AWS itself cannot be given.
        self.tags = like.tags.clone().into_iter().filter(|(key, _)| !key.starts_with("aws:")).collect();
    }
}

impl Rds {
    /// The snapshot of that identifier.
    ///
    /// # Errors
    /// `aws_not_found`, and those of AWS.
    pub async fn snapshot(&self, id: &str) -> Result<Snapshot> {
        let sent = self.ask().await?.describe_db_snapshots().db_snapshot_identifier(id).send().await;
        let answer = sent.map_err(|error| self.aws.asks("DescribeDBSnapshots", id).failed(&error))?;
        match answer.db_snapshots() {
            [snapshot] => Ok(Snapshot::from_sdk(snapshot)),
            others => Err(fail!(Code::AwsError, "got {} snapshots for `{id}`, wanted one", others.len())),
        }
    }

    /// The snapshot of that identifier, or `None` when there is none.
    ///
    /// # Errors
    /// Those of AWS.
    pub async fn find_snapshot(&self, id: &str) -> Result<Option<Snapshot>> {
        found(self.snapshot(id).await)
    }

    /// All snapshots of an instance.
    ///
    /// # Errors
    /// Those of AWS.
    pub async fn snapshots(&self, instance: &str) -> Result<Vec<Snapshot>> {
        let call = self.ask().await?.describe_db_snapshots().db_instance_identifier(instance);
        let mut pages = call.into_paginator().send();
        let mut all = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| self.aws.asks("DescribeDBSnapshots", instance).failed(&error))?;
            all.extend(page.db_snapshots().iter().map(Snapshot::from_sdk));
        }
        Ok(all)
    }

    /// Asks for a snapshot, which carries the step's mark from its first moment. The instance must be `available` or
    /// in `storage-optimization`.
    ///
    /// # Errors
    /// `aws_not_found`, `aws_error` with `DBSnapshotAlreadyExists`, `InvalidDBInstanceState` and others of AWS;
    /// `aws_unknown` when it may have been begun.
    pub async fn create_snapshot(&self, instance: &str, id: &str, tags: &Tags, mark: &Mark) -> Result<Snapshot> {
        let call = self.change().await?.create_db_snapshot().db_instance_identifier(instance);
        let call = call.db_snapshot_identifier(id).set_tags(Some(mark.join(tags)));
        let answer = call.send().await.map_err(|e| self.aws.changes("CreateDBSnapshot", id).failed(&e))?;
        described(answer.db_snapshot(), id)
    }

    /// Asks to upgrade a snapshot in place. If the upgrade fails RDS puts the old version back and says `available`
    /// again (RDS User Guide, "Upgrading a PostgreSQL DB snapshot engine version"): only the version read again tells.
    ///
    /// # Errors
    /// `aws_not_found`, `aws_error` with `InvalidDBSnapshotState` and others of AWS; `aws_unknown`.
    pub async fn upgrade_snapshot(&self, id: &str, engine_version: &str) -> Result<Snapshot> {
        let call = self.change().await?.modify_db_snapshot().db_snapshot_identifier(id);
        let sent = call.engine_version(engine_version).send().await;
        let answer = sent.map_err(|e| self.aws.changes("ModifyDBSnapshot", id).failed(&e))?;
        described(answer.db_snapshot(), id)
    }

    /// Deletes a snapshot.
    ///
    /// # Errors
    /// `aws_not_found`, `aws_error` with `InvalidDBSnapshotState` and others of AWS; `aws_unknown`.
    pub async fn delete_snapshot(&self, id: &str) -> Result<()> {
        let sent = self.change().await?.delete_db_snapshot().db_snapshot_identifier(id).send().await;
        sent.map_err(|e| self.aws.changes("DeleteDBSnapshot", id).failed(&e))?;
        Ok(())
    }

    /// Asks for an instance made from a snapshot, which carries the step's mark from its first moment.
    ///
    /// # Errors
    /// `aws_not_found`, `aws_error` with `DBInstanceAlreadyExists`, `InvalidDBSnapshotState` and others of AWS;
    /// `aws_unknown` when it may have been begun.
    pub async fn restore_instance(&self, restore: &Restore, mark: &Mark) -> Result<Instance> {
        let given = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
        let call = self
            .change()
            .await?
            .restore_db_instance_from_db_snapshot()
            .db_snapshot_identifier(&restore.snapshot)
            .db_instance_identifier(&restore.instance)
            .set_db_instance_class(restore.class.clone())
            .set_db_parameter_group_name(restore.parameter_group.clone())
            .set_db_subnet_group_name(restore.subnet_group.clone())
            .set_vpc_security_group_ids(given(&restore.security_groups))
            .set_multi_az(restore.multi_az)
            .set_enable_iam_database_authentication(restore.iam_auth)
            .set_publicly_accessible(restore.publicly_accessible)
            .set_deletion_protection(restore.deletion_protection)
            .set_ca_certificate_identifier(restore.ca.clone())
            .set_storage_type(restore.storage_type.clone())
            .set_iops(restore.iops)
            .set_storage_throughput(restore.storage_throughput)
            .set_dedicated_log_volume(restore.dedicated_log_volume)
            .set_availability_zone(restore.zone.clone())
            .set_network_type(restore.network_type.clone())
            .set_auto_minor_version_upgrade(restore.auto_minor)
            .set_copy_tags_to_snapshot(restore.copy_tags)
            .set_engine_lifecycle_support(restore.lifecycle_support.clone())
            .set_enable_cloudwatch_logs_exports(given(&restore.log_exports))
            .set_tags(Some(mark.join(&restore.tags)));
        let sent = call.send().await;
        let call = self.aws.changes("RestoreDBInstanceFromDBSnapshot", &restore.instance);
        answered(sent.map_err(|error| call.failed(&error))?.db_instance(), &restore.instance)
    }
}

/// The snapshot in an answer. Without one the call was accepted all the same, so the outcome is unknown.
fn described(snapshot: Option<&DbSnapshot>, id: &str) -> Result<Snapshot> {
    snapshot
        .map(Snapshot::from_sdk)
        .ok_or_else(|| fail!(Code::AwsUnknown, "RDS accepted the call for `{id}` and did not describe the snapshot"))
}
