//! How long writers cannot write while BLUE is left for GREEN, by hand and by pgrun: `cargo bench --bench cutover`
//! prints one table.
//!
//! By hand is what the page says that `bluegreen.rhai` lists in its header, in its order: aws commands make GREEN, and
//! psql runs sections 10 to 12, a process for each statement. Nobody types, so it is as quick as a script can be. The
//! way back is ready at the end, on both sides. Only what would not run at all is done otherwise:
//!
//! - the waits of the aws CLI look every 15 to 30 s: here the state is asked again at once, before the cutover only;
//! - a slot cannot be dropped while its sender lives, so dropping it is tried until it goes;
//! - the query that writes the sequences out finds none as it stands, and with its join repaired none of identity
//!   columns, without which no writer can go on: it reads `pg_sequences` alone;
//! - of `pg_subscription` no more is read than a master user may read.
//!
//! What loses writes on that way stays as it is, and what was lost is told. Both work on servers of the same versions,
//! in the same lab, on the same tables, under the same load: four writers that know both servers, 2 ms between two
//! writes, a tag for each; the outage of a writer is from its last acknowledgement on BLUE to its first on GREEN.
//! Rounds alternate, so that a busy machine is busy for both. In between both are led back to BLUE, unmeasured.

#![allow(clippy::unwrap_used, reason = "what fails here ends the measurement")]
#![allow(clippy::print_stdout, reason = "the table is what it is for")]

