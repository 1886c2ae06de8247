//! A clock of AWS that is off, as a client sees it whose own clock is wrong: every date that AWS tells is shifted,
//! and every date that it is told is shifted back. What the lab keeps stays right, so that all is as before when the
//! fault is over.

use serde_json::{Value, json};

/// Shifts the dates in an answer of the Query protocol: elements that hold nothing but a timestamp.
pub(crate) fn xml(text: &str, ms: i64) -> String {
    if ms == 0 {
        return text.to_owned();
    }
    let mut shifted = String::with_capacity(text.len());
    for (number, piece) in text.split('>').enumerate() {
        if number > 0 {
            shifted.push('>');
        }
        match piece.split_once('<').and_then(|(content, rest)| Some((timestamp(content, ms)?, rest))) {
            Some((content, rest)) => shifted.extend([content.as_str(), "<", rest]),
            None => shifted.push_str(piece),
        }
    }
    shifted
}

/// Shifts a timestamp as AWS writes it; `None` for any other text.
pub(crate) fn timestamp(text: &str, ms: i64) -> Option<String> {
    let looks_so = text.len() >= 20 && text.as_bytes()[10] == b'T' && text.ends_with('Z');
    let at: jiff::Timestamp = text.parse().ok().filter(|_| looks_so)?;
    Some(format!("{:.3}", at.checked_add(jiff::SignedDuration::from_millis(ms)).ok()?))
}

/// Shifts the dates in an answer of Secrets Manager: seconds since 1970, in members whose names end so.
#[expect(clippy::cast_precision_loss, reason = "a skew has few digits")]
pub(crate) fn json(value: &mut Value, ms: i64) {
    match value {
        _ if ms == 0 => {}
        Value::Object(members) => {
            for (name, member) in members {
                match member.as_f64().filter(|_| name.ends_with("Date")) {
                    Some(seconds) => *member = json!(seconds + ms as f64 / 1000.0),
                    None => json(member, ms),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| json(item, ms)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn dates_are_shifted_and_nothing_else() {
        let text = "<R><Date>2026-11-20T21:59:30.500Z</Date><Name>2026</Name><Log>at 2026-11-20T21:59:30Z x</Log></R>";
        let told = super::xml(text, 60_000);
        assert_eq!(told, text.replace("21:59:30.500Z", "22:00:30.500Z"));
        assert_eq!(super::xml(&told, -60_000), text);
        let mut answer = json!({ "CreatedDate": 10.5, "Name": "x", "List": [{ "NextRotationDate": 20.0, "Days": 7 }] });
        super::json(&mut answer, -1500);
        assert_eq!(
            answer,
            json!({ "CreatedDate": 9.0, "Name": "x", "List": [{ "NextRotationDate": 18.5, "Days": 7 }] })
        );
    }
}
