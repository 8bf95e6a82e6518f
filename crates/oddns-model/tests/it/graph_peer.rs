//! The real Keras beside the general engine: predictions, training, files both ways.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;

use oddns_model::graph::{
    Activation, Convolution, FitOptions, Graph, GraphBuilder, Layer, Loss, NodeId, Optimiser,
    Padding, Pool, Table, Tensor,
};
use oddns_model::{decode_graph, encode_graph};

use crate::keras::{floats, python};

/// Numbers that look random and are the same everywhere.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as usize % n
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    fn tensor(&mut self, shape: &[usize]) -> Tensor {
        let size = shape.iter().product();
        let mut value = || self.below(2001) as f32 / 1000.0 - 1.0;
        let values = (0..size).map(|_| value() + value() * value()).collect();
        Tensor::new(shape.to_vec(), values).unwrap()
    }
}

const SAMPLES: usize = 5;

const ACTIVATIONS: [Activation; 10] = [
    Activation::Linear,
    Activation::Relu,
    Activation::LeakyRelu { slope: 0.2 },
    Activation::Elu { alpha: 1.0 },
    Activation::Gelu,
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::Softplus,
    Activation::Silu,
    Activation::Softmax,
];

/// A network with every one of `layers` beside the others, on one input.
fn beside(name: &str, shape: &[usize], layers: Vec<Layer>) -> Graph {
    let mut builder = GraphBuilder::new(name);
    let shape = shape.iter().map(|n| Some(*n)).collect();
    let input = builder.add("input", Layer::Input { shape }, &[]).unwrap();
    let add = |(at, layer)| builder.add(&format!("layer_{at}"), layer, &[input]).unwrap();
    let outputs: Vec<_> = layers.into_iter().enumerate().map(add).collect();
    builder.finish(&[input], &outputs, 3).unwrap()
}

fn convolution(kernel: &[usize], change: impl FnOnce(&mut Convolution)) -> Layer {
    let mut convolution = Convolution::new(5, kernel);
    change(&mut convolution);
    Layer::Convolution(convolution)
}

/// Layers on `(time, channels)` and on `(height, width, channels)`.
type OnBoth = (Vec<Layer>, Vec<Layer>);

/// Every layer, with settings that matter, in three networks by the shape they read.
fn every_layer() -> Vec<Graph> {
    let (mut line, mut image) = convolutions();
    let (more_line, more_image) = others();
    line.extend(more_line);
    image.extend(more_image);
    vec![
        beside("line", &[13, 3], line),
        beside("image", &[6, 7, 2], image),
        beside("vector", &[5], vec![Layer::RepeatVector { times: 4 }, Layer::Flatten]),
    ]
}

fn convolutions() -> OnBoth {
    let (mut line, mut image) = (vec![], vec![]);
    for padding in [Padding::Valid, Padding::Same, Padding::Causal] {
        let on_image = padding != Padding::Causal;
        for (stride, dilation) in [(1, 1), (3, 1), (1, 2)] {
            let set = |c: &mut Convolution, stride: &[usize], dilation: &[usize]| {
                (c.padding, c.strides, c.dilation) = (padding, stride.into(), dilation.into());
            };
            line.push(convolution(&[4], |c| set(c, &[stride], &[dilation])));
            if on_image {
                image.push(convolution(&[3, 2], |c| set(c, &[stride, 1], &[1, dilation])));
            }
        }
        for (kernel, stride) in [(4, 1), (3, 2), (2, 3)] {
            let set = |c: &mut Convolution| {
                (c.padding, c.transposed, c.bias) = (padding, true, stride > 1);
                c.strides = vec![stride; c.kernel.len()];
            };
            if on_image {
                line.push(convolution(&[kernel], set));
                image.push(convolution(&[kernel, 3], set));
            }
        }
        for kind in [Pool::Max, Pool::Average] {
            let pool = |size: &[usize], strides: &[usize]| {
                let (size, strides) = (size.to_vec(), strides.to_vec());
                Layer::Pooling { kind, size, strides, padding }
            };
            if on_image {
                line.push(pool(&[3], &[2]));
                image.push(pool(&[2, 3], &[2, 1]));
            }
        }
    }
    (line, image)
}

