//! Where the first recovery of a restored instance ended: the position from which the subscription goes on.
//!
//! PostgreSQL writes it once, when it recovers the copied data: `redo starts at S`, then `redo done at L`
//! (`xlogrecovery.c`; `xlog.c` before 15). L is the *start* of the last record replayed. Later lines of the same kind
//! tell of other recoveries: pg_upgrade's own restarts, on a new WAL, or a second crash of the copy, whose L would pass
//! every other check and lose what was committed in between. So nothing is guessed here: a log that does not show the
//! beginning of the first recovery gives an error.

use super::{
    client::Rds,
    log_line::{Entry, time_ms},
    logs::LogText,
};
use crate::{
    base::{Code, Error, Lsn, Map, Result},
    fail, map,
};

/// Between which instants the recovery's traces must lie.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    /// Lines before this are not looked at: the creation of the snapshot, in milliseconds since 1970. The recovery is
    /// found in the log of the *upgrade* of the snapshot, so this is not the time of the restore.
    pub since_ms: Option<u64>,
    /// When the snapshot was complete, in milliseconds since 1970. A server that was up after it is not the one in the
    /// snapshot.
    pub complete_ms: Option<u64>,
}

/// The first recovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redo {
    /// S: where replay began, a checkpoint's redo position of the original server.
    pub start: Lsn,
    /// L: where the last record begins that was replayed.
    pub done: Lsn,
    /// The file that holds the line with L.
    pub file: String,
    /// The number of that line in the file, from 1.
    pub line_number: usize,
    /// The line itself.
    pub line: String,
    /// The version that recovered, as it introduced itself; the old one when the upgrade comes after the recovery.
    pub server_version: Option<String>,
    /// Until when the original server was known to be up, as PostgreSQL wrote it.
    pub last_known_up: Option<String>,
}

impl Redo {
    /// The recovery for scripts and the journal.
    #[must_use]
    pub fn to_map(&self) -> Map {
        map! {
            "start" => self.start,
            "done" => self.done,
            "file" => self.file.as_str(),
            "line_number" => i64::try_from(self.line_number).unwrap_or(i64::MAX),
            "line" => self.line.as_str(),
            "server_version" => self.server_version.as_deref(),
            "last_known_up" => self.last_known_up.as_deref(),
        }
    }
}

/// Finds the first recovery in log files, given in the order in which they were written. `None` when there is no trace
/// of a recovery yet.
///
/// # Errors
/// `require_failed` when the log proves that its first recovery is not the snapshot's, has lost its beginning, or that
/// there was nothing to replay.
pub fn first_redo_done<'a>(
    files: impl IntoIterator<Item = (&'a str, &'a str)>,
    bounds: &Bounds,
) -> Result<Option<Redo>> {
    let mut reader = Reader::new(*bounds);
    for (file, text) in files {
        if let Some(redo) = reader.read(file, text)? {
            return Ok(Some(redo));
        }
    }
    Ok(None)
}

impl Rds {
    /// Fetches the server's logs of an instance, oldest first, until the end of the first recovery is found; `None`
    /// when there is no trace of a recovery yet.
    ///
    /// # Errors
    /// Those of [`first_redo_done`] and [`Rds::log`]; `require_failed` when something is missing in the log before it.
    pub async fn first_redo_done(&self, instance: &str, bounds: &Bounds) -> Result<Option<Redo>> {
        let mut reader = Reader::new(*bounds);
        let mut cut: Option<String> = None;
        for file in self.log_files(instance, None, bounds.since_ms).await? {
            if !is_server_log(&file.name) {
                continue;
            }
            let LogText { text, gaps } = self.log(instance, &file).await?;
            let (before, after) = text.split_at(gaps.first().copied().unwrap_or(text.len()));
            let redo = reader.read(&file.name, before)?;
            if let (Some(_), Some(cut)) = (&redo, &cut) {
                return Err(hidden(cut));
            }
            if redo.is_some() {
                return Ok(redo);
            }
            if !gaps.is_empty() {
                if reader.read(&file.name, after)?.is_some() {
                    return Err(hidden(&file.name));
                }
                cut = Some(file.name);
            }
        }
        Ok(None)
    }
}

