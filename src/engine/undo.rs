//! `pgrun undo`: the script is followed over its journal to find the undo clauses; a person agrees; they run.

use std::sync::Arc;

use super::{
    build,
    diagnostic::Diagnosis,
    params::Values,
    run::{Decisions, Outcome, Refusal, Settings, Taken, conclude, decided, follow, on_script_thread, outcome},
};
use crate::{
    api::{Answer, Host, Notice, Purpose, Question, Wanted, back},
    base::{
        Code, Error, Result,
        prose::{self, shell_word},
    },
    fail,
    journal::{Decision, Key, Run, RunFolder, RunState, Status, StepState, Wish, key_text},
};

/// How a run is undone.
#[derive(Default)]
pub struct Undo {
    /// Parameters that held a password, given again.
    pub values: Values,
    /// What failed undos count as.
    pub decisions: Decisions,
    /// The last step to be undone, by name; all of them where there is none.
    pub to: Option<String>,
}

/// Undoes a run: newest step first, down to the step `to` or as a whole. The script is followed over its journal to
/// find the undo clauses; nothing is done before a person has seen what will be.
///
/// # Errors
/// Everything that is found before the first undo: the journal is as it was.
pub fn undo(settings: &Settings, name: &str, undo: &Undo) -> Result<Outcome, Refusal> {
    let run = RunFolder::new(&settings.config.home).open(name, Wish::Undo, settings.redactor.clone())?;
    let to = undo.to.as_ref().map(|to| run.look(|state| state.find_step(to))).transpose()?;
    run.look(|state| match &state.undoing {
        Some(begun) if *begun != to => {
            Err(fail!(Code::Refused, "the undo that was begun goes another way").hint(state.command(None)))
        }
        _ => Ok(()),
    })?;
    let decided = decided(&run, &undo.decisions)?;
    run.look(|state| require_undo_begun(state, &decided))?;
    let taken = Taken::of(settings, &run, &undo.values)?;
    let host = settings.host(Some(run.clone()), taken.given.script, Purpose::Replay);
    let undone = on_script_thread(|| {
        let engine = build::engine(&host, Arc::new(taken.loaded.sources.clone()));
        follow(&engine, &taken.loaded.main, &taken.loaded.sources)?;
        let plan = back::plan(&host, to.as_ref())?;
        agree(&host, &run, &plan, undo)?;
        run.begin_undo(to.clone())?;
        decided.into_iter().try_for_each(|(key, decision, why)| run.decide(&key, decision, &why))?;
        Ok(back::carry_out(&host, &engine, &plan).map_err(Diagnosis::from))
    });
    let ended = undone?;
    let concluded = match &ended {
        Ok(()) => run.end_undo().and_then(|()| match &to {
            None => Ok(()),
            Some(to) => run.stop(Status::Paused, &undone_to(to)),
        }),
        Err(diagnosis) => conclude(&run, &diagnosis.error),
    };
    Ok(outcome(&run, ended.err().or_else(|| concluded.err().map(Into::into))))
}

fn undone_to(to: &Key) -> Error {
    let step = key_text(to);
    fail!(Code::NeedsAnswer, "everything since `{step}` is undone, `{step}` included; resumed, it is done anew")
}

/// Shows what will be undone, and what will stay, and asks.
fn agree(host: &Host, run: &Run, plan: &back::Plan, undo: &Undo) -> Result<()> {
    let list = |head: String, names: &[String]| [&[head], names].concat().join("\n  ");
    host.tell(Notice::Warned(match plan.undone.len() {
        0 => "nothing is left to be undone".to_owned(),
        count => list(format!("{} will be undone, newest first:", prose::count(count, "step")), &plan.undone),
    }));
    if !plan.staying.is_empty() {
        host.tell(Notice::Warned(list("no undo clause, what they did stays:".into(), &plan.staying)));
    }
    let text = format!("Undo the run {}?", run.id());
    let question = Question { gate: "undo".into(), text, shows: None, wanted: Wanted::Yes };
    match host.ask(&question) {
        (Answer::Yes(_), _) => Ok(()),
        (Answer::No, _) => Err(fail!(Code::Declined, "the answer was no: nothing was undone")),
        (Answer::Unfit(given), _) => Err(fail!(Code::Usage, "got `--answer undo={given}`, wanted `--answer undo=yes`")),
        (Answer::Nobody, _) if host.stop().is_asked() => Err(host.stop().error()),
        (Answer::Nobody, _) => {
            Err(fail!(Code::NeedsAnswer, "somebody has to agree to the undo").hint(agreement(run, undo)))
        }
    }
}

/// The command that agrees to this very undo.
fn agreement(run: &Run, undo: &Undo) -> String {
    let secret = run.look(|state| state.started.as_ref().map(|started| started.secret_params.clone()));
    let sets = secret.unwrap_or_default().into_iter().map(|name| format!(" --set {name}=.."));
    let to = undo.to.iter().map(|to| format!(" --to={}", shell_word(to)));
    let decide = undo.decisions.about.iter().map(|(step, decision)| {
        let value = if let Decision::Done(value) = decision { format!(":{value}") } else { String::new() };
        format!(" --decide={}", shell_word(&format!("{step}={}{value}", decision.name())))
    });
    let why = undo.decisions.why.iter().map(|why| format!(" --why={}", shell_word(why)));
    let all: String = to.chain(decide).chain(why).chain(sets).collect();
    format!("pgrun undo {}{all} --yes", run.id())
}

/// In an undo a decision is about an undo that has begun: about a step itself it would come too late.
fn require_undo_begun(state: &RunState, decided: &[(Key, Decision, String)]) -> Result<()> {
    let has_begun = |key: &Key| {
        state.step(key).is_some_and(|step| matches!(step.state, StepState::Undoing(_) | StepState::UndoFailed(..)))
    };
    match decided.iter().find(|(key, ..)| !has_begun(key)) {
        None => Ok(()),
        Some((key, ..)) => {
            let name = key_text(key);
            Err(fail!(Code::Usage, "the undo of step `{name}` has not begun: there is nothing to decide")
                .hint("undo the run first; if that step's undo fails, say what it counts as"))
        }
    }
}
