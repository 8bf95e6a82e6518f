//! A network of stock layers as operations of ONNX.
//!
//! Values keep the order of Keras, channels last; where ONNX wants channels first they are turned
//! around an operation.

use super::builder::{OnnxBuilder, Setting, Value};
use crate::graph::{Activation, Convolution, Graph, Layer, Node, Padding, Pool, reach};

impl OnnxBuilder {
    /// Adds a network that reads `inputs`, samples first, and gives a value for each of its nodes, in
    /// their order. What dropout does in training is left out.
    pub fn add_graph(&mut self, graph: &Graph, inputs: &[Value]) -> Vec<Value> {
        let mut values: Vec<Value> = Vec::with_capacity(graph.nodes().len());
        for (at, node) in graph.nodes().iter().enumerate() {
            let given = graph.inputs().iter().position(|input| *input == at);
            let value = match given.and_then(|input| inputs.get(input)) {
                Some(input) => input.clone(),
                None => self.layer(graph, at, node, &values),
            };
            values.push(value);
        }
        values
    }

    fn layer(&mut self, graph: &Graph, at: usize, node: &Node, values: &[Value]) -> Value {
        let read: Vec<&Value> = node.inputs().iter().map(|input| &values[*input]).collect();
        let Some(first) = read.first().copied() else { return self.float(0.0) };
        let shape = graph.nodes()[node.inputs()[0]].output();
        let weights = graph.weights(at);
        match node.layer() {
            Layer::Convolution(convolution) => {
                let found = self.convolution(convolution, first, shape, &weights);
                self.activation(convolution.activation, &found)
            }
            Layer::Dense { activation, .. } => {
                let mut found = first.clone();
                for (operation, (shape, values)) in ["MatMul", "Add"].into_iter().zip(&weights) {
                    let weight = self.floats(shape, values);
                    found = self.add(operation, &[&found, &weight], &[]);
                }
                self.activation(*activation, &found)
            }
            Layer::Activation(activation) => self.activation(*activation, first),
            Layer::BatchNormalization { epsilon, center, scale, .. } => {
                let (scale, shift) = by_running_statistics(&weights, *epsilon, *center, *scale);
                let scale = self.floats(&[scale.len()], &scale);
                let shift = self.floats(&[shift.len()], &shift);
                let scaled = self.add("Mul", &[first, &scale], &[]);
                self.add("Add", &[&scaled, &shift], &[])
            }
            Layer::LayerNormalization { epsilon, center, scale } => {
                let n = shape.last().copied().flatten().unwrap_or(1);
                let (ones, zeros) = (vec![1.0; n], vec![0.0; n]);
                let mut given = weights.iter().map(|(_, values)| *values);
                let gamma = if *scale { given.next().unwrap_or(&ones) } else { &ones };
                let beta = if *center { given.next().unwrap_or(&zeros) } else { &zeros };
                let (gamma, beta) = (self.floats(&[n], gamma), self.floats(&[n], beta));
                let settings =
                    [("axis", Setting::Int(-1)), ("epsilon", Setting::Float(*epsilon as f32))];
                self.add("LayerNormalization", &[first, &gamma, &beta], &settings)
            }
            Layer::Add => self.folded("Add", &read),
            Layer::Concatenate { axis } => {
                self.add("Concat", &read, &[("axis", Setting::Int(*axis as i64 + 1))])
            }
            _ => self.rearrangement(node.layer(), first, shape),
        }
    }

    fn folded(&mut self, operation: &str, read: &[&Value]) -> Value {
        let mut sum = read[0].clone();
        for value in &read[1..] {
            sum = self.add(operation, &[&sum, value], &[]);
        }
        sum
    }

    /// Channels to the front, or back again, of a value with `axes` axes beside samples and channels.
    fn turned(&mut self, value: &Value, axes: usize, to_front: bool) -> Value {
        let axes = axes as i64;
        let order: Vec<i64> = match to_front {
            true => [0, axes + 1].into_iter().chain(1..=axes).collect(),
            false => [0].into_iter().chain(2..=axes + 1).chain([1]).collect(),
        };
        self.add("Transpose", &[value], &[("perm", Setting::Ints(order))])
    }

    fn convolution(
        &mut self,
        layer: &Convolution,
        input: &Value,
        shape: &[Option<usize>],
        weights: &[(&[usize], &[f32])],
    ) -> Value {
        let axes = layer.kernel.len();
        let [(kernel_shape, kernel), rest @ ..] = weights else { return input.clone() };
        let (shape_in_front, in_front) = channels_first(kernel_shape, kernel);
        let kernel = self.floats(&shape_in_front, &in_front);
        let bias = rest.first().map(|(shape, values)| self.floats(shape, values));
        let turned = self.turned(input, axes, true);
        let read: Vec<&Value> = [&turned, &kernel].into_iter().chain(&bias).collect();
        let mut settings = vec![
            ("kernel_shape", ints(&layer.kernel)),
            ("strides", ints(&layer.strides)),
            ("dilations", ints(&layer.dilation)),
        ];
        let reaches: Vec<usize> =
            layer.kernel.iter().zip(&layer.dilation).map(|(k, d)| reach(*k, *d)).collect();
        let operation = if layer.transposed {
            settings.extend(enlarging(layer, &reaches));
            "ConvTranspose"
        } else {
            settings.push(at_ends(layer.padding, shape, &reaches, &layer.strides));
            "Conv"
        };
        let found = self.add(operation, &read, &settings);
        self.turned(&found, axes, false)
    }

