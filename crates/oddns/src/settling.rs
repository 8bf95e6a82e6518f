//! Telling a benign change for good from trouble, by days: what stays as it is, with users unharmed,
//! becomes the new normal; what goes on and on in one direction does not.

use oddns_core::{Frame, Timestamp};

use oddns_features::{Scaler, Transform};

use crate::column::Column;
use crate::creep::{LINE as CREPT, creeps};
use crate::detector::Detector;
use crate::training::model;

/// Rows are compared a day at a time, so that the hour of the day does not matter.
const DAY_SECONDS: f64 = 86_400.0;
/// Standard deviations of normal operation that a feature may be worse by without harm to users.
const HARM: f32 = 1.5;
/// A step has settled when its last day differs from the one before by no more than this, in
/// standard deviations, …
const SETTLED: f32 = 0.5;
/// … or than this part of the step.
const SETTLED_PART: f32 = 0.25;
/// A feature that changes day by day changes by this at least, in standard deviations: twice as
/// fast as a load that doubles in two months, …
const LEAST_A_DAY: f32 = 0.3;
/// … for so many days in one direction, …
const FEWEST_CHANGES: usize = 3;
/// … and in all by this.
const LEAST_IN_ALL: f32 = 2.0;
/// What has no reason to grow still does when its last day made more than this part of all of it: a
/// leak of twelve days does, and the memory of a server that was restarted with another release does not.
const GROWS_PART: f32 = 1.0 / 12.0;
/// Deviations count up to here.
const FURTHEST: f64 = 1e4;
/// The last day makes no more than this part of it: an incident on that day is no trend. The first
/// may, as a leak does on a logarithmic scale.
const MOST_OF_LAST_DAY: f32 = 0.6;
/// Features that say that users or the server are harmed when they rise.
pub(crate) const HARM_WHEN_UP: [&str; 17] = [
    "unserved_ratio",
    "servfail_ratio",
    "servfail_own_ratio",
    "zone_worst_servfail_ratio",
    "refused_ratio",
    "request_latency_mean_seconds",
    "request_latency_p90_seconds",
    "request_latency_p99_seconds",
    "request_above_256ms_ratio",
    "request_above_2s_ratio",
    "upstream_unanswered_ratio",
    "upstream_all_broken_rate",
    "health_latency_mean_seconds",
    "health_failure_rate",
    "recent_panics",
    "plugin_failure_rate",
    "policy_drop_ratio",
];
/// The same, when they fall.
const HARM_WHEN_DOWN: [&str; 1] = ["answered_ratio"];

/// A change that stayed, harmed nobody, and is learned as normal.
#[derive(Debug, Clone, PartialEq)]
pub struct NewNormal {
    /// On which server.
    pub instance: String,
    /// Since when it is there.
    pub since: Timestamp,
    /// For how many seconds it had stayed when it was accepted.
    pub stayed_seconds: f64,
    /// The features that moved most, with by how many standard deviations of the old normal.
    pub moved: Vec<(String, f32)>,
}

/// A feature that goes on in one direction: not learned until it stays.
#[derive(Debug, Clone, PartialEq)]
pub struct Trend {
    /// On which server.
    pub instance: String,
    /// Which feature.
    pub feature: String,
    /// Since when; rows from there on are not learned.
    pub since: Timestamp,
    /// By how many standard deviations of normal operation it has moved since.
    pub moved: f32,
}

/// Why an alarm that stays is not the new normal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Unsettled {
    TooShort,
    NoHealth,
    Harm,
    Moves,
}

/// Means of each feature over days, standardised by what a detector learned.
pub(crate) struct Days<'a> {
    detector: &'a Detector,
    /// Beginning of each day, and the means; NaN where a feature was never there.
    days: Vec<(Timestamp, Vec<f32>)>,
}

impl<'a> Days<'a> {
    /// Whole days that end with the last row; a day needs a quarter of as many rows as the fullest
    /// has.
    pub(crate) fn of(detector: &'a Detector, frame: &Frame) -> Self {
        let Some(last) = frame.timestamps().last().copied() else {
            return Self { detector, days: Vec::new() };
        };
        let mut days: Vec<Day> = Vec::new();
        let mut modelled = vec![0.0; detector.columns.len()];
        for (time, row) in frame.rows() {
            let back = (last.seconds_since(time) / DAY_SECONDS).floor() as i64;
            if days.last().is_none_or(|day| day.back != back) {
                days.push(Day::new(back, time, detector.columns.len()));
            }
            model(row, &detector.columns, &mut modelled);
            if let Some(day) = days.last_mut() {
                day.take(detector, &modelled);
            }
        }
        let full = days.iter().map(|day| day.n_rows).max().unwrap_or(0);
        let whole = days.into_iter().filter(|day| 4 * day.n_rows >= full);
        Self { detector, days: whole.map(Day::means).collect() }
    }

    /// Features that have gone one way, day by day, until the end.
    pub(crate) fn trends(&self, instance: &str) -> Vec<Trend> {
        let columns = self.detector.columns.iter().enumerate();
        columns.filter_map(|(at, column)| self.trend(instance, at, column)).collect()
    }

