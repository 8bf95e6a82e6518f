//! What follows a series: its value, its timestamp, its exemplar.

use super::cursor::{Cursor, shown};
use super::series::check_exemplar_labels;
use super::{Fault, Format, Limits, Reason};

/// What stood behind a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Ending {
    pub(super) timestamp: bool,
    pub(super) exemplar: bool,
}

/// The value at the cursor, with the separator before it.
pub(super) fn value_after(cursor: &mut Cursor<'_>) -> Result<f64, Fault> {
    let separated = cursor.take_gap();
    // Plain text needs no blank behind the brace: `up{}1` is right.
    if !separated && cursor.format == Format::OpenMetrics {
        return cursor.fault(Reason::MissingValue);
    }
    let start = cursor.at;
    let word = cursor.word();
    if word.is_empty() {
        return cursor.fault(Reason::MissingValue);
    }
    parse_float(word).ok_or_else(|| Fault { at: start, reason: Reason::Value(shown(word)) })
}

/// The rest of the line behind the value.
pub(super) fn ending(cursor: &mut Cursor<'_>, limits: &Limits) -> Result<Ending, Fault> {
    match cursor.format {
        Format::Text => plain_ending(cursor),
        Format::OpenMetrics => open_metrics_ending(cursor, limits),
    }
}

fn plain_ending(cursor: &mut Cursor<'_>) -> Result<Ending, Fault> {
    cursor.skip_blanks();
    if cursor.peek().is_none() {
        return Ok(Ending::default());
    }
    let start = cursor.at;
    let word = cursor.word();
    if word.starts_with(b"#") {
        return Err(Fault { at: start, reason: Reason::LineEnd });
    }
    if !is_integer(word) {
        return Err(Fault { at: start, reason: Reason::Timestamp(shown(word)) });
    }
    cursor.skip_blanks();
    match cursor.peek() {
        None => Ok(Ending { timestamp: true, exemplar: false }),
        Some(_) => cursor.fault(Reason::LineEnd),
    }
}

fn open_metrics_ending(cursor: &mut Cursor<'_>, limits: &Limits) -> Result<Ending, Fault> {
    let mut found = Ending::default();
    if cursor.peek().is_some() && !cursor.rest().starts_with(b" # {") {
        check_seconds(cursor)?;
        found.timestamp = true;
    }
    if cursor.rest().starts_with(b" # {") {
        cursor.at += 4;
        check_exemplar_labels(cursor, limits)?;
        value_after(cursor)?;
        if cursor.peek().is_some() {
            check_seconds(cursor)?;
        }
        found.exemplar = true;
    }
    match cursor.peek() {
        None => Ok(found),
        Some(_) => cursor.fault(Reason::LineEnd),
    }
}

fn check_seconds(cursor: &mut Cursor<'_>) -> Result<(), Fault> {
    if !cursor.take_gap() {
        return cursor.fault(Reason::LineEnd);
    }
    let start = cursor.at;
    let word = cursor.word();
    match parse_float(word) {
        Some(seconds) if seconds.is_finite() => Ok(()),
        _ => Err(Fault { at: start, reason: Reason::Timestamp(shown(word)) }),
    }
}

fn is_integer(word: &[u8]) -> bool {
    str::from_utf8(word).is_ok_and(|text| !text.starts_with('+') && text.parse::<i64>().is_ok())
}

/// A number as Go's `strconv.ParseFloat` reads it, without hexadecimals and underscores (which
/// Prometheus excludes): `nan` has no sign, any case will do, and what overflows is no number.
pub(crate) fn parse_float(word: &[u8]) -> Option<f64> {
    let value = fast_float2::parse::<f64, _>(word).ok()?;
    if value.is_finite() {
        return Some(value);
    }
    let unsigned = word.strip_prefix(b"-").or(word.strip_prefix(b"+")).unwrap_or(word);
    match unsigned.first().map(u8::to_ascii_lowercase) {
        Some(b'i') => Some(value),
        Some(b'n') if unsigned.len() == word.len() => Some(f64::NAN),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_reads() {
        for (text, value) in [
            ("1", 1.0),
            ("+1", 1.0),
            ("-1.5e3", -1500.0),
            (".5", 0.5),
            ("1.", 1.0),
            ("0.1", 0.1),
            ("1e-400", 0.0),
            ("2e+06", 2e6),
            ("Inf", f64::INFINITY),
            ("+inf", f64::INFINITY),
            ("-INFINITY", f64::NEG_INFINITY),
        ] {
            assert_eq!(parse_float(text.as_bytes()), Some(value), "{text}");
        }
        for text in ["NaN", "nan", "NAN"] {
            assert!(parse_float(text.as_bytes()).is_some_and(f64::is_nan), "{text}");
        }
    }

    #[test]
    fn refuses_what_go_refuses() {
        for text in [
            "", ".", "e5", "1e", "+", "-", "+NaN", "-nan", "1e400", "-1e400", "0x1p-2", "0x10",
            "1_000", "1,5", "infin", "nano", "1 ", "1\r", "--1", "1e5.5",
        ] {
            assert_eq!(parse_float(text.as_bytes()), None, "{text:?}");
        }
    }
}
