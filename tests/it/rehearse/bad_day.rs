//! Rehearsals on bad days of the lab: the run bears them, or stops with its cause and is taken up when they are over.
//! Nothing is lost either way.

use serde_json::Value as Json;

use super::{pgrun, scratch, succeed};

fn rehearsed(faults: &str, arguments: &[&str]) -> (Json, String) {
    let home = scratch();
    let (report, day) = (home.path().join("report.json"), home.path().join("day.json"));
    std::fs::write(&day, faults).unwrap();
    let mut command = pgrun(home.path());
    command
        .args(["rehearse", "runbooks/bluegreen.rhai", "--phase", "cutover", "--faults"])
        .arg(&day)
        .arg("--json")
        .arg(&report);
    let output = succeed(command.args(arguments));
    let report: Json = serde_json::from_str(&std::fs::read_to_string(&report).unwrap()).unwrap();
    assert_eq!(report["result"], "ok", "{report:#}");
    assert_eq!((&report["writes"]["lost"], &report["writes"]["doubled"]), (&0.into(), &0.into()), "{report:#}");
    assert!(report["writes"]["acknowledged"].as_u64().unwrap() > 0, "{report:#}");
    (report, format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}

/// Every second call is refused: the run goes on, and still notices in time what becomes of its requests.
#[test]
fn a_throttled_run_is_not_late() {
    let (report, _) = rehearsed(r#"[{ "kind": "throttle", "every": 2 }]"#, &["--states", "3s", "--stale", "1s"]);
    assert!(report["faults"][0]["hits"].as_u64().unwrap() > 10, "{:#}", report["faults"]);
    let calls = &report["calls"];
    assert!(calls["noticed"].as_u64().unwrap() >= 3, "{calls:#}");
    assert!(calls["latest_ms"].as_u64().unwrap() <= 10_000, "{calls:#}");
    // What the manual says.
    assert!(calls["most_in_a_minute"].as_u64().unwrap() <= 200, "{calls:#}");
}

/// BLUE is killed, stands still and refuses sessions: the run waits for it, or stops and is taken up again.
#[test]
fn a_run_bears_servers_that_fail() {
    let day = r#"[
        { "kind": "kill", "target": "shop-blue", "times": 1 },
        { "kind": "stall", "target": "shop-*", "times": 2, "hold_ms": 1000, "every": 3 },
        { "kind": "refuse", "target": "shop-blue", "times": 1, "hold_ms": 1500, "every": 4 }
    ]"#;
    let (report, _) = rehearsed(day, &[]);
    assert_eq!(report["faults"][0]["hits"], 1, "{:#}", report["faults"]);
}

/// What answers, an upgrade and the clock do on a bad day, all on one.
#[test]
fn a_run_bears_answers_and_upgrades_that_fail() {
    let day = r#"[
        { "kind": "stale", "action": "Describe*", "every": 3, "hold_ms": 1500 },
        { "kind": "fail-upgrade", "times": 1 },
        { "kind": "stuck", "target": "shop-green", "times": 1 },
        { "kind": "cut-log", "times": 1 },
        { "kind": "clock-skew", "skew_ms": 120000 }
    ]"#;
    let (report, said) = rehearsed(day, &[]);
    for struck in report["faults"].as_array().unwrap() {
        let bears = struck["kind"] == "cut-log" || struck["kind"] == "stuck";
        assert!(struck["hits"].as_u64().unwrap() > 0 || bears, "{struck}");
    }
    assert!(said.contains("reg* data type"), "the cause is told in the words of pg_upgrade: {said}");
    assert!(said.contains("it is taken up again"), "{said}");
}
