//! Learning the units of the members, and where the line lies, from rows of normal operation.
//!
//! All of it is learned from rows that were predicted without having been learned: a forecast by a
//! network of the other fold, a structure of the other fold, a level against the other half.

use oddns_detect::baseline::{CentreDistance, Fit, KMeans, StreamingPca};
use oddns_detect::{AlarmLine, AlarmLineConfig, quantile};
use oddns_features::Scaler;

use crate::column::Column;
use crate::detector::DetectorError;
use crate::held_out::{Blocks, N_FOLDS};
use crate::leniency::Leniency;
use crate::members::{
    Calibration, Exhibit, Finding, LEVEL_ROWS, Memory, N_FRESH, N_MEMBERS, SURPRISE_FLOOR,
    SURPRISE_UNIT, SUSTAINED_ROWS, Smoothing, StandardRow, USUAL_FLOOR, misses,
};
use crate::normal::{Normal, Sampled, Seen, Stretch, fit_chosen};
use crate::reach::Reach;
use crate::trailing::{Level, TrailingRms};

/// Quantile that is one unit.
pub(crate) const UNIT_QUANTILE: f64 = 0.99;
/// Quantiles that the newest rows are odd above: surprise, and their values. The values of a row
/// stay a little odd as long as a small fault lasts, and that must not end an alarm.
const FRESH_QUANTILES: [f64; N_FRESH] = [0.99, 0.95];
/// Quantile of a feature that its unit is taken from, …
const FEATURE_QUANTILE: f64 = 0.9;
/// … and how many of it make one: a few per cent of anomalies in the training set would be the 99 %
/// quantile themselves.
const FEATURE_UNIT: f32 = 1.5;
/// Smallest unit of a feature's trailing misses, in standard deviations.
const SUSTAINED_FLOOR: f32 = 0.03;
/// No unit of a feature is below this part of the smallest change of it that matters.
const RESOLUTION_PART: f32 = 0.5;
/// Smallest change that matters of a feature whose first step says all that a member can say.
const FIRST_STEP: f32 = 0.1;
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
/// Weight of the levels where none wanders, …
const LEVEL_WEIGHT: f32 = 4.0;
/// … and where all do.
const LEAST_LEVEL_WEIGHT: f32 = 0.5;
/// Half-lives, in seconds: of mean, scale and structure (five days), …
const SCALE_HALF_LIFE: f64 = 5.0 * DAY;
/// … of the scale of the forecast's misses, …
const SURPRISE_HALF_LIFE: f64 = DAY;
/// … and of the scores that the line lies above, and the medians of the members.
const LINE_HALF_LIFE: f64 = 7.0 * DAY;
/// Density of the logarithm of a member at its median, about: .4 by its standard deviation of .2.
/// The median moves by one step a row, up or down, and so by twice the density times the distance
/// that is left.
const MEDIAN_DENSITY: f32 = 2.0;
/// How far the line follows the scores of a detector as a whole, …
const LINE_FOLLOWS: f32 = 0.5;
/// … and those of members, whose units follow already.
const MEMBERS_LINE_FOLLOWS: f32 = 0.25;
/// The structure is judged by anew so many times in a half-life.
const STRUCTURE_TURNS: f64 = 10.0;
/// Seconds between lines.
const LINE_TURN: f64 = 3600.0;
const DAY: f64 = 86_400.0;
/// An interval that is not known counts as CoreDNS's usual one.
const USUAL_INTERVAL: f64 = 15.0;
/// Alarms for each that the exponential tail of the scores foretells: real tails are heavier.
const ALARMS_PER_FORETOLD: f64 = 4.0;
/// The line is not extrapolated to less than this: more is not known about the tail of any record …
const SMALLEST_RISK: f64 = 3e-5;
/// … unless a budget has to be kept. Below this no record of a server's life can tell the difference.
const SMALLEST_STRICT_RISK: f64 = 1e-10;
/// And not to more, or it would lie among the scores of normal operation.
const LARGEST_RISK: f64 = 1e-3;
const WEEK: f64 = 7.0 * DAY;
/// With so many rows of a site nothing is borrowed from elsewhere, and how its features wander is
/// half its own and half what is known.
pub(crate) const ENOUGH_ROWS: usize = 2304;
/// Rows of a site by which the line is twice as high as they put it; as many times more rows, and it
/// is higher by as much less as the root of that. A quantile of few rows is as unsure.
const LINE_DOUBT_ROWS: f32 = 8.0;

