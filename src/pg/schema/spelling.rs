//! Evens out how versions of PostgreSQL print one and the same definition. Only for comparing: people are shown what
//! the server says.

use crate::pg::{
    difference::is_bare,
    lexer::{Lexed, Token, tokens},
};

/// Stands between the head of a definition and a body that the server prints in its own way.
pub(super) const BODY: &str = "\nas\n";

/// The definition as every version would print it. Line by line it corresponds to the given one.
pub(super) fn evened(kind: &str, definition: &str) -> String {
    match definition.split_once(BODY) {
        Some((head, body)) if matches!(kind, "view" | "materialized view") => {
            // In this order: without its quotes a column named `from` is a keyword.
            format!("{}{BODY}{}", without_needless_quotes(head), without_needless_quotes(&without_lone_qualifier(body)))
        }
        _ => without_needless_quotes(definition),
    }
}

/// Quotes only where the letters need them: which words are keywords, and so are quoted, changes with versions (17 made
/// one of `json`). What cannot be read as SQL stays as it is.
pub(super) fn without_needless_quotes(text: &str) -> String {
    if !text.contains('"') {
        return text.to_owned();
    }
    let Ok(tokens) = tokens(text) else { return text.to_owned() };
    let mut evened = String::with_capacity(text.len());
    let mut from = 0;
    for Lexed { token, end } in tokens {
        if let Token::Name(name) = token
            && is_bare(name)
        {
            evened.push_str(&text[from..end - name.len() - 2]);
            evened.push_str(name);
            from = end;
        }
    }
    evened.push_str(&text[from..]);
    evened
}

/// A view over a single table, function or subquery: since 16 its columns are printed without the name of that in front,
/// where older versions print it always (`get_query_def` in `ruleutils.c`). Takes it away wherever it stands.
fn without_lone_qualifier(view: &str) -> String {
    let Ok(tokens) = tokens(view) else { return view.to_owned() };
    let Some(lone) = lone_source(&tokens) else { return view.to_owned() };
    let mut evened = String::with_capacity(view.len());
    let mut from = 0;
    for (at, pair) in tokens.windows(2).enumerate() {
        let follows_dot = at > 0 && tokens[at - 1].token == Token::Mark('.');
        if name(&pair[0].token) == Some(lone) && pair[1].token == Token::Mark('.') && !follows_dot {
            let begin = if at == 0 { 0 } else { tokens[at - 1].end };
            let blank = view[begin..].len() - view[begin..].trim_start().len();
            evened.push_str(&view[from..begin + blank]);
            from = pair[1].end;
        }
    }
    evened.push_str(&view[from..]);
    evened
}

/// Words that end the FROM clause.
const AFTER_FROM: &[&str] = &["where", "group", "having", "window", "order", "limit", "offset", "fetch", "for"];