    /// What an activation makes of a value.
    pub(super) fn activation(&mut self, activation: Activation, x: &Value) -> Value {
        let plain = |builder: &mut Self, name: &str| builder.add(name, &[x], &[]);
        match activation {
            Activation::Linear => x.clone(),
            Activation::Relu => plain(self, "Relu"),
            Activation::Sigmoid => plain(self, "Sigmoid"),
            Activation::Tanh => plain(self, "Tanh"),
            Activation::Softplus => plain(self, "Softplus"),
            Activation::Silu => {
                let share = plain(self, "Sigmoid");
                self.add("Mul", &[x, &share], &[])
            }
            Activation::LeakyRelu { slope } => {
                self.add("LeakyRelu", &[x], &[("alpha", Setting::Float(slope as f32))])
            }
            Activation::Elu { alpha } => {
                self.add("Elu", &[x], &[("alpha", Setting::Float(alpha as f32))])
            }
            Activation::Softmax => self.add("Softmax", &[x], &[("axis", Setting::Int(-1))]),
            Activation::Gelu => {
                let root = self.float(std::f32::consts::SQRT_2);
                let scaled = self.add("Div", &[x, &root], &[]);
                let share = self.add("Erf", &[&scaled], &[]);
                self.half_of_one_more(x, &share)
            }
            Activation::GeluTanh => {
                let factors = [0.044_715, 0.797_884_6].map(|factor| self.float(factor));
                let square = self.add("Mul", &[x, x], &[]);
                let cube = self.add("Mul", &[&square, x], &[]);
                let bent = self.add("Mul", &[&cube, &factors[0]], &[]);
                let sum = self.add("Add", &[x, &bent], &[]);
                let scaled = self.add("Mul", &[&sum, &factors[1]], &[]);
                let share = self.add("Tanh", &[&scaled], &[]);
                self.half_of_one_more(x, &share)
            }
        }
    }

    /// x · (share + 1) · ½, in the order in which PyTorch writes it.
    fn half_of_one_more(&mut self, x: &Value, share: &Value) -> Value {
        let (one, half) = (self.float(1.0), self.float(0.5));
        let more = self.add("Add", &[share, &one], &[]);
        let product = self.add("Mul", &[x, &more], &[]);
        self.add("Mul", &[&product, &half], &[])
    }

    fn rearrangement(&mut self, layer: &Layer, input: &Value, shape: &[Option<usize>]) -> Value {
        match layer {
            Layer::Pooling { kind, size, strides, padding } => {
                let axes = size.len();
                let turned = self.turned(input, axes, true);
                let mut settings = vec![("kernel_shape", ints(size)), ("strides", ints(strides))];
                settings.push(at_ends(*padding, shape, size, strides));
                let operation = if *kind == Pool::Max { "MaxPool" } else { "AveragePool" };
                let found = self.add(operation, &[&turned], &settings);
                self.turned(&found, axes, false)
            }
            Layer::GlobalPooling { kind, axes, keep } => {
                let pooled = (1..=*axes as i64).collect();
                let settings =
                    [("axes", Setting::Ints(pooled)), ("keepdims", Setting::Int(i64::from(*keep)))];
                let operation = if *kind == Pool::Max { "ReduceMax" } else { "ReduceMean" };
                self.add(operation, &[input], &settings)
            }
            Layer::UpSampling { size } => {
                let scales: Vec<f32> =
                    [1].iter().chain(size).chain(&[1]).map(|size| *size as f32).collect();
                let nothing = Value(String::new());
                let scales = self.floats(&[scales.len()], &scales);
                let settings = [
                    ("mode", Setting::Text("nearest")),
                    ("coordinate_transformation_mode", Setting::Text("asymmetric")),
                    ("nearest_mode", Setting::Text("floor")),
                ];
                self.add("Resize", &[input, &nothing, &scales], &settings)
            }
            Layer::ZeroPadding { amounts } => {
                let side = |take: fn(&(usize, usize)) -> usize| {
                    [0].into_iter().chain(amounts.iter().map(take)).chain([0]).map(|n| n as i64)
                };
                let pads: Vec<i64> = side(|a| a.0).chain(side(|a| a.1)).collect();
                let pads = self.ints(&pads);
                self.add("Pad", &[input, &pads], &[])
            }
            Layer::Cropping { amounts } => self.cropped(input, amounts),
            Layer::Flatten => self.add("Flatten", &[input], &[("axis", Setting::Int(1))]),
            Layer::Reshape { shape } => {
                let size = |size: &Option<usize>| size.map_or(-1, |size| size as i64);
                let target: Vec<i64> = [0].into_iter().chain(shape.iter().map(size)).collect();
                let target = self.ints(&target);
                self.add("Reshape", &[input, &target], &[])
            }
            Layer::RepeatVector { times } => {
                let (axis, repeats) = (self.ints(&[1]), self.ints(&[1, *times as i64, 1]));
                let with_time = self.add("Unsqueeze", &[input, &axis], &[]);
                self.add("Tile", &[&with_time, &repeats], &[])
            }
            _ => input.clone(),
        }
    }

