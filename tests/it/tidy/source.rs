//! A source file, and the same without its comments and texts.

use std::path::Path;

/// One file of the project.
pub(super) struct Source {
    /// From the project's root, with `/`.
    pub(super) path: String,
    pub(super) text: String,
}

impl Source {
    pub(super) fn new(path: &str, text: &str) -> Self {
        Self { path: path.into(), text: text.into() }
    }

    /// The text with blanks in the place of comments and of what stands in quotes; lines stay lines.
    pub(super) fn code(&self) -> String {
        let code = |(c, kind)| if kind == Kind::Code || c == '\n' { c } else { ' ' };
        kinds(&self.text).into_iter().map(code).collect()
    }

    /// For each line the kind of the first character behind a column.
    pub(super) fn kinds_behind(&self, column: usize) -> Vec<Option<Kind>> {
        let kinds = kinds(&self.text);
        let behind = |line: &[(char, Kind)]| {
            // What ends a sentence that a long text stands in.
            let counts = |(c, _): &&(char, Kind)| !c.is_whitespace() && !";,)]?".contains(*c);
            line.iter().skip(column).find(counts).map(|(_, kind)| *kind)
        };
        kinds.split(|(c, _)| *c == '\n').map(behind).collect()
    }

    /// The same up to the file's unit tests, which stand at its end.
    pub(super) fn code_without_tests(&self) -> String {
        let code = self.code();
        match code.find("#[cfg(test)]\nmod ") {
            Some(end) => code[..end].to_owned(),
            None => code,
        }
    }

    /// Lines of code that a condition picks, with their numbers.
    pub(super) fn code_lines(&self, picks: impl Fn(&str) -> bool) -> Vec<(usize, String)> {
        picked(&self.code_without_tests(), picks)
    }

    /// Lines that a condition picks, comments and texts among them, with their numbers.
    pub(super) fn lines(&self, picks: impl Fn(&str) -> bool) -> Vec<(usize, String)> {
        picked(&self.text, picks)
    }
}

fn picked(text: &str, picks: impl Fn(&str) -> bool) -> Vec<(usize, String)> {
    let lines = (1..).zip(text.lines()).filter(|(_, line)| picks(line));
    lines.map(|(number, line)| (number, line.trim().to_owned())).collect()
}

/// All files of Rust below some folders.
pub(super) fn sources(folders: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut open: Vec<_> = folders.iter().map(|folder| root.join(folder)).collect();
    let mut all = vec![];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
                all.push(Source { path: name, text: std::fs::read_to_string(&path).unwrap() });
            }
        }
    }
    all.sort_by(|a, b| a.path.cmp(&b.path));
    all
}

/// What a character belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Code,
    Comment,
    Text,
}

fn kinds(text: &str) -> Vec<(char, Kind)> {
    let mut out: Vec<(char, Kind)> = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let in_word = out.last().is_some_and(|(c, _)| c.is_alphanumeric() || *c == '_');
        let (length, kind) = match first {
            '/' if rest.starts_with("//") => (rest.find('\n').unwrap_or(rest.len()), Kind::Comment),
            '/' if rest.starts_with("/*") => (rest.find("*/").map_or(rest.len(), |end| end + 2), Kind::Comment),
            '"' => (quoted(rest), Kind::Text),
            'r' if !in_word && raw(rest).is_some() => (raw(rest).unwrap_or(1), Kind::Text),
            '\'' => match char_literal(rest) {
                1 => (1, Kind::Code),
                length => (length, Kind::Text),
            },
            _ => (first.len_utf8(), Kind::Code),
        };
        out.extend(rest[..length].chars().map(|c| (c, kind)));
        rest = &rest[length..];
    }
    out
}

/// The length of a text in quotes.
fn quoted(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The length of a raw text, `r"..."` or with hashes.
fn raw(rest: &str) -> Option<usize> {
    let hashes = rest[1..].chars().take_while(|c| *c == '#').count();
    if !rest[1 + hashes..].starts_with('"') {
        return None;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let begin = hashes + 2;
    Some(rest[begin..].find(&end).map_or(rest.len(), |at| begin + at + end.len()))
}

/// The length of a character, or 1 for the quote of a lifetime.
fn char_literal(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), _) => rest[2..].char_indices().skip(1).find(|(_, c)| *c == '\'').map_or(1, |(at, _)| at + 3),
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1,
    }
}

/// Comments and texts are not code, whatever is in them; everything else is.
#[test]
fn code_is_what_is_left() {
    let text = "a(\"x // \\\" y\"); // b\nlet c = '\"'; r#\"d \" e\"#; /* f\n */ g::<'h>('\\'', 'é'); for_r\"i\"";
    let code = Source::new("x", text).code();
    let words: Vec<&str> =
        code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()).collect();
    assert_eq!(words, ["a", "let", "c", "g", "h", "for_r"]);
    assert_eq!(code.lines().count(), text.lines().count());
}
