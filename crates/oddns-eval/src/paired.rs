//! Two detectors on the same series.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{SignedRank, wilcoxon_signed_rank};

/// Resamples that the interval is read from.
const N_RESAMPLES: usize = 10_000;
/// Part of them within the interval.
const CONFIDENCE: f64 = 0.95;
/// The same comparison is told the same way every time.
const SEED: u64 = 0;

/// How much one detector is ahead of another, series by series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Paired {
    /// Series that both were measured on.
    pub n: usize,
    /// Mean of the differences, one minus other.
    pub mean_difference: f64,
    /// Bounds of the mean difference that 95 % of bootstrap resamples of the series keep
    /// (percentiles; Efron 1979): how much it hangs on which series were looked at.
    pub interval: (f64, f64),
    /// Wilcoxon's test of the differences; `None` when all are zero.
    pub test: Option<SignedRank>,
}

impl Paired {
    /// From one value a series for each detector, in the same order of series. Pairs with a value
    /// that is not finite are left out, as are surplus elements of the longer slice. `None` without
    /// a pair.
    pub fn compute(one: &[f64], other: &[f64]) -> Option<Self> {
        let differences: Vec<f64> =
            one.iter().zip(other).map(|(a, b)| a - b).filter(|d| d.is_finite()).collect();
        if differences.is_empty() {
            return None;
        }
        Some(Self {
            n: differences.len(),
            mean_difference: mean(&differences),
            interval: bootstrap(&differences),
            test: wilcoxon_signed_rank(&differences),
        })
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Bounds of the mean over resamples of `values`, which are not empty.
fn bootstrap(values: &[f64]) -> (f64, f64) {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let mut resampled = || {
        let draw = (0..values.len()).map(|_| values[rng.random_range(0..values.len())]);
        draw.sum::<f64>() / values.len() as f64
    };
    let mut means: Vec<f64> = (0..N_RESAMPLES).map(|_| resampled()).collect();
    means.sort_by(f64::total_cmp);
    let beyond = ((1.0 - CONFIDENCE) / 2.0 * N_RESAMPLES as f64) as usize;
    (means[beyond], means[N_RESAMPLES - 1 - beyond])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_lead_is_certain() {
        let one: Vec<f64> = (0..8).map(f64::from).collect();
        let other: Vec<f64> = one.iter().map(|value| value - 0.25).collect();
        let paired = Paired::compute(&one, &other).unwrap();
        assert_eq!((paired.n, paired.mean_difference, paired.interval), (8, 0.25, (0.25, 0.25)));
        // All eight signs the same: two of the 256 ways.
        assert_eq!(paired.test.unwrap().p_value, 2.0 / 256.0);
    }

    #[test]
    fn the_interval_is_about_two_standard_errors_wide() {
        let differences: Vec<f64> = (0..100).map(|at| f64::from(at % 10) - 4.5).collect();
        let paired = Paired::compute(&differences, &[0.0; 100]).unwrap();
        // The standard deviation is √8.25, its standard error a tenth of that.
        let (low, high) = paired.interval;
        assert!((high - 0.563).abs() < 0.04 && (low + 0.563).abs() < 0.04, "{low} {high}");
        assert!(paired.test.unwrap().p_value > 0.9);
    }

    #[test]
    fn what_only_one_was_measured_on_is_left_out() {
        let paired = Paired::compute(&[1.0, f64::NAN, 3.0], &[1.0, 1.0]).unwrap();
        assert_eq!((paired.n, paired.test), (1, None));
        assert_eq!(Paired::compute(&[], &[1.0]), None);
    }
}
