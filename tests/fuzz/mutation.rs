//! Damage to journals: of bytes, of lines, and of what the lines say with hashes that fit again.

use rand::{Rng, rngs::StdRng};
use serde_json::{Value as Json, json};

use super::forger;

/// Makes inputs from recorded journals.
pub(super) struct Mutator<'a> {
    journals: &'a [Vec<u8>],
    random: StdRng,
}

/// Texts that readers of JSON, of UTF-8 or of this format have stumbled over.
const WORDS: &[&[u8]] = &[
    b"\n",
    b"\r\n",
    b"\0",
    b"\"",
    b"\\",
    b"\\ud800",
    b"{",
    b"}",
    b"[",
    b"null",
    b"-0",
    b"1e999",
    b"18446744073709551616",
    b"\xff",
    b"\xed\xa0\x80",
    b",\"hash\":\"",
    b"\"prev\":",
    b"\"kind\":\"done\"",
];

impl<'a> Mutator<'a> {
    pub(super) fn new(journals: &'a [Vec<u8>], random: StdRng) -> Self {
        Self { journals, random }
    }

    fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { self.random.random_range(0..end) }
    }

    fn journal(&mut self) -> &'a [u8] {
        let number = self.below(self.journals.len());
        &self.journals[number]
    }

    /// The next input.
    pub(super) fn input(&mut self) -> Vec<u8> {
        let mut bytes = self.journal().to_vec();
        let (by_meaning, times) = (self.below(2) == 0, 1 + self.below(3));
        for _ in 0..times {
            match by_meaning {
                true => bytes = self.meant(&bytes),
                false => self.damage(&mut bytes),
            }
        }
        // What fits in every hash is damaged a little besides, now and then.
        if by_meaning && self.below(8) == 0 {
            self.damage(&mut bytes);
        }
        bytes
    }

    /// One line of an input.
    pub(super) fn line<'b>(&mut self, input: &'b [u8]) -> &'b [u8] {
        let lines: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
        let number = self.below(lines.len());
        lines[number]
    }

    /// Damages bytes, without an eye for what they mean.
    fn damage(&mut self, bytes: &mut Vec<u8>) {
        let (at, other) = (self.below(bytes.len() + 1), self.below(bytes.len() + 1));
        let (from, to) = (at.min(other), at.max(other));
        match self.below(8) {
            0 | 1 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            2 if at < bytes.len() => bytes[at] = u8::try_from(self.below(256)).unwrap(),
            3 => bytes.truncate(at),
            4 => drop(bytes.drain(from..to.min(from + 300))),
            5 => {
                let word = WORDS[self.below(WORDS.len())];
                bytes.splice(at..at, word.iter().copied());
            }
            6 => {
                // A piece of another journal.
                let journal = self.journal();
                let begin = self.below(journal.len());
                let length = self.below(2000).min(journal.len() - begin);
                bytes.splice(from..to.min(from + length), journal[begin..begin + length].iter().copied());
            }
            _ => {
                let piece = bytes[from..to.min(from + 1000)].to_vec();
                bytes.splice(from..from, piece);
            }
        }
    }

    /// Changes what lines say, and chains them anew.
    fn meant(&mut self, bytes: &[u8]) -> Vec<u8> {
        let text = String::from_utf8_lossy(bytes);
        let mut lines: Vec<Json> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        if lines.is_empty() {
            return bytes.to_vec();
        }
        let (at, other) = (self.below(lines.len()), self.below(lines.len()));
        match self.below(8) {
            0 => drop(lines.remove(at)),
            1 => lines.swap(at, other),
            2 => lines.insert(at, lines[other].clone()),
            3 => lines.truncate(at + 1),
            4 => {
                let stranger = String::from_utf8_lossy(self.journal()).into_owned();
                let strangers: Vec<Json> =
                    stranger.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
                lines.insert(at, strangers[self.below(strangers.len())].clone());
            }
            _ => self.edit(&mut lines[at], 0),
        }
        // Mostly with numbers that fit, so that the rules behind them are met.
        if self.below(4) > 0 {
            for (seq, line) in (1_u64..).zip(&mut lines) {
                if let Some(field) = line.get_mut("seq") {
                    *field = seq.into();
                }
            }
        }
        forger::file(&forger::chain_json(&mut lines)).into_bytes()
    }

    /// Changes one value somewhere inside.
    fn edit(&mut self, json: &mut Json, depth: usize) {
        let goes_on = depth == 0 || self.below(4) > 0;
        match json {
            Json::Object(map) if goes_on && !map.is_empty() => {
                let name = map.keys().nth(self.below(map.len())).unwrap().clone();
                match self.below(12) {
                    0 => drop(map.remove(&name)),
                    1 => drop(map.insert("more".into(), json!([1]))),
                    _ => self.edit(&mut map[&name], depth + 1),
                }
            }
            Json::Array(items) if goes_on && !items.is_empty() => {
                let at = self.below(items.len());
                match self.below(6) {
                    0 => drop(items.remove(at)),
                    1 => items.insert(at, items[at].clone()),
                    _ => self.edit(&mut items[at], depth + 1),
                }
            }
            _ => *json = self.value(json),
        }
    }

    /// Something in the place of a value.
    fn value(&mut self, old: &Json) -> Json {
        let kinds = ["done", "intent", "failed", "entered", "left", "undo_intent", "undo_done", "resumed", "caught"];
        match self.below(16) {
            0 => Json::Null,
            1 => json!(true),
            2 => json!(self.random.random::<i64>()),
            3 => json!(self.random.random::<u64>()),
            4 => json!(f64::from_bits(self.random.random::<u64>())),
            5 => (0..self.below(300)).fold(old.clone(), |inner, _| json!([inner])),
            6 => json!({ "a": old }),
            7 => json!(old.to_string()),
            8 => json!("é\u{0}\u{2028}🐘\",\"hash\":\""),
            9 => json!("x".repeat(self.below(5000))),
            10 | 11 => old.as_u64().map_or(json!(0), |number| json!(number.wrapping_add(1))),
            12 => old.as_u64().map_or(json!(-1), |number| json!(number.wrapping_sub(1))),
            13 => json!([old, old]),
            _ => json!(kinds[self.below(kinds.len())]),
        }
    }
}
