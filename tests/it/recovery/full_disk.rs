//! No space left, at the worst places: the run stops at once, says why, does nothing more, and goes on when there is
//! space. The disk is a small file system in memory; mounting one needs root.

use std::{
    fs,
    io::Write,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
};

use super::Bench;
use crate::pgrun::{Output, Pgrun, Running};

/// Says why a test does nothing, where no file system can be mounted.
macro_rules! disk {
    ($home:expr, $options:expr) => {
        match Disk::mount(&$home, $options) {
            Ok(disk) => disk,
            Err(why) => {
                eprintln!("skipped: no file system can be mounted here ({why})");
                return;
            }
        }
    };
}

/// A step that gives a text as long as the test says, when the test says so: with it a journal is filled to the byte.
const PAD: &str = r#"
    fn pad(db) {
        poll "the disk to be full" with #{ every: "5ms", deadline: "60s" } { db.exists("select from public.pad") }
        db.value("select repeat('x', n) from public.pad")
    }
"#;

/// A run on a disk of its own that fills up while the run is in [`PAD`].
struct Filling {
    bench: Bench,
    disk: Disk,
    running: Running,
}

impl Filling {
    fn start(disk: Disk, bench: Bench) -> Self {
        bench.database.sql("CREATE TABLE IF NOT EXISTS pad (n int)");
        let running = bench.pgrun.start_run();
        Self { bench, disk, running }
    }

    /// Waits for the record before the pad. Then the pad's record, which is like `model`, is the last that fits: behind
    /// it there is room for records like `fit`, which stand in the journal already, and for a part of the next.
    #[track_caller]
    fn fill(&mut self, event: &str, model: &str, fit: &[&str]) {
        self.running.until_event(event);
        let text = fs::read_to_string(self.bench.pgrun.journal()).unwrap();
        let length = |wanted: &str| {
            let at = self.bench.pgrun.events().iter().position(|found| found == wanted);
            text.lines().nth(at.unwrap()).unwrap().len() as u64 + 1
        };
        let page = self.disk.page();
        // Every record is longer than what is left. A value or a number of milliseconds may be longer or shorter by
        // some bytes, and that does not matter.
        let left = 100;
        let fixed = text.len() as u64 + length(model) + fit.iter().map(|event| length(event)).sum::<u64>() + left;
        let pad = (page - fixed % page) % page;
        self.disk.fill((fixed + pad) / page - (text.len() as u64).div_ceil(page));
        self.bench.database.sql(&format!("INSERT INTO pad VALUES ({pad})"));
    }

    fn finish(self) -> (Bench, Disk, Output) {
        (self.bench, self.disk, self.running.finish())
    }

    #[track_caller]
    fn until(mut self, event: &str, model: &str, fit: &[&str]) -> (Bench, Disk, Output) {
        self.fill(event, model, fit);
        self.finish()
    }
}

/// Stopped by a full disk: the error, its cause, the way on, and half a line at the journal's end.
#[track_caller]
fn stopped(bench: &Bench, output: Output) {
    let output = output.exit(1).stderr_has("error[journal_write]: the journal `").stderr_has("No space left on device");
    output.stderr_has("hint: make space or repair the disk").last_line("pgrun resume r --set db=..");
    let torn = bench.pgrun.events().last().is_some_and(|event| event.starts_with("(torn)"));
    assert!(torn, "{:?}", bench.pgrun.events());
    bench.pgrun.pgrun(&["verify", "r"]).exit(0).stdout_has("a torn last line that `pgrun resume` cuts off");
    assert_eq!(bench.pgrun.pgrun(&["show", "r", "--json"]).exit(0).json()["state"], "failed");
}

/// The intent does not fit: what it announces has not happened, and happens once when there is space.
#[test]
fn full_at_an_intent() {
    let bench = Bench::new(&format!(
        r#"{PAD} step "first" {{ did(db, "first") }} step "pad" {{ pad(db) }} step "other" {{ did(db, "other") }}"#
    ));
    let disk = disk!(bench.pgrun.home(), "size=256k");
    let (bench, disk, output) = Filling::start(disk, bench).until("done first", "done first", &[]);
    stopped(&bench, output);
    assert_eq!(bench.effects(), "first");
    disk.free();
    let output = bench.resume(&[]).exit(0);
    assert_eq!(bench.effects(), "first other");
    output.journal_ends(&["done pad", "resumed", "noted", "intent other", "done other", "finished"]);
}

