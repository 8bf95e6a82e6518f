//! The best that any alarm line could do, as an operator counts.

use oddns_core::Timestamp;

use crate::event::{Zone, harmonic_mean, zone};
use crate::timeline::Timeline;
use crate::{EvalConfig, Interval};

/// Lines tried: ranks of the scores from the highest to the lowest, closer together at the top,
/// where alarms are decided.
const N_LINES: usize = 200;

/// How scores become alarms once there is a line. The default is what the product does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AlarmRule {
    /// Points above the line in a row that raise the alarm. Default 2.
    pub raise_after: usize,
    /// The alarm holds while the score stays above this share of the line, 0 to 1. Default 0.8.
    pub hold_above: f64,
    /// Points below that in a row that end it. Default 5.
    pub clear_after: usize,
    /// An alarm that begins within so many points of the end of the one before belongs to it.
    /// Default 15.
    pub merge_points: usize,
}

impl AlarmRule {
    /// Every run of points above the line is an alarm.
    pub const PLAIN: Self =
        Self { raise_after: 1, hold_above: 1.0, clear_after: 1, merge_points: 0 };
}

impl Default for AlarmRule {
    fn default() -> Self {
        Self { raise_after: 2, hold_above: 0.8, clear_after: 5, merge_points: 15 }
    }
}

/// The alarm line at which event F1 is highest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BestEventF1 {
    /// Scores above this raise alarms.
    pub line: f64,
    /// Caught of observed anomalous intervals, 0 to 1.
    pub recall: f64,
    /// Caught of caught plus false and benign alarms, 0 to 1.
    pub precision: f64,
    /// Harmonic mean of the two, 0 to 1.
    pub f1: f64,
}

/// What alarms of one instance are judged by.
struct Track<'a> {
    scores: Vec<f64>,
    zones: Vec<Zone>,
    times: Vec<Timestamp>,
    instance: &'a str,
}

/// Scores and events, made ready for trying alarm lines.
pub(crate) struct Trials<'a> {
    tracks: Vec<Track<'a>>,
    /// Where each observed anomalous interval may be caught.
    events: Vec<Vec<Part>>,
    /// Lines to try, falling.
    lines: Vec<f64>,
}

