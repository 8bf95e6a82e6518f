//! The layers a network can be made of, as Keras knows them, and the shapes they give.

use super::activation::Activation;
use super::pooling::Pool;

/// A shape without the batch; `None` is a size that is known only when there is data.
pub type Dimensions = Vec<Option<usize>>;

/// Most of anything a layer can be told: sizes, kernels, channels.
const MAX_NUMBER: usize = 1 << 20;
/// Most values of a sample at any place of a network.
const MAX_VALUES: usize = 1 << 24;
/// Most axes of a sample.
const MAX_AXES: usize = 3;

/// A Keras layer without its weights. Samples are `(units)`, `(time, channels)` or
/// `(height, width, channels)`. A list of one number belongs to the time axis, of two to height
/// and width.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Layer {
    /// Where data comes in.
    Input {
        /// Sizes 1 to 1 048 576, one to three of them, the last one known.
        shape: Dimensions,
    },
    /// `Conv1D`, `Conv2D` and their transposes.
    Convolution(Convolution),
    /// A matrix over the last axis.
    Dense {
        /// Size of the last axis of the output.
        units: usize,
        /// Whether there is a bias.
        bias: bool,
        /// At the end.
        activation: Activation,
    },
    /// An activation alone.
    Activation(Activation),
    /// Normalises each channel: over the batch in training, by running statistics afterwards.
    BatchNormalization {
        /// Share of the running statistics that a step keeps, 0 to 1.
        momentum: f64,
        /// Added to the variance, above 0.
        epsilon: f64,
        /// Whether there is a shift (beta).
        center: bool,
        /// Whether there is a scale (gamma).
        scale: bool,
    },
    /// Normalises the channels of each position.
    LayerNormalization {
        /// Added to the variance, above 0.
        epsilon: f64,
        /// Whether there is a shift (beta).
        center: bool,
        /// Whether there is a scale (gamma).
        scale: bool,
    },
    /// Drops values while training; does nothing otherwise.
    Dropout {
        /// Share that is dropped, 0 to below 1.
        rate: f64,
    },
    /// `MaxPooling1D` and so on.
    Pooling {
        /// Maximum or mean.
        kind: Pool,
        /// Sizes of a window.
        size: Vec<usize>,
        /// Steps between windows.
        strides: Vec<usize>,
        /// `Valid` or `Same`.
        padding: Padding,
    },
    /// `GlobalAveragePooling1D` and so on: one value for each channel.
    GlobalPooling {
        /// Maximum or mean.
        kind: Pool,
        /// How many axes are pooled away, 1 or 2.
        axes: usize,
        /// Whether they stay, with size 1.
        keep: bool,
    },
    /// Repeats each value (nearest neighbour).
    UpSampling {
        /// How often, along each axis.
        size: Vec<usize>,
    },
    /// Zeros before and after.
    ZeroPadding {
        /// How many before and after, for each axis.
        amounts: Vec<(usize, usize)>,
    },
    /// Drops places at the ends.
    Cropping {
        /// How many before and after, for each axis.
        amounts: Vec<(usize, usize)>,
    },
    /// Several inputs one behind the other.
    Concatenate {
        /// Axis, 0 being the first after the batch.
        axis: usize,
    },
    /// The sum of several inputs of one shape.
    Add,
    /// All values on one axis.
    Flatten,
    /// Other axes for the same values.
    Reshape {
        /// The shape; one size may be `None` and follows from the rest.
        shape: Dimensions,
    },
    /// The same vector at several times.
    RepeatVector {
        /// How often.
        times: usize,
    },
}

/// A convolution over one axis (time) or two (height, width).
#[derive(Debug, Clone, PartialEq)]
pub struct Convolution {
    /// Channels of the output.
    pub filters: usize,
    /// Sizes of the kernel; one number or two.
    pub kernel: Vec<usize>,
    /// Steps of the kernel (of the output, when transposed).
    pub strides: Vec<usize>,
    /// Steps between the kernel's taps.
    pub dilation: Vec<usize>,
    /// What stands beyond the ends.
    pub padding: Padding,
    /// Whether there is a bias.
    pub bias: bool,
    /// At the end.
    pub activation: Activation,
    /// Whether it enlarges instead of shrinks (`Conv1DTranspose`).
    pub transposed: bool,
}

