//! A text without scrape headers whose lines carry their own times.

use oddns_core::Recording;

use super::ReplayOptions;
use crate::exposition::{DumpLine, DumpLines, ParseError, Reason};
use crate::transpose::{Place, Transpose};

/// Times are kept in thousandths of the unit they are written in, until the end tells the unit.
const THOUSANDTHS: f64 = 1000.0;
/// Seconds of the last moment of the year 9999.
const MAX_SECONDS: f64 = 253_402_300_799.0;

/// What the first lines of a text without headers show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// No line says anything, or all so far have the same time.
    Open,
    /// Lines have different times, or are such as only a dump has.
    Dump,
    /// A line has no time of its own: a scrape, or nothing that can be read.
    Scrape,
}

/// Tells a dump from a single scrape, line by line.
#[derive(Debug)]
pub(super) struct Judge {
    lines: DumpLines,
    first: Option<f64>,
}

impl Judge {
    pub(super) fn new(options: &ReplayOptions) -> Self {
        Self { lines: DumpLines::new(options.limits), first: None }
    }

    pub(super) fn look(&mut self, line: &[u8]) -> Verdict {
        let line = match self.lines.read(line) {
            Ok(Some(line)) => line,
            Ok(None) => return Verdict::Open,
            Err(_) => return Verdict::Scrape,
        };
        match (line.stamp, self.first) {
            (None, _) => Verdict::Scrape,
            _ if line.names_inside => Verdict::Dump,
            (Some(stamp), Some(first)) if stamp != first => Verdict::Dump,
            (stamp, _) => {
                self.first = stamp;
                Verdict::Open
            }
        }
    }

    /// Whether all sample lines so far, at least one, have the same time.
    pub(super) fn has_seen_one_time(&self) -> bool {
        self.first.is_some()
    }
}

/// Gathers the lines of a dump.
#[derive(Debug)]
pub(super) struct Dump {
    lines: DumpLines,
    transpose: Transpose,
    /// Of the line before.
    place: Option<Place>,
    max_samples: usize,
    /// The first line whose time is no whole number, so that it is in seconds.
    fraction: Option<usize>,
    /// The first line whose time, taken for seconds, is after the year 9999.
    too_late: Option<(usize, f64)>,
    /// The line `# EOF`, which OpenMetrics ends with; its times are seconds.
    end: Option<usize>,
}

impl Dump {
    pub(super) fn new(options: &ReplayOptions) -> Self {
        Self {
            lines: DumpLines::new(options.limits),
            transpose: Transpose::new(&options.instance),
            place: None,
            max_samples: options.max_samples,
            fraction: None,
            too_late: None,
            end: None,
        }
    }

    /// Takes the next line.
    pub(super) fn line(&mut self, line: &[u8]) -> Result<(), ParseError> {
        let read = self.lines.read(line)?;
        if self.end.is_some() {
            return Err(self.error(Reason::AfterEof));
        }
        if line.trim_ascii_end() == b"# EOF" {
            self.end = Some(self.lines.n_lines());
        }
        match read {
            Some(line) => self.sample(line),
            None => Ok(()),
        }
    }

    fn sample(&mut self, line: DumpLine) -> Result<(), ParseError> {
        let place = match (line.series, self.place) {
            (None, Some(place)) => place,
            (None, None) => return Ok(()),
            (Some(key), _) => self.transpose.place(key),
        };
        self.place = Some(place);
        let Some(stamp) = line.stamp else { return Err(self.error(Reason::MissingTimestamp)) };
        if self.transpose.len() == self.max_samples {
            return Err(self.error(Reason::TooManySamples(self.max_samples)));
        }
        let number = self.lines.n_lines();
        if stamp.fract() != 0.0 {
            self.fraction.get_or_insert(number);
        }
        if stamp.abs() > MAX_SECONDS {
            self.too_late.get_or_insert((number, stamp));
        }
        self.transpose.push(place, (stamp * THOUSANDTHS).round() as i64, line.value);
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Vec<Recording>, ParseError> {
        match (self.end, self.fraction, self.too_late) {
            (Some(_), _, None) => {}
            (Some(_), _, Some((line, stamp))) => {
                let reason = Reason::Timestamp(stamp.to_string());
                return Err(ParseError { line, column: 1, reason });
            }
            // Seconds come from OpenMetrics only, which would have ended with `# EOF`.
            (None, Some(_), _) => {
                let line = self.lines.n_lines() + 1;
                return Err(ParseError { line, column: 1, reason: Reason::MissingEof });
            }
            (None, None, _) => self.transpose.divide_times(1000),
        }
        Ok(self.transpose.finish())
    }

    fn error(&self, reason: Reason) -> ParseError {
        ParseError { line: self.lines.n_lines(), column: 1, reason }
    }
}
