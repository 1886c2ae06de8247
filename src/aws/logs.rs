//! Log files of an instance, fetched whole. The SDK's paginator ignores `AdditionalDataPending`, and RDS truncates
//! blocks, so the loop is pgrun's own.

use super::client::Rds;
use crate::{
    base::{Code, Error, Map, Result, clock},
    fail, map,
};

/// A log file of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// The name, for example `error/postgresql.log.2026-11-20-10`.
    pub name: String,
    /// The size in bytes when it was listed.
    pub size: u64,
    /// When it was last written, in milliseconds since 1970.
    pub last_written_ms: u64,
}

impl LogFile {
    /// The file for scripts.
    #[must_use]
    pub fn to_map(&self) -> Map {
        map! {
            "name" => self.name.as_str(),
            "size" => i64::try_from(self.size).unwrap_or(i64::MAX),
            "last_written" => clock::text_of_ms(self.last_written_ms),
        }
    }
}

/// The text of a log file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogText {
    /// The text, without control characters but for line ends and tabs.
    pub text: String,
    /// Offsets in the text at which something is missing that RDS does not give: the end of a line longer than a
    /// block, or everything from a byte on that RDS takes for binary.
    pub gaps: Vec<usize>,
}

/// What RDS writes into a block that would be larger than 1 MB, in the place of the rest (aws/aws-sdk #20). It may
/// stand in the middle of a line.
const TRUNCATED: &str = "[Your log message was truncated]";

/// RDS's words, under `InvalidParameterValue`, for a block with a byte that is not text (boto/botocore #910).
const BINARY: &str = "binary data";

/// Lines asked for at once. RDS allows 10,000, and at 2,000 a block seldom reaches 1 MB.
const LINES: i32 = 2_000;

/// The largest file that is fetched. A day of `log_statement = all` is not what pgrun looks for.
const MAX_BYTES: usize = 512 << 20;

impl Rds {
    /// The log files of an instance, by name, which for the hourly ones is by time. With `contains`, only those whose
    /// name contains it; with `since_ms`, only those written at or after it.
    ///
    /// # Errors
    /// `aws_not_found`, and those of AWS.
    pub async fn log_files(
        &self,
        instance: &str,
        contains: Option<&str>,
        since_ms: Option<u64>,
    ) -> Result<Vec<LogFile>> {
        let call = self.ask().await?.describe_db_log_files().db_instance_identifier(instance);
        let call = call.set_filename_contains(contains.map(str::to_owned));
        let call = call.set_file_last_written(since_ms.and_then(|ms| i64::try_from(ms).ok()));
        let mut pages = call.into_paginator().send();
        let mut files = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| self.aws.asks("DescribeDBLogFiles", instance).failed(&error))?;
            files.extend(page.describe_db_log_files().iter().map(|file| LogFile {
                name: file.log_file_name().unwrap_or_default().to_owned(),
                size: file.size().and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
                last_written_ms: file.last_written().and_then(|ms| u64::try_from(ms).ok()).unwrap_or(0),
            }));
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(files)
    }

    /// The whole text of a log file, from its first line to what is its end now.
    ///
    /// # Errors
    /// `aws_not_found`; `aws_error` for a file over 512 MB or markers that do not advance; those of AWS.
    pub async fn log(&self, instance: &str, file: &LogFile) -> Result<LogText> {
        let mut log = LogText::default();
        let mut marker = "0".to_owned();
        let mut lines = LINES;
        loop {
            let block = match self.block(instance, &file.name, &marker, lines).await {
                // A smaller block may end before the byte that XML cannot carry or that RDS refuses to show.
                Err(error) if is_unreadable(&error) && lines > 1 => {
                    lines = fewer(lines);
                    continue;
                }
                Err(error) if is_unreadable(&error) => {
                    tracing::debug!(file = file.name, %error, "the rest of a log cannot be read");
                    log.gaps.push(log.text.len());
                    return Ok(log);
                }
                block => block?,
            };
            if block.text.contains(TRUNCATED) && lines > 1 {
                lines = fewer(lines);
                continue;
            }
            log.append(&block.text);
            if log.text.len() > MAX_BYTES {
                return Err(fail!(Code::AwsError, "log `{}` is larger than {} MB", file.name, MAX_BYTES >> 20));
            }
            let advanced = block.marker.filter(|next| *next != marker);
            match (block.pending, advanced) {
                (true, Some(next)) => marker = next,
                (true, None) => {
                    return Err(fail!(
                        Code::AwsError,
                        "RDS says that log `{}` goes on, but not where: the marker stays `{marker}`",
                        file.name
                    ));
                }
                // RDS sometimes says "that was all" too early (aws-cli #2268); the listed size tells.
                (false, Some(next)) if !block.text.is_empty() && (log.text.len() as u64) < file.size => marker = next,
                (false, _) => return Ok(log),
            }
            lines = lines.saturating_mul(2).min(LINES);
        }
    }

    async fn block(&self, instance: &str, file: &str, marker: &str, lines: i32) -> Result<Block> {
        let call = self.ask().await?.download_db_log_file_portion().db_instance_identifier(instance);
        // Without a marker RDS gives the newest lines only.
        let sent = call.log_file_name(file).marker(marker).number_of_lines(lines).send().await;
        let answer = sent.map_err(|error| self.aws.asks("DownloadDBLogFilePortion", file).failed(&error))?;
        Ok(Block {
            text: answer.log_file_data().unwrap_or_default().to_owned(),
            marker: answer.marker().map(str::to_owned),
            pending: answer.additional_data_pending().unwrap_or(false),
        })
    }
}

/// One answer of DownloadDBLogFilePortion.
struct Block {
    text: String,
    marker: Option<String>,
    pending: bool,
}

/// Whether a block holds something that cannot be sent: the answer is no XML, or RDS says so itself.
fn is_unreadable(error: &Error) -> bool {
    let is_no_xml = error.code() == Code::AwsUnavailable && error.fact("http_status") == Some("200");
    is_no_xml || error.message().contains(BINARY)
}

/// A smaller block, down to a single line.
fn fewer(lines: i32) -> i32 {
    (lines / 8).max(1)
}

impl LogText {
    fn append(&mut self, block: &str) {
        for (nth, part) in block.split(TRUNCATED).enumerate() {
            if nth > 0 {
                self.gaps.push(self.text.len());
            }
            self.text.extend(part.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')));
        }
    }
}
