//! A forger's tools: lines of a journal changed and chained anew, so that only their meaning can give them away.

use pgrun::journal::{
    Record,
    record::{FIRST_PREV, Masks, hex},
};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

/// Writes everything as it is.
pub(crate) const PLAIN: Masks = Masks { prose: &|text| text.to_owned(), exact: &|text| text.to_owned() };

/// The records as the lines of one file, each chained to the one before it.
pub(crate) fn chain(records: &mut [Record]) -> pgrun::base::Result<Vec<String>> {
    let mut prev = FIRST_PREV.to_owned();
    let mut lines = vec![];
    for record in records {
        record.prev = std::mem::take(&mut prev);
        let (line, hash) = record.encode(&PLAIN)?;
        record.hash.clone_from(&hash);
        prev = hash;
        lines.push(line);
    }
    Ok(lines)
}

/// The same for lines that may be no records: whatever is an object gets the hash of the line before as its `prev`, and
/// a hash of its own.
pub(crate) fn chain_json(lines: &mut [Json]) -> Vec<String> {
    let mut prev = FIRST_PREV.to_owned();
    let link = |line: &mut Json| {
        let Some(fields) = line.as_object_mut() else { return line.to_string() };
        fields.shift_remove("hash");
        fields.insert("prev".into(), std::mem::take(&mut prev).into());
        let text = line.to_string();
        let begin = text.strip_suffix('}').unwrap_or(&text);
        let hash = hex(&Sha256::digest(begin.as_bytes()));
        let text = format!("{begin},\"hash\":\"{hash}\"}}");
        prev = hash;
        text
    };
    lines.iter_mut().map(link).collect()
}

/// Lines as a file.
pub(crate) fn file(lines: &[String]) -> String {
    lines.iter().flat_map(|line| [line, "\n"]).collect()
}
