//! Where a copy ends and the stream begins: the one position that joins them without a gap and without an overlap.
//!
//! The copy holds every transaction whose commit record begins at or before L, the start of the last record that its
//! first recovery replayed. The stream skips what commits before the position of the subscription's origin
//! (`SnapBuildXactNeedsSkip`, by the start of the commit record). So the origin belongs to L + 1: at L the last
//! transaction would come twice, and records are at least 24 bytes long, so nothing begins in between.
//!
//! A wrong L loses or doubles transactions without a word, and a wrong one is easily had: the log of a copy that
//! crashed a second time shows another one, which lies a little behind. So L has to agree with rows that were written
//! on BLUE before, while and after the snapshot was taken, and with the checkpoints that BLUE knew.

use std::collections::BTreeSet;

use super::{
    own::{self, Mark},
    record::record,
    session::Session,
    slot,
};
use crate::{
    base::{Code, Error, Lsn, Result},
    fail,
};

record! {
    /// What is known about a snapshot and its copy.
    pub struct Evidence {
        /// The slot on BLUE that GREEN will read. It was made before M1.
        pub slot: String,
        /// M1, the marker that was written on BLUE right before the snapshot.
        pub before: Mark,
        /// M2, the marker that was written there when the snapshot was complete.
        pub after: Mark,
        /// S of the copy's first recovery: `redo starts at`.
        pub redo_start: Option<Lsn>,
        /// L of the copy's first recovery: `redo done at`, where the last record begins that was replayed.
        pub redo_done: Option<Lsn>,
        /// On Aurora instead of both: `aurora_volume_logical_start_lsn()`, the first position that is not in the copy.
        pub volume_start: Option<Lsn>,
    }
    /// Where the subscription begins, with what proves it.
    pub struct Meeting {
        /// L + 1, for the origin of the subscription: every transaction whose commit record begins there or later is
        /// sent. On Aurora the position that it tells.
        pub position: Lsn,
        /// The slot's confirmed position, which lies at or before L.
        pub confirmed_flush: Lsn,
        /// The position of the youngest marker that is in the copy.
        pub at_least: Lsn,
        /// The position of the oldest marker that L has to lie before.
        pub at_most: Lsn,
        /// Heartbeats that are in the copy.
        pub heartbeats_there: i64,
        /// Heartbeats that were written too late for it.
        pub heartbeats_missing: i64,
    }
}

/// Where the copy ends.
#[derive(Clone, Copy)]
enum End {
    Redo { start: Lsn, done: Lsn },
    Volume(Lsn),
}

/// All that the rules look at.
struct Seen {
    end: End,
    before: Mark,
    after: Mark,
    /// Markers of the run on BLUE.
    marks: Vec<Mark>,
    /// The ids of those that are in the copy.
    there: BTreeSet<String>,
    confirmed: Option<Lsn>,
}

/// A recovery begins at a checkpoint's redo position, and after a clean shutdown at the record behind the checkpoint's:
/// 120 bytes further (`XLOG_CHECKPOINT_SHUTDOWN`), or 160 with the head of a segment's page between them.
const CHECKPOINT_RECORD: u64 = 256;

/// Proves that a subscription which begins at the position given misses nothing and doubles nothing. `green` may be the
/// restored copy before or after its upgrade; to be called before anything is replicated to it.
///
/// # Errors
/// `require_failed` with the rule that does not hold. Then restore and look again, or take another snapshot.
pub async fn prove(blue: &Session, green: &Session, evidence: &Evidence) -> Result<Meeting> {
    let end = match (evidence.redo_start, evidence.redo_done, evidence.volume_start) {
        (Some(start), Some(done), None) => End::Redo { start, done },
        (None, None, Some(lsn)) => End::Volume(lsn),
        _ => return Err(fail!(Code::Usage, "a copy ends at `redo_start` and `redo_done`, or at `volume_start`")),
    };
    let marks = own::marks_beside(blue, &evidence.before.id).await?;
    let there = own::marks_beside(green, &evidence.before.id).await?.into_iter().map(|mark| mark.id).collect();
    let confirmed = usable(blue, &evidence.slot).await?;
    judge(&Seen { end, before: evidence.before.clone(), after: evidence.after.clone(), marks, there, confirmed })
}

