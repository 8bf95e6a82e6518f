//! The scored points of one instance, in order of time.

use std::collections::BTreeMap;

use oddns_core::Timestamp;

use crate::{EvalError, ScoredPoint};

/// Points of one instance, each instant once, never empty.
pub(crate) struct Timeline<'a> {
    pub(crate) instance: &'a str,
    pub(crate) points: Vec<ScoredPoint<'a>>,
    /// Seconds that one point stands for: the median distance; 0 with a single point.
    pub(crate) step_seconds: f64,
}

/// A gap of more than so many steps ends a run of alarms: nobody knows what was in between.
const RUN_GAP_STEPS: f64 = 10.0;

/// Sorts points by instance and time.
pub(crate) fn timelines<'a>(points: &[ScoredPoint<'a>]) -> Result<Vec<Timeline<'a>>, EvalError> {
    let mut by_instance: BTreeMap<&str, Vec<ScoredPoint<'a>>> = BTreeMap::new();
    for point in points {
        if point.score.is_nan() {
            return Err(EvalError::Nan { instance: point.instance.to_owned(), time: point.time });
        }
        by_instance.entry(point.instance).or_default().push(*point);
    }
    by_instance.into_iter().map(|(instance, points)| Timeline::new(instance, points)).collect()
}

impl<'a> Timeline<'a> {
    fn new(instance: &'a str, mut points: Vec<ScoredPoint<'a>>) -> Result<Self, EvalError> {
        points.sort_by_key(|point| point.time);
        if let Some(pair) = points.windows(2).find(|pair| pair[0].time == pair[1].time) {
            let (instance, time) = (instance.to_owned(), pair[0].time);
            return Err(EvalError::Duplicate { instance, time });
        }
        let step_seconds = median_step(&points);
        Ok(Self { instance, points, step_seconds })
    }

    pub(crate) fn first(&self) -> Timestamp {
        self.points.first().map_or_else(Timestamp::default, |point| point.time)
    }

    pub(crate) fn last(&self) -> Timestamp {
        self.points.last().map_or_else(Timestamp::default, |point| point.time)
    }

    /// The first points of runs of alarms.
    pub(crate) fn alarm_starts(&self) -> impl Iterator<Item = &ScoredPoint<'a>> {
        let gap = self.step_seconds * RUN_GAP_STEPS;
        self.points.iter().enumerate().filter_map(move |(at, point)| {
            let goes_on = at
                .checked_sub(1)
                .map(|before| &self.points[before])
                .is_some_and(|before| before.alarm && point.time.seconds_since(before.time) <= gap);
            (point.alarm && !goes_on).then_some(point)
        })
    }
}

fn median_step(points: &[ScoredPoint<'_>]) -> f64 {
    let mut steps: Vec<f64> =
        points.windows(2).map(|pair| pair[1].time.seconds_since(pair[0].time)).collect();
    steps.sort_by(f64::total_cmp);
    steps.get(steps.len() / 2).copied().unwrap_or(0.0)
}
