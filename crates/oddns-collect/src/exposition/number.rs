//! What follows a series: its value, its timestamp, its exemplar.

use super::cursor::{Cursor, shown};
use super::series::check_exemplar_labels;
use super::{Fault, Format, Limits, Reason};

/// What stood behind a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Ending {
    /// In milliseconds since 1970.
    pub(super) time: Option<i64>,
    pub(super) has_exemplar: bool,
}

/// Longer numbers may not fit 64 bits.
const MAX_DIGITS: usize = 18;

/// The value of a line that ends in a single blank and a whole number, which most lines do: `rest`
/// begins with the blank. Also the bytes up to and with the line feed, be there one or not; `None`
/// for other lines.
#[inline]
pub(super) fn whole_number_line(rest: &[u8]) -> Option<(f64, usize)> {
    let (b' ', digits) = rest.split_first()? else { return None };
    let mut value = 0_u64;
    let mut n = 0;
    while let Some(digit) = digits.get(n).map(|byte| byte.wrapping_sub(b'0'))
        && digit <= 9
    {
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        n += 1;
    }
    let is_line = (1..=MAX_DIGITS).contains(&n) && matches!(digits.get(n), None | Some(b'\n'));
    is_line.then_some((value as f64, n + 2))
}

/// The value at the cursor, with the separator before it.
#[inline]
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
    parse_float(word.as_bytes())
        .ok_or_else(|| Fault { at: start, reason: Reason::Value(shown(word)) })
}

/// The rest of the line behind the value.
#[inline]
pub(super) fn ending(cursor: &mut Cursor<'_>, limits: &Limits) -> Result<Ending, Fault> {
    match (cursor.peek(), cursor.format) {
        (None, _) => Ok(Ending::default()),
        (Some(_), Format::Text) => plain_ending(cursor),
        (Some(_), Format::OpenMetrics) => open_metrics_ending(cursor, limits),
    }
}

fn plain_ending(cursor: &mut Cursor<'_>) -> Result<Ending, Fault> {
    cursor.skip_blanks();
    if cursor.peek().is_none() {
        return Ok(Ending::default());
    }
    let start = cursor.at;
    let word = cursor.word();
    if word.starts_with('#') {
        return Err(Fault { at: start, reason: Reason::LineEnd });
    }
    let Some(time) = millis(word) else {
        return Err(Fault { at: start, reason: Reason::Timestamp(shown(word)) });
    };
    cursor.skip_blanks();
    match cursor.peek() {
        None => Ok(Ending { time: Some(time), has_exemplar: false }),
        Some(_) => cursor.fault(Reason::LineEnd),
    }
}

fn open_metrics_ending(cursor: &mut Cursor<'_>, limits: &Limits) -> Result<Ending, Fault> {
    let mut found = Ending::default();
    if !cursor.rest().starts_with(" # {") {
        found.time = Some(seconds(cursor)?);
    }
    if cursor.rest().starts_with(" # {") {
        cursor.at += 4;
        check_exemplar_labels(cursor, limits)?;
        value_after(cursor)?;
        if cursor.peek().is_some() {
            seconds(cursor)?;
        }
        found.has_exemplar = true;
    }
    match cursor.peek() {
        None => Ok(found),
        Some(_) => cursor.fault(Reason::LineEnd),
    }
}

/// A time in seconds, with the separator before it, as milliseconds, cut off as Prometheus does.
fn seconds(cursor: &mut Cursor<'_>) -> Result<i64, Fault> {
    if !cursor.take_gap() {
        return cursor.fault(Reason::LineEnd);
    }
    let start = cursor.at;
    let word = cursor.word();
    match parse_float(word.as_bytes()) {
        Some(seconds) if seconds.is_finite() => Ok((seconds * 1000.0) as i64),
        _ => Err(Fault { at: start, reason: Reason::Timestamp(shown(word)) }),
    }
}

fn millis(word: &str) -> Option<i64> {
    word.parse().ok().filter(|_| !word.starts_with('+'))
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
    fn whole_numbers_are_read_at_once() {
        for (line, expected) in [
            (" 7\nx", Some((7.0, 3))),
            (" 0\n", Some((0.0, 3))),
            (" 999999999999999999\n", Some((999999999999999999_u64 as f64, 20))),
            (" 1234567890123456789\n", None),
            (" 7", Some((7.0, 3))),
            (" 7 \n", None),
            (" -7\n", None),
            (" 7.5\n", None),
            ("  7\n", None),
            (" \n", None),
            ("", None),
        ] {
            assert_eq!(whole_number_line(line.as_bytes()), expected, "{line:?}");
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
