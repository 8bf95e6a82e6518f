//! Bands around each feature, as the recording rules of grafana/promql-anomaly-detection draw them.

use super::rows::Rows;
use super::scale::CLIP;
use super::state::{Fields, Judge, LARGEST_COUNT, Persist};
use super::strength::furthest;
use super::window::{Moments, Units, Window};
use super::{Fit, width_checked};
use crate::DetectError;

/// The constants of `rules/adaptive.yml`. Standard deviations from the middle to an edge …
const DEVIATIONS: f32 = 2.0;
/// … and the least distance, as a share of the middle.
const MARGIN: f32 = 0.5;
/// An hour counts as lively when its deviation is above this share of its mean.
const LIVELY: f32 = 0.5;
/// The middle is the mean of an hour.
const HOUR_SECONDS: f32 = 3600.0;
/// The deviation is the mean over this time of the deviations of lively hours.
const SMOOTHING_SECONDS: f32 = 26.0 * HOUR_SECONDS;
/// The same hour a day and a week ago widens the band: windows of an hour that ended so long ago.
const LOOK_BACK_SECONDS: [f32; 2] = [23.5 * HOUR_SECONDS, 167.5 * HOUR_SECONDS];
/// How often an hour is kept for that.
const KEEP_SECONDS: f32 = 1800.0;
/// Buckets of an hour, and of the smoothing time.
const HOUR_BUCKETS: usize = 12;
const SMOOTHING_BUCKETS: usize = 26;

/// The adaptive bands of grafana/promql-anomaly-detection, with its constants: mean of an hour, two
/// standard deviations smoothed over 26 hours, a margin of half the mean, widened by the same hour a
/// day and a week ago. Out of band is how far from the middle a value is, in halves of the band's
/// width: 1 is at the edge. The score is the mean of the three furthest out.
///
/// The rules drop values that are not positive, and so do not see a rate that falls to zero; here
/// such values count, and the margin is a share of the mean's magnitude.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ZScoreBands {
    /// Seconds from one row to the next, above zero.
    pub step_seconds: f32,
}

/// [`ZScoreBands`] after a training set, and after what was scored since.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FittedZScoreBands {
    units: Units,
    hour: Window,
    /// Deviations of lively hours.
    smoothing: Window,
    past: Past,
    values: Vec<f32>,
    strengths: Vec<f32>,
}

/// Hours of the last week.
#[derive(Debug, Clone, Default, PartialEq)]
struct Past {
    width: usize,
    /// Rows from one kept hour to the next.
    keep_every: usize,
    n_since_kept: usize,
    /// How many kept hours ago the hours to look back at are.
    back: [usize; 2],
    /// Mean and deviation of each feature in each kept hour; the oldest is overwritten.
    hours: Vec<Level>,
    oldest: usize,
    /// How many of the hours are filled.
    n_kept: usize,
}

/// Mean and standard deviation.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Level {
    mean: f32,
    deviation: f32,
}

/// Edges of a band.
#[derive(Clone, Copy)]
struct Band {
    lower: f32,
    upper: f32,
}

impl Band {
    /// Both edges are `reach` away from `middle`.
    fn around(middle: f32, reach: f32) -> Self {
        Self { lower: middle - reach, upper: middle + reach }
    }

    /// The band that holds both.
    fn and(self, other: Self) -> Self {
        Self { lower: self.lower.min(other.lower), upper: self.upper.max(other.upper) }
    }

    /// Distance of `value` from the middle, in halves of the width, which are at least `floor`.
    fn outside(self, value: f32, floor: f32) -> f32 {
        let half = ((self.upper - self.lower) / 2.0).max(floor);
        let middle = self.lower + (self.upper - self.lower) / 2.0;
        ((value - middle).abs() / half).min(CLIP)
    }
}

impl Fit for ZScoreBands {
    type Fitted = FittedZScoreBands;

    fn fit(&self, normal: Rows<'_>) -> Result<FittedZScoreBands, DetectError> {
        let width = width_checked(normal)?;
        let rows = |seconds| n_rows(seconds, self.step_seconds);
        let mut fitted = FittedZScoreBands {
            units: Units::fit(normal),
            hour: Window::new(width, rows(HOUR_SECONDS), HOUR_BUCKETS),
            smoothing: Window::new(width, rows(SMOOTHING_SECONDS), SMOOTHING_BUCKETS),
            past: Past::new(width, rows),
            values: vec![0.0; width],
            strengths: vec![0.0; width],
        };
        normal.each(|row| fitted.take(row));
        Ok(fitted)
    }
}

/// Rows in so many seconds, at least 1. A step that is no time makes every row an hour of its own.
fn n_rows(seconds: f32, step_seconds: f32) -> usize {
    let n = (seconds / step_seconds).round();
    if n.is_nan() { 1 } else { (n as usize).clamp(1, LARGEST_COUNT) }
}

impl FittedZScoreBands {
    /// The rules see a value in its own hour, so it is taken in before it is judged.
    fn take(&mut self, row: &[f32]) {
        for (at, value) in self.values.iter_mut().enumerate() {
            *value = self.units.value(row, at);
        }
        self.hour.take(&self.values);
        let hour = &self.hour;
        // The place of the strengths serves for what is smoothed: they are written afterwards.
        for (at, lively) in self.strengths.iter_mut().enumerate() {
            *lively = lively_deviation(hour.moments(at));
        }
        self.smoothing.take(&self.strengths);
        self.past.take(|at| {
            let moments = hour.moments(at);
            Level { mean: moments.mean(), deviation: moments.deviation() }
        });
    }

