//! Everything that can be said about scores when the truth is known.

use oddns_core::Timestamp;

use crate::best_event::Trials;
use crate::event::{alarm_metrics, event_metrics, outcomes};
use crate::point::{average_precision, best_f1};
use crate::timeline::{Timeline, timelines};
use crate::{AlarmMetrics, AlarmRule, EventMetrics, EventOutcome, Interval, PointMetrics, vus_pr};

/// The verdict on one instant of one instance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoredPoint<'a> {
    /// The instant.
    pub time: Timestamp,
    /// Which server; empty when there is only one and it has no name.
    pub instance: &'a str,
    /// Higher is more anomalous; not NaN.
    pub score: f64,
    /// Whether the alarm held.
    pub alarm: bool,
}

/// How to judge.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EvalConfig {
    /// Seconds after an interval in which an alarm still counts for it, and around it in which none
    /// counts as false: effects lag behind their cause and trail after its end. Default 15.
    pub grace_seconds: f64,
    /// Longest buffer of [`vus_pr`] in points. Default 100, as in TSB-AD.
    pub vus_window: usize,
    /// How scores become alarms in [`EventMetrics::best_with_hysteresis`].
    pub alarm: AlarmRule,
}

impl Default for EvalConfig {
    fn default() -> Self {
        Self { grace_seconds: 15.0, vus_window: 100, alarm: AlarmRule::default() }
    }
}

impl EvalConfig {
    pub(crate) fn grace_millis(&self) -> i64 {
        (self.grace_seconds.max(0.0) * 1000.0).round() as i64
    }
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum EvalError {
    /// There is no score at all.
    #[error("there are no scores to evaluate")]
    NoPoints,
    /// A score is NaN.
    #[error("the score of `{instance}` at {time} is no number")]
    Nan {
        /// Whose score.
        instance: String,
        /// When.
        time: Timestamp,
    },
    /// Two scores for one instant.
    #[error("`{instance}` has two scores at {time}: evaluate one model at a time")]
    Duplicate {
        /// Whose scores.
        instance: String,
        /// When.
        time: Timestamp,
    },
    /// An interval that ends before it starts.
    #[error("the interval `{kind}` ends before it starts at {start}")]
    Backwards {
        /// Its kind.
        kind: String,
        /// Its start.
        start: Timestamp,
    },
}

/// How good a detector is on labelled data.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Point by point, whatever the alarm line.
    pub points: PointMetrics,
    /// The anomalous intervals taken together.
    pub events: EventMetrics,
    /// Alarms when nothing was wrong.
    pub alarms: AlarmMetrics,
    /// Each anomalous interval, in the order given.
    pub outcomes: Vec<EventOutcome>,
}

impl Report {
    /// Judges `points`, in any order, against `intervals`. Without intervals only the alarms can be
    /// judged: all of them are false.
    pub fn compute(
        points: &[ScoredPoint<'_>],
        intervals: &[Interval],
        config: &EvalConfig,
    ) -> Result<Self, EvalError> {
        if points.is_empty() {
            return Err(EvalError::NoPoints);
        }
        if let Some(interval) = intervals.iter().find(|interval| interval.end < interval.start) {
            let (kind, start) = (interval.kind.clone(), interval.start);
            return Err(EvalError::Backwards { kind, start });
        }
        let timelines = timelines(points)?;
        let outcomes = outcomes(config, &timelines, intervals);
        let alarms = alarm_metrics(config, &timelines, intervals);
        let trials = Trials::new(config, &timelines, intervals);
        let mut events = event_metrics(&outcomes, &alarms);
        events.best = trials.best(AlarmRule::PLAIN);
        events.best_with_hysteresis = trials.best(config.alarm);
        Ok(Self { points: point_metrics(config, &timelines, intervals), events, alarms, outcomes })
    }
}

fn point_metrics(
    config: &EvalConfig,
    timelines: &[Timeline<'_>],
    intervals: &[Interval],
) -> PointMetrics {
    let series: Vec<(Vec<f64>, Vec<bool>)> =
        timelines.iter().map(|timeline| labelled(timeline, intervals)).collect();
    let slices: Vec<(&[f64], &[bool])> =
        series.iter().map(|(scores, labels)| (scores.as_slice(), labels.as_slice())).collect();
    let scores: Vec<f64> = series.iter().flat_map(|(scores, _)| scores.iter().copied()).collect();
    let labels: Vec<bool> = series.iter().flat_map(|(_, labels)| labels.iter().copied()).collect();
    PointMetrics {
        n_points: scores.len(),
        n_anomalous: labels.iter().filter(|label| **label).count(),
        auc_pr: average_precision(&scores, &labels),
        best_f1: best_f1(&scores, &labels),
        vus_pr: vus_pr(&slices, config.vus_window),
    }
}

/// Scores of one instance, and whether each point lies in an anomalous interval, without grace.
fn labelled(timeline: &Timeline<'_>, intervals: &[Interval]) -> (Vec<f64>, Vec<bool>) {
    let own: Vec<&Interval> = intervals
        .iter()
        .filter(|interval| interval.anomalous && interval.applies_to(timeline.instance))
        .collect();
    let label = |time| own.iter().any(|interval| interval.holds(time, 0, 0));
    timeline.points.iter().map(|point| (point.score, label(point.time))).unzip()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    /// One point a second from 0 to 99; the alarm holds, with score 2, in `alarms`.
    fn points<'a>(instance: &'a str, alarms: &[i64]) -> Vec<ScoredPoint<'a>> {
        let point = |t: i64| {
            let alarm = alarms.contains(&t);
            ScoredPoint { time: at(t), instance, score: if alarm { 2.0 } else { 0.5 }, alarm }
        };
        (0..100).map(point).collect()
    }