/// The result does not fit: the effect is in the world, and whether it is stands nowhere. The ladder decides.
#[test]
fn full_at_a_done() {
    let book = |clauses: &str| {
        format!(
            r#"{PAD} step "first" {{ did(db, "first") }} step "pad" {{ pad(db) }}
               step "other" {clauses} {{ did(db, "other") }} step "third" {{ did(db, "third") }}"#
        )
    };
    let mut bench = Bench::new(&book(""));
    for (clauses, code, effects) in [
        ("", 75, "first other"),
        ("check { has(db, \"other\") }", 0, "first other third"),
        ("with #{ retry: \"safe\" }", 0, "first other other third"),
    ] {
        bench.database.sql("DROP TABLE IF EXISTS pad");
        bench = bench.again(&book(clauses));
        let disk = disk!(bench.pgrun.home(), "size=256k");
        let (filled, disk, output) = Filling::start(disk, bench).until("done first", "done first", &["intent first"]);
        bench = filled;
        stopped(&bench, output);
        assert_eq!(bench.effects(), "first other");
        assert_eq!(bench.pgrun.events().iter().rev().nth(1).unwrap(), "intent other");
        disk.free();
        let output = bench.resume(&[]).exit(code);
        assert_eq!(bench.effects(), effects);
        if code != 0 {
            output.stderr_has("error[step_unknown]: ");
            bench.resume(&["--decide", "other=done:\"other\"", "--why", "I looked"]).exit(0);
            assert_eq!(bench.effects(), "first other third");
        }
        bench.pgrun.pgrun(&["verify", "r"]).exit(0).stdout_has("the chain is whole; head ");
    }
}

/// The answer of a gate does not fit: nobody has said yes, so the gate asks anew.
#[test]
fn full_at_an_answer() {
    let bench = Bench::new(&format!(
        r#"{PAD} confirm "go a?"; step "first" {{ did(db, "first") }} step "pad" {{ pad(db) }}
           confirm "go b?"; step "other" {{ did(db, "other") }}"#
    ));
    let disk = disk!(bench.pgrun.home(), "size=256k");
    let bench = Bench { pgrun: bench.pgrun.arg("--yes"), ..bench };
    let filling = Filling::start(disk, bench);
    let (bench, disk, output) = filling.until("done first", "done first", &["asked gate go a?"]);
    stopped(&bench, output);
    assert_eq!(bench.effects(), "first");
    disk.free();
    let output = bench.resume(&[]).exit(75).stderr_has("error[needs_answer]: the gate `go b?` waits for a person");
    output.journal_ends(&["asked gate go b?", "resumed", "noted", "asked gate go b?", "stopped"]);
    assert_eq!(bench.effects(), "first");
    bench.resume(&["--answer", "go b?=yes"]).exit(0);
    assert_eq!(bench.effects(), "first other");
}

/// The last record does not fit: the run is not over, keeps its targets, and ends when it is resumed.
#[test]
fn full_at_the_end() {
    let bench = Bench::new(&format!(
        r#"{PAD} step "first" {{ did(db, "first") }} step "pad" {{ pad(db) }} say("at the end");"#
    ));
    let disk = disk!(bench.pgrun.home(), "size=256k");
    let (bench, disk, output) = Filling::start(disk, bench).until("done first", "done first", &[]);
    stopped(&bench, output.stdout_has("at the end"));
    disk.free();
    bench.pgrun.write("other.rhai", &format!("{}step \"o\" {{ did(db, \"o\") }}", super::HEAD));
    let set = format!("db={}", bench.database.url());
    let other = bench.pgrun.pgrun(&["other.rhai", "--run-id", "other", "--set", &set]);
    other.exit(3).stderr_has("is claimed by run `r`");
    bench.resume(&[]).exit(0).journal_ends(&["resumed", "noted", "finished"]);
    bench.pgrun.pgrun(&["resume", "other", "--set", &set]).exit(0);
    assert_eq!(bench.effects(), "first o");
}

