//! The first part of a sample line: `name`, `name{labels}` or `{"name",labels}`.

use std::borrow::Cow;

use memchr::{memchr2, memrchr};
use oddns_core::{Labels, SeriesKey};

use super::cursor::{Cursor, shown};
use super::{Fault, Format, Limits, Reason};

/// A label's name and value: slices of the text, but for what had to be unescaped.
pub(super) type LabelPair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// How long the series at the start of `rest`, a line of a dump, is, if the line is well-formed;
/// without reading it.
pub(super) fn guess_length(rest: &[u8]) -> Option<usize> {
    // Neither a value nor a timestamp holds a brace.
    memrchr(b'}', rest).map(|at| at + 1).or_else(|| memchr2(b' ', b'\t', rest))
}

/// Reads the series at the cursor, which then stands right behind it: returns its name and fills
/// `labels`, sorted by name.
#[inline]
pub(super) fn read<'a>(
    cursor: &mut Cursor<'a>,
    limits: &Limits,
    labels: &mut Vec<LabelPair<'a>>,
) -> Result<Cow<'a, str>, Fault> {
    labels.clear();
    let start = cursor.at;
    let bare = cursor.metric_name();
    check_length(bare, start, limits)?;
    let name_end = cursor.at;
    cursor.skip_blanks();
    let name = if cursor.take(b'{') {
        let name = (!bare.is_empty()).then_some(Cow::Borrowed(bare));
        let mut braces = Braces { cursor, limits, has_name: true, name, labels };
        braces.read()?;
        braces.name.ok_or(Fault { at: start, reason: Reason::MissingName })?
    } else if bare.is_empty() {
        return cursor.fault(Reason::LineStart);
    } else {
        cursor.at = name_end;
        if !matches!(cursor.peek(), None | Some(b' ' | b'\t')) {
            return cursor.fault(Reason::AfterName);
        }
        Cow::Borrowed(bare)
    };
    sort(labels, start)?;
    Ok(name)
}

/// As [`read`], as a key of its own.
pub(super) fn read_key(cursor: &mut Cursor<'_>, limits: &Limits) -> Result<SeriesKey, Fault> {
    let mut labels = Vec::new();
    let name = read(cursor, limits, &mut labels)?.into_owned();
    let owned = labels.into_iter().map(|(name, value)| (name.into_owned(), value.into_owned()));
    Ok(SeriesKey { name, labels: Labels::new(owned.collect()) })
}

/// The labels of an exemplar, behind its opening brace; they are checked and dropped.
pub(super) fn check_exemplar_labels(cursor: &mut Cursor<'_>, limits: &Limits) -> Result<(), Fault> {
    let start = cursor.at;
    let mut labels = Vec::new();
    Braces { cursor, limits, has_name: false, name: None, labels: &mut labels }.read()?;
    sort(&mut labels, start)
}

/// What stands between braces.
struct Braces<'c, 'a> {
    cursor: &'c mut Cursor<'a>,
    limits: &'c Limits,
    /// Whether a metric name may stand there; an exemplar has none.
    has_name: bool,
    name: Option<Cow<'a, str>>,
    labels: &'c mut Vec<LabelPair<'a>>,
}

