//! Lengths of time as people write them in a scenario: `15s`, `1h30m`, `30d`.

use serde::{Deserialize, Deserializer};

/// A length of time in whole milliseconds, above zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(i64);

/// A text that is no length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no length of time: write numbers with ms, s, m, h, d, w or y, such as 1h30m")]
pub struct SpanError(String);

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

impl std::str::FromStr for Span {
    type Err = SpanError;

    /// As Prometheus writes them: whole numbers, each with its unit, biggest first.
    fn from_str(text: &str) -> Result<Self, SpanError> {
        let error = || SpanError(text.chars().take(60).collect());
        let (mut rest, mut millis) = (text.trim(), 0_i64);
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let number: i64 = rest[..digits].parse().map_err(|_| error())?;
            rest = &rest[digits..];
            let unit = UNITS.iter().find(|(unit, _)| rest.starts_with(unit)).ok_or_else(error)?;
            rest = &rest[unit.0.len()..];
            let part = number.checked_mul(unit.1).ok_or_else(error)?;
            millis = millis.checked_add(part).ok_or_else(error)?;
        }
        if (1..=MAX_MILLIS).contains(&millis) { Ok(Self(millis)) } else { Err(error()) }
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
}
