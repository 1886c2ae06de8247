//! What `pgrun check` sees before anything runs, and what it must not complain about.

use super::refused;
use crate::pgrun::Pgrun;

#[track_caller]
fn clean(runbook: &str) {
    Pgrun::of(runbook).check().exit(0).stdout("1 runbook: no mistakes found\n");
}

#[test]
fn unknown_functions_are_named_with_what_was_meant() {
    refused("sayy(1);", "there is no function `sayy`").stderr_has("hint: meant `say`?");
    refused("let l = []; l.pusch(1);", "there is no function `pusch`").stderr_has("meant `push`?");
    refused("require(true);", "`require` got 1 argument, wanted 2 or 3");
    refused("fn f(a) { a } f(1, 2);", "`f` got 2 arguments, wanted 1");
    refused("fn f() { g(1) }", "there is no function `g`");
    refused("let f = || gone(1);", "there is no function `gone`");
    refused("step \"a\" { 1 } undo |v| { gone(v); }", "there is no function `gone`");
    refused("say(`${gone(1)}`);", "there is no function `gone`");
    refused("nomodule::f();", "nomodule");
    clean("fn f(a) { this + a } let x = 1; x.f(2); [1].map(|v| v.f(1)); say(x.to_string().len);");
}

#[test]
fn unknown_variables_are_found() {
    let output = refused("let a = 1;\nsay(typo);", "undefined variable: typo");
    output.stderr_has("--> main.rhai:2:5");
    refused("let top = 1; fn f() { top }", "functions do not see the script's variables");
    refused("step \"a\" { let inner = 1; } say(inner);", "undefined variable: inner");
}

/// Names that are used twice, where that can be seen.
#[test]
fn doubled_names_are_found() {
    refused("step \"a\" { 1 }\nstep \"a\" { 2 }", "the name `a` was used in line 1");
    refused("phase \"p\" { step \"a\" { 1 } }\nphase \"p\" { }", "the name `p` was used in line 1");
    refused("if true { step \"a\" { 1 } step \"a\" { 2 } }", "the name `a` was used");
    refused("confirm \"a\"; confirm \"a\";", "the name `a` was used");
    clean("if true { step \"a\" { 1 } } else { step \"a\" { 2 } }");
    clean("phase \"p\" { step \"a\" { 1 } } phase \"q\" { step \"a\" { 2 } }");
    clean("let n = 1; switch n { 1 => { step \"a\" { 1 } } 2 => { step \"a\" { 2 } } _ => { } }");
    clean("step \"a\" with #{ key: 1 } { 1 } step \"a\" with #{ key: 2 } { 2 }");
    clean("parallel { step \"a\" { 1 } } also { step \"a\" { 2 } }");
}

/// What stands in a loop needs a key, or a phase with a name of its own around it.
#[test]
fn loops_need_keys() {
    refused("for i in 0..2 { step \"a\" { 1 } }", "the step `a` stands in a loop and has no key");
    refused("let n = 0; while n < 2 { n += 1; step \"a\" { 1 } }", "has no key");
    refused(
        "for i in 0..2 { poll \"a\" with #{ deadline: \"1s\" } { 1 } }",
        "the poll `a` stands in a loop and has no key",
    );
    refused("for i in 0..2 { phase \"p\" { 1 } }", "the phase `p` stands in a loop");
    refused("for i in 0..2 { phase \"p\" { step \"a\" with #{ key: i } { 1 } } }", "the phase `p` stands in a loop");
    clean("for i in 0..2 { step \"a\" with #{ key: i } { 1 } }");
    clean("for i in 0..2 { step `a ${i}` { 1 } }");
    clean("for i in 0..2 { phase `p ${i}` { step \"a\" { 1 } phase \"q\" { step \"b\" { 1 } } } }");
    clean("step \"a\" { for i in 0..2 { poll \"x\" with #{ deadline: \"1s\" } { i } } }");
    clean("fn work(i) { step `a ${i}` { 1 } } for i in 0..2 { work(i); }");
}

/// Parameters are read from the text without running it.
#[test]
fn declarations_are_literal() {
    refused("let d = #{}; let p = params(d);", "`params` takes a literal map");
    refused("let p = params(#{ a: 1 });", "the parameter `a` is declared by an int");
    refused("let p = params(#{ a: #{ help: \"h\" } });", "the parameter `a` has no type");
    refused("let p = params(#{ a: #{ type: \"text\" } });", "the parameter `a` has no help");
    refused("let p = params(#{ a: #{ type: \"texd\", help: \"h\" } });", "has the type `texd`");
    refused("let p = params(#{ a: #{ type: \"int\", help: \"h\", otherwise: \"x\" } });", "which is no int");
    refused("let p = params(#{ a: #{ type: \"int\", help: \"h\", default: 1 } });", "");
    refused("let p = params(#{ a: #{ type: \"int\", help: \"h\", oterwise: 1 } });", "has the key `oterwise`");
    refused("let p = params(#{}); let q = params(#{});", "`params` stands twice");
    refused("fn f() { params(#{}) }", "`params` stands in a function");
    clean(
        "let p = params(#{ n: #{ type: \"number\", help: \"h\", otherwise: 2.0 }, m: #{ type: \"map\", help: \"h\", otherwise: #{ a: 1.0 } },
                           l: #{ type: \"list\", help: \"h\", otherwise: [1.0, \"x\"] }, b: #{ type: \"bool\", help: \"h\", otherwise: false },
                           d: #{ type: \"duration\", help: \"h\", otherwise: \"10s\" }, v: #{ type: \"lsn\", help: \"h\", otherwise: \"0/1\" } });",
    );
}

/// A mistake in a module is shown in that module, with its line.
#[test]
fn mistakes_of_modules_are_shown_where_they_are() {
    let pgrun = Pgrun::of("import \"lib/a\" as a;\nsay(a::f());").file("lib/a.rhai", "fn f() {\n    let x = ;\n}\n");
    let output = pgrun.run().exit(2).stderr_has("error[script_syntax]: ").stderr_has("--> lib/a.rhai:2:13");
    output.stderr_has("  2 |     let x = ;");
    let pgrun = Pgrun::of("import \"lib/a\" as a;").file("lib/a.rhai", "fn f(l) {\n    step \"s\" { l = 1; }\n}\n");
    pgrun.check().exit(2).stderr_has("--> lib/a.rhai:2:").stderr_has("assigns the outer variable `l`");
    let pgrun = Pgrun::of("say(1);\nimport \"gone\" as g;");
    pgrun.check().exit(2).stderr_has("the module `gone.rhai` cannot be read").stderr_has("--> main.rhai:2:");
}

/// Several mistakes are told at once, in the order of the text; nothing was run.
#[test]
fn all_mistakes_are_told() {
    let output = Pgrun::of("say(1);\ngone(1);\nlet n = 0;\nstep \"a\" { n = 1; }\nsay();\n").check().exit(2);
    let output = output.stdout("").stderr_has("1 runbook: 3 mistakes found");
    let at = |text: &str| output.stderr.find(text).unwrap_or(usize::MAX);
    assert!(at("main.rhai:2:") < at("main.rhai:4:") && at("main.rhai:4:") < at("main.rhai:5:"), "{}", output.stderr);
}
