//! Values and gradients against those of PyTorch and Keras.
//!
//! `tests/references.py` made the file; it says how each case is built.

use serde_json::Value;

use super::batch::Batch;
use super::fitting::Table;
use super::loss::Loss;
use super::network::Graph;
use super::tensor::Tensor;
use super::{Activation, Convolution, GraphBuilder, Layer, Padding, Pool};

const REFERENCES: &str = include_str!("../../tests/golden/references.json");

fn convolution(filters: usize, kernel: &[usize], change: impl FnOnce(&mut Convolution)) -> Layer {
    let mut convolution = Convolution::new(filters, kernel);
    change(&mut convolution);
    Layer::Convolution(convolution)
}

fn pooling(kind: Pool, padding: Padding) -> Layer {
    Layer::Pooling { kind, size: vec![3], strides: vec![2], padding }
}

fn layer(name: &str) -> Layer {
    let (epsilon, center, scale) = (1e-3, true, true);
    match name {
        "conv1d_same_stride2" => convolution(5, &[4], |c| {
            (c.padding, c.strides) = (Padding::Same, vec![2]);
        }),
        "conv1d_causal_dilated" => convolution(4, &[3], |c| {
            (c.padding, c.dilation) = (Padding::Causal, vec![2]);
        }),
        "conv1d_transpose_same" => convolution(4, &[3], |c| {
            (c.padding, c.strides, c.transposed) = (Padding::Same, vec![2], true);
        }),
        "conv2d_valid_stride2" => convolution(4, &[3, 2], |c| c.strides = vec![2, 2]),
        "conv2d_same" => convolution(3, &[3, 4], |c| c.padding = Padding::Same),
        "conv2d_transpose_valid" => convolution(3, &[2, 3], |c| {
            (c.strides, c.transposed) = (vec![2, 2], true);
        }),
        "dense_gelu" => Layer::Dense { units: 6, bias: true, activation: Activation::Gelu },
        "gelu_tanh" => Layer::Activation(Activation::GeluTanh),
        "silu" => Layer::Activation(Activation::Silu),
        "softplus" => Layer::Activation(Activation::Softplus),
        "elu" => Layer::Activation(Activation::Elu { alpha: 1.0 }),
        "softmax" => Layer::Activation(Activation::Softmax),
        "layer_norm" => Layer::LayerNormalization { epsilon, center, scale },
        "batch_norm" => Layer::BatchNormalization { momentum: 0.99, epsilon, center, scale },
        "max_pool" => pooling(Pool::Max, Padding::Valid),
        "average_pool_same" => pooling(Pool::Average, Padding::Same),
        _ => panic!("no layer for `{name}`"),
    }
}

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

/// An identity, whose bias has the sum of the slopes by input for its gradient; the layer; and
/// what makes one number of its output.
fn network(case: &Value, shape: &[usize]) -> Graph {
    let mut builder = GraphBuilder::new("reference");
    let known = shape.iter().map(|n| Some(*n)).collect();
    let input = builder.add("input", Layer::Input { shape: known }, &[]).unwrap();
    let channels = *shape.last().unwrap();
    let dense = |units, bias| Layer::Dense { units, bias, activation: Activation::Linear };
    let identity = builder.add("identity", dense(channels, true), &[input]).unwrap();
    let tested = layer(case["name"].as_str().unwrap());
    let tested = builder.add("tested", tested, &[identity]).unwrap();
    let flat = builder.add("flat", Layer::Flatten, &[tested]).unwrap();
    let last = builder.add("last", dense(1, false), &[flat]).unwrap();
    let mut graph = builder.finish(&[input], &[last], 1).unwrap();
    let identity: Vec<f32> =
        (0..channels * channels).map(|i| f32::from(u8::from(i % (channels + 1) == 0))).collect();
    let weights = case["weights"].as_array().unwrap().iter().map(floats);
    let weights: Vec<_> = [identity, vec![0.0; channels]].into_iter().chain(weights).collect();
    for (range, values) in trained(&graph).into_iter().zip(weights) {
        graph.parameters[range].copy_from_slice(&values);
    }
    graph
}

fn trained(graph: &Graph) -> Vec<std::ops::Range<usize>> {
    let weights = graph.nodes.iter().flat_map(|node| &node.weights);
    weights.filter(|weight| weight.kind.trained()).map(|weight| weight.range.clone()).collect()
}

fn close(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        let allowed = 2e-5 * (1.0 + expected.abs());
        assert!((found - expected).abs() < allowed, "{what}: {found}, it should be {expected}");
    }
}

fn check(who: &str, case: &Value) {
    let what = format!("{} of {who}", case["name"]);
    let shape: Vec<usize> = floats(&case["shape"]).iter().map(|size| *size as usize).collect();
    let (samples, channels) = (shape[0], *shape.last().unwrap());
    let mut graph = network(case, &shape[1..]);
    let input = Tensor::new(shape, floats(&case["input"])).unwrap();
    let target = Tensor::new(vec![samples, 1], floats(&case["target"])).unwrap();
    if case["name"] != "batch_norm" {
        let predictor = graph.predictor(&[input.shape()[1..].to_vec()]).unwrap();
        let tested = graph.find("tested").unwrap();
        let output = predictor.run(std::slice::from_ref(&input), &[tested], 1).unwrap();
        close(&what, output[0].values(), &floats(&case["output"]));
    }
    let table = Table::new(vec![input], Some(target)).unwrap();
    let mut batch = Batch::new(&graph).unwrap();
    let which: Vec<usize> = (0..samples).collect();
    let loss = batch.learn(&mut graph, &table, &which, Loss::MeanSquared, 1, 1);
    close(&what, &[loss as f32], &[case["loss"].as_f64().unwrap() as f32]);
    let ranges = trained(&graph);
    let gradient = |at: usize| &batch.gradient()[ranges[at].clone()];
    let mut by_input = vec![0.0; channels];
    for row in floats(&case["input_gradient"]).chunks(channels) {
        by_input.iter_mut().zip(row).for_each(|(sum, slope)| *sum += slope);
    }
    close(&format!("{what}, by input"), gradient(1), &by_input);
    for (at, expected) in case["gradients"].as_array().unwrap().iter().enumerate() {
        close(&format!("{what}, by weight {at}"), gradient(at + 2), &floats(expected));
    }
}

#[test]
fn values_and_gradients_are_those_of_pytorch_and_keras() {
    let references: Value = serde_json::from_str(REFERENCES).unwrap();
    for who in ["torch", "keras"] {
        let cases = references[who].as_array().unwrap();
        assert_eq!(cases.len(), 16);
        cases.iter().for_each(|case| check(who, case));
    }
}
