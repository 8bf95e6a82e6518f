//! A detector as an ONNX graph, from raw rows to the score.

use oddns_features::{CLIP, Transform};
use oddns_model::graph::Layer;
use oddns_model::{LatentClusters, OnnxBuilder, Reconstruction, Setting, Value};

use crate::detector::{Detector, DetectorError};
use crate::reconstructed::{MOST_UNITS, N_SCORES};
use crate::stream::is_ignored;

const DOC: &str = "The score of the last row of a window of raw rows (samples, rows, features), NaN \
    where missing; 1 is the alarm line. Scales and line are those at the end of training.";

impl Detector {
    /// The bytes of an ONNX file (opset 17): its input `window` takes raw rows, (samples, rows,
    /// features), NaN where missing; its output `score`, (samples), is what
    /// [`Detector::score_window`] gives of each. Refuses a detector without a network.
    pub fn encode_onnx(&self) -> Result<Vec<u8>, DetectorError> {
        let (network, reconstructed) = self.reconstruction()?;
        let (rows, width) = (network.window(), network.n_features());
        let mut builder = OnnxBuilder::new("oddns", DOC);
        let window = builder.input("window", &[None, Some(rows), Some(width)]);
        let rows = self.standardised(&mut builder, &window, rows);
        let mut scores = vec![window_error(&mut builder, network, &rows)];
        if let Some(clusters) = network.clusters() {
            scores.push(latent_distance(&mut builder, network, clusters, &rows));
        }
        let score = strength(&mut builder, &scores, &reconstructed.unit);
        let line = builder.float(reconstructed.line.level());
        let score = builder.add("Div", &[&score, &line], &[]);
        builder.output("score", &score, &[None]);
        Ok(builder.finish())
    }

    /// What the network reads: standardised values, each missing one as last seen.
    fn standardised(&self, builder: &mut OnnxBuilder, window: &Value, n_rows: usize) -> Rows {
        let width = self.columns().len();
        let seen = self.seen(builder, window);
        let zero = builder.float(0.0);
        let known = builder.add("Where", &[&seen, window, &zero], &[]);
        let modelled = self.modelled(builder, &known);
        let mean = builder.floats(&[width], &self.scaler.mean);
        let scale = builder.floats(&[width], &self.scaler.scale);
        let centred = builder.add("Sub", &[&modelled, &mean], &[]);
        let scaled = builder.add("Div", &[&centred, &scale], &[]);
        let (low, high) = (builder.float(-CLIP), builder.float(CLIP));
        let cut = builder.add("Clip", &[&scaled, &low, &high], &[]);
        let values = carried_on(builder, &cut, &seen, n_rows);
        let observed = builder.add("Cast", &[&seen], &[("to", Setting::Int(FLOAT))]);
        Rows { values, observed }
    }

