//! The members of a score: different ways of asking how odd a row is.
//!
//! The network asks twice: what was to be expected from the past (forecast), and whether the
//! features of this moment fit each other (completion). Distance from the mean asks without any
//! model. Each is divided by what it says of normal operation, so that they add up.

use oddns_detect::{quantile, tail_threshold};
use oddns_features::Scaler;

/// Features that the forecast member listens to: the furthest out (measured recipe: top 3).
const TOP: usize = 3;
/// A feature's forecast residual is held to at least this many standard deviations of the feature.
const RESIDUAL_FLOOR: f32 = 0.3;
/// Rows that the sum of members is averaged over.
pub(crate) const SMOOTHING: usize = 5;
/// Chance that a row of normal operation exceeds the threshold: one row in about two weeks of
/// fifteen-second scrapes.
const RISK: f64 = 1e-5;
/// Room between the highest normal score and the alarm line: training data never holds all that
/// is normal.
const MARGIN: f32 = 1.25;

/// How many members there are.
pub(crate) const N_MEMBERS: usize = 3;

/// What normal operation looked like to each member.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Calibration {
    /// Standard deviation of each feature's forecast residual, in units of the standardised value.
    pub(crate) residual: Vec<f32>,
    /// Median of each member.
    pub(crate) member: [f32; N_MEMBERS],
    /// Smoothed sum at which the alarm line lies.
    pub(crate) threshold: f32,
    /// Distance member below which a row may move the scales.
    pub(crate) adapt_below: f32,
}

/// A row as the network sees it: standardised, NaN where missing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StandardRow {
    pub(crate) values: Vec<f32>,
    /// Signed deviation of each feature; for a missing one how surprising that is.
    pub(crate) deviation: Vec<f32>,
}

impl StandardRow {
    /// From a row on the modelled scale.
    pub(crate) fn new(scaler: &Scaler, row: &[f32]) -> Self {
        let values: Vec<f32> =
            row.iter().enumerate().map(|(at, value)| scaler.standardise(at, *value)).collect();
        let deviation = values
            .iter()
            .enumerate()
            .map(|(at, value)| if value.is_nan() { scaler.missing_surprise(at) } else { *value })
            .collect();
        Self { values, deviation }
    }

    /// Root mean square deviation over all features.
    pub(crate) fn distance(&self) -> f32 {
        rms(self.deviation.iter().copied())
    }
}

/// The members' raw values for one row. `forecast` and `completion` are predictions of the
/// standardised values.
pub(crate) fn members(
    row: &StandardRow,
    forecast: &[f32],
    completion: &[f32],
    residual: &[f32],
) -> [f32; N_MEMBERS] {
    let seen = || (0..row.values.len()).filter(|at| !row.values[*at].is_nan());
    let mut furthest = [0.0_f32; TOP];
    for at in seen() {
        let residual = (row.values[at] - forecast[at]).abs() / residual[at];
        if residual > furthest[TOP - 1] {
            furthest[TOP - 1] = residual;
            furthest.sort_by(|a, b| b.total_cmp(a));
        }
    }
    let forecast = furthest.iter().sum::<f32>() / TOP as f32;
    let completion = rms(seen().map(|at| row.values[at] - completion[at]));
    [forecast, completion, row.distance()]
}

impl Calibration {
    /// Learns from rows of normal operation and the network's predictions of them; sequences of
    /// different servers one after the other.
    pub(crate) fn fit(sequences: &[Predicted]) -> Self {
        let width = sequences.first().and_then(|s| s.rows.first()).map_or(0, |r| r.values.len());
        let residual = (0..width).map(|at| residual_scale(sequences, at)).collect::<Vec<_>>();
        let raw: Vec<Vec<[f32; N_MEMBERS]>> =
            sequences.iter().map(|sequence| sequence.members(&residual)).collect();
        let mut member = [1.0; N_MEMBERS];
        for (at, median) in member.iter_mut().enumerate() {
            let values: Vec<f32> = raw.iter().flatten().map(|members| members[at]).collect();
            *median = quantile(&values, 0.5).max(f32::MIN_POSITIVE);
        }
        let mut calibration =
            Self { residual, member, threshold: f32::INFINITY, adapt_below: f32::INFINITY };
        let smoothed: Vec<f32> = raw.iter().flat_map(|rows| calibration.smoothed(rows)).collect();
        let distances: Vec<f32> = raw.iter().flatten().map(|members| members[2]).collect();
        calibration.threshold = MARGIN * tail_threshold(&smoothed, RISK);
        calibration.adapt_below = quantile(&distances, 1.0);
        calibration
    }

    /// Sum of the members, each in units of its normal median.
    pub(crate) fn combine(&self, members: &[f32; N_MEMBERS]) -> f32 {
        members.iter().zip(&self.member).map(|(value, median)| value / median).sum()
    }

    fn smoothed(&self, rows: &[[f32; N_MEMBERS]]) -> Vec<f32> {
        let mut smoothing = Smoothing::default();
        rows.iter().map(|members| smoothing.push(self.combine(members))).collect()
    }
}

/// A stretch of rows with the network's predictions.
#[derive(Debug)]
pub(crate) struct Predicted {
    pub(crate) rows: Vec<StandardRow>,
    /// Row-major, as long as `rows` times the width.
    pub(crate) forecast: Vec<f32>,
    pub(crate) completion: Vec<f32>,
    /// First row with a full past.
    pub(crate) from: usize,
}

impl Predicted {
    pub(crate) fn prediction<'a>(&self, of: &'a [f32], at: usize) -> &'a [f32] {
        let width = self.rows[at].values.len();
        &of[at * width..(at + 1) * width]
    }

    fn members(&self, residual: &[f32]) -> Vec<[f32; N_MEMBERS]> {
        (self.from..self.rows.len())
            .map(|at| {
                let forecast = self.prediction(&self.forecast, at);
                let completion = self.prediction(&self.completion, at);
                members(&self.rows[at], forecast, completion, residual)
            })
            .collect()
    }
}

fn residual_scale(sequences: &[Predicted], feature: usize) -> f32 {
    let residuals = sequences.iter().flat_map(|sequence| {
        (sequence.from..sequence.rows.len()).map(move |at| {
            sequence.rows[at].values[feature] - sequence.prediction(&sequence.forecast, at)[feature]
        })
    });
    rms(residuals.filter(|residual| !residual.is_nan())).max(RESIDUAL_FLOOR)
}

/// Zero without values.
fn rms(values: impl Iterator<Item = f32>) -> f32 {
    let (mut sum, mut n) = (0.0_f64, 0_u32);
    for value in values {
        sum += f64::from(value * value);
        n += 1;
    }
    if n == 0 { 0.0 } else { (sum / f64::from(n)).sqrt() as f32 }
}

/// Trailing mean of the last rows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Smoothing {
    last: [f32; SMOOTHING],
    n: usize,
}

impl Smoothing {
    pub(crate) fn push(&mut self, value: f32) -> f32 {
        self.last[self.n % SMOOTHING] = value;
        self.n += 1;
        let filled = self.n.min(SMOOTHING);
        self.last[..filled].iter().sum::<f32>() / filled as f32
    }
}
