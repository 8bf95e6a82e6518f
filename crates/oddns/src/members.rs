//! The members of the score: what each says about a row.

use oddns_detect::AlarmLine;
use oddns_detect::baseline::{FittedKMeans, FittedStreamingPca, Score as Baseline};
use oddns_features::{CLIP, Scaler};

use crate::detector::DetectorError;
use crate::ledger::{Keep, Ledger};
use crate::leniency::Leniency;
use crate::method::keep_line;
use crate::reach::{self, Reach};
use crate::trailing::{FollowedMedian, Level, TrailingRms};

/// How many members make the score.
pub(crate) const N_MEMBERS: usize = 7;
/// What tells that the newest rows are odd by themselves: surprise, and their values.
pub(crate) const N_FRESH: usize = 2;
/// Rows over which forecasts must have been off.
pub(crate) const SUSTAINED_ROWS: usize = 32;
/// Rows over which the structure must have been off.
pub(crate) const STRUCTURE_ROWS: usize = 8;
/// Rows over which a level is averaged while it moves away.
pub(crate) const LEVEL_ROWS: f32 = 16.0;
/// Rows of which the score is a mean.
pub(crate) const SMOOTHING_ROWS: usize = 3;
/// Rows counted in a saved state at most, so that counting on cannot overflow.
const MOST_ROWS: usize = usize::MAX / 2;
/// Features that can be surprised at once and count for the most surprised.
pub(crate) const TOP: usize = 3;
/// Features that count for those furthest outside of their reach. One alone leaves it every now and
/// then; a change of what a server does takes several along.
pub(crate) const TOP_OUTSIDE: usize = 10;
/// Smallest median of a member, in its unit: below, it is about rounding.
pub(crate) const USUAL_FLOOR: f32 = 0.02;
/// A feature beyond so many of its own units says nothing more.
pub(crate) const MOST_UNITS: f32 = 10.0;
/// Smallest scale of a forecast's miss, in standard deviations of the feature.
pub(crate) const SURPRISE_FLOOR: f32 = 0.04;
/// A miss in normal operation stays below so many of its root mean squares (2.5 is the 99 %
/// quantile of a Gaussian).
pub(crate) const SURPRISE_UNIT: f32 = 2.5;
/// Misses beyond so many root mean squares do not widen the scale further.
const SURPRISE_WINSOR: f32 = 3.0;

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

    /// What the forecast missed each value by; nothing where the value is missing.
    pub(crate) fn misses<'a>(&'a self, forecast: &'a [f32]) -> impl Iterator<Item = f32> + 'a {
        misses(&self.values, forecast)
    }
}

/// What the forecast missed each value by; nothing where the value is missing.
pub(crate) fn misses<'a>(values: &'a [f32], forecast: &'a [f32]) -> impl Iterator<Item = f32> + 'a {
    let miss = |(value, forecast): (&f32, &f32)| value - forecast;
    values.iter().zip(forecast).map(miss).map(|m| if m.is_nan() { 0.0 } else { m })
}

/// What is learned of normal operation beside the network: the units in which members speak. One
/// value a feature unless said otherwise, all on the standardised scale.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Calibration {
    /// Trailing misses of the forecast: half as much again as nine rows in ten stay below.
    pub(crate) sustained: Vec<f32>,
    /// Mean square of the misses, as it was at the end of training.
    pub(crate) surprise: Vec<f32>,
    /// Smallest root of that.
    pub(crate) surprise_floor: Vec<f32>,
    /// Part of what matters that change and structure see in full, above 0, at most 1.
    pub(crate) coarseness: Vec<f32>,
    /// The same of the level.
    pub(crate) level: Vec<f32>,
    /// How much a level says, 0 to 1: nothing for a feature that wanders by itself.
    pub(crate) level_gain: Vec<f32>,
    /// How much the levels say together.
    pub(crate) level_weight: f32,
    /// Where levels have been.
    pub(crate) reach: Reach,
    /// How much it says that levels are outside of their reach.
    pub(crate) outside_weight: f32,
    /// What is forgiven of each feature.
    pub(crate) leniency: Leniency,
    /// High quantile of each member.
    pub(crate) unit: [f32; N_MEMBERS],
    /// Median of each member, in its unit; above zero.
    pub(crate) usual: [f32; N_MEMBERS],
    /// By what part a row moves the medians, 0 to 1.
    pub(crate) usual_step: f32,
    /// High quantiles of what the newest rows alone say: of the squares of surprise, and of the
    /// squares of how odd their values are.
    pub(crate) fresh: [f32; N_FRESH],
    /// Weight with which a row moves the scales, 0 to 1.
    pub(crate) scale_weight: f32,
    /// Weight with which a row moves the scale of the forecast's misses, 0 to 1.
    pub(crate) surprise_weight: f32,
    pub(crate) change: FittedKMeans,
    pub(crate) structure: FittedStreamingPca,
    /// The line at the end of training.
    pub(crate) line: AlarmLine,
}

