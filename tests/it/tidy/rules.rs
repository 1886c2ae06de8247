//! The rules of the house: each with what breaks it and what keeps it.

use super::{
    imports,
    source::{Kind, Source},
};

type Found = Vec<(usize, String)>;

/// One rule.
pub(super) struct Rule {
    pub(super) name: &'static str,
    pub(super) check: fn(&Source) -> Found,
    /// Files that break it.
    pub(super) broken_by: &'static [(&'static str, &'static str)],
    /// Files that look like it and keep it.
    pub(super) kept_by: &'static [(&'static str, &'static str)],
}

/// The floors: a folder and the folders below it that it may know besides itself.
const FLOORS: [(&str, &[&str]); 9] = [
    ("base", &[]),
    ("pg", &["base"]),
    ("aws", &["base"]),
    ("journal", &["base"]),
    ("load", &["base"]),
    ("lab", &["base"]),
    ("api", &["base", "pg", "aws", "journal", "load"]),
    ("engine", &["base", "pg", "aws", "journal", "load", "api"]),
    ("cli", &["base", "pg", "aws", "journal", "load", "api", "engine", "lab", "manual"]),
];

const MOST_LINES: usize = 450;
const MOST_COLUMNS: usize = 120;

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "a file imports its own folder and lower floors",
        check: floors,
        broken_by: &[
            ("src/pg/x.rs", "//! x\nuse crate::{base::Code, journal::Run};"),
            ("src/engine/x.rs", "//! x\nfn f() { crate::cli::run(vec![]); }"),
            ("src/api/stage/lab.rs", "//! x\nuse crate::lab::Stage;"),
            ("src/lab/x.rs", "//! x\nuse crate::aws::Aws;"),
            ("src/base/x.rs", "//! x\nuse super::super::pg;"),
        ],
        kept_by: &[
            ("src/api/x.rs", "//! x\nuse crate::{base::Code, fail, journal::Run, pg, api::Host}; // crate::cli"),
            ("src/cli/x.rs", "//! x\nuse crate::{lab::Stage, engine};"),
        ],
    },
    Rule {
        name: "only api/ and engine/ know Rhai",
        check: |source| match path_is(source, &["src/api/", "src/engine/", "tests/"]) {
            true => vec![],
            false => source.code_lines(|line| line.contains("rhai::") || has_word(line, "use rhai")),
        },
        broken_by: &[("src/cli/x.rs", "//! x\nuse rhai::Engine;"), ("src/pg/x.rs", "//! x\nfn f(d: rhai::Dynamic) {}")],
        kept_by: &[
            ("src/cli/x.rs", "//! x\nconst A: &str = \"rhai::x\"; // use rhai"),
            ("src/api/x.rs", "use rhai::Map;"),
        ],
    },
    Rule {
        name: "only the bridge and the diagnostics know Rhai's errors",
        check: |source| match path_is(source, &["src/api/bridge.rs", "src/engine/diagnostic.rs", "tests/"]) {
            true => vec![],
            false => source.code_lines(|line| line.contains("EvalAltResult")),
        },
        broken_by: &[("src/api/words/x.rs", "//! x\nuse rhai::EvalAltResult;")],
        kept_by: &[("src/api/bridge.rs", "//! x\nuse rhai::EvalAltResult;")],
    },
    Rule {
        name: "only cli/ prints",
        check: |source| match path_is(source, &["src/cli/", "tests/"]) {
            true => vec![],
            false => source.code_lines(|line| {
                let prints = ["print!(", "println!(", "io::stdout", "io::stderr", "anstream::std"];
                prints.iter().any(|word| line.contains(word))
            }),
        },
        broken_by: &[
            ("src/pg/x.rs", "//! x\nfn f() { eprintln!(\"x\"); }"),
            ("src/lab/x.rs", "//! x\nuse std::io::stdout;"),
        ],
        kept_by: &[("src/cli/x.rs", "//! x\nfn f() { println!(\"x\"); }"), ("src/pg/x.rs", "//! println!()")],
    },
    Rule {
        name: "nothing ends the process but main's return, and crash points",
        check: |source| match path_is(source, &["src/journal/crash.rs", "tests/"]) {
            true => vec![],
            false => source.code_lines(|line| line.contains("process::exit") || line.contains("process::abort")),
        },
        broken_by: &[("src/cli/x.rs", "//! x\nfn f() { std::process::exit(1); }")],
        kept_by: &[("src/pg/x.rs", "//! x\nfn f(t: JoinHandle<()>) { t.abort(); }")],
    },
    Rule {
        name: "only base/clock.rs reads the time and sleeps",
        check: |source| match path_is(source, &["src/base/clock.rs", "tests/"]) {
            true => vec![],
            false => source.code_lines(|line| {
                let clocks =
                    ["Instant::now", "SystemTime::now", "Timestamp::now", "Zoned::now", "thread::sleep", "time::sleep"];
                clocks.iter().any(|word| line.contains(word)) || line.contains("tokio::time::")
            }),
        },
        broken_by: &[
            ("src/pg/x.rs", "//! x\nfn f() { let t = std::time::Instant::now(); }"),
            ("src/lab/x.rs", "//! x\nasync fn f() { tokio::time::sleep(d).await; }"),
        ],
        kept_by: &[(
            "src/pg/x.rs",
            "//! x\nfn f() { clock::sleep(d); }\n#[cfg(test)]\nmod tests { fn g() { Instant::now(); } }",
        )],
    },
    Rule {
        name: "a file begins by saying what lives in it",
        check: |source| match source.text.starts_with("//! ") {
            true => vec![],
            false => vec![(1, source.text.lines().next().unwrap_or_default().to_owned())],
        },
        broken_by: &[("src/x.rs", "use std::io;\n"), ("src/x.rs", "")],
        kept_by: &[("src/x.rs", "//! Everything about x.\n")],
    },
    Rule {
        name: "files and lines are short",
        check: |source| {
            let lines = source.text.lines().count();
            // A text in quotes is as long as it is.
            let behind = (1..).zip(source.kinds_behind(MOST_COLUMNS));
            let long = behind.filter(|(_, kind)| kind.is_some_and(|kind| kind != Kind::Text));
            let mut found: Found =
                long.map(|(number, kind)| (number, format!("{kind:?} behind column {MOST_COLUMNS}"))).collect();
            if lines > MOST_LINES {
                found.push((lines, format!("{lines} lines")));
            }
            found
        },
        broken_by: &[(
            "src/x.rs",
            "//! xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\
             xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        )],
        kept_by: &[("src/x.rs", "//! éééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééé\n")],
    },
    Rule {
        name: "nothing is left for later",
        check: |source| {
            let words = [
                concat!("TO", "DO"),
                concat!("FIX", "ME"),
                concat!("X", "XX"),
                concat!("HA", "CK"),
                concat!("to", "do!("),
                concat!("unimpl", "emented!("),
                concat!("db", "g!("),
            ];
            source.lines(|line| words.iter().any(|word| has_word(line, word)))
        },
        broken_by: &[
            ("src/x.rs", concat!("//! x\n// TO", "DO: y")),
            ("src/x.rs", concat!("fn f() { to", "do!() }")),
            ("src/x.rs", concat!("let a = db", "g!(b);")),
        ],
        kept_by: &[("src/x.rs", concat!("// METO", "DO\nlet a = \"later\";"))],
    },
    Rule {
        name: "no banners",
        check: |source| {
            let is_banner = |line: &str| {
                let text = line.trim().trim_start_matches('/').trim();
                line.trim().starts_with("//") && text.len() >= 4 && text.chars().all(|c| "-=*#~_+".contains(c))
            };
            source.lines(is_banner)
        },
        broken_by: &[("src/x.rs", "// ---------\n// Part two\n"), ("src/x.rs", "//=====")],
        kept_by: &[("src/x.rs", "//! | a | b |\n//! | --- | --- |\n// -1 is none\n")],
    },
    Rule {
        name: "no code that was commented out",
        check: |source| {
            let is_code = |line: &str| {
                let Some(text) = line.trim().strip_prefix("// ") else { return false };
                let ends = text.ends_with(';') || text.ends_with('{') || text.trim() == "}";
                ends && !text.contains('`')
            };
            source.lines(is_code)
        },
        broken_by: &[("src/x.rs", "// let a = b(c);"), ("src/x.rs", "    // if a {\n    // }")],
        kept_by: &[("src/x.rs", "//! let a = b;\n/// let c = d;\n// As `let a = b;` does.\n// It ends here.")],
    },
    Rule {
        name: "nothing of the place where it was written",
        check: |source| {
            let names = [concat!("/wo", "rk/"), concat!("/.lib", "rary"), concat!("artif", "actory")];
            source.lines(|line| names.iter().any(|name| line.contains(name)))
        },
        broken_by: &[("src/x.rs", concat!("const A: &str = \"/wo", "rk/x\";"))],
        kept_by: &[("src/x.rs", "const A: &str = \"/worker/x\";")],
    },
];

fn floors(source: &Source) -> Found {
    let Some(inner) = source.path.strip_prefix("src/") else { return vec![] };
    let Some((folder, rest)) = inner.split_once('/') else { return vec![] };
    let Some((_, lower)) = FLOORS.iter().find(|(name, _)| *name == folder) else {
        return vec![(1, format!("`{folder}` stands on no floor"))];
    };
    let is_folder = |name: &str| FLOORS.iter().any(|(known, _)| *known == name);
    let named = imports::of(source).into_iter();
    let wrong = named.filter(|(_, name)| is_folder(name) && name != folder && !lower.contains(&name.as_str()));
    let mut found: Found = wrong.map(|(line, name)| (line, format!("`{name}` from `{folder}`"))).collect();
    // `super` out of the folder.
    let depth = rest.matches('/').count() + usize::from(!rest.ends_with("mod.rs"));
    let way_out = "super::".repeat(depth + 1);
    found.extend(source.code_lines(|line| line.contains(&way_out) && !source.path.ends_with("tests.rs")));
    found
}

fn path_is(source: &Source, begins: &[&str]) -> bool {
    begins.iter().any(|begin| source.path.starts_with(begin))
}

/// A word with no letter around it.
fn has_word(line: &str, word: &str) -> bool {
    let is_letter = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| {
        let after = line[at + word.len()..].chars().next();
        !is_letter(line[..at].chars().last()) && (word.ends_with('(') || !is_letter(after))
    })
}