/// What one branch could not write stops the other one too, also in the middle of a step that has its intent.
#[test]
fn full_in_a_branch_stops_the_other() {
    let bench = Bench::new(&format!(
        r#"{PAD} step "first" {{ did(db, "first") }}
           let all = parallel {{
               let db = pg::connect(p.db);
               step "left" {{
                   did(db, "left");
                   poll "the other branch" with #{{ every: "5ms", deadline: "60s" }} {{
                       db.exists("select from public.fallen")
                   }}
                   did(db, "more");
               }}
           }} also {{
               let db = pg::connect(p.db);
               step "pad" {{ pad(db) }}
               step "other" {{ did(db, "other") }}
           }};"#
    ));
    let disk = disk!(bench.pgrun.home(), "size=256k");
    bench.database.sql("CREATE TABLE fallen (n int)");
    let mut filling = Filling::start(disk, bench);
    filling.fill("intent branch 1 / left", "done first", &[]);
    // Half a line at the end: the other branch could not go on.
    while fs::read(filling.bench.pgrun.journal()).unwrap().ends_with(b"\n") {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    filling.bench.database.sql("INSERT INTO fallen VALUES (1)");
    let (bench, disk, output) = filling.finish();
    stopped(&bench, output);
    assert_eq!(bench.effects(), "first left");
    disk.free();
    bench.resume(&[]).exit(75).stderr_has("error[step_unknown]: ");
    bench.resume(&["--decide", "left=done", "--why", "I looked"]).exit(0);
    assert_eq!(bench.effects(), "first left other");
}

