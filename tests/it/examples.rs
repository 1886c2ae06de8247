//! Every example of every script function runs, and what it shows as its result is its result.

use pgrun::api::{Effect, Function, MODULES, Module};

use crate::pgrun::{Database, Pgrun};

/// A function with its example cut in two: what runs, and what it gives.
struct Example {
    name: String,
    effect: Effect,
    code: &'static str,
    gives: Option<&'static str>,
}

fn examples(picks: impl Fn(&Module, &Function) -> bool) -> Vec<Example> {
    let mut all = vec![];
    for module in MODULES {
        for function in module.functions.iter().chain(module.methods).filter(|function| picks(module, function)) {
            let (code, gives) = match function.example.rsplit_once(" // => ") {
                Some((code, gives)) => (code, Some(gives)),
                None => (function.example, None),
            };
            let name = format!("{} {}", module.name, function.name);
            all.push(Example { name: name.trim().to_owned(), effect: function.effect, code, gives });
        }
    }
    all
}

/// Works in rehearsals only: the rehearsals of the runbooks use each of them.
fn is_stage(module: &Module, function: &Function) -> bool {
    matches!(module.name, "lab" | "load")
        || matches!(function.name, "run" | "run_and_undo" | "go_on" | "report" | "load_schema" | "fill")
}

impl Example {
    /// The example as a function: it sees nothing of the script but a session.
    fn function(&self) -> String {
        // A `catch` has no value of its own in Rhai: as the last words of a function it is returned.
        let code = self.code.replacen("catch (e) { ", "catch (e) { return ", 1);
        format!("fn {}(db) {{ {code} }}", self.called())
    }

    /// Its call, which fails unless it gives what the example says.
    fn call(&self) -> String {
        let called = self.called();
        match self.gives {
            Some(gives) => format!("let got = {called}(db); require([got] == [{gives}], `it gives ${{got}}`);"),
            None => format!("{called}(db);"),
        }
    }

    fn called(&self) -> String {
        format!("example_{}", self.name.replace(' ', "_"))
    }

    /// Both, the call in a step.
    fn step(&self) -> String {
        format!("{}\nstep {:?} {{ {} true }}\n", self.function(), self.name, self.call())
    }
}

/// What computes runs anywhere; `params` stands at the top of a runbook.
#[test]
fn examples_that_compute() {
    let all = examples(|module, function| function.effect == Effect::Pure && !is_stage(module, function));
    assert!(all.len() >= 10, "the tables were not found");
    for example in all {
        // `params` stands at the top of a runbook, the others may too.
        let text = match example.gives {
            Some(_) => format!("let db = ();\n{}\n{}", example.function(), example.call()),
            None => example.code.to_owned(),
        };
        let output = Pgrun::of(&text).run();
        output.wants(output.code == 0, &format!("the example of `{}` fails: {text}", example.name));
    }
}

/// What looks at or changes a database runs on one, each example in a step of its own, in the order of the tables.
#[test]
fn examples_on_a_database() {
    let database = Database::alone();
    let mut text =
        "let p = params(#{ db: #{ type: \"url\", help: \"where\" } });\nlet db = pg::connect(p.db);\n".to_owned();
    // It asks AWS.
    let elsewhere = |name: &str| name == "pg try_login";
    let all = examples(|module, function| {
        matches!(module.name, "" | "pg" | "pgbouncer") && function.effect != Effect::Pure && !is_stage(module, function)
    });
    assert!(all.len() > 30, "the tables were not found");
    for example in all.iter().filter(|example| !elsewhere(&example.name)) {
        assert_ne!(example.effect, Effect::Pure);
        text.push_str(&example.step());
    }
    let pgrun = Pgrun::of(&text).arg("--set").arg(&format!("db={}", database.url()));
    pgrun.run().exit(0);
}

/// What needs AWS or a stage runs in a rehearsal of its own, against the lab, in the order of the tables.
#[test]
fn examples_in_a_rehearsal() {
    let runbook = "let p = params(#{ blue: #{ type: \"rds-instance\", help: \"which\" } });
        confirm \"Go?\" with #{ gate: \"cutover\", type_name: p.blue };";
    let mut text = "let versions = lab::versions();
        step \"make blue\" { lab::instance(#{ id: \"blue\", version: versions.from, database: \"shop\", secret: \"lab/blue\" }) }
        let db = pg::connect(#{ instance: \"blue\", secret: \"lab/blue\", database: \"shop\" });
        step \"make app\" { db.batch(\"create role app\"); }\n"
        .to_owned();
    let all = examples(|module, function| matches!(module.name, "rds" | "secrets") || is_stage(module, function));
    assert!(all.len() > 25, "the tables were not found");
    // A cluster takes long to make: the rehearsal of bluegreen-aurora makes one.
    for example in all.iter().filter(|example| example.name != "lab cluster") {
        // Whatever is installed here.
        text.push_str(&example.step().replace("version: \"15\"", "version: lab::versions().from"));
    }
    let cache = pgrun::base::config::Config::from_env().unwrap().cache;
    let pgrun = Pgrun::of(runbook).file("rehearsals/main.rhai", &text).env("PGRUN_CACHE", cache.to_str().unwrap());
    pgrun.pgrun(&["rehearse", "main.rhai"]).exit(0);
}
