//! The one place that composes features, model and decision.

use std::fmt;
use std::sync::Arc;

use oddns_core::{Frame, Incident, Schema, Score, Scrape, SeriesTable, Timestamp};
use oddns_detect::{IncidentEvent, IncidentTracker, Observation};
use oddns_features::{Extractor, Features, Fleet, schema};

use crate::detector::{Detector, DetectorError};
use crate::follower::{Followed, Follower};
use crate::members::StandardRow;
use crate::stream::{Judged, Prepared, Stream, stretches};

/// Why there is a score, or why there is none yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Not enough rows yet to look back on.
    WarmingUp {
        /// Rows seen.
        seen: usize,
        /// Rows needed.
        needed: usize,
    },
    /// The server has not answered yet.
    NoData,
    /// The server answers, but never with a metric of CoreDNS.
    NotCoredns,
    /// Every scrape gets a score.
    Scoring,
}

impl State {
    /// The word used in labels.
    pub fn name(&self) -> &'static str {
        match self {
            Self::WarmingUp { .. } => "warming_up",
            Self::NoData => "no_data",
            Self::NotCoredns => "not_coredns",
            Self::Scoring => "scoring",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WarmingUp { seen, needed } => write!(f, "warming up {seen}/{needed}"),
            Self::NoData => f.write_str("no data: the target has not answered yet"),
            Self::NotCoredns => {
                f.write_str("not CoreDNS: the target answers without a single coredns_ metric")
            }
            Self::Scoring => f.write_str("scoring"),
        }
    }
}

/// What one scrape led to.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// When the scrape was.
    pub time: Timestamp,
    /// Feature values in the detector's column order, in their units; NaN where missing. Empty
    /// when the scrape gave no row.
    pub row: Vec<f32>,
    /// The usual value of each feature, in its unit. Empty when there is no score.
    pub expected: Vec<f32>,
    /// Why there is a score or not.
    pub state: State,
    /// The score, once there is one.
    pub score: Option<Score>,
    /// News of an incident.
    pub incident: Option<IncidentEvent>,
}

/// Follows one CoreDNS server, scrape by scrape.
#[derive(Debug, Clone)]
pub struct Pipeline {
    instance: String,
    extractor: Extractor,
    pub(crate) follower: Follower,
    answered: bool,
    spoke_coredns: bool,
}

impl Pipeline {
    /// For a detector that was trained on CoreDNS features of this version.
    pub fn new(detector: Arc<Detector>, instance: String) -> Result<Self, DetectorError> {
        detector.check_schema(&schema())?;
        Ok(Self::of(Follower::new(detector, instance.clone()), instance))
    }

    /// Goes on where [`Pipeline::state`] was called, but for the last scrape: rates need one before,
    /// so that the first one gives no row. Errors as [`Follower::resume`], and as
    /// [`Pipeline::new`].
    pub fn resume(
        detector: Arc<Detector>,
        instance: String,
        state: &[u8],
    ) -> Result<Self, DetectorError> {
        detector.check_schema(&schema())?;
        Ok(Self::of(Follower::resume(detector, instance.clone(), state)?, instance))
    }

    /// Goes on with another detector from the next scrape on; see [`Follower::succeed`].
    pub fn succeed(
        &mut self,
        detector: Arc<Detector>,
        recent: &Frame,
    ) -> Result<(), DetectorError> {
        self.follower = self.follower.succeed(detector, self.instance.clone(), recent)?;
        Ok(())
    }

    /// Goes on as a follower that has judged this server's history, from the next scrape on; see
    /// [`Follower::hand_over`].
    pub fn hand_over(&mut self, next: Follower, recent: &Frame) -> Result<(), DetectorError> {
        self.follower = self.follower.hand_over(next, recent)?;
        Ok(())
    }

    fn of(follower: Follower, instance: String) -> Self {
        let extractor = Extractor::default();
        Self { instance, extractor, follower, answered: false, spoke_coredns: false }
    }

    /// What it learned since training, as bytes for [`Pipeline::resume`]; see [`Follower::state`].
    pub fn state(&self) -> Result<Vec<u8>, DetectorError> {
        self.follower.state()
    }

    /// How far each feature has wandered since training; see [`Follower::wandered`].
    pub fn wandered(&self) -> Vec<f32> {
        self.follower.wandered()
    }

    /// The incident that goes on, if any.
    pub fn current_incident(&self) -> Option<&Incident> {
        self.follower.current_incident()
    }

    /// Takes the next scrape of a server that is alone; `table` is the one its samples refer to, the
    /// same at every call.
    pub fn push(&mut self, table: &SeriesTable, scrape: &Scrape) -> Result<Step, DetectorError> {
        self.follow(None, table, scrape)
    }

    /// Takes the next scrape of a server of `fleet`; see [`Pipeline::push`].
    pub fn push_in(
        &mut self,
        fleet: &mut Fleet,
        table: &SeriesTable,
        scrape: &Scrape,
    ) -> Result<Step, DetectorError> {
        self.follow(Some(fleet), table, scrape)
    }

