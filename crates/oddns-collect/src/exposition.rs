//! Prometheus's exposition format: text 0.0.4 with quoted UTF-8 names, and OpenMetrics 1.0 text.
//!
//! The grammar is what Prometheus's own scraper takes (`promlex.l` and `openmetricslex.l` of
//! Prometheus 3), narrower in three places where only a broken server would write it: a line feed
//! inside a label value, a value glued to a bare name (`up+1`), and data after a zero byte.

mod cursor;
mod dump;
mod identity;
mod metadata;
mod number;
mod series;

use std::fmt;

use memchr::memchr;
use oddns_core::{Sample, SeriesId, SeriesTable};

use cursor::Cursor;
pub(crate) use dump::{DumpLine, DumpLines};
use identity::Identities;
pub(crate) use number::parse_float;

/// Which grammar a text follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `text/plain; version=0.0.4` and `version=1.0.0`: blanks are free, comments are free.
    Text,
    /// `application/openmetrics-text; version=1.0.0`: single spaces, exemplars, ends with `# EOF`.
    OpenMetrics,
}

impl Format {
    /// OpenMetrics when the last line is `# EOF`, plain text otherwise.
    pub fn detect(text: &[u8]) -> Self {
        let body = text.strip_suffix(b"\n").unwrap_or(text);
        match body.strip_suffix(b"# EOF") {
            Some(before) if before.is_empty() || before.ends_with(b"\n") => Self::OpenMetrics,
            _ => Self::Text,
        }
    }
}

/// How much one scrape may hold. Going beyond a limit is a [`ParseError`], not a cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Samples in one text. A CoreDNS has a few hundred, one of many zones a few thousand.
    pub max_samples: usize,
    /// Labels of one series, not counting its name.
    pub max_labels: usize,
    /// Bytes of a metric or label name.
    pub max_name_bytes: usize,
    /// Bytes of a label value.
    pub max_value_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_samples: 250_000,
            max_labels: 128,
            max_name_bytes: 1024,
            max_value_bytes: 16 * 1024,
        }
    }
}

/// What one text held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Samples appended, each of another series.
    pub samples: usize,
    /// Lines left out because their series had a line before; the first one counts, as in
    /// Prometheus.
    pub duplicates: usize,
    /// Lines with a timestamp of their own. It is checked and otherwise ignored: a sample has the
    /// time of its scrape.
    pub timestamps: usize,
    /// OpenMetrics exemplars, checked and otherwise ignored.
    pub exemplars: usize,
    /// Lines whose series was known from an earlier text, so that no label was read.
    pub recognised: usize,
}

