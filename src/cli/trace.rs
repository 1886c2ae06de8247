//! Diagnostics for developers: what `tracing` is told goes to stderr where `PGRUN_LOG` asks for it, and what happens in
//! a lab goes to its `lab.log` in any case. Every line passes the redactor.

use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use crate::base::Redactor;

/// The variable that asks for diagnostics, in the words of `tracing_subscriber::EnvFilter`: `pgrun=debug`.
const VARIABLE: &str = "PGRUN_LOG";

/// What a lab writes down about itself: faults that strike, servers that do not start again, work that failed.
const OF_A_LAB: &str = "pgrun::lab=info";

/// Sends diagnostics to stderr if the environment asks for them; a lab by itself always does, its stderr is `lab.log`.
pub(super) fn begin(redactor: &Redactor, is_lab: bool) {
    let wanted = std::env::var(VARIABLE).ok();
    if let Some(filter) = wanted.as_deref().or_else(|| is_lab.then_some(OF_A_LAB)) {
        install(filter, redactor, None);
    }
}

/// The log of the lab inside a rehearsal: a file in the folder that is kept when the rehearsal fails.
#[derive(Clone, Default)]
pub(super) struct LabLog(Arc<Mutex<Option<File>>>);

impl LabLog {
    /// Listens from now on; where the environment asks for diagnostics on stderr, the lab's are among them.
    pub(super) fn begin(redactor: &Redactor) -> Self {
        let log = Self::default();
        if std::env::var_os(VARIABLE).is_none() {
            install(OF_A_LAB, redactor, Some(log.clone()));
        }
        log
    }

    /// Writes into this folder from now on. A log that cannot be made is no reason to stop a rehearsal.
    pub(super) fn write_into(&self, folder: &Path) {
        let file = File::options().create(true).append(true).mode(0o600).open(folder.join("lab.log"));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = file.ok();
    }
}

fn install(filter: &str, redactor: &Redactor, log: Option<LabLog>) {
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_ansi(false)
        .with_writer(Lines { redactor: redactor.clone(), log })
        .finish();
    // Only tests that run several programs in one process find one installed.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// Makes a writer for each line.
struct Lines {
    redactor: Redactor,
    log: Option<LabLog>,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = OneLine<'a>;

    fn make_writer(&'a self) -> OneLine<'a> {
        OneLine(self)
    }
}

/// One line; `tracing_subscriber` hands it over as a whole.
struct OneLine<'a>(&'a Lines);

impl Write for OneLine<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let clean = self.0.redactor.clean(&text);
        match &self.0.log {
            None => anstream::stderr().write_all(clean.as_bytes())?,
            Some(log) => {
                if let Some(file) = log.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
                    file.write_all(clean.as_bytes())?;
                }
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
