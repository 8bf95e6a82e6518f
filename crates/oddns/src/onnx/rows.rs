//! Raw rows as a detector reads them: which values are there, on the modelled scale, standardised.

use oddns_features::{CLIP, Transform};
use oddns_model::{OnnxBuilder, Setting, Value};

use super::{BOOL, FLOAT, INT64};
use crate::detector::Detector;
use crate::stream::is_ignored;

/// Rows of a window, (samples, rows, features) each.
pub(super) struct Rows {
    pub(super) n_rows: usize,
    /// Whether a value is there.
    pub(super) seen: Value,
    /// The same as 1 and 0.
    pub(super) observed: Value,
    /// On the modelled scale; what is not there is anything finite.
    pub(super) modelled: Value,
    /// Standardised and cut; what is not there is anything finite.
    pub(super) standard: Value,
    /// Standardised; each missing value as last seen, and 0 before the first.
    pub(super) carried: Value,
    /// Whether a feature has not been seen yet.
    pub(super) never: Value,
    /// The row that a value was last seen in, the first where it was not.
    last_seen: Value,
}

impl Rows {
    /// Of an input of raw rows.
    pub(super) fn new(
        detector: &Detector,
        builder: &mut OnnxBuilder,
        window: &Value,
        n_rows: usize,
    ) -> Self {
        let seen = seen(detector, builder, window);
        let zero = builder.float(0.0);
        let known = builder.add("Where", &[&seen, window, &zero], &[]);
        let modelled = modelled(detector, builder, &known);
        let scaler = &detector.scaler;
        let standard = standardised(builder, &modelled, [&scaler.mean, &scaler.scale], CLIP);
        let latest = latest(builder, &seen, n_rows);
        let first = builder.add("Max", &[&latest, &zero], &[]);
        let last_seen = builder.add("Cast", &[&first], &[("to", Setting::Int(INT64))]);
        let never = builder.add("Less", &[&latest, &zero], &[]);
        let observed = builder.add("Cast", &[&seen], &[("to", Setting::Int(FLOAT))]);
        let mut rows =
            Self { n_rows, seen, observed, modelled, carried: zero, standard, never, last_seen };
        let (standard, nothing) = (rows.standard.clone(), rows.carried.clone());
        rows.carried = rows.carry_on(builder, &standard, &nothing);
        rows
    }

    /// `values` as they were last seen, and as `before` where they were not.
    pub(super) fn carry_on(
        &self,
        builder: &mut OnnxBuilder,
        values: &Value,
        before: &Value,
    ) -> Value {
        let axis = [("axis", Setting::Int(1))];
        let carried = builder.add("GatherElements", &[values, &self.last_seen], &axis);
        builder.add("Where", &[&self.never, before, &carried], &[])
    }
}

/// Values less a mean, in units of a scale, cut at ±`clip`.
pub(super) fn standardised(
    builder: &mut OnnxBuilder,
    values: &Value,
    [mean, scale]: [&[f32]; 2],
    clip: f32,
) -> Value {
    let mean = builder.floats(&[mean.len()], mean);
    let scale = builder.floats(&[scale.len()], scale);
    let centred = builder.add("Sub", &[values, &mean], &[]);
    let scaled = builder.add("Div", &[&centred, &scale], &[]);
    let (low, high) = (builder.float(-clip), builder.float(clip));
    builder.add("Clip", &[&scaled, &low, &high], &[])
}

/// Which values are there.
fn seen(detector: &Detector, builder: &mut OnnxBuilder, window: &Value) -> Value {
    let width = detector.columns().len();
    let ignored = |at| if is_ignored(detector, at) { 1.0 } else { 0.0 };
    let ignored: Vec<f32> = (0..width).map(ignored).collect();
    let nan = builder.add("IsNaN", &[window], &[]);
    let infinite = builder.add("IsInf", &[window], &[]);
    let mut missing = builder.add("Or", &[&nan, &infinite], &[]);
    if ignored.contains(&1.0) {
        let ignored = builder.floats(&[width], &ignored);
        let ignored = builder.add("Cast", &[&ignored], &[("to", Setting::Int(BOOL))]);
        missing = builder.add("Or", &[&missing, &ignored], &[]);
    }
    builder.add("Not", &[&missing], &[])
}

/// On the modelled scale.
fn modelled(detector: &Detector, builder: &mut OnnxBuilder, known: &Value) -> Value {
    let columns = detector.columns();
    let of = |linear: f32, log: fn(f32) -> f32| -> Vec<f32> {
        let value = |transform| match transform {
            Transform::Linear => linear,
            Transform::Log { offset } => log(offset),
        };
        columns.iter().map(|column| value(column.transform)).collect()
    };
    let is_log = of(0.0, |_| 1.0);
    if !is_log.contains(&1.0) {
        return known.clone();
    }
    let offset = builder.floats(&[columns.len()], &of(1.0, |offset| offset));
    let is_log = builder.floats(&[columns.len()], &is_log);
    let is_log = builder.add("Cast", &[&is_log], &[("to", Setting::Int(BOOL))]);
    let zero = builder.float(0.0);
    let positive = builder.add("Max", &[known, &zero], &[]);
    let above_zero = builder.add("Add", &[&positive, &offset], &[]);
    let log = builder.add("Log", &[&above_zero], &[]);
    builder.add("Where", &[&is_log, &log, known], &[])
}

/// The last row with a value up to each row, −1 for none: a running maximum over the numbers of the
/// rows that have one finds it.
fn latest(builder: &mut OnnxBuilder, seen: &Value, n_rows: usize) -> Value {
    let numbers: Vec<f32> = (0..n_rows).map(|row| row as f32).collect();
    let numbers = builder.floats(&[n_rows, 1], &numbers);
    let none = builder.float(-1.0);
    let numbers = builder.add("Where", &[seen, &numbers, &none], &[]);
    let by_feature = turned(builder, &numbers);
    let size = n_rows as i64;
    let settings =
        [("kernel_shape", Setting::Ints(vec![size])), ("pads", Setting::Ints(vec![size - 1, 0]))];
    let latest = builder.add("MaxPool", &[&by_feature], &settings);
    turned(builder, &latest)
}

/// (samples, rows, features) ↔ (samples, features, rows).
pub(super) fn turned(builder: &mut OnnxBuilder, value: &Value) -> Value {
    builder.add("Transpose", &[value], &[("perm", Setting::Ints(vec![0, 2, 1]))])
}
