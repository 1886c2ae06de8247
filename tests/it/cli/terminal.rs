//! At a real terminal: gates, Ctrl-C, 80 columns, colours.

use super::PAUSED;
use crate::pgrun::{Pgrun, Terminal, lines_of};

const GATE: &str = r#"let a = step "one" { 1 };
    let said = confirm "Cut over?" with #{ gate: "cutover", shows: #{ blue: "orders", sessions: 3 } };
    step "two" { say(`went on: ${said}`); }"#;

#[test]
fn a_yes_goes_on() {
    for typed in ["yes\r", "Y\r", " y \r"] {
        let terminal = Pgrun::of(GATE).run_at_terminal();
        terminal.until("Cut over?").until("sessions: 3").until("yes or no: ").types(typed);
        let output = terminal.finish().exit(0).stderr_has("went on: yes");
        output.journal(&["done one", "asked gate cutover", "answered gate cutover", "done two", "finished"]);
    }
}

#[test]
fn a_no_ends_the_run_and_is_asked_again() {
    let pgrun = Pgrun::of(GATE);
    let terminal = pgrun.run_at_terminal();
    terminal.until("yes or no: ").types("no\r");
    let output = terminal.finish().exit(1).stderr_has("[declined]").stderr_has("the answer to `cutover` was no");
    output.journal(&["done one", "asked gate cutover", "answered gate cutover", "stopped"]);
    let terminal = pgrun.terminal(&["resume", "r"]);
    terminal.until("yes or no: ").types("what?\r").until("wanted yes or no").until("yes or no: ").types("yes\r");
    terminal.finish().exit(0).stderr_has("went on: yes");
}

/// Where the name has to be typed, a yes is not enough.
#[test]
fn a_name_has_to_be_typed() {
    let book = r#"confirm "Delete BLUE?" with #{ gate: "delete", type_name: "Orders-Blue" }; say("gone");"#;
    let terminal = Pgrun::of(book).run_at_terminal();
    terminal.until("type Orders-Blue to go on: ").types("yes\r").until("wanted Orders-Blue or no");
    terminal.until("to go on: ").types("orders-blue\r").until("wanted Orders-Blue or no");
    terminal.until("to go on: ").types("Orders-Blue\r");
    terminal.finish().exit(0).stderr_has("gone");
    let terminal = Pgrun::of(book).run_at_terminal();
    terminal.until("to go on: ").types("no\r");
    terminal.finish().exit(1);
}

#[test]
fn a_pause_goes_on_with_enter() {
    let book = "pause \"Look at the lag\" with #{ gate: \"lag\" }; say(\"on\");";
    let terminal = Pgrun::of(book).run_at_terminal();
    terminal.until("press Enter to go on, n to stop: ").types("\r");
    terminal.finish().exit(0).stderr_has("on");
    let terminal = Pgrun::of(book).run_at_terminal();
    terminal.until("n to stop: ").types("n\r");
    terminal.finish().exit(1);
}

/// Ctrl-C at a gate ends the run; the gate is asked again.
#[test]
fn ctrl_c_at_a_gate_stops_the_run() {
    let pgrun = Pgrun::of(GATE);
    let terminal = pgrun.run_at_terminal();
    terminal.until("yes or no: ").types("\x03");
    let output = terminal.finish().exit(130).stderr_has("stopped by Ctrl-C");
    output.journal(&["done one", "asked gate cutover", "stopped"]);
    let terminal = pgrun.terminal(&["resume", "r"]);
    terminal.until("yes or no: ").types("y\r");
    terminal.finish().exit(0);
}

/// Ctrl-D at a gate: nobody is there any more, so the run waits.
#[test]
fn the_end_of_input_leaves_the_gate_open() {
    let terminal = Pgrun::of(GATE).run_at_terminal();
    terminal.until("yes or no: ").types("\x04");
    terminal.finish().exit(PAUSED).stderr_has("pgrun resume r --answer cutover=yes");
}

/// Ctrl-C typed while a step runs: once ends the run after it, twice now.
#[test]
fn ctrl_c_in_a_step() {
    let pgrun = Pgrun::of("step \"one\" { say(\"at one\"); sleep(\"400ms\"); } step \"two\" { say(\"two\"); }");
    let terminal = pgrun.run_at_terminal();
    terminal.until("at one").types("\x03").until("once more stops now");
    terminal.finish().exit(130).journal(&["done one", "stopped"]);
    pgrun.resume().exit(0).stdout("two\n");
    let pgrun = Pgrun::of("step \"one\" { say(\"at one\"); sleep(\"1h\"); }");
    let terminal = pgrun.run_at_terminal();
    terminal.until("at one").types("\x03").until("once more stops now").types("\x03").until("stopping now");
    terminal.finish().exit(130).journal(&["failed one", "stopped"]);
}

