//! How long things take, as what a histogram of CoreDNS would see of it.

use crate::dice::Dice;

/// Bounds of the buckets of request and upstream durations, in seconds; the last one is infinity.
pub(crate) const TIME_BOUNDS: [f64; 16] = [
    0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024,
    2.048, 4.096, 8.192,
];
/// With the one for infinity.
pub(crate) const N_TIMES: usize = TIME_BOUNDS.len() + 1;

/// One part of a distribution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Part {
    /// Evenly between two times.
    Even { low: f64, high: f64 },
    /// A shift and a time whose logarithm is normal.
    Tailed { shift: f64, median: f64, deviation: f64 },
}

/// Shares of the buckets, and the mean time within each.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shape {
    pub(crate) shares: [f64; N_TIMES],
    pub(crate) means: [f64; N_TIMES],
}

/// Events by bucket, and how long they took together.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Timed {
    pub(crate) counts: [f64; N_TIMES],
    pub(crate) seconds: f64,
}

impl Shape {
    /// A mixture; weights need not add up to 1. Without any weight everything takes no time.
    pub(crate) fn mixture(parts: &[(f64, Part)]) -> Self {
        let whole: f64 = parts.iter().map(|(weight, _)| weight).sum();
        let (mut shares, mut seconds) = ([0.0; N_TIMES], [0.0; N_TIMES]);
        if whole.is_nan() || whole <= 0.0 {
            shares[0] = 1.0;
            return Self { shares, means: seconds };
        }
        for (weight, part) in parts {
            let mut below = (0.0, 0.0);
            for bucket in 0..N_TIMES {
                let upto = TIME_BOUNDS.get(bucket).map_or((1.0, part.mean()), |le| part.upto(*le));
                shares[bucket] += weight / whole * (upto.0 - below.0).max(0.0);
                seconds[bucket] += weight / whole * (upto.1 - below.1).max(0.0);
                below = upto;
            }
        }
        let means = std::array::from_fn(|b| within(b, seconds[b] / shares[b].max(1e-300)));
        Self { shares, means }
    }

    /// The mean over all buckets, in seconds.
    pub(crate) fn mean(&self) -> f64 {
        self.shares.iter().zip(&self.means).map(|(share, mean)| share * mean).sum()
    }

    /// Draws `n` events.
    pub(crate) fn draw(&self, dice: &mut Dice, n: f64) -> Timed {
        let mut timed = Timed::default();
        dice.split(n, &self.shares, |bucket, count| {
            timed.counts[bucket] += count;
            timed.seconds += count * self.means[bucket];
        });
        // Within a bucket times differ by about a quarter; of many that is nothing.
        if n > 0.0 {
            timed.seconds *= (1.0 + 0.25 * dice.normal() / n.sqrt()).max(0.5);
        }
        timed
    }
}

/// What rounding makes of a mean must lie in its bucket.
fn within(bucket: usize, mean: f64) -> f64 {
    let low = if bucket == 0 { 0.0 } else { TIME_BOUNDS[bucket - 1] };
    let high = TIME_BOUNDS.get(bucket).copied().unwrap_or(60.0);
    mean.clamp(low, high)
}

impl Timed {
    /// `n` events that took so long each.
    pub(crate) fn exactly(n: f64, seconds: f64) -> Self {
        let mut timed = Self { seconds: n * seconds, ..Self::default() };
        timed.counts[bucket(seconds)] = n;
        timed
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine += theirs;
        }
        self.seconds += other.seconds;
    }

    /// Lets `n` of the events take so much longer.
    pub(crate) fn delay(&mut self, n: f64, seconds: f64) {
        let to = bucket(seconds);
        let mut left = n;
        for from in (0..to).rev() {
            let moved = left.min(self.counts[from]);
            self.counts[from] -= moved;
            self.counts[to] += moved;
            left -= moved;
        }
        self.seconds += n * seconds;
    }

    pub(crate) fn count(&self) -> f64 {
        self.counts.iter().sum()
    }
}

/// The bucket that a time falls into.
pub(crate) fn bucket(seconds: f64) -> usize {
    TIME_BOUNDS.iter().position(|le| seconds <= *le).unwrap_or(N_TIMES - 1)
}

impl Part {
    /// Share of the times up to `x`, and their sum for one event.
    fn upto(&self, x: f64) -> (f64, f64) {
        match *self {
            Self::Even { low, high } => {
                if x < low {
                    return (0.0, 0.0);
                }
                let width = (high - low).max(1e-9);
                let share = ((x - low) / width).clamp(0.0, 1.0);
                (share, share * (low + 0.5 * share * width))
            }
            Self::Tailed { shift, median, deviation } => {
                if x <= shift {
                    return (0.0, 0.0);
                }
                let z = ((x - shift) / median).ln() / deviation;
                let (share, mean) = (below(z), median * (0.5 * deviation * deviation).exp());
                (share, share * shift + mean * below(z - deviation))
            }
        }
    }

    fn mean(&self) -> f64 {
        match *self {
            Self::Even { low, high } => 0.5 * (low + high.max(low)),
            Self::Tailed { shift, median, deviation } => {
                shift + median * (0.5 * deviation * deviation).exp()
            }
        }
    }
}

/// Share of a normal distribution below `z`, good to 1e-7 (Abramowitz and Stegun 7.1.26).
pub(crate) fn below(z: f64) -> f64 {
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let series = t
        * (0.254_829_592
            + t * (-0.284_496_736
                + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    let tail = 0.5 * series * (-x * x).exp();
    if z > 0.0 { 1.0 - tail } else { tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_and_the_mean_is_that_of_the_parts() {
        for parts in [
            vec![(1.0, Part::Even { low: 0.002, high: 0.008 })],
            vec![
                (0.9, Part::Tailed { shift: 0.0, median: 0.0001, deviation: 0.6 }),
                (0.1, Part::Tailed { shift: 0.3, median: 0.04, deviation: 0.9 }),
            ],
        ] {
            let shape = Shape::mixture(&parts);
            assert!((shape.shares.iter().sum::<f64>() - 1.0).abs() < 1e-6);
            let expected: f64 = parts.iter().map(|(weight, part)| weight * part.mean()).sum();
            assert!((shape.mean() / expected - 1.0).abs() < 0.01, "{} {expected}", shape.mean());
        }
        assert_eq!(Shape::mixture(&[]).shares[0], 1.0);
    }

    #[test]
    fn drawn_events_are_where_their_shape_has_them() {
        let shape = Shape::mixture(&[(1.0, Part::Even { low: 0.002, high: 0.008 })]);
        let timed = shape.draw(&mut Dice::new(1, 1), 6000.0);
        assert_eq!(timed.count(), 6000.0);
        assert!((1800.0..2200.0).contains(&timed.counts[4]), "{:?}", timed.counts);
        assert!((29.0..31.0).contains(&timed.seconds), "{}", timed.seconds);
        assert_eq!(shape.draw(&mut Dice::new(1, 1), 0.0).count(), 0.0);
        assert_eq!(Timed::exactly(3.0, 2.0).counts[13], 3.0);
    }
}
