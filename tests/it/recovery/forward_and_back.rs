//! Phases that go back as a whole, also when the process dies inside them, inside their undo, and again.

use super::Bench;

const BOOK: &str = r#"
    step "before" { did(db, "before") }
    phase "window" with #{ on_failure: "undo" } {
        let a = step "a" { did(db, "a") } undo |v| { undid(db, "a"); };
        for k in ["x", "y"] { step "k" with #{ key: k } { did(db, k) } undo { undid(db, k); } }
        phase "inner" { step "b" { did(db, "b") } undo |v| { undid(db, "b"); } }
        step "c" { did(db, "c") }
    }
    step "after" { did(db, "after") }
"#;

/// Killed inside the phase, wherever: back first, then afresh, and the end is the same.
#[test]
fn a_phase_that_was_cut_off_is_undone_and_tried_again() {
    let mut bench = Bench::new(BOOK);
    for (crash, back) in [
        ("after:intent:window / a", "-a"),
        ("before:done:window / a", "a -a"),
        ("after:done:window / k [x]", "a x -x -a"),
        ("before:done:window / k [y]", "a x y -y -x -a"),
        ("before:left:window / inner", "a x y b -b -y -x -a"),
        ("before:done:window / c", "a x y b c -b -y -x -a"),
    ] {
        bench = bench.again(BOOK);
        bench.run_until(crash);
        let output = bench.resume(&[]);
        assert_eq!(bench.effects(), format!("before {back} a x y b c after"), "after a death {crash}");
        output.exit(0).stderr_has("phase `window` was cut off");
    }
}

/// Killed while it goes back, again and again: each undo counts once more only when its result was never written.
#[test]
fn an_undo_that_was_cut_off_goes_on() {
    let bench = Bench::new(BOOK);
    bench.run_until("before:done:window / c");
    bench.resume_until("after:undo_done:window / inner / b");
    bench.resume_until("before:undo_done:window / k [y]");
    bench.resume_until("after:undo_intent:window / k [x]");
    bench.resume_until("before:voided:window");
    assert_eq!(bench.effects(), "before a x y b c -b -y -y -x -a");
    bench.resume(&[]).exit(0);
    assert_eq!(bench.effects(), "before a x y b c -b -y -y -x -a a x y b c after");
}

/// The newest step that is undone comes before one without an undo clause, which stays done: the way back is taken up
/// all the same.
#[test]
fn an_undo_that_was_cut_off_passes_over_steps_without_one() {
    let book = r#"
        phase "window" with #{ on_failure: "undo" } {
            step "a" { did(db, "a") } undo { undid(db, "a"); }
            step "n" { did(db, "n") }
            step "c" { did(db, "c") }
        }
    "#;
    let bench = Bench::new(book);
    bench.run_until("before:intent:window / c");
    bench.resume_until("after:undo_intent:window / a");
    bench.resume_until("before:undo_done:window / a");
    bench.resume(&[]).exit(0);
    assert_eq!(bench.effects(), "a n -a -a a n c");
    // The same for the undo of a whole run.
    let bench = bench.again(book);
    bench.run_until("before:intent:window / c");
    let set = format!("db={}", bench.database.url());
    let undo = ["undo", "r", "--yes", "--set", &set];
    let mut running = bench.pgrun.start_with(&undo, &[("PGRUN_CRASH", "after:undo_intent:window / a")]);
    running.expect_death();
    running.finish();
    bench.pgrun.pgrun(&undo).exit(0);
    assert_eq!(bench.effects(), "a n -a");
}

/// Every record of a phase that fails and goes back is a place to die.
#[test]
fn going_back_survives_a_death_at_every_record() {
    let book = r#"
        phase "outer" {
            phase "window" with #{ on_failure: "undo" } {
                step "a" { did(db, "a") } undo { undid(db, "a"); }
                try { step "t" { did(db, "t"); throw "caught" } undo { undid(db, "t"); } } catch { }
                step "b" { did(db, "b") } undo { undid(db, "b"); }
                require(has_go(db), "no way forward");
            }
        }
        fn has_go(db) { false }
    "#;
    let mut bench = Bench::new(book);
    let events = bench.pgrun.run().exit(1).stderr_has("error[require_failed]: no way forward").events;
    assert_eq!(bench.effects(), "a t b -b -t -a");
    for event in events {
        let (kind, key) = event.split_once(' ').unwrap_or((&event, ""));
        if matches!(kind, "run_started" | "stopped") {
            continue;
        }
        for side in ["before", "after"] {
            bench = bench.again(book);
            bench.run_until(&format!("{side}:{kind}:{key}"));
            bench.resume(&[]).exit(1).stderr_has("no way forward");
            // Whatever was done once more was undone once more: nothing is left over in the end.
            let left = bench.database.sql(
                "SELECT string_agg(name, ' ') FROM (SELECT name FROM effects WHERE name NOT LIKE '-%' EXCEPT ALL
                 SELECT substr(name, 2) FROM effects WHERE name LIKE '-%') AS left_over",
            );
            assert_eq!(left, "", "after a death {side} {event}: {}", bench.effects());
        }
    }
}