impl Convolution {
    /// Steps of 1, no dilation, no padding, a bias and no activation.
    pub fn new(filters: usize, kernel: &[usize]) -> Self {
        Self {
            filters,
            kernel: kernel.to_vec(),
            strides: vec![1; kernel.len()],
            dilation: vec![1; kernel.len()],
            padding: Padding::Valid,
            bias: true,
            activation: Activation::Linear,
            transposed: false,
        }
    }
}

/// What a kernel sees beyond the ends of its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// It stays within.
    Valid,
    /// Zeros on both sides, so that the output is the input divided by the stride.
    Same,
    /// Zeros before the first, so that nothing depends on what comes later. `Conv1D` only.
    Causal,
}

/// A weight of a layer, in Keras's order and shape.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WeightShape {
    pub(crate) shape: Vec<usize>,
    pub(crate) kind: WeightKind,
}

/// What a weight is for, which decides how it begins and whether it is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WeightKind {
    /// Random at first, by the number of values coming in and going out.
    Kernel {
        fan_in: usize,
        fan_out: usize,
    },
    Zeros,
    Ones,
    /// Of a running statistic: zeros, not trained.
    RunningMean,
    /// Of a running statistic: ones, not trained.
    RunningVariance,
}

impl WeightKind {
    pub(crate) fn trained(self) -> bool {
        !matches!(self, Self::RunningMean | Self::RunningVariance)
    }
}

/// Sizes along height and width of something given for one axis or two; one axis is the width.
pub(super) fn on_grid(values: &[usize], neutral: usize) -> [usize; 2] {
    match values {
        [height, width] => [*height, *width],
        [width] => [neutral, *width],
        _ => [neutral, neutral],
    }
}

impl Padding {
    /// Zeros before and after an axis of `size`, for a kernel that covers `reach`.
    pub(crate) fn border(self, size: usize, reach: usize, stride: usize) -> (usize, usize) {
        match self {
            Self::Valid => (0, 0),
            Self::Causal => (reach - 1, 0),
            Self::Same => {
                let covered = (size.div_ceil(stride).max(1) - 1) * stride + reach;
                let missing = covered.saturating_sub(size);
                (missing / 2, missing - missing / 2)
            }
        }
    }

    /// Positions of the kernel along an axis; 0 when it does not fit.
    pub(super) fn positions(self, size: usize, reach: usize, stride: usize) -> usize {
        match self {
            Self::Same | Self::Causal => size.div_ceil(stride),
            Self::Valid if size < reach => 0,
            Self::Valid => (size - reach) / stride + 1,
        }
    }

    /// Size of the output of a transposed convolution.
    pub(super) fn enlarged(self, size: usize, reach: usize, stride: usize) -> usize {
        match self {
            Self::Same => size * stride,
            Self::Valid | Self::Causal => size.saturating_sub(1) * stride + reach.max(stride),
        }
    }
}

/// How far a kernel reaches with its gaps.
pub(crate) fn reach(kernel: usize, dilation: usize) -> usize {
    (kernel - 1) * dilation + 1
}

