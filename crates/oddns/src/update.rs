//! Going on learning: a new detector out of an old one, new rows, and what people said of them.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use oddns_core::{Frame, Schema, Timestamp};
use oddns_model::Progress;

use crate::detector::{Detector, DetectorError};
use crate::feedback::{self, Feedback, FeedbackVerdict};
use crate::follower::Follower;
use crate::kept::{self, Kept};
use crate::misfit::Middle;
use crate::precedent::{MOST_PRECEDENTS, Precedent, Precedents};
use crate::pulse::{Pulse, beat};
use crate::quiet::{History, MOST_ROWS_SEEN, Sorted, Standing};
use crate::settling::{NewNormal, Trend};
use crate::training::{Assignment, Going, TrainOptions, fit, kept_rows};

/// Rows that are learned in one update, beside those that are kept: however long the history is.
const MOST_ROWS_LEARNED: usize = 12_288;
/// Rows of a window that is learned; shorter ones are taken where there is no more.
const WINDOW_ROWS: usize = 192;
/// Windows that somebody called normal are learned so many times, …
const VOUCHED_WEIGHT: usize = 2;
/// … but make no more than one row in so many.
const VOUCHED_PART: usize = 10;
/// Rows before and after a stretch in which a pattern is looked for: it begins before it is seen,
/// and members that look back show it for so long.
const PATTERN_ROWS: usize = 40;
/// A row belongs to a pattern called normal from this score on.
const PATTERN_SCORE: f32 = 0.7;
/// Of a server that no model knows, one row in so many is taken for normal, the first ones, …
const FIRST_PART: usize = 5;
/// … of so many seconds at most.
const FIRST_SECONDS: f64 = 2.0 * 86_400.0;
/// Rows of one pattern that are looked at.
const MOST_PATTERN_ROWS: usize = 4096;

/// What may be chosen about an update.
#[derive(Debug, Clone, PartialEq)]
pub struct UpdateOptions {
    /// Optimiser steps of a network, from the weights that are there; 0 leaves them.
    pub steps: usize,
    /// Seed of the batches.
    pub seed: u64,
    /// Threads; the result does not depend on it.
    pub threads: usize,
    /// Seconds that a change which harms nobody has to stay until it is normal.
    pub settles_seconds: f64,
    /// Whether a fifth of the time is held out for the [`Gate`](crate::Gate) rather than learned.
    pub holds_out: bool,
}

impl Default for UpdateOptions {
    /// 16 steps on two threads; two days; a fifth is held out.
    fn default() -> Self {
        let settles_seconds = 2.0 * 86_400.0;
        Self { steps: 16, seed: 1, threads: 2, settles_seconds, holds_out: true }
    }
}

/// A stretch of time on a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stay {
    /// Which server.
    pub instance: String,
    /// First instant.
    pub start: Timestamp,
    /// Last instant.
    pub end: Timestamp,
}

/// A new detector, and what it was made of.
#[derive(Debug, Clone)]
pub struct Updated {
    /// The challenger: nobody has compared it with its parent yet.
    pub detector: Detector,
    /// Rows that were looked at.
    pub n_rows_seen: usize,
    /// Of these, those left out as alarmed, or near to an alarm.
    pub n_rows_alarmed: usize,
    /// Those left out because people called them incidents.
    pub n_rows_incident: usize,
    /// Those left out because a feature goes on in one direction.
    pub n_rows_trending: usize,
    /// New rows that were learned.
    pub n_rows_learned: usize,
    /// Old ones that were learned again.
    pub n_rows_kept: usize,
    /// Changes that are normal from now on.
    pub new_normals: Vec<NewNormal>,
    /// Features that go on in one direction.
    pub trends: Vec<Trend>,
    /// Patterns out of feedback that the detector judges by.
    pub n_precedents: usize,
    /// How many times higher the alarm line lies than the middle of the scores puts it, so that it is
    /// above the quiet rows that were looked at; 1 to 1.1.
    pub raised: f32,
    /// Feedback about times that are in no history, and that no detector before has learned.
    pub unused: Vec<Feedback>,
    /// Quiet stretches that were not learned, for the gate; none where nothing is held out.
    pub held_out: Vec<Stay>,
    /// The middle of what the detector of before says of each server; those with few rows are left out.
    pub middles: Vec<Middle>,
}

