//! What every session of pgrun sets for itself, so that no role's or database's own settings change what a step does.

use std::time::Duration;

use crate::base::{
    Result,
    ident::{ident, literal},
};

/// What a session asks of the server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The run's name; `application_name` becomes `pgrun/<run>`.
    pub run: String,
    /// Schemas in which names without one are looked up. `pg_catalog` alone unless a caller needs more.
    pub search_path: Vec<String>,
    /// A statement waits this long for a lock; zero means without limit.
    pub lock_timeout: Duration,
    /// A statement runs this long; zero means without limit.
    pub statement_timeout: Duration,
    /// A transaction may stay idle this long before the server ends it; zero means without limit.
    pub idle_in_transaction_timeout: Duration,
}

impl Settings {
    /// The settings that procedures use: locks 10 s, statements and idle transactions 5 min.
    ///
    /// A lock that is not had in 10 s stands behind something a person should see; meanwhile applications would queue
    /// behind it. Five minutes are longer than any statement of a procedure but REINDEX and ANALYZE, which set their
    /// own.
    #[must_use]
    pub fn of_run(run: impl Into<String>) -> Self {
        Self {
            run: run.into(),
            search_path: vec!["pg_catalog".into()],
            lock_timeout: Duration::from_secs(10),
            statement_timeout: Duration::from_secs(300),
            idle_in_transaction_timeout: Duration::from_secs(300),
        }
    }

    /// Looks names up in these schemas too.
    #[must_use]
    pub fn searching(mut self, schemas: &[&str]) -> Self {
        self.search_path = schemas.iter().map(|schema| (*schema).to_owned()).collect();
        self
    }

    /// `pgrun/<run>`.
    pub(super) fn application_name(&self) -> String {
        format!("pgrun/{}", self.run)
    }

    /// One text of `SET`s for a server of this major version. A session-level `SET` overrides `ALTER ROLE .. SET`.
    pub(super) fn sql(&self, major: u32) -> Result<String> {
        let path: Vec<String> = self.search_path.iter().map(|schema| ident(schema)).collect::<Result<_>>()?;
        let ms = |duration: Duration| duration.as_millis().to_string();
        let mut pairs = vec![
            ("search_path", path.join(", ")),
            // A decision that a crash forgets would leave both sides open (blue/green).
            ("synchronous_commit", "on".into()),
            ("lock_timeout", ms(self.lock_timeout)),
            ("statement_timeout", ms(self.statement_timeout)),
            ("idle_in_transaction_session_timeout", ms(self.idle_in_transaction_timeout)),
            ("default_transaction_isolation", literal("read committed")?),
            ("standard_conforming_strings", "on".into()),
            ("timezone", literal("UTC")?),
            ("datestyle", "ISO".into()),
            ("intervalstyle", "iso_8601".into()),
            ("bytea_output", "hex".into()),
            ("extra_float_digits", "1".into()),
            // Catalog statements over thousands of relations are planned as expensive and would be compiled for
            // seconds.
            ("jit", "off".into()),
        ];
        if major >= 14 {
            pairs.push(("idle_session_timeout", "0".into()));
        }
        if major >= 17 {
            pairs.push(("transaction_timeout", "0".into()));
        }
        let sets: Vec<String> = pairs.iter().map(|(name, value)| format!("SET {name} = {value}")).collect();
        Ok(sets.join("; "))
    }
}
