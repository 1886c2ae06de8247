//! Keeps a block from changing the script's variables: what a step changes there is lost when the run is resumed.

use std::collections::BTreeSet;

use rhai::{Dynamic, Scope};

use crate::{
    api::convert,
    base::{Code, Result, Value},
    fail,
};

/// What the variables of a script held at one moment.
pub(super) struct Outer(Vec<(String, Option<Value>)>);

impl Outer {
    /// Looks at all variables. Handles, closures and secrets have no plain value; they cannot be changed in place either.
    pub(super) fn of(scope: &Scope) -> Self {
        let plain = |value: &Dynamic| convert::to_value(value, "").ok();
        Self(scope.iter_raw().map(|(name, _, value)| (name.to_owned(), plain(value))).collect())
    }

    /// Fails when a variable holds something else than before.
    pub(super) fn compare(&self, scope: &Scope, block: &str) -> Result<()> {
        // Newest first on both sides; a block leaves no variables behind, so the oldest ones match pairwise.
        let now = Self::of(scope);
        let changed = self.0.iter().rev().zip(now.0.iter().rev()).find(|(before, now)| before != now);
        match changed {
            None => Ok(()),
            Some(((name, _), _)) => Err(fail!(
                Code::StepRule,
                "{block} changes the variable `{name}` of the script, and a resumed run would not see the change"
            )
            .hint(format!("let the block give a value instead: `let {name} = step \"..\" {{ .. }}`"))),
        }
    }
}

/// Names of the variables that a closure shares with the script.
pub(super) fn shared_names(scope: &Scope) -> BTreeSet<String> {
    scope.iter_raw().filter(|(_, _, value)| value.is_shared()).map(|(name, _, _)| name.to_owned()).collect()
}

/// Makes variables plain again that were shared only to be captured by a clause which has copied them.
pub(super) fn unshare_all_but(scope: &mut Scope, keep: &BTreeSet<String>) {
    let newly: Vec<String> = shared_names(scope).difference(keep).cloned().collect();
    for name in newly {
        if let Some(value) = scope.get_mut(&name) {
            *value = value.flatten_clone();
        }
    }
}
