//! Waivers given beforehand: which finding each means, and for what reason. The word that uses them is
//! `words/waive.rs`.

use std::collections::BTreeSet;

use crate::{
    aws,
    base::{Code, Finding, Result, prose},
    fail, pg,
};

/// `ID=REASON`, or `ID:OBJECT=REASON` for one object. Objects may hold `=` and `:` themselves, so which part is the
/// object is decided by what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waive {
    /// As it was given.
    pub text: String,
    /// The check.
    pub id: String,
    /// The reason, or object and reason.
    rest: Rest,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rest {
    Reason(String),
    Object(String),
}

impl Waive {
    /// Reads one as it was given.
    ///
    /// # Errors
    /// `usage` for one without an id or without a reason in words.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |what: &str| {
            fail!(Code::Usage, "got `--waive {text}`, {what}")
                .hint("--waive ID=\"reason\", or --waive ID:OBJECT=\"reason\" for one object only")
        };
        let at = text.find([':', '=']).ok_or_else(|| wrong("which has no reason"))?;
        let (id, rest) = (&text[..at], &text[at + 1..]);
        if id.is_empty() {
            return Err(wrong("which names no check"));
        }
        let said = if text[at..].starts_with(':') { rest.rsplit_once('=').map(|(_, said)| said) } else { Some(rest) };
        let reason = said.and_then(reason).ok_or_else(|| wrong("which has no reason in words"))?;
        let rest = if text[at..].starts_with(':') { Rest::Object(rest.to_owned()) } else { Rest::Reason(reason) };
        Ok(Self { text: text.to_owned(), id: id.to_owned(), rest })
    }

    /// Which of these findings it waives, and why.
    #[must_use]
    pub fn waives<'a>(&self, findings: &[&'a Finding]) -> Vec<(&'a Finding, String)> {
        let of_id = findings.iter().copied().filter(|finding| finding.id == self.id);
        let rest = match &self.rest {
            Rest::Reason(reason) => return of_id.map(|finding| (finding, reason.clone())).collect(),
            Rest::Object(rest) => rest,
        };
        let mut found: Vec<(usize, &Finding, String)> = vec![];
        for finding in of_id {
            for name in [finding.place(), finding.object.clone()] {
                let said = rest.strip_prefix(name.as_str()).and_then(|rest| rest.strip_prefix('='));
                if let Some(reason) = said.and_then(reason) {
                    found.push((name.len(), finding, reason));
                    break;
                }
            }
        }
        // Of `a` and `a=b` the longer one is meant, where both are there.
        let longest = found.iter().map(|(length, ..)| *length).max();
        found.retain(|(length, ..)| Some(*length) == longest);
        found.into_iter().map(|(_, finding, reason)| (finding, reason)).collect()
    }

    /// True when it names one object: it goes before one that waives all of an id.
    #[must_use]
    pub fn is_of_one(&self) -> bool {
        matches!(self.rest, Rest::Object(_))
    }
}

/// A reason in words: on one line, and more than a place holder or a no. `None` for anything else.
#[must_use]
pub fn reason(text: &str) -> Option<String> {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let words = clean.split_whitespace().collect::<Vec<_>>().join(" ");
    let is_no = matches!(words.to_ascii_lowercase().as_str(), "n" | "no");
    (words.chars().any(char::is_alphanumeric) && !is_no).then_some(words)
}

/// The flags that would waive these findings, with `..` in the place of the reasons.
#[must_use]
pub fn flags(findings: &[&Finding]) -> String {
    /// More than this many objects are waived by their ids: the command has to be readable.
    const MANY: usize = 8;
    let of_one = |finding: &&Finding| {
        let twins = findings.iter().filter(|other| other.id == finding.id && other.object == finding.object);
        let name = if twins.count() > 1 { finding.place() } else { finding.object.clone() };
        format!("{}:{name}=..", finding.id)
    };
    let all: BTreeSet<String> = if findings.len() > MANY {
        findings.iter().map(|finding| format!("{}=..", finding.id)).collect()
    } else {
        findings.iter().map(of_one).collect()
    };
    all.iter().flat_map(|one| [" --waive ".to_owned(), prose::shell_word(one)]).collect()
}

