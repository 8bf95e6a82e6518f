//! How each feature moved over the last rows.

use std::sync::Arc;

use super::rows::{LARGEST, Rows, value};
use super::scale::Scales;
use super::state::{Fields, Persist};
use crate::DetectError;

/// Steps that a movement is a mean of, as in Netdata.
pub(crate) const SMOOTHING: usize = 3;
/// Smoothed movements in a shape: the newest and five before it, as in Netdata.
pub(crate) const LAGS: usize = 6;
/// Steps that a shape is made of.
pub(crate) const STEPS: usize = SMOOTHING + LAGS - 1;
/// Steps are cut here, in standard deviations: their squares have to fit an `f32`.
pub(crate) const LARGEST_STEP: f32 = 1e6;

/// The last smoothed movements of one feature, newest first, in standard deviations of training.
pub(crate) type Shape = [f32; LAGS];

/// Follows the movements of all features.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Motion {
    /// Shared by all that were cloned of what was fitted: nothing changes them.
    scales: Arc<Scales>,
    /// Last value seen of each feature; its mean in training before the first.
    last: Vec<f32>,
    /// Rows taken, no further than is needed to know that there are enough.
    n_rows: usize,
    /// The last steps of each feature, newest first, [`STEPS`] of them a feature.
    steps: Vec<f32>,
}

impl Motion {
    /// Nothing has moved. Scales are those of `normal`.
    pub(crate) fn new(normal: Rows<'_>) -> Self {
        let scales = Arc::new(Scales::fit(normal));
        let steps = vec![0.0; scales.width() * STEPS];
        Self { last: scales.mean.clone(), scales, n_rows: 0, steps }
    }

    /// How many features there are.
    pub(crate) fn width(&self) -> usize {
        self.last.len()
    }

    /// Last value seen of each feature; its mean in training before the first.
    pub(crate) fn last(&self) -> &[f32] {
        &self.last
    }

    /// Unit of the steps of each feature, above zero.
    pub(crate) fn scale(&self) -> &[f32] {
        &self.scales.scale
    }

    /// Holds the scales once for both, where they are the same.
    pub(crate) fn share(&mut self, other: &Self) {
        if self.scales == other.scales {
            self.scales = Arc::clone(&other.scales);
        }
    }

    /// Takes the next row. A missing value has not moved; the next one has moved from the last seen.
    pub(crate) fn take(&mut self, row: &[f32]) {
        self.n_rows = (self.n_rows + 1).min(STEPS + 1);
        for (at, steps) in self.steps.chunks_exact_mut(STEPS).enumerate() {
            let value = value(row, at);
            let value = if value.is_nan() { self.last[at] } else { value };
            let step = (value - self.last[at]) / self.scales.scale[at];
            steps.copy_within(..STEPS - 1, 1);
            // The first row has not moved from anywhere.
            steps[0] = if self.n_rows == 1 { 0.0 } else { step.clamp(-LARGEST_STEP, LARGEST_STEP) };
            self.last[at] = value;
        }
    }

    /// Whether a shape is made of rows alone.
    pub(crate) fn is_full(&self) -> bool {
        self.n_rows > STEPS
    }

    /// The shape of feature `at`; rows before the first have not moved.
    pub(crate) fn shape(&self, at: usize) -> Shape {
        let steps = &self.steps[at * STEPS..(at + 1) * STEPS];
        std::array::from_fn(|lag| {
            steps[lag..lag + SMOOTHING].iter().sum::<f32>() / SMOOTHING as f32
        })
    }
}

impl Persist for Motion {
    fn fields(&mut self, fields: &mut Fields<'_>) -> Result<(), DetectError> {
        let mut scales = self.scales.as_ref().clone();
        scales.fields(fields)?;
        let width = scales.width();
        self.scales = Arc::new(scales);
        fields.list(&mut self.last, width, LARGEST)?;
        fields.count(&mut self.n_rows, 0..=STEPS + 1)?;
        fields.list(&mut self.steps, width * STEPS, LARGEST_STEP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_passes_through_the_shape() {
        let values: Vec<f32> = (0..40).map(|at| (at % 2) as f32).collect();
        let mut motion = Motion::new(Rows::new(&values, 1).unwrap());
        let shapes: Vec<f32> = [7.0, 7.0, f32::NAN, 8.5, 8.5, 8.5, 8.5, 8.5]
            .iter()
            .map(|value| {
                motion.take(&[*value]);
                motion.shape(0)[0]
            })
            .collect();
        // The scale is one half, and a step of 1.5 is seen in three rows as one.
        assert_eq!(shapes, [0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
    }
}
