//! Making one instance like another: what RDS does not take with a restore is changed afterwards, and what cannot be
//! changed is told.

use super::{client::Rds, instance::Instance, request::InstanceChange, tags::Tags, verdict::InstanceGoal, wait::Wait};
use crate::{
    base::{Map, Result, Value},
    map,
};

/// What two instances for the same work have in common, under the names of [`Instance::to_map`]. Identity, version,
/// parameter groups and what RDS counts by itself are no part of it.
const TRAITS: [&str; 32] = [
    "class",
    "storage_type",
    "storage_gib",
    "iops",
    "storage_throughput",
    "max_storage_gib",
    "dedicated_log_volume",
    "encrypted",
    "kms_key",
    "multi_az",
    "zone",
    "subnet_group",
    "network_type",
    "security_groups",
    "publicly_accessible",
    "iam_auth",
    "ca",
    "port",
    "deletion_protection",
    "backup_retention_days",
    "backup_window",
    "maintenance_window",
    "auto_minor",
    "copy_tags",
    "lifecycle_support",
    "log_exports",
    "monitoring_s",
    "monitoring_role",
    "insights",
    "insights_mode",
    "master_secret",
    "promotion_tier",
];

/// What an instance of a cluster has from it: it is compared there, and RDS changes it there only.
const OF_THE_CLUSTER: [&str; 20] = [
    "storage_type",
    "storage_gib",
    "iops",
    "storage_throughput",
    "max_storage_gib",
    "dedicated_log_volume",
    "encrypted",
    "kms_key",
    "subnet_group",
    "network_type",
    "security_groups",
    "iam_auth",
    "port",
    "deletion_protection",
    "backup_retention_days",
    "backup_window",
    "copy_tags",
    "lifecycle_support",
    "log_exports",
    "master_secret",
];

/// Where two instances are not alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Unlike {
    /// The trait, as [`Instance::to_map`] names it; of a tag `tag NAME`.
    pub what: String,
    /// What the example has.
    pub wanted: Value,
    /// What the instance has.
    pub got: Value,
}

/// What [`Rds::make_like`] did.
#[derive(Clone, Debug, PartialEq)]
pub struct Likened {
    /// What was changed.
    pub changed: Vec<String>,
    /// What is different all the same.
    pub different: Vec<Unlike>,
}

impl Likened {
    /// For scripts and the journal.
    #[must_use]
    pub fn to_map(&self) -> Map {
        let row = |unlike: &Unlike| {
            map! { "what" => unlike.what.as_str(), "wanted" => unlike.wanted.clone(), "got" => unlike.got.clone() }
        };
        map! {
            "changed" => self.changed.clone(),
            "different" => self.different.iter().map(row).collect::<Vec<Map>>(),
        }
    }
}

/// Where the instance is not like the example.
#[must_use]
pub fn unlike(example: &Instance, instance: &Instance) -> Vec<Unlike> {
    let is_member = example.cluster.is_some();
    let traits = TRAITS
        .into_iter()
        // With a standby RDS chooses where it works.
        .filter(|name| *name != "zone" || !example.multi_az)
        .filter(|name| !is_member || !OF_THE_CLUSTER.contains(name));
    compare(traits, (&example.to_map(), &example.tags), (&instance.to_map(), &instance.tags))
}

/// Where one thing is not like the other in these traits, and in tags that are neither of AWS's own nor of pgrun's.
pub(super) fn compare(
    traits: impl Iterator<Item = &'static str>,
    (wanted, example): (&Map, &Tags),
    (got, tags): (&Map, &Tags),
) -> Vec<Unlike> {
    let value = |map: &Map, name: &str| match map.get(name) {
        Some(Value::List(items)) => {
            let mut items = items.clone();
            items.sort_by_key(|item| item.as_text().map(str::to_owned));
            Value::List(items)
        }
        value => value.cloned().unwrap_or(Value::Null),
    };
    let mut found: Vec<Unlike> = traits
        .map(|name| Unlike { what: name.to_owned(), wanted: value(wanted, name), got: value(got, name) })
        .filter(|unlike| unlike.wanted != unlike.got)
        .collect();
    for (key, tag) in example.iter().filter(|(key, _)| !key.starts_with("aws:") && !key.starts_with("pgrun:")) {
        if tags.get(key) != Some(tag) {
            let got = tags.get(key).map(String::as_str);
            found.push(Unlike { what: format!("tag {key}"), wanted: tag.as_str().into(), got: got.into() });
        }
    }
    found
}

