//! What the journal costs: `cargo bench --bench journal` prints one table.
//!
//! A step is an intent and a result, each durable before anything goes on. Its price is set against what the disk takes
//! for two bare appends, in rounds that alternate, so that a busy disk is busy for both. Long runs of 1,000 and 10,000
//! steps show whether writing, reading and replaying grow with the number of steps and no faster.

#![allow(clippy::unwrap_used, reason = "what fails here ends the measurement")]
#![allow(clippy::print_stdout, reason = "the table is what it is for")]

use std::{
    fmt::Display,
    fs::{File, OpenOptions},
    io::Write,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use pgrun::{
    base::{Code, Error, Redactor},
    journal::{Event, How, Key, Run, RunFolder, Status, Wish, file, run::NewRun},
};
use tempfile::TempDir;

/// Rounds of each kind, and steps in one of them: some seconds on a disk that takes a millisecond to be durable.
const ROUNDS: usize = 41;
const STEPS_OF_ROUND: u16 = 25;

/// The long runs.
const FEW: usize = 1_000;
const MANY: usize = 10_000;

fn main() {
    // A process of its own tells how much memory a loading takes.
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("load") {
        drop(file::read(Path::new(&arguments.next().unwrap())).unwrap());
        return;
    }
    println!("{:58} {:>12}   wanted", "what", "measured");
    overhead();
    let few = Long::measure(FEW);
    let many = Long::measure(MANY);
    for (few, many) in few.times().into_iter().zip(many.times()) {
        let ratio = many.1.as_secs_f64() / few.1.as_secs_f64();
        row(&format!("{}: {MANY} steps against {FEW}", many.0), &format!("{ratio:.1} x"), "<= 12 x", ratio <= 12.0);
    }
}

fn row(what: &str, measured: &str, wanted: &str, is_kept: bool) {
    println!("{what:58} {measured:>12}   {wanted}{}", if is_kept { "" } else { "  MISSED" });
}

/// A home on the disk that builds are on: `/tmp` may be memory, where durability costs nothing.
fn home() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn begin(home: &Path, text: &str) -> Run {
    let new = NewRun {
        id: Some("r".into()),
        runbook: "main.rhai".into(),
        main: "main.rhai".into(),
        sources: [("main.rhai".into(), text.into())].into(),
        params: serde_json::json!({}),
        secret_params: vec![],
        continues: None,
    };
    RunFolder::new(home).create(new, Redactor::default()).unwrap()
}

fn step(run: &Run, number: impl Display) {
    let key: Key = vec![format!("s [{number}]")];
    run.write(&key, 1, Event::Intent).unwrap();
    run.write(&key, 1, Event::Done { value: 1.into(), how: How::Ran, ms: 0 }).unwrap();
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What a step takes above the two syncs that it cannot do without.
fn overhead() {
    let home = home();
    let run = begin(home.path(), "");
    let mut bare: File =
        OpenOptions::new().create(true).append(true).open(home.path().join("runs").join("bare")).unwrap();
    // As long as the lines that a step leaves.
    let line = format!("{}\n", "x".repeat(299));
    let (mut of_steps, mut of_appends) = (vec![], vec![]);
    for round in 0..ROUNDS {
        let began = Instant::now();
        (0..STEPS_OF_ROUND).for_each(|number| step(&run, format!("{round} {number}")));
        of_steps.push(began.elapsed().as_secs_f64() / f64::from(STEPS_OF_ROUND));
        let began = Instant::now();
        for _ in 0..2 * STEPS_OF_ROUND {
            bare.write_all(line.as_bytes()).unwrap();
            bare.sync_data().unwrap();
        }
        of_appends.push(began.elapsed().as_secs_f64() / f64::from(STEPS_OF_ROUND));
    }
    let ratio = median(of_steps.iter().zip(&of_appends).map(|(step, append)| step / append).collect());
    row("a step (intent and done, durable)", &format!("{:.0} us", median(of_steps) * 1e6), "", true);
    row("two bare appends with fdatasync", &format!("{:.0} us", median(of_appends) * 1e6), "", true);
    row("a step against two appends", &format!("{ratio:.2} x"), "<= 1.5 x", ratio <= 1.5);
}

/// One long run.
struct Long {
    load: Duration,
    open: Duration,
    looked: Duration,
    ran: Duration,
}

impl Long {
    fn measure(steps: usize) -> Self {
        // What a runbook of so many steps leaves and replays; the gate ends each replay.
        let text = format!("for i in 0..{steps} {{ step \"s\" with #{{ key: i }} {{ 1 }} }}\nconfirm \"go on?\";\n");
        let home = home();
        let journal = home.path().join("runs/r/journal.jsonl");
        let run = begin(home.path(), &text);
        let timed = |number: usize| {
            let began = Instant::now();
            step(&run, number);
            began.elapsed().as_secs_f64()
        };
        let each: Vec<f64> = (0..steps).map(timed).collect();
        // Most of it is the disk's, whose pace changes: one step among its neighbours tells more than the sum.
        let late = median(each[steps - FEW / 2..].to_vec()) / median(each[..FEW / 2].to_vec());
        let write = Duration::from_secs_f64(each.iter().sum());
        run.stop(Status::Failed, &Error::new(Code::Cancelled, "measured")).unwrap();
        drop(run);
        let size = std::fs::metadata(&journal).unwrap().len();
        let load = best(|| drop(file::read(&journal).unwrap()));
        let folder = RunFolder::new(home.path());
        let open = best(|| drop(folder.open("r", Wish::Resume, Redactor::default()).unwrap()));
        let mut loading = Command::new(std::env::current_exe().unwrap());
        let (_, memory) = watched(loading.arg("load").arg(&journal), 0);
        let (ran, of_resume) = resume(home.path());
        let looked = Self::looked(&text);
        let name = |what: &str| format!("{what}, {steps} steps");
        let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
        let is_many = steps == MANY;
        let wanted = if is_many { "<= 1000 ms" } else { "" };
        let is_quick = |time: Duration| !is_many || time <= Duration::from_secs(1);
        row(&name("writing intent and done"), &ms(write), "", true);
        row(&name("one of the last steps against the first"), &format!("{late:.2} x"), "<= 1.5 x", late <= 1.5);
        row(&name("the journal for each step"), &format!("{} bytes", size / steps as u64), "", true);
        row(&name("`file::read`"), &ms(load), "", true);
        row(&name("`file::read`, peak memory of its process"), &format!("{memory} kB"), "", true);
        row(&name("`RunFolder::open`"), &ms(open), "", true);
        row(&name("`pgrun resume` over intent and done"), &ms(ran), wanted, is_quick(ran));
        row(&name("`pgrun resume`, peak memory"), &format!("{of_resume} kB"), "", true);
        row(&name("`pgrun resume` over steps that only read"), &ms(looked), wanted, is_quick(looked));
        Self { load, open, looked, ran }
    }

    /// The same run by the binary itself.
    fn looked(text: &str) -> Duration {
        let home = home();
        let book = home.path().join("main.rhai");
        std::fs::write(&book, text).unwrap();
        watched(pgrun(home.path()).arg(&book).args(["--run-id", "r"]), 75);
        resume(home.path()).0
    }

    fn times(&self) -> [(&'static str, Duration); 4] {
        [
            ("`file::read`", self.load),
            ("`RunFolder::open`", self.open),
            ("`pgrun resume` over intent and done", self.ran),
            ("`pgrun resume` over steps that only read", self.looked),
        ]
    }
}

fn best(mut what: impl FnMut()) -> Duration {
    let time = |()| {
        let began = Instant::now();
        what();
        began.elapsed()
    };
    [(); 5].map(time).into_iter().min().unwrap()
}

fn pgrun(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgrun"));
    command.env("PGRUN_HOME", home);
    command
}

/// The quickest of some resumes up to the gate, and its memory.
fn resume(home: &Path) -> (Duration, u64) {
    let once = |()| watched(pgrun(home).args(["resume", "r"]), 75);
    [(); 3].map(once).into_iter().min().unwrap()
}

/// Runs a process to its end; its time, and its peak memory in kB as Linux tells it.
fn watched(command: &mut Command, code: i32) -> (Duration, u64) {
    let began = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        if let Some(ended) = child.try_wait().unwrap() {
            assert_eq!(ended.code(), Some(code), "{command:?}");
            return (began.elapsed(), peak);
        }
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let now = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok());
        peak = peak.max(now.unwrap_or(0));
        std::thread::sleep(Duration::from_millis(2));
    }
}