fn others() -> OnBoth {
    let mut line: Vec<_> = ACTIVATIONS
        .iter()
        .map(|activation| Layer::Dense { units: 4, bias: true, activation: *activation })
        .collect();
    line.push(convolution(&[1], |c| c.activation = Activation::LeakyRelu { slope: 0.37 }));
    let mut image = vec![];
    for (center, scale) in [(true, true), (false, true), (true, false), (false, false)] {
        let (momentum, epsilon) = (0.9, 1e-3);
        image.push(Layer::BatchNormalization { momentum, epsilon, center, scale });
        line.push(Layer::LayerNormalization { epsilon, center, scale });
    }
    for kind in [Pool::Max, Pool::Average] {
        line.push(Layer::GlobalPooling { kind, axes: 1, keep: false });
        image.push(Layer::GlobalPooling { kind, axes: 2, keep: true });
    }
    line.extend([
        Layer::Activation(Activation::LeakyRelu { slope: 0.3 }),
        Layer::Activation(Activation::Elu { alpha: 0.6 }),
        Layer::Activation(Activation::GeluTanh),
        Layer::Activation(Activation::Softmax),
        Layer::Dropout { rate: 0.3 },
        Layer::UpSampling { size: vec![3] },
        Layer::ZeroPadding { amounts: vec![(2, 1)] },
        Layer::Cropping { amounts: vec![(2, 1)] },
        Layer::Reshape { shape: vec![Some(3), None] },
    ]);
    image.extend([
        Layer::UpSampling { size: vec![2, 3] },
        Layer::ZeroPadding { amounts: vec![(0, 1), (2, 3)] },
        Layer::Cropping { amounts: vec![(1, 0), (2, 3)] },
        Layer::Flatten,
    ]);
    (line, image)
}

/// A random network over time or images with skips and two inputs.
fn random_graph(seed: u64) -> Graph {
    let mut numbers = Numbers(seed);
    let mut builder = GraphBuilder::new("random");
    let axes = 1 + numbers.below(2);
    let shape: Vec<_> = (0..axes).map(|_| Some(5 + numbers.below(8))).collect();
    let channels = |n: usize| [shape.clone(), vec![Some(n)]].concat();
    let first = builder.add("first", Layer::Input { shape: channels(3) }, &[]).unwrap();
    let second = builder.add("second", Layer::Input { shape: channels(2) }, &[]).unwrap();
    let joined =
        builder.add("joined", Layer::Concatenate { axis: axes }, &[first, second]).unwrap();
    let mut at = joined;
    for n in 0..3 + numbers.below(4) {
        at = random_layer(&mut builder, &mut numbers, axes, at, n);
    }
    if numbers.below(2) == 0 {
        at = builder.add("flat", Layer::Flatten, &[at]).unwrap();
        let activation = numbers.pick(&ACTIVATIONS);
        at =
            builder.add("dense", Layer::Dense { units: 6, bias: true, activation }, &[at]).unwrap();
    }
    let mut graph = builder.finish(&[first, second], &[at], seed).unwrap();
    graph.initialise(seed + 1);
    graph
}

fn random_layer(
    builder: &mut GraphBuilder,
    numbers: &mut Numbers,
    axes: usize,
    at: NodeId,
    n: usize,
) -> NodeId {
    let sizes = |numbers: &mut Numbers, most: usize| -> Vec<usize> {
        (0..axes).map(|_| 1 + numbers.below(most)).collect()
    };
    let add = |builder: &mut GraphBuilder, layer, kind: &str| {
        builder.add(&format!("{kind}_{n}"), layer, &[at]).unwrap()
    };
    let (epsilon, center, scale) = (1e-3, true, true);
    match numbers.below(6) {
        0 | 1 => {
            let mut convolution = Convolution::new(1 + numbers.below(20), &sizes(numbers, 4));
            convolution.padding = Padding::Same;
            convolution.transposed = numbers.below(3) == 0;
            convolution.strides = sizes(numbers, 2);
            convolution.activation = numbers.pick(&ACTIVATIONS);
            add(builder, Layer::Convolution(convolution), "conv")
        }
        2 => {
            let layer = Layer::BatchNormalization { momentum: 0.9, epsilon, center, scale };
            add(builder, layer, "norm")
        }
        3 => add(builder, Layer::LayerNormalization { epsilon, center, scale }, "layer"),
        4 => {
            let kind = numbers.pick(&[Pool::Max, Pool::Average]);
            let (size, strides) = (sizes(numbers, 3), sizes(numbers, 2));
            add(builder, Layer::Pooling { kind, size, strides, padding: Padding::Same }, "pool")
        }
        _ => {
            // A skip: the same number of channels is added back.
            let channels = builder.shape(at).last().copied().flatten().unwrap();
            let activation = numbers.pick(&ACTIVATIONS);
            let dense = Layer::Dense { units: channels, bias: false, activation };
            let branch = add(builder, dense, "branch");
            builder.add(&format!("sum_{n}"), Layer::Add, &[branch, at]).unwrap()
        }
    }
}

fn known(shape: &[Option<usize>]) -> Vec<usize> {
    shape.iter().map(|n| n.unwrap()).collect()
}

fn inputs_of(graph: &Graph, samples: usize, seed: u64) -> Vec<Tensor> {
    let mut numbers = Numbers(seed);
    let shapes = graph.inputs().iter().map(|at| known(graph.nodes()[*at].output()));
    shapes.map(|shape| numbers.tensor(&[vec![samples], shape].concat())).collect()
}

