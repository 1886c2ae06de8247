//! `run`, `expect`, `report`: the runbook as a process of its own, and what is expected of it.

use std::{
    os::unix::process::ExitStatusExt,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rhai::Dynamic;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::Command,
};

use super::{
    Stage, Weather,
    deaths::{Death, Deaths},
    figures::{probes, steps, window_ms},
    memory, stage,
};
use crate::{
    api::{
        convert,
        function::{Call, Effect, Function, Module},
        host::Host,
        operator::Notice,
        options::Options,
        trial,
    },
    base::{
        Code, Map, Result, Value, clock,
        poll::{self, Seen},
    },
    fail,
    journal::{RunFolder, Status, WaiverRecord, crash, file::History},
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
            doc: "Runs the runbook as a process of its own: #{ set, answers, undo_at, up_to, name, runbook, continues }. A \
                  process that dies by a signal is taken up again with `resume`, as a person would. It is to end, or \
                  to wait at the gate `up_to`. With `--twice` it dies after each step of the list `undo_at`, so that \
                  the phase around it goes back. A second run has a `name`, may be of another `runbook` beside this \
                  one, and may continue a run.",
            example: "run(#{ set: #{ blue: \"blue\" }, up_to: \"cutover\" }).exit // => 75",
            run,
        },
        Function {
            name: "go_on",
            parameters: "options",
            gives: "#{ run, exit, processes, ms, .. }",
            effect: Effect::Writes,
            doc: "Takes up the run that waits for a person: #{ answers, up_to, name }.",
            example: "go_on(#{ answers: #{ cutover: \"blue\" } }).exit // => 0",
            run: go_on,
        },
        Function {
            name: "run_and_undo",
            parameters: "options",
            gives: "#{ run, ms }",
            effect: Effect::Writes,
            doc: "Runs the runbook as `run` does, with answers for its first gates only, until it waits for a person; then \
                  undoes all of it.",
            example: "run_and_undo(#{ set: #{ blue: \"blue\" }, answers: #{ begin: \"yes\" } }).run",
            run: run_and_undo,
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

/// Between two lines about the progress of chaos.
const TELL_EVERY: i64 = 50;
/// The exit code of a run that waits for a person.
const PAUSED: i32 = 75;
/// `kill -9`.
const SIGKILL: i32 = 9;

/// The arguments of the first process and of those that take its run up again. Another runbook stands beside the one
/// that is rehearsed.
fn processes<'a>(call: &Call, stage: &'a Stage, options: &Options, id: &str) -> Result<Processes<'a>> {
    let runbook = match options.text("runbook")? {
        Some(name) => stage.runbook.with_file_name(name),
        None => stage.runbook.clone(),
    };
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
    for waiver in &stage.waivers {
        answers.extend(["--waive".to_owned(), waiver.clone()]);
    }
    let mut first = vec![runbook.to_string_lossy().into_owned(), "--run-id".into(), id.to_owned()];
    if let Some(before) = options.text("continues")? {
        first.extend(["--continues".to_owned(), before]);
    }
    first.extend(sets);
    let again = vec!["resume".to_owned(), id.to_owned()];
    Ok(Processes {
        host: call.host.clone(),
        stage,
        id: id.to_owned(),
        first: [first, answers.clone()].concat(),
        again: [again, answers].concat(),
    })
}

fn run_and_undo(call: &Call) -> Result<Dynamic> {
    let stage = stage(call)?;
    let options = Options::read(call, 0, &["set", "answers"])?;
    let id = format!("undone-{}", call.host.run()?.id());
    let processes = processes(call, stage, &options, &id)?;
    let begun = clock::instant();
    let undo = ["undo", &id, "--yes"].map(str::to_owned);
    let never = Death { point: None, after: None };
    let undone = call.wait("running the runbook and undoing it", &[], async {
        let ended = processes.run(Deaths::none()).await?;
        if ended.status.code() != Some(PAUSED) {
            return Err(fail!(
                Code::RehearsalFailed,
                "the run was to wait for a person, and it ended ({})",
                ended.status
            ));
        }
        Ok(processes.process(&undo, &never).await?.0)
    })?;
    if !undone.success() {
        return Err(fail!(Code::RehearsalFailed, "the undo of the run `{id}` failed ({undone})"));
    }
    let ms = i64::try_from(begun.elapsed().as_millis()).unwrap_or(i64::MAX);
    Ok(convert::map_to_dynamic(&map! { "run" => id, "ms" => ms }))
}

