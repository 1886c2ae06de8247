//! How a runbook reads: the shapes that the language was made for load and run.

use crate::pgrun::Pgrun;

/// A step with all its clauses, a poll, a phase, branches, gates: the words as they are meant to be used.
const WORDS: &str = r#"//! Shows each word once.
let p = params(#{
    blue:     #{ type: "rds-instance", help: "the instance", otherwise: "orders-blue" },
    snapshot: #{ type: "text",         help: "its snapshot", otherwise: "before" },
    roles:    #{ type: "list",         help: "login roles", otherwise: ["app", "report"] },
    deadline: #{ type: "duration",     help: "past it everything goes back", otherwise: "20s" },
});
let world = look_around();

let snapshot = step "take the snapshot"
    with #{ deadline: "2h", key: p.blue }
    check  { snapshot_state(world, p.snapshot) }
    { #{ id: p.snapshot, status: "available" } }
    verify { true }
    undo |s| { say(`delete ${s.id}`); };

phase "window" with #{ deadline: p.deadline, on_failure: "undo", undo_deadline: "30s", never_ask: true } {
    for role in p.roles { step "fence" with #{ key: role } { role } undo { say(`let ${role} in`); } }
}
confirm "Cut over? Applications lose BLUE now." with #{ gate: "cutover", type_name: p.blue, shows: snapshot };
pause "Look at the lag before going on." with #{ gate: "lag" };
let lag = poll "GREEN catches up" with #{ every: "10ms", deadline: "10m" } { "0 bytes" };
let both = parallel { step "analyze BLUE" { 1 } } also { step "analyze GREEN" { 2 } };
phase "report" {
    let seen = step "measure" { #{ median_ms: 230, lost: 0 } };
    table([#{ what: "lag", value: lag }, #{ what: "branches", value: both.len() }]);
    say(`Outage ${seen.median_ms} ms, lost ${seen.lost}.`);
}

fn look_around() { #{ snapshots: [] } }
fn snapshot_state(world, id) { if id in world.snapshots { "done" } else { "absent" } }
"#;

#[test]
fn every_word_reads_as_it_is_meant() {
    let pgrun = Pgrun::of(WORDS).arg("--answer").arg("cutover=orders-blue").arg("--yes");
    pgrun.check().exit(0).stdout("1 runbook: no mistakes found\n");
    let output = pgrun.run().exit(0);
    output.stdout_has("Outage 230 ms, lost 0.\n").stdout_has("lag").journal_ends(&["left report", "finished"]);
    pgrun
        .pgrun(&["main.rhai", "--help"])
        .exit(0)
        .stdout_has("Shows each word once.")
        .stdout_has("the instance (rds-instance");
}

/// A cutover as a team would write it: the procedures in modules, every step of it in the runbook.
const CUTOVER: &str = r#"//! Moves the applications from BLUE to GREEN.
import "lib/fence" as fence;
import "lib/stream" as stream;

let p = params(#{
    blue:     #{ type: "url",      help: "where the applications are", otherwise: "postgres://u@127.0.0.1:1/db" },
    green:    #{ type: "url",      help: "where they go", otherwise: "postgres://u@127.0.0.1:2/db" },
    roles:    #{ type: "list",     help: "who is fenced", otherwise: ["app"] },
    deadline: #{ type: "duration", help: "past it BLUE opens again", otherwise: "10s" },
});
let blue  = pg::connect(p.blue);
let green = pg::connect(p.green);

phase "cutover" {
    let logins = step "try every application's password on GREEN" { fence::try_logins(p.roles) };
    let way_back = step "prepare the way back"
        check { stream::way_back_state(blue, green) }
        { stream::prepare_way_back("blue_back") }
        undo |w| { stream::drop_way_back(w); };

    confirm `Cut over? ${logins.len()} applications lose BLUE for less than a second.` with #{ gate: "cutover" };

    phase "window" with #{ deadline: p.deadline, on_failure: "undo", undo_deadline: "30s", never_ask: true } {
        let could_log_in = step "remember who may log in" { fence::login_state(p.roles) };
        step "close BLUE"
            { fence::close(could_log_in) }
            undo { fence::reopen(could_log_in); };
        let last = step "find BLUE's last write" { lsn("0/16B3748") };
        step "wait until GREEN has it" { stream::drain(last) }
        step "turn replication round" { stream::turn(way_back, last) }
        step "decide for GREEN" { fence::decide(STOP) }
    }
    step "open GREEN" with #{ retry: "safe" } { fence::open(p.roles) }
}
phase "prove" {
    say(`GREEN is open for ${p.roles.len()} roles.`);
}
"#;

const FENCE: &str = r#"//! Who may log in where.
fn try_logins(roles) { roles }
fn login_state(roles) { roles.map(|role| #{ role: role, can_login: true }) }
fn close(logins) { #{ closed: logins.len() } }
fn reopen(logins) { for login in logins { say(`${login.role} may log in on BLUE again`); } }
fn decide(stop) { require(!stop, "GREEN does not answer", "look at GREEN, then resume"); "green" }
fn open(roles) { roles.len() }
"#;

const STREAM: &str = r#"//! The stream between the two, and its way back.
fn way_back_state(blue, green) { "absent" }
fn prepare_way_back(name) { #{ slot: name, at: lsn("0/1") } }
fn drop_way_back(way) { say(`dropped ${way.slot}`); }
fn drain(last) { require(last > lsn("0/1"), "nothing was written"); last }
fn turn(way, last) { #{ slot: way.slot, from: last + 1 } }
"#;

fn cutover(stops: bool) -> Pgrun {
    let text = CUTOVER.replace("STOP", if stops { "true" } else { "false" });
    let place = Pgrun::of(&text).file("lib/fence.rhai", FENCE).file("lib/stream.rhai", STREAM);
    place.arg("--answer").arg("cutover=yes")
}

#[test]
fn a_cutover_reads_from_top_to_bottom() {
    let pgrun = cutover(false);
    pgrun.check().exit(0).stdout("1 runbook: no mistakes found\n");
    let output = pgrun.run().exit(0).stdout("GREEN is open for 1 roles.\n");
    output.journal_ends(&["left cutover", "entered prove", "left prove", "finished"]);
}

/// Before its decision the window goes back as a whole, and no further: the way back stays prepared.
#[test]
fn a_cutover_that_fails_opens_blue_again() {
    let pgrun = cutover(true);
    let output = pgrun.run().exit(1).stdout("app may log in on BLUE again\n");
    let output =
        output.stderr_has("error[require_failed]: GREEN does not answer").stderr_has("called at main.rhai:31:");
    output.stderr_has("hint: look at GREEN, then resume").last_line("pgrun resume r");
}

/// The table at the head of each runbook leads whoever knows the way by hand: what it names is there.
#[test]
fn the_steps_by_hand_are_found_in_the_runbooks() {
    let text =
        |path: &str| std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/").to_owned() + path).unwrap();
    for book in ["runbooks/bluegreen.rhai", "runbooks/bluegreen-aurora.rhai"].map(text) {
        let all = [&book, &text("stdlib/upgrade.rhai"), &text("stdlib/cutover.rhai")]
            .map(|text| text.replace("${o.to_name}", "GREEN"))
            .concat();
        let rows: Vec<&str> = book.lines().filter(|line| line.starts_with("//! | ")).skip(1).collect();
        assert_eq!(rows.len(), 13);
        for row in rows {
            let here = row.split('|').nth(2).unwrap();
            let names: Vec<&str> = here.split('`').skip(1).step_by(2).collect();
            assert!(!names.is_empty(), "{row}");
            for name in names {
                let is_there = name.contains('.') && !text(&format!("runbooks/{name}")).is_empty();
                let is_word = ["step", "phase"].iter().any(|word| {
                    all.contains(&format!("{word} \"{name}\"")) || all.contains(&format!("{word} `{name}`"))
                });
                assert!(is_there || is_word, "`{name}` of {row}");
            }
        }
    }
}
