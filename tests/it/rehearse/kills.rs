//! A run that dies at five places and is resumed each time: nothing lost, nothing done twice, no secret written.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde_json::Value as Json;

use super::{files, pgrun, scratch, succeed};

/// Each place in another step: before and after the snapshot's creation, during the upgrade, between fence and drain,
/// and after GREEN was opened.
const DEATHS: [&str; 5] = [
    "after:intent:create the snapshot",
    "before:done:create the snapshot",
    "after:done:upgrade the snapshot",
    "after:done:close BLUE",
    "after:done:open GREEN",
];

#[test]
fn a_run_that_is_killed_five_times_still_loses_nothing() {
    let home = scratch();
    let report = home.path().join("report.json");
    let mut command = pgrun(home.path());
    // BLUE is not deleted: its log is searched for secrets.
    command.args(["rehearse", "runbooks/bluegreen.rhai", "--phase", "cutover", "--keep", "--json"]).arg(&report);
    command.args(DEATHS.iter().flat_map(|point| ["--crash", point]));
    let output = succeed(&mut command);
    let report: Json = serde_json::from_str(&std::fs::read_to_string(&report).unwrap()).unwrap();
    assert_eq!(report["result"], "ok", "{report:#}");
    assert_eq!(report["chaos"]["kills"], 5, "every crash point was met: {report:#}");
    assert_eq!((&report["writes"]["lost"], &report["writes"]["doubled"]), (&0.into(), &0.into()), "{report:#}");
    for fact in ["rows_equal", "sequences_equal", "roles_restored", "reverse_ready"] {
        assert_eq!(report["verified"][fact], true, "{fact}: {report:#}");
    }
    let kept = kept_folder(&String::from_utf8_lossy(&output.stdout));
    nothing_was_done_twice(&kept);
    no_secret_was_written(&kept, &output.stdout, &output.stderr);
    std::fs::remove_dir_all(&kept).unwrap();
}

fn kept_folder(stdout: &str) -> PathBuf {
    let line = stdout.lines().find_map(|line| line.strip_prefix("kept in ")).expect("the report names the kept folder");
    PathBuf::from(line)
}

/// The lab remembers what it was asked to make.
fn nothing_was_done_twice(kept: &Path) {
    let journal =
        files(&kept.join("home")).into_iter().find(|path| path.ends_with("journal.jsonl")).expect("a journal");
    let text = std::fs::read_to_string(journal).unwrap();
    let records: Vec<Json> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let done = |name: &str| {
        let is_it =
            |record: &&Json| record["kind"] == "done" && record["key"].as_array().unwrap().last().unwrap() == name;
        records.iter().filter(is_it).count()
    };
    for step in ["create the snapshot", "upgrade the snapshot", "restore the snapshot as GREEN", "decide for GREEN"] {
        assert_eq!(done(step), 1, "{step}");
    }
    // The window was undone after the kill between fence and drain, and done afresh.
    assert_eq!(done("close BLUE"), 2);
    let resumed = records.iter().filter(|record| record["kind"] == "resumed").count();
    assert_eq!(resumed, 5);
}

/// The lab's own store holds every password of the rehearsal; nothing else that was written may.
fn no_secret_was_written(kept: &Path, stdout: &[u8], stderr: &[u8]) {
    let world = std::fs::read_to_string(kept.join("world.json")).unwrap();
    let passwords = passwords(&world);
    assert!(passwords.len() >= 3, "the master's, the application's and the replication's: {}", passwords.len());
    let mut written = vec![("stdout".to_owned(), stdout.to_vec()), ("stderr".to_owned(), stderr.to_vec())];
    let is_written_by_pgrun = |path: &Path| {
        let text = path.to_string_lossy();
        let folders = ["/home/", "/stage/", "/log/", "/pg_stat/pg_stat_statements"];
        folders.iter().any(|folder| text.contains(folder))
    };
    for path in files(kept).into_iter().filter(|path| is_written_by_pgrun(path)) {
        written.push((path.display().to_string(), std::fs::read(&path).unwrap()));
    }
    let logs = written.iter().filter(|(name, _)| name.contains("/log/")).count();
    let statements = written.iter().filter(|(name, _)| name.contains("pg_stat_statements")).count();
    assert!(logs >= 2 && statements >= 2, "both servers' logs and pg_stat_statements are searched too");
    let shown = succeed(pgrun(&kept.join("home")).args(["show", "rehearsed-stage", "--json"]));
    assert!(shown.stdout.windows(7).any(|window| window == b"open GR"), "the whole run is shown");
    written.push(("pgrun show --json".to_owned(), shown.stdout));
    for password in &passwords {
        for form in forms(password) {
            for (name, bytes) in &written {
                let found = bytes.windows(form.len()).any(|window| window == form.as_bytes());
                assert!(!found, "a password stands in {name}");
            }
        }
    }
}

/// Every `password` field of every stored version.
fn passwords(world: &str) -> Vec<String> {
    let mut found = vec![];
    collect(&serde_json::from_str(world).unwrap(), &mut found);
    found.sort();
    found.dedup();
    found
}

fn collect(json: &Json, found: &mut Vec<String>) {
    match json {
        Json::String(text) => {
            if let Ok(inner @ Json::Object(_)) = serde_json::from_str::<Json>(text)
                && let Some(password) = inner["password"].as_str()
            {
                found.push(password.to_owned());
            }
        }
        Json::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Json::Object(map) => map.values().for_each(|item| collect(item, found)),
        _ => {}
    }
}

/// Raw, URL-encoded, base64.
fn forms(password: &str) -> Vec<String> {
    let url: String = form_urlencoded::byte_serialize(password.as_bytes()).collect();
    vec![password.to_owned(), url, base64::engine::general_purpose::STANDARD_NO_PAD.encode(password)]
}
