//! The grammar of messages: counts, lists, and "did you mean".

/// `1 table`, `2 tables`.
#[must_use]
pub fn count(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

/// `a`, `b` and `c`, each between back ticks; at most `limit` are named.
#[must_use]
pub fn ticked_list<T: AsRef<str>>(items: &[T], limit: usize) -> String {
    let mut words: Vec<String> = items.iter().take(limit).map(|item| format!("`{}`", item.as_ref())).collect();
    if items.len() > limit {
        words.push(format!("{} more", items.len() - limit));
    }
    match words.split_last() {
        None => "none".into(),
        Some((only, [])) => only.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

/// The candidate nearest to a mistyped word, if one is near enough to be meant.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// A word that a POSIX shell reads back as it is.
#[must_use]
pub fn shell_word(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:@".contains(c);
    if word.chars().any(char::is_control) {
        let escaped: String = word
            .chars()
            .map(|c| match c {
                '\'' | '\\' => format!("\\{c}"),
                c if c.is_control() => format!("\\u{:04x}", u32::from(c)),
                c => c.to_string(),
            })
            .collect();
        return format!("$'{escaped}'");
    }
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::{count, nearest, shell_word, ticked_list};

    /// What is printed to be pasted is read back as it was.
    #[test]
    fn words_survive_the_shell() {
        assert_eq!(shell_word("/var/lib/pgrun/lab"), "/var/lib/pgrun/lab");
        for word in ["", "it's $HOME", "a\nb'c\\d", "`x` \"y\" !z é🙂", "-go=yes", "close BLUE=retry|done"] {
            let echo = format!("printf %s {}", shell_word(word));
            let read = std::process::Command::new("bash").args(["-c", &echo]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&read.stdout), word);
        }
    }

    #[test]
    fn messages_read_like_sentences() {
        assert_eq!(count(1, "table"), "1 table");
        assert_eq!(count(0, "table"), "0 tables");
        assert_eq!(ticked_list(&["a"], 3), "`a`");
        assert_eq!(ticked_list(&["a", "b"], 3), "`a` and `b`");
        assert_eq!(ticked_list(&["a", "b", "c", "d"], 2), "`a`, `b` and 2 more");
        assert_eq!(nearest("tabels", ["tables", "roles"]), Some("tables"));
        assert_eq!(nearest("xyz", ["tables", "roles"]), None);
    }
}