/// What rests on the time between rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    interval_seconds: f64,
    budget: Budget,
}

/// How many false alarms a server may have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    pub(crate) alarms_per_week: f64,
    /// Whether it is kept beyond what the tail of a record can tell.
    pub(crate) is_strict: bool,
}

impl Pace {
    /// `interval_seconds` may be no number.
    pub(crate) fn new(interval_seconds: f32, budget: Budget) -> Self {
        let known = interval_seconds.is_finite() && interval_seconds > 0.0;
        let interval_seconds = if known { f64::from(interval_seconds) } else { USUAL_INTERVAL };
        Self { interval_seconds, budget }
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
    pub(crate) fn risk(self) -> f64 {
        let Budget { alarms_per_week, is_strict } = self.budget;
        let smallest = if is_strict { SMALLEST_STRICT_RISK } else { SMALLEST_RISK };
        let risk = alarms_per_week / ALARMS_PER_FORETOLD * self.interval_seconds / WEEK;
        // `max` ignores NaN, which is then the smallest.
        risk.max(smallest).clamp(smallest, LARGEST_RISK)
    }

    /// A line above the scores of a detector without members, which follows them half the way.
    pub(crate) fn line(self, scores: &[f32]) -> AlarmLine {
        self.line_that(LINE_FOLLOWS, scores)
    }

    /// A line above the scores that members make.
    pub(crate) fn members_line(self, scores: &[f32]) -> AlarmLine {
        self.line_that(MEMBERS_LINE_FOLLOWS, scores)
    }

    fn line_that(self, follows: f32, scores: &[f32]) -> AlarmLine {
        let config = AlarmLineConfig {
            risk: self.risk(),
            half_life_rows: self.rows(LINE_HALF_LIFE),
            turn_every_rows: (LINE_TURN / self.interval_seconds).clamp(1.0, 3600.0) as usize,
            follows,
        };
        AlarmLine::fit(scores, config)
    }

    fn structure(self) -> StreamingPca {
        let half_life = self.rows(SCALE_HALF_LIFE);
        StreamingPca {
            half_life_rows: half_life as f32,
            turn_every_rows: (half_life / STRUCTURE_TURNS) as usize,
        }
    }
}

/// What is known of a detector's features from elsewhere, for a record of a site that is too short to
/// tell all by itself.
pub(crate) struct Elsewhere<'a> {
    pub(crate) known: &'a Calibration,
    /// Stretches that were borrowed: the first ones. They are learned from, and not judged.
    pub(crate) n_borrowed: usize,
    /// Rows of the site in a row.
    pub(crate) n_rows: usize,
    /// How many independent rows those of the site are worth, for each feature.
    pub(crate) worth: Vec<f32>,
}

impl Elsewhere<'_> {
    /// How much of each reach is to be added to it: what a short record does not show.
    fn margin(&self) -> Vec<f32> {
        self.worth.iter().map(|worth| 1.0 / worth.max(1.0).sqrt()).collect()
    }

    /// By how many times the line is higher than so few rows put it.
    fn doubt(&self) -> f32 {
        1.0 + (LINE_DOUBT_ROWS / self.n_rows.max(1) as f32).sqrt()
    }

    /// How features wander by the record of the site and by what is known.
    fn wandering(&self, seen: &mut [Wandering]) {
        let trust = self.n_rows as f32 / (self.n_rows + ENOUGH_ROWS) as f32;
        for (own, known) in seen.iter_mut().zip(&self.known.level_gain) {
            let known = 1.0 - known.sqrt();
            own.correlation = known + trust * (own.correlation - known);
        }
    }
}

