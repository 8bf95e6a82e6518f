//! A place in a line, and the small steps of the grammar.

use std::borrow::Cow;

use memchr::memchr2;

use super::{Fault, Format, Reason};

pub(super) struct Cursor<'a> {
    pub(super) format: Format,
    pub(super) line: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(format: Format, line: &'a [u8]) -> Self {
        Self { format, line, at: 0 }
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
        Ok(if escaped { Cow::Owned(unescape(text)) } else { Cow::Borrowed(text) })
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

/// The start of `bytes` as text for a message, at most 60 characters.
pub(super) fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(240)]).chars().take(60).collect()
}