/// One row in front of the members.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exhibit<'a> {
    /// On the modelled scale.
    pub(crate) modelled: &'a [f32],
    pub(crate) standard: &'a StandardRow,
    /// What was to be expected, standardised; empty where nobody forecasts.
    pub(crate) forecast: &'a [f32],
}

/// What a stream left behind in the members.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    sustained: TrailingRms,
    pub(crate) surprise: Vec<f32>,
    change: FittedKMeans,
    structure: FittedStreamingPca,
    structure_misses: TrailingRms,
    level: Level,
    /// Share of the evidence that is let go beside what explains it.
    beside: f32,
    /// Of what is held against its reach.
    reached: Level,
    smoothing: Smoothing,
    freshness: [Smoothing; N_FRESH],
    line: AlarmLine,
    /// Of each member, in its unit at the end of training.
    usual: [FollowedMedian; N_MEMBERS],
}

/// What the members say together.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Verdict {
    /// 1 is the line.
    pub(crate) score: f32,
    /// Whether the newest rows are odd by themselves. Trailing members remember trouble for some
    /// rows more; an alarm shall not.
    pub(crate) fresh: bool,
    /// How much each feature adds to the score, not negative, on one scale for all features.
    pub(crate) strengths: Vec<f32>,
}

/// What is found at one row.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Finding {
    /// The members, each in the unit of its features.
    pub(crate) members: [f32; N_MEMBERS],
    /// How odd the values of this row are, whatever the rows before: in the unit of the levels.
    pub(crate) present: f32,
}

/// What each feature adds to each member at one row.
#[derive(Debug, Clone, Default)]
pub(crate) struct Evidence {
    sustained: Vec<f32>,
    surprise: Vec<f32>,
    change: Vec<f32>,
    structure: Vec<f32>,
    level: Vec<f32>,
    outside: Vec<f32>,
    present: f32,
}

impl Evidence {
    /// What these features say together.
    pub(crate) fn finding(&self) -> Finding {
        Finding { members: self.members(), present: self.present }
    }

    /// Leaves the part that counts of each feature.
    fn forgive(&mut self, parts: &[f32]) {
        let Self { sustained, surprise, change, structure, level, outside, .. } = self;
        for evidence in [sustained, surprise, change, structure, level, outside] {
            evidence.iter_mut().zip(parts).for_each(|(evidence, part)| *evidence *= part);
        }
    }

    fn members(&self) -> [f32; N_MEMBERS] {
        [
            mean(&self.sustained),
            furthest::<TOP>(&self.surprise),
            rms(&self.surprise),
            rms(&self.change),
            furthest::<TOP>(&self.structure),
            rms(&self.level),
            furthest::<TOP_OUTSIDE>(&self.outside),
        ]
    }

    /// The features behind each member, in the order of [`Finding::members`].
    fn features(&self) -> [&[f32]; N_MEMBERS] {
        let Self { sustained, surprise, change, structure, level, outside, .. } = self;
        [sustained, surprise, surprise, change, structure, level, outside]
    }
}

