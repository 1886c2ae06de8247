//! `waive`: findings of an inventory end the run, unless somebody says of each why it may stay.

use std::fmt::Write as _;

use rhai::{Dynamic, EvalContext};

use super::{Inputs, Trouble, gate};
use crate::{
    api::{
        bridge, convert,
        frame::Frame,
        host::Host,
        operator::{Answer, Notice, Question, Wanted},
        waivers,
    },
    base::{Code, Error, Finding, Result, Value, Verdict, prose},
    fail,
    journal::{Event, Found, Run, Waiver, event::Person},
};

/// As many findings are named by an error; the journal's step has them all.
const NAMED: usize = 200;

/// `waive FINDINGS`: shows what warns, and ends the run when a finding with the verdict `stop` was not waived. Gives
/// the waivers. What was waived once is not asked again.
pub(super) fn waive(host: &Host, context: &mut EvalContext, inputs: &Inputs) -> Result<Dynamic, Trouble> {
    let input = inputs.get("name").ok_or_else(|| fail!(Code::Internal, "a word without its first input"))?;
    let findings = read(&input.eval_with_context(context)?)?;
    let frame = Frame::of(Some(context.tag()));
    gate::may_ask(&frame, "`waive`", "waive findings")?;
    let run = host.run()?.clone();
    if frame.is_rewinding() {
        if !open(&run, &findings).is_empty() {
            host.asks(&frame.key("waive"));
            return Err(Trouble::Inner(bridge::rewound(inputs.position())));
        }
        return Ok(waived(&run, &findings));
    }
    frame.go_on(&run)?;
    show(host, &run, &frame, &findings)?;
    take_given(host, &run, &frame, &findings)?;
    ask(host, &run, &frame, &findings)?;
    let open = open(&run, &findings);
    if open.is_empty() { Ok(waived(&run, &findings)) } else { Err(refusal(&run, &open).into()) }
}

/// The findings, each once: those about the whole server are found in every database.
fn read(given: &Dynamic) -> Result<Vec<Finding>> {
    let wrong = |what: &str| fail!(Code::ScriptError, "`waive` wants a list of findings: {what}");
    let Value::List(items) = convert::to_value(given, "what `waive` got")? else {
        return Err(wrong(&format!("got {}", convert::a_type(given))));
    };
    let mut findings: Vec<Finding> = vec![];
    for (at, item) in items.iter().enumerate() {
        let finding = Finding::from_value(item).map_err(|what| wrong(&format!("in entry {at}, {what}")))?;
        if !findings.iter().any(|known| known.is_same(&finding.id, &finding.database, &finding.object)) {
            findings.push(finding);
        }
    }
    Ok(findings)
}

/// What still stops the run.
fn open<'a>(run: &Run, findings: &'a [Finding]) -> Vec<&'a Finding> {
    let stops = findings.iter().filter(|finding| finding.verdict == Verdict::Stop);
    run.look(|state| stops.filter(|finding| state.waiver(finding).is_none()).collect())
}

fn waived(run: &Run, findings: &[Finding]) -> Dynamic {
    let maps = run.look(|state| {
        let records = findings.iter().filter_map(|finding| state.waiver(finding));
        records.map(|record| Value::Map(record.to_map())).collect()
    });
    convert::to_dynamic(&Value::List(maps))
}

/// Shows what warns and was not shown before.
fn show(host: &Host, run: &Run, frame: &Frame, findings: &[Finding]) -> Result<()> {
    let is_new = |finding: &&Finding| {
        finding.verdict == Verdict::Warn && run.look(|state| !state.shown.contains(&Found::from(*finding)))
    };
    let new: Vec<&Finding> = findings.iter().filter(is_new).collect();
    if new.is_empty() {
        return Ok(());
    }
    for finding in &new {
        host.tell(Notice::Warned(format!("warn  {}{}", line(finding), hint(finding))));
    }
    let findings = new.into_iter().map(Found::from).collect();
    run.write(&frame.key("waive"), 0, Event::Shown { findings })
}