/// A recovery was found behind a place where RDS left something out.
fn hidden(file: &str) -> Error {
    unusable(&format!("RDS does not give all of `{file}`, so an earlier recovery may be hidden in it"))
}

/// The server's own log: not its CSV or JSON twin, and not what pg_upgrade wrote about the new server.
fn is_server_log(name: &str) -> bool {
    let base = name.rsplit('/').next().unwrap_or(name);
    let stamp = base.strip_prefix("postgresql.log");
    base == "postgres.log" || stamp.is_some_and(|s| s.bytes().all(|b| b.is_ascii_digit() || b"-.".contains(&b)))
}

/// Reads lines in order and remembers what the first start of the server has said so far.
struct Reader {
    bounds: Bounds,
    version: Option<String>,
    last_known_up: Option<String>,
    start: Option<Lsn>,
}

impl Reader {
    fn new(bounds: Bounds) -> Self {
        Self { bounds, version: None, last_known_up: None, start: None }
    }

    fn read(&mut self, file: &str, text: &str) -> Result<Option<Redo>> {
        for (nth, line) in text.split_inclusive('\n').enumerate() {
            // A line without an end is still being written, or was cut by RDS: its LSN may lack digits.
            let Some(line) = line.strip_suffix('\n') else { break };
            let Some(entry) = Entry::parse(line) else { continue };
            if let (Some(at), Some(since)) = (entry.at_ms, self.bounds.since_ms)
                && at < since / 1000 * 1000
            {
                continue;
            }
            let place = format!("line {} of `{file}`", nth + 1);
            if let Some((start, done)) = self.hear(entry.message).map_err(|error| error.detail("line", &place))? {
                return Ok(Some(Redo {
                    start,
                    done,
                    file: file.to_owned(),
                    line_number: nth + 1,
                    line: line.to_owned(),
                    server_version: self.version.take(),
                    last_known_up: self.last_known_up.take(),
                }));
            }
        }
        Ok(None)
    }

    /// Takes in one message of the server; gives S and L with the line that ends the recovery.
    fn hear(&mut self, message: &str) -> Result<Option<(Lsn, Lsn)>> {
        let after = |words: &str| strip_prefix_any_case(message, words);
        if let Some(rest) = after("starting PostgreSQL ") {
            self.version = rest.split([' ', ',']).next().map(str::to_owned);
        } else if let Some(at) = after("database system was interrupted; last known up at ") {
            self.was_up(at)?;
        } else if let Some(rest) = after("redo starts at ") {
            // A recovery that was itself interrupted begins anew and ends at the same place: until `redo done`
            // nothing is written.
            self.start = Some(lsn(rest)?);
        } else if let Some(rest) = after("redo done at ") {
            let done = lsn(rest)?;
            let Some(start) = self.start else {
                return Err(unusable(&format!("`redo done at {done}` has no `redo starts at` before it")));
            };
            if done < start {
                return Err(unusable(&format!("the recovery ends at {done}, before its start at {start}")));
            }
            return Ok(Some((start, done)));
        } else if self.start.is_none() {
            return refuse_without_redo(message).map(|()| None);
        }
        Ok(None)
    }

    fn was_up(&mut self, at: &str) -> Result<()> {
        if let (Some(up), Some(complete)) = (time_ms(at), self.bounds.complete_ms)
            && up > complete
        {
            return Err(unusable(&format!("the server was still up at {at}, after the snapshot was complete")));
        }
        self.last_known_up = Some(at.to_owned());
        Ok(())
    }
}

/// Messages that, before any `redo starts at`, prove that this log will not tell.
fn refuse_without_redo(message: &str) -> Result<()> {
    let starts = |words: &str| strip_prefix_any_case(message, words).is_some();
    if starts("redo is not required") || starts("database system was shut down at") {
        return Err(fail!(
            Code::RequireFailed,
            "the snapshot was recovered without replaying anything ({message}), so it tells no position"
        )
        .hint("write to the original server while the snapshot is taken, as the heartbeat does, and take a new one"));
    }
    if starts("database system is ready to accept") || starts("checkpoint starting") {
        return Err(unusable(&format!("a server was already at work (`{message}`) before the first recovery")));
    }
    Ok(())
}

