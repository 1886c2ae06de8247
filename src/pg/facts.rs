//! What a server says about itself.

use std::time::Duration;

use super::{record::record, session::Session};
use crate::base::{Lsn, Result};

record! {
    /// Facts of a server and of this session's place on it.
    pub struct ServerFacts {
        /// `server_version_num`, for example 170010.
        pub version_num: i64,
        /// The major version, for example 17.
        pub major: i64,
        /// `server_version` as the server prints it.
        pub version: String,
        /// The cluster's identifier. A copy at the same version shares it; pg_upgrade gives a new one. Absent where
        /// `pg_control_system()` is not allowed.
        pub system_identifier: Option<String>,
        /// The timeline that is written, or replayed on a standby.
        pub timeline: Option<i64>,
        /// True on a standby.
        pub in_recovery: bool,
        /// `replica` or `logical`.
        pub wal_level: String,
        /// This database.
        pub database: String,
        /// The role that statements run as.
        pub user: String,
        /// Whether that role is a superuser. Never on RDS.
        pub superuser: bool,
        /// Whether the connection is encrypted.
        pub encrypted: bool,
        /// True on RDS and Aurora: the role `rds_superuser` exists there only.
        pub rds: bool,
        /// When the server was started; a changed value means a restart in between.
        pub started: String,
    }
}

impl Session {
    /// Asks the server about itself. Needs no privilege; what is not allowed is absent.
    pub async fn server(&self) -> Result<ServerFacts> {
        const FACTS: &str = "SELECT current_setting('server_version_num')::int AS version_num, \
             current_setting('server_version_num')::int / 10000 AS major, \
             current_setting('server_version') AS version, pg_is_in_recovery() AS in_recovery, \
             current_setting('wal_level') AS wal_level, current_database()::text AS database, \
             current_user::text AS \"user\", current_setting('is_superuser') = 'on' AS superuser, \
             coalesce((SELECT s.ssl FROM pg_stat_ssl s WHERE s.pid = pg_backend_pid()), false) AS encrypted, \
             EXISTS (SELECT FROM pg_roles WHERE rolname = 'rds_superuser') AS rds, \
             pg_postmaster_start_time()::text AS started, \
             has_function_privilege('pg_control_system()', 'EXECUTE') \
               AND has_function_privilege('pg_control_checkpoint()', 'EXECUTE') AS control";
        const CONTROL: &str = "SELECT s.system_identifier::text AS system_identifier, c.timeline_id AS timeline \
             FROM pg_control_system() s, pg_control_checkpoint() c";
        let mut row = self.one(FACTS, &[]).await?;
        if row.get("control").and_then(crate::base::Value::as_bool) == Some(true) {
            row.extend(self.one(CONTROL, &[]).await?);
        }
        super::Record::from_map(&row)
    }

    /// The position up to which WAL has been reserved, written or not (manual, "Backup Control Functions"). Unlike
    /// `pg_current_wal_lsn()` it includes commits under `synchronous_commit = off` that still wait in a buffer.
    ///
    /// # Errors
    /// `pg_sql` 55000 on a standby.
    pub async fn insert_lsn(&self) -> Result<Lsn> {
        self.scalar("SELECT pg_current_wal_insert_lsn()", &[]).await
    }

    /// For how long the server has been up. After the crash of a backend all its processes begin anew but the first.
    pub async fn up_for(&self) -> Result<Duration> {
        const UP: &str = "SELECT (1000 * extract(epoch FROM clock_timestamp() - \
               coalesce(max(a.backend_start), pg_postmaster_start_time())))::int8 \
             FROM pg_stat_activity a WHERE a.backend_type = 'checkpointer'";
        let ms: i64 = self.scalar(UP, &[]).await?;
        Ok(Duration::from_millis(u64::try_from(ms).unwrap_or(0)))
    }
}
