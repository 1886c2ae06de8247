//! The guardian of a fence: a run dies inside its window, at any place, and the server is open again with nobody's
//! help. After the decision it stays closed, with nobody's help either.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use pgrun::lab::postgres::Process;

use super::Bench;
use crate::pgrun::{Database, Running};

/// A window as a cutover has it: close, work, decide, open the other side.
const WINDOW: &str = r#"
    let keep_open = ["postgres", "op"];
    step "prepare" with #{ retry: "safe" } { pg::install_own(db) }
    phase "window" with #{ deadline: "20s", on_failure: "undo" } check { pg::fence_outcome(db) == "green" } {
        step "close" { pg::close_fence(db, keep_open, "10s") } undo { pg::reopen_fence(db); };
        step "drain" { did(db, "drain"); if has(db, "slow") { sleep("15s"); } }
        step "decide" check { pg::fence_outcome(db) == "green" } { pg::decide(db) }
        step "open" with #{ retry: "safe" } { did(db, "open"); if has(db, "late") { sleep("4s"); } }
    }
    step "after" { did(db, "after") }
"#;

/// A server of its own with a role that applications log in by.
fn stage(runbook: &str) -> Bench {
    let database = Database::alone();
    database.sql("CREATE ROLE \"A'pp \"\"1\" LOGIN");
    Bench::on(database, runbook)
}

/// As if nothing had been.
fn afresh(bench: Bench, runbook: &str) -> Bench {
    bench.database.sql("DROP SCHEMA IF EXISTS pgrun CASCADE; ALTER ROLE \"A'pp \"\"1\" LOGIN");
    bench.again(runbook)
}

impl Bench {
    fn is_open(&self) -> bool {
        self.database.sql("SELECT rolcanlogin FROM pg_roles WHERE rolname = 'A''pp \"1'") == "t"
    }

    /// The states of all attempts, oldest first.
    fn states(&self) -> String {
        let made = self.database.sql("SELECT to_regclass('pgrun.decision') IS NOT NULL") == "t";
        let all = "SELECT attempt || ' ' || state FROM pgrun.decision ORDER BY attempt, closes";
        if made { self.database.sql(all).replace('\n', ", ") } else { String::new() }
    }

