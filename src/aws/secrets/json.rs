//! Where the members of a JSON object stand in its text, so that one value can be replaced and every other byte kept.

use std::ops::Range;

use crate::{
    base::{Code, Error, Result},
    fail,
};

/// A member of the outermost object.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// The name, unescaped.
    pub(super) name: String,
    /// Where the value stands.
    pub(super) value: Range<usize>,
}

/// The members of the object that `text` is, in order, names that occur twice included.
///
/// # Errors
/// `value_guard` when the text is not a JSON object. The message does not show the text.
pub(super) fn members(text: &str) -> Result<Vec<Member>> {
    // serde_json decides what is valid; the walk below only has to find its way through valid text.
    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).map_err(|_| not_an_object())?;
    let mut walk = Walk { text: text.as_bytes(), at: 0 };
    walk.expect(b'{')?;
    let mut members = Vec::new();
    loop {
        walk.skip_space();
        if walk.peek() == Some(b'}') {
            return Ok(members);
        }
        let name = walk.value()?;
        let name = serde_json::from_str(&text[name]).map_err(|_| not_an_object())?;
        walk.expect(b':')?;
        members.push(Member { name, value: walk.value()? });
        walk.skip_space();
        if walk.peek() == Some(b',') {
            walk.at += 1;
        }
    }
}

struct Walk<'a> {
    text: &'a [u8],
    at: usize,
}

impl Walk<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<()> {
        self.skip_space();
        if self.peek() != Some(byte) {
            return Err(not_an_object());
        }
        self.at += 1;
        Ok(())
    }

    /// Steps over one value of any kind and says where it stood.
    fn value(&mut self) -> Result<Range<usize>> {
        self.skip_space();
        let start = self.at;
        let mut depth = 0_usize;
        loop {
            match self.peek().ok_or_else(not_an_object)? {
                b'"' => self.string()?,
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' if depth > 0 => {
                    depth -= 1;
                    self.at += 1;
                }
                _ => self.at += 1,
            }
            // The value ends before a separator of its own level, or after the text or bracket it consists of.
            if depth == 0
                && matches!(self.peek(), None | Some(b',' | b'}' | b']' | b':' | b' ' | b'\t' | b'\n' | b'\r'))
            {
                return Ok(start..self.at);
            }
        }
    }

    fn string(&mut self) -> Result<()> {
        self.at += 1;
        loop {
            match self.peek().ok_or_else(not_an_object)? {
                b'\\' => self.at += 2,
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                _ => self.at += 1,
            }
        }
    }
}

fn not_an_object() -> Error {
    fail!(Code::ValueGuard, "the value is not a JSON object")
}

#[cfg(test)]
mod tests {
    use super::members;

    fn found(text: &str) -> Vec<(String, &str)> {
        members(text).unwrap().into_iter().map(|member| (member.name, &text[member.value])).collect()
    }

    /// Everything that can confuse a search for `"host":` in a text.
    #[test]
    fn members_are_found_where_they_are() {
        let text = r#" { "password" : "a\"host\":{,}é\\", "host":"h" ,"port": 5432,
            "nested": {"host": "no", "list": [1, {"port": 2}]}, "h\u006fst": null, "" : [ ] } "#;
        let all = found(text);
        let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["password", "host", "port", "nested", "host", ""]);
        let values: Vec<&str> = all.iter().map(|(_, value)| *value).collect();
        assert_eq!(values[1..3], ["\"h\"", "5432"]);
        assert_eq!(values[3], r#"{"host": "no", "list": [1, {"port": 2}]}"#);
        assert_eq!(values[4..], ["null", "[ ]"]);
        assert_eq!(found("{}"), []);
    }

    /// What is not an object is refused without being shown.
    #[test]
    fn other_values_are_refused() {
        for text in ["", "hunter2", "[1]", "\"x\"", "{\"a\":1", "{\"a\" 1}", "null"] {
            let error = members(text).unwrap_err();
            assert!(!error.message().contains("hunter2"));
        }
    }
}
