//! What the lab has done, how long it took and how large it was: shown by `pgrun lab status`.

use std::{path::PathBuf, time::Instant};

use serde::{Deserialize, Serialize};

use super::{postgres::tree_bytes, site::Site};
use crate::base::clock;

/// So many are kept.
const KEPT: usize = 50;

/// One piece of work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deed {
    /// When it ended, in milliseconds since 1970.
    pub at_ms: u64,
    /// What was done: `create`, `restore`, `snapshot`, `upgrade` ..
    pub did: String,
    /// To what.
    pub id: String,
    /// How long it took, delays of the lab's included.
    pub ms: u64,
    /// How large its data was afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// For how long a server stood still for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stood_ms: Option<u64>,
}

/// Work that has begun.
pub(crate) struct Doing {
    did: &'static str,
    begun: Instant,
}

impl Doing {
    pub(crate) fn begin(did: &'static str) -> Self {
        Self { did, begun: clock::instant() }
    }

    /// Writes down that it has ended. The size is the one of this folder, if it is still there.
    pub(crate) async fn end(self, site: &Site, id: &str, folder: PathBuf, stood: Option<std::time::Duration>) {
        let in_ms = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let ms = in_ms(self.begun.elapsed());
        let sized = tokio::task::spawn_blocking(move || folder.is_dir().then(|| tree_bytes(&folder))).await;
        let bytes = sized.unwrap_or_default();
        let deed = Deed {
            at_ms: clock::epoch_ms(),
            did: self.did.to_owned(),
            id: id.to_owned(),
            ms,
            bytes,
            stood_ms: stood.map(in_ms),
        };
        site.record(|world| {
            world.deeds.push(deed);
            let too_many = world.deeds.len().saturating_sub(KEPT);
            world.deeds.drain(..too_many);
        });
    }
}