fn run(call: &Call) -> Result<Dynamic> {
    let stage = stage(call)?;
    let options = Options::read(call, 0, &["set", "answers", "undo_at", "up_to", "name", "runbook", "continues"])?;
    let id = rehearsed(call, &options)?;
    let processes = processes(call, stage, &options, &id)?;
    let mut points = stage.trial.crashes.clone();
    if stage.trial.twice {
        points.extend(options.texts("undo_at")?.iter().map(|step| format!("after:done:{step}")));
    }
    let begun = clock::instant();
    let until = options.text("up_to")?;
    // Bad weather is over when the first run is.
    let weather = stage.trial.weather.as_ref().filter(|_| options.text("name").is_ok_and(|name| name.is_none()));
    let ended = match weather {
        None => call.wait("running the runbook", &[], processes.run(Deaths::of(stage, points)))?,
        Some(weather) => {
            weather.begin()?;
            let ended = call.wait("running the runbook on a bad day", &[], processes.run(Deaths::of(stage, points)));
            let faults = weather.end();
            let ended = ended?;
            let is_stopped = require_end(stage, &id, &ended, until.as_deref()).is_err();
            stage.note(map! {
                "faults" => Value::List(faults.into_iter().map(Value::Map).collect()),
                "stopped_by_faults" => is_stopped,
            });
            if is_stopped {
                call.wait("waiting for the faults to be over", &[], over(weather.as_ref()))?;
                processes.say("the run stopped; the faults are over, it is taken up again");
                call.wait("taking the run up again", &[], processes.run(Deaths::none()))?
            } else {
                ended
            }
        }
    };
    told(stage, &id, &ended, until.as_deref(), begun.elapsed())
}

fn go_on(call: &Call) -> Result<Dynamic> {
    let stage = stage(call)?;
    let options = Options::read(call, 0, &["answers", "up_to", "name"])?;
    let id = rehearsed(call, &options)?;
    let processes = processes(call, stage, &options, &id)?;
    let begun = clock::instant();
    let ended = call.wait("going on with the run", &[], processes.run(Deaths::of(stage, vec![])))?;
    told(stage, &id, &ended, options.text("up_to")?.as_deref(), begun.elapsed())
}

/// The run that a rehearsal rehearses; a further one has a name.
fn rehearsed(call: &Call, options: &Options) -> Result<String> {
    let name =
        options.text("name")?.unwrap_or_else(|| call.host.run().map_or_else(|_| String::new(), |run| run.id().into()));
    Ok(format!("rehearsed-{name}"))
}

/// Adds to the report how the run went, and requires that it came to its end.
fn told(stage: &Stage, id: &str, ended: &Ended, until: Option<&str>, took: Duration) -> Result<Dynamic> {
    let history = history(stage, id, ended)?;
    let before = stage.facts();
    let before = |key: &str| before.get("chaos").and_then(Value::as_map)?.get(key)?.as_int();
    let kills = before("kills").unwrap_or(0) + ended.kills;
    stage.note(map! {
        "steps" => Value::List(steps(&history)),
        "cutover_ms" => window_ms(&history),
        "probes" => probes(stage.facts().get("probes"), id, &history),
        "waived" => history.state.waivers.iter().map(WaiverRecord::to_map).collect::<Vec<Map>>(),
        "chaos" => map! {
            "kills" => kills, "resumed" => kills,
            "boundaries" => before("boundaries").unwrap_or(0) + ended.boundaries,
            "random" => before("random").unwrap_or(0) + ended.random,
        },
    });
    require_end(stage, id, ended, until)?;
    let (exit, ms) = (ended.status.code().unwrap_or(-1), i64::try_from(took.as_millis()).unwrap_or(i64::MAX));
    Ok(convert::map_to_dynamic(&map! {
        "run" => id, "exit" => i64::from(exit), "processes" => ended.kills + 1, "ms" => ms,
    }))
}

/// What the run has written; it may have been refused before its first word.
fn history(stage: &Stage, id: &str, ended: &Ended) -> Result<History> {
    RunFolder::new(&stage.home()).history(id).map_err(|error| match ended.status.code() {
        Some(0) | None => error,
        Some(exit) => fail!(Code::RehearsalFailed, "the run was not begun, it ended with exit code {exit}"),
    })
}

/// The run is done, or waits at the gate until which it was to go.
fn require_end(stage: &Stage, id: &str, ended: &Ended, until: Option<&str>) -> Result<()> {
    let history = history(stage, id, ended)?;
    let exit = ended.status.code().unwrap_or(-1);
    let asks = |gate: &str| history.state.gates.get(gate).is_some_and(|gate| gate.answer.is_none());
    match until {
        None if exit == 0 => Ok(()),
        Some(gate) if exit == PAUSED && asks(gate) => Ok(()),
        _ => {
            let stopped = history.state.stopped.map(|fault| fault.message);
            let why = stopped.unwrap_or_else(|| match until {
                Some(gate) => format!("it ended with exit code {exit}, and was to wait at the gate `{gate}`"),
                None => format!("it ended with exit code {exit}"),
            });
            Err(fail!(Code::RehearsalFailed, "the rehearsed run failed: {why}"))
        }
    }
}

/// Waits until the lab stands as it stood before the faults, as a person would before resuming.
async fn over(weather: &dyn Weather) -> Result<()> {
    poll::until("the faults to be over", poll::Patience::ms(100, 120_000), async || {
        Ok(if weather.is_over() { Seen::Ready(()) } else { Seen::NotYet("a server is not there again".into()) })
    })
    .await
}

/// The processes that work on one run, one after the other.
struct Processes<'a> {
    host: Host,
    stage: &'a Stage,
    id: String,
    first: Vec<String>,
    again: Vec<String>,
}

