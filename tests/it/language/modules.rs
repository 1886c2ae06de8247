//! Modules: closures across files, names that clash, imports that go round or lead out.

use std::os::unix::fs::symlink;

use super::refused;
use crate::pgrun::Pgrun;

/// Since Rhai 1.26 a closure does not carry its module: called outside, "Function not found: anon$..".
#[test]
fn a_closure_that_a_module_gives_can_be_called() {
    let pgrun = Pgrun::of(
        r#"import "lib" as l;
           let f = l::make(1); let g = l::plain();
           say(f.call(2)); say(g.call()); say([1, 2].map(l::make(10))[1]);
           step "in a step" { say(f.call(3)); }
           fn through(f) { f.call(4) } say(through(l::make(0)));"#,
    )
    .file(
        "lib.rhai",
        r"const K = 1000; private fn helper(n) { n + global::K } fn plain() { || 5 } fn make(a) { |b| helper(a + b) }",
    );
    pgrun.run().exit(0).stdout("1003\n5\n1012\n1004\n1004\n");
}

/// The trap: a closure passed into a script module resolves names in *that* module first, silently.
#[test]
fn a_closure_never_goes_into_a_script_module() {
    let module = "fn run(f) { f.call() } fn with_arg(x, f) { f.call(x) } fn helper(n) { \"theirs\" }";
    for call in [
        "m::run(|| 1)",
        "let n = 1; m::run(|| n)",
        "m::with_arg(1, |x| x)",
        "m::run(|| { 1 })",
        "let n = 1; say(m::with_arg(1, |x| x + n))",
    ] {
        let pgrun = Pgrun::of(&format!("import \"m\" as m; {call};")).file("m.rhai", module);
        pgrun.run().exit(2).stderr_has("is a script function and gets a closure");
    }
    // The same word for a closure in a variable, which the check cannot follow: a clash of names is what would hurt.
    let pgrun = Pgrun::of("import \"m\" as m; fn helper(n) { \"ours\" } let f = || helper(1); say(m::run(f));")
        .file("m.rhai", module);
    pgrun.run().exit(2).stderr_has("the function `helper` stands in `m.rhai` and in `main.rhai`");
}

/// Functions of one name in two files, or with the name of a word, are refused.
#[test]
fn names_do_not_clash() {
    let pgrun = Pgrun::of("import \"a\" as a; import \"b\" as b;")
        .file("a.rhai", "private fn same(x) { 1 } fn fa() { same(1) }")
        .file("b.rhai", "private fn same(x) { 2 } fn fb() { same(1) }");
    pgrun.check().exit(2).stderr_has("the function `same` stands in `a.rhai` and in `b.rhai`").stderr_has("rename one");
    // Another count of parameters is another function.
    let pgrun = Pgrun::of("import \"a\" as a; fn same(x, y) { 2 }").file("a.rhai", "fn same(x) { 1 }");
    pgrun.check().exit(0);
    refused("fn say(x) { x }", "`say` is a word of pgrun");
    refused("fn require(a, b, c) { a }", "`require` is a word of pgrun");
}

/// Equal closures of two modules share a name: whose private functions it would call is a guess, so it is refused.
#[test]
fn equal_closures_of_two_modules_are_refused() {
    let pgrun = Pgrun::of("import \"a\" as a; import \"b\" as b; let f = a::fa(); say(f.call());")
        .file("a.rhai", "private fn ha() { \"a\" } fn fa() { || together() } fn together() { 1 }")
        .file("b.rhai", "fn fb() { || together() }");
    // `together` is not in `b`: only its own file may be asked.
    pgrun.run().exit(2).stderr_has("there is no function `together`");
    let pgrun = Pgrun::of("import \"a\" as a; import \"b\" as b; let f = a::fa(); say(f.call());")
        .file("a.rhai", "fn fa() { || now_it_is() }")
        .file("b.rhai", "fn fb() { || now_it_is() }");
    pgrun.run().exit(2);
    let pgrun = Pgrun::of("import \"a\" as a; import \"b\" as b; let f = a::fa(); say(f.call());")
        .file("a.rhai", "fn fa() { || 5 }")
        .file("b.rhai", "fn fb() { || 5 }");
    pgrun.run().exit(1).stderr_has("two modules have the same closure");
}

