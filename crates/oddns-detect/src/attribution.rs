//! Which features a score comes from.

use oddns_core::Contribution;

/// How far each feature is from what was expected at one instant. All slices have one entry a
/// feature.
#[derive(Debug, Clone, Copy)]
pub struct Deviations<'a> {
    /// Strength of the deviation, not negative; zero where nothing can be said.
    pub strength: &'a [f32],
    /// Signed deviation in standard deviations of normal operation.
    pub deviation: &'a [f32],
    /// Value seen, in the feature's unit; NaN when missing.
    pub observed: &'a [f32],
    /// Value expected, in the feature's unit.
    pub expected: &'a [f32],
}

/// The `n` features with the largest share of the squared strength, strongest first. Features
/// without any share are left out.
pub fn contributions(of: Deviations<'_>, n: usize) -> Vec<Contribution> {
    let whole: f32 = of.strength.iter().map(|s| s * s).sum();
    if whole.is_nan() || whole <= 0.0 {
        return Vec::new();
    }
    let mut all: Vec<Contribution> = (0..of.strength.len())
        .map(|feature| Contribution {
            feature,
            share: of.strength[feature] * of.strength[feature] / whole,
            observed: of.observed[feature],
            expected: of.expected[feature],
            deviation: of.deviation[feature],
        })
        .filter(|contribution| contribution.share > 0.0)
        .collect();
    let stronger = |a: &Contribution, b: &Contribution| {
        b.share.total_cmp(&a.share).then(a.feature.cmp(&b.feature))
    };
    // Of a hundred features only the strongest are put in order.
    if n > 0 && n < all.len() {
        all.select_nth_unstable_by(n - 1, stronger);
    }
    all.truncate(n);
    all.sort_by(stronger);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strongest_first_and_shares_of_the_whole() {
        let zeros = [0.0; 3];
        let of = Deviations {
            strength: &[1.0, 0.0, 3.0],
            deviation: &zeros,
            observed: &zeros,
            expected: &zeros,
        };
        let found = contributions(of, 5);
        assert_eq!(found.iter().map(|c| c.feature).collect::<Vec<_>>(), [2, 0]);
        assert!((found[0].share - 0.9).abs() < 1e-6);
    }
}