/// The confirmed position of a slot that has lost nothing.
async fn usable(blue: &Session, name: &str) -> Result<Option<Lsn>> {
    let place = blue.target().label();
    let slot = slot::state(blue, name).await?;
    let slot = slot.ok_or_else(|| fail!(Code::RequireFailed, "there is no slot `{name}` on {place}"))?;
    let status = slot.wal_status.as_deref().unwrap_or("lost");
    if status == "lost" || slot.restart_lsn.is_none() {
        return Err(fail!(Code::RequireFailed, "the slot `{name}` on {place} has lost WAL that the copy lacks")
            .detail("wal_status", status)
            .hint("raise max_slot_wal_keep_size, make a new slot, then take a new snapshot"));
    }
    Ok(slot.confirmed_flush)
}

/// The rules.
fn judge(seen: &Seen) -> Result<Meeting> {
    let Seen { before: first, after: second, marks, there, .. } = seen;
    for (mark, name) in [(first, "M1"), (second, "M2")] {
        if !marks.contains(mark) {
            return Err(fail!(Code::RequireFailed, "the marker {name} is not on BLUE as it was written")
                .hint("connect to the server that the markers were written on"));
        }
    }
    let last = match seen.end {
        End::Redo { start, done } if start > done => {
            return Err(unusable(format!("the recovery ends at {done}, before its start at {start}")));
        }
        End::Redo { done, .. } => done,
        End::Volume(lsn) => Lsn(lsn.0.saturating_sub(1)),
    };
    if !there.contains(&first.id) {
        return Err(unusable("the marker M1 is not in the copy: the snapshot was taken before it"));
    }
    if there.contains(&second.id) {
        return Err(unusable(
            "the marker M2 is in the copy: it was written before the snapshot was complete, or this is BLUE",
        ));
    }
    if last < first.lsn || last >= second.lsn {
        return Err(unusable(format!("{last} does not lie between M1 at {} and M2 at {}", first.lsn, second.lsn)));
    }
    let within: Vec<&Mark> = marks.iter().filter(|mark| (first.lsn..=second.lsn).contains(&mark.lsn)).collect();
    let (present, missing): (Vec<&Mark>, Vec<&Mark>) = within.into_iter().partition(|mark| there.contains(&mark.id));
    let at_least = present.iter().map(|mark| mark.lsn).max().unwrap_or(first.lsn);
    if last < at_least {
        return Err(unusable(format!("the copy has a marker of {at_least}, behind {last}")));
    }
    // Markers follow one another: the second missing one was begun when the first had been committed, behind L. The
    // first itself may have been under way at L.
    let at_most = missing.get(1).map_or(second.lsn, |mark| mark.lsn);
    if last >= at_most {
        return Err(unusable(format!(
            "the copy lacks the marker of {}, though {last} lies behind its commit: this is the end of another recovery",
            missing.first().map_or(at_most, |mark| mark.lsn)
        )));
    }
    if let End::Redo { start, done } = seen.end {
        require_known_start(start, done, marks, &present)?;
    }
    let confirmed = seen.confirmed.ok_or_else(|| unusable("the slot has no confirmed position yet"))?;
    if confirmed > last {
        return Err(unusable(format!(
            "the slot begins at {confirmed}, behind {last}: what lies between is in neither"
        ))
        .hint("take a new snapshot, the slot first"));
    }
    let beats = |marks: &[&Mark]| i64::try_from(marks.iter().filter(|m| m.kind == own::HEARTBEAT).count()).unwrap_or(0);
    Ok(Meeting {
        position: last.next_byte(),
        confirmed_flush: confirmed,
        at_least,
        at_most,
        heartbeats_there: beats(&present),
        heartbeats_missing: beats(&missing),
    })
}

/// The recovery began at a checkpoint of BLUE's: at one that BLUE itself told, or before a marker that it replayed. The
/// second recovery of a copy begins behind everything that came from BLUE.
fn require_known_start(start: Lsn, done: Lsn, marks: &[Mark], present: &[&Mark]) -> Result<()> {
    let told = marks.iter().filter_map(|mark| mark.redo);
    let is_told = told.clone().any(|redo| (redo.0..=redo.0 + CHECKPOINT_RECORD).contains(&start.0));
    let replays = present.iter().any(|mark| (start..=done).contains(&mark.lsn));
    if is_told || replays {
        return Ok(());
    }
    Err(unusable(format!("the recovery began at {start}, which is no checkpoint of BLUE's")))
}

fn unusable(why: impl std::fmt::Display) -> Error {
    fail!(Code::RequireFailed, "copy and stream do not meet: {why}")
        .hint("restore the snapshot again and read its log before anything restarts the server, or take a new one")
}

