//! Where normal ends: a threshold from the scores of normal operation.

/// The peaks that a tail is fitted to are those above this quantile (Siffer et al. 2017, SPOT), …
const PEAK_QUANTILE: f64 = 0.98;
/// … or above a lower one when that leaves fewer than this: a short record knows little of its
/// tail, and has to be extrapolated further.
const MIN_PEAKS: usize = 20;
/// Below this quantile is no tail.
const MIN_QUANTILE: f64 = 0.5;

/// The level that a score of normal operation exceeds with probability `risk`, by peaks over
/// threshold: a generalised Pareto distribution fitted by moments (Hosking & Wallis 1987) to the
/// scores above their 98 % quantile, or above a lower one of a short record.
///
/// Never below the highest score given: what was normal once is not an alarm. NaN scores are left
/// out; without any score the threshold is infinite, so that nothing alarms.
pub fn tail_threshold(scores: &[f32], risk: f64) -> f32 {
    let mut sorted: Vec<f64> =
        scores.iter().filter(|s| s.is_finite()).map(|s| f64::from(*s)).collect();
    sorted.sort_by(f64::total_cmp);
    let Some(&highest) = sorted.last() else { return f32::INFINITY };
    let enough = 1.0 - MIN_PEAKS as f64 / sorted.len() as f64;
    let start = sorted_quantile(&sorted, enough.clamp(MIN_QUANTILE, PEAK_QUANTILE));
    let peaks: Vec<f64> = sorted.iter().filter(|s| **s > start).map(|s| s - start).collect();
    if peaks.is_empty() {
        return highest as f32;
    }
    let ratio = risk * sorted.len() as f64 / peaks.len() as f64;
    (start + pareto_level(&peaks, ratio)).max(highest) as f32
}

/// The level that a peak exceeds with probability `ratio`.
fn pareto_level(peaks: &[f64], ratio: f64) -> f64 {
    let n = peaks.len() as f64;
    let mean = peaks.iter().sum::<f64>() / n;
    let variance = peaks.iter().map(|p| (p - mean).powi(2)).sum::<f64>() / n;
    let squared = mean * mean / variance.max(f64::MIN_POSITIVE);
    // A bounded tail would put the threshold next to the highest score of a short record, and a
    // shape above one half has no variance to match moments with.
    let shape = (0.5 * (1.0 - squared)).clamp(0.0, 0.45);
    let scale = mean * (1.0 - shape);
    if shape < 1e-6 { -scale * ratio.ln() } else { scale / shape * (ratio.powf(-shape) - 1.0) }
}

/// Quantile `q` (0 to 1) by linear interpolation; NaN values are left out, NaN when none is left.
pub fn quantile(values: &[f32], q: f64) -> f32 {
    let mut sorted: Vec<f64> =
        values.iter().filter(|v| !v.is_nan()).map(|v| f64::from(*v)).collect();
    sorted.sort_by(f64::total_cmp);
    sorted_quantile(&sorted, q) as f32
}

fn sorted_quantile(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = q.clamp(0.0, 1.0) * last as f64;
    let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    low + (high - low) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scores with an exponential tail of mean one, at evenly spread probabilities.
    fn exponential(n: usize) -> Vec<f32> {
        (0..n).map(|i| -(1.0 - (i as f32 + 0.5) / n as f32).ln()).collect()
    }

    #[test]
    fn an_exponential_tail_is_extrapolated() {
        let threshold = tail_threshold(&exponential(2000), 1e-5);
        // The true level is -ln(1e-5) = 11.5; the highest score given is 8.3.
        assert!((10.0..13.5).contains(&threshold), "{threshold}");
    }

    #[test]
    fn never_below_what_was_normal() {
        let mut scores = vec![1.0; 500];
        scores.push(7.0);
        assert_eq!(tail_threshold(&scores, 0.1), 7.0);
        assert_eq!(tail_threshold(&[f32::NAN], 0.1), f32::INFINITY);
    }

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(quantile(&[3.0, f32::NAN, 1.0], 0.5), 2.0);
        assert!(quantile(&[], 0.5).is_nan());
    }
}