impl Layer {
    /// The class that Keras calls it, for messages.
    pub fn class(&self) -> String {
        let axes = |name: &str, n: usize| format!("{name}{n}D");
        let pool = |kind: &Pool| if *kind == Pool::Max { "Max" } else { "Average" };
        match self {
            Self::Input { .. } => "InputLayer".into(),
            Self::Convolution(c) => {
                format!("Conv{}D{}", c.kernel.len(), if c.transposed { "Transpose" } else { "" })
            }
            Self::Dense { .. } => "Dense".into(),
            Self::Activation(Activation::LeakyRelu { .. }) => "LeakyReLU".into(),
            Self::Activation(Activation::Elu { .. }) => "ELU".into(),
            Self::Activation(Activation::GeluTanh) => "Gelu".into(),
            Self::Activation(_) => "Activation".into(),
            Self::BatchNormalization { .. } => "BatchNormalization".into(),
            Self::LayerNormalization { .. } => "LayerNormalization".into(),
            Self::Dropout { .. } => "Dropout".into(),
            Self::Pooling { kind, size, .. } => axes(&format!("{}Pooling", pool(kind)), size.len()),
            Self::GlobalPooling { kind, axes: n, .. } => {
                axes(&format!("Global{}Pooling", pool(kind)), *n)
            }
            Self::UpSampling { size } => axes("UpSampling", size.len()),
            Self::ZeroPadding { amounts } => axes("ZeroPadding", amounts.len()),
            Self::Cropping { amounts } => axes("Cropping", amounts.len()),
            Self::Concatenate { .. } => "Concatenate".into(),
            Self::Add => "Add".into(),
            Self::Flatten => "Flatten".into(),
            Self::Reshape { .. } => "Reshape".into(),
            Self::RepeatVector { .. } => "RepeatVector".into(),
        }
    }

    /// The shape of the output, or what is wrong.
    pub(crate) fn output(&self, inputs: &[&Dimensions]) -> Result<Dimensions, String> {
        self.check_count(inputs.len())?;
        let first = inputs.first().map(|first| first.as_slice()).unwrap_or_default();
        let output = match self {
            Self::Input { shape } => shape.clone(),
            Self::Add => same_shape(inputs)?,
            Self::Concatenate { axis } => concatenated(inputs, *axis)?,
            Self::Convolution(convolution) => convolution.output(first)?,
            Self::Dense { units, activation, .. } => {
                number("units", *units)?;
                within_layer(*activation)?;
                known_channels(first)?;
                with_last(first, *units)
            }
            Self::BatchNormalization { epsilon, momentum, .. } => {
                let momentum_fine = (0.0..=1.0).contains(momentum);
                positive(*epsilon, momentum_fine).and_then(|()| known_channels(first))?;
                first.to_vec()
            }
            Self::LayerNormalization { epsilon, .. } => {
                positive(*epsilon, true).and_then(|()| known_channels(first))?;
                first.to_vec()
            }
            Self::Dropout { rate } if !(0.0..1.0).contains(rate) => {
                return Err(format!("its rate is {rate}, it must be 0 to below 1"));
            }
            Self::Activation(_) | Self::Dropout { .. } => first.to_vec(),
            _ => self.rearranged(first)?,
        };
        check_size(&output)?;
        Ok(output)
    }

    fn check_count(&self, found: usize) -> Result<(), String> {
        let allowed = match self {
            Self::Input { .. } => found == 0,
            Self::Add | Self::Concatenate { .. } => found >= 1,
            _ => found == 1,
        };
        if allowed { Ok(()) } else { Err(format!("it reads {found} tensors")) }
    }

