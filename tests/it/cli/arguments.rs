//! What can be wrong with a command, and the one clear error for it.

use super::{PAUSED, REFUSED, USAGE, fine};
use crate::pgrun::Pgrun;

/// Each code of the table, by the shortest way to it.
#[test]
fn every_exit_code_has_its_meaning() {
    fine().run().exit(0).stdout("fine\n");
    Pgrun::of("throw \"no\";").run().exit(1);
    Pgrun::of("gone();").run().exit(USAGE);
    Pgrun::of("step \"s\" check { \"foreign\" } { 1 }").run().exit(REFUSED);
    Pgrun::of("confirm \"go\";").run().exit(PAUSED);
}

#[test]
fn a_file_that_is_not_there() {
    let pgrun = Pgrun::new();
    for command in [vec!["gone.rhai"], vec!["check", "gone.rhai"], vec!["gone.rhai", "--help"]] {
        let output = pgrun.pgrun(&command).exit(USAGE).stdout("");
        output.stderr_has("error[no_such_file]: the runbook `gone.rhai` cannot be read: No such file or directory");
    }
    std::fs::create_dir(pgrun.path("folder.rhai")).unwrap();
    pgrun.pgrun(&["folder.rhai"]).exit(USAGE).stderr_has("error[no_such_file]: ");
    std::fs::write(pgrun.path("latin.rhai"), b"say(\"\xe9\");").unwrap();
    pgrun.pgrun(&["latin.rhai"]).exit(USAGE).stderr_has("error[no_such_file]: ").stderr_has("UTF-8");
    // A mistyped command is taken for a file, and the hint names what could be meant.
    pgrun.pgrun(&["resum", "r"]).exit(USAGE);
    pgrun.pgrun(&["chek"]).exit(USAGE).stderr_has("`chek`");
}

#[test]
fn unknown_options_and_commands() {
    fine().pgrun(&["main.rhai", "--sett", "a=b"]).exit(USAGE).stdout("").stderr_has("--set");
    fine().pgrun(&["runs", "extra"]).exit(USAGE);
    fine().pgrun(&["resume"]).exit(USAGE).stderr_has("<RUN>");
    fine().pgrun(&["main.rhai", "--set", "novalue"]).exit(USAGE).stderr_has("wanted `--set NAME=VALUE`");
    fine().pgrun(&["main.rhai", "--answer", "novalue"]).exit(USAGE).stderr_has("wanted `--answer GATE=VALUE`");
    fine().pgrun(&["rehearse", "main.rhai", "--scale", "table=5"]).exit(USAGE).stderr_has("got \"table\", wanted");
    fine().pgrun(&["main.rhai", "--run-id", "../x"]).exit(USAGE).stderr_has("got the run id \"../x\"");
    fine().pgrun(&["main.rhai", "--run-id", ""]).exit(USAGE).stderr_has("got the run id \"\"");
}

#[test]
fn help_and_version_are_data() {
    let pgrun = Pgrun::new();
    for flag in ["--help", "-h"] {
        let output = pgrun.pgrun(&[flag]).exit(0).stdout_has("Usage: pgrun").stderr_lacks(" ");
        for command in ["resume", "check", "runs", "show", "verify", "rehearse", "lab"] {
            output.wants(output.stdout.contains(&format!("  {command}")), command);
        }
    }
    pgrun.pgrun(&["--version"]).exit(0).stdout(&format!("pgrun {}\n", env!("CARGO_PKG_VERSION")));
    pgrun.pgrun::<&str>(&[]).exit(USAGE).stdout_has("Usage: pgrun");
}

/// Without a place for its files pgrun says which variable to set.
#[test]
fn no_home_at_all() {
    let pgrun = fine();
    let mut command = pgrun.command(&pgrun.path(""), &["main.rhai"], &[]);
    command.env_remove("PGRUN_HOME").env_remove("HOME");
    let output = pgrun.start_command(command).finish().exit(USAGE);
    output.stderr_has("error[config]: neither `PGRUN_HOME` nor `HOME` is set").stderr_has("hint: export PGRUN_HOME=");
}

/// The run's folder is for its owner only: journals hold what people were shown.
#[test]
fn what_a_run_keeps_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let pgrun = fine();
    pgrun.run().exit(0);
    let mode = |path: std::path::PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(pgrun.home().join("runs")), 0o700);
    assert_eq!(mode(pgrun.home().join("runs/r")), 0o700);
    assert_eq!(mode(pgrun.journal()), 0o600);
}

/// A run is named by its id, a part of it, or `last`.
#[test]
fn runs_are_found_by_a_part_of_their_name() {
    let pgrun = Pgrun::of("confirm \"go\";");
    for id in ["blue-one", "blue-two"] {
        pgrun.pgrun(&["main.rhai", "--run-id", id]).exit(PAUSED);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(pgrun.pgrun(&["show", "two", "--json"]).json()["run"], "blue-two");
    assert_eq!(pgrun.pgrun(&["show", "last", "--json"]).json()["run"], "blue-two");
    let output = pgrun.pgrun(&["show", "blue"]).exit(USAGE).stderr_has("error[no_such_run]: `blue` could be 2 runs: ");
    output.stderr_has("`blue-one` and `blue-two`");
    pgrun.pgrun(&["resume", "green"]).exit(USAGE).stderr_has("there is no run `green`").stderr_has("`pgrun runs`");
    Pgrun::new().pgrun(&["resume", "last"]).exit(USAGE).stderr_has("there is no run `last`");
    Pgrun::new().pgrun(&["runs"]).exit(0).stdout("").stderr_has("there are no runs yet");
    // The file's name is in the id that a run is given.
    let output = pgrun.pgrun(&["main.rhai"]).exit(PAUSED);
    output.wants(output.stderr.contains("-main-"), "the id names the runbook");
}
