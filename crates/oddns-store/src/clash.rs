//! Servers of one name in two histories: one server, or two that would become one.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oddns_core::Timestamp;

use crate::description::{GAP_INTERVALS, usual_pause};
use crate::history::{HistoryFilter, MetricSample, SCRAPE_DURATION, UP, read_history};
use crate::importing::write_history;
use crate::walk::{Rows, SeriesWalk, WholeHistory, day_name, texts_of};
use crate::{Dataset, StoreError};

/// A recording that takes over from another one may be so many scrapes early.
const MAX_EARLY: usize = 3;

/// A server that two histories have at the same time, with samples that are not those of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clash {
    /// Name of the server.
    pub instance: String,
    /// First of the times at which they are not the same.
    pub from: Timestamp,
    /// Last of these times.
    pub until: Timestamp,
}

/// The servers, sorted by name, that the data set folders or Parquet files `one` and `other` both
/// have, as far as `filter` lets them, and that cannot be the same: series of both have other values
/// at most of the times that both know, or each was scraped while the other one was.
///
/// Copies, parts of one recording, and recordings of one server at other times or of other metrics
/// do not clash. With `sound_only`, what is damaged is passed over; otherwise it is an error.
pub fn clashes(
    one: &Path,
    other: &Path,
    filter: &HistoryFilter,
    sound_only: bool,
) -> Result<Vec<Clash>, StoreError> {
    match clashes_in_order([one, other], filter, sound_only) {
        Err(StoreError::Empty { .. }) => Ok(Vec::new()),
        Err(StoreError::Unsorted { .. }) => {
            let folder =
                tempfile::tempdir().map_err(StoreError::write(Path::new("temporary folder")))?;
            let sorted = ["one", "other"].map(|name| folder.path().join(name));
            for (path, sorted) in [one, other].into_iter().zip(&sorted) {
                let history = read_history(path, filter)?;
                write_history(sorted, &Dataset::default(), &history.recordings)?;
            }
            clashes_in_order([&sorted[0], &sorted[1]], filter, sound_only)
        }
        done => done,
    }
}

fn clashes_in_order(
    paths: [&Path; 2],
    filter: &HistoryFilter,
    sound_only: bool,
) -> Result<Vec<Clash>, StoreError> {
    let [mut one, mut other] =
        [WholeHistory::open(paths[0], filter)?, WholeHistory::open(paths[1], filter)?];
    if sound_only {
        one.retain_readable();
        other.retain_readable();
    }
    let rows = if sound_only { Rows::Sound } else { Rows::All };
    let by_day = paths.iter().all(|path| path.is_dir());
    let mut found: BTreeMap<String, Compared> = BTreeMap::new();
    for [one, other] in common_days(&one, &other, by_day) {
        let servers = texts_of(other, "instance")?;
        if texts_of(one, "instance")?.is_disjoint(&servers) {
            continue;
        }
        for (instance, instants) in compare([one, other], rows, filter)? {
            found.entry(instance).or_default().add(&instants);
        }
    }
    Ok(found.into_iter().filter_map(|(instance, compared)| compared.clash(instance)).collect())
}

/// The files of the days that both have; all files at once when one is a file without a day.
fn common_days<'a>(
    one: &'a WholeHistory,
    other: &'a WholeHistory,
    by_day: bool,
) -> Vec<[&'a [PathBuf]; 2]> {
    if !by_day {
        return vec![[&one.parts, &other.parts]];
    }
    let day = |parts: &[PathBuf]| parts.first().and_then(|path| day_name(path));
    let others: BTreeMap<_, _> = other.days().map(|parts| (day(parts), parts)).collect();
    one.days().filter_map(|parts| Some([parts, others.get(&day(parts))?])).collect()
}

/// What is known of an instant: bits of [`SAME`], [`UNLIKE`], and who alone has a sample.
type Instants = BTreeMap<i64, u8>;
const ALONE: [u8; 2] = [1, 2];
const SAME: u8 = 4;
const UNLIKE: u8 = 8;

/// The series that both have, by server.
fn compare(
    parts: [&[PathBuf]; 2],
    rows: Rows<'_>,
    filter: &HistoryFilter,
) -> Result<BTreeMap<String, Instants>, StoreError> {
    let [mut one, mut other] = [Cursor::open(parts[0], rows)?, Cursor::open(parts[1], rows)?];
    let mut found: BTreeMap<String, Instants> = BTreeMap::new();
    while let (Some(series), Some(theirs)) = (&one.series, &other.series) {
        match series.cmp(theirs) {
            Ordering::Less => one.advance()?,
            Ordering::Greater => other.advance()?,
            Ordering::Equal => {
                let [instance, name, _] = series;
                // Whoever scrapes makes these.
                if ![UP, SCRAPE_DURATION].contains(&name.as_str()) {
                    let samples = [&one.samples, &other.samples];
                    let samples = samples.map(|samples| filter.cut(instance, samples));
                    note(samples, found.entry(instance.clone()).or_default());
                }
                one.advance()?;
                other.advance()?;
            }
        }
    }
    Ok(found)
}

