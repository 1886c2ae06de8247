//! Keeps a block from changing the script's variables: what a step changes there is lost when the run is
//! resumed.

use std::collections::BTreeSet;

use rhai::{Dynamic, EvalContext, Scope};

use crate::{
    api::convert,
    base::{Code, Result, Value},
    fail,
};

/// What the variables of a script held at one moment, newest first, `this` before them.
pub(super) struct Outer(Vec<(String, Option<Value>)>);

impl Outer {
    /// Looks at all variables. Handles, closures and secrets have no plain value; they cannot be changed in place
    /// either.
    pub(super) fn of(context: &EvalContext) -> Self {
        Self::of_scope(context.scope(), context.this_ptr())
    }

    /// As [`Outer::of`].
    pub(super) fn of_scope(scope: &Scope, this: Option<&Dynamic>) -> Self {
        let plain = |value: &Dynamic| convert::to_value(value, "").ok();
        let this = this.map(|this| ("this".to_owned(), plain(this)));
        let variables = scope.iter_raw().map(|(name, _, value)| (name.to_owned(), plain(value)));
        Self(variables.chain(this).collect())
    }

    /// Fails when a variable holds something else than before.
    pub(super) fn compare(&self, now: &Self, block: &str) -> Result<()> {
        // A block leaves no variables behind, so the oldest ones match pairwise.
        let changed = self.0.iter().rev().zip(now.0.iter().rev()).find(|(before, now)| !same(before, now));
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

/// Equal, where a number that is none equals itself.
fn same(before: &(String, Option<Value>), now: &(String, Option<Value>)) -> bool {
    let text = |value: &Option<Value>| value.as_ref().map(Value::to_json);
    before.0 == now.0 && (before.1 == now.1 || text(&before.1) == text(&now.1))
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
