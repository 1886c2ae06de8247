//! Transactions that leave a row about themselves: a death or a cut at COMMIT neither loses nor doubles an effect, and
//! nobody has to be asked.

use super::Bench;
use crate::pgrun::Database;

/// A database with pgrun's own schema.
fn marked() -> Database {
    let bench = Bench::new("step \"own\" { pg::install_own(db) }");
    bench.pgrun.run().exit(0);
    bench.database
}

fn rows(bench: &Bench) -> String {
    bench.database.sql("SELECT count(*) FROM pgrun.applied")
}

const ONE: &str = r#"let v = step "s" { db.transaction(|tx| { did(tx, "a"); did(tx, "b"); #{ n: 2, x: 1.0, t: "é\u0000" } }) };
    step "t" { did(db, "t") } say(`${v.n} ${v.x} ${v.t.len()}`);"#;

/// Dead anywhere between the begin of the step and its result: everything once, and nobody is asked.
#[test]
fn a_death_around_a_commit_is_settled_by_the_row() {
    let mut database = marked();
    for crash in ["before:marked:s", "after:marked:s", "before:done:s", "after:done:s"] {
        database.sql("DROP TABLE IF EXISTS effects");
        let bench = Bench::on(database, ONE);
        bench.run_until(crash);
        let committed = crash.contains("done");
        assert_eq!(bench.effects(), if committed { "a b" } else { "" }, "{crash}");
        bench.resume(&[]).exit(0).stdout("2 1.0 2\n");
        assert_eq!(bench.effects(), "a b t", "{crash}");
        assert!(bench.pgrun.events().iter().all(|event| event != "intent s"), "{:?}", bench.pgrun.events());
        bench.database.sql("DELETE FROM pgrun.applied");
        database = bench.database;
    }
}

