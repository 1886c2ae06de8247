//! Attributes of instances and clusters that are kept and shown and change nothing here: a loopback server has no
//! volume, zone or key. They are here so that a copy can be made as its original is. Names and defaults are those of
//! the API reference, `CreateDBInstance` and `CreateDBCluster`.

use std::collections::BTreeMap;

use super::{
    kind::Kind,
    query::Query,
    refusal::{Outcome, Refusal},
    site::ACCOUNT,
    xml::Element,
};

/// One attribute.
struct Attribute {
    /// Its member in answers.
    name: &'static str,
    /// Its parameter in requests.
    asked: &'static str,
    form: Form,
    /// What is shown where nothing was asked for: of an instance, of a cluster.
    usual: [Option<&'static str>; 2],
    part: Part,
}

#[derive(Clone, Copy)]
enum Form {
    Text,
    Integer,
    Boolean,
}

/// How an attribute behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Changes at once.
    Plain,
    /// Belongs to the storage: copies inherit it, and a change waits for the maintenance window.
    Storage,
}

const fn plain(name: &'static str, form: Form, usual: [Option<&'static str>; 2]) -> Attribute {
    Attribute { name, asked: name, form, usual, part: Part::Plain }
}

const fn storage(name: &'static str, form: Form, usual: [Option<&'static str>; 2]) -> Attribute {
    Attribute { name, asked: name, form, usual, part: Part::Storage }
}

const fn both(usual: &'static str) -> [Option<&'static str>; 2] {
    [Some(usual), Some(usual)]
}

const ATTRIBUTES: [Attribute; 18] = [
    storage("StorageType", Form::Text, [Some("gp3"), Some("aurora")]),
    storage("Iops", Form::Integer, [None, None]),
    storage("StorageThroughput", Form::Integer, [None, None]),
    storage("StorageEncrypted", Form::Boolean, both("false")),
    storage(KEY, Form::Text, [None, None]),
    plain("MaxAllocatedStorage", Form::Integer, [None, None]),
    plain("MonitoringInterval", Form::Integer, both("0")),
    plain("MonitoringRoleArn", Form::Text, [None, None]),
    Attribute {
        name: "PerformanceInsightsEnabled",
        asked: "EnablePerformanceInsights",
        form: Form::Boolean,
        usual: both("false"),
        part: Part::Plain,
    },
    plain("PerformanceInsightsKMSKeyId", Form::Text, [None, None]),
    plain("PerformanceInsightsRetentionPeriod", Form::Integer, [None, None]),
    plain("PreferredBackupWindow", Form::Text, both("03:00-03:30")),
    plain("PreferredMaintenanceWindow", Form::Text, both("sun:04:00-sun:04:30")),
    plain("CACertificateIdentifier", Form::Text, [Some("rds-ca-rsa2048-g1"), None]),
    plain("AvailabilityZone", Form::Text, [None, None]),
    plain("DedicatedLogVolume", Form::Boolean, [Some("false"), None]),
    plain("DatabaseInsightsMode", Form::Text, both("standard")),
    plain("EngineLifecycleSupport", Form::Text, both("open-source-rds-extended-support")),
];

const KEY: &str = "KmsKeyId";

/// The list of exported logs is kept as one text.
const LOGS: &str = "EnabledCloudwatchLogsExports";

