//! The strength of the last rows of a window by the members, as they are at the end of training.
//!
//! Values are (samples, rows, features) and rows are counted from the end: a member of which `n` rows
//! are asked looks at those and the rows before that it trails.

use oddns_detect::baseline::{CentreDistance, Movements, Structure};
use oddns_features::CLIP;
use oddns_model::{OnnxBuilder, Setting, Value};

use super::rows::{Rows, standardised, turned};
use crate::detector::{Detector, DetectorError};
use crate::forecaster::Forecaster;
use crate::leniency::{MOST_EVENTS, TOO_MANY_EVENTS};
use crate::members::{
    Calibration, LEVEL_ROWS, MOST_UNITS, N_MEMBERS, SMOOTHING_ROWS, STRUCTURE_ROWS, SURPRISE_UNIT,
    SUSTAINED_ROWS, TOP, TOP_OUTSIDE,
};
use crate::reach::{AWAY_ROWS, MOST_OUTSIDE};
use crate::stream::absence_counts;
use crate::trailing::{BACK_ROWS, LARGEST_SQUARE};

/// Magnitudes beyond this count as this where values are compared on the modelled scale.
const LARGEST: f32 = 1e37;

/// What each row should have been.
pub(super) fn forecasts(
    builder: &mut OnnxBuilder,
    forecaster: &Forecaster,
    rows: &Rows,
) -> Result<Value, DetectorError> {
    let Forecaster::Network(network) = forecaster else {
        return Ok(row_before(builder, rows));
    };
    let told = builder.add_forecast(network, &rows.carried, rows.n_rows);
    let (told, last) = (told.map_err(DetectorError::Model)?, row_before(builder, rows));
    let [of_told, of_last] = [&told, &last].map(|forecast| {
        let miss = builder.add("Sub", &[&rows.carried, forecast], &[]);
        builder.add("Abs", &[&miss], &[])
    });
    let nearer = builder.add("Less", &[&of_last, &of_told], &[]);
    Ok(builder.add("Where", &[&nearer, &last, &told], &[]))
}

/// Each feature as last seen before the row, 0 before the first.
fn row_before(builder: &mut OnnxBuilder, rows: &Rows) -> Value {
    let before = builder.ints(&[0, 1, 0, 0, 0, 0]);
    let moved = builder.add("Pad", &[&rows.carried, &before], &[]);
    builder.slice(&moved, 1, 0..rows.n_rows)
}

/// How odd the last rows of each window are together, (samples); the line is what divides it.
pub(super) fn strength(
    detector: &Detector,
    builder: &mut OnnxBuilder,
    calibration: &Calibration,
    rows: &Rows,
    forecasts: &Value,
) -> Value {
    let width = detector.columns().len();
    let mut members = Members { builder, calibration, rows, width, part: None };
    members.part = members.parts();
    let misses = members.misses(forecasts);
    let surprise = members.surprise(&misses);
    let evidence = [
        members.sustained(&misses),
        members.furthest(&surprise, TOP),
        members.root_mean_square(&surprise),
        members.change(),
        members.structure(),
        members.level(detector),
        members.outside(),
    ];
    members.together(evidence)
}

/// The members that are being written.
struct Members<'a> {
    builder: &'a mut OnnxBuilder,
    calibration: &'a Calibration,
    rows: &'a Rows,
    width: usize,
    /// What counts of the evidence of each feature at the last rows; all of it where this is none.
    part: Option<Value>,
}