impl Detector {
    /// Goes on from this detector with new rows of its servers: weights from where they are, scales
    /// and calibration anew, from the rows that it finds normal and the old ones that it carries.
    /// `feedback` is all that was ever said: what is no longer in it is undone with the next update.
    ///
    /// Time and memory are bounded whatever the history: of all servers together the newest 400 000
    /// rows are looked at, and 12 288 are learned.
    ///
    /// # Errors
    /// Rows of another schema; feedback that contradicts itself; nothing quiet to learn from, with
    /// what the rows are instead; and what [`Detector::fit`] refuses. The detector stays as it is.
    pub fn update(
        self: &Arc<Self>,
        history: &[History<'_>],
        feedback: &[Feedback],
        options: &UpdateOptions,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Updated, DetectorError> {
        self.update_with(history, feedback, options, &mut |step| match step {
            Some(step) => progress(step),
            None => ControlFlow::Continue(()),
        })
    }

    /// The same as [`Detector::update`], in small pieces with a call of `pulse` after each.
    ///
    /// # Errors
    /// As [`Detector::update`], and [`DetectorError::Ended`] when `pulse` breaks off.
    pub fn update_with(
        self: &Arc<Self>,
        history: &[History<'_>],
        feedback: &[Feedback],
        options: &UpdateOptions,
        pulse: &mut Pulse<'_>,
    ) -> Result<Updated, DetectorError> {
        feedback::check(feedback)?;
        for one in history {
            self.check_schema(&Schema::new(one.frame.columns().to_vec()))?;
        }
        // What was said once and is taken back must not lift alarms any more.
        let judge = Arc::new(self.with_precedents(self.precedents.of(feedback)));
        let each = MOST_ROWS_SEEN / history.len().max(1);
        let sorted = history
            .iter()
            .map(|one| Sorted::of(&judge, *one, each, (feedback, options), pulse))
            .collect::<Result<Vec<_>, _>>()?;
        Study { judge: &judge, sorted, feedback, options }.run(pulse)
    }

    /// The same as [`Detector::update_with`], for a server that this detector, which others share, fits
    /// badly: nothing of the others is learned again. Where this detector finds nothing quiet on it, the
    /// first fifth of its rows, and two days at most, is taken for quiet, but for what feedback calls an
    /// incident.
    ///
    /// # Errors
    /// As [`Detector::update_with`].
    pub fn update_alone(
        self: &Arc<Self>,
        history: &History<'_>,
        feedback: &[Feedback],
        options: &UpdateOptions,
        pulse: &mut Pulse<'_>,
    ) -> Result<Updated, DetectorError> {
        let alone = Arc::new(Self { kept: Arc::default(), ..Self::clone(self) });
        let one = std::slice::from_ref(history);
        let error = match alone.update_with(one, feedback, options, pulse) {
            Err(error @ DetectorError::NothingQuiet { .. }) => error,
            done => return done,
        };
        let Some(first) = first_rows(history, feedback) else { return Err(error) };
        let Ok(mut known) = self.calibrate(&[&first]) else { return Err(error) };
        (known.kept, known.precedents) = (Arc::default(), Arc::clone(&self.precedents));
        Arc::new(known).update_with(one, feedback, options, pulse)
    }

    /// What people said of which it knows the pattern, oldest first. Whoever says something new gives
    /// this along with it to [`Detector::update`], or it is taken back.
    pub fn feedback(&self) -> Vec<Feedback> {
        self.precedents.0.iter().map(Precedent::feedback).collect()
    }

    /// The same detector with other precedents.
    pub(crate) fn with_precedents(&self, precedents: Precedents) -> Self {
        Self { precedents: Arc::new(precedents), ..self.clone() }
    }
}

/// An update under way.
struct Study<'a> {
    judge: &'a Arc<Detector>,
    sorted: Vec<Sorted<'a>>,
    feedback: &'a [Feedback],
    options: &'a UpdateOptions,
}

impl Study<'_> {
    fn run(&self, pulse: &mut Pulse<'_>) -> Result<Updated, DetectorError> {
        let learned = self.learned()?;
        let n_rows_learned = learned.iter().map(Frame::len).sum();
        let vouched = self.vouched(n_rows_learned);
        let old = self.judge.kept.frames(&self.judge.columns);
        let frames: Vec<&Frame> = old.iter().chain(&learned).chain(&vouched).collect();
        let mut detector = fit(
            Assignment {
                columns: self.judge.columns.to_vec(),
                parent: Some(self.judge.method.forecaster()),
                update: Some(Going { steps: self.options.steps, n_old: old.len() }),
            },
            &frames,
            &self.train_options(),
            &mut |step| pulse(Some(step)),
        )?;
        beat(pulse, 0)?;
        detector.record.range = self.range();
        detector.record.interval_seconds = self.judge.record.interval_seconds;
        detector.kept = Arc::new(self.kept(&detector, &learned));
        let (mut detector, raised) = detector.above_quiet(&self.sorted, pulse)?;
        let (precedents, unused) = self.precedents(&Arc::new(detector.clone()), pulse)?;
        let n_precedents = precedents.0.len();
        detector.precedents = Arc::new(precedents);
        let count = |standing| self.sorted.iter().map(|sorted| sorted.count(standing)).sum();
        Ok(Updated {
            detector,
            n_rows_seen: self.sorted.iter().map(|sorted| sorted.standing.len()).sum(),
            n_rows_alarmed: count(Standing::Alarmed),
            n_rows_incident: count(Standing::Incident),
            n_rows_trending: count(Standing::Trending),
            n_rows_learned,
            n_rows_kept: old.iter().map(Frame::len).sum(),
            new_normals: self.sorted.iter().filter_map(|s| s.new_normal.clone()).collect(),
            trends: self.sorted.iter().flat_map(|s| s.trends.clone()).collect(),
            n_precedents,
            raised,
            unused,
            held_out: self.held_out(),
            middles: self.middles(),
        })
    }

    fn interval(&self) -> f64 {
        f64::from(self.judge.record.interval_seconds)
    }

    fn train_options(&self) -> TrainOptions {
        TrainOptions {
            seed: self.options.seed,
            threads: self.options.threads,
            alarms_per_week: self.judge.record.alarms_per_week,
            detector: self.judge.kind,
            ..TrainOptions::default()
        }
    }

    /// Windows of quiet rows of all servers, evenly spread over time.
    fn learned(&self) -> Result<Vec<Frame>, DetectorError> {
        let shortest = kept_rows(self.judge);
        let mut windows = Vec::new();
        for (at, sorted) in self.sorted.iter().enumerate() {
            let since = sorted.new_normal.as_ref().map(|new_normal| new_normal.since);
            let mut own = Vec::new();
            for run in sorted.runs(Standing::Quiet, false, self.interval()) {
                own.extend(cut(run, shortest));
            }
            // The old normal is known; one row in four of it is enough beside the new one.
            let is_old = |rows: &Range<usize>| {
                since.is_some_and(|since| sorted.history.frame.timestamps()[rows.start] < since)
            };
            let n_old = own.iter().filter(|rows| is_old(rows)).count();
            let wanted = |(place, rows): &(usize, Range<usize>)| {
                !is_old(rows) || n_old == own.len() || place % 4 == 0
            };
            let kept = own.clone().into_iter().enumerate().filter(|each| wanted(each));
            windows.extend(kept.map(|(_, rows)| (at, rows)));
        }
        if windows.is_empty() {
            return Err(self.nothing_quiet(shortest));
        }
        let n_rows: usize = windows.iter().map(|(_, rows)| rows.len()).sum();
        let n_wanted = (windows.len() * MOST_ROWS_LEARNED).div_ceil(n_rows.max(MOST_ROWS_LEARNED));
        let chosen = (0..n_wanted).map(|at| {
            &windows[(at * windows.len() + windows.len() / 2) / n_wanted.max(1) % windows.len()]
        });
        Ok(chosen.map(|(at, rows)| part(self.sorted[*at].history.frame, rows.clone())).collect())
    }

    fn nothing_quiet(&self, needed: usize) -> DetectorError {
        let count =
            |standing| self.sorted.iter().map(|sorted| sorted.count(standing)).sum::<usize>();
        DetectorError::NothingQuiet {
            n_rows: self.sorted.iter().map(|sorted| sorted.standing.len()).sum(),
            n_alarmed: count(Standing::Alarmed),
            n_incident: count(Standing::Incident),
            n_trending: count(Standing::Trending),
            needed,
        }
    }

    /// What people called normal, at its weight; nothing where it is too short to be learned.
    fn vouched(&self, n_learned: usize) -> Vec<Frame> {
        let shortest = kept_rows(self.judge);
        let mut found = Vec::new();
        let mut left = n_learned / VOUCHED_PART;
        for sorted in &self.sorted {
            for rows in sorted.runs(Standing::Vouched, false, self.interval()) {
                let n_rows = VOUCHED_WEIGHT * rows.len();
                if rows.len() >= shortest && n_rows <= left {
                    left -= n_rows;
                    let frame = part(sorted.history.frame, rows);
                    found.extend(std::iter::repeat_n(frame, VOUCHED_WEIGHT));
                }
            }
        }
        found
    }

    fn kept(&self, detector: &Detector, learned: &[Frame]) -> Kept {
        let learned: Vec<&Frame> = learned.iter().collect();
        let interval = self.judge.record.interval_seconds;
        let new = kept::windows(&learned, interval, kept_rows(self.judge));
        self.judge.kept.and(new, &detector.scaler, &detector.columns)
    }

    fn range(&self) -> Option<(Timestamp, Timestamp)> {
        let times = |sorted: &Sorted<'_>| {
            let times = sorted.history.frame.timestamps().get(sorted.from..)?;
            Some((*times.first()?, *times.last()?))
        };
        let found: Vec<_> = self.sorted.iter().filter_map(times).collect();
        let first = found.iter().map(|range| range.0).min()?;
        Some((first, found.iter().map(|range| range.1).max()?))
    }

