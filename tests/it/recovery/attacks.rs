//! What an attacker found in the life of a run: each was a way to lose, repeat or wrongly undo an effect.

use super::Bench;

/// A run id that is used again, in a fresh home, does not find the rows of the run that had it before.
#[test]
fn a_run_id_given_again_finds_no_old_rows() {
    let book = r#"
        step "own" with #{ retry: "safe" } { pg::install_own(db) }
        step "s" { db.transaction(|tx| { tx.execute("insert into public.effects values ('a')"); 1 }) }
        step "t" { did(db, "t") }
    "#;
    let bench = Bench::new(book);
    bench.pgrun.run().exit(0);
    assert_eq!(bench.effects(), "a t");
    let bench = bench.again(book);
    bench.run_until("after:marked:s");
    bench.resume(&[]).exit(0);
    assert_eq!(bench.effects(), "a t");
}

/// What has no undo clause stays when a phase goes back, and is done again: that is said.
#[test]
fn what_stays_of_a_phase_is_named() {
    let book =
        r#"phase "w" with #{ on_failure: "undo" } { step "done" { did(db, "done") } step "x" { did(db, "x") } }"#;
    let bench = Bench::new(book);
    bench.run_until("before:done:x");
    let output = bench.resume(&[]).exit(0).stderr_lacks("its undo runs all the same");
    output.stderr_has("`w / done` has no undo clause: what it did stays, and it will run again");
}

/// An inner decision binds the phases around it, live and after a death.
#[test]
fn an_outer_phase_does_not_go_back_past_a_decision() {
    let live = r#"
        phase "o" with #{ on_failure: "undo" } {
            step "b" { did(db, "b") } undo { undid(db, "b"); }
            phase "w" with #{ on_failure: "undo" } check { has(db, "decided") } {
                step "c" { did(db, "c") } undo { undid(db, "c"); }
                step "decide" { did(db, "decided") }
                step "d" { require(has(db, "ok"), "after the decision"); did(db, "d") }
            }
        }
    "#;
    let bench = Bench::new(live);
    bench.pgrun.run().exit(1);
    assert_eq!(bench.effects(), "b c decided");
    bench.database.sql("INSERT INTO effects VALUES ('ok')");
    bench.resume(&[]).exit(0);
    assert_eq!(bench.effects(), "b c decided ok d");
    let died = r#"
        phase "o" with #{ on_failure: "undo" } {
            phase "w" with #{ on_failure: "undo" } check { has(db, "decided") } {
                step "c" { did(db, "c") } undo { undid(db, "c"); }
                step "decide" { did(db, "decided") }
            }
            step "e" { did(db, "e") }
        }
    "#;
    for crash in ["after:done:decide", "after:left:o / w", "before:done:o / e"] {
        let bench = Bench::new(died);
        bench.run_until(crash);
        let output = bench.resume(&[]);
        let unknown = crash == "before:done:o / e";
        output.exit(if unknown { 75 } else { 0 });
        assert_eq!(bench.effects(), "c decided e", "after a death {crash}");
    }
}

