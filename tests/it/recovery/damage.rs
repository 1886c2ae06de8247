//! Journals that were torn, changed, shortened, or have no disk left.

use std::{path::Path, process::Command};

use super::Bench;
use crate::pgrun::{Output, Pgrun};

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

/// A file system that fills up in the middle of a run stops it at once; with space it goes on, nothing done twice.
#[test]
fn a_full_disk_stops_the_run() {
    let bench = Bench::new(
        r#"let text = "a long value "; for n in 0..6 { text += text; }
           for n in 0..60 { step "write" with #{ key: n } check { has(db, `${n}`) } { did(db, `${n}`); text } }"#,
    );
    let home = bench.pgrun.home();
    std::fs::create_dir_all(&home).unwrap();
    let Some(mounted) = Mounted::tmpfs(&home, "size=64k") else {
        eprintln!("skipped: a_full_disk_stops_the_run (no mounting allowed here)");
        return;
    };
    let output = bench.pgrun.run().exit(1).stderr_has("error[journal_write]: ").stderr_has("No space left on device");
    output.stderr_has("hint: make space or repair the disk").last_line("pgrun resume r --set db=..");
    let done: usize = bench.database.sql("SELECT count(*) FROM effects").parse().unwrap();
    assert!(done > 0 && done < 60, "{done}");
    // Still full: it cannot even begin again.
    bench.resume(&[]).exit(1).stderr_has("error[journal_write]: ");
    mounted.remount("size=4m");
    bench.resume(&[]).exit(0);
    assert_eq!(bench.database.sql("SELECT count(*) || ' ' || count(DISTINCT name) FROM effects"), "60 60");
}

/// A journal that may not grow any more (`EFBIG`, as a quota gives) is the same.
#[test]
fn a_journal_that_cannot_grow_stops_the_run() {
    let bench =
        Bench::new(r#"for n in 0..60 { step "write" with #{ key: n } check { has(db, `${n}`) } { did(db, `${n}`) } }"#);
    let limited = |arguments: &[String]| {
        let program = bench.pgrun.command(&bench.pgrun.path(""), arguments, &[]);
        let mut shell = Command::new("/bin/sh");
        // The signal that comes with the limit is ignored, so that the write itself fails.
        shell.args(["-c", "trap '' XFSZ; ulimit -f 24; exec \"$0\" \"$@\""]);
        shell.arg(program.get_program()).args(program.get_args()).current_dir(bench.pgrun.path("")).env_clear();
        shell.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        bench.pgrun.start_command(shell).finish()
    };
    let limited: Output = limited(&bench.pgrun.run_arguments());
    limited
        .exit(1)
        .stderr_has("error[journal_write]: ")
        .stderr_has("File too large")
        .last_line("pgrun resume r --set db=..");
    bench.resume(&[]).exit(0);
    assert_eq!(bench.database.sql("SELECT count(*) || ' ' || count(DISTINCT name) FROM effects"), "60 60");
}

/// A home where nothing can be made is told in one sentence.
#[test]
fn a_home_that_is_no_folder_is_told() {
    let pgrun = Pgrun::of("say(1);");
    std::fs::write(pgrun.home(), "a file").unwrap();
    pgrun.run().exit(1).stdout("").stderr_has("error[journal_write]: ").stderr_has("cannot be made");
    pgrun.pgrun(&["runs"]).exit(2).stderr_has("error[config]: ");
}

struct Mounted(std::path::PathBuf);

impl Mounted {
    fn tmpfs(at: &Path, options: &str) -> Option<Self> {
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at).output().ok()?;
        done.status.success().then(|| Self(at.to_owned()))
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        assert!(Command::new("mount").args(["-o", &options]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
