//! What moved between two detectors of one family.

use crate::detector::{Detector, DetectorError};

/// How the normal of a feature moved.
#[derive(Debug, Clone, PartialEq)]
pub struct Drift {
    /// The feature.
    pub feature: String,
    /// Its mean before, in its unit; of a feature on a logarithmic scale the geometric one.
    pub before: f32,
    /// Its mean after.
    pub after: f32,
    /// By how many standard deviations of before the mean moved, signed.
    pub moved: f32,
    /// The standard deviation after, in that of before.
    pub spread: f32,
}

impl Detector {
    /// How the normal of each feature differs in `later`, what moved most first.
    ///
    /// # Errors
    /// A detector of another schema.
    pub fn drift(&self, later: &Self) -> Result<Vec<Drift>, DetectorError> {
        self.check_schema(&later.schema)?;
        let (old, new) = (&self.scaler, &later.scaler);
        let drift = |(at, column): (usize, &crate::Column)| Drift {
            feature: column.name.clone(),
            before: column.transform.invert(old.mean[at]),
            after: column.transform.invert(new.mean[at]),
            moved: (new.mean[at] - old.mean[at]) / old.scale[at],
            spread: new.scale[at] / old.scale[at],
        };
        let mut found: Vec<Drift> = self.columns.iter().enumerate().map(drift).collect();
        found.sort_by(|a, b| b.moved.abs().total_cmp(&a.moved.abs()));
        Ok(found)
    }
}