/// Where a text is no exposition, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {reason}")]
pub struct ParseError {
    /// Line, counted from 1.
    pub line: usize,
    /// Byte in the line, counted from 1.
    pub column: usize,
    /// What is wrong there.
    pub reason: Reason,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// The whole text is something else.
    #[error("looks like {0}, not like metrics: check the address and the path")]
    NotMetrics(&'static str),
    /// Lines end in CR LF, which Prometheus refuses too.
    #[error("a carriage return ends the line: metrics end their lines with a line feed only")]
    CarriageReturn,
    /// A line begins with something else than a name, a brace or a comment.
    #[error("expected a metric name, `{{` or `#`")]
    LineStart,
    /// A character that may not follow a bare metric name.
    #[error("expected a blank or `{{` after the metric name: quote other names as `{{\"name\"}}`")]
    AfterName,
    /// Braces without a metric name before or inside them.
    #[error("no metric name before or inside the braces")]
    MissingName,
    /// A metric name inside the braces although there is one already.
    #[error("a second metric name: a label needs `=\"value\"` after its name")]
    SecondName,
    /// An empty quoted name, or the label `__name__`.
    #[error("`{0}` cannot be a name here")]
    ReservedName(String),
    /// Something else than a label name.
    #[error("expected a label name or `}}`")]
    LabelName,
    /// No `=` after a label name.
    #[error("expected `=` after the label name")]
    Equals,
    /// A label value that does not begin with a quote.
    #[error("expected `\"`: label values are quoted")]
    OpeningQuote,
    /// A quoted text that runs into the end of the line.
    #[error("the quote opened here does not close on this line")]
    ClosingQuote,
    /// OpenMetrics wants a comma between labels.
    #[error("expected `,` or `}}`")]
    Comma,
    /// Bytes that are no UTF-8.
    #[error("not valid UTF-8")]
    Utf8,
    /// A label name twice in one series.
    #[error("label `{0}` stands twice in this series")]
    DuplicateLabel(String),
    /// A series without a value.
    #[error("expected a value after the series")]
    MissingValue,
    /// A value that is no number.
    #[error("`{0}` is no value: expected a number, `NaN`, `+Inf` or `-Inf`")]
    Value(String),
    /// A timestamp that is no number of the right kind.
    #[error("`{0}` is no timestamp: expected milliseconds in plain text, seconds in OpenMetrics")]
    Timestamp(String),
    /// A line of a dump without a time.
    #[error("expected a timestamp after the value: the lines before have one")]
    MissingTimestamp,
    /// Text after the last part of a line.
    #[error("expected the end of the line")]
    LineEnd,
    /// HELP, TYPE or UNIT without a metric name.
    #[error("expected a metric name after HELP, TYPE or UNIT")]
    MetadataName,
    /// A word after TYPE that is no type of the format.
    #[error("`{0}` is no metric type")]
    Type(String),
    /// OpenMetrics wants the unit at the end of the name.
    #[error("unit `{0}` is not the last part of the metric's name")]
    Unit(String),
    /// OpenMetrics knows no other comment.
    #[error("expected `# HELP`, `# TYPE`, `# UNIT` or `# EOF`: OpenMetrics has no other comments")]
    Comment,
    /// OpenMetrics that was cut off.
    #[error("the text does not end with `# EOF`: it was cut short")]
    MissingEof,
    /// Something after `# EOF`.
    #[error("text after `# EOF`")]
    AfterEof,
    /// More samples than [`Limits::max_samples`].
    #[error("more than {0} samples: raise the sample limit if the server really has that many")]
    TooManySamples(usize),
    /// More labels than [`Limits::max_labels`].
    #[error("more than {0} labels in one series")]
    TooManyLabels(usize),
    /// A name longer than [`Limits::max_name_bytes`].
    #[error("a name of more than {0} bytes")]
    NameTooLong(usize),
    /// A label value longer than [`Limits::max_value_bytes`].
    #[error("a label value of more than {0} bytes")]
    ValueTooLong(usize),
}

/// A fault in a line, before the line's number is known; `at` is a byte offset in the line.
struct Fault {
    at: usize,
    reason: Reason,
}

/// Reads the texts of one server one after the other, each faster than the first, because it
/// remembers which bytes mean which series.
#[derive(Default)]
pub struct Parser {
    limits: Limits,
    known: Identities,
    /// Number of the current text, from 1.
    generation: u64,
    /// Per series of the table, the text it was last seen in.
    seen: Vec<u64>,
}

impl fmt::Debug for Parser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parser").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// What a parse fills.
struct Sink<'a> {
    table: &'a mut SeriesTable,
    out: &'a mut Vec<Sample>,
    summary: Summary,
}

impl Parser {
    /// A parser that has seen nothing.
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Appends the samples of `text` to `out`, its format guessed by [`Format::detect`].
    ///
    /// All or nothing: after an error `out` is as before (`table` may have gained series). An
    /// empty text holds no sample and is no error. Series are named as the text names them, with
    /// `le` and `quantile` as they are spelled; only the labels are sorted.
    pub fn parse(
        &mut self,
        text: &[u8],
        table: &mut SeriesTable,
        out: &mut Vec<Sample>,
    ) -> Result<Summary, ParseError> {
        self.parse_as(Format::detect(text), text, table, out)
    }

    /// As [`Parser::parse`] with a format that is known, say from a `Content-Type`.
    pub fn parse_as(
        &mut self,
        format: Format,
        text: &[u8],
        table: &mut SeriesTable,
        out: &mut Vec<Sample>,
    ) -> Result<Summary, ParseError> {
        let n_before = out.len();
        self.generation += 1;
        self.known.begin(self.generation);
        let mut sink = Sink { table, out, summary: Summary::default() };
        match self.lines(format, text, &mut sink) {
            Ok(()) => Ok(sink.summary),
            Err(error) => {
                out.truncate(n_before);
                Err(foreign(text).map_or(error, |what| ParseError {
                    line: 1,
                    column: 1,
                    reason: Reason::NotMetrics(what),
                }))
            }
        }
    }

