//! Findings end a run before it changes anything, unless somebody says why they may stay.

use super::{PAUSED, USAGE};
use crate::pgrun::{Database, Pgrun};

/// Two findings that stop, one that warns, one that only informs. The id `own_check` is this runbook's own.
const BOOK: &str = r#"let found = step "look" { sleep("1ms"); [
        #{ id: "unlogged", verdict: "stop", database: "shop", object: "public.\"a=b\"", text: "it is lost", hint: "log it" },
        #{ id: "own_check", verdict: "stop", database: "", object: "it's", text: "it is wrong", hint: "mend it" },
        #{ id: "pg_cron", verdict: "warn", database: "shop", object: "pg_cron", text: "its jobs start" },
        #{ id: "extension", verdict: "info", database: "shop", object: "x", text: "version 1" },
    ] };
    let waived = waive(found);
    step "change" { say(`changed in spite of ${waived.map(|w| w.id)}`); }"#;

const BOTH: [&str; 4] = ["--waive", "own_check=known", "--waive", "unlogged:shop:public.\"a=b\"=a cache = no loss"];

fn with(first: &[&str], more: &[&str]) -> Vec<String> {
    first.iter().chain(more).map(|&word| word.to_owned()).collect()
}

/// Everything that stops is named at once, and the last line is the command that lacks the reasons only.
#[test]
fn nothing_is_waived_by_default() {
    let pgrun = Pgrun::of(BOOK);
    let output = pgrun.run().exit(PAUSED).stdout("").stderr_has("warn  pg_cron  pg_cron in shop: its jobs start\n");
    let output = output.stderr_has(
        "error[needs_waiver]: 2 findings stop the run\n  unlogged  public.\"a=b\" in shop: it is lost\n        hint: log it\n  \
         own_check  it's: it is wrong\n        hint: mend it\n",
    );
    let command = "pgrun resume r --waive 'own_check:it'\\''s=..' --waive 'unlogged:public.\"a=b\"=..'";
    let output = output.stderr_lacks("version 1").last_line(command);
    output.journal(&["done look", "shown waive", "stopped"]);
    let waiting = &pgrun.pgrun(&["show", "r", "--json"]).exit(0).json()["waiting"];
    assert_eq!(waiting["command"], command);
    assert!(waiting["text"].as_str().unwrap().contains("public.\"a=b\" in shop: it is lost"), "{waiting}");
    // A place holder is no reason, and --yes is none either.
    pgrun.pgrun(&["resume", "r", "--waive", "unlogged=.."]).exit(USAGE).stderr_has("which has no reason in words");
    pgrun.pgrun(&["resume", "r", "--yes", "--answer", "waive=yes"]).exit(PAUSED).stderr_lacks("warn  pg_cron");
}

/// With reasons the run goes on; they are asked for once, and shown with the run.
#[test]
fn waivers_are_kept_with_their_reasons() {
    let pgrun = Pgrun::of(BOOK);
    pgrun.run().exit(PAUSED);
    let one = pgrun.pgrun(&with(&["resume", "r"], &BOTH[..2])).exit(PAUSED);
    let one = one.stderr_has("waived  own_check  it's: it is wrong\n        because: known\n");
    one.stderr_has("1 finding stops the run").last_line("pgrun resume r --waive 'unlogged:public.\"a=b\"=..'");
    let output = pgrun.pgrun(&with(&["resume", "r"], &BOTH[2..])).exit(0);
    let output = output.stdout("changed in spite of [\"unlogged\", \"own_check\"]\n");
    let looked = ["done look", "shown waive", "stopped", "resumed", "done look", "waived waive", "stopped"];
    output.journal(&[&looked[..], &["resumed", "done look", "waived waive", "done change", "finished"]].concat());
    let waivers = pgrun.pgrun(&["show", "r", "--json"]).exit(0).json()["waivers"].clone();
    let text = |at: usize, name: &str| waivers[at][name].as_str().unwrap().to_owned();
    assert_eq!(
        (text(0, "id"), text(0, "object"), text(0, "reason")),
        ("own_check".into(), "it's".into(), "known".into())
    );
    assert_eq!((text(1, "database"), text(1, "reason")), ("shop".into(), "a cache = no loss".into()));
    assert_eq!(text(1, "through"), "--waive");
    assert!(text(1, "who").contains('@') && text(1, "at").ends_with('Z'), "{waivers}");
    let shown = pgrun.pgrun(&["show", "r"]).exit(0);
    shown.stdout_has("waived:\n  own_check  it's: it is wrong\n      known (").stdout_has("      a cache = no loss (");
}

/// A process that dies after the waivers are written leaves them written; one that dies before leaves none.
#[test]
fn waivers_survive_a_death() {
    for (crash, again) in [("before:waived:waive", PAUSED), ("after:waived:waive", 0)] {
        let pgrun = Pgrun::of(BOOK);
        let arguments = with(&["main.rhai", "--run-id", "r"], &BOTH);
        let mut running = pgrun.start_with(&arguments, &[("PGRUN_CRASH", crash)]);
        running.expect_death();
        running.finish();
        pgrun.resume().exit(again);
    }
}

