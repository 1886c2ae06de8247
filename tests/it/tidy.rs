//! Keeps the house as `src/lib.rs` describes it, by reading the source.

use std::path::{Path, PathBuf};

/// The longest file in lines.
const FILE_LINES: usize = 450;

/// A source file: its path from `src/`, and its text.
struct Source {
    path: String,
    text: String,
}

/// What is wrong, as `path:line: why`.
type Findings = Vec<String>;

fn sources() -> Vec<Source> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() { walk(&path, found) } else { found.push(path) }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = vec![];
    walk(&root, &mut paths);
    let read = |path: &PathBuf| Source {
        path: path.strip_prefix(&root).unwrap().to_string_lossy().into_owned(),
        text: std::fs::read_to_string(path).unwrap(),
    };
    paths.iter().filter(|path| path.extension().is_some_and(|e| e == "rs")).map(read).collect()
}

impl Source {
    fn folder(&self) -> &str {
        self.path.split_once('/').map_or("", |(folder, _)| folder)
    }

    /// Lines of code with their numbers: no comments, and nothing of the file's own tests.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().take_while(|(_, line)| line.trim() != "#[cfg(test)]");
        lines.map(|(at, line)| (at + 1, line)).filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    fn find(&self, words: &[&str], why: &str, findings: &mut Findings) {
        for (at, line) in self.code() {
            if words.iter().any(|word| line.contains(word)) {
                findings.push(format!("{}:{at}: {why}: {}", self.path, line.trim()));
            }
        }
    }
}

/// Each folder with those it may import besides its own.
const FLOORS: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("lab", &["base"]),
    ("pg", &["base"]),
    ("aws", &["base"]),
    ("journal", &["base"]),
    ("load", &["base"]),
    ("api", &["base", "pg", "aws", "journal", "load"]),
    ("engine", &["base", "pg", "aws", "journal", "load", "api"]),
    ("cli", &["base", "pg", "aws", "journal", "load", "api", "engine", "lab"]),
];

fn floors(source: &Source, findings: &mut Findings) {
    let Some((own, below)) = FLOORS.iter().find(|(folder, _)| *folder == source.folder()) else { return };
    for (other, _) in FLOORS.iter().filter(|(other, _)| other != own && !below.contains(other)) {
        let why = format!("`{own}` does not know `{other}`");
        source.find(&[&format!("crate::{other}::"), &format!("crate::{other}:")], &why, findings);
        // In a braced import the folder stands at the beginning of its own line.
        for (at, line) in source.code() {
            if line.starts_with(&format!("    {other}::")) {
                findings.push(format!("{}:{at}: {why}", source.path));
            }
        }
    }
}

fn doors(source: &Source, findings: &mut Findings) {
    let path = source.path.as_str();
    let is_in = |places: &[&str]| places.iter().any(|place| path.starts_with(place));
    if !is_in(&["api/", "engine/"]) {
        source.find(&["rhai::"], "only api/ and engine/ know Rhai", findings);
    }
    if !is_in(&["api/bridge.rs", "engine/diagnostic.rs"]) {
        source.find(&["EvalAltResult"], "only the bridge and the diagnostics know Rhai's error type", findings);
    }
    if !is_in(&["api/host.rs", "cli/"]) {
        source.find(&[".block_on("], "a script waits in Host::wait", findings);
    }
    if !is_in(&["base/clock.rs"]) {
        let clocks = ["Instant::now", "SystemTime::now", "Timestamp::now", "thread::sleep", "tokio::time::"];
        source.find(&clocks, "base/clock.rs reads the time and sleeps", findings);
    }
    if !is_in(&["cli/"]) {
        source.find(&["println!(", "eprintln!(", "print!(", "stdout()"], "cli/ prints", findings);
    }
    source.find(&["process::exit"], "main ends the process", findings);
    let left = ["TODO", "FIXME", "XXX", "todo!(", "unimplemented!(", "dbg!("];
    source.find(&left, "nobody finishes it later", findings);
}

fn shape(source: &Source, findings: &mut Findings) {
    if !source.text.starts_with("//!") {
        findings.push(format!("{}: a file begins by saying what lives in it", source.path));
    }
    let lines = source.text.lines().count();
    if lines > FILE_LINES {
        findings.push(format!("{}: {lines} lines, at most {FILE_LINES}", source.path));
    }
    for (at, line) in source.text.lines().enumerate() {
        let comment = line.trim_start().trim_start_matches('/').trim();
        let is_banner = comment.len() > 5 && comment.chars().all(|c| "=-*#".contains(c));
        if line.trim_start().starts_with("//") && is_banner {
            findings.push(format!("{}:{}: a banner", source.path, at + 1));
        }
    }
}

/// The rules of the house hold in every file.
#[test]
fn the_house_is_as_its_page_says() {
    let mut findings = vec![];
    for source in sources() {
        floors(&source, &mut findings);
        doors(&source, &mut findings);
        shape(&source, &mut findings);
    }
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

/// Each rule finds what it forbids: a check that cannot fail is none.
#[test]
fn every_rule_can_fail() {
    let planted = [
        ("pg/x.rs", "//! x\nuse crate::aws::Rds;\n", "does not know"),
        ("lab/x.rs", "//! x\nuse crate::{\n    api::Host,\n};\n", "does not know"),
        ("pg/x.rs", "//! x\nuse rhai::Engine;\n", "know Rhai"),
        ("api/x.rs", "//! x\nuse rhai::EvalAltResult;\n", "error type"),
        ("api/x.rs", "//! x\nfn f() { runtime.block_on(a); }\n", "Host::wait"),
        ("pg/x.rs", "//! x\nfn f() { let a = Instant::now(); }\n", "reads the time"),
        ("engine/x.rs", "//! x\nfn f() { println!(\"x\"); }\n", "prints"),
        ("cli/x.rs", "//! x\nfn f() { std::process::exit(1); }\n", "ends the process"),
        ("cli/x.rs", "//! x\nfn f() { todo!() }\n", "later"),
        ("cli/x.rs", "fn f() {}\n", "begins by saying"),
        ("cli/x.rs", "//! x\n// =======\n", "banner"),
    ];
    for (path, text, wanted) in planted {
        let source = Source { path: path.into(), text: text.into() };
        let mut findings = vec![];
        floors(&source, &mut findings);
        doors(&source, &mut findings);
        shape(&source, &mut findings);
        assert!(findings.iter().any(|finding| finding.contains(wanted)), "{path}: {wanted}: {findings:?}");
    }
    let long = Source { path: "cli/x.rs".into(), text: format!("//! x\n{}", "\n".repeat(FILE_LINES)) };
    let mut findings = vec![];
    shape(&long, &mut findings);
    assert_eq!(findings.len(), 1);
}

/// Every dependency says why it is there.
#[test]
fn every_dependency_has_its_reason() {
    let manifest = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let mut inside = false;
    let mut explained = false;
    for line in manifest.lines() {
        match line.trim() {
            line if line.starts_with('[') => inside = line.contains("dependencies]"),
            line if line.starts_with('#') => explained = true,
            "" => explained = false,
            line if inside => assert!(explained, "`{line}` has no comment above it or its group"),
            _ => {}
        }
    }
}