impl Calibration {
    /// From normal operation; of a site, also from what is known from elsewhere.
    pub(crate) fn fit(
        normal: &Normal<'_>,
        blocks: &Blocks,
        scaler: &Scaler,
        columns: &[Column],
        pace: Pace,
        elsewhere: Option<&Elsewhere<'_>>,
    ) -> Result<Self, DetectorError> {
        let resolution: Vec<f32> = columns
            .iter()
            .zip(&scaler.scale)
            .map(|(column, scale)| column.resolution / scale)
            .collect();
        let least: Vec<f32> = resolution.iter().map(|r| RESOLUTION_PART * r).collect();
        let bounds = Bounds { least, margin: elsewhere.map(Elsewhere::margin) };
        let halves = OtherHalves::of(normal, scaler, blocks);
        let mut wandering = wandering(normal);
        if let Some(elsewhere) = elsewhere {
            elsewhere.wandering(&mut wandering);
        }
        let known = Known {
            coarseness: coarseness(normal, &resolution, columns),
            leniency: Leniency::of(columns, pace.step_seconds()),
        };
        let mut calibration = Self::of_features(normal, &halves, &wandering, &bounds, known, pace)?;
        let found = calibration.held_out_findings(normal, &halves, blocks, pace, &bounds)?;
        let n_borrowed = elsewhere.map_or(0, |elsewhere| elsewhere.n_borrowed);
        let doubt = elsewhere.map_or(1.0, Elsewhere::doubt);
        calibration.settle(&found[n_borrowed..], pace, doubt);
        Ok(calibration)
    }

    /// All but the units of the members and the line.
    fn of_features(
        normal: &Normal<'_>,
        halves: &OtherHalves,
        wandering: &[Wandering],
        bounds: &Bounds,
        Known { coarseness, leniency }: Known,
        pace: Pace,
    ) -> Result<Self, DetectorError> {
        let (steadiness, least) = (steadiness(wandering), &bounds.least);
        let changes = KMeans { distance: CentreDistance::Mean, seed: 0 };
        let all = |_, _| true;
        Ok(Self {
            sustained: sustained_units(normal, least)?,
            surprise: mean_squares(normal)?,
            surprise_floor: least
                .iter()
                .map(|least| SURPRISE_FLOOR.max(least / SURPRISE_UNIT))
                .collect(),
            coarseness,
            level: level_units(normal, halves, least),
            level_gain: wandering.iter().map(|w| (1.0 - w.correlation).powi(2)).collect(),
            level_weight: (LEVEL_WEIGHT * steadiness).max(LEAST_LEVEL_WEIGHT),
            reach: bounds.reach(normal, all),
            // Where all wander, tomorrow's reach is another than today's.
            outside_weight: steadiness,
            leniency,
            unit: [1.0; N_MEMBERS],
            usual: [1.0; N_MEMBERS],
            usual_step: pace.weight(LINE_HALF_LIFE) / (2.0 * MEDIAN_DENSITY),
            fresh: [0.0; N_FRESH],
            scale_weight: pace.scale_weight(),
            surprise_weight: pace.weight(SURPRISE_HALF_LIFE),
            change: fit_chosen(normal.stretches, all, |rows| changes.fit(rows))?,
            structure: fit_chosen(normal.stretches, all, |rows| pace.structure().fit(rows))?,
            line: pace.members_line(&[]),
        })
    }

    /// Units of the members and the line, from what was found at held-out rows; the line is `doubt`
    /// times as high as these put it.
    fn settle(&mut self, found: &[Vec<Finding>], pace: Pace, doubt: f32) {
        for at in 0..N_MEMBERS {
            let values: Vec<f32> = found.iter().flatten().map(|f| f.members[at]).collect();
            self.unit[at] = quantile(&values, UNIT_QUANTILE).max(UNIT_FLOOR);
            self.usual[at] = (quantile(&values, 0.5) / self.unit[at]).max(USUAL_FLOOR);
        }
        self.fresh = std::array::from_fn(|at| {
            quantile(&smoothed(found, |f| self.fresh_squares(f)[at]), FRESH_QUANTILES[at])
        });
        let mut strengths = smoothed(found, |f| self.strength(f));
        strengths.iter_mut().for_each(|strength| *strength *= doubt);
        self.line = pace.members_line(&strengths);
    }

