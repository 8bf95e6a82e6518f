//! Rows judged one by one, as they come.

use std::sync::Arc;

use oddns_core::{Incident, Score, Timestamp};
use oddns_detect::{IncidentEvent, IncidentTracker, PersistenceConfig};

use crate::detector::{Detector, DetectorError};
use crate::forecaster::Past;
use crate::ledger::{self, Keep, Ledger};
use crate::pipeline::track;
use crate::stream::{Stream, continues};

/// Follows the rows of one server or table: what [`crate::score_frame`] says of a whole history, row
/// by row at the price of one row each. A [`crate::Pipeline`] is one behind an extractor of CoreDNS
/// features.
#[derive(Debug, Clone)]
pub struct Follower {
    detector: Arc<Detector>,
    stream: Stream,
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
            stream: Stream::new(Arc::clone(&detector), PersistenceConfig::default()),
            past: detector.method.forecaster().live(detector.columns.len()),
            tracker: IncidentTracker::of(instance, Arc::clone(&detector.tracked)),
            last_row: None,
            detector,
        }
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
