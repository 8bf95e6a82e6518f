//! What is kept of one server between its scores. Batch and live scoring both go through here.

use std::sync::Arc;

use oddns_core::{Frame, Score, Timestamp};
use oddns_detect::{Deviations, Persistence, contributions};
use oddns_features::{FEATURES, Scaler};

use crate::creep::Creep;
use crate::detector::{Detector, DetectorError};
use crate::ledger::{Keep, Ledger};
use crate::members::{Exhibit, StandardRow, Verdict};
use crate::method::Judge;
use crate::precedent::{Weighing, signed};
use crate::training::modelled_row;

/// Contributions told with a score.
const N_CONTRIBUTIONS: usize = 8;
/// Without a full past a score says no more than this: forecasts from nothing miss.
const WARM_UP_SCORE: f32 = 0.5;
/// A pause of this many intervals, and of at least `GAP_SECONDS`, begins a new stretch: what was
/// before it says nothing about what comes after.
const GAP_INTERVALS: f64 = 20.0;
/// Prometheus's default lookback.
const GAP_SECONDS: f64 = 300.0;

/// From here on what creeps away is told, and holds an alarm.
const CREEPS: f32 = 0.8;
/// A server whose mean lies within so many standard deviations of what a new detector learned is one
/// of those that it learned, and keeps its own scales, …
const OWN_MEAN: f32 = 1.0;
/// … where these are no more than so many times as wide or narrow.
const OWN_SCALE: f32 = 2.0;

/// The scoring state of one server.
#[derive(Debug, Clone)]
pub(crate) struct Stream {
    detector: Arc<Detector>,
    scaler: Scaler,
    /// Which features this server has ever shown: another version of CoreDNS lacks some, and what
    /// was never there is not missing.
    shown: Vec<bool>,
    /// Which features can be missing for a reason that lies with the server: a comparison with the
    /// others is not when these have left.
    absence_counts: Vec<bool>,
    judge: Judge,
    creep: Creep,
    persistence: Persistence,
    weighing: Weighing,
    /// How many times as high the line lies as it was drawn for.
    pub(crate) lift: f32,
    /// What each feature added to the last score, signed.
    signed: Vec<f32>,
}

/// A row as the members read it.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    /// On the modelled scale.
    pub(crate) modelled: Vec<f32>,
    pub(crate) standard: StandardRow,
}

/// A score and what an incident is made of.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Judged {
    pub(crate) score: Score,
    /// Signed deviation of each feature.
    pub(crate) deviation: Vec<f32>,
    /// Usual value of each feature, in its unit.
    pub(crate) expected: Vec<f32>,
    /// The cluster of normal operation that the last rows are nearest to, where there are clusters.
    pub(crate) cluster: Option<usize>,
}

/// A detector that learned from a lone server cannot tell how alike others are.
fn never_seen(detector: &Detector, at: usize) -> bool {
    detector.scaler.missing_ratio[at] >= 1.0
}

/// Whether a column says nothing to this detector, whatever is in it.
pub(crate) fn is_ignored(detector: &Detector, at: usize) -> bool {
    !absence_counts(&detector.columns[at].name) && never_seen(detector, at)
}

pub(crate) fn absence_counts(column: &str) -> bool {
    !FEATURES.iter().any(|feature| feature.name == column && feature.is_divergence())
}

impl Stream {
    pub(crate) fn new(detector: Arc<Detector>) -> Self {
        Self {
            scaler: detector.scaler.clone(),
            shown: vec![false; detector.columns.len()],
            absence_counts: detector.columns.iter().map(|c| absence_counts(&c.name)).collect(),
            judge: detector.method.judge(),
            creep: Creep::new(&detector),
            weighing: Weighing::of(&detector.precedents, detector.columns.len()),
            lift: 1.0,
            signed: Vec::new(),
            persistence: Persistence::new(detector.method.persistence()),
            detector,
        }
    }

    /// A row in the features' units, as the members read it.
    pub(crate) fn prepare(&self, row: &[f32]) -> Prepared {
        let mut modelled = modelled_row(row, &self.detector.columns);
        for (at, value) in modelled.iter_mut().enumerate() {
            if !self.absence_counts[at] && never_seen(&self.detector, at) {
                *value = f32::NAN;
            }
        }
        let mut standard = StandardRow::new(&self.scaler, &modelled);
        for (at, shown) in self.shown.iter().enumerate() {
            if !shown && standard.values[at].is_nan() {
                standard.deviation[at] = 0.0;
            }
        }
        Prepared { modelled, standard }
    }

    /// Lets a row move the scales. Depends on the row alone, not on the network, so that a whole
    /// history can be standardised before it is predicted.
    pub(crate) fn adapt(&mut self, prepared: &Prepared) {
        self.show(prepared);
        self.scaler.adapt(&prepared.modelled, self.detector.method.scale_weight());
    }

    /// Remembers which features a row has.
    pub(crate) fn show(&mut self, prepared: &Prepared) {
        let seen = prepared.modelled.iter().map(|value| !value.is_nan());
        for ((shown, counts), seen) in self.shown.iter_mut().zip(&self.absence_counts).zip(seen) {
            *shown |= *counts && seen;
        }
    }

    /// Goes on with what has been told of a server: an alarm that holds, and a line that was lifted.
    pub(crate) fn take_over(&mut self, before: &Self) {
        self.lift = before.lift;
        self.persistence = before.persistence.clone();
    }

