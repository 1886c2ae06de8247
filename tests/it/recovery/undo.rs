//! `pgrun undo`: newest step first, from wherever the run stands, over any number of deaths.

use super::Bench;
use crate::pgrun::Output;

const BOOK: &str = r#"
    let a = step "a" { did(db, "a") } undo |v| { undid(db, "a"); };
    step "look" { db.value("select 1") }
    phase "p" {
        for k in ["x", "y"] { step "k" with #{ key: k } { did(db, k) } undo { undid(db, k); } }
        parallel { step "l" { did(db, "l") } undo { undid(db, "l"); } }
        also { step "r" { did(db, "r") } undo { undid(db, "r"); } }
    }
    confirm "go on?" with #{ gate: "go" };
    step "stays" { did(db, "stays") }
    step "z" { did(db, "z") } undo { undid(db, "z"); }
"#;

impl Bench {
    /// A bench whose gates are open.
    fn open(runbook: &str) -> Self {
        let bench = Self::new(runbook);
        Self { pgrun: bench.pgrun.arg("--yes"), ..bench }
    }

    fn open_again(self, runbook: &str) -> Self {
        let bench = self.again(runbook);
        Self { pgrun: bench.pgrun.arg("--yes"), ..bench }
    }

    fn undo(&self, arguments: &[&str]) -> Output {
        self.undo_with(&[&["--yes"], arguments].concat())
    }

    fn undo_until(&self, crash: &str) -> Output {
        let set = format!("db={}", self.database.url());
        let mut running = self.pgrun.start_with(&["undo", "r", "--yes", "--set", &set], &[("PGRUN_CRASH", crash)]);
        running.expect_death();
        running.finish()
    }

    fn state(&self) -> String {
        let shown = self.pgrun.pgrun(&["show", "r", "--json"]).exit(0).json();
        shown["state"].as_str().unwrap().to_owned()
    }

    /// What was done and not undone.
    fn left_over(&self) -> String {
        self.database.sql(
            "SELECT coalesce(string_agg(name, ' ' ORDER BY name), '') FROM
               (SELECT name FROM effects WHERE name NOT LIKE '-%' EXCEPT ALL
                SELECT substr(name, 2) FROM effects WHERE name LIKE '-%') AS left_over",
        )
    }
}

/// A finished run is undone as a whole; once more does no harm and says so; nothing else goes on from there.
#[test]
fn a_finished_run_is_undone() {
    let bench = Bench::open(BOOK);
    bench.pgrun.run().exit(0);
    let output = bench.undo(&[]).exit(0).stderr_has("6 steps will be undone, newest first:\n  z\n  p / branch");
    output.stderr_has("no undo clause, what they did stays:\n  stays").stderr_has("undone  run r");
    assert_eq!(bench.left_over(), "stays");
    assert!(bench.effects().ends_with(" -y -x -a"), "{}", bench.effects());
    assert_eq!(bench.state(), "undone");
    let events = bench.pgrun.events();
    bench.undo(&[]).exit(0).stderr_has("the run r is undone already");
    bench.resume(&[]).exit(3).stderr_has("error[refused]: the run `r` is undone");
    assert_eq!(bench.pgrun.events(), events, "nothing was written");
    // Its targets are free again.
    let set = format!("db={}", bench.database.url());
    bench.pgrun.pgrun(&["main.rhai", "--run-id", "s", "--yes", "--set", &set]).exit(0);
}

/// Killed at any record, then undone: nothing is left over.
#[test]
fn an_undo_after_a_death_at_every_record_leaves_nothing() {
    let mut bench = Bench::open(BOOK);
    let events = bench.pgrun.run().exit(0).events;
    for event in events {
        let (kind, key) = event.split_once(' ').unwrap_or((&event, ""));
        if matches!(kind, "run_started" | "claimed" | "asked" | "answered") {
            continue;
        }
        for side in ["before", "after"] {
            bench = bench.open_again(BOOK);
            bench.run_until(&format!("{side}:{kind}:{key}"));
            if bench.state() == "done" {
                continue;
            }
            bench.undo(&[]).exit(0);
            let left = bench.left_over();
            assert!(left.is_empty() || left == "stays", "after a death {side} {event}: {left}");
            assert_eq!(bench.state(), "undone");
        }
    }
}

/// Killed at any record of the undo itself, then undone: nothing is left over either. An undo whose result was not
/// written runs once more.
#[test]
fn an_undo_that_dies_at_every_record_goes_on() {
    let mut bench = Bench::open(BOOK);
    bench.pgrun.run().exit(0);
    bench.undo(&[]).exit(0);
    let events = bench.pgrun.events();
    let begun = events.iter().position(|event| event.starts_with("undo_started")).unwrap();
    for event in &events[begun..] {
        let (kind, key) = event.split_once(' ').unwrap_or((event, ""));
        for side in ["before", "after"] {
            bench = bench.open_again(BOOK);
            bench.pgrun.run().exit(0);
            bench.undo_until(&format!("{side}:{kind}:{key}"));
            bench.undo(&[]).exit(0);
            assert_eq!(bench.left_over(), "stays", "after a death {side} {event}");
            assert_eq!(bench.state(), "undone");
        }
    }
}

/// The step that failed after its effect is undone first, and so is one whose outcome is not known.
#[test]
fn what_failed_is_undone_first() {
    let book = r#"
        step "a" { did(db, "a") } undo { undid(db, "a"); }
        step "f" { did(db, "f"); throw "broken" } undo |v| { undid(db, "f"); }
    "#;
    let bench = Bench::new(book);
    bench.pgrun.run().exit(1);
    bench.undo(&[]).exit(0);
    assert_eq!(bench.effects(), "a f -f -a");
    let bench = bench.again(book);
    bench.run_until("after:intent:f");
    bench.undo(&[]).exit(0);
    assert_eq!(bench.effects(), "a -f -a");
}

/// Nobody agreed, so nothing happens; the command that goes on is the last line.
#[test]
fn somebody_has_to_agree() {
    let bench = Bench::new(r#"step "a" { did(db, "a") } undo { undid(db, "a"); }"#);
    bench.pgrun.run().exit(0);
    let set = format!("db={}", bench.database.url());
    let events = bench.pgrun.events();
    let output = bench.pgrun.pgrun(&["undo", "r", "--set", &set]).exit(75).stderr_has("1 step will be undone");
    output.last_line("pgrun undo r --set db=.. --yes");
    bench.pgrun.pgrun(&["undo", "r", "--set", &set, "--answer", "undo=no"]).exit(1).stderr_has("nothing was undone");
    assert_eq!((bench.effects(), bench.pgrun.events()), ("a".to_owned(), events));
}

/// Down to a step, that step included; the run goes on from there, and asks anew what was answered since.
#[test]
fn a_part_is_undone_and_done_anew() {
    let bench = Bench::new(BOOK);
    bench.pgrun.run().exit(75);
    let output = bench.undo(&["--to", "k [y]"]).exit(75).stderr_has("3 steps will be undone");
    output.stderr_lacks("k [x]").last_line("pgrun resume r --set db=..");
    assert_eq!(bench.left_over(), "a x");
    bench.resume(&[]).exit(75).stderr_has("the gate `go` waits");
    bench.resume(&["--answer", "go=yes"]).exit(0);
    assert_eq!(bench.left_over(), "a l r stays x y z");
    // The answer was given before this step, so it counts.
    bench.undo(&["--to", "z"]).exit(75);
    bench.resume(&[]).exit(0);
    bench.undo(&["--to", "p / k [x]"]).exit(75);
    bench.resume(&[]).exit(75).stderr_has("the gate `go` waits");
    bench.undo(&["--to", "nothing like it"]).exit(2).stderr_has("error[usage]: the run has no step `nothing like it`");
}

/// An undo that fails waits for a person: mended it goes on, or it is said to be done by hand.
#[test]
fn an_undo_that_fails_waits_for_a_person() {
    let book = r#"
        step "a" { did(db, "a") } undo { undid(db, "a"); }
        step "b" { did(db, "b") } undo { db.execute("insert into public.mended values ('x')"); undid(db, "b"); }
        step "c" { did(db, "c") } undo { undid(db, "c"); }
    "#;
    let bench = Bench::new(book);
    bench.pgrun.run().exit(0);
    for _ in 0..2 {
        let output = bench.undo(&[]).exit(75).stderr_has("error[undo_failed]: undoing step `b` failed: ");
        output.stderr_has("pgrun undo r --set db=.. --decide b=done --why ..").last_line("pgrun undo r --set db=..");
        assert_eq!((bench.effects().as_str(), bench.state().as_str()), ("a b c -c", "undoing"));
    }
    bench.resume(&[]).exit(3).stderr_has("the run `r` is being undone").stderr_has("hint: go on with `pgrun undo r");
    bench.database.sql("CREATE TABLE mended (x text)");
    bench.undo(&[]).exit(0);
    assert_eq!(bench.effects(), "a b c -c -b -a");
    bench.database.sql("DROP TABLE mended");
    let bench = bench.again(book);
    bench.pgrun.run().exit(0);
    bench.undo(&[]).exit(75);
    bench.undo(&["--decide", "b=done"]).exit(2).stderr_has("a decision needs its reason: --why");
    bench.undo(&["--decide", "b=done", "--why", "dropped it by hand"]).exit(0);
    assert_eq!(bench.effects(), "a b c -c -a");
}

/// Behind a decision nothing is undone; what came after it is.
#[test]
fn a_decision_is_not_undone() {
    let bench = Bench::new(
        r#"
        step "a" { did(db, "a") } undo { undid(db, "a"); }
        phase "window" with #{ on_failure: "undo" } check { has(db, "decided") } {
            step "b" { did(db, "b") } undo { undid(db, "b"); }
            step "decide" { did(db, "decided") }
        }
        step "after" { did(db, "after") } undo { undid(db, "after"); }
    "#,
    );
    bench.pgrun.run().exit(0);
    let events = bench.pgrun.events();
    for arguments in [&[][..], &["--to", "a"], &["--to", "b"]] {
        let output = bench.undo(arguments).exit(3);
        output.stderr_has("error[refused]: phase `window` has made its decision").stderr_has("runbook of its own");
    }
    assert_eq!(bench.pgrun.events(), events);
    bench.undo(&["--to", "after"]).exit(75);
    assert_eq!(bench.effects(), "a b decided after -after");
}
