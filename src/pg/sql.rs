//! What a statement may do, as far as its words tell. No grammar, no server.
//!
//! It answers four questions: is it one statement, does it open or close a transaction, does it provably only read,
//! and can it stand inside `WITH q AS (..)`. In doubt the answer is the careful one.

use super::{
    harmless::{WRITING, is_harmless_call},
    lexer::{Lexed, Token, tokens},
};
use crate::{
    base::{Code, Result, ident::ident},
    fail,
};

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