    #[track_caller]
    fn opens_within(&self, limit: Duration) {
        let begun = Instant::now();
        while !self.is_open() {
            assert!(begun.elapsed() < limit, "still closed after {limit:?}: {}; {}", self.states(), self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The last words of the guardians, without their times.
    fn log(&self) -> String {
        let text = std::fs::read_to_string(self.pgrun.journal().with_file_name("guardian.log")).unwrap_or_default();
        text.lines().filter_map(|line| line.split_once(' ')).flat_map(|(_, said)| [said, "\n"]).collect()
    }

    #[track_caller]
    fn until_log(&self, said: &str) {
        let begun = Instant::now();
        while !self.log().contains(said) {
            assert!(begun.elapsed() < Duration::from_secs(20), "`{said}` never came: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The run, come to where its window is held open.
    fn in_the_window(&self) -> (Running, Process) {
        self.database.sql("INSERT INTO effects VALUES ('slow')");
        let mut running = self.pgrun.start_run();
        running.until_event("intent window / drain");
        let below = Process::of(running.pid()).unwrap().descendants();
        assert_eq!(below.len(), 1, "the guardian and nobody else: {below:?}");
        (running, below[0].clone())
    }
}

/// Dead at any boundary of the window: open again at once, without a person. Taken up again, a fresh attempt goes
/// through; and whatever is behind the decision stays as it was decided.
#[test]
fn a_run_that_dies_in_its_window_leaves_no_server_closed() {
    let mut bench = stage(WINDOW);
    let points = [
        ("before:intent:close", "1 fenced, 1 green"),
        ("after:intent:close", "1 fenced, 1 green"),
        ("before:done:close", "1 fenced, 1 reopened, 2 fenced, 2 green"),
        ("after:done:close", "1 fenced, 1 reopened, 2 fenced, 2 green"),
        ("after:intent:drain", "1 fenced, 1 reopened, 2 fenced, 2 green"),
        ("before:done:drain", "1 fenced, 1 reopened, 2 fenced, 2 green"),
        ("after:done:drain", "1 fenced, 1 reopened, 2 fenced, 2 green"),
        ("after:intent:decide", "1 fenced, 1 reopened, 2 fenced, 2 green"),
    ];
    for (point, states) in points {
        bench = afresh(bench, WINDOW);
        bench.run_until(point);
        bench.opens_within(Duration::from_secs(5));
        assert!(matches!(bench.states().as_str(), "" | "1 fenced, 1 reopened"), "{point}: {}", bench.states());
        bench.resume(&[]).exit(0);
        assert_eq!((bench.states().as_str(), bench.is_open()), (states, false), "{point}");
        assert!(bench.effects().ends_with("drain open after"), "{point}: {}", bench.effects());
    }
    for point in ["before:done:decide", "after:done:decide", "after:intent:open", "before:done:open"] {
        bench = afresh(bench, WINDOW);
        bench.run_until(point);
        bench.until_log("attempt 1: the run decided for the other server: nothing was done\n");
        assert_eq!((bench.states().as_str(), bench.is_open()), ("1 fenced, 1 green", false), "{point}");
        bench.resume(&[]).exit(0);
        assert_eq!((bench.states().as_str(), bench.is_open()), ("1 fenced, 1 green", false), "{point}");
        assert!(bench.effects().ends_with("open after"), "{point}: {}", bench.effects());
    }
}

/// What ends a run at its terminal does not end its guardian, and no guardian outlives its task.
#[test]
fn a_guardian_is_deaf_and_does_not_stay() {
    let bench = stage(WINDOW);
    let (running, guardian) = bench.in_the_window();
    assert!(!bench.is_open());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        assert!(guardian.signal(signal));
    }
    std::thread::sleep(Duration::from_millis(100));
    assert!(guardian.is_alive(), "a signal that was meant for the run ended its guardian");
    let session = |pid: i32| nix::unistd::getsid(Some(nix::unistd::Pid::from_raw(pid))).unwrap();
    assert_ne!(session(guardian.pid), session(running.pid()), "the guardian is in the terminal's session");
    let environment = std::fs::read(format!("/proc/{}/environ", guardian.pid)).unwrap();
    let arguments = std::fs::read(format!("/proc/{}/cmdline", guardian.pid)).unwrap();
    let password = bench.database.password();
    for shown in [environment, arguments] {
        assert!(!String::from_utf8_lossy(&shown).contains(&password), "the password can be seen by others");
    }
    running.kill();
    bench.opens_within(Duration::from_secs(5));
    bench.until_log("attempt 1: the server was opened again by the guardian\n");
    assert!(guardian.wait_gone_blocking(Duration::from_secs(5)), "the guardian stays");
    assert!(!bench.log().contains(&password));
}

/// Both dead: psql alone opens the server, and so does a resumed run.
#[test]
fn without_run_and_guardian_psql_opens_or_the_resumed_run() {
    let mut bench = stage(WINDOW);
    for by_psql in [true, false] {
        bench = afresh(bench, WINDOW);
        let (running, guardian) = bench.in_the_window();
        assert!(guardian.signal(Signal::SIGKILL));
        running.kill();
        std::thread::sleep(Duration::from_millis(700));
        assert_eq!((bench.states().as_str(), bench.is_open()), ("1 fenced", false));
        bench.database.sql("DELETE FROM effects WHERE name = 'slow'");
        if by_psql {
            assert_eq!(bench.database.sql("SELECT pgrun.reopen()"), "open again: 1 of 1 roles may log in as before");
            assert!(bench.is_open());
        }
        bench.resume(&[]).exit(0);
        assert_eq!(bench.states(), "1 fenced, 1 reopened, 2 fenced, 2 green");
    }
}

/// A run that hangs is as bad as one that died: at the deadline, by the server's clock, the server is open. The run
/// learns it when it wants to decide.
#[test]
fn a_run_that_hangs_is_not_waited_for() {
    let runbook = WINDOW.replace("\"10s\"", "\"2s\"").replace("\"20s\"", "\"60s\"").replace("15s", "500ms");
    let bench = stage(&runbook);
    let (running, _guardian) = bench.in_the_window();
    running.signal(Signal::SIGSTOP);
    assert!(!bench.is_open());
    bench.opens_within(Duration::from_secs(8));
    running.signal(Signal::SIGCONT);
    running.finish().exit(1).stderr_has("no fence of the run `r` stands here: reopened");
    assert_eq!((bench.states().as_str(), bench.is_open()), ("1 fenced, 1 reopened", true));
}

/// The deadline just before the decision: everything goes back, and no later decision counts. Just after it: nothing
/// goes back, and the resumed run goes on.
#[test]
fn the_deadline_before_and_after_the_decision() {
    // The fence's own time.
    let short = WINDOW.replace("\"10s\"", "\"700ms\"").replace("15s", "1500ms");
    let mut bench = stage(&short);
    bench.database.sql("INSERT INTO effects VALUES ('slow')");
    bench.pgrun.run().exit(1);
    assert_eq!((bench.states().as_str(), bench.is_open()), ("1 fenced, 1 reopened", true));
    // The phase's time, before.
    let phase = WINDOW.replace("\"20s\"", "\"2s\"");
    bench = afresh(bench, &phase);
    bench.database.sql("INSERT INTO effects VALUES ('slow')");
    bench.pgrun.run().exit(1).stderr_has("the 2.0 s of phase `window` passed");
    assert_eq!((bench.states().as_str(), bench.is_open()), ("1 fenced, 1 reopened", true));
    // And after.
    bench = afresh(bench, &phase);
    bench.database.sql("INSERT INTO effects VALUES ('late')");
    bench.pgrun.run().exit(1).stderr_has("had made its decision before it failed: nothing was undone");
    assert_eq!((bench.states().as_str(), bench.is_open()), ("1 fenced, 1 green", false));
    bench.database.sql("DELETE FROM effects WHERE name = 'late'");
    bench.resume(&[]).exit(0);
    assert_eq!((bench.states().as_str(), bench.is_open()), ("1 fenced, 1 green", false));
}

/// No server is closed that nobody would open: the guardian is ready first.
#[test]
fn without_a_guardian_nothing_is_closed() {
    let database = Database::alone();
    database.sql(
        "CREATE ROLE op LOGIN CREATEROLE CONNECTION LIMIT 1; GRANT pg_monitor, pg_signal_backend TO op;
         SET ROLE op; CREATE ROLE \"A'pp \"\"1\" LOGIN; RESET ROLE; ALTER DATABASE postgres OWNER TO op",
    );
    database.sql("DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO op', current_database()); END $$");
    let mut bench = Bench::on(database, WINDOW);
    bench.database.sql("GRANT ALL ON effects TO op");
    let url = bench.database.url().replace("//postgres:", "//op:");
    bench.pgrun = crate::pgrun::Pgrun::of(&format!("{}{WINDOW}", super::HEAD)).arg("--set").arg(&format!("db={url}"));
    let output = bench.pgrun.run().exit(3);
    output.stderr_has("the server is not closed, since nobody would open it if this process died");
    assert_eq!((bench.states().as_str(), bench.is_open()), ("", true));
}
