//! The command line as types.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use clap::{Args, Parser, Subcommand};

/// Runs PostgreSQL operations from versioned runbooks.
#[derive(Parser)]
#[command(name = "pgrun", version, args_conflicts_with_subcommands = true, after_help = AFTER_HELP)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Option<Command>,
    #[command(flatten)]
    pub(super) run: RunArgs,
}

const AFTER_HELP: &str = "\
Run a runbook:        pgrun runbooks/bluegreen.rhai --set blue=orders --set target=17.4
See its parameters:   pgrun runbooks/bluegreen.rhai --help
Rehearse it first:    pgrun rehearse runbooks/bluegreen.rhai

Exit codes: 0 done, 1 failed (can be resumed), 2 usage, 3 refused, 75 waits for a person, 129 130 143 by signal.";

#[derive(Subcommand)]
pub(super) enum Command {
    /// Take a run up again where it stopped
    Resume(ResumeArgs),
    /// Undo a run, newest step first
    Undo(UndoArgs),
    /// End a run for good: what it made stays, its targets are free
    Abandon(AbandonArgs),
    /// Find mistakes in runbooks without running them
    Check(CheckArgs),
    /// List runs, or remove old ones that are over
    Runs(RunsArgs),
    /// Show one run: its steps, what it waits for
    Show(ShowArgs),
    /// Check that a run's journal is as it was written
    Verify(VerifyArgs),
    /// Rehearse a runbook against real servers, under load, and prove that nothing is lost
    Rehearse(RehearseArgs),
    /// A local RDS and Secrets Manager over real PostgreSQL servers
    Lab(super::lab::LabArgs),
    /// Open a fenced server again when the run that closed it ends: started by pgrun itself
    #[command(hide = true)]
    Guard,
}

/// What a run may be given.
#[derive(Args, Clone)]
pub(super) struct RunArgs {
    /// The runbook
    #[arg(value_name = "FILE.rhai")]
    pub(super) file: Option<PathBuf>,
    /// A parameter; repeated for the same name it makes a list
    #[arg(long, value_name = "NAME=VALUE")]
    pub(super) set: Vec<String>,
    /// A JSON or TOML file of parameters
    #[arg(long, value_name = "FILE")]
    pub(super) params: Option<PathBuf>,
    /// The run's id
    #[arg(long, value_name = "ID")]
    pub(super) run_id: Option<String>,
    /// The run that this one goes on from: its targets pass over
    #[arg(long, value_name = "RUN")]
    pub(super) continues: Option<String>,
    #[command(flatten)]
    pub(super) waive: WaiveArgs,
    #[command(flatten)]
    pub(super) gates: GateArgs,
}

/// How gates are answered.
#[derive(Args, Clone)]
pub(super) struct GateArgs {
    /// An answer to a gate, given beforehand
    #[arg(long, value_name = "GATE=VALUE", allow_hyphen_values = true)]
    pub(super) answer: Vec<String>,
    /// Answer yes to plain yes-or-no gates
    #[arg(long)]
    pub(super) yes: bool,
    /// Never ask: stop at a gate with exit code 75
    #[arg(long)]
    pub(super) non_interactive: bool,
}

/// Which findings may stay.
#[derive(Args, Clone, Default)]
pub(super) struct WaiveArgs {
    /// Let a finding stay that would stop the run: all of its id, or with ID:OBJECT one only
    #[arg(long, value_name = "ID=REASON")]
    pub(super) waive: Vec<String>,
}

#[derive(Args)]
pub(super) struct ResumeArgs {
    /// The run's id, a part of it, or `last`
    pub(super) run: String,
    /// A parameter that held a password, given again
    #[arg(long, value_name = "NAME=VALUE")]
    pub(super) set: Vec<String>,
    #[command(flatten)]
    pub(super) decide: DecideArgs,
    /// Go on with the runbook as its files are now, if that replays over the journal
    #[arg(long)]
    pub(super) adopt: bool,
    #[command(flatten)]
    pub(super) waive: WaiveArgs,
    #[command(flatten)]
    pub(super) gates: GateArgs,
}

/// What a person says about steps.
#[derive(Args)]
pub(super) struct DecideArgs {
    /// What an unknown or failed step counts as: retry, done, done:JSON, skip or undo
    #[arg(long, value_name = "STEP=DECISION", allow_hyphen_values = true)]
    pub(super) decide: Vec<String>,
    /// The reason of a decision
    #[arg(long, value_name = "TEXT")]
    pub(super) why: Option<String>,
}