/// Without the schema, or without the right to write there, an unknown outcome is up to a person as ever.
#[test]
fn without_the_table_a_person_decides() {
    let bench = Bench::new(ONE);
    bench.run_until("before:done:s");
    bench.resume(&[]).exit(75).stderr_has("error[step_unknown]: ");
    assert_eq!(bench.effects(), "a b");
    let database = marked();
    let role = format!("r{}", uuid::Uuid::new_v4().simple());
    database.sql(&format!(
        "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA pgrun TO {role}; \
        GRANT SELECT ON pgrun.applied TO {role}; CREATE TABLE IF NOT EXISTS effects (name text); GRANT ALL ON effects TO {role}"
    ));
    let bench = Bench::on(database, ONE);
    let set = format!("db={}", bench.database.url().replace("postgres:", &format!("{role}:")));
    let set = set.replacen(&format!("{role}://"), "postgres://", 1);
    bench
        .pgrun
        .start_with(&["main.rhai", "--run-id", "r", "--set", &set], &[("PGRUN_CRASH", "before:done:s")])
        .expect_death();
    assert_eq!(bench.effects(), "a b");
    bench.pgrun.pgrun(&["resume", "r", "--set", &set]).exit(75).stderr_has("error[step_unknown]: ");
    assert_eq!(rows(&bench), "0");
    bench.database.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

/// Makes the COMMIT of whoever has written the effect `a` hang for some seconds.
fn slow_commits(bench: &Bench, seconds: u32) {
    bench.database.sql(&format!(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep({seconds}); RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON effects DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW WHEN (NEW.name = 'a') EXECUTE FUNCTION slow();",
    ));
}

/// Waits for a COMMIT that hangs.
fn until_commit(bench: &Bench) {
    let hangs = format!("SELECT count(*) {COMMITTING}");
    while bench.database.sql(&hangs) == "0" {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

const COMMITTING: &str =
    "FROM pg_stat_activity WHERE query = 'COMMIT' AND state = 'active' AND datname = current_database()";

/// The answer to COMMIT never comes. The same process finds out that nothing is kept, and the failure is an ordinary
/// one.
#[test]
fn a_cut_at_commit_is_settled_at_once() {
    let bench = Bench::on(marked(), ONE);
    slow_commits(&bench, 60);
    let running = bench.pgrun.start_run();
    until_commit(&bench);
    bench.database.sql(&format!("SELECT pg_terminate_backend(pid) {COMMITTING}"));
    let output = running.finish().exit(1).stderr_has("error[pg_connect]: ");
    output.stderr_has("broke at COMMIT, and nothing of the transaction is kept");
    assert_eq!(bench.effects(), "");
    bench.database.sql("DROP TRIGGER slow ON effects");
    bench.resume(&[]).exit(0);
    assert_eq!(bench.effects(), "a b t");
}

/// The process dies while its COMMIT hangs, and the server process goes on without it. The resumed run waits for its
/// end before it believes that there is no row.
#[test]
fn a_commit_that_outlives_its_process_counts() {
    let bench = Bench::on(marked(), ONE);
    slow_commits(&bench, 2);
    let running = bench.pgrun.start_run();
    until_commit(&bench);
    running.kill().exit(137);
    assert_eq!(bench.effects(), "");
    bench.resume(&[]).exit(0).stdout("2 1.0 2\n");
    assert_eq!(bench.effects(), "a b t");
}

/// Each of several transactions is asked for by itself; what came before the death is not repeated.
#[test]
fn several_transactions_of_a_step() {
    let book = r#"let all = step "s" {
            let all = [];
            for n in 0..4 { all.push(db.transaction(|tx| { did(tx, `e${n}`); n })); }
            all };
        say(all);"#;
    let bench = Bench::on(marked(), book);
    bench.database.sql(
        "CREATE FUNCTION once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF NEW.name = 'e2' AND nextval('public.tries') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
             RETURN NULL; END $$;
         CREATE SEQUENCE tries;
         CREATE CONSTRAINT TRIGGER once AFTER INSERT ON effects DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION once();",
    );
    bench.pgrun.run().exit(1).stderr_has("nothing of the transaction is kept");
    assert_eq!(bench.effects(), "e0 e1");
    bench.resume_until("before:done:s");
    bench.resume(&[]).exit(0).stdout("0, 1, 2, 3\n");
    assert_eq!(bench.effects(), "e0 e1 e2 e3");
    assert_eq!(rows(&bench), "4");
}

/// Where the body writes in another way too, or may take another way the next time, a person decides.
#[test]
fn a_body_that_does_more_is_not_settled() {
    let mut database = marked();
    for body in [
        r#"db.transaction(|tx| did(tx, "a")); did(db, "b")"#,
        r#"did(db, "a"); db.transaction(|tx| did(tx, "b"))"#,
        r#"has(db, "a"); db.transaction(|tx| { did(tx, "a"); did(tx, "b") })"#,
        r#"db.transaction(|tx| did(tx, "a")); has(db, "a"); db.transaction(|tx| did(tx, "b"))"#,
        r#"db.transaction(|tx| { did(tx, "a"); did(tx, "b"); tx })"#,
        r#"db.transaction(|tx| { did(tx, "a"); did(tx, "b");
               tx.execute_returning("select pg_stat_reset()"); })"#,
        r#"db.transaction(|tx| { did(tx, "a"); did(tx, "b"); tx.execute("set local session_replication_role = replica"); 1 })"#,
        r#"db.transaction(|tx| { did(tx, "a"); did(tx, "b"); tx.execute("set local role pg_monitor"); 1 })"#,
        r#"try { db.transaction(|tx| { throw "no"; }) } catch { } db.transaction(|tx| { did(tx, "a"); did(tx, "b") })"#,
        r#"poll "x" with #{ deadline: "1s" } { !has(db, "z") } db.transaction(|tx| { did(tx, "a"); did(tx, "b") })"#,
    ] {
        database.sql("DROP TABLE IF EXISTS effects");
        let bench = Bench::on(database, &format!("step \"s\" {{ {body}; 1 }}"));
        bench.run_until("before:done:s");
        assert_eq!(bench.effects(), "a b", "{body}");
        let output = bench.resume(&[]).exit(75).stderr_has("error[step_unknown]: ");
        output.wants(output.events.iter().any(|event| event == "intent s"), body);
        bench.resume(&["--decide", "s=done", "--why", "I looked"]).exit(0);
        assert_eq!(bench.effects(), "a b", "{body}");
        bench.database.sql("DELETE FROM pgrun.applied");
        database = bench.database;
    }
}

