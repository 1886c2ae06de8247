//! A position in PostgreSQL's write-ahead log.

use std::{fmt, str::FromStr};

use super::{Code, Error};
use crate::fail;

/// A log sequence number: a byte position in the write-ahead log (manual, "pg_lsn Type").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    /// The byte after this position. A replication origin at `L + 1` skips the record that begins at `L`
    /// and misses none: records are at least 24 bytes long (`access/xlogrecord.h`).
    #[must_use]
    pub fn next_byte(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Bytes from `earlier` to this position, zero if it lies behind.
    #[must_use]
    pub fn bytes_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl FromStr for Lsn {
    type Err = Error;

    /// Reads `X/Y` in hexadecimal, each part up to 8 digits; leading zeros are accepted.
    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || fail!(Code::ValueGuard, "got {text:?}, wanted an LSN such as 0/16B3748");
        let (high, low) = text.trim().split_once('/').ok_or_else(wrong)?;
        let part = |digits: &str| {
            let fits = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
            fits.then(|| u64::from_str_radix(digits, 16).ok()).flatten().ok_or_else(wrong)
        };
        Ok(Self(part(high)? << 32 | part(low)?))
    }
}

#[cfg(test)]
mod tests {
    use super::Lsn;

    #[test]
    fn reads_and_prints_what_postgresql_prints() {
        for text in ["0/0", "0/16B3748", "FFFFFFFF/FFFFFFFF", "A/1"] {
            assert_eq!(text.parse::<Lsn>().unwrap().to_string(), text);
        }
        assert_eq!("00000000/016B3748".parse::<Lsn>().unwrap().to_string(), "0/16B3748");
        for text in ["", "0", "0/", "/0", "0/G", "0/123456789", "-1/0", "+1/0"] {
            assert!(text.parse::<Lsn>().is_err(), "{text}");
        }
    }
}