impl Memory {
    /// At the end of training.
    pub(crate) fn new(calibration: &Calibration) -> Self {
        let width = calibration.sustained.len();
        Self {
            sustained: TrailingRms::new(SUSTAINED_ROWS, width),
            surprise: calibration.surprise.clone(),
            change: calibration.change.clone(),
            structure: calibration.structure.clone(),
            structure_misses: TrailingRms::new(STRUCTURE_ROWS, width),
            level: Level::over(LEVEL_ROWS, width),
            beside: 0.0,
            reached: reach::level(width),
            smoothing: Smoothing::default(),
            freshness: Default::default(),
            line: calibration.line.clone(),
            usual: calibration.usual.map(FollowedMedian::new),
        }
    }

    /// Takes a row in, and gives the strength of the last rows.
    pub(crate) fn strength(&mut self, exhibit: Exhibit<'_>, calibration: &Calibration) -> f32 {
        let evidence = self.take(exhibit, calibration);
        self.strength_of(&evidence, calibration)
    }

    fn strength_of(&mut self, evidence: &Evidence, calibration: &Calibration) -> f32 {
        let squares = calibration.squares(&evidence.members(), &self.units(calibration));
        self.smoothing.push(squares.iter().sum())
    }

    /// Takes a row in, and judges it.
    pub(crate) fn judge(&mut self, exhibit: Exhibit<'_>, calibration: &Calibration) -> Verdict {
        let evidence = self.take(exhibit, calibration);
        let strength = self.strength_of(&evidence, calibration);
        let found = evidence.finding();
        let score = strength / self.line.level();
        self.line.push(strength);
        self.follow(&found.members, calibration);
        let fresh = self.is_fresh(&found, calibration);
        Verdict { score, fresh, strengths: self.strengths(&evidence, calibration) }
    }

    /// Leaves what was judged out of the averages to come.
    pub(crate) fn forget_averages(&mut self) {
        self.smoothing = Smoothing::default();
        self.freshness = Default::default();
    }

    fn is_fresh(&mut self, found: &Finding, calibration: &Calibration) -> bool {
        let news = calibration.fresh_squares(found);
        let mut fresh = false;
        for ((smoothing, square), usual) in
            self.freshness.iter_mut().zip(news).zip(&calibration.fresh)
        {
            let now = square.sqrt() > calibration.steadiness() * usual;
            fresh |= smoothing.push(square) > *usual && now;
        }
        fresh
    }

    /// The units of the members as they are now. A member that has become restless counts less than
    /// it did, by half on a logarithmic scale: what changed for good is not to alarm for ever, and
    /// a long incident is not to become normal.
    fn units(&self, calibration: &Calibration) -> [f32; N_MEMBERS] {
        std::array::from_fn(|at| calibration.unit[at] * self.usual[at].part().sqrt())
    }

    fn follow(&mut self, members: &[f32; N_MEMBERS], calibration: &Calibration) {
        for (at, usual) in self.usual.iter_mut().enumerate() {
            // What says nothing most of the time has its floor for a median.
            let member = (members[at] / calibration.unit[at]).max(USUAL_FLOOR);
            usual.push(member, calibration.usual_step);
        }
    }

