//! Rows judged one by one, as they come.

use std::sync::Arc;

use oddns_core::{Frame, Incident, Schema, Score, Timestamp};
use oddns_detect::{IncidentEvent, IncidentTracker};

use crate::detector::{Detector, DetectorError};
use crate::forecaster::Past;
use crate::ledger::{self, Keep, Ledger};
use crate::pipeline::track;
use crate::pulse::{Pulse, beat};
use crate::quiet::History;
use crate::stream::{Stream, continues};

/// Follows the rows of one server or table: what [`crate::score_frame`] says of a whole history, row
/// by row at the price of one row each. A [`crate::Pipeline`] is one behind an extractor of CoreDNS
/// features.
#[derive(Debug, Clone)]
pub struct Follower {
    detector: Arc<Detector>,
    pub(crate) stream: Stream,
    past: Past,
    tracker: IncidentTracker,
    last_row: Option<Timestamp>,
}

/// What one row led to.
#[derive(Debug, Clone, PartialEq)]
pub struct Followed {
    /// Its score. While `warming_up` it is never an alarm.
    pub score: Score,
    /// Usual value of each feature, in its unit.
    pub usual: Vec<f32>,
    /// Whether the row has no full past.
    pub warming_up: bool,
    /// News of an incident.
    pub incident: Option<IncidentEvent>,
}

impl Follower {
    /// At the end of training; `instance` names the rows in incidents.
    pub fn new(detector: Arc<Detector>, instance: String) -> Self {
        Self {
            stream: Stream::new(Arc::clone(&detector)),
            past: detector.method.forecaster().live(detector.columns.len()),
            tracker: IncidentTracker::of(instance, Arc::clone(&detector.tracked)),
            last_row: None,
            detector,
        }
    }

    /// Goes on with another detector of the same schema, from the next row on. It sees `recent` rows
    /// first, which are judged by nobody again; without as many as its [`Detector::warm_up_rows`] it
    /// warms up. The scales of a feature stay this server's own where they are like those that the
    /// detector learned. An incident that goes on stays the same one. [`Follower::hand_over`] is the
    /// way for a detector that has judged this server's history before it takes over.
    ///
    /// # Errors
    /// A detector or rows of another schema.
    pub fn succeed(
        &self,
        detector: Arc<Detector>,
        instance: String,
        recent: &Frame,
    ) -> Result<Self, DetectorError> {
        detector.check_schema(self.detector.schema())?;
        detector.check_schema(&Schema::new(recent.columns().to_vec()))?;
        let mut next = Self::new(detector, instance);
        next.stream.inherit(&self.stream);
        for (time, row) in recent.rows() {
            next.push(time, row)?;
        }
        next.tracker = self.tracker.clone();
        Ok(next)
    }

    /// Has judged a history already: its scales, its line and what it remembers are as if `detector`
    /// had been there all along.
    ///
    /// # Errors
    /// A history of another schema; [`DetectorError::Ended`] when `pulse`, which is called between
    /// small pieces of work, breaks off.
    pub fn after(
        detector: Arc<Detector>,
        history: &History<'_>,
        pulse: &mut Pulse<'_>,
    ) -> Result<Self, DetectorError> {
        detector.check_schema(&Schema::new(history.frame.columns().to_vec()))?;
        let mut follower = Self::new(detector, history.instance.to_owned());
        for (at, (time, row)) in history.frame.rows().enumerate() {
            beat(pulse, at)?;
            follower.push(time, row)?;
        }
        Ok(follower)
    }

    /// Goes on as `next`, a follower of another detector of the same schema that has judged the history
    /// of this server ([`Follower::after`]), from the next row on. It sees those of the `recent` rows
    /// that came since, which are judged by nobody again. An incident that goes on stays the same one.
    ///
    /// # Errors
    /// A follower or rows of another schema.
    pub fn hand_over(&self, mut next: Self, recent: &Frame) -> Result<Self, DetectorError> {
        next.detector.check_schema(self.detector.schema())?;
        next.detector.check_schema(&Schema::new(recent.columns().to_vec()))?;
        let seen = next.last_row;
        for (time, row) in recent.rows().filter(|(time, _)| seen.is_none_or(|seen| *time > seen)) {
            next.push(time, row)?;
        }
        next.stream.take_over(&self.stream);
        next.tracker = self.tracker.clone();
        Ok(next)
    }

