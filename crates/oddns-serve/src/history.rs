//! What is remembered of one server: a bounded ring of its latest steps.

use std::collections::VecDeque;
use std::ops::Range;

use oddns_core::Timestamp;

use oddns::Step;

/// One remembered instant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Past {
    /// The instant; later than that of the step before.
    pub time: Timestamp,
    /// 1 is the alarm line; NaN while nothing was scored.
    pub score: f32,
    /// Whether the alarm held.
    pub alarm: bool,
}

/// One feature at one instant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Reading {
    /// What was seen, in the feature's unit; NaN when missing.
    pub observed: f32,
    /// What is usual; NaN without a score.
    pub expected: f32,
    /// Part of the whole deviation, 0 to 1; 0 when the model did not say.
    pub share: f32,
}

/// A reading of which nothing is known.
pub(crate) const UNKNOWN: Reading = Reading { observed: f32::NAN, expected: f32::NAN, share: 0.0 };

/// The latest steps of one server, oldest first.
#[derive(Debug, Clone)]
pub(crate) struct History {
    limit: usize,
    width: usize,
    steps: VecDeque<Past>,
    /// `width` readings a step.
    readings: VecDeque<Reading>,
}

impl History {
    /// Nothing remembered yet; holds at most `limit` steps of `width` features.
    pub(crate) fn new(limit: usize, width: usize) -> Self {
        Self { limit, width, steps: VecDeque::new(), readings: VecDeque::new() }
    }

    /// Remembers a step and forgets the oldest when full. A step that is not later than the last
    /// one (the clock went back) is not remembered: charts need rising times.
    pub(crate) fn push(&mut self, step: &Step) {
        if self.limit == 0 || self.steps.back().is_some_and(|last| step.time <= last.time) {
            return;
        }
        if self.steps.len() == self.limit {
            self.steps.pop_front();
            self.readings.drain(..self.width);
        }
        let score = step.score.as_ref();
        self.steps.push_back(Past {
            time: step.time,
            score: score.map_or(f32::NAN, |s| s.score),
            alarm: score.is_some_and(|s| s.alarm),
        });
        self.remember_readings(step);
    }

    fn remember_readings(&mut self, step: &Step) {
        let from = self.readings.len();
        for feature in 0..self.width {
            let observed = step.row.get(feature).copied().unwrap_or(f32::NAN);
            let expected = step.expected.get(feature).copied().unwrap_or(f32::NAN);
            self.readings.push_back(Reading { observed, expected, ..UNKNOWN });
        }
        let score = step.score.as_ref();
        for contribution in score.into_iter().flat_map(|s| &s.contributions) {
            if contribution.feature < self.width {
                let reading = &mut self.readings[from + contribution.feature];
                reading.share = contribution.share;
            }
        }
    }

    /// How many steps are remembered.
    pub(crate) fn len(&self) -> usize {
        self.steps.len()
    }

    /// True before the first step.
    pub(crate) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The latest step.
    pub(crate) fn last(&self) -> Option<&Past> {
        self.steps.back()
    }

    /// Step `at`, from the oldest. Panics when `at` is not below [`History::len`].
    pub(crate) fn step(&self, at: usize) -> &Past {
        &self.steps[at]
    }

    /// Feature `feature` at step `at`; all unknown outside the remembered.
    pub(crate) fn reading(&self, at: usize, feature: usize) -> Reading {
        if feature >= self.width {
            return UNKNOWN;
        }
        self.readings.get(at * self.width + feature).copied().unwrap_or(UNKNOWN)
    }