    /// What is found at each row with a full past. Leaves the scales of the misses as they are at
    /// the end.
    fn held_out_findings(
        &mut self,
        normal: &Normal<'_>,
        halves: &OtherHalves,
        blocks: &Blocks,
        pace: Pace,
        bounds: &Bounds,
    ) -> Result<Vec<Vec<Finding>>, DetectorError> {
        let rows = |stretch: &Stretch<'_>| vec![Finding::default(); stretch.len()];
        let mut findings: Vec<Vec<Finding>> = normal.stretches.iter().map(rows).collect();
        let mut surprise = Vec::new();
        for fold in 0..N_FOLDS {
            let learned = |stretch, row| blocks.fold(stretch, row) != fold;
            let structure =
                fit_chosen(normal.stretches, learned, |rows| pace.structure().fit(rows))?;
            let reach = bounds.reach(normal, learned);
            let fold_calibration = Self { structure, reach, ..self.clone() };
            let mut memory = Memory::new(&fold_calibration);
            normal.each(|seen| {
                let standard = halves.standard_row(seen);
                let exhibit = Exhibit {
                    modelled: seen.modelled,
                    standard: &standard,
                    forecast: seen.forecast,
                };
                let found = memory.take(exhibit, &fold_calibration).finding();
                if blocks.fold(seen.stretch, seen.row) == fold {
                    findings[seen.stretch][seen.row] = found;
                }
            })?;
            surprise = memory.surprise;
        }
        self.surprise = surprise;
        for findings in &mut findings {
            findings.drain(..normal.from.min(findings.len()));
        }
        Ok(findings)
    }
}

/// What is known of the columns.
struct Known {
    coarseness: Vec<f32>,
    leniency: Leniency,
}

/// Between what no unit of a feature lies.
struct Bounds {
    /// Smallest unit.
    least: Vec<f32>,
    /// What is added to each reach, in parts of it, where a record is too short to show all of it.
    margin: Option<Vec<f32>>,
}

impl Bounds {
    fn reach(&self, normal: &Normal<'_>, wanted: impl Fn(usize, usize) -> bool) -> Reach {
        let mut reach = Reach::of(normal, &self.least, wanted);
        for (half, margin) in reach.half.iter_mut().zip(self.margin.iter().flatten()) {
            *half *= 1.0 + margin;
        }
        reach
    }
}

/// A strength of each row, smoothed as in scoring.
fn smoothed(stretches: &[Vec<Finding>], square: impl Fn(&Finding) -> f32) -> Vec<f32> {
    let mut found = Vec::new();
    for rows in stretches {
        let mut smoothing = Smoothing::default();
        found.extend(rows.iter().map(|found| smoothing.push(square(found))));
    }
    found
}

