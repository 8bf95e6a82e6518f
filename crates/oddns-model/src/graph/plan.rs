//! From layers to the steps that compute them for samples of known shape.

use super::activation::{Activate, Activation};
use super::layer::{Convolution, Layer, Padding, on_grid, reach};
use super::linear::{Gather, Scatter};
use super::network::{Graph, Node};
use super::normalisation::{Affine, BatchNormalise, Drop, LayerNormalise};
use super::operation::Operation;
use super::patches::{Border, Grid, Walk};
use super::pooling::Window;
use super::rearrangement::{Join, Keep, Select, Sum};
use crate::ModelError;

/// A network for samples of one shape.
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    /// The step with the output of each node.
    pub(super) nodes: Vec<usize>,
    pub(super) shapes: Vec<Vec<usize>>,
}

/// One operation.
pub(super) struct Step {
    /// `None` for the inputs of the network.
    pub(super) operation: Option<Box<dyn Operation>>,
    /// The steps it reads.
    pub(super) inputs: Vec<usize>,
    /// Floats of a sample's output.
    pub(super) size: usize,
    /// Its part of the parameters.
    pub(super) weights: std::ops::Range<usize>,
    /// Multiplications of a sample, roughly.
    work: usize,
    /// Whether anything that is trained lies before it or in it.
    pub(super) learns: bool,
}

impl Plan {
    /// `inputs` are the shapes of a sample of each input.
    pub(super) fn new(graph: &Graph, inputs: &[Vec<usize>]) -> Result<Self, ModelError> {
        let shapes = graph.shapes(inputs)?;
        let mut plan = Self { steps: vec![], nodes: vec![], shapes };
        for at in 0..graph.nodes.len() {
            plan.add(&graph.nodes[at], at);
        }
        Ok(plan)
    }

    fn add(&mut self, node: &Node, at: usize) {
        let inputs: Vec<usize> = node.inputs.iter().map(|input| self.nodes[*input]).collect();
        let shapes: Vec<&[usize]> =
            node.inputs.iter().map(|input| self.shapes[*input].as_slice()).collect();
        let output = &self.shapes[at];
        let size = output.iter().product();
        let channels = output.last().copied().unwrap_or(1);
        let (operation, activation) = operation(node, &shapes, output, at);
        let trained = node.trainable && node.weights.iter().any(|weight| weight.kind.trained());
        let learns = trained || inputs.iter().any(|input| self.steps[*input].learns);
        let weights = node.range();
        let work = size + weights.len().saturating_mul(size / channels.max(1));
        self.steps.push(Step { operation, inputs, size, weights, work, learns });
        if activation != Activation::Linear {
            let operation: Box<dyn Operation> = Box::new(Activate { activation, channels });
            let (operation, inputs) = (Some(operation), vec![self.steps.len() - 1]);
            self.steps.push(Step { operation, inputs, size, weights: 0..0, work: size, learns });
        }
        self.nodes.push(self.steps.len() - 1);
    }

    /// Multiplications of a sample in some steps, roughly.
    pub(super) fn work(&self, steps: std::ops::Range<usize>) -> usize {
        self.steps[steps].iter().fold(0, |sum, step| sum.saturating_add(step.work))
    }

    /// Floats of a sample in the output of `node`.
    pub(super) fn size_of(&self, node: usize) -> usize {
        self.shapes[node].iter().product()
    }

    /// Floats of a sample over all steps.
    pub(super) fn size(&self) -> usize {
        self.steps.iter().map(|step| step.size).sum()
    }
}

/// What computes a node, and the activation that comes after.
fn operation(
    node: &Node,
    inputs: &[&[usize]],
    output: &[usize],
    at: usize,
) -> (Option<Box<dyn Operation>>, Activation) {
    let input = inputs.first().copied().unwrap_or_default();
    let plain = |operation: Box<dyn Operation>| (Some(operation), Activation::Linear);
    match &node.layer {
        Layer::Input { .. } => (None, Activation::Linear),
        Layer::Convolution(convolution) => {
            (Some(convolve(convolution, input, output)), convolution.activation)
        }
        Layer::Dense { units, bias, activation } => {
            let channels = input.last().copied().unwrap_or(1);
            let positions = input.iter().product::<usize>() / channels.max(1);
            let grid = Grid { height: 1, width: positions, channels, border: Border::default() };
            let (kernel, one) = ([1, 1], [1, 1]);
            let walk = Walk { kernel, strides: one, dilation: one, positions: [1, positions] };
            (Some(Box::new(Gather::new(grid, walk, *units, *bias))), *activation)
        }
        Layer::Activation(activation) => {
            let channels = output.last().copied().unwrap_or(1);
            plain(Box::new(Activate { activation: *activation, channels }))
        }
        Layer::BatchNormalization { .. }
        | Layer::LayerNormalization { .. }
        | Layer::Dropout { .. } => plain(normalise(node, output, at)),
        Layer::Add => plain(Box::new(Sum)),
        Layer::Concatenate { axis } => {
            let widths = inputs.iter().map(|input| input[*axis..].iter().product()).collect();
            plain(Box::new(Join { widths }))
        }
        layer => plain(rearrange(layer, input, output)),
    }
}

