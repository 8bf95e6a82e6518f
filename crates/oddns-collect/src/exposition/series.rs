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

/// The series of a line, and what is needed to read that of the next one faster.
///
/// Lines of one family begin alike: a histogram's differ in their last label only. What the line
/// shares with the one before is not read again, for it can mean nothing else.
#[derive(Debug, Default)]
pub(super) struct Series<'a> {
    pub(super) name: Cow<'a, str>,
    /// In the order of the line, each name once.
    pub(super) labels: Vec<LabelPair<'a>>,
    /// Where in its line each label ends.
    ends: Vec<usize>,
    /// The line it was read from.
    line: &'a str,
    /// Whether the name stands before the braces, so that all labels are behind it.
    is_reusable: bool,
}

impl<'a> Series<'a> {
    /// Reads the series at the cursor, which then stands right behind it.
    #[inline]
    pub(super) fn read(&mut self, cursor: &mut Cursor<'a>, limits: &Limits) -> Result<(), Fault> {
        let start = cursor.at;
        if self.reuse(cursor) {
            return self.read_braces(cursor, limits, start);
        }
        self.is_reusable = false;
        self.labels.clear();
        self.ends.clear();
        let bare = cursor.metric_name();
        check_length(bare, start, limits)?;
        self.name = Cow::Borrowed(bare);
        let name_end = cursor.at;
        cursor.skip_blanks();
        if cursor.take(b'{') {
            return self.read_braces(cursor, limits, start);
        }
        cursor.at = name_end;
        match (bare, cursor.peek()) {
            ("", _) => cursor.fault(Reason::LineStart),
            (_, None | Some(b' ' | b'\t')) => Ok(()),
            _ => cursor.fault(Reason::AfterName),
        }
    }

    /// Keeps the name, and the labels that the line has in common with the one before, and moves the
    /// cursor behind them.
    #[inline]
    fn reuse(&mut self, cursor: &mut Cursor<'a>) -> bool {
        if !self.is_reusable {
            return false;
        }
        let n_common = common_length(self.line.as_bytes(), cursor.bytes());
        // A label that ends where the lines part could go on there.
        let n_labels = self.ends.iter().take_while(|end| **end < n_common).count();
        let Some(last) = n_labels.checked_sub(1) else { return false };
        self.labels.truncate(n_labels);
        self.ends.truncate(n_labels);
        cursor.at = self.ends[last];
        true
    }

    /// Reads up to and with the closing brace, from behind the opening one or behind a label.
    #[inline]
    fn read_braces(
        &mut self,
        cursor: &mut Cursor<'a>,
        limits: &Limits,
        start: usize,
    ) -> Result<(), Fault> {
        let has_bare_name = !self.name.is_empty();
        let goes_on = !self.ends.is_empty();
        self.is_reusable = false;
        Braces { series: self, cursor, limits, takes_name: true }.read(goes_on)?;
        if self.name.is_empty() {
            return Err(Fault { at: start, reason: Reason::MissingName });
        }
        self.line = cursor.line;
        self.is_reusable = has_bare_name;
        Ok(())
    }
}

/// As [`Series::read`], as a key of its own.
pub(super) fn read_key(cursor: &mut Cursor<'_>, limits: &Limits) -> Result<SeriesKey, Fault> {
    let mut series = Series::default();
    series.read(cursor, limits)?;
    let owned = |(name, value): LabelPair<'_>| (name.into_owned(), value.into_owned());
    let labels = Labels::new(series.labels.into_iter().map(owned).collect());
    Ok(SeriesKey { name: series.name.into_owned(), labels })
}

/// The labels of an exemplar, behind its opening brace; they are checked and dropped.
pub(super) fn check_exemplar_labels(cursor: &mut Cursor<'_>, limits: &Limits) -> Result<(), Fault> {
    Braces { series: &mut Series::default(), cursor, limits, takes_name: false }.read(false)
}

/// What stands between braces.
struct Braces<'c, 'a> {
    series: &'c mut Series<'a>,
    cursor: &'c mut Cursor<'a>,
    limits: &'c Limits,
    /// Whether a metric name may stand there; an exemplar has none.
    takes_name: bool,
}

impl<'a> Braces<'_, 'a> {
    /// Reads up to and with the closing brace; `goes_on` behind a label.
    #[inline]
    fn read(&mut self, goes_on: bool) -> Result<(), Fault> {
        if goes_on {
            read_separator(self.cursor)?;
        }
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
        if !self.takes_name {
            return self.cursor.fault(Reason::Equals);
        }
        if !self.series.name.is_empty() {
            return Err(Fault { at: start, reason: Reason::SecondName });
        }
        self.series.name = name;
        Ok(())
    }

    /// Takes the label that the cursor stands behind.
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
        if self.series.labels.len() == self.limits.max_labels {
            let reason = Reason::TooManyLabels(self.limits.max_labels);
            return Err(Fault { at: start, reason });
        }
        if self.series.labels.iter().any(|(known, _)| *known == label) {
            return Err(Fault { at: start, reason: Reason::DuplicateLabel(shown(&label)) });
        }
        self.series.labels.push((label, value));
        self.series.ends.push(self.cursor.at);
        Ok(())
    }

    /// The label `__name__`, which only dumps have.
    fn add_name(
        &mut self,
        label: Cow<'a, str>,
        start: usize,
        value: Cow<'a, str>,
    ) -> Result<(), Fault> {
        if self.cursor.is_dump && self.takes_name && self.series.name.is_empty() {
            self.series.name = value;
            return Ok(());
        }
        Err(Fault { at: start, reason: Reason::ReservedName(label.into_owned()) })
    }
}

/// How many bytes two lines begin with in common, eight compared at once.
#[inline]
fn common_length(a: &[u8], b: &[u8]) -> usize {
    let (a_words, b_words) = (a.as_chunks::<8>().0, b.as_chunks::<8>().0);
    for (at, (x, y)) in a_words.iter().zip(b_words).enumerate() {
        let differing = u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
        if differing != 0 {
            return 8 * at + (differing.trailing_zeros() / 8) as usize;
        }
    }
    // What is common in the last few bytes is only read once more.
    8 * a_words.len().min(b_words.len())
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

/// Calls `take` with the labels as [`Labels`] has them: sorted by name, as most servers write them, and
/// without those that have no value.
pub(super) fn with_canonical<R>(
    labels: &[LabelPair<'_>],
    take: impl FnOnce(&[LabelPair<'_>]) -> R,
) -> R {
    let has_value = |label: &&LabelPair<'_>| !label.1.is_empty();
    if labels.is_sorted_by(|a, b| a.0 < b.0) && labels.iter().all(|label| has_value(&label)) {
        return take(labels);
    }
    let mut sorted: Vec<LabelPair<'_>> = labels.iter().filter(has_value).cloned().collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    take(&sorted)
}
