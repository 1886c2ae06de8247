//! Long work in parts: a run that is killed in the middle goes on with the next part.

use crate::pgrun::{Database, Pgrun};

/// Two databases with the same tables, two rows changed in the second.
fn pair() -> (Database, Database) {
    let (there, here) = (Database::new(), Database::new());
    for database in [&there, &here] {
        database.sql(
            "CREATE TABLE \"T 'q'\" (id int PRIMARY KEY, pad text); CREATE SEQUENCE s;
             INSERT INTO \"T 'q'\" SELECT i, repeat('x', 400) FROM generate_series(1, 100000) i; ANALYZE",
        );
    }
    here.sql("UPDATE \"T 'q'\" SET pad = '' WHERE id IN (7, 77777)");
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
    here.sql("UPDATE \"T 'q'\" t SET pad = repeat('x', 400) WHERE id IN (7, 77777)");
    run(&here).exit(0).stdout_has("compared: 100000 rows");
    Pgrun::of(text).run().exit(2).stderr_has("the user for `not-given` is missing");
    let instance = Pgrun::of(text).arg("--set").arg("there_instance=blue").run();
    instance.exit(1).stderr_has("an instance needs the parameters secret and database");
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
           say(`${found.rows} rows, ${found.tables} tables, ${found.different.len()}: ${found.different[0].rows[1].key}`);"#,
    );
    let (one, other) = (format!("there={}", there.url()), format!("here={}", here.url()));
    let pgrun = pgrun.arg("--set").arg(&one).arg("--set").arg(&other);
    let mut running = pgrun.start_run();
    running.until_event("done compare / compare the rows [2]");
    running.kill();
    let output = pgrun
        .pgrun(&["resume", "r", "--set", &one, "--set", &other])
        .exit(0)
        .stdout("100000 rows, 1 tables, 1: (77777)\n");
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

/// Killed while the server works on one object: the server notices, ends that statement, and frees the object for the
/// run that goes on.
#[test]
fn a_killed_maintenance_leaves_no_statement_behind() {
    let database = Database::new();
    database.sql(
        "CREATE TABLE pace (seconds int); INSERT INTO pace VALUES (0);
         CREATE FUNCTION wait() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
             PERFORM pg_sleep(seconds) FROM public.pace; RETURN 1; END $$;
         CREATE MATERIALIZED VIEW slow AS SELECT public.wait(); UPDATE pace SET seconds = 600",
    );
    let text = r#"import "std/maintenance" as maintenance;
           let p = params(#{ db: #{ type: "url", help: "which" } });
           let db = pg::connect(p.db);
           phase "views" { say(maintenance::refresh_views(db, #{})); }"#;
    let given = format!("db={}", database.url());
    let pgrun = Pgrun::of(text).arg("--set").arg(&given);
    let mut running = pgrun.start_run();
    running.until_event("intent views / refresh materialized views [public.slow]");
    let working = || {
        database.sql(
            "SELECT count(*) FROM pg_stat_activity WHERE query ~ '^REFRESH' AND state = 'active' \
             AND datname = current_database()",
        )
    };
    let within = |wanted: &str| {
        let begun = std::time::Instant::now();
        while working() != wanted {
            assert!(begun.elapsed().as_secs() < 60, "wanted {wanted} at work");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    };
    within("1");
    running.kill();
    within("0");
    database.sql("UPDATE pace SET seconds = 0");
    pgrun.pgrun(&["resume", "r", "--set", &given]).exit(0).stdout("1\n");
}

/// Wrong options are refused before anything is asked.
#[test]
fn options_that_make_no_sense_are_refused() {
    let database = Database::new();
    for (call, sentence) in [
        ("pg::compare_data(db, db, #{ sample: 0 })", "`compare_data`: got sample 0, wanted at least 1"),
        ("pg::compare_data(db, db, #{ tabels: [] })", "`compare_data` got the option `tabels`"),
        ("pg::vacuum(db, [], #{ connections: 0 })", "`vacuum`: got 0 connections, wanted at least 1"),
        ("pg::analyze(db, [], #{ target: 0 })", "`analyze`: got the target 0, wanted 1 to 10000"),
        ("pg::reindex(db, [\"a b\"])", "invalid name syntax"),
    ] {
        let text = format!(
            "let p = params(#{{ db: #{{ type: \"url\", help: \"which\" }} }});
             let db = pg::connect(p.db);
             step \"try\" {{ {call}; }}"
        );
        let output = Pgrun::of(&text).arg("--set").arg(&format!("db={}", database.url())).run();
        output.exit(1).stderr_has(sentence);
    }
}
