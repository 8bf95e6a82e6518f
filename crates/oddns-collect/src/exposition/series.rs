//! The first part of a sample line: `name`, `name{labels}` or `{"name",labels}`.

use memchr::{memchr2, memrchr};
use oddns_core::{Labels, SeriesKey};

use super::cursor::{Cursor, shown};
use super::{Fault, Format, Limits, Reason};

/// How long the series at the start of `rest` is, if the line is well-formed; without reading it.
///
/// A wrong guess costs a look-up: only bytes that once were read as a whole series are known.
pub(super) fn guess_length(format: Format, rest: &[u8]) -> Option<usize> {
    let bare = || memchr2(b' ', b'\t', rest);
    match format {
        // Neither a value nor a timestamp holds a brace.
        Format::Text => memrchr(b'}', rest).map(|at| at + 1).or_else(bare),
        Format::OpenMetrics => match memchr2(b'{', b' ', rest) {
            Some(open) if rest[open] == b'{' => closing_brace(rest, open + 1),
            bare => bare,
        },
    }
}

/// An exemplar has braces too, so the first closing one outside of quotes is looked for.
fn closing_brace(rest: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += memchr2(b'"', b'}', rest.get(at..)?)?;
        if rest[at] == b'}' {
            return Some(at + 1);
        }
        at += 1;
        loop {
            at += memchr2(b'"', b'\\', rest.get(at..)?)?;
            if rest[at] == b'"' {
                break;
            }
            at += 2;
        }
        at += 1;
    }
}

/// Reads the series at the cursor, which then stands right behind it.
pub(super) fn read(cursor: &mut Cursor<'_>, limits: &Limits) -> Result<SeriesKey, Fault> {
    let start = cursor.at;
    let bare = cursor.metric_name();
    let mut name = match bare {
        [] => None,
        bytes => Some(owned_name(bytes, start, limits)?),
    };
    let name_end = cursor.at;
    cursor.skip_blanks();
    let mut labels = Vec::new();
    if cursor.take(b'{') {
        read_braces(cursor, limits, Some(&mut name), &mut labels)?;
    } else if bare.is_empty() {
        return cursor.fault(Reason::LineStart);
    } else {
        cursor.at = name_end;
        if !matches!(cursor.peek(), None | Some(b' ' | b'\t')) {
            return cursor.fault(Reason::AfterName);
        }
    }
    let name = name.ok_or(Fault { at: start, reason: Reason::MissingName })?;
    Ok(SeriesKey { name, labels: unique(labels, start)? })
}

/// The labels of an exemplar, behind its opening brace; they are checked and dropped.
pub(super) fn check_exemplar_labels(cursor: &mut Cursor<'_>, limits: &Limits) -> Result<(), Fault> {
    let start = cursor.at;
    let mut labels = Vec::new();
    read_braces(cursor, limits, None, &mut labels)?;
    unique(labels, start).map(|_| ())
}

/// Reads up to and with the closing brace. `name` is `None` where no metric name may stand.
fn read_braces(
    cursor: &mut Cursor<'_>,
    limits: &Limits,
    mut name: Option<&mut Option<String>>,
    labels: &mut Vec<(String, String)>,
) -> Result<(), Fault> {
    loop {
        cursor.skip_blanks();
        if cursor.take(b'}') {
            return Ok(());
        }
        let start = cursor.at;
        let (text, quoted) = read_name(cursor, limits)?;
        cursor.skip_blanks();
        if cursor.is_dump
            && text == "__name__"
            && let Some(slot @ None) = name.as_deref_mut()
        {
            *slot = Some(read_value(cursor, limits)?);
            read_separator(cursor)?;
            continue;
        }
        if quoted && matches!(cursor.peek(), Some(b',' | b'}')) {
            match name.as_deref_mut() {
                Some(slot @ None) => *slot = Some(text),
                Some(Some(_)) => return Err(Fault { at: start, reason: Reason::SecondName }),
                None => return cursor.fault(Reason::Equals),
            }
        } else {
            if labels.len() == limits.max_labels {
                return Err(Fault { at: start, reason: Reason::TooManyLabels(limits.max_labels) });
            }
            if text == "__name__" {
                return Err(Fault { at: start, reason: Reason::ReservedName(text) });
            }
            let value = read_value(cursor, limits)?;
            labels.push((text, value));
        }
        read_separator(cursor)?;
    }
}

/// A bare label name or a quoted name of either kind.
fn read_name(cursor: &mut Cursor<'_>, limits: &Limits) -> Result<(String, bool), Fault> {
    let start = cursor.at;
    if cursor.peek() != Some(b'"') {
        return match cursor.label_name() {
            [] => cursor.fault(Reason::LabelName),
            bytes => Ok((owned_name(bytes, start, limits)?, false)),
        };
    }
    let text = cursor.quoted()?;
    if text.is_empty() {
        return Err(Fault { at: start, reason: Reason::ReservedName(String::new()) });
    }
    Ok((owned_name(text.as_bytes(), start, limits)?, true))
}

fn read_value(cursor: &mut Cursor<'_>, limits: &Limits) -> Result<String, Fault> {
    if !cursor.take(b'=') {
        return cursor.fault(Reason::Equals);
    }
    cursor.skip_blanks();
    if cursor.peek() != Some(b'"') {
        return cursor.fault(Reason::OpeningQuote);
    }
    let start = cursor.at;
    let value = cursor.quoted()?;
    if value.len() > limits.max_value_bytes {
        return Err(Fault { at: start, reason: Reason::ValueTooLong(limits.max_value_bytes) });
    }
    Ok(value.into_owned())
}

/// Prometheus takes plain text without commas between labels, so we do; OpenMetrics needs them.
fn read_separator(cursor: &mut Cursor<'_>) -> Result<(), Fault> {
    cursor.skip_blanks();
    let closes = cursor.peek() == Some(b'}');
    if closes || cursor.take(b',') || (cursor.format == Format::Text && cursor.peek().is_some()) {
        return Ok(());
    }
    cursor.fault(Reason::Comma)
}

fn owned_name(bytes: &[u8], start: usize, limits: &Limits) -> Result<String, Fault> {
    if bytes.len() > limits.max_name_bytes {
        return Err(Fault { at: start, reason: Reason::NameTooLong(limits.max_name_bytes) });
    }
    match str::from_utf8(bytes) {
        Ok(name) => Ok(name.to_owned()),
        Err(_) => Err(Fault { at: start, reason: Reason::ReservedName(shown(bytes)) }),
    }
}

/// Sorts the labels; [`Labels::new`] alone would silently keep one of two with the same name.
fn unique(mut pairs: Vec<(String, String)>, start: usize) -> Result<Labels, Fault> {
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    if let Some(twice) = pairs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(Fault {
            at: start,
            reason: Reason::DuplicateLabel(shown(twice[0].0.as_bytes())),
        });
    }
    Ok(Labels::new(pairs))
}
