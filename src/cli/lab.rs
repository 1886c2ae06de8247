//! `pgrun lab`: the local RDS and Secrets Manager. What a lab is stands in `crate::lab`.

use std::{
    fmt::Write as _,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use clap::{Args, Subcommand};

use super::{
    lab_forward,
    lab_function::{self, FunctionCommand},
    lab_setup::LabSetup,
};
use crate::{
    base::{Code, Result, config::Config, prose, span},
    fail,
    lab::{
        self, Deed, FAULT_KINDS, Fault, Running, Struck,
        postgres::{ServerUser, lab_folder},
    },
};

/// So many pieces of work are shown.
const DEEDS_SHOWN: usize = 10;

/// The arguments of `pgrun lab`.
#[derive(Args, Clone, Debug)]
pub struct LabArgs {
    /// What to do with the lab.
    #[command(subcommand)]
    pub command: LabCommand,
}

impl LabArgs {
    /// Whether this process becomes the lab itself.
    pub(super) fn is_the_lab(&self) -> bool {
        matches!(self.command, LabCommand::Up { foreground: true, .. })
    }
}

/// What can be done with a lab.
#[derive(Subcommand, Clone, Debug)]
pub enum LabCommand {
    /// Start the lab; returns when it is ready
    Up {
        /// Stay in the foreground until Ctrl-C
        #[arg(long)]
        foreground: bool,
        /// How it is set up; a lab that runs already stays as it is
        #[command(flatten)]
        setup: LabSetup,
        /// Where the lab keeps its state and its servers
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Stop the lab and all its servers; its state stays
    Down {
        /// Where the lab keeps its state and its servers
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Show whether the lab runs, and what is in it
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Where the lab keeps its state and its servers
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Let the endpoint, the states and the servers fail as on a bad day
    Fault {
        /// What to do with the faults
        #[command(subcommand)]
        command: FaultCommand,
        /// Where the lab keeps its state and its servers
        #[arg(long, value_name = "DIR", global = true)]
        dir: Option<PathBuf>,
    },
    /// Register HTTP servers as the Lambda functions that rotate secrets
    Function {
        /// What to do with the functions
        #[command(subcommand)]
        command: FunctionCommand,
        /// Where the lab keeps its state and its servers
        #[arg(long, value_name = "DIR", global = true)]
        dir: Option<PathBuf>,
    },
    /// Forward a local port to an instance or a proxy until Ctrl-C, as kubectl port-forward does
    Forward {
        /// The instance or the proxy
        name: String,
        /// The local port; any free one where it is not given
        #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
        port: u16,
        /// Where the lab keeps its state and its servers
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Print shell lines that point the AWS SDK, the aws CLI and pgrun to the lab: eval "$(pgrun lab env)"
    Env {
        /// Where the lab keeps its state and its servers
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// What can be done with faults.
#[derive(Subcommand, Clone, Debug)]
pub enum FaultCommand {
    /// Add a fault; it strikes from the next call on
    Add {
        /// Of calls: throttle, unavailable, error-after, reset-before, reset-after, slow, stale, cut-log. Of the lab:
        /// stuck, fail-upgrade, clock-skew. Of servers: kill, restart, stall, refuse, disk-full, slow-fsync
        kind: String,
        /// The action that it strikes, for example CreateDBSnapshot; `Describe*` means all that begin so
        #[arg(long, default_value = "*")]
        action: String,
        /// The instance or snapshot that a fault of the lab or its servers strikes; `shop-*` means all that begin so
        #[arg(long, default_value = "*", value_name = "ID")]
        target: String,
        /// After so many strikes it is over
        #[arg(long, value_name = "N")]
        times: Option<u32>,
        /// How likely it strikes, from 0 to 1
        #[arg(long, default_value_t = 1.0)]
        chance: f64,
        /// Strike only every N-th time
        #[arg(long, value_name = "N", default_value_t = 1)]
        every: u32,
        /// Where its chance begins
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// How long it lasts: an answer that is held back, a state, a stalled server, a full disk
        #[arg(long, value_name = "MS", default_value_t = 2000)]
        hold_ms: u64,
        /// By how much `clock-skew` sets the clock of AWS forward, or back
        #[arg(long, value_name = "MS", default_value_t = 0, allow_hyphen_values = true)]
        skew_ms: i64,
    },
    /// List the faults, and how often each has struck
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// End all faults
    Clear,
}

/// Runs `pgrun lab ..`; what is to be printed goes to `out`.
///
/// # Errors
/// `lab_failed`, `lab_missing`, and those of the lab itself.
pub async fn run(args: &LabArgs, config: &Config, out: &mut dyn Write) -> Result<()> {
    let (LabCommand::Up { dir, .. }
    | LabCommand::Down { dir }
    | LabCommand::Status { dir, .. }
    | LabCommand::Fault { dir, .. }
    | LabCommand::Function { dir, .. }
    | LabCommand::Forward { dir, .. }
    | LabCommand::Env { dir }) = &args.command;
    let dir = folder(config, dir.as_deref())?;
    match &args.command {
        LabCommand::Up { foreground: true, setup, .. } => {
            lab::foreground(config, setup.options(&dir), |found| say(out, &up_text(found))).await
        }
        LabCommand::Up { setup, .. } => {
            let program = std::env::current_exe().map_err(|e| fail!(Code::LabFailed, "where pgrun is: {e}"))?;
            let mut command = Command::new(program);
            command.args(["lab", "up", "--foreground", "--dir"]).arg(&dir).args(setup.arguments());
            let found = lab::up(&dir, command).await?;
            say(out, &up_text(&found))
        }
        LabCommand::Down { .. } => {
            let text = if lab::down(&dir).await? { "the lab is down\n" } else { "no lab was running\n" };
            say(out, text)
        }
        LabCommand::Status { json, .. } => {
            let status = lab::status(&dir)?;
            let text = if *json { format!("{:#}\n", status.to_json()) } else { status_text(&status) };
            say(out, &text)
        }
        LabCommand::Fault { command, .. } => say(out, &fault(&dir, command).await?),
        LabCommand::Function { command, .. } => say(out, &lab_function::run(&running(&dir)?.url, command).await?),
        LabCommand::Forward { name, port, .. } => lab_forward::run(&dir, name, *port, |text| say(out, text)).await,
        LabCommand::Env { .. } => say(out, &env_text(&running(&dir)?)),
    }
}

fn running(dir: &Path) -> Result<Running> {
    let none = || fail!(Code::LabFailed, "no lab runs in `{}`", dir.display()).hint("pgrun lab up");
    lab::running(dir).ok_or_else(none)
}

async fn fault(dir: &Path, command: &FaultCommand) -> Result<String> {
    let url = running(dir)?.url;
    Ok(match command {
        FaultCommand::Add { kind, action, target, times, chance, every, seed, hold_ms, skew_ms } => {
            let fault = Fault {
                kind: kind.clone(),
                action: action.clone(),
                target: target.clone(),
                times: *times,
                chance: *chance,
                every: *every,
                seed: *seed,
                hold_ms: *hold_ms,
                skew_ms: *skew_ms,
            };
            faults_text(&lab::add_fault(&url, &fault).await?)
        }
        FaultCommand::List { json: true } => {
            format!("{:#}\n", serde_json::json!({ "schema": 1, "faults": lab::faults(&url).await? }))
        }
        FaultCommand::List { json: false } => faults_text(&lab::faults(&url).await?),
        FaultCommand::Clear => format!("{} ended\n", prose::count(lab::clear_faults(&url).await?.len(), "fault")),
    })
}

fn faults_text(faults: &[Struck]) -> String {
    if faults.is_empty() {
        return "no faults\n".to_owned();
    }
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING).set_header([
        "fault",
        "strikes",
        "times",
        "chance",
        "struck",
        "what it does",
    ]);
    for Struck { fault, hits } in faults {
        let does = FAULT_KINDS.iter().find(|kind| kind.name == fault.kind).map_or("", |kind| kind.does);
        let times = fault.times.map_or_else(|| "any".to_owned(), |times| times.to_string());
        let strikes = if fault.target == "*" { &fault.action } else { &fault.target };
        table.add_row([&fault.kind, strikes, &times, &fault.chance.to_string(), &hits.to_string(), does]);
    }
    format!("{table}\n")
}

fn say(out: &mut dyn Write, text: &str) -> Result<()> {
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| fail!(Code::LabFailed, "the output cannot be written: {error}"))
}

/// An absolute path: the lab's process stands in another folder than its caller.
fn folder(config: &Config, named: Option<&Path>) -> Result<PathBuf> {
    let dir = match named {
        Some(dir) => dir.to_owned(),
        None => lab_folder(config, ServerUser::choose()?.as_ref())?,
    };
    std::path::absolute(&dir).map_err(|error| fail!(Code::LabFailed, "`{}`: {error}", dir.display()))
}

fn up_text(found: &Running) -> String {
    format!(
        "the lab is up at {}\nuse it: eval \"$(pgrun lab env --dir {})\"\n",
        found.url,
        prose::shell_word(&found.dir.display().to_string())
    )
}

/// Credentials of the user's must not be mixed into a session with the lab, nor a proxy stand between.
fn env_text(found: &Running) -> String {
    let (url, region) = (&found.url, &found.region);
    let ca = prose::shell_word(&lab::ca_file(&found.dir).display().to_string());
    format!(
        "unset AWS_PROFILE AWS_SESSION_TOKEN\n\
         export AWS_ENDPOINT_URL={url}\n\
         export AWS_REGION={region}\n\
         export AWS_DEFAULT_REGION={region}\n\
         export AWS_ACCESS_KEY_ID=lab\n\
         export AWS_SECRET_ACCESS_KEY=lab\n\
         export AWS_EC2_METADATA_DISABLED=true\n\
         export PGSSLROOTCERT={ca}\n\
         export NO_PROXY=127.0.0.1${{NO_PROXY:+,$NO_PROXY}}\n"
    )
}

fn status_text(status: &lab::Status) -> String {
    let mut text = match &status.running {
        Some(found) => format!("running at {} (process {}, since {})\n", found.url, found.process.pid, found.started),
        None => "not running\n".to_owned(),
    };
    let _ = writeln!(text, "folder: {}", status.dir.display());
    let _ = writeln!(text, "{}", status.masters());
    let _ =
        writeln!(text, "authority: {} (sslmode=verify-full with the host below, at 127.0.0.1)", status.ca().display());
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING).set_header(["what", "name", "status", "version", "size", "where"]);
    for (what, all) in [("instance", &status.instances), ("cluster", &status.clusters)] {
        for found in all {
            let at = found.endpoint.as_ref().map(|at| format!("{at} {}", found.host)).unwrap_or_default();
            let (version, size) = (found.engine_version.to_string(), span::size_text(found.bytes));
            table.add_row([what, &found.id, found.status, &version, &size, &at]);
        }
    }
    for found in &status.proxies {
        let at = found.port.map(|port| format!("127.0.0.1:{port} {}", found.host)).unwrap_or_default();
        table.add_row(["proxy", &found.name, found.status, "", "", &at]);
    }
    for found in &status.snapshots {
        let (version, size) = (found.engine_version.to_string(), span::size_text(found.bytes));
        table.add_row(["snapshot", &found.id, found.status, &version, &size, &format!("of {}", found.instance)]);
    }
    for name in &status.secrets {
        table.add_row(["secret", name, "", "", "", ""]);
    }
    if !table.is_empty() {
        let _ = writeln!(text, "{table}");
    }
    deeds_text(&mut text, &status.deeds);
    text
}

/// The last things done: who rehearses wants to know what a snapshot costs those who are at work.
fn deeds_text(text: &mut String, deeds: &[Deed]) {
    let shown = &deeds[deeds.len().saturating_sub(DEEDS_SHOWN)..];
    if !shown.is_empty() {
        text.push_str("done last:\n");
    }
    for deed in shown {
        let took = span::duration_text(Duration::from_millis(deed.ms));
        let _ = write!(text, "  {} {} in {took}", deed.did, deed.id);
        if let Some(bytes) = deed.bytes {
            let _ = write!(text, ", {}", span::size_text(bytes));
        }
        if let Some(ms) = deed.stood_ms {
            let _ = write!(text, "; the server stood still for {}", span::duration_text(Duration::from_millis(ms)));
        }
        text.push('\n');
    }
}
