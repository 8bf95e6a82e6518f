//! Slopes of every layer against finite differences of the loss.

use proptest::prelude::*;

use super::batch::{Batch, Examples};
use super::fitting::Table;
use super::loss::Loss;
use super::network::Graph;
use super::tensor::Tensor;
use super::{Activation, Convolution, GraphBuilder, Layer, Padding, Pool};
use crate::random::Random;

const SAMPLES: usize = 6;
const SEED: u64 = 11;

fn tensor(random: &mut Random, shape: &[usize]) -> Tensor {
    let size = shape.iter().product();
    let values = (0..size).map(|_| 4.0 * random.unit() - 2.0).collect();
    Tensor::new(shape.to_vec(), values).unwrap()
}

/// A dense layer, whose gradient needs the slope by the input of what follows; `layers`, each
/// reading the one before and, when it reads two, the dense layer too; a dense layer at the end.
fn network(shape: &[usize], layers: &[Layer]) -> Graph {
    let mut builder = GraphBuilder::new("checked");
    let known = shape.iter().map(|n| Some(*n)).collect();
    let input = builder.add("input", Layer::Input { shape: known }, &[]).unwrap();
    let channels = *shape.last().unwrap();
    let dense = |units| Layer::Dense { units, bias: true, activation: Activation::Linear };
    let first = builder.add("first", dense(channels), &[input]).unwrap();
    let mut at = first;
    for (n, layer) in layers.iter().enumerate() {
        let reads_two = matches!(layer, Layer::Add | Layer::Concatenate { .. });
        let inputs = if reads_two { vec![at, first] } else { vec![at] };
        at = builder.add(&format!("layer_{n}"), layer.clone(), &inputs).unwrap();
    }
    let last = builder.add("last", dense(2), &[at]).unwrap();
    builder.finish(&[input], &[last], SEED).unwrap()
}

fn loss_and_gradient(graph: &Graph, examples: &dyn Examples, loss: Loss) -> (f64, Vec<f32>) {
    let mut batch = Batch::new(graph).unwrap();
    // Running statistics move with every pass; what is checked must not.
    let mut graph = graph.clone();
    let which: Vec<usize> = (0..examples.len()).collect();
    let found = batch.learn(&mut graph, examples, &which, loss, SEED, 2);
    (found, batch.gradient().to_vec())
}

/// The slope along random directions of every weight. At a kink the difference is off, so a
/// smaller step may be right where a larger one was not.
fn check(shape: &[usize], layers: &[Layer], loss: Loss) {
    let graph = network(shape, layers);
    let mut random = Random::new(SEED);
    let output = graph.nodes[graph.outputs[0]].output.iter().map(|n| n.unwrap());
    let target: Vec<usize> = [SAMPLES].into_iter().chain(output).collect();
    let inputs = vec![tensor(&mut random, &[&[SAMPLES], shape].concat())];
    let table = Table::new(inputs, Some(tensor(&mut random, &target))).unwrap();
    let (_, gradient) = loss_and_gradient(&graph, &table, loss);
    let trained = graph.nodes.iter().flat_map(|node| &node.weights);
    for weight in trained.filter(|weight| weight.kind.trained()) {
        let mut direction = vec![0.0; graph.parameters.len()];
        direction[weight.range.clone()].fill_with(|| 2.0 * random.unit() - 1.0);
        let products = gradient.iter().zip(&direction).map(|(g, d)| f64::from(g * d));
        let expected: f64 = products.sum();
        let along = |step: f32| {
            let mut moved = graph.clone();
            for (parameter, direction) in moved.parameters.iter_mut().zip(&direction) {
                *parameter += step * direction;
            }
            loss_and_gradient(&moved, &table, loss).0
        };
        let difference = |step: f32| (along(step) - along(-step)) / f64::from(2.0 * step);
        let found = [4e-3, 1e-3, 3e-4, 1e-4].map(difference);
        let allowed = 2e-3 * (1.0 + expected.abs());
        let near = found.iter().any(|found| (found - expected).abs() < allowed);
        assert!(near, "{layers:?} on {shape:?}: {found:?}, the gradient says {expected}");
    }
}

