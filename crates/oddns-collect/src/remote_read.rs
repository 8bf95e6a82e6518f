//! Prometheus's remote read: what to ask, and what is answered, as samples or as its own chunks.

mod chunk;

use std::ops::Range;

use oddns_core::{Labels, SeriesKey};

use crate::protobuf::Value::{Bytes, Fixed64, Varint};
use crate::protobuf::{Damage, Message, put_bytes, put_number};
use crate::transpose::Transpose;

/// A condition on a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Matcher {
    pub(crate) comparison: Comparison,
    pub(crate) name: String,
    pub(crate) value: String,
}

/// In the order of `LabelMatcher.Type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Matches,
    MatchesNot,
}

/// What an answer consists of, as its content type says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFormat {
    /// One message in a snappy block.
    Samples,
    /// Messages with length and checksum, of chunks as they are stored.
    Chunks,
}

/// Why an answer to a remote read cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// No snappy block, or a damaged one.
    #[error("it is no snappy block, or a damaged one")]
    Snappy,
    /// Not the message, or a damaged one.
    #[error("it is damaged at byte {at}: {what}")]
    Damaged {
        /// Byte of the message, or of the frame that it came in.
        at: usize,
        /// What is wrong there.
        what: &'static str,
    },
    /// A frame came otherwise than it was sent, or broke off.
    #[error("frame {number} is cut off or was changed on its way")]
    Frame {
        /// Counted from 1.
        number: usize,
    },
    /// More than a limit allows.
    #[error("it has more than {limit} {what}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many are allowed.
        limit: usize,
    },
    /// A selector that cannot be said in conditions on labels.
    #[error("the selector cannot be asked for by remote read")]
    Selector,
    /// A chunk of a kind that nothing here reads.
    #[error("it has chunks of encoding {0}, which is not known")]
    Encoding(u64),
}

impl From<Damage> for ReadError {
    fn from(damage: Damage) -> Self {
        Self::Damaged { at: damage.at, what: damage.what }
    }
}

/// How much an answer may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    /// Bytes of an answer of samples after decompression.
    pub max_bytes: usize,
    /// Samples.
    pub max_samples: usize,
}

/// The body of a request for the samples of `span`, its end excluded.
pub(crate) fn request(matchers: &[Matcher], span: &Range<i64>) -> Vec<u8> {
    let mut query = Vec::new();
    put_number(&mut query, 1, span.start as u64);
    put_number(&mut query, 2, (span.end - 1) as u64);
    for matcher in matchers {
        let mut fields = Vec::new();
        put_number(&mut fields, 1, matcher.comparison as u64);
        put_bytes(&mut fields, 2, matcher.name.as_bytes());
        put_bytes(&mut fields, 3, matcher.value.as_bytes());
        put_bytes(&mut query, 3, &fields);
    }
    let mut request = Vec::new();
    put_bytes(&mut request, 1, &query);
    // Chunks rather than samples: they are smaller, and the server need not unpack them.
    put_bytes(&mut request, 2, &[1, 0]);
    snap::raw::Encoder::new().compress_vec(&request).unwrap_or_default()
}

/// Puts every sample of an answer that is in `span` into `out`. Staleness markers are left out, and
/// native histograms.
pub(crate) fn fill(
    format: ReadFormat,
    body: &[u8],
    span: &Range<i64>,
    limits: ReadLimits,
    out: &mut Transpose,
) -> Result<(), ReadError> {
    let mut filling = Filling { span, limits, out };
    match format {
        ReadFormat::Samples => filling.samples(body),
        ReadFormat::Chunks => filling.frames(body),
    }
}

/// Reads an answer for its own sake, such as a damaged one in a test; says how many samples it has.
pub fn check_remote_read(
    format: ReadFormat,
    body: &[u8],
    limits: ReadLimits,
) -> Result<usize, ReadError> {
    let mut out = Transpose::new("unknown");
    fill(format, body, &(i64::MIN..i64::MAX), limits, &mut out)?;
    Ok(out.len())
}

struct Filling<'a> {
    span: &'a Range<i64>,
    limits: ReadLimits,
    out: &'a mut Transpose,
}

