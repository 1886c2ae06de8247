//! A step changes no variable of the script: a resumed run would not see the change.

use super::{fails, refused, says};

const CHANGES: &str = "changes the variable";

/// What the check can see is refused before anything runs.
#[test]
fn assignments_are_refused_when_the_script_is_loaded() {
    refused(r#"let n = 0; step "a" { n = 1; }"#, "the step `a` assigns the outer variable `n`");
    refused(r#"let n = 0; step "a" { n += 1; }"#, "assigns the outer variable `n`");
    refused(r#"let m = #{ x: 1 }; step "a" { m.x = 2; }"#, "assigns the outer variable `m`");
    refused(r#"let m = [1]; step "a" { m[0] = 2; }"#, "assigns the outer variable `m`");
    refused(r#"let m = [#{ x: [1] }]; step "a" { if true { m[0].x[0] += 2; } }"#, "assigns the outer variable `m`");
    refused(r#"let n = 0; step "a" check { n = 1; true } { 1 }"#, "assigns the outer variable `n`");
    refused(r#"let n = 0; step "a" { 1 } verify { n = 1; true }"#, "assigns the outer variable `n`");
    refused(r#"fn f(n) { step "a" { n = 1; } n }"#, "assigns the outer variable `n`");
    refused("const N = 0; step \"a\" { N = 1; }", "constant");
}

/// What only the run can see fails there, after the step's effect: the run cannot go on with it.
#[test]
fn changes_by_method_are_found_at_run_time() {
    fails(r#"let items = []; step "a" { items.push(1); }"#, "step_rule", CHANGES);
    fails(r#"let items = [1]; step "a" { items.pop() }"#, "step_rule", CHANGES);
    fails(r#"let m = #{}; step "a" { m.set("k", 1); }"#, "step_rule", CHANGES);
    fails(r#"let m = #{ l: [] }; step "a" { m.l.push(1); }"#, "step_rule", CHANGES);
    fails(r#"let t = "a"; step "a" { t.replace("a", "b"); }"#, "step_rule", CHANGES);
    fails(r#"let items = []; let add = |x| items.push(x); step "a" { add.call(1); }"#, "step_rule", CHANGES);
    fails(r#"let n = 0; let add = || { n += 1; }; step "a" { add.call(); }"#, "step_rule", CHANGES);
    fails(r#"let n = []; fn f(l) { step "a" { l.push(1); } } f(n);"#, "step_rule", CHANGES);
    fails(r#"let n = []; step "a" check { n.push(1); false } { 1 }"#, "step_rule", CHANGES);
    fails(r#"let n = []; step "a" { 1 } verify { n.push(1); true }"#, "step_rule", CHANGES);
    fails(r#"let n = []; step "a" check { n.push(1); "pending" } { 1 } verify { true }"#, "step_rule", CHANGES);
}

/// `this` is a variable of the caller too.
#[test]
fn this_is_not_changed() {
    fails(
        r#"fn add() { step "a" { this.push(1); } } let l = []; l.add();"#,
        "step_rule",
        "changes the variable `this`",
    );
    fails(r#"fn add() { step "a" { this.n = 1; } } let l = #{ n: 0 }; l.add();"#, "step_rule", "`this`");
}

/// A step that changed a variable and then failed cannot be caught: the script would go on with what a replay lacks.
#[test]
fn a_change_before_a_failure_is_not_caught() {
    let output = fails(
        r#"let l = []; try { step "a" { l.push(1); throw "the cause"; } } catch { say("went on"); } step "b" { l.len() }"#,
        "script_error",
        "the cause",
    );
    output.stdout("").exit(1);
}

/// Variables of the step's own, and reading outer ones, are fine; so is everything outside of steps.
#[test]
fn what_a_step_may_do() {
    says(
        r#"let l = [1, 2]; let nan = 0.0 / 0.0; let n = 0;
           let s = step "a" { let l = l; let n = 5; n += 1; l.push(n); for i in l { n += i; } l.len() + n };
           n += s; l.push(n);
           phase "p" { n += 1; l.push(0); }
           say(`${n} ${l.len()}`);"#,
        &["19 4"],
    );
}

/// Variables that an undo clause captures stay plain variables of the script.
#[test]
fn a_captured_variable_stays_plain() {
    says(
        r#"let n = 1; step "a" { 1 } undo { say(n); }
           say(is_shared(n)); n += 1; let f = || n; say(is_shared(n)); step "b" { 2 } undo { say(n); } say(is_shared(n));"#,
        &["false", "true", "true"],
    );
}

/// The trap of pushing a variable before a block: it read `a + b` as 1002 instead of 3.
#[test]
fn blocks_read_the_right_variables() {
    says(
        r#"let a = 1; let b = 2;
           let s = step "s" with #{ key: a } check { a + b == 4 } { let c = 4; a + b + c } verify { a + b == 3 };
           let p = phase "p" check { false } { let d = 8; a + b + d };
           let q = poll "q" with #{ deadline: "1s" } { a + b };
           let r = parallel { a + b } also { a - b };
           say(`${s} ${p} ${q} ${r[0]} ${r[1]} ${a} ${b}`);"#,
        &["7 11 3 3 -1 1 2"],
    );
}
