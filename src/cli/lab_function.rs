//! `pgrun lab function`: the HTTP servers that stand for Lambda functions when the lab rotates a secret.

use clap::Subcommand;

use crate::{
    base::Result,
    lab::{self, Function, Registered},
};

/// What can be done with rotation functions.
#[derive(Subcommand, Clone, Debug)]
pub enum FunctionCommand {
    /// Register an HTTP server on loopback for the name of a rotation function; RotationLambdaARN ends with it
    Add {
        /// The name in arn:aws:lambda:REGION:ACCOUNT:function:NAME
        name: String,
        /// Where {"Step","SecretId","ClientRequestToken"} is posted; anything but 2xx fails the step
        url: String,
        /// How long each step may take
        #[arg(long, value_name = "SECONDS", default_value_t = 30)]
        timeout: u64,
    },
    /// List the functions, and how the last call of each ended
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove a function; what it has not finished stays as it is
    Remove {
        /// Its name
        name: String,
    },
}

/// Asks the lab at `url`; gives what is to be printed.
///
/// # Errors
/// `usage` for what is no function or is not there; `lab_failed` when the lab does not answer.
pub async fn run(url: &str, command: &FunctionCommand) -> Result<String> {
    Ok(match command {
        FunctionCommand::Add { name, url: at, timeout } => {
            let function = Function { timeout_seconds: *timeout, ..Function::new(name, at) };
            table(&lab::add_function(url, &function).await?)
        }
        FunctionCommand::List { json: true } => {
            format!("{:#}\n", serde_json::json!({ "schema": 1, "functions": lab::functions(url).await? }))
        }
        FunctionCommand::List { json: false } => table(&lab::functions(url).await?),
        FunctionCommand::Remove { name } => {
            lab::remove_function(url, name).await?;
            format!("{name} is removed\n")
        }
    })
}

fn table(functions: &[Registered]) -> String {
    if functions.is_empty() {
        return "no functions\n".to_owned();
    }
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING).set_header(["function", "url", "timeout", "calls", "last call"]);
    for Registered { function, calls, last } in functions {
        let (timeout, calls) = (format!("{} s", function.timeout_seconds), calls.to_string());
        table.add_row([&function.name, &function.url, &timeout, &calls, last.as_deref().unwrap_or_default()]);
    }
    format!("{table}\n")
}
