//! Which rows of a history an update learns: those that its detector finds normal, or that somebody
//! called so.

use std::ops::Range;
use std::sync::Arc;

use oddns_core::{Frame, Score, Timestamp};

use crate::detector::{Detector, DetectorError};
use crate::feedback::{Feedback, FeedbackVerdict};
use crate::follower::Follower;
use crate::misfit;
use crate::pulse::{Pulse, beat};
use crate::settling::{Days, NewNormal, Trend};
use crate::stream::continues;
use crate::update::UpdateOptions;

/// Seconds before an alarm that are not learned: trouble begins before it is seen, …
const BEFORE_SECONDS: f64 = 900.0;
/// … and after it: what it leaves behind.
const AFTER_SECONDS: f64 = 1800.0;
/// The same in rows, at least.
const BEFORE_ROWS: f64 = 8.0;
const AFTER_ROWS: f64 = 24.0;
/// Alarms nearer than this are one.
const EPISODE_SECONDS: f64 = 6.0 * 3600.0;
/// Time is cut into blocks of this length, of which each fifth is held out for the gate, …
const BLOCK_SECONDS: f64 = 2.0 * 3600.0;
const HELD_OUT_PART: i64 = 5;
/// … or into shorter ones where there were fewer, so that something is held out of a short history, …
const FEWEST_BLOCKS: f64 = 10.0;
/// … but into no fewer rows than it takes to put a fault into.
const BLOCK_ROWS: f64 = 96.0;
/// Rows that are looked at in one update, the newest of all servers together: what is older was
/// looked at by the updates before.
pub(crate) const MOST_ROWS_SEEN: usize = 400_000;

/// The rows of one server.
#[derive(Debug, Clone, Copy)]
pub struct History<'a> {
    /// How the server is called, as feedback names it.
    pub instance: &'a str,
    /// Its features.
    pub frame: &'a Frame,
}

/// Why a row is learned or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Quiet,
    /// An alarm, or near one.
    Alarmed,
    /// Somebody said that it was an incident.
    Incident,
    /// Somebody said that it was normal.
    Vouched,
    /// A feature goes on in one direction.
    Trending,
}

/// What is known of the rows of one server.
pub(crate) struct Sorted<'a> {
    pub(crate) history: History<'a>,
    /// The first row that is looked at.
    pub(crate) from: usize,
    /// One a row from there on.
    pub(crate) standing: Vec<Standing>,
    pub(crate) held_out: Vec<bool>,
    pub(crate) new_normal: Option<NewNormal>,
    pub(crate) trends: Vec<Trend>,
    /// The middle of its scores.
    pub(crate) middle: Option<f32>,
}

impl<'a> Sorted<'a> {
    /// By what `detector` says of each row, and what people said.
    pub(crate) fn of(
        detector: &Arc<Detector>,
        history: History<'a>,
        n_rows: usize,
        (feedback, options): (&[Feedback], &UpdateOptions),
        pulse: &mut Pulse<'_>,
    ) -> Result<Self, DetectorError> {
        let from = history.frame.len().saturating_sub(n_rows);
        let (alarmed, scores) = alarms(detector, history, from, pulse)?;
        let times = &history.frame.timestamps()[from..];
        let interval = f64::from(detector.record.interval_seconds).max(0.0);
        let block = block_seconds(times, interval);
        let mut sorted = Self {
            history,
            from,
            standing: vec![Standing::Quiet; times.len()],
            held_out: times
                .iter()
                .map(|time| options.holds_out && is_held_out(*time, block))
                .collect(),
            new_normal: None,
            trends: Vec::new(),
            middle: misfit::middle(&scores),
        };
        sorted.mark_alarms(detector, &alarmed, interval, options.settles_seconds);
        sorted.mark_feedback(feedback, interval);
        Ok(sorted)
    }