/// Without space no run begins, and nothing is left of it that would stand in its way.
#[test]
fn full_before_the_first_record() {
    let bench = Bench::new(r#"step "s" { did(db, "s") }"#);
    let disk = disk!(bench.pgrun.home(), "size=256k");
    // Lock, text and journal take a page each.
    for pages in 0..3 {
        disk.fill(pages);
        let output = bench.pgrun.run().exit(1).stdout("").stderr_has("error[journal_write]: ");
        output.stderr_has("No space left on device").stderr_lacks("resume");
        assert_eq!(names(&bench.pgrun.home().join("runs")), Vec::<String>::new(), "{pages}");
        disk.free();
    }
    bench.pgrun.run().exit(0);
    assert_eq!(bench.effects(), "s");
}

/// Without space for its claim a run does not touch the target, and leaves no half of a claim.
#[test]
fn full_at_a_claim() {
    let bench = Bench::new(r#"step "s" { did(db, "s") }"#);
    let disk = disk!(bench.pgrun.home(), "size=256k");
    disk.fill(3);
    let output = bench.pgrun.run().exit(1).stderr_has("error[journal_write]: the claim on `127.0.0.1:");
    output.stderr_has("No space left on device").last_line("pgrun resume r --set db=..");
    assert_eq!(bench.effects(), "");
    assert_eq!(names(&bench.pgrun.home().join("claims")), ["turn"]);
    disk.free();
    bench.resume(&[]).exit(0);
    assert_eq!(bench.effects(), "s");
}

/// A resume on a full disk changes nothing: the same resume goes on when there is space.
#[test]
fn full_at_a_resume() {
    let bench = Bench::new(r#"step "s" { did(db, "s") } confirm "go"; step "t" { did(db, "t") }"#);
    let disk = disk!(bench.pgrun.home(), "size=256k");
    bench.pgrun.run().exit(75);
    // The journal's last page has room for some records; fill it too.
    disk.fill(0);
    for _ in 0..20 {
        let output = bench.resume(&[]);
        if output.code == 1 {
            output.stderr_has("error[journal_write]: ");
            break;
        }
        output.exit(75);
    }
    bench.resume(&["--yes"]).exit(1).stderr_has("error[journal_write]: ");
    assert_eq!(bench.effects(), "s");
    disk.free();
    bench.resume(&["--yes"]).exit(0);
    assert_eq!(bench.effects(), "s t");
}

/// Changed texts that do not fit are not taken, and those that the run has stay whole.
#[test]
fn full_at_an_adoption() {
    let pgrun = Pgrun::of("import \"lib\" as lib; confirm \"go\"; say(lib::word());")
        .file("lib.rhai", &format!("fn word() {{ \"old\" }}\n// {}", "x".repeat(9000)));
    let disk = disk!(pgrun.home(), "size=256k");
    pgrun.run().exit(75);
    disk.fill(0);
    pgrun.write(
        "main.rhai",
        &format!("import \"lib\" as lib; confirm \"go\"; say(`new ${{lib::word()}}`); // {}", "y".repeat(9000)),
    );
    let output = pgrun.pgrun(&["resume", "r", "--adopt", "--yes"]).exit(1).stdout("");
    output.stderr_has("error[journal_write]: ").stderr_has("No space left on device");
    disk.free();
    let kept = pgrun.home().join("runs/r/sources");
    assert!(names(&kept).iter().all(|name| !name.ends_with("draft")), "{:?}", names(&kept));
    pgrun.pgrun(&["resume", "r", "--yes"]).exit(0).stdout("old\n");
}

/// Old runs make space also where there is none left.
#[test]
fn a_full_disk_can_be_pruned() {
    let pgrun = Pgrun::of("say(1);");
    let disk = disk!(pgrun.home(), "size=256k");
    pgrun.run().exit(0);
    disk.fill(0);
    pgrun.pgrun(&["main.rhai", "--run-id", "next"]).exit(1).stderr_has("error[journal_write]: ");
    pgrun.pgrun(&["runs", "--prune", "--older-than", "0s", "--yes"]).exit(0).stderr_has("removed 1 run, ");
    pgrun.pgrun(&["main.rhai", "--run-id", "next"]).exit(0);
}

/// A file system that fills up in the middle of a run stops it at once; with space it goes on, nothing done twice.
#[test]
fn a_full_disk_stops_the_run() {
    let bench = Bench::new(
        r#"let text = "a long value "; for n in 0..6 { text += text; }
           for n in 0..60 { step "write" with #{ key: n } check { has(db, `${n}`) } { did(db, `${n}`); text } }"#,
    );
    let disk = disk!(bench.pgrun.home(), "size=64k");
    let output = bench.pgrun.run().exit(1).stderr_has("error[journal_write]: ").stderr_has("No space left on device");
    output.stderr_has("hint: make space or repair the disk").last_line("pgrun resume r --set db=..");
    let done: usize = bench.database.sql("SELECT count(*) FROM effects").parse().unwrap();
    assert!(done > 0 && done < 60, "{done}");
    // Still full: it cannot even begin again.
    bench.resume(&[]).exit(1).stderr_has("error[journal_write]: ");
    disk.remount("size=4m");
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

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A small file system at a home; gone with the value.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path, options: &str) -> Result<Self, String> {
        fs::create_dir_all(at).unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at).output();
        let mount = mount.map_err(|error| format!("mount: {error}"))?;
        match mount.status.success() {
            true => Ok(Self(at.to_owned())),
            false => Err(String::from_utf8_lossy(&mount.stderr).trim().to_owned()),
        }
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        assert!(Command::new("mount").args(["-o", &options]).arg(&self.0).status().unwrap().success());
    }

    /// What a file grows by.
    fn page(&self) -> u64 {
        fs::metadata(&self.0).unwrap().blksize()
    }

    /// Takes all space but so many pages.
    fn fill(&self, pages: u64) {
        let mut filler = fs::File::create(self.0.join("filler")).unwrap();
        let page = vec![0; usize::try_from(self.page()).unwrap()];
        while filler.write_all(&page).is_ok() {}
        let length = filler.metadata().unwrap().len();
        filler.set_len(length - length % self.page() - pages * self.page()).unwrap();
    }

    /// Gives the space back.
    fn free(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
