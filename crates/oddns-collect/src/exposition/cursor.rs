//! A place in a line, and the small steps of the grammar.

use std::borrow::Cow;

use memchr::memchr2;

use super::{Fault, Format, Reason};

pub(super) struct Cursor<'a> {
    pub(super) format: Format,
    /// Whether the line is one of a dump: its metric name may stand as `__name__` among the labels,
    /// and Go's `strconv.Quote` has written its quotes.
    pub(super) is_dump: bool,
    pub(super) line: &'a str,
    /// In bytes; always between characters, for the grammar's own are ASCII.
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(format: Format, line: &'a str) -> Self {
        Self { format, is_dump: false, line, at: 0 }
    }

    /// A line of a dump, where blanks are free as in plain text.
    pub(super) fn of_dump(line: &'a str) -> Self {
        Self { is_dump: true, ..Self::new(Format::Text, line) }
    }

    pub(super) fn bytes(&self) -> &'a [u8] {
        self.line.as_bytes()
    }

    pub(super) fn rest(&self) -> &'a str {
        self.line.get(self.at..).unwrap_or_default()
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes().get(self.at).copied()
    }

    #[inline]
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Spaces and tabs are free in plain text; OpenMetrics has none but the single separators.
    #[inline]
    pub(super) fn skip_blanks(&mut self) {
        if self.format == Format::Text {
            while matches!(self.peek(), Some(b' ' | b'\t')) {
                self.at += 1;
            }
        }
    }

    /// The separator between parts of a line: any blanks in plain text, one space in OpenMetrics.
    #[inline]
    pub(super) fn take_gap(&mut self) -> bool {
        let start = self.at;
        match self.format {
            Format::Text => self.skip_blanks(),
            Format::OpenMetrics => self.at += usize::from(self.peek() == Some(b' ')),
        }
        self.at > start
    }

    #[inline]
    pub(super) fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a str {
        let start = self.at;
        let rest = self.bytes().get(start..).unwrap_or_default();
        self.at += rest.iter().position(|byte| !wanted(*byte)).unwrap_or(rest.len());
        self.line.get(start..self.at).unwrap_or_default()
    }

    /// Everything up to the next blank.
    #[inline]
    pub(super) fn word(&mut self) -> &'a str {
        self.take_while(|byte| byte != b' ' && byte != b'\t')
    }

    /// A bare metric name, empty when there is none.
    #[inline]
    pub(super) fn metric_name(&mut self) -> &'a str {
        match self.peek() {
            Some(byte) if !byte.is_ascii_digit() => self.take_while(is_name),
            _ => "",
        }
    }

    /// A bare label name, empty when there is none.
    #[inline]
    pub(super) fn label_name(&mut self) -> &'a str {
        match self.peek() {
            Some(byte) if !byte.is_ascii_digit() => self.take_while(is_label),
            _ => "",
        }
    }

    /// A label `name="value"` with nothing unusual about it, which nearly all are; `None`, and the
    /// cursor where it was, for any other and for what is no label.
    #[inline]
    pub(super) fn plain_label(&mut self) -> Option<(&'a str, &'a str)> {
        let start = self.at;
        let name = self.label_name();
        let value_start = self.at + 2;
        if name.is_empty() || self.bytes().get(self.at..value_start) != Some(b"=\"") {
            self.at = start;
            return None;
        }
        self.at = value_start;
        let value = self.take_while(|byte| byte != b'"' && byte != b'\\');
        if !self.take(b'"') {
            self.at = start;
            return None;
        }
        Some((name, value))
    }

    /// The text between quotes, unescaped; the cursor stands on the opening quote.
    pub(super) fn quoted(&mut self) -> Result<Cow<'a, str>, Fault> {
        let open = self.at;
        self.at += 1;
        let start = self.at;
        let mut escaped = false;
        loop {
            let Some(found) = memchr2(b'"', b'\\', self.bytes().get(self.at..).unwrap_or_default())
            else {
                return Err(Fault { at: open, reason: Reason::ClosingQuote });
            };
            self.at += found;
            if self.bytes()[self.at] == b'"' {
                break;
            }
            escaped = true;
            self.at = (self.at + 2).min(self.line.len());
        }
        let text = self.line.get(start..self.at).unwrap_or_default();
        self.at += 1;
        Ok(match (escaped, self.is_dump) {
            (false, _) => Cow::Borrowed(text),
            (true, false) => Cow::Owned(unescape(text)),
            (true, true) => Cow::Owned(go_unescape(text)),
        })
    }

    pub(super) fn fault<T>(&self, reason: Reason) -> Result<T, Fault> {
        Err(Fault { at: self.at, reason })
    }
}

/// For each byte whether it may stand in a label name, and then in a metric name.
const NAMES: [(bool, bool); 256] = {
    let mut names = [(false, false); 256];
    let mut byte = 0;
    while byte < 256 {
        let is_label = (byte as u8).is_ascii_alphanumeric() || byte as u8 == b'_';
        names[byte] = (is_label, is_label || byte as u8 == b':');
        byte += 1;
    }
    names
};

#[inline]
fn is_label(byte: u8) -> bool {
    NAMES[usize::from(byte)].0
}

#[inline]
fn is_name(byte: u8) -> bool {
    NAMES[usize::from(byte)].1
}

/// An unknown escape stays as it is written, as in Prometheus.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some(c @ ('"' | '\\')) => out.push(c),
            Some(c) => out.extend(['\\', c]),
            None => out.push('\\'),
        }
    }
    out
}

/// As [`unescape`], with the further escapes of Go.
fn go_unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        match go_escape(after) {
            Some((c, length)) => {
                out.push(c);
                rest = &after[length..];
            }
            None => {
                out.push('\\');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// The character that `after`, the text behind a backslash, begins with, and the bytes it takes.
fn go_escape(after: &str) -> Option<(char, usize)> {
    let digits = match after.chars().next()? {
        'a' => return Some(('\x07', 1)),
        'b' => return Some(('\x08', 1)),
        'f' => return Some(('\x0c', 1)),
        'n' => return Some(('\n', 1)),
        'r' => return Some(('\r', 1)),
        't' => return Some(('\t', 1)),
        'v' => return Some(('\x0b', 1)),
        c @ ('"' | '\\') => return Some((c, 1)),
        'x' => 2,
        'u' => 4,
        'U' => 8,
        _ => return None,
    };
    let code = u32::from_str_radix(after.get(1..=digits)?, 16).ok()?;
    Some((char::from_u32(code)?, 1 + digits))
}

/// The start of `text` for a message, at most 60 characters.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(60).collect()
}
