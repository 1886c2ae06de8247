//! What stands on stdout and stderr, for people and for programs.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use super::{PAUSED, USAGE, fine};
use crate::pgrun::Pgrun;

/// Data goes to stdout, everything else to stderr; nothing is coloured where nobody looks.
#[test]
fn stdout_has_data_only() {
    let pgrun = Pgrun::of(
        r#"phase "p" { step "one" { say("said"); 1 } table([#{ role: "app", n: 3 }, #{ role: "é🙂", n: 10 }]); }
           print("printed"); debug("debugged"); say([1, "a"]); say(2.5); say(());"#,
    );
    let output = pgrun.run().exit(0).stdout("said\n n   role\n 3   app\n 10  é🙂\nprinted\n1, a\n2.5\n\n");
    output.wants(!output.stdout.contains('\u{1b}') && !output.stderr.contains('\u{1b}'), "no colours");
    let output = output.stderr_has("run r\np\n  ✓ one  ").stderr_has("debug 2:30: \"debugged\"\n");
    output.wants(output.stderr.contains("\ndone  run r  head "), "the end");
}

/// What a step has to report is read again days later, by people and by programs.
#[test]
fn show_has_what_a_step_reports() {
    let pgrun = Pgrun::of(r#"step "measure" { #{ report: "40 ms", n: 1 } } step "other" { #{ n: 2 } }"#);
    pgrun.run().exit(0);
    pgrun.pgrun(&["show", "r"]).exit(0).stdout_has("measure").stdout_has("              40 ms\n");
    let steps = pgrun.pgrun(&["show", "r", "--json"]).exit(0).json()["steps"].clone();
    assert_eq!((&steps[0]["report"], &steps[1]["report"]), (&"40 ms".into(), &serde_json::Value::Null));
}

/// The last line is a command that continues, and it can be typed as it is.
#[test]
fn the_last_line_continues() {
    let pgrun = Pgrun::of(
        "confirm \"Is it o'clock?\"; confirm \"b\" with #{ gate: \"second gate\", type_name: \"o'clock blue\" };",
    );
    let output = pgrun.run().exit(PAUSED);
    let line = output.stderr.trim_end().lines().last().unwrap().to_owned();
    assert_eq!(line, r"pgrun resume r --answer 'Is it o'\''clock?=yes'");
    let typed = |line: &str| {
        let program = pgrun.command(&pgrun.path(""), &[] as &[&str], &[]);
        let mut shell = std::process::Command::new("/bin/sh");
        let line = line.replacen("pgrun", program.get_program().to_str().unwrap(), 1);
        shell.arg("-c").arg(line).current_dir(pgrun.path("")).env_clear();
        shell.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?)))).stdin(Stdio::null());
        pgrun.start_command(shell).finish()
    };
    let output = typed(&line).exit(PAUSED);
    let line = output.stderr.trim_end().lines().last().unwrap().to_owned();
    assert_eq!(line, r"pgrun resume r --answer 'second gate=o'\''clock blue'");
    typed(&line).exit(0);
}

