//! Exit codes, one sentence each.

use super::ui::Ui;
use crate::base::{Code, Error, Kind, Result};

/// Done.
pub(super) const DONE: u8 = 0;
/// Failed; the run can be resumed.
pub(super) const FAILED: u8 = 1;
/// The command line is wrong, or `check` found errors.
pub(super) const USAGE: u8 = 2;
/// Refused: claimed or locked, wrong target, the journal does not match the script.
pub(super) const REFUSED: u8 = 3;
/// Paused, waits for a person (`EX_TEMPFAIL`); the last line printed is the command that continues.
pub(super) const PAUSED: u8 = 75;
/// Added to the number of the signal that stopped the run.
pub(super) const SIGNAL: u8 = 128;

/// The code of an error; `signal` is the last one that came in, 0 for none.
pub(super) fn code(error: &Error, signal: i32) -> u8 {
    match error.code().kind() {
        Kind::Failed => FAILED,
        Kind::Usage => USAGE,
        Kind::Refused => REFUSED,
        Kind::Paused => PAUSED,
        Kind::Stopped => SIGNAL + u8::try_from(signal).unwrap_or(2),
    }
}

/// The code of a command's result; an error is shown.
pub(super) fn of(ui: &Ui, result: Result<()>) -> u8 {
    match result {
        Ok(()) => DONE,
        Err(error) if error.code() == Code::CheckFailed => USAGE,
        Err(error) => {
            let exit = code(&error, 0);
            ui.error(&error.into());
            exit
        }
    }
}