/// The world says that the decision is made: from then on only forward, whatever the journal holds.
#[test]
fn past_its_decision_a_phase_goes_forward_only() {
    let book = r#"
        phase "window" with #{ on_failure: "undo" } check { has(db, "decide") } {
            step "a" { did(db, "a") } undo { undid(db, "a"); }
            step "decide" check { has(db, "decide") } { did(db, "decide") }
            step "then" check { has(db, "then") } { require(!has(db, "stop"), "stopped by hand"); did(db, "then") }
        }
    "#;
    // Killed before the decision: back. After it: forward.
    let bench = Bench::new(book);
    bench.run_until("after:intent:window / decide");
    bench.resume(&[]).exit(0);
    assert_eq!(bench.effects(), "a -a a decide then");
    let bench = Bench::new(book);
    bench.run_until("before:done:window / decide");
    bench.resume(&[]).exit(0);
    assert_eq!(bench.effects(), "a decide then");
    // The same for a failure after it, in the first process and in later ones.
    let bench = Bench::new(book);
    bench.database.sql("INSERT INTO effects VALUES ('stop')");
    bench.pgrun.run().exit(1).stderr_has("had made its decision before it failed: nothing was undone");
    bench.resume(&[]).exit(1).stderr_has("stopped by hand");
    bench.database.sql("DELETE FROM effects WHERE name = 'stop'");
    bench.resume(&[]).exit(0);
    assert_eq!(bench.effects(), "a decide then");
}

/// Where the world cannot be asked, nothing is undone and nothing goes forward.
#[test]
fn a_phase_whose_check_fails_stays_where_it_is() {
    let bench = Bench::new(
        r#"try { phase "window" with #{ on_failure: "undo" } check { require(!has(db, "mute"), "no answer"); false } {
               step "a" { did(db, "a") } undo { undid(db, "a"); }
               step "b" { did(db, "b") } undo { undid(db, "b"); }
           } } catch { say("past it"); }"#,
    );
    bench.run_until("before:done:window / b");
    bench.database.sql("INSERT INTO effects VALUES ('mute')");
    bench.resume(&[]).exit(1).stdout("").stderr_has("no answer");
    assert_eq!(bench.effects(), "a b mute");
    bench.database.sql("DELETE FROM effects WHERE name = 'mute'");
    bench.resume(&[]).exit(0);
    assert_eq!(bench.effects(), "a b -b -a a b");
}

/// The deadline of a phase cannot be caught, not even inside the step that it cuts off.
#[test]
fn the_deadline_of_a_phase_is_not_caught() {
    let bench = Bench::new(
        r#"try { phase "window" with #{ deadline: "400ms", on_failure: "undo" } {
               step "a" { did(db, "a") } undo { undid(db, "a"); }
               step "slow" { try { sleep("1h"); } catch { say("inside"); } }
               step "never" { did(db, "never") }
           } } catch { say("outside"); }"#,
    );
    let output = bench.pgrun.run().exit(1).stdout("");
    output.stderr_has("error[timeout]: the 400 ms of phase `window` passed while sleeping 1 h 0 min");
    assert_eq!(bench.effects(), "a -a");
    // A statement that is cut off may have taken effect: its step is undone too.
    let bench = Bench::new(
        r#"phase "window" with #{ deadline: "400ms", on_failure: "undo" } {
               step "slow" { did(db, "slow"); db.execute("select pg_sleep(60)"); } undo { undid(db, "slow"); }
           }"#,
    );
    bench.pgrun.run().exit(1).stderr_has("the 400 ms of phase `window` passed while running a statement");
    assert_eq!(bench.effects(), "slow -slow");
}

/// A deadline is caught where it is the step's own.
#[test]
fn the_deadline_of_a_step_is_caught() {
    let bench = Bench::new(
        r#"try { step "slow" with #{ deadline: "200ms" } { db.execute("select pg_sleep(60)"); } } catch (e) { say(e.code); }
           step "next" { did(db, "next") }"#,
    );
    bench.pgrun.run().exit(0).stdout("timeout\n");
    assert_eq!(bench.effects(), "next");
}

/// Phases with undo in two branches: each goes back by itself, also after a death.
#[test]
fn branches_go_back_each_by_itself() {
    let bench = Bench::new(
        r#"parallel { phase "p" with #{ on_failure: "undo" } {
                   step "a" { did(db, "a") } undo { undid(db, "a"); }
                   step "dies" check { has(db, "go") } { sleep("300ms"); did(db, "dies") } undo { undid(db, "dies"); } } }
               also { phase "q" with #{ on_failure: "undo" } {
                   for n in 0..20 { step "b" with #{ key: n } check { has(db, `b${n}`) } { sleep("10ms"); did(db, `b${n}`) } } } }"#,
    );
    bench.run_until("before:done:dies");
    bench.database.sql("INSERT INTO effects VALUES ('go')");
    bench.resume(&[]).exit(0);
    let effects = bench.database.sql("SELECT name FROM effects WHERE name !~ '^b' ORDER BY ctid").replace('\n', " ");
    assert_eq!(effects, "a dies go -dies -a a");
    assert_eq!(bench.database.sql("SELECT count(*) FROM effects WHERE name ~ '^b'"), "20");
}

/// The undo of a step whose outcome is not known runs with `()`; it is said, not hidden.
#[test]
fn an_unknown_step_is_undone_too() {
    let bench = Bench::new(
        r#"phase "p" with #{ on_failure: "undo" } {
               step "a" { did(db, "a") } undo |v| { undid(db, `a (${type_of(v)})`); }
               step "b" { 1 }
           }"#,
    );
    bench.run_until("before:done:p / a");
    bench.resume(&[]).exit(0).stderr_has("the outcome of `p / a` is not known; its undo runs all the same");
    assert_eq!(bench.effects(), "a -a (()) a");
}