/// Takes the waivers that were given beforehand, and says which of them fit nothing.
fn take_given(host: &Host, run: &Run, frame: &Frame, findings: &[Finding]) -> Result<()> {
    let all: Vec<&Finding> = findings.iter().collect();
    let open = open(run, findings);
    let mut given: Vec<&waivers::Waive> = host.waivers().iter().collect();
    given.sort_by_key(|waive| !waive.is_of_one());
    let mut taken: Vec<(&Finding, String)> = vec![];
    for waive in given {
        let of_all = waive.waives(&all);
        match of_all.iter().map(|(finding, _)| finding.verdict).min() {
            Some(Verdict::Stop) => {}
            Some(_) => host.tell(Notice::Warned(format!("`--waive {}`: that finding stops nothing", waive.text))),
            // Another `waive` of this run may have taken it.
            None if is_taken(run, waive) => {}
            None => host.tell(Notice::Warned(format!("`--waive {}`: there is no such finding here", waive.text))),
        }
        for (finding, reason) in of_all {
            let is_open = open.iter().any(|other| std::ptr::eq(*other, finding));
            if is_open && !taken.iter().any(|(other, _)| std::ptr::eq(*other, finding)) {
                taken.push((finding, reason));
            }
        }
    }
    write(host, run, frame, &taken, "--waive")
}

/// True when the run has a waiver of what is meant.
fn is_taken(run: &Run, waive: &waivers::Waive) -> bool {
    let waived: Vec<Finding> = run.look(|state| state.waivers.iter().map(|it| it.waiver.found.to_finding()).collect());
    !waive.waives(&waived.iter().collect::<Vec<_>>()).is_empty()
}

/// Asks the person in charge about one after the other, until one is not waived.
fn ask(host: &Host, run: &Run, frame: &Frame, findings: &[Finding]) -> Result<()> {
    for finding in open(run, findings) {
        if host.stop().is_asked() {
            return Err(host.stop().error());
        }
        let text = format!("stop  {}{}", line(finding), hint(finding));
        let question = Question { gate: finding.id.clone(), text, shows: None, wanted: Wanted::Reason };
        let (Answer::Yes(reason), through) = host.ask(&question) else { break };
        write(host, run, frame, &[(finding, reason)], through)?;
    }
    if host.stop().is_asked() { Err(host.stop().error()) } else { Ok(()) }
}

fn write(host: &Host, run: &Run, frame: &Frame, taken: &[(&Finding, String)], through: &str) -> Result<()> {
    if taken.is_empty() {
        return Ok(());
    }
    let waiver = |(finding, reason): &(&Finding, String)| Waiver { found: (*finding).into(), reason: reason.clone() };
    let waivers = taken.iter().map(waiver).collect();
    let event = Event::Waived { waivers, through: through.to_owned(), person: Person::here() };
    run.write(&frame.key("waive"), 0, event)?;
    for (finding, reason) in taken {
        host.tell(Notice::Warned(format!("waived  {}\n        because: {reason}", line(finding))));
    }
    Ok(())
}

fn refusal(run: &Run, open: &[&Finding]) -> Error {
    let mut text = match open.len() {
        1 => "1 finding stops the run".to_owned(),
        count => format!("{} stop the run", prose::count(count, "finding")),
    };
    for finding in open.iter().take(NAMED) {
        let _ = write!(text, "\n  {}{}", line(finding), hint(finding));
    }
    if open.len() > NAMED {
        let _ = write!(text, "\n  and {} more", open.len() - NAMED);
    }
    let command = run.look(|state| state.command(None));
    fail!(Code::NeedsWaiver, "{text}")
        .hint(format!("mend them and resume, or say why they may stay: {command}{}", waivers::flags(open)))
}

/// `unlogged  public.t in shop: it is not replicated`
fn line(finding: &Finding) -> String {
    let Finding { id, database, object, text, .. } = finding;
    let place = if database.is_empty() { String::new() } else { format!(" in {database}") };
    format!("{id}  {object}{place}: {text}")
}

fn hint(finding: &Finding) -> String {
    if finding.hint.is_empty() { String::new() } else { format!("\n        hint: {}", finding.hint) }
}
