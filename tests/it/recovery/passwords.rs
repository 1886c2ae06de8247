//! A password that a parameter holds is written nowhere, and given again when the run is resumed.

use base64::Engine as _;
use std::path::Path;

use super::Bench;
use crate::pgrun::{Output, Pgrun};

const PASSWORD: &str = "Pa ss/w0rd'%\"é";

fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

/// All forms of a secret that would give it away.
fn forms(secret: &str) -> Vec<String> {
    let base64 = base64::engine::general_purpose::STANDARD_NO_PAD.encode(secret);
    let json = serde_json::Value::from(secret).to_string();
    vec![secret.into(), encoded(secret), base64, json.trim_matches('"').into(), secret.replace('\'', "''")]
}

#[track_caller]
fn never_in(output: &Output, home: &Path, secret: &str) {
    let mut texts = vec![("stdout".to_owned(), output.stdout.clone()), ("stderr".into(), output.stderr.clone())];
    let mut folders = vec![home.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => texts
                    .push((path.display().to_string(), String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into())),
            }
        }
    }
    for form in forms(secret) {
        for (place, text) in &texts {
            assert!(!text.contains(&form), "`{form}` stands in {place}");
        }
    }
}

/// Raw, URL-encoded, base64: in no output and in no file, whatever the script does with the parameter.
#[test]
fn a_password_is_written_nowhere() {
    let pgrun = Pgrun::of(
        r#"let p = params(#{ db: #{ type: "url", help: "where" }, n: #{ type: "int", help: "n" } });
           print(p.db); say(`${p.db} ${p}`); debug(p);
           try { step "leak" { p.db } } catch (e) { say(e.message); }
           try { step "leak too" { p } } catch (e) { say(e.message); }
           try { step "throw" { throw p } } catch (e) { say(e.message); }
           let db = pg::connect(p.db);
           step "connect" { db.value("select 1") }"#,
    );
    for (number, url) in [
        format!("postgres://u:{}@127.0.0.1:1/db", encoded(PASSWORD)),
        format!("postgresql://u@127.0.0.1:1/db?password={}&connect_timeout=1", encoded(PASSWORD)),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("r{number}");
        let set = format!("db={url}");
        let output = pgrun.pgrun(&["main.rhai", "--run-id", &id, "--set", &set, "--set", "n=1"]).exit(1);
        let output = output.stderr_has("error[pg_connect]: ").last_line(&format!("pgrun resume {id} --set db=.."));
        never_in(&output, &pgrun.home(), PASSWORD);
        let shown = pgrun.pgrun(&["show", &id, "--json"]).exit(0);
        never_in(&shown, &pgrun.home(), PASSWORD);
        let wrong = pgrun.pgrun(&["main.rhai", "--set", &set, "--set", "n=many"]).exit(2);
        never_in(&wrong, &pgrun.home(), PASSWORD);
    }
}

