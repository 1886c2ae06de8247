//! The lines of a journal: an event with its place, chained by hashes, with secrets masked.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::event::{Event, Key};
use crate::{
    base::{Code, Result},
    fail,
};

/// The version of the line format. Readers accept every version up to this one.
pub const FORMAT: u32 = 1;

/// Masks secrets on their way into the journal.
pub struct Masks<'a> {
    /// For sentences: masks every known secret, at the price of words that look like one.
    pub prose: &'a dyn Fn(&str) -> String,
    /// For what a recovery reads back (keys, values, parameters, commands): masks only what cannot be anything but a
    /// secret. A password such as `postgres` would otherwise turn the user `postgres` into stars on resume.
    pub exact: &'a dyn Fn(&str) -> String,
}

/// How deeply a body may be nested: as deep as a line can be read again. `serde_json` refuses the 128th level, so that
/// no text exhausts its stack, and the line itself is one.
const DEPTH: usize = 126;

/// The fields that hold sentences.
const PROSE: [&str; 3] = ["message", "details", "text"];

/// One line of the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Counts the lines from 1.
    pub seq: u64,
    /// Counts the processes that worked on the run, from 1.
    pub epoch: u32,
    /// Wall clock, RFC 3339 in UTC.
    pub at: String,
    /// Which step or phase; empty for the run itself.
    pub key: Key,
    /// Counts the times a step's body was begun; 0 for events that have none.
    pub attempt: u32,
    /// What happened.
    pub event: Event,
    /// The hash of the line before; 64 zeros in the first one.
    pub prev: String,
    /// SHA-256 over the line's bytes before `,"hash"`.
    pub hash: String,
}

/// What stands before the first line.
pub const FIRST_PREV: &str = "0000000000000000000000000000000000000000000000000000000000000000";

const HASH_FIELD: &str = ",\"hash\":\"";

#[derive(Serialize, Deserialize)]
struct Line {
    v: u32,
    seq: u64,
    epoch: u32,
    at: String,
    kind: String,
    key: Key,
    attempt: u32,
    body: Json,
    prev: String,
}

impl Record {
    /// The line for the file, without the line feed, and its hash.
    pub fn encode(&self, masks: &Masks) -> Result<(String, String)> {
        let broken = |error: serde_json::Error| fail!(Code::Internal, "an event cannot be written as JSON: {error}");
        let event = serde_json::to_value(&self.event).map_err(broken)?;
        let kind = self.event.kind().to_owned();
        let mut body = event.get("body").cloned().unwrap_or(Json::Null);
        if !is_flat(&body, DEPTH) {
            return Err(fail!(
                Code::NotJournalable,
                "a value of the event `{kind}` is nested deeper than {DEPTH} levels"
            )
            .hint("give a flat list or map in its place"));
        }
        let values_are_exact = matches!(self.event, Event::Done { .. } | Event::RunStarted(_));
        mask(&mut body, masks, !values_are_exact, false);
        let key = self.key.iter().map(|part| (masks.exact)(part)).collect();
        let line = Line {
            v: FORMAT,
            seq: self.seq,
            epoch: self.epoch,
            at: self.at.clone(),
            kind,
            key,
            attempt: self.attempt,
            body,
            prev: self.prev.clone(),
        };
        let mut text = serde_json::to_string(&line).map_err(broken)?;
        text.pop();
        let hash = hex(&Sha256::digest(text.as_bytes()));
        text.push_str(HASH_FIELD);
        text.push_str(&hash);
        text.push_str("\"}");
        Ok((text, hash))
    }

