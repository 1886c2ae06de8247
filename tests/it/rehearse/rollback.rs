//! There, back, and there again.

use serde_json::Value as Json;

use super::{pgrun, scratch, succeed};

/// Writes of three laps under load are all there at the end; each lap changed servers and tells its outage. GREEN was
/// made the other way round besides: RDS refuses to upgrade a snapshot that has slots. Each run says what it has
/// measured by itself, or why it has not.
#[test]
fn nothing_is_lost_on_the_way_back_and_forth_again() {
    let home = scratch();
    let report = home.path().join("report.json");
    let mut command = pgrun(home.path());
    succeed(
        command.args(["rehearse", "runbooks/bluegreen.rhai", "--rollback", "--refuse-slots", "--json"]).arg(&report),
    );
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