fn write(path: &Path, tensor: &Tensor) {
    let bytes: Vec<u8> = tensor.values().iter().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write(path, bytes).unwrap();
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs() / (1.0 + b.abs())).fold(0.0, f32::max)
}

struct Case {
    name: String,
    graph: Graph,
    inputs: Vec<Tensor>,
}

fn cases() -> Vec<Case> {
    let graphs = every_layer().into_iter().chain((0..20).map(random_graph));
    let graphs = graphs.chain([1, 2, 1].map(trainable));
    let case = |(at, graph): (usize, Graph)| {
        let inputs = inputs_of(&graph, SAMPLES, at as u64);
        Case { name: format!("case-{at:03}"), graph, inputs }
    };
    graphs.enumerate().map(case).collect()
}

struct Training {
    name: String,
    options: FitOptions,
    target: Tensor,
}

/// A network of convolutions, normalisations, pooling and a skip. Biases stand nowhere right
/// before a normalisation: their slope would be rounding, which Adam blows up to whole steps.
fn trainable(axes: usize) -> Graph {
    let mut builder = GraphBuilder::new("trainable");
    let shape = [vec![Some(8); axes], vec![Some(3)]].concat();
    let input = builder.add("input", Layer::Input { shape }, &[]).unwrap();
    let convolve = |builder: &mut GraphBuilder, name, at, activation, transposed| {
        let mut convolution = Convolution::new(6, &vec![3; axes]);
        (convolution.padding, convolution.strides) = (Padding::Same, vec![2; axes]);
        (convolution.activation, convolution.transposed) = (activation, transposed);
        builder.add(name, Layer::Convolution(convolution), &[at]).unwrap()
    };
    let half = convolve(&mut builder, "half", input, Activation::Gelu, false);
    let (momentum, epsilon, center, scale) = (0.9, 1e-3, true, true);
    let norm = Layer::BatchNormalization { momentum, epsilon, center, scale };
    let norm = builder.add("norm", norm, &[half]).unwrap();
    let quarter = convolve(&mut builder, "quarter", norm, Activation::Silu, false);
    let back = convolve(&mut builder, "back", quarter, Activation::Tanh, true);
    let skip = builder.add("skip", Layer::Add, &[back, norm]).unwrap();
    let layer = builder.add("layer", Layer::LayerNormalization { epsilon, center, scale }, &[skip]);
    let (kind, size) = (Pool::Max, vec![2; axes]);
    let pool = Layer::Pooling { kind, strides: size.clone(), size, padding: Padding::Valid };
    let pool = builder.add("pool", pool, &[layer.unwrap()]).unwrap();
    let flat = builder.add("flat", Layer::Flatten, &[pool]).unwrap();
    let dense = Layer::Dense { units: 5, bias: true, activation: Activation::Softplus };
    let dense = builder.add("dense", dense, &[flat]).unwrap();
    builder.finish(&[input], &[dense], 4).unwrap()
}

/// Three steps with all examples.
fn trainings(cases: &[Case]) -> Vec<Training> {
    let optimisers = [Optimiser::Adam, Optimiser::AdamW { decay: 0.004 }];
    let losses = [Loss::MeanSquared, Loss::Huber { delta: 1.0 }, Loss::MeanAbsolute];
    let training = |(at, case): (usize, &Case)| {
        let output = known(case.graph.nodes()[case.graph.outputs()[0]].output());
        let options = FitOptions {
            loss: losses[at % 3],
            optimiser: optimisers[at % 2],
            learning_rate: 1e-2,
            steps: 3,
            batch: SAMPLES,
            ..FitOptions::default()
        };
        let target = Numbers(at as u64).tensor(&[vec![SAMPLES], output].concat());
        Training { name: case.name.clone(), options, target }
    };
    let trained = cases.iter().filter(|case| case.graph.name() == "trainable");
    trained.enumerate().map(training).collect()
}

fn line(training: &Training) -> String {
    let optimiser = match training.options.optimiser {
        Optimiser::Adam => "adam",
        _ => "adamw",
    };
    let loss = match training.options.loss {
        Loss::MeanSquared => "mse",
        Loss::MeanAbsolute => "mae",
        _ => "huber",
    };
    format!("{} {optimiser} {loss} 0.01 3\n", training.name)
}

