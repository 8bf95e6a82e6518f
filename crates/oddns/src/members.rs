//! The members of a score: different ways of asking how odd a row is.
//!
//! The network asks twice: what was to be expected from the past (forecast), and whether the
//! features of this moment fit each other (completion). Distance from the mean asks without any
//! model. Small deviations that hold for a while say as much as a large one at once, so distance
//! and completion are also asked of the last rows together (an exponentially weighted moving
//! average chart, Roberts 1959). Each member is divided by what it says of normal operation, so
//! that they add up.

use std::ops::Range;

use oddns_detect::{quantile, tail_threshold};
use oddns_features::Scaler;

/// Features that a member of extremes listens to: the furthest out (measured recipe: top 3).
const TOP: usize = 3;
/// Rows over which a deviation has to hold to count in full as sustained.
const SUSTAINED_ROWS: f32 = 16.0;
/// Rows over which it is forgotten once it is over.
const FORGETTING_ROWS: f32 = 6.0;
/// A sustained deviation is held to at least this many standard deviations of the feature: about
/// what independent noise leaves of itself in a mean of so many rows.
const SUSTAINED_FLOOR: f32 = 0.2;
/// A feature's forecast residual is held to at least this many standard deviations of the feature.
const RESIDUAL_FLOOR: f32 = 0.3;
/// Rows that the sum of members is averaged over.
pub(crate) const SMOOTHING: usize = 5;
/// Chance that a row of normal operation exceeds the threshold. A false alarm lasts as long as the
/// smoothing, so this is about one in a week of fifteen-second scrapes.
const RISK: f64 = 1e-4;
/// How many members there are.
pub(crate) const N_MEMBERS: usize = 5;
/// Place of the distance among them.
const DISTANCE: usize = 2;
/// A member's unit is this quantile of its values in normal operation.
const MEMBER_QUANTILE: f64 = 0.99;

/// What normal operation looked like to each member.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Calibration {
    /// Standard deviation of each feature's forecast residual, in units of the standardised value.
    pub(crate) residual: Vec<f32>,
    /// Standard deviation of each feature's sustained deviation, in the same units.
    pub(crate) sustained: Vec<f32>,
    /// Standard deviation of each feature's sustained misfit with the other features.
    pub(crate) sustained_misfit: Vec<f32>,
    /// High quantile of each member.
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

/// Mean of the largest absolute values; fewer values count as zeros.
fn furthest(values: impl Iterator<Item = f32>) -> f32 {
    let mut top = [0.0_f32; TOP];
    for value in values {
        if value.abs() > top[TOP - 1] {
            top[TOP - 1] = value.abs();
            top.sort_by(|a, b| b.total_cmp(a));
        }
    }
    top.iter().sum::<f32>() / TOP as f32
}

/// Trailing means over the last rows of a stretch.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory {
    deviation: Vec<f32>,
    misfit: Vec<f32>,
}

impl Memory {
    /// Takes a row in, and gives the members' raw values for it.
    pub(crate) fn members(
        &mut self,
        row: &StandardRow,
        predictions: Predictions<'_>,
        calibration: &Calibration,
    ) -> [f32; N_MEMBERS] {
        let Predictions { forecast, completion } = predictions;
        self.take(row, completion);
        let seen = || (0..row.values.len()).filter(|at| !row.values[*at].is_nan());
        let surprise = seen().map(|at| (row.values[at] - forecast[at]) / calibration.residual[at]);
        let misfit = seen().map(|at| row.values[at] - completion[at]);
        [
            furthest(surprise),
            rms(misfit),
            row.distance(),
            furthest(quotients(&self.deviation, &calibration.sustained)),
            furthest(quotients(&self.misfit, &calibration.sustained_misfit)),
        ]
    }

    fn take(&mut self, row: &StandardRow, completion: &[f32]) {
        self.deviation.resize(row.deviation.len(), 0.0);
        self.misfit.resize(row.deviation.len(), 0.0);
        for at in 0..row.deviation.len() {
            let value = row.values[at];
            let misfit = if value.is_nan() { 0.0 } else { value - completion[at] };
            approach(&mut self.deviation[at], row.deviation[at]);
            approach(&mut self.misfit[at], misfit);
        }
    }
}

/// Moves a trailing mean towards the newest value: slowly away from zero, faster back, so that the
/// memory of trouble does not outlast it.
fn approach(mean: &mut f32, value: f32) {
    let returns = value.abs() < mean.abs() || value * *mean < 0.0;
    let rows = if returns { FORGETTING_ROWS } else { SUSTAINED_ROWS };
    *mean += (value - *mean) / rows;
}

fn quotients(values: &[f32], scales: &[f32]) -> impl Iterator<Item = f32> {
    values.iter().zip(scales).map(|(value, scale)| value / scale)
}

