//! The table of legal moves: which event may follow which history, and what it changes. A pure state machine, which
//! reads no clock and no file.

use serde_json::Value as Json;

use super::{
    event::{Decision, Event, Fault, How, Key, Waiver, key_text},
    record::Record,
    state::{Means, PhaseRecord, PhaseState, RunState, Status, StepRecord, StepState, WaiverRecord, is_branch},
};
use crate::{
    base::{Code, Result},
    fail,
};

impl RunState {
    /// Takes the next event in, or says why it cannot follow this history. Nothing is changed on an error.
    pub fn next(&mut self, record: &Record) -> Result<()> {
        let illegal = |why: String| {
            fail!(Code::JournalMismatch, "record {} (`{}`) cannot follow: {why}", record.seq, key_text(&record.key))
        };
        if record.seq != self.seq + 1 {
            return Err(illegal(format!("the journal has {} records, this one says {}", self.seq, record.seq)));
        }
        let starts = matches!(record.event, Event::RunStarted(_));
        if starts != self.started.is_none() {
            return Err(illegal("`run_started` is the first event and only the first".into()));
        }
        if record.epoch != self.epoch + u32::from(record.event.begins_epoch()) {
            return Err(illegal(format!("the journal is in epoch {}, the record in {}", self.epoch, record.epoch)));
        }
        self.allows(&record.event).map_err(illegal)?;
        let undoes = matches!(record.event, Event::UndoIntent | Event::UndoDone | Event::UndoFailed { .. });
        let is_free = self.undoing.is_some() || matches!(record.event, Event::Decided { .. });
        if !is_free && let Some(phase) = self.phase_not_entered(&record.key, undoes) {
            return Err(illegal(format!("the phase `{}` is not entered", key_text(phase))));
        }
        self.apply(record).map_err(illegal)?;
        self.seq = record.seq;
        self.epoch = record.epoch;
        self.head.clone_from(&record.hash);
        if self.seq == 1 {
            self.birth.clone_from(&record.hash);
        }
        Ok(())
    }

    /// Whether where the run stands allows an event at all.
    fn allows(&self, event: &Event) -> Result<(), String> {
        let name = self.status.name();
        match (self.status, event) {
            (Status::Undone | Status::Abandoned, _) => Err(format!("the run is {name}")),
            (_, Event::UndoStarted { .. }) => Ok(()),
            (Status::Done, _) => Err("the run is done".into()),
            (Status::Undoing, Event::Resumed(_)) => Err("the run is being undone".into()),
            (_, Event::Resumed(_) | Event::Abandoned { .. }) => Ok(()),
            (status, _) if self.stopped.is_some() || !matches!(status, Status::Running | Status::Undoing) => {
                Err(format!("the run is {name} and was not resumed"))
            }
            (
                Status::Undoing,
                Event::UndoIntent
                | Event::UndoDone
                | Event::UndoFailed { .. }
                | Event::UndoFinished
                | Event::Decided { .. }
                | Event::Claimed { .. }
                | Event::Noted { .. }
                | Event::Stopped { .. },
            ) => Ok(()),
            (Status::Undoing, _) => Err("the run is being undone".into()),
            (_, Event::UndoFinished) => Err("the run is not being undone".into()),
            _ => Ok(()),
        }
    }

