//! Prometheus's remote write, 1.0 and 2.0: from the body of a request to samples of known series.
//!
//! A request is decompressed into one buffer and read there. What a series is called is looked at
//! once; afterwards its labels are recognised by their [`fingerprint`] and nothing is allocated.

mod directory;
mod error;
mod fingerprint;
mod gathering;
mod refusal;
mod request;
mod sending;
mod v1;
mod v2;
mod version;

use std::time::Duration;

use oddns_core::Timestamp;

use crate::exposition::Limits;
pub use directory::{Directory, WrittenSeries, WrittenTarget};
pub use error::WriteError;
use fingerprint::Fingerprints;
pub use gathering::{GatherConfig, Gathered, Gathering};
pub use refusal::{Refusal, WriteCounts};
use request::{RawSeries, Request};
pub use sending::WriteRequest;
pub use version::WriteVersion;

/// How much one request may hold, and what of it is taken. Beyond the first five a request is refused
/// as a whole, beyond the others the samples concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteLimits {
    /// Bytes of a request as it is sent.
    pub max_compressed_bytes: usize,
    /// Bytes of a request after decompression; below 4 GiB.
    pub max_bytes: usize,
    /// Series with samples in a request.
    pub max_series: usize,
    /// Samples in a request.
    pub max_samples: usize,
    /// Different texts in a request of version 2.0.
    pub max_symbols: usize,
    /// Labels of a series, the name among them.
    pub labels: Limits,
    /// Series known at a time, about 50 bytes of memory each and what their labels need.
    pub max_known_series: usize,
    /// How far ahead of our clock a sample may be.
    pub max_future: Duration,
    /// How far behind our clock a sample may be.
    pub max_past: Duration,
}

impl Default for WriteLimits {
    fn default() -> Self {
        Self {
            max_compressed_bytes: 16 << 20,
            max_bytes: 32 << 20,
            max_series: 100_000,
            max_samples: 500_000,
            max_symbols: 200_000,
            labels: Limits::default(),
            max_known_series: 10_000_000,
            max_future: Duration::from_secs(600),
            max_past: Duration::from_secs(2 * 86_400),
        }
    }
}

/// A sample of a known series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WrittenSample {
    /// Which series, in the [`Directory`].
    pub series: WrittenSeries,
    /// Unix time in milliseconds.
    pub millis: i64,
    /// Any f64; staleness markers keep their bits.
    pub value: f64,
}

/// What was taken of a request; reused from one request to the next.
#[derive(Debug, Default)]
pub struct WriteBatch {
    /// In the order of the request; those of one series are in order of time.
    pub samples: Vec<WrittenSample>,
    /// What the request held.
    pub counts: WriteCounts,
    /// What the last sample of a series was before, to be undone from the end.
    before: Vec<(WrittenSeries, i64, u64)>,
}

/// Reads remote-write requests.
#[derive(Debug)]
pub struct RemoteWrite {
    limits: WriteLimits,
    prints: Fingerprints,
    directory: Directory,
    request: Request,
    found: Vec<Option<WrittenSeries>>,
}

impl RemoteWrite {
    /// Knows no series yet.
    pub fn new(limits: WriteLimits) -> Self {
        Self {
            limits,
            prints: Fingerprints::new(),
            directory: Directory::default(),
            request: Request::default(),
            found: Vec::new(),
        }
    }

    /// The series that are known.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// See [`Directory::forget_before`].
    pub fn forget_before(&mut self, millis: i64) -> Vec<WrittenSeries> {
        self.directory.forget_before(millis)
    }

    /// Reads `body` into `batch`, which is emptied before. `now` is our time.
    ///
    /// Fails without having taken anything when the request as a whole is not sound. What is wrong
    /// with single series or samples is counted in the batch, and the others are taken. Series count
    /// as having these samples from now on; see [`RemoteWrite::undo`].
    pub fn read(
        &mut self,
        version: WriteVersion,
        body: &[u8],
        now: Timestamp,
        batch: &mut WriteBatch,
    ) -> Result<(), WriteError> {
        batch.clear();
        self.request.read(version, body, &self.limits, &self.prints)?;
        let counts = &mut batch.counts;
        let rows = &self.request.rows;
        (counts.exemplars, counts.metadata) = (rows.n_exemplars, rows.n_metadata);
        counts.refuse(Refusal::Histogram, rows.n_histograms);
        // All look-ups first: each misses the cache, and so they miss it at the same time.
        self.found.clear();
        let directory = &self.directory;
        self.found.extend(rows.series.iter().map(|series| directory.find(series.fingerprint)));
        self.take_samples(now, batch);
        Ok(())
    }

