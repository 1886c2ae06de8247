//! One rehearsal in which the run dies at every boundary of its journal and at random instants between, and one in
//! which everything is done twice: the end is the same as that of a run that nothing happens to.

use serde_json::Value as Json;

use super::{pgrun, scratch, succeed};

fn rehearsed(argument: &str) -> Json {
    let home = scratch();
    let report = home.path().join("report.json");
    let mut command = pgrun(home.path());
    succeed(command.args(["rehearse", "runbooks/bluegreen.rhai", argument, "--json"]).arg(&report));
    let report: Json = serde_json::from_str(&std::fs::read_to_string(&report).unwrap()).unwrap();
    assert_eq!(report["result"], "ok", "{report:#}");
    assert_eq!((&report["writes"]["lost"], &report["writes"]["doubled"]), (&0.into(), &0.into()), "{report:#}");
    for fact in ["rows_equal", "sequences_equal", "roles_restored", "reverse_ready"] {
        assert_eq!(report["verified"][fact], true, "{fact}: {report:#}");
    }
    let chaos = &report["chaos"];
    assert_eq!(chaos["states_equal"], true, "{report:#}");
    assert!(chaos["compared"].as_i64().unwrap() > 100, "{chaos}");
    report
}

#[test]
fn a_run_that_is_killed_everywhere_ends_like_any_other() {
    let report = rehearsed("--chaos=7");
    let count = |name: &str| report["chaos"][name].as_i64().unwrap();
    let steps = i64::try_from(report["steps"].as_array().unwrap().len()).unwrap();
    // Most steps have an intent and a result, each with two sides.
    assert!(count("boundaries") > 3 * steps, "{} boundaries of {steps} steps", count("boundaries"));
    assert!(count("random") >= 20, "{} random kills", count("random"));
    assert_eq!(count("kills"), count("boundaries") + count("random"));
}

#[test]
fn whatever_is_done_twice_is_done_once() {
    rehearsed("--twice");
}
