//! A line of the server's log as RDS writes it: prefix, severity, message.

/// A line that the server wrote about itself.
pub(super) struct Entry<'a> {
    /// When, in milliseconds since 1970, as far as the prefix tells.
    pub(super) at_ms: Option<u64>,
    /// What follows the severity.
    pub(super) message: &'a str,
}

impl<'a> Entry<'a> {
    /// Reads RDS's prefix `%t:%r:%u@%d:[%p]:` and the severity. Lines of sessions are passed over: anybody can make
    /// one that says `redo done at`. So are continuation lines, which begin with a tab.
    pub(super) fn parse(line: &'a str) -> Option<Self> {
        const SEVERITY: &str = "LOG:  ";
        let at = line.find(SEVERITY)?;
        let (prefix, message) = (&line[..at], &line[at + SEVERITY.len()..]);
        if prefix.starts_with(char::is_whitespace) {
            return None;
        }
        if let Some((before, after)) = prefix.split_once('@') {
            let user = before.rsplit(':').next().unwrap_or_default();
            let database = after.split(':').next().unwrap_or_default();
            if !user.is_empty() || !database.is_empty() {
                return None;
            }
        }
        Some(Self { at_ms: time_ms(prefix), message: message.trim_end() })
    }
}

/// The time at the beginning of a text, if it is one in UTC; RDS logs in no other zone.
pub(super) fn time_ms(text: &str) -> Option<u64> {
    let civil: jiff::civil::DateTime = text.get(..19)?.parse().ok()?;
    let rest = text[19..].trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    if !rest.trim_start().starts_with("UTC") {
        return None;
    }
    let ms = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond();
    u64::try_from(ms).ok()
}
