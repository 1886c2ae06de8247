//! The printer: data to stdout, everything else to stderr, all of it redacted; and the person at the terminal.

use std::{
    io::{IsTerminal, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anstyle::{AnsiColor, Style};
use comfy_table::{ContentArrangement, Table, presets};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::{
    api::{Answer, Notice, Operator, Question, Stop, Wanted, waivers},
    base::{Redactor, Value, clock, prose, span},
    engine::Diagnosis,
    journal::{How, Status},
};

/// Narrower than any terminal in use; where the width is not known.
const DEFAULT_WIDTH: u16 = 80;
/// Without a terminal a wait is told this often.
const WAIT_LINES_EVERY: Duration = Duration::from_secs(15);

/// The terminal of one process. Clones share it.
#[derive(Clone)]
pub(super) struct Ui {
    inner: Arc<Inner>,
    interactive: bool,
    stop: Stop,
}

struct Inner {
    redactor: Redactor,
    is_terminal: bool,
    line: Mutex<Line>,
    /// Held while somebody is asked: gates of two branches take turns.
    asking: Mutex<()>,
}

/// The line at the bottom of a terminal that is written over.
#[derive(Default)]
struct Line {
    /// Columns that it fills.
    shown: usize,
    step: Option<(String, usize, Instant)>,
    last_wait: Option<Instant>,
    /// Headings of the phases around the next line, and whether each was printed.
    phases: Vec<(String, bool)>,
    /// Steps that an earlier process had done, not told yet.
    replayed: usize,
}

impl Ui {
    pub(super) fn new(redactor: Redactor) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let inner = Inner { redactor, is_terminal, line: Mutex::default(), asking: Mutex::default() };
        Self { inner: Arc::new(inner), interactive: false, stop: Stop::default() }
    }

    /// The same terminal, for a run that may ask.
    pub(super) fn for_run(&self, interactive: bool, stop: &Stop) -> Self {
        Self { inner: self.inner.clone(), interactive, stop: stop.clone() }
    }

    pub(super) fn redactor(&self) -> &Redactor {
        &self.inner.redactor
    }

    /// Data for stdout.
    pub(super) fn print(&self, text: &str) {
        self.clear_line();
        let text = self.inner.redactor.clean(text);
        // A reader that went away (`| head`) ends the output, not the run.
        let _ = anstream::stdout().write_all(text.as_bytes()).and_then(|()| anstream::stdout().flush());
    }

    /// Stdout as something to write to, redacted like everything else.
    pub(super) fn data(&self) -> impl Write + '_ {
        struct Data<'a>(&'a Ui);
        impl Write for Data<'_> {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.print(&String::from_utf8_lossy(bytes));
                Ok(bytes.len())
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        Data(self)
    }

    /// One JSON document for stdout.
    pub(super) fn print_json(&self, json: &serde_json::Value) {
        self.print(&format!("{json:#}\n"));
    }

    /// A line for people on stderr.
    pub(super) fn remark(&self, text: &str) {
        self.clear_line();
        self.error_text(&format!("{text}\n"));
    }

    /// An error with its place in the script.
    pub(super) fn error(&self, diagnosis: &Diagnosis) {
        self.clear_line();
        let text = diagnosis.render(&self.inner.redactor);
        let (head, rest) = text.split_once(": ").unwrap_or((&text, ""));
        self.error_text(&format!("{}{head}{:#}: {rest}", bold(AnsiColor::Red), bold(AnsiColor::Red)));
    }

    pub(super) fn clap_message(&self, error: &clap::Error) {
        let text = error.render().ansi().to_string();
        if error.use_stderr() { self.error_text(&text) } else { self.print(&text) }
    }

    pub(super) fn finished(&self, status: Status, run: &str, head: &str) {
        let green = bold(AnsiColor::Green);
        self.remark(&format!("{green}{}{green:#}  run {run}  head {}", status.name(), short(head)));
    }

    /// The last line is the command that goes on.
    pub(super) fn stopped(&self, status: Status, head: &str, command: &str) {
        self.remark(&format!("{}; the journal's head is {}. To go on:", status.name(), short(head)));
        self.remark(command);
    }

    /// Rows as a table that fits the terminal; the first row is its head.
    pub(super) fn table(rows: &[Vec<String>]) -> String {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(width());
        let mut rows = rows.iter();
        if let Some(head) = rows.next() {
            table.set_header(head);
        }
        table.add_rows(rows);
        let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
        format!("{}\n", lines.join("\n"))
    }

    fn error_text(&self, text: &str) {
        let text = self.inner.redactor.clean(text);
        let _ = anstream::stderr().write_all(text.as_bytes());
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.inner.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clear_line(&self) {
        let mut line = self.line();
        if line.shown > 0 {
            // Blanks, not a control sequence: NO_COLOR strips those.
            self.error_text(&format!("\r{:1$}\r", "", line.shown));
            line.shown = 0;
        }
    }

    /// Writes the bottom line anew; nothing where there is no terminal.
    fn status_line(&self, text: &str) {
        self.clear_line();
        if self.inner.is_terminal {
            let text = fit(text, usize::from(width().saturating_sub(1)));
            self.error_text(text);
            self.line().shown = text.width();
        }
    }

    fn step_line(&self, depth: usize, mark: &str, color: AnsiColor, name: &str, note: &str) {
        let style = bold(color);
        let dim = Style::new().dimmed();
        let note = if note.is_empty() { String::new() } else { format!("  {dim}{note}{dim:#}") };
        self.remark(&format!("{:1$}{style}{mark}{style:#} {name}{note}", "", 2 * depth));
    }

    /// Tells how much was done before, and the headings of the phases that the next line stands in.
    fn headings(&self, depth: usize) {
        let (replayed, headings) = {
            let mut line = self.line();
            let headings: Vec<(usize, String)> = line
                .phases
                .iter_mut()
                .take(depth)
                .enumerate()
                .filter(|(_, (_, printed))| !printed)
                .map(|(at, (name, printed))| {
                    *printed = true;
                    (at, name.clone())
                })
                .collect();
            (std::mem::take(&mut line.replayed), headings)
        };
        if replayed > 0 {
            let blue = bold(AnsiColor::Blue);
            self.remark(&format!("{blue}={blue:#} {} done before", prose::count(replayed, "step")));
        }
        let style = Style::new().bold();
        for (at, name) in headings {
            self.remark(&format!("{:1$}{style}{name}{style:#}", "", 2 * at));
        }
    }

    fn waiting(&self, what: &str, seen: &str) {
        let (name, depth, since) = {
            let line = self.line();
            line.step.clone().unwrap_or_else(|| (what.to_owned(), 0, clock::instant()))
        };
        let about = if name == what { String::new() } else { format!(": waiting for {what}") };
        let took = span::duration_text(since.elapsed());
        let text = format!("{:1$}· {name}{about} ({seen}, {took})", "", 2 * depth);
        if self.inner.is_terminal {
            self.status_line(&text);
            return;
        }
        let now = clock::instant();
        let is_due = {
            let mut line = self.line();
            let due = line.last_wait.is_none_or(|last| now.duration_since(last) >= WAIT_LINES_EVERY);
            if due {
                line.last_wait = Some(now);
            }
            due
        };
        if is_due {
            self.remark(&text);
        }
    }

    fn read_answer(&self, prompt: &str) -> Option<String> {
        let mut editor = rustyline::DefaultEditor::new().ok()?;
        match editor.readline(prompt) {
            Ok(line) => Some(line),
            Err(rustyline::error::ReadlineError::Interrupted) => {
                let _ = self.stop.request(2);
                None
            }
            Err(_) => None,
        }
    }
}

