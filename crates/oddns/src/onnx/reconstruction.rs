//! The strength of a window that a network reconstructs.

use oddns_model::graph::Layer;
use oddns_model::{LatentClusters, OnnxBuilder, Reconstruction, Setting, Value};

use super::rows::Rows;
use crate::reconstructed::{MOST_UNITS, N_SCORES, Reconstructed};

/// How odd the windows are, (samples); the line is what divides it.
pub(super) fn strength(
    builder: &mut OnnxBuilder,
    network: &Reconstruction,
    reconstructed: &Reconstructed,
    rows: &Rows,
) -> Value {
    let mut scores = vec![window_error(builder, network, rows)];
    if let Some(clusters) = network.clusters() {
        scores.push(latent_distance(builder, network, clusters, rows));
    }
    root_mean_square(builder, &scores, &reconstructed.unit)
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
    let input = builder.add("Reshape", &[&rows.carried, &wanted], &[]);
    let found = builder.add_graph(graph, &[input])[at].clone();
    let shape = builder.ints(&[&[-1], shape].concat());
    builder.add("Reshape", &[&found, &shape], &[])
}

/// Root mean squared error of the values that were seen.
fn window_error(builder: &mut OnnxBuilder, network: &Reconstruction, rows: &Rows) -> Value {
    let shape = [network.window() as i64, network.n_features() as i64];
    let output = network.graph().outputs()[0];
    let found = of_node(builder, network, rows, output, &shape);
    let missed = builder.add("Sub", &[&rows.carried, &found], &[]);
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
fn root_mean_square(builder: &mut OnnxBuilder, scores: &[Value], unit: &[f32; N_SCORES]) -> Value {
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
