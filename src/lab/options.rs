//! How a lab is set up.

use std::{path::PathBuf, time::Duration};

/// What a lab is started with.
#[derive(Clone, Debug)]
pub struct LabOptions {
    /// Everything the lab keeps: `world.json`, `lab.json`, `instances/`, `snapshots/`.
    pub dir: PathBuf,
    /// The port of the endpoint; 0 takes a free one.
    pub port: u16,
    /// The region in ARNs and in `pgrun lab env`. Requests for any region are answered.
    pub region: String,
    /// How long states last.
    pub delays: Delays,
    /// So many seconds of the lab pass in one.
    pub speed: f64,
    /// What becomes of logical slots in the upgrade of a snapshot.
    pub slots_in_snapshot: SlotsInSnapshot,
    /// Servers load the hook library where it can be compiled. Without it every master user is a superuser.
    pub hook_library: bool,
}

impl LabOptions {
    /// A lab in this folder, with everything else as usual.
    #[must_use]
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            port: 0,
            region: "eu-west-1".into(),
            delays: Delays::default(),
            speed: 1.0,
            slots_in_snapshot: SlotsInSnapshot::default(),
            hook_library: true,
        }
    }

    pub(crate) fn world_file(&self) -> PathBuf {
        self.dir.join("world.json")
    }
}

/// Delays that make a script wait as it has to wait for RDS, only shorter. They are in the lab's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delays {
    /// How long a state such as `creating` or `modifying` lasts at least.
    pub state: Duration,
    /// How long `available` is still shown after a change was accepted. On RDS it is seconds, and who does not expect
    /// them takes the change for done.
    pub stale: Duration,
}

impl Default for Delays {
    fn default() -> Self {
        Self { state: Duration::from_millis(300), stale: Duration::from_millis(300) }
    }
}

/// What becomes of logical replication slots below 17 when a snapshot is upgraded. For an instance RDS documents that
/// they must be dropped first; for a snapshot no page says what happens, so both can be rehearsed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SlotsInSnapshot {
    /// They are gone without a word, as `pg_upgrade` does it.
    #[default]
    Drop,
    /// The upgrade is refused: the snapshot stays at its version.
    Refuse,
}
