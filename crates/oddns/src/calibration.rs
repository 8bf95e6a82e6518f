//! Learning the units of the members, and where the line lies, from rows of normal operation.
//!
//! All of it is learned from rows that were predicted without having been learned: a forecast by a
//! network of the other fold, a structure of the other fold, a level against the other half.

use oddns_detect::baseline::{CentreDistance, Fit, FittedStreamingPca, KMeans, Rows, StreamingPca};
use oddns_detect::{AlarmLine, quantile};
use oddns_features::Scaler;

use crate::column::Column;
use crate::detector::DetectorError;
use crate::held_out::{Blocks, N_FOLDS};
use crate::members::{
    Calibration, Exhibit, Memory, N_MEMBERS, SURPRISE_FLOOR, SURPRISE_UNIT, SUSTAINED_ROWS,
    Smoothing, StandardRow,
};
use crate::trailing::{Level, TrailingRms};

/// Quantile that is one unit.
pub(crate) const UNIT_QUANTILE: f64 = 0.99;
/// Quantile of a feature that its unit is taken from, …
const FEATURE_QUANTILE: f64 = 0.9;
/// … and how many of it make one: a few per cent of anomalies in the training set would be the 99 %
/// quantile themselves.
const FEATURE_UNIT: f32 = 1.5;
/// Smallest unit of a feature's trailing misses, in standard deviations.
const SUSTAINED_FLOOR: f32 = 0.03;
/// No unit of a feature is below this part of the smallest change of it that matters.
const RESOLUTION_PART: f32 = 0.5;
/// A scale inside a member is never below this share of the range seen in training.
const RANGE_PART: f32 = 0.02;
/// Smallest unit of a level, in standard deviations.
const LEVEL_FLOOR: f32 = 0.1;
/// Smallest unit of a member: a table that hardly moves has members that hardly do.
const UNIT_FLOOR: f32 = 0.05;
/// Misses beyond so many root mean squares do not widen the first scale of the misses.
const MISS_WINSOR: f32 = 4.0;
/// A level that is still there after so many rows wanders by itself.
const WANDERING_ROWS: usize = 32;
/// Standard deviation from which a feature is counted among those that move.
const LIVELY: f32 = 0.1;
/// Weight of the levels where none wanders.
const LEVEL_WEIGHT: f32 = 16.0;
/// Half-lives, in seconds: of mean, scale and structure (five days), …
const SCALE_HALF_LIFE: f64 = 5.0 * DAY;
/// … of the scale of the forecast's misses, …
const SURPRISE_HALF_LIFE: f64 = DAY;
/// … and of the scores that the line lies above.
const LINE_HALF_LIFE: f64 = 7.0 * DAY;
/// Seconds between lines.
const LINE_TURN: f64 = 3600.0;
const DAY: f64 = 86_400.0;
/// The structure is looked for anew so many times in a half-life.
const STRUCTURE_TURNS: f64 = 10.0;
/// An interval that is not known counts as CoreDNS's usual one.
const USUAL_INTERVAL: f64 = 15.0;
/// Alarms for each that the exponential tail of the scores foretells: real tails are heavier.
const ALARMS_PER_FORETOLD: f64 = 3.0;
/// The line is not extrapolated to less than this: more is not known about the tail of any record.
const SMALLEST_RISK: f64 = 3e-5;
/// And not to more, or it would lie among the scores of normal operation.
const LARGEST_RISK: f64 = 1e-3;
const WEEK: f64 = 7.0 * DAY;

/// A stretch of rows of normal operation, with what is to be held against them.
pub(crate) struct Stretch {
    /// On the modelled scale, row-major.
    pub(crate) modelled: Vec<f32>,
    pub(crate) rows: Vec<StandardRow>,
    /// Held-out forecasts, row-major.
    pub(crate) forecast: Vec<f32>,
    /// First row with a full past.
    pub(crate) from: usize,
}

impl Stretch {
    fn width(&self) -> usize {
        self.rows.first().map_or(0, |row| row.values.len())
    }

    pub(crate) fn modelled_row(&self, at: usize) -> &[f32] {
        &self.modelled[at * self.width()..(at + 1) * self.width()]
    }

    fn forecast_row(&self, at: usize) -> &[f32] {
        &self.forecast[at * self.width()..(at + 1) * self.width()]
    }
}

/// What rests on the time between rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    interval_seconds: f64,
    alarms_per_week: f64,
}

impl Pace {
    /// `interval_seconds` may be no number; `alarms_per_week` is how many false alarms a server may
    /// have.
    pub(crate) fn new(interval_seconds: f32, alarms_per_week: f64) -> Self {
        let known = interval_seconds.is_finite() && interval_seconds > 0.0;
        let interval_seconds = if known { f64::from(interval_seconds) } else { USUAL_INTERVAL };
        Self { interval_seconds, alarms_per_week }
    }

