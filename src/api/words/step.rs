//! `step`: replay, or look, or work once; and the ladder for a step whose outcome is not known.

use std::{sync::Arc, time::Duration};

use rhai::{Dynamic, EvalContext};

use super::{Inputs, Trouble, back, outer::Outer, seen::Seen};
use crate::{
    api::{
        bridge::{self, Thrown},
        convert,
        frame::{Frame, Limit, Work},
        host::Host,
        operator::Notice,
        undo::{Undo, UndoClause},
    },
    base::{Code, Error, Result, Value, clock, prose::shell_word},
    fail,
    journal::{Event, Fault, How, Key, Means, Run, StepRecord, StepState, key_text},
};

/// How often a `verify` clause is asked while its goal is not reached yet.
const VERIFY_EVERY: Duration = Duration::from_millis(500);
/// How long, where the step has no deadline of its own.
const VERIFY_DEADLINE: Duration = Duration::from_mins(10);

/// `step NAME [with #{ key, deadline, retry }] [check {..}] {..} [verify {..}] [undo {..}]`
pub(super) fn run(host: &Host, context: &mut EvalContext, inputs: &Inputs) -> Result<Dynamic, Trouble> {
    let name = inputs.name(context)?;
    let options = inputs.options(context, &["key", "deadline", "retry"])?;
    let name = options.name(&name)?;
    let retry_is_safe = match options.text("retry")?.as_deref() {
        None => false,
        Some("safe") => true,
        Some(other) => return Err(fail!(Code::StepRule, "got `retry: {other:?}`, wanted \"safe\"").into()),
    };
    let undo = inputs.undo(context)?;
    let limit = options.limit(format!("step `{name}`"), false)?;
    let spec = Spec { name, limit, retry_is_safe, undo };
    let body = |context: &mut EvalContext, frame: &Frame| inputs.eval_block(context, "body", frame);
    perform(host, context, inputs, spec, body)
}

/// What a step is, apart from its blocks.
pub(super) struct Spec {
    pub(super) name: String,
    pub(super) limit: Option<Limit>,
    pub(super) retry_is_safe: bool,
    pub(super) undo: Option<UndoClause>,
}

/// Gives the step's value: from the journal, from its `check`, or by running `body`.
pub(super) fn perform(
    host: &Host,
    context: &mut EvalContext,
    inputs: &Inputs,
    spec: Spec,
    body: impl Fn(&mut EvalContext, &Frame) -> Result<Dynamic, Trouble>,
) -> Result<Dynamic, Trouble> {
    let frame = Frame::of(Some(context.tag()));
    if frame.in_step() {
        return Err(fail!(Code::StepRule, "the step `{}` stands inside another step", spec.name)
            .hint("steps are leaves: group them with `phase`")
            .into());
    }
    let key = frame.key(&spec.name);
    host.meet(&key)?;
    let run = host.run()?.clone();
    let record = run.look(|state| state.step(&key).cloned());
    let mut step = Step { host, run, key, frame, spec, record };
    if let Some(value) = step.replay(inputs)? {
        return Ok(value);
    }
    if host.stop().is_asked() {
        return Err(host.stop().error().into());
    }
    if let Some(error) = host.overdue(&step.frame, &format!("step `{}` was about to begin", step.spec.name)) {
        return Err(error.into());
    }
    step.frame.go_on(&step.run)?;
    step.undo_first(context)?;
    host.tell(Notice::Begun { depth: step.frame.depth(), name: step.spec.name.clone() });
    let begun = clock::instant();
    let done = step.advance(context, inputs, body);
    let (depth, name, took) = (step.frame.depth(), step.spec.name.clone(), begun.elapsed());
    match done {
        Ok((value, how)) => {
            host.tell(Notice::Done { depth, name, how: Some(how), took });
            if step.run.look(|state| state.step(&step.key).is_some_and(StepRecord::has_way_back)) {
                step.keep_undo(value.clone());
            }
            Ok(value)
        }
        Err(trouble) => {
            host.tell(Notice::Failed { depth, name, error: trouble.facts() });
            if step.run.look(|state| state.step(&step.key).is_some_and(StepRecord::may_have_changed)) {
                step.keep_undo(Dynamic::UNIT);
            }
            step.frame.failed(&step.key);
            Err(trouble)
        }
    }
}

struct Step<'a> {
    host: &'a Host,
    run: Run,
    key: Key,
    frame: Frame,
    spec: Spec,
    /// What the journal held when the step was met.
    record: Option<StepRecord>,
}

