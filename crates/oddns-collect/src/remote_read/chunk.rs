//! A chunk as Prometheus stores it: times as differences of differences, values as what changed of
//! their bits (`tsdb/chunkenc/xor.go`, after Facebook's Gorilla).

use super::ReadError;
use crate::protobuf::Message;

/// Gives every sample of a chunk to `take`.
pub(super) fn read(
    data: Message<'_>,
    mut take: impl FnMut(i64, f64) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let bytes = data.as_bytes();
    let Some((head, rest)) = bytes.split_at_checked(2) else {
        return Err(ReadError::Damaged { at: data.range().start, what: CUT });
    };
    let n_samples = u16::from_be_bytes([head[0], head[1]]);
    let mut samples = Samples::new(rest);
    for number in 0..n_samples {
        let (millis, value) =
            samples.next(number).ok_or(ReadError::Damaged { at: data.range().start, what: CUT })?;
        take(millis, value)?;
    }
    Ok(())
}

const CUT: &str = "a chunk has fewer samples than it says";

/// Where in the stream of bits we are.
struct Samples<'a> {
    bytes: &'a [u8],
    /// In bits.
    at: usize,
    millis: i64,
    delta: i64,
    bits: u64,
    leading: u32,
    /// Bits that may have changed.
    n_bits: u32,
}

impl<'a> Samples<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, millis: 0, delta: 0, bits: 0, leading: 0, n_bits: 64 }
    }

    /// The next sample; `None` when the bits are at an end, or make no sense.
    fn next(&mut self, number: u16) -> Option<(i64, f64)> {
        match number {
            0 => {
                let zigzag = self.varint()?;
                self.millis = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
                self.bits = self.take(64)?;
                return Some((self.millis, f64::from_bits(self.bits)));
            }
            1 => self.delta = self.varint()? as i64,
            _ => self.delta = self.delta.wrapping_add(self.change_of_delta()?),
        }
        self.millis = self.millis.wrapping_add(self.delta);
        self.value()?;
        Some((self.millis, f64::from_bits(self.bits)))
    }

    fn change_of_delta(&mut self) -> Option<i64> {
        let mut n_ones = 0;
        while n_ones < 4 && self.take(1)? == 1 {
            n_ones += 1;
        }
        let n_bits = match n_ones {
            0 => return Some(0),
            1 => 14,
            2 => 17,
            3 => 20,
            _ => return Some(self.take(64)? as i64),
        };
        let bits = self.take(n_bits)? as i64;
        // One more than half of the range is positive.
        Some(if bits > 1 << (n_bits - 1) { bits - (1 << n_bits) } else { bits })
    }

    fn value(&mut self) -> Option<()> {
        if self.take(1)? == 0 {
            return Some(());
        }
        if self.take(1)? == 1 {
            self.leading = self.take(5)? as u32;
            self.n_bits = match self.take(6)? as u32 {
                0 => 64,
                n_bits => n_bits,
            };
        }
        let trailing = 64_u32.checked_sub(self.leading + self.n_bits)?;
        self.bits ^= self.take(self.n_bits)? << trailing;
        Some(())
    }

    /// A number in groups of seven bits, which need not begin with a byte.
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for n in 0..10 {
            let byte = self.take(8)?;
            value |= (byte & 0x7f) << (7 * n);
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// The next bits, 64 at most.
    fn take(&mut self, n_bits: u32) -> Option<u64> {
        let mut value: u64 = 0;
        let mut n_left = n_bits;
        while n_left > 0 {
            let byte = u64::from(*self.bytes.get(self.at / 8)?);
            let n_there = 8 - (self.at % 8) as u32;
            let n = n_there.min(n_left);
            let bits = byte >> (n_there - n) & ((1 << n) - 1);
            value = value << n | bits;
            self.at += n as usize;
            n_left -= n;
        }
        Some(value)
    }
}