    /// The shape after pooling, padding and what else only moves values.
    fn rearranged(&self, input: &[Option<usize>]) -> Result<Dimensions, String> {
        match self {
            Self::Pooling { size, strides, padding, .. } => {
                let windows = size.iter().zip(strides);
                let windows: Vec<_> = windows.map(|(size, stride)| (*size, *stride)).collect();
                equally_many(size.len(), &[strides.len()])?;
                if *padding == Padding::Causal {
                    return Err("it cannot be causal".into());
                }
                windows.iter().try_for_each(|(a, b)| number("window", *a.min(b)))?;
                windows.iter().try_for_each(|(a, b)| number("window", *a.max(b)))?;
                along(input, size.len(), |axis, at| {
                    padding.positions(at, windows[axis].0, windows[axis].1)
                })
            }
            Self::GlobalPooling { axes, keep, .. } => {
                grid(input, *axes)?;
                let channels = input.last().copied().flatten();
                let kept = vec![Some(1); if *keep { *axes } else { 0 }];
                Ok(kept.into_iter().chain([channels]).collect())
            }
            Self::UpSampling { size } => {
                size.iter().try_for_each(|n| number("size", *n))?;
                along(input, size.len(), |axis, at| at * size[axis])
            }
            Self::ZeroPadding { amounts } => {
                amounts.iter().try_for_each(|(a, b)| number("padding", 1 + a.max(b)))?;
                along(input, amounts.len(), |axis, at| at + amounts[axis].0 + amounts[axis].1)
            }
            Self::Cropping { amounts } => {
                amounts.iter().try_for_each(|(a, b)| number("cropping", 1 + a.max(b)))?;
                let left =
                    |axis: usize, at: usize| at.saturating_sub(amounts[axis].0 + amounts[axis].1);
                along(input, amounts.len(), left)
            }
            Self::Flatten => Ok(vec![product(input)]),
            Self::Reshape { shape } => reshaped(input, shape),
            Self::RepeatVector { times } => {
                number("n", *times)?;
                match input {
                    [channels] => Ok(vec![Some(*times), *channels]),
                    _ => Err(format!("it reads vectors, not {}", shown(input))),
                }
            }
            _ => Ok(input.to_vec()),
        }
    }

    /// The weights for an input of this shape, in Keras's order.
    pub(crate) fn weights(&self, inputs: &[&Dimensions]) -> Vec<WeightShape> {
        let channels = inputs.first().and_then(|input| input.last().copied().flatten());
        let channels = channels.unwrap_or_default();
        let weight = |shape: Vec<usize>, kind| WeightShape { shape, kind };
        let affine = |center: bool, scale: bool| {
            let scale = scale.then(|| weight(vec![channels], WeightKind::Ones));
            let shift = center.then(|| weight(vec![channels], WeightKind::Zeros));
            scale.into_iter().chain(shift).collect::<Vec<_>>()
        };
        match self {
            Self::Convolution(convolution) => convolution.weights(channels),
            Self::Dense { units, bias, .. } => {
                let kind = WeightKind::Kernel { fan_in: channels, fan_out: *units };
                let bias = bias.then(|| weight(vec![*units], WeightKind::Zeros));
                [weight(vec![channels, *units], kind)].into_iter().chain(bias).collect()
            }
            Self::BatchNormalization { center, scale, .. } => {
                let mut weights = affine(*center, *scale);
                weights.push(weight(vec![channels], WeightKind::RunningMean));
                weights.push(weight(vec![channels], WeightKind::RunningVariance));
                weights
            }
            Self::LayerNormalization { center, scale, .. } => affine(*center, *scale),
            _ => vec![],
        }
    }
}

impl Convolution {
    fn output(&self, input: &[Option<usize>]) -> Result<Dimensions, String> {
        let axes = self.kernel.len();
        equally_many(axes, &[self.strides.len(), self.dilation.len()])?;
        number("filters", self.filters)?;
        for n in self.kernel.iter().chain(&self.strides).chain(&self.dilation) {
            number("kernel, stride or dilation", *n)?;
        }
        within_layer(self.activation)?;
        known_channels(input)?;
        if self.padding == Padding::Causal && (axes != 1 || self.transposed) {
            return Err("only `Conv1D` can be causal".into());
        }
        let above_one = |sizes: &[usize]| sizes.iter().any(|size| *size > 1);
        if above_one(&self.strides) && above_one(&self.dilation) {
            return Err("strides and dilation cannot both be above 1".into());
        }
        let extent = |axis: usize, at: usize| {
            let (reach, stride) =
                (reach(self.kernel[axis], self.dilation[axis]), self.strides[axis]);
            if self.transposed {
                self.padding.enlarged(at, reach, stride)
            } else {
                self.padding.positions(at, reach, stride)
            }
        };
        Ok(with_last(&along(input, axes, extent)?, self.filters))
    }

