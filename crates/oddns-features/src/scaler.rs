//! Standardisation: how far is far, for each feature.

/// Rows further out than this from the mean do not widen the scale: half of the recipe's clip, so
/// that a few spikes in training do not hide later ones.
const WINSOR: f32 = 5.0;
/// A scale is never below this share of the range seen in training.
const RANGE_FLOOR: f32 = 0.02;
/// Standardised values are cut here; further out nothing more is said.
pub const CLIP: f32 = 10.0;

/// Location, scale and presence of each feature in normal operation, on the modelled scale.
#[derive(Debug, Clone, PartialEq)]
pub struct Scaler {
    /// Mean of each feature.
    pub mean: Vec<f32>,
    /// Standard deviation of each feature, above zero.
    pub scale: Vec<f32>,
    /// Smallest scale allowed for each feature.
    pub floor: Vec<f32>,
    /// Share of rows in which each feature was missing.
    pub missing_ratio: Vec<f32>,
    /// How many rows were seen.
    pub n_rows: usize,
}

impl Scaler {
    /// From rows on the modelled scale (NaN is missing); `resolution` is the smallest change that
    /// matters, one a feature. A feature that was never seen has mean 0 and its resolution as
    /// scale.
    pub fn fit<'a>(rows: impl Iterator<Item = &'a [f32]> + Clone, resolution: &[f32]) -> Self {
        let n_rows = rows.clone().count();
        let mut scaler = Self {
            mean: Vec::new(),
            scale: Vec::new(),
            floor: Vec::new(),
            missing_ratio: Vec::new(),
            n_rows,
        };
        for (at, resolution) in resolution.iter().enumerate() {
            let values = rows.clone().map(|row| row[at]).filter(|value| value.is_finite());
            let n_seen = values.clone().count();
            let (mean, scale, floor) = location(values, *resolution);
            scaler.mean.push(mean);
            scaler.scale.push(scale);
            scaler.floor.push(floor);
            scaler.missing_ratio.push(1.0 - n_seen as f32 / n_rows.max(1) as f32);
        }
        scaler
    }

    /// Standardised value of feature `at`, cut at ±[`CLIP`]; NaN stays NaN.
    pub fn standardise(&self, at: usize, value: f32) -> f32 {
        ((value - self.mean[at]) / self.scale[at]).clamp(-CLIP, CLIP)
    }

    /// Undoes [`Scaler::standardise`].
    pub fn restore(&self, at: usize, standardised: f32) -> f32 {
        self.mean[at] + standardised * self.scale[at]
    }

    /// How surprising it is that feature `at` is missing, as standard deviations of a Gaussian
    /// that is as surprising (signed-root deviance, √(−2 ln p)); half a row is added so that never
    /// is not impossible. Zero for a feature that is missing more often than not.
    pub fn missing_surprise(&self, at: usize) -> f32 {
        let n = self.n_rows.max(1) as f32;
        let ratio = (self.missing_ratio[at] * n + 0.5) / (n + 1.0);
        if ratio > 0.5 { 0.0 } else { (-2.0 * ratio.ln()).sqrt() }
    }

    /// Takes a row of normal operation into account with weight `weight` (0 to 1): exponentially
    /// weighted mean and variance, updates winsorised at five standard deviations.
    pub fn adapt(&mut self, row: &[f32], weight: f32) {
        for (at, value) in row.iter().enumerate() {
            let missing = if value.is_nan() { 1.0 } else { 0.0 };
            self.missing_ratio[at] += weight * (missing - self.missing_ratio[at]);
            if value.is_nan() {
                continue;
            }
            let limit = WINSOR * self.scale[at];
            let step = (value - self.mean[at]).clamp(-limit, limit);
            // In units of the scale, or the squares of very large and small scales are no numbers.
            let step_scales = step / self.scale[at];
            let growth = (1.0 - weight) * (1.0 + weight * step_scales * step_scales);
            self.mean[at] += weight * step;
            self.scale[at] = (self.scale[at] * growth.sqrt()).max(self.floor[at]);
        }
    }
}

/// Mean, scale and floor of one feature: plain moments first, then moments of the values cut at
/// five of those.
fn location(values: impl Iterator<Item = f32> + Clone, resolution: f32) -> (f32, f32, f32) {
    let (mean, deviation) = moments(values.clone());
    if mean.is_nan() {
        return (0.0, resolution, resolution);
    }
    let lowest = values.clone().fold(f32::INFINITY, f32::min);
    let highest = values.clone().fold(f32::NEG_INFINITY, f32::max);
    // Each by itself, as the whole range may be more than an f32 can hold.
    let floor = resolution.max(RANGE_FLOOR * highest - RANGE_FLOOR * lowest);
    let limit = WINSOR * deviation;
    let (mean, deviation) = moments(values.map(|v| v.clamp(mean - limit, mean + limit)));
    (mean, deviation.max(floor), floor)
}

fn moments(values: impl Iterator<Item = f32> + Clone) -> (f32, f32) {
    let n = values.clone().count() as f64;
    let mean = values.clone().map(f64::from).sum::<f64>() / n;
    let variance = values.map(|v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
    (mean as f32, variance.sqrt() as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_is_held_to_its_resolution() {
        let rows = [[3.0_f32, f32::NAN], [3.0, f32::NAN]];
        let scaler = Scaler::fit(rows.iter().map(|r| &r[..]), &[0.5, 0.5]);
        assert_eq!(scaler.standardise(0, 4.0), 2.0);
        assert_eq!(scaler.standardise(0, 1e9), CLIP);
        assert!(scaler.standardise(0, f32::NAN).is_nan());
        assert_eq!(scaler.missing_ratio, [0.0, 1.0]);
        assert_eq!(scaler.missing_surprise(1), 0.0);
        assert!(scaler.missing_surprise(0) > 1.5);
    }

    #[test]
    fn adapting_follows_a_new_level_and_never_falls_below_the_floor() {
        let rows: Vec<[f32; 1]> = (0..100).map(|i| [(i % 10) as f32]).collect();
        let mut scaler = Scaler::fit(rows.iter().map(|r| &r[..]), &[0.1]);
        for _ in 0..2000 {
            scaler.adapt(&[20.0], 0.01);
        }
        assert!((scaler.mean[0] - 20.0).abs() < 0.1, "{}", scaler.mean[0]);
        assert!(scaler.scale[0] >= scaler.floor[0]);
    }
}
