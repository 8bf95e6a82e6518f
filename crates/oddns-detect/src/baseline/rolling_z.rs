//! How far each feature is from its own last day.

use super::rows::Rows;
use super::scale::CLIP;
use super::state::{Fields, Judge, Persist};
use super::strength::furthest;
use super::window::{Units, Window};
use super::{Fit, width_checked};
use crate::DetectError;

/// Buckets of a window: half an hour each when it is a day.
const MOST_BUCKETS: usize = 48;
/// Values that a mean and a deviation need to mean anything.
const FEWEST_VALUES: f32 = 8.0;

/// Distance of each feature from its mean over the last rows, in its standard deviations over them;
/// mean of the three furthest. Time series databases do this in one line of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RollingZ {
    /// Rows that mean and deviation are taken over, at least 1.
    pub window_rows: usize,
}

/// [`RollingZ`] after a training set, and after what was scored since.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FittedRollingZ {
    units: Units,
    window: Window,
    values: Vec<f32>,
    strengths: Vec<f32>,
}

impl Fit for RollingZ {
    type Fitted = FittedRollingZ;

    fn fit(&self, normal: Rows<'_>) -> Result<FittedRollingZ, DetectError> {
        let width = width_checked(normal)?;
        let mut fitted = FittedRollingZ {
            units: Units::fit(normal),
            window: Window::new(width, self.window_rows, MOST_BUCKETS),
            values: vec![0.0; width],
            strengths: vec![0.0; width],
        };
        normal.each(|row| {
            fitted.read(row);
            fitted.window.take(&fitted.values);
        });
        Ok(fitted)
    }
}

impl FittedRollingZ {
    fn read(&mut self, row: &[f32]) {
        for (at, value) in self.values.iter_mut().enumerate() {
            *value = self.units.value(row, at);
        }
    }

    /// Distance of feature `at` from the window.
    fn strength(&self, at: usize) -> f32 {
        let (value, moments) = (self.values[at], self.window.moments(at));
        if value.is_nan() || moments.n() < FEWEST_VALUES {
            return 0.0;
        }
        let deviation = moments.deviation().max(self.units.floor(at));
        ((value - moments.mean()).abs() / deviation).min(CLIP)
    }
}

impl Judge for FittedRollingZ {
    fn judge(&mut self, row: &[f32]) -> f32 {
        self.read(row);
        for at in 0..self.strengths.len() {
            self.strengths[at] = self.strength(at);
        }
        self.window.take(&self.values);
        furthest(&self.strengths)
    }

    fn found(&self) -> &[f32] {
        &self.strengths
    }
}

impl Persist for FittedRollingZ {
    fn fields(&mut self, fields: &mut Fields<'_>) -> Result<(), DetectError> {
        self.units.fields(fields)?;
        let width = self.units.scales.width();
        self.window.fields(fields, width)?;
        self.values.resize(width, 0.0);
        self.strengths.resize(width, 0.0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baseline::Score;

    #[test]
    fn distance_is_told_in_deviations_of_the_window() {
        let values: Vec<f32> = (0..100).map(|at| if at % 2 == 0 { 1.0 } else { -1.0 }).collect();
        let rolling = RollingZ { window_rows: 40 };
        let mut fitted = rolling.fit(Rows::new(&values, 1).unwrap()).unwrap();
        fitted.score(&[5.0]);
        assert!((fitted.strengths()[0] - 5.0).abs() < 1e-4, "{:?}", fitted.strengths());
        // A new level is normal once the window holds nothing else.
        for at in 0..90 {
            fitted.score(&[if at % 2 == 0 { 51.0 } else { 49.0 }]);
        }
        assert!((fitted.score(&[50.0])).abs() < 0.1);
    }
}
