//! A secret has no `Display`; the redactor is the last net below everything that is written.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    fmt,
    sync::{Arc, RwLock},
};

use base64::Engine as _;

/// What stands in the place of a secret.
pub const MASK: &str = "***";

/// A password or token. It cannot be printed, serialized or compared with a text by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps a text that must never be written down.
    #[must_use]
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text itself. Every caller is a place to review: it may reach a socket, never a file.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// Knows every secret that this process has seen, and masks it in whatever is about to be written.
#[derive(Clone, Default)]
pub struct Redactor(Arc<RwLock<BTreeSet<Needle>>>);

/// Longest first, so that a secret that contains another one is masked whole.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Needle(std::cmp::Reverse<usize>, String);

/// Shorter texts are not masked: they would blacken every line.
const SHORTEST_MASKED: usize = 4;

impl Redactor {
    /// From now on masks this secret: raw, URL-encoded, JSON-escaped, base64, and quoted for SQL.
    pub fn learn(&self, secret: &Secret) {
        let text = secret.expose();
        if text.len() < SHORTEST_MASKED {
            return;
        }
        let json = serde_json::Value::from(text).to_string();
        let url: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
        let forms = [
            text.to_owned(),
            url.replace('+', "%20"),
            url,
            percent(text),
            json.trim_matches('"').to_owned(),
            text.replace('\'', "''"),
            base64::engine::general_purpose::STANDARD.encode(text),
            base64::engine::general_purpose::STANDARD_NO_PAD.encode(text),
            base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text),
        ];
        if let Ok(mut needles) = self.0.write() {
            needles.extend(forms.into_iter().map(|form| Needle(std::cmp::Reverse(form.len()), form)));
        }
    }

    /// True when the text holds a known secret. Plain short words are not counted: a password such as `postgres` cannot
    /// be told from a name, and refusing every row that holds the name would stop all work.
    #[must_use]
    pub fn finds(&self, text: &str) -> bool {
        let Ok(needles) = self.0.read() else { return true };
        needles.iter().any(|Needle(_, needle)| !is_plain_word(needle) && text.contains(needle.as_str()))
    }

    /// The text with every known secret masked.
    #[must_use]
    pub fn clean<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let Ok(needles) = self.0.read() else { return Cow::Borrowed(MASK) };
        let mut text = Cow::Borrowed(text);
        for Needle(_, needle) in needles.iter() {
            if text.contains(needle.as_str()) {
                text = Cow::Owned(text.replace(needle.as_str(), MASK));
            }
        }
        text
    }
}

fn is_plain_word(text: &str) -> bool {
    text.len() < 12 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// The strictest URL encoding: every byte that is not a letter or digit.
fn percent(text: &str) -> String {
    let encode = |byte: u8| {
        if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::{Redactor, Secret};

    #[test]
    fn masks_raw_and_encoded_forms() {
        let redactor = Redactor::default();
        redactor.learn(&Secret::new("p@ss w\"ord/1'"));
        for leak in ["p@ss w\"ord/1'", "p%40ss+w%22ord%2F1%27", "p%40ss%20w%22ord%2F1%27", "cEBzcyB3Im9yZC8xJw"] {
            let clean = redactor.clean(leak).into_owned();
            assert!(clean.starts_with("***") && clean.len() < 8, "{leak} -> {clean}");
        }
        assert_eq!(redactor.clean("nothing here"), "nothing here");
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "***");
    }
}
