//! Long work in parts: a run that is killed in the middle goes on with the next part.

use crate::pgrun::{Database, Pgrun};

/// Two databases with the same tables, one row changed in the second.
fn pair() -> (Database, Database) {
    let (there, here) = (Database::new(), Database::new());
    for database in [&there, &here] {
        database.sql(
            "CREATE TABLE \"T 'q'\" (id int PRIMARY KEY, pad text); CREATE SEQUENCE s;
             INSERT INTO \"T 'q'\" SELECT i, repeat('x', 400) FROM generate_series(1, 100000) i; ANALYZE",
        );
    }
    here.sql("UPDATE \"T 'q'\" SET pad = '' WHERE id = 77777");
    (there, here)
}

/// The runbook of this repository says what differs, and fails; between equal databases it does not.
#[test]
fn two_databases_are_compared_by_a_runbook() {
    let (there, here) = pair();
    let text = include_str!("../../../runbooks/compare.rhai");
    let run = |here: &Database| {
        let pgrun = Pgrun::of(text).arg("--set").arg(&format!("there={}", there.url()));
        pgrun.arg("--set").arg(&format!("here={}", here.url())).run()
    };
    let output = run(&here).exit(1).stdout_has("(77777)").stdout_has("public.\"T");
    output.stdout_has("compared: 100000 rows, tables 1, sequences 1").stderr_has("differ in 1 of 1 tables");
    here.sql("UPDATE \"T 'q'\" t SET pad = repeat('x', 400) WHERE id = 77777");
    run(&here).exit(0).stdout_has("compared: 100000 rows");
}

/// Killed between two parts: what was compared before is not read again, and nothing is left out.
#[test]
fn a_killed_comparison_goes_on() {
    let (there, here) = pair();
    let pgrun = Pgrun::of(
        r#"import "std/verification" as verification;
           let p = params(#{ there: #{ type: "url", help: "one" }, here: #{ type: "url", help: "other" } });
           let there = pg::connect(p.there);
           let here = pg::connect(p.here);
           let found = phase "compare" {
               verification::compare_database(there, here, #{ slice: "1ms", connections: 1, rows_per_second: 50000 })
           };
           say(`${found.rows} rows, ${found.tables} tables, ${found.different[0].rows[0].key}`);"#,
    );
    let (one, other) = (format!("there={}", there.url()), format!("here={}", here.url()));
    let pgrun = pgrun.arg("--set").arg(&one).arg("--set").arg(&other);
    let mut running = pgrun.start_run();
    running.until_event("done compare / compare the rows [2]");
    running.kill();
    let output = pgrun
        .pgrun(&["resume", "r", "--set", &one, "--set", &other])
        .exit(0)
        .stdout("100000 rows, 1 tables, (77777)\n");
    let firsts = pgrun.events().iter().filter(|event| *event == "done compare / compare the rows [1]").count();
    output.wants(firsts == 1, "the first part to have been compared once");
}

/// All of the maintenance as a runbook does it, twice: the second time finds nothing that is not there.
#[test]
fn a_database_is_maintained_by_the_library() {
    let (there, _) = pair();
    there.sql("CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM \"T 'q'\"; DELETE FROM \"T 'q'\" WHERE id > 10");
    let text = r#"import "std/maintenance" as maintenance;
           let p = params(#{ db: #{ type: "url", help: "which" } });
           let db = pg::connect(p.db);
           phase "before the stream" { maintenance::reindex_identities(db, #{}); }
           phase "maintain" { maintenance::maintain(db, #{ blue: db, connections: 2, deadline: "1m", most: "1 GB" }); }"#;
    let pgrun = Pgrun::of(text).arg("--set").arg(&format!("db={}", there.url()));
    pgrun.run().exit(0);
    assert_eq!(there.sql("SELECT n FROM v"), "10");
    assert_eq!(there.sql("SELECT count(*) FROM pg_stats WHERE tablename = 'T ''q'''"), "2");
}