    fn strength(&self, at: usize) -> f32 {
        let value = self.values[at];
        if value.is_nan() {
            return 0.0;
        }
        let middle = self.hour.moments(at).mean();
        // Without a lively hour the mean is 0, and the margin is the band.
        let reach = DEVIATIONS * self.smoothing.moments(at).mean();
        let mut band = Band::around(middle, reach).and(Band::around(middle, MARGIN * middle.abs()));
        for level in self.past.levels(at) {
            band = band.and(Band::around(level.mean, DEVIATIONS * level.deviation));
        }
        band.outside(value, self.units.floor(at))
    }
}

/// NaN for an hour that is not lively.
fn lively_deviation(hour: Moments) -> f32 {
    let deviation = hour.deviation();
    if deviation > LIVELY * hour.mean().abs() { deviation } else { f32::NAN }
}

impl Past {
    fn new(width: usize, n_rows: impl Fn(f32) -> usize) -> Self {
        let keep_every = n_rows(KEEP_SECONDS);
        let back = LOOK_BACK_SECONDS.map(|seconds| n_rows(seconds).div_ceil(keep_every));
        let hours = vec![Level::default(); width * back[1]];
        Self { width, keep_every, n_since_kept: 0, back, hours, oldest: 0, n_kept: 0 }
    }

    /// Counts a row, and keeps the hour that ends with it when it is time.
    fn take(&mut self, level: impl Fn(usize) -> Level) {
        self.n_since_kept += 1;
        if self.n_since_kept < self.keep_every {
            return;
        }
        self.n_since_kept = 0;
        let from = self.oldest * self.width;
        for at in 0..self.width {
            self.hours[from + at] = level(at);
        }
        self.oldest = (self.oldest + 1) % self.back[1];
        self.n_kept = (self.n_kept + 1).min(self.back[1]);
    }

    /// The hours of feature `at` to look back at, as far as there are any.
    fn levels(&self, at: usize) -> impl Iterator<Item = Level> {
        let kept = self.back.iter().filter(|back| **back <= self.n_kept);
        kept.map(move |back| {
            let slot = (self.oldest + self.back[1] - back) % self.back[1];
            self.hours[slot * self.width + at]
        })
    }

    fn fields(&mut self, fields: &mut Fields<'_>, width: usize) -> Result<(), DetectError> {
        self.width = width;
        fields.count(&mut self.keep_every, 1..=LARGEST_COUNT)?;
        fields.count(&mut self.n_since_kept, 0..=self.keep_every)?;
        let [day, week] = &mut self.back;
        fields.count(week, 1..=LARGEST_COUNT)?;
        fields.count(day, 1..=*week)?;
        fields.parts(&mut self.hours, week.saturating_mul(width))?;
        fields.count(&mut self.oldest, 0..=*week - 1)?;
        fields.count(&mut self.n_kept, 0..=*week)
    }
}

impl Judge for FittedZScoreBands {
    fn judge(&mut self, row: &[f32]) -> f32 {
        self.take(row);
        for at in 0..self.strengths.len() {
            self.strengths[at] = self.strength(at);
        }
        furthest(&self.strengths)
    }

    fn found(&self) -> &[f32] {
        &self.strengths
    }
}

impl Persist for FittedZScoreBands {
    fn fields(&mut self, fields: &mut Fields<'_>) -> Result<(), DetectError> {
        self.units.fields(fields)?;
        let width = self.units.scales.width();
        self.hour.fields(fields, width)?;
        self.smoothing.fields(fields, width)?;
        self.past.fields(fields, width)?;
        self.values.resize(width, 0.0);
        self.strengths.resize(width, 0.0);
        Ok(())
    }
}

impl Persist for Level {
    fn fields(&mut self, fields: &mut Fields<'_>) -> Result<(), DetectError> {
        let mut numbers = vec![self.mean, self.deviation];
        fields.list(&mut numbers, 2, super::window::LARGEST_VALUE)?;
        let [mean, deviation] = numbers[..] else { return Ok(()) };
        *self = Self { mean, deviation };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baseline::Score;

    /// How far out of band `value` is after two days of tens, one every five minutes.
    fn outside(value: f32) -> f32 {
        let tens = [10.0; 600];
        let bands = ZScoreBands { step_seconds: 300.0 };
        let mut fitted = bands.fit(Rows::new(&tens, 1).unwrap()).unwrap();
        fitted.score(&[value]);
        fitted.strengths()[0]
    }

    #[test]
    fn a_quiet_feature_has_the_margin_for_its_band() {
        // The hour is eleven tens and a twenty: its mean is 10.83, its margin half of that.
        assert!((outside(20.0) - 9.1667 / 5.4167).abs() < 1e-3, "{}", outside(20.0));
        assert!(outside(14.0) < 1.0);
    }

    #[test]
    fn a_rate_that_falls_to_zero_is_out_of_band() {
        assert!((outside(0.0) - 2.0).abs() < 1e-3, "{}", outside(0.0));
    }

    #[test]
    fn the_same_hour_a_day_ago_widens_the_band() {
        // A day of five-minute rows is 288: a burst every day at the same hour, and one at another.
        let burst = |at: usize| if at % 288 < 12 { 100.0 } else { 10.0 };
        let score_at = |at: usize| {
            let days: Vec<f32> = (0..at).map(burst).collect();
            let bands = ZScoreBands { step_seconds: 300.0 };
            let mut fitted = bands.fit(Rows::new(&days, 1).unwrap()).unwrap();
            fitted.score(&[100.0]);
            fitted.strengths()[0]
        };
        assert!(score_at(9 * 288 + 6) < 1.0, "{}", score_at(9 * 288 + 6));
        assert!(score_at(9 * 288 + 150) > 1.0, "{}", score_at(9 * 288 + 150));
    }
}
