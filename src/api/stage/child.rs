//! `run`, `expect`, `report`: the runbook as a process of its own, and what is expected of it.

use std::{
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rhai::Dynamic;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::Command,
};

use super::{Stage, stage};
use crate::{
    api::{
        convert,
        function::{Call, Effect, Function, Module},
        host::Host,
        operator::Notice,
        options::Options,
    },
    base::{Code, Result, Value, clock},
    fail,
    journal::{Event, RunFolder, crash, file::History, key_text},
    map,
};

/// The functions without a name space.
pub(super) const MODULE: Module = Module {
    name: "",
    doc: "In rehearsals only.",
    functions: &[
        Function {
            name: "run",
            parameters: "options",
            gives: "#{ run, exit, processes, ms, .. }",
            effect: Effect::Writes,
            doc: "Runs the runbook as a process of its own: #{ set, answers }. A process that dies by a signal is taken up \
                  again with `resume`, as a person would.",
            example: "run(#{ set: #{ blue: \"blue\" }, answers: #{ cutover: \"blue\" } }).exit // => 0",
            run,
        },
        Function {
            name: "expect",
            parameters: "holds, what",
            gives: "()",
            effect: Effect::Pure,
            doc: "Ends the rehearsal as failed unless the condition holds.",
            example: "expect(1 < 2, \"numbers work\")",
            run: |call| {
                let holds: bool = call.handle(0, "true or false")?;
                let what = call.text(1)?;
                if holds {
                    return Ok(Dynamic::UNIT);
                }
                Err(fail!(Code::RehearsalFailed, "the rehearsal expected: {what}"))
            },
        },
        Function {
            name: "report",
            parameters: "facts",
            gives: "()",
            effect: Effect::Pure,
            doc: "Adds facts to the rehearsal's report.",
            example: "report(#{ verified: #{ tables: 3 } })",
            run: |call| {
                let facts = call.map(0)?;
                stage(call)?.note(facts);
                Ok(Dynamic::UNIT)
            },
        },
    ],
    methods: &[],
};

/// A run may be killed and taken up again this often beyond its crash points.
const SPARE_PROCESSES: usize = 3;

fn run(call: &Call) -> Result<Dynamic> {
    let stage = stage(call)?;
    let options = Options::read(call, 0, &["set", "answers"])?;
    let id = format!("rehearsed-{}", call.host.run()?.id());
    let mut sets = vec![];
    for (name, value) in options.map("set")? {
        for value in value.as_list().map_or_else(|| vec![value.clone()], <[Value]>::to_vec) {
            sets.extend(["--set".to_owned(), format!("{name}={}", plain(&value))]);
        }
    }
    let mut answers = vec!["--non-interactive".to_owned()];
    for (gate, value) in options.map("answers")? {
        answers.extend(["--answer".to_owned(), format!("{gate}={}", plain(&value))]);
    }
    let begun = clock::instant();
    let host = call.host.clone();
    let (status, processes) = call.wait("running the runbook", &[], async {
        let first = [vec![stage.runbook.to_string_lossy().into_owned(), "--run-id".into(), id.clone()], sets].concat();
        let again = vec!["resume".to_owned(), id.clone()];
        for process in 0..stage.crashes.len() + SPARE_PROCESSES {
            let arguments = [if process == 0 { first.clone() } else { again.clone() }, answers.clone()].concat();
            let status = one_process(&host, stage, &arguments, stage.crashes.get(process)).await?;
            if status.code().is_some() {
                return Ok((status, process + 1));
            }
            host.tell(Notice::Warned(format!("  | the run died ({status}); it is taken up again")));
        }
        Err(fail!(Code::RehearsalFailed, "the run `{id}` died again and again"))
    })?;
    let ms = i64::try_from(begun.elapsed().as_millis()).unwrap_or(i64::MAX);
    let history = RunFolder::new(&home(stage)).history(&id)?;
    let steps = steps(&history);
    let cutover_ms = window_ms(&history);
    let kills = i64::try_from(processes - 1).unwrap_or(i64::MAX);
    stage.note(map! {
        "steps" => Value::List(steps),
        "cutover_ms" => cutover_ms,
        "chaos" => map! { "kills" => kills, "resumed" => kills },
    });
    let exit = i64::from(status.code().unwrap_or(-1));
    if exit != 0 {
        let why =
            history.state.stopped.map_or_else(|| format!("it ended with exit code {exit}"), |fault| fault.message);
        return Err(fail!(Code::RehearsalFailed, "the rehearsed run failed: {why}"));
    }
    Ok(convert::map_to_dynamic(&map! { "run" => id, "exit" => exit, "processes" => kills + 1, "ms" => ms }))
}

async fn one_process(
    host: &Host,
    stage: &Stage,
    arguments: &[String],
    crash_point: Option<&String>,
) -> Result<ExitStatus> {
    let mut command = Command::new(&stage.program);
    command.args(arguments).envs(stage.environment.iter().cloned()).env("NO_COLOR", "1");
    command.env_remove("AWS_PROFILE").env_remove("AWS_SESSION_TOKEN").env_remove(crash::VARIABLE);
    if let Some(point) = crash_point {
        command.env(crash::VARIABLE, point);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let failed = |error: std::io::Error| fail!(Code::RehearsalFailed, "the runbook cannot be started: {error}");
    let mut child = command.spawn().map_err(failed)?;
    let out = child.stdout.take().map(|stream| tokio::spawn(forward(host.clone(), stream)));
    let err = child.stderr.take().map(|stream| tokio::spawn(forward(host.clone(), stream)));
    let status = child.wait().await.map_err(failed)?;
    // What the process wrote last is still in the pipes; a grandchild that holds one must not hold us.
    for reader in [out, err].into_iter().flatten() {
        if clock::within(Duration::from_secs(2), reader).await.is_none() {
            tracing::debug!("the run's output was still open when it had ended");
        }
    }
    Ok(status)
}

/// Shows a stream of the run, line by line.
async fn forward(host: Host, stream: impl AsyncRead + Unpin) {
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        host.tell(Notice::Warned(format!("  | {line}")));
    }
}

fn home(stage: &Stage) -> std::path::PathBuf {
    let find = |(name, value): &(String, String)| (name == "PGRUN_HOME").then(|| value.into());
    stage.environment.iter().find_map(find).unwrap_or_default()
}

fn steps(history: &History) -> Vec<Value> {
    let step = |key: &Vec<String>| {
        let step = history.state.steps.get(key)?;
        let ms = step.ms.and_then(|ms| i64::try_from(ms).ok());
        Some(Value::Map(map! { "key" => key_text(key), "ms" => ms }))
    };
    history.state.order.iter().filter_map(step).collect()
}

/// From entering the phase `window` for the last time until its end; none for a runbook without one.
fn window_ms(history: &History) -> Option<i64> {
    let at = |event: &Event| {
        let is_it = |record: &&crate::journal::Record| {
            record.event == *event && record.key.last().is_some_and(|name| name == "window")
        };
        history.records.iter().rev().find(is_it).and_then(|record| clock::ms_of_text(&record.at))
    };
    let (begun, ended) = (at(&Event::Entered)?, at(&Event::Left)?);
    i64::try_from(ended.checked_sub(begun)?).ok()
}

/// A value as `--set` takes it.
fn plain(value: &Value) -> String {
    value.as_text().map_or_else(|| value.to_json().to_string(), str::to_owned)
}
