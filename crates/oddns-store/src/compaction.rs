//! From segments of the log to Parquet.
//!
//! Memory does not grow with the log: samples are counted first, then read once more for each
//! stretch of series that fits, and sorted by putting each where it belongs.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::ops::AddAssign;
use std::path::{Path, PathBuf};

use oddns_core::Timestamp;

use crate::StoreError;
use crate::history::{MILLIS_PER_DAY, day_folder};
use crate::live::Identities;
use crate::log::{LogDamage, LogReader, Payload, Step, Steps, read_segment, samples};
use crate::part::PartWriter;

/// Samples in memory at once; 16 bytes each.
const MAX_SORTED: usize = 4 << 20;

/// A part under its temporary name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewPart {
    /// Temporary and final path, relative to the history.
    pub(crate) names: (PathBuf, PathBuf),
}

/// What came of a stretch of the log.
#[derive(Debug, Default)]
pub(crate) struct Compacted {
    pub(crate) parts: Vec<NewPart>,
    /// Names of the servers, sorted.
    pub(crate) instances: Vec<String>,
    /// First and last sample.
    pub(crate) times: Option<(Timestamp, Timestamp)>,
    pub(crate) damage: Vec<LogDamage>,
    pub(crate) surplus: Surplus,
}

/// Writes the samples of `segments` as one part for each day, each on disk for good and under a
/// temporary name. `number` is the number of the first part. Of samples of one series at one time
/// the first one stays.
pub(crate) fn compact(
    root: &Path,
    segments: &[PathBuf],
    number: u64,
) -> Result<Compacted, StoreError> {
    let census = Census::take(segments)?;
    let order = census.identities.in_order();
    let (mut parts, mut surplus) = (Vec::new(), Surplus::default());
    for (day, number) in census.days.iter().zip(number..) {
        let (part, n) = census.write_day(root, segments, *day, &order, number)?;
        parts.push(part);
        surplus += n;
    }
    let mut instances: Vec<String> =
        order.iter().map(|series| census.identities.texts(*series)[0].to_owned()).collect();
    instances.dedup();
    let times = |(from, to)| (Timestamp::from_millis(from), Timestamp::from_millis(to));
    let (times, damage) = (census.times.map(times), census.damage);
    Ok(Compacted { parts, instances, times, damage, surplus })
}

/// What is in the segments, without the samples.
#[derive(Default)]
struct Census {
    identities: Identities,
    /// For each segment, our number of each of its series.
    numbers: Vec<Vec<Option<u32>>>,
    /// Samples of each series.
    counts: Vec<u32>,
    /// Days that have samples.
    days: BTreeSet<i64>,
    last_day: Option<i64>,
    times: Option<(i64, i64)>,
    damage: Vec<LogDamage>,
}

impl Census {
    fn take(segments: &[PathBuf]) -> Result<Self, StoreError> {
        let mut census = Self::default();
        for path in segments {
            let read = read_segment(path, &mut census)?;
            census.numbers.push(read.series);
        }
        census.counts.resize(census.identities.len(), 0);
        Ok(census)
    }

    /// The part, and the samples that were left out for others.
    fn write_day(
        &self,
        root: &Path,
        segments: &[PathBuf],
        day: i64,
        order: &[u32],
        number: u64,
    ) -> Result<(NewPart, Surplus), StoreError> {
        let folder = day_folder(day);
        let names = part_names(&folder, number);
        fs::create_dir_all(root.join(&folder)).map_err(StoreError::write(&root.join(&folder)))?;
        let path = root.join(&names.0);
        let file = File::create(&path).map_err(StoreError::write(&path))?;
        let mut part = PartWriter::new(&path, file)?;
        let (mut rest, mut surplus) = (order, Surplus::default());
        while !rest.is_empty() {
            let (now, later) = rest.split_at(self.fitting(rest));
            let mut sorted = Sorted::new(&self.counts, now);
            self.fill(segments, day, &mut sorted)?;
            surplus += sorted.write(&self.identities, now, &mut part)?;
            rest = later;
        }
        part.finish()?.sync_all().map_err(StoreError::write(&path))?;
        Ok((NewPart { names }, surplus))
    }

    /// How many of the series that come next fit into memory; at least one.
    fn fitting(&self, order: &[u32]) -> usize {
        let mut n_samples = 0;
        for (at, series) in order.iter().enumerate() {
            n_samples += self.counts[*series as usize] as usize;
            if n_samples > MAX_SORTED && at > 0 {
                return at;
            }
        }
        order.len()
    }

    /// Reads the samples of a day and of some series.
    fn fill(&self, segments: &[PathBuf], day: i64, sorted: &mut Sorted) -> Result<(), StoreError> {
        let from = day.saturating_mul(MILLIS_PER_DAY);
        let until = from.saturating_add(MILLIS_PER_DAY);
        for (path, numbers) in segments.iter().zip(&self.numbers) {
            let mut steps = Steps::open(path)?;
            while let Some(step) = steps.next()? {
                let Step::Record(Payload::Samples { body, .. }) = step else { continue };
                samples(body, |id, millis, value| {
                    if let Some(Some(series)) = numbers.get(id as usize)
                        && (from..until).contains(&millis)
                    {
                        sorted.put(*series, millis, value);
                    }
                });
            }
        }
        Ok(())
    }
}