    /// Forgets that the samples of `batch`, the last one read, were there: they could not be kept,
    /// and the sender will send them again.
    pub fn undo(&mut self, batch: &WriteBatch) {
        for (series, millis, bits) in batch.before.iter().rev() {
            let entry = self.directory.entry(*series);
            (entry.last_millis, entry.last_bits) = (*millis, *bits);
        }
    }

    fn take_samples(&mut self, now: Timestamp, batch: &mut WriteBatch) {
        let times = self.limits.times(now);
        let mut start = 0;
        for at in 0..self.request.rows.series.len() {
            let raw = self.request.rows.series[at];
            let samples = start..raw.samples_end as usize;
            start = samples.end;
            batch.counts.series += 1;
            let series = match self.found[at] {
                Some(series) => {
                    batch.counts.recognised += 1;
                    Ok(series)
                }
                None => self.meet(raw),
            };
            let series = match series {
                Ok(series) => series,
                Err(refusal) => {
                    batch.counts.refuse(refusal, samples.len() as u64);
                    continue;
                }
            };
            let entry = self.directory.entry(series);
            for sample in &self.request.rows.samples[samples] {
                let sample = WrittenSample { series, millis: sample.millis, value: sample.value };
                let last = (entry.last_millis, entry.last_bits);
                match judged(last, &sample, &times) {
                    Ok(()) => {
                        batch.before.push((series, last.0, last.1));
                        entry.last_millis = sample.millis;
                        entry.last_bits = sample.value.to_bits();
                        batch.samples.push(sample);
                        batch.counts.taken += 1;
                    }
                    Err(refusal) => batch.counts.refuse(refusal, 1),
                }
            }
        }
    }

    /// A series that is not known yet, or only from earlier in this request.
    fn meet(&mut self, raw: RawSeries) -> Result<WrittenSeries, Refusal> {
        if let Some(series) = self.directory.find(raw.fingerprint) {
            return Ok(series);
        }
        if self.directory.len() >= self.limits.max_known_series {
            return Err(Refusal::TooManySeries);
        }
        let mut pairs = request::pairs(&self.request, raw.labels, self.limits.labels.max_labels)
            .map_err(|_| Refusal::Labels)?;
        // To Prometheus a label without a value is none.
        pairs.retain(|(_, value)| !value.is_empty());
        pairs.sort_unstable();
        if !are_valid(&pairs, &self.limits.labels) {
            return Err(Refusal::Labels);
        }
        // The way in which 1.0 is to write it, so that the same series in another order or from
        // another version is the same.
        let print = self.prints.of(&v1::canonical(&pairs));
        let series = match self.directory.find(print) {
            Some(series) => series,
            None => self.directory.insert(print, &pairs),
        };
        self.directory.alias(raw.fingerprint, series);
        Ok(series)
    }
}

impl WriteLimits {
    fn times(&self, now: Timestamp) -> std::ops::RangeInclusive<i64> {
        let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let now = now.millis();
        now.saturating_sub(millis(self.max_past))..=now.saturating_add(millis(self.max_future))
    }
}

impl WriteBatch {
    fn clear(&mut self) {
        self.samples.clear();
        self.before.clear();
        self.counts = WriteCounts::default();
    }
}

/// Whether a sample may follow the last one, of which time and bits are given.
fn judged(
    last: (i64, u64),
    sample: &WrittenSample,
    times: &std::ops::RangeInclusive<i64>,
) -> Result<(), Refusal> {
    if !times.contains(&sample.millis) {
        let is_old = sample.millis < *times.start();
        return Err(if is_old { Refusal::TooOld } else { Refusal::TooNew });
    }
    if sample.millis > last.0 {
        return Ok(());
    }
    Err(match sample.millis == last.0 {
        true if sample.value.to_bits() == last.1 => Refusal::Duplicate,
        true => Refusal::Conflicting,
        false => Refusal::OutOfOrder,
    })
}

/// Whether sorted pairs are a series: a metric name, no name twice, nothing beyond limits.
fn are_valid(pairs: &[(&str, &str)], limits: &Limits) -> bool {
    let metric = pairs.iter().find(|(name, _)| *name == "__name__");
    metric.is_some_and(|(_, name)| name.len() <= limits.max_name_bytes)
        && pairs.len() <= limits.max_labels
        && pairs.windows(2).all(|pair| pair[0].0 != pair[1].0)
        && pairs.iter().all(|(name, value)| {
            !name.is_empty()
                && name.len() <= limits.max_name_bytes
                && value.len() <= limits.max_value_bytes
        })
}
