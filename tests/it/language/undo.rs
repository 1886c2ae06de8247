//! Undo clauses: kept frozen, with everything the file they stand in gives them, and run newest first.

use super::refused;
use crate::pgrun::Pgrun;

/// Runs a runbook whose last phase fails, and compares what was said.
#[track_caller]
fn undoes(pgrun: &Pgrun, lines: &[&str]) {
    let wanted = lines.join("\n") + "\n";
    pgrun.run().exit(1).stdout(&wanted).stderr_has("error[script_error]: the cause");
}

/// The trap: a captured loop variable is one shared cell, so every clause undid the last element.
#[test]
fn clauses_in_a_loop_undo_their_own_element() {
    let pgrun = Pgrun::of(
        r#"phase "p" with #{ on_failure: "undo" } {
               for db in ["a", "b", "c"] { step "make" with #{ key: db } { `id ${db}` } undo |v| { say(`drop ${db} (${v})`); } }
               throw "the cause";
           }"#,
    );
    undoes(&pgrun, &["drop c (id c)", "drop b (id b)", "drop a (id a)"]);
}

/// A variable that changes after the step is undone with what it held at the step.
#[test]
fn captured_values_are_frozen_at_the_step() {
    let pgrun = Pgrun::of(
        r#"phase "p" with #{ on_failure: "undo" } {
               let target = "old"; let list = [1]; let reads = || target;
               step "a" { 1 } undo { say(`${target} ${list.len()}`); }
               target = "new"; list.push(2);
               say(reads.call());
               throw "the cause";
           }"#,
    );
    undoes(&pgrun, &["new", "old 1"]);
}

/// A clause takes the step's value or nothing, captures or not.
#[test]
fn a_clause_takes_the_value_or_nothing() {
    let pgrun = Pgrun::of(
        r#"let x = "captured";
           phase "p" with #{ on_failure: "undo" } {
               step "a" { 1 } undo |v| { say(`a ${v} ${x}`); }
               step "b" { 2 } undo { say(`b ${x}`); }
               step "c" { 3 } undo |v| { say(`c ${v}`); }
               step "d" { 4 } undo { say("d"); };
               throw "the cause";
           }"#,
    );
    undoes(&pgrun, &["d", "c 3", "b captured", "a 1 captured"]);
}

/// A clause written in a module calls that module's private functions, constants and imports, whoever runs it.
#[test]
fn a_clause_keeps_the_modules_it_was_written_in() {
    let pgrun = Pgrun::of(
        r#"import "lib/make" as lib;
           fn local(v) { `main's ${v}` }
           phase "p" with #{ on_failure: "undo" } {
               lib::make(1);
               step "own" { 2 } undo |v| { say(local(v)); }
               throw "the cause";
           }"#,
    )
    .file(
        "lib/make.rhai",
        r#"import "deep" as deep;
           const K = 7;
           fn make(n) { let seen = n * 10; step "made" with #{ key: n } { n } undo |v| { deep::drop_it(v); helper(v + global::K, seen); } }
           private fn helper(x, seen) { say(`helper ${x} ${seen}`); }"#,
    )
    .file("lib/deep.rhai", r#"const D = "deep"; fn drop_it(v) { say(`${global::D} ${inner(v)}`); } private fn inner(v) { v + 100 }"#);
    undoes(&pgrun, &["main's 2", "deep 101", "helper 8 10"]);
}

/// A clause calls the functions of its own file, closures inside it included.
#[test]
fn a_clause_calls_functions_and_closures() {
    let pgrun = Pgrun::of(
        r#"fn twice(n) { n * 2 }
           phase "p" with #{ on_failure: "undo" } {
               let by = 3;
               step "a" { [1, 2] } undo |v| { say(v.map(|n| twice(n) + by).reduce(|sum, n| (sum ?? 0) + n)); }
               throw "the cause";
           }"#,
    );
    undoes(&pgrun, &["12"]);
}

/// Only what has begun is undone: a later step, and one in a branch not taken, are not.
#[test]
fn what_never_ran_is_not_undone() {
    let pgrun = Pgrun::of(
        r#"phase "p" with #{ on_failure: "undo" } {
               step "a" { 1 } undo { say("undo a"); }
               if false { step "b" { 2 } undo { say("undo b"); } }
               step "c" { throw "the cause"; } undo { say("undo c"); }
               step "d" { 4 } undo { say("undo d"); }
           }"#,
    );
    // `c` only read, so it has nothing to take back.
    undoes(&pgrun, &["undo a"]);
    let back = ["undo_intent p / a", "undo_done p / a", "voided p", "stopped"];
    pgrun.journal_is(&[&["entered p", "done p / a", "failed p / c"], back.as_slice()].concat());
}

