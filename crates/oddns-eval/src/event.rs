//! Measures that look at what an operator sees: incidents caught, and alarms for nothing.

use oddns_core::Timestamp;

use crate::timeline::Timeline;
use crate::{BestEventF1, EvalConfig, Interval};

const SECONDS_PER_WEEK: f64 = 604_800.0;

/// What became of one anomalous interval.
#[derive(Debug, Clone, PartialEq)]
pub struct EventOutcome {
    /// The interval.
    pub interval: Interval,
    /// False when no scored time of its instances reaches into it: such an interval counts
    /// neither as caught nor as missed.
    pub observed: bool,
    /// Seconds from its start to the first alarm within it or the grace after it; `None` when
    /// it was missed.
    pub delay_seconds: Option<f64>,
    /// Highest score within it or the grace after it; `None` without points.
    pub peak_score: Option<f64>,
}

impl EventOutcome {
    /// Whether an alarm held within the interval or the grace after it.
    pub fn caught(&self) -> bool {
        self.delay_seconds.is_some()
    }
}

/// How many of the anomalous intervals were found, each counted once however many instances it
/// is about.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct EventMetrics {
    /// Anomalous intervals within the scored time.
    pub n_observed: usize,
    /// Those of them that were caught.
    pub n_caught: usize,
    /// Caught of observed, 0 to 1; `None` without observed intervals.
    pub recall: Option<f64>,
    /// Caught of caught plus false and benign alarms, 0 to 1; `None` without any of them.
    pub precision: Option<f64>,
    /// Harmonic mean of the two, 0 when both are 0; `None` when `recall` is.
    pub f1: Option<f64>,
    /// Median of the delays of caught intervals in seconds; `None` without any.
    pub median_delay_seconds: Option<f64>,
    /// The best that any alarm line would have done if every run above it were an alarm; an alarm
    /// that began for nothing catches nothing. `None` when `recall` is.
    pub best: Option<BestEventF1>,
    /// The same with the hysteresis of [`EvalConfig::alarm`].
    pub best_with_hysteresis: Option<BestEventF1>,
}

/// Alarms when nothing was wrong. A run of alarms of one instance is judged by where it begins:
/// one that begins in or beside an anomalous interval is no false alarm however long it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct AlarmMetrics {
    /// Runs that begin outside every interval.
    pub n_false: usize,
    /// Runs that begin in a benign interval and in no anomalous one.
    pub n_benign: usize,
    /// Time outside every interval in seconds, summed over the instances.
    pub quiet_seconds: f64,
    /// Share of the benign intervals in which a run begins on an instance that was observed then, 0
    /// to 1; `None` without any. An anomaly at the same time excuses the run.
    pub benign_alarmed_share: Option<f64>,
    /// `n_false` for a week of quiet time of one server; `None` without quiet time.
    pub false_per_week: Option<f64>,
    /// Part of the points outside every interval at which the alarm held, 0 to 1; `None` without
    /// such points.
    pub quiet_alarmed_share: Option<f64>,
}

/// Where in the labels a point lies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Zone {
    Anomalous,
    Benign,
    Quiet,
}

