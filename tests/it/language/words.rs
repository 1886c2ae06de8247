//! The words `step`, `phase`, `poll`, `parallel` and their clauses. Gates are tested where somebody can answer.

use super::{fails, refused, says};
use crate::pgrun::Pgrun;

/// A step gives the value of its block; the journal holds it.
#[test]
fn a_step_gives_its_value() {
    let pgrun = Pgrun::of("let a = step \"first\" { 40 + 2 }; say(`a is ${a}`);");
    pgrun.run().exit(0).stdout("a is 42\n").journal(&["done first", "finished"]);
}

/// `return` in a step is the step's value; were it passed on, it would leave the function only on the first run.
#[test]
fn return_is_the_value_of_the_step() {
    says(
        r#"fn work(n) { let a = step "early" { if n > 1 { return "early"; } "late" }; `${a}, and on` }
           let p = phase "p" { return 7; };
           say(work(2)); say(p + 1);"#,
        &["early, and on", "8"],
    );
}

/// `break` and `continue` would leave the loop only on the first run.
#[test]
fn break_does_not_leave_a_block() {
    for word in ["break", "continue"] {
        refused(&format!("for i in 0..3 {{ step `s${{i}}` {{ {word}; }} }}"), "may not leave a block");
        refused(&format!("for i in 0..3 {{ phase `p${{i}}` {{ if i == 1 {{ {word}; }} }} }}"), "may not leave a block");
    }
    // A loop of the step's own may be left.
    says(r#"let n = step "find" { let n = 0; loop { n += 1; if n == 3 { break; } } n }; say(n);"#, &["3"]);
}

/// A `break` that the check cannot see (it stands in a closure's loop body) is refused at run time with its line.
#[test]
fn clauses_come_in_their_order() {
    let whole = r#"let v = step "a" with #{ deadline: "5s" } check { "absent" } { 5 } verify { true } undo |v| { v };
                   say(v);"#;
    says(whole, &["5"]);
    refused(r#"step "a" verify { true } { 5 }"#, "step: got `verify`, wanted `with`, `check` and `{`");
    refused(r#"step "a" chek { true } { 5 }"#, "step: got `chek`");
    refused(r#"step "a" { 5 } undo { 1 } verify { true }"#, "");
    refused("step { 1 }", "step: got");
    refused(r#"phase "p" { } undo { 1 }"#, "");
}

/// A person may take days to answer: what they are asked about is looked at before and after, on every resume anew, and
/// no gate opens over it.
#[test]
fn a_confirm_looks_before_it_asks_and_when_it_is_answered() {
    let text = r#"confirm "go on?" with #{ gate: "g" } check { say("looked") }; say("went on");"#;
    let pgrun = Pgrun::of(text);
    pgrun.run().stdout("looked\n");
    pgrun.resume().stdout("looked\n");
    Pgrun::of(text).arg("--answer").arg("g=yes").run().exit(0).stdout("looked\nlooked\nwent on\n");
    let pgrun = Pgrun::of(r#"confirm "go on?" with #{ gate: "g" } check { require(false, "it has changed") };"#);
    pgrun.run().stderr_has("error[require_failed]: it has changed");
    pgrun.pgrun(&["resume", "r", "--answer", "g=yes"]).stderr_has("error[require_failed]: it has changed");
    fails(r#"let n = 1; confirm "go on?" check { n = 2 };"#, "step_rule", "the check of the gate `go on?`");
    refused(r#"pause "go on?" check { 1 };"#, "");
}

/// Unknown options are named, with what was meant.
#[test]
fn options_are_known_and_typed() {
    fails(r#"step "a" with #{ deadlin: "5s" } { 1 }"#, "step_rule", "got the option `deadlin`, wanted `key`");
    fails(r#"step "a" with #{ deadline: 5 } { 1 }"#, "step_rule", "got an int for `deadline`, wanted a text");
    fails(r#"step "a" with #{ deadline: "5" } { 1 }"#, "step_rule", "got \"5\", wanted a duration");
    fails(r#"step "a" with 5 { 1 }"#, "step_rule", "got an int after `with`, wanted a map");
    fails(r#"step "a" with #{ retry: "always" } { 1 }"#, "step_rule", "wanted \"safe\"");
    fails(r#"phase "a" with #{ on_failure: "stop" } { 1 }"#, "step_rule", "wanted \"undo\"");
    fails(r#"phase "a" with #{ never_ask: "yes" } { 1 }"#, "step_rule", "got a text for `never_ask`");
    fails(r"let n = 5; step n { 1 }", "step_rule", "got an int as name, wanted a text");
    fails(r#"step " " { 1 }"#, "step_rule", "got an empty name");
}

/// The same identity twice would let the second step take the first one's value.
#[test]
fn an_identity_is_used_once() {
    fails(
        r#"for i in 0..2 { let name = "s"; step name { i } }"#,
        "step_rule",
        "the identity `s` was used before in this run",
    );
    fails(r#"fn f() { step "s" { 1 } } f(); f();"#, "step_rule", "the identity `s` was used before");
    fails(r#"fn f() { phase "p" { step "s" { 1 } } } f(); f();"#, "step_rule", "the identity `p` was used before");
    // Caught, it still does not run.
    says(
        r#"fn f() { step "s" { say("ran"); 1 } } f(); try { f(); } catch (e) { say(e.code); }"#,
        &["ran", "step_rule"],
    );
}

/// In a loop the key tells the steps apart, whatever plain value it is.
#[test]
fn keys_tell_steps_of_a_loop_apart() {
    let pgrun = Pgrun::of(
        r#"for key in ["a", 1, true, lsn("0/5"), lsn("0/6"), 'c'] { step "s" with #{ key: key } { 1 } }
           for n in 0..2 { poll "p" with #{ key: n, deadline: "1s" } { 1 } }"#,
    );
    pgrun.run().exit(0).journal(&[
        "done s [a]",
        "done s [1]",
        "done s [true]",
        "done s [0/5]",
        "done s [0/6]",
        "done s [c]",
        "done p [0]",
        "done p [1]",
        "finished",
    ]);
    fails(r#"step "s" with #{ key: random_password() } { 1 }"#, "step_rule", "wanted a text, a number");
    fails(r#"step "s" with #{ key: [1] } { 1 }"#, "step_rule", "wanted a text, a number");
}

/// Steps are leaves.
#[test]
fn nothing_stands_inside_a_step() {
    for inner in
        [r#"step "b" { 1 }"#, r#"phase "b" { 1 }"#, r#"confirm "b""#, r#"pause "b""#, "parallel { 1 } also { 2 }"]
    {
        refused(&format!("step \"a\" {{ {inner} }}"), "stands inside a step");
        // Through a function only the run can see it.
        fails(&format!("fn f() {{ {inner} }} step \"a\" {{ f(); }}"), "step_rule", "inside");
        fails(&format!("fn f() {{ {inner} }} step \"a\" check {{ f(); true }} {{ 1 }}"), "step_rule", "inside");
    }
}

/// After a step that failed and was caught the script stands outside again, at the same variables.
#[test]
fn a_caught_failure_leaves_the_frame_as_it_was() {
    says(
        r#"let a = 1; let b = 2;
           phase "p" { try { step "x" { let inner = 5; throw "no"; } } catch (e) { say(e); } step "y" { say(a + b); } }
           try { phase "q" { let hidden = 7; throw "out"; } } catch (e) { say(e); }
           step "z" { say(a * b + 10); }"#,
        &["no", "3", "out", "12"],
    );
}

/// `check` decides whether the body runs.
#[test]
fn check_decides() {
    says(
        r#"let done = step "a" check { true } { say("never"); 1 };
           let seen = step "b" check { #{ state: "done", value: 7 } } { say("never"); 1 };
           let ran = step "c" check { "absent" } { 3 };
           let again = step "d" check { false } { 4 };
           say(`${done} ${seen} ${ran} ${again}`);"#,
        &[" 7 3 4"],
    );
    fails(r#"step "a" check { "foreign" } { 1 }"#, "foreign", "what step `a` would make exists already").exit(3);
    fails(r#"step "a" check { "maybe" } { 1 }"#, "step_rule", "a check gave text, wanted true, false");
    fails(r#"step "a" check { "pending" } { 1 }"#, "step_rule", "says `pending`, but it has no `verify`");
    says(
        r#"let v = step "a" check { "pending" } { say("never"); } verify { #{ state: "done", value: 9 } }; say(v);"#,
        &["9"],
    );
}

/// A foreign resource cannot be caught: the script would go on as if it were its own.
#[test]
fn a_foreign_thing_cannot_be_caught() {
    let output = fails(
        r#"try { step "a" check { "foreign" } { 1 } } catch (e) { say("caught"); }"#,
        "foreign",
        "this run did not make it",
    );
    output.exit(3).stdout("");
}

/// A poll gives its first value, says what it saw last, and has a deadline.
#[test]
fn a_poll_waits_for_a_value() {
    says(r#"let v = poll "three" with #{ every: "1ms", deadline: "5s" } { 3 }; say(v);"#, &["3"]);
    says(r#"let v = step "in a step" { poll "three" with #{ deadline: "5s" } { "x" } }; say(v);"#, &["x"]);
    fails(r#"poll "never" { 3 }"#, "step_rule", "the poll `never` has no deadline");
    fails(
        r#"poll "the moon" with #{ every: "20ms", deadline: "50ms" } { false }"#,
        "timeout",
        "waited 50 ms for the moon; last seen: not yet",
    );
    says(
        r#"try { poll "p" with #{ every: "5ms", deadline: "20ms" } { () } } catch (e) { say(e.code); }"#,
        &["timeout"],
    );
}

/// A poll only looks.
#[test]
fn a_poll_changes_no_variable() {
    fails(
        r#"let seen = []; poll "p" with #{ deadline: "1s" } { seen.push(1); true }"#,
        "step_rule",
        "changes the variable `seen`",
    );
}

/// Branches have copies of the variables, run at the same time, and give their values in order.
#[test]
fn branches_work_on_copies() {
    says(
        r#"const K = 3; let a = 1; let f = || a; let b = 2;
           let both = parallel { step "one" { sleep("50ms"); a + b } } also { step "two" { K + b } } also { f.call() };
           say(both.len()); say(`${both[0]} ${both[1]} ${both[2]}`);"#,
        &["3", "3 5 1"],
    );
    fails("let n = 0; parallel { n = 1; } also { 2 }", "step_rule", "branch 1 of `parallel` changes the variable `n`");
    fails("let n = []; parallel { 1 } also { n.push(1); }", "step_rule", "changes the variable `n`");
    fails("let x = parallel { throw \"one\" } also { 2 };", "script_error", "one");
    says("fn f() { parallel { return 4; } also { 5 } } let v = f(); say(v[0] + v[1]);", &["9"]);
}

/// `this` is known in every block: steps, phases and branches stand in methods too.
#[test]
fn blocks_see_this() {
    says(
        r#"fn total() {
               let s = step "sum" { this.a + this.b };
               let p = phase "p" { step "inner" { this.a } };
               let b = parallel { this.a } also { this.b };
               s + p + b[0] + b[1]
           }
           let m = #{ a: 1, b: 2 }; say(m.total());"#,
        &["7"],
    );
}

/// Words name nothing else, and the message says so.
#[test]
fn words_are_reserved() {
    for word in ["step", "phase", "confirm", "pause", "poll", "parallel", "waive"] {
        let naming = [
            format!("let {word} = 1;"),
            format!("const {word} = 1;"),
            format!("for {word} in 0..2 {{ }}"),
            format!("for (a, {word}) in 0..2 {{ }}"),
            format!("fn {word}() {{ 1 }}"),
            format!("fn f({word}) {{ 1 }}"),
            format!("let f = |{word}| 1;"),
            format!("try {{ }} catch ({word}) {{ }}"),
            format!("import \"main\" as {word};"),
        ];
        for text in naming {
            refused(&text, &format!("`{word}` is a word of pgrun and names nothing else"));
        }
        for text in [format!("let m = #{{}}; m.{word} = 1;"), format!("let m = #{{}};\nm.{word}();")] {
            refused(
                &text,
                &format!("hint: `{word}` is a word of pgrun and names nothing else; for a key write [\"{word}\"]"),
            );
        }
        says(&format!("let m = #{{ {word}: 5 }}; say(m[\"{word}\"]);"), &["5"]);
    }
    // The words of the clauses stay free.
    says("let check = 1; let undo = 2; let verify = 3; let also = 4; say(check + undo + verify + also);", &["10"]);
    refused("let match = 1;", "'match' is a reserved keyword");
    refused("let spawn = 1;", "'spawn' is a reserved keyword");
}

/// Two sentences follow each other without a semicolon, also at the end of a function.
#[test]
fn a_block_ends_its_sentence() {
    says(
        r#"step "a" { 1 }
           step "b" { 2 }
           phase "c" { step "d" { 3 } }
           if step "e" { true } { say("yes"); }
           let n = 1 + step "f" { 4 } + 2;
           say(n);"#,
        &["yes", "7"],
    );
}