/// What was found is not believed on resume: somebody may have mended it, and something else may have come.
#[test]
fn a_resumed_run_looks_again() {
    let book = r#"phase "outer" {
            let found = phase "look" { step "take stock" {
                [#{ id: "own_check", verdict: "stop", object: uuid(), text: "it is wrong" }] } };
            waive found;
        }"#;
    let pgrun = Pgrun::of(book);
    let named = |stderr: &str| stderr.split("own_check  ").nth(1).unwrap()[..36].to_owned();
    let first = named(&pgrun.run().exit(PAUSED).stderr);
    let waive = format!("own_check:{first}=known");
    let output = pgrun.pgrun(&["resume", "r", "--waive", &waive]).exit(PAUSED);
    let output = output.stderr_has(&format!("`--waive {waive}`: there is no such finding here"));
    assert_ne!(named(&output.stderr), first);
    // What was waived keeps its finding from then on.
    pgrun.pgrun(&["resume", "r", "--waive", "own_check=known"]).exit(0);
    pgrun.pgrun(&["undo", "r", "--yes"]).exit(0);
}

/// A waiver that can fit nothing is a mistake; one that happens to fit nothing is said.
#[test]
fn unknown_waivers() {
    let pgrun = Pgrun::of(BOOK);
    let refused = |waive: &str| pgrun.pgrun(&["main.rhai", "--run-id", "r", "--waive", waive]).exit(USAGE);
    let output = refused("unloged=known").stderr_has("no check has the id `unloged`; known are `always_trigger`, ");
    output.stderr_has("`free_storage`, ").stderr_has("`own_check`, ").stderr_has("hint: meant `unlogged`?");
    for waive in ["unlogged", "unlogged=", "unlogged:public.t", "unlogged:public.t= ", "=known"] {
        refused(waive).stderr_has("--waive ID:OBJECT=\"reason\" for one object only");
    }
    assert!(!pgrun.journal().exists(), "nothing is begun");
    let idle = ["--waive", "row_security=known", "--waive", "pg_cron=known", "--waive", "unlogged:public.a=known"];
    let output = pgrun.pgrun(&with(&["main.rhai", "--run-id", "r"], &idle)).exit(PAUSED);
    let output = output.stderr_has("`--waive row_security=known`: there is no such finding here");
    let output = output.stderr_has("`--waive unlogged:public.a=known`: there is no such finding here");
    output.stderr_has("`--waive pg_cron=known`: that finding stops nothing").stderr_has("2 findings stop the run");
    let resumed = pgrun.pgrun(&["resume", "r", "--waive", "own_chek=known"]).exit(USAGE);
    resumed.stderr_has("meant `own_check`?");
}

/// A person at a terminal is asked about each, and for the reason.
#[test]
fn at_a_terminal_each_finding_is_asked() {
    let pgrun = Pgrun::of(BOOK);
    let terminal = pgrun.run_at_terminal();
    terminal.until("stop  unlogged  public.\"a=b\" in shop: it is lost").until("y to waive it, N to stop: ");
    terminal.types("y\r").until("why: ").types("  \r").until("needs its reason").until("why: ").types("a cache\r");
    terminal.until("because: a cache").until("stop  own_check").until("N to stop: ").types("\r");
    let output = terminal.finish().exit(PAUSED).stderr_has("1 finding stops the run");
    output.journal(&["done look", "shown waive", "waived waive", "stopped"]);
    let terminal = pgrun.terminal(&["resume", "r"]);
    terminal.until("stop  own_check").until("N to stop: ").types("perhaps\r").until("wanted yes or no");
    terminal.until("N to stop: ").types("yes\r").until("why: ").types("known\r");
    let output = terminal.finish().exit(0);
    assert!(!output.stderr.contains("stop  unlogged"), "asked twice:\n{}", output.stderr);
    let terminal = Pgrun::of(BOOK).run_at_terminal();
    terminal.until("N to stop: ").types("y\r").until("why: ").types("\x03");
    terminal.finish().exit(130).journal(&["done look", "shown waive", "stopped"]);
}

/// `waive` asks, so it stands where gates stand, and it takes findings only.
#[test]
fn where_it_may_stand_and_what_it_takes() {
    let of = |book: &str| Pgrun::of(book).run();
    of("step \"s\" { waive([]) }").exit(USAGE).stderr_has("the waive `..` stands inside a step");
    let book = "fn w() { waive([]) } step \"s\" { w() }";
    of(book).exit(1).stderr_has("`waive` cannot stand inside a step");
    let book = "phase \"p\" with #{ on_failure: \"undo\" } { waive([]) }";
    of(book).exit(1).stderr_has("`waive` cannot stand in a phase that never asks");
    of("waive(1)").exit(1).stderr_has("`waive` wants a list of findings: got an int");
    of("waive([1])").exit(1).stderr_has("in entry 0, got a int, wanted a map");
    of("waive([#{ id: \"x\" }])").exit(1).stderr_has("in entry 0, `verdict` is missing or no text");
    let book = "waive([#{ id: \"x\", verdict: \"halt\", object: \"o\", text: \"t\" }])";
    of(book).exit(1).stderr_has("in entry 0, got the verdict `halt`");
    of("let w = waive []; say(w.len())").exit(0).stdout("0\n").journal(&["finished"]);
    // In a loop it may stand: it has no identity of its own.
    of("for i in 0..2 { waive([]) }").exit(0);
}

/// A rehearsal hands waivers to the run that it starts, and reports them.
#[test]
fn a_rehearsal_reports_what_was_waived() {
    let rehearsal = "step \"run the runbook\" { run(#{}) } report(#{ verified: #{ done: true } });";
    let pgrun = Pgrun::of(BOOK).file("rehearsals/main.rhai", rehearsal);
    let rehearse = |more: &[&str]| pgrun.pgrun(&with(&["rehearse", "main.rhai", "--json", "report.json"], more));
    let report = || -> serde_json::Value {
        serde_json::from_str(&std::fs::read_to_string(pgrun.path("report.json")).unwrap()).unwrap()
    };
    rehearse(&["--waive", "unloged=known"]).exit(USAGE).stderr_has("meant `unlogged`?").stderr_lacks("PostgreSQL");
    let output = rehearse(&[]).exit(1).stderr_has("the rehearsed run failed: 2 findings stop the run");
    output.stderr_has("own_check  it's: it is wrong");
    assert_eq!(report()["waived"], serde_json::json!([]));
    let output = rehearse(&BOTH).exit(0);
    output.stdout_has("  waived               own_check  it's: known\n");
    let waived = report()["waived"].clone();
    let pairs: Vec<_> = waived.as_array().unwrap().iter().map(|w| (w["id"].as_str(), w["reason"].as_str())).collect();
    assert_eq!(pairs, [(Some("unlogged"), Some("a cache = no loss")), (Some("own_check"), Some("known"))]);
}

/// A waiver for a later `waive` of the same run is not taken for a mistake once it was used.
#[test]
fn several_inventories_of_one_run() {
    let finding = |id: &str| format!("waive [#{{ id: \"{id}\", verdict: \"stop\", object: \"o\", text: \"t\" }}];");
    let pgrun = Pgrun::of(&format!("{} {} say(\"on\");", finding("one"), finding("two")));
    let output = pgrun.pgrun(&["main.rhai", "--run-id", "r", "--waive", "one=known", "--waive", "two=known"]);
    let output = output.exit(0).stderr_lacks("`--waive one=known`: there is no such finding here");
    output.journal(&["waived waive", "waived waive", "finished"]);
}

/// Of several databases the server is looked at once, and each finding knows its database.
#[test]
fn several_databases_of_one_server() {
    let (one, two) = (Database::alone(), Database::new());
    one.sql("CREATE UNLOGGED TABLE public.t (i int PRIMARY KEY); CREATE ROLE root SUPERUSER LOGIN");
    two.sql("CREATE UNLOGGED TABLE public.t (i int PRIMARY KEY)");
    let book = r#"import "std/inventory" as inventory;
        let p = params(#{ one: #{ type: "url", help: "one" }, two: #{ type: "url", help: "two" } });
        let one = pg::connect(#{ url: p.one });
        let two = pg::connect(#{ url: p.two });
        let found = step "look" { inventory::findings_of_all([one, two], #{ target: "18" }) };
        let seen = found.filter(|f| f.id == "unlogged" || f.object == "root");
        for f in seen { say(`${f.id} ${f.database} ${f.object}`); }
        inventory::require_none_stops(found.filter(|f| f.id == "unlogged"));"#;
    let pgrun = Pgrun::of(book);
    let sets = [format!("one={}", one.url()), format!("two={}", two.url())];
    let output = pgrun.pgrun(&["main.rhai", "--run-id", "r", "--set", &sets[0], "--set", &sets[1]]).exit(PAUSED);
    assert_eq!(output.stdout.matches("superuser_login  root\n").count(), 1, "{}", output.stdout);
    let name = |url: &str| url.rsplit('/').next().unwrap().split('?').next().unwrap().to_owned();
    for database in [name(&one.url()), name(&two.url())] {
        assert!(output.stdout.contains(&format!("unlogged {database} public.t\n")), "{}", output.stdout);
        // The same object in two databases is told apart in the command.
        let flag = format!("--waive unlogged:{database}:public.t=..");
        assert!(output.stderr.contains(&flag), "{}", output.stderr);
    }
}
