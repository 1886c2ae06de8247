//! Parameters: declared, given, defaulted, refused; and the help that comes from them.

use super::USAGE;
use crate::pgrun::{Output, Pgrun};

const BOOK: &str = r#"//! Copies a thing from here to there.
//! It takes a while.
//!
//! | here | there |

let p = params(#{
    from:  #{ type: "rds-instance", help: "where from" },
    count: #{ type: "int",          help: "how many", otherwise: 3 },
    ratio: #{ type: "number",       help: "how much", otherwise: 0.5 },
    roles: #{ type: "list",         help: "who", otherwise: [] },
    extra: #{ type: "map",          help: "what else", otherwise: #{} },
    wait:  #{ type: "duration",     help: "how long", otherwise: "10s" },
    room:  #{ type: "size",         help: "how big", otherwise: "1 GB" },
    to:    #{ type: "version",      help: "which", otherwise: "17.4" },
    at:    #{ type: "lsn",          help: "from where on", otherwise: "0/0" },
    force: #{ type: "bool",         help: "really", otherwise: false },
    note:  #{ type: "text",         help: "why", otherwise: "" },
    list:  #{ type: "file",         help: "a file", otherwise: "main.rhai" },
    key:   #{ type: "secret",       help: "a secret's name", otherwise: "prod/app" },
});
say(p.to_json());
"#;

#[track_caller]
fn with(sets: &[&str]) -> Output {
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    Pgrun::of(BOOK).pgrun(&[&["main.rhai"], sets.as_slice()].concat())
}

#[test]
fn the_help_of_a_runbook_comes_from_its_parameters() {
    for flag in ["--help", "-h"] {
        let output = Pgrun::of(BOOK).pgrun(&["main.rhai", flag]).exit(0).stderr_lacks(" ");
        let output = output.stdout_has("Copies a thing from here to there. It takes a while.\n\nParameters");
        let output = output.stdout_has("  from   where from (rds-instance; required, for example orders-blue)\n");
        output
            .stdout_has("  wait   how long (duration; otherwise 10s)\n")
            .stdout_has("(list; otherwise [])\n")
            .stdout_has("(text; otherwise empty)");
    }
    Pgrun::of("say(1);").pgrun(&["main.rhai", "--help"]).exit(0).stdout_has("It has no parameters.");
    // A runbook with a mistake has no help, but an error.
    Pgrun::of("let p = params(1);")
        .pgrun(&["main.rhai", "--help"])
        .exit(USAGE)
        .stdout("")
        .stderr_has("takes a literal map");
}

#[test]
fn values_reach_the_script_typed() {
    let output = with(&["from=Orders-Blue", "count=5", "roles=a", "roles=b", "extra={\"x\":1}", "force=yes", "at=A/B"]);
    let json = output.exit(0).json();
    assert_eq!(json["from"], "orders-blue");
    assert_eq!((&json["count"], &json["force"]), (&5.into(), &true.into()));
    assert_eq!((&json["roles"], &json["extra"]["x"]), (&serde_json::json!(["a", "b"]), &1.into()));
    assert_eq!((&json["at"]["$lsn"], &json["ratio"]), (&"A/B".into(), &0.5.into()));
    let json = with(&["from=x", "roles=[\"a\", \"b,c\"]", "ratio=2", "note=a=b=c"]).exit(0).json();
    assert_eq!((&json["roles"], &json["note"]), (&serde_json::json!(["a", "b,c"]), &"a=b=c".into()));
    assert_eq!(json["ratio"]["$float"], "2");
}

#[test]
fn what_is_wrong_is_named_with_what_is_wanted() {
    let missing = with(&[]).exit(USAGE).stdout("");
    missing
        .stderr_has("error[param_missing]: the parameter `from` is missing: where from")
        .stderr_has("hint: --set from=");
    let unknown = with(&["from=x", "coun=5"]).exit(USAGE);
    unknown.stderr_has("error[param_unknown]: the runbook has no parameter `coun`").stderr_has("hint: meant `count`?");
    for (set, wanted) in [
        ("count=many", "the parameter `count` is \"many\", wanted an int such as 42"),
        ("count=1.5", "wanted an int"),
        ("ratio=x", "wanted a number such as 0.5"),
        ("extra=[1]", "wanted a map such as {\"a\":1}"),
        ("wait=10", "wanted a duration such as 90s"),
        ("room=big", "wanted a size such as 20GB"),
        ("to=seventeen", "wanted a version such as 17.4"),
        ("at=5", "wanted an lsn such as 0/16B3748"),
        ("force=maybe", "wanted a bool such as true"),
        ("list=gone.toml", "wanted a file such as apps.toml"),
        ("key= ", "wanted a secret such as prod/orders/app"),
        ("from=-x", "wanted an rds-instance such as orders-blue"),
        ("from=a--b", "wanted an rds-instance"),
        ("from=1a", "wanted an rds-instance"),
    ] {
        let sets = if set.starts_with("from") { vec![set] } else { vec!["from=x", set] };
        with(&sets).exit(USAGE).stdout("").stderr_has("error[param_type]: ").stderr_has(wanted);
    }
    // Twice where one is wanted is a list.
    with(&["from=x", "count=1", "count=2"])
        .exit(USAGE)
        .stderr_has("the parameter `count` is [\"1\",\"2\"], wanted an int");
}

#[test]
fn a_file_of_parameters() {
    let pgrun = Pgrun::of(BOOK)
        .file("p.toml", "from = \"a\"\ncount = 7\nroles = [\"r\"]\n")
        .file("p.json", "{\"from\": \"b\", \"count\": 8}");
    assert_eq!(pgrun.pgrun(&["main.rhai", "--params", "p.toml"]).exit(0).json()["count"], 7);
    let both = pgrun.pgrun(&["main.rhai", "--params", "p.json", "--set", "count=9"]).exit(0).json();
    assert_eq!((&both["from"], &both["count"]), (&"b".into(), &9.into()));
    let gone = pgrun.pgrun(&["main.rhai", "--params", "gone.toml"]).exit(USAGE);
    gone.stderr_has("error[no_such_file]: the parameter file `gone.toml` cannot be read");
    pgrun.write("p.json", "[1]");
    pgrun.pgrun(&["main.rhai", "--params", "p.json"]).exit(USAGE).stderr_has("`p.json` holds no map of parameters");
    pgrun.write("p.json", "{");
    pgrun.pgrun(&["main.rhai", "--params", "p.json"]).exit(USAGE).stderr_has("`p.json` cannot be read: ");
    pgrun.write("p.toml", "from = \"a\"\nnope = 1\n");
    pgrun.pgrun(&["main.rhai", "--params", "p.toml"]).exit(USAGE).stderr_has("no parameter `nope`");
}

/// Nothing exists after a command that was wrong.
#[test]
fn a_wrong_command_begins_no_run() {
    let pgrun = Pgrun::of(BOOK);
    pgrun.run().exit(USAGE);
    pgrun.pgrun(&["runs", "--json"]).exit(0).stdout("{\n  \"schema\": 1,\n  \"runs\": []\n}\n");
}
