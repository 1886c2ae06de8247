//! The one error type: facts, not sentences. Words are made of it once, by `cli/ui` and the script diagnostics.

use std::{borrow::Cow, fmt};

use super::code::Code;

/// The result of everything in pgrun that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, as facts.
#[derive(Clone)]
pub struct Error(Box<Facts>);

#[derive(Clone)]
struct Facts {
    code: Code,
    message: String,
    hint: Option<String>,
    details: Vec<(Cow<'static, str>, String)>,
    unknown: bool,
}

impl Error {
    /// An error with its code and one lower-case sentence without a final dot.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let unknown = matches!(code, Code::PgLost | Code::AwsUnknown);
        Self(Box::new(Facts { code, message: message.into(), hint: None, details: Vec::new(), unknown }))
    }

    /// Says what to do next, where possible a command that can be run.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds a fact such as `sqlstate`, `aws_code`, `request_id`, `detail` or `server`.
    #[must_use]
    pub fn detail(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        self.0.details.push((name.into(), value.into()));
        self
    }

    /// Marks the outcome as unknown: the action may have taken effect.
    #[must_use]
    pub fn unknown(mut self) -> Self {
        self.0.unknown = true;
        self
    }

    /// Puts words in front of the message: what pgrun was doing.
    #[must_use]
    pub fn during(mut self, doing: impl fmt::Display) -> Self {
        self.0.message = format!("{doing}: {}", self.0.message);
        self
    }

    /// The same error under another code.
    #[must_use]
    pub fn with_code(mut self, code: Code) -> Self {
        self.0.code = code;
        self
    }

    /// The code of the table.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The sentence, without code and hint.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What to do next, if it is known.
    #[must_use]
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// All further facts, in the order they were added.
    #[must_use]
    pub fn details(&self) -> &[(Cow<'static, str>, String)] {
        &self.0.details
    }

    /// One fact by name.
    #[must_use]
    pub fn fact(&self, name: &str) -> Option<&str> {
        self.0.details.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// True when the action may have taken effect although it failed.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.0.unknown
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error[{}]: {}", self.0.code.name(), self.0.message)?;
        for (name, value) in &self.0.details {
            write!(f, "; {name}: {value}")?;
        }
        if let Some(hint) = &self.0.hint {
            write!(f, "; hint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// Makes an error with a formatted message: `fail!(Code::Usage, "got {x}, wanted {y}")`.
#[macro_export]
macro_rules! fail {
    ($code:expr, $($format:tt)+) => { $crate::base::Error::new($code, format!($($format)+)) };
}