pub(crate) fn outcomes(
    config: &EvalConfig,
    timelines: &[Timeline<'_>],
    intervals: &[Interval],
) -> Vec<EventOutcome> {
    let anomalous = intervals.iter().filter(|interval| interval.anomalous);
    anomalous.map(|interval| outcome(config, timelines, interval)).collect()
}

fn outcome(config: &EvalConfig, timelines: &[Timeline<'_>], interval: &Interval) -> EventOutcome {
    let grace = config.grace_millis();
    let mut outcome = EventOutcome {
        interval: interval.clone(),
        observed: false,
        delay_seconds: None,
        peak_score: None,
    };
    for timeline in timelines.iter().filter(|line| interval.applies_to(line.instance)) {
        outcome.observed |= reaches_into(interval, timeline.first(), timeline.last());
        for point in timeline.points.iter().filter(|point| interval.holds(point.time, 0, grace)) {
            let peak = outcome.peak_score.map_or(point.score, |peak| peak.max(point.score));
            outcome.peak_score = Some(peak);
            if point.alarm {
                let delay = point.time.seconds_since(interval.start);
                let first = outcome.delay_seconds.map_or(delay, |first| first.min(delay));
                outcome.delay_seconds = Some(first);
            }
        }
    }
    outcome
}

fn reaches_into(interval: &Interval, first: Timestamp, last: Timestamp) -> bool {
    first <= interval.end && interval.start <= last
}

pub(crate) fn event_metrics(outcomes: &[EventOutcome], alarms: &AlarmMetrics) -> EventMetrics {
    let n_observed = outcomes.iter().filter(|outcome| outcome.observed).count();
    let caught = outcomes.iter().filter(|outcome| outcome.observed && outcome.caught());
    let mut delays: Vec<f64> = caught.filter_map(|outcome| outcome.delay_seconds).collect();
    delays.sort_by(f64::total_cmp);
    let n_caught = delays.len();
    let recall = ratio(n_caught, n_observed);
    let precision = ratio(n_caught, n_caught + alarms.n_false + alarms.n_benign);
    EventMetrics {
        n_observed,
        n_caught,
        recall,
        precision,
        f1: recall.map(|recall| harmonic_mean(recall, precision.unwrap_or(0.0))),
        median_delay_seconds: median(&delays),
        best: None,
        best_with_hysteresis: None,
    }
}

fn ratio(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

pub(crate) fn harmonic_mean(a: f64, b: f64) -> f64 {
    if a + b > 0.0 { 2.0 * a * b / (a + b) } else { 0.0 }
}

fn median(sorted: &[f64]) -> Option<f64> {
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get((sorted.len() - 1) / 2)?;
    Some((lower + upper) / 2.0)
}

pub(crate) fn alarm_metrics(
    config: &EvalConfig,
    timelines: &[Timeline<'_>],
    intervals: &[Interval],
) -> AlarmMetrics {
    let mut metrics = AlarmMetrics::default();
    let (mut n_quiet, mut n_quiet_alarmed) = (0_usize, 0_usize);
    for timeline in timelines {
        let own: Vec<&Interval> =
            intervals.iter().filter(|interval| interval.applies_to(timeline.instance)).collect();
        let zone = |time| zone(&own, time, config.grace_millis());
        let starts = |wanted| timeline.alarm_starts().filter(|p| zone(p.time) == wanted).count();
        metrics.n_false += starts(Zone::Quiet);
        metrics.n_benign += starts(Zone::Benign);
        let quiet = timeline.points.iter().filter(|point| zone(point.time) == Zone::Quiet);
        let (quiet, alarmed) = quiet
            .fold((0_usize, 0_usize), |(n, alarmed), p| (n + 1, alarmed + usize::from(p.alarm)));
        metrics.quiet_seconds += quiet as f64 * timeline.step_seconds;
        n_quiet += quiet;
        n_quiet_alarmed += alarmed;
    }
    let weeks = metrics.quiet_seconds / SECONDS_PER_WEEK;
    metrics.false_per_week = (weeks > 0.0).then(|| metrics.n_false as f64 / weeks);
    metrics.quiet_alarmed_share = ratio(n_quiet_alarmed, n_quiet);
    metrics.benign_alarmed_share = benign_alarmed_share(config, timelines, intervals);
    metrics
}

fn benign_alarmed_share(
    config: &EvalConfig,
    timelines: &[Timeline<'_>],
    intervals: &[Interval],
) -> Option<f64> {
    let (mut n_observed, mut n_alarmed) = (0, 0);
    for benign in intervals.iter().filter(|interval| !interval.anomalous) {
        let observers = || {
            let theirs = timelines.iter().filter(|line| benign.applies_to(line.instance));
            theirs.filter(|line| reaches_into(benign, line.first(), line.last()))
        };
        let alarms = |line: &Timeline<'_>| {
            let own: Vec<&Interval> =
                intervals.iter().filter(|own| own.applies_to(line.instance)).collect();
            let begins_in = |time| {
                benign.holds(time, 0, config.grace_millis())
                    && zone(&own, time, config.grace_millis()) == Zone::Benign
            };
            line.alarm_starts().any(|point| begins_in(point.time))
        };
        n_observed += usize::from(observers().next().is_some());
        n_alarmed += usize::from(observers().any(alarms));
    }
    ratio(n_alarmed, n_observed)
}

pub(crate) fn zone(intervals: &[&Interval], time: Timestamp, grace: i64) -> Zone {
    let mut zone = Zone::Quiet;
    for interval in intervals.iter().filter(|interval| interval.holds(time, grace, grace)) {
        if interval.anomalous {
            return Zone::Anomalous;
        }
        zone = Zone::Benign;
    }
    zone
}
