//! What an inventory found: one shape for PostgreSQL, AWS and whatever a runbook looks for itself.

use super::{Map, Value};
use crate::map;

/// What a finding does to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The run ends before anything is changed, unless somebody waives the finding with a reason.
    Stop,
    /// A person should know.
    Warn,
    /// Worth a line in the journal.
    Info,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Stop, Self::Warn, Self::Info];

    /// The word in scripts and the journal.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Warn => "warn",
            Self::Info => "info",
        }
    }

    /// The verdict of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.name() == name)
    }
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The check; waivers hang on it.
    pub id: String,
    /// What it does to a run.
    pub verdict: Verdict,
    /// The database; empty for what is about the whole server or account.
    pub database: String,
    /// What it is about, quoted as in SQL.
    pub object: String,
    /// What it means.
    pub text: String,
    /// What to do; empty where there is nothing to say.
    pub hint: String,
}

impl Finding {
    /// The finding for scripts.
    #[must_use]
    pub fn to_map(&self) -> Map {
        map! {
            "id" => self.id.as_str(), "verdict" => self.verdict.name(), "database" => self.database.as_str(),
            "object" => self.object.as_str(), "text" => self.text.as_str(), "hint" => self.hint.as_str(),
        }
    }

    /// Reads a finding of a script. `database` and `hint` may be left out.
    ///
    /// # Errors
    /// What is missing or wrong, in words.
    pub fn from_value(value: &Value) -> Result<Self, String> {
        let map = value.as_map().ok_or_else(|| format!("got a {}, wanted a map", value.type_name()))?;
        let text = |name: &str| map.get(name).and_then(Value::as_text).map(str::to_owned);
        let need = |name: &str| {
            let given = text(name).filter(|text| !text.trim().is_empty());
            given.ok_or_else(|| format!("`{name}` is missing or no text"))
        };
        let verdict = need("verdict")?;
        Ok(Self {
            id: need("id")?,
            verdict: Verdict::named(&verdict).ok_or_else(|| format!("got the verdict `{verdict}`"))?,
            database: text("database").unwrap_or_default(),
            object: need("object")?,
            text: need("text")?,
            hint: text("hint").unwrap_or_default(),
        })
    }

    /// The object with its database: `shop:public.orders`.
    #[must_use]
    pub fn place(&self) -> String {
        if self.database.is_empty() { self.object.clone() } else { format!("{}:{}", self.database, self.object) }
    }

    /// True for two reports of the same thing, whatever their texts say.
    #[must_use]
    pub fn is_same(&self, id: &str, database: &str, object: &str) -> bool {
        self.id == id && self.database == database && self.object == object
    }
}
