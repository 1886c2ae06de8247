//! `hook`: programs of the team, such as a switch of their own. A program runs as it is named, without a shell; it gets
//! the environment that it is given and little more, has a deadline, and does not outlive the step that waits for it.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use rhai::{Dynamic, ImmutableString};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command},
    task::JoinHandle,
};

use super::{
    convert,
    function::{Call, Effect, Function, Module},
};
use crate::{
    base::{Code, Result, Secret, clock, prose, span},
    fail, map,
};

/// The functions.
pub(super) const MODULE: Module = Module {
    name: "",
    doc: "Programs of the team.",
    functions: &[
        Function {
            name: "hook",
            parameters: "options",
            gives: "#{ exit, output, errors, ms }",
            effect: Effect::Writes,
            doc: "Runs a program: #{ command, env, pass, input, folder, deadline, exits }. `command` is a list: the program, \
                  then its arguments; no shell reads them. Relative paths begin at the runbook's folder, where the program \
                  works, or at `folder`. It gets PATH and HOME, the variables of pgrun that `pass` names, and `env`; \
                  `input` is its standard input; values there may be secrets. It ends with one of `exits` (otherwise \
                  [0]) within `deadline` (otherwise \"1m\"), or the step fails. The end of each output is kept, at \
                  most 128 KiB, secrets masked. A program that was killed may have done its work: give the step a check clause. It \
                  runs again when the step does, so it has to be safe to repeat.",
            example: "hook(#{ command: [\"echo\", \"a b\", \"$HOME\"] }).output // => \"a b $HOME\\n\"",
            run: |call| {
                let ended = run(call)?;
                Ok(convert::map_to_dynamic(&map! {
                    "exit" => i64::from(ended.exit), "output" => ended.output, "errors" => ended.errors,
                    "ms" => ended.ms,
                }))
            },
        },
        Function {
            name: "hook_holds",
            parameters: "options",
            gives: "true or false",
            effect: Effect::Reads,
            doc: "Runs a program that only looks, as `hook` does: true when it ends with 0, false with 1; anything else \
                  is an error. For check and verify clauses and for polls.",
            example: "hook_holds(#{ command: [\"test\", \"-e\", \"/nowhere\"] }) // => false",
            run: |call| {
                let ended = run(call)?;
                Ok((ended.exit == 0).into())
            },
        },
    ],
    methods: &[],
};

/// Where the script does not say.
const DEADLINE: Duration = Duration::from_mins(1);
/// Told to end, a program gets this long before it is killed.
const GRACE: Duration = Duration::from_secs(5);
/// A process that the program left behind may hold its output; it must not hold us.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Of each output the end is kept, at least so much and at most twice that: errors stand there, and a journal is no
/// place for logs.
const KEPT_BYTES: usize = 64 << 10;
/// So much of an output stands in an error.
const TOLD_LINES: usize = 8;
/// Without these few programs run.
const ALWAYS_PASSED: [&str; 2] = ["PATH", "HOME"];
const KEYS: [&str; 7] = ["command", "env", "pass", "input", "folder", "deadline", "exits"];

/// What is to be run.
struct Hook {
    program: OsString,
    arguments: Vec<String>,
    environment: Vec<(String, OsString)>,
    input: Option<Secret>,
    folder: PathBuf,
    deadline: Duration,
    exits: Vec<i32>,
}

/// How it ended.
struct Ended {
    exit: i32,
    output: String,
    errors: String,
    ms: i64,
}