    fn weights(&self, channels: usize) -> Vec<WeightShape> {
        let taps: usize = self.kernel.iter().product();
        let [a, b] =
            if self.transposed { [self.filters, channels] } else { [channels, self.filters] };
        // Keras reckons the fans of a transposed kernel as if it were a plain one.
        let kind =
            WeightKind::Kernel { fan_in: taps.saturating_mul(a), fan_out: taps.saturating_mul(b) };
        let shape = self.kernel.iter().copied().chain([a, b]).collect();
        let bias = WeightShape { shape: vec![self.filters], kind: WeightKind::Zeros };
        let bias = self.bias.then_some(bias);
        [WeightShape { shape, kind }].into_iter().chain(bias).collect()
    }
}

fn number(name: &str, found: usize) -> Result<(), String> {
    if (1..=MAX_NUMBER).contains(&found) {
        return Ok(());
    }
    Err(format!("its {name} is {found}, it must be 1 to {MAX_NUMBER}"))
}

fn positive(epsilon: f64, momentum_fine: bool) -> Result<(), String> {
    if epsilon > 0.0 && epsilon.is_finite() && momentum_fine {
        return Ok(());
    }
    Err("its epsilon must be above 0, its momentum 0 to 1".into())
}

fn within_layer(activation: Activation) -> Result<(), String> {
    match activation {
        Activation::GeluTanh => Err("Keras has no name for GELU by tanh within a layer".into()),
        _ => Ok(()),
    }
}

fn equally_many(axes: usize, others: &[usize]) -> Result<(), String> {
    if (1..=2).contains(&axes) && others.iter().all(|other| *other == axes) {
        return Ok(());
    }
    Err("its sizes must be given for one axis or for two, for all alike".into())
}

fn known_channels(input: &[Option<usize>]) -> Result<(), String> {
    match input.last() {
        Some(Some(_)) => Ok(()),
        _ => Err(format!("the last size of its input must be known, it is {}", shown(input))),
    }
}

/// Refuses what is not a grid with `axes` axes and channels.
fn grid(input: &[Option<usize>], axes: usize) -> Result<(), String> {
    if (1..=2).contains(&axes) && input.len() == axes + 1 {
        return Ok(());
    }
    Err(format!("it reads {} axes after the batch, its input is {}", axes + 1, shown(input)))
}

fn with_last(input: &[Option<usize>], last: usize) -> Dimensions {
    let axes = input.len().saturating_sub(1);
    input[..axes].iter().copied().chain([Some(last)]).collect()
}

/// Each of `axes` axes with the size that `size` makes of it; the channels stay.
fn along(
    input: &[Option<usize>],
    axes: usize,
    size: impl Fn(usize, usize) -> usize,
) -> Result<Dimensions, String> {
    grid(input, axes)?;
    let sized = |(axis, at): (usize, &Option<usize>)| at.map(|at| size(axis, at));
    let sizes = input[..axes].iter().enumerate().map(sized);
    Ok(sizes.chain(input.last().copied()).collect())
}

fn same_shape(inputs: &[&Dimensions]) -> Result<Dimensions, String> {
    match inputs.iter().find(|input| **input != inputs[0]) {
        Some(other) => Err(format!("it reads {} and {}", shown(inputs[0]), shown(other))),
        None => Ok(inputs[0].clone()),
    }
}

fn concatenated(inputs: &[&Dimensions], axis: usize) -> Result<Dimensions, String> {
    let mut output = inputs[0].clone();
    let others = |input: &Dimensions| {
        let mut input = input.clone();
        if axis < input.len() {
            input[axis] = None;
        }
        input
    };
    if axis >= output.len() || inputs.iter().any(|input| others(input) != others(inputs[0])) {
        let shapes: Vec<_> = inputs.iter().map(|input| shown(input)).collect();
        return Err(format!("it joins {} on axis {}", shapes.join(" and "), axis + 1));
    }
    let sizes: Option<Vec<usize>> = inputs.iter().map(|input| input[axis]).collect();
    output[axis] = sizes.map(|sizes| sizes.iter().sum());
    Ok(output)
}