    fn rows(self, seconds: f64) -> f64 {
        (seconds / self.interval_seconds).clamp(100.0, 1e7)
    }

    /// Seconds from one row to the next, above zero.
    pub(crate) fn step_seconds(self) -> f32 {
        self.interval_seconds as f32
    }

    fn weight(self, half_life_seconds: f64) -> f32 {
        (1.0 - 0.5_f64.powf(1.0 / self.rows(half_life_seconds))) as f32
    }

    /// Weight with which a row moves mean and scale.
    pub(crate) fn scale_weight(self) -> f32 {
        self.weight(SCALE_HALF_LIFE)
    }

    /// Probability that a row of normal operation lies above the line.
    fn risk(self) -> f64 {
        let risk = self.alarms_per_week / ALARMS_PER_FORETOLD * self.interval_seconds / WEEK;
        // `max` ignores NaN, which is then the smallest.
        risk.max(SMALLEST_RISK).clamp(SMALLEST_RISK, LARGEST_RISK)
    }

    pub(crate) fn line(self, scores: &[f32]) -> AlarmLine {
        let turn = (LINE_TURN / self.interval_seconds).clamp(1.0, 3600.0) as usize;
        AlarmLine::fit(scores, self.risk(), self.rows(LINE_HALF_LIFE), turn)
    }

    fn structure(self) -> StreamingPca {
        let half_life = self.rows(SCALE_HALF_LIFE);
        StreamingPca {
            half_life_rows: half_life as f32,
            turn_every_rows: (half_life / STRUCTURE_TURNS) as usize,
        }
    }
}

impl Calibration {
    /// From stretches of normal operation of one or more servers, all of one width.
    pub(crate) fn fit(
        stretches: &[Stretch],
        blocks: &Blocks,
        scaler: &Scaler,
        columns: &[Column],
        pace: Pace,
    ) -> Result<Self, DetectorError> {
        let resolution: Vec<f32> = columns
            .iter()
            .zip(&scaler.scale)
            .map(|(column, scale)| column.resolution / scale)
            .collect();
        let least: Vec<f32> = resolution.iter().map(|r| RESOLUTION_PART * r).collect();
        let against_half = deviations_from_other_half(stretches, scaler);
        let wandering = wandering(stretches);
        let mut calibration = Self {
            sustained: sustained_units(stretches, &least),
            surprise: mean_squares(stretches),
            surprise_floor: least
                .iter()
                .map(|least| SURPRISE_FLOOR.max(least / SURPRISE_UNIT))
                .collect(),
            coarseness: coarseness(stretches, &resolution),
            level: level_units(stretches, &against_half, &least),
            level_gain: wandering.iter().map(|w| (1.0 - w.correlation).powi(2)).collect(),
            level_weight: level_weight(&wandering),
            unit: [1.0; N_MEMBERS],
            fresh: 0.0,
            scale_weight: pace.scale_weight(),
            surprise_weight: pace.weight(SURPRISE_HALF_LIFE),
            change: fit(&KMeans { distance: CentreDistance::Mean, seed: 0 }, stretches, |_, _| {
                true
            })?,
            structure: fit(&pace.structure(), stretches, |_, _| true)?,
            line: pace.line(&[]),
        };
        let members = calibration.held_out_members(stretches, &against_half, blocks, pace)?;
        for at in 0..N_MEMBERS {
            let values: Vec<f32> = members.iter().flatten().map(|members| members[at]).collect();
            calibration.unit[at] = quantile(&values, UNIT_QUANTILE).max(UNIT_FLOOR);
        }
        calibration.fresh =
            quantile(&smoothed(&members, |m| calibration.fresh_strength(m)), UNIT_QUANTILE);
        calibration.line = pace.line(&smoothed(&members, |m| calibration.strength(m)));
        Ok(calibration)
    }

    /// The members of each row with a full past. Leaves the scales of the misses as they are at the
    /// end.
    fn held_out_members(
        &mut self,
        stretches: &[Stretch],
        against_half: &[Vec<StandardRow>],
        blocks: &Blocks,
        pace: Pace,
    ) -> Result<Vec<Vec<[f32; N_MEMBERS]>>, DetectorError> {
        let mut members: Vec<Vec<[f32; N_MEMBERS]>> =
            stretches.iter().map(|s| vec![[0.0; N_MEMBERS]; s.rows.len()]).collect();
        let mut surprise = Vec::new();
        for fold in 0..N_FOLDS {
            let structure: FittedStreamingPca =
                fit(&pace.structure(), stretches, |stretch, row| {
                    blocks.fold(stretch, row) != fold
                })?;
            let mut memory = Memory::new(&Self { structure, ..self.clone() });
            for (at, stretch) in stretches.iter().enumerate() {
                for (row, standard) in against_half[at].iter().enumerate() {
                    let exhibit = Exhibit {
                        modelled: stretch.modelled_row(row),
                        standard,
                        forecast: stretch.forecast_row(row),
                    };
                    let found = memory.take(exhibit, self).members();
                    if blocks.fold(at, row) == fold {
                        members[at][row] = found;
                    }
                }
            }
            surprise = memory.surprise;
        }
        self.surprise = surprise;
        for (members, stretch) in members.iter_mut().zip(stretches) {
            members.drain(..stretch.from.min(members.len()));
        }
        Ok(members)
    }
}

