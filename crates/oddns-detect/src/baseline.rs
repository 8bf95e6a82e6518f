//! Detectors to compare with: what others use, in their best form, behind one contract.
//!
//! A detector that has not seen data ([`Fit`]) holds hyper-parameters and nothing else; what it
//! makes of rows of normal operation is a fitted detector ([`Score`]). So nothing can be scored
//! before it was fitted.

mod distance;
mod eigen;
mod isolation_forest;
mod k_means;
mod motion;
mod rolling_z;
mod rows;
mod scale;
mod state;
mod static_pca;
mod streaming_pca;
mod strength;
mod subspace;
mod table;
mod window;
mod z_score_bands;

pub use distance::{Distance, FittedDistance};
pub use isolation_forest::{FittedIsolationForest, IsolationForest};
pub use k_means::{CentreDistance, FittedKMeans, KMeans, Movements};
pub use rolling_z::{FittedRollingZ, RollingZ};
pub use rows::Rows;
pub use static_pca::{FittedStaticPca, StaticPca};
pub use streaming_pca::{FittedStreamingPca, StreamingPca, Structure};
pub use table::{BASELINES, Baseline, Setting};
pub use z_score_bands::{FittedZScoreBands, ZScoreBands};

use std::fmt;

use crate::DetectError;

/// Columns that a table may have.
pub const MOST_FEATURES: usize = 1 << 16;

/// A detector that has not seen data. Holds hyper-parameters only.
pub trait Fit {
    /// What fitting makes of it.
    type Fitted: Score;

    /// Learns from rows of normal operation, in order of time. The same rows give the same detector.
    /// A few odd rows among them are expected; a missing value (NaN) is left out.
    ///
    /// # Errors
    ///
    /// When there are more than [`MOST_FEATURES`] columns.
    fn fit(&self, normal: Rows<'_>) -> Result<Self::Fitted, DetectError>;
}

/// A fitted detector, which follows one stream of rows.
pub trait Score: CloneScore + fmt::Debug + Send + Sync {
    /// Judges the next row, and takes it into account for later ones where the detector does that.
    /// Higher is more anomalous. Not negative and finite for any row: a missing value (NaN) says
    /// nothing, an infinite one is a very large one, a value beyond the width is ignored and a row
    /// that is too short is missing its end.
    fn score(&mut self, row: &[f32]) -> f32;

    /// How much each feature spoke for the last score: one value a feature, not negative, finite, on
    /// one scale for all features. Zeros before the first score.
    fn strengths(&self) -> &[f32];

    /// Everything that later scores depend on, as finite numbers. Their number depends on the
    /// hyper-parameters and the width, not on how many rows were seen.
    fn state(&self) -> Vec<f32>;

    /// The detector that [`Score::state`] was taken of: it scores the same, to the bit.
    ///
    /// # Errors
    ///
    /// When the numbers are not a state of this kind of detector.
    fn from_state(numbers: &[f32]) -> Result<Self, DetectError>
    where
        Self: Sized;
}

/// Copying a fitted detector of any kind; what is copied scores the same. Every [`Score`] that is
/// `Clone` has it.
pub trait CloneScore {
    /// A copy.
    fn boxed(&self) -> Box<dyn Score>;
}

impl<S: Score + Clone + 'static> CloneScore for S {
    fn boxed(&self) -> Box<dyn Score> {
        Box::new(self.clone())
    }
}

impl Clone for Box<dyn Score> {
    fn clone(&self) -> Self {
        self.as_ref().boxed()
    }
}

/// The width of rows that are not too wide.
fn width_checked(rows: Rows<'_>) -> Result<usize, DetectError> {
    let width = rows.width();
    if width > MOST_FEATURES {
        return Err(DetectError::TooWide { width, most: MOST_FEATURES });
    }
    Ok(width)
}
