//! Distance from the mean of training.

use super::rows::Rows;
use super::scale::{STATIC_CLIP, Scales};
use super::state::{Fields, Judge, Persist};
use super::strength::{magnitudes, root_mean_square};
use super::{Fit, width_checked};
use crate::DetectError;

/// Root mean square of the standardised values of a row: no structure, no time. What a model does
/// not do better than this it does not do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Distance;

/// [`Distance`] of a training set.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FittedDistance {
    scales: Scales,
    strengths: Vec<f32>,
}

impl Fit for Distance {
    type Fitted = FittedDistance;

    fn fit(&self, normal: Rows<'_>) -> Result<FittedDistance, DetectError> {
        let width = width_checked(normal)?;
        Ok(FittedDistance { scales: Scales::fit(normal), strengths: vec![0.0; width] })
    }
}

impl Judge for FittedDistance {
    fn judge(&mut self, row: &[f32]) -> f32 {
        self.scales.standardise(row, STATIC_CLIP, &mut self.strengths);
        magnitudes(&mut self.strengths);
        root_mean_square(&self.strengths)
    }

    fn found(&self) -> &[f32] {
        &self.strengths
    }
}

impl Persist for FittedDistance {
    fn fields(&mut self, fields: &mut Fields<'_>) -> Result<(), DetectError> {
        self.scales.fields(fields)?;
        self.strengths.resize(self.scales.width(), 0.0);
        Ok(())
    }
}
