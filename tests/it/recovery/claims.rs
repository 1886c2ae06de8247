//! Who may work on a run, and which run may write to a target.

use super::{Bench, HEAD};
use crate::pgrun::{Database, Pgrun};

/// A run that a process works on is left alone.
#[test]
fn a_run_is_worked_on_by_one_process() {
    let pgrun = Pgrun::of("step \"s\" { say(\"at work\"); sleep(\"30s\"); }");
    let running = pgrun.start_run();
    running.until_stdout("at work");
    let output = pgrun.resume().exit(3).stderr_has("error[locked]: `r` is being worked on by ").stderr_has("(pid ");
    output.stderr_has("pgrun show r");
    let shown = pgrun.pgrun(&["show", "r", "--json"]).exit(0).json();
    assert_eq!(shown["state"], "running");
    running.kill();
    assert_eq!(pgrun.pgrun(&["show", "r", "--json"]).json()["state"], "failed");
}

/// Looking at runs disturbs nobody who begins to work on one.
#[test]
fn looking_takes_no_lock_away() {
    let pgrun = Pgrun::of("confirm \"go\";");
    pgrun.run().exit(75);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            for _ in 0..10 {
                pgrun.pgrun(&["runs"]).exit(0);
            }
        });
        for _ in 0..10 {
            pgrun.resume().exit(75);
        }
    });
}

/// From its first write until it is done a run has its target for itself, also while it is paused and after its death.
#[test]
fn a_target_belongs_to_one_run_until_it_is_done() {
    let bench = Bench::new(r#"step "s" { did(db, "s") } confirm "go"; step "t" { did(db, "t") }"#);
    bench.pgrun.run().exit(75);
    let set = format!("db={}", bench.database.url());
    bench
        .pgrun
        .write("other.rhai", &format!("{HEAD} step \"look\" {{ has(db, \"s\") }} step \"s\" {{ did(db, \"other\") }}"));
    let other = |id: &str| bench.pgrun.pgrun(&["other.rhai", "--run-id", id, "--set", &set]);
    let output =
        other("other").exit(3).stderr_has("error[claimed]: `127.0.0.1:").stderr_has("is claimed by run `r` of ");
    output.stderr_has("hint: finish that run first: `pgrun resume r`");
    // Refused before its first write: nothing of it is in the database, and it has claimed nothing.
    assert_eq!(bench.effects(), "s");
    let arguments = ["resume", "r", "--yes", "--set", &set];
    bench.pgrun.start_with(&arguments, &[("PGRUN_CRASH", "after:intent:t")]).expect_death();
    other("second").exit(3).stderr_has("is claimed by run `r`");
    // The refused run can be resumed once the target is free.
    bench.database.sql("DELETE FROM effects");
    let bench = Bench::on(bench.database, r#"step "mine" { did(db, "mine") }"#);
    bench.pgrun.run().exit(0);
}

/// A refused run goes on when the target is free.
#[test]
fn a_refused_run_goes_on_later() {
    let bench = Bench::new(r#"step "s" { did(db, "s") } confirm "go";"#);
    bench.pgrun.run().exit(75);
    let set = format!("db={}", bench.database.url());
    bench.pgrun.write("other.rhai", &format!("{HEAD} step \"s\" {{ did(db, \"other\") }}"));
    bench.pgrun.pgrun(&["other.rhai", "--run-id", "other", "--set", &set]).exit(3);
    bench.resume(&["--answer", "go=yes"]).exit(0);
    bench.pgrun.pgrun(&["resume", "other", "--set", &set]).exit(0);
    assert_eq!(bench.effects(), "s other");
    bench.pgrun.run().exit(3);
}

/// A run whose claim went lost, and was taken by another run meanwhile, does not go on.
#[test]
fn a_lost_claim_is_not_taken_for_granted() {
    let bench = Bench::new(r#"step "s" { did(db, "s") } confirm "go"; step "t" { did(db, "t") }"#);
    bench.pgrun.run().exit(75);
    std::fs::remove_dir_all(bench.pgrun.home().join("claims")).unwrap();
    let set = format!("db={}", bench.database.url());
    bench.pgrun.write("other.rhai", &format!("{HEAD} step \"o\" {{ did(db, \"o\") }} confirm \"go\";"));
    bench.pgrun.pgrun(&["other.rhai", "--run-id", "other", "--set", &set]).exit(75);
    let output = bench.resume(&["--answer", "go=yes"]).exit(3).stderr_has("is claimed by run `other`");
    assert_eq!(bench.effects(), "s o");
    output.journal_ends(&["asked gate go", "stopped"]);
    bench.pgrun.pgrun(&["resume", "other", "--set", &set, "--yes"]).exit(0);
    bench.resume(&["--answer", "go=yes"]).exit(0);
    assert_eq!(bench.effects(), "s o t");
}

/// Reading claims nothing.
#[test]
fn reading_claims_nothing() {
    let database = Database::new();
    let first = Bench::on(database, r#"step "look" { has(db, "x") } confirm "go";"#);
    first.pgrun.run().exit(75).journal(&["done look", "asked gate go", "stopped"]);
    let second = Bench::on(first.database, r#"step "s" { did(db, "s") }"#);
    second.pgrun.run().exit(0);
}

/// Whoever undoes a run that is done claims its targets before that stands in the journal: until then its lock speaks
/// for it.
#[test]
fn a_run_that_is_about_to_be_undone_keeps_its_target() {
    let bench = Bench::new(r#"step "s" { did(db, "s") }"#);
    bench.run_until("after:finished:");
    bench.pgrun.write("other.rhai", &format!("{HEAD} step \"s\" {{ did(db, \"other\") }}"));
    let set = format!("db={}", bench.database.url());
    let held = std::fs::File::open(bench.pgrun.home().join("runs/r/lock")).unwrap();
    held.try_lock().unwrap();
    let other = bench.pgrun.pgrun(&["other.rhai", "--run-id", "other", "--set", &set]);
    other.exit(3).stderr_has("is claimed by run `r`");
    drop(held);
    bench.pgrun.pgrun(&["resume", "other", "--set", &set]).exit(0);
    assert_eq!(bench.effects(), "s other");
}
