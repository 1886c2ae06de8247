//! Writing answers of the AWS Query protocol.

use std::fmt::Display;

use quick_xml::escape::escape;

use super::refusal::Refusal;

const NAMESPACE: &str = "http://rds.amazonaws.com/doc/2014-10-31/";

/// An element with its content.
#[derive(Clone, Debug)]
pub(crate) struct Element {
    name: String,
    content: String,
}

impl Element {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), content: String::new() }
    }

    /// The same content under another name.
    pub(crate) fn named(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    /// Adds text between the tags.
    pub(crate) fn value(mut self, value: impl Display) -> Self {
        let value: String = value.to_string().chars().filter(|c| is_xml(*c)).collect();
        self.content.push_str(&escape(value));
        self
    }

    /// Adds `<name>value</name>`.
    pub(crate) fn text(self, name: &str, value: impl Display) -> Self {
        self.child(Element::new(name).value(value))
    }

    /// Adds the value if there is one; AWS leaves out what is not set.
    pub(crate) fn maybe(self, name: &str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.text(name, value),
            None => self,
        }
    }

    pub(crate) fn child(mut self, child: Element) -> Self {
        self.content.push_str(&child.print());
        self
    }

    /// Adds `<name>` with the items in it, also when there are none.
    pub(crate) fn list(self, name: &str, items: impl IntoIterator<Item = Element>) -> Self {
        self.child(items.into_iter().fold(Element::new(name), Element::child))
    }

    fn print(self) -> String {
        format!("<{0}>{1}</{0}>", self.name, self.content)
    }
}

/// XML 1.0 has no way to carry other control characters, and a carriage return would come out as a line feed.
fn is_xml(c: char) -> bool {
    matches!(c, '\n' | '\t') || (c >= ' ' && !matches!(c, '\u{FFFE}' | '\u{FFFF}'))
}

/// The whole answer to an action. Without a result, as for tags, there is no `Result` element.
pub(crate) fn answer(action: &str, result: Option<Element>, request_id: &str) -> String {
    let metadata = Element::new("ResponseMetadata").text("RequestId", request_id).print();
    let result = result.map(|mut element| {
        element.name = format!("{action}Result");
        element.print()
    });
    let result = result.unwrap_or_default();
    format!("<{action}Response xmlns=\"{NAMESPACE}\">{result}{metadata}</{action}Response>")
}

/// The whole answer when an action is refused.
pub(crate) fn refusal(refusal: &Refusal, request_id: &str) -> String {
    let blame = if refusal.status < 500 { "Sender" } else { "Receiver" };
    let error = Element::new("Error").text("Type", blame).text("Code", refusal.code).text("Message", &refusal.message);
    let content = Element::new("x").child(error).text("RequestId", request_id).content;
    format!("<ErrorResponse xmlns=\"{NAMESPACE}\">{content}</ErrorResponse>")
}

#[cfg(test)]
mod tests {
    use super::{Element, answer};

    #[test]
    fn texts_are_escaped_and_cleaned() {
        let element = Element::new("R").text("A", "a <b> & \"c\" é\u{1}\r\n").list("L", []).maybe("N", None::<u8>);
        let text = answer("Do", Some(element), "id");
        assert!(text.contains("<DoResult><A>a &lt;b&gt; &amp; &quot;c&quot; é\n</A><L></L></DoResult>"), "{text}");
        assert!(!answer("Do", None, "id").contains("DoResult"));
    }
}
