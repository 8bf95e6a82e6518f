//! The samples of a text one after the other, without a table of series.

use std::borrow::Cow;

use super::cursor::Cursor;
use super::number::{self, Ending};
use super::series::Series;
use super::text::{Line, Text};
use super::{Fault, Format, Limits, ParseError, Reason, foreign, metadata};

/// Reads a text sample by sample and copies nothing of it but what has to be unescaped.
///
/// For one look at a text; a [`crate::Parser`] is faster for one server again and again, and leaves
/// out what stands twice, which is given here as often as it stands.
#[derive(Debug)]
pub struct SampleLines<'a> {
    format: Format,
    limits: Limits,
    whole: &'a [u8],
    text: Text<'a>,
    series: Series<'a>,
    n_samples: usize,
    /// After `# EOF`, or an error.
    is_done: bool,
}

/// One sample as the text writes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampleLine<'a, 'l> {
    /// Name of the metric, such as `coredns_dns_requests_total`.
    pub name: &'l str,
    /// Names and values of the labels in the order of the text, each name once.
    pub labels: &'l [(Cow<'a, str>, Cow<'a, str>)],
    /// Any number, NaN and infinities too.
    pub value: f64,
    /// The sample's own time, in milliseconds since 1970, if it has one. Beyond 64 bits it is the
    /// last that fits.
    pub time_millis: Option<i64>,
    /// Whether an OpenMetrics exemplar stands behind it.
    pub has_exemplar: bool,
}

/// What a sample line says beside its series.
pub(super) struct Read {
    /// Where the series ends in its line.
    pub(super) end: usize,
    pub(super) value: f64,
    pub(super) ending: Ending,
}

/// What a line is.
pub(super) enum Content {
    Sample(Read),
    Comment,
    Blank,
}

impl<'a> SampleLines<'a> {
    /// The samples of `text`, which is [`Format::Text`] or [`Format::OpenMetrics`].
    pub fn new(format: Format, text: &'a [u8], limits: Limits) -> Self {
        Self {
            format,
            limits,
            whole: text,
            text: Text::new(text),
            series: Series::default(),
            n_samples: 0,
            is_done: false,
        }
    }

    /// The next sample; `None` at the end of the text, and always after an error.
    pub fn next_sample(&mut self) -> Result<Option<SampleLine<'a, '_>>, ParseError> {
        loop {
            let n_left = self.text.len();
            let Some((_, content)) = self.next_content()? else { return Ok(None) };
            let Content::Sample(read) = content else { continue };
            if self.n_samples == self.limits.max_samples {
                return Err(self.error(n_left, Reason::TooManySamples(self.n_samples)));
            }
            self.n_samples += 1;
            return Ok(Some(SampleLine {
                name: &self.series.name,
                labels: &self.series.labels,
                value: read.value,
                time_millis: read.ending.time,
                has_exemplar: read.ending.has_exemplar,
            }));
        }
    }

    /// The series of the sample read last.
    pub(super) fn series(&self) -> &Series<'a> {
        &self.series
    }

    /// The text from the next line on, as far as it is UTF-8.
    pub(super) fn rest(&self) -> &'a str {
        self.text.rest()
    }

    /// Goes on behind `n_bytes` of [`SampleLines::rest`], which are whole lines.
    pub(super) fn skip(&mut self, n_bytes: usize) {
        self.text.skip(n_bytes);
    }

    /// Bytes that are not read yet.
    pub(super) fn n_left(&self) -> usize {
        self.text.len()
    }

    /// The next line, from its first byte on, and what it is; `None` at the end of the text.
    pub(super) fn next_content(&mut self) -> Result<Option<(&'a str, Content)>, ParseError> {
        if self.is_done {
            return Ok(None);
        }
        let n_left = self.text.len();
        let rest = self.text.rest();
        let content = match self.text.next_line() {
            None => return self.end(n_left),
            Some(Line::Valid("# EOF")) if self.format == Format::OpenMetrics => {
                return self.end_of_open_metrics();
            }
            Some(Line::Valid(line)) => self.content(line),
            Some(Line::Damaged(line)) => self.damaged(line),
        };
        content.map(|content| Some((rest, content))).map_err(|fault| self.locate(n_left, fault))
    }

    fn content(&mut self, line: &'a str) -> Result<Content, Fault> {
        let mut cursor = Cursor::new(self.format, line);
        cursor.skip_blanks();
        match cursor.peek() {
            None if self.format == Format::Text => Ok(Content::Blank),
            Some(b'#') => metadata::check(&mut cursor).map(|()| Content::Comment),
            _ => {
                self.series.read(&mut cursor, &self.limits)?;
                let end = cursor.at;
                let (value, ending) = value_and_ending(&mut cursor, &self.limits)?;
                Ok(Content::Sample(Read { end, value, ending }))
            }
        }
    }

    fn damaged(&self, line: &[u8]) -> Result<Content, Fault> {
        match str::from_utf8(line) {
            Err(error) if !metadata::is_free_comment(self.format, line) => {
                Err(Fault { at: error.valid_up_to(), reason: Reason::Utf8 })
            }
            _ => Ok(Content::Blank),
        }
    }

    /// The value, and what follows it, of a series that ends `at` bytes after the next line's begin.
    pub(super) fn value_of_known(&mut self, at: usize) -> Result<(f64, Ending), ParseError> {
        let n_left = self.text.len();
        let Some(Line::Valid(line)) = self.text.next_line() else {
            return Err(self.error(n_left, Reason::MissingValue));
        };
        let mut cursor = Cursor::new(self.format, line);
        cursor.at = at;
        value_and_ending(&mut cursor, &self.limits).map_err(|fault| self.locate(n_left, fault))
    }

    fn end<T>(&mut self, n_left: usize) -> Result<Option<T>, ParseError> {
        match self.format {
            Format::OpenMetrics => {
                let mut error = self.error(n_left, Reason::MissingEof);
                // A line of its own, also where the last one has no line feed.
                error.line += usize::from(!matches!(self.whole.last(), None | Some(b'\n')));
                Err(error)
            }
            _ => Ok(None),
        }
    }

    fn end_of_open_metrics<T>(&mut self) -> Result<Option<T>, ParseError> {
        self.is_done = true;
        match self.text.len() {
            0 => Ok(None),
            n_left => Err(self.error(n_left, Reason::AfterEof)),
        }
    }

    /// The error of the whole line that begins `n_left` bytes before the end.
    pub(super) fn error(&mut self, n_left: usize, reason: Reason) -> ParseError {
        self.locate(n_left, Fault { at: 0, reason })
    }

    /// Names the place of a fault in the line that begins `n_left` bytes before the end; what is no
    /// exposition at all is called so.
    #[cold]
    fn locate(&mut self, n_left: usize, fault: Fault) -> ParseError {
        self.is_done = true;
        if let Some(what) = foreign(self.whole) {
            return ParseError { line: 1, column: 1, reason: Reason::NotMetrics(what) };
        }
        let (before, rest) = self.whole.split_at(self.whole.len() - n_left);
        let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let number = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        super::locate(fault, line, number)
    }
}

#[inline]
fn value_and_ending(cursor: &mut Cursor<'_>, limits: &Limits) -> Result<(f64, Ending), Fault> {
    if let Some((value, _)) = number::whole_number_line(cursor.rest().as_bytes()) {
        return Ok((value, Ending::default()));
    }
    let value = number::value_after(cursor)?;
    Ok((value, number::ending(cursor, limits)?))
}