impl Hook {
    fn read(call: &Call) -> Result<Self> {
        let name = call.function.name;
        let options = call.handle::<rhai::Map>(0, "a map")?;
        if let Some(key) = options.keys().find(|key| !KEYS.contains(&key.as_str())) {
            let error = fail!(Code::ScriptError, "`{name}` got the option `{key}`");
            return Err(match prose::nearest(key, KEYS) {
                Some(near) => error.hint(format!("meant `{near}`?")),
                None => error.hint(format!("it takes {}", prose::ticked_list(&KEYS, 20))),
            });
        }
        let wrong = |key: &str, got: &Dynamic, wanted: &str| {
            fail!(Code::ScriptError, "`{name}`: `{key}` is {}, wanted {wanted}", convert::a_type(got))
        };
        let option = |key: &str| options.get(key).filter(|value| !value.is_unit()).map(Dynamic::flatten_clone);
        let list = |key: &str| match option(key) {
            None => Ok(vec![]),
            Some(given) => {
                let items = given.clone().try_cast::<rhai::Array>().ok_or_else(|| wrong(key, &given, "a list"))?;
                Ok(items)
            }
        };
        let folder = match option("folder") {
            None => home(call),
            Some(given) => home(call).join(text(&given).ok_or_else(|| wrong("folder", &given, "a text"))?),
        };
        let mut command = list("command")?.into_iter().map(|part| argument(call, &part)).collect::<Result<Vec<_>>>()?;
        if command.first().is_none_or(String::is_empty) {
            return Err(fail!(Code::ScriptError, "`{name}` needs the option `command`: the program and its arguments")
                .hint(format!("write {name}(#{{ command: [\"program\", \"argument\"] }})")));
        }
        let program = command.remove(0);
        // A bare name is looked for in PATH.
        let program = if program.contains('/') { folder.join(program).into() } else { program.into() };
        let mut passed: Vec<String> = ALWAYS_PASSED.iter().map(|name| (*name).to_owned()).collect();
        for one in list("pass")? {
            passed.push(text(&one).ok_or_else(|| wrong("pass", &one, "texts in it"))?);
        }
        let inherited = passed.into_iter().filter_map(|name| Some((name.clone(), std::env::var_os(&name)?)));
        let mut environment: Vec<(String, OsString)> = inherited.collect();
        if let Some(given) = option("env") {
            let map = given.clone().try_cast::<rhai::Map>().ok_or_else(|| wrong("env", &given, "a map"))?;
            for (name, value) in map {
                let value =
                    word(call, &value).ok_or_else(|| wrong("env", &value, "texts, numbers or secrets in it"))?;
                environment.push((name.to_string(), value.expose().into()));
            }
        }
        if let Some((name, _)) = environment.iter().find(|(name, value)| {
            name.is_empty() || name.contains(['=', '\0']) || value.as_encoded_bytes().contains(&0)
        }) {
            return Err(fail!(Code::ScriptError, "the variable {name:?} cannot be given to a program"));
        }
        let input =
            option("input").map(|given| word(call, &given).ok_or_else(|| wrong("input", &given, "a text or a secret")));
        let deadline = match option("deadline") {
            None => DEADLINE,
            Some(given) => span::parse_duration(&text(&given).ok_or_else(|| wrong("deadline", &given, "a text"))?)?,
        };
        let mut exits = vec![];
        for exit in list("exits")? {
            let number = exit.as_int().ok().and_then(|exit| i32::try_from(exit).ok());
            exits.push(number.ok_or_else(|| wrong("exits", &exit, "whole numbers in it"))?);
        }
        match call.function.effect {
            Effect::Reads => exits = vec![0, 1],
            _ if exits.is_empty() => exits = vec![0],
            _ => {}
        }
        Ok(Self { program, arguments: command, environment, input: input.transpose()?, folder, deadline, exits })
    }

    /// The program's name, for people.
    fn label(&self) -> String {
        Path::new(&self.program).file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }

    async fn run(&self) -> Result<Ended> {
        let begun = clock::instant();
        let label = self.label();
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.current_dir(&self.folder).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() });
        // A group of its own: a Ctrl-C stops the run after this step, and what the program started ends with it.
        command.process_group(0).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| {
            let place = self.folder.display();
            fail!(Code::HookFailed, "the program `{label}` cannot be started in `{place}`: {error}")
                .hint("see that it is there and may be executed; without a `/` it is looked for in PATH")
        })?;
        let mut group = Group::of(&child);
        let (out, err) = (Output::read(child.stdout.take()), Output::read(child.stderr.take()));
        let fed = child.stdin.take().map(|mut pipe| {
            let input = self.input.clone();
            // A program need not read all of it.
            tokio::spawn(async move {
                if let Some(input) = input {
                    drop(pipe.write_all(input.expose().as_bytes()).await);
                }
            })
        });
        let ended = clock::within(self.deadline, child.wait()).await;
        let status = match ended {
            Some(status) => {
                group.is_over = true;
                Some(status.map_err(|error| fail!(Code::HookFailed, "`{label}` was lost: {error}").unknown())?)
            }
            None => {
                group.signal(Signal::SIGTERM);
                if clock::within(GRACE, child.wait()).await.is_none() {
                    group.signal(Signal::SIGKILL);
                }
                None
            }
        };
        drop(fed);
        let (output, errors) = (out.text().await, err.text().await);
        let told = |error: crate::base::Error| {
            let told = if errors.trim().is_empty() { &output } else { &errors };
            let lines: Vec<&str> = told.lines().collect();
            error.detail("output", lines[lines.len().saturating_sub(TOLD_LINES)..].join("\n"))
        };
        let Some(status) = status else {
            let given = span::duration_text(self.deadline);
            return Err(told(fail!(Code::Timeout, "the program `{label}` did not end within {given}").unknown()));
        };
        let Some(exit) = status.code() else {
            return Err(told(fail!(Code::HookFailed, "the program `{label}` was killed: {status}").unknown()));
        };
        if !self.exits.contains(&exit) {
            return Err(told(fail!(Code::HookFailed, "the program `{label}` ended with {exit}")));
        }
        let ms = i64::try_from(begun.elapsed().as_millis()).unwrap_or(i64::MAX);
        Ok(Ended { exit, output, errors, ms })
    }
}