/// A strength of each row, smoothed as in scoring.
fn smoothed(
    stretches: &[Vec<[f32; N_MEMBERS]>],
    square: impl Fn(&[f32; N_MEMBERS]) -> f32,
) -> Vec<f32> {
    let mut found = Vec::new();
    for rows in stretches {
        let mut smoothing = Smoothing::default();
        found.extend(rows.iter().map(|members| smoothing.push(square(members))));
    }
    found
}

/// Fits a detector to the rows that are `wanted` of each stretch, one stretch after the other.
fn fit<F: Fit>(
    how: &F,
    stretches: &[Stretch],
    wanted: impl Fn(usize, usize) -> bool,
) -> Result<F::Fitted, DetectorError> {
    let (values, width) = chosen_rows(stretches, wanted);
    let rows = Rows::new(&values, width).map_err(DetectorError::Member)?;
    how.fit(rows).map_err(DetectorError::Member)
}

/// The rows that are `wanted` of each stretch, one stretch after the other, and their width.
pub(crate) fn chosen_rows(
    stretches: &[Stretch],
    wanted: impl Fn(usize, usize) -> bool,
) -> (Vec<f32>, usize) {
    let mut values = Vec::new();
    for (at, stretch) in stretches.iter().enumerate() {
        for row in (0..stretch.rows.len()).filter(|row| wanted(at, *row)) {
            values.extend_from_slice(stretch.modelled_row(row));
        }
    }
    (values, stretches.first().map_or(1, Stretch::width))
}

/// High quantile of each feature's trailing misses.
fn sustained_units(stretches: &[Stretch], least: &[f32]) -> Vec<f32> {
    let width = stretches.first().map_or(0, Stretch::width);
    let mut seen = vec![Vec::new(); width];
    for stretch in stretches {
        let mut trailing = TrailingRms::new(SUSTAINED_ROWS, width);
        for (at, row) in stretch.rows.iter().enumerate() {
            let rms = trailing.push(row.misses(stretch.forecast_row(at)));
            if at >= stretch.from {
                seen.iter_mut().zip(rms).for_each(|(seen, rms)| seen.push(*rms));
            }
        }
    }
    units(&seen, SUSTAINED_FLOOR, least)
}

/// The unit of each feature, at least `floor` and `least`.
fn units(seen: &[Vec<f32>], floor: f32, least: &[f32]) -> Vec<f32> {
    let unit = |values: &[f32]| FEATURE_UNIT * quantile(values, FEATURE_QUANTILE);
    // `max` ignores NaN, the quantile of nothing.
    seen.iter().zip(least).map(|(values, least)| unit(values).max(floor).max(*least)).collect()
}

/// What part of the smallest change that matters (`resolution`, standardised) each feature moves by
/// itself, at most 1: members that standardise for themselves know nothing of what matters, and
/// would see much in little.
fn coarseness(stretches: &[Stretch], resolution: &[f32]) -> Vec<f32> {
    let width = stretches.first().map_or(0, Stretch::width);
    (0..width)
        .map(|feature| {
            let values = stretches.iter().flat_map(|stretch| &stretch.rows);
            let values = values.map(|row| row.values[feature]).filter(|value| !value.is_nan());
            let lowest = values.clone().fold(f32::INFINITY, f32::min);
            let highest = values.clone().fold(f32::NEG_INFINITY, f32::max);
            let n = values.clone().count().max(1) as f64;
            let mean = values.clone().map(f64::from).sum::<f64>() / n;
            let variance = values.map(|value| (f64::from(value) - mean).powi(2)).sum::<f64>() / n;
            let own_scale = (variance.sqrt() as f32).max(RANGE_PART * (highest - lowest));
            // A feature that never moved has no scale of its own.
            if own_scale > 0.0 { (own_scale / resolution[feature]).min(1.0) } else { 1.0 }
        })
        .collect()
}

/// Mean square of each feature's misses, each miss cut at four root mean squares.
fn mean_squares(stretches: &[Stretch]) -> Vec<f32> {
    let rough = mean_square_misses(stretches, None);
    mean_square_misses(stretches, Some(&rough)).iter().map(|square| *square as f32).collect()
}

