//! What two sides do not have in common, found by kind and name. Used for definitions and for rows.

use std::collections::BTreeMap;

use super::record::{Field, record};
use crate::base::Value;

/// In which way the sides differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// It is there and not here.
    Missing,
    /// It is here and not there.
    Extra,
    /// It is on both sides, and not the same.
    Changed,
}

impl Change {
    /// `missing`, `extra` or `changed`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Changed => "changed",
        }
    }
}

impl Field for Change {
    fn to_value(&self) -> Value {
        Value::from(self.name())
    }

    fn from_value(value: &Value) -> Option<Self> {
        let name = value.as_text()?;
        [Self::Missing, Self::Extra, Self::Changed].into_iter().find(|change| change.name() == name)
    }
}

record! {
    /// One thing in which two sides differ. "There" is the side that was given first, in an upgrade BLUE.
    pub struct Difference {
        /// What it is: `table`, `index`, `rows`, ..
        pub kind: String,
        /// Its name with its schema; quoted where a bare name would mean something else.
        pub name: String,
        /// In which way the sides differ.
        pub what: Change,
        /// How it is on the first side. Of a changed definition only the lines that the other side lacks.
        pub there: Option<String>,
        /// How it is on the second side.
        pub here: Option<String>,
    }
}

/// What can be compared: it has a kind and a name that no other of its side has.
pub(super) trait Comparable {
    fn key(&self) -> (String, String);
    /// Whether nothing has to be reported about it and its counterpart.
    fn equals(&self, other: &Self) -> bool;
    /// What it is, in words; with a counterpart, what sets it apart from that.
    fn show(&self, other: Option<&Self>) -> String;
}

/// What the two sides have under one key.
type Pair<'a, T> = (Option<&'a T>, Option<&'a T>);

/// All differences, by kind and name.
pub(super) fn differences<T: Comparable>(there: &[T], here: &[T]) -> Vec<Difference> {
    let mut pairs: BTreeMap<(String, String), Pair<'_, T>> = BTreeMap::new();
    for item in there {
        pairs.entry(item.key()).or_default().0 = Some(item);
    }
    for item in here {
        pairs.entry(item.key()).or_default().1 = Some(item);
    }
    let difference = |((kind, name), pair): ((String, String), Pair<'_, T>)| {
        let what = match pair {
            (Some(there), Some(here)) if there.equals(here) => return None,
            (Some(_), Some(_)) => Change::Changed,
            (Some(_), None) => Change::Missing,
            (None, _) => Change::Extra,
        };
        let show = |one: Option<&T>, other: Option<&T>| one.map(|one| one.show(other));
        Some(Difference { kind, name, what, there: show(pair.0, pair.1), here: show(pair.1, pair.0) })
    };
    pairs.into_iter().filter_map(difference).collect()
}

/// A name as people write it in SQL: bare where only lower-case letters, digits and underscores make it up. Whether a
/// name is a keyword differs between versions of PostgreSQL (`json` is one from 17 on), so that is no reason to quote.
pub(super) fn spelled(name: &str) -> String {
    if is_bare(name) { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// Whether the name needs no quotes for its letters.
pub(super) fn is_bare(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::{Change, Comparable, Difference, differences, spelled};
    use crate::pg::Record as _;

    struct Thing(&'static str, i64);

    impl Comparable for Thing {
        fn key(&self) -> (String, String) {
            ("thing".into(), self.0.into())
        }
        fn equals(&self, other: &Self) -> bool {
            self.1 == other.1
        }
        fn show(&self, other: Option<&Self>) -> String {
            other.map_or_else(|| self.1.to_string(), |other| format!("{} not {}", self.1, other.1))
        }
    }

    /// The direction must not be confused: what is missing is lost by a cutover, what is extra is not.
    #[test]
    fn each_side_is_told_from_the_other() {
        let there = [Thing("both", 1), Thing("moved", 1), Thing("old", 1)];
        let here = [Thing("moved", 2), Thing("new", 3), Thing("both", 1)];
        let found = differences(&there, &here);
        let shown: Vec<_> =
            found.iter().map(|d| (d.name.as_str(), d.what, d.there.as_deref(), d.here.as_deref())).collect();
        let expected = [
            ("moved", Change::Changed, Some("1 not 2"), Some("2 not 1")),
            ("new", Change::Extra, None, Some("3")),
            ("old", Change::Missing, Some("1"), None),
        ];
        assert_eq!(shown, expected);
        let map = found[0].to_map();
        assert_eq!(map["what"].as_text(), Some("changed"));
        assert_eq!(Difference::from_map(&map).unwrap(), found[0]);
    }

    #[test]
    fn names_are_quoted_for_their_letters_alone() {
        for (name, text) in [("json", "json"), ("a_1", "a_1"), ("1a", "\"1a\""), ("Ä\"b", "\"Ä\"\"b\""), ("", "\"\"")]
        {
            assert_eq!(spelled(name), text);
        }
    }
}
