//! How instances, snapshots and parameter groups look in answers. Member names are those of the RDS model.

use crate::{
    base::clock,
    lab::{
        group::ParameterGroup,
        instance::{Changes, Instance, Tags},
        site::Site,
        snapshot::Snapshot,
        xml::Element,
    },
};

pub(super) fn tag_list(tags: &Tags) -> Vec<Element> {
    tags.0.iter().map(|(key, value)| Element::new("Tag").text("Key", key).text("Value", value)).collect()
}

/// `DBInstance`. The endpoint is the real address of the server and is missing until there is one.
pub(super) fn instance(site: &Site, instance: &Instance) -> Element {
    site.ledger.shown("db", &instance.id, instance.status.text(), &site.clock);
    let group = Element::new("DBParameterGroup")
        .text("DBParameterGroupName", &instance.group)
        .text("ParameterApplyStatus", instance.group_status.text());
    let zone = format!("{}a", site.region());
    let element = Element::new("DBInstance")
        .text("DBInstanceIdentifier", &instance.id)
        .text("DBInstanceClass", &instance.class)
        .text("Engine", "postgres")
        .text("DBInstanceStatus", instance.status.text())
        .text("MasterUsername", &instance.master)
        .maybe("DBName", instance.database.as_ref())
        .text("AllocatedStorage", instance.storage_gb)
        .text("InstanceCreateTime", clock::text_of_ms(instance.created_ms))
        .text("PreferredBackupWindow", "03:00-03:30")
        .text("BackupRetentionPeriod", instance.retention_days)
        .list("DBSecurityGroups", [])
        .list("VpcSecurityGroups", instance.security_groups.iter().map(|id| security_group(id)))
        .list("DBParameterGroups", [group])
        .text("AvailabilityZone", zone)
        .text("PreferredMaintenanceWindow", "sun:04:00-sun:04:30")
        .child(pending(instance))
        .text("MultiAZ", instance.multi_az)
        .text("EngineVersion", instance.version)
        .text("AutoMinorVersionUpgrade", instance.auto_minor)
        .list("ReadReplicaDBInstanceIdentifiers", [])
        .text("LicenseModel", "postgresql-license")
        .text("PubliclyAccessible", instance.public)
        .text("StorageType", "gp3")
        .text("DbInstancePort", 0)
        .text("StorageEncrypted", false)
        .text("DbiResourceId", &instance.resource)
        .text("CACertificateIdentifier", "rds-ca-rsa2048-g1")
        .text("CopyTagsToSnapshot", instance.copy_tags)
        .text("MonitoringInterval", 0)
        .text("DBInstanceArn", site.arn("db", &instance.id))
        .text("IAMDatabaseAuthenticationEnabled", instance.iam)
        .text("PerformanceInsightsEnabled", false)
        .text("DeletionProtection", instance.protected)
        .list("AssociatedRoles", [])
        .list("TagList", tag_list(&instance.tags))
        .text("NetworkType", "IPV4");
    let element = match &instance.master_secret {
        Some(master) => element.child(
            Element::new("MasterUserSecret")
                .text("SecretArn", &master.arn)
                .text("SecretStatus", master.status(instance))
                .text("KmsKeyId", &master.kms_key),
        ),
        None => element,
    };
    let element = match instance.port {
        Some(port) => element.child(Element::new("Endpoint").text("Address", "127.0.0.1").text("Port", port)),
        None => element,
    };
    match &instance.subnet_group {
        Some(name) => element.child(subnet_group(site, name, "DBSubnetGroup")),
        None => element,
    }
}

fn security_group(id: &str) -> Element {
    Element::new("VpcSecurityGroupMembership").text("VpcSecurityGroupId", id).text("Status", "active")
}

/// What is asked for and not done yet: what waits, and what the work under way has not reached.
fn pending(instance: &Instance) -> Element {
    let under_way = match &instance.work {
        Some(crate::lab::instance::Work::Modify(changes)) => (**changes).clone(),
        _ => Changes::default(),
    };
    let all = instance.pending.clone().merge(under_way);
    let differs = |version| Some(version).filter(|version| *version != instance.version);
    Element::new("PendingModifiedValues")
        .maybe("DBInstanceClass", all.class.filter(|class| *class != instance.class))
        .maybe("AllocatedStorage", all.storage_gb.filter(|size| *size != instance.storage_gb))
        .maybe("MasterUserPassword", all.verifier.map(|_| "****"))
        .maybe("BackupRetentionPeriod", all.retention_days.filter(|days| *days != instance.retention_days))
        .maybe("MultiAZ", all.multi_az.filter(|multi_az| *multi_az != instance.multi_az))
        .maybe("EngineVersion", all.version.and_then(differs))
        .maybe("DBInstanceIdentifier", all.rename.filter(|name| *name != instance.id))
}

/// `DBSubnetGroup`: the lab has no network, so any name is a group.
pub(super) fn subnet_group(site: &Site, name: &str, element: &str) -> Element {
    Element::new(element)
        .text("DBSubnetGroupName", name)
        .text("DBSubnetGroupDescription", "loopback")
        .text("VpcId", "vpc-lab")
        .text("SubnetGroupStatus", "Complete")
        .list("Subnets", [])
        .text("DBSubnetGroupArn", site.arn("subgrp", name))
}

/// `DBSnapshot`; `status` stands for the one of the snapshot, for an answer that says `deleted`.
pub(super) fn snapshot(site: &Site, snapshot: &Snapshot, status: &'static str) -> Element {
    site.ledger.shown("snapshot", &snapshot.id, status, &site.clock);
    Element::new("DBSnapshot")
        .text("DBSnapshotIdentifier", &snapshot.id)
        .text("DBInstanceIdentifier", &snapshot.instance)
        .text("SnapshotCreateTime", clock::text_of_ms(snapshot.created_ms))
        .text("OriginalSnapshotCreateTime", clock::text_of_ms(snapshot.original_ms))
        .text("Engine", "postgres")
        .text("AllocatedStorage", snapshot.storage_gb)
        .text("Status", status)
        .maybe("Port", snapshot.port)
        .text("AvailabilityZone", format!("{}a", site.region()))
        .text("VpcId", "vpc-lab")
        .text("InstanceCreateTime", clock::text_of_ms(snapshot.instance_created_ms))
        .text("MasterUsername", &snapshot.master)
        .text("EngineVersion", snapshot.version)
        .text("LicenseModel", "postgresql-license")
        .text("SnapshotType", "manual")
        .text("PercentProgress", snapshot.progress)
        .maybe("SourceDBSnapshotIdentifier", snapshot.source.as_ref())
        .text("StorageType", "gp3")
        .text("Encrypted", false)
        .text("DBSnapshotArn", site.arn("snapshot", &snapshot.id))
        .text("IAMDatabaseAuthenticationEnabled", snapshot.iam)
        .text("DbiResourceId", &snapshot.resource)
        .list("TagList", tag_list(&snapshot.tags))
        .text("SnapshotTarget", "region")
}

/// `DBParameterGroup`.
pub(super) fn group(site: &Site, group: &ParameterGroup) -> Element {
    group_named(site, &group.name, &group.family, &group.description)
}

pub(super) fn group_named(site: &Site, name: &str, family: &str, description: &str) -> Element {
    Element::new("DBParameterGroup")
        .text("DBParameterGroupName", name)
        .text("DBParameterGroupFamily", family)
        .text("Description", description)
        .text("DBParameterGroupArn", site.arn("pg", name))
}
