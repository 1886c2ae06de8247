//! There, back, and there again.

use serde_json::Value as Json;

use super::{pgrun, scratch, succeed};

/// Writes of three laps under load are all there at the end; each lap changed servers and tells its outage. GREEN was
/// made the other way round besides: RDS refuses to upgrade a snapshot that has slots. The stage is fuller than usual,
/// and fences ended the sessions that the pools hold, which came back. Each run says what it has measured by itself, or
/// why it has not.
#[test]
fn nothing_is_lost_on_the_way_back_and_forth_again() {
    let home = scratch();
    let report = home.path().join("report.json");
    let mut command = pgrun(home.path());
    command.args(["rehearse", "runbooks/bluegreen.rhai", "--rollback", "--refuse-slots"]);
    command.args(["--scale", "sequences=200,tables=20,connections=10", "--json"]).arg(&report);
    succeed(&mut command);
    let report: Json = serde_json::from_str(&std::fs::read_to_string(&report).unwrap()).unwrap();
    assert_eq!((&report["writes"]["lost"], &report["writes"]["doubled"]), (&0.into(), &0.into()), "{report:#}");
    let laps = report["laps"].as_array().unwrap();
    let names: Vec<&str> = laps.iter().map(|lap| lap["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["start", "back", "again"], "{report:#}");
    let steps = report["steps"].as_array().unwrap();
    assert!(steps.len() > 20, "{report:#}");
    for lap in laps {
        assert!(lap["outage_ms"]["median"].as_f64().is_some_and(|ms| ms > 0.0), "{lap:#}");
    }
    let scale = &report["scale"];
    assert_eq!((&scale["sequences"], &scale["tables"], &scale["connections"]), (&200.into(), &20.into(), &10.into()));
    assert!(scale["ended"].as_i64().is_some_and(|ended| ended >= 20), "{scale:#}");
    assert!(report["verified"]["tables"].as_i64().is_some_and(|tables| tables > 20), "{report:#}");
    let peak_kb = report["memory"]["peak_kb"].as_i64();
    assert_eq!(peak_kb.is_some(), cfg!(target_os = "linux"), "{report:#}");
    assert!(peak_kb.is_none_or(|kb| kb < 150 * 1024), "{report:#}");
    let probes = report["probes"].as_array().unwrap();
    assert_eq!(probes.len(), 3, "{report:#}");
    let measured: Vec<&Json> = probes.iter().filter(|probe| probe["measured"] == true).collect();
    assert!(!measured.is_empty(), "{probes:?}");
    for probe in measured {
        assert_eq!((&probe["lost"], &probe["doubled"]), (&0.into(), &0.into()), "{probe:#}");
        assert!(probe["outage_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{probe:#}");
    }
    for fact in ["rows_equal", "sequences_equal", "roles_restored", "reverse_ready"] {
        assert_eq!(report["verified"][fact], true, "{fact}: {report:#}");
    }
}
