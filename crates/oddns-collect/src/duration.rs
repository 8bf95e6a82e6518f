//! Durations as Prometheus writes them: `15s`, `1h30m`, `500ms`, `1d`.

use std::time::Duration;

/// Units from big to small with their milliseconds. A year has 365 days, a day 24 hours.
const UNITS: &[(&str, u64)] = &[
    ("y", 365 * 24 * 3_600_000),
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// The longest duration, as in Prometheus: what fits in 63 bits of nanoseconds, about 292 years.
const MAX_MILLIS: u64 = i64::MAX as u64 / 1_000_000;

/// A text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no duration: write whole numbers with y, w, d, h, m, s or ms, largest first (15s, 1h30m)"
)]
pub struct ParseDurationError(String);

/// Reads a duration of whole numbers with units, the largest first, each at most once; also `0`.
///
/// Fails on everything else: signs, fractions, blanks, numbers without a unit, more than about
/// 292 years.
pub fn parse_duration(text: &str) -> Result<Duration, ParseDurationError> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    parse_millis(text)
        .filter(|millis| *millis <= MAX_MILLIS)
        .map(Duration::from_millis)
        .ok_or_else(|| ParseDurationError(text.chars().take(60).collect()))
}

fn parse_millis(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total = 0_u64;
    let mut units = UNITS;
    while !rest.is_empty() || total == 0 && units.len() == UNITS.len() {
        let (number, after) = split_at_first(rest, |c| !c.is_ascii_digit());
        let (unit, after) = split_at_first(after, |c| c.is_ascii_digit());
        let at = units.iter().position(|(name, _)| *name == unit)?;
        let part = number.parse::<u64>().ok()?.checked_mul(units[at].1)?;
        total = total.checked_add(part)?;
        units = &units[at + 1..];
        rest = after;
    }
    Some(total)
}

fn split_at_first(text: &str, wanted: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(wanted).unwrap_or(text.len()))
}

/// The shortest text that [`parse_duration`] reads back, to the millisecond below; years and weeks
/// only where they are exact (`90d`, not `12w6d`). Zero is `0s`.
pub fn format_duration(duration: Duration) -> String {
    let mut millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (name, unit) in UNITS {
        let is_calendar = matches!(*name, "y" | "w");
        if millis < *unit || (is_calendar && !millis.is_multiple_of(*unit)) {
            continue;
        }
        text.push_str(&format!("{}{name}", millis / unit));
        millis %= unit;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_and_writes_as_prometheus() {
        for (text, millis, canonical) in [
            ("0", 0, "0s"),
            ("0s", 0, "0s"),
            ("324ms", 324, "324ms"),
            ("3s", 3000, "3s"),
            ("90s", 90_000, "1m30s"),
            ("1h30m", 5_400_000, "1h30m"),
            ("4d1h", 349_200_000, "4d1h"),
            ("14d", 14 * 86_400_000, "2w"),
            ("3w", 3 * 7 * 86_400_000, "3w"),
            ("90d", 90 * 86_400_000, "90d"),
            ("10y", 10 * 365 * 86_400_000, "10y"),
        ] {
            let duration = parse_duration(text).unwrap();
            assert_eq!(duration.as_millis(), millis, "{text}");
            assert_eq!(format_duration(duration), canonical);
        }
    }

    #[test]
    fn refuses_what_prometheus_refuses() {
        for text in
            ["", "1", "s", "-1w", "1.5d", "1 s", "1s2m", "1s1s", "ms1", "1S", "+1s", "294y", "1x"]
        {
            assert!(parse_duration(text).is_err(), "{text:?}");
        }
        let error = parse_duration("99999999999999999999y").unwrap_err().to_string();
        assert!(error.contains("`99999999999999999999y`"), "{error}");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(millis in 0..MAX_MILLIS) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn any_text_gets_an_answer(text in ".{0,40}") {
            let _ = parse_duration(&text);
        }
    }
}
