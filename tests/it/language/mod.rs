//! Tests of the language: every trap of Rhai that would hurt a run, shown closed by the real program.

mod checking;
mod hook;
mod limits;
mod modules;
mod outer;
mod samples;
mod undo;
mod values;
mod words;

use crate::pgrun::{Output, Pgrun};

/// The runbook says exactly this and ends well.
#[track_caller]
fn says(runbook: &str, lines: &[&str]) {
    let wanted = lines.join("\n") + "\n";
    Pgrun::of(runbook).run().exit(0).stdout(&wanted);
}

/// The runbook ends with an error of this code, whose message holds a text.
#[track_caller]
fn fails(runbook: &str, code: &str, text: &str) -> Output {
    let output = Pgrun::of(runbook).run().stderr_has(&format!("error[{code}]: ")).stderr_has(text);
    output.wants(output.code != 0, "wanted an exit code other than 0");
    output
}

/// The runbook is refused before anything runs: no run exists afterwards.
#[track_caller]
fn refused(runbook: &str, text: &str) -> Output {
    let pgrun = Pgrun::of(runbook);
    let output = pgrun.run().exit(2).stderr_has(text).stdout("");
    output.wants(!pgrun.home().join("runs").exists(), "a run was begun");
    output
}