/// The line of a failed run continues it too.
#[test]
fn a_failure_shows_its_place_and_the_way_on() {
    let pgrun = Pgrun::of("import \"lib\" as lib;\nfn inner(n) {\n    lib::deep(n)\n}\nstep \"s\" { inner(1) }")
        .file("lib.rhai", "fn deep(n) {\n    if n > 0 { throw \"too deep\"; }\n}\n");
    let output = pgrun.run().exit(1).stdout("");
    let wanted = "error[script_error]: too deep
  --> lib.rhai:2:16
    |
  2 |     if n > 0 { throw \"too deep\"; }
    |                ^^^^^
  called at main.rhai:3:10 (fn deep)
  called at main.rhai:5:12 (fn inner)
";
    output.stderr_has(wanted).last_line("pgrun resume r");
}

/// JSON documents have their shape, whole.
#[test]
fn json_of_runs_show_and_check() {
    let pgrun = Pgrun::of("phase \"p\" { step \"one\" { 1 } step \"two\" with #{ key: \"k\" } { throw \"no\" } }");
    pgrun.run().exit(1);
    let runs = pgrun.pgrun(&["runs", "--json"]).exit(0).json();
    assert_eq!((&runs["schema"], runs["runs"].as_array().unwrap().len()), (&1.into(), 1));
    let run = &runs["runs"][0];
    assert_eq!((&run["run"], &run["state"], &run["runbook"]), (&"r".into(), &"failed".into(), &"main.rhai".into()));
    assert!(run["since"].as_str().unwrap().ends_with('Z'), "{run}");
    let shown = pgrun.pgrun(&["show", "r", "--json"]).exit(0).json();
    let keys: Vec<&String> = shown.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["schema", "run", "runbook", "state", "waiting", "steps", "waivers", "head"]);
    assert_eq!(shown["waiting"]["command"], "pgrun resume r");
    assert_eq!((&shown["waiting"]["gate"], &shown["waiting"]["text"]), (&serde_json::Value::Null, &"no".into()));
    let steps = &shown["steps"];
    assert_eq!(
        (&steps[0]["key"], &steps[0]["state"], &steps[0]["attempt"]),
        (&serde_json::json!(["p", "one"]), &"done".into(), &1.into())
    );
    assert_eq!((&steps[1]["key"], &steps[1]["state"]), (&serde_json::json!(["p", "two [k]"]), &"failed".into()));
    assert!(steps[0]["ms"].is_u64() && shown["head"].as_str().unwrap().len() == 64);

    let paused = Pgrun::of("confirm \"Really?\" with #{ gate: \"g\" };");
    paused.run().exit(PAUSED);
    let shown = paused.pgrun(&["show", "r", "--json"]).json();
    assert_eq!(
        shown["waiting"],
        serde_json::json!({ "gate": "g", "text": "Really?", "command": "pgrun resume r --answer g=yes" })
    );
    assert_eq!(shown["state"], "paused");
    paused.pgrun(&["resume", "r", "--yes"]).exit(0);
    let shown = paused.pgrun(&["show", "r", "--json"]).json();
    assert_eq!((&shown["state"], &shown["waiting"]), (&"done".into(), &serde_json::Value::Null));

    let wrong = Pgrun::of("say(1);\nsayy(2);");
    let found = wrong.pgrun(&["check", "main.rhai", "--json"]).exit(USAGE).json();
    let finding = serde_json::json!({
        "source": "main.rhai", "line": 2, "column": 1, "code": "script_syntax",
        "message": "there is no function `sayy`", "hint": "meant `say`?",
    });
    assert_eq!(found, serde_json::json!({ "schema": 1, "findings": [finding] }));
    assert_eq!(fine().pgrun(&["check", "main.rhai", "--json"]).exit(0).json()["findings"], serde_json::json!([]));
}

/// For people the same, in words.
#[test]
fn words_of_runs_show_and_verify() {
    let pgrun = Pgrun::of("step \"one\" { 1 } step \"two\" { throw \"no\" }");
    pgrun.run().exit(1);
    let output = pgrun.pgrun(&["runs"]).exit(0).stdout_has("run  state   since").stdout_has("r    failed  ");
    output.stderr_lacks(" ");
    let output = pgrun.pgrun(&["show", "r"]).exit(0).stdout_has("r  main.rhai  failed\n");
    output
        .stdout_has("  done        one  0 ms\n")
        .stdout_has("  failed      two")
        .stdout_has("no\n")
        .stdout_has("continue: pgrun resume r\n");
    let output = pgrun.pgrun(&["verify", "r"]).exit(0);
    output.wants(output.stdout.starts_with("r: 4 records, the chain is whole; head "), "records and head");
}

/// Several files are checked in one go.
#[test]
fn check_takes_several_files() {
    let pgrun = fine().file("b.rhai", "say(2);").file("c.rhai", "sayy(3);");
    pgrun.pgrun(&["check", "main.rhai", "b.rhai"]).exit(0).stdout("2 runbooks: no mistakes found\n");
    let output = pgrun.pgrun(&["check", "main.rhai", "c.rhai"]).exit(USAGE).stdout("");
    output.stderr_has("--> c.rhai:1:1").last_line("2 runbooks: 1 mistake found");
}

/// `pgrun .. | head -1`: a reader that goes away ends the output, not the run.
#[test]
fn a_closed_stdout_does_not_end_the_run() {
    let pgrun = Pgrun::of("for n in 0..3000 { say(`line ${n} and some more of it`); } step \"last\" { 1 }");
    let mut command = pgrun.command(&pgrun.path(""), &pgrun.run_arguments(), &[]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::with_capacity(64, child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "line 0 and some more of it\n");
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert!(child.wait().unwrap().success(), "{stderr}");
    pgrun.journal_is(&["done last", "finished"]);
    // Nor does a closed stderr.
    let pgrun = Pgrun::of("for n in 0..300 { step \"s\" with #{ key: n } { n } } say(\"end\");");
    let mut command = pgrun.command(&pgrun.path(""), &pgrun.run_arguments(), &[]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    let mut stdout = String::new();
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(stdout, "end\n");
}

/// Tables fit into 80 columns, whatever stands in them.
#[test]
fn tables_fit_eighty_columns() {
    let long = "a rather long text that has to be broken somewhere ".repeat(4);
    let pgrun = Pgrun::of(
        &format!("table([#{{ a: \"{long}\", b: \"{long}\", c: 日本 }}, #{{ a: 1, b: (), d: [1, 2] }}]);")
            .replace("日本", "\"日本語\""),
    );
    let output = pgrun.run().exit(0);
    let widest = output.stdout.lines().map(unicode_width::UnicodeWidthStr::width).max().unwrap();
    output.wants(widest <= 80, &format!("80 columns, got {widest}"));
}