    /// Which values are there.
    fn seen(&self, builder: &mut OnnxBuilder, window: &Value) -> Value {
        let width = self.columns().len();
        let ignored = |at| if is_ignored(self, at) { 1.0 } else { 0.0 };
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
    fn modelled(&self, builder: &mut OnnxBuilder, known: &Value) -> Value {
        let columns = self.columns();
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
}

/// Numbers of `TensorProto.DataType`.
const FLOAT: i64 = 1;
const INT64: i64 = 7;
const BOOL: i64 = 9;

/// Standardised rows, (samples, rows, features).
struct Rows {
    values: Value,
    /// 1 where a value was seen, 0 elsewhere.
    observed: Value,
}

/// Each value that was not seen is as last seen, and 0 before the first: the row to take it from is
/// the largest number of a row with a value up to it, which a running maximum finds.
fn carried_on(builder: &mut OnnxBuilder, values: &Value, seen: &Value, n_rows: usize) -> Value {
    let numbers: Vec<f32> = (0..n_rows).map(|row| row as f32).collect();
    let numbers = builder.floats(&[n_rows, 1], &numbers);
    let (none, zero) = (builder.float(-1.0), builder.float(0.0));
    let numbers = builder.add("Where", &[seen, &numbers, &none], &[]);
    let order = || [("perm", Setting::Ints(vec![0, 2, 1]))];
    let by_feature = builder.add("Transpose", &[&numbers], &order());
    let size = n_rows as i64;
    let settings =
        [("kernel_shape", Setting::Ints(vec![size])), ("pads", Setting::Ints(vec![size - 1, 0]))];
    let latest = builder.add("MaxPool", &[&by_feature], &settings);
    let latest = builder.add("Transpose", &[&latest], &order());
    let from = builder.add("Max", &[&latest, &zero], &[]);
    let from = builder.add("Cast", &[&from], &[("to", Setting::Int(INT64))]);
    let carried = builder.add("GatherElements", &[values, &from], &[("axis", Setting::Int(1))]);
    let never = builder.add("Less", &[&latest, &zero], &[]);
    builder.add("Where", &[&never, &zero, &carried], &[])
}

/// What the network gives at node `at`, in this shape behind the samples.
fn of_node(
    builder: &mut OnnxBuilder,
    network: &Reconstruction,
    rows: &Rows,
    at: usize,
    shape: &[i64],
) -> Value {
    let graph = network.graph();
    let wanted = match graph.nodes()[graph.inputs()[0]].layer() {
        Layer::Input { shape } => shape.iter().flatten().map(|size| *size as i64).collect(),
        _ => Vec::new(),
    };
    let wanted: Vec<i64> = [vec![-1], wanted].concat();
    let wanted = builder.ints(&wanted);
    let input = builder.add("Reshape", &[&rows.values, &wanted], &[]);
    let found = builder.add_graph(graph, &[input])[at].clone();
    let shape = builder.ints(&[&[-1], shape].concat());
    builder.add("Reshape", &[&found, &shape], &[])
}

/// Root mean squared error of the values that were seen.
fn window_error(builder: &mut OnnxBuilder, network: &Reconstruction, rows: &Rows) -> Value {
    let shape = [network.window() as i64, network.n_features() as i64];
    let output = network.graph().outputs()[0];
    let found = of_node(builder, network, rows, output, &shape);
    let missed = builder.add("Sub", &[&rows.values, &found], &[]);
    let square = builder.add("Mul", &[&missed, &missed], &[]);
    let counted = builder.add("Mul", &[&square, &rows.observed], &[]);
    let axes = builder.ints(&[1, 2]);
    let sum = |builder: &mut OnnxBuilder, value: &Value| {
        builder.add("ReduceSum", &[value, &axes], &[("keepdims", Setting::Int(0))])
    };
    let (total, count) = (sum(builder, &counted), sum(builder, &rows.observed));
    let one = builder.float(1.0);
    let count = builder.add("Max", &[&count, &one], &[]);
    let mean = builder.add("Div", &[&total, &count], &[]);
    builder.add("Sqrt", &[&mean], &[])
}

/// Distance of the latent vector from the nearest centre of normal operation.
fn latent_distance(
    builder: &mut OnnxBuilder,
    network: &Reconstruction,
    clusters: &LatentClusters,
    rows: &Rows,
) -> Value {
    let (size, n) = (clusters.size(), clusters.n_clusters());
    let latent = of_node(builder, network, rows, network.latent_node(), &[1, size as i64]);
    let mean = builder.floats(&[size], clusters.mean());
    let scale = builder.floats(&[size], clusters.scale());
    let centres = builder.floats(&[n, size], &clusters.centres().concat());
    let centred = builder.add("Sub", &[&latent, &mean], &[]);
    let standard = builder.add("Mul", &[&centred, &scale], &[]);
    let apart = builder.add("Sub", &[&standard, &centres], &[]);
    let square = builder.add("Mul", &[&apart, &apart], &[]);
    let over = |axis: i64| [("axes", Setting::Ints(vec![axis])), ("keepdims", Setting::Int(0))];
    let distance = builder.add("ReduceMean", &[&square], &over(2));
    let nearest = builder.add("ReduceMin", &[&distance], &over(1));
    builder.add("Sqrt", &[&nearest], &[])
}

/// Root mean square of the scores in their units; one that is not there counts as 0.
fn strength(builder: &mut OnnxBuilder, scores: &[Value], unit: &[f32; N_SCORES]) -> Value {
    let most = builder.float(MOST_UNITS);
    let mut sum = builder.float(0.0);
    for (score, unit) in scores.iter().zip(unit) {
        let unit = builder.float(*unit);
        let in_units = builder.add("Div", &[score, &unit], &[]);
        let cut = builder.add("Min", &[&in_units, &most], &[]);
        let square = builder.add("Mul", &[&cut, &cut], &[]);
        sum = builder.add("Add", &[&sum, &square], &[]);
    }
    let n = builder.float(N_SCORES as f32);
    let mean = builder.add("Div", &[&sum, &n], &[]);
    builder.add("Sqrt", &[&mean], &[])
}
