//! As much of pgoutput's protocol (version 1) as tells which tables were changed (manual, "Logical Replication Message
//! Formats").

use std::collections::{BTreeMap, BTreeSet};

/// The tables named by the changes among these messages, as `schema.name`. A message that cannot be read, or one about a
/// table that was never described, counts as a change of an unknown table: silence would be a claim.
pub(super) fn changed_tables<'a>(messages: impl Iterator<Item = &'a [u8]>) -> BTreeSet<String> {
    let mut names: BTreeMap<u32, String> = BTreeMap::new();
    let mut changed = BTreeSet::new();
    for message in messages {
        let Some((kind, body)) = message.split_first() else { continue };
        match kind {
            b'R' => names.extend(relation(body)),
            b'I' | b'U' | b'D' => {
                changed.insert(name_of(oid(body), &names));
            }
            b'T' => changed.extend(truncated(body).iter().map(|oid| name_of(Some(*oid), &names))),
            // Begin, commit, origin, type; messages of applications are not asked for.
            b'B' | b'C' | b'O' | b'Y' => {}
            other => {
                changed.insert(format!("a message of kind {:?}", char::from(*other)));
            }
        }
    }
    changed
}

fn name_of(oid: Option<u32>, names: &BTreeMap<u32, String>) -> String {
    oid.and_then(|oid| names.get(&oid)).cloned().unwrap_or_else(|| "an unknown table".to_owned())
}

fn oid(body: &[u8]) -> Option<u32> {
    body.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// Oid, schema, name; an empty schema is `pg_catalog`.
fn relation(body: &[u8]) -> Option<(u32, String)> {
    let mut texts = body.get(4..)?.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    let (schema, name) = (texts.next()?, texts.next()?);
    let schema = if schema.is_empty() { "pg_catalog".into() } else { schema };
    Some((oid(body)?, format!("{schema}.{name}")))
}

/// Number of relations, options, oids.
fn truncated(body: &[u8]) -> Vec<u32> {
    body.get(5..).unwrap_or_default().chunks_exact(4).filter_map(oid).collect()
}

#[cfg(test)]
mod tests {
    use super::changed_tables;

    #[test]
    fn tables_are_named_and_the_unreadable_is_not_ignored() {
        let relation = b"R\0\0\0\x07public\0t\0d\0\x01";
        let own = b"R\0\0\0\x08pgrun\0sentinel\0d\0\x01";
        let seen = |messages: &[&[u8]]| changed_tables(messages.iter().copied()).into_iter().collect::<Vec<_>>();
        assert_eq!(seen(&[b"B0", relation, own, b"I\0\0\0\x07N", b"C0"]), ["public.t"]);
        assert_eq!(seen(&[relation, own, b"T\0\0\0\x02\0\0\0\0\x07\0\0\0\x08"]), ["pgrun.sentinel", "public.t"]);
        assert_eq!(seen(&[b"U\0\0\0\x09K"]), ["an unknown table"]);
        assert_eq!(seen(&[b"S\0"]), ["a message of kind 'S'"]);
        assert!(seen(&[b"B0", b"C0", b""]).is_empty());
    }
}
