//! From alarms to incidents: one for each stretch of trouble on a server.

use oddns_core::{Contribution, Incident, Movement, Severity, Timestamp, stable_hash};

use crate::cause::likely_cause;

/// Quiet steps after which an incident is over. Shorter pauses belong to it: a fault that flaps is
/// one page, not five.
const QUIET_STEPS: u32 = 15;
/// Weight of the newest quiet value in the level that movements are told against.
const BASELINE_WEIGHT: f32 = 1.0 / 32.0;
/// Movements told to an operator.
const MAX_MOVEMENTS: usize = 8;
/// A peak this far above the alarm line needs a person now.
const CRITICAL_SCORE: f32 = 2.0;

/// One scored instant of a server.
#[derive(Debug, Clone, Copy)]
pub struct Observation<'a> {
    /// The instant.
    pub time: Timestamp,
    /// 1 is the alarm line.
    pub score: f32,
    /// Whether the alarm holds.
    pub alarm: bool,
    /// Values in the features' units; NaN when missing.
    pub row: &'a [f32],
    /// Signed deviations from normal operation, in standard deviations.
    pub deviation: &'a [f32],
    /// Where the score comes from.
    pub contributions: &'a [Contribution],
}

/// Something to tell about an incident.
#[derive(Debug, Clone, PartialEq)]
pub enum IncidentEvent {
    /// It began.
    Opened(Incident),
    /// It goes on, and its cause, severity or movements became clearer.
    Updated(Incident),
    /// It is over.
    Closed(Incident),
}

impl IncidentEvent {
    /// The incident as it stands.
    pub fn incident(&self) -> &Incident {
        match self {
            Self::Opened(incident) | Self::Updated(incident) | Self::Closed(incident) => incident,
        }
    }
}

/// Follows one server.
#[derive(Debug, Clone)]
pub struct IncidentTracker {
    instance: String,
    features: Vec<String>,
    baseline: Vec<Level>,
    /// First instant of the run of scores above the alarm line that goes on, without an incident.
    above_since: Option<Timestamp>,
    open: Option<Open>,
}

/// Trailing quiet mean of one feature.
#[derive(Debug, Clone, Copy)]
struct Level {
    value: f32,
    deviation: f32,
}

/// What is gathered while an incident lasts.
#[derive(Debug, Clone)]
struct Open {
    incident: Incident,
    last_alarm: Timestamp,
    quiet: u32,
    /// Sum of the weights of all instants: their scores, so that the height of an incident tells
    /// more about it than its tail.
    weight: f32,
    /// Weighted sums of deviations and shares, one a feature.
    deviation: Vec<f32>,
    share: Vec<f32>,
    seen: Vec<Seen>,
}

/// Values of one feature during an incident, weighted by how far out they were.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    sum: f32,
    present: f32,
    missing: f32,
}

impl Seen {
    fn add(&mut self, value: f32, weight: f32) {
        if value.is_nan() {
            self.missing += weight;
        } else {
            self.sum += weight * value;
            self.present += weight;
        }
    }

    /// NaN when the feature was missing for the larger part.
    fn value(self) -> f32 {
        if self.missing >= self.present { f32::NAN } else { self.sum / self.present }
    }
}

impl IncidentTracker {
    /// For a server and the features of its rows.
    pub fn new(instance: String, features: Vec<String>) -> Self {
        let unknown = Level { value: f32::NAN, deviation: 0.0 };
        let baseline = vec![unknown; features.len()];
        Self { instance, features, baseline, above_since: None, open: None }
    }

    /// The incident that goes on, if any.
    pub fn current(&self) -> Option<&Incident> {
        self.open.as_ref().map(|open| &open.incident)
    }

    /// Takes the next instant.
    pub fn push(&mut self, seen: Observation<'_>) -> Option<IncidentEvent> {
        self.above_since =
            if seen.score > 1.0 { self.above_since.or(Some(seen.time)) } else { None };
        match (self.open.take(), seen.alarm) {
            (None, false) => {
                self.learn(seen);
                None
            }
            (None, true) => {
                let mut open = self.open(seen);
                self.gather(&mut open, seen);
                let event = IncidentEvent::Opened(open.incident.clone());
                self.open = Some(open);
                Some(event)
            }
            (Some(mut open), true) => {
                let before = open.incident.clone();
                self.gather(&mut open, seen);
                let changed = tells_more(&before, &open.incident);
                let event = changed.then(|| IncidentEvent::Updated(open.incident.clone()));
                self.open = Some(open);
                event
            }
            (Some(open), false) => self.quiet(open, seen),
        }
    }