fn mean_square_misses(stretches: &[Stretch], limits: Option<&[f64]>) -> Vec<f64> {
    let width = stretches.first().map_or(0, Stretch::width);
    let (mut sums, mut n) = (vec![0.0_f64; width], 0_u32);
    for stretch in stretches {
        for at in stretch.from..stretch.rows.len() {
            n += 1;
            let misses = stretch.rows[at].misses(stretch.forecast_row(at));
            for (feature, (sum, miss)) in sums.iter_mut().zip(misses).enumerate() {
                let limit = f64::from(MISS_WINSOR) * limits.map_or(f64::MAX, |l| l[feature].sqrt());
                *sum += f64::from(miss).abs().min(limit).powi(2);
            }
        }
    }
    sums.iter().map(|sum| sum / f64::from(n.max(1))).collect()
}

/// The rows of each stretch with deviations from what is normal in the other halves of all
/// stretches: how far levels go that were not learned.
fn deviations_from_other_half(stretches: &[Stretch], scaler: &Scaler) -> Vec<Vec<StandardRow>> {
    let half = |stretch: &Stretch| stretch.rows.len() / 2;
    let others: Vec<Scaler> = [false, true]
        .into_iter()
        .map(|second| {
            let rows = stretches.iter().flat_map(|stretch| {
                // What the first half is held against are the second halves.
                let rows =
                    if second { 0..half(stretch) } else { half(stretch)..stretch.rows.len() };
                rows.map(|row| stretch.modelled_row(row))
            });
            Scaler::fit(rows, &scaler.floor)
        })
        .collect();
    let deviation = |stretch: &Stretch, row: usize| {
        let other = &others[usize::from(row >= half(stretch))];
        StandardRow::new(other, stretch.modelled_row(row)).deviation
    };
    let rows = |stretch: &Stretch| {
        let rows = stretch.rows.iter().enumerate();
        rows.map(|(row, standard)| StandardRow {
            values: standard.values.clone(),
            deviation: deviation(stretch, row),
        })
        .collect()
    };
    stretches.iter().map(rows).collect()
}

/// High quantile of each feature's level.
fn level_units(
    stretches: &[Stretch],
    against_half: &[Vec<StandardRow>],
    least: &[f32],
) -> Vec<f32> {
    let width = stretches.first().map_or(0, Stretch::width);
    let mut seen = vec![Vec::new(); width];
    for rows in against_half {
        let mut level = Level::new(width);
        for row in rows {
            let levels = level.push(&row.deviation);
            seen.iter_mut().zip(levels).for_each(|(seen, level)| seen.push(level.abs()));
        }
    }
    units(&seen, LEVEL_FLOOR, least)
}

/// How a feature moves by itself.
struct Wandering {
    /// Of values 32 rows apart, 0 to 1; 0 for a feature that does not move.
    correlation: f32,
    lively: bool,
}

/// Where normal operation keeps a level for long, a level is no news.
fn wandering(stretches: &[Stretch]) -> Vec<Wandering> {
    let width = stretches.first().map_or(0, Stretch::width);
    (0..width).map(|feature| wandering_of(stretches, feature)).collect()
}

fn wandering_of(stretches: &[Stretch], feature: usize) -> Wandering {
    let value = |row: &StandardRow| {
        let value = f64::from(row.values[feature]);
        if value.is_nan() { 0.0 } else { value }
    };
    let all = || stretches.iter().flat_map(|stretch| &stretch.rows).map(value);
    let n = all().count().max(1) as f64;
    let mean = all().sum::<f64>() / n;
    let variance = all().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
    let (mut product, mut n_pairs) = (0.0, 0_u32);
    for stretch in stretches {
        for pair in stretch.rows.windows(WANDERING_ROWS + 1) {
            product += (value(&pair[0]) - mean) * (value(&pair[WANDERING_ROWS]) - mean);
            n_pairs += 1;
        }
    }
    let lively = variance.sqrt() > f64::from(LIVELY);
    let correlation = product / f64::from(n_pairs.max(1)) / variance.max(f64::MIN_POSITIVE);
    let correlation = if lively { correlation.clamp(0.0, 1.0) as f32 } else { 0.0 };
    Wandering { correlation, lively }
}

fn level_weight(wandering: &[Wandering]) -> f32 {
    let lively: Vec<f32> = wandering.iter().filter(|w| w.lively).map(|w| w.correlation).collect();
    // Where nothing moves nothing wanders: `max` ignores NaN, the median of nothing.
    let median = quantile(&lively, 0.5).max(0.0);
    LEVEL_WEIGHT * (1.0 - median).powi(5)
}
