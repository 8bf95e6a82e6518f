//! Dense layers and convolutions, plain and transposed.

use super::operation::{Call, Operation, Packed};
use super::patches::Patches;
use super::product::{panels, repeat, transposed_panels};

/// A matrix over every patch, plus a bias: convolutions and dense layers.
pub(super) struct Gather {
    pub(super) patches: Patches,
    pub(super) columns: usize,
    pub(super) bias: bool,
}

/// Every value times a matrix, laid over the patches of a larger grid: transposed convolutions.
pub(super) struct Scatter {
    /// Of the output.
    pub(super) patches: Patches,
    /// Channels of the input.
    pub(super) columns: usize,
    /// Channels of the output.
    pub(super) channels: usize,
    pub(super) bias: bool,
}

/// Weights and bias of a step; no bias is zeros.
fn split(weights: &[f32], matrix: usize, bias: usize) -> (&[f32], Vec<f32>) {
    let (matrix, rest) = weights.split_at(matrix);
    (matrix, if rest.is_empty() { vec![0.0; bias] } else { rest.to_vec() })
}

fn add_column_sums(slope: &[f32], sums: &mut [f32]) {
    for row in slope.chunks(sums.len().max(1)) {
        for (sum, slope) in sums.iter_mut().zip(row) {
            *sum += slope;
        }
    }
}

impl Gather {
    fn matrix(&self) -> usize {
        self.patches.size() * self.columns
    }
}

impl Operation for Gather {
    fn pack(&self, weights: &[f32], training: bool) -> Packed {
        let matrix = &weights[..self.matrix()];
        let backward = if training { transposed_panels(matrix, self.columns) } else { Vec::new() };
        Packed { forward: panels(matrix, self.columns), backward }
    }

    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        let (_, bias) = split(call.weights, self.matrix(), self.columns);
        self.patches.gather(call.inputs[0], call.samples, &call.packed.forward, &bias, output);
    }

    fn add_input_slope(
        &self,
        call: &Call<'_>,
        _output: &[f32],
        slope: &[f32],
        _which: usize,
        into: &mut [f32],
    ) {
        self.patches.scatter(slope, call.samples, &call.packed.backward, into);
    }

    fn add_gradient(&self, call: &Call<'_>, slope: &[f32], gradient: &mut [f32]) {
        let (matrix, bias) = gradient.split_at_mut(self.matrix());
        self.patches.add_gradient(call.inputs[0], call.samples, slope, self.columns, matrix);
        if self.bias {
            add_column_sums(slope, bias);
        }
    }
}

impl Scatter {
    fn matrix(&self) -> usize {
        self.patches.size() * self.columns
    }
}

impl Operation for Scatter {
    fn pack(&self, weights: &[f32], training: bool) -> Packed {
        let matrix = &weights[..self.matrix()];
        let backward = if training { panels(matrix, self.columns) } else { Vec::new() };
        Packed { forward: transposed_panels(matrix, self.columns), backward }
    }

    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        let (_, bias) = split(call.weights, self.matrix(), self.channels);
        repeat(&bias, output);
        self.patches.scatter(call.inputs[0], call.samples, &call.packed.forward, output);
    }

    fn add_input_slope(
        &self,
        call: &Call<'_>,
        _output: &[f32],
        slope: &[f32],
        _which: usize,
        into: &mut [f32],
    ) {
        let mut part = vec![0.0; into.len()];
        let no_bias = vec![0.0; self.columns];
        self.patches.gather(slope, call.samples, &call.packed.backward, &no_bias, &mut part);
        into.iter_mut().zip(part).for_each(|(into, part)| *into += part);
    }

    fn add_gradient(&self, call: &Call<'_>, slope: &[f32], gradient: &mut [f32]) {
        let (matrix, bias) = gradient.split_at_mut(self.matrix());
        self.patches.add_gradient(slope, call.samples, call.inputs[0], self.columns, matrix);
        if self.bias {
            add_column_sums(slope, bias);
        }
    }
}