#[test]
fn keras_and_we_agree() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let at = |name: String| folder.path().join(name);
    let cases = cases();
    for case in &cases {
        let bytes = encode_graph(&case.graph, "").unwrap();
        std::fs::write(at(format!("{}.ours.keras", case.name)), bytes).unwrap();
        for (i, input) in case.inputs.iter().enumerate() {
            write(&at(format!("{}.{i}.f32", case.name)), input);
        }
    }
    let trainings = trainings(&cases);
    for training in &trainings {
        write(&at(format!("{}.target.f32", training.name)), &training.target);
    }
    std::fs::write(at("training.txt".into()), trainings.iter().map(line).collect::<String>())
        .unwrap();
    let output = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/graph_peer.py"))
        .arg(folder.path())
        .env("KERAS_BACKEND", "jax")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    predictions_agree(folder.path(), &cases);
    training_agrees(folder.path(), &cases, &trainings);
    made_models_are_read(folder.path());
    others_are_refused(folder.path());
}

fn predictions_agree(folder: &Path, cases: &[Case]) {
    let mut worst = 0.0_f32;
    for case in cases {
        let theirs = std::fs::read(folder.join(format!("{}.prediction.f32", case.name))).unwrap();
        let theirs = floats(&theirs);
        let mut theirs = theirs.as_slice();
        let ours = case.graph.predict(&case.inputs, 2).unwrap();
        for (ours, at) in ours.iter().zip(case.graph.outputs()) {
            let (part, rest) = theirs.split_at(ours.values().len());
            theirs = rest;
            let difference = largest_difference(ours.values(), part);
            let what = (&case.name, case.graph.nodes()[*at].layer());
            assert!(difference < 1e-5, "{what:?} differs by {difference}");
            worst = worst.max(difference);
        }
        assert!(theirs.is_empty());
        let saved = std::fs::read(folder.join(format!("{}.theirs.keras", case.name))).unwrap();
        let (back, extra) = decode_graph(&saved).unwrap();
        assert_eq!(extra, None);
        assert_eq!(back, case.graph, "{} comes back to the bit", case.name);
    }
    println!("{} models, largest difference to Keras: {worst:e}", cases.len());
}

fn training_agrees(folder: &Path, cases: &[Case], trainings: &[Training]) {
    let mut worst = 0.0_f32;
    for training in trainings {
        let case = cases.iter().find(|case| case.name == training.name).unwrap();
        let mut graph = case.graph.clone();
        let table = Table::new(case.inputs.clone(), Some(training.target.clone())).unwrap();
        graph.fit(&table, None, &training.options, &mut |_| ControlFlow::Continue(())).unwrap();
        let saved = std::fs::read(folder.join(format!("{}.trained.keras", case.name))).unwrap();
        let (theirs, _) = decode_graph(&saved).unwrap();
        for at in 0..graph.nodes().len() {
            for ((_, ours), (_, theirs)) in graph.weights(at).into_iter().zip(theirs.weights(at)) {
                let difference = largest_difference(ours, theirs);
                let layer = graph.nodes()[at].name();
                assert!(difference < 1e-5, "{} {layer}: {difference}", training.name);
                worst = worst.max(difference);
            }
        }
    }
    println!("{} trainings, largest difference of a weight: {worst:e}", trainings.len());
}

fn made_models_are_read(folder: &Path) {
    let shapes = std::fs::read_to_string(folder.join("made.json")).unwrap();
    let shapes: BTreeMap<String, Vec<usize>> = serde_json::from_str(&shapes).unwrap();
    assert!(shapes.len() >= 6);
    for (name, shape) in shapes {
        let read = |end: &str| std::fs::read(folder.join(format!("{name}{end}"))).unwrap();
        let (graph, _) = decode_graph(&read(".keras")).unwrap();
        let input = Tensor::new(shape, floats(&read(".0.f32"))).unwrap();
        let ours = graph.predict(&[input], 2).unwrap();
        let difference = largest_difference(ours[0].values(), &floats(&read(".prediction.f32")));
        assert!(difference < 1e-5, "{name} differs by {difference}");
    }
}

fn others_are_refused(folder: &Path) {
    let expected = [
        ("lambda", "layer `lambda` of class `Lambda`: it holds code"),
        ("lstm", "layer `lstm` of class `LSTM`: this class of layer is not supported"),
        ("nested", "of class `Sequential`: a model within a model"),
        ("shared", "of class `Dense`: a layer that is used more than once"),
        ("times", "layer `multiply` of class `Multiply`"),
        ("groups", "`groups` is 2"),
        ("half", "its `dtype` is \"mixed_float16\""),
        ("relu6", "`max_value` is 6.0"),
        ("mish", "its activation `mish` is not supported"),
        ("axis", "its `axis` is 1, only the last is supported"),
        ("training", "it is called with `training`"),
    ];
    for (name, message) in expected {
        let bytes = std::fs::read(folder.join(format!("refused-{name}.keras"))).unwrap();
        let error = decode_graph(&bytes).unwrap_err().to_string();
        assert!(error.contains(message), "{name}: {error}");
        assert!(error.contains("supported are"), "{name}: {error}");
    }
}
