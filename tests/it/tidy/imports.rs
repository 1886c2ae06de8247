//! Which parts of the crate a file names.

use super::source::Source;

/// The modules at the crate's root that a file names, with the line: `crate::a`, `crate::{a::b, c}`.
pub(super) fn of(source: &Source) -> Vec<(usize, String)> {
    let code = source.code();
    let mut found = vec![];
    for (at, _) in code.match_indices("crate::") {
        let before = code[..at].chars().last();
        if before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '$' | ':')) {
            continue;
        }
        let line = code[..at].matches('\n').count() + 1;
        let rest = &code[at + "crate::".len()..];
        let names = if let Some(tree) = rest.strip_prefix('{') { branches(tree) } else { vec![first_word(rest)] };
        found.extend(names.into_iter().map(|name| (line, name)));
    }
    found
}

/// The first word of each branch of a use tree.
fn branches(tree: &str) -> Vec<String> {
    let mut names = vec![];
    let mut depth = 0;
    let mut begins = true;
    for (at, c) in tree.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => begins = true,
            c if begins && !c.is_whitespace() => {
                names.push(first_word(&tree[at..]));
                begins = false;
            }
            _ => {}
        }
    }
    names
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn use_trees_are_read() {
    let text = "use crate::{\n    base::{Code, error::FACTS},\n    fail, journal as j,\n};\nfn f() { crate::api::g(); $crate::base::x; }";
    let names: Vec<String> = of(&Source::new("src/x/y.rs", text)).into_iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["base", "fail", "journal", "api"]);
}