/// What a request asks for, checked; `now` is what there is.
pub(super) fn read(query: &Query, now: &BTreeMap<String, String>) -> Outcome<BTreeMap<String, String>> {
    let mut asked = BTreeMap::new();
    for attribute in &ATTRIBUTES {
        let value = match attribute.form {
            Form::Text => query.text(attribute.asked).map(str::to_owned),
            Form::Integer => query.integer(attribute.asked)?.map(|number| number.to_string()),
            Form::Boolean => query.boolean(attribute.asked)?.map(|is| is.to_string()),
        };
        asked.extend(value.map(|value| (attribute.name.to_owned(), value)));
    }
    let old = now.get(LOGS).map(String::as_str).unwrap_or_default();
    let mut logs: Vec<String> = old.split_terminator(',').map(str::to_owned).collect();
    let given = query.texts("EnableCloudwatchLogsExports", "member");
    let more = query.texts("CloudwatchLogsExportConfiguration.EnableLogTypes", "member");
    let fewer = query.texts("CloudwatchLogsExportConfiguration.DisableLogTypes", "member");
    if let Some(unknown) = given.iter().chain(&more).find(|log| !["postgresql", "upgrade"].contains(&log.as_str())) {
        return Err(Refusal::combination(format!("You cannot use the log types '{unknown}' with engine postgres.")));
    }
    logs.retain(|log| !fewer.contains(log) && !more.contains(log));
    logs.extend(given.into_iter().chain(more));
    if logs.join(",") != old {
        asked.insert(LOGS.to_owned(), logs.join(","));
    }
    Ok(asked)
}

/// An encrypted volume always has a key: without one named it is the account's own for RDS.
pub(super) fn complete(attributes: &mut BTreeMap<String, String>, region: &str) {
    if attributes.get("StorageEncrypted").is_some_and(|is| is == "true") {
        let own = || format!("arn:aws:kms:{region}:{ACCOUNT}:key/00000000-0000-0000-0000-000000000000");
        attributes.entry(KEY.to_owned()).or_insert_with(own);
    }
}

/// Those that belong to the storage, and so to every copy of it.
pub(super) fn of_storage(attributes: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    attributes.clone().into_iter().filter(|(name, _)| waits(name)).collect()
}

/// True for what a change of waits for the maintenance window.
pub(super) fn waits(name: &str) -> bool {
    ATTRIBUTES.iter().any(|attribute| attribute.name == name && attribute.part == Part::Storage)
}

/// Adds all of them to an answer.
pub(super) fn show(element: Element, kind: Kind, attributes: &BTreeMap<String, String>) -> Element {
    let usual = |attribute: &Attribute| attribute.usual[usize::from(kind == Kind::Cluster)];
    let shown = ATTRIBUTES.iter().fold(element, |element, attribute| {
        let value = attributes.get(attribute.name).map(String::as_str).or(usual(attribute));
        element.maybe(attribute.name, value)
    });
    let logs = attributes.get(LOGS).map(String::as_str).unwrap_or_default();
    shown.list(LOGS, logs.split_terminator(',').map(|log| Element::new("member").value(log)))
}

/// Adds those that were asked for and are not in effect yet.
pub(super) fn show_pending(element: Element, asked: &BTreeMap<String, String>) -> Element {
    ["StorageType", "Iops", "StorageThroughput", "CACertificateIdentifier"]
        .into_iter()
        .fold(element, |element, name| element.maybe(name, asked.get(name)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{complete, of_storage, read};
    use crate::lab::query::Query;

    #[test]
    fn attributes_are_read_merged_and_inherited() {
        let created = Query::parse(
            b"StorageEncrypted=true&Iops=4000&EnablePerformanceInsights=true&EnableCloudwatchLogsExports.member.1=upgrade",
        );
        let mut kept = read(&created, &BTreeMap::new()).unwrap();
        complete(&mut kept, "eu-west-1");
        assert_eq!(kept["PerformanceInsightsEnabled"], "true");
        assert!(kept["KmsKeyId"].starts_with("arn:aws:kms:eu-west-1:"));
        assert_eq!(of_storage(&kept).keys().collect::<Vec<_>>(), ["Iops", "KmsKeyId", "StorageEncrypted"]);
        let changed = b"CloudwatchLogsExportConfiguration.EnableLogTypes.member.1=postgresql\
            &CloudwatchLogsExportConfiguration.DisableLogTypes.member.1=upgrade";
        let changed = read(&Query::parse(changed), &kept).unwrap();
        assert_eq!(changed, BTreeMap::from([("EnabledCloudwatchLogsExports".to_owned(), "postgresql".to_owned())]));
        assert!(read(&Query::parse(b"Iops=many"), &kept).is_err());
    }
}