/// How the last process ended, and how often one was killed.
struct Ended {
    status: ExitStatus,
    kills: i64,
    boundaries: i64,
    random: i64,
}

impl Processes<'_> {
    async fn run(&self, mut deaths: Deaths) -> Result<Ended> {
        let count = |deaths: &Deaths| i64::try_from(deaths.boundaries().len()).unwrap_or(i64::MAX);
        // Another run of this rehearsal may have died at some of them: they count once.
        let before = count(&deaths);
        let (mut kills, mut random, mut boundaries) = (0, 0, before);
        for _ in 0..deaths.most_processes() {
            let arguments = if self.is_begun()? { &self.again } else { &self.first };
            let known = boundaries;
            let (status, lines) = self.process(arguments, &deaths.next()).await?;
            boundaries = count(&deaths);
            if status.code().is_some() {
                if self.is_quiet() && !status.success() {
                    for line in lines {
                        self.say(&line);
                    }
                }
                return Ok(Ended { status, kills, boundaries: boundaries - before, random });
            }
            kills += 1;
            if self.is_done() {
                let status = ExitStatus::from_raw(0);
                return Ok(Ended { status, kills, boundaries: boundaries - before, random });
            }
            // Both kinds of death may come at once: then it was at a boundary.
            random += i64::from(status.signal() == Some(SIGKILL) && boundaries == known);
            if !self.is_quiet() {
                self.say(&format!("the run died ({status}); it is taken up again"));
            } else if kills % TELL_EVERY == 0 {
                let last = deaths.boundaries().pop().unwrap_or_default();
                self.say(&format!("killed {kills} times, {random} of them at a random instant; now {last}"));
            }
        }
        Err(fail!(Code::RehearsalFailed, "the run `{}` died again and again", self.id))
    }

    /// A process may die after the last record: then nothing is left to be done.
    fn is_done(&self) -> bool {
        let history = RunFolder::new(&self.stage.home()).history(&self.id);
        history.is_ok_and(|history| history.state.status == Status::Done)
    }

    /// A run that died before its first record is begun anew.
    fn is_begun(&self) -> Result<bool> {
        let home = self.stage.home();
        if RunFolder::new(&home).history(&self.id).is_ok_and(|history| history.state.started.is_some()) {
            return Ok(true);
        }
        match std::fs::remove_dir_all(home.join("runs").join(&self.id)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(fail!(Code::RehearsalFailed, "the unborn run `{}` cannot be removed: {error}", self.id))
            }
            _ => Ok(false),
        }
    }

    /// One process: shows what it says, and gives it back.
    async fn process(&self, arguments: &[String], death: &Death) -> Result<(ExitStatus, Vec<String>)> {
        let mut command = Command::new(&self.stage.program);
        command.args(arguments).envs(self.stage.environment.iter().cloned()).env("NO_COLOR", "1");
        command.env_remove("AWS_PROFILE").env_remove("AWS_SESSION_TOKEN").env_remove(crash::VARIABLE);
        if let Some(point) = &death.point {
            command.env(crash::VARIABLE, point);
        }
        if self.stage.trial.chaos.is_some() {
            command.env(trial::NO_DEADLINES, "1");
        }
        if self.stage.trial.twice {
            command.env(trial::TWICE, "1");
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let failed = |error: std::io::Error| fail!(Code::RehearsalFailed, "the runbook cannot be started: {error}");
        let mut child = command.spawn().map_err(failed)?;
        let told = (!self.is_quiet()).then(|| self.host.clone());
        let out = child.stdout.take().map(|stream| tokio::spawn(forward(told.clone(), stream)));
        let err = child.stderr.take().map(|stream| tokio::spawn(forward(told, stream)));
        let (status, peak_kb) = memory::watch(&mut child, death.after).await.map_err(failed)?;
        if let Some(peak_kb) = peak_kb.and_then(|kb| i64::try_from(kb).ok()) {
            self.stage.note_most("memory", "peak_kb", peak_kb);
        }
        // What the process wrote last is still in the pipes; a grandchild that holds one must not hold us.
        let mut lines = vec![];
        for reader in [out, err].into_iter().flatten() {
            match clock::within(Duration::from_secs(2), reader).await {
                Some(read) => lines.extend(read.unwrap_or_default()),
                None => tracing::debug!("the run's output was still open when it had ended"),
            }
        }
        Ok((status, lines))
    }

    /// Hundreds of processes say too much.
    fn is_quiet(&self) -> bool {
        self.stage.trial.chaos.is_some()
    }

    fn say(&self, line: &str) {
        self.host.tell(Notice::Warned(format!("  | {line}")));
    }
}

/// Shows a stream of the run, line by line.
async fn forward(host: Option<Host>, stream: impl AsyncRead + Unpin) -> Vec<String> {
    let mut lines = BufReader::new(stream).lines();
    let mut all = vec![];
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(host) = &host {
            host.tell(Notice::Warned(format!("  | {line}")));
        }
        all.push(line);
    }
    all
}

/// A value as `--set` takes it.
fn plain(value: &Value) -> String {
    value.as_text().map_or_else(|| value.to_json().to_string(), str::to_owned)
}
