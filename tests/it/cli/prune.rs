//! `pgrun runs --prune`: what is over and old goes as a whole, everything else stays.

use std::{fs, path::Path, time::Duration};

use pgrun::{
    base::clock,
    journal::{
        Record,
        record::{FIRST_PREV, Masks},
    },
};

use super::{PAUSED, USAGE};
use crate::pgrun::{Database, Pgrun};

/// A place with runs that ended, one in each way, and runs that did not.
fn place() -> Pgrun {
    let pgrun = Pgrun::of("step \"one\" { 1 } confirm \"go\";");
    let run = |arguments: &[&str]| pgrun.pgrun(arguments);
    for id in ["done", "undone", "abandoned", "paused", "failed"] {
        run(&["main.rhai", "--run-id", id]).exit(PAUSED);
    }
    run(&["resume", "done", "--yes"]).exit(0);
    run(&["undo", "undone", "--yes"]).exit(0);
    run(&["abandon", "abandoned", "--why", "not needed"]).exit(0);
    run(&["resume", "failed", "--answer", "go=no"]).exit(1);
    pgrun
}

/// Rewrites a journal as if all of it had happened so many days earlier.
fn make_older(pgrun: &Pgrun, run: &str, days: u64) {
    let path = pgrun.home().join("runs").join(run).join("journal.jsonl");
    let as_it_is = |text: &str| text.to_owned();
    let mut prev = FIRST_PREV.to_owned();
    let mut text = String::new();
    for line in fs::read_to_string(&path).unwrap().lines() {
        let mut record = Record::decode(line).unwrap();
        record.at = clock::text_of_ms(clock::ms_of_text(&record.at).unwrap() - days * 86_400_000);
        record.prev = prev;
        let (line, hash) = record.encode(&Masks { prose: &as_it_is, exact: &as_it_is }).unwrap();
        text += &(line + "\n");
        prev = hash;
    }
    fs::write(path, text).unwrap();
}

fn all_older(pgrun: &Pgrun, days: u64) {
    for run in runs(pgrun) {
        make_older(pgrun, &run, days);
    }
}