/// What was not kept is asked for again, by the command that continues; nothing else may be given anew.
#[test]
fn a_password_is_given_again() {
    let bench = Bench::new(r#"confirm "go"; step "s" { did(db, "s") }"#);
    bench.pgrun.run().exit(75).last_line("pgrun resume r --answer go=yes --set db=..");
    let before = bench.pgrun.events();
    let output = bench.pgrun.pgrun(&["resume", "r", "--answer", "go=yes"]).exit(2);
    let output =
        output.stderr_has("error[param_missing]: the parameter `db` held a password, which the journal does not keep");
    output.stderr_has("hint: pgrun resume r --set db=..");
    bench
        .resume(&["--set", "other=1"])
        .exit(3)
        .stderr_has("a resumed run keeps its parameters, and `other` held no password");
    assert_eq!(bench.pgrun.events(), before, "a refused command changes nothing");
    bench.resume(&["--answer", "go=yes"]).exit(0);
    assert_eq!(bench.effects(), "s");
}

/// A default does not take the place of what was given.
#[test]
fn a_default_does_not_replace_a_password() {
    let pgrun = Pgrun::of(
        r#"let p = params(#{ db: #{ type: "url", help: "where", otherwise: "postgres://u@elsewhere/db" } }); confirm "go"; say(type_of(p.db));"#,
    );
    pgrun.pgrun(&["main.rhai", "--run-id", "r", "--set", "db=postgres://u:s3cret-x@here/db"]).exit(75);
    pgrun.pgrun(&["resume", "r", "--answer", "go=yes"]).exit(2).stderr_has("error[param_missing]: ");
    pgrun.pgrun(&["main.rhai", "--run-id", "plain"]).exit(75).last_line("pgrun resume plain --answer go=yes");
    pgrun.pgrun(&["resume", "plain", "--answer", "go=yes"]).exit(0);
}

/// Passwords inside parameters of other types are kept out too.
#[test]
fn passwords_in_other_parameters_are_found() {
    let pgrun = Pgrun::of(
        r#"let p = params(#{ target: #{ type: "map", help: "where" }, urls: #{ type: "list", help: "more" }, t: #{ type: "text", help: "t" } });
           confirm "go"; say(p.target.host); say(p.urls.len());"#,
    );
    let sets = [
        "--set",
        r#"target={"host":"h","password":"plainsecret-1"}"#,
        "--set",
        "urls=postgres://u:inlist-2@h/db",
        "--set",
        "urls=postgres://u@h/db",
        "--set",
        "t=see postgres://u:intext-3@h/db",
    ];
    let output = pgrun.pgrun(&[&["main.rhai", "--run-id", "r"], sets.as_slice()].concat()).exit(75);
    for secret in ["plainsecret-1", "inlist-2", "intext-3"] {
        never_in(&output, &pgrun.home(), secret);
    }
    output.last_line("pgrun resume r --answer go=yes --set t=.. --set target=.. --set urls=..");
    pgrun.pgrun(&[&["resume", "r", "--yes"], sets.as_slice()].concat()).exit(0).stdout("h\n2\n");
}

/// A password that looks like a name does not turn the name into stars when the run is resumed.
#[test]
fn a_password_like_a_name_spoils_no_value() {
    let pgrun = Pgrun::of(
        r#"let p = params(#{ db: #{ type: "url", help: "where" }, user: #{ type: "text", help: "who" } });
           let v = step "drop postgres" with #{ key: "postgres" } { say("runs"); #{ owner: "postgres", text: ["postgres"] } };
           confirm `Drop ${p.user}?` with #{ gate: "drop postgres", type_name: p.user };
           say(v.owner == p.user); say(v.owner.len());"#,
    );
    let sets = ["--set", "db=postgres://postgres:postgres@h/postgres", "--set", "user=postgres"];
    pgrun.pgrun(&[&["main.rhai", "--run-id", "r"], sets.as_slice()].concat()).exit(75);
    let output = pgrun.pgrun(&[
        "resume",
        "r",
        "--set",
        "db=postgres://postgres:postgres@h/postgres",
        "--answer",
        "drop postgres=postgres",
    ]);
    output.exit(0).stdout("true\n8\n");
}

/// The name of a step stands in the journal: it holds no secret.
#[test]
fn a_secret_is_no_name() {
    let pgrun = Pgrun::of(
        r#"let p = params(#{ db: #{ type: "url", help: "where" }, t: #{ type: "text", help: "t" } });
           step `close ${p.t}` { 1 }"#,
    );
    // The same text once as a secret and once as a plain parameter.
    let sets = ["--set", "db=postgres://u:S3cret-word@h/db", "--set", "t=S3cret-word"];
    let output = pgrun.pgrun(&[&["main.rhai", "--run-id", "r"], sets.as_slice()].concat()).exit(1);
    let output = output.stderr_has("error[secret_guard]: the name of a step, phase or gate contains a secret");
    never_in(&output, &pgrun.home(), "S3cret-word");
}