    /// The detector that judges.
    pub fn detector(&self) -> &Arc<Detector> {
        &self.detector
    }

    /// The incident that goes on, if any.
    pub fn current_incident(&self) -> Option<&Incident> {
        self.tracker.current()
    }

    /// Rows since the beginning, or since the last long pause.
    pub fn n_rows(&self) -> usize {
        self.past.n_rows()
    }

    /// Judges the next row, one value a column in the features' units, NaN where missing; an
    /// infinite value counts as missing. Refuses a row of another width, and leaves no trace of it.
    /// A row that is not later than the last counts as one right after it.
    pub fn push(&mut self, time: Timestamp, row: &[f32]) -> Result<Followed, DetectorError> {
        let (expected, found) = (self.detector.columns.len(), row.len());
        if expected != found {
            return Err(DetectorError::Width { expected, found });
        }
        let interval = f64::from(self.detector.record.interval_seconds);
        if self.last_row.is_some_and(|last| !continues(last, time, interval)) {
            self.past.clear();
        }
        self.last_row = Some(time);
        let prepared = self.stream.prepare(row);
        let warming_up = self.past.n_rows() < self.detector.warm_up_rows();
        let forecast = self.past.push(self.detector.method.forecaster(), &prepared.standard)?;
        let judged = self.stream.judge(time, row, &prepared, forecast, warming_up);
        self.stream.adapt(&prepared);
        let incident = track(&mut self.tracker, &judged, row);
        Ok(Followed { score: judged.score, usual: judged.expected, warming_up, incident })
    }

    /// How far the mean of each feature of this server has wandered from what the detector learned, in
    /// standard deviations, signed: with a half-life of days. NaN of a feature that was never there.
    /// One server of several lies off by how it differs from the others; the mean over all of them is
    /// how normal moved.
    pub fn wandered(&self) -> Vec<f32> {
        self.stream.wandered()
    }

    /// What each feature added to the last score, with the sign of its deviation.
    pub(crate) fn signed_strengths(&self) -> Vec<f32> {
        self.stream.signed_strengths()
    }

    /// All that later scores depend on, as bytes for [`Follower::resume`]: some tens of KiB at a
    /// hundred features, however long the stream was. An incident that goes on is not among it.
    pub fn state(&self) -> Result<Vec<u8>, DetectorError> {
        ledger::write(&mut self.clone(), self.detector.fingerprint())
    }

    /// Goes on where [`Follower::state`] was called: every later score is the same, to the bit. An
    /// incident that went on then begins anew with its next alarmed row.
    ///
    /// # Errors
    /// Bytes that are damaged, of another version, or of another detector. Any bytes are fine as
    /// input.
    pub fn resume(
        detector: Arc<Detector>,
        instance: String,
        state: &[u8],
    ) -> Result<Self, DetectorError> {
        let model = detector.fingerprint();
        let mut follower = Self::new(detector, instance);
        ledger::read(&mut follower, model, state)?;
        Ok(follower)
    }
}

impl Keep for Follower {
    fn keep(&mut self, ledger: &mut Ledger<'_>) -> Result<(), DetectorError> {
        let mut known = self.last_row.is_some();
        let mut millis = self.last_row.map_or(0, Timestamp::millis);
        ledger.flag(&mut known)?;
        ledger.whole(&mut millis)?;
        self.last_row = known.then_some(Timestamp::from_millis(millis));
        self.stream.keep(ledger)?;
        self.past.keep_for(self.detector.method.forecaster(), ledger)?;
        let mut usual = self.tracker.usual();
        ledger.numbers(&mut usual, |number| !number.is_infinite())?;
        self.tracker.set_usual(&usual);
        Ok(())
    }
}