    fn mark_alarms(
        &mut self,
        detector: &Detector,
        alarmed: &[bool],
        interval: f64,
        settles_seconds: f64,
    ) {
        let (instance, frame) = (self.history.instance, self.history.frame);
        let days = Days::of(detector, frame);
        self.trends = days.trends(instance);
        let times = &self.history.frame.timestamps()[self.from..];
        let mut spared = times.len();
        if let (Some(episode), Some(until)) = (last_episode(times, alarmed), times.last()) {
            let since = times[episode.start];
            let settled = days.settled(instance, since, *until, settles_seconds);
            if let (Ok(found), true) = (settled, self.trends.is_empty()) {
                self.new_normal = Some(found);
                spared = episode.start;
            }
        }
        for at in (0..times.len()).filter(|at| alarmed[*at] && *at < spared) {
            mark(
                &mut self.standing[..spared],
                times,
                (times[at], times[at]),
                interval,
                Standing::Alarmed,
            );
        }
        let since = self.trends.iter().map(|trend| trend.since).min();
        for (standing, time) in self.standing.iter_mut().zip(times) {
            if since.is_some_and(|since| *time >= since) {
                *standing = Standing::Trending;
            }
        }
    }

    fn mark_feedback(&mut self, feedback: &[Feedback], interval: f64) {
        let times = &self.history.frame.timestamps()[self.from..];
        for said in feedback.iter().filter(|said| said.is_about(self.history.instance)) {
            if said.verdict != FeedbackVerdict::Normal {
                let span = (said.start, said.end);
                mark(&mut self.standing, times, span, interval, Standing::Incident);
            }
        }
        for (standing, time) in self.standing.iter_mut().zip(times) {
            let vouched = |said: &&Feedback| {
                said.verdict == FeedbackVerdict::Normal
                    && said.is_about(self.history.instance)
                    && said.covers(*time)
            };
            if *standing != Standing::Incident && feedback.iter().any(|said| vouched(&said)) {
                *standing = Standing::Vouched;
            }
        }
    }

    /// How many rows are of this standing.
    pub(crate) fn count(&self, standing: Standing) -> usize {
        self.standing.iter().filter(|own| **own == standing).count()
    }

    /// Runs of rows of the frame that are learned, without a pause inside.
    pub(crate) fn runs(
        &self,
        standing: Standing,
        held_out: bool,
        interval: f64,
    ) -> Vec<Range<usize>> {
        let times = self.history.frame.timestamps();
        let wanted = |at: usize| self.standing[at] == standing && self.held_out[at] == held_out;
        let mut found: Vec<Range<usize>> = Vec::new();
        for at in (0..self.standing.len()).filter(|at| wanted(*at)) {
            let row = self.from + at;
            match found.last_mut() {
                Some(run) if run.end == row && continues(times[row - 1], times[row], interval) => {
                    run.end = row + 1;
                }
                _ => found.push(row..row + 1),
            }
        }
        found
    }
}

/// Whether each row from `from` on is alarmed, or above the line, and its score.
fn alarms(
    detector: &Arc<Detector>,
    history: History<'_>,
    from: usize,
    pulse: &mut Pulse<'_>,
) -> Result<(Vec<bool>, Vec<f32>), DetectorError> {
    let mut follower = Follower::new(Arc::clone(detector), history.instance.to_owned());
    let frame = history.frame;
    (from..frame.len())
        .map(|row| {
            beat(pulse, row)?;
            let followed = follower.push(frame.timestamps()[row], frame.row(row))?;
            let Score { alarm, score, .. } = followed.score;
            Ok((alarm || score > 1.0, score))
        })
        .collect()
}

/// Marks the rows of a span and its margins.
fn mark(
    standing: &mut [Standing],
    times: &[Timestamp],
    (start, end): (Timestamp, Timestamp),
    interval: f64,
    as_what: Standing,
) {
    let before = BEFORE_SECONDS.max(BEFORE_ROWS * interval);
    let after = AFTER_SECONDS.max(AFTER_ROWS * interval);
    let from = times.partition_point(|time| start.seconds_since(*time) > before);
    let until = times.partition_point(|time| time.seconds_since(end) <= after);
    for standing in standing.iter_mut().take(until).skip(from) {
        *standing = as_what;
    }
}

