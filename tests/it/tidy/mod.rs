//! Keeps the house: reads the sources and the tables, and says which rule was broken where. The rules are those of the
//! crate page (`src/lib.rs`).

mod imports;
mod rules;
mod source;
mod tables;

use rules::RULES;
use source::{Source, sources};

/// Every rule holds in every file.
#[test]
fn the_house_is_kept() {
    let all = sources(&["src", "tests"]);
    assert!(all.len() > 100, "the sources were not found");
    let mut broken: Vec<String> = vec![];
    for rule in RULES {
        for source in &all {
            let found = (rule.check)(source);
            broken
                .extend(found.into_iter().map(|(line, what)| format!("{}:{line}: {}: {what}", source.path, rule.name)));
        }
    }
    assert!(broken.is_empty(), "{} violations\n{}", broken.len(), broken.join("\n"));
}

/// There is one door to the world in the program: `Host::wait`. The command line runs its own commands besides.
#[test]
fn the_script_waits_in_one_place() {
    let places = |of: fn(&str) -> bool| -> Vec<String> {
        let waits = |source: &Source| {
            let lines = source.code_without_tests().lines().filter(|line| line.contains(".block_on(")).count();
            vec![source.path.clone(); lines]
        };
        sources(&["src"]).iter().filter(|source| of(&source.path)).flat_map(waits).collect()
    };
    assert_eq!(places(|path| !path.starts_with("src/cli/")), ["src/api/host.rs"]);
    assert!(!places(|path| path.starts_with("src/cli/")).is_empty(), "the search finds nothing");
}

/// Each rule finds what it is for: a rule that cannot fail keeps nothing.
#[test]
fn every_rule_can_fail() {
    for rule in RULES {
        for (path, text) in rule.broken_by {
            let found = (rule.check)(&Source::new(path, text));
            assert!(!found.is_empty(), "`{}` does not find {path}:\n{text}", rule.name);
        }
        for (path, text) in rule.kept_by {
            let found = (rule.check)(&Source::new(path, text));
            assert!(found.is_empty(), "`{}` finds {found:?} in {path}:\n{text}", rule.name);
        }
        assert!(!rule.broken_by.is_empty(), "`{}` was never seen to fail", rule.name);
    }
}
