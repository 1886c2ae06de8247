//! `phase`: groups steps; with `on_failure: "undo"` it goes back as a whole, also after a crash.

use std::time::Duration;

use rhai::{Dynamic, EvalContext};

use super::{Inputs, Trouble, back, outer::Outer};
use crate::{
    api::{
        bridge,
        frame::{Frame, Limit},
        host::Host,
        operator::Notice,
    },
    base::{Code, Result},
    fail,
    journal::{Event, Fault, Key, PhaseState, Run, key_text},
};

/// How long an undo may take where the phase does not say.
const UNDO_DEADLINE: Duration = Duration::from_mins(1);

/// `phase NAME [with #{ deadline, on_failure, undo_deadline, never_ask }] [check {..}] {..}`
///
/// The `check` clause tells where the world stands: once it says `done` the phase is past its decision and is never
/// undone, whatever the journal holds. It is asked before every undo.
pub(super) fn run(host: &Host, context: &mut EvalContext, inputs: &Inputs) -> Result<Dynamic, Trouble> {
    let name = inputs.name(context)?;
    let options = inputs.options(context, &["deadline", "on_failure", "undo_deadline", "never_ask"])?;
    let goes_back = match options.text("on_failure")?.as_deref() {
        None => false,
        Some("undo") => true,
        Some(other) => return Err(fail!(Code::StepRule, "got `on_failure: {other:?}`, wanted \"undo\"").into()),
    };
    let frame = Frame::of(Some(context.tag()));
    if frame.in_step() {
        return Err(fail!(Code::StepRule, "the phase `{name}` stands inside a step").into());
    }
    let key = frame.key(&name);
    host.meet(&key)?;
    let phase = Phase {
        host,
        run: host.run()?.clone(),
        outer: frame,
        deadline: options.duration("deadline")?.filter(|_| !host.ignores_deadlines()),
        undo_deadline: options.duration("undo_deadline")?.unwrap_or(UNDO_DEADLINE),
        // A gate inside would leave the phase open, and the next process would undo it.
        never_ask: options.flag("never_ask")? || goes_back,
        key,
        name,
    };
    phase.go(context, inputs, goes_back)
}

struct Phase<'a> {
    host: &'a Host,
    run: Run,
    outer: Frame,
    key: Key,
    name: String,
    deadline: Option<Duration>,
    undo_deadline: Duration,
    never_ask: bool,
}

