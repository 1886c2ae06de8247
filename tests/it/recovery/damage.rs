//! Journals that were torn, changed or shortened.

use crate::pgrun::Pgrun;

fn paused() -> Pgrun {
    let pgrun = Pgrun::of("let a = step \"one\" { 1 }; step \"two\" { a + 1 } confirm \"go\"; say(\"end\");");
    pgrun.run().exit(75);
    pgrun
}

fn lines(pgrun: &Pgrun) -> Vec<String> {
    std::fs::read_to_string(pgrun.journal()).unwrap().lines().map(str::to_owned).collect()
}

/// Every way to look at the run refuses it with the line's number; nothing is written.
#[track_caller]
fn refused(pgrun: &Pgrun, text: &str) {
    let before = std::fs::read(pgrun.journal()).unwrap();
    for arguments in [["resume", "r"], ["verify", "r"], ["show", "r"]] {
        pgrun.pgrun(&arguments).exit(3).stdout("").stderr_has("error[journal_damaged]: ").stderr_has(text);
    }
    pgrun.pgrun(&["runs"]).exit(0).stdout_has("damaged");
    assert_eq!(std::fs::read(pgrun.journal()).unwrap(), before);
}

/// The last line was being written when the process died: it is cut off, and that is noted.
#[test]
fn a_torn_last_line_is_cut_off() {
    let pgrun = paused();
    let whole = std::fs::read(pgrun.journal()).unwrap();
    std::fs::write(pgrun.journal(), &whole[..whole.len() - 40]).unwrap();
    pgrun
        .pgrun(&["verify", "r"])
        .exit(0)
        .stdout_has("the chain is whole, and a torn last line that `pgrun resume` cuts off");
    let output = pgrun.pgrun(&["resume", "r", "--answer", "go=yes"]).exit(0).stdout("end\n");
    output.journal(&[
        "done one",
        "done two",
        "asked gate go",
        "resumed",
        "noted",
        "asked gate go",
        "answered gate go",
        "finished",
    ]);
    pgrun.pgrun(&["verify", "r"]).exit(0).stdout_has("the chain is whole; head ");
}

#[test]
fn a_changed_line_is_named() {
    let pgrun = paused();
    let mut all = lines(&pgrun);
    all[1] = all[1].replacen("\"value\":1", "\"value\":9", 1);
    std::fs::write(pgrun.journal(), all.join("\n") + "\n").unwrap();
    refused(&pgrun, "line 2 of the journal");
}

#[test]
fn a_removed_line_is_named() {
    let pgrun = paused();
    let mut all = lines(&pgrun);
    all.remove(2);
    std::fs::write(pgrun.journal(), all.join("\n") + "\n").unwrap();
    refused(&pgrun, "line 3 of the journal");
}

#[test]
fn exchanged_lines_and_garbage_are_named() {
    let pgrun = paused();
    let mut all = lines(&pgrun);
    all.swap(1, 2);
    std::fs::write(pgrun.journal(), all.join("\n") + "\n").unwrap();
    refused(&pgrun, "line 2 of the journal");
    all.swap(1, 2);
    all.insert(3, "{}".into());
    std::fs::write(pgrun.journal(), all.join("\n") + "\n").unwrap();
    refused(&pgrun, "line 4 of the journal");
    std::fs::write(pgrun.journal(), b"\xff\xfe\n").unwrap();
    refused(&pgrun, "line 1 of the journal");
}

/// A journal of a newer pgrun is not guessed at.
#[test]
fn a_newer_format_is_refused() {
    use sha2::{Digest, Sha256};
    let pgrun = paused();
    let mut all = lines(&pgrun);
    let end = all[0].len() - (",\"hash\":\"".len() + 66);
    let line = all[0][..end].replacen("{\"v\":1,", "{\"v\":2,", 1);
    let hash: String =
        Sha256::digest(line.as_bytes()).iter().fold(String::new(), |all, byte| format!("{all}{byte:02x}"));
    all[0] = format!("{line},\"hash\":\"{hash}\"}}");
    std::fs::write(pgrun.journal(), all.join("\n") + "\n").unwrap();
    refused(&pgrun, "the line has format 2, this pgrun reads up to 1");
}

/// A home where nothing can be made is told in one sentence.
#[test]
fn a_home_that_is_no_folder_is_told() {
    let pgrun = Pgrun::of("say(1);");
    std::fs::write(pgrun.home(), "a file").unwrap();
    pgrun.run().exit(1).stdout("").stderr_has("error[journal_write]: ").stderr_has("cannot be made");
    pgrun.pgrun(&["runs"]).exit(2).stderr_has("error[config]: ");
}