fn unusable(why: &str) -> Error {
    fail!(Code::RequireFailed, "the log does not show the recovery of the snapshot: {why}")
        .hint("restore the snapshot again and read its log before anything else restarts the server")
}

/// The LSN at the beginning of the text; zero-padded ones are accepted.
fn lsn(text: &str) -> Result<Lsn> {
    let end = text.find(|c: char| !c.is_ascii_hexdigit() && c != '/').unwrap_or(text.len());
    text[..end].parse().map_err(|error: Error| unusable(error.message()))
}

fn strip_prefix_any_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

#[cfg(test)]
mod tests {
    use super::{super::log_line::time_ms, Bounds, Redo, first_redo_done, is_server_log};
    use crate::base::{Code, Result};

    fn find(text: &str) -> Result<Option<Redo>> {
        first_redo_done([("error/postgresql.log.2026-11-20-10", text)], &Bounds::default())
    }

    fn log(messages: &[&str]) -> String {
        let line = |message: &&str| format!("2026-11-20 10:20:39 UTC::@:[77]:LOG:  {message}\n");
        messages.iter().map(line).collect()
    }

    /// A snapshot's log as measured: crash recovery by 15.18, then pg_upgrade's restarts, then 16.14.
    const MEASURED: [&str; 12] = [
        "starting PostgreSQL 15.18 (Debian 15.18-0+deb12u1) on x86_64-pc-linux-gnu, compiled by gcc",
        "database system was interrupted; last known up at 2026-11-20 10:20:30 UTC",
        "database system was not properly shut down; automatic recovery in progress",
        "redo starts at 0/1741908",
        "redo in progress, elapsed time: 10.00 s, current LSN: 0/5000000",
        "invalid record length at 0/5914E98: wanted 24, got 0",
        "redo done at 0/5914E68 system usage: CPU: user: 0.50 s, system: 0.20 s, elapsed: 0.80 s",
        "checkpoint starting: end-of-recovery immediate wait",
        "database system was shut down at 2026-11-20 10:20:45 UTC",
        "database system is ready to accept connections",
        "redo starts at 0/B000100",
        "redo done at 0/B000200 system usage: CPU: user: 0.00 s, system: 0.00 s, elapsed: 0.00 s",
    ];

    /// The first recovery counts, not pg_upgrade's nor a second crash's, and the progress line is no end.
    #[test]
    fn the_first_recovery_is_found() {
        let redo = find(&log(&MEASURED)).unwrap().unwrap();
        assert_eq!((redo.start.to_string(), redo.done.to_string()), ("0/1741908".into(), "0/5914E68".into()));
        assert_eq!(redo.line_number, 7);
        assert!(redo.line.contains("redo done at 0/5914E68"));
        assert_eq!(redo.server_version.as_deref(), Some("15.18"));
        assert_eq!(redo.last_known_up.as_deref(), Some("2026-11-20 10:20:30 UTC"));
    }

    /// 12 and 13 end the line after the position; the wiki page writes a capital; 19 is to pad with zeros.
    #[test]
    fn every_wording_is_read() {
        for (start, done) in [
            ("redo starts at 0/1741908", "redo done at 0/5914E68"),
            ("Redo starts at 0/1741908", "Redo done at 0/5914E68"),
            ("redo starts at 00000000/01741908", "redo done at 00000000/05914E68 system usage: CPU: user: 0.5 s"),
        ] {
            let redo = find(&log(&[start, done])).unwrap().unwrap();
            assert_eq!(redo.done.to_string(), "0/5914E68", "{done}");
        }
    }

    /// No value is ever guessed: nothing to replay, a clean shutdown, a lost beginning, a server already at work.
    #[test]
    fn a_log_that_does_not_tell_is_refused() {
        let cases: [(&[&str], &str); 6] = [
            (&["redo is not required"], "without replaying"),
            (&["database system was shut down at 2026-11-20 10:00:00 UTC"], "without replaying"),
            (&["redo done at 0/5914E68"], "has no `redo starts at`"),
            (&["database system is ready to accept connections", MEASURED[3], MEASURED[6]], "already at work"),
            (&["checkpoint starting: time", MEASURED[3], MEASURED[6]], "already at work"),
            (&["redo starts at 0/5914E68", "redo done at 0/1741908"], "before its start"),
        ];
        for (lines, why) in cases {
            let error = find(&log(lines)).unwrap_err();
            assert!(error.code() == Code::RequireFailed && error.message().contains(why), "{error:?}");
            assert!(error.fact("line").is_some_and(|line| line.starts_with("line ")), "{error:?}");
        }
    }

