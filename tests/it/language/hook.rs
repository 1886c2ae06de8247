//! Programs of the team: what they get, what comes back, and that none of them is left behind.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::pgrun::Pgrun;

/// No shell reads the words, nothing of pgrun's environment goes along unasked, secrets come in by input and
/// environment and never out again.
#[test]
fn a_program_gets_what_it_is_given() {
    let pgrun = Pgrun::of(
        r#"let p = params(#{ url: #{ type: "url", help: "a secret" } });
           let got = step "show" { hook(#{ command: ["./bin/show", "it's \"a\" $HOME; `x` *", 7, ""], pass: ["PASSED"],
               env: #{ TOLD: "é\n", NUMBER: 3, TOKEN: p.url }, input: p.url, exits: [0, 3] }) };
           say(`${got.exit}|${got.output}|${got.errors}`);
           let holds = step "look" { [hook_holds(#{ command: ["test", "-d", "bin"] }), hook_holds(#{ command: ["false"] })] };
           say(`${holds}`);"#,
    )
    .file(
        "bin/show",
        "#!/bin/sh\nprintf '[%s]' \"$@\"\nenv | sort | grep -v '^_=\\|^PWD=\\|^SHLVL=\\|^PATH=\\|^HOME='\npwd >&2\ncat\nexit 3\n",
    )
    .env("PASSED", "yes")
    .env("NOT_PASSED", "no")
    .arg("--set")
    .arg("url=postgres://u:s3cr3t-w0rd@h/d");
    make_runnable(&pgrun, "bin/show");
    let output = pgrun.run().exit(0);
    let folder = pgrun.path("").canonicalize().unwrap();
    let wanted = format!(
        "3|[it's \"a\" $HOME; `x` *][7][]\nNUMBER=3\nPASSED=yes\nTOKEN=***\nTOLD=é\n***|{}\n\n[true, false]\n",
        folder.display()
    );
    output.stdout(&wanted);
    let journal = std::fs::read_to_string(pgrun.journal()).unwrap();
    assert!(!journal.contains("s3cr3t") && journal.contains("NUMBER=3"), "{journal}");
}

fn make_runnable(pgrun: &Pgrun, path: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(pgrun.path(path), std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Each way to fail says which program, how, and what it wrote.
#[test]
fn a_program_that_fails_says_why() {
    for (call, code, says) in [
        (r#"hook(#{ command: ["sh", "-c", "echo out; echo why >&2; exit 4"] })"#, 1, "the program `sh` ended with 4"),
        (r#"hook(#{ command: ["no-such-program"] })"#, 1, "the program `no-such-program` cannot be started in"),
        (r#"hook(#{ command: ["./missing"] })"#, 1, "the program `missing` cannot be started in"),
        (r#"hook_holds(#{ command: ["sh", "-c", "exit 2"] })"#, 1, "the program `sh` ended with 2"),
        (r#"hook(#{ command: ["sh", "-c", "kill -9 $$"] })"#, 75, "was killed: signal: 9"),
        (r#"hook(#{ command: ["sh", "-c", "sleep 60"], deadline: "100ms" })"#, 75, "did not end within 100 ms"),
        (r"hook(#{ command: [] })", 1, "`hook` needs the option `command`"),
        (r#"hook(#{ command: ["true"], enw: #{} })"#, 1, "meant `env`?"),
        (r#"hook(#{ command: "true" })"#, 1, "`hook`: `command` is a text, wanted a list"),
        (r#"hook(#{ command: ["true"], env: #{ "A=B": 1 } })"#, 1, "cannot be given to a program"),
        (r#"hook(#{ command: ["echo", random_password()] })"#, 1, "a secret stands in `command`"),
    ] {
        let pgrun = Pgrun::of(&format!("step \"run\" {{ {call}; }}"));
        pgrun.run().exit(1).stderr_has(says);
        // What was killed may have done its work: a person has to look.
        let again = pgrun.resume();
        again.wants(again.code == code, &format!("{call}: wanted {code} when resumed"));
    }
    Pgrun::of(r#"hook(#{ command: ["true"] });"#).run().exit(1).stderr_has("which only a step's body may do");
    let caught = r#"step "a" { try { hook(#{ command: ["sh", "-c", "echo why >&2; exit 4"] }); } catch (e) { say(`${e.code} ${e.output}`); } }"#;
    Pgrun::of(caught).run().exit(0).stdout("hook_failed why\n");
}

/// Whatever ends the step before the program ends the program with all that it started.
#[test]
fn no_program_is_left_behind() {
    let script = "sleep 300 & echo $! > child; echo begun > begun; wait";
    let is_gone = |pgrun: &Pgrun| {
        let pid: i32 = std::fs::read_to_string(pgrun.path("child")).unwrap().trim().parse().unwrap();
        let begun = Instant::now();
        while pgrun::lab::postgres::Process::of(pid).is_some() {
            assert!(begun.elapsed() < Duration::from_secs(10), "{pid} was left behind");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    // By its own deadline, deaf to SIGTERM.
    let deaf = format!("trap '' TERM; {script}; sleep 300");
    let pgrun =
        Pgrun::of(&format!(r#"step "run" {{ hook(#{{ command: ["sh", "-c", {deaf:?}], deadline: "1s" }}); }}"#));
    pgrun.run().exit(1).stderr_has("error[timeout]");
    is_gone(&pgrun);
    // By the step's deadline.
    let text =
        format!(r#"step "run" with #{{ deadline: "1s" }} {{ hook(#{{ command: ["sh", "-c", {script:?}] }}); }}"#);
    let pgrun = Pgrun::of(&text);
    pgrun.run().exit(1).stderr_has("error[timeout]");
    is_gone(&pgrun);
    // By a person who does not want to wait: the first signal waits for the program, the second does not.
    let pgrun =
        Pgrun::of(&format!(r#"step "run" {{ hook(#{{ command: ["sh", "-c", {script:?}], deadline: "5m" }}); }}"#));
    let running = pgrun.start_run();
    let begun = Instant::now();
    while !pgrun.path("begun").exists() {
        assert!(begun.elapsed() < Duration::from_secs(20), "the program never began");
        std::thread::sleep(Duration::from_millis(10));
    }
    running.signal(Signal::SIGINT);
    running.until_stderr("stopping after the running step");
    running.signal(Signal::SIGINT);
    running.finish().exit(130);
    is_gone(&pgrun);
}

/// A switch of the team's own as a step: it is looked for before it is done again, and undone.
#[test]
fn a_switch_is_checked_and_undone() {
    let pgrun = Pgrun::of(
        r#"let file = "switched";
           phase "window" with #{ on_failure: "undo" } {
               step "switch"
                   check { hook_holds(#{ command: ["test", "-e", file] }) }
                   { hook(#{ command: ["touch", file] }).exit }
                   undo { hook(#{ command: ["rm", file] }); };
               step "fail" { require(hook_holds(#{ command: ["test", "-e", "go"] }), "not yet"); }
           }"#,
    );
    let mut running = pgrun.start_run_with(&[("PGRUN_CRASH", "before:done:switch")]);
    running.expect_death();
    running.finish();
    assert!(pgrun.path("switched").exists());
    pgrun.resume().exit(1).stderr_has("not yet");
    assert!(!pgrun.path("switched").exists(), "the switch was not undone");
    pgrun.write("go", "");
    pgrun.resume().exit(0);
    assert!(pgrun.path("switched").exists());
}
