//! Definitions that come apart stop a run until they are equal again, whenever it is taken up.

use crate::pgrun::{Database, Pgrun};

/// What has changed while the run waited is named with who did it, at the gate and in a step. A step that failed over
/// it looks again: a recorded answer would stop the run for ever.
#[test]
fn a_drift_is_named_and_can_be_mended() {
    // Roles are compared too, and on a shared server other tests make some meanwhile.
    let (blue, green) = (Database::alone(), Database::alone());
    for database in [&blue, &green] {
        database.sql("CREATE TABLE t (id int PRIMARY KEY)");
    }
    let book = r#"
        import "std/replication" as replication;
        let p = params(#{ blue: #{ type: "url", help: "one" }, green: #{ type: "url", help: "other" } });
        let blue = pg::connect(p.blue);
        let green = pg::connect(p.green);
        let streams = [#{ database: "shop", from: blue, to: green, slot: "s", subscription: "s",
                          reverse_slot: "r", reverse_subscription: "r" }];
        step "own" with #{ retry: "safe" } { pg::install_own(blue) }
        step "note" { pg::note_catalogs([blue]) }
        step "watch" with #{ retry: "safe" } { replication::watch_ddl([blue], "BLUE") }
        step "compare" { replication::require_no_drift(streams, "BLUE", "GREEN", #{}) }
        confirm "move?" with #{ gate: "g" } check { replication::require_no_drift(streams, "BLUE", "GREEN", #{}) };
        step "tell" { replication::tell_changes([blue]) }
        say("equal");
    "#;
    let sides = [format!("blue={}", blue.url()), format!("green={}", green.url())];
    let set = ["--set", &sides[0], "--set", &sides[1]];
    let pgrun = set.iter().fold(Pgrun::of(book), |pgrun, argument| pgrun.arg(argument));
    let resume = |more: &[&str]| pgrun.pgrun(&[&["resume", "r"], &set[..], more].concat());
    green.sql("CREATE TABLE by_hand (i int)");
    pgrun.run().exit(1).stderr_has("table public.by_hand is on GREEN only");
    green.sql("DROP TABLE by_hand");
    resume(&[]).stderr_has("the gate `g` waits for a person");
    blue.sql("ALTER TABLE t ADD v text");
    let answer = ["--answer", "g=yes"];
    let output =
        resume(&answer).exit(1).stderr_has("the catalogs differ in 1 objects").stderr_has("table public.t differs");
    output.stderr_has("ALTER TABLE by ").stderr_has("ALTER SUBSCRIPTION s REFRESH PUBLICATION");
    green.sql("ALTER TABLE t ADD v text");
    resume(&answer).exit(0).stdout_has("BLUE has changed since the slots were made").stdout_has("equal");
}
