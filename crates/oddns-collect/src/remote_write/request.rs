//! One request: decompressed into a buffer, and what it says about where in that buffer.

use std::ops::Range;

use super::fingerprint::{Fingerprint, Fingerprints};
use super::{WriteError, WriteLimits, WriteVersion};
use crate::protobuf::{Damage, Message};

/// A request, decoded in place; reused from one request to the next.
#[derive(Debug, Default)]
pub(super) struct Request {
    /// The message, after decompression.
    pub(super) bytes: Vec<u8>,
    pub(super) rows: Rows,
}

/// What a message holds.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// In order; the samples of each end where those of the next begin.
    pub(super) series: Vec<RawSeries>,
    pub(super) samples: Vec<RawSample>,
    /// Of version 1.0, labels that do not lie side by side in the message.
    pub(super) scattered: Vec<u8>,
    /// Of version 2.0, where the texts lie.
    pub(super) symbols: Vec<Range<u32>>,
    pub(super) symbol_prints: Vec<Fingerprint>,
    /// Of version 2.0, names and values by their places in `symbols`.
    pub(super) references: Vec<u32>,
    pub(super) n_histograms: u64,
    pub(super) n_exemplars: u64,
    pub(super) n_metadata: u64,
}

/// A series with samples.
#[derive(Debug, Clone, Copy)]
pub(super) struct RawSeries {
    pub(super) fingerprint: Fingerprint,
    pub(super) labels: RawLabels,
    /// Place behind its last sample.
    pub(super) samples_end: u32,
}

/// Where the labels of a series are; 32 bits are enough, since limits are below.
#[derive(Debug, Clone, Copy)]
pub(super) enum RawLabels {
    /// Fields of version 1.0 in the message.
    Together { start: u32, end: u32 },
    /// The same, in [`Rows::scattered`].
    Scattered { start: u32, end: u32 },
    /// Places in [`Rows::references`].
    Referenced { start: u32, end: u32 },
}

#[derive(Debug, Clone, Copy)]
pub(super) struct RawSample {
    pub(super) millis: i64,
    pub(super) value: f64,
}

impl Request {
    /// Reads `body`; what was there before is gone, also when it fails.
    pub(super) fn read(
        &mut self,
        version: WriteVersion,
        body: &[u8],
        limits: &WriteLimits,
        prints: &Fingerprints,
    ) -> Result<(), WriteError> {
        self.rows.clear();
        self.decompress(body, limits)?;
        let message = Message::new(&self.bytes[..]);
        match version {
            WriteVersion::V1 => super::v1::read(message, &mut self.rows, limits, prints),
            WriteVersion::V2 => super::v2::read(message, &mut self.rows, limits, prints),
        }
    }

    /// The length is said in front, so a bomb is refused before anything is allocated.
    fn decompress(&mut self, body: &[u8], limits: &WriteLimits) -> Result<(), WriteError> {
        let too_large = |limit, what| Err(WriteError::TooLarge { what, limit });
        if body.len() > limits.max_compressed_bytes {
            return too_large(limits.max_compressed_bytes, "bytes");
        }
        let length = snap::raw::decompress_len(body).map_err(WriteError::Snappy)?;
        if length > limits.max_bytes.min(u32::MAX as usize) {
            return too_large(limits.max_bytes, "bytes after decompression");
        }
        // No byte of snappy stands for more than 64, so a claim beyond is false.
        if length / 64 > body.len() {
            let source = snap::Error::Header;
            return Err(WriteError::Snappy(source));
        }
        self.bytes.resize(length, 0);
        snap::raw::Decoder::new().decompress(body, &mut self.bytes).map_err(WriteError::Snappy)?;
        Ok(())
    }
}

impl Rows {
    fn clear(&mut self) {
        self.series.clear();
        self.samples.clear();
        self.scattered.clear();
        self.symbols.clear();
        self.symbol_prints.clear();
        self.references.clear();
        (self.n_histograms, self.n_exemplars, self.n_metadata) = (0, 0, 0);
    }

    /// Takes one sample message: both versions have the same first two fields.
    #[inline]
    pub(super) fn sample(
        &mut self,
        mut message: Message<'_>,
        limits: &WriteLimits,
    ) -> Result<(), WriteError> {
        use crate::protobuf::Value::{Fixed64, Varint};
        let mut sample = RawSample { millis: 0, value: 0.0 };
        while let Some((number, value)) = message.next()? {
            match (number, value) {
                (1, Fixed64(bits)) => sample.value = f64::from_bits(bits),
                (2, Varint(millis)) => sample.millis = millis as i64,
                (1 | 2, _) => return message.wrong_type().map_err(WriteError::from),
                _ => {}
            }
        }
        if self.samples.len() == limits.max_samples {
            return Err(WriteError::TooLarge { what: "samples", limit: limits.max_samples });
        }
        self.samples.push(sample);
        Ok(())
    }

    /// Ends a series. One without samples is forgotten.
    #[inline]
    pub(super) fn end_series(
        &mut self,
        fingerprint: Fingerprint,
        labels: RawLabels,
        limits: &WriteLimits,
    ) -> Result<(), WriteError> {
        let before = self.series.last().map_or(0, |series| series.samples_end as usize);
        if self.samples.len() == before {
            return Ok(());
        }
        if self.series.len() == limits.max_series {
            return Err(WriteError::TooLarge { what: "series", limit: limits.max_series });
        }
        let samples_end = self.samples.len() as u32;
        self.series.push(RawSeries { fingerprint, labels, samples_end });
        Ok(())
    }
}

/// The pairs of a series, in the sender's order, for the first time that it is met.
pub(super) fn pairs<'a>(
    request: &'a Request,
    labels: RawLabels,
    max_labels: usize,
) -> Result<Vec<(&'a str, &'a str)>, Damage> {
    let slice = |bytes: &'a [u8], start: u32, end: u32| {
        Message::new(bytes.get(start as usize..end as usize).unwrap_or_default())
    };
    match labels {
        RawLabels::Together { start, end } => {
            super::v1::pairs(slice(&request.bytes, start, end), max_labels)
        }
        RawLabels::Scattered { start, end } => {
            super::v1::pairs(slice(&request.rows.scattered, start, end), max_labels)
        }
        RawLabels::Referenced { start, end } => {
            super::v2::pairs(request, start as usize..end as usize, max_labels)
        }
    }
}
