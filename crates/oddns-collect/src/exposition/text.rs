//! A text, line by line, of which not all need be valid UTF-8.

use memchr::{memchr, memrchr};

/// What is left of a text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'a> {
    /// Whole lines, known to be UTF-8; only the last may lack its line feed.
    valid: &'a str,
    /// What follows; it begins with a line that is not UTF-8.
    behind: &'a [u8],
}

/// One line without its line feed.
pub(super) enum Line<'a> {
    Valid(&'a str),
    /// Not UTF-8.
    Damaged(&'a [u8]),
}

impl<'a> Text<'a> {
    /// Looks at all bytes up to the first that are not UTF-8 at once, which is many times faster
    /// than looking at each name and value.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let n_valid = match str::from_utf8(bytes) {
            Ok(valid) => return Self { valid, behind: b"" },
            Err(error) => error.valid_up_to(),
        };
        let start = memrchr(b'\n', &bytes[..n_valid]).map_or(0, |at| at + 1);
        let valid = str::from_utf8(&bytes[..start]).unwrap_or_default();
        Self { valid, behind: &bytes[start..] }
    }

    /// Bytes that are left.
    pub(super) fn len(&self) -> usize {
        self.valid.len() + self.behind.len()
    }

    /// What is left and valid, from the next line on.
    pub(super) fn rest(&self) -> &'a str {
        self.valid
    }

    /// Goes on behind `n_bytes` of [`Text::rest`], which end where a line does.
    pub(super) fn skip(&mut self, n_bytes: usize) {
        self.valid = self.valid.get(n_bytes..).unwrap_or_default();
    }

    pub(super) fn next_line(&mut self) -> Option<Line<'a>> {
        if self.valid.is_empty() {
            return self.next_damaged();
        }
        let end = memchr(b'\n', self.valid.as_bytes()).unwrap_or(self.valid.len());
        let line = &self.valid[..end];
        self.skip(end + 1);
        Some(Line::Valid(line))
    }

    fn next_damaged(&mut self) -> Option<Line<'a>> {
        let end = memchr(b'\n', self.behind).unwrap_or(self.behind.len());
        let line = &self.behind[..end];
        let is_end = self.behind.is_empty();
        *self = Self::new(self.behind.get(end + 1..).unwrap_or_default());
        (!is_end).then_some(Line::Damaged(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8]) -> Vec<String> {
        let mut text = Text::new(bytes);
        let mut lines = Vec::new();
        while let Some(line) = text.next_line() {
            lines.push(match line {
                Line::Valid(line) => line.to_owned(),
                Line::Damaged(line) => format!("{line:?}"),
            });
        }
        assert_eq!(text.len(), 0);
        lines
    }

    #[test]
    fn lines_are_those_between_line_feeds() {
        assert_eq!(lines(b""), [""; 0]);
        assert_eq!(lines(b"a"), ["a"]);
        assert_eq!(lines(b"a\n\nb\n"), ["a", "", "b"]);
    }

    #[test]
    fn a_damaged_line_does_not_hide_the_others() {
        assert_eq!(lines("ä\n".as_bytes()), ["ä"]);
        assert_eq!(lines(b"a\n\xff\nb\n\xc3\n\xfe"), ["a", "[255]", "b", "[195]", "[254]"]);
    }
}
