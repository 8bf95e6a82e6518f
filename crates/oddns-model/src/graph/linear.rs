//! Dense layers and convolutions, plain and transposed.

use super::operation::{Call, Operation, Packed};
use super::overlay::Overlay;
use super::patches::{Grid, Patches, Walk};
use super::product::{Begin, LANES, Weights, panels, transposed_panels};
use super::spread::Spread;

/// A kernel on a grid, between the patches of the grid and as many values at every position.
struct Kernel {
    patches: Patches,
    back: Back,
    /// Values at a position.
    columns: usize,
    /// Channels of the grid.
    channels: usize,
}

/// How the values at the positions become a grid.
enum Back {
    Spread(Spread),
    Overlay(Overlay),
}

/// A matrix over every patch, plus a bias: convolutions and dense layers.
pub(super) struct Gather {
    kernel: Kernel,
    bias: bool,
}

/// Every value times a matrix, laid over the patches of a larger grid: transposed convolutions.
pub(super) struct Scatter {
    kernel: Kernel,
    bias: bool,
}

impl Kernel {
    fn new(grid: Grid, walk: Walk, columns: usize) -> Self {
        let channels = grid.channels;
        let back = if channels > LANES / 4 {
            Back::Spread(Spread::new(&grid, walk, columns))
        } else {
            Back::Overlay(Overlay::new(&grid, walk, columns))
        };
        Self { patches: Patches::new(grid, walk), back, columns, channels }
    }

    /// The weights as [`Kernel::spread`] takes them.
    fn pack_spread(&self, matrix: &[f32]) -> Vec<f32> {
        match &self.back {
            Back::Spread(spread) => spread.pack(matrix),
            Back::Overlay(_) => transposed_panels(matrix, self.columns),
        }
    }

    /// `(samples, positions, columns)` → `(samples, height, width, channels)`: the values at each
    /// position times the weights, laid over its patch, on top of `begin`.
    fn spread(
        &self,
        values: &[f32],
        samples: usize,
        (packed, begin): (&[f32], Begin<'_>),
        room: &mut Vec<f32>,
        grids: &mut [f32],
    ) {
        match &self.back {
            Back::Spread(spread) => spread.run(values, samples, packed, begin, room, grids),
            Back::Overlay(overlay) => overlay.run(values, packed, begin, room, grids),
        }
    }

    /// Weights without the bias.
    fn size(&self) -> usize {
        self.patches.size() * self.columns
    }
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
    /// Reads `grid`, gives `columns` channels.
    pub(super) fn new(grid: Grid, walk: Walk, columns: usize, bias: bool) -> Self {
        Self { kernel: Kernel::new(grid, walk, columns), bias }
    }
}

impl Operation for Gather {
    fn pack(&self, weights: &[f32], backward: bool) -> Packed {
        let matrix = &weights[..self.kernel.size()];
        let backward = if backward { self.kernel.pack_spread(matrix) } else { Vec::new() };
        Packed { forward: panels(matrix, self.kernel.columns), backward }
    }

    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        let (columns, panels) = (self.kernel.columns, call.packed.forward.as_slice());
        let (_, bias) = split(call.weights, self.kernel.size(), columns);
        let weights = Weights { panels, columns, begin: Begin::Bias(&bias) };
        let room = &mut call.scratch.borrow_mut().read;
        self.kernel.patches.gather(call.inputs[0], call.samples, weights, room, output);
    }

    fn add_input_slope(
        &self,
        call: &Call<'_>,
        _output: &[f32],
        slope: &[f32],
        _which: usize,
        into: &mut [f32],
    ) {
        let (packed, room) = (&call.packed.backward, &mut call.scratch.borrow_mut().slope);
        self.kernel.spread(slope, call.samples, (packed, Begin::Output), room, into);
    }

    fn add_gradient(&self, call: &Call<'_>, slope: &[f32], gradient: &mut [f32]) {
        let (matrix, bias) = gradient.split_at_mut(self.kernel.size());
        let (right, room) = ((slope, self.kernel.columns), &mut call.scratch.borrow_mut().read);
        self.kernel.patches.add_gradient(call.inputs[0], call.samples, right, room, matrix);
        if self.bias {
            add_column_sums(slope, bias);
        }
    }
}

impl Scatter {
    /// Gives `grid`, reads `columns` channels.
    pub(super) fn new(grid: Grid, walk: Walk, columns: usize, bias: bool) -> Self {
        Self { kernel: Kernel::new(grid, walk, columns), bias }
    }
}

impl Operation for Scatter {
    fn pack(&self, weights: &[f32], backward: bool) -> Packed {
        let matrix = &weights[..self.kernel.size()];
        let backward = if backward { panels(matrix, self.kernel.columns) } else { Vec::new() };
        Packed { forward: self.kernel.pack_spread(matrix), backward }
    }

    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        let (_, bias) = split(call.weights, self.kernel.size(), self.kernel.channels);
        let packed = (call.packed.forward.as_slice(), Begin::Bias(&bias));
        let room = &mut call.scratch.borrow_mut().read;
        self.kernel.spread(call.inputs[0], call.samples, packed, room, output);
    }

    fn add_input_slope(
        &self,
        call: &Call<'_>,
        _output: &[f32],
        slope: &[f32],
        _which: usize,
        into: &mut [f32],
    ) {
        let (columns, panels) = (self.kernel.columns, call.packed.backward.as_slice());
        let weights = Weights { panels, columns, begin: Begin::Output };
        let room = &mut call.scratch.borrow_mut().slope;
        self.kernel.patches.gather(slope, call.samples, weights, room, into);
    }

    fn add_gradient(&self, call: &Call<'_>, slope: &[f32], gradient: &mut [f32]) {
        let (matrix, bias) = gradient.split_at_mut(self.kernel.size());
        let room = &mut call.scratch.borrow_mut().slope;
        let right = (call.inputs[0], self.kernel.columns);
        self.kernel.patches.add_gradient(slope, call.samples, right, room, matrix);
        if self.bias {
            add_column_sums(slope, bias);
        }
    }
}
