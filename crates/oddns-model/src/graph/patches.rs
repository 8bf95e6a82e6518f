//! Where a convolution reads: the patch of a sample behind each of its positions.

use std::borrow::Cow;

use super::product::{Rows, add_outer, multiply};

/// Rows that are scattered in one go, so that they stay in the cache.
const SCATTER_ROWS: usize = 48;

/// A grid of values `(height, width, channels)` with a border of zeros around it, and the patches
/// of it that a kernel sees. One dimension is a grid of height 1.
#[derive(Debug, Clone)]
pub(super) struct Patches {
    height: usize,
    width: usize,
    channels: usize,
    border: Border,
    /// Of each patch, in the bordered grid.
    starts: Vec<usize>,
    /// The stretches of a patch, from its start.
    segments: Vec<usize>,
    /// Floats in a stretch.
    length: usize,
}

/// Zeros around a grid.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Border {
    pub(super) top: usize,
    pub(super) bottom: usize,
    pub(super) left: usize,
    pub(super) right: usize,
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

impl Patches {
    pub(super) fn new(grid: [usize; 3], border: Border, walk: Walk) -> Self {
        let [height, width, channels] = grid;
        let line = (border.left + width + border.right) * channels;
        let mut starts = vec![];
        for y in 0..walk.positions[0] {
            for x in 0..walk.positions[1] {
                starts.push(y * walk.strides[0] * line + x * walk.strides[1] * channels);
            }
        }
        let (segments, length) = segments(line, channels, walk);
        Self { height, width, channels, border, starts, segments, length }
    }

    /// A grid of `positions` whose patches are its positions, as a dense layer reads.
    pub(super) fn dense(positions: usize, channels: usize) -> Self {
        let walk =
            Walk { kernel: [1, 1], strides: [1, 1], dilation: [1, 1], positions: [1, positions] };
        Self::new([1, positions, channels], Border::default(), walk)
    }

    /// Positions of a sample.
    pub(super) fn positions(&self) -> usize {
        self.starts.len()
    }

    /// Values of a patch.
    pub(super) fn size(&self) -> usize {
        self.segments.len() * self.length
    }

    fn bordered(&self) -> usize {
        let height = self.border.top + self.height + self.border.bottom;
        height * (self.border.left + self.width + self.border.right) * self.channels
    }

    /// Where line `y` of the grid lies in the bordered grid.
    fn line(&self, y: usize) -> std::ops::Range<usize> {
        let width = self.border.left + self.width + self.border.right;
        let from = ((self.border.top + y) * width + self.border.left) * self.channels;
        from..from + self.width * self.channels
    }

    fn pad<'a>(&self, grids: &'a [f32], samples: usize) -> Cow<'a, [f32]> {
        if self.border == Border::default() {
            return Cow::Borrowed(grids);
        }
        let (size, line) = (self.bordered(), self.width * self.channels);
        let mut padded = vec![0.0; samples * size];
        for (grid, padded) in grids.chunks(self.height * line).zip(padded.chunks_mut(size)) {
            for (y, values) in grid.chunks(line).enumerate() {
                padded[self.line(y)].copy_from_slice(values);
            }
        }
        Cow::Owned(padded)
    }

    fn all_starts(&self, samples: usize) -> Vec<usize> {
        let size = self.bordered();
        (0..samples).flat_map(|s| self.starts.iter().map(move |start| s * size + start)).collect()
    }

    /// `(samples, height, width, channels)` → `(samples, positions, columns)`: each patch times the
    /// matrix of `panels` plus `bias`.
    pub(super) fn gather(
        &self,
        grids: &[f32],
        samples: usize,
        panels: &[f32],
        bias: &[f32],
        output: &mut [f32],
    ) {
        let (values, starts) = (self.pad(grids, samples), self.all_starts(samples));
        let rows = Rows {
            values: &values,
            starts: &starts,
            segments: &self.segments,
            length: self.length,
        };
        multiply(rows, panels, bias, output);
    }

    /// Adds `Σ patchᵀ · slope` over all positions to `gradient`, which is `(patch, columns)`.
    pub(super) fn add_gradient(
        &self,
        grids: &[f32],
        samples: usize,
        slope: &[f32],
        columns: usize,
        gradient: &mut [f32],
    ) {
        let (values, starts) = (self.pad(grids, samples), self.all_starts(samples));
        let rows = Rows {
            values: &values,
            starts: &starts,
            segments: &self.segments,
            length: self.length,
        };
        add_outer(rows, slope, columns, gradient);
    }

    /// `(samples, positions, columns)` → adds to `(samples, height, width, channels)`: each
    /// position's values times the matrix of `panels`, `(columns, patch)`, laid over its patch.
    pub(super) fn scatter(
        &self,
        values: &[f32],
        samples: usize,
        panels: &[f32],
        grids: &mut [f32],
    ) {
        let columns = values.len() / (samples * self.positions()).max(1);
        let mut bordered = vec![0.0; self.bordered()];
        let (size, no_bias) = (self.height * self.width * self.channels, vec![0.0; self.size()]);
        let mut patches = vec![0.0; SCATTER_ROWS * self.size()];
        let samples = values.chunks((self.positions() * columns).max(1));
        for (values, grid) in samples.zip(grids.chunks_mut(size)) {
            bordered.fill(0.0);
            for (starts, values) in
                self.starts.chunks(SCATTER_ROWS).zip(values.chunks(SCATTER_ROWS * columns))
            {
                let patches = &mut patches[..starts.len() * self.size()];
                let at: Vec<_> = (0..starts.len()).map(|r| r * columns).collect();
                let rows = Rows { values, starts: &at, segments: &[0], length: columns };
                multiply(rows, panels, &no_bias, patches);
                self.lay(starts, patches, &mut bordered);
            }
            self.add_inner(&bordered, grid);
        }
    }

    fn lay(&self, starts: &[usize], patches: &[f32], bordered: &mut [f32]) {
        for (start, patch) in starts.iter().zip(patches.chunks(self.size())) {
            for (segment, part) in self.segments.iter().zip(patch.chunks(self.length)) {
                let to = &mut bordered[start + segment..][..self.length];
                for (to, value) in to.iter_mut().zip(part) {
                    *to += value;
                }
            }
        }
    }

    fn add_inner(&self, bordered: &[f32], grid: &mut [f32]) {
        for (y, line) in grid.chunks_mut(self.width * self.channels).enumerate() {
            for (to, value) in line.iter_mut().zip(&bordered[self.line(y)]) {
                *to += value;
            }
        }
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