impl LogReader for Census {
    type Series = u32;

    fn series(&mut self, texts: [&str; 3]) -> u32 {
        // The log has a limit to its series; there is none here.
        self.identities.intern(texts, usize::MAX).unwrap_or_default()
    }

    fn sample(&mut self, series: u32, millis: i64, _value: f64) {
        let at = series as usize;
        if self.counts.len() <= at {
            self.counts.resize(self.identities.len(), 0);
        }
        self.counts[at] += 1;
        let (from, to) = self.times.unwrap_or((millis, millis));
        self.times = Some((from.min(millis), to.max(millis)));
        let day = millis.div_euclid(MILLIS_PER_DAY);
        if self.last_day != Some(day) {
            self.last_day = Some(day);
            self.days.insert(day);
        }
    }

    fn damage(&mut self, damage: LogDamage, is_end: bool) {
        self.damage.push(LogDamage { is_torn_end: is_end, ..damage });
    }
}

/// Samples of some series, each series in one stretch.
struct Sorted {
    /// Where the next sample of each series goes; `u32::MAX` for series that are not wanted now.
    next: Vec<u32>,
    /// Where the stretches begin, in the order of the series.
    starts: Vec<u32>,
    samples: Vec<(i64, f64)>,
}

impl Sorted {
    fn new(counts: &[u32], series: &[u32]) -> Self {
        let mut next = vec![u32::MAX; counts.len()];
        let mut starts = Vec::with_capacity(series.len());
        let mut total = 0;
        for series in series {
            starts.push(total);
            next[*series as usize] = total;
            total += counts[*series as usize];
        }
        Self { next, starts, samples: vec![(0, 0.0); total as usize] }
    }

    fn put(&mut self, series: u32, millis: i64, value: f64) {
        let next = &mut self.next[series as usize];
        if let Some(place) = self.samples.get_mut(*next as usize) {
            *place = (millis, value);
            *next += 1;
        }
    }

    fn write(
        mut self,
        identities: &Identities,
        order: &[u32],
        part: &mut PartWriter<File>,
    ) -> Result<Surplus, StoreError> {
        let mut surplus = Surplus::default();
        for (series, start) in order.iter().zip(&self.starts) {
            let end = self.next[*series as usize];
            let samples = &mut self.samples[*start as usize..end as usize];
            let ordered = in_order(samples);
            surplus += ordered.surplus;
            if ordered.n > 0 {
                part.add(identities.texts(*series), &samples[..ordered.n])?;
            }
        }
        Ok(surplus)
    }
}

/// What is left of the samples of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Ordered {
    /// How many stay; they stand first.
    pub(crate) n: usize,
    pub(crate) surplus: Surplus,
}

/// Samples left out because an earlier one of the series has the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Surplus {
    pub(crate) duplicates: u64,
    /// Of these, how many had another value.
    pub(crate) conflicts: u64,
}

impl AddAssign for Surplus {
    fn add_assign(&mut self, other: Self) {
        self.duplicates += other.duplicates;
        self.conflicts += other.conflicts;
    }
}

/// Sorts the samples of a series by time; of those at one time only the first one stays, as in
/// Prometheus.
pub(crate) fn in_order(samples: &mut [(i64, f64)]) -> Ordered {
    if samples.is_sorted_by(|a, b| a.0 < b.0) {
        return Ordered { n: samples.len(), surplus: Surplus::default() };
    }
    samples.sort_by_key(|(millis, _)| *millis);
    let mut ordered = Ordered::default();
    for at in 0..samples.len() {
        let before = ordered.n.checked_sub(1).map(|last| samples[last]);
        match before.filter(|(millis, _)| *millis == samples[at].0) {
            Some((_, value)) => {
                let is_other = value.to_bits() != samples[at].1.to_bits();
                ordered.surplus += Surplus { duplicates: 1, conflicts: u64::from(is_other) };
            }
            None => {
                samples[ordered.n] = samples[at];
                ordered.n += 1;
            }
        }
    }
    ordered
}

/// Temporary and final name of a part.
pub(crate) fn part_names(folder: &Path, number: u64) -> (PathBuf, PathBuf) {
    (folder.join(format!(".part-{number}.tmp")), folder.join(format!("part-{number}.parquet")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_samples_at_one_time_the_first_one_stays_and_other_values_are_counted() {
        let mut samples = [(2, 1.0), (1, 5.0), (2, 1.0), (2, f64::NAN), (1, 6.0)];
        let ordered = in_order(&mut samples);
        let surplus = Surplus { duplicates: 3, conflicts: 2 };
        assert_eq!(ordered, Ordered { n: 2, surplus });
        assert_eq!(samples[..2], [(1, 5.0), (2, 1.0)]);
    }
}