/// The tags that are missing.
pub(super) fn missing_tags(missing: &[Unlike]) -> Tags {
    let tag =
        |unlike: &Unlike| Some((unlike.what.strip_prefix("tag ")?.to_owned(), unlike.wanted.as_text()?.to_owned()));
    missing.iter().filter_map(tag).collect()
}

impl Likened {
    /// What was missing before and what is missing now.
    pub(super) fn new(missing: Vec<Unlike>, different: Vec<Unlike>) -> Self {
        let is_left = |what: &String| different.iter().any(|unlike| unlike.what == *what);
        let changed = missing.into_iter().map(|unlike| unlike.what).filter(|what| !is_left(what)).collect();
        Self { changed, different }
    }
}

/// The change that makes an instance like the example, as far as RDS changes it without an outage.
fn change(example: &Instance, instance: &Instance) -> InstanceChange {
    let has = |name: &str| unlike(example, instance).iter().any(|unlike| unlike.what == name);
    let number = |number: i64| i32::try_from(number).ok();
    let mut change = InstanceChange {
        max_storage_gib: example.max_storage_gib.and_then(number).filter(|_| has("max_storage_gib")),
        iam_auth: Some(example.iam_auth).filter(|_| has("iam_auth")),
        publicly_accessible: Some(example.publicly_accessible).filter(|_| has("publicly_accessible")),
        security_groups: Some(example.security_groups.clone())
            .filter(|groups| !groups.is_empty() && has("security_groups")),
        deletion_protection: Some(example.deletion_protection).filter(|_| has("deletion_protection")),
        backup_retention_days: number(example.backup_retention_days).filter(|_| has("backup_retention_days")),
        backup_window: example.backup_window.clone().filter(|_| has("backup_window")),
        maintenance_window: example.maintenance_window.clone().filter(|_| has("maintenance_window")),
        auto_minor: Some(example.auto_minor).filter(|_| has("auto_minor")),
        copy_tags: Some(example.copy_tags).filter(|_| has("copy_tags")),
        log_exports: Some(example.log_exports.clone()).filter(|_| has("log_exports")),
        multi_az: Some(example.multi_az).filter(|_| has("multi_az")),
        ..InstanceChange::default()
    };
    if has("monitoring_s") || has("monitoring_role") {
        change.monitoring_s = number(example.monitoring_s);
        change.monitoring_role = example.monitoring_role.clone().filter(|_| example.monitoring_s > 0);
    }
    // Mode, key and days are taken together only. The mode of a cluster's instances is the cluster's.
    if has("insights") || has("insights_mode") {
        change.insights = Some(example.insights);
        change.insights_mode = example.insights_mode.clone().filter(|_| example.cluster.is_none());
        if example.insights {
            change.insights_key.clone_from(&example.insights_key);
            change.insights_days = example.insights_days.and_then(number);
        }
    }
    change
}