    /// A recovery that was killed and begun anew ends at the same place; a log without recovery is "not yet".
    #[test]
    fn an_interrupted_recovery_is_one_recovery() {
        let twice = [
            MEASURED[3],
            MEASURED[0],
            "database system was interrupted while in recovery at 2026-11-20 \
            10:20:41 UTC",
            MEASURED[3],
            MEASURED[6],
        ];
        assert_eq!(find(&log(&twice)).unwrap().unwrap().done.to_string(), "0/5914E68");
        assert_eq!(find(&log(&MEASURED[..6])).unwrap(), None);
        assert_eq!(find("").unwrap(), None);
    }

    /// Attack 3: the copy crashed again before anybody looked, and the head of the log is lost. The second crash's
    /// recovery satisfies every later check; only the time at which the server was last up gives it away.
    #[test]
    fn a_second_crash_is_told_by_when_the_server_was_up() {
        let second = log(&[
            "database system was interrupted; last known up at 2026-11-20 10:40:00 UTC",
            MEASURED[3],
            MEASURED[6],
        ]);
        let bounds = Bounds { since_ms: None, complete_ms: time_ms("2026-11-20 10:20:35 UTC") };
        let error = first_redo_done([("f", second.as_str())], &bounds).unwrap_err();
        assert!(error.message().contains("after the snapshot was complete"), "{error}");
        let first = log(&MEASURED);
        assert!(first_redo_done([("f", first.as_str())], &bounds).unwrap().is_some());
    }

    /// Half a line holds half an LSN, which is a valid LSN.
    #[test]
    fn a_line_without_an_end_does_not_count() {
        let whole = log(&MEASURED);
        let cut = whole.find("914E68 system").unwrap();
        assert_eq!(find(&whole[..cut]).unwrap(), None);
    }

    /// Whoever can run `RAISE LOG` must not be able to say where the recovery ended.
    #[test]
    fn what_sessions_write_does_not_count() {
        let forged = "2026-11-20 10:20:39 UTC:10.0.0.7(5123):app@shop:[88]:LOG:  redo starts at 0/1\n\
                      \tLOG:  redo done at 0/2\n\
                      2026-11-20 10:20:39 UTC:[local]:app@shop:[88]:LOG:  redo done at 0/2\n";
        assert_eq!(find(forged).unwrap(), None);
    }

    /// Lines of the time before the snapshot are somebody else's; files continue one another.
    #[test]
    fn files_continue_and_old_lines_are_skipped() {
        let old = "2026-11-20 09:00:00 UTC::@:[5]:LOG:  redo starts at 0/10\n\
                   2026-11-20 09:00:01 UTC::@:[5]:LOG:  redo done at 0/20\n\
                   2026-11-20 09:00:02 UTC::@:[5]:LOG:  database system is ready to accept connections\n";
        let all = log(&MEASURED);
        let (head, tail) = all.split_at(all.find("2026-11-20 10:20:39 UTC::@:[77]:LOG:  invalid").unwrap());
        let bounds = Bounds { since_ms: time_ms("2026-11-20 10:20:00 UTC"), complete_ms: None };
        let files = [("a", old), ("b", head), ("c", tail)];
        let redo = first_redo_done(files, &bounds).unwrap().unwrap();
        assert_eq!((redo.file.as_str(), redo.line_number), ("c", 2));
        assert_eq!(redo.done.to_string(), "0/5914E68");
    }

    /// pg_upgrade's log of the new server and the CSV twin hold the same words about other recoveries.
    #[test]
    fn only_the_servers_own_log_is_read() {
        assert!(is_server_log("error/postgresql.log.2026-11-20-10"));
        assert!(is_server_log("error/postgres.log"));
        for other in
            ["error/postgresql.log.2026-11-20-10.csv", "pg_upgrade_server.log.1", "error/pg_upgrade_internal.log"]
        {
            assert!(!is_server_log(other), "{other}");
        }
    }
}
