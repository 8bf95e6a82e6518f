//! Whether paired differences are more than chance.

/// Up to this many differences the probability is counted out; beyond, a normal distribution is
/// close enough.
const MOST_EXACT: usize = 25;

/// Outcome of [`wilcoxon_signed_rank`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SignedRank {
    /// Differences that are not zero.
    pub n: usize,
    /// The smaller of the rank sums of positive and negative differences.
    pub statistic: f64,
    /// Probability of a statistic as small as this when either sign is as likely, 0 to 1, both
    /// sides together.
    pub p_value: f64,
}

/// Wilcoxon's signed-rank test of paired differences (Wilcoxon 1945): differences of zero are left
/// out, equal magnitudes share their mean rank. Exact for up to 25 differences, ties or not;
/// beyond, by the normal distribution with the correction for ties and without one for continuity,
/// as `scipy.stats.wilcoxon`. `None` when no difference is left; NaN is left out too.
pub fn wilcoxon_signed_rank(differences: &[f64]) -> Option<SignedRank> {
    let mut sorted: Vec<f64> =
        differences.iter().copied().filter(|d| *d != 0.0 && !d.is_nan()).collect();
    if sorted.is_empty() {
        return None;
    }
    sorted.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    let ranks = double_ranks(&sorted);
    let whole: usize = ranks.iter().sum();
    let positive: usize =
        sorted.iter().zip(&ranks).filter(|(d, _)| **d > 0.0).map(|(_, r)| r).sum();
    let smaller = positive.min(whole - positive);
    let exact = sorted.len() <= MOST_EXACT;
    let p_value = if exact { counted(&ranks, smaller) } else { approximated(&ranks, smaller) };
    Some(SignedRank { n: sorted.len(), statistic: smaller as f64 / 2.0, p_value })
}

/// Twice the rank of each magnitude, so that shared ranks are whole numbers too.
fn double_ranks(sorted: &[f64]) -> Vec<usize> {
    let mut ranks = Vec::with_capacity(sorted.len());
    for equal in sorted.chunk_by(|a, b| a.abs() == b.abs()) {
        let (first, last) = (ranks.len() + 1, ranks.len() + equal.len());
        ranks.extend(equal.iter().map(|_| first + last));
    }
    ranks
}

/// Share of all ways to hand out signs that give a sum up to `smaller`, on both sides.
fn counted(ranks: &[usize], smaller: usize) -> f64 {
    let mut ways = vec![0.0_f64; smaller + 1];
    ways[0] = 1.0;
    for rank in ranks {
        for sum in (*rank..=smaller).rev() {
            ways[sum] += ways[sum - rank];
        }
    }
    let all = 2.0_f64.powi(ranks.len() as i32);
    (2.0 * ways.iter().sum::<f64>() / all).min(1.0)
}

fn approximated(ranks: &[usize], smaller: usize) -> f64 {
    // Half the sum of the ranks, and a quarter of the sum of their squares; ranks here are double.
    let mean = ranks.iter().sum::<usize>() as f64 / 4.0;
    let variance = ranks.iter().map(|rank| (*rank as f64 / 2.0).powi(2)).sum::<f64>() / 4.0;
    let distance = (smaller as f64 / 2.0 - mean).abs() / variance.sqrt();
    complementary_error(distance / std::f64::consts::SQRT_2)
}

