//! Words on a terminal: arguments in, sentences out. The only floor that prints; `main` alone ends the process.

mod args;
mod exit;
mod guard;
pub mod lab;
mod lab_forward;
pub mod lab_function;
mod lab_setup;
mod list;
mod picture;
mod prune;
mod rehearsal;
mod rehearse;
mod runbook;
mod signal;
mod trace;
mod ui;

use std::{ffi::OsString, io::IsTerminal};

use clap::{CommandFactory, Parser};

use self::{args::Cli, ui::Ui};
use crate::base::{Config, Redactor, Result};

/// Runs the program: reads the arguments, does what they say, gives the exit code.
#[must_use]
pub fn run(arguments: Vec<OsString>) -> u8 {
    let ui = Ui::new(Redactor::default());
    if let Some(path) = args::runbook_help(&arguments) {
        return exit::of(&ui, runbook::help(&ui, &path));
    }
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let is_error = error.use_stderr();
            ui.clap_message(&error);
            return if is_error { exit::USAGE } else { exit::DONE };
        }
    };
    let config = match Config::from_env() {
        Ok(config) => config,
        Err(error) => return exit::of(&ui, Err(error)),
    };
    dispatch(&ui, &config, cli)
}

fn dispatch(ui: &Ui, config: &Config, cli: Cli) -> u8 {
    use args::Command;
    trace::begin(ui.redactor(), matches!(&cli.command, Some(Command::Lab(args)) if args.is_the_lab()));
    match cli.command {
        None => match cli.run.file.clone() {
            Some(file) => runbook::run(ui, config, &file, &cli.run),
            None => {
                ui.print(&Cli::command().render_help().to_string());
                exit::USAGE
            }
        },
        Some(Command::Resume(resume)) => runbook::resume(ui, config, &resume),
        Some(Command::Undo(undo)) => runbook::undo(ui, config, &undo),
        Some(Command::Abandon(abandon)) => runbook::abandon(ui, config, &abandon),
        Some(Command::Check(check)) => runbook::check(ui, config, &check),
        Some(Command::Runs(runs)) if runs.prune => prune::run(ui, config, &runs),
        Some(Command::Runs(runs)) => exit::of(ui, list::runs(ui, config, &runs)),
        Some(Command::Show(show)) => exit::of(ui, list::show(ui, config, &show)),
        Some(Command::Verify(verify)) => exit::of(ui, list::verify(ui, config, &verify)),
        Some(Command::Lab(args)) => exit::of(ui, run_lab(ui, config, &args)),
        Some(Command::Guard) => exit::of(ui, guard::run()),
        Some(Command::Rehearse(rehearse)) => rehearse::run(ui, config, &rehearse),
    }
}

fn run_lab(ui: &Ui, config: &Config, args: &lab::LabArgs) -> Result<()> {
    let mut out = ui.data();
    runbook::runtime()?.block_on(lab::run(args, config, &mut out))
}

/// The command at the end of a hint: "look at its target, then say what is true: pgrun resume ..".
fn command_in(hint: &str) -> Option<String> {
    hint.find("pgrun ").map(|at| hint[at..].to_owned())
}

/// True when a person can be asked here.
fn has_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}
