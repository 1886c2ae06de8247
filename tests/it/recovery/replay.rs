//! What a resumed run believes: the ladder of a step whose outcome is not known, failures that were caught, kept texts.

use super::Bench;
use crate::pgrun::Pgrun;

/// The effect is there, its result was never written, and nothing can tell: a person decides, nothing is repeated.
#[test]
fn an_unknown_step_waits_for_a_person() {
    let bench = Bench::new(r#"step "blind" { did(db, "blind") } step "next" { did(db, "next") }"#);
    bench.run_until("before:done:blind");
    for _ in 0..2 {
        let output = bench.resume(&[]).exit(75).stderr_has("error[step_unknown]: ").stderr_has("`blind` was begun by");
        let command = "pgrun resume r --set db=.. --decide 'blind=retry|done:JSON|skip|undo' --why ..";
        output.last_line(command).journal_ends(&["resumed", "stopped"]);
        assert_eq!(bench.effects(), "blind");
    }
    let shown = bench.pgrun.pgrun(&["show", "r", "--json"]).exit(0).json();
    assert_eq!((&shown["state"], &shown["steps"][0]["state"]), (&"unknown".into(), &"unknown".into()));
    // No script goes past it.
    let bench = Bench::new(r#"try { step "blind" { did(db, "blind") } } catch { } step "next" { did(db, "next") }"#);
    bench.run_until("before:done:blind");
    bench.resume(&[]).exit(75);
    assert_eq!(bench.effects(), "blind");
}

/// `verify` can tell that the goal is reached; where it is not, a person decides.
#[test]
fn verify_decides_about_an_unknown_step() {
    let book =
        r#"let v = step "blind" { did(db, "blind") } verify { has(db, "blind") }; step "next" { did(db, "next") }"#;
    let bench = Bench::new(book);
    bench.run_until("before:done:blind");
    bench.resume(&[]).exit(0);
    assert_eq!(bench.effects(), "blind next");
    let bench = Bench::new(book);
    bench.run_until("after:intent:blind");
    bench.resume(&[]).exit(75);
    assert_eq!(bench.effects(), "");
}

/// `retry: "safe"` runs the body again, as an attempt of its own; so does a `check` that finds nothing.
#[test]
fn a_safe_step_runs_again() {
    let bench = Bench::new(r#"step "again" with #{ retry: "safe" } { did(db, "again") }"#);
    bench.run_until("before:done:again");
    let events = bench.resume(&[]).exit(0).events;
    assert_eq!(bench.effects(), "again again");
    assert_eq!(events.iter().filter(|event| *event == "intent again").count(), 2);
    let bench = Bench::new(r#"step "looks" check { has(db, "looks") } { did(db, "looks") }"#);
    bench.run_until("after:intent:looks");
    bench.resume(&[]).exit(0);
    assert_eq!(bench.effects(), "looks");
}

/// A safe step that fails on its second attempt before it changes anything is a failure like any other.
#[test]
fn a_second_attempt_may_fail() {
    let bench = Bench::new(
        r#"step "again" with #{ retry: "safe" } { require(!has(db, "stop"), "stopped by hand"); did(db, "again") }"#,
    );
    bench.run_until("before:done:again");
    bench.database.sql("INSERT INTO effects VALUES ('stop')");
    bench.resume(&[]).exit(1).stderr_has("error[require_failed]: stopped by hand");
    bench.database.sql("DELETE FROM effects WHERE name = 'stop'");
    bench.resume(&[]).exit(0);
    assert_eq!(bench.effects(), "again again");
}

/// An unknown step whose `check` cannot be asked stays unknown, and no script goes past it.
#[test]
fn an_unknown_step_stays_unknown_while_its_check_fails() {
    let bench = Bench::new(
        r#"try { step "s" check { require(!has(db, "stop"), "no answer"); has(db, "s") } { did(db, "s") } } catch { say("past"); }
           step "next" { 1 }"#,
    );
    bench.run_until("before:done:s");
    bench.database.sql("INSERT INTO effects VALUES ('stop')");
    bench.resume(&[]).exit(1).stdout("").stderr_has("no answer");
    let shown = bench.pgrun.pgrun(&["show", "r", "--json"]).json();
    assert_eq!(shown["steps"][0]["state"], "unknown");
    bench.database.sql("DELETE FROM effects WHERE name = 'stop'");
    bench.resume(&[]).exit(0).stdout("");
    assert_eq!(bench.effects(), "s");
}

/// A failure that was caught fails again with what was caught, without running, whatever it was: else the run would
/// take another way than before.
#[test]
fn a_caught_failure_fails_again_without_running() {
    let bench = Bench::new(
        r#"fn told(e) { if type_of(e) == "map" { `${e.get("code")} ${e.get("line")} ${e.get("source")} ${e.get("n")}` } else { e } }
           fn deep() {
               throw "from a function"; }
           let all = [];
           try { step "text" { did(db, "text"); throw "a text" } } catch (e) { all.push(told(e)); }
           try { step "map" { throw #{ code: "mine", n: 7 } } } catch (e) { all.push(told(e)); }
           try { step "host" { lsn("x") } } catch (e) { all.push(told(e)); }
           try { step "sql" { db.execute("no sql") } } catch (e) { all.push(told(e) + e.sqlstate); }
           try { step "rhai" { let m = #{}; m.typo } } catch (e) { all.push(told(e) + e.message); }
           try { step "check" check { throw 42 } { did(db, "never") } } catch (e) { all.push(`${e + 1}`); }
           try { step "deep" {
               deep() } } catch (e) { all.push(e); }
           for text in all { say(text); }
           step "last" check { has(db, "last") } { did(db, "last") }"#,
    );
    let first = bench.run_until("before:done:last");
    assert_eq!(first.stdout.lines().count(), 7, "{}", first.stdout);
    let told =
        "a text\nmine   7\nvalue_guard 12 main.rhai \npg_sql 13 main.rhai 42601\nscript_error 14 main.rhai property";
    assert!(first.stdout.starts_with(told), "{}", first.stdout);
    bench.resume(&[]).exit(0).stdout(&first.stdout);
    assert_eq!(bench.effects(), "text last");
}

/// A failure that nobody caught is tried again.
#[test]
fn a_failure_that_ended_the_run_is_tried_again() {
    let bench = Bench::new(
        r#"let v = step "s" { require(has(db, "go"), "not yet"); did(db, "s") }; step "t" { did(db, "t") } say(v);"#,
    );
    bench.pgrun.run().exit(1).stderr_has("error[require_failed]: not yet");
    bench.resume(&[]).exit(1);
    bench.database.sql("INSERT INTO effects VALUES ('go')");
    bench.resume(&[]).exit(0).stdout("s\n");
    assert_eq!(bench.effects(), "go s t");
}

/// A branch that failed while another one went on was not caught: it is tried again.
#[test]
fn a_failed_branch_is_tried_again() {
    let bench = Bench::new(
        r#"let both = parallel { step "fails" { require(has(db, "go"), "not yet"); did(db, "fails") } }
               also { step "goes" { sleep("60ms"); did(db, "goes") } step "on" { did(db, "on") } };
           say(both.len());"#,
    );
    bench.pgrun.run().exit(1).stderr_has("not yet");
    assert_eq!(bench.effects(), "goes on");
    bench.database.sql("INSERT INTO effects VALUES ('go')");
    bench.resume(&[]).exit(0).stdout("2\n");
    assert_eq!(bench.effects(), "goes on go fails");
}

/// The failure of a branch that the script caught fails again.
#[test]
fn a_branch_that_was_caught_fails_again() {
    let bench = Bench::new(
        r#"try { parallel { step "fails" { did(db, "fails"); throw "no" } } also { step "goes" { did(db, "goes") } } }
           catch (e) { say(e); }
           step "last" check { has(db, "last") } { did(db, "last") }"#,
    );
    bench.run_until("before:done:last").stdout("no\n");
    bench.resume(&[]).exit(0).stdout("no\n");
    assert_eq!(bench.database.sql("SELECT count(*) FROM effects"), "3");
}

/// The texts of the beginning run, whatever happened to the files since.
#[test]
fn a_resumed_run_runs_the_kept_texts() {
    let pgrun = Pgrun::of("import \"lib/a\" as a; step \"one\" { 1 } confirm \"go\"; say(a::text());")
        .file("lib/a.rhai", "fn text() { \"as it was\" }");
    pgrun.run().exit(75);
    pgrun.write("main.rhai", "say(\"changed\");");
    std::fs::remove_file(pgrun.path("lib/a.rhai")).unwrap();
    pgrun.pgrun(&["resume", "r", "--answer", "go=yes"]).exit(0).stdout("as it was\n");
    // A file of the same name deeper down is another file.
    let pgrun = Pgrun::new()
        .file("lib/main.rhai", "import \"lib/main\" as m; confirm \"go\"; say(m::text());")
        .file("lib/lib/main.rhai", "fn text() { \"the module\" }");
    pgrun.pgrun(&["lib/main.rhai", "--run-id", "r"]).exit(75);
    pgrun.pgrun(&["resume", "r", "--answer", "go=yes"]).exit(0).stdout("the module\n");
    let kept = pgrun.home().join("runs/r/sources");
    for entry in std::fs::read_dir(kept).unwrap() {
        std::fs::write(entry.unwrap().path(), "say(\"forged\");").unwrap();
    }
    pgrun.resume().exit(3).stderr_has("done");
}

/// A text that was changed where it is kept is found.
#[test]
fn kept_texts_are_checked() {
    let pgrun = Pgrun::of("confirm \"go\"; say(1);");
    pgrun.run().exit(75);
    for entry in std::fs::read_dir(pgrun.home().join("runs/r/sources")).unwrap() {
        std::fs::write(entry.unwrap().path(), "say(\"forged\");").unwrap();
    }
    let output = pgrun.resume().exit(3).stderr_has("the kept text of `main.rhai` was changed after the run began");
    output.stdout("").journal(&["asked gate go", "stopped"]);
}

/// A script that takes another way than the journal knows is stopped, not followed.
#[test]
fn another_way_than_before_is_a_mismatch() {
    let bench = Bench::new(
        r#"phase "p" { let pw = `${random_password() == random_password()}`; step "one" { 1 } }
           step "s" with #{ retry: "safe" } { did(db, "s") }"#,
    );
    bench.pgrun.run().exit(0);
    // A left phase has no room for a step that it did not have.
    let journal = bench.pgrun.journal();
    let text = std::fs::read_to_string(&journal).unwrap();
    let keep: Vec<&str> = text.lines().take_while(|line| !line.contains("\"kind\":\"intent\"")).collect();
    std::fs::write(&journal, keep.join("\n") + "\n").unwrap();
    bench.resume(&[]).exit(0);
}

/// A run that is done stays done.
#[test]
fn a_done_run_is_not_resumed() {
    let pgrun = Pgrun::of("step \"s\" { 1 }");
    pgrun.run().exit(0);
    pgrun.resume().exit(3).stderr_has("the run `r` is done").journal(&["done s", "finished"]);
    pgrun.run().exit(3).stderr_has("there is already a run `r`").stderr_has("pgrun resume r");
}