/// Answers given beforehand, and the two flags, ask nobody.
#[test]
fn nobody_is_asked_who_has_answered() {
    let ask = |arguments: &[&str]| {
        let terminal = Pgrun::of(GATE);
        terminal.terminal(&[&["main.rhai", "--run-id", "r"], arguments].concat()).finish()
    };
    ask(&["--answer", "cutover=yes"]).exit(0).stderr_lacks("yes or no");
    ask(&["--yes"]).exit(0).stderr_lacks("yes or no");
    ask(&["--answer", "cutover=no"]).exit(1).stderr_has("[declined]");
    ask(&["--non-interactive"]).exit(PAUSED).stderr_lacks("yes or no");
}

/// An answer that fits the gate in no way is told as such; `--yes` does not type a name.
#[test]
fn an_answer_has_to_fit() {
    let book = "confirm \"Delete?\" with #{ gate: \"delete\", type_name: \"blue\" }; say(\"gone\");";
    let run = |arguments: &[&str]| Pgrun::of(book).pgrun(&[&["main.rhai", "--run-id", "r"], arguments].concat());
    run(&["--yes"]).exit(PAUSED).stdout("").last_line("pgrun resume r --answer delete=blue");
    let wrong = run(&["--answer", "delete=green"]).exit(PAUSED).stdout("");
    wrong
        .stderr_has("got `--answer delete=green`, wanted `--answer delete=blue`")
        .last_line("pgrun resume r --answer delete=blue");
    run(&["--answer", "delete=no"]).exit(1).stderr_has("error[declined]: ");
    run(&["--answer", "delete=blue"]).exit(0).stdout("gone\n");
}

/// Two gates at the same time are asked one after the other.
#[test]
fn gates_of_two_branches_take_turns() {
    let book = "let v = parallel { confirm \"left\" } also { confirm \"right\" }; say(v.len());";
    let terminal = Pgrun::of(book).run_at_terminal();
    terminal.until("yes or no: ").types("yes\r").until("yes or no: ").types("yes\r");
    let output = terminal.finish().exit(0);
    output.wants(output.stderr.matches("yes or no: ").count() >= 2, "two questions");
}

const WAITS: &str = r#"step "short" { sleep("30ms"); }
    phase "a phase" { step "waits" {
        let n = 0;
        poll "something with a rather long description, which will have to be cut, 日本語日本語日本語"
            with #{ every: "5ms", deadline: "9s" } { n += 1; n > 4 } } }
    say("said");"#;

/// What a person sees in the end: each step once, no leftovers of the line at the bottom; and nothing was ever wider
/// than the screen, or it would have scrolled.
#[track_caller]
fn is_clean(terminal: Terminal) -> String {
    let output = terminal.finish().exit(0);
    let lines = lines_of(&output.stderr);
    let shows = |text: &str| lines.iter().any(|line| line.starts_with(text) && line.ends_with("ms"));
    assert!(shows("✓ short  ") && shows("  ✓ waits  ") && lines.iter().any(|line| line == "said"), "{lines:#?}");
    assert!(!lines.iter().any(|line| line.contains("not yet")), "{lines:#?}");
    assert!(output.stderr.contains("something with"), "{}", output.stderr);
    let pieces = lines_of(&output.stderr.replace('\r', "\r\n"));
    let widest = pieces.iter().map(|line| unicode_width::UnicodeWidthStr::width(line.as_str())).max().unwrap();
    assert!(widest <= 80, "80 columns, got {widest}: {pieces:#?}");
    output.stderr
}

#[test]
fn the_screen_is_eighty_columns_wide_and_clean() {
    is_clean(Pgrun::of(WAITS).run_at_terminal());
}

/// With NO_COLOR there is no control sequence at all, and the screen is as clean.
#[test]
fn no_color_means_no_control_sequences() {
    let screen = is_clean(Pgrun::of(WAITS).env("NO_COLOR", "1").run_at_terminal());
    assert!(!screen.contains('\u{1b}'), "{screen:?}");
}

/// Colours are there where they are wanted.
#[test]
fn a_terminal_has_colours() {
    let output = Pgrun::of("step \"one\" { 1 }").run_at_terminal().finish().exit(0);
    output.wants(output.stderr.contains("\u{1b}[1m\u{1b}[32m✓"), "a green mark");
}
