//! Reading a file of SQL as `pg_dump` writes it: statements, and data for COPY.

use crate::{
    base::{Code, Result},
    fail,
};

/// A piece of a file of SQL.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Statements that can be sent as one batch.
    Statements(String),
    /// A `COPY .. FROM stdin` and its lines.
    Copy {
        /// The statement.
        sql: String,
        /// The lines, each with its line feed.
        lines: String,
    },
}

/// Cuts a file into pieces. psql's own commands are not understood, except those that every `pg_dump` writes.
///
/// # Errors
/// `usage` naming the line of a psql command.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece>> {
    let mut pieces = vec![];
    let mut batch = String::new();
    let mut lines = text.split_inclusive('\n').enumerate();
    while let Some((at, line)) = lines.next() {
        let trimmed = line.trim();
        if let Some(command) = trimmed.strip_prefix('\\') {
            let word = command.split_whitespace().next().unwrap_or_default();
            if matches!(word, "restrict" | "unrestrict") {
                continue;
            }
            return Err(fail!(Code::Usage, "line {} of the schema is the psql command `\\{word}`", at + 1)
                .hint("write the schema with `pg_dump`, without psql's own commands"));
        }
        let is_copy = trimmed.len() > 5 && trimmed.is_char_boundary(5) && trimmed[..5].eq_ignore_ascii_case("copy ");
        if is_copy && trimmed.to_ascii_lowercase().ends_with("from stdin;") {
            if !batch.trim().is_empty() {
                pieces.push(Piece::Statements(std::mem::take(&mut batch)));
            }
            let data = lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim_end() != "\\.");
            let sql = trimmed.trim_end_matches(';').to_owned();
            pieces.push(Piece::Copy { sql, lines: data.collect() });
            continue;
        }
        batch.push_str(line);
    }
    if !batch.trim().is_empty() {
        pieces.push(Piece::Statements(batch));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::{Piece, pieces};

    #[test]
    fn a_dump_is_cut_into_statements_and_data() {
        let text = "\\restrict abc\ncreate table t (a int);\nCOPY public.t (a) FROM stdin;\n1\n2\n\\.\n\nselect 1;\n";
        let copy = Piece::Copy { sql: "COPY public.t (a) FROM stdin".into(), lines: "1\n2\n".into() };
        let wanted =
            [Piece::Statements("create table t (a int);\n".into()), copy, Piece::Statements("\nselect 1;\n".into())];
        assert_eq!(pieces(text).unwrap(), wanted);
        assert!(pieces("select 1;\n\\connect x\n").unwrap_err().message().contains("line 2"));
    }
}
