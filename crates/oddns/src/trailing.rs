//! What the last rows of a stream were like, feature by feature.

use crate::detector::DetectorError;
use crate::ledger::{Keep, Ledger, damaged};

/// A squared value counts at most this much: a single row is not a whole window.
pub(crate) const LARGEST_SQUARE: f32 = 1e4;

/// Root mean square of each feature over the last rows.
///
/// Only features that had anything in these rows take room: many a server never shows half of them, and
/// of thousands of servers this is much of the memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct TrailingRms {
    n_rows: usize,
    width: usize,
    /// Features with a square above zero in any of the last rows, rising. Of others all are zero.
    features: Box<[usize]>,
    /// The last squares of these features, `n_seen` rows; row-major.
    squares: Vec<f32>,
    /// Rows that have been seen, at most `n_rows`.
    n_seen: usize,
    /// Row that is written next.
    next: usize,
}

impl TrailingRms {
    /// Over `n_rows` rows of `width` features.
    pub(crate) fn new(n_rows: usize, width: usize) -> Self {
        Self { n_rows, width, ..Self::default() }
    }

    /// Takes a row in, and gives the root mean squares up to and with it.
    pub(crate) fn push(&mut self, row: impl Iterator<Item = f32>) -> Vec<f32> {
        let squares = row.take(self.width).map(|value| (value * value).min(LARGEST_SQUARE));
        let mut row: Vec<f32> = squares.collect();
        row.resize(self.width, 0.0);
        if !self.has_all_of(&row) {
            let shows = |at: &usize| row[*at] > 0.0 || self.features.binary_search(at).is_ok();
            self.lay_out((0..self.width).filter(shows).collect());
        }
        self.write(&row);
        if self.next == 0 {
            // Once in a round: what was shown for a while only is let go of.
            self.lay_out(self.features.iter().copied().filter(|at| self.is_shown(*at)).collect());
        }
        self.rms(row)
    }

    /// Whether each feature that a row shows has room.
    fn has_all_of(&self, row: &[f32]) -> bool {
        let n_shown = row.iter().filter(|square| **square > 0.0).count();
        n_shown == self.features.iter().filter(|at| row[**at] > 0.0).count()
    }

    fn write(&mut self, row: &[f32]) {
        let squares = self.features.iter().map(|at| row[*at]);
        if self.n_seen < self.n_rows {
            self.squares.extend(squares);
            self.n_seen += 1;
        } else {
            let oldest = &mut self.squares[self.next * self.features.len()..];
            oldest.iter_mut().zip(squares).for_each(|(old, new)| *old = new);
        }
        self.next = (self.next + 1) % self.n_rows;
    }

    /// Writes the root mean squares over `row`, which is in.
    fn rms(&self, mut row: Vec<f32>) -> Vec<f32> {
        // Summed anew: a running sum would gather rounding errors for as long as a server runs.
        let mut sums = vec![0.0; self.features.len()];
        for squares in self.squares.chunks_exact(self.features.len().max(1)) {
            sums.iter_mut().zip(squares).for_each(|(sum, square)| *sum += square);
        }
        row.fill(0.0);
        let n = self.n_seen.max(1) as f32;
        self.features.iter().zip(sums).for_each(|(at, sum)| row[*at] = (sum / n).sqrt());
        row
    }

    /// Makes room for just these features, which are all that have a square above zero.
    fn lay_out(&mut self, features: Box<[usize]>) {
        if features != self.features {
            let rows = self.rows();
            self.set_rows(&rows, features);
        }
    }

    /// Whether a feature had anything in the last rows.
    fn is_shown(&self, feature: usize) -> bool {
        let Ok(place) = self.features.binary_search(&feature) else { return false };
        self.squares.iter().skip(place).step_by(self.features.len()).any(|square| *square > 0.0)
    }

    /// The last squares of all features, row-major.
    fn rows(&self) -> Vec<f32> {
        let mut rows = vec![0.0; self.n_seen * self.width];
        let pairs = rows.chunks_exact_mut(self.width.max(1));
        for (row, squares) in pairs.zip(self.squares.chunks_exact(self.features.len().max(1))) {
            self.features.iter().zip(squares).for_each(|(at, square)| row[*at] = *square);
        }
        rows
    }

    /// Keeps these features of whole rows of all.
    fn set_rows(&mut self, rows: &[f32], features: Box<[usize]>) {
        self.n_seen = rows.len() / self.width.max(1);
        self.squares = Vec::with_capacity(self.n_rows * features.len());
        for row in rows.chunks_exact(self.width.max(1)) {
            self.squares.extend(features.iter().map(|at| row[*at]));
        }
        self.features = features;
    }
}

impl Keep for TrailingRms {
    fn keep(&mut self, ledger: &mut Ledger<'_>) -> Result<(), DetectorError> {
        let (most, mut rows) = (self.n_rows * self.width, self.rows());
        let is_square = |square: f32| (0.0..=LARGEST_SQUARE).contains(&square);
        ledger.list(&mut rows, most, is_square)?;
        ledger.count(&mut self.next, self.n_rows.saturating_sub(1))?;
        // Rows that are not whole, or a place that nothing leads to.
        let n = rows.len() / self.width.max(1);
        let whole = n * self.width == rows.len();
        let follows = n == self.n_rows || self.next == n;
        if !(whole && follows) {
            return Err(damaged("its last rows are not whole"));
        }
        let shows =
            |at: &usize| rows.iter().skip(*at).step_by(self.width).any(|square| *square > 0.0);
        self.set_rows(&rows, (0..self.width).filter(shows).collect());
        Ok(())
    }
}