    /// Takes a row in, and gives what each feature adds to each member. It is not kept: thousands of
    /// streams would each hold it from one row to the next.
    pub(crate) fn take(&mut self, exhibit: Exhibit<'_>, calibration: &Calibration) -> Evidence {
        let Exhibit { modelled, standard, forecast } = exhibit;
        let mut evidence = Evidence::default();
        let sustained = self.sustained.push(standard.misses(forecast));
        in_units(&sustained, &calibration.sustained, &mut evidence.sustained);
        surprise(
            &mut self.surprise,
            standard.misses(forecast),
            calibration,
            &mut evidence.surprise,
        );
        let coarse = |strengths| {
            let pairs = std::iter::zip::<&[f32], _>(strengths, &calibration.coarseness);
            pairs.map(|(strength, coarseness)| strength * coarseness)
        };
        self.change.score(modelled);
        evidence.change.clear();
        evidence.change.extend(coarse(self.change.strengths()));
        self.structure.score(modelled);
        let misses = coarse(self.structure.strengths());
        evidence.structure.clear();
        evidence.structure.extend(self.structure_misses.push(misses).iter().map(|m| m.min(CLIP)));
        let level = self.level.push(standard.deviation.iter().copied());
        in_units(level, &calibration.level, &mut evidence.level);
        for (level, gain) in evidence.level.iter_mut().zip(&calibration.level_gain) {
            *level *= gain;
        }
        let reached = self.reached.push(reach::seen(&standard.values));
        calibration.reach.outside(reached, &mut evidence.outside);
        let mut values: Vec<f32> = calibration.present(&standard.deviation).collect();
        if calibration.leniency.is_any() {
            self.beside = calibration.leniency.let_go_beside(self.beside, modelled);
            let parts = calibration.leniency.parts(self.beside, standard);
            values.iter_mut().zip(&parts).for_each(|(value, part)| *value *= part);
            evidence.forgive(&parts);
        }
        evidence.present = rms(&values);
        evidence
    }

    /// How much each feature adds to the score of a row: the squares sum to the square of its
    /// strength.
    fn strengths(&self, evidence: &Evidence, calibration: &Calibration) -> Vec<f32> {
        let mut squares = vec![0.0; calibration.sustained.len()];
        let members = calibration.squares(&evidence.members(), &self.units(calibration));
        for (member, features) in members.iter().zip(evidence.features()) {
            let whole: f32 = features.iter().map(|x| x * x).sum();
            if whole > 0.0 {
                let of_feature = |x: &f32| member * (x * x) / whole;
                squares.iter_mut().zip(features).for_each(|(sum, x)| *sum += of_feature(x));
            }
        }
        squares.iter().map(|square| square.sqrt()).collect()
    }
}

impl Keep for Memory {
    fn keep(&mut self, ledger: &mut Ledger<'_>) -> Result<(), DetectorError> {
        self.sustained.keep(ledger)?;
        ledger.numbers(&mut self.surprise, |square| square >= 0.0 && square.is_finite())?;
        let fresh = self.change.clone();
        keep_baseline(&mut self.change, ledger)?;
        self.change.share(&fresh);
        keep_baseline(&mut self.structure, ledger)?;
        self.structure_misses.keep(ledger)?;
        self.level.keep(ledger)?;
        self.reached.keep(ledger)?;
        let mut beside = [self.beside];
        ledger.numbers(&mut beside, |share| (0.0..=1.0).contains(&share))?;
        self.beside = beside[0];
        self.smoothing.keep(ledger)?;
        self.freshness.iter_mut().try_for_each(|freshness| freshness.keep(ledger))?;
        self.usual.iter_mut().try_for_each(|usual| usual.keep(ledger))?;
        keep_line(&mut self.line, ledger)
    }
}

/// A baseline for as many features.
fn keep_baseline<B: Baseline>(
    baseline: &mut B,
    ledger: &mut Ledger<'_>,
) -> Result<(), DetectorError> {
    let width = |baseline: &B| baseline.strengths().len();
    ledger.part(baseline, B::state, |fresh, numbers| {
        B::from_state(numbers).ok().filter(|restored| width(restored) == width(fresh))
    })
}

impl Calibration {
    /// By which nothing follows what is judged.
    pub(crate) fn frozen(&self) -> Self {
        let mut frozen = Self { surprise_weight: 0.0, usual_step: 0.0, ..self.clone() };
        frozen.structure.hold();
        frozen
    }

    /// The squares of the members, each in the unit given.
    fn squares(&self, members: &[f32; N_MEMBERS], unit: &[f32; N_MEMBERS]) -> [f32; N_MEMBERS] {
        let mut squares: [f32; N_MEMBERS] =
            std::array::from_fn(|at| (members[at] / unit[at]).powi(2));
        for (at, square) in squares.iter_mut().enumerate() {
            *square *= self.weight(at);
        }
        squares
    }

