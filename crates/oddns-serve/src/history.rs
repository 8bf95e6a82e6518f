//! What is remembered of one server: a bounded ring of its latest steps.

use std::collections::VecDeque;
use std::ops::Range;

use oddns_core::{Contribution, Timestamp};

use oddns::Step;

/// Steps that tell how often there is one.
const INTERVAL_STEPS: usize = 10;

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

/// How much is remembered of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Steps with their scores.
    pub(crate) steps: usize,
    /// Of them the latest ones with readings, which take a hundred times as much.
    pub(crate) rows: usize,
}

/// The latest steps of one server, oldest first.
#[derive(Debug, Clone)]
pub(crate) struct History {
    limits: Limits,
    width: usize,
    steps: VecDeque<Past>,
    /// Observed and expected of `width` features a step, of the latest steps.
    readings: VecDeque<[f32; 2]>,
    /// Feature and share of each contribution, of the steps with readings.
    shares: VecDeque<Box<[(u16, f32)]>>,
}

impl History {
    /// Nothing remembered yet of a server with `width` features.
    pub(crate) fn new(limits: Limits, width: usize) -> Self {
        let (steps, readings, shares) = Default::default();
        Self { limits, width, steps, readings, shares }
    }

    /// Remembers more, or less, from now on. What is too old for that is forgotten.
    pub(crate) fn set_limits(&mut self, limits: Limits) {
        let shrinks = limits.steps < self.limits.steps || limits.rows < self.limits.rows;
        self.limits = limits;
        if shrinks {
            self.make_room(0);
            self.steps.shrink_to_fit();
            self.readings.shrink_to_fit();
            self.shares.shrink_to_fit();
        }
    }

    /// Remembers a step and forgets the oldest when full. A step that is not later than the last
    /// one (the clock went back) is not remembered: charts need rising times.
    pub(crate) fn push(&mut self, step: &Step) {
        if self.limits.steps == 0 || self.steps.back().is_some_and(|last| step.time <= last.time) {
            return;
        }
        self.make_room(1);
        let score = step.score.as_ref();
        reserve(&mut self.steps, 1, self.limits.steps);
        self.steps.push_back(Past {
            time: step.time,
            score: score.map_or(f32::NAN, |s| s.score),
            alarm: score.is_some_and(|s| s.alarm),
        });
        if self.limits.rows > 0 {
            self.remember_readings(step);
        }
    }

    /// Forgets the oldest, until so many steps more can be remembered.
    fn make_room(&mut self, n: usize) {
        while !self.steps.is_empty() && self.steps.len() + n > self.limits.steps {
            self.steps.pop_front();
        }
        while !self.shares.is_empty() && self.shares.len() + n > self.limits.rows {
            self.shares.pop_front();
            self.readings.drain(..self.width);
        }
    }

    fn remember_readings(&mut self, step: &Step) {
        reserve(&mut self.readings, self.width, self.limits.rows * self.width);
        for feature in 0..self.width {
            let observed = step.row.get(feature).copied().unwrap_or(f32::NAN);
            let expected = step.expected.get(feature).copied().unwrap_or(f32::NAN);
            self.readings.push_back([observed, expected]);
        }
        let contributions = step.score.iter().flat_map(|score| &score.contributions);
        let shares = contributions.filter(|contribution| contribution.feature < self.width);
        let share = |c: &Contribution| (u16::try_from(c.feature).unwrap_or(u16::MAX), c.share);
        self.shares.push_back(shares.map(share).collect());
    }

    /// Mean seconds between the latest steps; `None` with less than two.
    pub(crate) fn interval_seconds(&self) -> Option<f64> {
        let n = self.steps.len().min(INTERVAL_STEPS);
        let first = self.steps.get(self.steps.len() - n).filter(|_| n >= 2)?;
        Some(self.steps.back()?.time.seconds_since(first.time) / (n - 1) as f64)
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
        let older = self.steps.len() - self.shares.len();
        let (Some(row), true) = (at.checked_sub(older), feature < self.width) else {
            return UNKNOWN;
        };
        let Some([observed, expected]) = self.readings.get(row * self.width + feature) else {
            return UNKNOWN;
        };
        let shares = self.shares.get(row).into_iter().flatten();
        let share = shares.filter(|(of, _)| usize::from(*of) == feature).map(|(_, share)| *share);
        Reading { observed: *observed, expected: *expected, share: share.sum() }
    }

    /// The shares of a step, by feature; nothing where they are not remembered.
    pub(crate) fn shares(&self, at: usize) -> &[(u16, f32)] {
        let older = self.steps.len() - self.shares.len();
        let row = at.checked_sub(older).and_then(|row| self.shares.get(row));
        row.map_or(&[], |shares| shares)
    }

    /// The latest steps of which readings are remembered.
    pub(crate) fn with_readings(&self) -> Range<usize> {
        self.steps.len() - self.shares.len()..self.steps.len()
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

/// Makes room for `n` more by a half at most, and never for more than `limit`: what is remembered of
/// thousands of servers must not be half empty.
fn reserve<T>(deque: &mut VecDeque<T>, n: usize, limit: usize) {
    if deque.len() + n > deque.capacity() {
        let more = (deque.len() / 2).max(n).max(64).min(limit.saturating_sub(deque.len()));
        deque.reserve_exact(more.max(n));
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
    use oddns_core::Score;
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
        let mut history = History::new(Limits { steps: limit, rows: limit }, 2);
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
    fn readings_are_remembered_of_the_latest_steps_only() {
        let mut history = History::new(Limits { steps: 9, rows: 2 }, 2);
        (0..5).for_each(|at| history.push(&step(at, 0.5)));
        assert_eq!((history.len(), history.with_readings()), (5, 3..5));
        assert!(history.reading(2, 1).expected.is_nan());
        assert_eq!((history.reading(3, 0).observed, history.reading(4, 1).share), (3.0, 0.5));
        assert_eq!((history.shares(4), history.shares(0)), (&[(1, 0.5)][..], &[][..]));
        history.set_limits(Limits { steps: 3, rows: 1 });
        assert_eq!((history.len(), history.with_readings()), (3, 2..3));
        assert_eq!(history.reading(2, 0).observed, 4.0);
    }

    #[test]
    fn a_step_back_in_time_is_not_drawn() {
        let mut history = history(10, &[0.1, 0.2]);
        history.push(&step(0, 9.0));
        assert_eq!(history.len(), 2);
    }

    #[test]
    fn a_short_row_is_missing_not_a_panic() {
        let mut history = History::new(Limits { steps: 4, rows: 4 }, 2);
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
