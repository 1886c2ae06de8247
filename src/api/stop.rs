//! Signals: once means stop after the running step, twice means now.

use std::sync::{
    Arc,
    atomic::{AtomicI32, Ordering},
};

use tokio::sync::watch;

use crate::{
    base::{Code, Error},
    fail,
};

/// How urgently a run shall stop. Clones share one level.
#[derive(Clone)]
pub struct Stop {
    level: Arc<watch::Sender<u8>>,
    signal: Arc<AtomicI32>,
}

impl Default for Stop {
    fn default() -> Self {
        Self { level: Arc::new(watch::Sender::new(0)), signal: Arc::new(AtomicI32::new(0)) }
    }
}

impl Stop {
    /// A signal came in; gives how many there were.
    #[must_use]
    pub fn request(&self, signal: i32) -> u8 {
        self.signal.store(signal, Ordering::Release);
        self.level.send_modify(|level| *level = level.saturating_add(1));
        *self.level.borrow()
    }

    /// True when the run shall stop at the next step.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        *self.level.borrow() > 0
    }

    /// True when even the running action shall be given up.
    #[must_use]
    pub fn is_urgent(&self) -> bool {
        *self.level.borrow() > 1
    }

    /// The signal that came last.
    #[must_use]
    pub fn signal(&self) -> i32 {
        self.signal.load(Ordering::Acquire)
    }

    /// Returns when the running action shall be given up.
    pub async fn urgent(&self) {
        let mut level = self.level.subscribe();
        if level.wait_for(|level| *level > 1).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The error that ends the run.
    #[must_use]
    pub fn error(&self) -> Error {
        let name = match self.signal() {
            1 => "SIGHUP (the terminal went away)",
            2 => "Ctrl-C",
            15 => "SIGTERM",
            _ => "a signal",
        };
        fail!(Code::Cancelled, "stopped by {name}")
    }
}
