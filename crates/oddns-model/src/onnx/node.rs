//! One operation of an ONNX file: its settings and weights, and the layer it is.

use super::message::{Node, Tensor, data_type};
use super::pattern::Patterns;
use crate::ModelError;
use crate::graph::{Activation, Convolution, Dimensions, Layer, Padding, Pool, reach};

/// Most values of a weight.
const MAX_VALUES: usize = 16_000_000;

pub(super) fn refused(name: &str, class: &str, problem: impl Into<String>) -> ModelError {
    ModelError::OnnxOperation {
        name: name.to_owned(),
        operation: class.to_owned(),
        problem: problem.into(),
    }
}

/// Numbers of the file that do not change.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Weight {
    pub(super) shape: Vec<usize>,
    pub(super) values: Vec<f32>,
    /// The same where they are whole numbers.
    pub(super) ints: Vec<i64>,
}

impl Weight {
    /// `None` for a type of numbers that no layer has.
    pub(super) fn read(tensor: &Tensor) -> Result<Option<Self>, ModelError> {
        let bad = |problem: &str| refused(&tensor.name, "Tensor", problem);
        if tensor.data_location != 0 {
            return Err(bad("its values lie in another file: save the model as one file"));
        }
        let sizes = tensor.dims.iter().map(|size| usize::try_from(*size).ok());
        let shape: Option<Vec<usize>> = sizes.collect();
        let shape = shape.ok_or_else(|| bad("its sizes are negative"))?;
        let n = shape.iter().try_fold(1_usize, |n, size| n.checked_mul(*size));
        let n = n.filter(|n| *n <= MAX_VALUES).ok_or_else(|| bad("it has too many values"))?;
        let raw = &tensor.raw_data;
        let (values, ints): (Vec<f32>, Vec<i64>) = match tensor.data_type {
            data_type::FLOAT if raw.is_empty() => (tensor.float_data.clone(), Vec::new()),
            data_type::FLOAT => (numbers(raw, f32::from_le_bytes), Vec::new()),
            data_type::INT64 => {
                let plain = || tensor.int64_data.clone();
                let ints = if raw.is_empty() { plain() } else { numbers(raw, i64::from_le_bytes) };
                (ints.iter().map(|value| *value as f32).collect(), ints)
            }
            _ => return Ok(None),
        };
        if values.len() != n {
            return Err(bad("its values do not fit its sizes"));
        }
        Ok(Some(Self { shape, values, ints }))
    }

    /// `(a, b, taps…)` as `(taps…, b, a)`, as Keras has kernels.
    pub(super) fn channels_last(&self) -> Vec<f32> {
        let [a, b, ..] = self.shape[..] else { return self.values.clone() };
        let n_taps: usize = self.shape[2..].iter().product();
        let mut turned = Vec::with_capacity(self.values.len());
        for tap in 0..n_taps {
            for into in 0..b {
                turned.extend((0..a).map(|out| self.values[(out * b + into) * n_taps + tap]));
            }
        }
        turned
    }

    /// One value for each of so many channels, of a value with so many axes behind the samples.
    pub(super) fn for_channels(
        &self,
        channels: usize,
        axes: usize,
        in_front: bool,
    ) -> Option<Vec<f32>> {
        if let [one] = self.values[..] {
            return Some(vec![one; channels]);
        }
        // The last sizes belong to the last axes.
        let behind = if in_front { axes.saturating_sub(1) } else { 0 };
        let at = self.shape.len().checked_sub(1 + behind)?;
        let others = self.shape.iter().enumerate().filter(|(place, _)| *place != at);
        let fits = self.shape[at] == channels && others.into_iter().all(|(_, size)| *size == 1);
        fits.then(|| self.values.clone())
    }
}

fn numbers<T, const N: usize>(bytes: &[u8], read: fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks().0.iter().map(|chunk| read(*chunk)).collect()
}

