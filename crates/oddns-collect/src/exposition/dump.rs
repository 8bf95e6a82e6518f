//! Lines of a dump: many samples of a series in a row, each with its time, as `promtool tsdb dump`,
//! `promtool tsdb dump-openmetrics` and VictoriaMetrics' export write them.

use oddns_core::SeriesKey;

use super::cursor::{Cursor, shown};
use super::{Fault, Limits, ParseError, Reason, locate, number, series};

/// The last millisecond of the year 9999.
const MAX_MILLIS: f64 = 253_402_300_799_999.0;

/// A sample line of a dump.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DumpLine {
    /// The series; `None` when it is that of the line before.
    pub(crate) series: Option<SeriesKey>,
    pub(crate) value: f64,
    /// Its time as written, in a unit that the line does not tell; within ±`MAX_MILLIS`.
    pub(crate) stamp: Option<f64>,
    /// Whether the series is `{__name__="…"}`, which no scrape writes.
    pub(crate) names_inside: bool,
}

/// Reads lines one after the other.
#[derive(Debug)]
pub(crate) struct DumpLines {
    limits: Limits,
    n_lines: usize,
    /// Bytes of the last series: most lines have the same as the one before.
    last: Vec<u8>,
}

impl DumpLines {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, n_lines: 0, last: Vec::new() }
    }

    /// How many lines were read, the last one's number.
    pub(crate) fn n_lines(&self) -> usize {
        self.n_lines
    }

    /// The next line, with or without its line feed; `None` for an empty one and a comment.
    pub(crate) fn read(&mut self, line: &[u8]) -> Result<Option<DumpLine>, ParseError> {
        self.n_lines += 1;
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        if matches!(line.iter().find(|byte| !b" \t".contains(byte)), None | Some(b'#')) {
            return Ok(None);
        }
        let read = match str::from_utf8(line) {
            Ok(valid) => self.sample(&mut Cursor::of_dump(valid)),
            Err(error) => Err(Fault { at: error.valid_up_to(), reason: Reason::Utf8 }),
        };
        read.map(Some).map_err(|fault| locate(fault, line, self.n_lines))
    }

    fn sample(&mut self, cursor: &mut Cursor<'_>) -> Result<DumpLine, Fault> {
        cursor.skip_blanks();
        let names_inside = cursor.peek() == Some(b'{');
        let series = self.series(cursor)?;
        let value = number::value_after(cursor)?;
        cursor.skip_blanks();
        let stamp = stamp(cursor)?;
        cursor.skip_blanks();
        match cursor.peek() {
            None => Ok(DumpLine { series, value, stamp, names_inside }),
            Some(_) => cursor.fault(Reason::LineEnd),
        }
    }

    fn series(&mut self, cursor: &mut Cursor<'_>) -> Result<Option<SeriesKey>, Fault> {
        let rest = cursor.rest().as_bytes();
        if let Some(length) = series::guess_length(rest)
            && !self.last.is_empty()
            && rest[..length] == self.last
        {
            cursor.at += length;
            return Ok(None);
        }
        let start = cursor.at;
        let key = series::read_key(cursor, &self.limits)?;
        self.last.clear();
        self.last.extend_from_slice(&cursor.bytes()[start..cursor.at]);
        Ok(Some(key))
    }
}

fn stamp(cursor: &mut Cursor<'_>) -> Result<Option<f64>, Fault> {
    let start = cursor.at;
    let word = cursor.word();
    if word.is_empty() {
        return Ok(None);
    }
    match number::parse_float(word.as_bytes()) {
        Some(stamp) if stamp.abs() <= MAX_MILLIS => Ok(Some(stamp)),
        _ => Err(Fault { at: start, reason: Reason::Timestamp(shown(word)) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &mut DumpLines, line: &str) -> String {
        match lines.read(line.as_bytes()) {
            Ok(Some(DumpLine { series, value, stamp, .. })) => {
                let series = series.map_or("same".to_owned(), |key| key.to_string());
                format!("{series} {value} {stamp:?}")
            }
            Ok(None) => "nothing".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn both_tools_are_read() {
        let mut lines = DumpLines::new(Limits::default());
        for (line, expected) in [
            ("# TYPE up gauge\n", "nothing"),
            ("\n", "nothing"),
            (
                "{__name__=\"up\", job=\"a\"} 1 1700000000123\n",
                "up{job=\"a\"} 1 Some(1700000000123.0)",
            ),
            ("{__name__=\"up\", job=\"a\"} 2 1700000000124\n", "same 2 Some(1700000000124.0)"),
            (
                "up{job=\"a\", x=\"}\"} 1e+06 1700000000.125",
                "up{job=\"a\",x=\"}\"} 1000000 Some(1700000000.125)",
            ),
            ("up NaN -1", "up NaN Some(-1.0)"),
            ("up 3", "same 3 None"),
        ] {
            assert_eq!(read(&mut lines, line), expected, "{line}");
        }
    }

    #[test]
    fn go_quotes_are_undone() {
        let mut lines = DumpLines::new(Limits::default());
        let line = r#"{__name__="a", b="\"\\\t\x01\u00e9\U0001F600\q\xz"} 1 2"#;
        let key = lines.read(line.as_bytes()).unwrap().unwrap().series.unwrap();
        assert_eq!(key.labels.get("b"), Some("\"\\\t\u{1}é😀\\q\\xz"));
    }

    #[test]
    fn faults_say_where() {
        let mut lines = DumpLines::new(Limits::default());
        for (line, expected) in [
            ("{job=\"a\"} 1 2", "line 1, column 1: no metric name before or inside the braces"),
            ("a{__name__=\"b\"} 1 2", "line 2, column 3: `__name__` cannot be a name here"),
            ("a 1 2 3", "line 3, column 7: expected the end of the line"),
            (
                "a 1 1e300",
                "line 4, column 5: `1e300` is no timestamp: expected milliseconds in plain text, seconds in OpenMetrics",
            ),
            (
                "a 1 2\r\n",
                "line 5, column 6: a carriage return ends the line: metrics end their lines with a line feed only",
            ),
        ] {
            assert_eq!(read(&mut lines, line), expected, "{line}");
        }
    }
}
