//! Location and scale of each feature in training.

use super::rows::{LARGEST, Rows, value};
use super::state::{Fields, Persist};
use crate::DetectError;

/// Where an adaptive detector cuts standardised values, as in the measured recipe: its scales
/// follow, and further out nothing more is said.
pub(crate) const CLIP: f32 = 10.0;
/// Where a static detector cuts them: those are published without any cut, and rank worse with a
/// closer one, as features that have left their training for good all are as far out as can be.
pub(crate) const STATIC_CLIP: f32 = 100.0;
/// A scale is never below this share of the range seen in training …
const RANGE_FLOOR: f32 = 0.02;
/// … nor below this share of the largest magnitude seen: what an `f32` says of a value is not
/// exact, and a constant is held to something.
const MAGNITUDE_FLOOR: f32 = 1e-3;

/// A value moves mean and scale by no more than one this many scales out would, so that trouble does
/// not become normal at once (measured recipe).
const WINSOR: f32 = 5.0;

/// Mean and scale of each feature.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Scales {
    pub(crate) mean: Vec<f32>,
    /// Above zero.
    pub(crate) scale: Vec<f32>,
    /// Smallest scale that makes sense, above zero.
    pub(crate) floor: Vec<f32>,
}

/// Sums over what was seen of one feature.
#[derive(Clone, Copy)]
struct Moments {
    n: f64,
    mean: f64,
    /// Sum of squared distances from the mean.
    squares: f64,
    lowest: f32,
    highest: f32,
}

impl Scales {
    /// Mean and standard deviation of the values that are there. A feature that was never seen has
    /// mean 0 and scale 1.
    pub(crate) fn fit(rows: Rows<'_>) -> Self {
        let start = Moments {
            n: 0.0,
            mean: 0.0,
            squares: 0.0,
            lowest: f32::INFINITY,
            highest: f32::NEG_INFINITY,
        };
        let mut moments = vec![start; rows.width()];
        rows.each(|row| {
            for (at, moments) in moments.iter_mut().enumerate() {
                moments.take(value(row, at));
            }
        });
        let mean = moments.iter().map(|m| m.mean as f32).collect();
        let floor: Vec<f32> = moments.iter().map(Moments::floor).collect();
        let scale = moments.iter().zip(&floor).map(|(m, floor)| m.deviation().max(*floor));
        Self { mean, scale: scale.collect(), floor }
    }

    /// How many features there are.
    pub(crate) fn width(&self) -> usize {
        self.mean.len()
    }

    /// Standardised values, cut at ±`clip`; 0, which says nothing, where a value is missing.
    pub(crate) fn standardise(&self, row: &[f32], clip: f32, z: &mut [f32]) {
        for (at, z) in z.iter_mut().enumerate() {
            let value = value(row, at);
            let distance = (value - self.mean[at]) / self.scale[at];
            *z = if value.is_nan() { 0.0 } else { distance.clamp(-clip, clip) };
        }
    }

    /// Moves mean and scale of feature `at` by `weight` (0 to 1) towards `value`, which is there, and
    /// gives its standardised value. A value far out counts as one [`WINSOR`] scales out.
    pub(crate) fn follow(&mut self, at: usize, value: f32, weight: f32) -> f32 {
        let scale = self.scale[at];
        let z = ((value - self.mean[at]) / scale).clamp(-WINSOR, WINSOR);
        self.mean[at] = (self.mean[at] + weight * z * scale).clamp(-LARGEST, LARGEST);
        // In units of the scale: the square of a very large or small value is no number.
        let growth = (1.0 - weight) * (1.0 + weight * z * z);
        self.scale[at] = (scale * growth.sqrt()).min(LARGEST).max(self.floor[at]);
        z
    }
}

impl Moments {
    fn take(&mut self, value: f32) {
        if value.is_nan() {
            return;
        }
        self.n += 1.0;
        let distance = f64::from(value) - self.mean;
        self.mean += distance / self.n;
        self.squares += distance * (f64::from(value) - self.mean);
        self.lowest = self.lowest.min(value);
        self.highest = self.highest.max(value);
    }

    fn deviation(&self) -> f32 {
        (self.squares / self.n.max(1.0)).sqrt() as f32
    }

    fn floor(&self) -> f32 {
        let magnitude = self.lowest.abs().max(self.highest.abs());
        if self.n == 0.0 || magnitude == 0.0 {
            return 1.0;
        }
        let range = RANGE_FLOOR * self.highest - RANGE_FLOOR * self.lowest;
        range.max(MAGNITUDE_FLOOR * magnitude).max(f32::MIN_POSITIVE)
    }
}

impl Persist for Scales {
    fn fields(&mut self, fields: &mut Fields<'_>) -> Result<(), DetectError> {
        let mut width = self.width();
        fields.count(&mut width, 1..=super::MOST_FEATURES)?;
        fields.list(&mut self.mean, width, LARGEST)?;
        fields.scales(&mut self.scale, width)?;
        fields.scales(&mut self.floor, width)
    }
}