/// An inner phase goes back first; the outer one then takes the rest, and the script cannot catch either.
#[test]
fn nested_phases_go_back_from_the_inside() {
    let pgrun = Pgrun::of(
        r#"try {
               phase "outer" with #{ on_failure: "undo" } {
                   step "a" { 1 } undo { say("undo a"); }
                   phase "plain" { step "b" { 2 } undo { say("undo b"); } }
                   phase "inner" with #{ on_failure: "undo" } {
                       step "c" { 3 } undo { say("undo c"); }
                       throw "the cause";
                   }
               }
           } catch { say("caught"); }"#,
    );
    undoes(&pgrun, &["undo c", "undo b", "undo a"]);
    pgrun.journal_is(&[
        "entered outer",
        "done outer / a",
        "entered outer / plain",
        "done outer / plain / b",
        "left outer / plain",
        "entered outer / inner",
        "done outer / inner / c",
        "undo_intent outer / inner / c",
        "undo_done outer / inner / c",
        "voided outer / inner",
        "undo_intent outer / plain / b",
        "undo_done outer / plain / b",
        "undo_intent outer / a",
        "undo_done outer / a",
        "voided outer",
        "stopped",
    ]);
}

/// After the undo the next attempt runs every step anew.
#[test]
fn an_undone_phase_runs_afresh() {
    let pgrun = Pgrun::of(
        r#"phase "p" with #{ on_failure: "undo" } {
               let a = step "a" { say("a runs"); 1 } undo { say("a undone"); };
               step "b" { require(a == 0, "the cause", "mend it"); }
           }"#,
    );
    let first = pgrun.run().exit(1).stdout("a runs\na undone\n").stderr_has("error[require_failed]: the cause");
    first.stderr_has("hint: mend it").last_line("pgrun resume r");
    pgrun.resume().exit(1).stdout("a runs\na undone\n");
}

/// A failing undo stops the run and is told with what made the phase fail.
#[test]
fn a_failing_undo_stops() {
    let pgrun = Pgrun::of(
        r#"phase "p" with #{ on_failure: "undo" } {
               step "a" { 1 } undo { say("undo a"); }
               step "b" { 2 } undo { throw "cannot go back"; }
               throw "the cause";
           }"#,
    );
    let output = pgrun.run().exit(75).stdout("").stderr_has("phase `p` failed (").stderr_has("the cause");
    output
        .stderr_has("error[undo_failed]: ")
        .stderr_has("undoing step `p / b` failed: cannot go back")
        .journal_ends(&["undo_intent p / b", "undo_failed p / b", "stopped"]);
    // It is tried again, and again nothing before it is undone.
    pgrun.resume().exit(75).stdout("").journal_ends(&[
        "entered p",
        "undo_intent p / b",
        "undo_failed p / b",
        "stopped",
    ]);
    // A person undid it by hand: the rest of the way back follows, and the phase begins anew.
    let by_hand = ["resume", "r", "--decide", "p / b=done", "--why", "did it by hand"];
    pgrun.pgrun(&by_hand).exit(75).stdout("undo a\n").stderr_has("undoing step `p / b` failed");
}

/// An undo has its own deadline: the phase's has passed already.
#[test]
fn an_undo_has_its_own_deadline() {
    let pgrun = Pgrun::of(
        r#"phase "p" with #{ deadline: "100ms", on_failure: "undo", undo_deadline: "20s" } {
               step "a" { 1 } undo { sleep("150ms"); say("undone"); }
               step "b" { sleep("1h"); }
           }"#,
    );
    pgrun.run().exit(1).stdout("undone\n").stderr_has("error[timeout]: the 100 ms of phase `p` passed while sleeping");
    let pgrun = Pgrun::of(
        r#"phase "p" with #{ on_failure: "undo", undo_deadline: "50ms" } {
               step "a" { 1 } undo { sleep("1h"); }
               throw "the cause";
           }"#,
    );
    pgrun
        .run()
        .exit(75)
        .stderr_has("the 50 ms of undo of phase `p` passed")
        .journal_ends(&["undo_failed p / a", "stopped"]);
}

/// Steps and gates do not stand in an undo clause, nor does it leave a loop.
#[test]
fn an_undo_clause_is_a_leaf() {
    let undo = |clause: &str| {
        format!(
            "fn inner() {{ step \"x\" {{ 1 }} }} phase \"p\" with #{{ on_failure: \"undo\" }} {{ \
             for i in 0..1 {{ step \"a\" with #{{ key: i }} {{ 1 }} undo {{ {clause} }} }} throw \"the cause\"; }}"
        )
    };
    Pgrun::of(&undo("inner();")).run().exit(75).stderr_has("error[undo_failed]: ").stderr_has("inside another step");
    refused(&undo("break;"), "");
    refused(&undo("step \"x\" { 1 }"), "stands inside a step");
}
