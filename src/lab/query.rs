//! Reading requests of the AWS Query protocol: form fields such as `Filters.Filter.1.Values.Value.2`.

use std::{collections::BTreeMap, ops::Bound};

use super::{
    refusal::{Outcome, Refusal},
    skew,
};

/// The fields of a request, or those below one item of a list in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query(BTreeMap<String, String>);

impl Query {
    pub(crate) fn parse(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body).into_owned().collect())
    }

    /// Every timestamp in it as the lab's own clock has it.
    pub(crate) fn shifted(mut self, ms: i64) -> Self {
        for value in self.0.values_mut().filter(|_| ms != 0) {
            if let Some(shifted) = skew::timestamp(value, ms) {
                *value = shifted;
            }
        }
        self
    }

    /// A field that is there and not empty.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A field that may be empty, such as the value of a parameter.
    pub(crate) fn raw(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(crate) fn required(&self, name: &str) -> Outcome<&str> {
        self.text(name)
            .ok_or_else(|| Refusal::new("MissingParameter", format!("The request must contain the parameter {name}.")))
    }

    pub(crate) fn boolean(&self, name: &str) -> Outcome<Option<bool>> {
        self.parsed(name, "true or false", |text| match text {
            "true" | "True" => Some(true),
            "false" | "False" => Some(false),
            _ => None,
        })
    }

    pub(crate) fn integer(&self, name: &str) -> Outcome<Option<i64>> {
        self.parsed(name, "an integer", |text| text.parse().ok())
    }

    /// A point in time as milliseconds since 1970.
    pub(crate) fn time_ms(&self, name: &str) -> Outcome<Option<u64>> {
        self.parsed(name, "an ISO 8601 timestamp", |text| {
            let at: jiff::Timestamp = text.parse().ok()?;
            u64::try_from(at.as_millisecond()).ok()
        })
    }

    fn parsed<T>(&self, name: &str, wanted: &str, read: impl Fn(&str) -> Option<T>) -> Outcome<Option<T>> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let wrong = || Refusal::new("MalformedInput", format!("{name} is {text:?} and must be {wanted}"));
        read(text).ok_or_else(wrong).map(Some)
    }

    /// The items of a list of structures: `Tags.Tag.1.Key` by `items("Tags", "Tag")`. Every SDK names the items as the
    /// model does; `member` is what older ones write.
    pub(crate) fn items(&self, list: &str, item: &str) -> Vec<Query> {
        let named = self.numbered(&format!("{list}.{item}."));
        if named.is_empty() { self.numbered(&format!("{list}.member.")) } else { named }
    }

    /// The items of a list of texts.
    pub(crate) fn texts(&self, list: &str, item: &str) -> Vec<String> {
        self.items(list, item).iter().filter_map(|item| item.text("").map(str::to_owned)).collect()
    }

    /// `PREFIX1.Key`, `PREFIX2` .. in the order of their numbers, which need not be without gaps.
    fn numbered(&self, prefix: &str) -> Vec<Query> {
        let mut found: BTreeMap<u32, Query> = BTreeMap::new();
        let from = (Bound::Included(prefix.to_owned()), Bound::Unbounded);
        for (key, value) in self.0.range(from).take_while(|(key, _)| key.starts_with(prefix)) {
            let rest = &key[prefix.len()..];
            let (number, field) = rest.split_once('.').unwrap_or((rest, ""));
            if let Ok(number) = number.parse() {
                found.entry(number).or_default().0.insert(field.to_owned(), value.clone());
            }
        }
        found.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Query;

    #[test]
    fn nested_lists_are_read_in_order() {
        let query = Query::parse(
            b"Action=X&Filters.Filter.2.Name=b&Filters.Filter.1.Name=a&Filters.Filter.1.Values.Value.1=x%20y\
              &Filters.Filter.1.Values.Value.10=z&Filters.Filter.1.Values.Value.2=%C3%A9&TagKeys.member.1=k&Empty=",
        );
        let filters = query.items("Filters", "Filter");
        assert_eq!(filters.len(), 2);
        assert_eq!(filters[0].text("Name"), Some("a"));
        assert_eq!(filters[0].texts("Values", "Value"), ["x y", "é", "z"]);
        assert_eq!(query.texts("TagKeys", "Tag"), ["k"]);
        assert_eq!((query.text("Empty"), query.raw("Empty")), (None, Some("")));
        assert_eq!(query.required("Nothing").unwrap_err().code, "MissingParameter");
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let query = Query::parse(b"Yes=maybe&Many=x&At=yesterday&Good=2026-11-20T12:00:00Z");
        assert!(query.boolean("Yes").is_err() && query.integer("Many").is_err() && query.time_ms("At").is_err());
        assert_eq!(query.time_ms("Good").unwrap(), Some(1_795_176_000_000));
    }
}
