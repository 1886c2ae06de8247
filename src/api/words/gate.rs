//! `confirm` and `pause`: a person opens a gate. The answer is journaled with what was shown.

use rhai::{Dynamic, EvalContext};

use super::{Inputs, Trouble, outer::Outer};
use crate::{
    api::{
        bridge, convert,
        frame::Frame,
        host::Host,
        operator::{Answer, Question, Wanted},
    },
    base::{Code, Result, Value, prose::shell_word},
    fail,
    journal::{Event, event::Person, sources},
};

/// `confirm TEXT [with #{ gate, type_name, shows }] [check {..}]`: gives what was answered; a no ends the run.
///
/// The `check` clause looks whether there is something to be asked at all: right before the question, which a resumed
/// run asks anew, and once more when the answer is there, since a person may take days. Its error ends the run there;
/// its value means nothing.
pub(super) fn confirm(host: &Host, context: &mut EvalContext, inputs: &Inputs) -> Result<Dynamic, Trouble> {
    gate(host, context, inputs, false)
}

/// `pause TEXT [with #{ gate, shows }]`: waits until somebody lets the run go on.
pub(super) fn pause(host: &Host, context: &mut EvalContext, inputs: &Inputs) -> Result<Dynamic, Trouble> {
    gate(host, context, inputs, true)
}

fn gate(host: &Host, context: &mut EvalContext, inputs: &Inputs, is_pause: bool) -> Result<Dynamic, Trouble> {
    let text = inputs.name(context)?;
    let known: &[&str] = if is_pause { &["gate", "shows"] } else { &["gate", "type_name", "shows"] };
    let options = inputs.options(context, known)?;
    let frame = Frame::of(Some(context.tag()));
    may_ask(&frame, "a gate", &text)?;
    let shows = options.raw("shows").map(|shows| convert::to_value(shows, "what the gate shows")).transpose()?;
    let gate = options.text("gate")?.unwrap_or_else(|| text.clone());
    host.meet(&vec![format!("gate {gate}")])?;
    let wanted = match options.text("type_name")? {
        Some(name) => Wanted::Word(name),
        None if is_pause => Wanted::Go,
        None => Wanted::Yes,
    };
    let question = Question { gate, text, shows, wanted };
    open(host, &frame, &question, inputs, || {
        if !inputs.has("check") {
            return Ok(());
        }
        let outer = Outer::of(context);
        let _ = inputs.eval_block(context, "check", &frame.in_look(None))?;
        Ok(outer.compare(&Outer::of(context), &format!("the check of the gate `{}`", question.gate))?)
    })
}

/// Where a person may be asked.
pub(super) fn may_ask(frame: &Frame, what: &str, text: &str) -> Result<()> {
    if frame.in_step() {
        return Err(fail!(Code::StepRule, "{what} cannot stand inside a step: `{text}`"));
    }
    if frame.never_asks() {
        return Err(fail!(Code::StepRule, "{what} cannot stand in a phase that never asks: `{text}`")
            .hint("ask before the phase begins"));
    }
    Ok(())
}

fn open(
    host: &Host,
    frame: &Frame,
    question: &Question,
    inputs: &Inputs,
    mut look: impl FnMut() -> Result<(), Trouble>,
) -> Result<Dynamic, Trouble> {
    let run = host.run()?.clone();
    let gate = &question.gate;
    let shown = sources::digest(&format!("{}\n{}", question.text, shown_text(question.shows.as_ref())));
    let answered = run.look(|state| state.gates.get(gate).map(|gate| (gate.answer.clone(), gate.shown.clone())));
    if let Some((Some(answer), shown_then)) = answered {
        if host.is_adoption() && shown_then != shown {
            let text = run.look(|state| state.gates.get(gate).map(|gate| gate.text.clone())).unwrap_or_default();
            return Err(Trouble::Final(
                fail!(Code::JournalMismatch, "the gate `{gate}` was answered for other words: {text}")
                    .hint("give the changed question a gate name of its own"),
            ));
        }
        return Ok(answer.into());
    }
    if frame.is_rewinding() {
        host.asks(&frame.key(&format!("gate {gate}")));
        return Err(Trouble::Inner(bridge::rewound(inputs.position())));
    }
    if host.stop().is_asked() {
        return Err(host.stop().error().into());
    }
    look()?;
    frame.go_on(&run)?;
    let key = frame.key(&format!("gate {gate}"));
    run.write(&key, 0, Event::Asked { gate: gate.clone(), text: question.text.clone(), shown })?;
    let (answer, through) = host.ask(question);
    let write = |value: &str| {
        let (gate, value, through) = (gate.clone(), value.to_owned(), through.to_owned());
        run.write(&key, 0, Event::Answered { gate, value, through, person: Person::here() })
    };
    let command = |answer: Option<&str>| run.look(|state| state.command(answer));
    match answer {
        Answer::Yes(text) => {
            look()?;
            write(&text)?;
            Ok(text.into())
        }
        Answer::No => {
            write("no")?;
            Err(fail!(Code::Declined, "the answer to `{gate}` was no: {}", question.text)
                .hint(format!("`{}` asks again", command(None)))
                .into())
        }
        Answer::Unfit(given) => {
            let wanted = format!("{gate}={}", question.wanted.answer());
            Err(fail!(Code::NeedsAnswer, "got `--answer {gate}={given}`, wanted `--answer {wanted}`")
                .hint(command(Some(&shell_word(&wanted))))
                .into())
        }
        Answer::Nobody if host.stop().is_asked() => Err(host.stop().error().into()),
        Answer::Nobody => {
            let value = question.wanted.answer();
            Err(fail!(Code::NeedsAnswer, "the gate `{gate}` waits for a person: {}", question.text)
                .hint(command(Some(&shell_word(&format!("{gate}={value}")))))
                .into())
        }
    }
}

fn shown_text(shows: Option<&Value>) -> String {
    shows.map_or_else(String::new, |value| value.to_json().to_string())
}
