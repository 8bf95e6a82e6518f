//! Chance that is the same on every machine, for as long as this file does not change.
//!
//! A generator of our own (xoshiro256++ by Blackman and Vigna) rather than a library's, because a
//! seed names a data set: the next release of a library must not make another one of it.

/// Below this mean a count is drawn exactly, above from the normal distribution that it tends to.
const EXACT_BELOW: f64 = 16.0;

/// A seeded source of chance.
#[derive(Debug, Clone)]
pub(crate) struct Dice([u64; 4]);

impl Dice {
    /// One of 2^64 sequences; `stream` tells apart those of one seed.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut state = seed ^ stream.wrapping_mul(0xd134_2543_de82_ef95);
        Self(std::array::from_fn(|_| split_mix(&mut state)))
    }

    pub(crate) fn bits(&mut self) -> u64 {
        let [a, b, c, d] = self.0;
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c, d) = (c ^ a, d ^ b);
        let (b_next, a_next) = (b ^ c, a ^ d);
        self.0 = [a_next, b_next, c ^ (b << 17), d.rotate_left(45)];
        result
    }

    /// Evenly from 0 to below 1.
    pub(crate) fn share(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// Nearly normal, mean 0 and deviation 1: how many of 64 coins show heads, smoothed.
    pub(crate) fn normal(&mut self) -> f64 {
        let heads = f64::from(self.bits().count_ones());
        (heads - 32.5 + self.share()) * (1.0 / 4.010_402_727_376_086)
    }

    /// A factor around 1 whose logarithm has this deviation.
    pub(crate) fn factor(&mut self, deviation: f64) -> f64 {
        (deviation * self.normal()).exp()
    }

    pub(crate) fn happens(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.share() < probability
    }

    /// Events of a Poisson process with this mean; 0 for a mean that is not above 0.
    pub(crate) fn poisson(&mut self, mean: f64) -> f64 {
        if mean.is_nan() || mean <= 0.0 {
            return 0.0;
        }
        if mean > EXACT_BELOW {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0);
        }
        let (mut n, mut term, mut left) = (0.0, (-mean).exp(), self.share());
        while left >= term && n < 80.0 {
            left -= term;
            n += 1.0;
            term *= mean / n;
        }
        n
    }

    /// How many of `n` things happen, each with this probability.
    pub(crate) fn binomial(&mut self, n: f64, probability: f64) -> f64 {
        if n < 1.0 || probability.is_nan() || probability <= 0.0 {
            return 0.0;
        }
        if probability >= 1.0 {
            return n;
        }
        if probability > 0.5 {
            return n - self.binomial(n, 1.0 - probability);
        }
        let mean = n * probability;
        if mean > EXACT_BELOW {
            let deviation = (mean * (1.0 - probability)).sqrt();
            return (mean + deviation * self.normal()).round().clamp(0.0, n);
        }
        self.few(n, probability)
    }

    /// A binomial count with a small mean, by walking up its distribution.
    fn few(&mut self, n: f64, probability: f64) -> f64 {
        let odds = probability / (1.0 - probability);
        let (mut k, mut left) = (0.0, self.share());
        let mut term = (n * (-probability).ln_1p()).exp();
        while left >= term && k < n && k < 80.0 {
            left -= term;
            term *= odds * (n - k) / (k + 1.0);
            k += 1.0;
        }
        k
    }

    /// Splits `n` things over parts with these shares of them, which add up to 1; calls `take` with
    /// each part that got some.
    pub(crate) fn split(&mut self, n: f64, shares: &[f64], mut take: impl FnMut(usize, f64)) {
        let (mut left, mut whole) = (n, 1.0);
        for (part, share) in shares.iter().enumerate() {
            if left < 1.0 {
                return;
            }
            if *share <= 0.0 {
                continue;
            }
            let count =
                if *share >= whole - 1e-12 { left } else { self.binomial(left, share / whole) };
            if count > 0.0 {
                take(part, count);
            }
            left -= count;
            whole -= share;
        }
    }
}

/// Spreads a seed over the state, as the authors of the generator advise.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean_and_variance(draw: impl FnMut() -> f64) -> (f64, f64) {
        let values: Vec<f64> = std::iter::repeat_with(draw).take(20_000).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
        (mean, variance)
    }

    #[test]
    fn distributions_have_their_mean_and_variance() {
        let mut dice = Dice::new(1, 2);
        let (mean, variance) = mean_and_variance(|| dice.normal());
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
        for expected in [0.3, 5.0, 15.0, 400.0] {
            let (mean, variance) = mean_and_variance(|| dice.poisson(expected));
            assert!((mean / expected - 1.0).abs() < 0.05, "{mean} of {expected}");
            assert!((variance / expected - 1.0).abs() < 0.08, "{variance} of {expected}");
        }
        for (n, p) in [(3.0, 0.5), (40.0, 0.02), (5000.0, 0.3), (100.0, 0.97)] {
            let (mean, variance) = mean_and_variance(|| dice.binomial(n, p));
            assert!((mean / (n * p) - 1.0).abs() < 0.05, "{mean} of {n} {p}");
            assert!((variance / (n * p * (1.0 - p)) - 1.0).abs() < 0.08, "{variance} of {n} {p}");
        }
    }

    #[test]
    fn nothing_is_lost_in_a_split() {
        let mut dice = Dice::new(7, 0);
        for n in [0.0, 1.0, 17.0, 10_000.0] {
            let mut total = 0.0;
            dice.split(n, &[0.2, 0.0, 0.5, 0.3], |part, count| {
                assert_ne!(part, 1);
                total += count;
            });
            assert_eq!(total, n);
        }
    }

    #[test]
    fn the_sequence_of_a_seed_stays_what_it_is() {
        let mut dice = Dice::new(1, 0);
        let first: Vec<u64> = (0..2).map(|_| dice.bits() >> 48).collect();
        let mut again = Dice::new(1, 0);
        assert_eq!(first, [again.bits() >> 48, again.bits() >> 48]);
        assert_ne!(first[0], Dice::new(1, 1).bits() >> 48);
    }
}
