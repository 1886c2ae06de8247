//! What a `check` or `verify` clause may say.

use rhai::{Dynamic, ImmutableString};

use crate::{
    api::convert,
    base::{Code, Result},
    fail,
};

/// What a `check` or `verify` clause saw.
pub(super) enum Seen {
    Absent,
    Pending,
    Done(Dynamic),
    Foreign,
}

impl Seen {
    /// Reads `true`, `false`, one of the four words, or a map with `state` and, when done, `value`.
    pub(super) fn read(seen: &Dynamic) -> Result<Self> {
        if let Ok(reached) = seen.as_bool() {
            return Ok(if reached { Self::Done(Dynamic::UNIT) } else { Self::Absent });
        }
        let (state, value) = match seen.clone().try_cast::<rhai::Map>() {
            Some(map) => {
                let value = map.get("value").cloned().unwrap_or_default();
                (map.get("state").cloned().unwrap_or_default(), value)
            }
            None => (seen.clone(), Dynamic::UNIT),
        };
        let word = state.try_cast::<ImmutableString>().unwrap_or_default();
        match word.as_str() {
            "absent" => Ok(Self::Absent),
            "pending" => Ok(Self::Pending),
            "done" => Ok(Self::Done(value)),
            "foreign" => Ok(Self::Foreign),
            _ => Err(fail!(
                Code::StepRule,
                "a check gave {}, wanted true, false, absent, pending, done, foreign, or #{{ state, value }}",
                convert::type_word(seen)
            )),
        }
    }
}
