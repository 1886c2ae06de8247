//! Ctrl-C, SIGTERM, SIGHUP: once ends the run after the running step, twice ends it now; it can always be resumed.

use nix::sys::signal::Signal;

use super::Bench;
use crate::pgrun::Pgrun;

/// Once: the running step ends well, the next one does not begin.
#[test]
fn one_signal_ends_the_run_after_its_step() {
    for (signal, code, name) in [
        (Signal::SIGINT, 130, "Ctrl-C"),
        (Signal::SIGTERM, 143, "SIGTERM"),
        (Signal::SIGHUP, 129, "SIGHUP (the terminal went away)"),
    ] {
        let pgrun = Pgrun::of(
            r#"step "one" { say("at one"); sleep("300ms"); 1 } step "two" { say("two"); 2 }
               try { step "three" { 3 } } catch { say("caught"); }"#,
        );
        let running = pgrun.start_run();
        running.until_stdout("at one");
        running.signal(signal);
        let output = running.finish().exit(code).stdout("at one\n");
        let output = output.stderr_has("stopping after the running step; once more stops now");
        let output = output.stderr_has(&format!("error[cancelled]: stopped by {name}")).last_line("pgrun resume r");
        output.journal(&["done one", "stopped"]);
        pgrun.resume().exit(0).stdout("two\n");
    }
}

/// Twice: the running action is given up; what it may have done is unknown.
#[test]
fn two_signals_end_it_now() {
    let bench = Bench::new(r#"step "slow" { say("at it"); did(db, "slow"); db.execute("select pg_sleep(60)"); }"#);
    let mut running = bench.pgrun.start_run();
    running.until_event("intent slow");
    running.signal(Signal::SIGTERM);
    running.until_stderr("stopping after the running step");
    running.signal(Signal::SIGINT);
    let output = running.finish().exit(130).stderr_has("stopping now").stderr_has("error[cancelled]: ");
    output.journal_ends(&["intent slow", "failed slow", "stopped"]);
    bench.resume(&[]).exit(75).stderr_has("error[step_unknown]: ");
}

/// A wait that has changed nothing ends at the first signal; a resumed run waits again.
#[test]
fn a_poll_ends_at_the_first_signal() {
    let bench = Bench::new(
        r#"let v = poll "go" with #{ every: "20ms", deadline: "60s" } { print("looks"); has(db, "go") }; say(v);"#,
    );
    let running = bench.pgrun.start_run();
    running.until_stdout("looks");
    running.signal(Signal::SIGTERM);
    running.finish().exit(143).journal(&["failed go", "stopped"]);
    bench.database.sql("INSERT INTO effects VALUES ('go')");
    bench.resume(&[]).exit(0).stdout("looks\ntrue\n");
}

/// Inside a step a poll ends with its step, not at the first signal.
#[test]
fn a_poll_inside_a_step_goes_on() {
    let bench = Bench::new(
        r#"step "s" { did(db, "begun"); say("at it"); poll "go" with #{ every: "20ms", deadline: "60s" } { has(db, "go") }; did(db, "ended") }
           step "next" { did(db, "next") }"#,
    );
    let running = bench.pgrun.start_run();
    running.until_stdout("at it");
    running.signal(Signal::SIGTERM);
    running.until_stderr("stopping after the running step");
    bench.database.sql("INSERT INTO effects VALUES ('go')");
    running.finish().exit(143).journal_ends(&["done s", "stopped"]);
    assert_eq!(bench.effects(), "begun go ended");
}

/// A phase that goes back does so before the process ends, also through polls in its undo clauses.
#[test]
fn a_phase_goes_back_before_the_run_stops() {
    let bench = Bench::new(
        r#"phase "window" with #{ on_failure: "undo" } {
               step "a" { did(db, "a") } undo { poll "open" with #{ every: "10ms", deadline: "20s" } { has(db, "open") }; undid(db, "a"); }
               step "b" { say("at b"); sleep("200ms"); did(db, "b") } undo { undid(db, "b"); }
               step "c" { did(db, "c") }
           }"#,
    );
    let running = bench.pgrun.start_run();
    running.until_stdout("at b");
    running.signal(Signal::SIGTERM);
    running.until_stderr("↶ a");
    bench.database.sql("INSERT INTO effects VALUES ('open')");
    running.finish().exit(143).journal_ends(&["undo_done window / a", "voided window", "stopped"]);
    assert_eq!(bench.effects(), "a b -b open -a");
    bench.database.sql("DELETE FROM effects");
    bench.resume(&[]).exit(0);
    assert_eq!(bench.effects(), "a b c");
}

/// A second signal during the undo leaves the phase cut off; the next process takes it back.
#[test]
fn a_second_signal_during_the_undo_leaves_it_to_the_next_process() {
    let bench = Bench::new(
        r#"phase "window" with #{ on_failure: "undo" } {
               step "a" { did(db, "a") } undo { undid(db, "a"); }
               step "b" { did(db, "b") } undo { if !has(db, "quick") { sleep("60s"); } undid(db, "b"); }
               require(has(db, "go"), "no");
           }"#,
    );
    // A look outside of a step is refused: that is the failure here.
    let mut running = bench.pgrun.start_run();
    running.until_event("undo_intent window / b");
    running.signal(Signal::SIGINT);
    running.until_stderr("stopping after the running step");
    running.signal(Signal::SIGINT);
    running.finish().exit(130).journal_ends(&["undo_intent window / b", "undo_failed window / b", "stopped"]);
    bench.database.sql("INSERT INTO effects VALUES ('quick')");
    bench.resume(&[]).exit(1);
    assert_eq!(bench.effects(), "a b quick -b -a a b -b -a");
}

/// Signals to all branches: each ends with its running step.
#[test]
fn branches_stop_after_their_steps() {
    let bench = Bench::new(
        r#"fn work(db, side) { for n in 0..40 { step `${side}` with #{ key: n } { sleep("20ms"); did(db, `${side}${n}`) } } }
           parallel { work(db, "l"); } also { work(db, "r"); }
           say("done");"#,
    );
    let mut running = bench.pgrun.start_run();
    running.until_event("done branch 1 / l [1]");
    running.signal(Signal::SIGTERM);
    running.finish().exit(143);
    bench.resume(&[]).exit(0).stdout("done\n");
    assert_eq!(bench.database.sql("SELECT count(*) || ' ' || count(DISTINCT name) FROM effects"), "80 80");
}
