//! Statements that a read-only transaction lets pass although they change something.

use crate::{
    base::{Code, Result},
    fail,
};

/// Functions with effects outside the transaction (manual, "System Administration Functions", "Large Objects",
/// "Advisory Locks"). READ ONLY does not stop them.
const CHANGING: &[&str] = &[
    "dblink_exec",
    "lo_creat",
    "lo_create",
    "lo_export",
    "lo_from_bytea",
    "lo_import",
    "lo_put",
    "lo_unlink",
    "pg_advisory_lock",
    "pg_backup_start",
    "pg_backup_stop",
    "pg_cancel_backend",
    "pg_copy_logical_replication_slot",
    "pg_copy_physical_replication_slot",
    "pg_create_logical_replication_slot",
    "pg_create_physical_replication_slot",
    "pg_create_restore_point",
    "pg_drop_replication_slot",
    "pg_export_snapshot",
    "pg_import_system_collations",
    "pg_logical_emit_message",
    "pg_logical_slot_get_binary_changes",
    "pg_logical_slot_get_changes",
    "pg_notify",
    "pg_promote",
    "pg_reload_conf",
    "pg_replication_origin_advance",
    "pg_replication_origin_create",
    "pg_replication_origin_drop",
    "pg_replication_origin_session_reset",
    "pg_replication_origin_session_setup",
    "pg_replication_origin_xact_reset",
    "pg_replication_origin_xact_setup",
    "pg_replication_slot_advance",
    "pg_rotate_logfile",
    "pg_start_backup",
    "pg_stat_reset",
    "pg_stat_statements_reset",
    "pg_stop_backup",
    "pg_switch_wal",
    "pg_sync_replication_slots",
    "pg_terminate_backend",
    "pg_wal_replay_pause",
    "pg_wal_replay_resume",
    "set_config",
];

/// Refuses a statement that names such a function. Names inside texts and comments count too: a refusal too many costs
/// a word, one too few a slot.
pub(super) fn refuse_changes(sql: &str) -> Result<()> {
    let lower = sql.to_ascii_lowercase();
    let words = lower.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    // Prefixes, since the reset functions come in families (pg_stat_reset_shared, ..).
    let is_changing = |word: &&str| {
        CHANGING.binary_search(word).is_ok()
            || word.starts_with("pg_stat_reset")
            || word.starts_with("pg_advisory_lock")
    };
    match words.into_iter().find(is_changing) {
        None => Ok(()),
        Some(word) => Err(fail!(Code::Refused, "`{word}` changes something, and a query only reads")
            .hint("use execute(..) in a step's body, or pgrun's own function for it")),
    }
}

#[cfg(test)]
mod tests {
    use super::{CHANGING, refuse_changes};

    #[test]
    fn changing_functions_are_refused_however_they_are_written() {
        assert!(CHANGING.is_sorted(), "the list is searched by bisection");
        for sql in [
            "select pg_create_logical_replication_slot('s', 'pgoutput')",
            "SELECT PG_STAT_RESET_SHARED('wal')",
            "select pg_catalog.pg_terminate_backend(1)",
            "select pg_advisory_lock_shared(1)",
        ] {
            assert!(refuse_changes(sql).is_err(), "{sql}");
        }
        for sql in ["select * from pg_stat_activity", "select pg_current_wal_lsn()", "select lo_get(1)"] {
            assert!(refuse_changes(sql).is_ok(), "{sql}");
        }
    }
}
