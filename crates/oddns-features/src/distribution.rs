//! A classic histogram's growth during one interval.

/// Cumulative bucket counts by upper bound, rising; the last bound is +Inf.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Distribution {
    buckets: Vec<(f64, f64)>,
}

impl Distribution {
    /// Adds growth to the bucket with upper bound `le`, summing over labels.
    pub(crate) fn add(&mut self, le: f64, count: f64) {
        match self.buckets.binary_search_by(|(bound, _)| bound.total_cmp(&le)) {
            Ok(at) => self.buckets[at].1 += count,
            Err(at) => self.buckets.insert(at, (le, count)),
        }
    }

    /// All observations; zero without buckets.
    pub(crate) fn count(&self) -> f64 {
        self.buckets.last().map_or(0.0, |(_, count)| *count)
    }

    /// Observations above `bound`, which must be a bucket's bound; NaN without that bucket.
    pub(crate) fn count_above(&self, bound: f64) -> f64 {
        let total = self.count();
        match self.buckets.iter().find(|(le, _)| (le - bound).abs() <= 1e-9 * bound.abs()) {
            Some((_, below)) => (total - below).clamp(0.0, total.max(0.0)),
            None => f64::NAN,
        }
    }

    /// Keeps `keep` (0 to 1) of itself and adds `now`.
    pub(crate) fn fade(&mut self, keep: f64, now: &Self) {
        self.buckets.iter_mut().for_each(|(_, count)| *count *= keep);
        for (le, count) in &now.buckets {
            self.add(*le, *count);
        }
    }

    /// Quantile by linear interpolation inside the bucket, as Prometheus's `histogram_quantile`:
    /// the lower bound of the first bucket is zero, a quantile in the last bucket is the highest
    /// finite bound. NaN without observations.
    pub(crate) fn quantile(&self, q: f64) -> f64 {
        let total = self.count();
        if total.is_nan() || total <= 0.0 {
            return f64::NAN;
        }
        let rank = q * total;
        let (mut lower, mut below) = (0.0, 0.0);
        for &(le, cumulative) in &self.buckets {
            if cumulative >= rank && cumulative > below {
                if le.is_infinite() {
                    return lower;
                }
                return lower + (le - lower) * ((rank - below) / (cumulative - below)).max(0.0);
            }
            // A counter reset between two bucket reads may leave counts that fall.
            below = cumulative.max(below);
            if le.is_finite() {
                lower = le;
            }
        }
        lower
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Distribution {
        let mut distribution = Distribution::default();
        for (le, count) in [(1.0, 10.0), (f64::INFINITY, 40.0), (2.0, 30.0)] {
            distribution.add(le, count);
        }
        distribution
    }

    #[test]
    fn quantiles_as_in_promql() {
        let distribution = example();
        assert_eq!(distribution.quantile(0.125), 0.5);
        assert_eq!(distribution.quantile(0.5), 1.5);
        assert_eq!(distribution.quantile(0.99), 2.0);
        assert!(Distribution::default().quantile(0.5).is_nan());
    }

    #[test]
    fn observations_above_a_bound() {
        assert_eq!(example().count_above(2.0), 10.0);
        assert!(example().count_above(3.0).is_nan());
    }
}