/// The command that agrees to an undo agrees to this one, not to a larger one.
#[test]
fn the_command_of_an_undo_is_the_same_undo() {
    let book = r#"
        step "a" { did(db, "a") } undo { undid(db, "a"); }
        step "z" { did(db, "z") } undo { undid(db, "z"); }
    "#;
    let bench = Bench::new(book);
    bench.pgrun.run().exit(0);
    bench.undo_with(&["--to", "z"]).exit(75).last_line("pgrun undo r --to=z --set db=.. --yes");
    // Of a step that cannot be undone nothing is.
    let bench = bench.again(r#"step "a" { did(db, "a") } undo { undid(db, "a"); } step "stays" { did(db, "stays") }"#);
    bench.pgrun.run().exit(0);
    let events = bench.pgrun.events();
    bench.undo_with(&["--yes", "--to", "stays"]).exit(3).stderr_has("`stays` has nothing that could be undone");
    assert_eq!((bench.effects(), bench.pgrun.events()), ("a stays".to_owned(), events));
    // A decision in an undo is about an undo that has begun.
    let bench = Bench::new(book);
    bench.run_until("before:done:z");
    bench.undo_with(&["--yes", "--decide", "z=done", "--why", "x"]).exit(2).stderr_has("has not begun");
    assert_eq!(bench.effects(), "a z");
}

/// What a person said did not take effect is not undone; what is skipped never runs.
#[test]
fn decisions_are_kept() {
    let phase = r#"
        phase "w" with #{ on_failure: "undo" } {
            step "a" { did(db, "a") } undo { undid(db, "a"); }
            step "f" { did(db, "f") } undo { undid(db, "f"); }
        }
    "#;
    let bench = Bench::new(phase);
    bench.run_until("after:intent:w / f");
    bench.resume(&["--decide", "w / f=retry", "--why", "looked"]).exit(0);
    assert_eq!(bench.effects(), "a -a a f");
    let bench = Bench::new(r#"step "f" { did(db, "f") } step "z" { did(db, "z") }"#);
    bench.run_until("before:done:f");
    bench.resume(&["--decide", "f=undo", "--why", "x"]).exit(75).stderr_has("`f` has no undo clause");
    bench.resume(&["--decide", "f=skip", "--why", "not needed"]).exit(0);
    assert_eq!(bench.effects(), "f z");
    let bench = Bench::new(r#"step "f" { did(db, "f") }"#);
    bench.run_until("before:done:f");
    let events = bench.pgrun.events();
    let twice = ["--decide", "f=done", "--decide", "f=retry", "--why", "x"];
    bench.resume(&twice).exit(2).stderr_has("got two decisions about the step `f`");
    assert_eq!(bench.pgrun.events(), events);
    // By whatever names it is called.
    let bench = Bench::new(r#"phase "p" { step "f" { did(db, "f") } }"#);
    bench.run_until("before:done:p / f");
    let twice = ["--decide", "f=done", "--decide", "p / f=retry", "--why", "x"];
    bench.resume(&twice).exit(2).stderr_has("got two decisions about the step `p / f`");
}

/// What was never done by this run is not undone by it.
#[test]
fn only_what_was_done_is_undone() {
    let book = r#"step "f" check { has(db, "f") } { did(db, "f") } undo { undid(db, "f"); }"#;
    let bench = Bench::new(book);
    bench.database.sql("INSERT INTO effects VALUES ('f')");
    bench.pgrun.run().exit(0);
    bench.undo_with(&["--yes"]).exit(0);
    assert_eq!(bench.effects(), "f");
    let bench = Bench::new(r#"step "f" { did(db, "f") } undo { undid(db, "f"); }"#);
    bench.run_until("after:intent:f");
    bench.resume(&["--decide", "f=skip", "--why", "not needed"]).exit(0);
    bench.undo_with(&["--yes"]).exit(0);
    assert_eq!(bench.effects(), "");
}

/// After a partial undo the world is looked at anew.
#[test]
fn looks_are_taken_anew_after_a_partial_undo() {
    let bench = Bench::new(
        r#"
        step "a" { did(db, "a") } undo { undid(db, "a"); }
        let seen = step "look" { db.value("select count(*) from public.effects") };
        step "use" { did(db, `use ${seen}`) } undo { undid(db, "use"); }
    "#,
    );
    bench.pgrun.run().exit(0);
    bench.undo_with(&["--yes", "--to", "a"]).exit(75);
    bench.resume(&[]).exit(0);
    assert_eq!(bench.effects(), "a use 1 -use -a a use 5");
}

/// Names that a shell or the command line could misread.
#[test]
fn awkward_names_work_in_commands() {
    for (gate, word) in [("a=b", "a=b=yes"), ("-go", "-go=yes")] {
        let bench = Bench::new(&format!(r#"confirm "go?" with #{{ gate: "{gate}" }}; step "s" {{ did(db, "s") }}"#));
        bench.pgrun.run().exit(75).stderr_has(&format!("--answer {word}"));
        bench.resume(&["--answer", word]).exit(0);
    }
    let bench = Bench::new(r#"step "x=done:1" { did(db, "x") } step "-f" { did(db, "f") }"#);
    bench.run_until("before:done:x=done:1");
    bench.resume(&["--decide", "x=done:1=done", "--why", "x"]).exit(0);
    let bench = Bench::new(r#"step "a" { did(db, "a") }"#);
    bench.pgrun.run().exit(0);
    bench.pgrun.pgrun(&["abandon", "", "--why", "x"]).exit(2).stderr_has("got an empty name");
    for id in ["last", "-r"] {
        bench.pgrun.pgrun(&["main.rhai", &format!("--run-id={id}")]).exit(2);
    }
}