    fn trend(&self, instance: &str, at: usize, column: &Column) -> Option<Trend> {
        let (_, last) = self.days.last()?;
        let (mut n, mut first) = (0, self.days.len() - 1);
        let (mut direction, mut newest) = (0.0, 0.0_f32);
        for pair in self.days.windows(2).rev() {
            let change = self.change(at, pair[0].1[at], pair[1].1[at]);
            let goes_on = change.abs() >= LEAST_A_DAY && change * direction >= 0.0;
            // A value that is missing has no direction: NaN compares as false.
            if !goes_on {
                break;
            }
            (n, first, direction) = (n + 1, first - 1, change);
            newest = if n == 1 { change.abs() } else { newest };
        }
        let moved = last[at] - self.days[first].1[at];
        let all = self.change(at, self.days[first].1[at], last[at]);
        let even = newest <= MOST_OF_LAST_DAY * all.abs();
        let goes = n >= FEWEST_CHANGES && moved.abs() >= LEAST_IN_ALL && even;
        let (instance, feature) = (instance.to_owned(), column.name.clone());
        goes.then(|| Trend { instance, feature, since: self.days[first].0, moved })
    }

    /// Whether what is there since `since` is a new normal after `needed_seconds`.
    pub(crate) fn settled(
        &self,
        instance: &str,
        since: Timestamp,
        until: Timestamp,
        needed_seconds: f64,
    ) -> Result<NewNormal, Unsettled> {
        let stayed_seconds = until.seconds_since(since);
        let after = self.days.iter().filter(|(start, _)| *start >= since);
        let [.., (_, earlier), (_, last)] = &after.collect::<Vec<_>>()[..] else {
            return Err(Unsettled::TooShort);
        };
        if stayed_seconds < needed_seconds {
            return Err(Unsettled::TooShort);
        }
        let usual = vec![0.0; last.len()];
        let end = |start: &Timestamp| since.seconds_since(*start) >= DAY_SECONDS;
        let before = self.days.iter().rev().find(|(start, _)| end(start));
        let before = before.map_or(&usual, |(_, means)| means);
        let step: Vec<f32> = last.iter().zip(before).map(|(last, before)| last - before).collect();
        self.check_harm(&step, HARM)?;
        self.check_harm(last, CREPT)?;
        let moves = step.iter().zip(last.iter().zip(earlier)).any(|(step, (last, earlier))| {
            (last - earlier).abs() > SETTLED.max(SETTLED_PART * step.abs())
        });
        if moves || (0..last.len()).any(|at| self.grows(at, earlier[at], last[at])) {
            return Err(Unsettled::Moves);
        }
        let mut moved = self.most(&step);
        if moved.is_empty() {
            // What crept away is alarmed later than it came.
            moved = self.most(last);
        }
        Ok(NewNormal { instance: instance.to_owned(), since, stayed_seconds, moved })
    }

    fn check_harm(&self, step: &[f32], most: f32) -> Result<(), Unsettled> {
        let mut known = false;
        for (column, step) in self.detector.columns.iter().zip(step) {
            let up = HARM_WHEN_UP.contains(&column.name.as_str());
            let down = HARM_WHEN_DOWN.contains(&column.name.as_str());
            known |= up || down;
            if (up && *step > most) || (down && *step < -most) {
                return Err(Unsettled::Harm);
            }
        }
        if known { Ok(()) } else { Err(Unsettled::NoHealth) }
    }

    /// A deviation in the feature's unit, in standard deviations of normal operation there.
    fn plain(&self, at: usize, deviation: f32) -> f32 {
        let scale = self.detector.scaler.scale[at];
        match self.detector.columns[at].transform {
            Transform::Linear => deviation,
            // What is further out is as far as can be.
            Transform::Log { .. } => ((deviation * scale).exp_m1() / scale.exp_m1()).min(f32::MAX),
        }
    }

    /// How far it is from one deviation to another, signed: of what has no reason to grow by the scale
    /// on which it looks larger. On a logarithmic one a leak looks slower each day.
    fn change(&self, at: usize, from: f32, to: f32) -> f32 {
        let plain = self.plain(at, to) - self.plain(at, from);
        let is_larger = plain.abs() > (to - from).abs();
        if is_larger && creeps(&self.detector.columns[at].name) { plain } else { to - from }
    }

    /// Whether what has no reason to grow goes on doing so.
    fn grows(&self, at: usize, earlier: f32, last: f32) -> bool {
        let newest = self.plain(at, last) - self.plain(at, earlier);
        let watched = creeps(&self.detector.columns[at].name);
        watched && last >= LEAST_IN_ALL && newest > GROWS_PART * self.plain(at, last)
    }

    /// The features that moved most.
    fn most(&self, step: &[f32]) -> Vec<(String, f32)> {
        let named = self.detector.columns.iter().zip(step);
        let mut moved: Vec<(String, f32)> = named
            .filter(|(_, step)| step.abs() >= HARM)
            .map(|(column, step)| (column.name.clone(), *step))
            .collect();
        moved.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
        moved.truncate(5);
        moved
    }
}

/// A day being summed.
struct Day {
    /// Days before the last row.
    back: i64,
    start: Timestamp,
    n_rows: usize,
    sums: Vec<f64>,
    n: Vec<f64>,
}

impl Day {
    fn new(back: i64, start: Timestamp, width: usize) -> Self {
        Self { back, start, n_rows: 0, sums: vec![0.0; width], n: vec![0.0; width] }
    }

    fn take(&mut self, detector: &Detector, modelled: &[f32]) {
        self.n_rows += 1;
        for (at, value) in modelled.iter().enumerate().filter(|(_, value)| !value.is_nan()) {
            let Scaler { mean, scale, .. } = &detector.scaler;
            // Not cut where scores are: what goes on beyond goes on.
            let deviation = f64::from(value - mean[at]) / f64::from(scale[at]);
            self.sums[at] += deviation.clamp(-FURTHEST, FURTHEST);
            self.n[at] += 1.0;
        }
    }

    fn means(self) -> (Timestamp, Vec<f32>) {
        let mean = |(sum, n): (&f64, &f64)| (sum / n) as f32;
        (self.start, self.sums.iter().zip(&self.n).map(mean).collect())
    }
}
