//! Lines that begin with `#`. Nothing is kept of them; they are checked as Prometheus does.

use super::cursor::{Cursor, shown};
use super::{Fault, Format, Reason};

/// Types of plain text, as in Prometheus's `promparse.go`.
const TEXT_TYPES: &[&str] = &["counter", "gauge", "histogram", "summary", "untyped"];

/// Types of OpenMetrics, as in Prometheus's `openmetricsparse.go`.
const OPEN_METRICS_TYPES: &[&str] =
    &["counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset", "unknown"];

/// Whether a line that is not UTF-8 may stand in a text because it is a comment that nobody reads.
pub(super) fn is_free_comment(format: Format, line: &[u8]) -> bool {
    let n_valid = str::from_utf8(line).map_or_else(|error| error.valid_up_to(), str::len);
    let valid = str::from_utf8(&line[..n_valid]).unwrap_or_default();
    let mut cursor = Cursor::new(format, valid);
    cursor.skip_blanks();
    if format != Format::Text || !cursor.take(b'#') {
        return false;
    }
    let is_spaced = cursor.take_gap();
    !is_spaced || !["HELP", "TYPE"].contains(&cursor.word())
}

/// Checks the comment at the cursor, which stands on its `#`.
pub(super) fn check(cursor: &mut Cursor<'_>) -> Result<(), Fault> {
    let start = cursor.at;
    cursor.at += 1;
    let is_spaced = cursor.take_gap();
    let keyword = cursor.word();
    let is_metadata = is_spaced && cursor.take_gap();
    match (keyword, cursor.format) {
        ("HELP", _) if is_metadata => check_help(cursor),
        ("TYPE", _) if is_metadata => check_type(cursor),
        ("UNIT", Format::OpenMetrics) if is_metadata => check_unit(cursor),
        (_, Format::Text) => Ok(()),
        (_, Format::OpenMetrics) => Err(Fault { at: start, reason: Reason::Comment }),
    }
}

fn check_help(cursor: &mut Cursor<'_>) -> Result<(), Fault> {
    check_name(cursor)?;
    take_text_gap(cursor)
}

fn check_type(cursor: &mut Cursor<'_>) -> Result<(), Fault> {
    check_name(cursor)?;
    take_text_gap(cursor)?;
    let (kind, types) = match cursor.format {
        Format::Text => (cursor.rest().trim_ascii_end(), TEXT_TYPES),
        Format::OpenMetrics => (cursor.rest(), OPEN_METRICS_TYPES),
    };
    // `trim_ascii_end` takes a carriage return too, which is a fault of its own.
    if types.contains(&kind) && !cursor.line.ends_with('\r') {
        return Ok(());
    }
    cursor.fault(Reason::Type(shown(kind)))
}

fn check_unit(cursor: &mut Cursor<'_>) -> Result<(), Fault> {
    let name = check_name(cursor)?;
    take_text_gap(cursor)?;
    let unit = cursor.rest();
    let fits = match name.strip_suffix(unit) {
        Some(before) => unit.is_empty() || before.ends_with('_'),
        None => false,
    };
    if fits { Ok(()) } else { cursor.fault(Reason::Unit(shown(unit))) }
}

/// What separates the name from the text behind it: one space in OpenMetrics. Plain text takes any
/// byte for it, and none.
fn take_text_gap(cursor: &mut Cursor<'_>) -> Result<(), Fault> {
    match (cursor.take_gap(), cursor.format) {
        (false, Format::OpenMetrics) => cursor.fault(Reason::MetadataText),
        _ => Ok(()),
    }
}

fn check_name<'a>(cursor: &mut Cursor<'a>) -> Result<&'a str, Fault> {
    let start = cursor.at;
    if cursor.peek() == Some(b'"') {
        cursor.quoted()?;
        return Ok(cursor.line.get(start + 1..cursor.at - 1).unwrap_or_default());
    }
    match cursor.metric_name() {
        "" => cursor.fault(Reason::MetadataName),
        name => Ok(name),
    }
}