/// The name by which the outermost SELECT calls what it selects from, if that is one thing only.
fn lone_source<'a>(tokens: &'a [Lexed<'_>]) -> Option<&'a str> {
    let mut depth = 0_usize;
    let mut inside_from = false;
    let mut item = Vec::new();
    for Lexed { token, .. } in tokens {
        match token {
            Token::Mark('(' | '[') => depth += 1,
            Token::Mark(')' | ']') => depth = depth.saturating_sub(1),
            Token::Word(word) if depth == 0 => match word.as_str() {
                "union" | "intersect" | "except" => return None,
                "from" => {
                    inside_from = true;
                    continue;
                }
                word if AFTER_FROM.contains(&word) => inside_from = false,
                _ => {}
            },
            _ => {}
        }
        if inside_from {
            item.push((depth, token));
        }
    }
    let is_word =
        |token: &Token<'_>, words: &[&str]| matches!(token, Token::Word(word) if words.contains(&word.as_str()));
    if item.iter().any(|(depth, token)| *depth == 0 && (**token == Token::Mark(',') || is_word(token, &["join"]))) {
        return None;
    }
    // `( SELECT ..) x` is one source, `(a JOIN b ON ..)` is two.
    let is_query = item.get(1).is_some_and(|(_, token)| is_word(token, &["select", "values", "with"]));
    if !is_query && item.iter().any(|(depth, token)| *depth == 1 && is_word(token, &["join"])) {
        return None;
    }
    let outermost = item.iter().filter(|(depth, _)| *depth == 0).map(|(_, token)| *token);
    outermost.take_while(|token| !is_word(token, &["tablesample"])).filter_map(name).last()
}

/// The identifier that a token is.
fn name<'a>(token: &'a Token<'_>) -> Option<&'a str> {
    match token {
        Token::Word(word) => Some(word),
        Token::Name(name) => Some(name),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{evened, without_lone_qualifier, without_needless_quotes};

    #[test]
    fn only_needless_quotes_go() {
        let text = r#"SELECT "json", 'a "json"', "Json", "a""b", E'\'"x"' FROM "s"."t" -- "y""#;
        let evened = r#"SELECT json, 'a "json"', "Json", "a""b", E'\'"x"' FROM s.t -- "y""#;
        assert_eq!(without_needless_quotes(text), evened);
        assert_eq!(without_needless_quotes("it's \"not\" SQL"), "it's \"not\" SQL");
    }

    /// Left as 15 prints it, right as 16 does: both must come out the same.
    #[test]
    fn one_view_has_one_spelling() {
        for (old, new) in [
            (
                "SELECT t.id,\n    t.a AS b\n   FROM s.t\n  WHERE (t.id > 3);",
                "SELECT id,\n    a AS b\n   FROM s.t\n  WHERE (id > 3);",
            ),
            ("SELECT x.id FROM s.t x ORDER BY x.id LIMIT 3", "SELECT id FROM s.t x ORDER BY id LIMIT 3"),
            ("SELECT \"Ä b\".id FROM \"Ä b\"", "SELECT id FROM \"Ä b\""),
            (
                "SELECT q.a FROM ( SELECT t.a FROM (s.t JOIN s.u ON ((t.a = u.a)))) q",
                "SELECT a FROM ( SELECT t.a FROM (s.t JOIN s.u ON ((t.a = u.a)))) q",
            ),
            (
                "SELECT g.n FROM generate_series(1, 3) WITH ORDINALITY g(n, o)",
                "SELECT n FROM generate_series(1, 3) WITH ORDINALITY g(n, o)",
            ),
            (
                "WITH w AS ( SELECT t.a FROM s.t, s.u) SELECT w.a FROM w",
                "WITH w AS ( SELECT t.a FROM s.t, s.u) SELECT a FROM w",
            ),
            ("SELECT t.id FROM s.t TABLESAMPLE bernoulli (10)", "SELECT id FROM s.t TABLESAMPLE bernoulli (10)"),
            (
                "SELECT t.a[t.i] FROM s.t WHERE (EXISTS ( SELECT FROM s.u WHERE (u.i = t.i)))",
                "SELECT a[i] FROM s.t WHERE (EXISTS ( SELECT FROM s.u WHERE (u.i = t.i)))",
            ),
        ] {
            assert_eq!(without_lone_qualifier(old), without_lone_qualifier(new));
        }
    }

    /// With several sources the qualifier says something.
    #[test]
    fn several_sources_keep_their_names() {
        for view in [
            "SELECT t.id FROM s.t, s.u",
            "SELECT t.id FROM (s.t JOIN s.u ON ((t.id = u.id)))",
            "SELECT t.id FROM s.t UNION SELECT u.id FROM s.u",
            "SELECT q.id FROM (( SELECT t.id FROM s.t) q CROSS JOIN s.u)",
            "SELECT 1 AS \"t.id\"",
        ] {
            assert_eq!(without_lone_qualifier(view), view);
        }
    }

    #[test]
    fn lines_stay_lines() {
        let view = "owner \"json\"\ncolumn id integer\nas\n SELECT t.id,\n    t.\"json\"\n   FROM t;";
        let evened = evened("view", view);
        assert_eq!(evened, "owner json\ncolumn id integer\nas\n SELECT id,\n    json\n   FROM t;");
    }
}
