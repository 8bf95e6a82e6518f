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
        Self::fit_each(|look| rows.clone().for_each(look), resolution)
    }

    /// As [`Scaler::fit`], from rows that need not be in memory all at once: `each` shows all of
    /// them, the same ones each of the few times that it is called.
    pub fn fit_each(each: impl Fn(&mut dyn FnMut(&[f32])), resolution: &[f32]) -> Self {
        let mut ranges = vec![Range::default(); resolution.len()];
        let mut n_rows = 0;
        each(&mut |row| {
            n_rows += 1;
            ranges.iter_mut().zip(row).for_each(|(range, value)| range.take(*value));
        });
        let rough = moments(&each, vec![(f32::NEG_INFINITY, f32::INFINITY); resolution.len()]);
        let limits = rough.iter().map(|(mean, deviation)| {
            let limit = WINSOR * deviation;
            (mean - limit, mean + limit)
        });
        let fine = moments(&each, limits.collect());
        let mut scaler = Self {
            mean: Vec::new(),
            scale: Vec::new(),
            floor: Vec::new(),
            missing_ratio: Vec::new(),
            n_rows,
        };
        for ((range, (mean, deviation)), resolution) in ranges.iter().zip(fine).zip(resolution) {
            let seen = range.n_seen > 0;
            let floor = if seen { resolution.max(range.floor()) } else { *resolution };
            scaler.mean.push(if seen { mean } else { 0.0 });
            scaler.scale.push(if seen { deviation.max(floor) } else { floor });
            scaler.floor.push(floor);
            scaler.missing_ratio.push(1.0 - range.n_seen as f32 / n_rows.max(1) as f32);
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
            // Of the largest numbers, limit and difference would be none.
            let limit = (WINSOR * self.scale[at]).min(f32::MAX);
            let step = (value - self.mean[at]).clamp(-limit, limit);
            // In units of the scale, or the squares of very large and small scales are no numbers.
            let step_scales = step / self.scale[at];
            let growth = (1.0 - weight) * (1.0 + weight * step_scales * step_scales);
            self.mean[at] += weight * step;
            self.scale[at] = (self.scale[at] * growth.sqrt()).max(self.floor[at]).min(f32::MAX);
        }
    }
}

/// Between which values a feature lies.
#[derive(Debug, Clone, Copy)]
struct Range {
    n_seen: usize,
    lowest: f32,
    highest: f32,
}

impl Default for Range {
    fn default() -> Self {
        Self { n_seen: 0, lowest: f32::INFINITY, highest: f32::NEG_INFINITY }
    }
}

impl Range {
    fn take(&mut self, value: f32) {
        if value.is_finite() {
            self.n_seen += 1;
            (self.lowest, self.highest) = (self.lowest.min(value), self.highest.max(value));
        }
    }

    fn floor(self) -> f32 {
        // Each by itself, as the whole range may be more than an f32 can hold.
        RANGE_FLOOR * self.highest - RANGE_FLOOR * self.lowest
    }
}

/// Mean and standard deviation of each feature, with values cut to its limits; NaN without a value.
fn moments(each: &impl Fn(&mut dyn FnMut(&[f32])), limits: Vec<(f32, f32)>) -> Vec<(f32, f32)> {
    let mut sums = vec![(0.0_f64, 0.0_f64); limits.len()];
    add_up(each, &limits, &mut sums, |_, value| value);
    let means: Vec<f64> = sums.iter().map(|(n, sum)| sum / n).collect();
    sums.fill((0.0, 0.0));
    add_up(each, &limits, &mut sums, |at, value| (value - means[at]).powi(2));
    let deviation = |(n, squares): &(f64, f64)| (squares / n).sqrt() as f32;
    means.iter().zip(&sums).map(|(mean, sums)| (*mean as f32, deviation(sums))).collect()
}

/// Counts the values of each feature that are there, and sums what is taken `of` them.
fn add_up(
    each: &impl Fn(&mut dyn FnMut(&[f32])),
    limits: &[(f32, f32)],
    sums: &mut [(f64, f64)],
    of: impl Fn(usize, f64) -> f64,
) {
    each(&mut |row| {
        for (at, value) in row.iter().enumerate().filter(|(_, value)| value.is_finite()) {
            let (low, high) = limits[at];
            let (n, sum) = &mut sums[at];
            *n += 1.0;
            *sum += of(at, f64::from(value.max(low).min(high)));
        }
    });
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
