//! When a difference counts. While changes flow from one side to the other, the other side is always a little behind:
//! what differs may only be late.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{look, look::Range, shape::Shape};
use crate::{
    base::{
        Code, Lsn, Result, clock,
        poll::{self, Patience, Seen},
    },
    fail,
    pg::{Session, slot},
};

/// A stream that is further behind is looked at by the operator first.
const PASSING: Patience = Patience { every: Duration::from_millis(50), deadline: Duration::from_secs(120) };

/// A row that changes for so long at every look is left undecided.
const SETTLING: Duration = Duration::from_secs(30);

/// After a page's header the next record begins up to 40 bytes behind the last one (`SizeOfXLogLongPHD`): an idle
/// server never sends that.
const HEADER: u64 = 40;

/// Both sides of one part of a table.
pub(super) struct Part<'a> {
    pub(super) there: &'a Session,
    pub(super) here: &'a Session,
    pub(super) shapes: (&'a Shape, &'a Shape),
    pub(super) range: &'a Range,
    pub(super) one_in: i64,
    /// The slot on `there` from which `here` gets its changes, if they flow.
    pub(super) slot: Option<&'a str>,
}

/// What is looked at: every row by its key, or all of them as a sum.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Grain {
    Rows,
    Sum,
}

/// A key, or nothing where all rows are summed up, with what stands on both sides.
pub(super) type Unequal = BTreeMap<String, (Option<String>, Option<String>)>;

/// What was found.
#[derive(Default)]
pub(super) struct Verdict {
    /// What is different, however long one waits.
    pub(super) unequal: Unequal,
    /// How many changed at every look.
    pub(super) unsettled: i64,
}

impl Part<'_> {
    /// What is different. While changes flow, something counts only if it was the same on the first side before the
    /// stream passed and after the other side was read: then the other side must have had it.
    pub(super) async fn judge(&self, grain: Grain) -> Result<Verdict> {
        let begun = clock::instant();
        let mut verdict = Verdict::default();
        let mut asked: Option<BTreeSet<String>> = None;
        let mut before = self.look(self.there, self.shapes.0, grain).await?;
        loop {
            if let Some(slot) = self.slot {
                passed(self.there, slot).await?;
            }
            let other = self.look(self.here, self.shapes.1, grain).await?;
            let mut suspects = unequal(&before, &other);
            if let Some(asked) = &asked {
                suspects.retain(|key, _| asked.contains(key));
            }
            if self.slot.is_none() || suspects.is_empty() {
                verdict.unequal.extend(suspects);
                return Ok(verdict);
            }
            let after = self.look(self.there, self.shapes.0, grain).await?;
            let is_steady = |key: &String| before.get(key) == after.get(key);
            let moving: BTreeSet<String> = suspects.keys().filter(|key| !is_steady(key)).cloned().collect();
            verdict.unequal.extend(suspects.into_iter().filter(|(key, _)| !moving.contains(key)));
            if moving.is_empty() || begun.elapsed() >= SETTLING {
                verdict.unsettled = i64::try_from(moving.len()).unwrap_or(i64::MAX);
                return Ok(verdict);
            }
            (before, asked) = (after, Some(moving));
        }
    }

    async fn look(&self, side: &Session, shape: &Shape, grain: Grain) -> Result<BTreeMap<String, String>> {
        match grain {
            Grain::Rows => look::rows(side, shape, self.range, self.one_in).await,
            Grain::Sum => {
                let sum = look::sum(side, shape, self.range, self.one_in).await?;
                Ok([(String::new(), sum.words())].into())
            }
        }
    }
}

fn unequal(there: &BTreeMap<String, String>, here: &BTreeMap<String, String>) -> Unequal {
    let keys: BTreeSet<&String> = there.keys().chain(here.keys()).collect();
    let pair = |key: &&String| (there.get(*key).cloned(), here.get(*key).cloned());
    let pairs = keys.iter().map(|key| ((*key).clone(), pair(key)));
    pairs.filter(|(_, (there, here))| there != here).collect()
}

/// Waits until the other side has everything that was visible here before the call.
async fn passed(session: &Session, name: &str) -> Result<()> {
    const FLUSHED: &str = "SELECT pg_current_wal_flush_lsn()";
    let target = session.insert_lsn().await?;
    poll::until("the other side to have what was just read", PASSING, async || {
        let missing = || {
            fail!(Code::RequireFailed, "there is no slot `{name}` on {}", session.target().label())
                .hint("leave `slot` out where nothing changes")
        };
        let confirmed = slot::state(session, name).await?.ok_or_else(missing)?.confirmed_flush;
        let flushed: Lsn = session.scalar(FLUSHED, &[]).await?;
        let has_all = confirmed.is_some_and(|confirmed| {
            let rest = target.0.saturating_sub(flushed.0);
            confirmed >= target || confirmed >= flushed && rest <= HEADER
        });
        let seen = || format!("slot `{name}` confirmed {}", confirmed.map_or("nothing".into(), |at| at.to_string()));
        Ok(if has_all { Seen::Ready(()) } else { Seen::NotYet(seen()) })
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::unequal;

    #[test]
    fn every_side_of_a_difference_is_kept() {
        let side =
            |rows: &[(&str, &str)]| rows.iter().map(|(key, hash)| ((*key).to_owned(), (*hash).to_owned())).collect();
        let found = unequal(&side(&[("a", "1"), ("b", "1"), ("c", "1")]), &side(&[("b", "2"), ("c", "1"), ("d", "1")]));
        let shown: Vec<_> = found.iter().map(|(key, (x, y))| (key.as_str(), x.as_deref(), y.as_deref())).collect();
        assert_eq!(shown, [("a", Some("1"), None), ("b", Some("1"), Some("2")), ("d", None, Some("1"))]);
    }
}
