//! Proof that the snapshot and the stream meet: no write between them is lost, none is applied twice.
//!
//! GREEN recovered from a crash image of BLUE, and its log says `redo starts at S` and `redo done at L`, where L is the
//! *beginning* of the last record replayed. The stream must go on at L + 1: a commit at L is skipped, and every later
//! record begins beyond. That a given line of a log is the right one is what is proved here.

use std::collections::BTreeSet;

use super::{
    own::{self, Kind, Marker},
    session::Session,
    slot::{self, Slot},
};
use crate::{
    base::{Code, Error, Lsn, Result},
    fail,
};

/// The first record replayed may begin behind the checkpoint's redo position by the header of a WAL page (40 bytes at
/// most), and after a shutdown checkpoint by that record itself (120 bytes).
const DIRECTLY: u64 = 256;

/// Where GREEN's state ends in BLUE's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// From the log of the recovered copy: `redo starts at`, and the first `redo done at` after it.
    Redo {
        /// S.
        starts: Lsn,
        /// L, the beginning of the last record replayed.
        done: Lsn,
    },
    /// Aurora: `aurora_volume_logical_start_lsn()` on the clone, which is already the position to go on from.
    Aurora {
        /// The position.
        start: Lsn,
    },
}

/// What was seen on both servers.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// Where the copy's state ends.
    pub recovery: Recovery,
    /// BLUE's markers of this run.
    pub markers: Vec<Marker>,
    /// Identities of the markers that GREEN has.
    pub present: BTreeSet<String>,
    /// BLUE's slot.
    pub slot: Slot,
}

/// Reads the markers on both sides and the slot on BLUE.
///
/// # Errors
/// `require_failed` if the slot does not exist.
pub async fn evidence(blue: &Session, green: &Session, run: &str, slot: &str, recovery: Recovery) -> Result<Evidence> {
    let markers = own::markers(blue, run).await?;
    let present = own::markers(green, run).await?.into_iter().map(|marker| marker.id).collect();
    let found = slot::state(blue, slot).await?;
    let slot = found.ok_or_else(|| fail!(Code::RequireFailed, "the slot `{slot}` does not exist"))?;
    Ok(Evidence { recovery, markers, present, slot })
}

/// The position for the subscription's origin, if everything fits together.
///
/// # Errors
/// `require_failed` with the first rule that is broken.
pub fn origin(evidence: &Evidence) -> Result<Lsn> {
    let Evidence { recovery, markers, present, slot } = evidence;
    // The last position whose record is in the copy, and the one to go on from.
    let (last, next) = match *recovery {
        Recovery::Redo { starts, done } => {
            require_blues_redo(starts, done, markers)?;
            (done, done.next_byte())
        }
        Recovery::Aurora { start } => (start, start),
    };
    require_bracket(last, markers, present)?;
    require_slot(last, slot)?;
    Ok(next)
}

fn broken(why: impl std::fmt::Display) -> Error {
    fail!(Code::RequireFailed, "snapshot and stream do not provably meet: {why}")
}

/// A copy that crashed a second time writes the same two lines about its own log: then S is no redo position of BLUE.
fn require_blues_redo(starts: Lsn, done: Lsn, markers: &[Marker]) -> Result<()> {
    if done < starts {
        return Err(broken(format!("redo is done at {done} before it starts at {starts}")));
    }
    let reported: BTreeSet<Lsn> = markers.iter().filter_map(|marker| marker.redo).collect();
    if reported.is_empty() {
        return Err(broken("BLUE's checkpoints are not known, so the line may belong to another recovery")
            .hint("grant EXECUTE on pg_control_checkpoint() to pgrun's role and take the snapshot again"));
    }
    if reported.iter().any(|redo| starts >= *redo && starts.bytes_since(*redo) <= DIRECTLY) {
        return Ok(());
    }
    Err(broken(format!("redo starts at {starts}, where BLUE had no checkpoint"))
        .hint("the copy may have recovered twice: restore it again and read the first recovery's lines"))
}

/// Every marker that is there lies before the end, every one that is missing behind it.
fn require_bracket(last: Lsn, markers: &[Marker], present: &BTreeSet<String>) -> Result<()> {
    let mut markers: Vec<&Marker> = markers.iter().collect();
    markers.sort_by_key(|marker| marker.lsn);
    let first = |kind: Kind| markers.iter().find(|marker| marker.is(kind));
    let before = first(Kind::Before).ok_or_else(|| broken("BLUE has no marker from before the snapshot"))?;
    let after = first(Kind::After).ok_or_else(|| broken("BLUE has no marker from after the snapshot"))?;
    if !present.contains(&before.id) {
        return Err(broken(format!("the marker at {} from before the snapshot is missing on GREEN", before.lsn)));
    }
    if present.contains(&after.id) {
        return Err(broken(format!("GREEN has the marker at {} from after the snapshot", after.lsn))
            .hint("this may be BLUE itself, or GREEN already follows BLUE"));
    }
    let mut missing = 0;
    for marker in markers {
        let here = present.contains(&marker.id);
        if here && missing > 0 {
            return Err(broken(format!("GREEN has the marker at {} but lacks an earlier one", marker.lsn)));
        }
        if here && marker.lsn > last {
            return Err(broken(format!("GREEN has the marker at {}, beyond its end at {last}", marker.lsn)));
        }
        // The first missing one may have taken its position before the end and committed behind it. M2 was begun when
        // the snapshot was complete, and every further one after the commit of the one before: those are exact.
        if !here && marker.lsn <= last && (missing > 0 || marker.is(Kind::After)) {
            return Err(broken(format!("the marker at {} is missing on GREEN, whose end is at {last}", marker.lsn)));
        }
        missing += usize::from(!here);
    }
    Ok(())
}

