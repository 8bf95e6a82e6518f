//! What the last text of a server looked like, so that a repeated scrape reads no labels.
//!
//! A server tells the same series in the same order each time, so each line is held against the one
//! that stood in its place: one comparison of bytes, where reading its labels, and looking the
//! series up by them, is ten times as much. Where the texts differ the lines are read, and what
//! follows is held against what followed the same series before.

use oddns_core::{SeriesId, TableTag};

use super::Format;

/// Bytes kept at most; lines beyond are read anew each time.
const MAX_BYTES: usize = 16 << 20;

/// Stands for a comment where the number of a series would be.
const COMMENT: u32 = u32::MAX;

/// The lines of a text in their order.
#[derive(Debug, Default)]
struct Lines {
    /// The bytes of all parts in a row.
    bytes: Vec<u8>,
    parts: Vec<Part>,
}

/// The first part of a sample line, or comments.
#[derive(Debug, Clone, Copy)]
struct Part {
    /// Where its bytes end; they begin where those of the part before end.
    end: u32,
    /// Number of the series, or [`COMMENT`].
    series: u32,
}

/// What stands at the begin of a text, as it did the last time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// Whole lines with comments, of so many bytes.
    Comments(usize),
    /// A series; its value, with the blanks before it, stands behind so many bytes.
    Series(SeriesId, usize),
}

/// The outline of the last text, and how far the current one is along it.
#[derive(Debug, Default)]
pub(super) struct Outline {
    /// In which table the series have these numbers, and in which format they are read so.
    valid_for: Option<(TableTag, Format)>,
    last: Lines,
    /// Per series of the table, behind which part of the last text it stood; 0 for none.
    behind: Vec<u32>,
    /// The part that is expected next.
    at: usize,
    /// What the current text looks like, from where it first differed from the last one.
    current: Option<Lines>,
}

impl Outline {
    /// Begins a text.
    pub(super) fn begin(&mut self, tag: &TableTag, format: Format) {
        if self.valid_for.as_ref().is_none_or(|valid| (&valid.0, valid.1) != (tag, format)) {
            *self = Self { valid_for: Some((tag.clone(), format)), ..Self::default() };
        }
        self.at = 0;
        self.current = None;
    }

    /// How many samples the text is expected to have.
    pub(super) fn n_parts(&self) -> usize {
        self.last.parts.len()
    }

    /// What stands at the start of `rest`, a text from the begin of a line on, when it is what is
    /// expected there.
    #[inline]
    pub(super) fn expected(&mut self, rest: &[u8]) -> Option<Known> {
        let mut part = *self.last.parts.get(self.at)?;
        let mut start = self.last.start(self.at);
        if part.series == COMMENT && rest.first() != Some(&b'#') {
            self.differ();
            self.at += 1;
            start = part.end as usize;
            part = *self.last.parts.get(self.at)?;
        }
        let bytes = &self.last.bytes[start..part.end as usize];
        if !rest.starts_with(bytes) || !is_whole(part, bytes, rest) {
            return None;
        }
        self.at += 1;
        if let Some(current) = &mut self.current {
            current.push(bytes, part.series);
        }
        Some(match part.series {
            COMMENT => Known::Comments(bytes.len()),
            series => Known::Series(SeriesId(series), bytes.len() - usize::from(!is_braced(bytes))),
        })
    }

    /// Learns a series that was read from the `n_bytes` at the start of `rest`.
    pub(super) fn learn(&mut self, rest: &[u8], n_bytes: usize, series: SeriesId) {
        // The blank behind a bare name tells it from a longer one.
        let n_bytes = n_bytes + usize::from(!is_braced(&rest[..n_bytes]));
        let Some(bytes) = rest.get(..n_bytes) else { return };
        self.current().push(bytes, series.0);
        match self.behind.get(series.0 as usize) {
            None | Some(0) => {}
            Some(at) => self.at = *at as usize,
        }
    }

    /// Learns a comment: its line with the line feed. One that the text ends in is not learned, for
    /// it may be longer the next time.
    pub(super) fn learn_comment(&mut self, line: &[u8]) {
        if line.ends_with(b"\n") {
            self.current().push(line, COMMENT);
        }
    }

    /// Ends a text that was well-formed; one that was not leaves the outline of the one before.
    pub(super) fn end(&mut self) {
        let Some(current) = self.current.take() else { return };
        self.last = current;
        self.behind.clear();
        for (at, part) in self.last.parts.iter().enumerate() {
            let series = part.series as usize;
            if part.series == COMMENT {
                continue;
            }
            if series >= self.behind.len() {
                self.behind.resize(series + 1, 0);
            }
            if self.behind[series] == 0 {
                self.behind[series] = at as u32 + 1;
            }
        }
    }

    fn differ(&mut self) {
        self.current();
    }

    /// The outline of the current text, which was the last one's up to here when this is the first
    /// difference.
    fn current(&mut self) -> &mut Lines {
        let (last, at) = (&self.last, self.at);
        self.current.get_or_insert_with(|| last.before(at))
    }
}

impl Lines {
    fn start(&self, at: usize) -> usize {
        match at {
            0 => 0,
            at => self.parts[at - 1].end as usize,
        }
    }

    /// The lines before the part `at`.
    fn before(&self, at: usize) -> Self {
        let at = at.min(self.parts.len());
        Self { bytes: self.bytes[..self.start(at)].to_vec(), parts: self.parts[..at].to_vec() }
    }

    fn push(&mut self, bytes: &[u8], series: u32) {
        if self.bytes.len() + bytes.len() > MAX_BYTES {
            return;
        }
        self.bytes.extend_from_slice(bytes);
        let end = self.bytes.len() as u32;
        match self.parts.last_mut() {
            // Comments in a row are compared at once.
            Some(last) if last.series == COMMENT && series == COMMENT => last.end = end,
            _ => self.parts.push(Part { end, series }),
        }
    }
}

/// Whether `rest`, which begins with `bytes`, has the same series there and not a longer one.
///
/// A closing brace ends it. Behind a bare name and its blank there may be more blanks in plain text,
/// and then a brace.
fn is_whole(part: Part, bytes: &[u8], rest: &[u8]) -> bool {
    let next = || rest.get(bytes.len()).copied().unwrap_or(b'\n');
    part.series == COMMENT || is_braced(bytes) || !matches!(next(), b' ' | b'\t' | b'{')
}

fn is_braced(series: &[u8]) -> bool {
    series.last() == Some(&b'}')
}

#[cfg(test)]
mod tests;
