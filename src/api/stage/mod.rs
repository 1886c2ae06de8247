//! The stage of a rehearsal: what only a rehearsal's script may do. It reaches the lab as everybody reaches AWS, by
//! URL.

mod child;
mod cluster;
mod deaths;
mod figures;
mod lab;
mod load;
mod memory;
mod scale;
mod sql_file;
mod state;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    function::{Call, Module},
    host::Host,
};
pub use scale::Scale;

use crate::{
    base::{Code, Map, Result, Value},
    fail,
    load::Load,
};

pub(super) const LAB: &Module = &lab::MODULE;
pub(super) const LOAD: &Module = &load::MODULE;
pub(super) const REHEARSAL: &Module = &child::MODULE;

/// How a rehearsed run is tried.
#[derive(Clone, Default)]
pub struct Trial {
    /// Crash points, one for each of its processes (see `journal::crash`).
    pub crashes: Vec<String>,
    /// It is killed at every boundary, and at random instants from this seed.
    pub chaos: Option<u64>,
    /// After the cutover it goes back, and over once more.
    pub rollback: bool,
    /// Every body and every undo clause runs twice in a row.
    pub twice: bool,
    /// The last phase that is rehearsed, where not all of them are.
    pub phase: Option<String>,
    /// How much fuller the stage is.
    pub scale: Scale,
    /// The lab has a bad day while the run works.
    pub weather: Option<Arc<dyn Weather>>,
}

/// Faults of the lab that last from the run's beginning to its first end.
pub trait Weather: Send + Sync {
    /// Begins the faults.
    ///
    /// # Errors
    /// `usage` for a fault that there is not.
    fn begin(&self) -> Result<()>;

    /// Ends them; gives each with the number of its strikes.
    fn end(&self) -> Vec<Map>;

    /// Whether nothing of them lasts: every server is there again.
    fn is_over(&self) -> bool;
}

/// What a rehearsal is given by the command line, and what it finds out.
pub struct Stage {
    /// This program.
    pub program: PathBuf,
    /// The runbook to rehearse.
    pub runbook: PathBuf,
    /// Environment of the run: where the lab is, where its journal goes.
    pub environment: Vec<(String, String)>,
    /// The text of the schema to load.
    pub schema: String,
    /// The engine version that BLUE begins with.
    pub from: String,
    /// The engine version that GREEN shall have.
    pub to: String,
    /// Waivers of findings, as `--waive` takes them.
    pub waivers: Vec<String>,
    /// How the run is tried.
    pub trial: Trial,
    loads: Mutex<BTreeMap<String, Load>>,
    whereabouts: load::Whereabouts,
    facts: Mutex<Map>,
}

impl Stage {
    /// A stage on which nothing has happened yet.
    #[must_use]
    pub fn new(program: PathBuf, runbook: PathBuf, schema: String, versions: (String, String)) -> Self {
        let (from, to) = versions;
        Self {
            program,
            runbook,
            environment: vec![],
            schema,
            from,
            to,
            waivers: vec![],
            trial: Trial::default(),
            loads: Mutex::default(),
            whereabouts: load::Whereabouts::default(),
            facts: Mutex::default(),
        }
    }

    /// `$PGRUN_HOME` of the run.
    fn home(&self) -> PathBuf {
        let find = |(name, value): &(String, String)| (name == "PGRUN_HOME").then(|| value.into());
        self.environment.iter().find_map(find).unwrap_or_default()
    }

    /// What the rehearsal found out so far.
    #[must_use]
    pub fn facts(&self) -> Map {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds what was found out; maps of the same name are joined.
    fn note(&self, facts: Map) {
        let mut all = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, value) in facts {
            match (all.get_mut(&name), value) {
                (Some(Value::Map(there)), Value::Map(more)) => there.extend(more),
                (_, value) => drop(all.insert(name, value)),
            }
        }
    }

    /// Adds to a number in a map of what was found out; the highest of all counts.
    fn note_most(&self, name: &str, key: &str, number: i64) {
        let known = self.facts().get(name).and_then(Value::as_map).and_then(|map| map.get(key)?.as_int());
        self.note(crate::map! { name => crate::map! { key => number.max(known.unwrap_or(number)) } });
    }

    /// The loads that run, each by the secret that it was started with.
    fn loads(&self) -> MutexGuard<'_, BTreeMap<String, Load>> {
        self.loads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The stage of a call.
fn stage<'a>(call: &'a Call) -> Result<&'a Stage> {
    on(call.host, call.function.name)
}

fn on<'a>(host: &'a Host, name: &str) -> Result<&'a Stage> {
    let missing = || {
        fail!(Code::Refused, "`{name}` works in rehearsals only")
            .hint("rehearsals stand in `rehearsals/` beside the runbook; start one with `pgrun rehearse RUNBOOK`")
    };
    host.stage().ok_or_else(missing)
}
