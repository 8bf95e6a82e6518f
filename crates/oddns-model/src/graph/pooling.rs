//! Maximum and mean over windows of a grid, or over all of it.

use super::operation::{Call, Operation};
use super::patches::{Border, Walk};

/// What becomes of the values in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// The largest.
    Max,
    /// The mean of those within the input.
    Average,
}

/// Pools windows of a grid `(height, width, channels)`.
pub(super) struct Window {
    pub(super) kind: Pool,
    pub(super) grid: [usize; 3],
    pub(super) border: Border,
    pub(super) walk: Walk,
}

impl Window {
    fn input_size(&self) -> usize {
        self.grid.iter().product()
    }

    fn positions(&self) -> usize {
        self.walk.positions[0] * self.walk.positions[1]
    }

    /// Offsets in a sample of the places that the window at `position` covers within the grid.
    fn places(&self, position: usize) -> Vec<usize> {
        let [height, width, channels] = self.grid;
        let (y, x) = (position / self.walk.positions[1], position % self.walk.positions[1]);
        let along = |at: usize, axis: usize, before: usize, extent: usize| {
            let from = at * self.walk.strides[axis];
            let covered = from..from + self.walk.kernel[axis];
            covered.filter_map(move |place| place.checked_sub(before).filter(|p| *p < extent))
        };
        let columns: Vec<_> = along(x, 1, self.border.left, width).collect();
        let lines = along(y, 0, self.border.top, height);
        lines.flat_map(|y| columns.iter().map(move |x| (y * width + x) * channels)).collect()
    }
}

impl Operation for Window {
    fn forward(&self, call: &Call<'_>, output: &mut [f32]) {
        let channels = self.grid[2];
        let places: Vec<_> = (0..self.positions()).map(|at| self.places(at)).collect();
        let samples = call.inputs[0].chunks(self.input_size());
        for (input, output) in samples.zip(output.chunks_mut(self.positions() * channels)) {
            for (places, output) in places.iter().zip(output.chunks_mut(channels)) {
                pool(self.kind, input, places, output);
            }
        }
    }

    fn add_input_slope(
        &self,
        call: &Call<'_>,
        _output: &[f32],
        slope: &[f32],
        _which: usize,
        into: &mut [f32],
    ) {
        let channels = self.grid[2];
        let places: Vec<_> = (0..self.positions()).map(|at| self.places(at)).collect();
        let samples = call.inputs[0].chunks(self.input_size());
        let slopes = slope.chunks(self.positions() * channels);
        for ((input, slope), into) in samples.zip(slopes).zip(into.chunks_mut(self.input_size())) {
            for (places, slope) in places.iter().zip(slope.chunks(channels)) {
                add_slope(self.kind, input, places, slope, into);
            }
        }
    }
}

fn pool(kind: Pool, input: &[f32], places: &[usize], output: &mut [f32]) {
    output.fill(if kind == Pool::Max { f32::NEG_INFINITY } else { 0.0 });
    for place in places {
        for (to, value) in output.iter_mut().zip(&input[*place..]) {
            *to = if kind == Pool::Max { to.max(*value) } else { *to + value };
        }
    }
    if kind == Pool::Average {
        let n = places.len().max(1) as f32;
        output.iter_mut().for_each(|sum| *sum /= n);
    }
}

fn add_slope(kind: Pool, input: &[f32], places: &[usize], slope: &[f32], into: &mut [f32]) {
    for (c, slope) in slope.iter().enumerate() {
        match kind {
            // The first of equals, as everybody does.
            Pool::Max => {
                let larger = |best: usize, place: &usize| {
                    if input[place + c] > input[best + c] { *place } else { best }
                };
                let best = places.iter().fold(places.first().copied().unwrap_or(0), larger);
                into[best + c] += slope;
            }
            Pool::Average => {
                let part = slope / places.len().max(1) as f32;
                places.iter().for_each(|place| into[place + c] += part);
            }
        }
    }
}
