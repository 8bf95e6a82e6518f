//! Instants, in whole milliseconds since the Unix epoch, as Prometheus keeps them.

use std::fmt;
use std::str::FromStr;

/// A UTC instant with millisecond resolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

/// A text that is neither RFC 3339 nor Unix seconds.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a time: write RFC 3339 (2026-11-22T07:11:52Z) or Unix seconds")]
pub struct ParseTimestampError(String);

impl Timestamp {
    /// From milliseconds since the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// From seconds since the Unix epoch; `None` for NaN, infinities and years outside ±9999.
    pub fn from_unix_seconds(seconds: f64) -> Option<Self> {
        let millis = (seconds * 1000.0).round();
        jiff::Timestamp::from_millisecond(millis as i64)
            .is_ok()
            .then_some(Self(millis as i64))
            .filter(|_| millis.is_finite())
    }

    /// Milliseconds since the Unix epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Seconds since the Unix epoch.
    pub fn unix_seconds(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// Seconds from `earlier` to `self`; negative when the clock went back.
    pub fn seconds_since(self, earlier: Self) -> f64 {
        self.0.saturating_sub(earlier.0) as f64 / 1000.0
    }

    /// Time of day as `HH:MM:SS`, UTC, for people who read a table.
    pub fn clock(self) -> String {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(time) => time.strftime("%H:%M:%S").to_string(),
            Err(_) => self.0.to_string(),
        }
    }

    /// Calendar day as `YYYY-MM-DD`, UTC.
    pub fn day(self) -> String {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(time) => time.strftime("%Y-%m-%d").to_string(),
            Err(_) => "0000-00-00".to_owned(),
        }
    }
}

/// RFC 3339, UTC, with milliseconds.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(time) => write!(f, "{time:.3}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

impl FromStr for Timestamp {
    type Err = ParseTimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if let Ok(seconds) = text.parse::<f64>() {
            return Self::from_unix_seconds(seconds)
                .ok_or_else(|| ParseTimestampError(text.to_owned()));
        }
        text.parse::<jiff::Timestamp>()
            .map(|time| Self(time.as_millisecond()))
            .map_err(|_| ParseTimestampError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_spellings_and_prints_one() {
        for text in ["2026-11-22T07:11:52.5Z", "1795331512.5", "2026-11-22T08:11:52.5+01:00"] {
            let time: Timestamp = text.parse().unwrap();
            assert_eq!(time.to_string(), "2026-11-22T07:11:52.500Z", "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_time() {
        for text in ["", "yesterday", "NaN", "inf", "1e300", "2026-13-01T00:00:00Z"] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }
}
