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
        return wait.look(host, context, inputs, &frame);
    }
    let name = options.raw("key").map_or_else(|| what.clone(), |key| format!("{what} [{key}]"));
    let spec = step::Spec { name, limit: None, retry_is_safe: true, undo: None };
    step::perform(host, context, inputs, spec, |context, frame| wait.look(host, context, inputs, frame))
}

struct Wait {
    what: String,
    every: Duration,
    deadline: Duration,
}

impl Wait {
    fn look(&self, host: &Host, context: &mut EvalContext, inputs: &Inputs, frame: &Frame) -> Result<Dynamic, Trouble> {
        let limit = Limit::starting(self.deadline, format!("poll `{}`", self.what), false);
        let looking = frame.in_look(Some(limit.clone()));
        loop {
            let seen = inputs.eval_block(context, "body", &looking)?;
            if !seen.is_unit() && seen.as_bool() != Ok(false) {
                return Ok(seen);
            }
            // Nothing was changed, so the first signal may end the wait: a resumed run looks again.
            if host.stop().is_asked() {
                return Err(host.stop().error().into());
            }
            if limit.at <= clock::instant() {
                let after = span::duration_text(self.deadline);
                let error = fail!(Code::Timeout, "waited {after} for {}; last seen: {}", self.what, words(&seen));
                return Err(error.into());
            }
            host.tell(Notice::Waiting { what: self.what.clone(), seen: words(&seen) });
            host.wait(&looking, &format!("waiting for {}", self.what), async {
                clock::sleep(self.every).await;
                Ok(())
            })?;
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