    fn middles(&self) -> Vec<Middle> {
        let middle = |sorted: &Sorted<'_>| {
            let instance = sorted.history.instance.to_owned();
            sorted.middle.map(|score| Middle { instance, score })
        };
        self.sorted.iter().filter_map(middle).collect()
    }

    fn held_out(&self) -> Vec<Stay> {
        let mut found = Vec::new();
        for sorted in &self.sorted {
            let times = sorted.history.frame.timestamps();
            for rows in sorted.runs(Standing::Quiet, true, self.interval()) {
                let (start, end) = (times[rows.start], times[rows.end - 1]);
                found.push(Stay { instance: sorted.history.instance.to_owned(), start, end });
            }
        }
        found
    }

    /// What was said, as patterns of the new detector, and what nothing is known of.
    fn precedents(
        &self,
        detector: &Arc<Detector>,
        pulse: &mut Pulse<'_>,
    ) -> Result<(Precedents, Vec<Feedback>), DetectorError> {
        let (mut found, mut unused) = (Vec::new(), Vec::new());
        for said in self.feedback {
            let rows = self.pattern(detector, said, pulse)?;
            let known = || self.judge.precedents.0.iter().find(|own| own.is_of(said)).cloned();
            let seen = rows.is_some();
            if said.verdict != FeedbackVerdict::Right
                && let Some(precedent) =
                    rows.and_then(|rows| Precedent::of(said, &rows)).or_else(known)
            {
                found.push(precedent);
            } else if !seen {
                unused.push(said.clone());
            }
        }
        // The newest are the likeliest to come again.
        found.drain(..found.len().saturating_sub(MOST_PRECEDENTS));
        Ok((Precedents(found), unused))
    }

    /// What each feature added in the rows that were spoken of; `None` when they are in no history.
    fn pattern(
        &self,
        detector: &Arc<Detector>,
        said: &Feedback,
        pulse: &mut Pulse<'_>,
    ) -> Result<Option<Vec<Vec<f32>>>, DetectorError> {
        let mut found: Option<Vec<Vec<f32>>> = None;
        for sorted in self.sorted.iter().filter(|s| said.is_about(s.history.instance)) {
            let frame = sorted.history.frame;
            let times = frame.timestamps();
            if !times.iter().any(|time| said.covers(*time)) {
                continue;
            }
            let is_normal = said.verdict == FeedbackVerdict::Normal;
            let margin = if is_normal { PATTERN_ROWS } else { 0 };
            let from = times.partition_point(|time| *time < said.start).saturating_sub(margin);
            let until = times.partition_point(|time| *time <= said.end) + margin;
            let until = until.min(from + MOST_PATTERN_ROWS).min(times.len());
            let begin = from.saturating_sub(4 * detector.warm_up_rows());
            let mut follower =
                Follower::new(Arc::clone(detector), sorted.history.instance.to_owned());
            let found = found.get_or_insert_default();
            for row in begin..until {
                beat(pulse, row)?;
                let followed = follower.push(times[row], frame.row(row))?;
                let odd = !is_normal || followed.score.score >= PATTERN_SCORE;
                if row >= from && odd && !followed.warming_up {
                    found.push(follower.signed_strengths());
                }
            }
        }
        Ok(found)
    }
}