    /// Goes on from the stream of another detector of the same schema: what is this server's own stays,
    /// as far as it is like what the detector learned.
    pub(crate) fn inherit(&mut self, before: &Self) {
        self.lift = before.lift;
        self.creep.inherit(&before.creep, (&before.detector, &self.detector));
        let (own, theirs) = (&mut self.scaler, &before.scaler);
        for at in 0..own.mean.len() {
            let wanders = (theirs.mean[at] - own.mean[at]) / own.scale[at];
            let wider = theirs.scale[at] / own.scale[at];
            let is_like =
                wanders.abs() <= OWN_MEAN && (1.0 / OWN_SCALE..=OWN_SCALE).contains(&wider);
            if theirs.missing_ratio[at] < 1.0 && is_like {
                own.mean[at] = theirs.mean[at];
                own.scale[at] = theirs.scale[at].max(own.floor[at]);
                own.missing_ratio[at] = theirs.missing_ratio[at];
            }
        }
    }

    /// How far each mean has wandered from what was learned, in standard deviations.
    pub(crate) fn wandered(&self) -> Vec<f32> {
        let learned = &self.detector.scaler;
        let moved = |at: usize| match never_seen(&self.detector, at) {
            true => f32::NAN,
            false => (self.scaler.mean[at] - learned.mean[at]) / learned.scale[at],
        };
        (0..learned.mean.len()).map(moved).collect()
    }

    /// What each feature added to the last score, with the sign of its deviation.
    pub(crate) fn signed_strengths(&self) -> Vec<f32> {
        self.signed.clone()
    }

    /// The score of a row; call it for every row, in order. While `warming_up` the row has no full
    /// past: it gets a score, and never an alarm.
    pub(crate) fn judge(
        &mut self,
        time: Timestamp,
        row: &[f32],
        prepared: &Prepared,
        forecast: &[f32],
        warming_up: bool,
    ) -> Judged {
        let Prepared { modelled, standard } = prepared;
        let exhibit = Exhibit { modelled, standard, forecast };
        let Verdict { mut score, fresh, mut strengths } = self.judge.judge(exhibit);
        let crept = self.creep.push(modelled, &self.detector);
        if warming_up {
            self.judge.forget_averages();
            self.weighing.forget();
        }
        let creeps = crept > CREEPS;
        if creeps && crept > score.max(CREEPS) {
            score = crept;
            self.creep.tell(&mut strengths);
        }
        self.signed = signed(&strengths, &standard.deviation);
        let score = self.weighing.weigh(score, &self.signed, &self.detector.precedents) / self.lift;
        let score = if warming_up { score.min(WARM_UP_SCORE) } else { score };
        let alarm = !warming_up && self.persistence.push(score, fresh || creeps);
        let expected: Vec<f32> = self
            .detector
            .columns
            .iter()
            .enumerate()
            .map(|(at, column)| column.transform.invert(self.scaler.restore(at, 0.0)))
            .collect();
        let of = Deviations {
            strength: &strengths,
            deviation: &standard.deviation,
            observed: row,
            expected: &expected,
        };
        let contributions = contributions(of, N_CONTRIBUTIONS);
        Judged {
            score: Score { time, score, alarm, contributions },
            deviation: standard.deviation.clone(),
            expected,
            cluster: self.detector.method.cluster(forecast),
        }
    }
}

impl Keep for Stream {
    fn keep(&mut self, ledger: &mut Ledger<'_>) -> Result<(), DetectorError> {
        let Scaler { mean, scale, missing_ratio, .. } = &mut self.scaler;
        ledger.numbers(mean, f32::is_finite)?;
        ledger.numbers(scale, |scale| scale > 0.0 && scale.is_finite())?;
        ledger.numbers(missing_ratio, |ratio| (0.0..=1.0).contains(&ratio))?;
        ledger.flags(&mut self.shown)?;
        self.judge.keep(ledger)?;
        self.creep.keep(ledger)?;
        if !self.detector.precedents.is_empty() {
            self.weighing.keep(ledger)?;
        }
        let mut state = self.persistence.state();
        ledger.flag(&mut state.active)?;
        let mut run = state.run as usize;
        ledger.count(&mut run, u32::MAX as usize)?;
        state.run = run as u32;
        ledger.flag(&mut state.spent)?;
        ledger.numbers(std::slice::from_mut(&mut state.crest), |crest| crest >= 0.0)?;
        let mut since = state.since as usize;
        ledger.count(&mut since, u32::MAX as usize)?;
        state.since = since as u32;
        self.persistence.resume(state);
        Ok(())
    }
}

/// Whether a row at `time` continues what was before.
pub(crate) fn continues(previous: Timestamp, time: Timestamp, interval_seconds: f64) -> bool {
    let pause = time.seconds_since(previous);
    let longest = GAP_SECONDS.max(GAP_INTERVALS * interval_seconds);
    // An interval that is not known (NaN) leaves `GAP_SECONDS`: `max` ignores NaN.
    pause <= longest
}

/// The row ranges of a frame that have no long pause inside.
pub(crate) fn stretches(frame: &Frame, interval_seconds: f64) -> Vec<std::ops::Range<usize>> {
    let times = frame.timestamps();
    let mut found = Vec::new();
    let mut from = 0;
    for at in 1..times.len() {
        if !continues(times[at - 1], times[at], interval_seconds) {
            found.push(from..at);
            from = at;
        }
    }
    if from < times.len() {
        found.push(from..times.len());
    }
    found
}