impl Rds {
    /// Makes an instance like the example in everything that RDS does not take with a restore and changes without an
    /// outage: backups and their window, maintenance, monitoring, Performance Insights, growth of the storage, deletion
    /// protection, network, logs and tags. Gives what was changed and what is different all the same. Safe to repeat.
    ///
    /// # Errors
    /// Those of AWS and of waiting; `aws_unknown` when a change may have been begun.
    pub async fn make_like(&self, id: &str, example: &str, wait: &Wait<'_>) -> Result<Likened> {
        let (example, before) = (self.instance(example).await?, self.instance(id).await?);
        let wanted = change(&example, &before);
        let missing: Vec<Unlike> = unlike(&example, &before);
        let tags = missing_tags(&missing);
        if !tags.is_empty() {
            self.add_tags(&before.arn, &tags).await?;
        }
        let mut now = before;
        if wanted != InstanceChange::default() {
            self.modify_instance(id, &wanted).await?;
            now = self.wait_instance(id, &InstanceGoal::Changed(Box::new(wanted)), wait).await?;
        } else if !tags.is_empty() {
            now = self.instance(id).await?;
        }
        Ok(Likened::new(missing, unlike(&example, &now)))
    }

    /// Turns deletion protection on or off and waits until that is so.
    ///
    /// # Errors
    /// As [`Rds::make_like`].
    pub async fn protect(&self, id: &str, on: bool, wait: &Wait<'_>) -> Result<Instance> {
        let found = self.instance(id).await?;
        if found.deletion_protection == on {
            return Ok(found);
        }
        let change = InstanceChange { deletion_protection: Some(on), ..InstanceChange::default() };
        self.modify_instance(id, &change).await?;
        self.wait_instance(id, &InstanceGoal::Changed(Box::new(change)), wait).await
    }
}

#[cfg(test)]
mod tests {
    use super::{Instance, TRAITS, change, unlike};
    use crate::aws::Restore;

    fn blue() -> Instance {
        Instance {
            class: "db.r7g.xlarge".into(),
            storage_type: "gp3".into(),
            storage_gib: 100,
            iops: Some(3000),
            storage_throughput: Some(125),
            zone: Some("eu-west-1b".into()),
            monitoring_s: 60,
            monitoring_role: Some("arn:role".into()),
            insights: true,
            insights_days: Some(465),
            insights_mode: Some("advanced".into()),
            deletion_protection: true,
            tags: [("team", "dba"), ("aws:cloudformation:stack", "x"), ("pgrun:run", "old")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            ..Instance::default()
        }
    }

    /// A trait that is misspelt would be compared as nothing with nothing.
    #[test]
    fn every_trait_is_described() {
        let described = Instance::default().to_map();
        for name in TRAITS {
            assert!(described.contains_key(name), "{name}");
        }
    }

    /// RDS shows operations and throughput for small gp3 storage, and refuses a request that names them.
    #[test]
    fn a_restore_names_what_rds_takes() {
        let made = |like: &Instance| {
            let mut restore = Restore::default();
            restore.like(like);
            restore
        };
        let small = made(&blue());
        assert_eq!((small.iops, small.storage_throughput, small.storage_type.as_deref()), (None, None, Some("gp3")));
        assert_eq!(small.zone.as_deref(), Some("eu-west-1b"));
        assert_eq!(small.tags.keys().collect::<Vec<_>>(), ["pgrun:run", "team"]);
        let large = made(&Instance { storage_gib: 400, multi_az: true, ..blue() });
        assert_eq!((large.iops, large.storage_throughput, large.zone), (Some(3000), Some(125), None));
        let io = made(&Instance { storage_type: "io2".into(), ..blue() });
        assert_eq!((io.iops, io.storage_throughput), (Some(3000), None));
    }

    /// Only what differs is asked for, and what hangs together is asked for together.
    #[test]
    fn a_change_holds_what_differs() {
        let green = Instance { tags: super::super::Tags::new(), insights: true, ..blue() };
        assert_eq!(unlike(&blue(), &green).len(), 1, "the tag");
        let green = Instance { monitoring_s: 0, insights: false, insights_mode: None, ..blue() };
        let wanted = change(&blue(), &green);
        assert_eq!((wanted.monitoring_s, wanted.monitoring_role.as_deref()), (Some(60), Some("arn:role")));
        assert_eq!((wanted.insights, wanted.insights_days), (Some(true), Some(465)));
        assert_eq!((wanted.deletion_protection, wanted.backup_window), (None, None));
    }
}