fn convolution(kernel: &[usize], change: impl FnOnce(&mut Convolution)) -> Layer {
    let mut convolution = Convolution::new(3, kernel);
    convolution.activation = Activation::Tanh;
    change(&mut convolution);
    Layer::Convolution(convolution)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..<_>::default() })]

    #[test]
    fn convolutions(
        (height, width, channels) in (1_usize..6, 3_usize..14, 1_usize..5),
        (tall, wide) in (1_usize..4, 1_usize..5),
        (stride, dilation) in prop_oneof![(1_usize..4, Just(1)), (Just(1), 1_usize..3)],
        padding in prop_oneof![Just(Padding::Valid), Just(Padding::Same), Just(Padding::Causal)],
        (transposed, bias) in any::<(bool, bool)>(),
    ) {
        let on_image = height > 1 && padding != Padding::Causal;
        let kernel = if on_image { vec![tall.min(height), wide.min(width)] } else { vec![wide] };
        let layer = convolution(&kernel, |c| {
            (c.padding, c.bias) = (padding, bias);
            c.transposed = transposed && padding != Padding::Causal;
            c.strides = vec![stride; kernel.len()];
            c.dilation = vec![dilation; kernel.len()];
        });
        let shape = if on_image { vec![height, width, channels] } else { vec![width, channels] };
        let fits = (1..=2).any(|axes| shape.len() == axes + 1)
            && layer.output(&[&shape.iter().map(|n| Some(*n)).collect()]).is_ok();
        prop_assume!(fits);
        check(&shape, &[layer], Loss::MeanSquared);
    }

    #[test]
    fn pooling(
        (height, width, channels) in (2_usize..6, 2_usize..9, 1_usize..4),
        (size, stride) in (1_usize..4, 1_usize..4),
        (same, max, global) in any::<(bool, bool, bool)>(),
    ) {
        let kind = if max { Pool::Max } else { Pool::Average };
        let padding = if same { Padding::Same } else { Padding::Valid };
        let windows = vec![size.min(height), size.min(width)];
        let layer = if global {
            Layer::GlobalPooling { kind, axes: 2, keep: same }
        } else {
            Layer::Pooling { kind, size: windows, strides: vec![stride; 2], padding }
        };
        check(&[height, width, channels], &[layer], Loss::Huber { delta: 0.5 });
    }

    #[test]
    fn normalisation(
        (width, channels) in (2_usize..7, 2_usize..6), (center, scale) in any::<(bool, bool)>(),
        batch in any::<bool>(),
    ) {
        let (momentum, epsilon) = (0.9, 1e-2);
        let layer = if batch {
            Layer::BatchNormalization { momentum, epsilon, center, scale }
        } else {
            Layer::LayerNormalization { epsilon, center, scale }
        };
        let bend = Layer::Activation(Activation::Silu);
        check(&[width, channels], &[layer.clone(), bend, layer], Loss::MeanSquared);
    }
}

#[test]
fn activations() {
    use Activation as A;
    let all = [
        A::Linear,
        A::Relu,
        A::LeakyRelu { slope: 0.2 },
        A::Elu { alpha: 0.7 },
        A::Gelu,
        A::GeluTanh,
        A::Sigmoid,
        A::Tanh,
        A::Softplus,
        A::Silu,
        A::Softmax,
    ];
    for activation in all {
        check(&[4, 3], &[Layer::Activation(activation)], Loss::MeanSquared);
    }
}

#[test]
fn rearrangements() {
    check(&[5, 3], &[Layer::UpSampling { size: vec![3] }], Loss::MeanAbsolute);
    check(&[5, 4, 3], &[Layer::UpSampling { size: vec![1, 2] }], Loss::MeanSquared);
    check(&[5, 3], &[Layer::ZeroPadding { amounts: vec![(2, 1)] }], Loss::MeanSquared);
    check(&[5, 4, 3], &[Layer::Cropping { amounts: vec![(1, 1), (0, 2)] }], Loss::MeanSquared);
    check(&[6, 2], &[Layer::Reshape { shape: vec![None, Some(4)] }], Loss::MeanSquared);
    check(&[6, 2], &[Layer::Flatten], Loss::MeanSquared);
    check(&[3], &[Layer::RepeatVector { times: 4 }], Loss::MeanSquared);
    check(&[6, 2], &[Layer::Add], Loss::MeanSquared);
    check(&[6, 2], &[Layer::Concatenate { axis: 0 }], Loss::MeanSquared);
    check(&[6, 2], &[Layer::Concatenate { axis: 1 }], Loss::MeanSquared);
    check(&[6, 2], &[Layer::Dropout { rate: 0.4 }], Loss::MeanSquared);
}

/// The order of what is added up must not depend on threads; neither must what is dropped.
#[test]
fn gradients_have_the_same_bits_on_any_number_of_threads() {
    let (momentum, epsilon, center, scale) = (0.9, 1e-3, true, true);
    let layers = [
        convolution(&[3], |c| c.strides = vec![2]),
        Layer::BatchNormalization { momentum, epsilon, center, scale },
        Layer::Dropout { rate: 0.2 },
        convolution(&[3], |c| c.transposed = true),
    ];
    let graph = network(&[16, 5], &layers);
    let mut random = Random::new(2);
    let inputs = vec![tensor(&mut random, &[37, 16, 5])];
    let table = Table::new(inputs, Some(tensor(&mut random, &[37, 9, 2]))).unwrap();
    let which: Vec<usize> = (0..37).collect();
    let with = |threads| {
        let (mut graph, mut batch) = (graph.clone(), Batch::new(&graph).unwrap());
        let loss = batch.learn(&mut graph, &table, &which, Loss::MeanSquared, 5, threads);
        (loss, batch.gradient().to_vec(), graph.parameters)
    };
    let one = with(1);
    assert_eq!(one, with(2));
    assert_eq!(one, with(7));
}
