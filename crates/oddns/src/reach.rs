//! Where the levels of each feature have been in normal operation, and how far outside they are.
//!
//! A feature that wanders by itself, such as the rate of queries over a day, is no news wherever it
//! is within its reach. Outside of it, it is.

use oddns_detect::quantile;

use crate::normal::{Normal, Sampled};
use crate::trailing::Level;

/// Rows over which a level is averaged while it moves away.
pub(crate) const AWAY_ROWS: f32 = 8.0;
/// All but this share of the levels, at either end, lie within reach.
const TAIL: f64 = 0.005;
/// Smallest half of a reach, in standard deviations.
const REACH_FLOOR: f32 = 0.1;
/// Further out than so many halves of its reach a feature says nothing more.
pub(crate) const MOST_OUTSIDE: f32 = 10.0;

/// The level of each feature that is held against its reach.
pub(crate) fn level(width: usize) -> Level {
    Level::over(AWAY_ROWS, width)
}

/// What levels see of a standardised row: nothing of what is missing, which others tell.
pub(crate) fn seen(values: &[f32]) -> impl Iterator<Item = f32> {
    values.iter().map(|value| if value.is_nan() { 0.0 } else { *value })
}

/// Where levels have been: one value a feature, on the standardised scale.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reach {
    pub(crate) middle: Vec<f32>,
    /// From the middle to either end, above zero.
    pub(crate) half: Vec<f32>,
}

impl Reach {
    /// Of the rows with a full past that are `wanted` of each stretch. No half of a reach is below
    /// `least`.
    pub(crate) fn of(
        normal: &Normal<'_>,
        least: &[f32],
        wanted: impl Fn(usize, usize) -> bool,
    ) -> Self {
        let mut sampled = Sampled::new(normal.width(), normal.n_full_rows());
        let mut values = vec![0.0; normal.width()];
        for (at, stretch) in normal.stretches.iter().enumerate() {
            let mut level = level(normal.width());
            for row in 0..stretch.len() {
                stretch.standardised(row, &mut values);
                let levels = level.push(seen(&values));
                if row >= normal.from && wanted(at, row) {
                    sampled.take(levels.iter().copied());
                }
            }
        }
        let ends = sampled.features().iter().map(|levels| {
            let end = |q| Some(quantile(levels, q)).filter(|end| end.is_finite()).unwrap_or(0.0);
            (end(TAIL), end(1.0 - TAIL))
        });
        let half = |((low, high), least): ((f32, f32), &f32)| {
            ((high - low) / 2.0).max(REACH_FLOOR).max(2.0 * least)
        };
        Self {
            middle: ends.clone().map(|(low, high)| f32::midpoint(low, high)).collect(),
            half: ends.zip(least).map(half).collect(),
        }
    }

    /// Writes how far each level lies outside, in halves of the reach; 0 within.
    pub(crate) fn outside(&self, levels: &[f32], into: &mut Vec<f32>) {
        into.clear();
        let reaches = self.middle.iter().zip(&self.half);
        into.extend(levels.iter().zip(reaches).map(|(level, (middle, half))| {
            ((level - middle).abs() / half - 1.0).clamp(0.0, MOST_OUTSIDE)
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outside_is_told_in_halves_of_the_reach_and_bounded() {
        let reach = Reach { middle: vec![1.0; 4], half: vec![0.5; 4] };
        let mut found = vec![];
        reach.outside(&[1.2, 2.0, -1.0, 1e9], &mut found);
        assert_eq!(found, [0.0, 1.0, 3.0, MOST_OUTSIDE]);
    }
}
