//! Lines that begin with `#`. Nothing is kept of them; they are checked as Prometheus does.

use super::cursor::{Cursor, shown};
use super::{Fault, Format, Reason};

/// Types of plain text, as in Prometheus's `promparse.go`.
const TEXT_TYPES: &[&[u8]] = &[b"counter", b"gauge", b"histogram", b"summary", b"untyped"];

/// Types of OpenMetrics, as in Prometheus's `openmetricsparse.go`.
const OPEN_METRICS_TYPES: &[&[u8]] = &[
    b"counter",
    b"gauge",
    b"histogram",
    b"gaugehistogram",
    b"summary",
    b"info",
    b"stateset",
    b"unknown",
];

/// Checks the comment at the cursor, which stands on its `#`.
pub(super) fn check(cursor: &mut Cursor<'_>) -> Result<(), Fault> {
    let start = cursor.at;
    cursor.at += 1;
    let is_spaced = cursor.take_gap();
    let keyword = cursor.word();
    let is_metadata = is_spaced && cursor.take_gap();
    match (keyword, cursor.format) {
        (b"HELP", _) if is_metadata => check_help(cursor),
        (b"TYPE", _) if is_metadata => check_type(cursor),
        (b"UNIT", Format::OpenMetrics) if is_metadata => check_unit(cursor),
        (_, Format::Text) => Ok(()),
        (_, Format::OpenMetrics) => Err(Fault { at: start, reason: Reason::Comment }),
    }
}

fn check_help(cursor: &mut Cursor<'_>) -> Result<(), Fault> {
    check_name(cursor)?;
    match str::from_utf8(cursor.rest()) {
        Ok(_) => Ok(()),
        Err(error) => Err(Fault { at: cursor.at + error.valid_up_to(), reason: Reason::Utf8 }),
    }
}

fn check_type(cursor: &mut Cursor<'_>) -> Result<(), Fault> {
    check_name(cursor)?;
    cursor.take_gap();
    let (kind, types) = match cursor.format {
        Format::Text => (cursor.rest().trim_ascii_end(), TEXT_TYPES),
        Format::OpenMetrics => (cursor.rest(), OPEN_METRICS_TYPES),
    };
    // `trim_ascii_end` takes a carriage return too, which is a fault of its own.
    if types.contains(&kind) && !cursor.line.ends_with(b"\r") {
        return Ok(());
    }
    cursor.fault(Reason::Type(shown(kind)))
}

fn check_unit(cursor: &mut Cursor<'_>) -> Result<(), Fault> {
    let name = check_name(cursor)?;
    cursor.take_gap();
    let unit = cursor.rest();
    let fits = match name.strip_suffix(unit) {
        Some(before) => unit.is_empty() || before.ends_with(b"_"),
        None => false,
    };
    if fits { Ok(()) } else { cursor.fault(Reason::Unit(shown(unit))) }
}

fn check_name<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], Fault> {
    let start = cursor.at;
    if cursor.peek() == Some(b'"') {
        cursor.quoted()?;
        return Ok(&cursor.line[start + 1..cursor.at - 1]);
    }
    match cursor.metric_name() {
        [] => cursor.fault(Reason::MetadataName),
        name => Ok(name),
    }
}
