//! How instances, snapshots and parameter groups look in answers; clusters are in `cluster_shapes`. Member names are
//! those of the RDS model.

use crate::{
    base::clock,
    lab::{
        attributes::{self, of_storage},
        group::ParameterGroup,
        instance::{Changes, Instance, InstanceStatus, Tags, Work},
        kind::Kind,
        site::Site,
        snapshot::Snapshot,
        world::World,
        xml::Element,
    },
};

pub(super) fn tag_list(tags: &Tags) -> Vec<Element> {
    tags.0.iter().map(|(key, value)| Element::new("Tag").text("Key", key).text("Value", value)).collect()
}

/// `DBInstance` or `DBCluster`.
pub(super) fn database(site: &Site, world: &World, database: &Instance) -> Element {
    site.ledger.shown(database.kind.words().arn, &database.id, database.status.text(), &site.clock);
    match database.kind {
        Kind::Instance => instance(site, world, database),
        Kind::Cluster => super::cluster_shapes::cluster(site, world, database),
    }
}

/// `DBInstance`. The endpoint is the real address of the server and is missing until there is one. What belongs to the
/// storage is the cluster's, where it has one.
fn instance(site: &Site, world: &World, instance: &Instance) -> Element {
    let group = Element::new("DBParameterGroup")
        .text("DBParameterGroupName", &instance.group)
        .text("ParameterApplyStatus", instance.group_status.text());
    let zone = format!("{}a", site.region());
    let cluster = instance.cluster.as_deref().and_then(|cluster| world.resource(cluster));
    let storage = cluster.unwrap_or(instance);
    let element = Element::new("DBInstance")
        .text("DBInstanceIdentifier", &instance.id)
        .maybe("DBClusterIdentifier", cluster.map(|cluster| &cluster.id))
        .maybe("PromotionTier", cluster.map(|_| instance.tier))
        .text("DBInstanceClass", &instance.class)
        .text("Engine", instance.engine.text())
        .text("DBInstanceStatus", instance.status.text())
        .text("MasterUsername", &storage.master)
        .maybe("DBName", storage.database.as_ref())
        .text("AllocatedStorage", instance.storage_gb)
        .text("InstanceCreateTime", clock::text_of_ms(instance.created_ms))
        .text("BackupRetentionPeriod", storage.retention_days)
        .maybe("LatestRestorableTime", restorable(site, instance).filter(|_| cluster.is_none()))
        .list("DBSecurityGroups", [])
        .list("VpcSecurityGroups", storage.security_groups.iter().map(|id| security_group(id)))
        .list("DBParameterGroups", [group])
        .maybe("AvailabilityZone", (!instance.attributes.contains_key("AvailabilityZone")).then_some(zone))
        .child(pending(instance))
        .text("MultiAZ", instance.multi_az)
        .text("EngineVersion", instance.version)
        .text("AutoMinorVersionUpgrade", instance.auto_minor)
        .list("ReadReplicaDBInstanceIdentifiers", [])
        .text("LicenseModel", "postgresql-license")
        .text("PubliclyAccessible", instance.public)
        .text("DbInstancePort", 0)
        .text("DbiResourceId", &instance.resource)
        .text("CopyTagsToSnapshot", storage.copy_tags)
        .text("DBInstanceArn", site.arn("db", &instance.id))
        .text("IAMDatabaseAuthenticationEnabled", storage.iam)
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
    let mut plain = instance.attributes.clone();
    plain.extend(cluster.map(|cluster| of_storage(&cluster.attributes)).unwrap_or_default());
    let element = attributes::show(element, storage.kind, &plain);
    let element = match instance.port {
        Some(port) => element.child(Element::new("Endpoint").text("Address", "127.0.0.1").text("Port", port)),
        None => element,
    };
    match &instance.subnet_group {
        Some(name) => element.child(subnet_group(site, name, "DBSubnetGroup")),
        None => element,
    }
}

/// `LatestRestorableTime`: a clone of the moment is what the lab can give. On RDS it lies some minutes back.
pub(super) fn restorable(site: &Site, database: &Instance) -> Option<String> {
    let has_data = database.retention_days > 0 && database.status != InstanceStatus::Creating;
    has_data.then(|| clock::text_of_ms(site.clock.now_ms()))
}

pub(super) fn security_group(id: &str) -> Element {
    Element::new("VpcSecurityGroupMembership").text("VpcSecurityGroupId", id).text("Status", "active")
}

