//! A cluster of Aurora is upgraded by a clone of it.

use serde_json::Value as Json;

use super::{pgrun, scratch, succeed};

/// GREEN begins at the position that the clone tells, as it is: a write in between would be lost or come twice. It gets
/// as many readers as BLUE has, and BLUE goes with its instances.
#[test]
fn a_cluster_is_upgraded_by_its_clone() {
    let home = scratch();
    let report = home.path().join("report.json");
    let mut command = pgrun(home.path());
    succeed(command.args(["rehearse", "runbooks/bluegreen-aurora.rhai", "--json"]).arg(&report));
    let report: Json = serde_json::from_str(&std::fs::read_to_string(&report).unwrap()).unwrap();
    assert_eq!(report["result"], "ok", "{report:#}");
    assert_eq!((&report["writes"]["lost"], &report["writes"]["doubled"]), (&0.into(), &0.into()), "{report:#}");
    assert!(report["writes"]["acknowledged"].as_u64().unwrap() > 0, "{report:#}");
    for fact in ["rows_equal", "sequences_equal", "roles_restored", "reverse_ready"] {
        assert_eq!(report["verified"][fact], true, "{fact}: {report:#}");
    }
}
