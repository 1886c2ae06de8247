//! As much of SQL's lexical rules as pgrun needs to tell what a statement may do. No grammar, no server.
//!
//! It answers four questions: is it one statement, does it open or close a transaction, does it provably only read,
//! and can it stand inside `WITH q AS (..)`. In doubt the answer is the careful one.

use crate::{
    base::{Code, Result, ident::ident},
    fail,
};

/// A token, as far as it matters here. Keywords and bare names are words in lower case.
#[derive(Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(String),
    /// A quoted name.
    Name(&'a str),
    /// A text, a number, a parameter.
    Literal,
    Mark(char),
}

/// A token and where it ends.
struct Lexed<'a> {
    token: Token<'a>,
    end: usize,
}

/// What a text of SQL is, seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Running it twice, or not at all, leaves the server the same.
    pub reads: bool,
    /// It may stand in `WITH q AS (..)`.
    pub wraps: bool,
}

/// Looks at a text that must be exactly one statement and leave the transaction alone.
///
/// # Errors
/// `usage` for several statements, none, or one that opens or closes a transaction.
pub(super) fn single(sql: &str) -> Result<Shape> {
    let statements = statements(sql)?;
    match statements.as_slice() {
        [] => Err(fail!(Code::Usage, "got an empty statement")),
        [only] => {
            refuse_transaction_words(only)?;
            Ok(Shape { reads: reads(only), wraps: wraps(only) })
        }
        several => Err(fail!(Code::Usage, "got {} statements, wanted one", several.len())
            .hint("use batch for several statements without values")),
    }
}

/// Looks at a text of several statements.
///
/// # Errors
/// `usage` when one of them opens or closes a transaction: the session keeps account of that itself.
pub(super) fn batch(sql: &str) -> Result<()> {
    statements(sql)?.iter().try_for_each(|statement| refuse_transaction_words(statement))
}

/// `sql` as a subquery whose columns can be chosen: `texts[i]` asks for column `i` as the server's text.
pub(super) fn as_texts(sql: &str, columns: &[(String, bool)]) -> Result<String> {
    let inner: Vec<String> = (1..=columns.len()).map(|i| format!("c{i}")).collect();
    let outer = columns.iter().enumerate().map(|(i, (name, text))| {
        let cast = if *text { "::pg_catalog.text" } else { "" };
        Ok(format!("c{}{cast} AS {}", i + 1, ident(name)?))
    });
    let outer: Vec<String> = outer.collect::<Result<_>>()?;
    let end = tokens(sql)?.iter().rfind(|lexed| lexed.token != Token::Mark(';')).map_or(0, |lexed| lexed.end);
    let body = &sql[..end];
    Ok(format!("WITH q({}) AS ({body}) SELECT {} FROM q", inner.join(", "), outer.join(", ")))
}

