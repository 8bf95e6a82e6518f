//! When clients ask, and which of many names they ask for.

use rand::{Rng, RngExt};

/// A clock that stood still for longer (a paused machine) is not made up for in one burst.
const MAX_CATCH_UP_SECONDS: f64 = 1.0;

/// A Poisson process whose rate may change at any time.
///
/// Kept as the expected arrivals that are left until the next one, so that a change of rate
/// stretches the present gap instead of redrawing it.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    left: f64,
}

impl Arrivals {
    /// How many arrive within `elapsed_seconds` at `rate` a second; 0 for odd numbers.
    pub(crate) fn due(&mut self, elapsed_seconds: f64, rate: f64, rng: &mut impl Rng) -> usize {
        let expected = elapsed_seconds.min(MAX_CATCH_UP_SECONDS) * rate;
        if !(expected.is_finite() && expected > 0.0) {
            return 0;
        }
        self.left -= expected;
        let mut n_due = 0;
        while self.left <= 0.0 {
            n_due += 1;
            self.left -= (1.0 - rng.random::<f64>()).ln();
        }
        n_due
    }
}

/// Picks the `k`-th of `n` with a weight of `1 / k^exponent`.
#[derive(Debug)]
pub(crate) struct Zipf {
    /// Rising, ends at the sum of all weights; never empty.
    cumulative: Vec<f64>,
}

impl Zipf {
    /// Over at least one item; an exponent of 0 makes all alike.
    pub(crate) fn new(n_items: usize, exponent: f64) -> Self {
        let mut sum = 0.0;
        let cumulative = (1..=n_items.max(1)).map(|k| {
            sum += (k as f64).powf(-exponent);
            sum
        });
        Self { cumulative: cumulative.collect() }
    }

    /// An index from 0; low ones come most often.
    pub(crate) fn pick(&self, rng: &mut impl Rng) -> usize {
        let last = self.cumulative.len() - 1;
        let at = rng.random::<f64>() * self.cumulative[last];
        self.cumulative.partition_point(|sum| *sum <= at).min(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn arrivals_follow_the_rate_through_a_change() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut arrivals = Arrivals::default();
        let mut count = |rate| (0..10_000).map(|_| arrivals.due(0.001, rate, &mut rng)).sum();
        let (slow, fast): (usize, usize) = (count(100.0), count(1000.0));
        assert!((850..1150).contains(&slow), "{slow}");
        assert!((9600..10_400).contains(&fast), "{fast}");
    }

    #[test]
    fn odd_rates_and_times_bring_nothing() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for (elapsed, rate) in [(1.0, f64::NAN), (1.0, -1.0), (0.0, 5.0), (1.0, f64::INFINITY)] {
            assert_eq!(Arrivals::default().due(elapsed, rate, &mut rng), 0, "{elapsed} {rate}");
        }
    }

    #[test]
    fn the_first_name_is_asked_most() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let zipf = Zipf::new(100, 1.0);
        let mut counts = [0; 100];
        (0..10_000).for_each(|_| counts[zipf.pick(&mut rng)] += 1);
        // The sum of 1/k up to 100 is 5.19: the first has 19 %, the tenth a tenth of that.
        assert!((1750..2100).contains(&counts[0]), "{}", counts[0]);
        assert!((120..270).contains(&counts[9]), "{}", counts[9]);
    }
}