/// Rows over which a level is averaged on its way back, so that the memory of trouble does not outlast
/// it.
pub(crate) const BACK_ROWS: f32 = 4.0;

/// Exponentially weighted mean of each feature's deviation (Roberts 1959): what single rows of
/// normal operation do, but never many in a row.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Level {
    away_rows: f32,
    means: Vec<f32>,
}

impl Level {
    /// A mean over some `away_rows` rows while it moves away from normal, at least 1.
    pub(crate) fn over(away_rows: f32, width: usize) -> Self {
        Self { away_rows, means: vec![0.0; width] }
    }

    /// Takes a row of deviations in, and gives the levels up to and with it.
    pub(crate) fn push(&mut self, deviation: impl Iterator<Item = f32>) -> &[f32] {
        for (mean, value) in self.means.iter_mut().zip(deviation) {
            let returns = value.abs() < mean.abs() || value * *mean < 0.0;
            let rows = if returns { BACK_ROWS } else { self.away_rows };
            *mean += (value - *mean) / rows;
        }
        &self.means
    }
}

impl Keep for Level {
    fn keep(&mut self, ledger: &mut Ledger<'_>) -> Result<(), DetectorError> {
        ledger.numbers(&mut self.means, f32::is_finite)
    }
}

/// The median of a stream of numbers, followed with one number of memory: up while values lie
/// above it, down while they lie below.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct FollowedMedian {
    first: f32,
    part: f32,
}

/// A median moves to at most so many times what it was at first, and to that part of it.
const MOST_MOVED: f32 = 8.0;

impl FollowedMedian {
    /// From where it lies at first, above zero.
    pub(crate) fn new(first: f32) -> Self {
        Self { first, part: 1.0 }
    }

    /// Where it is now, in parts of where it was at first.
    pub(crate) fn part(self) -> f32 {
        self.part
    }

    /// Takes a number in, which moves the median by the part `step` of it.
    pub(crate) fn push(&mut self, value: f32, step: f32) {
        let rises = value > self.first * self.part;
        let moved = if rises { self.part * (1.0 + step) } else { self.part / (1.0 + step) };
        self.part = moved.clamp(1.0 / MOST_MOVED, MOST_MOVED);
    }
}

impl Keep for FollowedMedian {
    fn keep(&mut self, ledger: &mut Ledger<'_>) -> Result<(), DetectorError> {
        let moved = 1.0 / MOST_MOVED..=MOST_MOVED;
        ledger.numbers(std::slice::from_mut(&mut self.part), |part| moved.contains(&part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_median_is_followed_and_bounded_whatever_the_outliers() {
        let mut median = FollowedMedian::new(1.0);
        let value =
            |at: usize| if at.is_multiple_of(10) { 1e9 } else { 1.5 + (at % 9) as f32 / 9.0 };
        (0..20_000).for_each(|at| median.push(value(at), 1e-3));
        assert!((1.9..2.2).contains(&median.part()), "{}", median.part());
        (0..20_000).for_each(|_| median.push(0.0, 1e-3));
        assert_eq!(median.part(), 1.0 / MOST_MOVED);
    }

    #[test]
    fn root_mean_square_of_the_last_rows_only() {
        let mut trailing = TrailingRms::new(2, 1);
        let mut push = |value: f32| trailing.push([value].into_iter())[0];
        assert_eq!(push(3.0), 3.0);
        assert_eq!(push(1.0), 5.0_f32.sqrt());
        assert_eq!(push(0.0), 0.5_f32.sqrt());
        assert_eq!(push(0.0), 0.0);
        assert!(push(f32::MAX).is_finite());
    }

    proptest! {
        #[test]
        fn what_a_feature_does_not_show_changes_nothing(
            values in proptest::collection::vec(prop_oneof![Just(0.0_f32), -9.0_f32..9.0], 0..200),
            quiet in 0_usize..40, n_rows in 1_usize..6, split in 0_usize..60,
        ) {
            const WIDTH: usize = 4;
            let mut trailing = TrailingRms::new(n_rows, WIDTH);
            let mut slots = vec![[0.0; WIDTH]; n_rows];
            for (at, row) in values.chunks_exact(WIDTH).enumerate() {
                // One feature is there for a while only.
                let row = [row[0], row[1], if at < quiet { row[2] } else { 0.0 }, 0.0];
                slots[at % n_rows] = row.map(|value| value * value);
                let n = (at + 1).min(n_rows);
                let sum = |of: usize| slots[..n].iter().fold(0.0, |sum, row| sum + row[of]);
                let expected: [f32; WIDTH] = std::array::from_fn(|of| (sum(of) / n as f32).sqrt());
                prop_assert_eq!(trailing.push(row.into_iter()), expected);
                if at == split {
                    let mut ledger = Ledger::Write(Vec::new());
                    trailing.keep(&mut ledger).unwrap();
                    let Ledger::Write(bytes) = ledger else { unreachable!() };
                    trailing = TrailingRms::new(n_rows, WIDTH);
                    trailing.keep(&mut Ledger::Read(&bytes)).unwrap();
                }
            }
        }
    }

    #[test]
    fn a_level_comes_back_faster_than_it_went() {
        let mut level = Level::over(16.0, 1);
        let mut push = |value: f32| level.push([value].into_iter())[0];
        let away: Vec<f32> = (0..16).map(|_| push(4.0)).collect();
        let back: Vec<f32> = (0..16).map(|_| push(0.0)).collect();
        assert!(away[15] > 2.0 && back[15] < 0.3, "{away:?} {back:?}");
    }
}
