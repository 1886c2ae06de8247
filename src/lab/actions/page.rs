//! Long lists in pages, as both services cut them. A marker is opaque to callers: it holds place and name of the last
//! item shown, so that items which come or go between two calls neither repeat nor hide others.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::lab::{
    json::Members,
    query::Query,
    refusal::{Outcome, Refusal},
    xml::Element,
};

/// The last item of a page.
struct Last {
    place: usize,
    name: String,
}

impl Last {
    fn read(marker: &str) -> Option<Self> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(marker).ok()?).ok()?;
        let (place, name) = text.split_once(' ')?;
        Some(Self { place: place.parse().ok()?, name: name.to_owned() })
    }
}

/// At most `most` items after the last one shown, and the marker of the next page if there is one.
fn cut<T>(items: Vec<(String, T)>, after: Option<&Last>, most: usize) -> (Vec<T>, Option<String>) {
    // Where the last one is gone, its successor has taken its place.
    let start = after
        .map_or(0, |last| items.iter().position(|(name, _)| *name == last.name).map_or(last.place, |place| place + 1));
    let next = (items.len() > start + most).then(|| {
        let place = start + most - 1;
        URL_SAFE_NO_PAD.encode(format!("{place} {}", items[place].0))
    });
    (items.into_iter().skip(start).take(most).map(|(_, item)| item).collect(), next)
}

/// Paging of RDS: `MaxRecords` from 20 to 100, `Marker`.
pub(super) struct Page {
    most: usize,
    after: Option<Last>,
}

impl Page {
    pub(super) fn read(query: &Query) -> Outcome<Self> {
        let most = query.integer("MaxRecords")?.unwrap_or(100);
        if !(20..=100).contains(&most) {
            return Err(Refusal::value(format!("Invalid value {most} for MaxRecords. Must be between 20 and 100")));
        }
        let after = match query.text("Marker") {
            Some(text) => Some(Last::read(text).ok_or_else(|| Refusal::value(format!("Invalid marker {text}")))?),
            None => None,
        };
        Ok(Self { most: usize::try_from(most).unwrap_or(100), after })
    }

    /// A result with one page of the items in `list`; the items come with their names.
    pub(super) fn result(&self, list: &str, items: Vec<(String, Element)>) -> Element {
        let (shown, next) = cut(items, self.after.as_ref(), self.most);
        Element::new("Result").list(list, shown).maybe("Marker", next)
    }
}

/// Paging of Secrets Manager: `MaxResults`, `NextToken`.
pub(super) struct JsonPage {
    most: usize,
    after: Option<Last>,
}

impl JsonPage {
    /// A page of at most `most` items.
    pub(super) fn read(members: &Members, most: usize) -> Outcome<Self> {
        let limit = i64::try_from(most).unwrap_or(100);
        let wanted = members.number("MaxResults", 1..=limit)?.unwrap_or(limit);
        let wrong = || Refusal::new("InvalidNextTokenException", "The NextToken value is invalid.");
        let after = members.within("NextToken", 1..=4096)?.map(|token| Last::read(token).ok_or_else(wrong));
        Ok(Self { most: usize::try_from(wanted).unwrap_or(most), after: after.transpose()? })
    }

    /// An answer with one page of the items, which come with their names.
    pub(super) fn answer(&self, list: &str, items: Vec<(String, Value)>) -> Value {
        let (shown, next) = cut(items, self.after.as_ref(), self.most);
        let mut answer = json!({ list: shown });
        if let Some(next) = next {
            answer["NextToken"] = json!(next);
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::{Last, cut};

    #[test]
    fn pages_neither_repeat_nor_hide() {
        let items = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), (*name).to_owned())).collect();
        let (first, next) = cut(items(&["c", "b", "a"]), None, 2);
        assert_eq!(first, ["c", "b"]);
        let last = Last::read(&next.unwrap()).unwrap();
        assert_eq!(cut(items(&["c", "b", "a"]), Some(&last), 2), (vec!["a".into()], None));
        assert_eq!(cut(items(&["c", "a"]), Some(&last), 2), (vec!["a".into()], None), "the last one shown is gone");
        assert_eq!(cut(items(&["d", "c", "b", "a"]), Some(&last), 2), (vec!["a".into()], None), "one came before");
        assert_eq!(cut(items(&["a", "b"]), None, 2).1, None);
        assert!(Last::read("nonsense").is_none());
    }
}