mod by_hand;

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use pgrun::{
    base::{Secret, config::Config},
    lab::postgres::{Catalogue, Version},
    load::{Endpoint, Load, Plan, Probes, Proof, Spread, prepare},
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use by_hand::ByHand;

const ROUNDS: usize = 5;
const WRITERS: usize = 4;
/// After this long the lab goes down and the measurement has failed.
const LONGEST: Duration = Duration::from_secs(300);
/// No round begins after this long.
const LAST_ROUND: Duration = Duration::from_secs(240);
/// How long the writers write before a cutover and after it.
const WARM: Duration = Duration::from_millis(1500);

fn main() {
    for program in ["aws", "psql"] {
        if on_path(program).is_none() {
            println!("skipped: there is no `{program}` on PATH");
            return;
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let Some((from, to)) = runtime.block_on(versions()) else {
        println!("skipped: there are no PostgreSQL 15 and 18 here");
        return;
    };
    let begun = Instant::now();
    let lab = Bench::up();
    lab.watch_the_time();
    let hand = ByHand::new(&lab, &runtime, from, to);
    let ours = Ours::new(&lab, &runtime, from, to);
    let (mut by_hand, mut by_pgrun) = (vec![], vec![]);
    for round in 0..ROUNDS {
        if begun.elapsed() > LAST_ROUND {
            println!("only {round} rounds: the machine is slow");
            break;
        }
        by_hand.push(hand.pair.measure(&runtime, || hand.cut_over()));
        hand.go_back();
        by_pgrun.push(ours.pair.measure(&runtime, || ours.cut_over(round)));
        ours.go_back(round);
    }
    println!("PostgreSQL {from} to {to}, {} cutovers each, the way back ready at the end\n", by_hand.len());
    tell(&by_hand, &by_pgrun);
}

async fn versions() -> Option<(Version, Version)> {
    let catalogue = Catalogue::look(&Config::from_env().unwrap()).await.unwrap();
    let (from, to) = (catalogue.resolve("15")?, catalogue.resolve("18")?);
    for version in [from, to] {
        catalogue.obtain(version).await.ok()?;
    }
    Some((from, to))
}

/// A number of a proof.
type Count = fn(&Proof) -> u64;

fn tell(by_hand: &[Proof], by_pgrun: &[Proof]) {
    let spread = |proofs: &[Proof]| {
        Spread::of(proofs.iter().flat_map(|proof| proof.outage_ms.writers.iter().copied()).collect())
    };
    let sum = |proofs: &[Proof], of: Count| proofs.iter().map(of).sum::<u64>().to_string();
    let ms = |time: Option<f64>| time.map_or("none".to_owned(), |ms| format!("{ms:.0} ms"));
    let (hand, ours) = (spread(by_hand), spread(by_pgrun));
    // Where no writer came, there is no switch to be seen and none of them is listed.
    let missing = |proofs: &[Proof], spread: &Spread| {
        (proofs.len() * WRITERS - spread.writers.iter().flatten().count()).to_string()
    };
    let row = |what: &str, one: String, other: String| println!("{what:38} {one:>12} {other:>12}");
    row("outage of a writer", "by hand".into(), "pgrun".into());
    row("  median", ms(hand.median), ms(ours.median));
    row("  p95", ms(hand.p95), ms(ours.p95));
    row("  worst", ms(hand.max), ms(ours.max));
    row("  writers that never came to GREEN", missing(by_hand, &hand), missing(by_pgrun, &ours));
    let counts: [(&str, Count); 4] = [
        ("writes acknowledged", |proof| proof.acknowledged),
        ("  lost", |proof| proof.lost),
        ("  doubled", |proof| proof.doubled),
        ("  taken by BLUE while GREEN was open", |proof| proof.split_brain),
    ];
    for (what, of) in counts {
        row(what, sum(by_hand, of), sum(by_pgrun, of));
    }
    if let (Some(hand), Some(ours)) = (hand.median, ours.median) {
        println!("\npgrun's outage is {:.2} of that by hand, median against median", ours / hand);
    }
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Runs a command, and gives what it printed.
fn run(command: &mut Command, codes: &[i32]) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    let is_well = output.status.code().is_some_and(|code| codes.contains(&code));
    assert!(is_well, "{command:?} ended with {}\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// A lab for the measurement, which goes down with it.
struct Bench {
    folder: TempDir,
    environment: Vec<(String, String)>,
    password: String,
}

impl Bench {
    fn up() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::Builder::new().prefix("pgrun-bench-").tempdir().unwrap();
        // Servers run as another user where this is root.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut bench = Self { folder, environment: vec![], password: uuid::Uuid::new_v4().simple().to_string() };
        bench.lab("up");
        let lines = bench.lab("env");
        let pairs = lines.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
        // The one that goes on what is there already means loopback.
        let pairs = pairs.map(|(name, value)| (name, if name == "NO_PROXY" { "127.0.0.1" } else { value }));
        bench.environment = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        bench
    }

    fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command.env_remove("AWS_PROFILE").env_remove("AWS_SESSION_TOKEN").env("AWS_PAGER", "");
        command.env("AWS_CONFIG_FILE", "/dev/null").env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
        command.env("PGRUN_HOME", self.folder.path().join("home")).env("NO_COLOR", "1");
        command.env("PGPASSWORD", &self.password).envs(self.environment.iter().cloned());
        command
    }

    fn pgrun(&self, words: &str, codes: &[i32]) -> String {
        let mut command = self.command(env!("CARGO_BIN_EXE_pgrun"));
        run(command.current_dir(env!("CARGO_MANIFEST_DIR")).args(words.split_whitespace()), codes)
    }

    fn lab(&self, word: &str) -> String {
        self.pgrun(&format!("lab {word} --dir {}", self.folder.path().join("lab").display()), &[0])
    }

    fn aws(&self, words: &str) -> String {
        run(self.command("aws").args(words.split_whitespace()), &[0])
    }

    /// The measurement ends in any case, and its servers with it.
    fn watch_the_time(&self) {
        let mut down = self.command(env!("CARGO_BIN_EXE_pgrun"));
        down.args(["lab", "down", "--dir"]).arg(self.folder.path().join("lab"));
        std::thread::spawn(move || {
            std::thread::sleep(LONGEST);
            println!("given up after {} s", LONGEST.as_secs());
            drop(down.status());
            std::process::exit(1);
        });
    }

    /// A parameter group with logical replication, as RDS wants it.
    fn parameter_group(&self, version: Version) -> String {
        let name = format!("bench-{}", version.major);
        let (of, family) = (format!("--db-parameter-group-name {name}"), format!("postgres{}", version.major));
        let known = self.aws("rds describe-db-parameter-groups --query DBParameterGroups[].DBParameterGroupName");
        if !known.contains(&name) {
            let family = format!("--db-parameter-group-family {family}");
            self.aws(&format!("rds create-db-parameter-group {of} {family} --description bench"));
            let set = "ParameterName=rds.logical_replication,ParameterValue=1,ApplyMethod=pending-reboot";
            self.aws(&format!("rds modify-db-parameter-group {of} --parameters {set}"));
        }
        name
    }

    /// Asks until the answer is as wanted, before a cutover only.
    fn until(&self, words: &str, wanted: &str) {
        while self.aws(&format!("{words} --output text")) != wanted {
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.lab("down");
    }
}

/// BLUE and GREEN of one way to cut over, as the application knows them.
struct Pair<'a> {
    bench: &'a Bench,
    blue: Endpoint,
    green: Endpoint,
}

impl<'a> Pair<'a> {
    /// BLUE with the application's role and tables. GREEN is not there yet.
    fn new(bench: &'a Bench, runtime: &Runtime, name: &str, version: Version) -> Self {
        let (group, password) = (bench.parameter_group(version), &bench.password);
        bench.aws(&format!(
            "rds create-db-instance --db-instance-identifier {name}-blue --engine postgres --engine-version {version} \
             --db-instance-class db.m7g.large --allocated-storage 20 --master-username postgres \
             --master-user-password {password} --db-name shop --db-parameter-group-name {group}"
        ));
        let blue = endpoint(bench, &format!("{name}-blue"));
        let pair = Self { bench, green: blue.clone(), blue };
        pair.psql(&pair.blue, &[&format!("CREATE ROLE app LOGIN PASSWORD '{password}'")]);
        let master = Endpoint { user: "postgres".into(), ..pair.blue.clone() };
        runtime.block_on(prepare(&master, "load", Some("app"))).unwrap();
        pair
    }

    /// Runs statements one after the other by one psql, as the master user.
    fn psql(&self, at: &Endpoint, statements: &[&str]) -> String {
        run(&mut self.psql_command(at, statements), &[0])
    }

    fn psql_command(&self, at: &Endpoint, statements: &[&str]) -> Command {
        let mut psql = self.bench.command("psql");
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", "shop", "-h", &at.host]);
        psql.args(["-p", &at.port.to_string()]).args(statements.iter().flat_map(|sql| ["-c", sql]));
        psql
    }

    /// A cutover under load, and what became of its writes on GREEN.
    fn measure(&self, runtime: &Runtime, cut_over: impl FnOnce()) -> Proof {
        let probes = Probes::new(self.blue.clone(), Some(self.green.clone()));
        assert_eq!(usize::from(probes.writers), WRITERS);
        let load = runtime.block_on(Load::start(Plan::new().probes(probes))).unwrap();
        std::thread::sleep(WARM);
        cut_over();
        std::thread::sleep(WARM);
        runtime.block_on(async { load.stop().await.verify(&self.green).await }).unwrap()
    }
}

/// Where an instance is, once it is available.
fn endpoint(bench: &Bench, instance: &str) -> Endpoint {
    let describe = format!("rds describe-db-instances --db-instance-identifier {instance} --query");
    bench.until(&format!("{describe} DBInstances[0].DBInstanceStatus"), "available");
    let told = bench.aws(&format!("{describe} DBInstances[0].Endpoint.[Address,Port] --output text"));
    let (host, port) = told.split_once('\t').unwrap();
    Endpoint {
        host: host.into(),
        port: port.parse().unwrap(),
        database: "shop".into(),
        user: "app".into(),
        password: Secret::new(bench.password.as_str()),
        tls: None,
    }
}

/// pgrun's way: the runbook up to its gates.
struct Ours<'a> {
    pair: Pair<'a>,
}

/// Waits for a person, at the next gate.
const PAUSED: i32 = 75;

impl<'a> Ours<'a> {
    fn new(bench: &'a Bench, runtime: &Runtime, from: Version, to: Version) -> Self {
        let mut pair = Pair::new(bench, runtime, "ours", from);
        for (name, user) in [("master", "postgres"), ("app", "app")] {
            let (host, port, password) = (&pair.blue.host, pair.blue.port, &bench.password);
            let text = format!(
                "{{\"username\":\"{user}\",\"password\":\"{password}\",\"host\":\"{host}\",\"port\":{port},\
                 \"dbname\":\"shop\"}}"
            );
            bench.aws(&format!("secretsmanager create-secret --name bench/{name} --secret-string {text}"));
        }
        let set = format!("--set target={to} --set snapshot=ours-green --answer begin=yes");
        bench.pgrun(&format!("runbooks/bluegreen.rhai --run-id there-0 {set} {}", Self::SIDES), &[PAUSED]);
        pair.green = endpoint(bench, "ours-green");
        Self { pair }
    }

    const SIDES: &'static str = "--set blue=ours-blue --set green=ours-green --set master=bench/master \
        --set secrets=bench/app --set sslmode=prefer --non-interactive";

    fn cut_over(&self, round: usize) {
        let words = match round.checked_sub(1) {
            None => "resume there-0 --non-interactive".to_owned(),
            Some(last) => {
                let run = format!("--run-id there-{round} --continues back-{last}");
                format!("runbooks/bluegreen-again.rhai {run} {}", Self::SIDES)
            }
        };
        self.pair.bench.pgrun(&format!("{words} --answer cutover=ours-blue"), &[PAUSED]);
    }

    fn go_back(&self, round: usize) {
        let run = format!("--run-id back-{round} --continues there-{round} --answer rollback=ours-green");
        self.pair.bench.pgrun(&format!("runbooks/bluegreen-rollback.rhai {run} {}", Self::SIDES), &[PAUSED]);
    }
}