impl<'a> Braces<'_, 'a> {
    /// Reads up to and with the closing brace.
    #[inline]
    fn read(&mut self) -> Result<(), Fault> {
        loop {
            self.cursor.skip_blanks();
            if self.cursor.take(b'}') {
                return Ok(());
            }
            let start = self.cursor.at;
            match self.cursor.plain_label() {
                Some((label, value)) => {
                    check_length(label, start, self.limits)?;
                    let value_start = start + label.len() + 1;
                    self.add(Cow::Borrowed(label), start, Cow::Borrowed(value), value_start)?;
                }
                None => self.read_label()?,
            }
            read_separator(self.cursor)?;
        }
    }

    /// Reads a label, or the metric name in quotes.
    fn read_label(&mut self) -> Result<(), Fault> {
        let start = self.cursor.at;
        let (text, quoted) = read_name(self.cursor, self.limits)?;
        self.cursor.skip_blanks();
        if quoted && matches!(self.cursor.peek(), Some(b',' | b'}')) {
            return self.set_name(text, start);
        }
        if !self.cursor.take(b'=') {
            return self.cursor.fault(Reason::Equals);
        }
        self.cursor.skip_blanks();
        if self.cursor.peek() != Some(b'"') {
            return self.cursor.fault(Reason::OpeningQuote);
        }
        let value_start = self.cursor.at;
        let value = self.cursor.quoted()?;
        self.add(text, start, value, value_start)
    }

    fn set_name(&mut self, name: Cow<'a, str>, start: usize) -> Result<(), Fault> {
        if !self.has_name {
            return self.cursor.fault(Reason::Equals);
        }
        match self.name.replace(name) {
            None => Ok(()),
            Some(_) => Err(Fault { at: start, reason: Reason::SecondName }),
        }
    }

    #[inline]
    fn add(
        &mut self,
        label: Cow<'a, str>,
        start: usize,
        value: Cow<'a, str>,
        value_start: usize,
    ) -> Result<(), Fault> {
        check_value_length(&value, value_start, self.limits)?;
        if label == "__name__" {
            return self.add_name(label, start, value);
        }
        if self.labels.len() == self.limits.max_labels {
            let reason = Reason::TooManyLabels(self.limits.max_labels);
            return Err(Fault { at: start, reason });
        }
        self.labels.push((label, value));
        Ok(())
    }

    /// The label `__name__`, which only dumps have.
    fn add_name(
        &mut self,
        label: Cow<'a, str>,
        start: usize,
        value: Cow<'a, str>,
    ) -> Result<(), Fault> {
        if self.cursor.is_dump && self.has_name && self.name.is_none() {
            self.name = Some(value);
            return Ok(());
        }
        Err(Fault { at: start, reason: Reason::ReservedName(label.into_owned()) })
    }
}

/// A bare label name or a quoted name of either kind.
fn read_name<'a>(cursor: &mut Cursor<'a>, limits: &Limits) -> Result<(Cow<'a, str>, bool), Fault> {
    let start = cursor.at;
    let quoted = cursor.peek() == Some(b'"');
    let name = if quoted { cursor.quoted()? } else { Cow::Borrowed(cursor.label_name()) };
    if name.is_empty() {
        let reason = match quoted {
            true => Reason::ReservedName(String::new()),
            false => Reason::LabelName,
        };
        return Err(Fault { at: start, reason });
    }
    check_length(&name, start, limits)?;
    Ok((name, quoted))
}

/// Prometheus takes plain text without commas between labels, so we do; OpenMetrics needs them.
#[inline]
fn read_separator(cursor: &mut Cursor<'_>) -> Result<(), Fault> {
    cursor.skip_blanks();
    let closes = cursor.peek() == Some(b'}');
    if closes || cursor.take(b',') || (cursor.format == Format::Text && cursor.peek().is_some()) {
        return Ok(());
    }
    cursor.fault(Reason::Comma)
}

#[inline]
pub(super) fn check_length(name: &str, start: usize, limits: &Limits) -> Result<(), Fault> {
    if name.len() > limits.max_name_bytes {
        return Err(Fault { at: start, reason: Reason::NameTooLong(limits.max_name_bytes) });
    }
    Ok(())
}

#[inline]
pub(super) fn check_value_length(value: &str, start: usize, limits: &Limits) -> Result<(), Fault> {
    if value.len() > limits.max_value_bytes {
        return Err(Fault { at: start, reason: Reason::ValueTooLong(limits.max_value_bytes) });
    }
    Ok(())
}

/// Sorts the labels, which servers write sorted, and refuses one name twice.
#[inline]
pub(super) fn sort(labels: &mut [LabelPair<'_>], start: usize) -> Result<(), Fault> {
    if labels.windows(2).all(|pair| is_before(&pair[0].0, &pair[1].0)) {
        return Ok(());
    }
    labels.sort_by(|a, b| a.0.cmp(&b.0));
    match labels.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some(twice) => Err(Fault { at: start, reason: Reason::DuplicateLabel(shown(&twice[0].0)) }),
        None => Ok(()),
    }
}

/// `a < b`, mostly told by the first bytes.
#[inline]
fn is_before(a: &str, b: &str) -> bool {
    match (a.as_bytes().first(), b.as_bytes().first()) {
        (Some(a), Some(b)) if a != b => a < b,
        _ => a < b,
    }
}