    fn lines(
        &mut self,
        format: Format,
        text: &[u8],
        sink: &mut Sink<'_>,
    ) -> Result<(), ParseError> {
        let mut rest = text;
        let mut number = 0;
        while !rest.is_empty() {
            let end = memchr(b'\n', rest).unwrap_or(rest.len());
            let line = &rest[..end];
            rest = rest.get(end + 1..).unwrap_or_default();
            number += 1;
            if format == Format::OpenMetrics && line == b"# EOF" {
                return match rest.is_empty() {
                    true => Ok(()),
                    false => {
                        Err(ParseError { line: number + 1, column: 1, reason: Reason::AfterEof })
                    }
                };
            }
            self.line(format, line, sink).map_err(|fault| locate(fault, line, number))?;
        }
        match format {
            Format::Text => Ok(()),
            Format::OpenMetrics => {
                Err(ParseError { line: number + 1, column: 1, reason: Reason::MissingEof })
            }
        }
    }

    fn line(&mut self, format: Format, line: &[u8], sink: &mut Sink<'_>) -> Result<(), Fault> {
        let mut cursor = Cursor::new(format, line);
        cursor.skip_blanks();
        match cursor.peek() {
            None if format == Format::Text => Ok(()),
            Some(b'#') => metadata::check(&mut cursor),
            _ => self.sample(&mut cursor, sink),
        }
    }

    fn sample(&mut self, cursor: &mut Cursor<'_>, sink: &mut Sink<'_>) -> Result<(), Fault> {
        let start = cursor.at;
        let series = self.series(cursor, sink)?;
        let value = number::value_after(cursor)?;
        let ending = number::ending(cursor, &self.limits)?;
        sink.summary.timestamps += usize::from(ending.timestamp);
        sink.summary.exemplars += usize::from(ending.exemplar);
        if !self.first_of_its_series(series) {
            sink.summary.duplicates += 1;
            return Ok(());
        }
        if sink.summary.samples == self.limits.max_samples {
            return Err(Fault {
                at: start,
                reason: Reason::TooManySamples(self.limits.max_samples),
            });
        }
        sink.summary.samples += 1;
        sink.out.push(Sample { series, value });
        Ok(())
    }

    /// The series at the cursor, which moves behind it; by its bytes where they are known.
    fn series(&mut self, cursor: &mut Cursor<'_>, sink: &mut Sink<'_>) -> Result<SeriesId, Fault> {
        let start = cursor.at;
        if let Some(length) = series::guess_length(cursor.format, cursor.rest())
            && let Some(id) = self.known.get(&cursor.rest()[..length], sink.table)
        {
            cursor.at += length;
            sink.summary.recognised += 1;
            return Ok(id);
        }
        let key = series::read(cursor, &self.limits)?;
        let id = sink.table.intern(&key);
        self.known.insert(&cursor.line[start..cursor.at], id, sink.table);
        Ok(id)
    }

    fn first_of_its_series(&mut self, id: SeriesId) -> bool {
        let at = id.0 as usize;
        if at >= self.seen.len() {
            self.seen.resize(at + 1, 0);
        }
        std::mem::replace(&mut self.seen[at], self.generation) != self.generation
    }
}

fn locate(fault: Fault, line: &[u8], number: usize) -> ParseError {
    if line.ends_with(b"\r") {
        return ParseError { line: number, column: line.len(), reason: Reason::CarriageReturn };
    }
    ParseError { line: number, column: fault.at + 1, reason: fault.reason }
}

/// What else a text that is no exposition may be, for the commonest mistakes.
fn foreign(text: &[u8]) -> Option<&'static str> {
    let start = text.trim_ascii_start();
    match start {
        [b'<', ..] => Some("an HTML page"),
        [0x1f, 0x8b, ..] => Some("a gzip file"),
        [b'P', b'A', b'R', b'1', ..] => Some("a Parquet file"),
        [0xef, 0xbb, 0xbf, ..] => Some("a text with a byte order mark"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("a UTF-16 text"),
        [b'[', ..] => Some("JSON"),
        [b'{', rest @ ..] if looks_like_object(rest) => Some("JSON"),
        _ => None,
    }
}

/// True when `text` begins as a JSON object and not as a metric in braces.
pub(crate) fn looks_like_json(text: &[u8]) -> bool {
    foreign(text) == Some("JSON")
}

/// True for `"key":` or a line break after the brace; `{"name"} 1` is a metric.
fn looks_like_object(rest: &[u8]) -> bool {
    let Some(after) = rest.trim_ascii_start().strip_prefix(b"\"") else {
        return rest.first().is_some_and(|byte| matches!(byte, b'\n' | b'\r'));
    };
    memchr(b'"', after).is_some_and(|end| after[end + 1..].trim_ascii_start().starts_with(b":"))
}

#[cfg(test)]
mod tests;
