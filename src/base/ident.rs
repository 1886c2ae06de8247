//! Quoting of SQL identifiers and literals. Every name that reaches a statement passes here or is bound.

use super::{Code, Result};
use crate::fail;

/// The longest identifier in bytes; PostgreSQL cuts longer ones silently (manual, "Identifiers and Key Words").
pub const MAX_IDENT_BYTES: usize = 63;

/// The identifier in double quotes. Refuses what PostgreSQL would cut or cannot hold.
///
/// # Errors
/// `value_guard` for an empty name, one over 63 bytes, or one with a zero byte.
pub fn ident(name: &str) -> Result<String> {
    if name.is_empty() {
        return Err(fail!(Code::ValueGuard, "got an empty name, wanted an SQL identifier"));
    }
    if name.len() > MAX_IDENT_BYTES {
        return Err(fail!(
            Code::ValueGuard,
            "the name {name:?} has {} bytes, PostgreSQL keeps {MAX_IDENT_BYTES}",
            name.len()
        ));
    }
    if name.contains('\0') {
        return Err(fail!(Code::ValueGuard, "the name {name:?} contains a zero byte"));
    }
    Ok(format!("\"{}\"", name.replace('"', "\"\"")))
}

/// `schema.name`, both parts quoted.
///
/// # Errors
/// As [`ident`].
pub fn qualified(schema: &str, name: &str) -> Result<String> {
    Ok(format!("{}.{}", ident(schema)?, ident(name)?))
}

/// The text as an SQL string literal, right under every setting of `standard_conforming_strings`.
///
/// # Errors
/// `value_guard` for a zero byte, which PostgreSQL cannot store.
pub fn literal(text: &str) -> Result<String> {
    if text.contains('\0') {
        return Err(fail!(Code::ValueGuard, "a text with a zero byte cannot be sent to PostgreSQL"));
    }
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        return Ok(format!(" E'{}'", quoted.replace('\\', "\\\\")));
    }
    Ok(format!("'{quoted}'"))
}

#[cfg(test)]
mod tests {
    use super::{ident, literal};

    #[test]
    fn quotes_every_shape_of_name() {
        assert_eq!(ident("Order \"x\"").unwrap(), "\"Order \"\"x\"\"\"");
        assert_eq!(ident("éé🙂").unwrap(), "\"éé🙂\"");
        assert!(ident(&"x".repeat(63)).is_ok());
        assert!(ident(&"x".repeat(64)).is_err());
        assert!(ident("").is_err());
        assert!(ident("a\0b").is_err());
    }

    #[test]
    fn literals_survive_quotes_and_backslashes() {
        assert_eq!(literal("it's").unwrap(), "'it''s'");
        assert_eq!(literal("a\\'b").unwrap(), " E'a\\\\''b'");
        assert!(literal("\0").is_err());
    }
}
