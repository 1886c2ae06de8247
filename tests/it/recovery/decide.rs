//! What a person says about a run: that a step is done, that it is not needed, that the run is given up, that its text
//! has changed, that another run goes on.

use super::Bench;

const BLIND: &str = r#"
    let v = step "blind" { did(db, "blind") } undo { undid(db, "blind"); };
    step "next" { did(db, `next ${v}`) }
"#;

/// Every word of `--decide`, on an unknown step.
#[test]
fn a_person_decides_about_an_unknown_step() {
    for (decision, effects) in [
        ("blind=retry", "blind blind next blind"),
        ("blind=done", "blind next"),
        (r#"blind=done:"by=hand""#, "blind next by=hand"),
        ("blind=skip", "blind next"),
        ("blind=undo", "blind -blind blind next blind"),
    ] {
        let bench = Bench::new(BLIND);
        bench.run_until("before:done:blind");
        bench.resume(&[]).exit(75);
        bench.resume(&["--decide", decision, "--why", "looked at it"]).exit(0);
        assert_eq!(bench.effects().trim_end(), effects, "{decision}");
        let journal = std::fs::read_to_string(bench.pgrun.journal()).unwrap();
        let line = journal.lines().find(|line| line.contains(r#""kind":"decided""#)).unwrap();
        for fact in [r#""why":"looked at it""#, r#""user":""#, r#""host":""#] {
            assert!(line.contains(fact), "{line}");
        }
    }
}

/// A definite failure may be decided about too; what is done, or was never begun, may not.
#[test]
fn only_what_waits_is_decided_about() {
    let bench = Bench::new(r#"step "a" { did(db, "a") } step "f" { throw "no" } step "z" { did(db, "z") }"#);
    bench.pgrun.run().exit(1);
    let events = bench.pgrun.events();
    for (decision, says) in [
        ("a=done", "the step `a` is done: there is nothing to decide"),
        ("z=done", "the run has no step `z`"),
        ("f=perhaps", "wanted `--decide 'STEP=retry|done|done:JSON|skip|undo'`"),
        ("f=done:{", "wanted a step's value as JSON"),
        ("f", "wanted `--decide"),
    ] {
        bench.resume(&["--decide", decision, "--why", "x"]).exit(2).stderr_has(says);
    }
    bench.resume(&["--decide", "f=done"]).exit(2).stderr_has("a decision needs its reason: --why");
    assert_eq!(bench.pgrun.events(), events, "a refused command changes nothing");
    bench.resume(&["--decide", "f=skip", "--why", "not needed here"]).exit(0);
    assert_eq!(bench.effects(), "a z");
}

/// A run is given up for good, with a reason; its targets are free.
#[test]
fn an_abandoned_run_lets_its_targets_go() {
    let bench = Bench::new(r#"step "a" { did(db, "a") } confirm "go"; step "b" { did(db, "b") }"#);
    bench.pgrun.run().exit(75);
    let arguments = |id: &str| -> Vec<String> {
        let set = format!("db={}", bench.database.url());
        ["main.rhai", "--run-id", id, "--yes", "--set", &set].map(str::to_owned).to_vec()
    };
    bench.pgrun.pgrun(&arguments("other")).exit(3).stderr_has("is claimed by run `r`");
    bench.pgrun.pgrun(&["abandon", "r"]).exit(2);
    bench.pgrun.pgrun(&["abandon", "r", "--why", " "]).exit(2).stderr_has("needs its reason");
    let output = bench.pgrun.pgrun(&["abandon", "r", "--why", "the window is over"]).exit(0);
    output.stderr_has("what these steps did stays:\n  a").stderr_has("abandoned  run r");
    bench.pgrun.pgrun(&["abandon", "r", "--why", "again"]).exit(3).stderr_has("the run `r` is abandoned");
    bench.resume(&[]).exit(3).stderr_has("the run `r` is abandoned");
    bench.pgrun.pgrun(&arguments("third")).exit(0);
    assert_eq!(bench.effects(), "a a b");
}

/// A run that goes on where another one stopped takes over its targets; the other one may then go on no more.
#[test]
fn a_run_continues_another() {
    let bench = Bench::new(r#"step "a" { did(db, "a") } confirm "go"; step "b" { did(db, "b") }"#);
    bench.pgrun.run().exit(75);
    let set = format!("db={}", bench.database.url());
    bench.pgrun.pgrun(&["main.rhai", "--run-id", "s", "--set", &set]).exit(3).stderr_has("claimed by run `r`");
    let next = ["main.rhai", "--run-id", "t", "--continues", "r", "--set", &set];
    bench.pgrun.pgrun(&next).exit(75);
    bench.resume(&["--yes"]).exit(3).stderr_has("the run `r` is continued by `t`");
    let unknown = ["main.rhai", "--run-id", "u", "--continues", "nobody", "--set", &set];
    bench.pgrun.pgrun(&unknown).exit(2).stderr_has("there is no run `nobody`");
    bench.pgrun.pgrun(&["resume", "t", "--yes", "--set", &set]).exit(0);
    assert_eq!(bench.effects(), "a a b");
    // Also when the other one is done: what follows would be done twice.
    bench.resume(&["--yes"]).exit(3).stderr_has("the run `r` is continued by `t`");
    bench.pgrun.pgrun(&["undo", "r", "--yes", "--set", &set]).exit(3).stderr_has("is continued by `t`");
    assert_eq!(bench.effects(), "a a b");
}

/// A rollback continues a cutover, and another cutover the rollback: what the first one holds goes along the chain,
/// also past a run that never touched it, and is free when the last one is done.
#[test]
fn claims_go_along_a_chain_of_runs() {
    let bench = Bench::new(r#"step "a" { did(db, "a") } confirm "go";"#);
    bench.pgrun.run().exit(75);
    let set = format!("db={}", bench.database.url());
    bench.pgrun.write("between.rhai", &format!("{} confirm \"go\";", super::HEAD));
    let begin = |file: &str, id: &str, before: &str| {
        bench.pgrun.pgrun(&[file, "--run-id", id, "--continues", before, "--set", &set]).exit(75);
    };
    begin("between.rhai", "second", "r");
    begin("main.rhai", "third", "second");
    assert_eq!(bench.effects(), "a a");
    let bench = Bench::on(bench.database, r#"step "a" { did(db, "a") } confirm "go";"#);
    bench.pgrun.run().exit(75);
    bench.pgrun.write("between.rhai", &format!("{} say(\"nothing\");", super::HEAD));
    bench.pgrun.pgrun(&["between.rhai", "--run-id", "end", "--continues", "r", "--set", &set]).exit(0);
    bench.pgrun.pgrun(&["main.rhai", "--run-id", "new", "--set", &set]).exit(75);
}

/// The kept text runs, whatever became of the file; the difference is shown; `--adopt` takes the new text when it comes
/// to every finished step again.
#[test]
fn a_changed_runbook_is_adopted_when_it_replays() {
    let book = r#"step "a" { did(db, "a") } confirm "go"; step "b" { did(db, "b") }"#;
    let bench = Bench::new(book);
    bench.pgrun.run().exit(75);
    let rewrite = |text: &str| bench.pgrun.write("main.rhai", &format!("{}{text}", super::HEAD));
    rewrite(r#"step "renamed" { did(db, "a") } confirm "go"; step "b" { did(db, "b") }"#);
    let output = bench.resume(&["--adopt", "--yes"]).exit(3);
    let says = "error[journal_mismatch]: the journal has the step `a`, the script now asks for `renamed`";
    output.stderr_has(says).stderr_has("a step was renamed, moved");
    rewrite(r#"step "new" { did(db, "new") } step "a" { did(db, "a") } confirm "go"; step "b" { did(db, "b") }"#);
    let says = "the journal has the step `a`, the script now asks for `new`";
    bench.resume(&["--adopt", "--yes"]).exit(3).stderr_has(says);
    rewrite("confirm \"go\";");
    bench.resume(&["--adopt", "--yes"]).exit(3).stderr_has("the journal has the step `a`");
    rewrite(r#"step "a" { did(db, "not again") } confirm "go"; step "b" { did(db, "better") }"#);
    let output = bench.resume(&[]).exit(75).stderr_has("the run goes on with the text it began with");
    output.stderr_has("+step \"a\"").stderr_has("--adopt");
    bench.resume(&["--adopt", "--yes"]).exit(0).stderr_has("the changed runbook replays over the journal");
    assert_eq!(bench.effects(), "a better");
    // Neither the order of what is done nor a question that was answered may change.
    let two =
        r#"step "a" { did(db, "a") } step "b" { did(db, "b") } confirm "keep it?" with #{ gate: "g" }; confirm "go"; "#;
    let bench = bench.again(two);
    bench.pgrun.run().exit(75);
    bench.resume(&["--answer", "g=yes"]).exit(75);
    let rewrite = |text: &str| bench.pgrun.write("main.rhai", &format!("{}{text}", super::HEAD));
    rewrite(&two.replacen(
        "step \"a\" { did(db, \"a\") } step \"b\" { did(db, \"b\") }",
        "step \"b\" { 1 } step \"a\" { 1 }",
        1,
    ));
    let says = "the journal has the step `a` where the script now has `b`";
    bench.resume(&["--adopt", "--yes"]).exit(3).stderr_has(says);
    rewrite(&two.replace("keep it?", "drop it?"));
    let says = "the gate `g` was answered for other words: keep it?";
    bench.resume(&["--adopt", "--yes"]).exit(3).stderr_has(says);
    // A mistake in the new text is told like any other, and nothing is lost.
    let bench = bench.again(book);
    bench.pgrun.run().exit(75);
    bench.pgrun.write("main.rhai", "step \"a\" {");
    bench.resume(&["--adopt", "--yes"]).exit(2).stderr_has("error[script_syntax]");
    std::fs::remove_file(bench.pgrun.path("main.rhai")).unwrap();
    bench.resume(&["--adopt", "--yes"]).exit(2).stderr_has("error[no_such_file]");
    bench.resume(&["--yes"]).exit(0);
    assert_eq!(bench.effects(), "a b");
}