/// The alarms that go on until the end, from the first of them.
fn last_episode(times: &[Timestamp], alarmed: &[bool]) -> Option<Range<usize>> {
    let mut next = times.len().checked_sub(1)?;
    let mut first = None;
    for at in (0..times.len()).rev().filter(|at| alarmed[*at]) {
        if times[next].seconds_since(times[at]) > EPISODE_SECONDS {
            break;
        }
        (next, first) = (at, Some(at));
    }
    first.map(|first| first..times.len())
}

/// How long the blocks are that a history is cut into. In halves of each other, so that servers which
/// are known for nearly as long have the same.
fn block_seconds(times: &[Timestamp], interval: f64) -> f64 {
    let span = times.last().map_or(0.0, |last| last.seconds_since(times[0]));
    let shortest = (BLOCK_ROWS * interval).max(1.0);
    let mut block = BLOCK_SECONDS;
    while block > span / FEWEST_BLOCKS && block / 2.0 >= shortest {
        block /= 2.0;
    }
    block.max(shortest)
}

fn is_held_out(time: Timestamp, block: f64) -> bool {
    // A day has twelve blocks: the fifth of them is another hour each day.
    ((time.unix_seconds() / block).floor() as i64).rem_euclid(HELD_OUT_PART) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(at: usize) -> Timestamp {
        Timestamp::from_millis(3_600_000 * at as i64)
    }

    #[test]
    fn an_episode_goes_on_until_the_end_or_is_none() {
        let times: Vec<Timestamp> = (0..40).map(hours).collect();
        let alarmed = |rows: &[usize]| (0..40).map(|at| rows.contains(&at)).collect::<Vec<_>>();
        assert_eq!(last_episode(&times, &alarmed(&[3, 20, 25, 30, 36])), Some(20..40));
        assert_eq!(last_episode(&times, &alarmed(&[20, 25])), None);
        assert_eq!(last_episode(&[], &[]), None);
    }

    #[test]
    fn something_of_a_short_history_is_held_out_whenever_it_is() {
        for (n_rows, seconds) in [(7200, 1), (1000, 15), (5000, 15), (40_000, 15), (960, 120)] {
            for start in (0..36).map(|at| 1_790_000_000 + 600 * at) {
                let time = |at: i64| Timestamp::from_millis(1000 * (start + at * seconds));
                let times: Vec<Timestamp> = (0..n_rows).map(time).collect();
                let block = block_seconds(&times, seconds as f64);
                let n = times.iter().filter(|time| is_held_out(**time, block)).count();
                let part = n as f64 / n_rows as f64;
                assert!((0.09..0.31).contains(&part), "{n} of {n_rows} rows from {start}");
            }
        }
        assert_eq!(block_seconds(&[], 15.0), 1800.0);
        assert_eq!(block_seconds(&[hours(0), hours(20)], 15.0), BLOCK_SECONDS);
    }

    #[test]
    fn one_block_in_five_is_held_out_whatever_the_hour() {
        let block = BLOCK_SECONDS;
        let held_out: Vec<usize> = (0..240).filter(|at| is_held_out(hours(*at), block)).collect();
        assert_eq!(held_out.len(), 48);
        let mut of_day: Vec<usize> = held_out.iter().map(|at| at % 24).collect();
        of_day.sort_unstable();
        of_day.dedup();
        assert_eq!(of_day.len(), 24);
    }

    #[test]
    fn margins_are_left_out_too() {
        let times: Vec<Timestamp> =
            (0..400).map(|at| Timestamp::from_millis(15_000 * at)).collect();
        let mut standing = vec![Standing::Quiet; 400];
        mark(&mut standing, &times, (times[200], times[201]), 15.0, Standing::Alarmed);
        let n_before = standing[..200].iter().filter(|s| **s == Standing::Alarmed).count();
        let n_after = standing[202..].iter().filter(|s| **s == Standing::Alarmed).count();
        assert_eq!((n_before, n_after), (60, 120));
    }
}
