//! One causal convolution: where its weights are, forward and backward.

use crate::kernels::{Geometry, correlate, correlate_at, weight_gradient};
use crate::plane::{Plane, stride};
use crate::random::Random;

/// A causal convolution over time. Its weights lie in the network's flat vector as
/// `(tap, input, output)` followed by the biases, outputs filled with zeros up to whole lanes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Convolution {
    pub(crate) n_in: usize,
    pub(crate) n_out: usize,
    pub(crate) kernel: usize,
    pub(crate) dilation: usize,
    /// How many of the latest rows it does not see.
    pub(crate) shift: usize,
    /// Where its weights begin.
    pub(crate) offset: usize,
}

/// Which rows of its input a convolution reads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading<'a> {
    /// Output rows.
    pub(crate) rows: usize,
    /// Input rows from what one output row reads to what the next one does.
    pub(crate) step: usize,
    /// Where each tap begins to read, in floats; the strides are those of a [`Plane`].
    pub(crate) starts: &'a [usize],
}

impl Convolution {
    /// Rows before the first that its input must have, and its slope after the last.
    pub(crate) fn reach(&self) -> usize {
        (self.kernel - 1) * self.dilation + self.shift
    }

    /// How many floats weights and biases take.
    pub(crate) fn size(&self) -> usize {
        (self.kernel * self.n_in + 1) * stride(self.n_out)
    }