    fn apply(&mut self, record: &Record) -> Result<(), String> {
        match &record.event {
            Event::RunStarted(started) => {
                self.started = Some(started.clone());
                self.started_at.clone_from(&record.at);
            }
            Event::Resumed(_) => {
                self.status = Status::Running;
                if self.stopped.take().is_some_and(|fault| fault.code == Code::NeedsWaiver.name()) {
                    self.look_again();
                }
            }
            Event::Waived { waivers, through, person } => {
                let record = |waiver: &Waiver| WaiverRecord {
                    waiver: waiver.clone(),
                    through: through.clone(),
                    person: person.clone(),
                    at: record.at.clone(),
                    seq: record.seq,
                };
                self.waivers.extend(waivers.iter().map(record));
            }
            Event::Shown { findings } => self.shown.extend_from_slice(findings),
            Event::Claimed { target } => self.claims.push(target.clone()),
            Event::Noted { .. } => {}
            Event::Asked { gate, text, shown } => {
                if self.gates.get(gate).is_some_and(|entry| entry.answer.is_some()) {
                    return Err(format!("the gate `{gate}` is answered already"));
                }
                let entry = self.gates.entry(gate.clone()).or_default();
                entry.text.clone_from(text);
                entry.shown.clone_from(shown);
            }
            Event::Answered { gate, value, .. } => match self.gates.get_mut(gate) {
                // A "no" may be asked again and answered anew; a "yes" counts for good.
                Some(entry) if entry.answer.is_none() => {
                    entry.answer = (value != "no").then(|| value.clone());
                    entry.answered = record.seq;
                }
                Some(_) => return Err(format!("the gate `{gate}` is answered already")),
                None => return Err(format!("the gate `{gate}` was never shown")),
            },
            Event::Stopped { state, error } => {
                self.status = match state.as_str() {
                    _ if self.undoing.is_some() => Status::Undoing,
                    "paused" => Status::Paused,
                    "unknown" => Status::Unknown,
                    "failed" => Status::Failed,
                    other => return Err(format!("a run cannot stop as `{other}`")),
                };
                self.stopped = Some(error.clone());
            }
            // A phase that failed and was caught stays entered: that is no hindrance.
            Event::Finished => self.status = Status::Done,
            Event::Abandoned { .. } => self.status = Status::Abandoned,
            Event::UndoStarted { to, .. } => {
                self.undoing = Some(to.clone());
                self.status = Status::Undoing;
                self.stopped = None;
            }
            Event::UndoFinished => self.end_undo()?,
            Event::Adopted { sources, .. } => {
                if let Some(started) = &mut self.started {
                    started.sources.clone_from(sources);
                }
            }
            Event::Decided { decision, .. } => self.decide(record, decision)?,
            Event::Entered | Event::Left | Event::Voided { .. } => self.move_phase(record)?,
            Event::Caught => self.catch(&record.key)?,
            _ => self.move_step(record)?,
        }
        Ok(())
    }