fn word(token: Option<&Token<'_>>) -> &'static str {
    let Some(Token::Word(word)) = token else { return "" };
    WORDS.iter().find(|known| **known == word).copied().unwrap_or("")
}

/// Every word that some rule below asks for.
const WORDS: &[&str] = &[
    "select",
    "values",
    "table",
    "show",
    "with",
    "explain",
    "analyze",
    "insert",
    "update",
    "delete",
    "merge",
    "begin",
    "start",
    "commit",
    "end",
    "rollback",
    "abort",
    "savepoint",
    "release",
    "prepare",
    "transaction",
    "create",
    "function",
    "procedure",
    "atomic",
    "into",
    "case",
    "call",
    "do",
    "copy",
];

fn refuse_transaction_words(statement: &[Token<'_>]) -> Result<()> {
    let first = word(statement.first());
    let opens_or_closes =
        matches!(first, "begin" | "start" | "commit" | "end" | "rollback" | "abort" | "savepoint" | "release")
            || first == "prepare" && word(statement.get(1)) == "transaction";
    if opens_or_closes {
        return Err(fail!(Code::Usage, "`{first}` in a statement: the session keeps account of transactions itself")
            .hint("use transaction"));
    }
    Ok(())
}

/// True only if nothing in the text can change the server: a reading statement, no writing word, and no function
/// but those that PostgreSQL documents as without effect. (A view may hide a function; a view that writes is taken
/// for its word.)
fn reads(statement: &[Token<'_>]) -> bool {
    let head = match word(statement.first()) {
        "show" => return true,
        "explain" => &statement[1..],
        "select" | "values" | "table" | "with" => statement,
        _ => return false,
    };
    let harmless = |(at, token): (usize, &Token<'_>)| match token {
        Token::Word(word) if WRITING.contains(&word.as_str()) => false,
        Token::Word(word) if head.get(at + 1) == Some(&Token::Mark('(')) => {
            let qualified = at >= 2 && head[at - 1] == Token::Mark('.');
            let trusted = !qualified || head[at - 2] == Token::Word("pg_catalog".into());
            trusted && is_harmless_call(word)
        }
        Token::Name(_) => head.get(at + 1) != Some(&Token::Mark('(')),
        _ => true,
    };
    head.iter().enumerate().all(harmless)
}

/// Words that write, run something, or leave a trace, wherever they stand.
const WRITING: &[&str] = &[
    "insert", "update", "delete", "merge", "into", "truncate", "copy", "call", "do", "execute", "analyze", "share",
    "operator",
];

/// Beginnings of names of built-in functions that only look (manual, chapter 9).
const HARMLESS_PREFIXES: &[&str] = &[
    "has_",
    "pg_get_",
    "pg_stat_get_",
    "pg_control_",
    "pg_size_",
    "json",
    "array_",
    "regexp_",
    "to_",
    "quote_",
    "pg_is_",
];

/// Words before a parenthesis that are no call, and built-in functions that only look.
const HARMLESS: &[&str] = &[
    "select",
    "from",
    "where",
    "and",
    "or",
    "not",
    "in",
    "any",
    "all",
    "some",
    "exists",
    "as",
    "on",
    "using",
    "values",
    "array",
    "row",
    "when",
    "then",
    "else",
    "case",
    "with",
    "union",
    "except",
    "intersect",
    "by",
    "having",
    "limit",
    "offset",
    "over",
    "filter",
    "group",
    "within",
    "lateral",
    "distinct",
    "materialized",
    "recursive",
    "is",
    "like",
    "between",
    "return",
    "coalesce",
    "nullif",
    "greatest",
    "least",
    "cast",
    "extract",
    "numeric",
    "decimal",
    "varchar",
    "char",
    "character",
    "bit",
    "varying",
    "time",
    "timestamp",
    "timestamptz",
    "interval",
    "text",
    "sum",
    "count",
    "min",
    "max",
    "avg",
    "bool_and",
    "bool_or",
    "string_agg",
    "array_agg",
    "unnest",
    "generate_series",
    "row_number",
    "rank",
    "now",
    "clock_timestamp",
    "age",
    "date_trunc",
    "date_part",
    "current_setting",
    "version",
    "format",
    "format_type",
    "md5",
    "hashtext",
    "hashtextextended",
    "lower",
    "upper",
    "length",
    "octet_length",
    "substr",
    "substring",
    "left",
    "right",
    "replace",
    "split_part",
    "trim",
    "btrim",
    "ltrim",
    "rtrim",
    "position",
    "strpos",
    "concat",
    "concat_ws",
    "starts_with",
    "abs",
    "round",
    "floor",
    "ceil",
    "mod",
    "cardinality",
    "encode",
    "decode",
    "convert_from",
    "pg_current_wal_lsn",
    "pg_current_wal_insert_lsn",
    "pg_current_wal_flush_lsn",
    "pg_last_wal_replay_lsn",
    "pg_last_wal_receive_lsn",
    "pg_wal_lsn_diff",
    "pg_walfile_name",
    "pg_backend_pid",
    "pg_blocking_pids",
    "pg_postmaster_start_time",
    "pg_database_size",
    "pg_relation_size",
    "pg_total_relation_size",
    "pg_table_size",
    "pg_indexes_size",
    "pg_typeof",
    "pg_encoding_to_char",
    "pg_sequence_last_value",
    "pg_database_collation_actual_version",
    "pg_collation_actual_version",
    "pg_options_to_table",
    "pg_show_all_settings",
    "aclexplode",
    "acldefault",
    "obj_description",
    "col_description",
    "shobj_description",
    "pg_table_is_visible",
    "inet_server_addr",
    "inet_server_port",
    "pg_partition_tree",
    "pg_partition_root",
    "pg_indexam_has_property",
    "pg_replication_origin_progress",
    "pg_relation_is_publishable",
    "pg_xact_status",
    "grouping",
    "percentile_cont",
    "percentile_disc",
    "lag",
    "lead",
    "first_value",
    "last_value",
    "nth_value",
    "oid",
    "regclass",
    "translate",
];

fn is_harmless_call(name: &str) -> bool {
    HARMLESS.contains(&name) || HARMLESS_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// A data-modifying `WITH` must stand at the top level (manual, "WITH Queries"), and `SELECT INTO` makes no rows.
fn wraps(statement: &[Token<'_>]) -> bool {
    let first = word(statement.first());
    let has =
        |words: &[&str]| statement.iter().any(|token| matches!(token, Token::Word(w) if words.contains(&w.as_str())));
    match first {
        "select" | "values" | "table" => !has(&["into"]),
        "with" => !has(&["insert", "update", "delete", "merge", "into"]),
        "insert" | "update" | "delete" => {
            // Their own inner WITH may modify data too; then the server decides, and its answer is an error, not harm.
            statement.iter().filter(|token| matches!(token, Token::Word(w) if w == "with")).count() == 0
        }
        _ => false,
    }
}

/// The statements of a text, without empty ones. A semicolon inside `BEGIN ATOMIC .. END` ends none.
fn statements(sql: &str) -> Result<Vec<Vec<Token<'_>>>> {
    let mut statements = Vec::new();
    let mut current: Vec<Token<'_>> = Vec::new();
    let mut depth = 0_usize;
    for Lexed { token, .. } in tokens(sql)? {
        let in_routine = word(current.first()) == "create";
        match (&token, word(Some(&token))) {
            (Token::Mark(';'), _) if depth == 0 => {
                if !current.is_empty() {
                    statements.push(std::mem::take(&mut current));
                }
                continue;
            }
            (_, "atomic") if in_routine && word(current.last()) == "begin" => depth = 1,
            (_, "case") if depth > 0 => depth += 1,
            (_, "end") => depth = depth.saturating_sub(1),
            _ => {}
        }
        current.push(token);
    }
    if !current.is_empty() {
        statements.push(current);
    }
    Ok(statements)
}

/// The tokens of a text, comments left out. Takes `standard_conforming_strings = on`, which every session sets.
fn tokens(sql: &str) -> Result<Vec<Lexed<'_>>> {
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

#[cfg(test)]
mod tests {
    use super::{as_texts, batch, single, statements};

    /// A lost connection is only harmless when this says so.
    #[test]
    fn only_what_provably_reads_is_taken_for_a_read() {
        for sql in [
            "select 1",
            "SELECT count(*) FROM pg_class -- x",
            "show wal_level",
            "values (1), (2)",
            "table pg_class;",
            "with q as (select 1) select * from q",
            "explain select 1",
            "select pg_catalog.now()",
            "select 'insert into t', $$delete$$, E'\\'; drop', \"update\" from pg_class /* into /* x */ */",
            "select pg_current_wal_insert_lsn(), relname::text from pg_class where oid in (1, 2)",
        ] {
            assert!(single(sql).unwrap().reads, "{sql}");
        }
        for sql in [
            "insert into t values (1)",
            "with q as (delete from t returning 1) select * from q",
            "select nextval('s')",
            "select pg_create_logical_replication_slot('a','b')",
            "select mine.count(1)",
            "select \"f\"(1)",
            "explain analyze delete from t",
            "explain (analyze) select 1",
            "select 1 into t",
            "call p()",
            "do $$begin end$$",
            "select * from t for update",
            "select pg_terminate_backend(1)",
            "create table t()",
            "select lo_create(0)",
            "select a.setval('s', 1)",
        ] {
            assert!(!single(sql).unwrap().reads, "{sql}");
        }
    }

    #[test]
    fn transactions_belong_to_the_session() {
        for sql in [
            "begin",
            "COMMIT",
            " /* x */ rollback;",
            "start transaction",
            "savepoint a",
            "end",
            "prepare transaction 'x'",
        ] {
            assert!(single(sql).unwrap_err().message().contains("transaction"), "{sql}");
        }
        assert!(batch("create table t(); commit; select 1").is_err());
        assert!(batch("select 1; do $$ begin commit; end $$; prepare p as select 1").is_ok());
        let atomic =
            "create function f() returns int begin atomic select case when true then 1 end; select 2; end; select 1";
        assert_eq!(statements(atomic).unwrap().len(), 2);
        assert!(batch(atomic).is_ok());
    }

    #[test]
    fn one_statement_and_no_unended_quotes() {
        assert!(single("select 1; select 2").unwrap_err().message().contains("2 statements"));
        assert!(single(" ;; -- nothing").is_err());
        for sql in ["select 'x", "select \"x", "select $a$ $b$", "/* /* */", "select E'\\'"] {
            assert!(single(sql).unwrap_err().message().contains("no end"), "{sql}");
        }
        assert!(single("select $1, $2::text").is_ok());
        assert!(single("select 'é' || \"ß\"").is_ok());
    }

    #[test]
    fn a_wrapped_statement_names_its_columns_again() {
        let columns = [("a".to_owned(), false), ("?col\"".to_owned(), true)];
        assert_eq!(
            as_texts("select 1, '(1,2)'::point; -- end;", &columns).unwrap(),
            "WITH q(c1, c2) AS (select 1, '(1,2)'::point) SELECT c1 AS \"a\", c2::pg_catalog.text AS \"?col\"\"\" FROM q"
        );
        assert!(!single("with a as (insert into t values (1) returning 1) select * from a").unwrap().wraps);
        assert!(single("delete from t returning x").unwrap().wraps);
        assert!(!single("show all").unwrap().wraps);
    }
}