impl Phase<'_> {
    fn go(&self, context: &mut EvalContext, inputs: &Inputs, goes_back: bool) -> Result<Dynamic, Trouble> {
        let before = self.run.look(|state| state.phase(&self.key));
        if self.host.is_replay() {
            return self.follow(context, inputs, before);
        }
        if self.outer.is_rewinding() && before.is_some_and(|before| before != PhaseState::Void) {
            // A phase around this one goes back; not past a decision.
            return self.follow(context, inputs, before);
        }
        self.host.tell(Notice::Phase { depth: self.outer.depth(), name: self.name.clone() });
        if before == Some(PhaseState::Left) || self.outer.is_rewinding() {
            return self.body(context, inputs, &self.outer);
        }
        if goes_back && before == Some(PhaseState::Void) && self.is_decided(context, inputs)? {
            return Err(Trouble::Final(
                fail!(Code::Refused, "phase `{}` was undone, and yet its decision is made", self.name)
                    .hint("somebody else decided meanwhile: look at the target, then go on by hand or abandon the run"),
            ));
        }
        self.outer.go_on(&self.run)?;
        self.run.write(&self.key, 0, Event::Entered)?;
        if goes_back && before == Some(PhaseState::Entered) {
            // A script that caught this would go on with a phase that was neither done nor undone.
            let decided = self.is_decided(context, inputs).map_err(Trouble::into_final)?;
            if !decided && self.recover(context, inputs).map_err(Trouble::into_final)? {
                self.run.write(&self.key, 0, Event::Entered)?;
            }
        }
        match self.body(context, inputs, &self.outer) {
            Ok(value) => {
                self.outer.go_on(&self.run)?;
                // Not asked now: the server that was left may be gone, and every millisecond counts.
                if goes_back && inputs.has("check") {
                    self.host.undo().decide(&self.key);
                }
                self.run.write(&self.key, 0, Event::Left)?;
                Ok(value)
            }
            Err(trouble) if goes_back => Err(self.go_back(context, inputs, trouble)),
            Err(trouble) => Err(trouble),
        }
    }

    /// Follows what the journal holds, for an undo of the run: behind a decision nothing is undone.
    fn follow(
        &self,
        context: &mut EvalContext,
        inputs: &Inputs,
        before: Option<PhaseState>,
    ) -> Result<Dynamic, Trouble> {
        let was_entered = matches!(before, Some(PhaseState::Entered | PhaseState::Left));
        let value = self.block(context, inputs, &self.outer);
        if was_entered && self.is_decided(context, inputs).map_err(Trouble::into_final)? {
            self.host.undo().decide(&self.key);
        }
        value
    }

    fn body(&self, context: &mut EvalContext, inputs: &Inputs, outer: &Frame) -> Result<Dynamic, Trouble> {
        let value = self.block(context, inputs, outer)?;
        self.host.tell(Notice::PhaseLeft { depth: self.outer.depth() });
        Ok(value)
    }

    fn block(&self, context: &mut EvalContext, inputs: &Inputs, outer: &Frame) -> Result<Dynamic, Trouble> {
        let of = format!("phase `{}`", self.name);
        let limit = self.deadline.map(|given| Limit::starting(given, of, true));
        let inner = outer.in_phase(self.key.clone(), limit, self.never_ask);
        inputs.eval_block(context, "body", &inner)
    }

    /// Asks the world whether the phase's decision is made; one inside it counts as well.
    fn is_decided(&self, context: &mut EvalContext, inputs: &Inputs) -> Result<bool, Trouble> {
        if self.host.undo().decisions().iter().any(|phase| phase.starts_with(&self.key)) {
            return Ok(true);
        }
        if !inputs.has("check") {
            return Ok(false);
        }
        let limit = Limit::starting(self.undo_deadline, format!("check of phase `{}`", self.name), false);
        let look = self.outer.with_only_limit(limit).in_look(None);
        let outer = Outer::of(context);
        let seen = inputs.eval_block(context, "check", &look)?;
        outer.compare(&Outer::of(context), &format!("the check of phase `{}`", self.name))?;
        let word = seen.clone().try_cast::<rhai::ImmutableString>();
        match (seen.as_bool(), word.as_deref()) {
            (Ok(decided), _) => Ok(decided),
            (_, Some("done")) => Ok(true),
            (_, Some("absent" | "pending")) => Ok(false),
            _ => Err(fail!(Code::StepRule, "the check of phase `{}` must give done or absent", self.name).into()),
        }
    }

    /// A process died inside the phase: rebuilds the undo clauses of what it had done, and undoes it. Gives false
    /// when a phase inside has made its decision: then the way is forward.
    fn recover(&self, context: &mut EvalContext, inputs: &Inputs) -> Result<bool, Trouble> {
        self.host.tell(Notice::Warned(format!(
            "phase `{}` was cut off by the end of an earlier process: going back before it is tried again",
            self.name
        )));
        match self.body(context, inputs, &self.outer.rewinding()) {
            Err(Trouble::Inner(raised)) if bridge::is_rewound(&raised) => {}
            Err(trouble) if trouble.is_halt() => return Err(trouble),
            // Nothing runs in a rewind, so this is what made the phase fail in the process that died.
            Ok(_) | Err(_) => {}
        }
        back::require_all_met(self.host, &self.run, &self.key)?;
        if self.is_decided(context, inputs)? {
            self.host.tell(Notice::Warned(format!("a phase inside `{}` has made its decision: forward", self.name)));
            while self.host.undo().pop_below(&self.key).is_some() {}
            self.host.forget_below(&self.key);
            return Ok(false);
        }
        let cause = fail!(Code::Cancelled, "an earlier process ended inside the phase");
        self.undo_all(context, &Fault::from(&cause))?;
        Ok(true)
    }

    /// The phase failed: undoes its steps unless its decision is made. Gives the error that ends the run.
    fn go_back(&self, context: &mut EvalContext, inputs: &Inputs, trouble: Trouble) -> Trouble {
        let cause = trouble.facts();
        match self.is_decided(context, inputs) {
            Ok(false) => {}
            Ok(true) => {
                self.host.undo().decide(&self.key);
                let note = format!("phase `{}` had made its decision before it failed: nothing was undone", self.name);
                self.host.tell(Notice::Warned(note));
                return trouble.into_final();
            }
            Err(unclear) => {
                let during =
                    format!("phase `{}` failed ({cause}), and asking where the world stands failed", self.name);
                return Trouble::Final(unclear.facts().during(during));
            }
        }
        match self.undo_all(context, &Fault::from(&cause)) {
            Ok(()) => trouble.into_final(),
            Err(failed) => Trouble::Final(failed.facts().during(format!("phase `{}` failed ({cause})", self.name))),
        }
    }

    /// Undoes every step below, newest first, then voids their records.
    fn undo_all(&self, context: &EvalContext, cause: &Fault) -> Result<(), Trouble> {
        let limit = Limit::starting(self.undo_deadline, format!("undo of phase `{}`", self.name), false);
        let frame = self.outer.with_only_limit(limit);
        self.warn_of_unknown();
        back::undo_below(self.host, context.engine(), &frame, &self.key)?;
        self.run.write(&self.key, 0, Event::Voided { cause: cause.clone() })?;
        self.host.forget_below(&self.key);
        Ok(())
    }

    /// The undo of a step whose outcome is not known runs too, with `()` for its value: said, not hidden.
    fn warn_of_unknown(&self) {
        let unknown: Vec<String> = self.run.look(|state| {
            let ways = self.host.undo().keys();
            let below =
                ways.iter().filter(|key| key.starts_with(&self.key)).filter_map(|key| state.steps.get_key_value(key));
            below.filter(|(_, step)| step.state.name() == "unknown").map(|(key, _)| key_text(key)).collect()
        });
        for name in unknown {
            self.host.tell(Notice::Warned(format!("the outcome of `{name}` is not known; its undo runs all the same")));
        }
    }
}