    /// A phase around a key in which nothing can happen, because it is not entered. To undo what is in phases that were
    /// left, one phase around them has to be entered.
    fn phase_not_entered<'a>(&self, key: &'a [String], undoes: bool) -> Option<&'a [String]> {
        let is_phase = |outer: &&[String]| self.phase(outer).is_some() || !is_branch(outer);
        let mut around = (1..key.len()).map(|end| &key[..end]).filter(is_phase);
        let is_entered = |outer: &[String]| self.phase(outer) == Some(PhaseState::Entered);
        if undoes && around.clone().any(is_entered) {
            return None;
        }
        around.find(|outer| !is_entered(outer))
    }

    /// Ends an undo. After a partial one the undone steps, and the answers given since, are to come anew.
    fn end_undo(&mut self) -> Result<(), String> {
        let is_half_undone =
            |step: &StepRecord| matches!(step.state, StepState::Undoing(_) | StepState::UndoFailed(..));
        if let Some((key, _)) = self.steps.iter().find(|(_, step)| is_half_undone(step)) {
            return Err(format!("the step `{}` is not undone yet", key_text(key)));
        }
        if self.undoing.take().flatten().is_none() {
            self.status = Status::Undone;
            return Ok(());
        }
        self.status = Status::Running;
        let undone = self.steps.values().filter(|step| step.state == StepState::Undone);
        let since = undone.map(|step| step.since).min().unwrap_or(u64::MAX);
        for (key, step) in &mut self.steps {
            // What was only looked at since, and what failed, may be otherwise now.
            let is_stale = matches!(step.state, StepState::Done { how: How::Looked, .. } | StepState::Failed(_));
            if step.state != StepState::Undone && !(is_stale && step.since >= since) {
                continue;
            }
            step.state = StepState::Void;
            step.caught = false;
            for end in 1..key.len() {
                if let Some(phase) = self.phases.get_mut(&key[..end]) {
                    phase.state = PhaseState::Void;
                }
            }
        }
        for gate in self.gates.values_mut().filter(|gate| gate.answered > since) {
            gate.answer = None;
        }
        self.waivers.retain(|record| record.seq < since);
        Ok(())
    }

    /// Findings stopped the run, and somebody may have mended them: what was only looked at since the last change is
    /// looked at again. A phase that ended well is entered again if nothing in it changed anything.
    fn look_again(&mut self) {
        let changed = self.steps.values().filter(|step| step.may_have_changed());
        let last = changed.map(|step| step.since).max().unwrap_or(0);
        let is_stale = |step: &StepRecord| match step.state {
            StepState::Done { how: How::Looked, .. } => step.since > last,
            ref state => *state == StepState::Void,
        };
        let only_looks = |phase: &Key| {
            let mut below = self.steps.iter().filter(|(key, _)| key.starts_with(phase));
            below.all(|(_, step)| is_stale(step))
        };
        let left = self.phases.iter().filter(|(_, phase)| phase.state == PhaseState::Left);
        let (again, kept): (Vec<Key>, Vec<Key>) = left.map(|(key, _)| key.clone()).partition(only_looks);
        for (key, step) in &mut self.steps {
            if is_stale(step) && !kept.iter().any(|phase| key.starts_with(phase)) {
                step.state = StepState::Void;
            }
        }
        for key in again.iter().filter(|key| !kept.iter().any(|phase| key.starts_with(phase))) {
            if let Some(phase) = self.phases.get_mut(key) {
                phase.state = PhaseState::Void;
            }
        }
        for gate in self.gates.values_mut().filter(|gate| gate.answered > last) {
            gate.answer = None;
        }
    }

    fn decide(&mut self, record: &Record, decision: &Decision) -> Result<(), String> {
        let name = key_text(&record.key);
        let Some(step) = self.steps.get_mut(&record.key) else {
            return Err(format!("the step `{name}` is not begun"));
        };
        let state = match (&step.state, decision) {
            (StepState::Failed(_), _) if step.caught => return Err(format!("the run went on after `{name}` failed")),
            (StepState::Begun, _) if step.epoch == record.epoch => {
                return Err(format!("the step `{name}` is running"));
            }
            // It did not take effect, says the person: then there is nothing to undo either.
            (StepState::Begun | StepState::Failed(_), Decision::Retry) => {
                step.begun = false;
                StepState::Failed(Fault::decided())
            }
            (StepState::Begun | StepState::Failed(_), Decision::Done(value)) => {
                StepState::Done { value: value.clone(), how: How::Decided }
            }
            (StepState::Begun | StepState::Failed(_), Decision::Skip) => {
                StepState::Done { value: Json::Null, how: How::Skipped }
            }
            (StepState::Begun | StepState::Failed(_), Decision::Undo) => StepState::Undoing(None),
            (StepState::Undoing(value) | StepState::UndoFailed(value, _), Decision::Retry | Decision::Undo) => {
                StepState::Undoing(value.clone())
            }
            // Its undo was to come before a new attempt: no attempt is needed any more.
            (StepState::Undoing(_) | StepState::UndoFailed(..), Decision::Skip) if step.anew => {
                StepState::Done { value: Json::Null, how: How::Skipped }
            }
            (StepState::Undoing(_) | StepState::UndoFailed(..), Decision::Done(_)) if step.anew => StepState::Void,
            (StepState::Undoing(_) | StepState::UndoFailed(..), Decision::Done(_) | Decision::Skip) => {
                StepState::Undone
            }
            (state, _) => return Err(format!("the step `{name}` is {}", state.name())),
        };
        step.anew |= matches!((&state, &step.state), (StepState::Undoing(_), StepState::Begun | StepState::Failed(_)));
        step.state = state;
        Ok(())
    }

    fn move_phase(&mut self, record: &Record) -> Result<(), String> {
        let name = key_text(&record.key);
        let state = match (&record.event, self.phases.get(&record.key)) {
            (Event::Entered, None | Some(PhaseRecord { state: PhaseState::Void, .. })) => PhaseState::Entered,
            (Event::Entered, Some(PhaseRecord { state: PhaseState::Entered, epoch })) if *epoch < record.epoch => {
                PhaseState::Entered
            }
            (Event::Entered, Some(_)) => return Err(format!("the phase `{name}` was entered already")),
            (Event::Left, Some(PhaseRecord { state: PhaseState::Entered, .. })) => PhaseState::Left,
            (Event::Voided { .. }, Some(PhaseRecord { state: PhaseState::Entered, .. })) => PhaseState::Void,
            (_, _) => return Err(format!("the phase `{name}` is not entered")),
        };
        if state == PhaseState::Void {
            self.void_below(&record.key);
        }
        self.phases.insert(record.key.clone(), PhaseRecord { state, epoch: record.epoch });
        Ok(())
    }

    fn void_below(&mut self, phase: &[String]) {
        for (_, step) in self.steps.iter_mut().filter(|(key, _)| key.starts_with(phase)) {
            step.state = StepState::Void;
            step.caught = false;
        }
        for (_, inner) in self.phases.iter_mut().filter(|(key, _)| key.starts_with(phase)) {
            inner.state = PhaseState::Void;
        }
    }

    fn move_step(&mut self, record: &Record) -> Result<(), String> {
        let name = key_text(&record.key);
        if record.key.is_empty() {
            return Err("a step needs a key".into());
        }
        let before = self.steps.get(&record.key);
        let is_new = before.is_none();
        let is_fresh = before.is_none_or(|step| step.state == StepState::Void);
        let anew = before.is_some_and(|step| step.anew) && !is_fresh;
        let was_begun = before.is_some_and(|step| step.begun) && !is_fresh;
        let begun = was_begun || matches!(record.event, Event::Intent | Event::Marked);
        let was = before.filter(|_| !is_fresh).map_or(Means::Any, |step| step.means);
        let means = match record.event {
            Event::Intent => Means::Any,
            Event::Marked => Means::Marked,
            _ => was,
        };
        let attempt = before.map_or(0, |step| step.attempt);
        let old = before.map(|step| &step.state);
        let is_running = before.is_some_and(|step| step.epoch == record.epoch) && record.attempt == attempt;
        let was_caught = before.is_some_and(|step| step.caught);
        let (state, ms) = match (&record.event, old) {
            (_, Some(StepState::Failed(_))) if was_caught && !matches!(record.event, Event::UndoIntent) => {
                return Err(format!("the run went on after `{name}` failed"));
            }
            // The rest of a body that had begun with marked transactions.
            (Event::Intent, Some(StepState::Begun)) if is_running && was == Means::Marked => (StepState::Begun, None),
            (Event::Intent | Event::Marked, Some(StepState::Begun))
                if before.is_some_and(|step| step.epoch == record.epoch) =>
            {
                return Err(format!("the step `{name}` is running already"));
            }
            (Event::Intent | Event::Marked, None | Some(StepState::Begun | StepState::Failed(_) | StepState::Void)) => {
                if record.attempt != attempt + 1 {
                    return Err(format!("attempt {} of `{name}` follows attempt {attempt}", record.attempt));
                }
                (StepState::Begun, None)
            }
            (Event::Done { value, how: How::Ran, ms }, Some(StepState::Begun)) if is_running => {
                (StepState::Done { value: value.clone(), how: How::Ran }, Some(*ms))
            }
            (Event::Done { value, how: How::Looked, ms }, None | Some(StepState::Failed(_) | StepState::Void)) => {
                (StepState::Done { value: value.clone(), how: How::Looked }, Some(*ms))
            }
            (
                Event::Done { value, how: how @ (How::Checked | How::Verified), ms },
                None | Some(StepState::Begun | StepState::Failed(_) | StepState::Void),
            ) => (StepState::Done { value: value.clone(), how: *how }, Some(*ms)),
            (Event::Failed { error, ms }, Some(StepState::Begun)) if is_running => {
                (StepState::Failed(error.clone()), Some(*ms))
            }
            // A body that only read has no intent; its failure is definite, and is kept for the replay of a `try`.
            (Event::Failed { error, ms }, None | Some(StepState::Failed(_) | StepState::Void)) if !error.unknown => {
                (StepState::Failed(error.clone()), Some(*ms))
            }
            (Event::UndoIntent, Some(StepState::Begun | StepState::Failed(_))) => (StepState::Undoing(None), None),
            (Event::UndoIntent, Some(StepState::Done { value, .. })) => (StepState::Undoing(Some(value.clone())), None),
            (Event::UndoIntent, Some(StepState::Undoing(value) | StepState::UndoFailed(value, _))) => {
                (StepState::Undoing(value.clone()), None)
            }
            (Event::UndoDone, Some(StepState::Undoing(_))) if anew => (StepState::Void, None),
            (Event::UndoDone, Some(StepState::Undoing(_))) => (StepState::Undone, None),
            (Event::UndoFailed { error }, Some(StepState::Undoing(value))) => {
                (StepState::UndoFailed(value.clone(), error.clone()), None)
            }
            (_, old) => {
                let was = old.map_or("not begun", StepState::name);
                return Err(format!("the step `{name}` is {was} (attempt {attempt})"));
            }
        };
        if is_new {
            self.order.push(record.key.clone());
        }
        let attempt = record.attempt.max(attempt);
        let since = before.filter(|_| !is_fresh).map_or(record.seq, |step| step.since);
        let step = StepRecord { state, attempt, begun, means, epoch: record.epoch, ms, caught: false, since, anew };
        self.steps.insert(record.key.clone(), step);
        Ok(())
    }

    fn catch(&mut self, key: &[String]) -> Result<(), String> {
        let name = key_text(key);
        match self.steps.get_mut(key) {
            Some(step) if matches!(step.state, StepState::Failed(_)) && !step.caught => {
                step.caught = true;
                Ok(())
            }
            step => Err(format!("the step `{name}` is {}", step.map_or("not begun", |step| step.state.name()))),
        }
    }
}