fn reshaped(input: &[Option<usize>], shape: &Dimensions) -> Result<Dimensions, String> {
    shape.iter().flatten().try_for_each(|n| number("target size", *n))?;
    if shape.len() > MAX_AXES || shape.iter().filter(|size| size.is_none()).count() > 1 {
        return Err(format!("its target {} cannot be told", shown(shape)));
    }
    let Some(total) = product(input) else { return Ok(shape.clone()) };
    let known: usize = shape.iter().flatten().product();
    let filled: Dimensions = shape.iter().map(|size| size.or(Some(total / known))).collect();
    if product(&filled) != Some(total) {
        return Err(format!("{} cannot become {}", shown(input), shown(shape)));
    }
    Ok(filled)
}

fn product(shape: &[Option<usize>]) -> Option<usize> {
    shape.iter().copied().try_fold(1_usize, |product, size| size?.checked_mul(product))
}

fn check_size(shape: &Dimensions) -> Result<(), String> {
    if shape.is_empty() || shape.len() > MAX_AXES {
        return Err(format!("{} has not one to three axes after the batch", shown(shape)));
    }
    if shape.iter().flatten().any(|size| !(1..=MAX_NUMBER).contains(size)) {
        return Err(format!("it gives {}: sizes must be 1 to {MAX_NUMBER}", shown(shape)));
    }
    if shape.iter().flatten().product::<usize>() > MAX_VALUES {
        return Err(format!("it gives {}: more than {MAX_VALUES} values", shown(shape)));
    }
    Ok(())
}

/// `(?, 20, 6)`: a question mark for what is not known.
pub(crate) fn shown(shape: &[Option<usize>]) -> String {
    let sizes: Vec<_> =
        shape.iter().map(|size| size.map_or("?".into(), |size| size.to_string())).collect();
    format!("({})", sizes.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(shape: &[usize]) -> Dimensions {
        shape.iter().map(|size| Some(*size)).collect()
    }

    #[test]
    fn shapes_are_those_of_keras() {
        let conv = |padding, transposed, strides, dilation| {
            Layer::Convolution(Convolution {
                padding,
                transposed,
                strides: vec![strides],
                dilation: vec![dilation],
                ..Convolution::new(4, &[3])
            })
        };
        // Length of the output for an input of length 10, from Keras 3.15.
        let cases = [
            (conv(Padding::Valid, false, 2, 1), 4),
            (conv(Padding::Same, false, 3, 1), 4),
            (conv(Padding::Causal, false, 1, 4), 10),
            (conv(Padding::Valid, true, 2, 1), 21),
            (conv(Padding::Valid, true, 5, 1), 50),
            (conv(Padding::Same, true, 2, 1), 20),
        ];
        for (layer, length) in cases {
            assert_eq!(layer.output(&[&sizes(&[10, 2])]), Ok(sizes(&[length, 4])), "{layer:?}");
        }
        let free = vec![None, Some(2)];
        assert_eq!(conv(Padding::Same, false, 3, 1).output(&[&free]), Ok(vec![None, Some(4)]));
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let conv = Layer::Convolution(Convolution::new(4, &[3]));
        let cases = [
            (conv.output(&[&sizes(&[2, 2])]), "it gives (0, 4)"),
            (conv.output(&[&sizes(&[2])]), "it reads 2 axes after the batch, its input is (2)"),
            (conv.output(&[&vec![Some(9), None]]), "must be known, it is (9, ?)"),
            (Layer::Add.output(&[&sizes(&[2]), &sizes(&[3])]), "it reads (2) and (3)"),
            (Layer::Flatten.output(&[]), "it reads 0 tensors"),
            (
                Layer::UpSampling { size: vec![1 << 20] }.output(&[&sizes(&[1 << 20, 1])]),
                "sizes must be 1 to 1048576",
            ),
            (
                Layer::Reshape { shape: vec![Some(4), None] }.output(&[&sizes(&[6])]),
                "(6) cannot become (4, ?)",
            ),
        ];
        for (found, expected) in cases {
            let message = found.unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
    }
}