/// The path of an import is a plain text: what runs must be known before it runs.
#[test]
fn imports_are_not_computed() {
    let place = || Pgrun::new().file("lib.rhai", "fn f() { 1 }");
    let text = "the path of an import must be a plain text";
    place().runbook("let name = \"lib\"; import name as l;").run().exit(2).stderr_has(text);
    place().runbook("import \"l\" + \"ib\" as l;").run().exit(2).stderr_has(text);
    place().runbook("import `lib${1}` as l;").run().exit(2).stderr_has(text);
    place().runbook("fn f(n) { import n as l; }").run().exit(2).stderr_has(text);
    place().runbook("import \"lib\" as l; say(l::f());").run().exit(0).stdout("1\n");
    place().runbook("import `lib` as l; say(l::f());").run().exit(0).stdout("1\n");
}

/// Imports that go round are named with their way, before anything runs.
#[test]
fn imports_do_not_go_round() {
    let pgrun = Pgrun::of("import \"a\" as a; say(1);")
        .file("a.rhai", "import \"b\" as b; fn fa() { 1 }")
        .file("b.rhai", "\nimport \"a\" as a; fn fb() { 1 }");
    pgrun.run().exit(2).stderr_has("the imports go round: a.rhai -> b.rhai -> a.rhai").stderr_has("--> b.rhai:2:");
    Pgrun::of("import \"main\" as m;").run().exit(2).stderr_has("the imports go round: main.rhai -> main.rhai");
}

/// No import leaves the runbook's folder, by `..`, by an absolute path or by a link.
#[test]
fn imports_do_not_lead_out() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("out.rhai"), "fn f() { 1 }").unwrap();
    let pgrun = Pgrun::of("import \"../out\" as o;");
    pgrun.run().exit(2).stderr_has("leads out of the runbook's folder");
    let absolute = outside.path().join("out.rhai");
    pgrun.write("main.rhai", &format!("import {absolute:?} as o;"));
    pgrun.run().exit(2).stderr_has("wanted `std/NAME` or a relative path");
    symlink(&absolute, pgrun.path("link.rhai")).unwrap();
    pgrun.write("main.rhai", "import \"link\" as o;");
    pgrun.run().exit(2).stderr_has("`link.rhai` lies outside the runbook's folder");
    symlink(outside.path(), pgrun.path("folder")).unwrap();
    pgrun.write("main.rhai", "import \"folder/out\" as o;");
    pgrun.run().exit(2).stderr_has("lies outside the runbook's folder");
    // A link inside the folder is fine.
    pgrun.write("real.rhai", "fn f() { 7 }");
    symlink("real.rhai", pgrun.path("inner.rhai")).unwrap();
    pgrun.write("main.rhai", "import \"sub/../inner\" as o; say(o::f());");
    pgrun.run().exit(0).stdout("7\n");
}

/// A `pgrun.toml` above makes its folder the root, wherever the command is typed.
#[test]
fn the_root_is_the_folder_of_pgrun_toml() {
    let pgrun = Pgrun::new()
        .file("pgrun.toml", "")
        .file("shared/lib.rhai", "fn f() { 3 }")
        .file("books/deep/main.rhai", "import \"../../shared/lib\" as l; say(l::f());");
    pgrun.pgrun(&["books/deep/main.rhai"]).exit(0).stdout("3\n");
    pgrun.pgrun(&["./books/../books/deep/main.rhai"]).exit(0).stdout("3\n");
    pgrun.pgrun(&[pgrun.path("books/deep/main.rhai")]).exit(0).stdout("3\n");
    let inside = pgrun.path("books/deep");
    pgrun.start_in(&inside, &["main.rhai"]).finish().exit(0).stdout("3\n");
    pgrun.start_in(&pgrun.path("shared"), &["../books/deep/main.rhai"]).finish().exit(0).stdout("3\n");
}

