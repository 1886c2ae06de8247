//! `step`: replay, or look, or work once; and the ladder for a step whose outcome is not known.

use std::time::Duration;

use rhai::{Dynamic, EvalContext, ImmutableString};

use super::{Inputs, Trouble, outer::Outer};
use crate::{
    api::{
        bridge, convert,
        frame::{Frame, Limit, Work},
        host::Host,
        operator::Notice,
        undo::{Undo, UndoClause},
    },
    base::{Code, Error, Result, Value, clock},
    fail,
    journal::{Event, Fault, How, Key, Run, StepRecord, StepState, key_text},
};

/// How often a `verify` clause is asked while its goal is not reached yet.
const VERIFY_EVERY: Duration = Duration::from_millis(500);
/// How long, where the step has no deadline of its own.
const VERIFY_DEADLINE: Duration = Duration::from_mins(10);

/// `step NAME [with #{ key, deadline, retry }] [check {..}] {..} [verify {..}] [undo {..}]`
pub(super) fn run(host: &Host, context: &mut EvalContext, inputs: &Inputs) -> Result<Dynamic, Trouble> {
    let name = inputs.name(context)?;
    let options = inputs.options(context, &["key", "deadline", "retry"])?;
    let name = match options.raw("key") {
        Some(key) => format!("{name} [{key}]"),
        None => name,
    };
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
    body: impl FnOnce(&mut EvalContext, &Frame) -> Result<Dynamic, Trouble>,
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
    let mut step = Step { host, run, key, frame, spec };
    let record = step.run.look(|state| state.step(&step.key).cloned());
    if let Some(value) = step.replay(record.as_ref(), inputs)? {
        return Ok(value);
    }
    if host.stop().is_asked() {
        return Err(host.stop().error().into());
    }
    if let Some(error) = host.overdue(&step.frame, &format!("step `{}` was about to begin", step.spec.name)) {
        return Err(error.into());
    }
    host.tell(Notice::Begun { depth: step.frame.depth(), name: step.spec.name.clone() });
    let begun = clock::instant();
    let done = step.advance(context, inputs, record.as_ref(), body);
    let (depth, name, took) = (step.frame.depth(), step.spec.name.clone(), begun.elapsed());
    match done {
        Ok((value, how)) => {
            host.tell(Notice::Done { depth, name, how: Some(how), took });
            step.keep_undo(value.clone());
            Ok(value)
        }
        Err(trouble) => {
            host.tell(Notice::Failed { depth, name, error: trouble.facts() });
            if step.run.look(|state| state.step(&step.key).is_some_and(|record| record.begun)) {
                step.keep_undo(Dynamic::UNIT);
            }
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
}

impl Step<'_> {
    /// The place inside the step.
    fn inner(&self) -> Frame {
        self.frame.at_step(&self.key)
    }

    /// What the journal already answers. `None`: the step has to be worked on.
    fn replay(&mut self, record: Option<&StepRecord>, inputs: &Inputs) -> Result<Option<Dynamic>, Trouble> {
        match record.map(|record| (&record.state, record.overtaken)) {
            Some((StepState::Done { value, .. }, _)) => {
                let value = convert::to_dynamic(&Value::from_json(value)?);
                self.keep_undo(value.clone());
                let (depth, name) = (self.frame.depth(), self.spec.name.clone());
                self.host.tell(Notice::Done { depth, name, how: None, took: Duration::ZERO });
                Ok(Some(value))
            }
            Some((StepState::Failed(fault), true)) => Err(fault.to_error().into()),
            other if self.host.is_rewinding() => {
                let may_have_changed = record.is_some_and(|record| record.begun);
                let unknown_value = match other {
                    Some((StepState::Begun | StepState::Failed(_), _)) if may_have_changed => Some(Dynamic::UNIT),
                    Some((StepState::Undoing(value) | StepState::UndoFailed(value, _), _)) => Some(match value {
                        Some(value) => convert::to_dynamic(&Value::from_json(value)?),
                        None => Dynamic::UNIT,
                    }),
                    _ => None,
                };
                if let Some(value) = unknown_value {
                    self.keep_undo(value);
                }
                Err(Trouble::Inner(bridge::rewound(inputs.position())))
            }
            Some((StepState::Undoing(_) | StepState::UndoFailed(..), _)) => {
                let name = key_text(&self.key);
                Err(fail!(Code::JournalMismatch, "the step `{name}` is being undone, the script now asks for it")
                    .into())
            }
            _ => Ok(None),
        }
    }

    /// Works on the step: the ladder for an unknown outcome, `check`, then the body.
    fn advance(
        &mut self,
        context: &mut EvalContext,
        inputs: &Inputs,
        record: Option<&StepRecord>,
        body: impl FnOnce(&mut EvalContext, &Frame) -> Result<Dynamic, Trouble>,
    ) -> Result<(Dynamic, How), Trouble> {
        let is_unknown = match record.map(|record| &record.state) {
            Some(StepState::Begun) => true,
            Some(StepState::Failed(fault)) => fault.unknown,
            _ => false,
        };
        if inputs.has("check") {
            let look = self.inner().in_look(self.spec.limit.clone());
            let seen = inputs.eval_block(context, "check", &look)?;
            match Seen::read(&seen)? {
                Seen::Done(value) => return self.conclude(value, How::Checked),
                Seen::Pending => {
                    let value = self.await_verify(context, inputs)?;
                    return self.conclude(value, How::Verified);
                }
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
        } else if is_unknown && !self.spec.retry_is_safe {
            let reached = match inputs.has("verify") {
                true => self.ask_verify(context, inputs)?,
                false => None,
            };
            return match reached {
                Some(value) => self.conclude(value, How::Verified),
                None => Err(self.unknown().into()),
            };
        }
        self.work(context, inputs, body)
    }

    /// Runs the body once, between its intent and its result.
    fn work(
        &mut self,
        context: &mut EvalContext,
        inputs: &Inputs,
        body: impl FnOnce(&mut EvalContext, &Frame) -> Result<Dynamic, Trouble>,
    ) -> Result<(Dynamic, How), Trouble> {
        let attempt = self.run.look(|state| state.next_attempt(&self.key));
        let work = Work::new(self.run.clone(), self.key.clone(), attempt);
        let inner = self.inner().in_work(work.clone(), self.spec.limit.clone());
        let outer = Outer::of(context.scope());
        let begun = clock::instant();
        let block = format!("the step `{}`", self.spec.name);
        let outcome = body(context, &inner)
            .and_then(|value| outer.compare(context.scope(), &block).map(|()| value).map_err(Trouble::from))
            .and_then(|value| match inputs.has("verify") && work.has_begun() {
                true => self.await_verify(context, inputs).map(|_| value),
                false => Ok(value),
            })
            .and_then(|value| {
                let plain = convert::to_value(&value, &format!("the value of step `{}`", self.spec.name))?;
                self.refuse_secret(&plain)?;
                Ok((value, plain))
            });
        let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        match outcome {
            Ok((value, plain)) => {
                let how = if work.has_begun() { How::Ran } else { How::Looked };
                self.run.write(&self.key, attempt, Event::Done { value: plain.to_json(), how, ms })?;
                Ok((value, how))
            }
            Err(trouble) => Err(self.record_failure(trouble, attempt, work.has_begun(), ms)?),
        }
    }

    /// Writes the failure. What was begun and not refused by the server is unknown, not failed.
    fn record_failure(&self, trouble: Trouble, attempt: u32, has_begun: bool, ms: u64) -> Result<Trouble, Trouble> {
        let error = trouble.facts();
        if error.code() == Code::JournalWrite {
            return Ok(trouble);
        }
        // Rules broken after the effect, and everything that was cut off, leave the effect in the world.
        let cut_off = trouble.is_halt()
            || matches!(error.code(), Code::Timeout | Code::StepRule | Code::NotJournalable | Code::SecretGuard);
        let mut fault = Fault::from(&error);
        fault.unknown = has_begun && (error.is_unknown() || cut_off);
        self.run.write(&self.key, attempt, Event::Failed { error: fault, ms })?;
        Ok(trouble)
    }

    fn conclude(&self, value: Dynamic, how: How) -> Result<(Dynamic, How), Trouble> {
        let plain = convert::to_value(&value, &format!("what the check of step `{}` saw", self.spec.name))?;
        self.refuse_secret(&plain)?;
        let attempt = self.run.look(|state| state.steps.get(&self.key).map_or(1, |step| step.attempt.max(1)));
        self.run.write(&self.key, attempt, Event::Done { value: plain.to_json(), how, ms: 0 })?;
        Ok((value, how))
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

    fn refuse_secret(&self, plain: &Value) -> Result<()> {
        let text = plain.to_json().to_string();
        if self.host.redactor().finds(&text) {
            return Err(fail!(Code::SecretGuard, "the value of step `{}` contains a secret", self.spec.name)
                .hint("give back what identifies it (ARN, version id), not the secret itself"));
        }
        Ok(())
    }

    fn keep_undo(&mut self, value: Dynamic) {
        if let Some(clause) = self.spec.undo.take() {
            let (key, name) = (self.key.clone(), self.spec.name.clone());
            self.host.undo().push(Undo { key, name, clause, value });
        }
    }

    fn unknown(&self) -> Error {
        let run = self.run.id();
        fail!(
            Code::StepUnknown,
            "step `{}` was begun by an earlier process and its outcome is not known",
            key_text(&self.key)
        )
        .hint(format!("look at its target; `pgrun show {run}` tells when it was begun"))
    }
}

/// What a `check` or `verify` clause saw.
enum Seen {
    Absent,
    Pending,
    Done(Dynamic),
    Foreign,
}

impl Seen {
    /// Reads `true`, `false`, one of the four words, or a map with `state` and, when done, `value`.
    fn read(seen: &Dynamic) -> Result<Self> {
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