/// The stream must still hold everything behind the end.
fn require_slot(last: Lsn, slot: &Slot) -> Result<()> {
    if slot.wal_status.as_deref() == Some("lost") || slot.invalidation_reason.is_some() {
        return Err(broken(format!("the slot `{}` has lost its WAL", slot.name)));
    }
    match slot.confirmed_flush {
        Some(confirmed) if confirmed <= last => Ok(()),
        // The server would skip forward in silence (`has been already streamed, forwarding to`, logical.c).
        Some(confirmed) => Err(broken(format!("the slot `{}` begins at {confirmed}, behind {last}", slot.name))),
        None => Err(broken(format!("`{}` is no logical slot", slot.name))),
    }
}

#[cfg(test)]
mod tests {
    use super::{BTreeSet, Evidence, Lsn, Marker, Recovery, Slot, origin};

    fn marker(id: &str, kind: &str, lsn: u64) -> Marker {
        Marker {
            id: id.into(),
            run: "r".into(),
            kind: kind.into(),
            target: "t".into(),
            lsn: Lsn(lsn),
            redo: Some(Lsn(500)),
        }
    }

    /// Slot at 900, M1 at 1000, heartbeats at 2000, 3000, 4000, M2 at 5000; the image ends at 2500.
    fn sound() -> Evidence {
        let slot = Slot {
            name: "s".into(),
            plugin: Some("pgoutput".into()),
            database: Some("d".into()),
            active_pid: None,
            restart_lsn: Some(Lsn(800)),
            confirmed_flush: Some(Lsn(900)),
            wal_status: Some("reserved".into()),
            safe_wal_size: None,
            kept_bytes: Some(0),
            two_phase: false,
            failover: false,
            invalidation_reason: None,
        };
        let markers = vec![
            marker("m1", "before", 1000),
            marker("h1", "heartbeat", 2000),
            marker("h2", "heartbeat", 3000),
            marker("h3", "heartbeat", 4000),
            marker("m2", "after", 5000),
        ];
        let present = ["m1", "h1"].map(String::from).into();
        Evidence { recovery: Recovery::Redo { starts: Lsn(500), done: Lsn(2500) }, markers, present, slot }
    }

    fn refused(change: impl FnOnce(&mut Evidence)) -> String {
        let mut evidence = sound();
        change(&mut evidence);
        origin(&evidence).unwrap_err().message().replace("snapshot and stream do not provably meet: ", "")
    }

    #[test]
    fn what_fits_gives_the_byte_after_the_last_record() {
        assert_eq!(origin(&sound()).unwrap(), Lsn(2501));
        let mut late = sound();
        // h2 took its position at 3000 and committed after 3100, the end of the image.
        late.recovery = Recovery::Redo { starts: Lsn(540), done: Lsn(3100) };
        assert_eq!(origin(&late).unwrap(), Lsn(3101));
        let aurora = Evidence { recovery: Recovery::Aurora { start: Lsn(2500) }, ..sound() };
        assert_eq!(origin(&aurora).unwrap(), Lsn(2500), "already the beginning of the next record");
    }

    /// Each of these was an L that other rules let pass.
    #[test]
    fn what_does_not_fit_is_refused() {
        let second = |e: &mut Evidence| e.recovery = Recovery::Redo { starts: Lsn(2600), done: Lsn(2700) };
        assert_eq!(refused(second), "redo starts at 0/A28, where BLUE had no checkpoint");
        let beyond = |e: &mut Evidence| e.recovery = Recovery::Redo { starts: Lsn(500), done: Lsn(4100) };
        assert!(refused(beyond).contains("is missing on GREEN, whose end is at"));
        let short = |e: &mut Evidence| e.recovery = Recovery::Redo { starts: Lsn(500), done: Lsn(1500) };
        assert!(refused(short).contains("beyond its end"));
        assert!(
            refused(|e| e.recovery = Recovery::Redo { starts: Lsn(500), done: Lsn(400) }).contains("before it starts")
        );
        assert!(refused(|e| e.markers.iter_mut().for_each(|m| m.redo = None)).contains("not known"));
        assert!(refused(|e| e.present = BTreeSet::new()).contains("from before the snapshot is missing"));
        assert!(refused(|e| e.present.extend(["m2".to_owned()])).contains("from after the snapshot"));
        assert!(refused(|e| e.present.extend(["h3".to_owned()])).contains("lacks an earlier one"));
        assert!(refused(|e| e.markers.retain(|m| m.id != "m2")).contains("no marker from after"));
        assert!(refused(|e| e.markers.retain(|m| m.id != "m1")).contains("no marker from before"));
        assert!(refused(|e| e.slot.confirmed_flush = Some(Lsn(2600))).contains("begins at"));
        assert!(refused(|e| e.slot.wal_status = Some("lost".into())).contains("lost"));
        assert!(refused(|e| e.slot.confirmed_flush = None).contains("no logical slot"));
        assert!(refused(|e| e.recovery = Recovery::Aurora { start: Lsn(6000) }).contains("is missing on GREEN"));
    }
}
