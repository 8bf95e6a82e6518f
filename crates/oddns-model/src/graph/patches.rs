//! Where a convolution reads: the patch of a sample behind each of its positions.

use super::product::{Product, Rows, Weights, add_outer, multiply};

/// Values `(height, width, channels)` with a border of zeros around them. One dimension is a grid of
/// height 1.
#[derive(Debug, Clone)]
pub(super) struct Grid {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
    pub(super) border: Border,
}

/// Zeros around a grid.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Border {
    pub(super) top: usize,
    pub(super) bottom: usize,
    pub(super) left: usize,
    pub(super) right: usize,
}

impl Grid {
    /// Values without the border.
    pub(super) fn size(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// Values of a line with its border.
    pub(super) fn line(&self) -> usize {
        (self.border.left + self.width + self.border.right) * self.channels
    }

    /// Values with the border.
    pub(super) fn bordered(&self) -> usize {
        (self.border.top + self.height + self.border.bottom) * self.line()
    }

    /// Puts the border around each of some grids, in `room`, where nothing else may ever be put.
    pub(super) fn pad<'a>(
        &self,
        grids: &'a [f32],
        samples: usize,
        room: &'a mut Vec<f32>,
    ) -> &'a [f32] {
        if self.border == Border::default() {
            return grids;
        }
        let (size, line) = (self.bordered(), self.width * self.channels);
        // Its zeros stay where they are.
        room.resize(samples * size, 0.0);
        let inner = self.border.top * self.line() + self.border.left * self.channels;
        for (grid, padded) in grids.chunks(self.height * line).zip(room.chunks_mut(size)) {
            for (values, to) in grid.chunks(line).zip(padded[inner..].chunks_mut(self.line())) {
                to[..line].copy_from_slice(values);
            }
        }
        room
    }
}

/// How a kernel walks over a grid; height first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Walk {
    pub(super) kernel: [usize; 2],
    pub(super) strides: [usize; 2],
    pub(super) dilation: [usize; 2],
    /// Positions.
    pub(super) positions: [usize; 2],
}

/// A grid and the patches of it that a kernel sees.
#[derive(Debug, Clone)]
pub(super) struct Patches {
    grid: Grid,
    /// Of each patch, in the bordered grid.
    starts: Vec<usize>,
    /// The stretches of a patch, from its start.
    segments: Vec<usize>,
    /// Floats in a stretch.
    length: usize,
}

impl Patches {
    pub(super) fn new(grid: Grid, walk: Walk) -> Self {
        let (line, channels) = (grid.line(), grid.channels);
        let mut starts = vec![];
        for y in 0..walk.positions[0] {
            for x in 0..walk.positions[1] {
                starts.push(y * walk.strides[0] * line + x * walk.strides[1] * channels);
            }
        }
        let (segments, length) = segments(line, channels, walk);
        Self { grid, starts, segments, length }
    }

    /// Values of a patch.
    pub(super) fn size(&self) -> usize {
        self.segments.len() * self.length
    }

    fn all_starts(&self, samples: usize) -> Vec<usize> {
        let size = self.grid.bordered();
        (0..samples).flat_map(|s| self.starts.iter().map(move |start| s * size + start)).collect()
    }

    /// The patches of `(samples, height, width, channels)`: as many rows as positions.
    fn rows<'a>(&'a self, values: &'a [f32], starts: &'a [usize]) -> Rows<'a> {
        Rows { values, starts, segments: &self.segments, length: self.length }
    }

    /// `(samples, height, width, channels)` → `(samples, positions, columns)`: each patch times the
    /// matrix of `weights`, beginning with `begin`.
    pub(super) fn gather(
        &self,
        grids: &[f32],
        samples: usize,
        weights: Weights<'_>,
        room: &mut Vec<f32>,
        output: &mut [f32],
    ) {
        let (values, starts) = (self.grid.pad(grids, samples, room), self.all_starts(samples));
        let to: Vec<_> = (0..starts.len()).map(|row| row * weights.columns).collect();
        multiply(Product { rows: self.rows(values, &starts), weights, to: &to }, output);
    }

    /// Adds `Σ patchᵀ · slope` over all positions to `gradient`, which is `(patch, columns)`.
    pub(super) fn add_gradient(
        &self,
        grids: &[f32],
        samples: usize,
        (slope, columns): (&[f32], usize),
        room: &mut Vec<f32>,
        gradient: &mut [f32],
    ) {
        let (values, starts) = (self.grid.pad(grids, samples, room), self.all_starts(samples));
        add_outer(self.rows(values, &starts), slope, columns, gradient);
    }
}

/// Offsets and length of the stretches of a patch, as long as they can be.
fn segments(line: usize, channels: usize, walk: Walk) -> (Vec<usize>, usize) {
    let tap = |y: usize, x: usize| y * walk.dilation[0] * line + x * walk.dilation[1] * channels;
    let whole_lines = walk.dilation[1] == 1 || walk.kernel[1] == 1;
    let n_x = if whole_lines { 1 } else { walk.kernel[1] };
    let offsets = (0..walk.kernel[0]).flat_map(|y| (0..n_x).map(move |x| tap(y, x))).collect();
    (offsets, if whole_lines { walk.kernel[1] * channels } else { channels })
}