/// Unit of each feature's trailing misses.
fn sustained_units(normal: &Normal<'_>, least: &[f32]) -> Result<Vec<f32>, DetectorError> {
    let mut sampled = Sampled::new(normal.width(), normal.n_full_rows());
    let mut trailing = TrailingRms::default();
    normal.each(|seen| {
        if seen.row == 0 {
            trailing = TrailingRms::new(SUSTAINED_ROWS, normal.width());
        }
        let rms = trailing.push(misses(seen.values, seen.forecast));
        if seen.row >= normal.from {
            sampled.take(rms.iter().copied());
        }
    })?;
    Ok(units(sampled.features(), SUSTAINED_FLOOR, least))
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
fn coarseness(normal: &Normal<'_>, resolution: &[f32], columns: &[Column]) -> Vec<f32> {
    let mut spreads = vec![Spread::default(); normal.width()];
    normal.each_standardised(|row| {
        spreads.iter_mut().zip(row).for_each(|(spread, value)| spread.take(*value));
    });
    normal.each_standardised(|row| {
        spreads.iter_mut().zip(row).for_each(|(spread, value)| spread.take_again(*value));
    });
    let coarseness = |((spread, resolution), column): ((&Spread, &f32), &Column)| {
        let own_scale = spread.scale();
        match own_scale > 0.0 {
            true => (own_scale / resolution).min(1.0),
            // It has no scale of its own, and any first step of it would be as odd as can be.
            false if column.is_of_catalogue() => (FIRST_STEP / column.resolution).min(1.0),
            false => 1.0,
        }
    };
    spreads.iter().zip(resolution).zip(columns).map(coarseness).collect()
}

/// How far the values of a feature lie apart, those that are there.
#[derive(Debug, Clone, Copy)]
struct Spread {
    lowest: f32,
    highest: f32,
    n: f64,
    sum: f64,
    squares: f64,
}

impl Default for Spread {
    fn default() -> Self {
        let (lowest, highest) = (f32::INFINITY, f32::NEG_INFINITY);
        Self { lowest, highest, n: 0.0, sum: 0.0, squares: 0.0 }
    }
}

impl Spread {
    fn take(&mut self, value: f32) {
        if !value.is_nan() {
            (self.lowest, self.highest) = (self.lowest.min(value), self.highest.max(value));
            self.n += 1.0;
            self.sum += f64::from(value);
        }
    }

    /// Takes each value once more, after all were taken.
    fn take_again(&mut self, value: f32) {
        if !value.is_nan() {
            self.squares += (f64::from(value) - self.sum / self.n).powi(2);
        }
    }

    fn scale(self) -> f32 {
        let deviation = (self.squares / self.n.max(1.0)).sqrt() as f32;
        deviation.max(RANGE_PART * (self.highest - self.lowest))
    }
}

/// Mean square of each feature's misses, each miss cut at four root mean squares.
fn mean_squares(normal: &Normal<'_>) -> Result<Vec<f32>, DetectorError> {
    let rough = mean_square_misses(normal, None)?;
    let fine = mean_square_misses(normal, Some(&rough))?;
    Ok(fine.iter().map(|square| *square as f32).collect())
}

fn mean_square_misses(
    normal: &Normal<'_>,
    limits: Option<&[f64]>,
) -> Result<Vec<f64>, DetectorError> {
    let mut sums = vec![0.0_f64; normal.width()];
    normal.each(|seen| {
        if seen.row < normal.from {
            return;
        }
        let misses = misses(seen.values, seen.forecast);
        for (feature, (sum, miss)) in sums.iter_mut().zip(misses).enumerate() {
            let limit = f64::from(MISS_WINSOR) * limits.map_or(f64::MAX, |l| l[feature].sqrt());
            *sum += f64::from(miss).abs().min(limit).powi(2);
        }
    })?;
    let n = normal.n_full_rows().max(1) as f64;
    Ok(sums.iter().map(|sum| sum / n).collect())
}

/// What is normal in each half of all stretches, held against the other: how far levels go that were
/// not learned.
struct OtherHalves {
    /// Rows of each stretch in its first half.
    first: Vec<usize>,
    /// For rows of the first half, and of the second.
    scalers: [Scaler; 2],
}

impl OtherHalves {
    fn of(normal: &Normal<'_>, scaler: &Scaler, blocks: &Blocks) -> Self {
        let stretches = normal.stretches.iter().enumerate();
        let first: Vec<usize> = stretches.map(|(at, s)| blocks.first_half(at, s.len())).collect();
        let scalers = [false, true].map(|second| {
            let each = |look: &mut dyn FnMut(&[f32])| {
                normal.each_modelled(|stretch, row, modelled| {
                    // What the first half is held against are the second halves.
                    if (row < first[stretch]) == second {
                        look(modelled);
                    }
                });
            };
            Scaler::fit_each(each, &scaler.floor)
        });
        Self { first, scalers }
    }

    /// The deviation of each feature of a row on the modelled scale.
    fn deviation(&self, stretch: usize, row: usize, modelled: &[f32]) -> Vec<f32> {
        let other = &self.scalers[usize::from(row >= self.first[stretch])];
        StandardRow::new(other, modelled).deviation
    }

    /// A row as members see it, but for what its levels are held against.
    fn standard_row(&self, seen: Seen<'_>) -> StandardRow {
        let deviation = self.deviation(seen.stretch, seen.row, seen.modelled);
        StandardRow { values: seen.values.to_vec(), deviation }
    }
}

/// Unit of each feature's level.
fn level_units(normal: &Normal<'_>, halves: &OtherHalves, least: &[f32]) -> Vec<f32> {
    let n_rows = normal.stretches.iter().map(Stretch::len).sum();
    let mut sampled = Sampled::new(normal.width(), n_rows);
    let mut level = Level::default();
    normal.each_modelled(|stretch, row, modelled| {
        if row == 0 {
            level = Level::over(LEVEL_ROWS, normal.width());
        }
        let levels = level.push(halves.deviation(stretch, row, modelled).into_iter());
        sampled.take(levels.iter().map(|level| level.abs()));
    });
    units(sampled.features(), LEVEL_FLOOR, least)
}

/// How a feature moves by itself.
struct Wandering {
    /// Of values 32 rows apart, 0 to 1; 0 for a feature that does not move.
    correlation: f32,
    lively: bool,
}

/// Where normal operation keeps a level for long, a level is no news.
fn wandering(normal: &Normal<'_>) -> Vec<Wandering> {
    let width = normal.width();
    let known = |value: f32| if value.is_nan() { 0.0 } else { f64::from(value) };
    let (mut n, mut means, mut variances) = (0.0_f64, vec![0.0; width], vec![0.0; width]);
    normal.each_standardised(|row| {
        n += 1.0;
        means.iter_mut().zip(row).for_each(|(sum, value)| *sum += known(*value));
    });
    means.iter_mut().for_each(|mean| *mean /= n.max(1.0));
    normal.each_standardised(|row| {
        for ((sum, value), mean) in variances.iter_mut().zip(row).zip(&means) {
            *sum += (known(*value) - mean).powi(2);
        }
    });
    variances.iter_mut().for_each(|variance| *variance /= n.max(1.0));
    let (products, n_pairs) = products_apart(normal.stretches, &means);
    let wandering = |(product, variance): (&f64, &f64)| {
        let lively = variance.sqrt() > f64::from(LIVELY);
        let correlation = product / n_pairs.max(1.0) / variance.max(f64::MIN_POSITIVE);
        let correlation = if lively { correlation.clamp(0.0, 1.0) as f32 } else { 0.0 };
        Wandering { correlation, lively }
    };
    products.iter().zip(&variances).map(wandering).collect()
}

/// Sums of the products of each feature's values 32 rows apart, and of how many pairs.
fn products_apart(stretches: &[Stretch<'_>], means: &[f64]) -> (Vec<f64>, f64) {
    let (mut products, mut n_pairs) = (vec![0.0; means.len()], 0.0);
    for Stretch { sequence, .. } in stretches {
        let value = |row: usize, at: usize| {
            let value = if sequence.observed(row)[at] { sequence.row(row)[at] } else { 0.0 };
            f64::from(value) - means[at]
        };
        for row in 0..sequence.len().saturating_sub(WANDERING_ROWS) {
            n_pairs += 1.0;
            for (at, product) in products.iter_mut().enumerate() {
                *product += value(row, at) * value(row + WANDERING_ROWS, at);
            }
        }
    }
    (products, n_pairs)
}

/// 1 where no feature that moves wanders, and towards 0 the more they do.
fn steadiness(wandering: &[Wandering]) -> f32 {
    let lively: Vec<f32> = wandering.iter().filter(|w| w.lively).map(|w| w.correlation).collect();
    // Where nothing moves nothing wanders: `max` ignores NaN, the median of nothing.
    let median = quantile(&lively, 0.5).max(0.0);
    (1.0 - median).powi(5)
}
