//! Cutting the time that is asked for into pieces that Prometheus answers.

use std::ops::Range;

pub(super) const DAY_MILLIS: i64 = 86_400_000;

/// Prometheus refuses more than 11,000 points of a series in one answer (`web/api/v1/api.go`).
const MAX_POINTS: i64 = 10_000;

/// Time between samples that is assumed where they are asked for as they are.
const ASSUMED_INTERVAL_MILLIS: i64 = 5_000;

/// A piece is not cut below this, or one step.
const MIN_MILLIS: i64 = 60_000;

/// The pieces that are left, the next one last.
#[derive(Debug)]
pub(super) struct Spans {
    left: Vec<Range<i64>>,
    /// Milliseconds that pieces begin and end at multiples of.
    grid: i64,
    /// Milliseconds of the longest piece.
    longest: i64,
    min: i64,
}

impl Spans {
    /// From `since` to before `until`, in milliseconds, on multiples of `step` where there is one.
    /// A piece is within one day (UTC), and has at most `max_samples` of `n_series` as far as it can
    /// be told. Without room for a single step there is none.
    pub(super) fn new(
        time: Range<i64>,
        step: Option<i64>,
        n_series: usize,
        max_samples: usize,
    ) -> Self {
        let interval = step.unwrap_or(ASSUMED_INTERVAL_MILLIS).max(1);
        let n_points = (max_samples / n_series.max(1)).clamp(1, MAX_POINTS as usize) as i64;
        let grid = step.unwrap_or(1).max(1);
        let time = on_grid(time.start, grid)..time.end;
        let min = if step.is_some() { grid } else { MIN_MILLIS };
        let longest = interval.saturating_mul(n_points).max(min);
        let left = if time.is_empty() { Vec::new() } else { vec![time] };
        Self { left, grid, longest, min }
    }

    /// Cuts `span` in two, which come next; false when it is too short for that.
    pub(super) fn split(&mut self, span: Range<i64>) -> bool {
        let middle = on_grid(span.start + (span.end - span.start) / 2, self.grid);
        if span.end - span.start < 2 * self.min || middle >= span.end {
            return false;
        }
        self.left.push(middle..span.end);
        self.left.push(span.start..middle);
        true
    }
}

impl Iterator for Spans {
    type Item = Range<i64>;

    fn next(&mut self) -> Option<Range<i64>> {
        let span = self.left.pop()?;
        let midnight = (span.start.div_euclid(DAY_MILLIS) + 1) * DAY_MILLIS;
        let end = on_grid(midnight, self.grid).min(span.start.saturating_add(self.longest));
        if end >= span.end {
            return Some(span);
        }
        self.left.push(end..span.end);
        Some(span.start..end)
    }
}

/// The first multiple of `grid` that is not before `millis`.
fn on_grid(millis: i64, grid: i64) -> i64 {
    let before = millis.div_euclid(grid).saturating_mul(grid);
    if before == millis { millis } else { before.saturating_add(grid) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pieces_end_with_the_day() {
        let spans = Spans::new(DAY_MILLIS - 20_000..DAY_MILLIS + 20_000, Some(15_000), 1, 1000);
        let day = DAY_MILLIS;
        assert_eq!(spans.collect::<Vec<_>>(), [day - 15_000..day, day..day + 20_000]);
        let raw = Spans::new(7..DAY_MILLIS + 1, None, 1, 1_000_000);
        assert_eq!(raw.collect::<Vec<_>>().len(), 3);
    }

    #[test]
    fn a_step_wider_than_the_time_leaves_none() {
        assert_eq!(Spans::new(1..5, Some(10), 1, 1000).count(), 0);
        assert_eq!(Spans::new(5..5, None, 1, 1000).count(), 0);
    }

    proptest! {
        #[test]
        fn pieces_cover_the_time_also_when_split(
            since in 0..2_000_000_000_i64,
            length in 1..300_000_000_i64,
            step in prop::option::of(500..400_000_i64),
            n_series in 0..5000_usize,
            splits in prop::collection::vec(any::<bool>(), 0..20),
        ) {
            let mut spans = Spans::new(since..since + length, step, n_series, 1_000_000);
            let mut at = on_grid(since, step.unwrap_or(1));
            let mut splits = splits.into_iter();
            while let Some(span) = spans.next() {
                if splits.next().unwrap_or(false) && spans.split(span.clone()) {
                    continue;
                }
                prop_assert_eq!(span.start, at);
                prop_assert!(span.start < span.end);
                prop_assert!((span.end - span.start) / step.unwrap_or(5000) <= MAX_POINTS);
                at = span.end;
            }
            prop_assert_eq!(at, (since + length).max(at));
            prop_assert!(at >= since + length);
        }
    }
}