/// What was undone begins anew: rows of the time before do not count.
#[test]
fn an_undone_transaction_runs_again() {
    let book = r#"step "s" { db.transaction(|tx| did(tx, "a")) } undo |v| { undid(db, "a"); }
                  confirm "go"; step "t" { did(db, "t") }"#;
    let bench = Bench::on(marked(), book);
    bench.pgrun.run().exit(75);
    let set = format!("db={}", bench.database.url());
    bench.pgrun.pgrun(&["undo", "r", "--to", "s", "--yes", "--set", &set]);
    assert_eq!(bench.effects(), "a -a");
    bench.resume_until("before:done:s");
    bench.resume(&["--yes"]).exit(0);
    assert_eq!(bench.effects(), "a -a a t");
}

/// A failure after the transaction is definite, and the next attempt does not repeat what is there.
#[test]
fn a_failure_after_the_transaction_does_not_repeat_it() {
    let book = r#"step "s" { db.transaction(|tx| did(tx, "a")); if !has(db, "ok") { throw "not yet"; } did(db, "b") }"#;
    let bench = Bench::on(marked(), book);
    bench.pgrun.run().exit(1).stderr_has("not yet");
    bench.database.sql("INSERT INTO effects VALUES ('ok')");
    bench.resume(&[]).exit(0);
    assert_eq!(bench.effects(), "a ok b");
}

/// A row as the first transaction of the step `s` would leave it, whichever record began the step.
fn leave_row(bench: &Bench, target: &str) {
    let journal = std::fs::read_to_string(bench.pgrun.journal()).unwrap();
    let first: serde_json::Value = serde_json::from_str(journal.lines().next().unwrap()).unwrap();
    let birth = &first["hash"].as_str().unwrap()[..16];
    bench.database.sql(&format!(
        "INSERT INTO pgrun.applied (target, run, step, value) SELECT {target}, 'r', 's [{birth}.' || n || '.1]', \
         '{{\"what\": \"another\", \"value\": \"1\"}}' FROM generate_series(1, 20) n"
    ));
}

/// A row that another piece of the script has left is no answer: a person decides.
#[test]
fn another_transaction_than_before_is_not_believed() {
    let bench = Bench::on(marked(), ONE);
    bench.run_until("after:marked:s");
    leave_row(&bench, "pgrun.target()");
    let output =
        bench.resume(&[]).exit(75).stderr_has("error[step_unknown]: transaction 1 of step `s` took effect on ");
    output.stderr_has("asks for another one").stderr_has("--decide 's=done:JSON|skip|undo' --why ..");
    assert_eq!(bench.effects(), "");
    let value = r#"s=done:{"n": 1, "x": 1.0, "t": ""}"#;
    bench.resume(&["--decide", value, "--why", "I looked"]).exit(0);
    assert_eq!(bench.effects(), "t");
}

/// A copy of BLUE's row is not GREEN's own.
#[test]
fn a_row_of_another_server_does_not_count() {
    let bench = Bench::on(marked(), ONE);
    bench.run_until("after:marked:s");
    leave_row(&bench, "'another server'");
    bench.resume(&[]).exit(0).stdout("2 1.0 2\n");
    assert_eq!(bench.effects(), "a b t");
}