    /// Reads a line and checks its own hash; the chain is checked by the reader of the file.
    pub fn decode(text: &str) -> Result<Self> {
        let damaged = |why: &str| fail!(Code::JournalDamaged, "{why}");
        let end = text.len().checked_sub(HASH_FIELD.len() + 64 + 2).ok_or_else(|| damaged("the line is too short"))?;
        if !text.is_char_boundary(end) || !text[end..].starts_with(HASH_FIELD) || !text.ends_with("\"}") {
            return Err(damaged("the line does not end in its hash"));
        }
        let hash = &text[end + HASH_FIELD.len()..text.len() - 2];
        let found = hex(&Sha256::digest(&text.as_bytes()[..end]));
        if hash != found {
            return Err(damaged("the line's hash does not fit its text: it was changed"));
        }
        let line: Line = serde_json::from_str(&format!("{}}}", &text[..end]))
            .map_err(|error| damaged(&format!("the line is no journal record: {error}")))?;
        if line.v > FORMAT {
            return Err(fail!(Code::JournalDamaged, "the line has format {}, this pgrun reads up to {FORMAT}", line.v)
                .hint("use the pgrun version that began the run, or a newer one"));
        }
        let event = serde_json::from_value(serde_json::json!({ "kind": line.kind, "body": line.body }))
            .map_err(|error| damaged(&format!("the event `{}` cannot be read: {error}", line.kind)))?;
        Ok(Self {
            seq: line.seq,
            epoch: line.epoch,
            at: line.at,
            key: line.key,
            attempt: line.attempt,
            event,
            prev: line.prev,
            hash: hash.to_owned(),
        })
    }
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// True when nothing is nested deeper than some levels.
fn is_flat(json: &Json, levels: usize) -> bool {
    match json {
        Json::Array(items) => levels > 0 && items.iter().all(|item| is_flat(item, levels - 1)),
        Json::Object(map) => levels > 0 && map.values().all(|item| is_flat(item, levels - 1)),
        _ => true,
    }
}

/// Masks the texts of a body; `has_prose` tells whether its fields of that name hold sentences.
fn mask(json: &mut Json, masks: &Masks, has_prose: bool, is_prose: bool) {
    match json {
        Json::String(text) => *text = if is_prose { (masks.prose)(text) } else { (masks.exact)(text) },
        Json::Array(items) => items.iter_mut().for_each(|item| mask(item, masks, has_prose, is_prose)),
        Json::Object(map) => {
            for (name, item) in map {
                // What a script threw is read back as it was, whatever its keys are called.
                let has_prose = has_prose && name != "thrown";
                mask(item, masks, has_prose, has_prose && (is_prose || PROSE.contains(&name.as_str())));
            }
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::{Event, FIRST_PREV, Masks, Record};
    use crate::journal::{Fault, How};

    const PLAIN: Masks = Masks { prose: &|text| text.to_owned(), exact: &|text| text.to_owned() };

    fn record(event: Event) -> Record {
        Record {
            seq: 7,
            epoch: 1,
            at: "2026-11-20T15:12:07.000Z".into(),
            key: vec!["prepare".into(), "take the \"snapshot\"".into()],
            attempt: 1,
            event,
            prev: FIRST_PREV.into(),
            hash: String::new(),
        }
    }

    #[test]
    fn a_line_comes_back_as_it_was_written() {
        let done = Event::Done { value: serde_json::json!({"id": "s,\"hash\":\"x"}), how: How::Ran, ms: 5 };
        for event in [done, Event::Intent, Event::Finished, Event::Noted { text: "é🙂".into() }] {
            let mut record = record(event);
            let (line, hash) = record.encode(&PLAIN).unwrap();
            record.hash = hash;
            assert_eq!(Record::decode(&line).unwrap(), record);
            assert!(line.contains(&format!("\"kind\":\"{}\"", record.event.kind())));
        }
    }

    #[test]
    fn any_changed_byte_is_found() {
        let (line, _) = record(Event::Intent).encode(&PLAIN).unwrap();
        for at in 0..line.len() {
            let mut bytes = line.clone().into_bytes();
            bytes[at] ^= 1;
            if let Ok(text) = String::from_utf8(bytes) {
                assert!(Record::decode(&text).is_err(), "byte {at}: {text}");
            }
        }
    }

    /// A password that looks like a word is masked in sentences and nowhere else: what is read back must be as it was.
    #[test]
    fn sentences_are_masked_more_than_values() {
        let masks = Masks { prose: &|text| text.replace("postgres", "***"), exact: &|text| text.to_owned() };
        let user = serde_json::json!({ "user": "postgres", "message": "postgres", "text": ["postgres"] });
        let line = |event| record(event).encode(&masks).unwrap().0;
        assert!(!line(Event::Done { value: user.clone(), how: How::Ran, ms: 5 }).contains("***"));
        let mut error = Fault {
            code: "pg_auth".into(),
            message: "postgres/postgres".into(),
            hint: Some("pgrun resume postgres".into()),
            details: [("detail".to_owned(), "postgres".to_owned())].into(),
            unknown: false,
            place: None,
            thrown: None,
        };
        let failed = line(Event::Failed { error: error.clone(), ms: 1 });
        assert!(
            failed.contains("\"***/***\"")
                && failed.contains("\"detail\":\"***\"")
                && failed.contains("resume postgres")
        );
        error.thrown = Some(user);
        assert_eq!(line(Event::Failed { error, ms: 1 }).matches("postgres").count(), 4);
    }
}
