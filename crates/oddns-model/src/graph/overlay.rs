//! Where a transposed convolution to few channels writes: the patches of all positions, each summed
//! where it lies.
//!
//! The products of [`super::spread::Spread`] have as many columns as there are channels, so few of
//! them leave most lanes empty. Here a row of the product is a whole patch.

use super::patches::{Grid, Walk};
use super::product::{Begin, Product, Rows, Weights, multiply};

/// The way from the values at all positions of a kernel to the grid that it walks over.
#[derive(Debug, Clone)]
pub(super) struct Overlay {
    positions: usize,
    /// Values at a position.
    columns: usize,
    /// Values of a patch.
    patch: usize,
    /// Values of the patches, in the order of what they are added to.
    from: Vec<usize>,
    /// Of each value of the grid, where its part of `from` ends.
    ends: Vec<usize>,
}

impl Overlay {
    /// Over `grid`, from `columns` values at each position.
    pub(super) fn new(grid: &Grid, walk: Walk, columns: usize) -> Self {
        let channels = grid.channels;
        let patch = walk.kernel[0] * walk.kernel[1] * channels;
        let mut seen = vec![vec![]; grid.size()];
        for position in 0..walk.positions[0] * walk.positions[1] {
            let (y, x) = (position / walk.positions[1], position % walk.positions[1]);
            for tap in 0..walk.kernel[0] * walk.kernel[1] {
                let (down, right) = (tap / walk.kernel[1], tap % walk.kernel[1]);
                let line = y * walk.strides[0] + down * walk.dilation[0];
                let place = x * walk.strides[1] + right * walk.dilation[1];
                let line = line.checked_sub(grid.border.top).filter(|line| *line < grid.height);
                let place = place.checked_sub(grid.border.left).filter(|at| *at < grid.width);
                let Some((line, place)) = line.zip(place) else { continue };
                for channel in 0..channels {
                    let to = (line * grid.width + place) * channels + channel;
                    seen[to].push(position * patch + tap * channels + channel);
                }
            }
        }
        let mut end = 0;
        let until = |from: &Vec<usize>| {
            end += from.len();
            end
        };
        let ends = seen.iter().map(until).collect();
        let positions = walk.positions[0] * walk.positions[1];
        Self { positions, columns, patch, from: seen.concat(), ends }
    }

    /// `(samples, positions, columns)` → `(samples, height, width, channels)`: the values at each
    /// position times the weights, the panels of `(columns, taps, channels)`, laid over its patch, on
    /// top of `begin`.
    pub(super) fn run(
        &self,
        values: &[f32],
        panels: &[f32],
        begin: Begin<'_>,
        room: &mut Vec<f32>,
        grids: &mut [f32],
    ) {
        room.resize(self.positions * self.patch, 0.0);
        let starts: Vec<_> = (0..self.positions).map(|row| row * self.columns).collect();
        let to: Vec<_> = (0..self.positions).map(|row| row * self.patch).collect();
        let none = vec![0.0; self.patch];
        let weights = Weights { panels, columns: self.patch, begin: Begin::Bias(&none) };
        let samples = values.chunks((self.positions * self.columns).max(1));
        for (values, grid) in samples.zip(grids.chunks_mut(self.ends.len().max(1))) {
            let rows = Rows { values, starts: &starts, segments: &[0], length: self.columns };
            multiply(Product { rows, weights, to: &to }, room);
            if let Begin::Bias(bias) = begin {
                grid.iter_mut().zip(bias.iter().cycle()).for_each(|(to, bias)| *to = *bias);
            }
            self.add(room, grid);
        }
    }

    /// Adds the values of all patches to a grid, in the order of positions.
    fn add(&self, patches: &[f32], grid: &mut [f32]) {
        let mut first = 0;
        for (to, end) in grid.iter_mut().zip(&self.ends) {
            *to += self.from[first..*end].iter().fold(0.0, |sum, from| sum + patches[*from]);
            first = *end;
        }
    }
}