impl<'a> Trials<'a> {
    pub(crate) fn new(
        config: &EvalConfig,
        timelines: &[Timeline<'a>],
        intervals: &[Interval],
    ) -> Self {
        let tracks: Vec<Track<'_>> =
            timelines.iter().map(|timeline| Track::new(config, timeline, intervals)).collect();
        let anomalous = intervals.iter().filter(|interval| interval.anomalous);
        let events = anomalous.map(|interval| parts(config, &tracks, interval));
        let events = events.filter(|parts| !parts.is_empty()).collect();
        Self { lines: lines(&tracks), events, tracks }
    }

    /// The line with the highest event F1, the highest such; `None` without an observed interval.
    /// Caught, false and benign are counted as for given alarms, but that an alarm which began for
    /// nothing catches nothing, and none catches an event long after the one it began in: else a line
    /// below all scores would catch every event by one alarm.
    pub(crate) fn best(&self, rule: AlarmRule) -> Option<BestEventF1> {
        if self.events.is_empty() {
            return None;
        }
        let mut best: Option<BestEventF1> = None;
        for line in &self.lines {
            let trial = judge(&self.tracks, &self.events, *line, rule);
            if best.is_none_or(|best| trial.f1 > best.f1) {
                best = Some(trial);
            }
        }
        best
    }
}

/// Points of one instance in which an event may be caught: track, first, one behind the last.
type Part = (usize, usize, usize);

impl<'a> Track<'a> {
    fn new(config: &EvalConfig, timeline: &Timeline<'a>, intervals: &[Interval]) -> Self {
        let own: Vec<&Interval> =
            intervals.iter().filter(|interval| interval.applies_to(timeline.instance)).collect();
        let of = |time| zone(&own, time, config.grace_millis());
        Self {
            scores: timeline.points.iter().map(|point| point.score).collect(),
            zones: timeline.points.iter().map(|point| of(point.time)).collect(),
            times: timeline.points.iter().map(|point| point.time).collect(),
            instance: timeline.instance,
        }
    }
}

/// Where `interval` may be caught; empty when no scored time reaches into it.
fn parts(config: &EvalConfig, tracks: &[Track<'_>], interval: &Interval) -> Vec<Part> {
    let until = interval.end.millis().saturating_add(config.grace_millis());
    let of = |(at, track): (usize, &Track<'_>)| {
        let reaches = track.times.first().is_some_and(|first| *first <= interval.end)
            && track.times.last().is_some_and(|last| interval.start <= *last);
        let first = track.times.partition_point(|time| *time < interval.start);
        let behind = track.times.partition_point(|time| time.millis() <= until);
        (reaches && interval.applies_to(track.instance)).then_some((at, first, behind))
    };
    tracks.iter().enumerate().filter_map(of).collect()
}

/// Lines to try, falling.
fn lines(tracks: &[Track<'_>]) -> Vec<f64> {
    let mut scores: Vec<f64> = tracks.iter().flat_map(|track| track.scores.clone()).collect();
    scores.sort_by(|a, b| b.total_cmp(a));
    let rank = |k: usize| (scores.len() as f64).powf(k as f64 / N_LINES as f64) as usize;
    let mut lines: Vec<f64> =
        (0..=N_LINES).filter_map(|k| scores.get(rank(k).max(1) - 1).copied()).collect();
    lines.dedup();
    // A line lies just below a score, so that this one is above it.
    lines.iter().map(|score| score.next_down()).collect()
}

fn judge(tracks: &[Track<'_>], events: &[Vec<Part>], line: f64, rule: AlarmRule) -> BestEventF1 {
    let told: Vec<Told> = tracks.iter().map(|track| Told::new(track, line, rule)).collect();
    let n_for_nothing: usize = told.iter().map(|told| told.n_for_nothing).sum();
    let caught = |parts: &&Vec<Part>| {
        parts.iter().any(|(track, from, behind)| told[*track].of[*from..*behind].contains(&true))
    };
    let n_caught = events.iter().filter(caught).count();
    let recall = n_caught as f64 / events.len() as f64;
    let precision = n_caught as f64 / (n_caught + n_for_nothing).max(1) as f64;
    BestEventF1 { line, recall, precision, f1: harmonic_mean(recall, precision) }
}

/// What alarms told of one instance.
struct Told {
    /// Points in or beside an anomalous interval at which an alarm holds that began there, or in one
    /// just before: what goes on for long after an event no longer tells of anything.
    of: Vec<bool>,
    /// Alarms that began elsewhere.
    n_for_nothing: usize,
}

impl Told {
    fn new(track: &Track<'_>, line: f64, rule: AlarmRule) -> Self {
        let alarms = alarms(&track.scores, line, rule);
        let mut told = Self { of: vec![false; alarms.len()], n_for_nothing: 0 };
        let near = |at: usize, other: Option<usize>| {
            other.is_some_and(|other| at - other <= rule.merge_points.saturating_add(1))
        };
        let (mut last, mut last_true) = (None, None);
        for at in (0..alarms.len()).filter(|at| alarms[*at]) {
            let anomalous = track.zones[at] == Zone::Anomalous;
            let begins = !near(at, last);
            told.n_for_nothing += usize::from(begins && !anomalous);
            if anomalous && (begins || near(at, last_true)) {
                told.of[at] = true;
                last_true = Some(at);
            }
            last = Some(at);
        }
        told
    }
}

/// Where the alarm holds.
fn alarms(scores: &[f64], line: f64, rule: AlarmRule) -> Vec<bool> {
    let hold = line - (1.0 - rule.hold_above) * line.abs();
    let (mut active, mut run) = (false, 0);
    let mut push = |score: &f64| {
        let (towards_change, needed) = if active {
            (*score < hold, rule.clear_after)
        } else {
            (*score > line, rule.raise_after)
        };
        run = if towards_change { run + 1 } else { 0 };
        if run >= needed.max(1) {
            (active, run) = (!active, 0);
        }
        active
    };
    scores.iter().map(&mut push).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ScoredPoint;
    use crate::timeline::timelines;

    fn at(seconds: usize) -> Timestamp {
        Timestamp::from_millis(seconds as i64 * 1000)
    }

    fn event(start: usize, end: usize) -> Interval {
        let kind = "k".to_owned();
        Interval { kind, start: at(start), end: at(end), instance: None, anomalous: true }
    }

    fn best(scores: &[f64], events: &[Interval], alarm: AlarmRule) -> Option<BestEventF1> {
        let point = |(second, score): (usize, &f64)| ScoredPoint {
            time: at(second),
            instance: "",
            score: *score,
            alarm: false,
        };
        let points: Vec<ScoredPoint<'_>> = scores.iter().enumerate().map(point).collect();
        let config = EvalConfig { grace_seconds: 0.0, ..EvalConfig::default() };
        Trials::new(&config, &timelines(&points).unwrap(), events).best(alarm)
    }

    #[test]
    fn the_best_line_catches_both_and_bears_one_false_alarm() {
        let mut scores = [0.1; 60];
        (scores[12], scores[30], scores[45]) = (5.0, 4.0, 3.0);
        let found = best(&scores, &[event(10, 15), event(44, 46)], AlarmRule::PLAIN).unwrap();
        assert_eq!((found.recall, found.precision, found.f1), (1.0, 2.0 / 3.0, 0.8));
        assert!(found.line < 3.0 && found.line > 2.999);
    }

    #[test]
    fn a_peak_alone_is_no_alarm_and_a_flapping_one_is_a_single_alarm() {
        let mut scores = [0.1; 100];
        scores[5] = 9.0;
        for place in [40, 41, 50, 51, 60, 61, 81, 82] {
            scores[place] = 3.0;
        }
        let found = best(&scores, &[event(80, 85)], AlarmRule::default()).unwrap();
        assert_eq!((found.recall, found.precision), (1.0, 0.5));
    }

    #[test]
    fn one_alarm_over_everything_catches_nothing() {
        let events: Vec<Interval> = (1..9).map(|at| event(10 * at, 10 * at + 2)).collect();
        assert_eq!(best(&[1.0; 100], &events, AlarmRule::PLAIN).unwrap().f1, 0.0);
        let mut scores = [1.0; 100];
        scores[..11].fill(0.0);
        let found = best(&scores, &events, AlarmRule::PLAIN).unwrap();
        assert_eq!((found.recall, found.precision), (0.125, 1.0));
    }

    #[test]
    fn without_an_event_there_is_no_best_line() {
        assert_eq!(best(&[1.0; 5], &[], AlarmRule::PLAIN), None);
        assert_eq!(best(&[1.0; 5], &[event(50, 60)], AlarmRule::PLAIN), None);
        assert!(
            best(&[f64::INFINITY, -1.0, f64::NEG_INFINITY], &[event(0, 0)], AlarmRule::PLAIN)
                .is_some()
        );
    }
}