/// The ids of all runs, in alphabetical order.
fn runs(pgrun: &Pgrun) -> Vec<String> {
    let json = pgrun.pgrun(&["runs", "--json"]).exit(0).json();
    let ids = json["runs"].as_array().unwrap().iter().map(|run| run["run"].as_str().unwrap().to_owned());
    let mut ids: Vec<String> = ids.collect();
    ids.sort();
    ids
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Whatever can be taken up again stays, however old it is.
#[test]
fn what_is_over_goes_and_everything_else_stays() {
    let pgrun = place();
    all_older(&pgrun, 100);
    let output = pgrun.pgrun(&["runs", "--prune", "--yes"]).exit(0);
    for run in ["done", "undone", "abandoned"] {
        output.wants(output.stdout.lines().any(|line| line.contains(run) && line.contains("100 days")), run);
    }
    let output = output.stderr_has("removed 3 runs, ");
    output.wants(!output.stdout.contains("paused") && !output.stdout.contains("failed"), "only what goes");
    assert_eq!(runs(&pgrun), ["failed", "paused"]);
    assert_eq!(names(&pgrun.home().join("runs")), ["failed", "paused"], "nothing is left of them");
    pgrun.pgrun(&["resume", "paused", "--yes"]).exit(0);
    pgrun.pgrun(&["resume", "failed", "--yes"]).exit(0);
    pgrun.pgrun(&["main.rhai", "--run-id", "done"]).exit(PAUSED);
}

/// The span counts from the run's last record; 90 days where it is not given.
#[test]
fn young_runs_stay() {
    let pgrun = place();
    make_older(&pgrun, "done", 89);
    make_older(&pgrun, "undone", 91);
    let output = pgrun.pgrun(&["runs", "--prune", "--yes"]).exit(0).stderr_has("removed 1 run, ");
    output.wants(output.stdout.contains("91 days") && !output.stdout.contains("89 days"), "one of them");
    pgrun.pgrun(&["runs", "--prune", "--yes"]).exit(0).stdout("").stderr_has("no run is over since 90d or longer");
    pgrun.pgrun(&["runs", "--prune", "--older-than", "30d", "--yes"]).exit(0).stderr_has("removed 1 run, ");
    assert_eq!(runs(&pgrun), ["abandoned", "failed", "paused"]);
    pgrun.pgrun(&["runs", "--prune", "--older-than", "0s", "--yes"]).exit(0).stderr_has("removed 1 run, ");
    assert_eq!(runs(&pgrun), ["failed", "paused"]);
}

/// Where nobody can be asked nothing goes, and the last line is the command that does it.
#[test]
fn nothing_goes_unasked() {
    let pgrun = place();
    let output = pgrun.pgrun(&["runs", "--prune", "--older-than", "0s"]).exit(PAUSED);
    let output = output.stderr_has("error[needs_answer]: ").stdout_has("undone");
    let output = output.last_line("pgrun runs --prune --older-than 0s --yes");
    assert_eq!(runs(&pgrun).len(), 5);
    let line = output.stderr.trim_end().lines().last().unwrap().to_owned();
    let words: Vec<&str> = line.split(' ').skip(1).collect();
    pgrun.pgrun(&words).exit(0);
    assert_eq!(runs(&pgrun).len(), 2);
}

#[test]
fn a_person_is_asked() {
    let pgrun = place();
    let ask = || pgrun.terminal(&["runs", "--prune", "--older-than", "0s"]);
    for (typed, code) in [("no\r", 1), ("\x04", PAUSED), ("\x03", PAUSED)] {
        let terminal = ask();
        terminal.until("abandoned").until("Remove 3 runs (").until("yes or no: ").types(typed);
        terminal.finish().exit(code);
        assert_eq!(runs(&pgrun).len(), 5);
    }
    let terminal = ask();
    terminal.until("yes or no: ").types("yes\r").until("removed 3 runs, ");
    terminal.finish().exit(0);
    assert_eq!(runs(&pgrun), ["failed", "paused"]);
}

/// pgrun does not judge what it cannot read: such runs stay, and are named.
#[test]
fn damaged_runs_stay_and_are_named() {
    let pgrun = place();
    let journal = |run: &str| pgrun.home().join("runs").join(run).join("journal.jsonl");
    let text = fs::read_to_string(journal("done")).unwrap();
    fs::write(journal("done"), text.replacen("\"value\":1", "\"value\":2", 1)).unwrap();
    let text = fs::read_to_string(journal("undone")).unwrap();
    fs::write(journal("undone"), text + "{\"v\":1,\"seq\":").unwrap();
    fs::create_dir(pgrun.home().join("runs/unborn")).unwrap();
    fs::create_dir(pgrun.home().join("runs/empty")).unwrap();
    fs::write(journal("empty"), "").unwrap();
    let output = pgrun.pgrun(&["runs", "--prune", "--older-than", "0s", "--yes"]).exit(0);
    output
        .stderr_has("`done` is kept: line 2 of the journal `")
        .stderr_has("`undone` is kept: the last line of its journal is torn")
        .stderr_has("`unborn` is kept: the journal `")
        .stderr_has("`empty` is kept: its journal has no first record")
        .stderr_has("removed 1 run, ");
    assert_eq!(runs(&pgrun), ["done", "empty", "failed", "paused", "unborn", "undone"]);
}

/// A run that a process holds stays, also when its journal says that it is over: it may be about to be undone.
#[test]
fn a_run_in_use_stays() {
    let pgrun = place();
    let lock = fs::File::open(pgrun.home().join("runs/done/lock")).unwrap();
    lock.try_lock().unwrap();
    let output = pgrun.pgrun(&["runs", "--prune", "--older-than", "0s", "--yes"]).exit(0);
    output.stderr_has("`done` is kept: a process is working on it").stderr_has("removed 2 runs, ");
    assert_eq!(runs(&pgrun), ["done", "failed", "paused"]);
    drop(lock);
    pgrun.write("slow.rhai", "step \"s\" { say(\"at work\"); sleep(\"1h\"); }");
    let slow = pgrun.start(&["slow.rhai", "--run-id", "slow"]);
    slow.until_stdout("at work");
    pgrun.pgrun(&["runs", "--prune", "--older-than", "0s", "--yes"]).exit(0).stderr_has("removed 1 run, ");
    assert_eq!(runs(&pgrun), ["failed", "paused", "slow"]);
    slow.kill();
}

/// A prune that dies while it deletes leaves no half of a run: the run is gone, and the next prune takes the rest away.
#[test]
fn half_of_a_run_is_never_a_run() {
    let pgrun = Pgrun::of("say(1);");
    for id in ["big", "small"] {
        pgrun.pgrun(&["main.rhai", "--run-id", id]).exit(0);
    }
    let folder = pgrun.home().join("runs");
    for n in 0..20_000 {
        fs::write(folder.join("big/sources").join(format!("{n}")), "").unwrap();
    }
    make_older(&pgrun, "big", 5);
    let prune = pgrun.start(&["runs", "--prune", "--older-than", "1d", "--yes"]);
    while folder.join("big").exists() {
        std::thread::sleep(Duration::from_micros(200));
    }
    prune.kill();
    let rest = names(&folder);
    assert!(rest.len() == 2 && rest[0].starts_with(".removed-"), "{rest:?}: killed too late");
    assert_eq!(runs(&pgrun), ["small"]);
    assert_eq!(pgrun.pgrun(&["show", "last", "--json"]).exit(0).json()["run"], "small");
    pgrun.pgrun(&["show", "removed"]).exit(USAGE).stderr_has("there is no run `removed`");
    pgrun.pgrun(&["runs", "--prune", "--older-than", "1d", "--yes"]).exit(0);
    assert_eq!(names(&folder), ["small"]);
}

/// Several at the same time take nothing away from each other.
#[test]
fn two_prunes_at_once() {
    let pgrun = Pgrun::of("say(1);");
    let ids: Vec<String> = (0..12).map(|n| format!("n{n}")).collect();
    for id in &ids {
        pgrun.pgrun(&["main.rhai", "--run-id", id]).exit(0);
    }
    let prune = || pgrun.start(&["runs", "--prune", "--older-than", "0s", "--yes"]);
    let both = [prune(), prune()];
    for one in both {
        one.finish().exit(0);
    }
    assert_eq!(names(&pgrun.home().join("runs")), Vec::<String>::new());
}

/// A process that dies between its last record and giving its claims back leaves them; so does one between a draft and
/// its name. A claim of a run that is not over stays.
#[test]
fn claims_and_drafts_of_the_dead_go() {
    let (gone, open) = (Database::new(), Database::alone());
    let pgrun = Pgrun::of(
        "let p = params(#{ db: #{ type: \"url\", help: \"where\" } }); let db = pg::connect(p.db);
         step \"s\" { db.execute(\"create table public.t ()\"); } confirm \"go\";",
    );
    let set = |database: &Database| format!("db={}", database.url());
    let dies = ["main.rhai", "--run-id", "dead", "--yes", "--set", &set(&gone)];
    pgrun.start_with(&dies, &[("PGRUN_CRASH", "after:finished:")]).expect_death();
    pgrun.pgrun(&["main.rhai", "--run-id", "open", "--set", &set(&open)]).exit(PAUSED);
    let claims = pgrun.home().join("claims");
    fs::write(claims.join("dead.4711.draft"), "{").unwrap();
    let before = names(&claims).len();
    let output = pgrun.pgrun(&["runs", "--prune", "--yes", "--json"]).exit(0);
    let swept = &output.json()["swept"];
    let of_dead = swept["claims"].as_u64().unwrap();
    assert!(of_dead > 0 && swept["drafts"] == 1, "{swept}");
    assert_eq!(names(&claims).len() as u64, before as u64 - of_dead - 1);
    // The other one still has its target.
    pgrun.pgrun(&["main.rhai", "--run-id", "third", "--set", &set(&open)]).exit(3).stderr_has("claimed by run `open`");
    pgrun.pgrun(&["runs", "--prune", "--yes"]).exit(0).stderr_lacks("dead processes");
}

/// Programs read the same from JSON.
#[test]
fn json_tells_all() {
    let pgrun = place();
    make_older(&pgrun, "done", 100);
    let output = pgrun.pgrun(&["runs", "--prune", "--json"]).exit(PAUSED);
    let output = output.last_line("pgrun runs --prune --older-than 90d --yes --json");
    let json = output.json();
    assert_eq!(
        (&json["schema"], &json["older_than_s"], &json["removed_bytes"]),
        (&1.into(), &7_776_000.into(), &0.into())
    );
    let run = &json["runs"][0];
    assert_eq!((&run["run"], &run["state"], &run["removed"]), (&"done".into(), &"done".into(), &false.into()));
    assert!(run["age_s"].as_u64().unwrap() >= 8_640_000 && run["runbook"] == "main.rhai", "{run}");
    let json = pgrun.pgrun(&["runs", "--prune", "--json", "--yes"]).exit(0).json();
    assert_eq!(json["runs"][0]["removed"], true);
    assert_eq!(json["removed_bytes"], json["runs"][0]["bytes"]);
    let json = pgrun.pgrun(&["runs", "--prune", "--json"]).exit(0).json();
    assert_eq!((&json["runs"], &json["kept"]), (&serde_json::json!([]), &serde_json::json!([])));
}

#[test]
fn wrong_words_are_refused() {
    let pgrun = Pgrun::new();
    pgrun.pgrun(&["runs", "--yes"]).exit(USAGE).stderr_has("--prune");
    pgrun.pgrun(&["runs", "--older-than", "3d"]).exit(USAGE).stderr_has("--prune");
    pgrun.pgrun(&["runs", "--prune", "--older-than", "90"]).exit(USAGE).stderr_has("got \"90\", wanted a duration");
    pgrun.pgrun(&["runs", "--prune"]).exit(0).stdout("").stderr_has("no run is over since 90d or longer");
}
