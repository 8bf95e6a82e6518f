//! Principal components that move with time.

use super::rows::{Rows, value};
use super::scale::{CLIP, Scales};
use super::state::{Fields, Judge, LARGEST_COUNT, Persist};
use super::strength::{furthest, magnitudes};
use super::subspace::Subspace;
use super::{Fit, width_checked};
use crate::DetectError;

/// What the principal components of the recent past do not account for: mean of the three largest
/// residuals. Mean, scale and covariance are exponentially weighted and take every row in after it
/// was judged; the components follow the covariance, one of them a row, and are judged by from time to
/// time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StreamingPca {
    /// Rows after which a row weighs half; at least 1.
    pub half_life_rows: f32,
    /// Rows for which the same components are judged by; at least 1. Components that were always the
    /// newest would take a long anomaly for normal sooner.
    pub turn_every_rows: usize,
}

impl Default for StreamingPca {
    /// The half-life of the measured recipe: five days of one-minute rows.
    fn default() -> Self {
        Self { half_life_rows: 7200.0, turn_every_rows: 720 }
    }
}

/// [`StreamingPca`] after a training set, and after what was scored since.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FittedStreamingPca {
    /// How far one row moves mean, scale and covariance, 0 to 1.
    weight: f32,
    turn_every_rows: usize,
    n_since_turn: usize,
    scales: Scales,
    subspace: Subspace,
    strengths: Vec<f32>,
}

impl Fit for StreamingPca {
    type Fitted = FittedStreamingPca;

    fn fit(&self, normal: Rows<'_>) -> Result<FittedStreamingPca, DetectError> {
        let width = width_checked(normal)?;
        let half_life = if self.half_life_rows >= 1.0 { self.half_life_rows } else { 1.0 };
        let mut fitted = FittedStreamingPca {
            weight: (1.0 - 0.5_f32.powf(1.0 / half_life)).max(f32::MIN_POSITIVE),
            turn_every_rows: self.turn_every_rows.clamp(1, LARGEST_COUNT),
            n_since_turn: 0,
            scales: Scales::fit(normal),
            subspace: Subspace::new(width),
            strengths: vec![0.0; width],
        };
        let mut n_seen = 0;
        normal.each(|row| {
            n_seen += 1;
            // A plain mean until the weight of a row is down to what it will be.
            let weight = fitted.weight.max(1.0 / n_seen as f32);
            fitted.take(row, weight);
        });
        fitted.subspace.turn();
        Ok(fitted)
    }
}

/// What [`FittedStreamingPca`] judges a row by, as plain numbers, for who computes the same
/// elsewhere: values are standardised, cut, and multiplied by `left`; magnitudes are what each feature
/// says. A missing value is 0 when standardised.
#[derive(Debug, Clone, PartialEq)]
pub struct Structure {
    /// Mean of each feature.
    pub mean: Vec<f32>,
    /// Scale of each feature, above zero.
    pub scale: Vec<f32>,
    /// Where standardised values are cut.
    pub clip: f32,
    /// Of each block of adjacent columns, one after the other, a square matrix row by row: what is
    /// left of a 1 in each of its columns.
    pub left: Vec<Vec<f32>>,
}

impl FittedStreamingPca {
    /// Stops following: every later row is judged as the next one would be.
    pub fn hold(&mut self) {
        self.weight = 0.0;
        self.turn_every_rows = usize::MAX;
    }

    /// What the next row is judged by.
    pub fn structure(&self) -> Structure {
        let Scales { mean, scale, .. } = self.scales.clone();
        Structure { mean, scale, clip: CLIP, left: self.subspace.left_of_each() }
    }

    fn take(&mut self, row: &[f32], weight: f32) {
        // Not kept from row to row: thousands of streams would each hold it in between.
        let z: Vec<f32> = (0..self.scales.width())
            .map(|at| match value(row, at) {
                value if value.is_nan() => 0.0,
                value => self.scales.follow(at, value, self.weight),
            })
            .collect();
        self.subspace.take(&z, weight);
    }

    /// Lets the components follow, and takes them over when it is time.
    fn follow(&mut self) {
        self.subspace.follow();
        self.n_since_turn += 1;
        if self.n_since_turn >= self.turn_every_rows {
            self.n_since_turn = 0;
            self.subspace.take_over();
        }
    }
}

impl Judge for FittedStreamingPca {
    fn judge(&mut self, row: &[f32]) -> f32 {
        self.scales.standardise(row, CLIP, &mut self.strengths);
        self.subspace.remove(&mut self.strengths);
        magnitudes(&mut self.strengths);
        self.take(row, self.weight);
        self.follow();
        furthest(&self.strengths)
    }

    fn found(&self) -> &[f32] {
        &self.strengths
    }
}

impl Persist for FittedStreamingPca {
    fn fields(&mut self, fields: &mut Fields<'_>) -> Result<(), DetectError> {
        fields.positive(&mut self.weight)?;
        fields.count(&mut self.turn_every_rows, 1..=LARGEST_COUNT)?;
        fields.count(&mut self.n_since_turn, 0..=LARGEST_COUNT)?;
        self.scales.fields(fields)?;
        let width = self.scales.width();
        self.subspace.fields(fields, width)?;
        self.strengths.resize(width, 0.0);
        Ok(())
    }
}