/// What a server did at first; `None` where feedback says that it was no normal operation.
fn first_rows(history: &History<'_>, feedback: &[Feedback]) -> Option<Frame> {
    let times = history.frame.timestamps();
    let start = *times.first()?;
    let within = |time: &Timestamp| time.seconds_since(start) <= FIRST_SECONDS;
    let n_rows = (times.len() / FIRST_PART).min(times.partition_point(within));
    let is_incident = |time: &Timestamp| {
        let is_about = |said: &&Feedback| said.is_about(history.instance) && said.covers(*time);
        feedback.iter().filter(is_about).any(|said| said.verdict != FeedbackVerdict::Normal)
    };
    let first = part(history.frame, 0..n_rows);
    (!first.timestamps().iter().any(is_incident)).then_some(first)
}

/// Windows of a run, the last one longer or shorter.
fn cut(run: Range<usize>, shortest: usize) -> Vec<Range<usize>> {
    if run.len() < shortest {
        return Vec::new();
    }
    let n = (run.len() / WINDOW_ROWS.max(shortest)).max(1);
    let edge = |at: usize| run.start + at * run.len() / n;
    (0..n).map(|at| edge(at)..edge(at + 1)).collect()
}

fn part(frame: &Frame, rows: Range<usize>) -> Frame {
    let times = frame.timestamps();
    frame.between(times.get(rows.start).copied(), times.get(rows.end).copied())
}