/// Notes at which instants the samples of one series are the same.
fn note(samples: [&[MetricSample]; 2], instants: &mut Instants) {
    let [one, other] = samples;
    let reaches = samples.map(reach);
    let (mut at, mut there) = (0, 0);
    let mut note = |millis: i64, what: u8| *instants.entry(millis).or_default() |= what;
    // What comes after the end of one cannot lie amid its samples.
    while let (Some(mine), Some(theirs)) = (one.get(at), other.get(there)) {
        match mine.0.cmp(&theirs.0) {
            Ordering::Equal => {
                let is_same = mine.1 == theirs.1 || (mine.1.is_nan() && theirs.1.is_nan());
                note(mine.0, if is_same { SAME } else { UNLIKE });
                (at, there) = (at + 1, there + 1);
            }
            Ordering::Less => {
                if is_amid(mine.0, other, there, reaches[1]) {
                    note(mine.0, ALONE[0]);
                }
                at += 1;
            }
            Ordering::Greater => {
                if is_amid(theirs.0, one, at, reaches[0]) {
                    note(theirs.0, ALONE[1]);
                }
                there += 1;
            }
        }
    }
}

/// Milliseconds between two samples that are no gap.
fn reach(samples: &[MetricSample]) -> i64 {
    let times: Vec<i64> = samples.iter().map(|(millis, _)| *millis).collect();
    usual_pause(&times).map_or(0, |pause| pause.saturating_mul(GAP_INTERVALS))
}

/// Whether a time lies between two neighbouring samples, of which the later one is at `next`.
fn is_amid(millis: i64, samples: &[MetricSample], next: usize, reach: i64) -> bool {
    let before = next.checked_sub(1).and_then(|last| samples.get(last));
    let around = before.zip(samples.get(next));
    around.is_some_and(|(last, next)| last.0 < millis && next.0 - last.0 < reach)
}

/// A walk that stands at a series.
struct Cursor {
    walk: SeriesWalk,
    series: Option<[String; 3]>,
    samples: Vec<MetricSample>,
}

impl Cursor {
    fn open(parts: &[PathBuf], rows: Rows<'_>) -> Result<Self, StoreError> {
        let walk = SeriesWalk::open(parts, rows)?;
        let mut cursor = Self { walk, series: None, samples: Vec::new() };
        cursor.advance()?;
        Ok(cursor)
    }

    fn advance(&mut self) -> Result<(), StoreError> {
        self.series = None;
        if let Some((series, samples)) = self.walk.next()? {
            self.samples.clear();
            self.samples.extend_from_slice(samples);
            self.series = Some(series);
        }
        Ok(())
    }
}

/// Instants of a server that two histories have.
#[derive(Debug, Default)]
struct Compared {
    same: usize,
    unlike: usize,
    alone: [usize; 2],
    /// First and last instant that is not the same.
    range: Option<(i64, i64)>,
}

impl Compared {
    fn add(&mut self, instants: &Instants) {
        for (millis, what) in instants {
            if what & UNLIKE == 0 && what & SAME != 0 {
                self.same += 1;
                continue;
            }
            if what & UNLIKE != 0 {
                self.unlike += 1;
            } else {
                for (n, bit) in self.alone.iter_mut().zip(ALONE) {
                    *n += usize::from(what & bit != 0);
                }
            }
            let (from, until) = self.range.unwrap_or((*millis, *millis));
            self.range = Some((from.min(*millis), until.max(*millis)));
        }
    }

    fn clash(self, instance: String) -> Option<Clash> {
        // Who has every other sample of the other one has left some out.
        let amid = self.alone[0].min(self.alone[1]);
        let is_more = self.unlike > 1 || amid > MAX_EARLY;
        let (from, until) = self.range.filter(|_| is_more && self.unlike + amid > self.same)?;
        let [from, until] = [from, until].map(Timestamp::from_millis);
        Some(Clash { instance, from, until })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether series of one sample each `every` ms, with values from `value` on, clash.
    fn clash(one: (i64, i64, i64, f64), other: (i64, i64, i64, f64)) -> bool {
        let samples = |(first, last, every, value): (i64, i64, i64, f64)| {
            let times = (first..=last).step_by(usize::try_from(every).unwrap());
            times.map(|millis| (millis, value + millis as f64)).collect::<Vec<_>>()
        };
        let (mut instants, mut compared) = (Instants::new(), Compared::default());
        note([&samples(one), &samples(other)], &mut instants);
        compared.add(&instants);
        compared.clash("a".into()).is_some()
    }

    #[test]
    fn what_two_servers_say_clashes_and_what_one_says_does_not() {
        let day = (0, 86_400, 15, 0.0);
        assert!(clash(day, (0, 86_400, 15, 7.0)), "other values");
        assert!(clash(day, (82_800, 200_000, 15, 7.0)), "other values at the end");
        assert!(clash(day, (82_807, 200_000, 15, 7.0)), "scraped between");
        assert!(clash(day, (7, 86_400, 60, 7.0)), "scraped between, less often");
        for (other, what) in [
            (day, "a copy"),
            ((0, 86_400, 60, 0.0), "a copy with fewer samples"),
            ((43_200, 200_000, 15, 0.0), "a part of the same recording"),
            ((86_400, 200_000, 15, 7.0), "one that begins when the other ends"),
            ((86_370, 200_000, 17, 7.0), "one that begins a little before"),
            ((100_000, 200_000, 15, 7.0), "one at another time"),
        ] {
            assert!(!clash(day, other), "{what}");
        }
    }

    #[test]
    fn what_fills_a_gap_does_not_clash() {
        let with_gap: Vec<_> =
            (0..100).filter(|n| !(40..60).contains(n)).map(|n| (15 * n, 1.0)).collect();
        let fill: Vec<_> = (41..59).map(|n| (15 * n + 4, 2.0)).collect();
        let mut instants = Instants::new();
        note([&with_gap, &fill], &mut instants);
        assert!(instants.is_empty());
    }
}
