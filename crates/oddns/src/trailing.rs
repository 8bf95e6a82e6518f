//! What the last rows of a stream were like, feature by feature.

use crate::detector::DetectorError;
use crate::ledger::{Keep, Ledger, damaged};

/// A squared value counts at most this much: a single row is not a whole window.
const LARGEST_SQUARE: f32 = 1e4;

/// Root mean square of each feature over the last rows.
#[derive(Debug, Clone, Default)]
pub(crate) struct TrailingRms {
    n_rows: usize,
    /// The last squares, as many rows as have been seen and at most `n_rows`; row-major.
    squares: Vec<f32>,
    /// Row that is written next.
    next: usize,
    rms: Vec<f32>,
}

impl TrailingRms {
    /// Over `n_rows` rows of `width` features.
    pub(crate) fn new(n_rows: usize, width: usize) -> Self {
        let squares = Vec::with_capacity(n_rows * width);
        Self { n_rows, squares, next: 0, rms: vec![0.0; width] }
    }

    /// Takes a row in, and gives the root mean squares up to and with it.
    pub(crate) fn push(&mut self, row: impl Iterator<Item = f32>) -> &[f32] {
        let width = self.rms.len();
        let squares = row.take(width).map(|value| (value * value).min(LARGEST_SQUARE));
        if self.squares.len() < self.n_rows * width {
            self.squares.extend(squares);
        } else {
            let oldest = &mut self.squares[self.next * width..(self.next + 1) * width];
            oldest.iter_mut().zip(squares).for_each(|(old, new)| *old = new);
        }
        self.next = (self.next + 1) % self.n_rows;
        // Summed anew: a running sum would gather rounding errors for as long as a server runs.
        self.rms.fill(0.0);
        for row in self.squares.chunks_exact(width.max(1)) {
            self.rms.iter_mut().zip(row).for_each(|(sum, square)| *sum += square);
        }
        let n = (self.squares.len() / width.max(1)).max(1) as f32;
        self.rms.iter_mut().for_each(|sum| *sum = (*sum / n).sqrt());
        &self.rms
    }
}

impl Keep for TrailingRms {
    fn keep(&mut self, ledger: &mut Ledger<'_>) -> Result<(), DetectorError> {
        let most = self.n_rows * self.rms.len();
        let is_square = |square: f32| (0.0..=LARGEST_SQUARE).contains(&square);
        ledger.list(&mut self.squares, most, is_square)?;
        ledger.count(&mut self.next, self.n_rows.saturating_sub(1))?;
        // Rows that are not whole, or a place that nothing leads to.
        let n = self.squares.len() / self.rms.len().max(1);
        let whole = n * self.rms.len() == self.squares.len();
        let follows = n == self.n_rows || self.next == n;
        if whole && follows { Ok(()) } else { Err(damaged("its last rows are not whole")) }
    }
}

/// Rows over which a level is averaged while it moves away from normal, …
const AWAY_ROWS: f32 = 16.0;
/// … and on its way back, so that the memory of trouble does not outlast it.
const BACK_ROWS: f32 = 4.0;

/// Exponentially weighted mean of each feature's deviation (Roberts 1959): what single rows of
/// normal operation do, but never many in a row.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Level(Vec<f32>);

impl Level {
    pub(crate) fn new(width: usize) -> Self {
        Self(vec![0.0; width])
    }

    /// Takes a row of deviations in, and gives the levels up to and with it.
    pub(crate) fn push(&mut self, deviation: &[f32]) -> &[f32] {
        for (mean, value) in self.0.iter_mut().zip(deviation) {
            let returns = value.abs() < mean.abs() || value * *mean < 0.0;
            let rows = if returns { BACK_ROWS } else { AWAY_ROWS };
            *mean += (value - *mean) / rows;
        }
        &self.0
    }
}

impl Keep for Level {
    fn keep(&mut self, ledger: &mut Ledger<'_>) -> Result<(), DetectorError> {
        ledger.numbers(&mut self.0, f32::is_finite)
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

    #[test]
    fn a_level_comes_back_faster_than_it_went() {
        let mut level = Level::new(1);
        let away: Vec<f32> = (0..16).map(|_| level.push(&[4.0])[0]).collect();
        let back: Vec<f32> = (0..16).map(|_| level.push(&[0.0])[0]).collect();
        assert!(away[15] > 2.0 && back[15] < 0.3, "{away:?} {back:?}");
    }
}
