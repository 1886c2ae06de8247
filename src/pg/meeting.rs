//! Where a restored copy and the stream of changes meet: the proof that nothing lies between them and nothing twice.

use super::{own, record::record, session::Session, slot};
use crate::{
    base::{Code, Lsn, Result},
    fail,
};

record! {
    /// What is known about a snapshot and its copy.
    pub struct Evidence {
        /// The slot on BLUE that GREEN will read.
        pub slot: String,
        /// The marker that was written before the snapshot.
        pub before: own::Mark,
        /// The marker that was written when the snapshot was complete.
        pub after: own::Mark,
        /// S: where the copy's crash recovery began.
        pub redo_start: Lsn,
        /// L: where the last record begins that it replayed.
        pub redo_done: Lsn,
    }
    /// Where the subscription begins.
    pub struct Meeting {
        /// L + 1: every transaction whose commit record begins there or later is sent.
        pub position: Lsn,
        /// The slot's confirmed position, which lies at or before L.
        pub confirmed_flush: Lsn,
    }
}

/// After a shutdown checkpoint the log names the record behind it instead of the redo position: one checkpoint record of
/// about 120 bytes, and a page header where it crosses a page.
const CHECKPOINT_RECORD_BYTES: u64 = 256;

/// Proves that a subscription which begins at L + 1 misses nothing and doubles nothing.
///
/// The log prints the *beginning* of the last replayed record (`xlogrecovery.c`), and a transaction is skipped when its
/// commit record begins before the origin (`snapbuild.c`): hence L + 1. The markers prove that L belongs to this
/// snapshot: M1 is in the copy, M2 is not, and L lies between them. A second crash of the copy would print another L;
/// its S would not be a checkpoint that BLUE had made by then.
///
/// # Errors
/// `require_failed` naming the rule that does not hold.
pub async fn prove(blue: &Session, green: &Session, evidence: &Evidence) -> Result<Meeting> {
    let Evidence { slot, before, after, redo_start, redo_done } = evidence;
    let broken = |why: String| {
        fail!(Code::RequireFailed, "the snapshot and the stream are not proven to meet: {why}")
            .hint("take another snapshot; nothing has been replicated")
    };
    if redo_start > redo_done {
        return Err(broken(format!("the recovery began at {redo_start}, behind its end {redo_done}")));
    }
    if *redo_done < before.lsn || *redo_done >= after.lsn {
        return Err(broken(format!(
            "its last record {redo_done} is not between M1 {} and M2 {}",
            before.lsn, after.lsn
        )));
    }
    if let (Some(first), Some(last)) = (before.redo, after.redo)
        && (*redo_start < first || *redo_start > Lsn(last.0 + CHECKPOINT_RECORD_BYTES))
    {
        return Err(broken(format!(
            "the recovery began at {redo_start}, but BLUE's checkpoints were {first} to {last}"
        )));
    }
    if !own::has_mark(green, &before.id).await? {
        return Err(broken("marker M1 is not in the copy".into()));
    }
    if own::has_mark(green, &after.id).await? {
        return Err(broken("marker M2 is in the copy".into()));
    }
    let found = slot::state(blue, slot).await?.ok_or_else(|| broken(format!("the slot `{slot}` is gone")))?;
    match (found.confirmed_flush, found.wal_status.as_deref()) {
        (_, Some("lost")) => Err(broken(format!("the slot `{slot}` has lost WAL that it needs"))),
        (Some(confirmed), _) if confirmed <= *redo_done => {
            Ok(Meeting { position: redo_done.next_byte(), confirmed_flush: confirmed })
        }
        (confirmed, _) => {
            let confirmed = confirmed.map_or_else(|| "nowhere".to_owned(), |lsn| lsn.to_string());
            Err(broken(format!("the slot `{slot}` begins at {confirmed}, behind the last replayed record {redo_done}")))
        }
    }
}
