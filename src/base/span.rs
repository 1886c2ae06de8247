//! Durations and sizes as people write them: `200ms`, `90s`, `1h30m`, `1 MB`.

use std::time::Duration;

use super::{Code, Result};
use crate::fail;

/// Reads `200ms`, `10s`, `5m`, `2h`, `1d` and sums of them such as `1h30m`.
///
/// # Errors
/// `value_guard` with what was got and what is wanted. A bare number is refused: its unit would be a guess.
pub fn parse_duration(text: &str) -> Result<Duration> {
    let wrong = || fail!(Code::ValueGuard, "got {text:?}, wanted a duration such as 200ms, 90s, 10m, 1h30m or 2d");
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = rest[digits..].trim_start();
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => return Err(wrong()),
        };
        total += Duration::try_from_secs_f64(number * unit).map_err(|_| wrong())?;
        rest = rest[letters..].trim_start();
    }
    Ok(total)
}

/// Prints a duration for people: `38 ms`, `4.2 s`, `3 min 20 s`, `2 h 5 min`.
#[must_use]
pub fn duration_text(duration: Duration) -> String {
    let ms = duration.as_millis();
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{ms} ms"),
        1..=59 => format!("{:.1} s", duration.as_secs_f64()),
        60..=3599 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Reads `512`, `16 kB`, `1MB`, `20 GB`, `1 TB` with PostgreSQL's meaning: steps of 1024.
///
/// # Errors
/// `value_guard` with what was got and what is wanted.
pub fn parse_size(text: &str) -> Result<u64> {
    let wrong = || fail!(Code::ValueGuard, "got {text:?}, wanted a size such as 16kB, 1 MB or 20 GB");
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let shift = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "kb" => 10,
        "mb" => 20,
        "gb" => 30,
        "tb" => 40,
        _ => return Err(wrong()),
    };
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

/// Prints a size for people: `512 B`, `1.5 MB`.
#[must_use]
pub fn size_text(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    #[expect(clippy::cast_precision_loss, reason = "a size for people needs three digits")]
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{size:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{duration_text, parse_duration, parse_size, size_text};

    #[test]
    fn durations_round_trip_through_people() {
        assert_eq!(parse_duration("200ms").unwrap(), Duration::from_millis(200));
        assert_eq!(parse_duration("1h30m").unwrap(), Duration::from_mins(90));
        assert_eq!(parse_duration("1.5 s").unwrap(), Duration::from_millis(1500));
        for text in ["", "10", "ten", "5x", "-1s", "s", "1e400s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert_eq!(duration_text(Duration::from_millis(38)), "38 ms");
        assert_eq!(duration_text(Duration::from_secs(200)), "3 min 20 s");
    }

    #[test]
    fn sizes_use_postgresql_units() {
        assert_eq!(parse_size("1 MB").unwrap(), 1 << 20);
        assert_eq!(parse_size("16kB").unwrap(), 16384);
        assert!(parse_size("1 XB").is_err());
        assert!(parse_size("99999999999 TB").is_err());
        assert_eq!(size_text(1536), "1.5 kB");
    }
}
