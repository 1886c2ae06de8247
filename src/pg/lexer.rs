//! SQL's lexical rules: where texts, names and comments begin and end (manual, "Lexical Structure").

use crate::{
    base::{Code, Result},
    fail,
};

/// A token, as far as it matters here. Keywords and bare names are words in lower case.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    Word(String),
    /// A quoted name.
    Name(&'a str),
    /// A text, a number, a parameter.
    Literal,
    Mark(char),
}

/// A token and where it ends.
pub(super) struct Lexed<'a> {
    pub(super) token: Token<'a>,
    pub(super) end: usize,
}

/// The tokens of a text, comments left out. Takes `standard_conforming_strings = on`, which every session sets.
pub(super) fn tokens(sql: &str) -> Result<Vec<Lexed<'_>>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(c) = sql[at..].chars().next() {
        let (token, len) = token(&sql[at..], c)?;
        at += len;
        tokens.extend(token.map(|token| Lexed { token, end: at }));
    }
    Ok(tokens)
}

/// The first token of a text that begins with `c`, and its length; blanks and comments are no token.
fn token(rest: &str, c: char) -> Result<(Option<Token<'_>>, usize)> {
    Ok(match c {
        c if c.is_whitespace() => (None, c.len_utf8()),
        '-' if rest.starts_with("--") => (None, rest.find('\n').unwrap_or(rest.len())),
        '/' if rest.starts_with("/*") => (None, comment(rest)?),
        '\'' => (Some(Token::Literal), quoted(rest, '\'', false)?),
        '"' => {
            let len = quoted(rest, '"', false)?;
            (Some(Token::Name(&rest[1..len - 1])), len)
        }
        'e' | 'E' if rest[1..].starts_with('\'') => (Some(Token::Literal), 1 + quoted(&rest[1..], '\'', true)?),
        '$' => (Some(Token::Literal), dollar(rest)?.unwrap_or_else(|| name_len(&rest[1..]) + 1)),
        c if c.is_ascii_digit() => (Some(Token::Literal), name_len(rest)),
        c if c.is_alphabetic() || c == '_' => {
            let len = name_len(rest);
            (Some(Token::Word(rest[..len].to_lowercase())), len)
        }
        c => (Some(Token::Mark(c)), c.len_utf8()),
    })
}

fn name_len(text: &str) -> usize {
    text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).unwrap_or(text.len())
}

fn unended(what: &str) -> crate::base::Error {
    fail!(Code::Usage, "{what} in the statement has no end")
}

/// The length of a quoted text, doubled quotes inside; with `escapes`, backslashes too.
fn quoted(text: &str, quote: char, escapes: bool) -> Result<usize> {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if escapes && c == '\\' {
            chars.next();
        } else if c == quote && chars.next_if(|(_, next)| *next == quote).is_none() {
            return Ok(at + 1);
        }
    }
    Err(unended(if quote == '"' { "a quoted name" } else { "a quoted text" }))
}

/// Comments nest.
fn comment(text: &str) -> Result<usize> {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return Ok(at);
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    Err(unended("a comment"))
}

/// `$tag$ .. $tag$`; `None` for a parameter such as `$1`.
fn dollar(text: &str) -> Result<Option<usize>> {
    let Some(end) = text[1..].find('$') else { return Ok(None) };
    let tag = &text[..end + 2];
    let name = &tag[1..=end];
    let is_name =
        name.chars().all(|c| c.is_alphanumeric() || c == '_') && !name.starts_with(|c: char| c.is_ascii_digit());
    if !is_name {
        return Ok(None);
    }
    let close = text[tag.len()..].find(tag).ok_or_else(|| unended("a dollar-quoted text"))?;
    Ok(Some(tag.len() + close + tag.len()))
}