#[derive(Args)]
pub(super) struct UndoArgs {
    /// The run's id, a part of it, or `last`
    pub(super) run: String,
    /// The last step to be undone; all of them where it is not given
    #[arg(long, value_name = "STEP", allow_hyphen_values = true)]
    pub(super) to: Option<String>,
    #[command(flatten)]
    pub(super) decide: DecideArgs,
    /// A parameter that held a password, given again
    #[arg(long, value_name = "NAME=VALUE")]
    pub(super) set: Vec<String>,
    #[command(flatten)]
    pub(super) gates: GateArgs,
}

#[derive(Args)]
pub(super) struct AbandonArgs {
    /// The run's id, a part of it, or `last`
    pub(super) run: String,
    /// The reason
    #[arg(long, value_name = "TEXT")]
    pub(super) why: String,
}

#[derive(Args)]
pub(super) struct CheckArgs {
    /// The runbooks
    #[arg(required = true, value_name = "FILE.rhai")]
    pub(super) files: Vec<PathBuf>,
    /// Write JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Args)]
pub(super) struct RunsArgs {
    /// Remove runs that are done, undone or abandoned
    #[arg(long)]
    pub(super) prune: bool,
    /// How long a run has to be over to be removed
    #[arg(long, value_name = "SPAN", default_value = "90d", requires = "prune")]
    pub(super) older_than: String,
    /// Remove them without being asked
    #[arg(long, requires = "prune")]
    pub(super) yes: bool,
    /// Write JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Args)]
pub(super) struct ShowArgs {
    /// The run's id, a part of it, or `last`
    pub(super) run: String,
    /// Write JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Args)]
pub(super) struct VerifyArgs {
    /// The run's id, a part of it, or `last`
    pub(super) run: String,
}

#[derive(Args)]
pub(super) struct RehearseArgs {
    /// The runbook; its rehearsal stands in `rehearsals/` beside it
    #[arg(value_name = "FILE.rhai")]
    pub(super) file: PathBuf,
    /// A schema with data, as pg_dump writes it, instead of the sample
    #[arg(long, value_name = "FILE.sql")]
    pub(super) schema: Option<PathBuf>,
    /// Major version to start from
    #[arg(long, value_name = "MAJOR")]
    pub(super) from: Option<u32>,
    /// Major version to upgrade to
    #[arg(long, value_name = "MAJOR")]
    pub(super) to: Option<u32>,
    /// Rehearse so many times
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) repeat: u32,
    /// Keep the lab with its servers' data, logs and the run's journal
    #[arg(long)]
    pub(super) keep: bool,
    /// Write the result as JSON
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// Kill the run at every record boundary, and at random instants from this seed, and compare the end state
    #[arg(long, value_name = "SEED", num_args = 0..=1, require_equals = true, default_missing_value = "1")]
    pub(super) chaos: Option<u64>,
    /// Let the lab fail as AWS does on a bad day: a JSON file with a list of faults, or a seed
    #[arg(long, value_name = "FILE|SEED")]
    pub(super) faults: Option<String>,
    #[command(flatten)]
    pub(super) waive: WaiveArgs,
    #[command(flatten, next_help_heading = "The lab")]
    pub(super) lab: super::lab_setup::LabSetup,
    /// The last phase of the runbook to rehearse; all of them where it is not given
    #[arg(long, value_name = "NAME")]
    pub(super) phase: Option<String>,
    /// After the cutover write on, go back, write on, and verify both ways
    #[arg(long, conflicts_with_all = ["phase", "twice"])]
    pub(super) rollback: bool,
    /// Fill the stage with so many further sequences, tables and sessions, any of them:
    /// `sequences=10000,tables=1000,connections=200`
    #[arg(long, value_name = "KEY=N,..")]
    pub(super) scale: Option<String>,
    /// Run every step's body and every undo twice in a row, and compare the end state
    #[arg(long)]
    pub(super) twice: bool,
    /// End the run's process at a record, as `before:done:STEP` or `after:intent:STEP`, and resume it
    #[arg(long, value_name = "POINT", hide = true)]
    pub(super) crash: Vec<String>,
}

/// The runbook in `pgrun FILE.rhai --help`: its help comes from its parameters, not from this program's.
pub(super) fn runbook_help(arguments: &[OsString]) -> Option<PathBuf> {
    let wants_help = arguments.iter().any(|argument| argument == "--help" || argument == "-h");
    let first = Path::new(arguments.get(1)?);
    let is_runbook = first.extension().is_some_and(|extension| extension == "rhai");
    (wants_help && is_runbook).then(|| first.to_owned())
}