    /// Ends the incident that goes on, when nothing more will come.
    pub fn finish(&mut self) -> Option<Incident> {
        self.open.take().map(closed)
    }

    fn quiet(&mut self, mut open: Open, seen: Observation<'_>) -> Option<IncidentEvent> {
        open.quiet += 1;
        if open.quiet >= QUIET_STEPS {
            self.learn(seen);
            return Some(IncidentEvent::Closed(closed(open)));
        }
        self.open = Some(open);
        None
    }

    /// Moves the quiet level, unless the instant is above the alarm line and only waits for the
    /// alarm to be raised: what comes before an incident must not be taken for what was expected.
    fn learn(&mut self, seen: Observation<'_>) {
        if seen.score > 1.0 {
            return;
        }
        for (at, level) in self.baseline.iter_mut().enumerate() {
            if seen.row[at].is_nan() {
                continue;
            }
            if level.value.is_nan() {
                *level = Level { value: seen.row[at], deviation: seen.deviation[at] };
            }
            level.value += BASELINE_WEIGHT * (seen.row[at] - level.value);
            level.deviation += BASELINE_WEIGHT * (seen.deviation[at] - level.deviation);
        }
    }

    fn open(&self, seen: Observation<'_>) -> Open {
        let width = self.features.len();
        let start = self.above_since.unwrap_or(seen.time);
        let incident = Incident {
            id: incident_id(&self.instance, start),
            instance: self.instance.clone(),
            start,
            end: None,
            severity: Severity::Warning,
            peak_score: seen.score,
            peak: seen.time,
            movements: Vec::new(),
            cause: likely_cause(&[]),
        };
        Open {
            incident,
            last_alarm: seen.time,
            quiet: 0,
            weight: 0.0,
            deviation: vec![0.0; width],
            share: vec![0.0; width],
            seen: vec![Seen::default(); width],
        }
    }

    /// Adds an alarmed instant and tells the incident anew.
    fn gather(&self, open: &mut Open, seen: Observation<'_>) {
        open.quiet = 0;
        open.last_alarm = seen.time;
        let weight = seen.score.max(f32::MIN_POSITIVE);
        open.weight += weight;
        for (at, level) in self.baseline.iter().enumerate() {
            let deviation = seen.deviation[at] - level.deviation;
            open.deviation[at] += weight * deviation;
            open.seen[at].add(seen.row[at], weight * (deviation.abs() + f32::EPSILON));
        }
        for contribution in seen.contributions {
            open.share[contribution.feature] += weight * contribution.share;
        }
        if seen.score > open.incident.peak_score {
            open.incident.peak_score = seen.score;
            open.incident.peak = seen.time;
        }
        self.tell(open);
    }

    fn tell(&self, open: &mut Open) {
        let n = open.weight;
        let means: Vec<(&str, f32)> =
            self.features.iter().zip(&open.deviation).map(|(f, d)| (f.as_str(), d / n)).collect();
        open.incident.cause = likely_cause(&means);
        let peak = open.incident.peak_score;
        if peak >= CRITICAL_SCORE {
            open.incident.severity = Severity::Critical;
        }
        let mut order: Vec<usize> =
            (0..self.features.len()).filter(|at| open.share[*at] > 0.0).collect();
        order.sort_by(|a, b| open.share[*b].total_cmp(&open.share[*a]).then(a.cmp(b)));
        open.incident.movements = order
            .into_iter()
            .take(MAX_MOVEMENTS)
            .map(|at| Movement {
                feature: self.features[at].clone(),
                expected: self.baseline[at].value,
                observed: open.seen[at].value(),
                deviation: open.deviation[at] / n,
                share: open.share[at] / n,
            })
            .collect();
    }
}

fn closed(open: Open) -> Incident {
    Incident { end: Some(open.last_alarm), ..open.incident }
}

/// A repeated page is worth it only when it says something new.
fn tells_more(before: &Incident, after: &Incident) -> bool {
    before.cause.name != after.cause.name || before.severity != after.severity
}

/// The same for the same instance and start, over restarts and machines.
fn incident_id(instance: &str, start: Timestamp) -> String {
    let bytes = instance.bytes().chain([0]).chain(start.millis().to_be_bytes());
    format!("{:016x}", stable_hash(bytes))
}
