//! The only place that reads the time and sleeps.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// The wall clock as an RFC 3339 text in UTC with milliseconds.
#[must_use]
pub fn now_text() -> String {
    format!("{:.3}", Timestamp::now())
}

/// The wall clock in UTC as `20261120T151207`, for names of runs and folders.
#[must_use]
pub fn now_compact() -> String {
    Timestamp::now().strftime("%Y%m%dT%H%M%S").to_string()
}

/// Milliseconds since 1970, for file stamps and AWS shapes.
#[must_use]
pub fn epoch_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Seconds since 1970 with fractions.
#[must_use]
pub fn epoch_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// Milliseconds since 1970 of a text such as `20261120T151207Z`, as requests to AWS bear it.
#[must_use]
pub fn ms_of_compact(text: &str) -> Option<u64> {
    let at = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    u64::try_from(at.timestamp().as_millisecond()).ok()
}

/// The text that [`ms_of_compact`] reads.
#[must_use]
pub fn compact_of_ms(epoch_ms: u64) -> String {
    let at = Timestamp::from_millisecond(i64::try_from(epoch_ms).unwrap_or(i64::MAX)).unwrap_or_default();
    at.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// RFC 3339 text in UTC with milliseconds, of a point given as milliseconds since 1970.
#[must_use]
pub fn text_of_ms(epoch_ms: u64) -> String {
    let ms = i64::try_from(epoch_ms).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(ms).map_or_else(|_| format!("{ms} ms"), |at| format!("{at:.3}"))
}

/// Milliseconds since 1970 of a text that [`now_text`] gave.
#[must_use]
pub fn ms_of_text(text: &str) -> Option<u64> {
    let at: Timestamp = text.parse().ok()?;
    u64::try_from(at.as_millisecond()).ok()
}

/// A point on the monotonic clock; deadlines and durations are measured from it.
#[must_use]
pub fn instant() -> Instant {
    Instant::now()
}

/// Waits without blocking the runtime. Whoever may be cancelled calls it inside `Host::wait`.
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Runs a future, at most for `limit`; `None` when it took longer.
pub async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(limit, future).await.ok()
}

/// Blocks this thread. For threads that have no runtime, such as shutdown paths.
pub fn sleep_blocking(duration: Duration) {
    std::thread::sleep(duration);
}