    /// 1 where no feature wanders by itself, and towards 0 the more they do.
    pub(crate) fn steadiness(&self) -> f32 {
        // Levels outside of their reach count by the same.
        self.outside_weight.clamp(0.0, 1.0)
    }

    /// How much the member at a place says beside the others.
    pub(crate) fn weight(&self, at: usize) -> f32 {
        match N_MEMBERS - at {
            1 => self.outside_weight,
            2 => self.level_weight,
            _ => 1.0,
        }
    }

    /// What the newest row alone says: the squares of the two that forget at once.
    pub(crate) fn fresh_squares(&self, found: &Finding) -> [f32; N_FRESH] {
        let [_, most_surprised, surprised, ..] = self.squares(&found.members, &self.unit);
        [most_surprised + surprised, found.present * found.present]
    }

    /// The square of the strength of a row, in the units of training.
    pub(crate) fn strength(&self, found: &Finding) -> f32 {
        self.squares(&found.members, &self.unit).iter().sum()
    }

    /// How odd the value of each feature of a row is by itself.
    fn present<'a>(&'a self, deviation: &'a [f32]) -> impl Iterator<Item = f32> + 'a {
        let each = deviation.iter().zip(&self.level).zip(&self.level_gain);
        each.map(|((value, unit), gain)| (value.abs() / unit).min(MOST_UNITS) * gain)
    }
}

/// Absolute values in units, cut at the most that counts.
fn in_units(values: &[f32], units: &[f32], found: &mut Vec<f32>) {
    found.clear();
    let pairs = values.iter().zip(units);
    found.extend(pairs.map(|(value, unit)| (value.abs() / unit).min(MOST_UNITS)));
}

/// Each miss in units of its scale, which then takes it into account.
fn surprise(
    scales: &mut [f32],
    misses: impl Iterator<Item = f32>,
    calibration: &Calibration,
    found: &mut Vec<f32>,
) {
    found.clear();
    let weight = calibration.surprise_weight;
    for ((square, miss), floor) in scales.iter_mut().zip(misses).zip(&calibration.surprise_floor) {
        let scale = square.sqrt().max(*floor);
        found.push((miss.abs() / (SURPRISE_UNIT * scale)).min(MOST_UNITS));
        let winsorised = miss.abs().min(SURPRISE_WINSOR * scale);
        *square += weight * (winsorised * winsorised - *square);
    }
}

fn mean(values: &[f32]) -> f32 {
    values.iter().sum::<f32>() / values.len().max(1) as f32
}

fn rms(values: &[f32]) -> f32 {
    (values.iter().map(|value| value * value).sum::<f32>() / values.len().max(1) as f32).sqrt()
}

/// Mean of the `N` largest values; fewer values count as zeros.
fn furthest<const N: usize>(values: &[f32]) -> f32 {
    let mut top = [0.0_f32; N];
    for value in values {
        if *value > top[N - 1] {
            top[N - 1] = *value;
            top.sort_by(|a, b| b.total_cmp(a));
        }
    }
    top.iter().sum::<f32>() / N as f32
}

/// Root of the mean of the last squares.
#[derive(Debug, Clone, Default)]
pub(crate) struct Smoothing {
    last: [f32; SMOOTHING_ROWS],
    n: usize,
}

impl Smoothing {
    pub(crate) fn push(&mut self, square: f32) -> f32 {
        self.last[self.n % SMOOTHING_ROWS] = square;
        self.n += 1;
        let filled = self.n.min(SMOOTHING_ROWS);
        (self.last[..filled].iter().sum::<f32>() / filled as f32).sqrt()
    }
}

impl Keep for Smoothing {
    fn keep(&mut self, ledger: &mut Ledger<'_>) -> Result<(), DetectorError> {
        ledger.numbers(&mut self.last, |square| square >= 0.0 && square.is_finite())?;
        ledger.count(&mut self.n, MOST_ROWS)
    }
}