    fn follow(
        &mut self,
        fleet: Option<&mut Fleet>,
        table: &SeriesTable,
        scrape: &Scrape,
    ) -> Result<Step, DetectorError> {
        self.answered |= scrape.up;
        self.spoke_coredns = self.spoke_coredns || scrape.has_coredns(table);
        let nothing = Step {
            time: scrape.time,
            row: Vec::new(),
            expected: Vec::new(),
            state: self.condition(),
            score: None,
            incident: None,
        };
        let Features::Row(mut row) = self.extractor.push(table, scrape) else {
            return Ok(nothing);
        };
        if let Some(fleet) = fleet {
            fleet.compare(&self.instance, scrape.time, &mut row);
        }
        if !self.spoke_coredns {
            return Ok(Step { row, ..nothing });
        }
        let Followed { score, usual, warming_up, incident } =
            self.follower.push(scrape.time, &row)?;
        let (score, expected) = (!warming_up).then_some((score, usual)).unzip();
        let (state, expected) = (self.condition(), expected.unwrap_or_default());
        Ok(Step { row, expected, state, score, incident, ..nothing })
    }

    fn condition(&self) -> State {
        let needed = self.follower.detector().warm_up_rows();
        let seen = self.follower.n_rows();
        match (self.answered, self.spoke_coredns) {
            (false, _) => State::NoData,
            (true, false) => State::NotCoredns,
            (true, true) if seen <= needed => State::WarmingUp { seen, needed: needed + 1 },
            _ => State::Scoring,
        }
    }
}

pub(crate) fn track(
    tracker: &mut IncidentTracker,
    judged: &Judged,
    row: &[f32],
) -> Option<IncidentEvent> {
    tracker.push(Observation {
        time: judged.score.time,
        score: judged.score.score,
        alarm: judged.score.alarm,
        row,
        deviation: &judged.deviation,
        contributions: &judged.score.contributions,
    })
}

/// A scored history.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scored {
    /// One score a row of the frame, in order. Rows without a full past never alarm.
    pub scores: Vec<Score>,
    /// The usual value of each feature at each row, in its unit; row-major.
    pub expected: Vec<f32>,
    /// Signed deviation of each feature in each row, in standard deviations of normal operation;
    /// for a missing value how surprising that is; row-major.
    pub deviation: Vec<f32>,
    /// The cluster of normal operation that the window ending with each row is nearest to, from 0:
    /// what kind of operation it is most like. One a row; `None` of a detector without clusters.
    pub clusters: Vec<Option<usize>>,
    /// What happened, oldest first. The last one may have been going on at the end; its end is
    /// then its last alarmed row.
    pub incidents: Vec<Incident>,
}

/// Scores a whole frame in one dense pass. Rows with a full past get the same score, to the bit,
/// as from a [`Pipeline`].
pub fn score_frame(
    detector: &Arc<Detector>,
    instance: &str,
    frame: &Frame,
) -> Result<Scored, DetectorError> {
    detector.check_schema(&Schema::new(frame.columns().to_vec()))?;
    let mut stream = Stream::new(Arc::clone(detector));
    let mut tracker = IncidentTracker::of(instance.to_owned(), Arc::clone(&detector.tracked));
    let mut scored = Scored::default();
    let interval = f64::from(detector.record.interval_seconds);
    for stretch in stretches(frame, interval) {
        score_stretch(detector, frame, stretch, &mut stream, &mut tracker, &mut scored)?;
    }
    scored.incidents.extend(tracker.finish());
    Ok(scored)
}

fn score_stretch(
    detector: &Detector,
    frame: &Frame,
    stretch: std::ops::Range<usize>,
    stream: &mut Stream,
    tracker: &mut IncidentTracker,
    scored: &mut Scored,
) -> Result<(), DetectorError> {
    let mut ahead = stream.clone();
    let rows: Vec<Prepared> = stretch
        .clone()
        .map(|at| {
            let prepared = ahead.prepare(frame.row(at));
            ahead.adapt(&prepared);
            prepared
        })
        .collect();
    let standard: Vec<&StandardRow> = rows.iter().map(|row| &row.standard).collect();
    let forecast = detector.method.forecaster().forecast(&standard)?;
    let n_told = detector.method.forecaster().n_told(detector.columns.len());
    let warm_up = detector.warm_up_rows();
    for (step, at) in stretch.enumerate() {
        let forecast = &forecast[step * n_told..(step + 1) * n_told];
        let (time, row) = (frame.timestamps()[at], frame.row(at));
        let judged = stream.judge(time, row, &rows[step], forecast, step < warm_up);
        stream.adapt(&rows[step]);
        if let Some(IncidentEvent::Closed(incident)) = track(tracker, &judged, row) {
            scored.incidents.push(incident);
        }
        scored.scores.push(judged.score);
        scored.clusters.push(judged.cluster);
        scored.expected.extend(judged.expected);
        scored.deviation.extend(judged.deviation);
    }
    Ok(())
}
