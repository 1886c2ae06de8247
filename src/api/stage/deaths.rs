//! When the runs of a rehearsal die: at points that were named, or in chaos at every boundary and at random instants.

use std::{path::PathBuf, time::Duration};

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::Stage;
use crate::journal::crash;

/// Chaos ends after this many processes; a run has some hundred boundaries.
const MOST_PROCESSES: usize = 5000;
/// Processes that a run may need beyond the named points.
const SPARE_PROCESSES: usize = 3;

/// How one process is to end.
pub(super) struct Death {
    /// The value of [`crash::VARIABLE`], if it has a crash point.
    pub(super) point: Option<String>,
    /// After this long it is killed from outside.
    pub(super) after: Option<Duration>,
}

/// The deaths of a run, process by process.
pub(super) enum Deaths {
    Points(std::vec::IntoIter<String>),
    Chaos { file: PathBuf, random: Box<StdRng> },
}

impl Deaths {
    pub(super) fn of(stage: &Stage, points: Vec<String>) -> Self {
        match stage.trial.chaos {
            None => Self::Points(points.into_iter()),
            Some(seed) => {
                Self::Chaos { file: stage.home().join("boundaries"), random: Box::new(StdRng::seed_from_u64(seed)) }
            }
        }
    }

    /// Nobody is killed.
    pub(super) fn none() -> Self {
        Self::Points(vec![].into_iter())
    }

    pub(super) fn most_processes(&self) -> usize {
        match self {
            Self::Points(points) => points.len() + SPARE_PROCESSES,
            Self::Chaos { .. } => MOST_PROCESSES,
        }
    }

    /// Most processes of chaos live until their next boundary; four in ten are killed at an instant that has
    /// nothing to do with records, if they have not come to one before: most of them early, since a process takes up a
    /// run and does a short step within some hundredths of a second, some of them late.
    pub(super) fn next(&mut self) -> Death {
        match self {
            Self::Points(points) => Death { point: points.next(), after: None },
            Self::Chaos { file, random } => {
                let longest_ms = match random.random_range(0..10) {
                    0..6 => 50,
                    6..9 => 150,
                    _ => 1500,
                };
                let after_us = random.random_range(0..longest_ms * 1000);
                let after = random.random_bool(0.4).then(|| Duration::from_micros(after_us));
                Death { point: Some(format!("each:{}", file.display())), after }
            }
        }
    }

    /// The boundaries at which a process died.
    pub(super) fn boundaries(&self) -> Vec<String> {
        match self {
            Self::Points(_) => vec![],
            Self::Chaos { file, .. } => crash::boundaries(file),
        }
    }
}