    fn interval(start: i64, end: i64, instance: Option<&str>, anomalous: bool) -> Interval {
        let instance = instance.map(str::to_owned);
        Interval { kind: "k".into(), start: at(start), end: at(end), instance, anomalous }
    }

    fn compute(points: &[ScoredPoint<'_>], intervals: &[Interval]) -> Report {
        let config = EvalConfig { grace_seconds: 5.0, vus_window: 4, ..EvalConfig::default() };
        Report::compute(points, intervals, &config).unwrap()
    }

    #[test]
    fn events_are_caught_in_time_or_with_grace() {
        let intervals = [
            interval(10, 20, None, true),
            interval(40, 45, None, true),
            interval(70, 75, None, true),
        ];
        let report = compute(&points("a", &[13, 14, 50, 81]), &intervals);
        let delays: Vec<_> = report.outcomes.iter().map(|o| o.delay_seconds).collect();
        assert_eq!(delays, [Some(3.0), Some(10.0), None]);
        assert_eq!(report.outcomes[2].peak_score, Some(0.5));
        assert_eq!((report.events.n_observed, report.events.n_caught), (3, 2));
        assert_eq!(report.events.median_delay_seconds, Some(6.5));
        assert_eq!(report.alarms.n_false, 1);
        assert_eq!(report.events.precision, Some(2.0 / 3.0));
        assert_eq!(report.events.f1, Some(2.0 / 3.0));
    }

    #[test]
    fn false_alarms_are_runs_that_begin_in_quiet_time() {
        let intervals = [interval(30, 40, None, true), interval(60, 65, None, false)];
        // Two runs in quiet time, one that trails after an event, one in a benign change.
        let mut alarms = vec![3, 4, 5, 90, 62];
        alarms.extend(38..50);
        let report = compute(&points("a", &alarms), &intervals);
        assert_eq!((report.alarms.n_false, report.alarms.n_benign), (2, 1));
        assert_eq!(report.alarms.benign_alarmed_share, Some(1.0));
        // 100 points less 25..=45 and 55..=70.
        assert_eq!(report.alarms.quiet_seconds, 63.0);
        assert_eq!(report.alarms.false_per_week, Some(2.0 * 604_800.0 / 63.0));
        assert_eq!(report.alarms.quiet_alarmed_share, Some(8.0 / 63.0));
        assert_eq!(report.events.precision, Some(0.25));
    }

    #[test]
    fn an_interval_of_all_instances_is_one_event() {
        let mut both = points("a", &[]);
        both.extend(points("b", &[12]));
        let report = compute(&both, &[interval(10, 20, None, true)]);
        assert_eq!((report.events.n_observed, report.events.recall), (1, Some(1.0)));
        assert_eq!(report.points.n_anomalous, 22);
        let report = compute(&both, &[interval(10, 20, Some("a"), true)]);
        assert_eq!((report.events.recall, report.alarms.n_false), (Some(0.0), 1));
        assert_eq!(report.points.n_anomalous, 11);
    }

    #[test]
    fn intervals_outside_the_scored_time_do_not_count() {
        let intervals = [interval(500, 600, None, true), interval(5, 6, Some("other"), true)];
        let report = compute(&points("a", &[]), &intervals);
        assert_eq!(report.events, EventMetrics::default());
        assert!(report.outcomes.iter().all(|outcome| !outcome.observed));
    }

    #[test]
    fn a_gap_ends_a_run() {
        let mut points = points("a", &[10, 11, 90, 91]);
        points.retain(|point| point.time <= at(11) || point.time >= at(90));
        assert_eq!(compute(&points, &[]).alarms.n_false, 2);
    }

    #[test]
    fn without_labels_every_alarm_is_false() {
        let report = compute(&points("a", &[1, 5]), &[]);
        assert_eq!((report.alarms.n_false, report.events.precision), (2, Some(0.0)));
        assert_eq!(
            (report.points.auc_pr, report.points.vus_pr, report.events.f1),
            (None, None, None)
        );
    }

    #[test]
    fn one_point_is_enough() {
        let report = compute(&points("a", &[0])[..1], &[interval(0, 0, None, true)]);
        assert_eq!((report.events.recall, report.alarms.false_per_week), (Some(1.0), None));
        assert_eq!(report.points.auc_pr, Some(1.0));
    }

    #[test]
    fn order_of_points_does_not_matter() {
        let intervals = [interval(10, 20, None, true)];
        let forward = points("a", &[12, 60]);
        let backward: Vec<_> = forward.iter().rev().copied().collect();
        assert_eq!(compute(&forward, &intervals), compute(&backward, &intervals));
    }

    #[test]
    fn what_cannot_be_judged_is_an_error() {
        let config = EvalConfig::default();
        let compute = |points: &[ScoredPoint<'_>], intervals: &[Interval]| {
            Report::compute(points, intervals, &config).unwrap_err().to_string()
        };
        assert!(compute(&[], &[]).contains("no scores"));
        let mut bad = points("a", &[]);
        bad[7].score = f64::NAN;
        assert!(compute(&bad, &[]).contains("`a` at 1970-01-01T00:00:07.000Z is no number"));
        let twice = [points("a", &[]), points("a", &[])].concat();
        assert!(compute(&twice, &[]).contains("two scores"));
        let backwards = compute(&points("a", &[]), &[interval(5, 4, None, true)]);
        assert!(backwards.contains("ends before it starts"));
    }
}
