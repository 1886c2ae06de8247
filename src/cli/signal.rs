//! Ctrl-C once: the run stops after its running step. Twice: now. SIGTERM and SIGHUP count like Ctrl-C.

use tokio::signal::unix::{SignalKind, signal};

use super::ui::Ui;
use crate::api::Stop;

/// Listens until the process ends.
pub(super) fn listen(runtime: &tokio::runtime::Handle, stop: &Stop, ui: &Ui) {
    for (kind, number) in [(SignalKind::interrupt(), 2), (SignalKind::terminate(), 15), (SignalKind::hangup(), 1)] {
        let (stop, ui) = (stop.clone(), ui.clone());
        runtime.spawn(async move {
            let Ok(mut signals) = signal(kind) else { return };
            while signals.recv().await.is_some() {
                match stop.request(number) {
                    1 => ui.remark("stopping after the running step; once more stops now"),
                    _ => ui.remark("stopping now"),
                }
            }
        });
    }
}