impl Calibration {
    /// Learns from rows of normal operation and held-out predictions of them; sequences of
    /// different servers one after the other.
    pub(crate) fn fit(sequences: &[Predicted]) -> Self {
        let width = sequences.first().and_then(|s| s.rows.first()).map_or(0, |r| r.values.len());
        let mut calibration = Self {
            residual: (0..width).map(|at| residual_scale(sequences, at)).collect(),
            sustained: sustained_scale(sequences, width, |memory| &memory.deviation),
            sustained_misfit: sustained_scale(sequences, width, |memory| &memory.misfit),
            member: [1.0; N_MEMBERS],
            threshold: f32::INFINITY,
            adapt_below: f32::INFINITY,
        };
        let raw: Vec<Vec<[f32; N_MEMBERS]>> =
            sequences.iter().map(|sequence| sequence.members(&calibration)).collect();
        for at in 0..N_MEMBERS {
            let values: Vec<f32> = raw.iter().flatten().map(|members| members[at]).collect();
            calibration.member[at] = quantile(&values, MEMBER_QUANTILE).max(f32::MIN_POSITIVE);
        }
        let smoothed: Vec<f32> = raw.iter().flat_map(|rows| calibration.smoothed(rows)).collect();
        let distances: Vec<f32> = raw.iter().flatten().map(|members| members[DISTANCE]).collect();
        calibration.threshold = tail_threshold(&smoothed, RISK);
        calibration.adapt_below = quantile(&distances, 1.0);
        calibration
    }

    /// Sum of the members, each in its own unit.
    pub(crate) fn combine(&self, members: &[f32; N_MEMBERS]) -> f32 {
        members.iter().zip(&self.member).map(|(value, unit)| value / unit).sum()
    }

    fn smoothed(&self, rows: &[[f32; N_MEMBERS]]) -> Vec<f32> {
        let mut smoothing = Smoothing::default();
        rows.iter().map(|members| smoothing.push(self.combine(members))).collect()
    }
}

/// A network's predictions of a stretch of rows, row-major.
#[derive(Debug, Clone)]
pub(crate) struct Dense {
    pub(crate) width: usize,
    pub(crate) forecast: Vec<f32>,
    pub(crate) completion: Vec<f32>,
}

impl Dense {
    /// The predictions of row `at`.
    pub(crate) fn row(&self, at: usize) -> Predictions<'_> {
        let row = at * self.width..(at + 1) * self.width;
        Predictions { forecast: &self.forecast[row.clone()], completion: &self.completion[row] }
    }

    /// Takes `rows` over from other predictions of the same stretch.
    pub(crate) fn take_rows(&mut self, rows: Range<usize>, other: &Self) {
        let values = rows.start * self.width..rows.end * self.width;
        self.forecast[values.clone()].copy_from_slice(&other.forecast[values.clone()]);
        self.completion[values.clone()].copy_from_slice(&other.completion[values]);
    }
}

/// The network's two answers for one row, on the standardised scale.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Predictions<'a> {
    /// What was to be expected from the rows before.
    pub(crate) forecast: &'a [f32],
    /// What each value should be beside the other values of the row.
    pub(crate) completion: &'a [f32],
}

/// A stretch of rows with the network's predictions.
#[derive(Debug)]
pub(crate) struct Predicted {
    pub(crate) rows: Vec<StandardRow>,
    pub(crate) dense: Dense,
    /// First row with a full past.
    pub(crate) from: usize,
}

impl Predicted {
    /// The members of each row with a full past.
    fn members(&self, calibration: &Calibration) -> Vec<[f32; N_MEMBERS]> {
        let mut memory = Memory::default();
        let mut found = Vec::with_capacity(self.rows.len());
        for (at, row) in self.rows.iter().enumerate() {
            let members = memory.members(row, self.dense.row(at), calibration);
            if at >= self.from {
                found.push(members);
            }
        }
        found
    }
}

/// Root mean square of a trailing mean over all rows with a full past.
fn sustained_scale(
    sequences: &[Predicted],
    width: usize,
    of: fn(&Memory) -> &Vec<f32>,
) -> Vec<f32> {
    let mut squares = vec![0.0_f64; width];
    let mut n = 0_u32;
    for sequence in sequences {
        let mut memory = Memory::default();
        for (at, row) in sequence.rows.iter().enumerate() {
            memory.take(row, sequence.dense.row(at).completion);
            if at < sequence.from {
                continue;
            }
            n += 1;
            for (square, mean) in squares.iter_mut().zip(of(&memory)) {
                *square += f64::from(mean * mean);
            }
        }
    }
    let scale = |square: &f64| ((square / f64::from(n.max(1))).sqrt() as f32).max(SUSTAINED_FLOOR);
    squares.iter().map(scale).collect()
}

fn residual_scale(sequences: &[Predicted], feature: usize) -> f32 {
    let residuals = sequences.iter().flat_map(|sequence| {
        (sequence.from..sequence.rows.len()).map(move |at| {
            sequence.rows[at].values[feature] - sequence.dense.row(at).forecast[feature]
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
