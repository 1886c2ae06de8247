//! `poll`: looks again and again until its block gives something; a step of its own, inside a step only the loop.

use std::time::Duration;

use rhai::{Dynamic, EvalContext};

use super::{Inputs, Trouble, step};
use crate::{
    api::{
        convert,
        frame::{Frame, Limit},
        host::Host,
        operator::Notice,
    },
    base::{Code, Result, clock, span},
    fail,
};

/// How often to look where the script does not say.
const EVERY: Duration = Duration::from_secs(1);

/// `poll WHAT with #{ every, deadline, key } {..}`: the block's first value that is neither `false` nor `()`.
pub(super) fn run(host: &Host, context: &mut EvalContext, inputs: &Inputs) -> Result<Dynamic, Trouble> {
    let what = inputs.name(context)?;
    let options = inputs.options(context, &["every", "deadline", "key"])?;
    let every = options.duration("every")?.unwrap_or(EVERY);
    let Some(deadline) = options.duration("deadline")? else {
        return Err(fail!(Code::StepRule, "the poll `{what}` has no deadline")
            .hint("every wait needs one: poll \"..\" with #{ deadline: \"10m\" }")
            .into());
    };
    let wait = Wait { what: what.clone(), every, deadline };
    let frame = Frame::of(Some(context.tag()));
    if frame.in_step() {
        return wait.look(host, context, inputs, &frame, false);
    }
    let name = options.name(&what)?;
    let spec = step::Spec { name, limit: None, retry_is_safe: true, undo: None };
    step::perform(host, context, inputs, spec, |context, frame| wait.look(host, context, inputs, frame, true))
}

struct Wait {
    what: String,
    every: Duration,
    deadline: Duration,
}

impl Wait {
    fn look(
        &self,
        host: &Host,
        context: &mut EvalContext,
        inputs: &Inputs,
        frame: &Frame,
        is_own_step: bool,
    ) -> Result<Dynamic, Trouble> {
        let limit = Limit::starting(self.deadline, format!("poll `{}`", self.what), false);
        let looking = frame.in_look(Some(limit.clone()));
        if let Some(work) = frame.work() {
            work.looked();
        }
        loop {
            let seen = inputs.eval_block(context, "body", &looking)?;
            if !seen.is_unit() && seen.as_bool() != Ok(false) {
                return Ok(seen);
            }
            // A step of its own has changed nothing, so the first signal may end the wait: a resumed run looks again.
            // Inside a step or an undo it has to end like every other part of it.
            if is_own_step && host.stop().is_asked() {
                return Err(host.stop().error().into());
            }
            let left = limit.at.saturating_duration_since(clock::instant());
            let (what, last) = (self.what.clone(), words(&seen));
            host.tell(Notice::Waiting { what: what.clone(), seen: last.clone() });
            host.wait(frame, &format!("waiting for {what}; last seen: {last}"), async {
                clock::sleep(self.every.min(left)).await;
                Ok(())
            })?;
            // A look that began at the deadline would be cut off by it, and say nothing of what was seen.
            if left <= self.every {
                let after = span::duration_text(self.deadline);
                return Err(fail!(Code::Timeout, "waited {after} for {what}; last seen: {last}").into());
            }
        }
    }
}

fn words(seen: &Dynamic) -> String {
    convert::to_value(seen, "").map_or_else(
        |_| "not yet".into(),
        |value| match value.as_text() {
            Some(text) => text.to_owned(),
            None => "not yet".into(),
        },
    )
}