/// A module defines functions and constants: what it did at its top level would run outside every phase.
#[test]
fn a_module_has_no_steps_at_its_top_level() {
    for word in
        ["step \"a\" { 1 }", "phase \"a\" { 1 }", "confirm \"a\"", "poll \"a\" with #{ deadline: \"1s\" } { 1 }"]
    {
        let pgrun = Pgrun::of("import \"lib\" as l;").file("lib.rhai", &format!("{word}; fn f() {{ 1 }}"));
        pgrun.check().exit(2).stderr_has("stands at the top level of a module").stderr_has("--> lib.rhai:1:");
    }
}

/// A module is loaded once, keeps its constants to itself, and hides what is private.
#[test]
fn modules_are_loaded_once_and_hide_what_is_private() {
    let place = || {
        Pgrun::new()
            .file("lib.rhai", "say(\"loaded\"); const K = 5; fn f() { global::K } private fn g() { 1 }")
            .file("other.rhai", "import \"lib\" as l; fn h() { l::f() }")
    };
    let book = "import \"lib\" as l; import \"other\" as o; say(l::f() + o::h()); fn f2() { import \"lib\" as l; l::f() } say(f2());";
    place().runbook(book).run().exit(0).stdout("loaded\n10\n5\n");
    place().runbook("import \"lib\" as l; l::g();").run().exit(2).stderr_has("there is no function `l::g`");
    place().runbook("import \"lib\" as l; l::ff();").run().exit(2).stderr_has("meant `f`?");
    place().runbook("import \"lib\" as l; l::f(1);").run().exit(2).stderr_has("got 1 argument, wanted 0");
    place().runbook("import \"lib\" as l; say(l::K);").run().exit(1).stderr_has("K");
    place().runbook("import \"nolib\" as l;").run().exit(2).stderr_has("the module `");
}

/// Two branches may import the same module at the same time.
#[test]
fn branches_import_the_same_module() {
    let branch = "{ import \"lib\" as l; l::f() }";
    let also = format!(" also {branch}").repeat(7);
    let pgrun = Pgrun::of(&format!("let all = parallel {branch}{also}; say(all.reduce(|sum, n| (sum ?? 0) + n));"))
        .file("lib.rhai", "let n = 0; for i in 0..20000 { n += i; } fn f() { 1 }");
    pgrun.run().exit(0).stdout("8\n");
}

/// Rhai's own `reduce` gave a module's closure the place of an element for the element, without a word.
#[test]
fn reducing_in_a_module_sees_the_elements() {
    let module = "fn sum(list) { let more = 1; list.reduce(|sum, f| sum + f.n + more, 0) }
        fn last(list) { list.reduce_rev(|found, f| if found == () { f.n } else { found }) }";
    let pgrun = Pgrun::of(r#"import "m" as m; let l = [#{ n: 3 }, #{ n: 4 }]; say(`${m::sum(l)} ${m::last(l)}`);"#)
        .file("m.rhai", module);
    pgrun.run().exit(0).stdout("9 4\n");
    Pgrun::of("say([1, 2, 3].reduce(|sum, n| (sum ?? 10) + n));").run().exit(0).stdout("16\n");
}

/// A closure inside a module is called through the same repair; it took the elements out of the list it was shown.
#[test]
fn filtering_in_a_module_leaves_the_elements_whole() {
    let module = "fn shown(list) { let worth = list.filter(|f| f.n > 1); worth.map(|f| f.n) }";
    let pgrun = Pgrun::of(
        r#"import "m" as m; let list = [#{ n: 1 }, #{ n: 2 }, #{ n: 3 }];
           say(`${m::shown(list)} ${list[0].n} ${list[2].n}`);"#,
    )
    .file("m.rhai", module);
    pgrun.run().exit(0).stdout("[2, 3] 1 3\n");
}