fn run(call: &Call) -> Result<Ended> {
    let hook = Hook::read(call)?;
    let mut ended = call.wait(&format!("running `{}`", hook.label()), &[], hook.run())?;
    let clean = |text: &mut String| *text = call.host.redactor().clean(text).into_owned();
    clean(&mut ended.output);
    clean(&mut ended.errors);
    Ok(ended)
}

/// The folder of the runbook: programs lie beside it, wherever pgrun was started.
fn home(call: &Call) -> PathBuf {
    let path = call.host.run().ok().and_then(|run| run.look(|state| state.started.clone()?.path));
    let folder = path.as_deref().and_then(|path| Path::new(path).parent()).map(Path::to_owned);
    folder.unwrap_or_else(|| PathBuf::from("."))
}

/// An argument. Everybody on the machine can see it.
fn argument(call: &Call, given: &Dynamic) -> Result<String> {
    let name = call.function.name;
    if given.clone().try_cast::<Secret>().is_some() {
        return Err(fail!(Code::SecretGuard, "`{name}`: a secret stands in `command`, where everybody can see it")
            .hint("give it by `env` or `input`"));
    }
    let word = word(call, given).ok_or_else(|| {
        fail!(Code::ScriptError, "`{name}`: `command` holds {}, wanted texts and numbers", convert::a_type(given))
    })?;
    let word = word.expose();
    if call.host.redactor().finds(word) {
        return Err(fail!(Code::SecretGuard, "`{name}`: an argument holds a secret, and everybody can see it")
            .hint("give it by `env` or `input`"));
    }
    if word.contains('\0') {
        return Err(fail!(Code::ScriptError, "`{name}`: an argument holds a zero byte"));
    }
    Ok(word.to_owned())
}

fn text(given: &Dynamic) -> Option<String> {
    given.clone().try_cast::<ImmutableString>().map(|text| text.to_string())
}

/// A text, number or truth value as a program reads it, or a secret as it is: a program may write it out again.
fn word(call: &Call, given: &Dynamic) -> Option<Secret> {
    if let Some(secret) = given.clone().try_cast::<Secret>() {
        call.host.redactor().learn(&secret);
        return Some(secret);
    }
    let plain = || given.as_int().map(|n| n.to_string()).or_else(|_| given.as_bool().map(|b| b.to_string())).ok();
    text(given).or_else(plain).map(Secret::new)
}

/// The processes of a program. Dropped before the program is over, it kills them.
struct Group {
    leader: Option<Pid>,
    is_over: bool,
}

impl Group {
    fn of(child: &Child) -> Self {
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        Self { leader: pid.map(Pid::from_raw), is_over: false }
    }

    fn signal(&self, signal: Signal) {
        if let Some(leader) = self.leader {
            let sent = killpg(leader, signal);
            tracing::debug!(?sent, %signal, "a program was told to end");
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.is_over {
            self.signal(Signal::SIGKILL);
        }
    }
}

/// An output that is being read. Its end is kept.
struct Output {
    kept: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Output {
    fn read(stream: Option<impl AsyncRead + Unpin + Send + 'static>) -> Self {
        let kept: Arc<Mutex<Vec<u8>>> = Arc::default();
        let filled = Arc::clone(&kept);
        let reader = tokio::spawn(async move {
            let Some(mut stream) = stream else { return };
            let mut block = vec![0; 8192];
            while let Ok(count @ 1..) = stream.read(&mut block).await {
                let mut kept = filled.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend_from_slice(&block[..count]);
                if kept.len() > 2 * KEPT_BYTES {
                    let from = kept.len() - KEPT_BYTES;
                    // From a line's beginning: the rest of a secret that was cut would not be known any more.
                    let line = kept[from..].iter().position(|byte| *byte == b'\n').map_or(KEPT_BYTES, |at| at + 1);
                    kept.drain(..from + line);
                }
            }
        });
        Self { kept, reader }
    }

    /// What there is, as soon as the stream ends. A process that the program left behind may hold it open.
    async fn text(self) -> String {
        if clock::within(LAST_WORDS, self.reader).await.is_none() {
            tracing::debug!("the output of a program was still open when it had ended");
        }
        String::from_utf8_lossy(&self.kept.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}