    fn cropped(&mut self, input: &Value, amounts: &[(usize, usize)]) -> Value {
        let starts: Vec<i64> = amounts.iter().map(|(before, _)| *before as i64).collect();
        // Whatever lies behind the end counts as the end.
        let end =
            |(_, after): &(usize, usize)| if *after == 0 { i64::MAX } else { -(*after as i64) };
        let ends: Vec<i64> = amounts.iter().map(end).collect();
        let axes: Vec<i64> = (1..=amounts.len() as i64).collect();
        let (starts, ends, axes) = (self.ints(&starts), self.ints(&ends), self.ints(&axes));
        self.add("Slice", &[input, &starts, &ends, &axes], &[])
    }
}

fn ints(values: &[usize]) -> Setting {
    Setting::Ints(values.iter().map(|value| *value as i64).collect())
}

/// Scale and shift of a normalisation after training. The weights are gamma, beta, mean, variance,
/// the first two where they are.
fn by_running_statistics(
    weights: &[(&[usize], &[f32])],
    epsilon: f64,
    center: bool,
    scale: bool,
) -> (Vec<f32>, Vec<f32>) {
    let of = |at: usize| weights.get(at).map_or(&[][..], |(_, values)| values);
    let after = usize::from(scale) + usize::from(center);
    let (mean, variance) = (of(after), of(after + 1));
    let gamma = |c: usize| if scale { f64::from(of(0)[c]) } else { 1.0 };
    let beta = |c: usize| if center { f64::from(of(usize::from(scale))[c]) } else { 0.0 };
    let scales: Vec<f64> =
        (0..variance.len()).map(|c| gamma(c) / (f64::from(variance[c]) + epsilon).sqrt()).collect();
    let shift = |c: usize| (beta(c) - f64::from(mean[c]) * scales[c]) as f32;
    let shifts = (0..variance.len()).map(shift).collect();
    (scales.iter().map(|scale| *scale as f32).collect(), shifts)
}

/// `(taps…, a, b)` as `(b, a, taps…)`: what Keras has last ONNX has first.
fn channels_first(shape: &[usize], values: &[f32]) -> (Vec<usize>, Vec<f32>) {
    let (taps, channels) = shape.split_at(shape.len().saturating_sub(2));
    let [a, b] = channels else { return (shape.to_vec(), values.to_vec()) };
    let n_taps: usize = taps.iter().product();
    let mut turned = Vec::with_capacity(values.len());
    for out in 0..*b {
        for into in 0..*a {
            turned.extend((0..n_taps).map(|tap| values[(tap * a + into) * b + out]));
        }
    }
    ([&[*b, *a], taps].concat(), turned)
}

/// What stands beyond the ends, in the words of ONNX.
fn at_ends(
    padding: Padding,
    shape: &[Option<usize>],
    reaches: &[usize],
    strides: &[usize],
) -> (&'static str, Setting) {
    let axes = reaches.len();
    let border = |at: usize| match (padding, shape.get(at).copied().flatten()) {
        (Padding::Same, None) if strides[at] > 1 => None,
        // With steps of 1 every size has the same border.
        (_, size) => Some(padding.border(size.unwrap_or(reaches[at]), reaches[at], strides[at])),
    };
    let borders: Option<Vec<(usize, usize)>> = (0..axes).map(border).collect();
    match borders {
        Some(borders) => {
            let before = borders.iter().map(|border| border.0 as i64);
            let after = borders.iter().map(|border| border.1 as i64);
            ("pads", Setting::Ints(before.chain(after).collect()))
        }
        None => ("auto_pad", Setting::Text("SAME_UPPER")),
    }
}

/// What a transposed convolution drops and adds at its ends.
fn enlarging(layer: &Convolution, reaches: &[usize]) -> [(&'static str, Setting); 2] {
    let dropped = |at: usize| match layer.padding {
        Padding::Same => reaches[at].saturating_sub(layer.strides[at]),
        _ => 0,
    };
    let axes = 0..reaches.len();
    let before = axes.clone().map(|at| dropped(at) / 2);
    let after = axes.clone().map(|at| dropped(at) - dropped(at) / 2);
    let pads: Vec<usize> = before.chain(after).collect();
    let more: Vec<usize> = axes.map(|at| layer.strides[at].saturating_sub(reaches[at])).collect();
    [("pads", ints(&pads)), ("output_padding", ints(&more))]
}
