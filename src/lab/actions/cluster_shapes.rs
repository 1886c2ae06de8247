//! How clusters look in answers. Member names are those of the RDS model.

use super::shapes::{pending, restorable, security_group, tag_list};
use crate::{
    base::clock,
    lab::{attributes, instance::Instance, site::Site, world::World, xml::Element},
};

/// The zones of a region, as far as anybody asks.
pub(super) fn zones(site: &Site) -> Vec<Element> {
    ["a", "b", "c"]
        .map(|zone| Element::new("AvailabilityZone").value(format!("{}{zone}", site.region())))
        .into_iter()
        .collect()
}

/// `DBCluster`. It has one `Port` for both endpoints: the writer's. So the reader endpoint leads to the writer, as on
/// Aurora in a cluster without readers; a reader is reached by the endpoint of its instance.
pub(super) fn cluster(site: &Site, world: &World, cluster: &Instance) -> Element {
    let members = world.members(&cluster.resource).into_iter().map(|member| {
        Element::new("DBClusterMember")
            .text("DBInstanceIdentifier", &member.id)
            .text("IsClusterWriter", world.is_writer(member))
            .text("DBClusterParameterGroupStatus", cluster.group_status.text())
            .text("PromotionTier", member.tier)
    });
    let (members, subnets) = (members.collect::<Vec<_>>(), cluster.subnet_group.as_deref().unwrap_or("default"));
    let element = Element::new("DBCluster")
        .text("DBClusterIdentifier", &cluster.id)
        .text("DBClusterArn", site.arn("cluster", &cluster.id))
        .text("DbClusterResourceId", &cluster.resource)
        .text("Status", cluster.status.text())
        .text("Engine", cluster.engine.text())
        .text("EngineVersion", cluster.version)
        .text("EngineMode", "provisioned")
        .text("AllocatedStorage", 1)
        .list("AvailabilityZones", zones(site))
        .text("BackupRetentionPeriod", cluster.retention_days)
        .maybe("DatabaseName", cluster.database.as_ref())
        .text("DBClusterParameterGroup", &cluster.group)
        .text("DBSubnetGroup", subnets)
        .text("Endpoint", "127.0.0.1")
        .text("ReaderEndpoint", "127.0.0.1")
        .maybe("Port", cluster.port.or(cluster.wanted_port))
        .text("MultiAZ", members.len() > 1)
        .text("MasterUsername", &cluster.master)
        .maybe("LatestRestorableTime", restorable(site, cluster))
        .maybe("EarliestRestorableTime", restorable(site, cluster))
        .list("ReadReplicaIdentifiers", [])
        .list("DBClusterMembers", members)
        .list("VpcSecurityGroups", cluster.security_groups.iter().map(|id| security_group(id)))
        .list("AssociatedRoles", [])
        .text("IAMDatabaseAuthenticationEnabled", cluster.iam)
        .text("ClusterCreateTime", clock::text_of_ms(cluster.created_ms))
        .child(pending(cluster))
        .text("HttpEndpointEnabled", false)
        .text("CopyTagsToSnapshot", cluster.copy_tags)
        .text("CrossAccountClone", false)
        .text("DeletionProtection", cluster.protected)
        .text("AutoMinorVersionUpgrade", cluster.auto_minor)
        .list("TagList", tag_list(&cluster.tags))
        .text("NetworkType", "IPV4");
    attributes::show(element, cluster.kind, &cluster.attributes)
}