    pub(crate) fn weights<'a>(&self, parameters: &'a [f32]) -> &'a [f32] {
        &parameters[self.offset..self.bias_offset()]
    }

    pub(crate) fn bias<'a>(&self, parameters: &'a [f32]) -> &'a [f32] {
        &parameters[self.bias_offset()..self.offset + self.size()]
    }

    pub(crate) fn bias_offset(&self) -> usize {
        self.offset + self.kernel * self.n_in * stride(self.n_out)
    }

    fn geometry(&self, rows: usize) -> Geometry {
        Geometry {
            rows,
            taps: self.kernel,
            dilation: self.dilation,
            n_in: self.n_in,
            in_stride: stride(self.n_in),
            out_stride: stride(self.n_out),
        }
    }

    /// Fills the weights uniformly within ±√(6 / (fan in + fan out)), as Keras does (Glorot).
    pub(crate) fn initialise(&self, random: &mut Random, parameters: &mut [f32]) {
        let limit = (6.0 / (self.kernel * (self.n_in + self.n_out)) as f32).sqrt();
        let rows = self.kernel * self.n_in;
        for row in parameters[self.offset..].chunks_mut(stride(self.n_out)).take(rows) {
            row[..self.n_out].fill_with(|| limit * (2.0 * random.unit() - 1.0));
        }
    }

    /// `(rows, n_in)` → `(rows, n_out)`; `input` has [`Convolution::reach`] rows before, the
    /// result has `before`.
    pub(crate) fn forward(&self, parameters: &[f32], input: &Plane, before: usize) -> Plane {
        let mut output = Plane::zeros(self.n_out, input.rows(), before, 0);
        correlate(
            self.geometry(input.rows()),
            input.since_back(self.reach()),
            self.weights(parameters),
            self.bias(parameters),
            output.inner_mut(),
        );
        output
    }

    /// As [`Convolution::forward`], for the rows that `reading` names.
    pub(crate) fn forward_at(
        &self,
        parameters: &[f32],
        reading: Reading<'_>,
        input: &[f32],
        output: &mut [f32],
    ) {
        let mut geometry = self.geometry(reading.rows);
        geometry.in_stride *= reading.step;
        let (weights, bias) = (self.weights(parameters), self.bias(parameters));
        correlate_at(geometry, reading.starts, input, weights, bias, output);
    }

    /// Adds what `slope` (loss by output, `(rows, n_out)`) says about weights and biases.
    pub(crate) fn add_gradient(&self, input: &Plane, slope: &Plane, gradient: &mut [f32]) {
        let back = input.since_back(self.reach());
        let weights = &mut gradient[self.offset..self.bias_offset()];
        weight_gradient(self.geometry(input.rows()), back, slope.inner(), weights);
        self.add_bias_gradient(slope, gradient);
    }

    /// The part of [`Convolution::add_gradient`] that needs no input.
    pub(crate) fn add_bias_gradient(&self, slope: &Plane, gradient: &mut [f32]) {
        let bias = &mut gradient[self.bias_offset()..self.offset + self.size()];
        for row in slope.inner().chunks(slope.stride()) {
            for (sum, slope) in bias.iter_mut().zip(row) {
                *sum += slope;
            }
        }
    }

    /// Loss by output, `(rows, n_out)` with [`Convolution::reach`] rows after → loss by input,
    /// `(rows, n_in)` with `after` rows after. `reversed` is from [`Convolution::reversed`].
    pub(crate) fn input_slope(&self, reversed: &[f32], slope: &Plane, after: usize) -> Plane {
        let mut result = Plane::zeros(self.n_in, slope.rows(), 0, after);
        let geometry = Geometry {
            n_in: self.n_out,
            in_stride: stride(self.n_out),
            out_stride: stride(self.n_in),
            ..self.geometry(slope.rows())
        };
        let no_bias = vec![0.0; stride(self.n_in)];
        correlate(geometry, slope.since_back(0), reversed, &no_bias, result.inner_mut());
        result
    }

    /// The weights with time reversed and inputs and outputs swapped: the gradient of a
    /// correlation is a correlation with these.
    pub(crate) fn reversed(&self, parameters: &[f32]) -> Vec<f32> {
        let (from, to) = (stride(self.n_out), stride(self.n_in));
        let mut reversed = vec![0.0; self.kernel * self.n_out * to];
        for (row, weights) in self.weights(parameters).chunks(from).enumerate() {
            let (tap, i) = (self.kernel - 1 - row / self.n_in, row % self.n_in);
            for (o, weight) in weights[..self.n_out].iter().enumerate() {
                reversed[(tap * self.n_out + o) * to + i] = *weight;
            }
        }
        reversed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random_plane(random: &mut Random, channels: usize, before: usize, after: usize) -> Plane {
        let mut plane = Plane::zeros(channels, 9, before, after);
        for t in 0..9 {
            plane.row_mut(t).fill_with(|| random.unit() - 0.5);
        }
        plane
    }

    fn dot(a: &Plane, b: &Plane) -> f64 {
        a.inner().iter().zip(b.inner()).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    }

    fn layers() -> Vec<Convolution> {
        let layer = |n_in, n_out, kernel, dilation, shift| Convolution {
            n_in,
            n_out,
            kernel,
            dilation,
            shift,
            offset: 3,
        };
        vec![
            layer(5, 7, 3, 1, 1),
            layer(6, 32, 1, 1, 0),
            layer(4, 17, 3, 2, 0),
            layer(1, 1, 2, 4, 0),
        ]
    }

    #[test]
    fn forward_is_the_definition() {
        for layer in layers() {
            let mut random = Random::new(1);
            let mut parameters = vec![0.0; layer.offset + layer.size()];
            layer.initialise(&mut random, &mut parameters);
            let bias = layer.bias_offset();
            parameters[bias..bias + layer.n_out].fill_with(|| random.unit());
            let input = random_plane(&mut random, layer.n_in, layer.reach(), 0);
            let output = layer.forward(&parameters, &input, 0);
            let weights = layer.weights(&parameters);
            for t in 0..9 {
                for o in 0..layer.n_out {
                    let mut sum = parameters[bias + o];
                    for tap in 0..layer.kernel {
                        let Some(at) = (t + tap * layer.dilation).checked_sub(layer.reach()) else {
                            continue;
                        };
                        for i in 0..layer.n_in {
                            let weight = weights[(tap * layer.n_in + i) * stride(layer.n_out) + o];
                            sum += input.row(at)[i] * weight;
                        }
                    }
                    assert_eq!(output.row(t)[o], sum, "{layer:?} row {t} channel {o}");
                }
            }
        }
    }

    /// The layer is linear, so a finite difference of any size is exact but for rounding.
    #[test]
    fn gradients_are_finite_differences() {
        for layer in layers() {
            let mut random = Random::new(2);
            let mut parameters = vec![0.0; layer.offset + layer.size()];
            layer.initialise(&mut random, &mut parameters);
            let mut input = random_plane(&mut random, layer.n_in, layer.reach(), 0);
            let slope = random_plane(&mut random, layer.n_out, 0, layer.reach());
            let loss = |p: &[f32], x: &Plane| dot(&layer.forward(p, x, 0), &slope);
            let base = loss(&parameters, &input);

            let mut gradient = vec![0.0; parameters.len()];
            layer.add_gradient(&input, &slope, &mut gradient);
            for at in layer.offset..parameters.len() {
                if (at - layer.offset) % stride(layer.n_out) >= layer.n_out {
                    assert_eq!(gradient[at], 0.0, "padding stays zero");
                    continue;
                }
                parameters[at] += 1.0;
                let difference = loss(&parameters, &input) - base;
                parameters[at] -= 1.0;
                assert!((difference - f64::from(gradient[at])).abs() < 1e-4, "{layer:?} {at}");
            }

            if layer.shift > 0 {
                continue; // the first layer's input has no gradient
            }
            let by_input = layer.input_slope(&layer.reversed(&parameters), &slope, 0);
            for t in 0..9 {
                for i in 0..layer.n_in {
                    input.row_mut(t)[i] += 1.0;
                    let difference = loss(&parameters, &input) - base;
                    input.row_mut(t)[i] -= 1.0;
                    let expected = f64::from(by_input.row(t)[i]);
                    assert!((difference - expected).abs() < 1e-4, "{layer:?} row {t} input {i}");
                }
            }
        }
    }
}