impl Filling<'_> {
    fn samples(&mut self, body: &[u8]) -> Result<(), ReadError> {
        let length = snap::raw::decompress_len(body).map_err(|_| ReadError::Snappy)?;
        if length > self.limits.max_bytes {
            let limit = self.limits.max_bytes;
            return Err(ReadError::TooMany { what: "bytes", limit });
        }
        // No byte of snappy stands for more than 64, so a claim beyond is false.
        if length / 64 > body.len() {
            return Err(ReadError::Snappy);
        }
        let bytes =
            snap::raw::Decoder::new().decompress_vec(body).map_err(|_| ReadError::Snappy)?;
        each(Message::new(&bytes), 1, |result| {
            each(result, 1, |series| self.series(series, Self::sample))
        })
    }

    fn frames(&mut self, body: &[u8]) -> Result<(), ReadError> {
        let mut rest = body;
        let mut number = 0;
        while !rest.is_empty() {
            number += 1;
            let (frame, behind) = frame(rest).ok_or(ReadError::Frame { number })?;
            each(Message::new(frame), 1, |series| self.series(series, Self::chunk))?;
            rest = behind;
        }
        Ok(())
    }

    /// A series: labels, and what `take` reads of its second field.
    fn series(
        &mut self,
        series: Message<'_>,
        take: fn(&mut Self, crate::transpose::Place, Message<'_>) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let mut pairs = Vec::new();
        each(series, 1, |label| {
            let (mut name, mut value) = (String::new(), String::new());
            each(label, 1, |text| {
                name = text.as_text()?.to_owned();
                Ok(())
            })?;
            each(label, 2, |text| {
                value = text.as_text()?.to_owned();
                Ok(())
            })?;
            if pairs.len() == MAX_LABELS {
                return Err(ReadError::TooMany { what: "labels in a series", limit: MAX_LABELS });
            }
            pairs.push((name, value));
            Ok(())
        })?;
        let at = pairs.iter().position(|(name, _)| name == "__name__");
        let name = at.map_or(String::new(), |at| pairs.swap_remove(at).1);
        let place = self.out.place(SeriesKey { name, labels: Labels::new(pairs) });
        each(series, 2, |field| take(self, place, field))
    }

    fn sample(
        &mut self,
        place: crate::transpose::Place,
        mut sample: Message<'_>,
    ) -> Result<(), ReadError> {
        let (mut value, mut millis) = (0.0, 0);
        while let Some((number, field)) = sample.next()? {
            match (number, field) {
                (1, Fixed64(bits)) => value = f64::from_bits(bits),
                (2, Varint(number)) => millis = number as i64,
                (1 | 2, _) => return sample.wrong_type().map_err(ReadError::from),
                _ => {}
            }
        }
        self.push(place, millis, value)
    }

    fn chunk(
        &mut self,
        place: crate::transpose::Place,
        mut chunk: Message<'_>,
    ) -> Result<(), ReadError> {
        let (mut encoding, mut data) = (0, None);
        while let Some((number, field)) = chunk.next()? {
            match (number, field) {
                (3, Varint(number)) => encoding = number,
                (4, Bytes(bytes)) => data = Some(bytes),
                (3 | 4, _) => return chunk.wrong_type().map_err(ReadError::from),
                _ => {}
            }
        }
        let Some(data) = data else { return Ok(()) };
        match encoding {
            XOR => chunk::read(data, |millis, value| self.push(place, millis, value)),
            encoding if HISTOGRAMS.contains(&encoding) => Ok(()),
            encoding => Err(ReadError::Encoding(encoding)),
        }
    }

    fn push(
        &mut self,
        place: crate::transpose::Place,
        millis: i64,
        value: f64,
    ) -> Result<(), ReadError> {
        if !self.span.contains(&millis) || value.to_bits() == STALE {
            return Ok(());
        }
        if self.out.len() >= self.limits.max_samples {
            let limit = self.limits.max_samples;
            return Err(ReadError::TooMany { what: "samples", limit });
        }
        self.out.push(place, millis, value);
        Ok(())
    }
}

/// Labels of a series: far more than any has.
const MAX_LABELS: usize = 1024;
/// Prometheus's staleness marker.
const STALE: u64 = 0x7ff0_0000_0000_0002;
/// Encodings of `prompb.Chunk`.
const XOR: u64 = 1;
const HISTOGRAMS: [u64; 4] = [2, 3, 5, 6];

/// Every field of this number, which has a length.
fn each(
    mut message: Message<'_>,
    wanted: u64,
    mut take: impl FnMut(Message<'_>) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    while let Some((number, value)) = message.next()? {
        match value {
            Bytes(inner) if number == wanted => take(inner)?,
            _ if number == wanted => return message.wrong_type().map_err(ReadError::from),
            _ => {}
        }
    }
    Ok(())
}

/// The first frame, checked, and what is behind it; `None` when it is not whole.
fn frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut head = Message::new(bytes);
    let length = usize::try_from(head.varint().ok()?).ok()?;
    let (sum, rest) = head.as_bytes().split_at_checked(4)?;
    let (frame, behind) = rest.split_at_checked(length)?;
    let sum = u32::from_be_bytes(sum.try_into().ok()?);
    (crc32c::crc32c(frame) == sum).then_some((frame, behind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: ReadLimits = ReadLimits { max_bytes: 1 << 20, max_samples: 10_000 };

    #[test]
    fn damaged_answers_say_why() {
        let check = |format, body: &[u8]| check_remote_read(format, body, LIMITS).unwrap_err();
        assert_eq!(check(ReadFormat::Samples, b"<html>"), ReadError::Snappy);
        assert_eq!(check(ReadFormat::Chunks, b"<html>"), ReadError::Frame { number: 1 });
        let bomb = snap::raw::Encoder::new().compress_vec(&vec![0; 2 << 20]).unwrap();
        let too_many = ReadError::TooMany { what: "bytes", limit: 1 << 20 };
        assert_eq!(check(ReadFormat::Samples, &bomb), too_many);
        let cut = snap::raw::Encoder::new().compress_vec(&[0x0a, 5, 1]).unwrap();
        assert!(matches!(check(ReadFormat::Samples, &cut), ReadError::Damaged { at: 1, .. }));
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = check_remote_read(ReadFormat::Chunks, &bytes, LIMITS);
            let framed = [&[bytes.len() as u8 & 0x7f][..], &crc32c::crc32c(&bytes).to_be_bytes(), &bytes];
            let _ = check_remote_read(ReadFormat::Chunks, &framed.concat(), LIMITS);
            let packed = snap::raw::Encoder::new().compress_vec(&bytes).unwrap();
            let _ = check_remote_read(ReadFormat::Samples, &packed, LIMITS);
        }
    }
}
