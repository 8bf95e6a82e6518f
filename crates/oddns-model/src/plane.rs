//! A table of channels over time, laid out for the kernels.

use crate::kernels::LANES;

/// Rows of channels in order of time. Each row is filled with zeros up to whole lanes, and zero
/// rows stand before the first and after the last, so that a convolution needs no special case at
/// a border: every row is computed by the same operations.
pub(crate) struct Plane {
    channels: usize,
    rows: usize,
    before: usize,
    data: Vec<f32>,
}

/// How many floats a row of `channels` takes.
pub(crate) fn stride(channels: usize) -> usize {
    channels.next_multiple_of(LANES)
}

impl Plane {
    /// All zeros, with `before` and `after` more rows around.
    pub(crate) fn zeros(channels: usize, rows: usize, before: usize, after: usize) -> Self {
        let data = vec![0.0; (before + rows + after) * stride(channels)];
        Self { channels, rows, before, data }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn stride(&self) -> usize {
        stride(self.channels)
    }

    /// Everything from `back` rows before the first row on.
    pub(crate) fn since_back(&self, back: usize) -> &[f32] {
        &self.data[(self.before - back) * self.stride()..]
    }

    /// The rows without those before and after.
    pub(crate) fn inner(&self) -> &[f32] {
        let from = self.before * self.stride();
        &self.data[from..from + self.rows * self.stride()]
    }

    /// The rows without those before and after.
    pub(crate) fn inner_mut(&mut self) -> &mut [f32] {
        let (from, length) = (self.before * self.stride(), self.rows * self.stride());
        &mut self.data[from..from + length]
    }

    /// The channels of row `at`.
    pub(crate) fn row(&self, at: usize) -> &[f32] {
        &self.data[(self.before + at) * self.stride()..][..self.channels]
    }

    /// The channels of row `at`.
    pub(crate) fn row_mut(&mut self, at: usize) -> &mut [f32] {
        let from = (self.before + at) * self.stride();
        &mut self.data[from..from + self.channels]
    }
}