#[cfg(test)]
mod tests {
    use super::{End, Seen, judge};
    use crate::{
        base::Lsn,
        pg::own::{HEARTBEAT, Mark},
    };

    fn mark(kind: &str, lsn: u64, redo: u64) -> Mark {
        Mark { id: format!("{kind}{lsn}"), kind: kind.into(), lsn: Lsn(lsn), redo: Some(Lsn(redo)) }
    }

    /// M1 at 1000, heartbeats each 1000, M2 at 6000. BLUE's checkpoints began at 500 and 2500. The copy ends at 3500.
    fn evidence(start: u64, done: u64) -> Seen {
        let (before, after) = (mark("M1", 1000, 500), mark("M2", 6000, 2500));
        let beats = [2000, 3000, 4000, 5000].map(|lsn| mark(HEARTBEAT, lsn, if lsn < 3000 { 500 } else { 2500 }));
        let mut marks = vec![before.clone()];
        marks.extend(beats);
        marks.push(after.clone());
        let there = marks[..3].iter().map(|mark| mark.id.clone()).collect();
        let end = End::Redo { start: Lsn(start), done: Lsn(done) };
        Seen { end, before, after, marks, there, confirmed: Some(Lsn(900)) }
    }

    fn refusal(evidence: &Seen) -> String {
        judge(evidence).unwrap_err().message().to_owned()
    }

    #[test]
    fn the_origin_is_the_byte_behind_the_last_record() {
        let met = judge(&evidence(2500, 3500)).unwrap();
        assert_eq!((met.position, met.at_least, met.at_most), (Lsn(3501), Lsn(3000), Lsn(5000)));
        assert_eq!((met.heartbeats_there, met.heartbeats_missing), (2, 2));
        // The heartbeat of 4000 may have been under way.
        assert!(judge(&evidence(500, 4900)).is_ok());
        let aurora = Seen { end: End::Volume(Lsn(3501)), ..evidence(0, 0) };
        assert_eq!(judge(&aurora).unwrap().position, Lsn(3501), "no byte is added");
    }

    /// Attack 3: the copy crashed again. Its second recovery passes M1, M2 and the slot, and loses what lies between.
    #[test]
    fn the_end_of_a_second_recovery_is_refused() {
        assert!(refusal(&evidence(3600, 5200)).contains("end of another recovery"));
        // Without enough heartbeats its beginning gives it away.
        assert!(refusal(&evidence(3600, 3900)).contains("no checkpoint of BLUE's"));
    }

    #[test]
    fn a_recovery_may_begin_where_no_marker_told() {
        assert!(judge(&evidence(1500, 3500)).is_ok(), "it replayed markers");
        assert!(judge(&evidence(2620, 3500)).is_ok(), "behind a shutdown checkpoint's record");
        let mut silent = evidence(1500, 3500);
        silent.marks.iter_mut().for_each(|mark| mark.redo = None);
        silent.before.redo = None;
        silent.after.redo = None;
        assert!(judge(&silent).is_ok(), "the control functions are not allowed");
    }

    #[test]
    fn every_rule_refuses_on_its_own() {
        assert!(refusal(&evidence(3500, 2500)).contains("before its start"));
        assert!(refusal(&evidence(500, 999)).contains("between M1"));
        assert!(refusal(&evidence(500, 6000)).contains("between M1"), "L = lsn(M2) is too late");
        assert!(judge(&Seen { there: ["M11000".into()].into(), ..evidence(500, 1000) }).is_ok(), "L = lsn(M1)");
        assert!(refusal(&evidence(500, 2900)).contains("has a marker of 0/BB8"));
        assert!(refusal(&Seen { there: [].into(), ..evidence(2500, 3500) }).contains("M1 is not in the copy"));
        let mut whole = evidence(2500, 3500);
        whole.there = whole.marks.iter().map(|mark| mark.id.clone()).collect();
        assert!(refusal(&whole).contains("M2 is in the copy"));
        assert!(refusal(&Seen { confirmed: Some(Lsn(3501)), ..evidence(2500, 3500) }).contains("in neither"));
        assert!(judge(&Seen { confirmed: Some(Lsn(3500)), ..evidence(2500, 3500) }).is_ok());
        assert!(refusal(&Seen { confirmed: None, ..evidence(2500, 3500) }).contains("no confirmed position"));
        let other = Seen { before: mark("M1", 1001, 500), ..evidence(2500, 3500) };
        assert!(refusal(&other).contains("M1 is not on BLUE"));
    }
}