/// What is asked for and not done yet: what waits, and what the work under way has not reached.
pub(super) fn pending(database: &Instance) -> Element {
    let under_way = match &database.work {
        Some(Work::Modify(changes)) => (**changes).clone(),
        _ => Changes::default(),
    };
    let all = database.pending.clone().merge(under_way);
    let differs = |version| Some(version).filter(|version| *version != database.version);
    let element = Element::new("PendingModifiedValues")
        .maybe("DBInstanceClass", all.class.filter(|class| *class != database.class))
        .maybe("AllocatedStorage", all.storage_gb.filter(|size| *size != database.storage_gb))
        .maybe("MasterUserPassword", all.verifier.map(|_| "****"))
        .maybe("BackupRetentionPeriod", all.retention_days.filter(|days| *days != database.retention_days))
        .maybe("MultiAZ", all.multi_az.filter(|multi_az| *multi_az != database.multi_az))
        .maybe("EngineVersion", all.version.and_then(differs))
        .maybe(database.kind.words().id, all.rename.filter(|name| *name != database.id));
    attributes::show_pending(element, &all.attributes)
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

/// `DBSnapshot` or `DBClusterSnapshot`; `status` stands for the one of the snapshot, for an answer that says `deleted`.
pub(super) fn snapshot(site: &Site, snapshot: &Snapshot, status: &'static str) -> Element {
    site.ledger.shown(snapshot.kind.words().snapshot_arn, &snapshot.id, status, &site.clock);
    let (words, plain) = (snapshot.kind.words(), |name: &str| snapshot.attributes.get(name));
    let encrypted = plain("StorageEncrypted").map_or("false", String::as_str);
    let common = Element::new(format!("{}Snapshot", words.noun.trim_end_matches("Instance")))
        .text(words.snapshot_id, &snapshot.id)
        .text(words.id, &snapshot.instance)
        .text("SnapshotCreateTime", clock::text_of_ms(snapshot.created_ms))
        .text("Engine", snapshot.engine.text())
        .text("AllocatedStorage", snapshot.storage_gb)
        .text("Status", status)
        .maybe("Port", snapshot.port)
        .text("VpcId", "vpc-lab")
        .text("MasterUsername", &snapshot.master)
        .text("EngineVersion", snapshot.version)
        .text("LicenseModel", "postgresql-license")
        .text("SnapshotType", "manual")
        .text("PercentProgress", snapshot.progress)
        .maybe("KmsKeyId", plain("KmsKeyId"))
        .text("IAMDatabaseAuthenticationEnabled", snapshot.iam)
        .list("TagList", tag_list(&snapshot.tags));
    match snapshot.kind {
        Kind::Instance => common
            .text("OriginalSnapshotCreateTime", clock::text_of_ms(snapshot.original_ms))
            .text("AvailabilityZone", format!("{}a", site.region()))
            .text("InstanceCreateTime", clock::text_of_ms(snapshot.instance_created_ms))
            .maybe("SourceDBSnapshotIdentifier", snapshot.source.as_ref())
            .text("StorageType", plain("StorageType").map_or("gp3", String::as_str))
            .maybe("Iops", plain("Iops"))
            .maybe("StorageThroughput", plain("StorageThroughput"))
            .text("Encrypted", encrypted)
            .text("DBSnapshotArn", site.arn("snapshot", &snapshot.id))
            .text("DbiResourceId", &snapshot.resource)
            .text("SnapshotTarget", "region"),
        Kind::Cluster => common
            .list("AvailabilityZones", super::cluster_shapes::zones(site))
            .text("EngineMode", "provisioned")
            .text("ClusterCreateTime", clock::text_of_ms(snapshot.instance_created_ms))
            .maybe("SourceDBClusterSnapshotArn", snapshot.source.as_ref())
            .text("StorageType", plain("StorageType").map_or("aurora", String::as_str))
            .text("StorageEncrypted", encrypted)
            .text("DBClusterSnapshotArn", site.arn("cluster-snapshot", &snapshot.id))
            .text("DbClusterResourceId", &snapshot.resource),
    }
}

/// `DBParameterGroup` or `DBClusterParameterGroup`.
pub(super) fn group(site: &Site, kind: Kind, group: &ParameterGroup) -> Element {
    group_named(site, kind, &group.name, &group.family, &group.description)
}

pub(super) fn group_named(site: &Site, kind: Kind, name: &str, family: &str, description: &str) -> Element {
    let words = kind.words();
    Element::new(words.group)
        .text(words.group_name, name)
        .text("DBParameterGroupFamily", family)
        .text("Description", description)
        .text(words.group_arn_name, site.arn(words.group_arn, name))
}