impl Ui {
    fn read_reason(&self) -> Answer {
        loop {
            match self.read_answer("why: ").as_deref().map(waivers::reason) {
                None => return Answer::Nobody,
                Some(Some(reason)) => return Answer::Yes(reason),
                Some(None) => self.remark("a waiver needs its reason, in words"),
            }
        }
    }
}

impl Operator for Ui {
    fn tell(&self, notice: Notice) {
        match notice {
            Notice::Phase { depth, name } => {
                let mut line = self.line();
                line.phases.truncate(depth);
                line.phases.push((name, false));
            }
            Notice::PhaseLeft { depth } => self.line().phases.truncate(depth),
            Notice::Begun { depth, name } => {
                self.headings(depth);
                {
                    let mut line = self.line();
                    line.step = Some((name.clone(), depth, clock::instant()));
                    line.last_wait = Some(clock::instant());
                }
                self.status_line(&format!("{:1$}· {name}", "", 2 * depth));
            }
            Notice::Done { how: None, .. } => self.line().replayed += 1,
            Notice::Done { depth, name, how: Some(how), took } => {
                let note = match how {
                    How::Ran | How::Looked => span::duration_text(took),
                    How::Checked => "was done already".to_owned(),
                    How::Verified => format!("verified, {}", span::duration_text(took)),
                    How::Decided | How::Skipped => "decided by a person".to_owned(),
                };
                self.step_line(depth, "✓", AnsiColor::Green, &name, &note);
            }
            Notice::Failed { depth, name, error } => {
                self.step_line(depth, "✗", AnsiColor::Red, &name, error.code().name());
            }
            Notice::Undoing { depth, name } => {
                self.headings(depth);
                self.step_line(depth, "↶", AnsiColor::Yellow, &name, "undoing");
            }
            Notice::Waiting { what, seen } => self.waiting(&what, &seen),
            Notice::Said(text) => self.print(&format!("{text}\n")),
            Notice::Table(rows) => self.print(&Self::table(&rows)),
            Notice::Warned(text) => self.remark(&text),
        }
    }

