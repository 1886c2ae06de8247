//! The server's own log files, with the markers, block sizes and truncation of RDS.

use std::{
    fs,
    io::{Read as _, Seek as _, SeekFrom},
    path::Path,
    sync::Arc,
    time::UNIX_EPOCH,
};

use super::page::Page;
use crate::lab::{
    call, disk,
    instance::{Instance, InstanceStatus},
    query::Query,
    refusal::{Outcome, Refusal},
    site::Site,
    xml::Element,
};

/// A block has at most 1 MB .. (API reference, `DownloadDBLogFilePortion`)
const BLOCK_BYTES: usize = 1 << 20;

/// .. and 10,000 lines.
const BLOCK_LINES: usize = 10_000;

/// What stands where a block was cut. The rest of the lines asked for is lost: the marker points behind them. Scripts
/// that do not look for these words lose log lines (aws/aws-sdk #20, aws-cli #3079).
const TRUNCATED: &str = "\n [Your log message was truncated]";

fn instance(site: &Site, query: &Query) -> Outcome<Instance> {
    let found = site.look(|world| world.instance(query.required("DBInstanceIdentifier")?).cloned())?;
    if found.status == InstanceStatus::Creating && found.port.is_none() {
        return Err(Refusal::new("DBInstanceNotReady", format!("DB instance {} is not ready.", found.id)));
    }
    Ok(found)
}

pub(super) fn describe(site: &Arc<Site>, query: &Query) -> Outcome<Option<Element>> {
    let page = Page::read(query)?;
    let folder = site.instance_folder(&instance(site, query)?).join("log/error");
    let (part, since) = (query.text("FilenameContains"), query.integer("FileLastWritten")?.unwrap_or(0));
    let least = query.integer("FileSize")?.unwrap_or(0);
    let mut items = Vec::new();
    for path in disk::entries(&folder) {
        let name = format!("error/{}", path.file_name().unwrap_or_default().to_string_lossy());
        let Some(meta) = fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file) else { continue };
        let written = meta.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let written = written.map_or(0, |at| i64::try_from(at.as_millis()).unwrap_or(i64::MAX));
        let written = written.saturating_add(site.clock.skew_ms());
        let bytes = i64::try_from(meta.len()).unwrap_or(i64::MAX);
        if part.is_none_or(|part| name.contains(part)) && written >= since && bytes >= least {
            let shape = Element::new("DescribeDBLogFilesDetails")
                .text("LogFileName", &name)
                .text("LastWritten", written)
                .text("Size", bytes);
            items.push((name, shape));
        }
    }
    Ok(Some(page.result("DescribeDBLogFiles", items)))
}

pub(super) fn download(site: &Arc<Site>, query: &Query) -> Outcome<Option<Element>> {
    let name = query.required("LogFileName")?;
    let missing =
        || Refusal::absent("DBLogFileNotFoundFault", format!("DBLog File: {name}, is not found on the DB instance"));
    let file = name.strip_prefix("error/").filter(|file| !file.contains('/') && *file != ".." && *file != ".");
    let path = site.instance_folder(&instance(site, query)?).join("log/error").join(file.ok_or_else(missing)?);
    let lines = match query.integer("NumberOfLines")? {
        Some(number) => Some(
            usize::try_from(number)
                .ok()
                .filter(|number| *number > 0)
                .ok_or_else(|| Refusal::value(format!("Invalid value {number} for NumberOfLines")))?,
        ),
        None => None,
    };
    let from = match query.text("Marker") {
        Some(marker) => Some(offset_of(marker)?),
        None => None,
    };
    let window = Window::read(&path, from).ok_or_else(missing)?;
    let mut block = block(&window.bytes, from.map(|_| 0), lines);
    block.text = told_at(&block.text, site.clock.skew_ms());
    if call::cuts_log() {
        block.cut();
    }
    let next = window.start + block.next as u64;
    // The number before the colon is the hour of the file's name; only the offset behind it is read back.
    let hour = file.and_then(|file| file.rsplit('-').next()).filter(|hour| hour.parse::<u8>().is_ok()).unwrap_or("0");
    let result = Element::new("Result")
        .text("LogFileData", block.text)
        .text("Marker", format!("{hour}:{next}"))
        .text("AdditionalDataPending", next < window.size);
    Ok(Some(result))
}

/// `0` or `HOUR:OFFSET`.
fn offset_of(marker: &str) -> Outcome<u64> {
    let offset = marker.rsplit(':').next().unwrap_or_default();
    offset.parse().map_err(|_| Refusal::value(format!("Invalid marker {marker}")))
}

/// What is read of a file for one block: a log may be larger than anybody wants in memory.
const WINDOW_BYTES: u64 = 8 << 20;

struct Window {
    bytes: Vec<u8>,
    start: u64,
    size: u64,
}

impl Window {
    /// The part from an offset on, or the end of the file; `None` when it is no regular file.
    fn read(path: &Path, from: Option<u64>) -> Option<Self> {
        let size = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file)?.len();
        let start = from.unwrap_or_else(|| size.saturating_sub(WINDOW_BYTES)).min(size);
        let mut file = fs::File::open(path).ok()?;
        file.seek(SeekFrom::Start(start)).ok()?;
        let mut bytes = Vec::new();
        // The server goes on writing: what came after the look at the size belongs to the next block.
        file.take(WINDOW_BYTES.min(size - start)).read_to_end(&mut bytes).ok()?;
        Some(Self { bytes, start, size })
    }
}

