//! DB parameter groups, and what they make of `postgresql.conf`. RDS's own parameters are among them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{instance::Tags, postgres::Settings};

/// A parameter group that somebody made, of instances or of clusters.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ParameterGroup {
    pub(crate) name: String,
    /// `postgres15`: the engine and the major version it is for.
    pub(crate) family: String,
    pub(crate) description: String,
    /// Only what was changed; everything else has the default of the family.
    pub(crate) parameters: BTreeMap<String, SetParameter>,
    pub(crate) tags: Tags,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SetParameter {
    pub(crate) value: String,
    /// `immediate` or `pending-reboot`, as it was asked for.
    pub(crate) method: String,
}

/// A parameter as the engine describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parameter {
    pub(crate) name: String,
    /// True when a change needs a restart.
    pub(crate) is_static: bool,
    pub(crate) data_type: &'static str,
    pub(crate) allowed: Option<String>,
    pub(crate) default: String,
    pub(crate) description: String,
    pub(crate) modifiable: bool,
}

/// What the lab itself decides, and RDS too does not let anybody change: addresses, files, and the shape of the log
/// that `DownloadDBLogFilePortion` serves.
const FIXED: [&str; 19] = [
    "port",
    "listen_addresses",
    "unix_socket_directories",
    "data_directory",
    "config_file",
    "hba_file",
    "ident_file",
    "external_pid_file",
    "log_directory",
    "log_line_prefix",
    "log_timezone",
    "logging_collector",
    "log_file_mode",
    "lc_messages",
    "fsync",
    "full_page_writes",
    "ssl_cert_file",
    "ssl_key_file",
    "ssl_ca_file",
];

/// Parameters that only RDS has: name, static, default, allowed values, what they do (user guide, "RDS for PostgreSQL
/// parameters").
const OF_RDS: [(&str, bool, &str, &str, &str); 6] = [
    ("rds.logical_replication", true, "0", "0,1", "Enables logical decoding."),
    // RDS has 1 from 15 on. Here 0: not every build has TLS, and a rehearsal may not depend on the machine.
    ("rds.force_ssl", false, "0", "0,1", "Force SSL connections."),
    ("rds.restrict_password_commands", true, "0", "0,1", "Restricts password-related commands to rds_password."),
    ("rds.log_retention_period", false, "4320", "1440-10080", "Amount of minutes to keep log files."),
    ("rds.accepted_password_auth_method", false, "scram", "md5+scram,scram", "Accepted password methods."),
    ("rds.adaptive_autovacuum", false, "1", "0,1", "Adaptive autovacuum."),
];

/// What sessions of a read-only server begin with; they may decide otherwise, on RDS too.
pub(crate) const READ_ONLY: &str = "default_transaction_read_only";

impl Parameter {
    /// Reads the answer of `postgres --describe-config`: a line per parameter with name, context, group, type,
    /// default, minimum, maximum and description, by tabs (`src/backend/utils/misc/help_config.c`).
    pub(crate) fn read_all(text: &str) -> Vec<Self> {
        let mut all: Vec<Self> = text.lines().filter_map(Self::read).collect();
        all.extend(OF_RDS.iter().map(|(name, is_static, default, allowed, description)| Self {
            name: (*name).to_owned(),
            is_static: *is_static,
            data_type: if *allowed == "0,1" { "boolean" } else { "string" },
            allowed: Some((*allowed).to_owned()),
            default: (*default).to_owned(),
            description: (*description).to_owned(),
            modifiable: true,
        }));
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    fn read(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, context, _, kind, default, low, high, description, ..] = fields[..] else { return None };
        let (data_type, allowed) = match kind {
            "BOOLEAN" | "BOOL" => ("boolean", Some("0,1".to_owned())),
            "INTEGER" => ("integer", Some(format!("{low}-{high}"))),
            "REAL" => ("float", Some(format!("{low}-{high}"))),
            _ => ("string", None),
        };
        Some(Self {
            name: name.to_owned(),
            is_static: context == "postmaster",
            data_type,
            allowed,
            default: default.to_owned(),
            description: description.to_owned(),
            modifiable: context != "internal" && !FIXED.contains(&name),
        })
    }
}

