//! The text of `postgresql.conf` and `pg_hba.conf` of the lab's servers. Which values come from a parameter group is
//! decided by whoever passes them.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

/// Settings by name.
pub type Settings = BTreeMap<String, String>;

/// What every server of the lab has unless told otherwise: RDS's log shape, logical replication with room to spare,
/// and nothing that trades truth for speed: `fsync` and `full_page_writes` stay on.
const BASE: [(&str, &str); 18] = [
    ("listen_addresses", "127.0.0.1"),
    // No socket file: its path may hold 107 bytes only, and everything reaches RDS by TCP.
    ("unix_socket_directories", ""),
    ("max_connections", "200"),
    // Small: several servers share a laptop. RDS takes a quarter of the machine.
    ("shared_buffers", "64MB"),
    ("wal_level", "logical"),
    ("max_wal_senders", "30"),
    ("max_replication_slots", "30"),
    ("max_worker_processes", "40"),
    ("max_logical_replication_workers", "24"),
    // Bounded, so that a forgotten slot cannot fill the disk of whoever rehearses.
    ("max_slot_wal_keep_size", "4GB"),
    ("password_encryption", "scram-sha-256"),
    ("lc_messages", "C"),
    ("logging_collector", "on"),
    // RDS: `error/postgresql.log.YYYY-MM-DD-HH` in UTC, with this prefix (user guide, "RDS for PostgreSQL log files").
    ("log_filename", "postgresql.log.%Y-%m-%d-%H"),
    ("log_rotation_age", "60"),
    ("log_rotation_size", "0"),
    ("log_timezone", "UTC"),
    ("log_line_prefix", "%t:%r:%u@%d:[%p]:"),
];

/// The whole `postgresql.conf`: the base, then the given settings, then port and log folder.
#[must_use]
pub fn conf_text(settings: &Settings, port: u16, log_folder: &Path) -> String {
    let mut all: BTreeMap<&str, String> = BASE.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
    all.extend(settings.iter().map(|(name, value)| (name.as_str(), value.clone())));
    all.insert("port", port.to_string());
    all.insert("log_directory", log_folder.display().to_string());
    let mut text = String::from("# Written by the lab at each start; changes are lost.\n");
    for (name, value) in all {
        let _ = writeln!(text, "{name} = {}", quoted(&value));
    }
    text
}

/// A value in single quotes; quote and backslash are doubled (manual, "Setting Parameters").
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "''").replace('\n', "\\n"))
}

/// The whole `pg_hba.conf`: passwords by SCRAM over loopback. The socket line serves `pg_upgrade` alone, which makes a
/// private socket folder of its own; in operation there is no socket. `tls_only` excepts the superuser, which is ours.
#[must_use]
pub fn hba_text(superuser: &str, before: &[String], tls_only: bool) -> String {
    let superuser = format!("\"{}\"", superuser.replace('"', "\"\""));
    let mut lines = vec![format!("local all {superuser} trust")];
    lines.extend(before.iter().cloned());
    lines.push(format!("host all {superuser} 127.0.0.1/32 scram-sha-256"));
    let kind = if tls_only { "hostssl" } else { "host" };
    lines.push(format!("{kind} all all 127.0.0.1/32 scram-sha-256"));
    lines.push(format!("{kind} replication all 127.0.0.1/32 scram-sha-256"));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Settings, conf_text};

    #[test]
    fn given_settings_win_over_the_base_but_not_over_the_port() {
        let mut settings = Settings::new();
        settings.insert("wal_level".into(), "replica".into());
        settings.insert("port".into(), "1".into());
        settings.insert("application_name".into(), "it's \\ here".into());
        let text = conf_text(&settings, 5555, Path::new("/x"));
        assert!(text.contains("wal_level = 'replica'\n") && text.contains("port = '5555'\n"), "{text}");
        assert!(text.contains("application_name = 'it''s \\\\ here'\n"), "{text}");
    }
}
