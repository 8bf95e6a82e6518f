//! The wire format of Protocol Buffers, read in place: no message is copied, none recurses.

use std::ops::Range;

/// Where bytes stop being a message, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Damage {
    /// Byte in the buffer that the outermost message was made of.
    pub(crate) at: usize,
    pub(crate) what: &'static str,
}

/// A message, or any other field with a length, inside a buffer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'a> {
    buffer: &'a [u8],
    at: usize,
    end: usize,
}

/// What a field holds, by its wire type.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(Message<'a>),
    Fixed32,
}

impl<'a> Message<'a> {
    /// All of `buffer`.
    pub(crate) fn new(buffer: &'a [u8]) -> Self {
        Self { buffer, at: 0, end: buffer.len() }
    }

    /// What is left.
    pub(crate) fn as_bytes(&self) -> &'a [u8] {
        &self.buffer[self.at..self.end]
    }

    /// Where in the buffer what is left lies.
    pub(crate) fn range(&self) -> Range<usize> {
        self.at..self.end
    }

    /// What is left as a text.
    pub(crate) fn as_text(&self) -> Result<&'a str, Damage> {
        str::from_utf8(self.as_bytes())
            .map_err(|error| Damage { at: self.at + error.valid_up_to(), what: "not valid UTF-8" })
    }

    /// Whether all is read.
    pub(crate) fn is_empty(&self) -> bool {
        self.at == self.end
    }

    /// The next field and its number; `None` at the end.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, Damage> {
        if self.is_empty() {
            return Ok(None);
        }
        let start = self.at;
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(self.fixed64()?),
            2 => Value::Bytes(self.delimited()?),
            5 => {
                self.take(4)?;
                Value::Fixed32
            }
            _ => return Err(Damage { at: start, what: "a wire type that is not in use" }),
        };
        match tag >> 3 {
            0 => Err(Damage { at: start, what: "field number 0" }),
            number => Ok(Some((number, value))),
        }
    }

    /// Skips fields with a length as long as they begin with the byte `tag`, and says where those
    /// lay.
    #[inline]
    pub(crate) fn skip_run(&mut self, tag: u8) -> Result<Range<usize>, Damage> {
        let start = self.at;
        while self.at < self.end && self.buffer[self.at] == tag {
            self.at += 1;
            self.delimited()?;
        }
        Ok(start..self.at)
    }

    /// The next number of a packed field.
    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, Damage> {
        match self.buffer[self.at..self.end].first() {
            Some(byte) if *byte < 0x80 => {
                self.at += 1;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Damage> {
        let start = self.at;
        let mut value = 0;
        for (n, byte) in self.as_bytes().iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * n);
            if *byte < 0x80 {
                self.at += n + 1;
                return Ok(value);
            }
        }
        let what = if self.end - start < 10 { CUT } else { "a number of more than ten bytes" };
        Err(Damage { at: start, what })
    }

    fn fixed64(&mut self) -> Result<u64, Damage> {
        let bytes = self.take(8)?;
        Ok(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    #[inline]
    pub(crate) fn delimited(&mut self) -> Result<Message<'a>, Damage> {
        let start = self.at;
        let length = self.varint()?;
        if length > (self.end - self.at) as u64 {
            return Err(Damage { at: start, what: CUT });
        }
        let inner = Self { buffer: self.buffer, at: self.at, end: self.at + length as usize };
        self.at = inner.end;
        Ok(inner)
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], Damage> {
        if self.end - self.at < n {
            return Err(Damage { at: self.at, what: CUT });
        }
        self.at += n;
        Ok(&self.buffer[self.at - n..self.at])
    }

    /// The error of a known field of another type than it should have.
    pub(crate) fn wrong_type<T>(&self) -> Result<T, Damage> {
        Err(Damage { at: self.at, what: "the field before has another type than it should" })
    }
}

const CUT: &str = "the field goes on behind the end of its message";

/// Writing, for requests of ours: a field with a length.
pub(crate) fn put_bytes(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    put_varint(out, u64::from(number << 3 | 2));
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Writing: a field that is a number.
pub(crate) fn put_number(out: &mut Vec<u8>, number: u8, value: u64) {
    put_varint(out, u64::from(number << 3));
    put_varint(out, value);
}

/// Writing: a field that is a double.
pub(crate) fn put_double(out: &mut Vec<u8>, number: u8, value: f64) {
    put_varint(out, u64::from(number << 3 | 1));
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_are_read_by_their_type() {
        let bytes = [0x08, 0x96, 0x01, 0x12, 2, b'h', b'i', 0x19, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f];
        let mut message = Message::new(&bytes);
        assert!(matches!(message.next(), Ok(Some((1, Value::Varint(150))))));
        let Ok(Some((2, Value::Bytes(text)))) = message.next() else { panic!("no text") };
        assert_eq!(text.as_text(), Ok("hi"));
        let Ok(Some((3, Value::Fixed64(bits)))) = message.next() else { panic!("no double") };
        assert_eq!(f64::from_bits(bits), 1.0);
        assert!(matches!(message.next(), Ok(None)));
    }

    #[test]
    fn damage_says_where() {
        let damage = |bytes: &[u8]| {
            let mut message = Message::new(bytes);
            loop {
                match message.next() {
                    Ok(Some(_)) => {}
                    Ok(None) => return None,
                    Err(damage) => return Some((damage.at, damage.what)),
                }
            }
        };
        assert_eq!(damage(&[0x08, 1, 0x12, 5, 1]), Some((3, CUT)));
        assert_eq!(damage(&[0x08]), Some((1, CUT)));
        assert_eq!(damage(&[0x0b]), Some((0, "a wire type that is not in use")));
        assert_eq!(damage(&[0x00, 1]), Some((0, "field number 0")));
        assert_eq!(damage(&[0xff; 12]), Some((0, "a number of more than ten bytes")));
        assert_eq!(damage(&[0x0d, 1, 2, 3]), Some((1, CUT)));
    }

    proptest! {
        #[test]
        fn numbers_round_trip(value in any::<u64>(), number in 1_u8..16) {
            let mut bytes = Vec::new();
            put_number(&mut bytes, number, value);
            let Ok(Some((read, Value::Varint(back)))) = Message::new(&bytes).next() else {
                return Err(TestCaseError::fail("no number"));
            };
            prop_assert_eq!((read, back), (u64::from(number), value));
        }

        #[test]
        fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut message = Message::new(&bytes);
            let mut n = 0;
            while let Ok(Some(_)) = message.next() {
                n += 1;
            }
            prop_assert!(n <= bytes.len());
        }
    }
}