impl Step<'_> {
    /// The place inside the step.
    fn inner(&self) -> Frame {
        self.frame.at_step(&self.key)
    }

    /// What the journal already answers. `None`: the step has to be worked on.
    fn replay(&mut self, inputs: &Inputs) -> Result<Option<Dynamic>, Trouble> {
        let Some(record) = self.record.clone() else {
            return if self.frame.is_rewinding() { Err(self.rewound(inputs)) } else { Ok(None) };
        };
        match record.state.clone() {
            StepState::Done { value, .. } => {
                let value = convert::to_dynamic(&Value::from_json(&value)?);
                if record.has_way_back() {
                    self.keep_undo(value.clone());
                }
                if !self.host.is_replay() {
                    let (depth, name) = (self.frame.depth(), self.spec.name.clone());
                    self.host.tell(Notice::Done { depth, name, how: None, took: Duration::ZERO });
                }
                Ok(Some(value))
            }
            StepState::Failed(fault) if record.caught => {
                if record.begun {
                    self.keep_undo(Dynamic::UNIT);
                }
                Err(again(&fault, inputs))
            }
            state if self.frame.is_rewinding() => {
                let unknown_value = match state {
                    StepState::Begun | StepState::Failed(_) if record.may_have_changed() => Some(Dynamic::UNIT),
                    StepState::Undoing(value) | StepState::UndoFailed(value, _) => Some(match value {
                        Some(value) => convert::to_dynamic(&Value::from_json(&value)?),
                        None => Dynamic::UNIT,
                    }),
                    _ => None,
                };
                if let Some(value) = unknown_value {
                    self.keep_undo(value);
                }
                Err(self.rewound(inputs))
            }
            _ => Ok(None),
        }
    }

    /// A person decided that what the step may have done is undone before it begins anew.
    fn undo_first(&self, context: &EvalContext) -> Result<(), Trouble> {
        let is_wanted = self.run.look(|state| {
            state
                .step(&self.key)
                .is_some_and(|step| matches!(step.state, StepState::Undoing(_) | StepState::UndoFailed(..)))
        });
        if !is_wanted {
            return Ok(());
        }
        let Some(clause) = self.spec.undo.clone() else {
            let name = key_text(&self.key);
            return Err(Trouble::Final(fail!(Code::UndoFailed, "the step `{name}` has no undo clause").hint(format!(
                "undo it by hand and say so: {} --decide {} --why ..",
                self.run.look(|state| state.command(None)),
                shell_word(&format!("{name}=done"))
            ))));
        };
        let undo = Undo { key: self.key.clone(), name: self.spec.name.clone(), clause, value: Dynamic::UNIT };
        back::undo_one(self.host, context.engine(), &self.frame, &undo)
    }

    /// The replay is over: the journal holds no more.
    fn rewound(&self, inputs: &Inputs) -> Trouble {
        self.host.asks(&self.key);
        Trouble::Inner(bridge::rewound(inputs.position()))
    }

    /// True when an earlier attempt may have taken effect.
    fn is_unknown(&self) -> bool {
        match self.record.as_ref().map(|record| &record.state) {
            Some(StepState::Begun) => true,
            Some(StepState::Failed(fault)) => fault.unknown,
            _ => false,
        }
    }

    /// True when an earlier attempt has changed something only by transactions that left a row about themselves: it may
    /// run again, since each of them is asked for first.
    fn is_marked(&self) -> bool {
        self.record.as_ref().is_some_and(|record| record.means == Means::Marked)
    }

    /// Works on the step and writes what came of it.
    fn advance(
        &self,
        context: &mut EvalContext,
        inputs: &Inputs,
        body: impl Fn(&mut EvalContext, &Frame) -> Result<Dynamic, Trouble>,
    ) -> Result<(Dynamic, How), Trouble> {
        let attempt = self.run.look(|state| state.next_attempt(&self.key));
        let work = Work::new(self.run.clone(), self.key.clone(), attempt);
        let outer = Outer::of(context);
        let begun = clock::instant();
        let outcome = self.reach(context, inputs, &work, body);
        let unchanged = outer.compare(&Outer::of(context), &format!("the step `{}`", self.spec.name));
        let settled = match outcome {
            Ok((value, how)) => {
                unchanged.and_then(|()| self.plain(&value)).map(|plain| (plain, how)).map_err(Trouble::from)
            }
            // Caught, the script would go on with a variable that a replay does not change.
            Err(trouble) if unchanged.is_err() => Err(trouble.into_final()),
            Err(trouble) => Err(trouble),
        };
        let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        match settled {
            Ok((plain, how)) => {
                let attempt = match how {
                    How::Ran | How::Looked => attempt,
                    How::Checked | How::Verified | How::Decided | How::Skipped => attempt.saturating_sub(1).max(1),
                };
                let json = plain.to_json();
                // What a resumed run will read, so that it sees the same.
                let value = convert::to_dynamic(&Value::from_json(&json)?);
                self.run.write(&self.key, attempt, Event::Done { value: json, how, ms })?;
                Ok((value, how))
            }
            Err(trouble) => Err(self.record_failure(trouble, context.source(), &work, ms)?),
        }
    }

    /// Reaches the step's goal: the ladder for an unknown outcome, `check`, then the body between its intent and its
    /// result.
    fn reach(
        &self,
        context: &mut EvalContext,
        inputs: &Inputs,
        work: &Arc<Work>,
        body: impl Fn(&mut EvalContext, &Frame) -> Result<Dynamic, Trouble>,
    ) -> Result<(Dynamic, How), Trouble> {
        if inputs.has("check") {
            let look = self.inner().in_look(self.spec.limit.clone());
            let seen = inputs.eval_block(context, "check", &look)?;
            match Seen::read(&seen)? {
                Seen::Done(value) => return Ok((value, How::Checked)),
                Seen::Pending => return Ok((self.await_verify(context, inputs)?, How::Verified)),
                Seen::Foreign => {
                    let name = &self.spec.name;
                    return Err(fail!(
                        Code::Foreign,
                        "what step `{name}` would make exists already, and this run did not make it"
                    )
                    .hint("choose another name for it, or remove what exists if nobody needs it")
                    .into());
                }
                Seen::Absent => {}
            }
        } else if self.is_unknown() && !self.spec.retry_is_safe {
            let reached = match inputs.has("verify") {
                true => self.ask_verify(context, inputs)?,
                false => None,
            };
            if let Some(value) = reached {
                return Ok((value, How::Verified));
            }
            if !self.is_marked() {
                return Err(self.unknown().into());
            }
        }
        if self.is_unknown() && !self.is_marked() {
            // This attempt counts from here on: its failure replaces the unknown outcome of the one before.
            work.begin()?;
        }
        let inner = self.inner().in_work(work.clone(), self.spec.limit.clone());
        let mut value = body(context, &inner)?;
        if self.host.is_twice() {
            value = self.once_more(context, inputs, &inner, body)?.unwrap_or(value);
        }
        if self.is_unknown() {
            // A marked body that came to its end without its transactions settles the outcome as well.
            work.begin_marked()?;
        }
        if inputs.has("verify") {
            let _ = self.await_verify(context, inputs)?;
        }
        Ok((value, if work.has_begun() { How::Ran } else { How::Looked }))
    }

    /// For `--twice`: the body runs again right away. Where a recovery would run it again, it must succeed again; where
    /// a `check` would keep it from that, the check must see what was done, and a refusal is as good. As in a recovery,
    /// the value of the second time counts. Whether anything was done twice shows in the end state.
    fn once_more(
        &self,
        context: &mut EvalContext,
        inputs: &Inputs,
        inner: &Frame,
        body: impl Fn(&mut EvalContext, &Frame) -> Result<Dynamic, Trouble>,
    ) -> Result<Option<Dynamic>, Trouble> {
        let name = &self.spec.name;
        let value = match body(context, inner) {
            Ok(value) => Some(value),
            Err(trouble) => {
                let error = trouble.facts();
                let is_cut_off = trouble.is_halt() && error.code() != Code::Foreign;
                if self.spec.retry_is_safe || is_cut_off || error.is_unknown() {
                    return Err(trouble);
                }
                self.host.tell(Notice::Warned(format!("`{name}` was refused the second time: {error}")));
                None
            }
        };
        if inputs.has("check") {
            let look = self.inner().in_look(self.spec.limit.clone());
            let seen = inputs.eval_block(context, "check", &look)?;
            if !matches!(Seen::read(&seen)?, Seen::Done(_) | Seen::Pending) {
                let error = fail!(Code::StepRule, "the check of step `{name}` does not see what its body has done");
                return Err(Trouble::Final(error));
            }
        }
        Ok(value)
    }

    /// Writes the failure. What was begun and not refused by the server is unknown, not failed.
    fn record_failure(&self, trouble: Trouble, source: Option<&str>, work: &Work, ms: u64) -> Result<Trouble, Trouble> {
        let mut trouble = match trouble {
            Trouble::Inner(raised) => Trouble::Inner(bridge::in_our_words(raised, source)),
            other => other,
        };
        let (mut place, mut thrown) = (None, None);
        match trouble.thrown() {
            Some(Thrown::Ours(first)) => place = first,
            Some(Thrown::Own(value)) => {
                match convert::to_value(&value, &format!("what step `{}` threw", self.spec.name)) {
                    Ok(plain) => thrown = Some(plain.to_json()),
                    Err(error) => trouble = error.into(),
                }
            }
            None => {}
        }
        let error = trouble.facts();
        if error.code() == Code::JournalWrite {
            return Ok(trouble);
        }
        if self.is_unknown() && !work.has_begun() {
            // Its outcome stays unknown, and no script may go past that.
            return Ok(trouble.into_final());
        }
        // Rules broken after the effect, and everything that was cut off, leave the effect in the world.
        let cut_off = trouble.is_halt()
            || matches!(error.code(), Code::Timeout | Code::StepRule | Code::NotJournalable | Code::SecretGuard);
        let unknown = work.has_begun() && (error.is_unknown() || cut_off);
        let fault = Fault { unknown, place, thrown, ..Fault::from(&error) };
        self.run.write(&self.key, work.attempt(), Event::Failed { error: fault, ms })?;
        Ok(trouble)
    }

    /// The step's value as the journal keeps it.
    fn plain(&self, value: &Dynamic) -> Result<Value> {
        let plain = convert::to_value(value, &format!("the value of step `{}`", self.spec.name))?;
        if self.host.redactor().finds(&plain.to_json().to_string()) {
            return Err(fail!(Code::SecretGuard, "the value of step `{}` contains a secret", self.spec.name)
                .hint("give back what identifies it (ARN, version id), not the secret itself"));
        }
        Ok(plain)
    }

    /// Asks `verify` once: its value when the goal is reached.
    fn ask_verify(&self, context: &mut EvalContext, inputs: &Inputs) -> Result<Option<Dynamic>, Trouble> {
        let look = self.inner().in_look(self.spec.limit.clone());
        let seen = inputs.eval_block(context, "verify", &look)?;
        match Seen::read(&seen)? {
            Seen::Done(value) => Ok(Some(value)),
            _ => Ok(None),
        }
    }

    /// Asks `verify` until the goal is reached.
    fn await_verify(&self, context: &mut EvalContext, inputs: &Inputs) -> Result<Dynamic, Trouble> {
        let name = &self.spec.name;
        if !inputs.has("verify") {
            return Err(
                fail!(Code::StepRule, "the check of step `{name}` says `pending`, but it has no `verify`").into()
            );
        }
        let limit = Limit::starting(VERIFY_DEADLINE, format!("verify clause of step `{name}`"), false);
        let frame = self.inner().in_look(Some(self.spec.limit.clone().unwrap_or(limit)));
        loop {
            if let Some(value) = self.ask_verify(context, inputs)? {
                return Ok(value);
            }
            self.host.tell(Notice::Waiting { what: format!("`{name}` to be verified"), seen: "not yet".into() });
            self.host.wait(&frame, &format!("waiting for `{name}` to be verified"), async {
                clock::sleep(VERIFY_EVERY).await;
                Ok(())
            })?;
        }
    }

    fn keep_undo(&mut self, value: Dynamic) {
        if let Some(clause) = self.spec.undo.take() {
            let (key, name) = (self.key.clone(), self.spec.name.clone());
            self.host.undo().push(Undo { key, name, clause, value });
        }
    }

    fn unknown(&self) -> Error {
        let command = self.run.look(|state| state.command(None));
        fail!(
            Code::StepUnknown,
            "step `{}` was begun by an earlier process and its outcome is not known",
            key_text(&self.key)
        )
        .hint(format!(
            "look at its target, then say what is true: {command} --decide {} --why ..",
            shell_word(&format!("{}=retry|done:JSON|skip|undo", key_text(&self.key)))
        ))
    }
}

/// A failure that was caught before, raised as it was then.
fn again(fault: &Fault, inputs: &Inputs) -> Trouble {
    let at = inputs.position();
    match (&fault.thrown, &fault.place) {
        (Some(thrown), _) => match Value::from_json(thrown) {
            Ok(value) => Trouble::Inner(bridge::throw(convert::to_dynamic(&value), at)),
            Err(error) => error.into(),
        },
        (None, Some(place)) => Trouble::Inner(bridge::raise_from(fault.to_error(), place, at)),
        (None, None) => fault.to_error().into(),
    }
}