/// `erfc` of a value that is not negative: series near zero, continued fraction beyond (Abramowitz
/// & Stegun 7.1.5 and 7.1.14).
fn complementary_error(x: f64) -> f64 {
    let root_pi = std::f64::consts::PI.sqrt();
    if x < 2.0 {
        let (mut term, mut sum) = (x, x);
        for k in 1..60 {
            term *= -x * x / f64::from(k);
            sum += term / f64::from(2 * k + 1);
        }
        return 1.0 - 2.0 / root_pi * sum;
    }
    let fraction = (1..60).rev().fold(0.0, |below, k| f64::from(k) / 2.0 / (x + below));
    (-x * x).exp() / root_pi / (x + fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Differences, then statistic and p value by scipy 1.17.
    type Case = (&'static [f64], f64, f64);

    /// `scipy.stats.wilcoxon(d, method="exact")`; with ties (the fourth)
    /// `method=PermutationMethod(n_resamples=10**7)`, which counts all ways; then
    /// `method="asymptotic"`, without and with ties and zeros.
    #[rustfmt::skip]
    const SCIPY: [Case; 6] = [
        (&[0.334, 1.66, 1.525, -0.21, 0.002, -0.227], 5.0, 0.3125),
        (&[0.8697, 0.2439, 1.0469, -1.5473, 1.8665, 0.2036, 0.9804, 0.1634, -0.0791, 0.7631, 1.1245,
            0.0975], 12.0, 0.0341796875),
        (&[0.14721, 0.9857, -0.57034, -1.21438, 0.69498, -0.37057, -1.62034, -0.51405, -0.1676,
            -0.8932, -1.19246, 0.33664, 1.19725, 0.06687, -0.4436, 0.68499, 1.01724, -1e-05,
            0.84467, 1.34288, 0.09304, -0.51352, 0.64765, 0.54755, 1.39881], 136.0, 0.49078595638275146),
        (&[-1.0, -0.4, -0.5, -1.4, 0.4, 0.8, -0.4, 1.7, 1.1, 0.9, 0.7, 1.3], 27.0, 0.3798828125),
        (&[-1.032, 0.9139, 0.9028, -1.4677, 0.647, 0.0496, 1.0815, -0.1391, 0.2818, 0.6429, -0.5763,
            0.8986, 0.195, 0.7925, -0.2218, 1.3862, 0.9052, 0.122, 0.932, 1.5598, 2.0912, -1.2736,
            1.1831, 0.7651, 0.2061, -0.7067, 1.5572, -0.9617, 0.8669, 1.6019, -1.2997, -0.0025,
            -1.0092, 0.5441, 1.8144, 2.3236, -1.4781, -0.2749, 1.0035, 1.8794],
            243.0, 0.024787613218254033),
        (&[0.7, -0.4, 0.6, 0.3, 0.1, -0.4, 0.7, 0.6, 0.2, 0.1, -1.0, -0.2, 1.5, 0.1, -1.1, 1.6, 0.8,
            2.4, 0.4, -0.2, -1.1, 1.6, 2.9, -0.5, -0.3, 0.9, -0.5, 0.0, 0.0, 0.5, 1.4, 0.3, 1.2,
            -0.1, 0.6, -1.8, -1.1, 1.1, -0.3, 0.9, 0.8, 1.6, 1.1, 1.3, 0.2, -0.4, -0.4, -0.2, -0.8,
            -0.2, 0.2, 0.6, 0.0, -1.6, 0.2, 0.5, 1.4, 0.9, -0.3, -0.4], 546.5, 0.025981046015275493),
    ];

    #[test]
    fn as_scipy() {
        for (differences, statistic, p_value) in SCIPY {
            let found = wilcoxon_signed_rank(differences).unwrap();
            assert_eq!(found.statistic, statistic);
            assert!((found.p_value - p_value).abs() < 1e-9, "{} {p_value}", found.p_value);
        }
    }

    #[test]
    fn without_differences_there_is_nothing_to_test() {
        assert_eq!(wilcoxon_signed_rank(&[0.0, f64::NAN]), None);
        assert_eq!(wilcoxon_signed_rank(&[0.3]).unwrap().p_value, 1.0);
    }

    #[test]
    fn tails_of_the_normal_distribution() {
        // `scipy.special.erfc`.
        for (x, expected) in [
            (0.0, 1.0),
            (0.5, 0.479_500_122_186_953_5),
            (1.99, 0.004_888_586_800_383_002),
            (2.01, 0.004_475_150_644_751_764),
            (5.0, 1.537_459_794_428_035e-12),
        ] {
            let found = complementary_error(x);
            assert!((found / expected - 1.0).abs() < 1e-9, "{x}: {found}");
        }
    }
}
