//! What the language lacks on purpose, and how deep it goes.

use nix::sys::signal::Signal;

use super::{fails, refused, says};
use crate::pgrun::Pgrun;

/// `eval` hides calls from the check, `timestamp` and `exit` break the journal, `sleep(1)` is deaf to Ctrl-C.
#[test]
fn what_a_script_lacks() {
    for call in ["eval(\"1\")", "timestamp()", "exit()", "exit(5)"] {
        refused(&format!("say(1); {call};"), "");
        refused(&format!("fn f() {{ {call} }} f();"), "");
    }
    refused("sleep(1, 2);", "`sleep` got 2 arguments, wanted 1");
    for call in ["sleep(1)", "sleep(1.5)"] {
        fails(&format!("step \"s\" {{ {call} }}"), "script_error", "`sleep` wants a duration with its unit");
    }
    fails("sleep(\"1ms\")", "step_rule", "`sleep` looks at the world outside any step");
    fails("say(now())", "step_rule", "`now` looks at the world outside any step");
}

/// Nor by their names: a call through a function pointer is no way round.
#[test]
fn what_a_script_lacks_cannot_be_called_by_name() {
    for pointer in
        ["Fn(\"exit\").call()", "Fn(\"exit\").call(1)", "Fn(\"timestamp\").call()", "Fn(\"eval\").call(\"say(2)\")"]
    {
        let output = Pgrun::of(&format!("say(1); step \"a\" {{ {pointer} }} say(3);")).run();
        output.wants(output.code != 0 && !output.stdout.contains('2'), "it could be called");
    }
    fails("step \"a\" { Fn(\"sleep\").call(100000) }", "script_error", "wants a duration");
}

/// The optimizer drops steps in branches that look dead, or calls host functions while it loads: it is off.
#[test]
fn nothing_is_optimized_away() {
    let pgrun = Pgrun::of(
        r#"const X = 5;
           if X > 3 { step "taken" { 1 } } else { let n = 1; step "dead" { n = 2; } }
           if false { no_such_function(1); }
           42; "unused"; 1 + 1;"#,
    );
    // The check sees what stands in the dead branches.
    let output = pgrun.check().exit(2).stderr_has("the step `dead` assigns the outer variable `n`");
    output.stderr_has("there is no function `no_such_function`");
    let pgrun =
        Pgrun::of("say(\"run\"); fn f() { say(\"called\"); 1 } const Y = 3; if Y > 5 { step \"dead\" { f() } }");
    pgrun.check().exit(0).stdout("1 runbook: no mistakes found\n");
    pgrun.run().exit(0).stdout("run\n");
}

/// Debug and release builds load the same scripts: Rhai's own limits differ by the build.
#[test]
fn depth_is_the_same_in_every_build() {
    let nested = |depth: usize| {
        let mut text = "1".to_owned();
        for _ in 0..depth {
            text = format!("if true {{ [{text}][0] }} else {{ 0 }}");
        }
        format!("let v = step \"deep\" {{ {text} }}; say(v);")
    };
    says(&nested(12), &["1"]);
    refused(&nested(200), "expression exceeds maximum complexity");
    let brackets = |depth: usize| format!("say({}1{});", "(".repeat(depth), ")".repeat(depth));
    says(&brackets(60), &["1"]);
}

/// Recursion with steps on the way goes as deep as the limit, and then fails without tearing the process down.
#[test]
fn recursion_ends_with_an_error() {
    let deep = |depth: usize| {
        format!(
            "fn down(n) {{ if n == 0 {{ return 0; }} phase `p${{n}}` {{ for i in 0..1 {{ if true {{ return down(n - 1) + 1; }} }} }} }}
             say(down({depth}));"
        )
    };
    says(&deep(50), &["50"]);
    fails("fn f(n) { f(n + 1) } f(0);", "script_error", "tack overflow");
    fails(
        "fn f(n) { step \"s\" with #{ key: n } { g(n) } } fn g(n) { g(n + 1) } f(0);",
        "script_error",
        "tack overflow",
    );
    // In a branch too, which has a thread of its own.
    fails("fn f(n) { f(n + 1) } parallel { f(0) } also { 1 }", "script_error", "tack overflow");
    says(
        "fn f(n) { if n == 0 { 0 } else { f(n - 1) + 1 } } let v = parallel { f(60) } also { f(60) }; say(v[0] + v[1]);",
        &["120"],
    );
}

/// A stack overflow cannot be caught: the script is wrong, whatever it thinks of it.
#[test]
fn an_overflow_is_not_caught() {
    let output =
        fails("fn f(n) { f(n + 1) } try { f(0); } catch { say(\"caught\"); }", "script_error", "tack overflow");
    output.stdout("");
}

/// A loop that only computes hears the second signal.
#[test]
fn a_busy_loop_can_be_stopped() {
    let pgrun = Pgrun::of("say(\"busy\"); let n = 0; loop { n += 1; }");
    let running = pgrun.start_run();
    running.until_stdout("busy");
    running.signal(Signal::SIGTERM);
    running.until_stderr("stopping after the running step");
    running.signal(Signal::SIGTERM);
    running.finish().exit(143).stderr_has("error[cancelled]: ").last_line("pgrun resume r");
}

/// The deadline of a step or phase is heard in a loop that only computes.
#[test]
fn a_deadline_is_heard_in_a_busy_loop() {
    fails(
        "phase \"p\" with #{ deadline: \"50ms\" } { let n = 0; loop { n += 1; } }",
        "timeout",
        "the 50 ms of phase `p` passed",
    );
    fails(
        "step \"s\" with #{ deadline: \"50ms\" } { let n = 0; loop { n += 1; } }",
        "timeout",
        "the 50 ms of step `s` passed",
    );
}
