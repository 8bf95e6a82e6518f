//! A place in a line, and the small steps of the grammar.

use std::borrow::Cow;

use memchr::memchr2;

use super::{Fault, Format, Reason};

pub(super) struct Cursor<'a> {
    pub(super) format: Format,
    /// Whether the line is one of a dump: its metric name may stand as `__name__` among the labels,
    /// and Go's `strconv.Quote` has written its quotes.
    pub(super) is_dump: bool,
    pub(super) line: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(format: Format, line: &'a [u8]) -> Self {
        Self { format, is_dump: false, line, at: 0 }
    }

    /// A line of a dump, where blanks are free as in plain text.
    pub(super) fn of_dump(line: &'a [u8]) -> Self {
        Self { is_dump: true, ..Self::new(Format::Text, line) }
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        &self.line[self.at..]
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.line.get(self.at).copied()
    }

    pub(super) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Spaces and tabs are free in plain text; OpenMetrics has none but the single separators.
    pub(super) fn skip_blanks(&mut self) {
        if self.format == Format::Text {
            while matches!(self.peek(), Some(b' ' | b'\t')) {
                self.at += 1;
            }
        }
    }

    /// The separator between parts of a line: any blanks in plain text, one space in OpenMetrics.
    pub(super) fn take_gap(&mut self) -> bool {
        let start = self.at;
        match self.format {
            Format::Text => self.skip_blanks(),
            Format::OpenMetrics => self.at += usize::from(self.peek() == Some(b' ')),
        }
        self.at > start
    }

    pub(super) fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.rest();
        let length = rest.iter().position(|byte| !wanted(*byte)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    /// Everything up to the next blank.
    pub(super) fn word(&mut self) -> &'a [u8] {
        self.take_while(|byte| byte != b' ' && byte != b'\t')
    }

    /// A bare metric name, empty when there is none.
    pub(super) fn metric_name(&mut self) -> &'a [u8] {
        match self.peek() {
            Some(byte) if is_name(byte) && !byte.is_ascii_digit() => self.take_while(is_name),
            _ => b"",
        }
    }

    /// A bare label name, empty when there is none.
    pub(super) fn label_name(&mut self) -> &'a [u8] {
        match self.peek() {
            Some(byte) if is_name(byte) && byte != b':' && !byte.is_ascii_digit() => {
                self.take_while(|byte| is_name(byte) && byte != b':')
            }
            _ => b"",
        }
    }

    /// The text between quotes, unescaped; the cursor stands on the opening quote.
    pub(super) fn quoted(&mut self) -> Result<Cow<'a, str>, Fault> {
        let open = self.at;
        self.at += 1;
        let start = self.at;
        let mut escaped = false;
        loop {
            let Some(found) = memchr2(b'"', b'\\', self.rest()) else {
                return Err(Fault { at: open, reason: Reason::ClosingQuote });
            };
            self.at += found;
            if self.line[self.at] == b'"' {
                break;
            }
            escaped = true;
            self.at = (self.at + 2).min(self.line.len());
        }
        let raw = &self.line[start..self.at];
        self.at += 1;
        let text = str::from_utf8(raw)
            .map_err(|error| Fault { at: start + error.valid_up_to(), reason: Reason::Utf8 })?;
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

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':'
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

/// The start of `bytes` as text for a message, at most 60 characters.
pub(super) fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(240)]).chars().take(60).collect()
}