/// Every id must be one that pgrun knows or that stands in the runbook.
///
/// # Errors
/// `usage`, listing the known ones.
pub fn require_known(given: &[Waive], of_runbook: &BTreeSet<String>) -> Result<()> {
    let own = pg::inventory::ids().chain(aws::inventory::IDS).map(str::to_owned);
    let known: BTreeSet<String> = of_runbook.iter().cloned().chain(own).collect();
    let Some(unknown) = given.iter().find(|waive| !known.contains(&waive.id)) else { return Ok(()) };
    let names: Vec<&str> = known.iter().map(String::as_str).collect();
    let error = fail!(
        Code::Usage,
        "got `--waive {}`: no check has the id `{}`; known are {}",
        unknown.text,
        unknown.id,
        prose::ticked_list(&names, names.len())
    );
    Err(match prose::nearest(&unknown.id, names.iter().copied()) {
        Some(near) => error.hint(format!("meant `{near}`?")),
        None => error,
    })
}

#[cfg(test)]
mod tests {
    use super::{Waive, flags, reason};
    use crate::base::{Finding, Verdict};

    fn finding(id: &str, database: &str, object: &str) -> Finding {
        let text = |text: &str| text.to_owned();
        Finding {
            id: text(id),
            verdict: Verdict::Stop,
            database: text(database),
            object: text(object),
            text: text("it is so"),
            hint: text("mend it"),
        }
    }

    /// A waiver must not reach further than its words.
    #[test]
    fn a_waiver_is_of_an_id_or_of_one_object() {
        let all = [
            finding("unlogged", "shop", "public.a"),
            finding("unlogged", "shop", "public.\"a=b: c\""),
            finding("unlogged", "other", "public.a"),
            finding("reg_type", "shop", "public.a"),
        ];
        let all: Vec<&Finding> = all.iter().collect();
        let waived = |text: &str| {
            let places = Waive::parse(text).unwrap().waives(&all);
            places.into_iter().map(|(found, why)| (found.place(), why)).collect::<Vec<_>>()
        };
        let is = |text: &str, places: &[&str], why: &str| {
            let wanted: Vec<_> = places.iter().map(|place| ((*place).to_owned(), why.to_owned())).collect();
            assert_eq!(waived(text), wanted, "{text}");
        };
        is("unlogged=a cache = fine", &["shop:public.a", "shop:public.\"a=b: c\"", "other:public.a"], "a cache = fine");
        is("unlogged:public.a=a cache", &["shop:public.a", "other:public.a"], "a cache");
        is("unlogged:other:public.a=a\n cache", &["other:public.a"], "a cache");
        is("unlogged:public.\"a=b: c\"=x", &["shop:public.\"a=b: c\""], "x");
        is("unlogged:public=x", &[], "");
        is("unlogge=x", &[], "");
    }

    /// An object whose name goes on with `=` is not taken for a shorter one with a reason.
    #[test]
    fn the_longer_object_is_meant() {
        let both = [finding("i", "", "a"), finding("i", "", "a=b")];
        let both: Vec<&Finding> = both.iter().collect();
        let waived = Waive::parse("i:a=b=why").unwrap().waives(&both);
        assert_eq!(waived, [(both[1], "why".to_owned())]);
    }

    #[test]
    fn a_reason_is_words() {
        for text in [
            "unlogged",
            "unlogged=",
            "unlogged= ",
            "unlogged=..",
            "unlogged=no",
            "unlogged:t",
            "unlogged:t=",
            "=x",
            ":t=x",
        ] {
            assert!(Waive::parse(text).is_err(), "{text}");
        }
        assert_eq!(reason(" a\tb\u{1b} "), Some("a b".into()));
    }

    /// What is printed waives exactly what stopped, once the reasons are filled in.
    #[test]
    fn the_flags_name_every_object() {
        let all = [finding("i", "x", "it's"), finding("i", "y", "it's"), finding("j", "x", "o")];
        let all: Vec<&Finding> = all.iter().collect();
        assert_eq!(flags(&all), r" --waive 'i:x:it'\''s=..' --waive 'i:y:it'\''s=..' --waive j:o=..");
        let many: Vec<Finding> = (0..9).map(|n| finding("i", "", &n.to_string())).collect();
        assert_eq!(flags(&many.iter().collect::<Vec<_>>()), " --waive i=..");
    }
}