    fn ask(&self, question: &Question) -> Answer {
        let _turn = self.inner.asking.lock().unwrap_or_else(PoisonError::into_inner);
        if question.wanted == Wanted::Reason && !self.interactive {
            return Answer::Nobody;
        }
        self.clear_line();
        self.headings(usize::MAX);
        let style = bold(AnsiColor::Yellow);
        self.remark(&format!("{style}{}{style:#}", question.text));
        if let Some(shows) = &question.shows {
            self.remark(&shown(shows));
        }
        if !self.interactive {
            return Answer::Nobody;
        }
        let prompt = match &question.wanted {
            Wanted::Word(name) => format!("type {name} to go on: "),
            Wanted::Go => "press Enter to go on, n to stop: ".into(),
            Wanted::Yes => "yes or no: ".into(),
            Wanted::Reason => "y to waive it, N to stop: ".into(),
        };
        loop {
            let Some(line) = self.read_answer(&prompt) else { return Answer::Nobody };
            let text = line.trim();
            match (&question.wanted, text.to_ascii_lowercase().as_str()) {
                (Wanted::Word(name), _) if text == name => return Answer::Yes(text.to_owned()),
                (_, "n" | "no") | (Wanted::Reason, "") => return Answer::No,
                (Wanted::Reason, "y" | "yes") => return self.read_reason(),
                (Wanted::Yes | Wanted::Go, "y" | "yes") => return Answer::Yes("yes".into()),
                (Wanted::Go, "") => return Answer::Yes("go".into()),
                (Wanted::Word(name), _) => self.remark(&format!("got {text:?}, wanted {name} or no")),
                _ => self.remark(&format!("got {text:?}, wanted yes or no")),
            }
        }
    }
}

/// What a gate shows: one line per key of a map.
fn shown(value: &Value) -> String {
    let line = |(key, value): (&String, &Value)| {
        let text = value.as_text().map_or_else(|| value.to_json().to_string(), str::to_owned);
        format!("  {key}: {text}")
    };
    match value {
        Value::Map(map) => map.iter().map(line).collect::<Vec<_>>().join("\n"),
        Value::Text(text) => text.clone(),
        other => other.to_json().to_string(),
    }
}

/// As much of a text as a number of columns can show.
fn fit(text: &str, columns: usize) -> &str {
    let mut used = 0;
    let too_far = text.char_indices().find(|(_, char)| {
        used += char.width().unwrap_or(0);
        used > columns
    });
    too_far.map_or(text, |(end, _)| &text[..end])
}

fn width() -> u16 {
    terminal_size::terminal_size().map_or(DEFAULT_WIDTH, |(width, _)| width.0.max(20))
}

fn bold(color: AnsiColor) -> Style {
    color.on_default().bold()
}

/// Twelve digits tell journals apart; `verify` prints all.
fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}
