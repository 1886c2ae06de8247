//! A process dies right before or after any of its records; the run that is taken up again ends as if nothing had been.

use super::Bench;

/// Nested phases, a loop with keys, a branch, a poll, a caught failure: every step can tell whether it is done.
const BOOK: &str = r#"
    let names = phase "outer" {
        let first = step "first" check { has(db, "first") } { did(db, "first") };
        phase "inner" {
            for key in ["a", "b"] {
                step "loop" with #{ key: key } check { has(db, "loop " + key) } { did(db, "loop " + key) }
            }
            let seen = poll "see" with #{ every: "1ms", deadline: "5s" } { has(db, "loop b") };
            if seen { step "then" check { has(db, "then") } { did(db, "then") } verify { has(db, "then") }; }
        }
        try { step "fails" check { has(db, "fails") } { did(db, "no " + "thing"); throw #{ code: "mine", n: 7 } } }
        catch (e) { step "caught" with #{ key: e.n } check { has(db, "caught") } { did(db, "caught") } }
        ["first", "a", "b"]
    };
    parallel { step "left" check { has(db, "left") } { did(db, "left") } }
        also { step "right" check { has(db, "right") } { did(db, "right") } }
    step "last" with #{ retry: "safe" } check { has(db, "last") } { did(db, "last"); names.len() }
    say(names.len());
"#;

/// Effects that every way through the book leaves exactly once.
const ONCE: [&str; 8] = ["first", "loop a", "loop b", "then", "caught", "left", "right", "last"];

/// Every record of the run is a place to die, before and after it: 2 processes each, and the same end.
#[test]
fn a_run_survives_its_death_at_every_record() {
    let mut bench = Bench::new(BOOK);
    let events = bench.pgrun.run().exit(0).stdout("3\n").events;
    assert!(events.len() > 25, "{events:?}");
    for event in &events {
        let (kind, key) = event.split_once(' ').unwrap_or((event, ""));
        if kind == "run_started" {
            continue;
        }
        for side in ["before", "after"] {
            if kind == "finished" && side == "after" {
                continue;
            }
            bench = bench.again(BOOK);
            let point = format!("{side}:{kind}:{key}");
            bench.run_until(&point);
            let output = bench.resume(&[]);
            let effects = bench.database.sql("SELECT name FROM effects");
            let times = |name: &str| effects.lines().filter(|found| *found == name).count();
            let once = ONCE.iter().all(|name| times(name) == 1);
            output.wants(once, &format!("every effect once after a death {point}, got {effects:?}"));
            output.exit(0).stdout("3\n");
        }
    }
}

/// A death between the lock and the first record leaves nothing to resume, and says so.
#[test]
fn a_death_before_the_first_record_leaves_nothing() {
    let bench = Bench::new(BOOK);
    bench.run_until("before:run_started:");
    assert_eq!(bench.effects(), "");
    let output = bench.resume(&[]).exit(2).stderr_has("error[no_such_run]: the run `r` died before its first record");
    output.stderr_has("start the runbook anew");
    bench.pgrun.run().exit(3).stderr_has("there is already a run `r`");
    bench.pgrun.pgrun(&["runs"]).exit(0).stdout_has("failed");
}

/// Killed for real, again and again, while a step is at work.
#[test]
fn a_run_survives_being_killed_again_and_again() {
    let bench = Bench::new(
        r#"for n in 0..4 { step "work" with #{ key: n } check { has(db, `${n}`) } { say(`at ${n}`); sleep("60ms"); did(db, `${n}`); n } }
           say("all");"#,
    );
    let mut running = bench.pgrun.start_run();
    for n in 0..3 {
        running.until_stdout(&format!("at {n}\n"));
        running.kill().exit(137);
        running = bench.start_resume(&[]);
        running.until_event(&format!("done work [{n}]"));
    }
    running.finish().exit(0).stdout_has("all\n");
    assert_eq!(bench.effects(), "0 1 2 3");
    bench.pgrun.pgrun(&["verify", "r"]).exit(0).stdout_has("the chain is whole");
}