impl Members<'_> {
    /// The last `n` rows.
    fn last(&mut self, value: &Value, n: usize) -> Value {
        let end = self.rows.n_rows;
        self.builder.slice(value, 1, end - n..end)
    }

    /// A number for each feature.
    fn features(&mut self, numbers: &[f32]) -> Value {
        self.builder.floats(&[numbers.len()], numbers)
    }

    /// `value` by `operation` with one number.
    fn with(&mut self, operation: &str, value: &Value, number: f32) -> Value {
        let number = self.builder.float(number);
        self.builder.add(operation, &[value, &number], &[])
    }

    /// `value` by `operation` with a number for each feature.
    fn with_each(&mut self, operation: &str, value: &Value, numbers: &[f32]) -> Value {
        let numbers = self.features(numbers);
        self.builder.add(operation, &[value, &numbers], &[])
    }

    fn square(&mut self, value: &Value) -> Value {
        self.builder.add("Mul", &[value, value], &[])
    }

    fn root(&mut self, value: &Value) -> Value {
        self.builder.add("Sqrt", &[value], &[])
    }

    /// Magnitudes in units, cut at the most that counts.
    fn in_units(&mut self, value: &Value, units: &[f32]) -> Value {
        let magnitude = self.builder.add("Abs", &[value], &[]);
        let in_units = self.with_each("Div", &magnitude, units);
        self.with("Min", &in_units, MOST_UNITS)
    }

    /// Means of `n` rows up to each, where there are so many.
    fn trailing_mean(&mut self, value: &Value, n: usize) -> Value {
        let by_feature = turned(self.builder, value);
        let settings = [("kernel_shape", Setting::Ints(vec![n as i64]))];
        let means = self.builder.add("AveragePool", &[&by_feature], &settings);
        turned(self.builder, &means)
    }

    /// Root mean squares of `n` rows up to each of the last.
    fn trailing_rms(&mut self, value: &Value, n: usize) -> Value {
        let squares = self.square(value);
        let squares = self.with("Min", &squares, LARGEST_SQUARE);
        let means = self.trailing_mean(&squares, n);
        self.root(&means)
    }

    /// Mean over the features: (samples, rows).
    fn mean(&mut self, evidence: &Value) -> Value {
        let over = [("axes", Setting::Ints(vec![2])), ("keepdims", Setting::Int(0))];
        self.builder.add("ReduceMean", &[evidence], &over)
    }

    fn root_mean_square(&mut self, evidence: &Value) -> Value {
        let squares = self.square(evidence);
        let mean = self.mean(&squares);
        self.root(&mean)
    }

    /// Mean of the `most` largest; fewer count as zeros.
    fn furthest(&mut self, evidence: &Value, most: usize) -> Value {
        let n = self.builder.ints(&[most.min(self.width) as i64]);
        let axis = [("axis", Setting::Int(2))];
        let top = self.builder.add_several("TopK", &[evidence, &n], &axis, 2);
        let axis = self.builder.ints(&[2]);
        let settings = [("keepdims", Setting::Int(0))];
        let sum = self.builder.add("ReduceSum", &[&top[0], &axis], &settings);
        self.with("Div", &sum, most as f32)
    }

    /// What the forecast missed of the rows that count; nothing where a value is missing.
    fn misses(&mut self, forecasts: &Value) -> Value {
        let missed = self.builder.add("Sub", &[&self.rows.carried, forecasts], &[]);
        let missed = self.builder.add("Mul", &[&missed, &self.rows.observed], &[]);
        self.last(&missed, SUSTAINED_ROWS + SMOOTHING_ROWS - 1)
    }

    fn sustained(&mut self, misses: &Value) -> Value {
        let trailing = self.trailing_rms(misses, SUSTAINED_ROWS);
        let evidence = self.in_units(&trailing, &self.calibration.sustained);
        let evidence = self.counted(&evidence);
        self.mean(&evidence)
    }

    /// Misses of the last rows in units of their scale.
    fn surprise(&mut self, misses: &Value) -> Value {
        let end = SUSTAINED_ROWS + SMOOTHING_ROWS - 1;
        let newest = self.builder.slice(misses, 1, end - SMOOTHING_ROWS..end);
        let scales = self.calibration.surprise.iter().zip(&self.calibration.surprise_floor);
        let units: Vec<f32> =
            scales.map(|(square, floor)| SURPRISE_UNIT * square.sqrt().max(*floor)).collect();
        let evidence = self.in_units(&newest, &units);
        self.counted(&evidence)
    }

    /// What counts of the evidence of the last rows.
    fn counted(&mut self, evidence: &Value) -> Value {
        let Some(part) = self.part.clone() else { return evidence.clone() };
        self.builder.add("Mul", &[evidence, &part], &[])
    }

    /// The part of each feature's evidence that counts at the last rows, where anything is let go.
    fn parts(&mut self) -> Option<Value> {
        let leniency = &self.calibration.leniency;
        if !leniency.is_any() {
            return None;
        }
        let (zero, one) = (self.builder.float(0.0), self.builder.float(1.0));
        let Rows { seen, standard, .. } = self.rows;
        let values = self.builder.add("Where", &[seen, standard, &zero], &[]);
        let above = self.last(&values, SMOOTHING_ROWS);
        let below = self.builder.add("Neg", &[&above], &[]);
        let mut part = one.clone();
        for (values, shares) in [(above, &leniency.rising), (below, &leniency.falling)] {
            let far = self.builder.add("Clip", &[&values, &zero, &one], &[]);
            let let_go = self.with_each("Mul", &far, shares);
            part = self.builder.add("Sub", &[&part, &let_go], &[]);
        }
        let beside = self.beside(&zero, &one);
        Some(self.builder.add("Mul", &[&part, &beside], &[]))
    }

    /// The part that counts of everything beside what explains it.
    fn beside(&mut self, zero: &Value, one: &Value) -> Value {
        let Rows { seen, modelled, n_rows, .. } = self.rows;
        let counts = self.builder.add("Where", &[seen, modelled, zero], &[]);
        let some = self.builder.add("Clip", &[&counts, zero, one], &[]);
        let left = self.with("Sub", &counts, TOO_MANY_EVENTS);
        let left = self.with("Div", &left, MOST_EVENTS - TOO_MANY_EVENTS);
        let left = self.builder.add("Clip", &[&left, zero, one], &[]);
        let explaining = self.builder.add("Mul", &[&some, &left], &[]);
        let let_go = self.with_each("Mul", &explaining, &self.calibration.leniency.explains);
        let over = [("axes", Setting::Ints(vec![2])), ("keepdims", Setting::Int(1))];
        let let_go = self.builder.add("ReduceMax", &[&let_go], &over);
        let order = [("perm", Setting::Ints(vec![0, 2, 1]))];
        let let_go = self.builder.add("Transpose", &[&let_go], &order);
        let lasting = lasting_parts(self.calibration.leniency.lasting, *n_rows);
        let lasting = self.builder.floats(&[SMOOTHING_ROWS, *n_rows], &lasting);
        let let_go = self.builder.add("Mul", &[&let_go, &lasting], &[]);
        let most = self.builder.add("ReduceMax", &[&let_go], &over);
        let let_go = self.with_each("Mul", &most, &self.calibration.leniency.explained);
        self.builder.add("Sub", &[one, &let_go], &[])
    }

    fn change(&mut self) -> Value {
        let movements = self.calibration.change.movements();
        let moved = self.movements(&movements);
        let distances: Vec<Value> =
            movements.centres.iter().map(|centre| self.distance(&moved, centre)).collect();
        let distance = self.of_centres(&distances, movements.distance);
        let in_lines = self.with_each("Div", &distance, &movements.lines);
        let cut = self.with("Min", &in_lines, movements.most_lines);
        let evidence = self.with_each("Mul", &cut, &self.calibration.coarseness);
        let evidence = self.counted(&evidence);
        self.root_mean_square(&evidence)
    }

    /// How values moved on the modelled scale, smoothed: of the last rows, and the lags before.
    fn movements(&mut self, movements: &Movements) -> Value {
        let n_lags = movements.centres.first().map_or(0, Vec::len);
        let n_steps = SMOOTHING_ROWS + n_lags + movements.n_smoothed - 2;
        let (low, high) = (self.builder.float(-LARGEST), self.builder.float(LARGEST));
        let bounded = self.builder.add("Clip", &[&self.rows.modelled, &low, &high], &[]);
        let last = self.features(&movements.last);
        let carried = self.rows.carry_on(self.builder, &bounded, &last);
        let carried = self.last(&carried, n_steps + 1);
        let newer = self.builder.slice(&carried, 1, 1..n_steps + 1);
        let older = self.builder.slice(&carried, 1, 0..n_steps);
        let moved = self.builder.add("Sub", &[&newer, &older], &[]);
        let zeros = vec![0.0; self.width];
        let steps =
            standardised(self.builder, &moved, [&zeros, &movements.scale], movements.largest_step);
        self.trailing_mean(&steps, movements.n_smoothed)
    }

    /// Of the last rows from a centre, which has movements of each feature, the newest first.
    fn distance(&mut self, moved: &Value, centre: &[Vec<f32>]) -> Value {
        let mut sum = self.builder.float(0.0);
        for (lag, of_features) in centre.iter().enumerate() {
            let from = centre.len() - 1 - lag;
            let at_lag = self.builder.slice(moved, 1, from..from + SMOOTHING_ROWS);
            let apart = self.with_each("Sub", &at_lag, of_features);
            let square = self.square(&apart);
            sum = self.builder.add("Add", &[&sum, &square], &[]);
        }
        self.root(&sum)
    }

    fn of_centres(&mut self, distances: &[Value], counts: CentreDistance) -> Value {
        let all: Vec<&Value> = distances.iter().collect();
        self.builder.add(
            match counts {
                CentreDistance::Mean => "Mean",
                CentreDistance::Nearest => "Min",
            },
            &all,
            &[],
        )
    }

    fn structure(&mut self) -> Value {
        let structure = self.calibration.structure.structure();
        let n_rows = SMOOTHING_ROWS + STRUCTURE_ROWS - 1;
        let modelled = self.last(&self.rows.modelled.clone(), n_rows);
        let observed = self.last(&self.rows.observed.clone(), n_rows);
        let scales = [structure.mean.as_slice(), &structure.scale];
        let standard = standardised(self.builder, &modelled, scales, structure.clip);
        let standard = self.builder.add("Mul", &[&standard, &observed], &[]);
        let left = self.left(&standard, &structure);
        let coarse = self.with_each("Mul", &left, &self.calibration.coarseness);
        let trailing = self.trailing_rms(&coarse, STRUCTURE_ROWS);
        let evidence = self.with("Min", &trailing, CLIP);
        let evidence = self.counted(&evidence);
        self.furthest(&evidence, TOP)
    }

    /// What the structure does not account for, block by block.
    fn left(&mut self, standard: &Value, structure: &Structure) -> Value {
        let (mut blocks, mut from) = (Vec::new(), 0);
        for left in &structure.left {
            let size = left.len().isqrt();
            let block = self.builder.slice(standard, 2, from..from + size);
            let left = self.builder.floats(&[size, size], left);
            blocks.push(self.builder.add("MatMul", &[&block, &left], &[]));
            from += size;
        }
        let blocks: Vec<&Value> = blocks.iter().collect();
        self.builder.add("Concat", &blocks, &[("axis", Setting::Int(2))])
    }

    fn level(&mut self, detector: &Detector) -> Value {
        let deviation = self.deviation(detector);
        let levels = self.levels(&deviation, LEVEL_ROWS);
        let in_units = self.in_units(&levels, &self.calibration.level);
        let evidence = self.with_each("Mul", &in_units, &self.calibration.level_gain);
        let evidence = self.counted(&evidence);
        self.root_mean_square(&evidence)
    }

    /// How far levels are outside of their reach, in halves of it.
    fn outside(&mut self) -> Value {
        let zero = self.builder.float(0.0);
        let Rows { seen, standard, .. } = self.rows;
        let values = self.builder.add("Where", &[seen, standard, &zero], &[]);
        let levels = self.levels(&values, AWAY_ROWS);
        let reach = &self.calibration.reach;
        let from_middle = self.with_each("Sub", &levels, &reach.middle);
        let magnitude = self.builder.add("Abs", &[&from_middle], &[]);
        let in_halves = self.with_each("Div", &magnitude, &reach.half);
        let outside = self.with("Sub", &in_halves, 1.0);
        let most = self.builder.float(MOST_OUTSIDE);
        let evidence = self.builder.add("Clip", &[&outside, &zero, &most], &[]);
        let evidence = self.counted(&evidence);
        self.furthest(&evidence, TOP_OUTSIDE)
    }

    /// Standardised values, and for a missing one how surprising that is of a server that had it.
    fn deviation(&mut self, detector: &Detector) -> Value {
        let surprise = |at: usize| match absence_counts(&detector.columns()[at].name) {
            true => detector.scaler.missing_surprise(at),
            false => 0.0,
        };
        let surprise: Vec<f32> = (0..self.width).map(surprise).collect();
        let (zero, surprise) = (self.builder.float(0.0), self.features(&surprise));
        let missing = self.builder.add("Where", &[&self.rows.never, &zero, &surprise], &[]);
        let Rows { seen, standard, .. } = self.rows;
        self.builder.add("Where", &[seen, standard, &missing], &[])
    }

    /// The levels at the last rows: a mean that goes away slowly and comes back fast, row after row.
    fn levels(&mut self, deviation: &Value, away_rows: f32) -> Value {
        let rows = self.builder.add_several(
            "Split",
            &[deviation],
            &[("axis", Setting::Int(1))],
            self.rows.n_rows,
        );
        let zeros = vec![0.0; self.width];
        let (mut level, mut levels) = (self.features(&zeros), Vec::new());
        for row in &rows {
            level = self.next_level(&level, row, away_rows);
            levels.push(level.clone());
        }
        let newest: Vec<&Value> = levels[levels.len() - SMOOTHING_ROWS..].iter().collect();
        self.builder.add("Concat", &newest, &[("axis", Setting::Int(1))])
    }

    fn next_level(&mut self, level: &Value, row: &Value, away_rows: f32) -> Value {
        let [near, far] = [row, level].map(|value| self.builder.add("Abs", &[value], &[]));
        let nearer = self.builder.add("Less", &[&near, &far], &[]);
        let product = self.builder.add("Mul", &[row, level], &[]);
        let across = self.with("Less", &product, 0.0);
        let returns = self.builder.add("Or", &[&nearer, &across], &[]);
        let (back, away) = (self.builder.float(BACK_ROWS), self.builder.float(away_rows));
        let n_rows = self.builder.add("Where", &[&returns, &back, &away], &[]);
        let distance = self.builder.add("Sub", &[row, level], &[]);
        let step = self.builder.add("Div", &[&distance, &n_rows], &[]);
        self.builder.add("Add", &[level, &step], &[])
    }

    /// The root of the mean over the last rows of the sum of the members' squares, each in its unit.
    fn together(&mut self, members: [Value; N_MEMBERS]) -> Value {
        let mut sum = self.builder.float(0.0);
        for (at, member) in members.iter().enumerate() {
            let in_units = self.with("Div", member, self.calibration.unit[at]);
            let mut square = self.square(&in_units);
            let weight = self.calibration.weight(at);
            if weight != 1.0 {
                square = self.with("Mul", &square, weight);
            }
            sum = self.builder.add("Add", &[&sum, &square], &[]);
        }
        let over = [("axes", Setting::Ints(vec![1])), ("keepdims", Setting::Int(0))];
        let mean = self.builder.add("ReduceMean", &[&sum], &over);
        self.root(&mean)
    }
}

/// For each of the last rows of a window, what is left in it of what each row lets go.
fn lasting_parts(lasting: f32, n_rows: usize) -> Vec<f32> {
    let part = |row: usize, of: usize| {
        // No row knows what comes after it.
        row.checked_sub(of).map_or(0.0, |age| (0..age).fold(1.0, |part, _| part * lasting))
    };
    let last = n_rows - SMOOTHING_ROWS..n_rows;
    last.flat_map(|row| (0..n_rows).map(move |of| part(row, of))).collect()
}