/// An operation beside what is known of the file.
pub(super) struct Operation<'a, 'b> {
    pub(super) node: &'a Node,
    pub(super) patterns: &'b Patterns<'a>,
}

impl Operation<'_, '_> {
    pub(super) fn refused(&self, problem: impl Into<String>) -> ModelError {
        refused(&self.node.name, &self.node.op_type, problem)
    }

    fn attribute(&self, name: &str) -> Option<&super::message::Attribute> {
        self.node.attribute.iter().find(|attribute| attribute.name == name)
    }

    pub(super) fn int(&self, name: &str, otherwise: i64) -> i64 {
        self.attribute(name).map_or(otherwise, |attribute| attribute.i)
    }

    pub(super) fn float(&self, name: &str, otherwise: f32) -> f32 {
        self.attribute(name).map_or(otherwise, |attribute| attribute.f)
    }

    pub(super) fn ints(&self, name: &str) -> Option<Vec<i64>> {
        self.attribute(name).map(|attribute| attribute.ints.clone())
    }

    fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(&self.attribute(name)?.s).ok()
    }

    /// One size for each axis, 1 where none is given.
    pub(super) fn sizes(&self, name: &str, axes: usize) -> Result<Vec<usize>, ModelError> {
        let found = self.ints(name).unwrap_or_else(|| vec![1; axes]);
        let sizes: Option<Vec<usize>> = found.iter().map(|n| usize::try_from(*n).ok()).collect();
        let sizes = sizes.filter(|sizes| sizes.len() == axes && sizes.iter().all(|n| *n > 0));
        sizes.ok_or_else(|| self.refused(format!("its `{name}` is {found:?}")))
    }

    pub(super) fn optional_weight(&self, at: usize) -> Option<&Weight> {
        self.patterns.constant(self.node.input.get(at)?)
    }

    pub(super) fn weight(&self, at: usize) -> Result<&Weight, ModelError> {
        let missing = || self.refused(format!("its input {at} is no weight of the file"));
        self.optional_weight(at).ok_or_else(missing)
    }

    /// Whole numbers of an input, or of the setting `name` that older files have instead.
    fn given(&self, at: usize, name: &str) -> Option<Vec<i64>> {
        self.optional_weight(at).map(|weight| weight.ints.clone()).or_else(|| self.ints(name))
    }

    /// Zeros before and after each of `axes` axes; `None` when Keras's `same` stands for them.
    fn pads(&self, axes: usize) -> Result<Option<Vec<(usize, usize)>>, ModelError> {
        match self.text("auto_pad") {
            Some("SAME_UPPER") => return Ok(None),
            None | Some("NOTSET" | "VALID" | "") => {}
            Some(other) => return Err(self.refused(format!("`auto_pad` is \"{other}\""))),
        }
        let pads = self.ints("pads").unwrap_or_else(|| vec![0; 2 * axes]);
        let sizes: Option<Vec<usize>> = pads.iter().map(|n| usize::try_from(*n).ok()).collect();
        match sizes.filter(|sizes| sizes.len() == 2 * axes) {
            Some(sizes) => Ok(Some((0..axes).map(|at| (sizes[at], sizes[at + axes])).collect())),
            None => Err(self.refused(format!("its `pads` are {pads:?}"))),
        }
    }

    /// Zeros to add before a convolution, its padding, and what to cut off behind it.
    pub(super) fn borders(
        &self,
        layer: &Convolution,
        shape: &[Option<usize>],
    ) -> Result<Borders, ModelError> {
        let axes = layer.kernel.len();
        let reaches: Vec<usize> =
            layer.kernel.iter().zip(&layer.dilation).map(|(k, d)| reach(*k, *d)).collect();
        let Some(pads) = self.pads(axes)? else { return Ok((None, Padding::Same, None)) };
        if layer.transposed {
            return self.enlarged(layer, &reaches, pads);
        }
        if pads.iter().all(|pad| *pad == (0, 0)) {
            return Ok((None, Padding::Valid, None));
        }
        let same = |at: usize| match shape[at] {
            None if layer.strides[at] > 1 => None,
            size => {
                let size = size.unwrap_or(reaches[at]);
                Some(Padding::Same.border(size, reaches[at], layer.strides[at]))
            }
        };
        if (0..axes).all(|at| same(at) == Some(pads[at])) {
            return Ok((None, Padding::Same, None));
        }
        if axes == 1 && pads == [(reaches[0] - 1, 0)] {
            return Ok((None, Padding::Causal, None));
        }
        Ok((Some(pads), Padding::Valid, None))
    }

    fn enlarged(
        &self,
        layer: &Convolution,
        reaches: &[usize],
        pads: Vec<(usize, usize)>,
    ) -> Result<Borders, ModelError> {
        let axes = pads.len();
        let more = self.ints("output_padding").unwrap_or_else(|| vec![0; axes]);
        // Keras always gives as many positions as there are whole steps.
        let usual = |at: usize| layer.strides[at].saturating_sub(reaches[at]) as i64;
        let same = |at: usize| {
            let dropped = reaches[at].saturating_sub(layer.strides[at]);
            pads[at] == (dropped / 2, dropped - dropped / 2) && more[at] == usual(at)
        };
        if more.len() != axes {
            return Err(self.refused(format!("its `output_padding` is {more:?}")));
        }
        if (0..axes).all(same) {
            return Ok((None, Padding::Same, None));
        }
        // The end is dropped less, rather than zeros being added behind it.
        let mut cut = Vec::new();
        for at in 0..axes {
            let less = usize::try_from(more[at] - usual(at)).ok();
            let after = less.and_then(|less| pads[at].1.checked_sub(less));
            let after =
                after.ok_or_else(|| self.refused("its `output_padding` is above its `pads`"))?;
            cut.push((pads[at].0, after));
        }
        let cut = cut.iter().any(|amount| *amount != (0, 0)).then_some(cut);
        Ok((None, Padding::Valid, cut))
    }

    /// The shape that a value is given, without samples.
    pub(super) fn target(
        &self,
        shape: &[Option<usize>],
        in_front: bool,
    ) -> Result<Dimensions, ModelError> {
        let mut seen = shape.to_vec();
        if in_front {
            seen.rotate_right(1);
        }
        match self.node.op_type.as_str() {
            "Flatten" if self.int("axis", 1) == 1 => {
                Ok(vec![shape.iter().copied().product::<Option<usize>>()])
            }
            "Squeeze" => {
                let axes = self.given(1, "axes").unwrap_or_default();
                let rank = seen.len() as i64 + 1;
                let dropped = |at: i64| axes.iter().any(|axis| *axis == at || *axis + rank == at);
                let kept = (1_i64..).zip(&seen).filter(|(at, _)| !dropped(*at));
                Ok(kept.map(|(_, size)| *size).collect())
            }
            "Reshape" => {
                let target = self.given(1, "shape").unwrap_or_default();
                let size = |(at, size): (usize, &i64)| match size {
                    0 => seen.get(at).copied().flatten(),
                    size => usize::try_from(*size).ok(),
                };
                let mut sizes: Dimensions = target.iter().skip(1).enumerate().map(size).collect();
                let total = seen.iter().copied().product::<Option<usize>>();
                if let [one] = sizes.as_mut_slice() {
                    *one = one.or(total);
                }
                if target.len() < 2 || sizes.iter().filter(|size| size.is_none()).count() > 1 {
                    return Err(self.refused(format!("its target is {target:?}")));
                }
                if let (Some(total), Some(open)) = (total, sizes.iter().position(Option::is_none)) {
                    let known =
                        sizes.iter().flatten().fold(1, |n: usize, size| n.saturating_mul(*size));
                    sizes[open] = Some(total / known.max(1));
                }
                Ok(sizes)
            }
            _ => Err(self.refused("it mixes samples")),
        }
    }

    /// The layer of an operation with one input and no weights, which reads this shape.
    pub(super) fn layer(
        &self,
        shape: &[Option<usize>],
        in_front: bool,
    ) -> Result<Layer, ModelError> {
        let axes = shape.len().saturating_sub(1);
        let activation = |activation| Ok(Layer::Activation(activation));
        match self.node.op_type.as_str() {
            "Relu" => activation(Activation::Relu),
            "Sigmoid" => activation(Activation::Sigmoid),
            "Tanh" => activation(Activation::Tanh),
            "Softplus" => activation(Activation::Softplus),
            "LeakyRelu" => {
                activation(Activation::LeakyRelu { slope: f64::from(self.float("alpha", 0.01)) })
            }
            "Elu" => activation(Activation::Elu { alpha: f64::from(self.float("alpha", 1.0)) }),
            "Gelu" if self.text("approximate") == Some("tanh") => activation(Activation::GeluTanh),
            "Gelu" => activation(Activation::Gelu),
            "Softmax" => {
                let axis = self.int("axis", -1);
                let last = if in_front { 1 } else { axes as i64 + 1 };
                if axis != last && (axis != -1 || in_front) {
                    return Err(self.refused("it is not over the channels"));
                }
                activation(Activation::Softmax)
            }
            "MaxPool" | "AveragePool" if in_front => self.pooling(shape, axes),
            "GlobalMaxPool" | "GlobalAveragePool" if in_front => {
                Ok(Layer::GlobalPooling { kind: self.pool(), axes, keep: true })
            }
            "ReduceMean" | "ReduceMax" => self.reduction(axes, in_front),
            "Resize" | "Upsample" => self.enlargement(axes, in_front),
            "Pad" => self.padding(axes, in_front),
            "Slice" => self.slice(shape, axes, in_front),
            _ => Err(self.refused("this operation is not supported")),
        }
    }

    fn pool(&self) -> Pool {
        if self.node.op_type.contains("Max") { Pool::Max } else { Pool::Average }
    }

    fn pooling(&self, shape: &[Option<usize>], axes: usize) -> Result<Layer, ModelError> {
        let size = self.sizes("kernel_shape", axes)?;
        let strides = self.sizes("strides", axes)?;
        let same = |at: usize| shape[at].map(|n| Padding::Same.border(n, size[at], strides[at]));
        let padding = match self.pads(axes)? {
            None => Padding::Same,
            Some(pads) if pads.iter().all(|pad| *pad == (0, 0)) => Padding::Valid,
            Some(pads) if (0..axes).all(|at| same(at) == Some(pads[at])) => Padding::Same,
            Some(pads) => return Err(self.refused(format!("its `pads` are {pads:?}"))),
        };
        let plain = self.int("ceil_mode", 0) == 0 && self.int("count_include_pad", 0) == 0;
        if !plain || self.sizes("dilations", axes)?.iter().any(|step| *step != 1) {
            return Err(self.refused("it pools in a way that Keras does not"));
        }
        Ok(Layer::Pooling { kind: self.pool(), size, strides, padding })
    }

    fn reduction(&self, axes: usize, in_front: bool) -> Result<Layer, ModelError> {
        let over = self.given(1, "axes").unwrap_or_default();
        let first = if in_front { 2 } else { 1 };
        let wanted: Vec<i64> = (first..first + axes as i64).collect();
        let keep = self.int("keepdims", 1) == 1;
        if over != wanted || axes == 0 {
            return Err(self.refused("it is not over all positions"));
        }
        Ok(Layer::GlobalPooling { kind: self.pool(), axes, keep })
    }

    /// What is given for each axis, of our positions alone; the others have to be `neutral`.
    fn of_positions<T: Copy + PartialEq>(
        &self,
        given: &[T],
        axes: usize,
        in_front: bool,
        neutral: T,
    ) -> Result<Vec<T>, ModelError> {
        let first = if in_front { 2 } else { 1 };
        let others = given.iter().enumerate().filter(|(at, _)| !(first..first + axes).contains(at));
        if given.len() != axes + 2 || others.into_iter().any(|(_, value)| *value != neutral) {
            return Err(self.refused("it changes samples or channels"));
        }
        Ok(given[first..first + axes].to_vec())
    }

    fn enlargement(&self, axes: usize, in_front: bool) -> Result<Layer, ModelError> {
        let nearest = self.text("mode").is_none_or(|mode| mode == "nearest");
        let scales = self.optional_weight(if self.node.op_type == "Upsample" { 1 } else { 2 });
        let scales = scales.map(|weight| weight.values.clone()).unwrap_or_default();
        let scales = self.of_positions(&scales, axes, in_front, 1.0)?;
        if !nearest || scales.iter().any(|scale| *scale < 1.0 || scale.fract() != 0.0) {
            return Err(self.refused("it does not repeat values a whole number of times"));
        }
        Ok(Layer::UpSampling { size: scales.iter().map(|scale| *scale as usize).collect() })
    }

    fn padding(&self, axes: usize, in_front: bool) -> Result<Layer, ModelError> {
        let pads = self.given(1, "pads").unwrap_or_default();
        let zeros = self.optional_weight(2).is_none_or(|value| value.values == [0.0]);
        let constant = self.text("mode").is_none_or(|mode| mode == "constant");
        if !zeros || !constant || pads.len() != 2 * (axes + 2) {
            return Err(self.refused("it does not add zeros"));
        }
        let (before, after) = pads.split_at(axes + 2);
        let before = self.of_positions(before, axes, in_front, 0)?;
        let after = self.of_positions(after, axes, in_front, 0)?;
        let amount =
            |(a, b): (&i64, &i64)| Some((usize::try_from(*a).ok()?, usize::try_from(*b).ok()?));
        let amounts: Option<Vec<_>> = before.iter().zip(&after).map(amount).collect();
        let amounts = amounts.ok_or_else(|| self.refused("its amounts are negative"))?;
        Ok(Layer::ZeroPadding { amounts })
    }

    fn slice(
        &self,
        shape: &[Option<usize>],
        axes: usize,
        in_front: bool,
    ) -> Result<Layer, ModelError> {
        let (starts, ends) = (self.given(1, "starts"), self.given(2, "ends"));
        let (Some(starts), Some(ends)) = (starts, ends) else {
            return Err(self.refused("its limits are not in the file"));
        };
        let over = self.given(3, "axes").unwrap_or_else(|| (0..starts.len() as i64).collect());
        if self.given(4, "steps").is_some_and(|steps| steps.iter().any(|step| *step != 1))
            || starts.len() != ends.len()
            || over.len() != starts.len()
        {
            return Err(self.refused("it takes no plain part"));
        }
        let first = if in_front { 2 } else { 1 };
        let mut amounts = vec![(0, 0); axes];
        for ((axis, start), end) in over.iter().zip(&starts).zip(&ends) {
            let axis = if *axis < 0 { axis + axes as i64 + 2 } else { *axis };
            let at = usize::try_from(axis - first).ok().filter(|at| *at < axes);
            let size = at.and_then(|at| shape[at]);
            let (Some(at), Some(size)) = (at, size) else {
                return Err(self.refused("it takes a part of samples, channels or an open size"));
            };
            let place = |place: i64| {
                let from_start = if place < 0 { place.saturating_add(size as i64) } else { place };
                from_start.clamp(0, size as i64) as usize
            };
            amounts[at] = (place(*start), size - place(*end));
        }
        Ok(Layer::Cropping { amounts })
    }
}

/// Zeros to add before, the padding, and what to cut off behind.
pub(super) type Borders = (Option<Vec<(usize, usize)>>, Padding, Option<Vec<(usize, usize)>>);
