//! Prometheus's exposition formats: text 0.0.4 with quoted UTF-8 names, OpenMetrics 1.0 text, and
//! protobuf.
//!
//! The grammar is what Prometheus's own scraper takes (`promlex.l` and `openmetricslex.l` of
//! Prometheus 3), narrower in three places where only a broken server would write it: a line feed
//! inside a label value, a value glued to a bare name (`up+1`), and data after a zero byte.

mod cursor;
mod dump;
mod lines;
mod metadata;
mod number;
mod outline;
mod protobuf;
mod series;
mod text;

use std::fmt;

use memchr::memchr;
use oddns_core::{Sample, SeriesId, SeriesTable, Timestamp};

pub(crate) use dump::{DumpLine, DumpLines};
use lines::Content;
pub use lines::{SampleLine, SampleLines};
use number::Ending;
pub(crate) use number::parse_float;
use outline::{Known, Outline};
use series::LabelPair;

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
#[error("{}: {reason}", place(*line, *column))]
pub struct ParseError {
    /// Line, counted from 1; 0 in protobuf, which has no lines.
    pub line: usize,
    /// Byte in the line, in protobuf in the body, counted from 1.
    pub column: usize,
    /// What is wrong there.
    pub reason: Reason,
}

fn place(line: usize, column: usize) -> String {
    match line {
        0 => format!("byte {column}"),
        line => format!("line {line}, column {column}"),
    }
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
    /// OpenMetrics wants one space between the name and what is said of it.
    #[error("expected one space after the metric name")]
    MetadataText,
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
    /// Bytes that are no protobuf message.
    #[error("the protobuf message is damaged: {0}")]
    Message(&'static str),
    /// A number for the type of a metric family that no type has.
    #[error("there is no metric type {0}")]
    TypeNumber(u64),
    /// A body in protobuf whose series, once spelled out, are many times its size.
    #[error(
        "the new series of this body take more than {0} bytes of memory: has a histogram of many buckets very long labels?"
    )]
    TooManyBytes(usize),
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
    outline: Outline,
    /// Number of the current text, from 1.
    generation: u64,
    /// Per series of the table, the text it was last seen in.
    seen: Vec<u64>,
    times: Vec<(usize, Timestamp)>,
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
    n_before: usize,
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
        self.outline.begin(table.tag(), format);
        out.reserve(self.outline.n_parts().min(self.limits.max_samples));
        let mut lines = SampleLines::new(format, text, self.limits);
        self.fill(table, out, |parser, sink| {
            parser.lines(&mut lines, sink)?;
            parser.outline.end();
            Ok(())
        })
    }

    /// As [`Parser::parse`], of a body in protobuf: metric families of the type
    /// `io.prometheus.client.MetricFamily`, each behind its length
    /// (`application/vnd.google.protobuf; encoding=delimited`).
    ///
    /// Series have the names that the text format gives them: a histogram becomes `_bucket`, `_sum`
    /// and `_count`. A native histogram without classic buckets is given those of the powers of two
    /// that it has observations between, so that one bucket holds what up to 256 did. Exemplars and
    /// times of creation are passed over. Nothing is remembered from body to body.
    pub fn parse_protobuf(
        &mut self,
        body: &[u8],
        table: &mut SeriesTable,
        out: &mut Vec<Sample>,
    ) -> Result<Summary, ParseError> {
        let limits = self.limits;
        let mut room = protobuf::Room::of(body);
        self.fill(table, out, |parser, sink| {
            protobuf::decode(body, &limits, &mut |found| {
                let n_known = sink.table.len();
                let intern = |labels: &[LabelPair<'_>]| sink.table.intern_parts(found.name, labels);
                let id = series::with_canonical(found.labels, intern);
                if sink.table.len() > n_known {
                    room.take(&found)?;
                }
                let ending = Ending { time: found.time, has_exemplar: false };
                parser.add(Sample { series: id, value: found.value }, ending, sink)
            })
        })
    }

    /// Appends what `read` finds to `out`, all of it or nothing.
    fn fill(
        &mut self,
        table: &mut SeriesTable,
        out: &mut Vec<Sample>,
        read: impl FnOnce(&mut Self, &mut Sink<'_>) -> Result<(), ParseError>,
    ) -> Result<Summary, ParseError> {
        self.generation += 1;
        self.times.clear();
        let n_before = out.len();
        let mut sink = Sink { table, out, n_before, summary: Summary::default() };
        match read(self, &mut sink) {
            Ok(()) => Ok(sink.summary),
            Err(error) => {
                out.truncate(n_before);
                self.times.clear();
                Err(error)
            }
        }
    }

    /// Samples of the last text with a time of their own: their place in what that text appended,
    /// and the time, which may be any at all.
    pub fn times(&self) -> &[(usize, Timestamp)] {
        &self.times
    }

    fn lines(
        &mut self,
        lines: &mut SampleLines<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), ParseError> {
        loop {
            let rest = lines.rest();
            match self.outline.expected(rest.as_bytes()) {
                Some(Known::Comments(n_bytes)) => lines.skip(n_bytes),
                Some(Known::Series(id, at)) => self.known(id, at, lines, sink)?,
                None => {
                    if !self.unknown(lines, sink)? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// A line whose series is known and ends at byte `at`.
    #[inline]
    fn known(
        &mut self,
        id: SeriesId,
        at: usize,
        lines: &mut SampleLines<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), ParseError> {
        let n_left = lines.n_left();
        sink.summary.recognised += 1;
        if let Some((value, n_bytes)) = number::whole_number_line(&lines.rest().as_bytes()[at..]) {
            lines.skip(at + n_bytes);
            return self
                .add(Sample { series: id, value }, Ending::default(), sink)
                .map_err(|reason| lines.error(n_left, reason));
        }
        let (value, ending) = lines.value_of_known(at)?;
        self.add(Sample { series: id, value }, ending, sink)
            .map_err(|reason| lines.error(n_left, reason))
    }

    /// Any other line; false at the end.
    fn unknown(
        &mut self,
        lines: &mut SampleLines<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<bool, ParseError> {
        let n_left = lines.n_left();
        let Some((rest, content)) = lines.next_content()? else { return Ok(false) };
        match content {
            Content::Blank => Ok(true),
            Content::Comment => {
                let n_bytes = n_left - lines.n_left();
                self.outline.learn_comment(&rest.as_bytes()[..n_bytes]);
                Ok(true)
            }
            Content::Sample(read) => {
                let series = lines.series();
                let intern =
                    |labels: &[LabelPair<'_>]| sink.table.intern_parts(&series.name, labels);
                let id = series::with_canonical(&series.labels, intern);
                self.outline.learn(rest.as_bytes(), read.end, id);
                let sample = Sample { series: id, value: read.value };
                self.add(sample, read.ending, sink)
                    .map_err(|reason| lines.error(n_left, reason))?;
                Ok(true)
            }
        }
    }

    /// Takes a sample, unless its series had one before.
    #[inline]
    fn add(&mut self, sample: Sample, ending: Ending, sink: &mut Sink<'_>) -> Result<(), Reason> {
        sink.summary.exemplars += usize::from(ending.has_exemplar);
        sink.summary.timestamps += usize::from(ending.time.is_some());
        if !self.first_of_its_series(sample.series) {
            sink.summary.duplicates += 1;
            return Ok(());
        }
        if sink.summary.samples == self.limits.max_samples {
            return Err(Reason::TooManySamples(self.limits.max_samples));
        }
        if let Some(time) = ending.time.map(Timestamp::from_millis) {
            self.times.push((sink.out.len() - sink.n_before, time));
        }
        sink.summary.samples += 1;
        sink.out.push(sample);
        Ok(())
    }

    #[inline]
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