struct Block {
    text: String,
    next: usize,
}

impl Block {
    /// Ends in the middle of a line, and says so: what is behind is lost to whoever goes on from the marker.
    fn cut(&mut self) {
        let middle = self.text.len() / 2;
        let at = (middle..self.text.len()).find(|at| self.text.is_char_boundary(*at)).unwrap_or_default();
        self.text.truncate(at);
        self.text.push_str(TRUNCATED);
    }
}

/// How the servers write the time into their logs.
const STAMP: &str = "%Y-%m-%d %H:%M:%S";

/// The log as a server would have written it whose clock is off by so much: it is AWS's clock, as the endpoint's is.
fn told_at(text: &str, skew_ms: i64) -> String {
    if skew_ms == 0 {
        return text.to_owned();
    }
    let moved = |line: &str| {
        let (stamp, rest) = line.split_once(" UTC:")?;
        let at = jiff::civil::DateTime::strptime(STAMP, stamp).ok()?;
        let at = at.checked_add(jiff::SignedDuration::from_millis(skew_ms)).ok()?;
        Some(format!("{} UTC:{rest}", at.strftime(STAMP)))
    };
    let lines = text.split_inclusive('\n').map(|line| moved(line).unwrap_or_else(|| line.to_owned()));
    lines.collect()
}

/// The lines from an offset on, or without one the newest lines. Nobody who names no number of lines loses any: the
/// block ends with the last line that fits. Whoever names one gets so many, cut at 1 MB.
fn block(bytes: &[u8], from: Option<usize>, lines: Option<usize>) -> Block {
    let most = lines.unwrap_or(BLOCK_LINES).min(BLOCK_LINES);
    let (start, end) = match from {
        Some(from) => {
            let start = from.min(bytes.len());
            (start, start + span_of(&bytes[start..], most))
        }
        None => (newest(bytes, most), bytes.len()),
    };
    if end - start <= BLOCK_BYTES {
        return Block { text: String::from_utf8_lossy(&bytes[start..end]).into_owned(), next: end };
    }
    let cut = &bytes[start..start + BLOCK_BYTES];
    if let (None, Some(_), Some(line_end)) = (lines, from, cut.iter().rposition(|byte| *byte == b'\n')) {
        let text = String::from_utf8_lossy(&cut[..=line_end]).into_owned();
        return Block { text, next: start + line_end + 1 };
    }
    Block { text: format!("{}{TRUNCATED}", String::from_utf8_lossy(cut)), next: end }
}

/// The length of the first `most` lines.
fn span_of(bytes: &[u8], most: usize) -> usize {
    let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    ends.map(|(at, _)| at + 1).nth(most - 1).unwrap_or(bytes.len())
}

/// Where the last `most` lines begin.
fn newest(bytes: &[u8], most: usize) -> usize {
    let body = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let ends = body.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
    ends.map(|(at, _)| at + 1).nth(most - 1).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{BLOCK_BYTES, TRUNCATED, block, told_at};

    #[test]
    fn a_log_tells_the_time_of_aws() {
        let log = "2026-11-20 21:59:30 UTC::@:[7]:LOG:  one\n\tmore\n";
        assert_eq!(told_at(log, 60_000), "2026-11-20 22:00:30 UTC::@:[7]:LOG:  one\n\tmore\n");
        assert_eq!(told_at(log, 0), log);
    }

    #[test]
    fn lines_are_counted_from_both_ends() {
        let log = b"one\ntwo\nthree\n";
        assert_eq!(block(log, None, Some(2)).text, "two\nthree\n");
        let first = block(log, Some(0), Some(1));
        assert_eq!((first.text.as_str(), first.next), ("one\n", 4));
        let rest = block(log, Some(first.next), None);
        assert_eq!((rest.text.as_str(), rest.next), ("two\nthree\n", log.len()));
        assert_eq!(block(log, Some(99), None).text, "");
        assert_eq!(block(b"open", None, None).text, "open");
    }

    /// The loop over markers without a number of lines must give every byte once; with a number it must show RDS's
    /// truncation, so that scripts are rehearsed against it.
    #[test]
    fn long_logs_come_in_blocks() {
        let log: Vec<u8> = (0..30_000).flat_map(|n| format!("{n:0100}\n").into_bytes()).collect();
        let (mut read, mut from) = (String::new(), 0);
        while from < log.len() {
            let next = block(&log, Some(from), None);
            assert!(next.text.len() <= BLOCK_BYTES && next.text.lines().count() <= 10_000 && next.next > from);
            read.push_str(&next.text);
            from = next.next;
        }
        assert!(read.as_bytes() == log);
        let wide: Vec<u8> = (0..9).flat_map(|_| [vec![b'x'; 200_000], vec![b'\n']].concat()).collect();
        let cut = block(&wide, Some(0), Some(9));
        assert!(cut.text.ends_with(TRUNCATED) && cut.next == wide.len());
        let whole = block(&wide, Some(0), Some(5));
        assert!(!whole.text.contains("truncated"));
        let line = vec![b'y'; 3 * BLOCK_BYTES];
        assert!(block(&line, Some(0), None).text.ends_with(TRUNCATED), "one line longer than a block");
    }
}