/// Height, width and channels of a sample on a grid.
fn grid(shape: &[usize]) -> [usize; 3] {
    match shape {
        [height, width, channels] => [*height, *width, *channels],
        [width, channels] => [1, *width, *channels],
        [channels] => [1, 1, *channels],
        _ => [1, 1, 1],
    }
}

fn border(padding: Padding, grid: [usize; 3], reach: [usize; 2], strides: [usize; 2]) -> Border {
    let (top, bottom) = padding.border(grid[0], reach[0], strides[0]);
    let (left, right) = padding.border(grid[1], reach[1], strides[1]);
    Border { top, bottom, left, right }
}

fn convolve(layer: &Convolution, input: &[usize], output: &[usize]) -> Box<dyn Operation> {
    let (input, output) = (grid(input), grid(output));
    let kernel = on_grid(&layer.kernel, 1);
    let strides = on_grid(&layer.strides, 1);
    let dilation = on_grid(&layer.dilation, 1);
    let reach = [reach(kernel[0], dilation[0]), reach(kernel[1], dilation[1])];
    // A transposed convolution lays patches over its output, one for each place of its input.
    let (read, other) = if layer.transposed { (output, input) } else { (input, output) };
    let border = border(layer.padding, read, reach, strides);
    let walk = Walk { kernel, strides, dilation, positions: [other[0], other[1]] };
    let [height, width, channels] = read;
    let grid = Grid { height, width, channels, border };
    if layer.transposed {
        Box::new(Scatter::new(grid, walk, input[2], layer.bias))
    } else {
        Box::new(Gather::new(grid, walk, layer.filters, layer.bias))
    }
}

fn normalise(node: &Node, output: &[usize], at: usize) -> Box<dyn Operation> {
    let channels = output.last().copied().unwrap_or(1);
    match &node.layer {
        Layer::BatchNormalization { momentum, epsilon, center, scale } => {
            let affine = Affine { channels, scale: *scale, center: *center };
            let (momentum, epsilon) = (*momentum as f32, *epsilon as f32);
            Box::new(BatchNormalise { affine, momentum, epsilon, frozen: !node.trainable })
        }
        Layer::LayerNormalization { epsilon, center, scale } => {
            let affine = Affine { channels, scale: *scale, center: *center };
            Box::new(LayerNormalise { affine, epsilon: *epsilon as f32 })
        }
        Layer::Dropout { rate } => {
            let size = output.iter().product();
            Box::new(Drop { rate: *rate as f32, size, salt: at as u64 + 1 })
        }
        _ => Box::new(Keep),
    }
}

fn rearrange(layer: &Layer, input: &[usize], output: &[usize]) -> Box<dyn Operation> {
    let (from, to) = (grid(input), grid(output));
    let select = |source: &dyn Fn(usize, usize) -> Option<usize>| -> Box<dyn Operation> {
        Box::new(Select::grid(from[2], [from[0], from[1]], [to[0], to[1]], source))
    };
    match layer {
        Layer::Pooling { kind, size, strides, padding } => {
            let (kernel, strides) = (on_grid(size, 1), on_grid(strides, 1));
            let border = border(*padding, from, kernel, strides);
            let walk = Walk { kernel, strides, dilation: [1, 1], positions: [to[0], to[1]] };
            Box::new(Window { kind: *kind, grid: from, border, walk })
        }
        Layer::GlobalPooling { kind, .. } => {
            let kernel = [from[0], from[1]];
            let walk = Walk { kernel, strides: [1, 1], dilation: [1, 1], positions: [1, 1] };
            Box::new(Window { kind: *kind, grid: from, border: Border::default(), walk })
        }
        Layer::UpSampling { size } => {
            let times = on_grid(size, 1);
            select(&|axis, at| Some(at / times[axis]))
        }
        Layer::ZeroPadding { amounts } => {
            let before = on_grid(&amounts.iter().map(|pair| pair.0).collect::<Vec<_>>(), 0);
            select(&|axis, at| at.checked_sub(before[axis]).filter(|at| *at < from[axis]))
        }
        Layer::Cropping { amounts } => {
            let before = on_grid(&amounts.iter().map(|pair| pair.0).collect::<Vec<_>>(), 0);
            select(&|axis, at| Some(at + before[axis]))
        }
        Layer::RepeatVector { .. } => select(&|_, _| Some(0)),
        _ => Box::new(Keep),
    }
}