/// The settings of a server with this group: what the lab sets for every instance, then the group's parameters.
/// `libraries` says which of `shared_preload_libraries` this installation has: others would keep it from starting.
///
/// A value that is a formula of RDS, such as `{DBInstanceClassMemory/9531392}`, is kept in the group and not applied:
/// it is made for another machine.
pub(crate) fn settings(group: Option<&ParameterGroup>, libraries: impl Fn(&str) -> bool) -> Settings {
    let mut settings: Settings = OF_RDS.iter().map(|(name, _, value, ..)| ((*name).into(), (*value).into())).collect();
    settings.insert("shared_preload_libraries".into(), "pg_stat_statements".into());
    let set = group.into_iter().flat_map(|group| &group.parameters).filter(|(_, set)| !set.value.starts_with('{'));
    settings.extend(set.map(|(name, set)| (name.clone(), set.value.clone())));
    // The API takes 0 and 1; a session sees what a boolean of PostgreSQL looks like.
    let booleans = OF_RDS.iter().filter(|(_, _, _, allowed, _)| *allowed == "0,1");
    for (name, ..) in booleans {
        if let Some(value) = settings.get_mut(*name) {
            let shown = if is_on(value) { "on" } else { "off" };
            shown.clone_into(value);
        }
    }
    if settings.get("rds.logical_replication").is_some_and(|value| value == "off") {
        settings.insert("wal_level".into(), "replica".into());
    }
    if let Some(list) = settings.get_mut("shared_preload_libraries") {
        let present: Vec<&str> = list.split(',').map(str::trim).filter(|name| libraries(name)).collect();
        *list = present.join(",");
    }
    settings
}

/// Whether a server with this group can have logical slots.
pub(crate) fn is_logical(group: Option<&ParameterGroup>) -> bool {
    settings(group, |_| false).get("rds.logical_replication").is_some_and(|value| value == "on")
}

/// The spellings of true that PostgreSQL takes for a whole word, and RDS's `1`.
fn is_on(value: &str) -> bool {
    matches!(value.to_ascii_lowercase().as_str(), "1" | "on" | "true" | "yes")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Parameter, ParameterGroup, SetParameter, settings};
    use crate::lab::instance::Tags;

    #[test]
    fn a_group_is_laid_over_the_defaults() {
        let set = |value: &str| SetParameter { value: value.into(), method: "immediate".into() };
        let group = ParameterGroup {
            name: "g".into(),
            family: "postgres15".into(),
            description: String::new(),
            parameters: BTreeMap::from([
                ("rds.logical_replication".into(), set("0")),
                ("shared_preload_libraries".into(), set("pg_cron, pg_stat_statements")),
                ("shared_buffers".into(), set("{DBInstanceClassMemory/32768}")),
                ("work_mem".into(), set("8192")),
            ]),
            tags: Tags::default(),
        };
        let settings = settings(Some(&group), |library| library == "pg_stat_statements");
        let value = |name: &str| settings.get(name).map(String::as_str);
        assert_eq!(value("wal_level"), Some("replica"));
        assert_eq!(value("shared_preload_libraries"), Some("pg_stat_statements"));
        assert_eq!((value("shared_buffers"), value("work_mem")), (None, Some("8192")));
    }

    #[test]
    fn the_engine_describes_its_parameters() {
        let text = "work_mem\tuser\tMemory\tINTEGER\t4096\t64\t2147483647\tSets it.\tLong.\n\
                    port\tpostmaster\tConnections\tINTEGER\t5432\t1\t65535\tSets the port.\t\n\
                    wal_level\tpostmaster\tWAL\tENUM\treplica\t\t\tSets the level.\t\n";
        let all = Parameter::read_all(text);
        let find = |name: &str| all.iter().find(|parameter| parameter.name == name).unwrap();
        assert_eq!(find("work_mem").allowed.as_deref(), Some("64-2147483647"));
        assert!(!find("work_mem").is_static && find("wal_level").is_static && !find("port").modifiable);
        assert!(find("rds.logical_replication").is_static);
    }
}
