//! What is in a data set.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use oddns_core::{Labels, Timestamp};

use crate::StoreError;
use crate::history::{HistoryFilter, MetricSample};
use crate::walk::{Rows, SeriesWalk, WholeHistory};

/// A pause this many times the usual interval is a gap.
pub(crate) const GAP_INTERVALS: i64 = 3;
/// More gaps and restarts of a server are not listed.
const MAX_LISTED: usize = 1000;

/// What a data set holds, by server.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Description {
    /// Samples of all servers.
    pub samples: u64,
    /// Bytes of all Parquet files.
    pub bytes: u64,
    /// One for each server, sorted by name.
    pub instances: Vec<InstanceDescription>,
}

/// What a data set holds of one server.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct InstanceDescription {
    /// Name of the server.
    pub instance: String,
    /// Its series.
    pub series: usize,
    /// Its samples.
    pub samples: u64,
    /// First and last sample.
    pub first: Timestamp,
    /// Last sample.
    pub last: Timestamp,
    /// Samples of its longest series: how often it was scraped.
    pub scrapes: usize,
    /// Seconds between two scrapes, most often; NaN with fewer than two.
    pub interval_seconds: f64,
    /// Pauses of three intervals and more: last scrape before and first one after.
    pub gaps: Vec<(Timestamp, Timestamp)>,
    /// When counters went back: the server had started anew.
    pub resets: Vec<Timestamp>,
    /// Versions that CoreDNS gave, sorted.
    pub versions: Vec<String>,
}

/// Describes the data set folder or Parquet file `root`, as far as `filter` lets it. Memory does
/// not grow with it.
pub fn describe(root: &Path, filter: &HistoryFilter) -> Result<Description, StoreError> {
    let history = WholeHistory::open(root, filter)?;
    let mut bytes = 0;
    for path in &history.parts {
        bytes += std::fs::metadata(path).map_err(StoreError::read(path))?.len();
    }
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    let mut walk = SeriesWalk::open(&history.parts, Rows::All)?;
    while let Some(([instance, name, labels], samples)) = walk.next()? {
        let samples = filter.cut(&instance, samples);
        if !samples.is_empty() {
            found.entry(instance).or_default().add(&name, &labels, samples);
        }
    }
    let instances: Vec<_> =
        found.into_iter().map(|(instance, found)| found.describe(instance)).collect();
    let samples = instances.iter().map(|instance| instance.samples).sum();
    Ok(Description { samples, bytes, instances })
}

/// What has been seen of a server.
#[derive(Default)]
struct Found {
    series: usize,
    samples: u64,
    /// Times of the longest series.
    times: Vec<i64>,
    resets: BTreeSet<i64>,
    versions: BTreeSet<String>,
    range: Option<(i64, i64)>,
}

impl Found {
    /// Takes a series with at least one sample.
    fn add(&mut self, name: &str, labels: &str, samples: &[MetricSample]) {
        self.series += 1;
        self.samples += samples.len() as u64;
        let (first, last) = (samples[0].0, samples[samples.len() - 1].0);
        let (from, to) = self.range.unwrap_or((first, last));
        self.range = Some((from.min(first), to.max(last)));
        if samples.len() > self.times.len() {
            self.times = samples.iter().map(|(millis, _)| *millis).collect();
        }
        if is_counter(name) {
            let backwards = samples.windows(2).filter(|pair| pair[1].1 < pair[0].1);
            let room = MAX_LISTED.saturating_sub(self.resets.len());
            self.resets.extend(backwards.map(|pair| pair[1].0).take(room));
        }
        if name == "coredns_build_info"
            && let Ok(labels) = labels.parse::<Labels>()
        {
            self.versions.extend(labels.get("version").map(str::to_owned));
        }
    }

    fn describe(self, instance: String) -> InstanceDescription {
        let interval = usual_pause(&self.times);
        let time = Timestamp::from_millis;
        let is_gap = |pair: &&[i64]| {
            interval.is_some_and(|usual| pair[1] - pair[0] >= usual.saturating_mul(GAP_INTERVALS))
        };
        let gaps = self.times.windows(2).filter(is_gap).take(MAX_LISTED);
        let gaps = gaps.map(|pair| (time(pair[0]), time(pair[1]))).collect();
        let (first, last) = self.range.unwrap_or_default();
        InstanceDescription {
            instance,
            series: self.series,
            samples: self.samples,
            first: time(first),
            last: time(last),
            scrapes: self.times.len(),
            interval_seconds: interval.map_or(f64::NAN, |millis| millis as f64 / 1000.0),
            gaps,
            resets: self.resets.into_iter().map(time).collect(),
            versions: self.versions.into_iter().collect(),
        }
    }
}

/// By its name, as Prometheus wants counters to be called.
fn is_counter(name: &str) -> bool {
    ["_total", "_count", "_bucket", "_sum"].iter().any(|suffix| name.ends_with(suffix))
}

/// The median pause between sorted times; `None` with fewer than two.
pub(crate) fn usual_pause(times: &[i64]) -> Option<i64> {
    let mut pauses: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    if pauses.is_empty() {
        return None;
    }
    let middle = pauses.len() / 2;
    Some(*pauses.select_nth_unstable(middle).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_resets_and_versions_are_found() {
        let mut found = Found::default();
        let times = [0, 15_000, 30_000, 90_000, 105_000];
        let with = |values: [f64; 5]| times.into_iter().zip(values).collect::<Vec<_>>();
        found.add("a_total", "", &with([1.0, 2.0, 3.0, 0.5, 0.5]));
        found.add("temperature", "", &with([5.0, 4.0, 3.0, 2.0, 1.0]));
        found.add("coredns_build_info", r#"{version="1.15.0"}"#, &with([1.0; 5]));
        let found = found.describe("a".into());
        assert_eq!((found.series, found.samples, found.scrapes), (3, 15, 5));
        assert_eq!(found.interval_seconds, 15.0);
        assert_eq!(found.gaps, [(Timestamp::from_millis(30_000), Timestamp::from_millis(90_000))]);
        assert_eq!(found.resets, [Timestamp::from_millis(90_000)]);
        assert_eq!(found.versions, ["1.15.0"]);
    }
}
