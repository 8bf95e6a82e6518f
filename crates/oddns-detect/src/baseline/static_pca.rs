//! Principal components of training.

use super::rows::Rows;
use super::scale::{STATIC_CLIP, Scales};
use super::state::{Fields, Judge, Persist};
use super::strength::{magnitudes, root_mean_square};
use super::subspace::Subspace;
use super::{Fit, width_checked};
use crate::DetectError;

/// What the principal components of training (90 % of the variance of the standardised values) do
/// not account for, as root mean square (squared prediction error; Jackson & Mudholkar 1979).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StaticPca;

/// [`StaticPca`] of a training set.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FittedStaticPca {
    scales: Scales,
    subspace: Subspace,
    strengths: Vec<f32>,
}

impl Fit for StaticPca {
    type Fitted = FittedStaticPca;

    fn fit(&self, normal: Rows<'_>) -> Result<FittedStaticPca, DetectError> {
        let width = width_checked(normal)?;
        let (scales, mut subspace) = (Scales::fit(normal), Subspace::new(width));
        let mut z = vec![0.0; width];
        let mut n_seen = 0;
        normal.each(|row| {
            n_seen += 1;
            scales.standardise(row, STATIC_CLIP, &mut z);
            subspace.take(&z, 1.0 / n_seen as f32);
        });
        subspace.turn();
        Ok(FittedStaticPca { scales, subspace, strengths: z })
    }
}

impl Judge for FittedStaticPca {
    fn judge(&mut self, row: &[f32]) -> f32 {
        self.scales.standardise(row, STATIC_CLIP, &mut self.strengths);
        self.subspace.remove(&mut self.strengths);
        magnitudes(&mut self.strengths);
        root_mean_square(&self.strengths)
    }

    fn found(&self) -> &[f32] {
        &self.strengths
    }
}

impl Persist for FittedStaticPca {
    fn fields(&mut self, fields: &mut Fields<'_>) -> Result<(), DetectError> {
        self.scales.fields(fields)?;
        self.subspace.fields(fields, self.scales.width())?;
        self.strengths.resize(self.scales.width(), 0.0);
        Ok(())
    }
}
