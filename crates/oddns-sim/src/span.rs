//! Lengths of time as people write them in a scenario: `15s`, `1h30m`, `30d`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

/// A length of time in whole milliseconds, above zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(i64);

/// A text that is no length of time that a scenario may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpanError {
    /// Not written as one.
    #[error("`{0}` is no length of time: write numbers with ms, s, m, h, d, w or y, such as 1h30m")]
    Unreadable(String),
    /// Nothing at all.
    #[error("`{0}` is no time at all: the shortest is 1ms")]
    Zero(String),
    /// Above ten years.
    #[error("`{0}` is too long: the longest is 10y")]
    TooLong(String),
}

/// Longest first, so that `ms` is not taken for minutes.
const UNITS: [(&str, i64); 7] = [
    ("ms", 1),
    ("s", 1000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("w", 7 * 86_400_000),
    ("y", 365 * 86_400_000),
];
/// Ten years: more is a mistake.
const MAX_MILLIS: i64 = 10 * 365 * 86_400_000;

impl Span {
    /// So many seconds; above ten years, and below a millisecond, the nearest that is allowed.
    pub fn seconds(seconds: f64) -> Self {
        Self(((seconds * 1000.0).round() as i64).clamp(1, MAX_MILLIS))
    }

    /// In milliseconds.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// In seconds.
    pub fn as_seconds(self) -> f64 {
        self.0 as f64 / 1000.0
    }
}

impl fmt::Display for Span {
    /// As [`Span::from_str`] reads it, in days at most.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.0;
        for name in ["d", "h", "m", "s", "ms"] {
            let factor = UNITS.iter().find(|(unit, _)| *unit == name).map_or(1, |unit| unit.1);
            if left >= factor {
                write!(f, "{}{name}", left / factor)?;
                left %= factor;
            }
        }
        Ok(())
    }
}

impl FromStr for Span {
    type Err = SpanError;

    /// As Prometheus writes them: whole numbers, each with its unit, biggest first.
    fn from_str(text: &str) -> Result<Self, SpanError> {
        let shown = || text.chars().take(60).collect();
        let unreadable = || SpanError::Unreadable(shown());
        let (mut rest, mut millis) = (text.trim(), 0_i64);
        if rest.is_empty() {
            return Err(unreadable());
        }
        while !rest.is_empty() {
            let n_digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (digits, unit) = rest.split_at(n_digits);
            let known = UNITS.iter().find(|(name, _)| n_digits > 0 && unit.starts_with(name));
            let (name, factor) = known.ok_or_else(unreadable)?;
            rest = &unit[name.len()..];
            // More digits than a number holds are too many, whatever the unit.
            let number = digits.parse().unwrap_or(i64::MAX);
            millis = millis.saturating_add(number.saturating_mul(*factor));
        }
        match millis {
            0 => Err(SpanError::Zero(shown())),
            1..=MAX_MILLIS => Ok(Self(millis)),
            _ => Err(SpanError::TooLong(shown())),
        }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_prometheus_writes_them() {
        for (text, millis) in
            [("15s", 15_000), ("1h30m", 5_400_000), ("250ms", 250), ("30d", 2_592_000_000)]
        {
            assert_eq!(text.parse::<Span>().unwrap().millis(), millis, "{text}");
        }
        for text in ["", "0s", "5", "-5s", "1x", "s", "99999999999999999999d", "11y", "1.5h"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_length_is_told() {
        for (text, told) in [
            ("1000y", "`1000y` is too long: the longest is 10y"),
            ("99999999999999999999d", "too long"),
            ("9223372036854775807y1ms", "too long"),
            ("0s", "the shortest is 1ms"),
            ("0d0ms", "the shortest is 1ms"),
            ("1.5h", "is no length of time"),
            ("", "is no length of time"),
            (" ", "is no length of time"),
        ] {
            let message = text.parse::<Span>().unwrap_err().to_string();
            assert!(message.contains(told), "{text} {message}");
        }
    }

    #[test]
    fn a_span_is_shown_as_it_is_written() {
        for text in ["1ms", "15s", "1h30m", "1d", "2d1h", "1m1s250ms"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
    }
}