    /// The steps from `since` to `until`, both inclusive.
    pub(crate) fn between(
        &self,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Range<usize> {
        let from = since.map_or(0, |t| self.steps.partition_point(|step| step.time < t));
        let to = until.map_or(self.len(), |t| self.steps.partition_point(|step| step.time <= t));
        from..to.max(from)
    }

    /// The step with the highest score in `range`; `None` when none was scored.
    pub(crate) fn peak(&self, range: Range<usize>) -> Option<usize> {
        range
            .filter(|at| !self.steps[*at].score.is_nan())
            .max_by(|a, b| self.steps[*a].score.total_cmp(&self.steps[*b].score))
    }

    /// The latest scored step in `range`.
    pub(crate) fn last_scored(&self, range: Range<usize>) -> Option<usize> {
        range.rev().find(|at| !self.steps[*at].score.is_nan())
    }

    /// First and last instant of each stretch with alarm in `range`, the latest `limit` of them.
    pub(crate) fn alarms(&self, range: Range<usize>, limit: usize) -> Vec<(Timestamp, Timestamp)> {
        let mut stretches: Vec<(Timestamp, Timestamp)> = Vec::new();
        let mut open = false;
        for step in self.steps.range(range) {
            match stretches.last_mut() {
                Some(stretch) if open && step.alarm => stretch.1 = step.time,
                _ if step.alarm => stretches.push((step.time, step.time)),
                _ => {}
            }
            open = step.alarm;
        }
        stretches.split_off(stretches.len().saturating_sub(limit))
    }
}

/// Cuts `range` into at most `points` parts of like size and takes from each the step with the
/// greatest `weight`; a NaN weight counts least. Extremes thus survive, whatever is drawn.
pub(crate) fn downsample(
    range: Range<usize>,
    points: usize,
    weight: impl Fn(usize) -> f32,
) -> Vec<usize> {
    let n_steps = range.len();
    if n_steps <= points {
        return range.collect();
    }
    let heavier = |a: f32, b: f32| a > b || (b.is_nan() && !a.is_nan());
    (0..points)
        .map(|part| {
            let from = range.start + part * n_steps / points;
            let to = range.start + (part + 1) * n_steps / points;
            (from..to).fold(
                from,
                |best, at| {
                    if heavier(weight(at), weight(best)) { at } else { best }
                },
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use oddns::State;
    use oddns_core::{Contribution, Score};
    use proptest::prelude::*;

    fn step(seconds: i64, score: f32) -> Step {
        let time = Timestamp::from_millis(seconds * 1000);
        let contribution =
            Contribution { feature: 1, share: 0.5, observed: 2.0, expected: 1.0, deviation: 3.0 };
        Step {
            time,
            row: vec![seconds as f32, 2.0],
            expected: vec![0.0, 1.0],
            state: State::Scoring,
            score: (!score.is_nan()).then(|| Score {
                time,
                score,
                alarm: score > 1.0,
                contributions: vec![contribution],
            }),
            incident: None,
        }
    }

    fn history(limit: usize, scores: &[f32]) -> History {
        let mut history = History::new(limit, 2);
        for (at, score) in scores.iter().enumerate() {
            history.push(&step(at as i64, *score));
        }
        history
    }

    #[test]
    fn forgets_the_oldest_and_never_grows() {
        let history = history(3, &[0.0; 100]);
        assert_eq!((history.len(), history.readings.len()), (3, 6));
        assert_eq!(history.reading(0, 0).observed, 97.0);
        assert_eq!(history.reading(2, 1).expected, 1.0);
        assert!(history.reading(2, 7).observed.is_nan());
    }

    #[test]
    fn a_step_back_in_time_is_not_drawn() {
        let mut history = history(10, &[0.1, 0.2]);
        history.push(&step(0, 9.0));
        assert_eq!(history.len(), 2);
    }

    #[test]
    fn a_short_row_is_missing_not_a_panic() {
        let mut history = History::new(4, 2);
        history.push(&Step { row: vec![], ..step(1, 0.3) });
        assert!(history.reading(0, 0).observed.is_nan());
    }

    #[test]
    fn finds_alarm_stretches_and_the_peak() {
        let history = history(20, &[0.5, 2.0, 3.0, 0.1, f32::NAN, 1.5, 0.2]);
        let seconds = |t: Timestamp| t.millis() / 1000;
        let alarms: Vec<_> =
            history.alarms(0..7, 10).iter().map(|(a, b)| (seconds(*a), seconds(*b))).collect();
        assert_eq!(alarms, [(1, 2), (5, 5)]);
        assert_eq!(history.alarms(0..7, 1).len(), 1);
        assert_eq!(history.peak(0..7), Some(2));
        assert_eq!(history.peak(4..5), None);
        assert_eq!(history.last_scored(0..5), Some(3));
    }

    proptest! {
        #[test]
        fn downsampling_keeps_the_maximum(
            scores in proptest::collection::vec(0.0_f32..100.0, 1..200), points in 1_usize..50,
        ) {
            let picked = downsample(0..scores.len(), points, |at| scores[at]);
            prop_assert!(picked.len() <= points.max(1));
            prop_assert!(picked.windows(2).all(|pair| pair[0] < pair[1]));
            let all = scores.iter().copied().fold(0.0, f32::max);
            let kept = picked.iter().map(|at| scores[*at]).fold(0.0, f32::max);
            prop_assert_eq!(all, kept);
        }
    }
}
